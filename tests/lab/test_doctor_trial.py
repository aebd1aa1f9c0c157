"""A trial on the data: how long each arm trains, and what is said of how it went."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from sfumato.lab.cost_estimate import Cost, trial, trial_as_text
from sfumato.lab.options import Options
from sfumato.lab.prepared import prepared

COST = Cost(("one-hot", "smoothed"), 10, 2, 60, 1020, 650, 1 / 17, 600.0, 10**6, 10**6)  # a second each epoch


@pytest.mark.parametrize(
    ("seconds", "asked", "epochs"), [(7.0, None, 3), (20.0, 4, 4), (0.1, None, 2), (3.9, None, 2), (8.0, None, 4)]
)
def test_both_arms_together_train_for_the_time_there_is_or_for_two_epochs(seconds, asked, epochs, monkeypatch):
    monkeypatch.setattr("sfumato.lab.cost_estimate.estimate", lambda ready: COST)
    began = time.perf_counter()
    found = trial(prepared(Options("digits", model="linear", batch_size=64, epochs=asked)), seconds)
    assert 0 < sum(arm["seconds"] for arm in found["arms"]) <= time.perf_counter() - began
    assert [(arm["name"], arm["epochs"]) for arm in found["arms"]] == [("one-hot", epochs), ("smoothed", epochs)]
    assert all(arm["nll"][1] < arm["nll"][0] for arm in found["arms"])
    assert found["data"] == {
        "name": "digits", "classes": 10, "inputs": "64 features (8 × 8)", "train": 1078, "validation": 360, "test": 359,
        "duplicates": 0, "missing": {},
    }  # fmt: skip
    assert found["whole"] == COST.to_json()


FOUND = {
    "data": {
        "name": "flowers.csv", "classes": 3, "inputs": "4 features", "train": 1200, "validation": 400, "test": 401,
        "duplicates": 1002, "missing": {"petal": 1234},
    },
    "notes": [{"code": "some", "text": "Something to know."}],
    "whole": replace(COST, epochs=1500).to_json(),
    "arms": [
        {"name": "one-hot", "epochs": 4, "nll": [1.25, 0.5], "seconds": 7.6},
        {"name": "smoothed", "epochs": 4, "nll": [0.5, 0.5], "seconds": 8.1},
    ],
}  # fmt: skip


def test_a_trial_is_told_with_copies_missing_values_and_an_arm_that_did_not_learn():
    assert trial_as_text(FOUND).splitlines() == [
        "data          flowers.csv: 4 features, 3 classes; rows: train 1,200, validation 400, test 401",
        "duplicates    1,002 rows duplicate an earlier one",
        "note          Something to know.",
        "trial         one-hot: validation log loss (NLL) 1.250 to 0.500 in 4 epochs (8 s)",
        "trial         smoothed: validation log loss (NLL) 0.500 to 0.500 in 4 epochs (8 s); it did not fall: "
        "look at the data, or at --learning-rate",
        "full run      10 runs of 1,500 epochs: about 10 min",
    ]


def test_what_there_is_nothing_to_say_of_is_left_out():
    plain = FOUND | {"data": FOUND["data"] | {"duplicates": 0, "missing": {}}, "notes": []}
    assert [line.split()[0] for line in trial_as_text(plain).splitlines()] == ["data", "trial", "trial", "full"]
