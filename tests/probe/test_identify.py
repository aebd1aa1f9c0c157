"""Conventions named from levels that the conventions' own formulas give, or that are written down."""

from __future__ import annotations

import pytest

from sfumato.probe.levels import Levels
from sfumato.probe.target import identify, strength_over

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
    n = k - 1 - (pad is not None)
    kind = "softmax" if pad is None else "softmax without padding"
    mass = times * (true + n * other)
    return Levels(k, kind, times * true, times * other, mass, pad, factor=mass, **more)


@pytest.mark.parametrize("name", [name for name in PAIRS if name not in ("classy", "sigmoid-half", "sigmoid-full")])
@pytest.mark.parametrize("eps", [0.05, 0.1, 0.3])
def test_a_convention_is_named_from_several_k(name, eps):
    found = identify({k: level(name, eps, k) for k in KS})
    assert (found.convention, found.eps) == (name, eps)


def test_two_names_of_one_target_are_told_and_the_rounder_strength_wins():
    classy = identify({k: level("classy", 0.1, k) for k in KS})
    assert (classy.convention, classy.eps) == ("classy", 0.1)
    assert classy.why == "one strength at K = 4, 7, 10; the same as all with 0.0909091"
    half = identify({k: level("sigmoid-half", 0.25, k) for k in KS})
    assert (half.convention, half.eps) == ("sigmoid-half", 0.25)  # and sigmoid-full with 0.125
    assert identify({k: level("sigmoid-half", 0.25, k) for k in KS}, 0.25).convention == "sigmoid-half"
    assert identify({k: level("sigmoid-half", 0.25, k) for k in KS}, 0.125).convention == "sigmoid-full"


def test_the_argument_decides_at_one_k_and_only_if_it_fits():
    one = {10: level("others", 0.1, 10)}
    assert identify(one).convention is None
    assert (identify(one, 0.1).convention, identify(one, 0.1).why) == ("others", "the strength that it was given")
    assert identify({10: level("all", 0.1, 10)}, 0.1).convention == "all"
    assert identify(one, 0.2).convention is None


def test_the_argument_may_be_ten_times_as_far_from_what_was_read_of_coarse_values():
    read = 0.123456 * (1 + 1e-5)
    assert identify({10: level("others", read, 10, coarse=True)}, 0.123456).eps == 0.123456
    assert identify({10: level("others", read, 10)}, 0.123456).convention is None


def test_a_strength_that_changes_with_k_has_no_convention():
    found = identify({k: level("all", 1 / k, k) for k in KS})
    assert (found.convention, found.why) == (None, "no convention known has one strength that fits every K tried")


def test_kinds_that_change_with_k_have_no_convention():
    found = identify({4: level("all", 0.1, 4), 7: level("sigmoid-all", 0.1, 7)})
    assert (found.convention, found.why) == (None, "the kind of target is not the same at every K")


def test_all_mass_on_the_label():
    hard = {k: Levels(k, "softmax", 1.0, 0.0, 1.0) for k in KS}
    assert (identify(hard).convention, identify(hard).eps) == ("one-hot", 0.0)
    assert identify({k: Levels(k, "sigmoid", 1.0, 0.0, 1.0) for k in KS}).convention == "sigmoid-hard"


def test_a_mass_of_one_over_k_is_a_mean_over_classes_and_another_that_moves_is_no_convention():
    assert identify({k: level("others", 0.1, k, 1 / k) for k in KS}).convention == "others"
    assert identify({k: level("others", 0.1, k, 3.0) for k in KS}).convention == "others"
    assert identify({k: level("others", 0.1, k, 1 + 0.1 * k) for k in KS}).convention is None


def test_a_mass_short_of_one_by_the_labels_share_is_a_deficit_whatever_else_has_its_optimum():
    assert identify({k: level("deficit", 0.2, k) for k in KS}).convention == "deficit"
    assert identify({k: level("deficit", 0.2, k, 1 / (1 - 0.2 / k)) for k in KS}).convention != "deficit"


@pytest.mark.parametrize("name", PAIRS)
def test_the_strength_of_a_convention_is_that_of_its_own_levels(name):
    assert strength_over(name, level(name, 0.2, 9)) == 0.2


@pytest.mark.parametrize(
    ("name", "level", "expected"),
    [
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
