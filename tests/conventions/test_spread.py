"""Each way to spread a strength, against the pair that its definition has: strengths, floors and gaps by hand."""

from __future__ import annotations

import math

import mpmath
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sfumato.conventions import SPREADS, ConversionError


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


@pytest.mark.parametrize("name", SPREADS)
def test_a_convention_is_shown_by_its_words_alone(name):
    assert " at 0x" not in repr(SPREADS[name])
