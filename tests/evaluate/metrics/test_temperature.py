"""The fitted temperature: against scipy's scalar minimiser on mpmath-free float64 NLL, closed forms and refits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.special import logsumexp, softmax

import sfumato.evaluate as ev
from sfumato.evaluate.metrics.temperature import NllSlope, jackknife


def sample(true_temperature, n=400, k=5, seed=0):
    """Labels drawn from softmax(z / T)."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, k)) * 3 * true_temperature
    p = softmax(z / true_temperature, axis=1)
    return z, (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)


def nll(z, y, beta):
    return float(np.mean(logsumexp(beta * z, axis=1) - beta * z[np.arange(len(y)), y]))


def slope(z, y, beta):
    p = softmax(beta * z, axis=1)
    return float(np.mean((p * z).sum(axis=1) - z[np.arange(len(y)), y]))


def root(z, y):
    return 1 / brentq(lambda beta: slope(z, y, beta), 1e-3, 1e3, xtol=1e-15, rtol=1e-14)


@pytest.mark.parametrize("true", [0.05, 0.5, 1.0, 2.0, 20.0])
def test_temperature_is_the_minimum_that_scipy_finds_and_the_root_of_the_slope_to_ten_digits(true):
    z, y = sample(true)
    found = ev.fit_temperature(logits=z, labels=y)
    search = minimize_scalar(
        lambda u: nll(z, y, np.exp(u)), bounds=np.log([1e-3, 1e3]), method="bounded", options={"xatol": 1e-10}
    )
    # a minimum is flat: its place is known to the square root of the precision of the NLL
    assert found.value == pytest.approx(np.exp(-search.x), rel=1e-6)
    assert found.value == pytest.approx(root(z, y), rel=1e-10)
    assert found.value == pytest.approx(true, rel=0.2)
    assert (found.at_bound, found.pseudo_row) == (False, False)


@given(st.integers(0, 10_000), st.floats(-4, 4), st.integers(2, 30))
def test_temperature_of_small_hard_samples_is_the_root_or_a_bound(seed, scale, n):
    rng = np.random.default_rng(seed)
    z, y = rng.normal(size=(n, 3)) * 10**scale, rng.integers(3, size=n)
    found = ev.fit_temperature(logits=z, labels=y)
    low, high = slope(z, y, 1e-3), slope(z, y, 1e3)
    if low < 0 < high:
        assert found.value == pytest.approx(root(z, y), rel=1e-10)
        assert not found.at_bound
    else:
        assert found.at_bound
        assert found.value == (1e3 if low >= 0 else 1e-3)


@pytest.mark.parametrize(("lead", "right"), [(3.0, 51), (3.0, 75), (3.0, 99), (800.0, 99)])
def test_two_classes_have_a_closed_form(lead, right):
    y = (np.arange(100) >= right).astype(int)
    found = ev.fit_temperature(logits=np.array([[lead, 0.0]] * 100), labels=y).value
    assert found == pytest.approx(lead / np.log(right / (100 - right)), rel=1e-12)


@pytest.mark.parametrize(
    ("row", "labels", "value", "at_bound"),
    [
        ([1e-5, 0.0], [0, 0, 0], 1e-3, True),  # no error
        ([800.0, 0.0], [0, 0, 0], 1e-3, True),
        ([0.0, 1.0], [1], 1e-3, True),
        ([1.0, 0.0], [1, 1, 1], 1e3, True),  # worse than chance
        ([1.0, 1.0, 1.0, 1.0], [0, 1, 2], 1.0, False),  # rows that show nothing
    ],
)
def test_rows_without_an_optimum_have_a_bound_or_1(row, labels, value, at_bound):
    found = ev.fit_temperature(logits=np.array([row] * len(labels)), labels=np.array(labels))
    assert (found.value, found.at_bound) == (value, at_bound)


def test_order_of_rows_does_not_matter_and_the_scale_of_the_logits_is_that_of_the_temperature():
    z, y = sample(2.0)
    order = np.random.default_rng(3).permutation(len(y))
    moved = ev.fit_temperature(logits=8 * z[order], labels=y[order]).value
    assert moved == pytest.approx(8 * ev.fit_temperature(logits=z, labels=y).value, rel=1e-12)


