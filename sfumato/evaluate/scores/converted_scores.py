"""Scores that are converted as they are read: rounded probabilities, percentages, and the inputs of a last layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.column_checks import is_tensor
from sfumato.evaluate.scores.score_matrix import SUM_TOLERANCE, ScoreMatrix, Stored, plain, widen
from sfumato.io.arrays import FileError, StoredMatrix, spool
from sfumato.messages import Note


def as_probabilities(scores: Any, kind: str, name: str) -> tuple[Any, list[Note]]:
    """Probabilities, or numbers of kind ``"percent"``, whose rows are divided by their sums where these are rounded.

    FileError if percentages are called probabilities, or the other way round. Other faults are left to the audit.
    """
    try:
        source = ScoreMatrix(probs=scores)
    except (TypeError, ValueError):
        return scores, []  # of a type or shape that the audit refuses
    head = source.block(*next(source.steps()))
    sums, whole = head.sum(axis=1), 100.0 if kind == "percent" else 1.0
    if not np.isfinite(sums).all() or (head < 0).any():
        return scores, []  # the audit names the row
    decimals = next((d for d in range(7) if (np.abs(head * 10**d - np.rint(head * 10**d)) < 1e-6).all()), None)
    rounding = 0.0 if decimals is None else 0.501 * source.classes * 10.0**-decimals
    slack = max(SUM_TOLERANCE * whole, rounding)
    if kind == "probs" and (np.abs(sums - 100) <= max(slack, 1.0)).all():
        raise FileError(f"{name}: the scores of each row sum to about 100, so they are percentages; say --kind percent")
    off = float(np.abs(sums - whole).max())
    if kind == "probs" and (off <= SUM_TOLERANCE or off > slack):
        return scores, []
    what = "percentages" if kind == "percent" else f"probabilities rounded to {decimals} decimals"

    def divided() -> Iterator[npt.NDArray[Any]]:
        for start, stop in source.steps():
            block = source.block(start, stop)
            sums = block.sum(axis=1)
            if not (near := np.abs(sums - whole) <= slack).all():
                row = int(near.argmin())
                raise FileError(
                    f"{name}: the scores of row {start + row} sum to {sums[row]:.6g}, and "
                    f"{what.partition(' ')[0]} sum to {whole:g}"
                )
            yield block / sums[:, None]

    note = Note(code="divided-by-sum", text=f"These are {what}, and each row was divided by its sum.")
    return spool(divided(), "float64"), [note]


def logarithms(source: ScoreMatrix) -> Any:
    """Probabilities as logits, each row of which is checked; those of a file stay in one."""
    blocks = (source.chunk(start, source.raw(start, stop)).shifted for start, stop in source.steps())
    return spool(blocks, "float64") if isinstance(source.values, Stored) else np.concatenate(list(blocks))


class HeadScores:
    """The logits ``features @ head_weight.T + head_bias`` of a linear last layer, multiplied in blocks of rows.

    They are float32, or float64 where the weight is. ``features`` (N, D) may stay in their file; the weight is (K, D),
    as ``torch.nn.Linear`` has it, and the bias (K,) or None. ``name`` is that of the file, for messages.
    """

    def __init__(self, features: Any, weight: Any, bias: Any, name: str) -> None:
        weight = widen(_plain(weight.read(0, len(weight)) if isinstance(weight, StoredMatrix) else weight))
        self._weight = weight if weight.dtype == np.float64 else weight.astype(np.float32)
        self._bias = None if bias is None else widen(_plain(bias)).astype(self._weight.dtype)
        self._features = features
        shape = tuple(int(n) for n in features.shape)
        if len(shape) != 2 or weight.ndim != 2 or shape[1] != weight.shape[1]:
            raise FileError(
                f"{name}: features {shape} and head_weight {weight.shape} do not fit; they are (N, D) and (K, D), as "
                "torch.nn.Linear has its weight"
            )
        if self._bias is not None and self._bias.shape != (len(weight),):
            raise FileError(f"{name}: head_bias must be ({len(weight)},), one number per class, got {self._bias.shape}")
        self.shape, self.type_name = (len(features), len(weight)), self._weight.dtype.name

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, start: int, stop: int, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Rows from ``start`` to ``stop``, into ``out`` if given."""
        held = self._features
        block = held.read(start, stop) if isinstance(held, StoredMatrix) else _plain(held[start:stop])
        into = None if out is None else out[: stop - start]
        product = np.matmul(widen(block).astype(self._weight.dtype), self._weight.T, out=into)
        if self._bias is not None:
            product += self._bias
        return product


def _plain(values: Any) -> npt.NDArray[Any]:
    return plain(values) if is_tensor(values) else np.asarray(values)
