"""The run folder: complete or absent, never overwritten.

Work lives in ``NAME.partial``, made exclusively, until one rename gives it its name. Every file is written beside its
final name, flushed to disk, and renamed, so that a kill at any moment leaves whole files or none.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from collections.abc import Callable, Generator
from datetime import date
from pathlib import Path
from typing import IO, Any


class RunError(ValueError):
    """A run folder that cannot be made or used."""


class RunFolder:
    """A run under way.

    Attributes:
        final: the name that it will have.
        path: where the work is now.
    """

    def __init__(self, final: Path) -> None:
        """Make the folder of work.

        Raises:
            FileExistsError: a folder of that name, or work on it, is there.
            RunError: it cannot be made.
        """
        self.final = final
        self.path = final.with_name(final.name + ".partial")
        if final.exists():
            raise FileExistsError(f"{final} exists already and a run folder is never overwritten; choose another --out")
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot write to {final.parent}: {error.strerror}") from None
        try:
            self.path.mkdir()  # exclusive: of two processes with one name, one gets it
        except FileExistsError:
            raise FileExistsError(
                f"{self.path} exists already: a run is at work there, or was stopped; delete it if it was"
            ) from None
        except OSError as error:
            raise RunError(f"cannot write to {final.parent}: {error.strerror}") from None
        for part in ("logits", "weights", "work"):
            (self.path / part).mkdir()

    @classmethod
    def create(cls, out: str | None, data: str) -> RunFolder:
        """The folder named, or the next free ``runs/<data>-<date>-<n>``.

        Raises:
            RunError: it exists, or cannot be made.
        """
        if out is not None:
            try:
                return cls(Path(out))
            except FileExistsError as error:
                raise RunError(str(error)) from None
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", data).strip("-.") or "data"
        for number in range(1, 10_000):
            with contextlib.suppress(FileExistsError):
                return cls(Path("runs") / f"{safe}-{date.today().isoformat()}-{number}")
        raise RunError("runs/ holds 9,999 runs of today; choose a name with --out")

    def finish(self) -> Path:
        """Drop the scratch files and give the folder its name, in one rename.

        Raises:
            RunError: the name was taken meanwhile; the work stays where it is.
        """
        for scratch in sorted((self.path / "work").iterdir()):
            scratch.unlink()
        (self.path / "work").rmdir()
        _sync(self.path)
        if self.final.exists():
            raise RunError(f"{self.final} was made meanwhile; this run is whole in {self.path}")
        try:
            self.path.rename(self.final)
        except OSError as error:
            raise RunError(f"cannot rename {self.path} to {self.final}: {error.strerror}") from None
        _sync(self.final.parent)
        return self.final

    def write_json(self, name: str, value: Any) -> None:
        """One JSON file, indented for reading; NaN and infinity are refused."""
        write_text(self.path / name, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")

    def write_lines(self, name: str, values: list[dict[str, Any]]) -> None:
        """One JSON object a line."""
        lines = [json.dumps(value, separators=(",", ":"), allow_nan=False) for value in values]
        write_text(self.path / name, "\n".join(lines) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    Raises:
        OSError: a full disk, a read-only folder; nothing is left under ``path``.
    """
    with replacing(path) as file:
        file.write(text.encode())


@contextlib.contextmanager
def replacing(path: Path) -> Generator[IO[bytes]]:
    """A binary file that takes its name when it is whole and on disk.

    Raises:
        OSError: as writing does; the half-written file is removed.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(scratch, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except BaseException:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise


def save(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call ``write`` with a file that becomes ``path`` when it is whole."""
    with replacing(path) as file:
        write(file)


def _sync(folder: Path) -> None:
    """Make the names in a folder durable, where the file system knows how."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
