"""The main job: train every arm from the same weights on the same batches, and say what came of it.

Read, check, train, judge, write: the functions below come in this order.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sfumato.io.atomic import WriteError, write_json, write_lines
from sfumato.lab import ladder
from sfumato.lab.config_file import to_toml
from sfumato.lab.cost_estimate import in_time, note_on_cut
from sfumato.lab.data import Data
from sfumato.lab.data.python_objects import IN_MEMORY
from sfumato.lab.errors import Stopped, TrackingError, WorkerError
from sfumato.lab.examples import show
from sfumato.lab.execute.executor import train_all
from sfumato.lab.execute.task import RunTask, finished
from sfumato.lab.execute.torchrun import Ranks, joined, refuse
from sfumato.lab.options import Options
from sfumato.lab.prepared import Prepared, prepared
from sfumato.lab.resume import hashes_of_files, reopened
from sfumato.lab.trackers import Tracker
from sfumato.lab.train.notes import not_trained_to_the_end, notes_on_schedules, notes_on_training
from sfumato.lab.versions_and_machine import arithmetic, versions
from sfumato.lab.watcher import NULL_WATCHER, Setup, Watcher
from sfumato.messages import Note
from sfumato.runs.folder import RunFolder, resume_command
from sfumato.runs.schema import (
    ENCODING_FILE,
    ENCODING_SCHEMA,
    Environment,
    RunRecord,
    StoredEncoding,
    Summary,
    check,
)  # fmt: skip


def compare(
    options: Options,
    *,
    data: Data | None = None,
    sources: Mapping[str, str] | None = None,
    command: str = "",
    watcher: Watcher | None = None,
) -> dict[str, Any]:
    """Run a whole comparison into a run folder.

    Args:
        options: what to compare; checked before anything is written.
        data: what ``options`` stand for where no file has it; None to read the data.
        sources: where each option came from, for ``config.toml``.
        command: the command line, for ``env.json``.
        watcher: who is told how it goes.

    Returns:
        The summary, as ``compare --json`` prints it and ``summary.json`` holds it; nothing on torchrun's ranks but the
        first. What a reader should know before trusting the verdict is under ``"notes"`` in ``env.json``.

    Raises:
        OptionError, DataError, RunError: bad input; nothing was written.
        ArmError, TrainingError: a run failed, and would fail again; the folder stays ``….partial``.
        WorkerError, WriteError, Stopped: the world failed; :func:`resume` goes on with what is in ``….partial``.
    """
    clock, watcher, sources = time.perf_counter(), watcher or NULL_WATCHER, dict(sources or {})
    options.check()
    with joined(options.device) as ranks:
        full = ready = prepared(options, data)
        notes: list[Note] = []
        if ranks is not None:
            rows, batch_norm = len(full.data.split.train), full.model.batch_norm
            refuse(options, full.plan, ranks.world, rows=rows, batch_norm=batch_norm)
            notes.append(ranks.note(batch_norm))
        elif (ready := in_time(full)) is not full:
            notes.append(note_on_cut(full.plan, ready.plan))
            sources["epochs"] = "time budget"
        begin = partial(_begun, ready, sources, command, notes, ranks)
        folder = begin() if ranks is None else ranks.on_first(begin)
        if folder is not None:
            return _work(_Job(folder, ready, watcher, clock, notes, ranks))
        train_all(
            ready.tasks(Path()), ready.rows("train", "validation"), workers=1, progress=watcher.progress, ranks=ranks
        )
        return {}


def resume(
    final: Path,
    *,
    read: Callable[[Options], Data] | None = None,
    workers: int | None = None,
    on: str | None = None,
    track: str | None = None,
    watcher: Watcher | None = None,
) -> dict[str, Any]:
    """Go on with a comparison that was stopped: what is finished is kept, and the result has the same bits.

    Args:
        final: the name that the run will have; see :func:`sfumato.runs.folder.find`.
        read: gives the data, by the options of the run; None to read them where the options say.
        workers: processes; None for one a core.
        on: where they run; None for here.
        track: the tracker that is shown the runs that are left; None for none.
        watcher: who is told how it goes.

    Returns:
        The summary, as :func:`compare`, which may raise the same errors.

    Raises:
        OptionError, RunError, DataError: the run cannot go on; see :func:`sfumato.lab.resume.reopened`.
    """
    clock = time.perf_counter()
    folder, ready, notes = reopened(final, read=read, workers=workers, on=on, track=track)
    return _work(_Job(folder, ready, watcher or NULL_WATCHER, clock, notes))


def _begun(
    ready: Prepared, sources: Mapping[str, str], command: str, notes: list[Note], ranks: Ranks | None
) -> RunFolder:
    """The run folder, with all that going on with it would need."""
    found = {"epochs": ready.plan.epochs, "batch_size": ready.plan.batch_size, "model": ready.model.name}
    return RunFolder.create(
        ready.options.out,
        ready.data.table.name,
        config=to_toml(ready.options, sources, found),
        start={
            "command": command,
            "folder": os.getcwd(),
            "fingerprint": ready.data.fingerprint,
            "versions": versions(),
            "machine": arithmetic(),
            "notes": notes,
            "ranks": None if ranks is None else ranks.world,
            "noise": None if ready.data.noisy is None else ready.data.noisy.fingerprint(),
            "files": hashes_of_files(ready.options),
        },
    )


@dataclass(frozen=True)
class _Job:
    """A comparison with its folder, ready to be worked on; ``clock`` is when this process took it up."""

    folder: RunFolder
    ready: Prepared
    watcher: Watcher
    clock: float
    notes: Sequence[Note]
    ranks: Ranks | None = None


def _work(job: _Job) -> dict[str, Any]:
    """Train what is not yet trained, judge, and write; whatever goes wrong in the world, say how to go on."""
    resumes = resume_command(job.folder.final)
    if job.ready.options.data == IN_MEMORY:
        resumes = f'sf.compare(X, y, resume="{job.folder.final}")'
    go_on = f"`{resumes}` goes on from here" if job.ranks is None else "start it again"
    try:
        with _tracker(job) as tracker:
            trained = _train(job, tracker)
            summary, env = _judge(job, trained, tracker)
            return _write(job, trained.records, summary, env)
    except KeyboardInterrupt:
        raise Stopped(f"stopped; {go_on}") from None
    except (WorkerError, WriteError, TrackingError) as error:
        raise type(error)(f"{error}; {go_on}") from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise WriteError(f"{where}{error.strerror or error}; {go_on}") from error
    finally:
        job.folder.close()


def _tracker(job: _Job) -> contextlib.AbstractContextManager[Tracker | None]:
    """The tracker that was asked for, or none."""
    ready = job.ready
    if ready.options.track is None:
        return contextlib.nullcontext()
    device, data = ready.options.device, ready.data.table.name
    config = {"data": data, "model": ready.model.name, "device": device, **asdict(ready.plan)}
    arms = {arm.name: {"eps": arm.eps, "over": arm.over} for arm in ready.arms}
    return Tracker(ready.options.track, job.folder.final.name, job.folder.path, config, arms)


class _AllTrained(NamedTuple):
    """Every run of a comparison, with its record, and how many processes shared what was left."""

    tasks: list[RunTask]
    records: list[RunRecord]
    workers: int


def _train(job: _Job, tracker: Tracker | None) -> _AllTrained:
    """Train the runs that an earlier sitting has not finished."""
    ready, watcher = job.ready, job.watcher
    tasks = ready.tasks(job.folder.path)
    records = {task: record for task in tasks if (record := finished(task)) is not None}
    left = [task for task in tasks if task not in records]
    workers = ready.workers(len(left)) if job.ranks is None else job.ranks.world
    watcher.setup(Setup(ready.data, ready.arms, ready.plan, len(tasks), workers, tuple(records.values())))

    def progress(arm: str, seed: int, epoch: dict[str, Any]) -> None:
        watcher.progress(arm, seed, epoch)
        if tracker is not None:
            tracker.epoch(arm, seed, epoch)

    if left:
        if tracker is not None:
            tracker.begin(left[0].arm.name, left[0].seed)  # a tracker that does not answer fails here, before training
        rows, on = ready.rows(*ready.parts), ready.options.on
        made = train_all(left, rows, workers=workers, progress=progress, on=on, ranks=job.ranks)
        records |= dict(zip(left, made, strict=True))
        if tracker is not None:
            tracker.trained()
    return _AllTrained(tasks, [records[task] for task in tasks], workers)


def _judge(job: _Job, trained: _AllTrained, tracker: Tracker | None) -> tuple[Summary, Environment]:
    """The verdict, and all that a reader should know before trusting it."""
    from sfumato.lab.summary import environment_of, summary_of

    ready, folder, records = job.ready, job.folder, trained.records
    arms, climbed = ready.arms, None
    if ready.options.ladder:
        climbed = ladder.climb(folder.path, arms, trained.tasks, records, ready.data.part("test"))
        arms = climbed.arms
    shown = [record for record in records if record["arm"] in {arm.name for arm in arms}]
    summary, extra = summary_of(folder.path, str(folder.final), ready, arms, records)
    extra["notes"] = [
        *(() if climbed is None else (climbed.note,)),
        *job.notes,
        *extra["notes"],
        *notes_on_training(ready.plan, shown),
        *notes_on_schedules(ready.plan, arms, len(ready.data.split.train), shown),
        *ready.data.notes,
        *ready.model.notes,
        *(() if tracker is None else (tracker.note,)),
    ]
    cut_short = not_trained_to_the_end(ready.plan, arms, ready.classes, shown)
    summary["warnings"] = [*summary.get("warnings", []), *cut_short]
    if climbed is not None:
        extra["ladder"] = climbed.rungs
    env = environment_of(ready, arms, shown) | {"command": folder.start["command"], "workers": trained.workers}
    return summary, check(env | extra | _times(job), Environment, "env.json")


def _times(job: _Job) -> dict[str, Any]:
    """When it was begun, how long it took, and when it was gone on with."""
    sittings = job.folder.start["sittings"]
    seconds = sum(sitting["seconds"] for sitting in sittings[:-1]) + time.perf_counter() - job.clock
    times: dict[str, Any] = {"started": sittings[0]["started"], "seconds": round(seconds, 2)}
    if sittings[1:]:
        times["resumed"] = [sitting["started"] for sitting in sittings[1:]]
    return times


def _write(job: _Job, records: Sequence[RunRecord], summary: Summary, env: Environment) -> dict[str, Any]:
    """Write what was found, show it on the page, and give the folder its name."""
    path = job.folder.path
    lines = [
        {"arm": record["arm"], "seed": record["seed"], **epoch} for record in records for epoch in record["epochs"]
    ]
    write_lines(path / "metrics.jsonl", lines)
    stored = {"schema": ENCODING_SCHEMA, **job.ready.data.encoder.stored()}
    write_json(path / ENCODING_FILE, check(stored, StoredEncoding, ENCODING_FILE))
    write_json(path / "env.json", env)
    write_json(path / "summary.json", summary)
    if job.watcher.choose is not None:
        show(path, job.watcher.choose(path), job.ready.data.table.features)
    if job.watcher.render is not None:
        job.watcher.render(path)
    job.folder.finish()
    return {**summary}
