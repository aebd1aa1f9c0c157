"""Models whose scores do not fit their rows are named, with the likely cause, and sound models are not."""

from __future__ import annotations

import re

import numpy as np
import pytest

import sfumato as sf
from tests.report.run_folders import write_run


def models(rng, y, classes, seeds, strength=1.9, spread=0.05):
    """Logits of models that share most of the noise of a row and differ naturally in strength."""
    common = rng.normal(size=(len(y), classes))
    return [
        2 * (strength * (1 + spread * rng.normal()) * np.eye(classes)[y] + 1.1 * common
             + 0.6 * rng.normal(size=common.shape))
        for _ in range(seeds)
    ]  # fmt: skip


def judged(y, one_hot, smoothed):
    return sf.judge({arm: [{"logits": z, "labels": y} for z in each]
                     for arm, each in (("one-hot", one_hot), ("smoothed", smoothed))})  # fmt: skip


def named(found):
    return [each["text"] for each in found.warnings if each["code"] == "broken-model"]


FAULTS = {
    "rows in another order": (lambda z, rng: rng.permutation(z), "may be in another order"),
    "rows one further down": (lambda z, rng: np.roll(z, 1, axis=0), "With the label of the row before"),
    "rows one further up": (lambda z, rng: np.roll(z, -1, axis=0), "With the label of the row after"),
    "rows from the last": (lambda z, rng: z[::-1], "labels in reverse order"),
    "the sign": (lambda z, rng: -z, "the sign of"),
    "classes in another order": (lambda z, rng: np.roll(z, 1, axis=1), "(columns taken in|two classes swapped)"),
    "equal scores": (lambda z, rng: np.zeros_like(z), "Every row has the same scores"),
    "a training that diverged": (lambda z, rng: 0.1 * rng.normal(size=z.shape), "training may have failed"),
}


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_model_of_three_is_named_with_its_cause_and_no_more_models_are_advised(fault, classes):
    rng = np.random.default_rng([len(fault), classes])
    y = rng.integers(0, classes, 500)
    sound = models(rng, y, classes, 6)
    broken, cause = FAULTS[fault]
    found = judged(y, sound[:3], [sound[3], broken(sound[4], rng), sound[5]])
    (text,) = named(found)
    assert text.startswith("model 1 of the arm smoothed looks broken: an accuracy of ")
    assert re.search(cause, text)
    assert found.verdict["state"] == "undecided"
    assert "To decide" not in str(found)


@pytest.mark.parametrize("seeds", [1, 3])
def test_arms_whose_classes_are_in_different_orders_are_named(seeds):
    rng = np.random.default_rng(seeds)
    y = rng.choice(5, 800, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    sound, order = models(rng, y, 5, 2 * seeds), np.array([2, 0, 1, 4, 3])
    (text,) = named(judged(y, sound[:seeds], [z[:, order] for z in sound[seeds:]]))
    assert text.startswith("All 3 models of smoothed look" if seeds == 3 else "model 0 of the arm smoothed looks")
    assert f"columns taken in the order {', '.join(map(str, np.argsort(order)))}" in text


@pytest.mark.parametrize("seeds", [2, 3])
def test_a_model_in_both_arms_is_named(seeds):
    rng = np.random.default_rng(seeds)
    y = rng.integers(0, 3, 400)
    sound = models(rng, y, 3, 2 * seeds)
    (text,) = named(judged(y, sound[:seeds], [sound[0].astype(np.float32), *sound[seeds + 1 :]]))
    assert text.startswith("model 0 of the arm one-hot and model 0 of the arm smoothed have the same scores")


@pytest.mark.parametrize("number", range(4))
def test_a_broken_model_of_rare_events_is_named_though_its_accuracy_is_that_of_the_others(number):
    rng = np.random.default_rng(number)
    y = (rng.random(4000) < 0.03).astype(int)
    sound = [z - [0, 6] for z in models(rng, y, 2, 6, strength=1.0)]
    broken = rng.permutation(sound[4])
    assert [text[:27] for text in named(judged(y, sound[:3], [*sound[3:4], broken, *sound[5:]]))] == [
        "model 1 of the arm smoothed"
    ]


SOUND = {
    "two classes, few rows": (2, 40, 3, 1.1, 0.1, "drawn"),
    "four classes, few rows": (4, 60, 3, 1.9, 0.1, "drawn"),
    "one model each": (3, 500, 1, 1.9, 0.1, "drawn"),
    "twenty models": (3, 300, 20, 1.5, 0.1, "drawn"),
    "models that differ much": (5, 300, 5, 1.1, 0.2, "drawn"),
    "weak models": (2, 1000, 3, 0.2, 0.3, "drawn"),
    "sorted rows": (4, 600, 3, 1.9, 0.1, "sorted"),
    "rare classes": (3, 1500, 3, 1.5, 0.1, "rare"),
}


@pytest.mark.parametrize("case", SOUND)
def test_sound_models_are_not_named(case):
    classes, rows, seeds, strength, spread, how = SOUND[case]
    for number in range(3):
        rng = np.random.default_rng([number, len(case)])
        y = rng.choice(classes, rows, p=[0.92, 0.05, 0.03] if how == "rare" else None)
        y = np.sort(y) if how == "sorted" else y
        sound = models(rng, y, classes, 2 * seeds, strength, spread)
        assert named(judged(y, sound[:seeds], sound[seeds:])) == []


def test_an_arm_without_a_clue_and_an_arm_of_the_class_shares_are_not_broken():
    rng = np.random.default_rng(3)
    y = rng.integers(0, 3, 600)
    sound = models(rng, y, 3, 3)
    assert named(judged(y, sound, [rng.normal(size=(600, 3)) for _ in range(3)])) == []
    assert named(judged(y, [np.tile([0.1, 0.2, 0.3], (600, 1))], sound)) == []


def test_forecasts_that_repeat_the_row_before_are_not_called_shifted():
    rng = np.random.default_rng(4)
    y = np.cumsum(rng.random(1500) < 0.2) % 3
    repeated = [2 * np.eye(3)[np.roll(y, 1)] + 0.3 * rng.normal(size=(1500, 3)) for _ in range(3)]
    assert named(judged(y, repeated, [z + models(rng, y, 3, 1)[0] for z in repeated])) == []


def test_a_seed_of_a_comparison_whose_training_failed_is_named_once_and_no_more_seeds_are_advised(tmp_path):
    run = write_run(tmp_path / "run", seeds=3, epochs=1, test=300)
    path = run / "logits" / "smoothed-seed1-test.npz"
    stored = dict(np.load(path))
    np.savez(path, **{**stored, "logits": np.random.default_rng(0).permutation(stored["logits"])})
    found = sf.judge(run)
    (text,) = named(found)
    assert text.startswith("smoothed seed 1 looks broken: ")
    assert "(--learning-rate, --epochs)" in text
    assert str(found).count(text) == 1
    assert "--seeds" not in str(found)
