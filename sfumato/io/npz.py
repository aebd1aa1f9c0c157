"""Read ``.npz`` archives that may come from anyone.

An archive of a few kilobytes can claim an array of terabytes, in the archive's own list or in the array's header, or be
packed so that it really unpacks to gigabytes. So an array is read only where the list, the header, the packed size and
the size of the file agree. Nothing is ever unpickled.
"""

from __future__ import annotations

import io
import math
import os
import struct
import warnings
import zipfile
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np

MAX_BYTES = 8 * 10**9
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # numpy's two ways; others can unpack a million to one
_MAX_RATIO = 1100  # deflate unpacks at most 1032 to one
_MAX_HEADER = 64 * 1024

Reason = Literal["no archive", "two of one name", "too large", "objects", "damaged", "missing"]


class ArchiveError(ValueError):
    """An archive, or the array ``name`` in it, is not read; a caller words the message by ``reason``."""

    def __init__(self, reason: Reason, name: str, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason
        self.name = name


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


def read_header(stream: IO[bytes], name: str) -> Header:
    """The header of an ``.npy`` array at the present position; ArchiveError if damaged or of Python objects."""
    from numpy.lib import format as npy

    start = io.BytesIO(stream.read(_MAX_HEADER))
    try:
        version = npy.read_magic(start)
        readers: dict[tuple[int, int], Any] = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
        if version not in readers:
            raise ArchiveError("damaged", name, f"it has version {version[0]}.{version[1]} of numpy's format")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy warns where Python 2 wrote the file
            shape, fortran, dtype = readers[version](start)
    except ArchiveError:
        raise
    except MemoryError as error:  # Python's parser raises it at deeply nested brackets
        raise ArchiveError("damaged", name, "its header cannot be parsed") from error
    except Exception as error:  # struct, ast, tokenize and numpy raise what they like
        raise ArchiveError("damaged", name, " ".join(str(error).split()) or "its header cannot be parsed") from error
    if dtype.hasobject:
        raise ArchiveError("objects", name, "it holds Python objects")
    if any(length < 0 for length in shape):
        raise ArchiveError("damaged", name, f"it has the shape {shape}")
    return Header(tuple(int(length) for length in shape), bool(fortran), dtype, start.tell())


def read_array(stream: IO[bytes]) -> np.ndarray:
    """An ``.npy`` array whose header was checked, read from the present position of the stream; never a pickle."""
    from numpy.lib import format as npy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy warns where Python 2 wrote the file
        return npy.read_array(stream, allow_pickle=False)


class Archive:
    """An open ``.npz`` file, which closes its file as a context manager.

    ``sizes`` are the bytes that each entry claims to take unpacked, header included; ``arrays`` names the entries that
    are called ``.npy``. Every method raises ArchiveError for an array that is missing or whose claims do not agree.
    """

    def __init__(self, file: str | os.PathLike[str] | IO[bytes]) -> None:
        opened = open(file, "rb") if isinstance(file, (str, os.PathLike)) else file  # noqa: SIM115  closed by __exit__
        self._file: IO[bytes] = opened
        try:
            self._bytes = os.fstat(self._file.fileno()).st_size
            self._zip = zipfile.ZipFile(self._file)
        except Exception as error:  # damage shows up as any of a dozen types
            self._file.close()
            raise ArchiveError("no archive", "", str(error)) from error
        items = self._zip.infolist()
        self._items = {item.filename.removesuffix(".npy"): item for item in items}
        self.sizes = {name: item.file_size for name, item in self._items.items()}
        self.arrays = [name for name, item in self._items.items() if item.filename != name]
        if len(self.sizes) < len(items):  # "X" and "X.npy" are one name to numpy, which would look at only one of them
            self._file.close()
            raise ArchiveError("two of one name", "", "two arrays of one name")

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def read(self, name: str, *, max_bytes: int = MAX_BYTES) -> np.ndarray:
        """A new array of numbers, text or bytes: the one of this name, without ``.npy``."""
        item = self._claimed(name)
        if item.file_size > max_bytes:
            raise ArchiveError("too large", name, f"{item.file_size / 1e9:.1f} GB unpacked")
        self.header(name)
        try:
            return self._unpack(item)
        except (ArchiveError, MemoryError):
            raise
        except Exception as error:  # zipfile, zlib, struct, ast and numpy raise what they like
            raise ArchiveError("damaged", name, str(error)) from error

    def header(self, name: str) -> Header:
        """The header of an array, which fits the size of its entry."""
        item = self._claimed(name)
        try:
            return self._check(item)
        except (ArchiveError, MemoryError):
            raise
        except Exception as error:
            raise ArchiveError("damaged", name, str(error)) from error

    def place(self, name: str) -> int | None:
        """Where the bytes of an array begin in the file, header included; None for an array that is packed."""
        item = self._claimed(name)
        if item.compress_type != zipfile.ZIP_STORED:
            return None
        self._file.seek(item.header_offset)
        head = self._file.read(30)
        if len(head) < 30 or head[:4] != b"PK\x03\x04":
            raise ArchiveError("damaged", name, f"no header at byte {item.header_offset}")
        name_length, extra_length = struct.unpack("<HH", head[26:30])
        start = item.header_offset + 30 + name_length + extra_length
        if start + item.file_size > self._bytes:
            raise ArchiveError("damaged", name, f"it is cut off at byte {self._bytes:,}")
        return start

    def open(self, name: str) -> IO[bytes]:
        """The bytes of an array as a stream, header included, and no more bytes than its size says."""
        return self._zip.open(self._claimed(name))

    def _claimed(self, name: str) -> zipfile.ZipInfo:
        """An entry of the list of contents whose claims the file's size allows."""
        if name not in self._items:
            raise ArchiveError("missing", name, f"no array {name}")
        item = self._items[name]
        if item.compress_type not in _PACKED:
            raise ArchiveError("damaged", name, f"it is packed by method {item.compress_type}, not as numpy does")
        if item.compress_size > self._bytes or item.file_size > _MAX_RATIO * item.compress_size:
            raise ArchiveError("damaged", name, f"it claims {item.file_size:,} bytes, more than it can hold")
        return item

    def _check(self, item: zipfile.ZipInfo) -> Header:
        """Refuse a header that does not fit the size of its array, before an array is made by it."""
        name = item.filename.removesuffix(".npy")
        with self._zip.open(item) as member:
            header = read_header(member, name)
        if header.dtype.itemsize == 0 or header.length + header.data_bytes != item.file_size:
            raise ArchiveError(
                "damaged", name, f"shape {header.shape} of {header.dtype} does not fit its {item.file_size:,} bytes"
            )
        return header

    def _unpack(self, item: zipfile.ZipInfo) -> np.ndarray:
        import numpy as np

        with self._zip.open(item) as member:
            array: np.ndarray = read_array(member)
            member.read(1)  # zipfile compares the checksum when it meets the end
        if array.dtype.kind == "U" and array.size:
            # numpy takes any number for a character, and fails later on numbers that are no characters
            codes = np.frombuffer(array.tobytes(), array.dtype.byteorder.replace("|", "=") + "u4")
            if bool(((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes <= 0xDFFF))).any()):
                raise ValueError("its text holds numbers that are no characters")
        return array
