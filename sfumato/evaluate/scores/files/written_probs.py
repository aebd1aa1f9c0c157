"""Probabilities as people write them into tables: rounded to a few decimals, or in per cent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.score_matrix import SUM_TOLERANCE, ScoreMatrix
from sfumato.io.arrays import FileError, spool
from sfumato.messages import Note


def as_probabilities(found: Any, kind: str, name: str) -> tuple[Any, list[Note]]:
    """Probabilities whose rows sum to 1, and a note where they had to be divided.

    Args:
        found: (N, K), in memory or in a file.
        kind: ``"probs"``, or ``"percent"`` for numbers that sum to 100.
        name: of the file, for messages.

    Raises:
        FileError: percentages that were not said to be such, or the other way round.
    """
    try:
        source = ScoreMatrix(probs=found)
    except (TypeError, ValueError):
        return found, []  # of a type or shape that the audit refuses
    head = source.block(*next(source.steps()))
    sums, whole = head.sum(axis=1), 100.0 if kind == "percent" else 1.0
    if not np.isfinite(sums).all() or (head < 0).any():
        return found, []  # the audit names the row
    decimals = next((d for d in range(7) if (np.abs(head * 10**d - np.rint(head * 10**d)) < 1e-6).all()), None)
    rounding = 0.0 if decimals is None else 0.501 * source.classes * 10.0**-decimals
    slack = max(SUM_TOLERANCE * whole, rounding)
    if kind == "probs" and (np.abs(sums - 100) <= max(slack, 1.0)).all():
        raise FileError(f"{name}: the scores of each row sum to about 100, so they are percentages; say --kind percent")
    off = float(np.abs(sums - whole).max())
    if kind == "probs" and (off <= SUM_TOLERANCE or off > slack):
        return found, []

    def divided() -> Iterator[npt.NDArray[Any]]:
        for start, stop in source.steps():
            block = source.block(start, stop)
            sums = block.sum(axis=1)
            if not (near := np.abs(sums - whole) <= slack).all():
                row = int(near.argmin())
                raise FileError(f"{name}: the scores of row {start + row} sum to {sums[row]:.6g}, and {told}")
            yield block / sums[:, None]

    what = "percentages" if kind == "percent" else f"probabilities rounded to {decimals} decimals"
    told = f"{what.partition(' ')[0]} sum to {whole:g}"
    return spool(divided(), "float64"), [
        Note(code="divided-by-sum", text=f"These are {what}, and each row was divided by its sum.")
    ]
