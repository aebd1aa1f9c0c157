"""benchmarks/when.py: its verdict is that of `compare`, it goes on where it was stopped, its page counts the rows."""

from __future__ import annotations

import doctest
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sfumato as sf

SCRIPTS = ("data_set_files", "foretell", "when", "when_page", "claims_page")


@pytest.fixture
def when(load, monkeypatch, tmp_path):
    """The script with one set of 600 rows, three folds and two epochs."""
    when, data_sets = load("when"), load("data_sets")

    def read(_: Path):
        rng = np.random.default_rng(0)
        labels = rng.integers(3, size=600)
        return rng.normal(size=(600, 4)) + labels[:, None], [str(label) for label in labels]

    (tmp_path / "x").write_text("x")
    monkeypatch.setattr(when, "SETS", (data_sets.DataSet("x", "table", data_sets.FOLDER, ("x",), "t", read),))
    monkeypatch.setattr(when, "FOLDS", 3)
    prepared_for = when.prepared_for

    def shorter(loaded, arms):
        ready = prepared_for(loaded, arms, folds=3)
        return replace(ready, plan=replace(ready.plan, epochs=2))

    monkeypatch.setattr(when, "prepared_for", shorter)
    when.places = data_sets.Places(folder=tmp_path)
    return when


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_examples_of_a_script_run(load, name):
    found = doctest.testmod(load(name), extraglobs={"np": np})
    assert found.failed == 0
    assert found.attempted > 0 or name in ("when_page",)


@pytest.mark.nightly  # the rows it stands for are written by hand, and rarely
def test_the_verdict_on_a_set_is_that_of_compare(when, tmp_path):
    row = when.rows_of_set("x", "smoothing", when.places, tmp_path / "cache", time.time() + 1e6)[0]
    features, labels = when.SETS[0].read(tmp_path / "x")
    run = tmp_path / "run"
    found = sf.compare(
        features, np.array(labels), arm=["onehot", "all:0.1"], folds=3, epochs=2, workers=1, out=run, quiet=True
    )
    theirs = {each["metric"]: each for each in found.summary["differences"]}
    assert set(row["differences"]) == set(theirs)
    for metric, mine in row["differences"].items():
        same = mine.keys() - {"p_adjusted", "finding"}  # a comparison keeps a part of its error for later looks
        assert {key: mine[key] for key in same} == {key: theirs[metric][key] for key in same}
    assert row["metrics"] == [arm["metrics"] for arm in found.summary["arms"]]


def test_a_run_that_was_stopped_goes_on_to_the_same_numbers(when, tmp_path, monkeypatch):
    whole = when.rows_of_set("x", "ladder", when.places, tmp_path / "whole", time.time() + 1e6)[0]
    ticks = iter(range(1000))
    with monkeypatch.context() as patched:
        patched.setattr(when.time, "time", lambda: float(next(ticks)))
        with pytest.raises(when.LateError):  # the time is up after a few models
            when.rows_of_set("x", "ladder", when.places, tmp_path / "stopped", 4.0)
    assert 0 < len(list((tmp_path / "stopped").rglob("*.sealed"))) < 15
    again = when.rows_of_set("x", "ladder", when.places, tmp_path / "stopped", time.time() + 1e6)[0]
    varying = ("date", "seconds")
    assert {k: v for k, v in again.items() if k not in varying} == {k: v for k, v in whole.items() if k not in varying}


def test_what_is_in_the_rows_is_not_run_again(when, tmp_path):
    rows = [{"set": "x", "stage": "smoothing"}]
    assert [stage for _, stage in when.left(rows, list(when.STAGES), ["x"])] == ["ladder", "rivals"]


def test_rows_are_added_in_the_place_of_those_of_the_same_set_and_arm(when, tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    for arm in ("ladder", "all:0.1", "ladder"):
        when.keep([{"set": "x", "arm": arm, "seconds": 1.0}], path)
    assert [row["arm"] for row in when.read_rows(path)] == ["all:0.1", "ladder"]
    assert capsys.readouterr().out.splitlines()[-1] == "x, ladder: one-hot is kept (1.0 s)"


def test_arms_that_did_not_start_alike_are_refused(when, tmp_path):
    loaded = when.SETS[0].load(when.places)
    ready = when.prepared_for(loaded, ("onehot", "all:0.1"))
    tasks = when.train(ready, tmp_path, time.time() + 1e6)
    other = replace(tasks[1], seed=0)  # the record of another seed in the place of this one
    for task in tasks:
        if task.seed == 1 and task.arm == other.arm:
            record = when.finished(task)
            from sfumato.io.atomic import write_sealed

            write_sealed(task.record, record | {"weights": "0" * 64})
    with pytest.raises(ValueError, match=r"all-0.1-seed1 in .* did not start as the other arms; remove the folder"):
        when.same_start(tasks)


def test_the_noise_estimate_finds_labels_that_were_moved(load):
    rng = np.random.default_rng(0)
    true = rng.integers(4, size=4000)
    given = np.where(rng.random(4000) < 0.2, (true + rng.integers(1, 4, size=4000)) % 4, true)
    logits = rng.normal(size=(4000, 4)) + 6 * np.eye(4)[true]
    assert load("when").noise(logits, given) == pytest.approx(float((true != given).mean()), abs=0.02)


def row(name, accuracy, loss, finding="inconclusive"):
    def metrics(a, b):
        return {"accuracy": {"mean": a}, "nll_after_temperature": {"mean": b}, "eaurc": {"mean": 0.01}}

    return {
        "set": name,
        "arm": "all:0.1",
        "aurc": [0.1, 0.1],
        "metrics": [metrics(0.8, 1.0), metrics(accuracy, loss)],
        "differences": {metric: {"finding": finding} for metric in ("accuracy", "nll_after_temperature", "eaurc")},
    }


def test_a_table_counts_each_set_once_and_slight_differences_as_equivalent(load):
    page = load("when_page")
    rows = [row("a", 0.9, 1.1, "better"), row("b", 0.8, 1.0, "slightly worse"), row("c", 0.8, 1.0)]
    cards = [{"set": name, "kind": "text"} for name in "abc"]
    lines = page.table(rows, cards).splitlines()
    assert lines[2] == "| texts | accuracy | 3 | 1 | 0 | 1 | 0 | 0 | 1 |"
    assert len(lines) == 2 + 3 + 3


def test_the_profile_measures_how_far_each_arm_is_behind_the_best(load):
    found = load("when_page").profiled([row("a", 0.9, 1.1), row("b", 0.75, 0.8)])
    np.testing.assert_allclose(found["accuracy"]["one-hot"], [10, 0], atol=1e-9)
    np.testing.assert_allclose(found["accuracy"]["all:0.1"], [0, 5], atol=1e-9)
    np.testing.assert_allclose(found["nll_after_temperature"]["one-hot"], [0, 25], atol=1e-9)
    np.testing.assert_allclose(found["nll_after_temperature"]["all:0.1"], [10, 0], atol=1e-9)
    np.testing.assert_allclose(found["eaurc"]["all:0.1"], [0, 0], atol=1e-9)


def test_the_profile_leaves_out_an_arm_that_some_sets_lack(load):
    rows = [row("a", 0.9, 1.1), row("b", 0.75, 0.8), row("a", 0.9, 1.1) | {"arm": "ladder"}]
    assert load("when_page").complete(rows) == ["all:0.1"]
