"""Going on with a comparison that was stopped: what must be as it was, and what may have changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sfumato.lab.config_file import from_toml
from sfumato.lab.data import Data, prepare
from sfumato.lab.errors import OptionError
from sfumato.lab.execute.torchrun import started_by_torchrun
from sfumato.lab.options import Options, schema
from sfumato.lab.prepared import Prepared, prepared
from sfumato.lab.versions_and_machine import notes_on_change
from sfumato.runs.folder import RunError, RunFolder


def reopened(
    final: Path,
    *,
    read: Callable[[Options], Data] | None = None,
    workers: int | None,
    on: str | None,
    track: str | None,
) -> tuple[RunFolder, Prepared, list[str]]:
    """The folder of a stopped comparison, locked; the comparison as it was begun; and notes for its reader.

    The arguments are those of :func:`sfumato.lab.compare.resume`.

    Raises:
        OptionError: one of the options given now cannot be used.
        RunError: the run cannot go on: it is at work in another process, its options or data have changed, or it was
            begun with another sfumato or torch.
        DataError: the data cannot be read any more.
    """
    for name, value in {"workers": workers, "on": on, "track": track}.items():
        schema()[name].check(value)
    if started_by_torchrun():
        raise OptionError("--resume goes on in processes of its own: leave torchrun out")
    folder = RunFolder.reopen(final)
    try:
        if folder.start.get("ranks"):
            raise RunError(
                f"{folder.path} was begun under torchrun, whose last digits one process would not repeat; "
                "start it again"
            )
        notes = [*folder.start.get("notes", ()), *notes_on_change(folder.start)]
        options = replace(_options(folder), workers=workers, on=on, track=track)
        ready = prepared(_with_noise_found(options, folder), _data(options, folder, read))
        if ready.data.noisy is not None and ready.data.noisy.fingerprint() != folder.start.get("noise"):
            raise RunError(
                f"{options.noise} has changed since {folder.path} was begun: its labels are no longer those that the "
                "finished runs saw; put the old table back, or start the run again"
            )
        return folder, ready, notes
    except BaseException:
        folder.close()
        raise


def _options(folder: RunFolder) -> Options:
    """Those that the run was begun with."""
    config = folder.path / "config.toml"
    try:
        return from_toml(config.read_text(encoding="utf-8"))
    except (OptionError, UnicodeDecodeError) as error:
        raise RunError(f"{config}: {error}; start the run again") from None


def _with_noise_found(options: Options, folder: RunFolder) -> Options:
    """The options with the file of their noise where it is now: a path was given as seen from where the run began."""
    there = Path(folder.start["folder"]) / (options.noise or "")
    return options if options.noise is None or not there.is_file() else replace(options, noise=str(there))


def _data(options: Options, folder: RunFolder, read: Callable[[Options], Data] | None) -> Data:
    """The data, read again: the finished runs must have seen these rows."""
    source, there = options.data, Path(folder.start["folder"]) / options.data  # a path was given as seen from there
    if read is not None:
        data = read(options)
    else:
        data = prepare(str(there) if there.exists() and source != "digits" else source, options.roles())
    if data.fingerprint != folder.start["fingerprint"]:
        raise RunError(
            f"{'what was given' if read else options.data} has changed since {folder.path} was begun: its rows are no "
            "longer those that the finished runs saw; put the old rows back, or start the run again"
        )
    return data
