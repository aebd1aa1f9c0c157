"""A scan in blocks, on the kernel in float32, against float64 row by row on the same logits."""

import os
import subprocess
import sys
import threading
from dataclasses import fields

import numpy as np
import pytest
import torch

import sfumato.evaluate as ev
from sfumato.evaluate.metrics.registry import compute_metrics
from sfumato.evaluate.metrics.temperature import NllSlope, Temperature, from_series
from sfumato.evaluate.scores import block_scan, measure
from sfumato.evaluate.scores.block_scan import Expansion
from sfumato.evaluate.scores.per_row import per_row, scan
from sfumato.evaluate.scores.score_matrix import ScoreMatrix, fold_of
from sfumato.evaluate.scores.soft_labels import SoftLabels
from sfumato.kernel import library
from tests import needs

N, K = 9000, 96
MANY = block_scan.MANY


def sample(kind=np.float16, seed=4):  # a sample whose folds are near enough to each other for the blocks to serve
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(N, K)) * 1.3
    z[np.arange(N), rng.integers(K, size=N)] += rng.gamma(6, 1.2, size=N)
    z = z.astype(kind)
    p = np.exp(0.8 * z.astype(np.float64))
    p /= p.sum(axis=1, keepdims=True)
    return z, np.minimum((p.cumsum(axis=1) < rng.random((N, 1))).sum(axis=1), K - 1)


@pytest.fixture
def small_blocks(monkeypatch):
    needs.kernel()
    monkeypatch.setattr(block_scan, "MANY", 1)
    monkeypatch.setattr(block_scan, "BLOCK", 401 * K)


def both(z, y, monkeypatch, *, served=True):
    """In blocks and row by row; what the blocks cannot serve, or get wrong, is left to the rows without a word."""
    with monkeypatch.context() as context:
        context.setattr(block_scan, "MANY", 1 << 60)
        slow = measure.measure(logits=z, labels=y)
    with monkeypatch.context() as context:
        context.setattr(block_scan, "MANY", 1)
        if served:
            context.setattr(measure, "scan", None)
        fast = measure.measure(logits=z, labels=y)
        assert block_scan.suits(fast.source)
    return fast, slow


COLUMNS = [each.name for each in fields(ev.Rows) if not each.kw_only]


def assert_alike(found, truth, *, rtol=5e-6, atol=1e-6, names=None):
    """Columns are those of float64; beyond the best five, level classes are not told apart."""
    for name in names or COLUMNS:
        a, b = (np.asarray(getattr(rows, name), dtype=np.float64) for rows in (found, truth))
        if name == "rank":
            a, b = np.minimum(a, 5), np.minimum(b, 5)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=name)


@pytest.mark.parametrize("kind", [np.float16, np.float32, "bfloat16"])
def test_metrics_are_those_of_float64_to_a_millionth_and_columns_to_float32s_precision(kind, small_blocks, monkeypatch):
    z, y = sample(np.float32 if kind == "bfloat16" else kind)
    fast, slow = both(torch.from_numpy(z).bfloat16() if kind == "bfloat16" else z, y, monkeypatch)
    values, truth = compute_metrics(fast), compute_metrics(slow)
    # moved to a temperature, rows keep no scores by which they could be ranked; at full size no row is so ranked
    assert truth.keys() - values.keys() == {"roc_auc_after_temperature", "average_precision_after_temperature"}
    for name, number in values.items():
        assert number.value == pytest.approx(truth[name].value, abs=1e-6), name
        assert (number.low, number.high) == pytest.approx((truth[name].low, truth[name].high), abs=1e-4), name
    assert_alike(fast.rows, slow.rows)


@pytest.mark.parametrize("kept", ["rows of two folds", "rows of one fold"])
def test_only_rows_of_several_folds_are_cross_fitted(kept, small_blocks, monkeypatch):
    z, y = sample(np.float32)
    fold = fold_of(measure.measure(logits=z, labels=y).hashes)
    rows = np.isin(fold, (0, 4) if kept == "rows of two folds" else (1,))
    fast, slow = both(z[rows], y[rows], monkeypatch)
    assert fast.fitted.value == pytest.approx(slow.fitted.value, rel=1e-6)
    if kept == "rows of two folds":
        assert fast.after.nll.mean() == pytest.approx(slow.after.nll.mean(), abs=1e-6)
    else:
        assert (fast.after, slow.after) == (None, None)


