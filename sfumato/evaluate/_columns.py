"""Checks of 1-D columns: one number a row."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Column: TypeAlias = npt.NDArray[np.float64]


def check_correct(correct: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """``correct`` as a bool column of at least one row; 0 and 1 of any type are taken as well."""
    values: npt.NDArray[Any] = np.asarray(correct)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"correct must be one value a row and not empty, got shape {values.shape}")
    if values.dtype != np.bool_:
        other = np.flatnonzero((values != 0) & (values != 1))
        if len(other):
            raise ValueError(f"correct must be true or false, got {values[other[0]]} in row {other[0]}")
    return values.astype(np.bool_)


def check_score(score: npt.ArrayLike, rows: int) -> Column:
    """``score`` as a float64 column without NaN, as long as ``correct``."""
    values = np.asarray(score, dtype=np.float64)
    if values.shape != (rows,):
        raise ValueError(f"score must be ({rows},) like correct, got shape {values.shape}")
    bad = np.flatnonzero(np.isnan(values))
    if len(bad):
        raise ValueError(f"score is not a number in row {bad[0]}")
    return values


def check_confidence(confidence: npt.ArrayLike, rows: int | None = None) -> Column:
    """``confidence`` as a float64 column in [0, 1]."""
    values = np.asarray(confidence, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"confidence must be one value a row and not empty, got shape {values.shape}")
    if rows is not None and len(values) != rows:
        raise ValueError(f"confidence must be ({rows},) like correct, got shape {values.shape}")
    bad = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(bad):
        raise ValueError(f"confidence must be in [0, 1], got {values[bad[0]]} in row {bad[0]}")
    return values


def check_bins(bins: int) -> int:
    """A number of bins, at least 1."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    return bins
