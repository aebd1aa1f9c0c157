"""Checks of 1-D columns: one number a row."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Column: TypeAlias = npt.NDArray[np.float64]


def check_correct(correct: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """``correct`` as a bool column of at least one row; 0 and 1 of any type are taken as well."""
    values = as_numpy(correct)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"correct must be one value a row and not empty, got shape {values.shape}")
    if values.dtype != np.bool_:
        other = np.flatnonzero((values != 0) & (values != 1))
        if len(other):
            raise ValueError(f"correct must be true or false, got {values[other[0]]} in row {other[0]}")
    return values.astype(np.bool_)


def check_rows(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> tuple[Column, npt.NDArray[np.bool_]]:
    """Confidences, and whether each row is right, checked as columns of one length."""
    right = check_correct(correct)
    return check_confidence(confidence, len(right)), right


def check_confidence(confidence: npt.ArrayLike, rows: int | None = None) -> Column:
    """``confidence`` as a float64 column in [0, 1]."""
    values = as_numpy(confidence).astype(np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"confidence must be one value a row and not empty, got shape {values.shape}")
    if rows is not None and len(values) != rows:
        raise ValueError(f"confidence must be ({rows},) like correct, got shape {values.shape}")
    bad = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(bad):
        raise ValueError(f"confidence must be in [0, 1], got {values[bad[0]]} in row {bad[0]}")
    return values


def as_numpy(values: Any) -> npt.NDArray[Any]:
    """An array, a tensor or a list as a numpy array; a tensor leaves its device and graph."""
    return values.detach().cpu().numpy() if is_tensor(values) else np.asarray(values)


def is_tensor(values: Any) -> TypeGuard[torch.Tensor]:
    """Whether this is a torch tensor; nothing is a tensor before torch was imported."""
    module = sys.modules.get("torch")
    return module is not None and isinstance(values, module.Tensor)


def check_bins(bins: int) -> int:
    """A number of bins, at least 1."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    return bins