def test_classes_ruled_out_and_labels_ruled_out_are_as_in_float64(small_blocks, monkeypatch):
    z, y = sample(np.float32, seed=3)
    z[:, 3] = -np.inf
    z[5:9, :90] = -np.inf
    y[y == 3] = 4
    y[5:9] = 95
    fast, slow = both(z, y, monkeypatch)
    assert fast.fitted.value == pytest.approx(slow.fitted.value, rel=1e-6)
    y[7] = 3
    monkeypatch.setattr(measure, "_SAMPLES", (N * K // 2,) * 2)  # every other row; 7 is none of them
    fast, slow = both(z, y, monkeypatch)
    assert fast.fitted is None
    assert_alike(fast.rows, slow.rows, names=("nll", "brier", "gap", "norm", "slope", "log_confidence"))


@pytest.mark.parametrize("seed", range(24))
def test_odd_rows_are_those_of_float64(seed, small_blocks):
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(1, 60)), int(rng.choice([64, 65, 127, 128, 513, 1025]))
    kind = rng.choice(["float16", "float32"])
    z = (rng.normal(size=(n, k)) * rng.choice([0, 0.1, 1, 5, 30]) + rng.choice([0, -50, 300])).astype(kind)
    if seed % 3 == 0:  # ruled out
        z[rng.random((n, k)) < 0.3] = -np.inf
    if seed % 4 == 0:  # level
        z = np.round(z)
    if seed % 5 == 0:  # masked as models do it
        z[rng.random((n, k)) < 0.3] = np.finfo(kind).min
    if seed % 2 == 0:  # sure
        z[np.arange(n), rng.integers(k, size=n)] += rng.choice([20, 60, 200])
    z[np.arange(n), rng.integers(k, size=n)] = np.maximum(z.max(axis=1), -1)
    y = rng.integers(k, size=n)
    source = ScoreMatrix(logits=z)
    assert_alike(block_scan.scan(source, y).rows, scan(source, y), atol=2e-5)


def test_rows_that_float32_would_saturate_keep_their_order_and_their_part_of_the_temperature(small_blocks, monkeypatch):
    z, y = sample(np.float32)
    z[:50] = 0
    z[np.arange(50), y[:50]] = 60 + np.arange(50) * 3.0  # leads of up to 207 nats: e^−207 is no float32
    fast, slow = both(z, y, monkeypatch)
    np.testing.assert_allclose(fast.rows.log_confidence[:50], slow.rows.log_confidence[:50], rtol=1e-12)
    assert len(np.unique(fast.rows.log_confidence[:50])) == 50
    assert_alike(fast, slow, rtol=1e-4, atol=1e-5, names=("temperature_part", "sharpening"))
    assert fast.after.nll.mean() == pytest.approx(slow.after.nll.mean(), rel=1e-6)


def test_a_rows_numbers_do_not_depend_on_the_other_rows(small_blocks):
    z, y = sample()
    order = np.random.default_rng(1).permutation(N)
    a, b = (block_scan.scan(ScoreMatrix(logits=z[o]), y[o], beta=0.8, hashed=True) for o in (np.arange(N), order))
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(a.rows, name)[order], getattr(b.rows, name), err_msg=name)
    np.testing.assert_array_equal(a.hashes[order], b.hashes)
    np.testing.assert_array_equal(np.stack(a.expansion.cumulants)[:, order], np.stack(b.expansion.cumulants))


@pytest.mark.slow
@pytest.mark.parametrize("right", [True, False])
def test_a_model_without_an_error_and_labels_at_random_have_the_temperatures_of_float64(
    right, small_blocks, monkeypatch
):
    z, y = sample(np.float32)
    fast, slow = both(z, z.argmax(axis=1) if right else np.roll(y, 1), monkeypatch, served=False)
    assert (fast.fitted.at_bound, slow.fitted.at_bound) == (right, right)
    assert fast.fitted.value == pytest.approx(slow.fitted.value, rel=1e-6)
    assert fast.after.nll.mean() == pytest.approx(slow.after.nll.mean(), abs=1e-6)


