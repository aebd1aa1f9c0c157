"""Files that are whole or absent: each is written beside its name, flushed to disk, and renamed.

If the process is killed, at most a scratch file is left, whose name begins with a dot.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import zipfile
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


class WriteError(RuntimeError):
    """A file that could not be written: a full disk, a folder that is read-only or gone."""


@contextlib.contextmanager
def replacing(path: Path) -> Generator[IO[bytes]]:
    """A binary file that gets its name when it is complete and on disk.

    Raises:
        WriteError: the message names the file and the system's reason; the incomplete file is removed.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(scratch, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            scratch.unlink()
        if isinstance(error, OSError):
            raise WriteError(f"cannot write {path}: {error.strerror or error}") from error
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        WriteError: nothing is left under ``path`` but what was there before.
    """
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8, whole or not at all.

    Raises:
        WriteError: as :func:`write_bytes`.
    """
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """One JSON file, indented for reading; NaN and infinity are refused.

    Raises:
        ValueError: a number that JSON does not have.
        WriteError: as :func:`write_bytes`.
    """
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_lines(path: Path, values: Sequence[Mapping[str, Any]]) -> None:
    """One JSON object a line.

    Raises:
        ValueError, WriteError: as :func:`write_json`.
    """
    lines = [json.dumps(value, separators=(",", ":"), allow_nan=False) for value in values]
    write_text(path, "\n".join(lines) + "\n")


def write_sealed(path: Path, value: Any) -> None:
    """JSON below its own SHA-256, so that :func:`read_sealed` refuses a file that was changed or cut.

    Raises:
        ValueError, WriteError: as :func:`write_json`.
    """
    text = json.dumps(value, allow_nan=False)
    write_text(path, f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}\n")


def read_sealed(path: Path) -> Any:
    """What :func:`write_sealed` wrote.

    Raises:
        OSError: the file cannot be read.
        ValueError: the content does not fit its SHA-256.
    """
    seal, _, text = path.read_bytes().rstrip(b"\n").partition(b"\n")
    if hashlib.sha256(text).hexdigest().encode() != seal:
        raise ValueError(f"{path} is not what was written")
    return json.loads(text)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """An ``.npz`` file without pickle: equal arrays make equal bytes.

    ``numpy.savez`` would pickle an array of objects. Where the disk is full it also leaves its archive open, which
    raises a second error when the archive is garbage-collected.

    Raises:
        ValueError: an array of objects.
        WriteError: as :func:`write_bytes`.
    """
    import numpy as np

    with replacing(path) as file, zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hex.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk, where the file system supports that."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
