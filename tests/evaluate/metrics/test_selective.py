"""Selective prediction: against every order of tied rows, scikit-learn's AUROC, and rows left out one by one."""

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from sfumato.evaluate.metrics.selective import RankedGroups

few = st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6)
some = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=25)


def split(rows):
    return np.array([float(s) for s, _ in rows]), np.array([c for _, c in rows])


def expected_risks(score, correct):
    """Mean over all orders that respect the score of the error rate among the first i rows."""
    found = [
        np.cumsum(~correct[list(order)]) / np.arange(1, len(correct) + 1)
        for order in permutations(range(len(score)))
        if all(score[a] >= score[b] for a, b in pairwise(order))
    ]
    return np.mean(found, axis=0)


AREAS = [lambda *rows, name=name: getattr(RankedGroups(*rows), name)() for name in ("aurc", "eaurc", "augrc")]


def plain_aurc(score, correct):
    """Sorted rows, each error replaced by the error rate of its group: the definition, O(N²)."""
    share = np.array([np.mean(~correct[score == s]) for s in score])
    order = np.argsort(-score, kind="stable")
    return np.mean(np.cumsum(share[order]) / np.arange(1, len(score) + 1))


def plain_eaurc(score, correct):
    r = np.mean(~correct)
    return plain_aurc(score, correct) - (1.0 if r == 1 else r + (1 - r) * np.log(1 - r))


@given(few)
def test_risks_are_means_over_every_order_of_tied_rows(rows):
    score, correct = split(rows)
    truth = expected_risks(score, correct)
    groups = RankedGroups(score, correct)
    np.testing.assert_allclose(groups.errors / groups.place, truth, atol=1e-13)
    assert groups.aurc() == pytest.approx(truth.mean(), abs=1e-13)
    at = [groups.risk_at(i / len(score)) for i in range(1, len(score) + 1)]
    np.testing.assert_allclose(at, truth, atol=1e-12)


@given(some)
def test_augrc_is_its_form_in_the_auroc(rows):
    score, correct = split(rows)
    r = np.mean(~correct)
    auroc = roc_auc_score(correct, score) if 0 < r < 1 else 0.0
    assert RankedGroups(score, correct).augrc() == pytest.approx(r * (1 - r) * (1 - auroc) + r**2 / 2, abs=1e-12)


@given(some)
def test_the_area_without_each_row_is_exact_with_ties(rows):
    score, correct = split(rows)
    n = range(len(score))
    truth = [plain_eaurc(np.delete(score, i), np.delete(correct, i)) for i in n]
    np.testing.assert_allclose(RankedGroups(score, correct).eaurc_without_each(), truth, atol=1e-12)
    truth = [plain_aurc(np.delete(score, i), np.delete(correct, i)) for i in n]
    np.testing.assert_allclose(RankedGroups(score, correct).aurc_without_each(), truth, atol=1e-12)


def test_the_area_without_each_row_is_exact_on_a_thousand_rows():
    rng = np.random.default_rng(4)
    score, correct = rng.integers(300, size=1000).astype(float), rng.random(1000) < 0.8
    found = RankedGroups(score, correct).eaurc_without_each()
    for i in (0, 1, 500, 999, int(score.argmax()), int(score.argmin())):
        assert found[i] == pytest.approx(plain_eaurc(np.delete(score, i), np.delete(correct, i)), abs=1e-12)


@given(some, st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter_to_the_bit(rows, random):
    score, correct = split(rows)
    order = random.sample(range(len(score)), len(score))
    for metric in AREAS:
        assert metric(score, correct) == metric(score[order], correct[order])
        assert metric(score, correct) == metric(np.exp(score) - 50, correct)  # only the order of scores counts
    assert RankedGroups(score, correct).risk_at(0.8) == RankedGroups(score[order], correct[order]).risk_at(0.8)
    np.testing.assert_array_equal(
        RankedGroups(score, correct).eaurc_without_each()[order],
        RankedGroups(score[order], correct[order]).eaurc_without_each(),
    )


@given(some, st.sampled_from([0.0, 0.05, 0.25, 0.5, 1.0]))
def test_coverage_at_risk_is_the_best_threshold(rows, risk):
    score, correct = split(rows)
    kept = [score >= t for t in score]
    truth = max([k.mean() for k in kept if np.mean(~correct[k]) <= risk], default=0.0)
    assert RankedGroups(score, correct).coverage_at(risk) == pytest.approx(truth, abs=1e-15)


def test_coverage_at_risk_counts_a_risk_just_met_and_is_0_below_a_sure_error():
    assert RankedGroups(np.arange(20.0), np.arange(20) > 0).coverage_at(0.05) == 1.0
    assert RankedGroups([0.9, 0.5], np.array([False, True])).coverage_at(0.0) == 0.0


@pytest.mark.parametrize(("right", "areas"), [(True, [0.0, 0.0, 0.0]), (False, [1.0, 0.0, 0.5])])
def test_all_right_has_no_risk_and_all_wrong_none_in_excess(right, areas):
    score, correct = np.arange(5.0), np.full(5, right)
    assert [metric(score, correct) for metric in AREAS] == areas
    assert RankedGroups(score, correct).eaurc_without_each() == pytest.approx([0.0] * 5, abs=1e-15)


@pytest.mark.parametrize(("right", "area"), [(True, 0.0), (False, 1.0)])
def test_one_row(right, area):
    assert RankedGroups([0.5], np.array([right])).aurc() == area
    assert RankedGroups([0.5], np.array([right])).risk_at(0.8) == area
    assert RankedGroups([0.5], np.array([right])).coverage_at(0.01) == 1.0 - area


def test_a_perfect_order_has_an_excess_of_order_one_over_n():
    correct = np.arange(1000) < 900
    assert abs(RankedGroups(-np.arange(1000.0), correct).eaurc()) < 1e-3


def test_a_part_of_a_tied_group_has_the_groups_risk():
    assert RankedGroups([1.0] * 7, np.arange(7) < 5).risk_at(0.8) == pytest.approx(2 / 7)


def test_one_row_cannot_be_left_out():
    with pytest.raises(ValueError, match="at least 2 rows, got 1"):
        RankedGroups(np.array([0.1]), np.array([True])).eaurc_without_each()


def test_what_rows_add_to_a_risk_has_the_risk_as_its_mean():
    rng = np.random.default_rng(0)
    groups = RankedGroups(np.round(rng.random(60), 1), rng.random(60) < 0.7)
    for part, value in (
        (groups.augrc_part(), groups.augrc()),
        (groups.risk_part(0.8), groups.risk_at(0.8)),
        (groups.risk_part(0.33), groups.risk_at(0.33)),
    ):
        assert part.mean() == pytest.approx(value, abs=1e-14)
