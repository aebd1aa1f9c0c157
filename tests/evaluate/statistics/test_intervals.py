"""Intervals over seeds, rows and folds: against scipy's t tests, mean squares by hand, and simulated models."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

import sfumato.evaluate as ev


def simulate(rng, seeds, rows, sd_seed, sd_row, sd_rest, mean=0.0):
    return (
        mean
        + sd_seed * rng.normal(size=(seeds, 1))
        + sd_row * rng.normal(size=(1, rows))
        + sd_rest * rng.normal(size=(seeds, rows))
    )


def freedom(rows):
    """Of the variance of rows by their kurtosis, which scipy computes; at most that of the t test."""
    kurtosis, n = stats.kurtosis(rows, fisher=False), len(rows)
    return min(2 * n / (kurtosis - 1 + 2 / (n - 1)), n - 1)


def weighted(terms, t):
    """Ends in standard errors and p of terms of variance, by scipy: what the terms give, each with its own t."""
    share = np.array([term for term, _ in terms]) / sum(term for term, _ in terms)

    def quantile(tail):
        return float(sum(part * stats.t.isf(tail, df) for part, (_, df) in zip(share, terms, strict=True)))

    return quantile(0.025), brentq(lambda log_p: quantile(np.exp(log_p) / 2) - t, -60, 0, xtol=1e-14)


@pytest.mark.parametrize(
    ("draw", "is_t_test"), [("uniform", True), ("normal", False), ("exponential", False), ("mistakes", False)]
)
def test_one_seed_is_the_t_test_over_rows_with_the_freedom_of_their_kurtosis(draw, is_t_test):
    rng = np.random.default_rng(0)
    x = (rng.random(300) < 0.02).astype(float) if draw == "mistakes" else getattr(rng, draw)(size=30)
    found, plain, df = ev.estimate_interval(x[None, :]), stats.ttest_1samp(x, 0), freedom(x)
    half = stats.t.ppf(0.975, df) * stats.sem(x)
    truth = x.mean() - half, x.mean() + half, 2 * stats.t.sf(abs(plain.statistic), df)
    assert (found.low, found.high, found.p, found.df) == pytest.approx((*truth, df), rel=1e-9)
    assert (found.p == pytest.approx(plain.pvalue, rel=1e-9)) == is_t_test


def test_few_rows_that_differ_count_as_few():
    # five rows of a thousand differ: their variance is known about as well as that of five rows
    x = np.repeat([1.0, 0.0], [5, 995])
    assert ev.estimate_interval(x[None, :]).df == pytest.approx(10, abs=0.5)


def test_one_row_is_the_one_sample_t_test_over_seeds():
    x = np.random.default_rng(1).normal(0.3, 1, size=5)
    found, truth = ev.estimate_interval(x[:, None], level=0.9), stats.ttest_1samp(x, 0)
    low, high = truth.confidence_interval(0.9)
    assert (found.low, found.high, found.p) == pytest.approx((low, high, truth.pvalue), rel=1e-10)


def test_rows_without_variance_of_their_own_leave_the_t_test_over_seed_means():
    x = simulate(np.random.default_rng(2), 5, 40, 1.0, 0.0, 1.0)
    x -= x.mean(axis=0) - x.mean()  # every row now has the same mean: its mean square is 0
    found, truth = ev.estimate_interval(x), stats.ttest_1samp(x.mean(axis=1), 0)
    low, high = truth.confidence_interval(0.95)
    assert (found.low, found.high, found.p) == pytest.approx((low, high, truth.pvalue), rel=1e-9)
    assert found.var_row == 0.0


def test_variance_and_freedom_are_those_of_a_table_worked_by_hand():
    # rows 1 3 5 and 2 6 10: means of seeds 3 and 6, of rows 1.5, 4.5, 7.5, of all 4.5; rest ±1, 0, ∓1
    found = ev.estimate_interval([[1.0, 3.0, 5.0], [2.0, 6.0, 10.0]])
    ms_seed, ms_row, ms_rest = 13.5, 18.0, 2.0
    terms = [((ms_row - ms_rest) / 6, 2), (ms_seed / 6, 1)]  # rows −3, 0, 3 have a kurtosis of 1.5: ν = 4, at most 2
    se = np.sqrt((ms_seed + ms_row - ms_rest) / 6)
    q, log_p = weighted(terms, 4.5 / se)
    truth = (4.5, 4.5 - q * se, 4.5 + q * se, np.exp(log_p), se)
    assert (found.mean, found.low, found.high, found.p, found.se) == pytest.approx(truth, rel=1e-9)
    assert found.terms == tuple(pytest.approx(term) for term in terms)
    assert (found.var_seed, found.var_row) == pytest.approx(((13.5 - 2) / 3, (18 - 2) / 2), rel=1e-12)
    assert found.interval(0.9)[0] > found.low


def test_p_is_the_level_at_which_the_interval_ends_at_0():
    rng = np.random.default_rng(9)
    for seeds, rows, mean in ((3, 40, 0.5), (2, 400, 3.0), (5, 9, 0.01), (3, 2000, 20.0)):
        x = simulate(rng, seeds, rows, 0.3, 1.0, 1.0, mean=mean)
        found = ev.estimate_interval(x)
        assert ev.estimate_interval(x, level=1 - found.p).low == pytest.approx(0, abs=1e-6)


def test_seeds_nested_in_folds_are_a_table_worked_by_hand():
    # means of models 2 and 6 in fold 0, 6 and 10 in fold 1; of folds 4 and 8; of all 6
    x = [[1.0, 3.0, 5.0, 7.0], [3.0, 9.0, 9.0, 11.0]]
    found = ev.estimate_interval(x, folds=[0, 0, 1, 1])
    ms_seed = (2 * (4 + 4) + 2 * (4 + 4)) / 2  # F(S − 1) = 2
    ms_row = 2 * (4 + 4 + 1 + 1) / 2  # rows 2, 6 | 7, 9 about 4 and 8; N − F = 2
    ms_rest = (4 * 1 + 4 * 0) / 2  # fold 0: ±1; fold 1: none
    ms_fold = 2 * (2 * 4 + 2 * 4) / 1
    row, seed = (ms_row - ms_rest) / 8, ms_seed / 8
    effects = np.array([-2.0, 2.0, -1.0, 1.0])
    kurtosis = 4 * np.sum(effects**4) / np.sum(effects**2) ** 2
    terms = [(row, min(8 / (kurtosis - 1 + 2 / 3), 2)), (seed, 2), (ms_fold / 8 - row - seed, 1)]
    assert found.terms == tuple(pytest.approx(term) for term in terms)
    assert (found.mean, found.se) == pytest.approx((6, np.sqrt(ms_fold / 8)), rel=1e-12)
    assert (found.folds, found.seeds, found.rows) == (2, 2, 4)
    assert found.var_fold == pytest.approx(2 * terms[2][0])


def test_one_fold_is_none_and_the_order_of_folds_does_not_matter():
    x = simulate(np.random.default_rng(8), 3, 20, 0.4, 1.0, 1.0)
    assert ev.estimate_interval(x, folds=np.zeros(20, int)) == ev.estimate_interval(x)
    fold = np.arange(20) % 4
    found, moved = ev.estimate_interval(x, folds=fold), ev.estimate_interval(x[:, ::-1], folds=3 - fold[::-1])
    assert (moved.low, moved.high, moved.p) == pytest.approx((found.low, found.high, found.p), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("sd_fold", [0.0, 0.15])
def test_intervals_of_rotated_folds_cover_the_truth(seeds, sd_fold):
    rng, inside, times, fold = np.random.default_rng([seeds, round(100 * sd_fold)]), 0, 600, np.arange(100) % 5
    for _ in range(times):
        models = 0.7 + sd_fold * rng.normal(size=5) + 0.1 * rng.normal(size=(seeds, 5))
        x = models[:, fold] + 0.5 * rng.normal(size=100) + 0.5 * rng.normal(size=(seeds, 100))
        found = ev.estimate_interval(x, folds=fold)
        inside += found.low <= 0.7 <= found.high
    assert 0.93 <= inside / times <= 0.98 + (sd_fold == 0) * 0.01  # without an effect, its term is still above 0


def test_components_of_variance_are_recovered():
    found = ev.estimate_interval(simulate(np.random.default_rng(3), 300, 300, 0.5, 2.0, 1.0))
    assert found.var_seed == pytest.approx(0.25, rel=0.25)
    assert found.var_row == pytest.approx(4.0, rel=0.25)


@pytest.mark.parametrize("sds", [(0.0, 1.0, 1.0), (0.1, 1.0, 1.0), (0.5, 0.5, 1.0)])
def test_intervals_cover_the_truth_about_as_often_as_they_say(sds):
    rng = np.random.default_rng(4)
    inside = 0
    for _ in range(400):
        found = ev.estimate_interval(simulate(rng, 5, 60, *sds, mean=0.7))
        inside += found.low <= 0.7 <= found.high
    # 95 % of 400 is 380 ± 9 at two standard errors; a little wide is allowed, too narrow is not
    assert inside >= 366


def test_estimate_moves_the_centre_and_not_the_width():
    x = np.random.default_rng(5).normal(size=(3, 20))
    plain, moved = ev.estimate_interval(x), ev.estimate_interval(x, estimate=2.0)
    assert moved.mean == 2.0
    assert moved.high - moved.low == pytest.approx(plain.high - plain.low, rel=1e-12)


def test_seeds_that_agree_by_accident_are_no_certainty():
    # both seeds gain one row of four, each another one: equal means, and rows that vary less than the rest
    found = ev.estimate_interval([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    ms_rest = 1.0 / 3
    assert found.se == pytest.approx(np.sqrt(ms_rest / 8), rel=1e-12)
    assert found.df == pytest.approx(1)
    assert found.p == pytest.approx(2 * stats.t.sf(0.25 / found.se, 1), rel=1e-10)


@pytest.mark.parametrize(("value", "p"), [(0.0, 1.0), (0.1, 0.0)])
def test_nothing_that_varies_is_a_point(value, p):
    found = ev.estimate_interval(np.full((3, 7), value), estimate=value)
    assert (found.mean, found.low, found.high, found.p, found.se) == (value, value, value, p, 0.0)


def test_a_large_constant_costs_no_digits():
    x = np.random.default_rng(6).integers(8, size=(4, 10)).astype(float)
    assert ev.estimate_interval(x + 2.0**40).se == pytest.approx(ev.estimate_interval(x).se, rel=1e-12)


def test_order_of_seeds_and_rows_does_not_matter():
    x = np.random.default_rng(7).normal(size=(4, 15))
    found, moved = ev.estimate_interval(x), ev.estimate_interval(x[::-1, ::-1])
    assert (moved.low, moved.high) == pytest.approx((found.low, found.high), rel=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ev.estimate_interval([1.0, 2.0]), r"\(seeds, rows\) and at least 2, got shape \(2,\)"),
        (lambda: ev.estimate_interval([[1.0]]), r"got shape \(1, 1\)"),
        (lambda: ev.estimate_interval([[1.0, 2.0], [3.0, np.nan]]), "got nan for seed 1, row 1"),
        (lambda: ev.estimate_interval([[1.0, 2.0]], estimate=np.inf), "estimate must be finite, got inf"),
        (lambda: ev.estimate_interval([[1.0, 2.0]], level=1.0), r"level must be in \(0, 1\), got 1.0"),
        (lambda: ev.estimate_interval([[1.0, 2.0]], folds=[0]), r"folds must be \(2,\), one a row, got shape \(1,\)"),
        (lambda: ev.estimate_interval([[1.0, 2.0]], folds=[-1, 0]), "numbered from 0, got -1"),
        (lambda: ev.estimate_interval([[1.0, 2.0, 3.0]], folds=[0, 0, 1]), "at least 2 rows, got 1 in fold 1"),
        (lambda: ev.pseudo_values(1.0, [1.0]), "at least 2 rows"),
        (lambda: ev.pseudo_values([1.0, 2.0], [1.0, 1.0]), "full must be"),
        (lambda: ev.holm([0.1, 1.5]), r"p-values must be in \[0, 1\], got 1.5 at 1"),
        (lambda: ev.holm([np.nan]), "got nan at 0"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_pseudo_values_of_a_mean_are_the_values():
    x = np.random.default_rng(8).normal(size=20)
    without = [np.delete(x, i).mean() for i in range(20)]
    np.testing.assert_allclose(ev.pseudo_values(x.mean(), without), x, atol=1e-12)


def test_pseudo_values_have_the_statistic_as_their_mean_and_the_jackknifes_variance():
    x = np.random.default_rng(9).exponential(size=(3, 30))
    full = x.std(axis=1)
    without = np.array([[np.delete(row, i).std() for i in range(30)] for row in x])
    values = ev.pseudo_values(full, without)
    np.testing.assert_allclose(values.mean(axis=1), full, rtol=1e-12)
    np.testing.assert_allclose(
        values.var(axis=1, ddof=1), (30 * full[:, None] - 29 * without).var(axis=1, ddof=1), rtol=1e-10
    )


def test_holm_is_the_example_of_four():
    # 4·0.005, 3·0.01, 2·0.03 and 1·0.04, which may not be below the one before it
    assert ev.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02], rel=1e-12)


def test_holm_stays_at_most_1_and_takes_an_empty_list():
    assert ev.holm([0.9, 0.8]) == [1.0, 1.0]
    assert ev.holm([]) == []


def test_one_model_an_arm_is_the_paired_t_test_over_rows():
    a, b = np.random.default_rng(0).normal(size=(2, 1, 50))
    found, truth, df = ev.estimate_unpaired(a, b), stats.ttest_rel(a[0], b[0]), freedom((a - b)[0])
    p = 2 * stats.t.sf(abs(truth.statistic), df)
    assert (found.mean, found.p, found.df) == pytest.approx(((a - b).mean(), p, df), rel=1e-9)


@pytest.mark.parametrize("seeds", [3, 5])
def test_as_many_seeds_on_one_row_are_welchs_t_test(seeds):
    a, b = np.random.default_rng(1).normal(size=(seeds, 1)), np.random.default_rng(2).normal(size=(seeds, 1)) * 3
    found, truth = ev.estimate_unpaired(a, b), stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False)
    low, high = truth.confidence_interval(0.95)
    assert (found.low, found.high, found.p, found.df) == pytest.approx((low, high, truth.pvalue, truth.df), rel=1e-9)


@pytest.mark.slow
def test_two_models_against_ten_of_less_spread_err_at_most_6_in_100_where_welchs_test_errs_more():
    rng, times = np.random.default_rng(11), 4000
    ours = welch = 0
    for _ in range(times):
        a, b = rng.normal(size=(2, 1)), 0.4 * rng.normal(size=(10, 1))
        ours += ev.estimate_unpaired(a, b).p < 0.05
        welch += stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False).pvalue < 0.05
    assert ours / times <= 0.06 < welch / times


@pytest.mark.slow
def test_three_models_an_arm_find_more_than_by_the_freedom_of_each():
    rng, pooled, apart, times = np.random.default_rng(12), 0, 0, 400
    for _ in range(times):
        rows = rng.normal(size=200)
        a, b = (m + 0.2 * rng.normal(size=(3, 1)) + rows + 0.3 * rng.normal(size=(3, 200)) for m in (0.6, 0.0))
        found = ev.estimate_unpaired(a, b)
        pooled += found.p < 0.05
        seed = sum(term for term, _ in found.terms[1:])
        apart += abs(found.mean) > found.se * weighted([*found.terms[:1], (seed, 2)], 1.0)[0]
    assert pooled > apart + 0.1 * times


def test_one_row_is_a_t_test_between_seeds_that_asks_for_both_variances():
    a, b = np.random.default_rng(1).normal(size=(4, 1)), np.random.default_rng(2).normal(size=(6, 1)) * 3
    found, truth = ev.estimate_unpaired(a, b), stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False)
    assert found.se == pytest.approx(abs((a.mean() - b.mean()) / truth.statistic), rel=1e-9)
    assert 3 <= found.df <= truth.df  # never more than Welch's


def test_the_components_of_two_arms_are_told_apart():
    rng = np.random.default_rng(4)
    rows = rng.normal(size=3000)
    a = 0.5 * rng.normal(size=(300, 1)) + rows + rng.normal(size=(300, 3000))
    b = 1.5 * rng.normal(size=(200, 1)) + rows + 0.3 * rng.normal(size=3000) + 2 * rng.normal(size=(200, 3000))
    found = ev.estimate_unpaired(a, b)
    assert found.var_seed == pytest.approx(0.25 + 2.25, rel=0.15)
    assert found.var_row == pytest.approx(0.09, rel=0.15)
    assert found.var_rest == pytest.approx(1 + 4, rel=0.02)
    assert (found.seeds, found.rows) == (200, 3000)


@pytest.mark.slow
@pytest.mark.parametrize(("mine", "theirs"), [(2, 2), (3, 3), (5, 5), (1, 5), (3, 10)])
@pytest.mark.parametrize("sds", [(0.0, 0.5), (0.05, 0.5), (0.2, 0.5)])
def test_equal_arms_with_seeds_of_their_own_differ_at_most_as_often_as_the_level_says(mine, theirs, sds):
    rng, found, times = np.random.default_rng([mine, theirs, round(100 * sds[0])]), 0, 600
    for _ in range(times):
        rows = rng.normal(size=100)
        a, b = (
            (sds[0] * rng.normal(size=(s, 1)) if s > 1 else 0) + rows + sds[1] * rng.normal(size=(s, 100))
            for s in (mine, theirs)
        )
        found += ev.estimate_unpaired(a, b).p < 0.05
    assert found / times <= 0.05 + 2.5 * (0.05 * 0.95 / times) ** 0.5


def test_seeds_of_their_own_need_the_seed_term_that_pooling_leaves_out():
    rng, naive = np.random.default_rng(6), 0
    for _ in range(300):
        rows = rng.normal(size=100)
        a, b = (0.2 * rng.normal(size=(5, 1)) + rows + 0.1 * rng.normal(size=(5, 100)) for _ in range(2))
        naive += stats.ttest_rel(a.mean(axis=0), b.mean(axis=0)).pvalue < 0.05
    assert naive > 150


def test_arms_on_other_rows_are_refused():
    with pytest.raises(ValueError, match="both arms must have the same rows, got 3 and 2"):
        ev.estimate_unpaired([[1.0, 2, 3]], [[1.0, 2]])


@pytest.mark.parametrize("seeds", [(2, 5), (3, 7)])
def test_models_that_agree_on_every_row_do_not_differ_by_rounding(seeds):
    rows = (np.arange(114) > 1).astype(float) / 3
    found = ev.estimate_unpaired(*(np.tile(rows, (s, 1)) for s in seeds), estimate=np.spacing(0.3))
    assert (found.mean, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)
