"""What is said of the training, in env.json and beside the verdict."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from sfumato.lab.arms import arm_of, default_arms
from sfumato.lab.train import Plan
from sfumato.lab.train.notes import not_trained_to_the_end, notes_on_schedules, notes_on_training, training_of


def test_weight_decay_is_said_in_the_record_and_noted():
    (warning,) = not_trained_to_the_end(
        Plan(3, 64, 1e-3, weight_decay=0.01), default_arms(0.1, "others"), 10, records((1.0, 1.0, 1.0))
    )
    assert warning["text"].endswith("give more --epochs or leave out --weight-decay.")
    plain, decayed = Plan(1, 64, 1e-3), Plan(1, 64, 1e-3, weight_decay=0.01)
    assert training_of(plain, 100, [])["optimiser"] == "Adam, no weight decay"
    assert training_of(decayed, 100, [])["optimiser"] == "AdamW, weight decay 0.01"
    assert notes_on_training(plain, []) == []
    (note,) = notes_on_training(decayed, [])
    assert note["text"].startswith("Trained with weight decay 0.01, which holds the logits back: gaps stay below")


def records(gaps, losses=(1.0, 0.5, 0.49), kept=3):
    """Three seeds of an arm each; the closed form of the smoothed gap is log 81 = 4.394."""
    epochs = [{"train_loss": loss} for loss in losses]
    return [
        {"arm": arm.name, "seed": seed, "train_gap": gap, "kept_epoch": kept, "epochs": epochs}
        for arm in default_arms(0.1, "others")
        for seed, gap in enumerate(gaps)
    ]


@pytest.mark.parametrize(
    ("plan", "gaps", "losses", "kept", "said"),
    [
        (Plan(3, 64, 1e-3), (4.1, 4.2, 4.3), (1.0, 0.5, 0.49), 3, None),  # a mean of 95.6 %
        (Plan(3, 64, 1e-3), (4.0, 4.1, 4.2), (1.0, 0.5, 0.49), 3, "is 4.10, which is 93 % of its optimum (4.39)"),
        (Plan(3, 64, 1e-3), (-0.1, 0.0, 0.0), (1.0, 0.5, 0.49), 3, "is −0.03, which is 0 % of its optimum (4.39)"),
        (Plan(3, 64, 1e-3), (4.4, 4.4, 4.4), (1.0, 0.5, 0.47), 3, "the one-hot model fell by 6 % in the last epoch"),
        (Plan(3, 64, 1e-3), (4.4, 4.4, 4.4), (1.0, 0.5, 0.48), 3, None),
        (Plan(3, 64, 1e-3, early_stop=1), (4.4, 4.4, 4.4), (1.0, 0.5), 2, "fell by 50 % in the last epoch"),
        (Plan(3, 64, 1e-3), (4.4, 4.4, 4.4), (1.0,), 1, None),
    ],
)
def test_models_that_stopped_short_of_their_optimum_are_a_warning(plan, gaps, losses, kept, said):
    found = not_trained_to_the_end(plan, default_arms(0.1, "others"), 10, records(gaps, losses, kept))
    assert [(each["code"], each["column"]) for each in found] == [("not-trained-to-the-end", None)] * (said is not None)
    if said is not None:
        assert said in found[0]["text"]
        assert found[0]["text"].endswith(
            "give more --epochs" + (" or leave out --early-stop." if plan.early_stop else ".")
        )
        assert ("Where classes overlap" in found[0]["text"]) == ("optimum" in said)


@pytest.mark.parametrize(
    ("floors", "warned"),
    [((0.9, 0.4, 0.0), False), ((0.0, 0.0, 0.0), True)],  # the loss falls by 0.4 of 0.5 in the last epoch
)
def test_a_loss_that_falls_because_its_floor_falls_is_no_sign_of_too_little_training(floors, warned):
    made = records((4.4, 4.4, 4.4), (1.0, 0.5, 0.1))
    for record in made:
        epochs = zip(record["epochs"], floors, strict=True)
        record["epochs"] = [{**epoch, "train_floor": floor} for epoch, floor in epochs]
    found = not_trained_to_the_end(Plan(3, 64, 1e-3), default_arms(0.1, "others"), 10, made)
    assert [each["code"] for each in found] == ["not-trained-to-the-end"] * warned


@pytest.mark.parametrize(("spec", "warned"), [("margin:10", False), ("margin:3", True), ("l2:0.002", True)])
def test_a_gap_below_the_margin_of_a_hinge_is_no_sign_of_too_little_training(spec, warned):
    """The hinge holds the lowest wrong classes alone, so that no training brings the mean gap to the margin."""
    arm = arm_of(spec, np.arange(10), 10)
    made = [{"arm": arm.name, "train_gap": 0.8 * arm.gap(10), "epochs": [], "kept_epoch": 0}] * 3
    found = not_trained_to_the_end(Plan(3, 64, 1e-3), [arm], 10, made)
    assert [each["code"] for each in found] == ["not-trained-to-the-end"] * warned


def test_parts_and_precision_are_said_in_the_record():
    assert training_of(Plan(1, 64, 1e-3, accumulate=2), 100, [])["optimiser"].endswith("each batch in 2 parts")
    said = training_of(Plan(1, 64, 1e-3, accumulate=4, precision="bf16"), 100, [])
    assert said["optimiser"] == "Adam, no weight decay, each batch in 4 parts, forward pass in bfloat16"
    assert (said["accumulate"], said["precision"]) == (4, "bf16")


def test_an_early_stop_is_said_in_the_record_and_noted():
    plan = Plan(59, 64, 1e-3, early_stop=3)
    records = [{"arm": arm, "seed": seed, "kept_epoch": 5 + seed} for seed in (1, 0) for arm in ("one-hot", "smoothed")]
    records.append({"arm": "one-hot", "seed": 2, "kept_epoch": 1})
    said = training_of(plan, 100, records)
    assert (said["early_stop"], said["kept_epochs"]) == (3, {"one-hot": [5, 6, 1], "smoothed": [5, 6]})
    assert "kept_epochs" not in training_of(replace(plan, early_stop=None), 100, records)
    (note,) = notes_on_training(plan, records)
    assert note["text"] == (
        "Each run kept the weights of the epoch with the least log loss after temperature on validation rows (one-hot "
        "1 to 6; smoothed 5 to 6; of at most 59), and stopped when 3 epochs had brought nothing better: arms stop at "
        "different epochs, and their gaps need not reach the closed forms."
    )


def test_a_validation_loss_that_turns_upwards_is_noted_and_is_no_sign_of_too_little_training():
    plan = Plan(3, 64, 1e-3, weights="best")
    risen, level = ([{"train_loss": loss, "validation_nll_after_temperature": nll} for loss, nll in zip((1.0, 0.5, 0.1),
                    each, strict=True)] for each in ((0.4, 0.3, 0.6), (0.4, 0.3, 0.31)))  # fmt: skip
    for epochs, codes, warned in ((risen, ["best-epoch", "validation-loss-rises"], 0), (level, ["best-epoch"], 1)):
        made = [record | {"epochs": epochs, "kept_epoch": 2} for record in records((1.0, 1.0, 1.0))]
        assert [note["code"] for note in notes_on_training(plan, made)] == codes
        assert len(not_trained_to_the_end(plan, default_arms(0.1, "others"), 10, made)) == warned
    rising = notes_on_training(plan, [{"arm": "a", "seed": 0, "kept_epoch": 2, "epochs": risen}])[1]
    assert "in 1 of 1 run: from 0.300 at its least to 0.600 at the end" in rising["text"]


@pytest.mark.parametrize(
    ("measure", "weights", "risen", "warned"),
    [
        ("validation_nll", "best", 3, 0), ("validation_nll", "last", 3, 0), ("validation_nll", "best", 2, 0),
        ("validation_nll", "best", 1, 1), ("validation_nll_after_temperature", "last", 2, 0),
        ("validation_nll_after_temperature", "best", 1, 1),
    ],
)  # fmt: skip
def test_more_training_is_not_advised_where_the_validation_loss_of_most_runs_rises(measure, weights, risen, warned):
    made = records((4.4, 4.4, 4.4), (1.0, 0.5, 0.1))
    for record in made:
        nll = (0.4, 0.319, 0.662 if record["seed"] < risen else 0.32)
        record["epochs"] = [{**epoch, measure: each} for epoch, each in zip(record["epochs"], nll, strict=True)]
    found = not_trained_to_the_end(Plan(3, 64, 1e-3, weights=weights), default_arms(0.1, "others"), 10, made)
    assert len(found) == warned


@pytest.mark.parametrize(
    ("stop", "kept", "said"),
    [
        (2, (2, 3), "end at ε = 0.1 to 0.15 over all, and not at 0."),
        (2, (3, 3), "end at ε = 0.1 over all, and not at 0."),
        (2, (5, 5), None),
        (None, (3, 3), None),
    ],
)
def test_a_schedule_that_an_early_stop_left_unfinished_is_noted_with_the_strengths_that_were_kept(stop, kept, said):
    """Five epochs of two steps: after epochs 2 and 3 the strength is that of steps 3 and 5 of 0 to 9."""
    arms = [arm_of(spec, np.arange(10), 10) for spec in ("onehot", "linear:0.225:0")]
    made = [{"arm": arm.name, "seed": n, "kept_epoch": epoch} for arm in arms for n, epoch in enumerate(kept)]
    found = notes_on_schedules(Plan(5, 64, 1e-3, early_stop=stop), arms, 100, made)
    assert len(found) == (said is not None)
    if said is not None:
        assert found[0]["text"].startswith(
            "The schedule of linear-0.225-0 is unfinished in the weights that were kept: "
        )
        assert found[0]["text"].endswith(said)


def warned(arm, gap, losses, runs=3):
    """What is said of the training of one arm, whose runs all ended with this gap, each with these losses."""
    falls = losses if isinstance(losses[0], tuple) else (losses,) * runs
    made = [
        {"arm": arm.name, "train_gap": gap, "kept_epoch": len(own), "epochs": [{"train_loss": loss} for loss in own]}
        for own in falls
    ]
    return "".join(each["text"] for each in not_trained_to_the_end(Plan(3, 64, 1e-3), [arm], 2, made))


def towards(gap):
    return SimpleNamespace(name="own", gap=lambda classes: gap, below=lambda classes: "")


@pytest.mark.parametrize(
    ("goal", "reached", "losses", "said"),
    [
        (10.0, 9.5, (20.0, 19.0), ""),  # 95 % of the gap and a fall of 5 %, to the bit: enough
        (10.0, 9.49, (20.0, 19.0), "which is 95 % of its optimum (10.00)"),
        (10.0, 9.5, (20.0, 18.9), "the training loss of the own model fell by 6 % in the last epoch"),
        (0.5, 0.1, (1.0, 1.0), "is 0.10, which is 20 % of its optimum (0.50)"),
        (0.0, -0.1, (1.0, 1.0), ""),  # smoothed over all with ε = 1, where every class is alike
        (-2.0, -3.0, (1.0, 1.0), ""),
        (math.inf, 3.0, (1.0, 1.0), ""),
        (math.inf, 3.0, (0.0, 0.0), ""),
        (math.inf, 3.0, (0.5, 0.25), "the training loss of the own model fell by 50 % in the last epoch"),
        (math.inf, 3.0, (-1.0, -2.0), ""),  # a loss without a floor may lie below 0, where a share of it says nothing
    ],
)  # fmt: skip
def test_a_model_is_trained_to_the_end_from_95_per_cent_of_its_gap_and_with_a_fall_of_5_per_cent(
    goal, reached, losses, said
):
    found = warned(towards(goal), reached, losses)
    assert found == "" if not said else said in found


@pytest.mark.parametrize(("falls", "shown"), [((50, 10, 40, 20, 30), 30), ((10, 50, 20), 20), ((50, 20), 50)])
def test_the_fall_that_is_told_is_the_median_of_the_runs(falls, shown):
    found = warned(towards(math.inf), 3.0, tuple((100.0, 100.0 - fall) for fall in falls))
    assert f"fell by {shown} % in the last epoch" in found


def test_one_epoch_that_brought_nothing_better_is_said_in_the_singular():
    (note,) = notes_on_training(Plan(2000, 64, 1e-3, early_stop=1), [{"arm": "a", "seed": 0, "kept_epoch": 1000}])
    assert "(a 1,000; of at most 2,000), and stopped when 1 epoch had brought nothing better" in note["text"]
