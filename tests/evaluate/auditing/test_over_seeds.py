"""Audits over the seeds of a run: means and spreads against numpy's, and what is gathered of findings and answers."""

import json

import numpy as np
import pytest

import sfumato.evaluate as ev
from sfumato.evaluate.auditing.audit import audit_run, over_seeds
from sfumato.evaluate.scores.read_scores import FileError
from tests.evaluate.samples import drawn, smoothed


@pytest.fixture
def folder(tmp_path):
    """A run of two arms and three seeds, of which seed 10 stands after seed 2."""
    (tmp_path / "logits").mkdir()
    for seed in (0, 2, 10):
        np.savez(tmp_path / "logits" / f"one-hot-seed{seed}-test.npz", **drawn(600, 5, seed, sharp=2.0))
        np.savez(tmp_path / "logits" / f"0.1 over all-seed{seed}-test.npz", **smoothed(600, 5, 0.1, 0.1, seed))
    (tmp_path / "summary.json").write_text(json.dumps({"arms": [{"name": "one-hot"}, {"name": "0.1 over all"}]}))
    return tmp_path


def test_every_metric_has_its_mean_its_deviation_and_the_values_of_the_seeds(folder):
    one_hot, _ = audit_run(folder)
    values = [ev.evaluate(**drawn(600, 5, seed, sharp=2.0)) for seed in (0, 2, 10)]
    for name in ("accuracy", "nll", "ece", "temperature", "nll_after_temperature", "eaurc", "logit_gap"):
        own = [getattr(each, name) for each in values]
        found = one_hot["metrics"][name]
        assert found["values"] == pytest.approx(own, rel=1e-12), name
        assert (found["mean"], found["sd"]) == pytest.approx((np.mean(own), np.std(own, ddof=1)), rel=1e-9), name


def test_findings_and_answers_are_counted_over_the_seeds_of_the_arms_in_their_order(folder):
    one_hot, softened = audit_run(folder)
    assert [each["name"] for each in (one_hot, softened)] == ["one-hot", "0.1 over all"]
    assert one_hot["seeds"] == softened["seeds"] == [0, 2, 10]
    assert one_hot["findings"]["over-confident"] == 3
    assert one_hot["smoothing_answers"] == {"cannot tell": 3}
    assert softened["smoothing_answers"] == {"strength": 3}
    assert softened["findings"]["smoothed"] == 3


def test_a_file_without_labels_is_named(folder):
    path = folder / "logits" / "one-hot-seed2-test.npz"
    np.savez(path, logits=drawn(600, 5, 0)["logits"])
    with pytest.raises(FileError, match="one-hot-seed2-test.npz has no labels"):
        audit_run(folder)


def test_one_seed_has_no_deviation_and_what_is_not_finite_is_null():
    told = over_seeds("one-hot", {4: ev.audit(**drawn(600, 5, 0))})
    assert told["seeds"] == [4]
    assert told["metrics"]["accuracy"]["sd"] is None
    assert json.dumps(told, allow_nan=False)
    out = drawn(300, 4, 1)
    out["logits"][:, 3] = -np.inf
    out["labels"] = np.minimum(out["labels"], 2)
    told = over_seeds("one-hot", {seed: ev.audit(**out) for seed in (0, 1)})
    assert told["metrics"]["logit_gap"] == {"mean": None, "sd": None, "values": [None, None]}
    assert json.dumps(told, allow_nan=False)
