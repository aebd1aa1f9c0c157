"""Arms whose strength moves with the step: their loss at each step, their proof, their floors, and what is said."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import sfumato as sf
from sfumato.lab import compare as lab
from sfumato.lab.arms import Arm, arm_of
from sfumato.lab.compare import NULL_WATCHER
from sfumato.lab.errors import ArmError, OptionError
from sfumato.lab.options import Options
from sfumato.lab.train.objectives import ScheduledLoss

STEPS = 8
COURSES = {
    "linear:0.2:0": [0.2 * (1 - t / 7) for t in range(STEPS)],
    "linear:0:0.7": [0.7 * t / 7 for t in range(STEPS)],
    "cosine:0.2:0.1": [0.1 + 0.05 * (1 + math.cos(math.pi * t / 7)) for t in range(STEPS)],
    "drop_late:0.1:0.5": [0.1] * 4 + [0.0] * 4,
}
each_spec = pytest.mark.parametrize("spec", COURSES)


def arm(spec: str) -> Arm:
    return arm_of(spec, np.arange(3), 3)


def trained(spec: str, upto: int = STEPS) -> ScheduledLoss:
    """A loss that was told of so many steps."""
    loss = arm(spec).loss()
    for step in range(upto):
        loss.begin_step(step, STEPS, 1.0)
    return loss


@each_spec
def test_the_loss_of_each_step_has_the_bits_of_the_cross_entropy_at_the_strength_of_that_step(spec):
    loss, z, y, weight = arm(spec).loss(), torch.randn(9, 3), torch.arange(9) % 3, torch.rand(9)
    name, *numbers = spec.split(":")
    for step, strength in enumerate(COURSES[spec]):
        loss.begin_step(step, STEPS, 9.0)
        strengths = {"after": float(numbers[1])} if name == "drop_late" else {"end": float(numbers[1])}
        eps = getattr(sf.schedules, name)(step, STEPS, float(numbers[0]), **strengths)
        assert eps == pytest.approx(strength, abs=1e-15)
        for own in (None, weight):
            assert torch.equal(loss(z, y, own), sf.cross_entropy(z, y, label_smoothing=eps, sample_weight=own))


@pytest.mark.parametrize(("spec", "last"), [("linear:0.2:0", 0.0), ("cosine:0:0.2", 0.2), ("drop_late:0.1", 0.0)])
def test_strength_gap_floor_and_target_are_those_of_the_last_step(spec, last):
    made = arm(spec)
    assert (made.eps, made.over) == (last, "all")
    assert made.gap(3) == sf.theory.optimal_gap(last, 3, over="all")
    assert made.floor(3) == sf.theory.loss_floor(last, 3, over="all")
    assert made.target(0, 3) == pytest.approx([1 - last + last / 3, last / 3, last / 3])


@each_spec
def test_an_arm_proves_its_schedule_and_tells_the_target_of_the_last_step(spec):
    last = COURSES[spec][-1]
    assert arm(spec).verify(trained(spec), 3) == pytest.approx([1 - last + last / 3, last / 3])


def test_a_loss_that_was_ended_early_is_proved_at_the_step_that_it_ended_with():
    eps = COURSES["linear:0.2:0"][4]
    assert arm("linear:0.2:0").verify(trained("linear:0.2:0", upto=5), 3) == pytest.approx([1 - 2 * eps / 3, eps / 3])


@pytest.mark.parametrize(
    "wrong",
    [trained("linear:0.21:0"), trained("cosine:0.2:0"), trained("linear:0.2:0.01"), sf.CrossEntropyLoss()],
    ids=["first strength", "form", "last strength", "kind"],
)
def test_another_schedule_is_refused(wrong):
    with pytest.raises(ArmError, match='arm "linear-0.2-0'):
        arm("linear:0.2:0").verify(wrong, 3)


def test_a_loss_whose_strength_is_not_that_of_its_step_is_refused():
    loss = trained("linear:0.2:0")
    loss.smoothed.label_smoothing = 0.1
    with pytest.raises(ArmError, match='arm "linear-0.2-0 at step 7"'):
        arm("linear:0.2:0").verify(loss, 3)


def test_the_floor_of_an_epoch_is_the_mean_over_its_steps_each_with_its_mass():
    loss = arm("linear:0:0.7").loss()
    y = torch.arange(3)
    expected = [0.0, 0.0]
    for step, (strength, mass) in enumerate(zip(COURSES["linear:0:0.7"], [3, 3, 3, 1] * 2, strict=True)):
        loss.begin_step(step, STEPS, mass)
        loss(torch.randn(3, 3), y)
        q = np.full(3, strength / 3) + (1 - strength) * np.eye(3)[0]
        expected[step // 4] -= mass / 10 * float((q * np.log(np.where(q > 0, q, 1))).sum())
        if step % 4 == 3:
            assert loss.end_epoch(y) == pytest.approx(expected[step // 4], rel=1e-12)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("linear:0.1:0.1", "--arm linear:0.1:0.1 has a strength that never moves: use all:0.1"),
        ("cosine:0:0", "--arm cosine:0:0 has a strength that never moves: use onehot"),
        ("linear:1.1:0", "--arm linear:1.1:0: its first strength must be at least 0 and at most 1"),
        ("linear:0.1", "--arm linear:0.1 needs a last strength: linear:0.2:0"),
        (
            "drop_late:0.1:1",
            "--arm drop_late:0.1:1: the part of the steps that is smoothed must be above 0 and below 1",
        ),
    ],
)
def test_a_schedule_that_is_none_is_refused_with_the_way_out(spec, said):
    with pytest.raises(OptionError) as error:
        arm(spec)
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("spec", "epochs", "said"),
    [
        ("drop_late:0.1:0.9", 3, r"drop_late-0.1-0.9 is still 0.1 at the last of 3 steps, .* to 0; give more"),
        ("linear:0.2:0", 1, "linear-0.2-0 is still 0.2 at the only step"),
    ],
)
def test_a_training_too_short_for_the_last_strength_is_refused_before_anything_is_written(spec, epochs, said, tmp_path):
    given = {"model": "linear", "seeds": 3, "epochs": epochs, "batch_size": 1078, "arm": f"onehot,{spec}"}
    with pytest.raises(OptionError, match=said):
        lab.compare(Options("digits", **given, out=str(tmp_path / "run")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.nightly  # the strength depends on the step alone, as the tests above show each day
def test_a_schedule_stopped_and_gone_on_with_ends_in_the_same_bits(tmp_path: Path):
    short = {"model": "linear", "seeds": 3, "epochs": 3, "workers": 2, "arm": "onehot,cosine:0.3:0"}
    lab.compare(Options("digits", **short, out=str(tmp_path / "whole")))

    def stop(run: tuple, epoch: dict) -> None:
        if (*run, epoch["epoch"]) == ("cosine-0.3-0", 1, 2):
            raise KeyboardInterrupt

    with pytest.raises(lab.Stopped):
        lab.compare(Options("digits", **short, out=str(tmp_path / "run")), watcher=replace(NULL_WATCHER, progress=stop))
    lab.resume(tmp_path / "run", workers=1)
    for name in ("metrics.jsonl", "logits/cosine-0.3-0-seed2-test.npz", "weights/cosine-0.3-0-seed1.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
