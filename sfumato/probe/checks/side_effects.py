"""Whether a call changes the tensors or arrays that it is given."""

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from sfumato.conventions.batch import own_class
from sfumato.probe.call.caller import Loss
from sfumato.probe.findings import ProbeFinding, defect
from sfumato.probe.read.gradients import Reading


def side_effects(loss: Loss, reading: Reading, ignored: int | None = None) -> Iterator[ProbeFinding]:
    """Whether a call overwrites logits or labels; labels that are no class are tried too."""
    style = loss.style
    if style.library not in ("torch", "numpy") or style.layout != "rows" or style.inputs != "logits":
        return
    z, labels = reading.batch(4, seed=47)
    odd = [np.where(np.arange(4) == 1, label, labels) for label in (-100, -1, ignored) if label is not None]
    for given in [labels] if style.one_hot else [labels, *odd]:
        inputs: Any = z.astype(np.float32)
        target: Any = own_class(given, reading.classes).astype(np.float32) if style.one_hot else given.copy()
        if style.library == "torch":
            inputs, target = torch.tensor(inputs), torch.tensor(target)
        kept = copy.deepcopy((inputs, target))
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                style.call(loss.function, inputs, target)
        except Exception:
            continue
        for what, now, before in (("logits", inputs, kept[0]), ("labels", target, kept[1])):
            if not np.array_equal(np.asarray(now), np.asarray(before), equal_nan=True):
                yield defect("side effects", f"the {what} are overwritten: what else uses them gets other numbers")
