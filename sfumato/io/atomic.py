"""Write files so that each is whole or absent: written beside its name, flushed to disk, and renamed.

A kill at any moment leaves at most a scratch file, whose name begins with a dot.
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
    """A file could not be written: the disk is full, or the folder is read-only or gone."""


@contextlib.contextmanager
def replacing(path: Path) -> Generator[IO[bytes]]:
    """A binary file that takes its name when it is whole and on disk; after a WriteError nothing new is left."""
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


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing; NotADirectoryError names a file that is in the way."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        file = next((each for each in (path, *path.parents) if each.is_file()), None)
        if file is None:
            raise
        raise NotADirectoryError(f"{file} is a file, not a folder") from None


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; after a WriteError the file is what it was before."""
    with replacing(path) as file:
        file.write(content)


def link(path: Path, name: Path) -> None:
    """Give a file a second name; a copy where the file system has no links."""
    try:
        os.link(path, name)
    except OSError:
        write_bytes(name, path.read_bytes())


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, indented for reading; ValueError for a number that JSON does not have."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_lines(path: Path, values: Sequence[Mapping[str, Any]]) -> None:
    """Write one JSON object a line; numbers as in :func:`write_json`."""
    lines = [json.dumps(value, separators=(",", ":"), allow_nan=False) for value in values]
    write_text(path, "\n".join(lines) + "\n")


def write_sealed(path: Path, value: Any) -> None:
    """Write JSON below its own SHA-256, so that a changed or half-written file is never taken for the original."""
    text = json.dumps(value, allow_nan=False)
    write_text(path, f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}\n")


def read_sealed(path: Path) -> Any:
    """Read what :func:`write_sealed` wrote; ValueError if the file is not that."""
    seal, _, text = path.read_bytes().rstrip(b"\n").partition(b"\n")
    if hashlib.sha256(text).hexdigest().encode() != seal:
        raise ValueError(f"{path} is not what was written")
    return json.loads(text)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an ``.npz`` file without pickle: equal arrays make equal bytes, and objects are a ValueError."""
    import numpy as np

    with replacing(path) as file, zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk, where the file system can."""
    windows = os.name == "nt"  # which opens no folder, and flushes a file only for who may write to it
    if windows and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
