"""Reading ``.npz`` archives that may come from anyone: what they claim is checked before memory is spent on it, and
nothing in them is ever unpickled.

An archive of a few kilobytes can claim an array of terabytes, in the archive's own list or in the array's header, or be
packed so that it really unpacks to gigabytes. So an array is read only where the list, the header, the packed size and
the size of the file agree.
"""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np

MOST_BYTES = 8 * 10**9
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # as numpy writes them; others can unpack a million to one
_MOST_RATIO = 1100  # deflate unpacks at most 1032 to one
_MOST_HEADER = 64 * 1024

Reason = Literal["no archive", "two of one name", "too large", "objects", "damaged", "missing"]


class ArchiveError(ValueError):
    """An archive or an array in it that is not read.

    Attributes:
        reason: why not, for who words the message.
        name: of the array; "" for the archive.
    """

    def __init__(self, reason: Reason, name: str, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason
        self.name = name


class Archive:
    """An open ``.npz`` file; a context manager.

    Args:
        path: the file.

    Attributes:
        sizes: bytes that each array is said to take unpacked, header included, by name.

    Raises:
        OSError: it cannot be opened.
        ArchiveError: it is no archive, or holds two arrays of one name.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = open(path, "rb")  # noqa: SIM115  closed by __exit__
        try:
            self._bytes = os.fstat(self._file.fileno()).st_size
            self._zip = zipfile.ZipFile(self._file)
        except Exception as error:  # damage shows up as any of a dozen types
            self._file.close()
            raise ArchiveError("no archive", "", str(error)) from error
        items = self._zip.infolist()
        self._items = {item.filename.removesuffix(".npy"): item for item in items}
        self.sizes = {name: item.file_size for name, item in self._items.items()}
        if len(self.sizes) < len(items):  # "X" and "X.npy" are one name to numpy, which would look at only one of them
            self._file.close()
            raise ArchiveError("two of one name", "", "two arrays of one name")

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self, name: str, *, most_bytes: int = MOST_BYTES) -> np.ndarray:
        """One array.

        Args:
            name: without ``.npy``.
            most_bytes: an array that takes more is refused.

        Returns:
            A new array of numbers, text or bytes.

        Raises:
            ArchiveError: it is missing, too large, damaged, or holds Python objects.
            MemoryError: it is none of these, and does not fit.
        """
        if name not in self._items:
            raise ArchiveError("missing", name, f"no array {name}")
        item = self._items[name]
        if item.file_size > most_bytes:
            raise ArchiveError("too large", name, f"{item.file_size / 1e9:.1f} GB unpacked")
        if item.compress_type not in _PACKED:
            raise ArchiveError("damaged", name, f"it is packed by method {item.compress_type}, not as numpy does")
        if item.compress_size > self._bytes or item.file_size > _MOST_RATIO * item.compress_size:
            raise ArchiveError("damaged", name, f"it claims {item.file_size:,} bytes, more than it can hold")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of numpy, that Python 2 wrote the file
                self._check(item)
                return self._unpack(item)
        except (ArchiveError, MemoryError):
            raise
        except Exception as error:  # from zipfile, zlib, struct, ast or numpy; none is worth telling apart
            raise ArchiveError("damaged", name, str(error)) from error

    def _check(self, item: zipfile.ZipInfo) -> None:
        """Refuse a header that does not fit the size of its array, before an array is made by it."""
        from numpy.lib import format as npy

        name = item.filename.removesuffix(".npy")
        with self._zip.open(item) as member:
            start = io.BytesIO(member.read(_MOST_HEADER))
        version = npy.read_magic(start)
        readers: dict[tuple[int, int], Any] = {
            (1, 0): npy.read_array_header_1_0,
            (2, 0): npy.read_array_header_2_0,
        }
        if version not in readers:
            raise ArchiveError("damaged", name, f"it has version {version[0]}.{version[1]} of numpy's format")
        try:
            shape, _, dtype = readers[version](start)
        except MemoryError as error:  # Python's parser, at brackets in brackets
            raise ArchiveError("damaged", name, "its header cannot be parsed") from error
        if dtype.hasobject:
            raise ArchiveError("objects", name, "it holds Python objects")
        count = 1
        for length in shape:
            if length < 0:
                raise ArchiveError("damaged", name, f"it has the shape {shape}")
            count *= int(length)
        if dtype.itemsize == 0 or start.tell() + count * dtype.itemsize != item.file_size:
            raise ArchiveError("damaged", name, f"shape {shape} of {dtype} does not fit its {item.file_size:,} bytes")

    def _unpack(self, item: zipfile.ZipInfo) -> np.ndarray:
        import numpy as np
        from numpy.lib import format as npy

        with self._zip.open(item) as member:
            array: np.ndarray = npy.read_array(member, allow_pickle=False)
            member.read(1)  # at the end of an array its checksum is compared
        if array.dtype.kind == "U" and array.size:
            # numpy takes any number for a character, and then fails on those that are none
            codes = np.frombuffer(array.tobytes(), array.dtype.byteorder.replace("|", "=") + "u4")
            if bool(((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes <= 0xDFFF))).any()):
                raise ValueError("its text holds numbers that are no characters")
        return array
