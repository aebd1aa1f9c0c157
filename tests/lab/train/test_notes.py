"""What is said of the training, in env.json and beside the verdict."""

from __future__ import annotations

from dataclasses import replace

from sfumato.lab.arms import arms_of
from sfumato.lab.train.notes import notes_on_training, training_of
from sfumato.lab.train.plan import Plan


def test_weight_decay_is_said_in_the_record_and_noted():
    plain, decayed = Plan(1, 64, 1e-3), Plan(1, 64, 1e-3, weight_decay=0.01)
    assert training_of(plain, 100)["optimiser"] == "Adam, no weight decay"
    assert training_of(decayed, 100)["optimiser"] == "AdamW, weight decay 0.01"
    arms = arms_of(0.1, "others")
    records = [{"arm": arm.name, "seed": seed, "train_gap": 2.2 + seed} for arm in arms for seed in (0, 1)]
    assert notes_on_training(plain, arms, 10, records) == []  # a mean of 2.7, and the closed form is 4.39
    (note,) = notes_on_training(decayed, arms, 10, records)
    assert note.startswith("Trained with weight decay 0.01, which holds the logits back: gaps stay below")


def test_a_gap_far_from_its_closed_form_is_noted_where_a_full_budget_should_have_reached_it():
    arms = arms_of(0.1, "others")
    records = [{"arm": arm.name, "seed": 0, "train_gap": 1.6, "kept_epoch": 1} for arm in arms]
    (note,) = notes_on_training(Plan(1, 64, 1e-3), arms, 10, records)
    assert note.startswith("The smoothed model's training gap (1.60) is far from its closed form (4.39): it is not")
    for plan in (Plan(1, 64, 1e-3, weight_decay=0.01), Plan(1, 64, 1e-3, early_stop=2)):
        assert not any("closed form (4.39)" in note for note in notes_on_training(plan, arms, 10, records))


def test_parts_and_precision_are_said_in_the_record():
    said = training_of(Plan(1, 64, 1e-3, accumulate=4, precision="bf16"), 100)
    assert said["optimiser"] == "Adam, no weight decay, each batch in 4 parts, forward pass in bfloat16"
    assert (said["accumulate"], said["precision"]) == (4, "bf16")


def test_an_early_stop_is_said_in_the_record_and_noted():
    plan = Plan(59, 64, 1e-3, early_stop=3)
    records = [{"arm": arm, "seed": seed, "kept_epoch": 5 + seed} for seed in (1, 0) for arm in ("one-hot", "smoothed")]
    records.append({"arm": "one-hot", "seed": 2, "kept_epoch": 1})
    said = training_of(plan, 100, records)
    assert (said["early_stop"], said["kept_epochs"]) == (3, {"one-hot": [5, 6, 1], "smoothed": [5, 6]})
    assert "kept_epochs" not in training_of(replace(plan, early_stop=None), 100, records)
    (note,) = notes_on_training(plan, arms_of(0.1, "others"), 10, records)
    assert note == (
        "Each run kept its epoch of least hard NLL after temperature on validation rows (one-hot 1 to 6; smoothed 5 to "
        "6; of at most 59) and stopped when 3 epochs had brought nothing better: arms stop at different epochs, and "
        "their gaps need not reach the closed forms."
    )
