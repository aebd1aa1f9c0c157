"""Arrays from .npy, .npz, .safetensors and .pt files, by name, from anyone: nothing is unpickled, no claim is believed.

An archive of a few kilobytes can claim an array of terabytes, or unpack to gigabytes. So an array is read only where
the archive's list, the array's header, the packed size and the size of the file agree. A large matrix of floats stays
in its file as a :class:`StoredMatrix`, and is read in blocks of rows without mapping the file.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import shutil
import struct
import tempfile
import threading
import warnings
import weakref
import zipfile
from collections.abc import Generator, Iterable
from typing import IO, Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = Any
"""A numpy array, a torch tensor or a :class:`StoredMatrix`."""

MAX_BYTES = 8 * 10**9
"""Most bytes of a file, unpacked, that are read at once."""

LARGE = 1 << 26  # an array of so many bytes or more stays in its file
_TYPES = {"float16": np.float16, "float32": np.float32, "float64": np.float64, "bfloat16": np.uint16}
_SAFE_FLOATS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
_SAFE_INTEGERS = {"I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8}
_SAFE_BYTES = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1}
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # numpy's two ways; others can unpack a million to one
_MAX_RATIO = 1100  # deflate unpacks at most 1032 to one
_MAX_HEADER = 64 * 1024


class FileError(ValueError):
    """A file of arrays that cannot be used; the message says which file, why, and what to do."""


def _damaged(what: str, why: object) -> FileError:
    return FileError(f"{what} is cut off or damaged ({why}); save the array again with numpy")


@contextlib.contextmanager
def _damage(what: str, *passing: type[Exception]) -> Generator[None]:
    """What zipfile, zlib, struct, ast and numpy raise of a damaged array, as a FileError."""
    try:
        yield
    except (FileError, *passing):
        raise
    except Exception as error:
        raise _damaged(what, " ".join(str(error).split()) or "its header cannot be parsed") from error


class Header(NamedTuple):
    """The header of an ``.npy`` array, which is ``length`` bytes long."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    length: int

    @property
    def data_bytes(self) -> int:
        """Bytes of the array behind the header."""
        return self.dtype.itemsize * math.prod(self.shape)


def read_header(stream: IO[bytes], what: str) -> Header:
    """The header of an ``.npy`` array at the present position; FileError if damaged or of Python objects."""
    from numpy.lib import format as npy

    start = io.BytesIO(stream.read(_MAX_HEADER))
    readers: dict[tuple[int, int], Any] = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    with _damage(what), warnings.catch_warnings():  # struct, ast, tokenize and numpy raise what they like
        warnings.simplefilter("ignore")  # numpy warns where Python 2 wrote the file
        version = npy.read_magic(start)
        if version not in readers:
            raise ValueError(f"it has version {version[0]}.{version[1]} of numpy's format")
        shape, fortran, dtype = readers[version](start)
        if any(length < 0 for length in shape):
            raise ValueError(f"it has the shape {shape}")
    if dtype.hasobject:
        raise FileError(
            f"{what} holds Python objects, which are not read because they can run code; save plain numbers or text, "
            "for instance numpy.stack(predictions) or labels.astype(str)"
        )
    return Header(tuple(int(length) for length in shape), bool(fortran), dtype, start.tell())


def read_array(stream: IO[bytes]) -> npt.NDArray[Any]:
    """An ``.npy`` array whose header was checked, read from the present position of the stream; never a pickle."""
    from numpy.lib import format as npy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy warns where Python 2 wrote the file
        return npy.read_array(stream, allow_pickle=False)


