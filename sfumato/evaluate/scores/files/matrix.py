"""A matrix in a file, read by offset in blocks of rows. The file is not mapped, so its pages do not stay resident."""

from __future__ import annotations

import os
import tempfile
import threading
import weakref
from collections.abc import Iterable
from typing import IO, Any

import numpy as np
import numpy.typing as npt

_TYPES = {"float16": np.float16, "float32": np.float32, "float64": np.float64, "bfloat16": np.uint16}


class FileError(ValueError):
    """A file that cannot be audited; the message says which file, why, and what to do."""


class StoredMatrix:
    """Rows of floats at an offset of an open file; several threads may read at once.

    Attributes:
        shape: (N, K).
        type_name: ``"float16"``, ``"bfloat16"``, ``"float32"`` or ``"float64"``.
    """

    def __init__(
        self, file: IO[bytes], offset: int, shape: tuple[int, ...], type_name: str, *, swapped: bool = False
    ) -> None:
        self.shape, self.type_name = shape, type_name
        self._offset, self._swapped = offset, swapped
        self._fd = os.dup(file.fileno())  # the matrix can still read when the file is closed
        weakref.finalize(self, os.close, self._fd)
        self._type = np.dtype(_TYPES[type_name])
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, start: int, stop: int, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Rows from ``start`` to ``stop`` in native byte order, into ``out`` if given; bfloat16 as uint16."""
        width = self.shape[1]
        block = np.empty((stop - start, width), dtype=self._type) if out is None else out[: stop - start]
        view = block.reshape(-1).view(np.uint8).data
        place, done = self._offset + start * width * self._type.itemsize, 0
        while done < len(view):
            count = self._fill(view[done:], place + done)
            if count == 0:
                raise FileError(f"the file ends in row {start + done // (width * self._type.itemsize)}: it was cut off")
            done += count
        return block.byteswap(inplace=True) if self._swapped else block

    def _fill(self, view: memoryview, place: int) -> int:
        """Bytes from a place of the file into memory, as many as one call gives."""
        if hasattr(os, "preadv"):
            return os.preadv(self._fd, [view], place)
        with self._lock:  # on Windows, all threads share one position in the file
            os.lseek(self._fd, place, os.SEEK_SET)
            found = os.read(self._fd, len(view))
        view[: len(found)] = found
        return len(found)


def spool(blocks: Iterable[npt.NDArray[Any]], type_name: str) -> StoredMatrix:
    """Blocks of rows as a matrix in a nameless temporary file."""
    with tempfile.TemporaryFile() as file:
        rows = width = 0
        for block in blocks:
            values = np.ascontiguousarray(block, dtype=_TYPES[type_name])
            width = values.shape[1]
            rows += len(values)
            file.write(values.reshape(-1).view(np.uint8).data)
        file.flush()
        return StoredMatrix(file, 0, (rows, width), type_name)


def copied(stream: IO[bytes]) -> IO[bytes]:
    """What a stream holds, in a nameless temporary file that can be read from any place; the caller closes it."""
    file = tempfile.TemporaryFile()  # noqa: SIM115
    while block := stream.read(1 << 20):
        file.write(block)
    file.flush()
    file.seek(0)
    return file