def test_classes_ruled_out_change_nothing():
    z, y = sample(1.0)
    wide = np.concatenate([z, np.full((len(z), 2), -np.inf)], axis=1)
    assert ev.fit_temperature(logits=wide, labels=y).value == pytest.approx(root(z, y), rel=1e-10)


def test_a_start_from_a_part_of_the_rows_ends_at_the_same_root(monkeypatch):
    z, y = sample(3.0, n=2000)
    for name in ("_KEEP_ELEMENTS", "_WARM_ELEMENTS"):
        monkeypatch.setattr(f"sfumato.evaluate.metrics.temperature.{name}", 500)
    assert ev.fit_temperature(logits=z, labels=y).value == pytest.approx(root(z, y), rel=1e-10)


def test_small_fit_is_the_plain_fit_where_a_row_is_wrong():
    z, y = sample(0.5)
    assert ev.fit_temperature(small=True, logits=z, labels=y) == ev.fit_temperature(logits=z, labels=y)


def test_small_fit_without_error_minimises_the_nll_with_one_uniform_row():
    rng = np.random.default_rng(5)
    z = rng.normal(size=(30, 4)) * 2
    y = z.argmax(axis=1)

    def total(u):
        beta = np.exp(u)
        log_p = beta * z - logsumexp(beta * z, axis=1, keepdims=True)
        return -log_p[np.arange(30), y].sum() - log_p.mean()

    search = minimize_scalar(total, bounds=np.log([1e-3, 1e3]), method="bounded", options={"xatol": 1e-10})
    found = ev.fit_temperature(small=True, logits=z, labels=y)
    assert found.value == pytest.approx(np.exp(-search.x), rel=1e-6)
    assert found.pseudo_row
    assert not found.at_bound


@pytest.mark.parametrize("row", [[800.0, 0.0], [2.0, 0.0, -np.inf]])
def test_small_fit_of_equal_rows_is_the_rule_of_succession(row):
    found = ev.fit_temperature(small=True, logits=np.array([row] * 9), labels=np.zeros(9, dtype=int))
    assert found.value == pytest.approx(row[0] / np.log(19), rel=1e-10)


def test_pseudo_values_are_those_of_refits_without_a_row():
    z, y = sample(1.5, n=300)
    fit = ev.fit_temperature(logits=z, labels=y).value
    values = jackknife(NllSlope(z, y), fit)
    refits = np.array([300 * fit - 299 * root(np.delete(z, i, 0), np.delete(y, i)) for i in range(0, 300, 15)])
    assert values.mean() == pytest.approx(fit, rel=1e-12)
    # the infinitesimal jackknife leaves out terms of relative order 1/N times a row's influence
    np.testing.assert_allclose(values[::15] - fit, refits - fit, rtol=0.1, atol=0.02)


def test_standard_error_of_the_temperature_is_that_seen_over_samples():
    fits, errors = [], []
    for seed in range(60):
        z, y = sample(1.0, n=300, seed=seed)
        fits.append(ev.fit_temperature(logits=z, labels=y).value)
        values = jackknife(NllSlope(z, y), fits[-1])
        errors.append(values.std(ddof=1) / np.sqrt(300))
    # the spread of 60 fits is itself known to about 9 %
    assert np.mean(errors) == pytest.approx(np.std(fits, ddof=1), rel=0.3)


def test_pseudo_values_without_curvature_are_the_temperature():
    z = np.array([[5000.0, 0.0]] * 2)
    values = jackknife(NllSlope(z, np.zeros(2, dtype=int)), 1.0)
    assert values.tolist() == [1.0, 1.0]


def test_a_label_that_is_ruled_out_is_named():
    z = np.array([[0.0, 1.0], [0.0, -np.inf]])
    with pytest.raises(ValueError, match="label's logit is −inf in row 1"):
        ev.fit_temperature(logits=z, labels=np.array([0, 1]))
