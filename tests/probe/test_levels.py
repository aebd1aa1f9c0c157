"""Fits of gradients that are made by hand, the levels in readings, and conventions named from levels."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import sfumato as sf
from sfumato.probe import gradients, implied_target
from sfumato.probe.gradients import Reading, fit, log_partition, with_extra_term
from sfumato.probe.levels import (
    ClassSpread,
    Levels,
    Prior,
    as_typed,
    class_levels,
    levels,
    prior_of,
    without_weights,
)
from sfumato.probe.target import identify, strength_over

K, LABELS = 5, (0, 3, 4)
RNG = np.random.default_rng(21)
Z = 1.5 * RNG.standard_normal((6, K))
E = np.exp(Z)
P = E / E.sum(axis=1, keepdims=True)
LSE = np.log(E.sum(axis=1, keepdims=True))
Q = np.stack([np.where(np.arange(K) == y, 0.8, 0.05) for y in LABELS])
PLAIN = P[None] - Q[:, None, :]  # ∂L/∂z of three labels at six logits
TERMS = {
    gradients.Z_LOSS: 2 * LSE * P,
    gradients.CONFIDENCE: P * (np.log(P) - (P * np.log(P)).sum(axis=1, keepdims=True)),
    gradients.DECAY: Z,
    gradients.SUPPRESSION: np.eye(K)[Z.argmax(axis=1)] - 1 / K,
}


def test_mass_and_target_of_a_cross_entropy_are_recovered_and_what_the_fit_leaves_is_told():
    masses = np.array([1.0, 0.5, -2.0])
    found = fit(P, masses[:, None, None] * P[None] - Q[:, None, :], 1.0)
    np.testing.assert_allclose(found.masses, masses, rtol=1e-12)
    np.testing.assert_allclose(found.targets, Q, atol=1e-14)
    assert found.residual < 1e-13
    off = PLAIN.copy()
    off[1, 2, 3] += 0.1
    assert 0.02 < fit(P, off, 2.0).residual < 0.05  # at most half of it, for the scale is 2


@pytest.mark.parametrize("kind", TERMS, ids=lambda kind: kind.formula)
@pytest.mark.parametrize("size", [0.01, 0.3, -0.2])
def test_a_penalty_and_its_coefficient_are_recovered_beside_the_target(kind, size):
    best, term = with_extra_term(Z, PLAIN + size * TERMS[kind], 1.0, 3e-5)
    assert term == (kind, pytest.approx(size, rel=1e-9))
    np.testing.assert_allclose(best.targets, Q, atol=1e-12)
    np.testing.assert_allclose(best.masses, 1.0, rtol=1e-12)


@pytest.mark.parametrize("t", [0.05, 0.7, 3.0, 40.0])
def test_a_temperature_is_recovered_and_the_target_is_that_of_the_cooled_logits(t):
    cooled = np.exp(Z / t - (Z / t).max(axis=1, keepdims=True))
    cooled /= cooled.sum(axis=1, keepdims=True)
    best, term = with_extra_term(Z, (cooled[None] - Q[:, None, :]) / t, 1 / t, 3e-5)
    assert term == (gradients.TEMPERATURE, pytest.approx(t, rel=1e-6))
    np.testing.assert_allclose(best.targets, Q, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_a_focal_exponent_is_recovered(gamma):
    def loss(z, y):
        p = np.exp(z[y]) / np.exp(z).sum()
        return -3 * (1 - p) ** gamma * np.log(p)

    step = 1e-5
    moves = step * np.eye(K)
    slopes = [[[(loss(z + m, y) - loss(z - m, y)) / (2 * step) for m in moves] for z in Z] for y in LABELS]
    best, term = with_extra_term(Z, np.array(slopes), 1.0, 3e-5)
    assert term == (gradients.FOCAL, pytest.approx(gamma, rel=1e-4))
    np.testing.assert_allclose(best.targets, 3 * np.eye(K)[list(LABELS)], rtol=1e-4)


@pytest.mark.parametrize(
    "slopes",
    [PLAIN + np.array([0.1, 0.2, 0.3])[:, None, None] * TERMS[gradients.Z_LOSS], Z[None] - Q[:, None, :]],
    ids=["a penalty of another size for each label", "a squared error"],
)
def test_what_is_no_known_term_beside_a_cross_entropy_is_none(slopes):
    assert with_extra_term(Z, slopes, 1.0, 3e-5) is None


def test_the_log_partition_of_sigmoids_is_a_sum_over_classes():
    np.testing.assert_allclose(log_partition(Z, "sigmoid"), np.log(1 + E).sum(axis=1), rtol=1e-13)
    np.testing.assert_allclose(log_partition(Z + 900, "softmax"), LSE[:, 0] + 900, rtol=1e-13)


def by_hand(z, y):
    logp = z.log_softmax(1)
    return -0.6 * logp.gather(1, y[:, None]) - 0.1 * logp.sum(1)


@pytest.mark.parametrize("label", [0, 2])
@pytest.mark.parametrize(
    ("loss", "true", "other"),
    [
        (lambda z, y: F.cross_entropy(z, y, label_smoothing=0.2), 0.85, 0.05),
        (lambda z, y: sf.cross_entropy(z, y, label_smoothing=0.3, over="others"), 0.7, 0.1),
        (torch.nn.CrossEntropyLoss(), 1.0, 0.0),
        (by_hand, 0.7, 0.1),
        (lambda z, y: 0.5 * F.cross_entropy(z, y), 0.5, 0.0),
    ],
)
def test_two_gradients_tell_the_implied_target_and_its_mass_even_where_gradients_are_off(loss, true, other, label):
    with torch.no_grad():
        implied = implied_target(loss, 4, label=label)
    expected = torch.full((4,), other, dtype=torch.float64)
    expected[label] = true
    torch.testing.assert_close(implied.target, expected, rtol=1e-12, atol=1e-14)
    assert implied.mass == pytest.approx(true + 3 * other)


def test_what_has_no_implied_target_is_said():
    with pytest.raises(ValueError, match="does not depend on its logits through torch"):
        implied_target(lambda z, y: torch.tensor(1.0), 3)
    with pytest.raises(ValueError, match="num_classes must be at least 2"):
        implied_target(F.cross_entropy, 1)


def reading(targets, masses=None, kind="softmax", **more):
    targets = np.array(targets, dtype=float)
    masses = targets.sum(axis=1) if masses is None else np.array(masses, dtype=float)
    return Reading(targets.shape[1], tuple(range(len(targets))), kind, targets, masses, 0.0, 0.0, **more)


@pytest.mark.parametrize(
    ("targets", "more", "alive"),
    [
        ([[0.8, 0.1, 0.1], [1e-7, 0.0, 0.0], [1e-10, 0.0, 0.0]], {}, [0, 1]),
        ([[0.8, 0.1, 0.1], [1e-7, 0.0, 0.0], [1e-10, 0.0, 0.0]], {"coarse": True}, [0]),  # differences of float32
        (np.zeros((2, 3)), {"kind": "other", "slopes": np.array([0.3, 0.0])}, [0]),
    ],
)
def test_which_labels_have_a_gradient(targets, more, alive):
    assert reading(targets, **more).live_labels == alive


def test_floors_are_entropies_times_the_mass():
    q = np.array([0.8, 0.15, 0.05])
    (floor,) = reading([2 * q], [2.0]).floors
    assert floor == pytest.approx(-2 * (q * np.log(q)).sum(), rel=1e-12)
    (coins,) = reading([0.5 * q], [0.5], "sigmoid").floors
    assert coins == pytest.approx(-0.5 * (q * np.log(q) + (1 - q) * np.log(1 - q)).sum(), rel=1e-12)
    assert [reading([[0.0, 1.0, 0.0]], [1.0], kind).floors.tolist() for kind in ("softmax", "sigmoid")] == [[0.0]] * 2


def test_a_batch_takes_the_live_labels_in_turn_the_second_first():
    z, labels = reading([[0.8, 0.1, 0.1], [0.0, 0.0, 0.0], [0.1, 0.1, 0.8]], [1.0, 0.0, 1.0]).batch(5, seed=3)
    assert z.shape == (5, 3)
    assert labels.tolist() == [2, 0, 2, 0, 2]


def smoothed(true=0.7, other=0.1, k=4):
    return np.where(np.eye(k, dtype=bool), true, other)


def test_the_levels_of_a_smoothed_target_are_in_units_of_the_factor_for_sigmoids_alone():
    assert levels(reading(smoothed())) == Levels(4, "softmax", 0.7, 0.1, 1.0, None, pytest.approx(1.0))
    doubled = levels(reading(2 * smoothed()))
    assert (doubled.mass, doubled.factor, doubled.optimum) == (2.0, pytest.approx(2.0), (0.7, 0.1))
    coins = levels(reading(0.25 * smoothed(0.9, 0.05), [0.25] * 4, "sigmoid"))
    assert (coins, coins.optimum) == (Levels(4, "sigmoid", 0.9, 0.05, 1.05, None, 0.25), (0.9, 0.05))


def test_a_class_without_mass_is_padding_if_the_others_have_some():
    targets = smoothed(0.8, 0.1)
    targets[:, 0] = 0
    found = levels(dataclasses.replace(reading(targets[1:], [1.0] * 3), labels=(1, 2, 3)))
    assert found == Levels(4, "softmax without padding", 0.8, 0.1, 1.0, 0, 1.0)
    assert levels(reading(np.eye(4))).pad is None


@pytest.mark.parametrize(
    ("targets", "kind"),
    [
        (smoothed() + np.array([[0.0, 0.1, 0.0, -0.1], [0] * 4, [0] * 4, [0] * 4]), "softmax"),
        (smoothed() + np.array([[-0.3, 0.1, 0.1, 0.1], [0] * 4, [0] * 4, [0] * 4]), "softmax"),
        (np.diag([1.0, 1.0, 1.0, 2.0]), "softmax"),
        (smoothed(), "other"),
        (np.zeros((4, 4)), "softmax"),
    ],
)
def test_more_levels_other_masses_another_kind_or_no_gradient_are_no_two_levels(targets, kind):
    assert levels(reading(targets, kind=kind)) is None


@pytest.mark.parametrize(
    ("level", "hard", "drifts"),
    [
        (Levels(4, "softmax", 1.0, 1e-6, 1.0), True, False),
        (Levels(4, "softmax", 1.0, 1e-5, 1.0), False, False),
        (Levels(4, "softmax", 1.0, 1e-5, 1.0, coarse=True), True, False),
        (Levels(4, "softmax", 2.0, 0.0, 2.0, factor=2.0), True, False),
        (Levels(4, "softmax", 1.0, 0.0, 1.0, factor=1.1), True, True),
        (Levels(4, "softmax", 100.0, 0.0, 100.0005, factor=100.0), True, False),
        (Levels(4, "softmax", 0.01, 0.0, 0.010001, factor=0.01), True, True),
        (Levels(4, "sigmoid", 1.0, 0.0, 1.0), True, False),
        (Levels(4, "sigmoid", 0.9, 0.0, 0.9), False, False),
    ],
)
def test_hard_levels_and_levels_that_drift(level, hard, drifts):
    assert (level.is_hard, level.drifts) == (hard, drifts)


@pytest.mark.parametrize(
    ("value", "coarse", "expected"),
    [
        (np.float64(np.float32(0.1)), False, 0.1), (0.1 + 3e-8, False, 0.10000003), (0.1 + 3e-7, True, 0.1),
        (0.12345 + 1e-9, False, 0.12345 + 1e-9), (0.123456789 + 1e-13, False, 0.123456789), (0.0, False, 0.0),
        (1 / 3, False, 1 / 3), (np.inf, False, np.inf),
    ],
)  # fmt: skip
def test_the_number_that_a_person_typed(value, coarse, expected):
    assert as_typed(float(value), coarse=coarse) == expected


def test_a_prior_is_recovered_and_a_target_of_another_form_is_not():
    prior = np.array([0.4, 0.3, 0.2, 0.1])
    targets = 0.7 * np.eye(4) + 0.3 * prior
    assert prior_of(reading(5 * targets)) == Prior(0.3, tuple(prior))
    for other in (targets + 0.01 * np.tril(np.ones((4, 4)), -1), np.eye(4)):
        assert prior_of(reading(other)) is None
    assert prior_of(reading(targets, kind="sigmoid")) is None


@pytest.mark.parametrize("rows", [np.ones(4), np.array([1.0, 2.0, 3.0, 0.5])])
@pytest.mark.parametrize(("true", "other"), [(0.7, 0.1), (1.0, 0.0)])
def test_class_weights_are_recovered_beside_row_weights(rows, true, other):
    weights = np.array([0.5, 1.0, 1.5, 1.0])
    found = without_weights(reading(rows[:, None] * weights * smoothed(true, other)))
    np.testing.assert_allclose(found.reading.targets, smoothed(true, other), atol=1e-9)
    if other:
        np.testing.assert_allclose(found.classes, weights / weights.mean(), rtol=1e-9)


def test_targets_that_no_weights_explain_have_none():
    strange, without = smoothed(), smoothed()
    strange[0, 1] *= 2
    without[0, 1] = 0  # no weight makes a share 0 beside others that are not
    for targets in (smoothed() + np.diag([0.1, 0, 0, 0]), strange, smoothed(1.1, -0.1 / 3), without):
        assert without_weights(reading(targets)) is None


Y = torch.arange(60) % 6
PRIOR = torch.tensor([0.3, 0.25, 0.2, 0.15, 0.07, 0.03], dtype=torch.float64)


def read(loss, labels=Y, off=1.0):
    z = torch.randn(len(labels), 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    loss(z).backward()
    return class_levels(z.detach().softmax(1), off * z.grad, labels)


@pytest.mark.parametrize("eps", [0.05, 0.3])
@pytest.mark.parametrize("labels", [Y, Y % 4])
def test_a_strength_under_class_weights_is_read_with_the_weight_of_each_row(eps, labels):
    weight = torch.linspace(0.5, 3, 6, dtype=torch.float64)
    found = read(lambda z: F.cross_entropy(z, labels, weight=weight, label_smoothing=eps), labels)
    assert (found.spread, found.eps) == (ClassSpread.WEIGHTS, pytest.approx(eps, abs=1e-6))
    assert found.factor[labels] == pytest.approx((weight[labels] / weight[labels].sum()).numpy())


@pytest.mark.parametrize("eps", [0.05, 0.3])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_strength_towards_a_prior_is_read_at_any_scale_unless_gradients_are_off(eps, scale):
    def loss(z):
        return sf.cross_entropy(z, sf.smooth_prior(Y, PRIOR, eps))

    found = read(loss, off=scale)
    assert (found.spread, found.eps) == (ClassSpread.PRIOR, pytest.approx(eps, abs=1e-6))
    noise = torch.randn(60, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert read(loss, off=scale * (1 + 0.01 * noise)) is None


@pytest.mark.parametrize(
    "loss",
    [
        lambda z: F.cross_entropy(z, z.detach().flip(0).softmax(1)),
        lambda z: F.cross_entropy(z / 2, Y, label_smoothing=0.1),
        lambda z: z.square().sum(),
    ],
)
def test_other_targets_have_no_such_levels(loss):
    assert read(loss) is None


def test_few_rows_or_two_classes_are_left_alone():
    z = torch.zeros(8, 6, dtype=torch.float64)
    assert class_levels(z.softmax(1), z, Y[:8]) is None
    assert class_levels(z[:, :2].softmax(1), z[:, :2], Y[:8] % 2) is None


KS = (4, 7, 10)
PAIRS = {  # q of the label and of each other class, written out
    "others": lambda e, k: (1 - e, e / (k - 1)),
    "all": lambda e, k: (1 - e + e / k, e / k),
    "nopad": lambda e, k: (1 - e, e / (k - 2)),
    "classy": lambda e, k: ((1 + e / k) / (1 + e), e / k / (1 + e)),
    "deficit": lambda e, k: (1 - e, e / k),
    "sigmoid-half": lambda e, k: (1 - e / 2, e / 2),
    "sigmoid-full": lambda e, k: (1 - e, e),
    "sigmoid-all": lambda e, k: (1 - e + e / k, e / k),
}


def level(name, eps, k, times=1.0, **more):
    true, other = PAIRS[name](eps, k)
    if name.startswith("sigmoid"):
        return Levels(k, "sigmoid", true, other, true + (k - 1) * other, **more)
    pad = 0 if name == "nopad" else None
    kind = "softmax" if pad is None else "softmax without padding"
    mass = times * (true + (k - 1 - (pad is not None)) * other)
    return Levels(k, kind, times * true, times * other, mass, pad, factor=mass, **more)


ROUNDER = "one strength at K = 4, 7, 10; the same as all with 0.0909091"
NOTHING = "no convention known has one strength that fits every K tried"
EVERY_K = "the strength that it was given, at every K tried"
TYPED = 0.123456


@pytest.mark.parametrize(
    ("at", "argument", "convention", "eps", "why"),
    [
        *(({k: level(name, eps, k) for k in KS}, None, name, eps, "") for eps in (0.05, 0.1, 0.3)
          for name in PAIRS if name not in ("classy", "sigmoid-half", "sigmoid-full")),
        ({k: level("classy", 0.1, k) for k in KS}, None, "classy", 0.1, ROUNDER),  # the strength with fewer digits
        ({k: level("sigmoid-half", 0.25, k) for k in KS}, None, "sigmoid-half", 0.25, ""),
        ({k: level("sigmoid-half", 0.25, k) for k in KS}, 0.25, "sigmoid-half", 0.25, EVERY_K),
        ({k: level("sigmoid-half", 0.25, k) for k in KS}, 0.125, "sigmoid-full", 0.125, EVERY_K),
        ({10: level("others", 0.1, 10)}, None, None, None, ""),
        ({10: level("others", 0.1, 10)}, 0.1, "others", 0.1, "the strength that it was given"),
        ({10: level("others", 0.1, 10)}, 0.2, None, None, ""),
        ({10: level("all", 0.1, 10)}, 0.1, "all", 0.1, ""),
        ({10: level("others", TYPED * (1 + 1e-5), 10, coarse=True)}, TYPED, "others", TYPED, ""),
        ({10: level("others", TYPED * (1 + 1e-5), 10)}, TYPED, None, None, ""),
        ({k: level("all", 1 / k, k) for k in KS}, None, None, None, NOTHING),
        ({4: level("all", 0.1, 4), 7: level("sigmoid-all", 0.1, 7)}, None, None, None, "the kind of target is not the "
         "same at every K"),
        ({k: Levels(k, "softmax", 1.0, 0.0, 1.0) for k in KS}, None, "one-hot", 0.0, ""),
        ({k: Levels(k, "sigmoid", 1.0, 0.0, 1.0) for k in KS}, None, "sigmoid-hard", 0.0, ""),
        ({k: level("others", 0.1, k, 1 / k) for k in KS}, None, "others", 0.1, ""),  # a mean over classes too
        ({k: level("others", 0.1, k, 3.0) for k in KS}, None, "others", 0.1, ""),
        ({k: level("others", 0.1, k, 1 + 0.1 * k) for k in KS}, None, None, None, ""),
        ({k: level("deficit", 0.2, k) for k in KS}, None, "deficit", 0.2, ""),
        ({k: level("deficit", 0.2, k, 1 / (1 - 0.2 / k)) for k in KS}, None, None, None, ""),
    ],
)  # fmt: skip
def test_the_convention_that_has_one_strength_at_every_k(at, argument, convention, eps, why):
    found = identify(at, argument)
    assert (found.convention, found.eps) == (convention, eps)
    assert why in ("", found.why)


@pytest.mark.parametrize(
    ("name", "level", "expected"),
    [
        *((name, level(name, 0.2, 9), 0.2) for name in PAIRS),
        ("all", Levels(5, "softmax", 0.6, 0.1, 1.0), 0.5),
        ("others", Levels(5, "softmax", 0.6, 0.1, 1.0), 0.4),
        ("deficit", Levels(5, "softmax", 1.2, 0.2, 2.0, factor=2.0), 5 / 11),  # (ε/K)/(1 − ε/K) = 0.1
        ("sigmoid-full", Levels(5, "softmax", 0.6, 0.1, 1.0), None),
        ("nopad", Levels(5, "softmax", 0.6, 0.1, 1.0), None),
        ("sigmoid-half", Levels(5, "sigmoid", 0.9, 0.2, 1.7), None),
        ("sigmoid-half", Levels(5, "sigmoid", 0.9, 0.1, 1.3), 0.2),
        ("all", Levels(5, "softmax", 1.0, 0.0, 1.0), 0.0),
        ("sigmoid-all", Levels(5, "softmax", 1.0, 0.0, 1.0), None),
    ],
)
def test_strengths_of_levels(name, level, expected):
    assert strength_over(name, level) == (None if expected is None else pytest.approx(expected, rel=1e-9))