class Archive:
    """An open ``.npz`` file; its methods raise FileError for an array that is missing or whose claims disagree."""

    def __init__(self, file: str | os.PathLike[str] | IO[bytes], called: str) -> None:
        opened = open(file, "rb") if isinstance(file, (str, os.PathLike)) else file  # noqa: SIM115  closed by __exit__
        self._file: IO[bytes] = opened
        self.called = called  # what messages call the file
        try:
            self._bytes = os.fstat(self._file.fileno()).st_size
            self._zip = zipfile.ZipFile(self._file)
            items = self._zip.infolist()
            self._items = {item.filename.removesuffix(".npy"): item for item in items}
            if len(self._items) < len(items):  # "X" and "X.npy" are one name to numpy, which would look at one of them
                raise ValueError("two arrays of one name")
        except Exception as error:  # damage shows up as any of a dozen types
            self._file.close()
            raise FileError(
                f"{called} is not an .npz archive, or is cut off or damaged ({error}); write it again with numpy.savez"
            ) from error
        self.sizes = {name: item.file_size for name, item in self._items.items()}  # unpacked, as claimed, with headers
        self.arrays = [name for name, item in self._items.items() if item.filename != name]  # those called .npy

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def read(self, name: str, *, max_bytes: int = MAX_BYTES) -> npt.NDArray[Any]:
        """A new array of numbers, text or bytes: the one of this name, without ``.npy``."""
        item = self._claimed(name)
        if item.file_size > max_bytes:
            size = f"takes {item.file_size / 1e9:.1f} GB unpacked; at most 8 GB are read at once"
            raise FileError(f"{self.called}: {name} {size}. numpy.savez does not pack, so that it is read in blocks")
        self.header(name)
        with _damage(f"{self.called}: {name}", MemoryError), self._zip.open(item) as member:
            array = read_array(member)
            member.read(1)  # zipfile compares the checksum when it meets the end
            if array.dtype.kind == "U" and array.size:
                # numpy takes any number for a character, and fails later on numbers that are no characters
                codes = np.frombuffer(array.tobytes(), array.dtype.byteorder.replace("|", "=") + "u4")
                if bool(((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes <= 0xDFFF))).any()):
                    raise ValueError("its text holds numbers that are no characters")
            return array

    def header(self, name: str) -> Header:
        """The header of an array, which fits the size of its entry: no array is made by one that does not."""
        item, what = self._claimed(name), f"{self.called}: {name}"
        with _damage(what), self._zip.open(item) as member:
            header = read_header(member, what)
        if header.dtype.itemsize == 0 or header.length + header.data_bytes != item.file_size:
            raise _damaged(what, f"shape {header.shape} of {header.dtype} does not fit its {item.file_size:,} bytes")
        return header

    def place(self, name: str) -> int | None:
        """Where the bytes of an array begin in the file, header included; None for an array that is packed."""
        item = self._claimed(name)
        if item.compress_type != zipfile.ZIP_STORED:
            return None
        self._file.seek(item.header_offset)
        head = self._file.read(30)
        if len(head) < 30 or head[:4] != b"PK\x03\x04":
            raise _damaged(f"{self.called}: {name}", f"no header at byte {item.header_offset}")
        name_length, extra_length = struct.unpack("<HH", head[26:30])
        start = item.header_offset + 30 + name_length + extra_length
        if start + item.file_size > self._bytes:
            raise _damaged(f"{self.called}: {name}", f"it is cut off at byte {self._bytes:,}")
        return start

    def open(self, name: str) -> IO[bytes]:
        """The bytes of an array as a stream, header included, and no more bytes than its size says."""
        return self._zip.open(self._claimed(name))

    def _claimed(self, name: str) -> zipfile.ZipInfo:
        """An entry of the list of contents whose claims the file's size allows."""
        if name not in self._items:
            raise FileError(f"{self.called} lacks {name}")
        item, what = self._items[name], f"{self.called}: {name}"
        if item.compress_type not in _PACKED:
            raise _damaged(what, f"it is packed by method {item.compress_type}, not as numpy does")
        if item.compress_size > self._bytes or item.file_size > _MAX_RATIO * item.compress_size:
            raise _damaged(what, f"it claims {item.file_size:,} bytes, more than it can hold")
        return item


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
    shutil.copyfileobj(stream, file, 1 << 20)
    file.flush()
    file.seek(0)
    return file


