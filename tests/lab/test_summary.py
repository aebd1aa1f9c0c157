"""What a comparison says of itself, from logits and records that are made up."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from sfumato.lab.arms import arm_of, default_arms
from sfumato.lab.data.columns import ColumnLine
from sfumato.lab.data.table import DataWarning
from sfumato.lab.errors import ArmError
from sfumato.lab.options import Options
from sfumato.lab.summary import summary_of
from sfumato.messages import texts

K, ROWS = 3, {"train": 20, "validation": 40, "test": 30}
LABELS = np.concatenate([np.tile([0, 1, 2, 0], n // 4 + 1)[:n] for n in ROWS.values()])


def split():
    ends = np.cumsum([0, *ROWS.values()])
    return {part: np.arange(a, b) for part, a, b in zip(ROWS, ends[:-1], ends[1:], strict=True)}


def ready(group=None):
    parts = SimpleNamespace(**split())
    names = {"name": "made up", "class_names": ("a", "b", "c"), "counters": lambda: ["row number"]}
    table = SimpleNamespace(**names, labels=LABELS, group=group, columns=(ColumnLine("size", "number", 9, 0),))
    known = DataWarning("leak", "size", "It tells.")
    made = SimpleNamespace(table=table, split=parts, warnings=(known,), noisy=None, folds=1, tested=parts.test)
    options = Options("digits", folds=1, seeds=3)
    return SimpleNamespace(data=made, classes=K, options=options, models=3, workers=lambda runs: 1)


def records(arms, seeds=3):
    return [
        {
            "arm": arm.name, "seed": seed, "train_gap": 2.0 + seed + 10 * place, "weights": f"w{seed}",
            "batches": [f"b{seed}-1", f"b{seed}-2"], "seconds": 60.0,
        }
        for seed in range(seeds)
        for place, arm in enumerate(arms)
    ]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A folder with the logits of these arms, each with a lead of the true class of its own."""

    def folder(arms, leads):
        (tmp_path / "logits").mkdir()
        for arm, lead in zip(arms, leads, strict=True):
            for seed in range(3):
                rng = np.random.default_rng(seed)
                for part, rows in split().items():
                    y = LABELS[rows]
                    z = (rng.normal(size=(len(rows), K)) + lead * np.eye(K)[y]).astype(np.float32)
                    path = tmp_path / "logits" / f"{arm.name}-seed{seed}-{part}.npz"
                    np.savez(path, index=rows, logits=z, labels=y, group=rows)
        return tmp_path

    return folder


def test_a_summary_has_sizes_gaps_and_hashes(folder):
    arms = default_arms(0.2, "others")
    summary, extra = summary_of(folder(arms, (3.0, 3.0)), "runs/x", ready(), arms, records(arms))
    assert (summary["schema"], summary["run"]) == ("sfumato.compare/4", "runs/x")
    assert summary["data"] == {"name": "made up", "classes": 3, "folds": 1, **ROWS}
    assert summary["paired"] == {
        "weights": ["w0", "w1", "w2"], "batches": ["b0-2", "b1-2", "b2-2"], "equal": True,
    }  # fmt: skip
    one_hot, smoothed = summary["arms"]
    assert (one_hot["name"], one_hot["eps"], one_hot["closed_form_gap"]) == ("one-hot", 0.0, None)
    assert (smoothed["eps"], smoothed["over"]) == (0.2, "others")
    assert smoothed["closed_form_gap"] == pytest.approx(np.log(2 * 0.8 / 0.2))
    assert (one_hot["train_gap"], smoothed["train_gap"]) == (3.0, 13.0)
    assert list(extra) == ["temperatures", "seconds_per_seed", "temperature_gain", "notes"]
    for arm in summary["arms"]:
        fitted = extra["temperatures"][arm["name"]]
        assert [t["seed"] for t in fitted] == [0, 1, 2]
        mean = np.mean([t["value"] for t in fitted])
        assert arm["metrics"]["temperature"]["mean"] == pytest.approx(mean, rel=1e-12)
        gain = extra["temperature_gain"][arm["name"]]
        metrics = arm["metrics"]
        assert gain["mean"] == pytest.approx(
            metrics["nll_after_temperature"]["mean"] - metrics["nll"]["mean"], rel=1e-9
        )
        assert gain["low"] <= gain["mean"] <= gain["high"]
    notes = " ".join(texts(extra["notes"]))
    assert "only 30 distinct test rows" in notes
    assert '"row number"' in notes
    assert summary["columns"] == [{"name": "size", "read_as": "number", "distinct": 9, "missing": 0, "note": ""}]
    assert summary["warnings"][0] == {"code": "leak", "column": "size", "text": "It tells."}


def test_of_data_with_groups_a_summary_counts_groups(folder):
    arms = default_arms(0.2, "others")
    made = ready(group=np.arange(len(LABELS)))
    written = folder(arms, (3.0, 3.0))
    first, last = (written / "logits" / f"smoothed-seed{seed}-test.npz" for seed in (0, 2))
    kept = first.read_bytes()
    first.write_bytes(last.read_bytes())
    last.write_bytes(kept)  # of other seeds the arms differ, by nothing that can be relied on
    summary, extra = summary_of(written, "runs/x", made, arms, records(arms))
    assert extra["notes"][0]["text"].startswith("There are only 30 groups of test rows: ")
    assert "groups of test rows" in " ".join(summary["verdict"]["sentences"])


def test_the_largest_class_of_the_test_rows_is_what_an_arm_must_beat(folder):
    arms = default_arms(0.2, "others")
    summary, _ = summary_of(folder(arms, (0.0, 0.0)), "runs/x", ready(), arms, records(arms))
    assert summary["verdict"]["choice"] == "none"
    share = (LABELS[split()["test"]] == 0).mean()
    assert f"the most frequent class ({100 * share:.1f} % of the test rows" in summary["verdict"]["sentences"][0]


def test_of_several_equal_arms_the_validation_rows_favourite_speaks(folder):
    arms = tuple(arm_of(spec, LABELS, K) for spec in ("onehot", "all:0.1", "all:0.2"))
    summary, _ = summary_of(folder(arms, (0.5, 6.0, 9.0)), "runs/x", ready(), arms, records(arms))
    assert summary["verdict"]["choice"] == "all-0.2"


@pytest.mark.parametrize(
    "change", [{"weights": "other"}, {"batches": ["b1-1", "other"]}, {"batches": ["other"]}], ids=str
)
def test_arms_of_one_seed_that_are_not_paired_are_refused(change, folder):
    arms = default_arms(0.2, "others")
    made = records(arms)
    made[3] |= change
    with pytest.raises(ArmError, match="did not start from the same weights or see the same batches"):
        summary_of(folder(arms, (3.0, 3.0)), "runs/x", ready(), arms, made)


def test_an_arm_that_stopped_early_is_compared_up_to_its_end(folder):
    arms = default_arms(0.2, "others")
    made = records(arms)
    made[3] |= {"batches": ["b1-1"]}
    summary, _ = summary_of(folder(arms, (3.0, 3.0)), "runs/x", ready(), arms, made)
    assert summary["paired"]["batches"] == ["b0-2", "b1-1", "b2-2"]
