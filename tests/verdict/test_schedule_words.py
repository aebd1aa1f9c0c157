"""What schedules are called in sentences."""

from __future__ import annotations

import pytest

from sfumato.lab.arms import Arm
from sfumato.lab.arms.schedules import ScheduledArm
from sfumato.verdict.analyse import differences
from sfumato.verdict.arm_words import TrainedArm
from sfumato.verdict.schedule_words import ScheduleOfArm, schedule_of
from sfumato.verdict.sentences import verdict
from tests.verdict.results import result

TARGET = {"name": "one-hot", "eps": 0.0, "over": "others", "closed_form_gap": None, "train_gap": 1.0, "metrics": {}}
FALLING = ScheduledArm("linear-0.2-0", 0.0, "all", "linear", (("start", 0.2), ("end", 0.0)))


def test_a_strength_that_stands_still_has_no_schedule():
    assert schedule_of(TARGET) is None


@pytest.mark.parametrize(
    ("kind", "strengths", "told"),
    [
        (
            "cosine",
            {"start": 0.0, "end": 0.2},
            "ε from 0 to 0.2 on half a cosine over the steps, spread over all",
        ),
        ("drop_late", {"eps": 0.1, "after": 0.75}, "ε = 0.1 for the first 75 % of the steps and 0 after them, spread"),
        (
            "of_a_later_version",
            {"c": 1.0},
            "ε that moves with the step, spread over all 3 classes (sf.schedules.of_a",
        ),
    ],
)
def test_a_schedule_is_told_with_its_strengths_and_its_spread(kind, strengths, told):
    assert ScheduleOfArm(kind, strengths).told(3).startswith(told)


def test_an_arm_that_was_read_back_is_told_as_the_one_that_trained():
    found = schedule_of(TARGET | {"schedule": {"kind": "linear", "strengths": {"start": 0.2, "end": 0.0}}})
    assert TrainedArm("linear-0.2-0", 0.0, "all", None, found).told(3) == FALLING.told(3)


def test_a_base_that_ends_at_one_hot_is_kept_by_its_own_name(margins):
    results = [result(FALLING, accuracy=0.9), result(Arm("all-0.1", 0.1, "all"), accuracy=0.9)]
    said = verdict(results, differences(results, margins), 10)["sentences"][0]
    assert said.startswith("Keep linear-0.2-0")


def test_a_schedule_that_is_worse_is_not_called_a_strength(margins):
    results = [result(Arm("one-hot", 0.0, "all"), accuracy=0.9), result(FALLING, accuracy=0.8)]
    said = verdict(results, differences(results, margins), 10)["sentences"][0]
    assert said == (
        "Keep one-hot labels: smoothing with ε from 0.2 to 0 on a straight line over the steps, spread over all 10 "
        "classes (sf.schedules.linear) makes the model worse."
    )


@pytest.fixture
def margins():
    from sfumato.evaluate import Margins

    return Margins()
