"""What adapters share: smoothed targets without torch, for arrays that are no tensors, and scores for the verdict.

A smoothed label is two numbers, the mass of the label and that of every other class; a smoothed distribution is a·q +
b.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.soft_labels import SoftLabels
from sfumato.theory import Over
from sfumato.theory.smoothing import check_over

Column = npt.NDArray[np.float64]


def check_smoothing(label_smoothing: float, over: str) -> None:
    """Refuse a strength that is not a number in [0, 1], and an unknown convention."""
    if isinstance(label_smoothing, str):  # as YAML reads 1e-1
        raise TypeError(f"label_smoothing must be a number, got {label_smoothing!r}")
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing must be in [0, 1], got {label_smoothing:g}")
    check_over(over)


def masses(label_smoothing: Any, num_classes: int, over: Over) -> tuple[Any, Any]:
    """The mass of the label and that of each other class, of numbers or of a framework's arrays."""
    if over == "others":
        return 1 - label_smoothing, label_smoothing / (num_classes - 1)
    return 1 - label_smoothing + label_smoothing / num_classes, label_smoothing / num_classes


def scale_and_floor(label_smoothing: Any, num_classes: int, over: Over) -> tuple[Any, Any]:
    """The numbers a and b by which a distribution q becomes a·q + b; over the others (1−ε)q + ε(1−q)/(K−1)."""
    _, other = masses(label_smoothing, num_classes, over)
    return 1 - label_smoothing - (other if over == "others" else 0), other


def checked_labels(labels: Any, num_classes: int) -> npt.NDArray[np.int64]:
    """Class indices (N,) as int64, floats with whole values included, which is what boosting libraries keep."""
    values = np.asarray(labels)
    if values.dtype.kind not in "iufb":
        raise TypeError(f"labels must be class indices, got {values.dtype}")
    whole = np.rint(np.nan_to_num(values, nan=-0.5)) if values.dtype.kind == "f" else values
    for bad, error, what in (
        (whole != values, ValueError, "is not a whole number"),
        ((values < 0) | (values >= num_classes), IndexError, "is not a class"),
    ):
        if bad.any():
            row = int(bad.argmax())
            classes = f"there are {num_classes} classes (0 to {num_classes - 1})"
            raise error(f"label {values[row]:g} in row {row} {what}: {classes}")
    return whole.astype(np.int64)


def checked_soft_labels(soft_labels: Any, num_classes: int | None = None, *, name: str = "soft_labels") -> Column:
    """Distributions over the classes, (N, K) in float64, each divided by its sum, which must be about 1."""
    shape = np.shape(soft_labels)
    if len(shape) != 2 or shape[1] < 2 or (num_classes is not None and shape[1] != num_classes):
        raise ValueError(f"{name} must be (N, {num_classes or 'K'}), one number per row and class, got {shape}")
    return SoftLabels(soft_labels, name).block(slice(None))


def save_parts(
    folder: str | os.PathLike[str],
    arm: str,
    seed: int | str,
    read: Callable[[Any], tuple[Any, Any]],
    test: Any,
    validation: Any,
) -> None:
    """Save the logits and labels that ``read`` gives of the test rows and of the validation rows, if there are any."""
    from sfumato.verdict.save_scores import save_scores  # not above: the losses alone need less

    logits, labels = read(test)
    val_logits, val_labels = (None, None) if validation is None else read(validation)
    save_scores(folder, arm=arm, seed=seed, logits=logits, labels=labels, val_logits=val_logits, val_labels=val_labels)
