"""Going on with a comparison that was stopped, or with more seeds: which runs are kept, what must be as it was."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sfumato.evaluate.statistics.looks import MAX_LOOKS
from sfumato.io.atomic import file_hash, link, read_sealed
from sfumato.lab.arms import parse_arm
from sfumato.lab.data import Data, prepare
from sfumato.lab.errors import OptionError
from sfumato.lab.execute import RunKey, RunTask
from sfumato.lab.execute.torchrun import started_by_torchrun
from sfumato.lab.options import Options, from_toml, schema, to_toml
from sfumato.lab.prepared import Prepared, prepared
from sfumato.lab.summary import arithmetic, versions
from sfumato.messages import Note
from sfumato.runs.folder import WHOLE, RunError, RunFolder, read_start
from sfumato.runs.read import read_description
from sfumato.runs.schema import Look, RunRecord, Summary, check


def finished(task: RunTask) -> RunRecord | None:
    """The record of a whole run: its files are there, and are those that it wrote. None if it must run again."""
    try:
        record = check(read_sealed(task.record), RunRecord, task.record)
        files = {name: file_hash(path) for name, path in task.files.items()}
    except (OSError, ValueError):
        return None
    whole = RunKey.of(record) == task.key and all(record["files"].get(name) == files[name] for name in files)
    return record if whole else None


def reopened(
    final: Path,
    *,
    read: Callable[[Options], Data] | None = None,
    workers: int | None,
    on: str | None,
    track: str | None,
) -> tuple[RunFolder, Prepared, list[Note]]:
    """The folder of a stopped comparison, locked; the comparison as it was begun; and notes for its reader."""
    where = _where(workers=workers, on=on, track=track)
    folder = RunFolder.reopen(final)
    try:
        return folder, *_as_begun(folder.path, folder.start, where, read)
    except BaseException:
        folder.close()
        raise


def with_more_seeds(
    run: Path,
    seeds: int,
    *,
    out: str | None = None,
    command: str = "",
    read: Callable[[Options], Data] | None = None,
    workers: int | None,
    on: str | None,
    track: str | None,
) -> tuple[RunFolder, Prepared, list[Note]]:
    """A new run folder, in which the models of a complete comparison are linked and the other seeds are left to train.

    The error of the verdict is shared by all looks, which the new folder keeps; the old one stays as it is.
    """
    where = _where(workers=workers, on=on, track=track)
    schema()["seeds"].check(seeds)
    start, (summary, _) = read_start(run, WHOLE), read_description(run)
    looks = [*summary.get("looks", []), _look(summary)]
    if len(looks) >= MAX_LOOKS:
        raise OptionError(
            f"{run} is look {len(looks)}, the last that an error of 5 % allows; for another verdict, use other rows"
        )
    before, notes = _as_begun(run, start, where, read)
    if seeds <= before.seeds:
        raise OptionError(f"--seeds must be above {before.seeds}, the seeds of {run}, to add some; got {seeds}")
    if out is not None:
        schema()["out"].check(out)
    more = {"seeds": seeds, "out": out or str(run.with_name(f"{run.name}-{seeds}-seeds"))}
    ready = replace(before, options=replace(before.options, **more))
    sources = dict.fromkeys(schema(), str(run)) | {"seeds": "command line"}
    # files are named as seen from where the first run was begun, which is where whoever goes on looks for them
    config = to_toml(replace(_options(run), **more), sources, ready.resolved)
    begun = {**start, "command": command, "looks": looks}
    folder = RunFolder.create(ready.options.out, "", config=config, start=begun)
    for old, new in zip(before.tasks(run), ready.tasks(folder.path), strict=False):  # by seed: the new ones are last
        for path, name in zip([*old.files.values(), old.record], [*new.files.values(), new.record], strict=True):
            if path.exists():  # a model without its files is trained again
                link(path, name)
    return folder, ready, notes


def _where(**options: Any) -> dict[str, Any]:
    """The options that say where the work is done, checked."""
    for name, value in options.items():
        schema()[name].check(value)
    if started_by_torchrun():
        raise OptionError("--resume goes on in processes of its own: leave torchrun out")
    return options


def _as_begun(
    folder: Path, start: Mapping[str, Any], where: Mapping[str, Any], read: Callable[[Options], Data] | None
) -> tuple[Prepared, list[Note]]:
    """The comparison as it was begun, from the options and the data of its folder, which must be what they were.

    With it come the notes of its beginning, and those on what has changed since.
    """
    notes = [*start.get("notes", ()), *_notes_on_change(start)]
    if (start.get("ranks") or 1) > 1:
        raise RunError(
            f"{folder} was begun under torchrun, whose last digits one process would not repeat; start it again"
        )
    options = _with_files_found(replace(_options(folder), **where), start)
    _refuse_changed_files(options, folder, start)
    ready = prepared(options, _data(options, folder, start, read))
    if ready.data.noisy is not None and ready.data.noisy.fingerprint() != start.get("noise"):
        raise RunError(
            f"{options.noise} has changed since {folder} was begun: its labels are no longer those that the "
            "finished runs saw; put the old table back, or start the run again"
        )
    return ready, notes


def note_on_looks(looks: Sequence[Look], models: int) -> Note:
    """How often the comparison was judged on fewer models, and what that does to its p-values."""
    before = ", ".join(f"{look['models']} ({look['state']})" for look in looks)
    text = (
        f"This is look {len(looks) + 1} of at most {MAX_LOOKS}: {models} models of each arm, after {before}. "
        "P-values are adjusted so that all looks together declare a false difference in at most 5 % of comparisons."
    )
    return Note(code="looks", text=text)


def _look(summary: Summary) -> Look:
    """What later looks must know of the verdict of a run."""
    errors: dict[str, dict[str, float]] = {}
    for each in summary["differences"]:
        if each["p_adjusted"] is not None:
            errors.setdefault(each["arm"], {})[each["metric"]] = each["se"]
    models = len(summary["paired"]["weights"])
    return {"models": models, "state": summary["verdict"]["state"], "standard_errors": errors}


def _notes_on_change(start: Mapping[str, Any]) -> list[Note]:
    """Notes for a run, begun as ``start`` says, that goes on with other arithmetic; usually there are none."""
    now, then = versions(), start["versions"]
    for name in ("sfumato", "torch"):
        if then.get(name) != now[name]:
            raise RunError(
                f"the run was begun with {name} {then.get(name)} and this is {now[name]}: its arms would not be "
                "trained alike; go on with the version that began it, or start the run again"
            )
    before, after = {**start["machine"], "numpy": then.get("numpy")}, {**arithmetic(), "numpy": now["numpy"]}
    changed = [f"{name} {before.get(name)}, then {after[name]}" for name in after if before.get(name) != after[name]]
    if not changed:
        return []
    text = (
        f"This run was stopped, and gone on with under other conditions ({'; '.join(changed)}): another run of the "
        "same command may differ in its last digits."
    )
    return [Note(code="other-arithmetic", text=text)]


def _options(folder: Path) -> Options:
    """Those that the run was begun with."""
    config = folder / "config.toml"
    try:
        return from_toml(config.read_text(encoding="utf-8"))
    except (OptionError, UnicodeDecodeError) as error:
        raise RunError(f"{config}: {error}; start the run again") from None


def hashes_of_files(options: Options) -> dict[str, str]:
    """SHA-256 of each file that a run reads, by what reads it, an arm or an option, and the name of the file."""
    specs = [parse_arm(spec) for spec in options.arms()] if options.arm else []
    read = [(spec.arm_name, Path(path)) for spec in specs for path in spec.files]
    if options.pretrained is not None:
        read.append(("--pretrained", Path(options.pretrained)))
    return {f"{reader}/{path.name}": file_hash(path) for reader, path in read if path.is_file()}


def _with_files_found(options: Options, start: Mapping[str, Any]) -> Options:
    """The options with their files where they are now: paths were given as seen from where the run was begun."""
    begun = Path(start["folder"])
    paths = {"noise": options.noise, "pretrained": options.pretrained}
    there = {name: begun / path for name, path in paths.items() if path is not None}
    options = replace(options, **{name: str(path) for name, path in there.items() if path.is_file()})
    if options.arm and begun != Path.cwd():
        options = replace(options, arm=",".join(_seen_from_here(spec, begun) for spec in options.arms()))
    return options


def _seen_from_here(spec: str, begun: Path) -> str:
    """An ``--arm`` with the paths of its files as seen from this folder; colons and commas would part its words."""
    for path in parse_arm(spec).files:
        with contextlib.suppress(ValueError):  # of another drive of Windows
            here = os.path.relpath(begun / path)
            if Path(here).is_file() and not set(":,") & set(here):
                spec = spec.replace(f":{path}", f":{here}", 1)
    return spec


def _refuse_changed_files(options: Options, folder: Path, start: Mapping[str, Any]) -> None:
    """Refuse to go on where a file that the runs read holds something else than when the first was begun."""
    before = start.get("files", {})
    for name, now in hashes_of_files(options).items():
        if before.get(name, now) != now:
            raise RunError(
                f"{name.rpartition('/')[2]} has changed since {folder} was begun: it is no longer the file that "
                "the finished runs read; put the old file back, or start the run again"
            )


def _data(options: Options, folder: Path, start: Mapping[str, Any], read: Callable[[Options], Data] | None) -> Data:
    """The data, read again: the finished runs must have seen these rows."""
    source, there = options.data, Path(start["folder"]) / options.data  # a path was given as seen from there
    if read is not None:
        data = read(options)
    else:
        data = prepare(str(there) if there.exists() and source != "digits" else source, options.roles())
    if data.fingerprint != start["fingerprint"]:
        raise RunError(
            f"{'what was given' if read else options.data} has changed since {folder} was begun: its rows are no "
            "longer those that the finished runs saw; put the old rows back, or start the run again"
        )
    return data