def test_rows_that_are_not_finite_are_named_and_counted(small_blocks):
    z, y = sample(np.float32)
    z[100, 7], z[2000, 0], z[2999, 3] = np.nan, np.inf, np.nan
    message = r"logits in row 100 are not finite: nan at class 7; 3 rows are so \(100, 2000, 2999\)"
    with pytest.raises(ValueError, match=message):
        ev.evaluate(logits=z, labels=y)
    z[100] = -np.inf
    with pytest.raises(ValueError, match=r"logits in row 100 are −inf for every class; 3 rows are so"):
        ev.evaluate(logits=z, labels=y)


def test_of_several_bad_rows_the_first_is_named_whichever_is_found_first(small_blocks, monkeypatch):
    z, y = sample(np.float32)
    z[3, 1] = z[3000, 2] = np.nan
    source, other = ScoreMatrix(logits=z), threading.Event()
    whole = source.not_finite

    def not_finite(start):  # the first block tells only once the other has
        if start == 0:
            assert other.wait(60)
            return whole(start)
        told = whole(start)
        other.set()
        return told

    monkeypatch.setattr(source, "not_finite", not_finite)
    monkeypatch.setattr(block_scan, "_cores", lambda: 2)
    with pytest.raises(ValueError, match=r"logits in row 3 are not finite: nan at class 1; 2 rows are so \(3, 3000\)"):
        block_scan.scan(source, y)


def test_short_rows_few_rows_doubles_and_probabilities_take_float64(monkeypatch):
    needs.kernel()
    assert block_scan.suits(ScoreMatrix(logits=np.zeros((90_000, 100), dtype=np.float16)))
    assert not block_scan.suits(ScoreMatrix(logits=np.zeros((90_000, 100))))
    assert not block_scan.suits(ScoreMatrix(logits=np.zeros((9000, 100), dtype=np.float16)))
    assert not block_scan.suits(ScoreMatrix(logits=np.zeros((900_000, 10), dtype=np.float16)))
    assert not block_scan.suits(ScoreMatrix(probs=np.full((90_000, 100), 0.01, dtype=np.float16)))
    monkeypatch.setattr(library, "status", lambda: library.Status(None, "", "not asked for"))
    assert not block_scan.suits(ScoreMatrix(logits=np.zeros((90_000, 100), dtype=np.float16)))


def test_an_audit_without_the_kernel_loads_no_torch():
    code = (
        "import sys\nimport numpy as np\nfrom sfumato.evaluate.scores import block_scan, measure\n"
        "block_scan.MANY = 1\nz = np.random.default_rng(0).normal(size=(500, 64)).astype(np.float32)\n"
        "measure.measure(logits=z, labels=z.argmax(axis=1) * (np.arange(500) % 3 > 0))\n"
        "assert 'torch' not in sys.modules"
    )
    env = {**os.environ, "SFUMATO_NATIVE": "0"}
    ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("temperature", [0.05, 0.7, 1.0, 30.0])
