"""Arrays from .npy, .npz, .safetensors and .pt files, by name, without unpickling anything.

A large matrix of floats stays in its file as a :class:`StoredMatrix` and is read in blocks of rows by offset. The file
is not mapped, so its pages do not stay resident.
"""

from __future__ import annotations

import json
import math
import os
import struct
import tempfile
import threading
import weakref
from collections.abc import Iterable
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sfumato.io.npz import Archive, ArchiveError, Header, read_array, read_header

Array: TypeAlias = Any
"""A numpy array, a torch tensor or a :class:`StoredMatrix`."""

LARGE = 1 << 26  # an array of so many bytes or more stays in its file
_TYPES = {"float16": np.float16, "float32": np.float32, "float64": np.float64, "bfloat16": np.uint16}
_SAFE_FLOATS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
_SAFE_INTEGERS = {"I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8}
_SAFE_BYTES = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1}


class FileError(ValueError):
    """A file of scores that cannot be used; the message says which file, why, and what to do."""


class StoredMatrix:
    """Rows (N, K) of floats at an offset of an open file; several threads may read at once."""

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
            part = os.read(self._fd, len(view))
        view[: len(part)] = part
        return len(part)


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


def read_npy(file: IO[bytes], name: str, size: int) -> Array:
    """The one array of an ``.npy`` file; a large matrix of floats stays where it is."""
    file.seek(0)
    try:
        header = read_header(file, name)
    except ArchiveError as error:
        raise FileError(_refusal(name, error, "numpy.save")) from None
    present = size - header.length
    if header.dtype.itemsize == 0 or header.data_bytes > present:
        raise FileError(
            f"{name} is cut off: {header.data_bytes:,} bytes of data were promised and {max(present, 0):,} are there"
        )
    if _stays(header):
        return _stored(file, header, header.length)
    file.seek(0)
    return _native(read_array(file))


def read_npz(file: IO[bytes], name: str, wanted: Iterable[str]) -> dict[str, Array]:
    """The arrays of an ``.npz`` archive by name, None for those that are not ``wanted``; a lone array is always read.

    A large matrix stays in the archive, or in a temporary file if it is packed.
    """
    try:
        with Archive(file) as archive:
            wanted = archive.arrays if len(archive.arrays) == 1 else wanted
            return {key: _member(archive, file, key) if key in wanted else None for key in archive.arrays}
    except ArchiveError as error:
        raise FileError(_refusal(name, error, "numpy.savez")) from None


def _member(archive: Archive, file: IO[bytes], key: str) -> Array:
    header = archive.header(key)
    if not _stays(header):
        return _native(archive.read(key))
    place = archive.place(key)
    if place is not None:
        return _stored(file, header, place + header.length)
    try:
        with archive.open(key) as stream, copied(stream) as whole:
            return _stored(whole, header, header.length)
    except OSError:
        raise  # the disk has no room for it
    except Exception as error:  # zipfile and zlib raise what they like
        raise ArchiveError("damaged", key, str(error)) from error


def _stays(header: Header) -> bool:
    """Whether an array is read in blocks from where it lies: a large matrix of floats, row by row."""
    kind = len(header.shape) == 2 and header.dtype.kind == "f" and header.dtype.itemsize in (2, 4, 8)
    return kind and not header.fortran and header.data_bytes >= LARGE


def _stored(file: IO[bytes], header: Header, place: int) -> StoredMatrix:
    name, (rows, classes) = header.dtype.newbyteorder("=").name, header.shape
    return StoredMatrix(file, place, (rows, classes), name, swapped=not header.dtype.isnative)


def _native(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _refusal(name: str, error: ArchiveError, saver: str) -> str:
    what = f"{name}: {error.name}" if error.name != name and error.name else name
    if error.reason == "objects":
        return (
            f"{what} holds Python objects, which are not read because they can run code; save plain numbers, for "
            "instance numpy.stack(predictions)"
        )
    if error.reason == "too large":
        return f"{what} is too large: {error}; numpy.savez does not pack, so that what it writes is read in blocks"
    return f"{what} is cut off or damaged ({error}); write it again with {saver}"


def read_safetensors(file: IO[bytes], name: str, size: int, wanted: Iterable[str]) -> dict[str, Array]:
    """The tensors of a safetensors file; matrices of floats stay in it. A ``wanted`` one of an odd type is refused."""
    file.seek(0)
    head = file.read(8)
    length = struct.unpack("<Q", head)[0] if len(head) == 8 else -1
    if not 0 < length <= min(size - 8, 100_000_000):
        raise FileError(f"{name} is no safetensors file, or is cut off; write it again")
    try:
        header: Any = json.loads(file.read(length))
    except (ValueError, RecursionError) as error:
        raise FileError(f"{name} has a damaged header ({error}); write it again") from None
    if not isinstance(header, dict):
        raise FileError(f"{name} has a damaged header (it names no tensors); write it again")
    tensors: dict[str, Array] = {}
    for key, entry in header.items():
        if key == "__metadata__":
            continue
        type_name, shape, begin, end = _entry(name, key, entry)
        if 8 + length + end > size:
            raise FileError(f"{name}: {key} is cut off: it ends at byte {8 + length + end:,} of {size:,}")
        if type_name in _SAFE_FLOATS and len(shape) == 2:
            tensors[key] = StoredMatrix(file, 8 + length + begin, shape, _SAFE_FLOATS[type_name])
        elif type_name in _SAFE_INTEGERS:
            file.seek(8 + length + begin)
            tensors[key] = np.frombuffer(file.read(end - begin), dtype=_SAFE_INTEGERS[type_name]).reshape(shape)
        elif type_name not in _SAFE_FLOATS and key in wanted:
            way_out = "half(), which is float16" if type_name.startswith("F") else "long()"
            raise FileError(f"{name}: {key} has the type {type_name}, which is not read; save {key}.{way_out}")
    return tensors


def _entry(name: str, key: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Type, shape and place of a tensor, which must agree."""
    try:
        type_name, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        whole = all(type(n) is int and n >= 0 for n in (*shape, begin, end)) and isinstance(type_name, str)
        size = _SAFE_BYTES.get(type_name)  # other types are neither read nor checked
        if whole and size in (None, (end - begin) / max(math.prod(shape), 1)):
            return type_name, shape, begin, end
    except (KeyError, TypeError, ValueError):
        pass
    raise FileError(f"{name}: {key} is damaged (type, shape and place do not agree); write it again")


def read_torch(file: Any, name: str) -> dict[str, Array]:
    """The tensors of a ``.pt`` file, loaded with ``weights_only``; ``file`` is a path or an open file."""
    import pickle

    import torch

    try:
        held = torch.load(file, map_location="cpu", weights_only=True, mmap=isinstance(file, str) or None)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        if "weights_only" in str(error) or "WeightsUnpickler" in str(error):
            raise FileError(
                f"{name} holds Python objects, which are not read because they can run code; save tensors alone: "
                'torch.save({"logits": logits, "labels": labels}, …)'
            ) from None
        raise FileError(f"{name} is cut off or damaged ({str(error).splitlines()[0]}); write it again") from None
    if isinstance(held, torch.Tensor):
        return {"logits": held}
    if isinstance(held, dict):
        return {str(key): value for key, value in held.items() if isinstance(value, torch.Tensor)}
    if isinstance(held, (tuple, list)) and len(held) == 2 and all(isinstance(t, torch.Tensor) for t in held):
        return {"logits": held[0], "labels": held[1]}
    raise FileError(f'{name} holds a {type(held).__name__}; save a dict: torch.save({{"logits": …, "labels": …}}, …)')
