"""How a comparison was trained, in words: for ``env.json``, for the page, and as notes beside the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sfumato.lab.options import OptionError

if TYPE_CHECKING:
    from sfumato.lab.train import Plan


def training_of(plan: Plan, rows: int) -> dict[str, Any]:
    """The budget of every run, as ``env.json`` has it under ``"training"``.

    Args:
        plan: the same for every arm.
        rows: to train on.

    >>> from sfumato.lab.train import Plan
    >>> training_of(Plan(2, 64, 1e-3, weight_decay=0.01), 100)["optimiser"]
    'AdamW, weight decay 0.01'
    """
    decay = plan.weight_decay
    optimiser = f"AdamW, weight decay {decay:g}" if decay > 0 else "Adam, no weight decay"
    if plan.accumulate > 1:
        optimiser += f", each batch in {plan.accumulate:,} parts"
    if plan.precision == "bf16":
        optimiser += ", forward pass in bfloat16"
    return {
        "epochs": plan.epochs,
        "batch_size": plan.batch_size,
        "optimiser": optimiser,
        "learning_rate": plan.learning_rate,
        "weight_decay": decay,
        "schedule": "cosine to 0",
        "accumulate": plan.accumulate,
        "precision": plan.precision,
        "steps": plan.steps(rows),
    }


def refuse_small_parts(plan: Plan) -> None:
    """Refuse to split a batch into parts of less than two rows.

    Raises:
        OptionError: it names the most parts that there can be.
    """
    most = max(1, plan.batch_size // 2)
    if plan.accumulate > most:
        raise OptionError(
            f"--accumulate {plan.accumulate} would split a batch of {plan.batch_size} rows into parts of less than "
            f"two; use at most {most}, or a larger --batch-size"
        )


def notes_on_training(plan: Plan) -> list[str]:
    """What a reader should know of the training before taking its gaps for closed forms; by default nothing."""
    notes: list[str] = []
    if plan.weight_decay > 0:
        notes.append(
            f"Trained with weight decay {plan.weight_decay:g}, which holds the logits back: gaps stay below their "
            "closed forms, and the one-hot arm has an optimum too."
        )
    return notes