@pytest.mark.usefixtures("small_blocks")
def test_columns_at_a_temperature_of_other_rows_are_those_of_the_rows_one_by_one(temperature, monkeypatch):
    z, y = sample()
    z[:20, 5:40], y[:20] = -np.inf, 50
    z[20:30, 7] += 90
    source, fitted = ScoreMatrix(logits=z), Temperature(temperature, at_bound=False)
    truth = scan(source, y), scan(source, y, temperature)
    monkeypatch.setattr(measure, "scan", None)
    for found, wanted in zip(measure.columns_at(source, y, fitted), truth, strict=True):
        assert_alike(found, wanted, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("why", ["soft labels", "a temperature at its bound", "few rows"])
def test_columns_at_a_temperature_are_scanned_one_by_one_where_blocks_do_not_serve(why, monkeypatch):
    z, y = sample()
    monkeypatch.setattr(block_scan, "MANY", 1 << 60 if why == "few rows" else 1)
    monkeypatch.setattr(block_scan, "scan", None)
    soft = SoftLabels(np.eye(K)[y], "label_probs") if why == "soft labels" else None
    fitted = Temperature(0.5, at_bound=why == "a temperature at its bound")
    plain, scaled = measure.columns_at(ScoreMatrix(logits=z), y, fitted, soft=soft)
    assert np.array_equal(plain.nll, ev.per_row(logits=z, labels=y).nll)
    assert np.array_equal(scaled.nll, ev.per_row(logits=z, labels=y, temperature=0.5).nll)


def expansion_at(z, y, beta):
    """The columns at β by their definition, in float64."""
    rows = len(z)
    found = Expansion(beta, rows)
    at = np.arange(rows)
    top = z.argmax(axis=1)
    z = z - z.max(axis=1, keepdims=True)
    e = np.exp(beta * z)
    found.lse[:] = np.log(e.sum(axis=1))
    p = e / e.sum(axis=1, keepdims=True)
    mean = (p * z).sum(axis=1)
    second, third, fourth = (((p * (z - mean[:, None]) ** power).sum(axis=1)) for power in (2, 3, 4))
    found.cumulants = (mean - z[at, y], second, third, fourth - 3 * second**2)
    square = np.exp(2 * beta * z)
    square[at, top] = 0
    found.squares = tuple((square * z**power).sum(axis=1) for power in range(3))
    return found, -z[at, y]


@pytest.mark.parametrize("step", [-0.03, 0.02, 0.05])
@pytest.mark.parametrize("lead", [0.0, 3.0, 40.0])
def test_columns_moved_to_another_temperature_are_those_computed_there(step, lead):
    rng = np.random.default_rng(5)
    z, y = rng.normal(size=(80, 12)) * 2, rng.integers(12, size=80)
    z[np.arange(80), np.where(np.arange(80) % 3 == 0, (y + 1) % 12, y)] += lead
    beta = 0.8
    there = beta * (1 + step)
    found, deficit = expansion_at(z, y, beta)
    moved = found.move(per_row(logits=z, labels=y), deficit, np.full(80, there))
    truth = per_row(logits=z * there, labels=y)
    rough = ("slope", "brier")  # the slope moves along its tangent, others as their last cumulant
    assert_alike(moved, truth, rtol=0, atol=2e-2, names=rough)
    exact = [name for name in COLUMNS if name not in rough]
    assert_alike(moved, truth, rtol=3e-7, atol=3e-7, names=exact)
    if lead == 40:  # sure of the class: the digits are in how far from sure
        np.testing.assert_allclose(moved.log_confidence, truth.log_confidence, rtol=0.1)


def test_the_slope_moves_along_its_tangent():
    rng = np.random.default_rng(6)
    z, y = rng.normal(size=(50, 6)), rng.integers(6, size=50)
    found, deficit = expansion_at(z, y, 1.0)
    errors = []
    for step in (0.02, 0.01):
        moved = found.move(per_row(logits=z, labels=y), deficit, np.full(50, 1 + step))
        errors.append(np.abs(moved.slope - per_row(logits=z * (1 + step), labels=y).slope).max())
    assert errors[0] < 1e-3
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)  # what is left out is of the second order


@pytest.mark.parametrize("right", [False, True])
def test_the_temperature_from_a_series_near_by_is_the_one_fitted(right):
    rng = np.random.default_rng(7)
    z = rng.normal(size=(60, 5)) * 2
    y = z.argmax(axis=1) if right else rng.integers(5, size=60)
    y[:40] = z[:40].argmax(axis=1)
    truth = 1 / ev.fit_temperature(small=True, logits=z, labels=y).value
    objective = NllSlope(z, y)
    beta = truth * 1.002
    found, known = from_series(beta, objective.cumulants(beta), slice(None), objective.centre if right else None)
    assert known
    assert found == pytest.approx(truth, rel=1e-7)


def test_a_series_from_far_off_is_not_trusted():
    z, y = np.random.default_rng(8).normal(size=(60, 5)) * 2, np.arange(60) % 5
    y[:40] = z[:40].argmax(axis=1)
    truth = 1 / ev.fit_temperature(logits=z, labels=y).value
    objective = NllSlope(z, y)
    assert not from_series(truth * 1.5, objective.cumulants(truth * 1.5), slice(None))[1]
