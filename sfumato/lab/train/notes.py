"""How a comparison was trained: the entry in ``env.json``, and the notes on it that stand beside the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sfumato.lab.arms.smoothing import ScheduledArm
from sfumato.lab.execute import RunKey
from sfumato.messages import Note, RunWarning
from sfumato.text import number, plural

if TYPE_CHECKING:
    from sfumato.lab.arms import Arm
    from sfumato.lab.train import Plan
    from sfumato.runs.schema import RunRecord


def training_of(plan: Plan, rows: int, records: Sequence[RunRecord]) -> dict[str, Any]:
    """The budget of every run on so many rows, as ``env.json`` has it; after an early stop with the epochs kept."""
    decay = plan.weight_decay
    optimiser = f"AdamW, weight decay {decay:g}" if decay > 0 else "Adam, no weight decay"
    if plan.accumulate > 1:
        optimiser += f", each batch in {plan.accumulate:,} parts"
    if plan.precision == "bf16":
        optimiser += ", forward pass in bfloat16"
    training = {**asdict(plan), "optimiser": optimiser, "schedule": "cosine to 0", "steps": plan.steps(rows)}
    return training | {"kept_epochs": _kept(records)} if plan.keeps_best else training


ENOUGH = 0.95  # the part of its closed form that the training gap of a model that is trained to the end has reached
STILL_FALLING = 0.05  # how much of its value its training loss may lose in the last epoch


def not_trained_to_the_end(
    plan: Plan, arms: Sequence[Arm], classes: int, records: Sequence[RunRecord]
) -> list[RunWarning]:
    """A warning where an arm stopped short of its optimum, for then more training may turn the verdict round."""
    faults, overlap = list[str](), ""
    for arm in arms:
        runs = [record for record in records if record["arm"] == arm.name]
        risen = sum(_turned(record, temperature=False) or _turned(record) for record in runs)
        if plan.early_stop is None and 2 * risen > len(runs):
            continue  # more training would not help: the validation rows say so
        goal, reached = arm.gap(classes), sum(record["train_gap"] for record in runs) / len(runs)
        falls = sorted(_fall(record) for record in runs)
        fall = falls[len(falls) // 2]
        if arm.below(classes):
            goal = float("inf")  # more training would not bring the gap there
        if 0 < goal < float("inf") and reached < ENOUGH * goal:
            faults.append(
                f"the logit gap of the {arm.name} model on its training rows is {number(reached, 2)}, which "
                f"is {100 * max(reached / goal, 0):.0f} % of its optimum ({goal:.2f})"
            )
            overlap = "Where classes overlap, a gap stays below its optimum however long the training is. "
        elif fall > STILL_FALLING:
            faults.append(f"the training loss of the {arm.name} model fell by {100 * fall:.0f} % in the last epoch")
    if not faults:
        return []
    way_out = "give more --epochs"
    way_out += " or leave out --weight-decay" if plan.weight_decay > 0 else ""
    way_out += " or leave out --early-stop" if plan.early_stop is not None else ""
    text = (
        f"The models are not trained to the end: {'; '.join(faults)}. {overlap}The verdict may still change: {way_out}."
    )
    return [{"code": "not-trained-to-the-end", "column": None, "text": text}]


def _fall(record: RunRecord) -> float:
    """The part of its value that the training loss lost, less what its floor lost, in the last epoch."""
    epochs = record["epochs"]
    if len(epochs) < 2 or epochs[-2]["train_loss"] <= 0:
        return 0.0
    before, after = (epoch["train_loss"] - epoch.get("train_floor", 0.0) for epoch in epochs[-2:])
    return (before - after) / epochs[-2]["train_loss"]


TURNED = 1.1  # how many times its least value a validation log loss has where it is called risen


def _turned(record: RunRecord, *, temperature: bool = True) -> bool:
    """Whether the validation log loss of a run, after temperature or before, was least before the end, and rose."""
    measure = "validation_nll_after_temperature" if temperature else "validation_nll"
    nll = [epoch[measure] for epoch in record["epochs"] if epoch.get(measure) is not None]
    return bool(nll) and nll[-1] > TURNED * min(nll)


def notes_on_training(plan: Plan, records: Sequence[RunRecord]) -> list[Note]:
    """What a reader should know of the training before taking its gaps for closed forms; by default nothing."""
    notes: list[Note] = []
    if plan.weight_decay > 0:
        text = (
            f"Trained with weight decay {plan.weight_decay:g}, which holds the logits back: gaps stay below their "
            "closed forms, and the one-hot arm has an optimum too."
        )
        notes.append(Note(code="weight-decay", text=text))
    if plan.keeps_best:
        kept = "; ".join(f"{arm} {_span(epochs)}" for arm, epochs in _kept(records).items())
        text = (
            f"Each run kept the weights of the epoch with the least log loss after temperature on validation rows "
            f"({kept}; of {'at most ' if plan.early_stop else ''}{plan.epochs:,})"
        )
        if plan.early_stop is not None:
            waited = plural(plan.early_stop, "epoch")
            text += (
                f", and stopped when {waited} had brought nothing better: arms stop at different epochs, and their "
                "gaps need not reach the closed forms"
            )
        notes.append(Note(code="early-stop" if plan.early_stop else "best-epoch", text=f"{text}."))
        risen = [record for record in records if plan.early_stop is None and _turned(record)]
        if 2 * len(risen) > len(records):
            nll = [
                epoch["validation_nll_after_temperature"]
                for record in risen
                for epoch in (
                    min(record["epochs"], key=lambda each: each["validation_nll_after_temperature"]),
                    record["epochs"][-1],
                )
            ]
            low, high = (sum(each) / len(risen) for each in (nll[::2], nll[1::2]))
            text = (
                f"The validation log loss turned upwards in {len(risen)} of {plural(len(records), 'run')}: from "
                f"{number(low)} at its least to {number(high)} at the end, after temperature. The least one is what "
                "was kept; --weights last keeps the end."
            )
            notes.append(Note(code="validation-loss-rises", text=text))
    return notes


def notes_on_schedules(plan: Plan, arms: Sequence[Arm], rows: int, records: Sequence[RunRecord]) -> list[Note]:
    """A note on each schedule that an early stop left unfinished in the weights that were kept; by default nothing."""
    if not plan.keeps_best:
        return []
    notes: list[Note] = []
    steps, kept = plan.steps(rows), _kept(records)
    for arm in arms:
        if isinstance(arm, ScheduledArm):
            strengths = [arm.at(epoch * steps // plan.epochs - 1, steps) for epoch in kept[arm.name]]
            if set(strengths) != {arm.strength}:
                low, high = f"{min(strengths):.2g}", f"{max(strengths):.2g}"
                text = (
                    f"The schedule of {arm.name} is unfinished in the weights that were kept: they end at "
                    f"ε = {low if low == high else f'{low} to {high}'} over all, and not at {arm.strength:g}."
                )
                notes.append(Note(code="schedule-unfinished", text=text))
    return notes


def _kept(records: Sequence[RunRecord]) -> dict[str, list[int]]:
    """Which epoch was kept, arm by arm and seed by seed."""
    kept: dict[str, list[int]] = {}
    for record in sorted(records, key=lambda record: RunKey.of(record).pair):
        kept.setdefault(record["arm"], []).append(record["kept_epoch"])
    return kept


def _span(epochs: Sequence[int]) -> str:
    low, high = min(epochs), max(epochs)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
