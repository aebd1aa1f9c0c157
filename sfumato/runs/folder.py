"""The run folder: complete or absent, never overwritten, and resumable while it is work.

Work lives in ``NAME.partial`` until one rename gives it its name. From its first moment it holds what going on with it
needs: it is filled under a hidden name and takes the name ``NAME.partial`` in one rename, too. A lock on its
``config.toml`` keeps a second process out.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import glob
import hashlib
import io
import os
import re
import secrets
import shlex
import shutil
import sys
import time
from datetime import date, datetime
from pathlib import Path
from typing import IO, Any

from sfumato.arrays.atomic import WriteError, read_sealed, sync, write_sealed, write_text

SCHEMA = "sfumato.work/1"
PARTIAL = ".partial"
START = Path("work") / "start.sealed"
_MOST = 16 * 2**20  # bytes of a file that says how a run was begun


class RunError(ValueError):
    """A run folder that cannot be made or used."""


class TakenError(RunError):
    """The name of a run is in use."""


def resume_command(final: Path) -> str:
    """What to type to go on with a run.

    >>> resume_command(Path("runs/my flowers"))
    "sfumato compare --resume 'runs/my flowers'"
    """
    return f"sfumato compare --resume {shlex.quote(str(final))}"


def partial_of(final: Path) -> Path:
    """Where a run of this name is worked on."""
    return final.with_name(final.name + PARTIAL)


def refuse_taken(final: Path) -> None:
    """Refuse a name under which a run, or work on one, is there already.

    Raises:
        TakenError: it says which, and the way out.
    """
    partial = partial_of(final)
    if os.path.lexists(final):
        raise TakenError(f"{final} exists already and a run folder is never overwritten; choose another --out")
    if os.path.lexists(partial):
        raise TakenError(
            f"{partial} exists already: a run is at work there, or was stopped; `{resume_command(final)}` goes on with "
            "it, or choose another --out"
        )


class RunFolder:
    """A run under way, locked against other processes until it is finished or closed.

    Attributes:
        final: the name that it will have.
        path: where the work is now.
        start: how it was begun: what ``create`` was given, and ``"sittings"``, a start and a length each.
    """

    def __init__(self, final: Path, start: dict[str, Any], lock: IO[bytes]) -> None:
        self.final, self.path, self.start = final, partial_of(final), start
        self._lock = lock

    @classmethod
    def create(cls, out: str | None, data: str, *, config: str, start: dict[str, Any]) -> RunFolder:
        """Begin a run under the name given, or the next free ``runs/<data>-<date>-<n>``.

        Args:
            out: name of the run; None for the next free one.
            data: name of the data, for that.
            config: text of ``config.toml``.
            start: whatever else going on with the run needs.

        Raises:
            TakenError: a run of that name, or work on it, is there.
            RunError: it cannot be made; nothing was written.
        """
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
        start = {
            "schema": SCHEMA,
            **start,
            "config": hashlib.sha256(config.encode()).hexdigest(),
            "sittings": [{"started": _now(), "seconds": None}],
        }
        missing = [parent for parent in final.parents if not parent.exists()]  # the deepest first
        scratch, lock = final.with_name(f".{final.name}.{secrets.token_hex(8)}"), None
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            _remove_orphans(final)
            scratch.mkdir()
            for part in ("logits", "weights", "work"):
                (scratch / part).mkdir()
            write_text(scratch / "config.toml", config)
            write_sealed(scratch / START, start)
            lock = _locked(scratch / "config.toml")
            assert lock is not None  # nobody else knows the name
            os.rename(scratch, partial)  # fails where one with files in it is there: of two processes, one gets it
            scratch = partial
            sync(final.parent)
            if os.path.lexists(final):  # the run of another process, finished since we looked
                refuse_taken(final)
        except BaseException as error:
            if lock is not None:
                lock.close()
            shutil.rmtree(scratch, ignore_errors=True)
            for parent in missing:
                with contextlib.suppress(OSError):
                    parent.rmdir()
            if isinstance(error, OSError) and error.errno in (errno.EEXIST, errno.ENOTEMPTY):
                refuse_taken(final)
            if isinstance(error, (OSError, WriteError)):
                cause = error if isinstance(error, OSError) else error.__cause__
                reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else error
                raise RunError(f"cannot write to {final.parent}: {reason}") from None
            raise
        return cls(final, start, lock)

    @classmethod
    def reopen(cls, final: Path) -> RunFolder:
        """Go on with work that was stopped; see :func:`find`.

        Raises:
            TakenError: another process is at work there.
            RunError: what is there cannot be gone on with.
        """
        partial = partial_of(final)
        try:
            lock = _locked(partial / "config.toml")
        except OSError as error:
            raise RunError(
                f"{partial / 'config.toml'} cannot be read ({error.strerror}), so the run cannot go on; start it again"
            ) from None
        if lock is None:
            raise TakenError(f"another process is at work in {partial}; wait for it, or stop it first")
        try:
            if not _same(lock, partial / "config.toml"):  # it was finished, and renamed, before we had the lock
                raise TakenError(f"{final} was finished by another process just now")
            start = _start(partial, lock.read(_MOST))
            _remove_scratch(partial)
            last = start["sittings"][-1]
            if last["seconds"] is None:  # it ended when its newest file was written, as far as anyone can tell
                begun = datetime.fromisoformat(last["started"]).timestamp()
                last["seconds"] = max(0.0, round(_newest(partial) - begun, 2))
            start["sittings"].append({"started": _now(), "seconds": None})
            write_sealed(partial / START, start)
        except BaseException:
            lock.close()
            raise
        return cls(final, start, lock)

    def finish(self) -> Path:
        """Drop the scratch files and give the folder its name, in one rename.

        The file that says how the run was begun goes first: a folder without it wants nothing but the rename.

        Raises:
            RunError: the name was taken meanwhile; the work stays where it is.
            WriteError: the folder cannot be renamed.
        """
        return _finish(self.final, self._lock)

    def close(self) -> None:
        """Let go of the folder, finished or not."""
        self._lock.close()


def find(run: str) -> tuple[Path, bool]:
    """A run by its name.

    Args:
        run: its folder, with or without ``.partial``.

    Returns:
        The name that it has or will have, and whether it is whole. A run that wanted nothing but its name gets it now.

    Raises:
        RunError: there is none, or another process is at work in it.
        WriteError: the folder cannot be renamed.
    """
    final = Path(run)
    if final.name.endswith(PARTIAL) and final.name != PARTIAL:  # no run has such a name
        final = final.with_name(final.name.removesuffix(PARTIAL))
    if final.is_dir():
        if not (final / "summary.json").is_file():
            raise RunError(f"{final} is not a run folder: it has no summary.json")
        return final, True
    partial = partial_of(final)
    if not partial.is_dir():
        raise RunError(_missing(final))
    if (partial / START).exists() or not (partial / "summary.json").is_file():
        return final, False
    try:
        lock = _locked(partial / "config.toml")
    except OSError as error:
        raise RunError(f"{partial / 'config.toml'} cannot be read: {error.strerror}") from None
    if lock is None:
        raise TakenError(f"another process is at work in {partial}; wait for it, or stop it first")
    with lock:
        _finish(final, lock)
    return final, True


def _finish(final: Path, lock: IO[bytes]) -> Path:
    partial = partial_of(final)
    try:
        _remove_scratch(partial)
        for path in partial.rglob("*"):
            sync(path)
        sync(partial)
        if os.path.lexists(final):
            raise RunError(f"{final} was made meanwhile; this run is whole in {partial}")
        if (partial / "work").is_dir():
            (partial / START).unlink(missing_ok=True)
            shutil.rmtree(partial / "work")
        os.rename(partial, final)
        sync(final.parent)
    except OSError as error:
        raise WriteError(f"cannot rename {partial} to {final}: {error.strerror or error}") from None
    lock.close()
    return final


def _missing(final: Path) -> str:
    try:
        names = [path.name.removesuffix(PARTIAL) for path in final.parent.iterdir() if path.is_dir()]
    except OSError:
        names = []
    close = difflib.get_close_matches(final.name, sorted(set(names)), n=1)
    hint = f'; did you mean "{final.with_name(close[0])}"?' if close else ""
    return f"no run {final}, and no {partial_of(final)} to go on with{hint}"


def _start(partial: Path, config: bytes) -> dict[str, Any]:
    """How the run was begun, checked.

    Raises:
        RunError: it cannot be told, or ``config.toml`` was changed since.
    """
    path = partial / START
    lost = f"{path} does not say how the run was begun, so it cannot go on; start it again"
    try:
        start: dict[str, Any] = read_sealed(path)
    except (OSError, ValueError):
        raise RunError(lost) from None
    if start["schema"] != SCHEMA:
        raise RunError(lost)
    if hashlib.sha256(config).hexdigest() != start["config"]:
        raise RunError(
            f"{partial / 'config.toml'} was changed since the run was begun, so it cannot go on; start it again with "
            f"`sfumato compare -c {shlex.quote(str(partial / 'config.toml'))}`"
        )
    return start


def _remove_scratch(partial: Path) -> None:
    """Remove what a kill left of files that were being written."""
    for path in sorted(partial.rglob("*")):
        if path.is_file() and (path.name.startswith(".") or path.name.endswith(PARTIAL)):
            path.unlink(missing_ok=True)


def _remove_orphans(final: Path) -> None:
    """Remove what kills have left of runs of this name that were just being begun, which takes no minute."""
    for path in final.parent.glob(f".{glob.escape(final.name)}.{'[0-9a-f]' * 16}"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < time.time() - 60:
                shutil.rmtree(path, ignore_errors=True)


def _newest(partial: Path) -> float:
    """When the newest file was written, in seconds since 1970."""
    newest = 0.0
    for path in partial.rglob("*"):
        with contextlib.suppress(OSError):
            newest = max(newest, path.stat().st_mtime)
    return newest


def _locked(path: Path) -> IO[bytes] | None:
    """The file, open and locked against other processes; None if one of them has it.

    The lock goes with the process, however it ends. On Windows there is none, for an open file would keep its folder
    from being renamed.

    Raises:
        OSError: it cannot be opened.
    """
    if sys.platform == "win32":
        return io.BytesIO(path.read_bytes())
    import fcntl

    file = open(path, "r+b")  # noqa: SIM115  open for as long as the lock is wanted
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError:  # a file system without locks
        pass
    return file


def _same(file: IO[bytes], path: Path) -> bool:
    if isinstance(file, io.BytesIO):
        return True
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except OSError:
        return False


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")
