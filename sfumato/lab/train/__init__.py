"""Training one model: the plan, the loop, the early stop, and the losses that need more than logits and labels.

The names that ``sfumato.lab.train`` had as one file are resolved on first use, since the loop loads torch.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "sfumato.lab.errors": ("TrainingError",),
    "sfumato.lab.train.loop": ("Epoch", "Trained", "hard_scores", "mean_gap", "optimiser_of", "parts_of", "train"),
    "sfumato.lab.train.plan": ("Plan", "default_plan"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
