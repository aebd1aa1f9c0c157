"""The lock on a run that is being worked on: one process has it, until it lets go or ends, however it ends.

Where the system has ``flock``, the lock is on the run's own ``config.toml``, and moves with the folder. Windows renames
no folder while a file in it is open. There filelock locks a file beside the folder, ``.NAME.lock``.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from filelock import BaseFileLock

CONFIG = "config.toml"


class RunLock:
    """A run folder that this process alone works on, until :meth:`close`."""

    def __init__(self, file: BinaryIO | None, beside: BaseFileLock | None) -> None:
        self._file, self._beside = file, beside

    @classmethod
    def take(cls, folder: Path, final: Path) -> RunLock | None:
        """Lock the run of the name ``final``, whose work is in ``folder``; None if another process holds the lock.

        A file system without locks is worked on without one.

        Raises:
            OSError: the run's ``config.toml`` cannot be opened.
        """
        try:
            import fcntl
        except ImportError:
            return cls._take_beside(folder, final)
        file = open(folder / CONFIG, "r+b")  # noqa: SIM115  open for as long as the lock is wanted
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        except OSError:  # a file system without locks
            pass
        return cls(file, None)

    @classmethod
    def _take_beside(cls, folder: Path, final: Path) -> RunLock | None:
        from filelock import FileLock, Timeout

        (folder / CONFIG).stat()  # a run that is not there is not locked
        lock = FileLock(final.with_name(f".{final.name}.lock"), blocking=False, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            return None
        return cls(None, lock)

    def holds(self, folder: Path) -> bool:
        """Whether the run that is locked is the one in ``folder``: another process may have given it its name."""
        try:
            there = os.stat(folder / CONFIG)
        except OSError:
            return False
        return self._file is None or os.path.samestat(os.fstat(self._file.fileno()), there)

    def close(self) -> None:
        """Let another process have the run."""
        if self._file is not None:
            self._file.close()
        if self._beside is not None:
            self._beside.release()

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
