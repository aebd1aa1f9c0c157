"""Some rows of a matrix of scores: of an array, a tensor, or a matrix that stays in its file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.column_checks import is_tensor
from sfumato.evaluate.scores.score_matrix import ScoreMatrix, Stored
from sfumato.io.arrays import spool


def taken(scores: Any, rows: npt.NDArray[Any]) -> Any:
    """Rows of scores, by their numbers; a matrix in a file stays in one."""
    if isinstance(scores, Stored):
        return _spooled(ScoreMatrix(logits=scores), rows)
    if is_tensor(scores):
        import torch

        return scores[torch.from_numpy(rows)]
    return scores[rows]


def _spooled(source: ScoreMatrix, rows: npt.NDArray[Any]) -> Any:
    """Rows of a matrix in a file, in a temporary file; in the order of the source they are read in blocks."""

    def blocks() -> Iterator[npt.NDArray[Any]]:
        if (np.diff(rows) > 0).all():
            for start, stop in source.steps():
                first, last = np.searchsorted(rows, (start, stop))
                if first < last:
                    yield source.raw(start, stop)[rows[first:last] - start]
        else:
            for start in range(0, len(rows), 1024):
                yield np.concatenate([source.raw(int(row), int(row) + 1) for row in rows[start : start + 1024]])

    return spool(blocks(), source.type_name)
