"""The benchmark of the verdict: its many models are those of the lab, its rivals what they say, and what it finds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from sfumato.lab.arms import Arm
from sfumato.lab.models import stack
from sfumato.lab.train import Plan
from sfumato.lab.train.loop import train

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
METRICS = ("accuracy", "nll_after_temperature", "eaurc")


@pytest.fixture
def load(monkeypatch):
    """The modules of the benchmark, by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield lambda name: __import__(name)
    for name in [name for name in sys.modules if name.startswith("verdict_")]:
        del sys.modules[name]


@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_models_trained_together_are_those_of_the_labs_own_loop(load, eps):
    many = load("verdict_training")
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(2, 50, 6)).astype(np.float32))
    y = torch.from_numpy(rng.integers(3, size=(2, 50)))
    plan = Plan(epochs=4, batch_size=16, learning_rate=1e-2)  # the last batch of an epoch is a short one
    together = many.train_together(x, y, [0, 1, 1], [4, 5, 6], 3, plan, eps)
    for at, (which, seed) in enumerate(((0, 4), (1, 5), (1, 6))):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            alone = stack([6, many.WIDTH, many.WIDTH], 3)
        rows = x[which], y[which]
        loss = Arm("arm", eps, "others").loss()
        train(alone, loss, rows, rows, plan, seed=seed, floor=0.0, on_epoch=lambda epoch: None)
        torch.testing.assert_close(together[[at]].logits(x[which])[0], alone(x[which]), rtol=1e-4, atol=1e-5)


def test_a_fresh_split_is_new_and_keeps_equal_rows_together(load):
    many = load("verdict_training")
    table = many.embedded("iris")  # two of its rows are equal
    splits = [many.fresh_split(table, None, np.random.default_rng(seed)) for seed in range(30)]
    assert {tuple(len(part[1]) for part in split.values()) for split in splits} <= {
        (90, 30, 30),
        (91, 30, 29),
        (91, 29, 30),
    }
    tests = {tuple(sorted(split["test"][2])) for split in splits}
    assert len(tests) == 30
    for split in splits:
        groups = [set(split[part][2]) for part in ("train", "validation", "test")]
        assert sum(len(group) for group in groups) == 149 == len(set.union(*groups))


def test_the_posterior_of_the_mixture_is_the_share_of_labels_among_rows_alike(load):
    mixture = load("verdict_training").Mixture.make(classes=3, dimensions=2)
    x, labels = mixture.draw(200_000, np.random.default_rng(0))
    posterior = mixture.posterior(x)
    for k in range(3):
        for low in np.arange(0, 1, 0.1):
            alike = (posterior[:, k] >= low) & (posterior[:, k] < low + 0.1)
            away = np.sum((labels[alike] == k) - posterior[alike, k])
            assert abs(away) <= 4.5 * np.sqrt(np.sum(posterior[alike, k] * (1 - posterior[alike, k])))


def test_rivals_are_the_tests_that_they_are_called(load):
    rivals = load("verdict_rivals")
    x = np.random.default_rng(0).normal(0.1, 1, size=(5, 80)) + np.random.default_rng(1).normal(size=(5, 1)) / 4
    found = rivals.judge(x, np.random.default_rng(2))
    assert found["t test, seeds"].p == pytest.approx(stats.ttest_1samp(x.mean(axis=1), 0).pvalue)
    assert found["t test, rows of one seed"].p == pytest.approx(stats.ttest_1samp(x[0], 0).pvalue)
    pytest.importorskip("scipy", minversion="1.15")  # before, its bootstrap took no generator by this name
    for name, values in (("percentiles, seeds", x.mean(axis=1)), ("percentiles, rows", x.mean(axis=0))):
        truth = stats.bootstrap(
            (values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(3)
        ).confidence_interval
        width = truth.high - truth.low
        assert (found[name].low, found[name].high) == pytest.approx((truth.low, truth.high), abs=0.1 * width)


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[dict]:
    """The rows of the benchmark, a fifth as many comparisons as it makes by default."""
    folder = tmp_path_factory.mktemp("verdict")
    words = [
        sys.executable,
        str(BENCHMARKS / "verdict.py"),
        "--scale",
        "0.2",
        "--cache",
        "cache",
        "--out",
        "rows.jsonl",
    ]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, env=_environment())
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(BENCHMARKS.parent), "OMP_NUM_THREADS": "1"}


def total(rows, experiment, method, count, **where):
    chosen = [
        row
        for row in rows
        if (row["experiment"], row.get("method")) == (experiment, method) and all(row[k] == v for k, v in where.items())
    ]
    return sum(row[count] for row in chosen), sum(row["comparisons"] for row in chosen)


@pytest.mark.nightly
@pytest.mark.parametrize("seeds", [3, 5])
def test_equal_arms_are_declared_different_at_most_as_often_as_the_level_says(rows, seeds):
    declared, compared = total(rows, "aa", "seeds × rows", "declared", seeds=seeds)
    assert compared == 116
    assert declared <= stats.binom.ppf(0.999, compared, 0.05)


@pytest.mark.nightly
def test_percentiles_over_few_seeds_declare_equal_arms_different_far_too_often(rows):
    declared, compared = total(rows, "aa", "percentiles, seeds", "declared", seeds=3)
    assert declared > stats.binom.ppf(0.999, compared, 0.1)


@pytest.mark.nightly
@pytest.mark.parametrize("metric", METRICS)
def test_intervals_cover_a_known_difference(rows, metric):
    covered, compared = total(rows, "known", "seeds × rows", "covered", metric=metric)
    assert covered >= stats.binom.ppf(0.001, compared, 0.93)


@pytest.mark.nightly
def test_a_known_difference_is_found_at_the_stated_power(rows):
    ours = [row for row in rows if row["experiment"] == "known" and row["method"] == "seeds × rows"]
    stated = sum(row["stated_power"] * row["comparisons"] for row in ours)
    found, compared = sum(row["found"] for row in ours), sum(row["comparisons"] for row in ours)
    assert found / compared == pytest.approx(stated / compared, abs=0.06)