def read_npy(file: IO[bytes], name: str, size: int) -> Array:
    """The one array of an ``.npy`` file; a large matrix of floats stays where it is."""
    file.seek(0)
    header = read_header(file, name)
    present = max(size - header.length, 0)
    if header.dtype.itemsize == 0 or header.data_bytes > present:
        promised = f"{header.data_bytes:,} bytes of data were promised and {present:,} are there"
        raise FileError(f"{name} is cut off: {promised}")
    if _stays(header):
        return _stored(file, header, header.length)
    file.seek(0)
    return _native(read_array(file))


def read_npz(file: IO[bytes], name: str, wanted: Iterable[str]) -> dict[str, Array]:
    """The arrays of an archive by name, None for those that are not ``wanted``; a lone array is always read."""
    with Archive(file, name) as archive:
        wanted = archive.arrays if len(archive.arrays) == 1 else wanted
        return {key: _member(archive, file, key) if key in wanted else None for key in archive.arrays}


def _member(archive: Archive, file: IO[bytes], key: str) -> Array:
    header = archive.header(key)
    if not _stays(header):
        return _native(archive.read(key))
    place = archive.place(key)
    if place is not None:
        return _stored(file, header, place + header.length)
    what = f"{archive.called}: {key}"
    with _damage(what, OSError), archive.open(key) as stream, copied(stream) as whole:  # the disk may have no room
        return _stored(whole, header, header.length)


def _stays(header: Header) -> bool:
    """Whether an array is read in blocks from where it lies: a large matrix of floats, row by row."""
    kind = len(header.shape) == 2 and header.dtype.kind == "f" and header.dtype.itemsize in (2, 4, 8)
    return kind and not header.fortran and header.data_bytes >= LARGE


def _stored(file: IO[bytes], header: Header, place: int) -> StoredMatrix:
    name = header.dtype.newbyteorder("=").name
    return StoredMatrix(file, place, header.shape, name, swapped=not header.dtype.isnative)


def _native(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values.astype(values.dtype.newbyteorder("="), copy=False)


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
    with contextlib.suppress(KeyError, TypeError, ValueError):
        type_name, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        whole = all(type(n) is int and n >= 0 for n in (*shape, begin, end)) and isinstance(type_name, str)
        size = _SAFE_BYTES.get(type_name)  # other types are neither read nor checked
        if whole and size in (None, (end - begin) / max(math.prod(shape), 1)):
            return type_name, shape, begin, end
    raise FileError(f"{name}: {key} is damaged (type, shape and place do not agree); write it again")


def read_torch(file: Any, name: str) -> dict[str, Array]:
    """The tensors of a ``.pt`` file, loaded with ``weights_only``; ``file`` is a path or an open file."""
    import pickle

    import torch

    try:
        held = torch.load(file, map_location="cpu", weights_only=True, mmap=isinstance(file, str) or None)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        if "weights_only" in str(error) or "WeightsUnpickler" in str(error):
            saved = 'save tensors alone: torch.save({"logits": logits, "labels": labels}, …)'
            objects = "holds Python objects, which are not read because they can run code"
            raise FileError(f"{name} {objects}; {saved}") from None
        raise FileError(f"{name} is cut off or damaged ({str(error).splitlines()[0]}); write it again") from None
    if isinstance(held, torch.Tensor):
        return {"logits": held}
    if isinstance(held, dict):
        return {str(key): value for key, value in held.items() if isinstance(value, torch.Tensor)}
    if isinstance(held, (tuple, list)) and len(held) == 2 and all(isinstance(t, torch.Tensor) for t in held):
        return {"logits": held[0], "labels": held[1]}
    raise FileError(f'{name} holds a {type(held).__name__}; save a dict: torch.save({{"logits": …, "labels": …}}, …)')
