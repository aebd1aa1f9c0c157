"""Conventions against their definition, what the gradients of formulas say, and conversion both ways."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sfumato import theory
from sfumato.conventions import FORMULAS, SPREADS, ConversionError, convert, convert_eps, convert_loss, find

PAIRED = {key: f for key, f in FORMULAS.items() if f.convention is not None}
SOFTMAX = {key: f for key, f in PAIRED.items() if f.convention.space == "softmax"}
RNG = np.random.default_rng(3)


def gradient(formula, z, label, eps, **options):
    """∂L/∂z of one row by central differences, with the error of the fourth order taken out."""

    def at(step):
        out = []
        for k in range(z.shape[1]):
            shift = np.zeros_like(z)
            shift[0, k] = step
            up, down = (formula.rows(z + s * shift, [label], eps, **options)[0] for s in (1, -1))
            out.append((up - down) / (2 * step))
        return np.array(out)

    return (4 * at(5e-4) - at(1e-3)) / 3


@pytest.mark.parametrize("key", [key for key in PAIRED if key != "timm.mixup"])
@pytest.mark.parametrize("k", [3, 6])
def test_the_gradient_of_a_formula_is_that_of_its_convention(key, k):
    formula, eps, label = PAIRED[key], 0.2, 2
    z = RNG.standard_normal((1, k))
    true, other = formula.convention.target(eps, k)
    q = np.where(np.arange(k) == label, true, other)
    p = np.exp(z[0]) / np.exp(z[0]).sum()
    expected = formula.convention.mass(eps, k) * p - q
    if formula.convention.space == "softmax without padding":
        q[0] = 0.0
        expected = p - q
    if formula.convention.space == "sigmoid":
        expected = 1 / (1 + np.exp(-z[0])) - q
    scale = formula.factor(k) if key == "fairseq.logged" else 1.0
    np.testing.assert_allclose(gradient(formula, z, label, eps), scale * expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("key", [key for key, f in SOFTMAX.items() if key != "timm.mixup"])
def test_the_smallest_value_is_the_floor_or_nothing(key):
    formula, eps, k = SOFTMAX[key], 0.3, 5
    p = formula.convention.optimum(eps, k)
    z = np.log(np.where(np.arange(k) == 1, p[0], p[1]))[None, :]
    floor = 0.0 if formula.minus_entropy else formula.convention.floor(eps, k) * formula.factor(k)
    assert formula.rows(z, [1], eps)[0] == pytest.approx(floor, abs=3e-7)  # ClassyVision adds float32's eps


@given(
    frm=st.sampled_from(sorted(SOFTMAX)),
    to=st.sampled_from(sorted(SOFTMAX)),
    eps=st.floats(0.001, 0.4),
    k=st.integers(2, 12),
    seed=st.integers(0, 10),
)
def test_converted_losses_are_the_same_loss(frm, to, eps, k, seed):
    if "timm.mixup" in (frm, to):
        return
    try:
        c = convert(eps, k, frm=frm, to=to)
    except ConversionError:
        assert SOFTMAX[to].convention.name == "all"
        assert eps * k / (k - 1) > 1 or SOFTMAX[frm].convention.name in ("deficit",)
        return
    z = 2 * np.random.default_rng(seed).standard_normal((4, k))
    y = np.full(4, k - 1)
    a, b = SOFTMAX[frm].rows(z, y, eps), SOFTMAX[to].rows(z, y, c.to_eps)
    if "classy" in (frm, to):
        np.testing.assert_allclose(c.scale * a + c.offset, b, rtol=0, atol=1e-5)
    else:
        np.testing.assert_allclose(c.scale * a + c.offset, b, rtol=1e-9, atol=1e-9)


BESIDE = {key: f for key, f in PAIRED.items() if f.convention.space != "softmax"}


@pytest.mark.parametrize("frm", BESIDE)
@pytest.mark.parametrize("eps", [0.0, 0.1, 0.7])
def test_converted_losses_of_coins_and_without_padding_are_the_same_loss(frm, eps):
    k, z = 5, 2 * np.random.default_rng(3).standard_normal((4, 5))
    y = np.array([1, 2, 4, 3])

    def rows(formula, strength):  # in the unit of its mean: coins are divided by K
        options = {"pad": 0} if "pad" in formula.options else {}
        unit = formula.factor(k) if formula.convention.space == "sigmoid" else 1.0
        return unit * formula.rows(z, y, strength, **options)

    for to in BESIDE.values():
        a, b = BESIDE[frm].convention, to.convention
        try:
            c = convert(eps, k, frm=frm, to=to)
        except ConversionError:
            reachable = (
                a.space == b.space and b.inverse(a.pair(eps, k)[1], k) <= 1 and "sigmoid-all" not in (a.name, b.name)
            )
            assert not reachable
            continue
        np.testing.assert_allclose(
            c.scale * rows(BESIDE[frm], eps) + c.offset, rows(to, c.to_eps), rtol=1e-12, atol=1e-12
        )


@given(
    names=st.tuples(*[st.sampled_from(["others", "all", "classy", "deficit"])] * 2),
    eps=st.floats(0, 0.3, allow_subnormal=False),  # ε/K of the smallest floats is 0
    k=st.integers(3, 100),
)
def test_conversion_there_and_back_is_the_same_strength(names, eps, k):
    a, b = (SPREADS[name] for name in names)
    there = b.strength(*a.optimum(eps, k), k)
    assert a.strength(*b.optimum(there, k), k) == pytest.approx(eps, abs=1e-12)
    assert b.gap(there, k) == pytest.approx(a.gap(eps, k), rel=1e-9)


@pytest.mark.parametrize("k", [2, 10, 1000])
def test_the_two_named_conventions_convert_as_the_theory_has_it(k):
    assert convert_eps(0.1, k, frm="fairseq", to="torch") == pytest.approx(
        theory.convert_eps(0.1, k, frm="others", to="all"), rel=1e-12
    )


def test_half_a_coin_is_a_full_one_of_half_the_strength():
    c = convert(0.2, 5, frm="keras.bin", to="smp.bce")
    assert (c.to_eps, c.scale, c.offset) == pytest.approx((0.1, 1.0, 0.0))


@pytest.mark.parametrize(("eps", "k"), [(0.1, 10), (0.4, 3)])
def test_from_a_divergence_to_a_mass_below_one_the_entropy_is_scaled_before_it_is_given_back(eps, k):
    # by hand: ESPnet's KL divergence over the others, and CoinCheung's 1−ε' and ε'/K, which sum to 1 − ε'/K
    z = np.random.default_rng(8).standard_normal(k)
    losses = np.log(np.exp(z).sum()) - z
    q = np.where(np.arange(k) == 1, 1 - eps, eps / (k - 1))
    divergence = float(q @ (losses + np.log(q)))
    theirs = eps * k / (k - 1 + eps)  # solves (1−ε')/(1−ε'/K) = 1−ε
    short = float(np.where(np.arange(k) == 1, 1 - theirs, theirs / k) @ losses)
    c = convert(eps, k, frm="espnet", to="coincheung")
    assert c.to_eps == pytest.approx(theirs, rel=1e-12)
    assert c.scale * divergence + c.offset == pytest.approx(short, rel=1e-12)
    back = convert(c.to_eps, k, frm="coincheung", to="espnet")
    assert back.scale * short + back.offset == pytest.approx(divergence, rel=1e-10)


def test_bits_become_nats():
    c = convert(0.1, 5, frm="fairseq.logged", to="fairseq")
    assert (c.to_eps, c.scale, c.offset) == (0.1, pytest.approx(math.log(2)), 0.0)
    assert convert_loss(1.0, 5, eps=0.1, frm="fairseq", to="fairseq", to_base=2) == pytest.approx(1 / math.log(2))


@pytest.mark.parametrize(
    ("base", "unit"), [(None, 1 / math.log(2)), (2, 1 / math.log(2)), (math.e, 1.0), (10, 1 / math.log(10))]
)
def test_a_loss_for_a_framework_that_shows_bits_is_converted_to_a_base_once(base, unit):
    z, eps = np.array([2.0, 0.0, 0.0]), 0.1
    nats = float(np.array([1 - eps, eps / 2, eps / 2]) @ (np.log(np.exp(z).sum()) - z))
    found = convert_loss(nats, 3, eps=eps, frm="fairseq", to="fairseq.logged", to_base=base)
    assert found == pytest.approx(nats * unit, rel=1e-12)


def test_timms_binary_loss_is_keras_only_at_two_classes():
    assert convert_eps(0.2, 2, frm="timm.bce", to="keras.bin") == pytest.approx(0.2)
    with pytest.raises(ConversionError, match='no strength of "sigmoid-half" has 0.82 on the label and 0.02 on each'):
        convert(0.2, 10, frm="timm.bce", to="keras.bin")


def test_without_smoothing_padding_makes_no_difference_if_there_is_a_class_beside_it():
    c = convert(0.0, 8, frm="onmt2", to="torch")
    assert (c.to_eps, c.scale, c.offset) == (0.0, 1.0, 0.0)
    with pytest.raises(ConversionError, match="ε = 0 in torch cannot be OpenNMT-py 2's: num_classes must be at least"):
        convert(0.0, 2, frm="torch", to="onmt2")


@pytest.mark.parametrize(
    ("frm", "to", "eps", "message"),
    [
        ("fairseq", "torch", 0.95, "ε = 0.95 in fairseq cannot be torch's: at K = 10 no strength of "),
        ("onmt2", "torch", 0.1, "converted to torch: one leaves the padding class without mass, one gives "),
        ("torch", "keras.bin", 0.1, "every class of a softmax some mass, one has K sigmoids and not one softmax"),
        ("mbls", "torch", 0.1, "label smoothing cannot be converted: its target is not one strength spread"),
        ("torch", "classy", 1.0, "ε = 1 in torch cannot be ClassyVision's"),
        ("deficit?", "torch", 0.1, 'no framework "deficit?" is known'),
        ("fairsek", "torch", 0.1, 'no framework "fairsek" is known. Did you mean "fairseq"? Known: sfumato.all, '),
        ("torch", "fairseq", 1.5, "eps must be in [0, 1], got 1.5"),
        ("torch", "fairseq", float("nan"), "eps must be in [0, 1], got nan"),
        ("classy", "torch", -0.5, 'eps must be at least 0 and finite for "classy", got -0.5'),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_said(frm, to, eps, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        convert(eps, 10, frm=frm, to=to)
    assert message in str(caught.value)


@pytest.mark.parametrize("key", FORMULAS)
def test_every_name_finds_its_formula_unless_it_is_the_key_of_another(key):
    assert find(key).key == key
    for name in FORMULAS[key].names:
        assert find(name.upper()).key == key or find(name).names == find(name.upper()).names


def test_no_two_formulas_share_a_name():
    def plain(formula):
        return {"".join(c for c in name.lower() if c.isalnum()) for name in (formula.key, *formula.names)}

    every = [name for formula in FORMULAS.values() for name in plain(formula)]
    assert sorted(name for name in set(every) if every.count(name) > 1) == []


def test_an_option_that_a_formula_has_not_is_refused():
    with pytest.raises(TypeError, match="timm has no option 'weight'; it has no options"):
        find("timm").loss([[0.0, 1.0]], [0], 0.1, weight=[1.0, 2.0])


def test_a_padding_class_needs_a_third_class():
    with pytest.raises(ValueError, match='num_classes must be at least 3 for "nopad", .* got 2'):
        SPREADS["nopad"].target(0.1, 2)


def test_a_shard_of_two_is_not_the_whole():
    z, y = RNG.standard_normal((3, 8)), [0, 5, 7]
    one, two = (find("megatron.partition").loss(z, y, 0.1, shards=n) for n in (1, 2))
    assert one == pytest.approx(find("megatron").loss(z, y, 0.1), rel=1e-12)
    assert abs(two - one) > 1e-3


def test_ligers_squared_partition_is_divided_by_rows_and_its_cross_entropy_by_weights():
    z, y, weight = RNG.standard_normal((4, 5)), [0, 3, -100, 4], np.array([0.5, 1.0, 2.0, 4.0, 0.25])
    lse = np.log(np.exp(z).sum(axis=1))[[0, 1, 3]]
    expected = find("torch").loss(z, y, 0.1, weight=weight) + 1e-2 * (lse**2).mean()
    assert find("liger").loss(z, y, 0.1, weight=weight, z_loss=1e-2) == pytest.approx(expected, rel=1e-12)


def entropy(*shares: float) -> float:
    return -sum(q * math.log(q) for q in shares if q)


@pytest.mark.parametrize("k", [3, 10, 1000])
@pytest.mark.parametrize("eps", [0.0, 0.1, 0.6, 1.0])
@pytest.mark.parametrize("name", SPREADS)
def test_the_strength_of_an_optimum_is_the_strength_that_gave_it(name, eps, k):
    spread = SPREADS[name]
    assert spread.strength(*spread.optimum(eps, k), k) == pytest.approx(eps, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "pair"),
    [("sigmoid-half", (0.9, 0.1)), ("sigmoid-full", (0.8, 0.2)), ("sigmoid-all", (0.8 + 0.2 / 5, 0.2 / 5))],
)
def test_the_floor_of_sigmoids_is_the_entropy_of_k_coins(name, pair):
    true, other = pair
    coins = entropy(true, 1 - true) + 4 * entropy(other, 1 - other)
    assert SPREADS[name].floor(0.2, 5) == pytest.approx(coins, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "shares", "mass"),
    [("nopad", (0.8, *[0.2 / 3] * 3), 1.0), ("classy", (1.04 / 1.2, *[0.04 / 1.2] * 4), 1.0),
     ("deficit", (0.8, *[0.04] * 4), 0.96)],
)  # fmt: skip
def test_the_floor_of_a_softmax_is_its_mass_times_the_entropy_of_its_optimum(name, shares, mass):
    assert SPREADS[name].floor(0.2, 5) == pytest.approx(mass * entropy(*(q / mass for q in shares)), rel=1e-12)


@pytest.mark.parametrize("name", ["others", "nopad", "deficit", "sigmoid-full"])
def test_a_label_without_mass_is_pushed_down_for_ever(name):
    assert SPREADS[name].gap(1.0, 5) == -math.inf


@pytest.mark.parametrize("name", SPREADS)
def test_without_smoothing_the_label_is_pushed_up_for_ever(name):
    assert SPREADS[name].gap(0.0, 5) == math.inf


@pytest.mark.parametrize(("name", "gap"), [("nopad", math.log(3 * 0.8 / 0.2)), ("classy", math.log(1 + 5 / 0.2)),
                                           ("deficit", math.log(5 * 0.8 / 0.2)), ("sigmoid-half", math.log(1.8 / 0.2)),
                                           ("sigmoid-full", math.log(0.8 / 0.2)),
                                           ("sigmoid-all", math.log(0.84 / 0.16))])  # fmt: skip
def test_the_gap_is_that_of_the_formula(name, gap):
    assert SPREADS[name].gap(0.2, 5) == pytest.approx(gap, rel=1e-12)


@given(
    st.sampled_from([name for name, spread in SPREADS.items() if spread.over is None]),  # theory has the others
    st.one_of(
        st.floats(0.1, 320).map(lambda n: 10**-n), st.floats(0.1, 15.5).map(lambda n: 1 - 10**-n), st.floats(0, 1)
    ),
    st.sampled_from([3, 10, 1000, 10**6]),
)
@example("sigmoid-full", 1e-17, 10)  # whose 1 − ε is 1
@example("deficit", 1 - 1e-10, 2)
def test_gap_and_floor_have_all_their_digits(name, eps, k):
    spread, n = SPREADS[name], k - (2 if name == "nopad" else 1)
    with mpmath.workdps(700):
        true, other = spread.pair(mpmath.mpf(eps), k)
        coins, total = name.startswith("sigmoid"), true + n * other
        base = 1 - true if coins else other
        gap = mpmath.log(true / base) if true and base else mpmath.inf if true else -mpmath.inf
        shares = [(true, 1), (other, n), *([(1 - true, 1), (1 - other, n)] if coins else [])]
        floor = -mpmath.fsum(many * q * mpmath.log(q if coins else q / total) for q, many in shares if q)
    assert spread.gap(eps, k) == pytest.approx(float(gap), rel=2e-15, abs=3e-16)
    assert spread.floor(eps, k) == pytest.approx(float(floor), rel=2e-15)


@pytest.mark.parametrize(("true", "other"), [(0.5, 0.2), (0.9, 0.1), (1.2, -0.05), (0.0, 0.25), (math.nan, math.nan)])
def test_probabilities_that_no_strength_over_all_has_are_refused(true, other):
    with pytest.raises(ConversionError, match='at K = 5 no strength of "all" has '):
        SPREADS["all"].strength(true, other, 5)


@pytest.mark.parametrize("name", ["all", "others", "deficit"])
def test_no_strength_of_classy_is_uniform_however_its_share_is_rounded(name):
    for k in range(2, 300):
        limit = {"all": 1.0, "others": (k - 1) / k, "deficit": k / (k + 1)}[name]  # where its optimum is 1/K each
        with pytest.raises(ConversionError, match=f'at K = {k} no strength of "classy" has '):
            SPREADS["classy"].strength(*SPREADS[name].optimum(limit, k), k)
