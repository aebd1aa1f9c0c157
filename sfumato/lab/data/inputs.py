"""What a model is given: the form of one row, and what turns rows of a table into arrays of that form.

Four forms: ``dense`` numbers; ``image``, bytes that the model itself scales; ``sparse`` texts, as term numbers and
weights side by side; ``tokens``, the word pieces of a language model.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from sfumato.lab.data.column import Column

_CHUNK = 2**14  # rows hashed at a time


@dataclass(frozen=True)
class Inputs:
    """The form of one row of an array for training.

    Attributes:
        kind: ``"dense"`` (float32 numbers), ``"image"`` (uint8, height × width × channels), ``"sparse"`` (float32,
            first the numbers of the row's terms, then as many weights, filled up with 0) or ``"tokens"`` (int64).
        shape: of one array row.
        width: features as a linear layer counts them: numbers, pixels × channels, or terms of the vocabulary.
        picture: how dense numbers form a picture, such as (8, 8) or (3, 32, 32); empty where they do not.
        mean: per channel over the training rows, of images.
        scale: standard deviation per channel, of images.

    >>> Inputs.dense(64, picture=(8, 8)).told()
    '64 features (8 × 8)'
    """

    kind: Literal["dense", "image", "sparse", "tokens"]
    shape: tuple[int, ...]
    width: int
    picture: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    @classmethod
    def dense(cls, width: int, picture: tuple[int, ...] = ()) -> "Inputs":
        """Plain numbers."""
        return cls("dense", (width,), width, picture)

    def told(self) -> str:
        """In words, for progress and report."""
        if self.kind == "image":
            return f"images of {' × '.join(map(str, self.shape))}"
        if self.kind != "dense":
            return f"{self.width:,} terms" if self.kind == "sparse" else f"up to {self.shape[0]:,} tokens"
        form = f" ({' × '.join(map(str, self.picture))})" if len(self.picture) > 1 else ""
        return f"{self.width:,} feature{'' if self.width == 1 else 's'}{form}"


@dataclass(frozen=True)
class Encoder:
    """Turns row numbers into an array for training; everything it knows of the data, it knows from training rows.

    Attributes:
        inputs: the form of a row.
        encode: gives a new array, rows in the order asked for.
        notes: what a reader should know of the encoding.
        kept: what was learnt of the training rows, as :class:`sfumato.runs.encoding.StoredEncoding` has it.
    """

    inputs: Inputs
    encode: Callable[[np.ndarray], np.ndarray]
    notes: tuple[str, ...] = ()
    kept: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def stored(self) -> dict[str, Any]:
        """All that encoding new rows needs, as ``encoding.json`` of a run holds it beside its schema."""
        inputs = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self.inputs).items()}
        return {"inputs": inputs, **self.kept}


class Features(Protocol):
    """What is known of each row of a table, before anything is learnt from it."""

    def __len__(self) -> int:
        """N."""
        ...

    def hashes(self) -> np.ndarray:
        """(N, 2) uint64: equal for rows of equal content, and for others, for all practical purposes, not."""
        ...

    def raw_columns(self) -> tuple[Column, ...]:
        """The columns as they were read, where the rows have columns; nothing is copied."""
        ...

    def fit(self, rows: np.ndarray, name: str) -> Encoder:
        """An encoder by the training rows alone; ``name`` is the data's, for messages."""
        ...


def hash_rows(features: np.ndarray) -> np.ndarray:
    """BLAKE2b of each row's float64 little-endian bytes, −0 taken as 0: (N, D) float64 to (N, 2) uint64."""
    chunks = (features[start : start + _CHUNK] + 0.0 for start in range(0, len(features), _CHUNK))
    return as_hashes(row for chunk in chunks for row in chunk.astype("<f8", order="C").view(np.uint8))


def as_hashes(rows: Iterable[bytes | np.ndarray]) -> np.ndarray:
    """BLAKE2b of the bytes of each row, 128 bits as (N, 2) uint64."""
    digests = (
        hashlib.blake2b(np.ascontiguousarray(row).data if isinstance(row, np.ndarray) else row, digest_size=16)
        for row in rows
    )
    return np.frombuffer(b"".join(digest.digest() for digest in digests), ">u8").reshape(-1, 2).astype(np.uint64)
