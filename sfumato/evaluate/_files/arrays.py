"""NumPy archives, safetensors and torch files: arrays by name, without unpickling anything."""

from __future__ import annotations

import json
import math
import struct
import zipfile
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate._files.stored import FileError, StoredMatrix, copied

Array = Any  # a numpy array, a torch tensor or a StoredMatrix
_LARGE = 1 << 26  # bytes from which an array stays in its file
_SAFE_TYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
_SAFE_WHOLE = {"I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8}


def read_npy(file: IO[bytes], name: str, size: int, *, offset: int = 0, member: str = "") -> Array:
    """One array of the ``.npy`` format at an offset; a large matrix of floats stays where it is."""
    what = f"{name}: {member}" if member else name
    file.seek(offset)
    try:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(file)
    except (ValueError, EOFError, SyntaxError) as error:
        raise FileError(f"{what} is damaged ({error}); write it again with numpy.save") from None
    if dtype.hasobject:
        raise FileError(
            f"{what} holds Python objects, which are not read because they can run code; save plain numbers, for "
            "instance numpy.stack(predictions)"
        )
    place = file.tell()
    bytes_ = math.prod(shape) * dtype.itemsize
    if place + bytes_ > offset + size:
        raise FileError(
            f"{what} is cut off: {bytes_:,} bytes of data were promised and {max(offset + size - place, 0):,} are there"
        )
    if len(shape) == 2 and dtype.kind == "f" and dtype.itemsize in (2, 4, 8) and not fortran and bytes_ >= _LARGE:
        return StoredMatrix(file, place, shape, dtype.newbyteorder("=").name, swapped=not dtype.isnative)
    data = file.read(bytes_)
    if len(data) < bytes_:
        raise FileError(f"{what} is cut off: {bytes_:,} bytes of data were promised and {len(data):,} are there")
    values = np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if fortran else "C")
    return values.astype(dtype.newbyteorder("="), copy=False)


def read_npz(file: IO[bytes], name: str) -> dict[str, Array]:
    """The arrays of an ``.npz`` archive; those that are stored as they are can stay in it."""
    try:
        with zipfile.ZipFile(file) as archive:
            return _members(archive, file, name)
    except (zipfile.BadZipFile, OSError) as error:
        raise FileError(f"{name} is cut off or damaged ({error}); write it again with numpy.savez") from None


def _members(archive: zipfile.ZipFile, file: IO[bytes], name: str) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for item in archive.infolist():
        key = item.filename.removesuffix(".npy")
        if key == item.filename:
            continue
        try:
            if item.compress_type == zipfile.ZIP_STORED:
                found[key] = read_npy(file, name, item.file_size, offset=_data_offset(file, item), member=key)
            else:
                with archive.open(item) as stream, copied(stream) as whole:
                    found[key] = read_npy(whole, name, item.file_size, member=key)
        except (zipfile.BadZipFile, EOFError, struct.error, OSError) as error:
            raise FileError(f"{name}: {key} is cut off or damaged ({error}); write it again with numpy.savez") from None
        except Exception as error:
            if isinstance(error, FileError) or type(error).__module__ != "zlib":
                raise
            raise FileError(f"{name}: {key} is damaged ({error}); write it again with numpy.savez") from None
    return found


def read_safetensors(file: IO[bytes], name: str, size: int) -> dict[str, Array]:
    """The tensors of a safetensors file; large ones stay in it."""
    file.seek(0)
    head = file.read(8)
    length = struct.unpack("<Q", head)[0] if len(head) == 8 else -1
    if not 0 < length <= min(size - 8, 100_000_000):
        raise FileError(f"{name} is no safetensors file, or is cut off; write it again")
    try:
        header: dict[str, Any] = json.loads(file.read(length))
    except ValueError as error:
        raise FileError(f"{name} has a damaged header ({error}); write it again") from None
    found: dict[str, Array] = {}
    for key, entry in header.items():
        if key == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        shape = tuple(int(n) for n in entry["shape"])
        if 8 + length + end > size:
            raise FileError(f"{name}: {key} is cut off: it ends at byte {8 + length + end:,} of {size:,}")
        if entry["dtype"] in _SAFE_TYPES and len(shape) == 2:
            found[key] = StoredMatrix(file, 8 + length + begin, shape, _SAFE_TYPES[entry["dtype"]])
        elif entry["dtype"] in _SAFE_WHOLE:
            file.seek(8 + length + begin)
            found[key] = np.frombuffer(file.read(end - begin), dtype=_SAFE_WHOLE[entry["dtype"]]).reshape(shape)
    return found


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


def _data_offset(file: IO[bytes], item: zipfile.ZipInfo) -> int:
    """Where a stored member's bytes begin: behind its own header, which has lengths of its own."""
    file.seek(item.header_offset)
    header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise zipfile.BadZipFile(f"no header at byte {item.header_offset}")
    name, extra = struct.unpack("<HH", header[26:30])
    return item.header_offset + 30 + name + extra


def as_labels(values: Array) -> npt.NDArray[Any]:
    """An array or tensor as numpy, whole floats as integers."""
    from sfumato.evaluate._columns import as_numpy

    found = as_numpy(values)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.dtype.kind == "f" and found.ndim == 1 and np.isfinite(found).all() and (found == np.rint(found)).all():
        return found.astype(np.int64)
    return found
