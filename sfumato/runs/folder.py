"""The run folder: complete or absent, never overwritten, and resumable until it is complete.

A run is worked on in ``NAME.partial``, made under a hidden name first, and one rename gives the folder its name. A lock
on the file ``.NAME.lock`` next to it keeps a second process out, until the first lets go or ends, however it ends.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import re
import secrets
import shutil
import time
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.io.atomic import WriteError, make_folder, read_sealed, sync, write_sealed, write_text
from sfumato.runs.schema import WorkStart, check
from sfumato.text import nearest, typed_line

if TYPE_CHECKING:
    from filelock import BaseFileLock

SCHEMA = "sfumato.work/1"
PARTIAL = ".partial"
START = Path("work") / "start.sealed"
WHOLE = Path("work") / "whole.sealed"  # what START is called once the run is complete
_MAX_CONFIG = 16 * 2**20  # bytes that are read of config.toml


class RunError(ValueError):
    """A run folder that cannot be made or used."""


class TakenError(RunError):
    """The name of a run is in use."""


def resume_command(final: Path) -> str:
    """The command that resumes a run."""
    return typed_line("sfumato", "compare", "--resume", str(final))


def partial_of(final: Path) -> Path:
    """The folder in which a run of this name is worked on."""
    return final.with_name(final.name + PARTIAL)


def refuse_taken(final: Path) -> None:
    """Refuse the name of a run that exists already, finished or not."""
    partial = partial_of(final)
    if os.path.lexists(final):
        raise TakenError(f"{final} exists already and a run folder is never overwritten; choose another --out")
    if os.path.lexists(partial):
        at_work = f"{partial} exists already: a run is at work there, or was stopped"
        raise TakenError(f"{at_work}; `{resume_command(final)}` goes on with it, or choose another --out")


class RunFolder:
    """A run under way, locked against other processes until it is finished or closed."""

    def __init__(self, final: Path, start: dict[str, Any], lock: BaseFileLock) -> None:
        self.final, self.path = final, partial_of(final)  # the name that the folder will have, and where the work is
        self.start = start  # a WorkStart, with a session for each process that worked here
        self._lock = lock

    @classmethod
    def create(cls, out: str | None, data: str, *, config: str, start: dict[str, Any]) -> RunFolder:
        """Begin a run under the name ``out``, or without it the next free ``runs/<data>-<date>-<n>``."""
        if out is not None:
            return cls._begin(Path(out), config, start)
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", data).strip("-.") or "data"
        for number in range(1, 10_000):
            with contextlib.suppress(TakenError):
                return cls._begin(Path("runs") / f"{safe}-{date.today().isoformat()}-{number}", config, start)
        raise RunError("runs/ holds 9,999 runs of today; choose a name with --out")

    @classmethod
    def _begin(cls, final: Path, config: str, start: dict[str, Any]) -> RunFolder:
        refuse_taken(final)
        partial = partial_of(final)
        start = {"schema": SCHEMA, **start, "config": hashlib.sha256(config.encode()).hexdigest()}
        start["sessions"] = [{"started": _now(), "seconds": None}]
        missing = [parent for parent in final.parents if not parent.exists()]  # the deepest first
        scratch, lock = final.with_name(f".{final.name}.{secrets.token_hex(8)}"), None
        try:
            make_folder(final.parent)
            _remove_orphans(final)
            scratch.mkdir()
            for part in ("logits", "weights", "work"):
                (scratch / part).mkdir()
            write_text(scratch / "config.toml", config)
            write_sealed(scratch / START, check(start, WorkStart, START))
            lock = _lock(final)
            os.rename(scratch, partial)  # fails where a folder with files in it has the name: one of two processes wins
            scratch = partial
            sync(final.parent)
            if os.path.lexists(final):  # another process has finished a run of this name since the first look
                refuse_taken(final)
        except BaseException as error:
            shutil.rmtree(scratch, ignore_errors=True)
            if lock is not None:
                _unlock(lock, final)
            for parent in missing:
                with contextlib.suppress(OSError):
                    parent.rmdir()
            if isinstance(error, OSError) and error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                refuse_taken(final)
            cause = error.__cause__ if isinstance(error, WriteError) else error
            if isinstance(cause, OSError):
                raise RunError(f"cannot write to {final.parent}: {cause.strerror or error}") from None
            raise
        return cls(final, start, lock)

    @classmethod
    def reopen(cls, final: Path) -> RunFolder:
        """Open the folder of a run that was stopped, to go on with it; :func:`find` gives its name."""
        partial = partial_of(final)
        lock = _lock(final)
        try:
            if final.is_dir() and not partial.is_dir():  # renamed by another process before this one had the lock
                raise TakenError(f"{final} was finished by another process just now")
            start = read_start(partial)
            _remove_scratch(partial)
            last = start["sessions"][-1]
            if last["seconds"] is None:  # a killed process: its newest file is the last sign of it
                begun = datetime.fromisoformat(last["started"]).timestamp()
                newest = max((path.stat().st_mtime for path in partial.rglob("*")), default=begun)
                last["seconds"] = max(0.0, round(newest - begun, 2))
            start["sessions"].append({"started": _now(), "seconds": None})
            write_sealed(partial / START, start)
        except BaseException:
            _unlock(lock, final)
            raise
        return cls(final, start, lock)

    def finish(self) -> Path:
        """Drop the scratch files and give the folder its name, in one rename.

        ``start.sealed`` gets another name first: where it is missing, the run is complete and only has to be renamed.
        """
        try:
            _remove_scratch(self.path)
            for path in self.path.rglob("*"):
                sync(path)
            sync(self.path)
            if os.path.lexists(self.final):
                raise RunError(f"{self.final} was made meanwhile; this run is whole in {self.path}")
            with contextlib.suppress(FileNotFoundError):
                os.replace(self.path / START, self.path / WHOLE)
            os.rename(self.path, self.final)
            sync(self.final.parent)
        except OSError as error:
            raise WriteError(f"cannot rename {self.path} to {self.final}: {error.strerror or error}") from None
        self.close()
        return self.final

    def close(self) -> None:
        """Let go of the folder, finished or not."""
        _unlock(self._lock, self.final)


def find(run: str) -> tuple[Path, bool]:
    """The name that a run has or will have, and whether it is complete, by its folder with or without ``.partial``.

    A complete run that only has to be renamed is renamed now.
    """
    final = Path(run)
    if final.name.endswith(PARTIAL) and final.name != PARTIAL:  # a run is never called .partial alone
        final = final.with_name(final.name.removesuffix(PARTIAL))
    if final.is_dir():
        if not (final / "summary.json").is_file():
            raise RunError(f"{final} is not a run folder: it has no summary.json; give the folder that compare wrote")
        return final, True
    partial = partial_of(final)
    if not partial.is_dir():
        names = set[str]()
        with contextlib.suppress(OSError):
            names = {path.name.removesuffix(PARTIAL) for path in final.parent.iterdir() if path.is_dir()}
        close = nearest(final.name, sorted(names))
        hint = f'; did you mean "{final.with_name(close)}"?' if close else ""
        raise RunError(f"no run {final}, and no {partial} to go on with{hint}")
    if (partial / START).exists() or not (partial / "summary.json").is_file():
        return final, False
    with contextlib.closing(RunFolder(final, {}, _lock(final))) as folder:
        return folder.finish(), True


def read_start(folder: Path, name: Path = START) -> dict[str, Any]:
    """How a run was begun, by its file; RunError where that is unknown, or ``config.toml`` was changed since."""
    try:
        with open(folder / "config.toml", "rb") as file:
            config = file.read(_MAX_CONFIG)
    except OSError as error:
        lost = f"{folder / 'config.toml'} cannot be read ({error.strerror})"
        raise RunError(f"{lost}, so the run cannot go on; start it again") from None
    try:
        start: dict[str, Any] = {**check(read_sealed(folder / name), WorkStart, folder / name)}
    except (OSError, ValueError):
        start = {"schema": None}
    if start["schema"] != SCHEMA:
        raise RunError(f"{folder / name} does not say how the run was begun, so it cannot go on; start it again")
    if hashlib.sha256(config).hexdigest() != start["config"]:
        again = typed_line("sfumato", "compare", "-c", str(folder / "config.toml"))
        changed = f"{folder / 'config.toml'} was changed since the run was begun"
        raise RunError(f"{changed}, so it cannot go on; start it again with `{again}`")
    return start


def _remove_scratch(partial: Path) -> None:
    """Remove files that were being written when a process was killed."""
    for path in sorted(partial.rglob("*")):
        if path.is_file() and (path.name.startswith(".") or path.name.endswith(PARTIAL)):
            path.unlink(missing_ok=True)


def _remove_orphans(final: Path) -> None:
    """Remove hidden folders of this name whose process was killed: to begin a run takes less than a minute."""
    for path in final.parent.glob(f".{glob.escape(final.name)}.{'[0-9a-f]' * 16}"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < time.time() - 60:
                shutil.rmtree(path, ignore_errors=True)


def _lock(final: Path) -> BaseFileLock:
    """The lock on the name of a run; a file system without locks is worked on without one."""
    from filelock import FileLock, Timeout

    lock = FileLock(final.with_name(f".{final.name}.lock"), blocking=False, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise TakenError(f"another process is at work in {partial_of(final)}; wait for it, or stop it first") from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
            raise
    except NotImplementedError:
        pass
    return lock


def _unlock(lock: BaseFileLock, final: Path) -> None:
    """Let another process have the name; the file of the lock goes where no run is left to go on with."""
    if not os.path.lexists(partial_of(final)) and lock.is_locked:
        with contextlib.suppress(OSError):  # Windows removes it when it is let go
            os.unlink(lock.lock_file)
    lock.release()


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")
