"""Logits that are too big to keep: the inputs of the last layer and the layer, multiplied in blocks of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.column_checks import is_tensor
from sfumato.evaluate.scores.score_matrix import plain, widen
from sfumato.io.arrays import FileError, StoredMatrix


class HeadScores:
    """The logits ``features @ head_weight.T + head_bias`` of a linear last layer, as they are read.

    Attributes:
        shape: (N, K).
        type_name: ``"float32"``, or ``"float64"`` where the weights are.
    """

    def __init__(self, features: Any, weight: npt.NDArray[Any], bias: npt.NDArray[Any] | None) -> None:
        self._features, self._weight, self._bias = features, weight, bias
        self.shape = (len(features), len(weight))
        self.type_name = weight.dtype.name

    @classmethod
    def of(cls, features: Any, weight: Any, bias: Any, name: str) -> HeadScores:
        """From arrays of a file of that name.

        Args:
            features: (N, D), in memory or in the file.
            weight: (K, D), as ``torch.nn.Linear`` has it.
            bias: (K,) or None.
            name: of the file, for messages.

        Raises:
            FileError: shapes that do not fit.
        """
        if isinstance(weight, StoredMatrix):
            weight = weight.read(0, len(weight))
        found = widen(_plain(weight))
        if found.dtype != np.float64:
            found = found.astype(np.float32)
        given = None if bias is None else widen(_plain(bias)).astype(found.dtype)
        shape = tuple(int(n) for n in features.shape)
        if len(shape) != 2 or found.ndim != 2 or shape[1] != found.shape[1]:
            raise FileError(
                f"{name}: features {shape} and head_weight {found.shape} do not fit; they are (N, D) and (K, D), as "
                "torch.nn.Linear has its weight"
            )
        if given is not None and given.shape != (len(found),):
            raise FileError(f"{name}: head_bias must be ({len(found)},), one number a class, got {given.shape}")
        return cls(features, found, given)

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, start: int, stop: int, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Rows from ``start`` to ``stop``, into ``out`` if given."""
        held = self._features
        block = held.read(start, stop) if isinstance(held, StoredMatrix) else _plain(held[start:stop])
        made = None if out is None else out[: stop - start]
        product = np.matmul(widen(block).astype(self._weight.dtype), self._weight.T, out=made)
        if self._bias is not None:
            product += self._bias
        return product


def _plain(values: Any) -> npt.NDArray[Any]:
    return plain(values) if is_tensor(values) else np.asarray(values)
