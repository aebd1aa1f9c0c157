"""Arms of every sort in one comparison of the digits: its summary, its curves, its page, and its judgement."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax

import sfumato as sf
from tests.conftest import run_sfumato
from tests.lab.arms.conftest import table

pytestmark = pytest.mark.slow

ARMS = {
    "onehot": ("one-hot", "others"),
    "others:0.1": ("others-0.1", "others"),
    "all:0.1": ("all-0.1", "all"),
    "prior:0.1": ("prior-0.1", "prior"),
    "drop_late:0.3:0.5": ("drop_late-0.3-0.5", "all"),
    "linear:0:0.2": ("linear-0-0.2", "all"),
    "margin:2": ("margin-2-0.1", None),
    "negative:-0.2": ("negative--0.2", None),
    "relax:0.1": ("relax-0.1", None),
    "ordinal:0.3": ("ordinal-0.3", "order"),
    "similarity:near.csv:0.3": ("similarity-near-0.3", "likeness"),
    "hierarchy:tree.json:6": ("hierarchy-tree-6", "tree"),
    "confusion:counts.csv:0.3": ("confusion-counts-0.3", "confusions"),
    "online:0.3": ("online-0.3", "own predictions"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The run folder of all of them."""
    folder, digits = tmp_path_factory.mktemp("arms"), [str(digit) for digit in range(10)]
    tree = {"round": ["0", "6", "8", "9", "3"], "straight": ["1", "4", "7"], "both": ["2", "5"]}
    (folder / "tree.json").write_text(json.dumps(tree), encoding="utf-8")
    (folder / "counts.csv").write_text(table([[y * k % 7 for k in range(10)] for y in range(10)], digits))
    (folder / "near.csv").write_text(table([[-abs(y - k) for k in range(10)] for y in range(10)], digits))
    words = [word for spec in ARMS for word in ("--arm", spec)]
    short = ("--model", "linear", "--folds", "1", "--seeds", "3", "--epochs", "4", "-q", "--out", "run")
    ran = run_sfumato("compare", "digits", *short, *words, folder=folder)
    assert ran.code == 0, ran.err
    return folder / "run"


@pytest.fixture(scope="module")
def summary(run):
    return json.loads((run / "summary.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def lines(run):
    """The lines of metrics of an arm, seed by seed."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return lambda arm, seed=None: [each for each in lines if each["arm"] == arm and seed in (None, each["seed"])]


def test_one_verdict_has_every_arm_in_it(summary):
    assert [(arm["name"], arm["over"]) for arm in summary["arms"]] == list(ARMS.values())
    assert {difference["against"] for difference in summary["differences"]} == {"one-hot"}
    others = {name for name, _ in ARMS.values()} - {"one-hot"}
    assert {difference["arm"] for difference in summary["differences"]} == others


def test_closed_forms_and_strengths_are_those_of_the_kinds(summary):
    arms = {arm["name"]: arm for arm in summary["arms"]}
    counts = np.array([178, 182, 177, 183, 181, 182, 181, 179, 174, 180])  # of digits, nearly even
    z = log_softmax(np.log(0.1 * counts / counts.sum() + 0.9 * np.eye(10)), 1)
    prior = np.mean([z[k, k] - np.delete(z[k], k).mean() for k in range(10)])
    assert arms["prior-0.1"]["closed_form_gap"] == pytest.approx(prior, abs=0.01)
    assert arms["linear-0-0.2"]["closed_form_gap"] == pytest.approx(sf.theory.optimal_gap(0.2, 10, over="all"))
    assert arms["margin-2-0.1"]["closed_form_gap"] == pytest.approx(sf.theory.optimal_gap(0.1, 10, over="all"))
    without = ("one-hot", "drop_late-0.3-0.5", "negative--0.2", "relax-0.1", "online-0.3")
    assert [arms[name]["closed_form_gap"] for name in without] == [None] * 5
    assert arms["margin-2-0.1"]["penalty"] == {"kind": "margin", "strengths": {"margin": 2.0, "alpha": 0.1}}
    assert (arms["margin-2-0.1"]["eps"], arms["drop_late-0.3-0.5"]["eps"]) == (None, 0.0)
    assert arms["drop_late-0.3-0.5"]["schedule"] == {"kind": "drop_late", "strengths": {"eps": 0.3, "after": 0.5}}


def test_floors_are_those_of_the_epoch(lines):
    smoothed = sf.theory.loss_floor(0.3, 10, over="all")
    falling = [line["train_floor"] for line in lines("drop_late-0.3-0.5", 2)]
    assert falling == pytest.approx([smoothed, smoothed, 0, 0], abs=1e-12)
    learned = [line["train_floor"] for line in lines("online-0.3", 0)]
    assert learned[0] == pytest.approx(smoothed, rel=1e-6)
    assert len(set(learned)) == 4
    assert len({line["train_floor"] for line in lines("ordinal-0.3")}) == 1
    assert {line["train_floor"] for line in lines("relax-0.1")} == {0.0}
    assert not any("train_floor" in line for line in lines("negative--0.2"))
    assert all(line.get("train_excess", math.inf) > 0 for name, _ in ARMS.values() for line in lines(name))


def test_the_page_has_every_arm_and_what_is_special_of_it(run):
    page = re.sub(r"<[^>]*>", "", (run / "report.html").read_text(encoding="utf-8"))
    assert [name for name, _ in ARMS.values() if name not in page] == []
    for text in (
        "For negative--0.2 no single logit gap is best: the loss has no floor",
        "none with fixed shares; at random logits the gradient of the loss is that of its formula",
        "this is the last step, and three other steps were checked",
    ):
        assert text in page


def test_the_judgement_of_the_run_is_its_verdict_and_another_arm_may_be_the_base(run, summary):
    judged = run_sfumato("judge", "run", "--json", folder=run.parent)
    assert judged.code == 0, judged.err
    assert judged.json()["verdict"] == summary["verdict"]
    other = run_sfumato("judge", "run", "--against", "relax-0.1", "--json", folder=run.parent)
    assert next(arm["name"] for arm in other.json()["arms"]) == "relax-0.1"
