"""Training one model: the loop, the early stop, and the losses that need more than logits and labels.

The names of the loop are resolved on first use, since the loop loads torch and the words of a plan do not.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sfumato.lab.train.loop import Epoch as Epoch
    from sfumato.lab.train.loop import Plan as Plan
    from sfumato.lab.train.loop import Trained as Trained
    from sfumato.lab.train.loop import TrainingError as TrainingError
    from sfumato.lab.train.loop import default_plan as default_plan
    from sfumato.lab.train.loop import hard_scores as hard_scores
    from sfumato.lab.train.loop import mean_gap as mean_gap
    from sfumato.lab.train.loop import optimiser_of as optimiser_of
    from sfumato.lab.train.loop import parts_of as parts_of
    from sfumato.lab.train.loop import train as train

_CLASSES = ("Epoch", "Plan", "Trained", "TrainingError")
_FUNCTIONS = ("default_plan", "hard_scores", "mean_gap", "optimiser_of", "parts_of", "train")


def __getattr__(name: str) -> Any:
    if name in _CLASSES + _FUNCTIONS:
        return getattr(import_module("sfumato.lab.train.loop"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
