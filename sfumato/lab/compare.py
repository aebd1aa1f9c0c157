"""The main job: train every arm from the same weights on the same batches, and report what came of it.

Read, check, train, judge, write: the functions below come in this order.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sfumato.io.atomic import WriteError, write_json, write_lines
from sfumato.lab.arms import Arm
from sfumato.lab.cost_estimate import in_time, note_on_cut
from sfumato.lab.data import Data
from sfumato.lab.data.python_objects import IN_MEMORY
from sfumato.lab.errors import OptionError, Stopped, TrackingError, WorkerError
from sfumato.lab.examples import show
from sfumato.lab.execute import Progress, Rows, RunKey, RunTask, processes, ray
from sfumato.lab.execute.torchrun import ONE_PROCESS, Ranks, joined
from sfumato.lab.ladder import select_strength
from sfumato.lab.options import Options, to_toml
from sfumato.lab.prepared import Prepared, prepared
from sfumato.lab.resume import finished, hashes_of_files, note_on_looks, reopened, with_more_seeds
from sfumato.lab.summary import arithmetic, environment_of, summary_of, versions
from sfumato.lab.trackers import Tracker
from sfumato.lab.train import Plan
from sfumato.lab.train.notes import not_trained_to_the_end, notes_on_schedules, notes_on_training
from sfumato.messages import Note
from sfumato.runs.folder import RunFolder, find, resume_command
from sfumato.runs.read import load_run
from sfumato.runs.schema import (
    ENCODING_SCHEMA,
    Environment,
    RunRecord,
    StoredEncoding,
    Summary,
    check,
    encoding_file,
)  # fmt: skip

OVERRUN = 1.5
"""How many times its time budget a comparison may take before it is stopped."""


@dataclass(frozen=True)
class Setup:
    """What is about to run, for those who show it: ``tasks`` runs in all, shared by ``workers`` processes."""

    data: Data
    arms: tuple[Arm, ...]
    plan: Plan  # the budget of every run
    tasks: int
    workers: int
    finished: tuple[RunRecord, ...] = ()  # the runs of earlier sessions


@dataclass(frozen=True)
class Watcher:
    """Who sees how a comparison goes."""

    setup: Callable[[Setup], object]  # called once, when the data are read and before training starts
    progress: Progress  # called after every epoch of every run
    render: Callable[[Path], object] | None = None  # called with the folder when all but the report is in it
    choose: Callable[[Path], Sequence[int]] | None = None  # which rows of the data are worth showing on the page


NULL_WATCHER = Watcher(lambda setup: None, lambda run, epoch: None)


@dataclass(frozen=True)
class _Job:
    """A comparison with its folder, ready to be worked on; ``clock`` is when this process took it up."""

    folder: RunFolder
    ready: Prepared
    watcher: Watcher
    clock: float
    notes: Sequence[Note]
    ranks: Ranks = ONE_PROCESS


def compare(
    options: Options,
    *,
    data: Data | None = None,
    sources: Mapping[str, str] | None = None,
    command: str = "",
    watcher: Watcher = NULL_WATCHER,
) -> dict[str, Any]:
    """Run a whole comparison into a run folder.

    Args:
        options: what to compare; checked before anything is written.
        data: what ``options`` stand for where no file has it; None to read the data.
        sources: where each option came from, for ``config.toml``.
        command: the command line, for ``env.json``.
        watcher: who sees how it goes.

    Returns:
        The summary, as ``compare --json`` prints it and ``summary.json`` holds it; nothing on torchrun's ranks but the
        first. What a reader should know before trusting the verdict is under ``"notes"`` in ``env.json``.

    Raises:
        OptionError, DataError, RunError: bad input; nothing was written.
        ArmError, TrainingError: a run failed, and would fail again; the folder stays ``….partial``.
        WorkerError, WriteError, Stopped: the world failed; :func:`resume` goes on with what is in ``….partial``.
    """
    clock, sources = time.perf_counter(), dict(sources or {})
    options.check()
    with joined(options.device) as ranks:
        full = prepared(options, data)
        rows, batch_norm = len(full.data.split.train), full.model.batch_norm
        notes = ranks.accept(options, full.plan, rows=rows, batch_norm=batch_norm)
        ready = in_time(full)
        if ready is not full:
            notes.append(note_on_cut(full.plan, ready.plan))
            sources["epochs"] = "time budget"
        folder = ranks.on_first(lambda: _begun(ready, sources, command, notes, ranks.world))
        if folder is not None:
            return _work(_Job(folder, ready, watcher, clock, notes, ranks))
        _run_all(ready.tasks(Path()), ready.rows("train", "validation"), ranks.world, watcher.progress, ready, ranks)
        return {}


def resume(
    final: Path,
    *,
    read: Callable[[Options], Data] | None = None,
    workers: int | None = None,
    on: str | None = None,
    track: str | None = None,
    watcher: Watcher = NULL_WATCHER,
) -> dict[str, Any]:
    """Go on with a comparison that was stopped: what is finished is kept, and the result has the same bits.

    Args:
        final: the name that the run will have; see :func:`sfumato.runs.folder.find`.
        read: gives the data, by the options of the run; None to read them where the options say.
        workers: processes; None for one per core.
        on: where they run; None for here.
        track: the tracker that is shown the runs that are left; None for none.
        watcher: who sees how it goes.

    Returns:
        The summary, as :func:`compare`, which may raise the same errors.

    Raises:
        OptionError, RunError, DataError: the run cannot go on; see :func:`sfumato.lab.resume.reopened`.
    """
    clock = time.perf_counter()
    folder, ready, notes = reopened(final, read=read, workers=workers, on=on, track=track)
    return _work(_Job(folder, ready, watcher, clock, notes))


def look_again(run: Path, seeds: int, *, watcher: Watcher = NULL_WATCHER, **how: Any) -> dict[str, Any]:
    """Judge a complete comparison again with more seeds, in a folder of its own.

    Args:
        run: the folder of the comparison.
        seeds: models per arm and fold in all, those of the run included.
        watcher: who sees how it goes.
        how: ``out``, ``command``, ``read``, ``workers``, ``on`` and ``track``, as of
            :func:`sfumato.lab.resume.with_more_seeds`, which may raise OptionError, RunError and DataError.
    """
    clock = time.perf_counter()
    folder, ready, notes = with_more_seeds(run, seeds, **how)
    return _work(_Job(folder, ready, watcher, clock, notes))


def go_on(
    run: str, *, seeds: int | None = None, out: str | None = None, command: str = "", **how: Any
) -> dict[str, Any]:
    """The result of a run by its folder: resumed if it was stopped, looked at again with ``seeds``, or as it is.

    ``how`` are the other arguments of :func:`resume`. Besides its errors, an OptionError refuses ``seeds`` or ``out``
    for a run that was stopped, and ``out`` without ``seeds``.
    """
    final, whole = find(run)
    if not whole:
        if seeds is not None or out is not None:
            given = "--out" if seeds is None else "--seeds"
            raise OptionError(f"{final} was stopped: resume it first, and add seeds then; leave out {given}")
        return resume(final, **how)
    if seeds is not None:
        return look_again(final, seeds, out=out, command=command, **how)
    if out is not None:
        raise OptionError(f"{final} is complete: --out names the folder of a second look, which --seeds asks for")
    return {**load_run(final).summary, "run": str(final)}


def _begun(ready: Prepared, sources: Mapping[str, str], command: str, notes: list[Note], world: int) -> RunFolder:
    """The run folder, with all that going on with it would need."""
    return RunFolder.create(
        ready.options.out,
        ready.data.table.name,
        config=to_toml(ready.options, sources, ready.resolved),
        start={
            "command": command,
            "folder": os.getcwd(),
            "fingerprint": ready.data.fingerprint,
            "versions": versions(),
            "machine": arithmetic(),
            "notes": notes,
            "ranks": world,
            "noise": None if ready.data.noisy is None else ready.data.noisy.fingerprint(),
            "files": hashes_of_files(ready.options),
        },
    )


def _work(job: _Job) -> dict[str, Any]:
    """Train what is not yet trained, judge, and write; whatever goes wrong in the world, say how to go on."""
    resumes = resume_command(job.folder.final)
    if job.ready.options.data == IN_MEMORY:
        resumes = f'sf.compare(X, y, resume="{job.folder.final}")'
    go_on = f"`{resumes}` goes on from here" if job.ranks.world == 1 else "start it again"
    ready, arms = job.ready, {arm.name: {"eps": arm.eps, "over": arm.over} for arm in job.ready.arms}
    names = {"data": ready.data.table.name, "model": ready.model.name, "device": ready.options.device}
    try:
        with Tracker(
            ready.options.track, job.folder.final.name, job.folder.path, names | asdict(ready.plan), arms
        ) as tracker:
            tasks = ready.tasks(job.folder.path)
            records, workers = _train(job, tasks, tracker)
            summary, env = _judge(job, tasks, records, workers, tracker)
            return _write(job, records, summary, env)
    except KeyboardInterrupt:
        raise Stopped(f"stopped; {go_on}") from None
    except (WorkerError, WriteError, TrackingError) as error:
        raise type(error)(f"{error}; {go_on}") from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise WriteError(f"{where}{error.strerror or error}; {go_on}") from error
    finally:
        job.folder.close()


def _train(job: _Job, tasks: Sequence[RunTask], tracker: Tracker) -> tuple[list[RunRecord], int]:
    """The record of each run, trained now or in an earlier session, and how many processes shared those of now."""
    ready, watcher, ranks = job.ready, job.watcher, job.ranks
    records = {task.key: record for task in tasks if (record := finished(task)) is not None}
    left = [task for task in tasks if task.key not in records]
    workers = ready.workers(len(left)) if ranks.world == 1 else ranks.world
    watcher.setup(Setup(ready.data, ready.arms, ready.plan, len(tasks), workers, tuple(records.values())))

    budget = ready.options.time_budget
    latest = math.inf if budget is None else job.clock + OVERRUN * 60 * budget

    def progress(run: RunKey, epoch: dict[str, Any]) -> None:
        watcher.progress(run, epoch)
        tracker.epoch(run, epoch)
        if time.perf_counter() > latest:
            raise WorkerError(f"the time budget of {budget:g} minutes is used up; what was trained is kept")

    if left:
        tracker.begin(left[0].key)  # a tracker that does not answer fails here, before training
        rows = ready.rows(*ready.parts)
        records |= {RunKey.of(record): record for record in _run_all(left, rows, workers, progress, ready, ranks)}
        tracker.trained()
    return [records[task.key] for task in tasks], workers


def _run_all(
    tasks: Sequence[RunTask], rows: Rows, workers: int, progress: Progress, ready: Prepared, ranks: Ranks
) -> list[RunRecord]:
    """Train runs by torchrun's ranks, on Ray or in processes here: what a run leaves does not depend on it."""
    if ranks.world > 1:
        from sfumato.lab.execute.training_run import run_by_ranks

        return run_by_ranks(tasks, rows, progress, ranks)
    place = ray if ready.options.on == "ray" else processes
    return place.run_all(tasks, rows, workers=workers, progress=progress)


def _judge(
    job: _Job, tasks: Sequence[RunTask], records: Sequence[RunRecord], workers: int, tracker: Tracker
) -> tuple[Summary, Environment]:
    """The verdict, and all that a reader should know before trusting it."""
    ready, folder, arms, candidates, notes = job.ready, job.folder, job.ready.arms, None, list[Note]()
    if ready.options.ladder:
        arms, candidates, note = select_strength(folder.path, arms, tasks, records, ready.rows("test"))
        notes.append(note)
    shown = [record for record in records if record["arm"] in {arm.name for arm in arms}]
    looks = folder.start.get("looks", [])
    summary, extra = summary_of(folder.path, str(folder.final), ready, arms, records, looks)
    if looks:
        notes.append(note_on_looks(looks, ready.models))
    extra["notes"] = [
        *notes,
        ready.design,
        *job.notes,
        *extra["notes"],
        *notes_on_training(ready.plan, shown),
        *notes_on_schedules(ready.plan, arms, len(ready.data.split.train), shown),
        *ready.data.notes,
        *ready.model.notes,
        *tracker.notes,
    ]
    cut_short = not_trained_to_the_end(ready.plan, arms, ready.classes, shown)
    summary["warnings"] = [*summary.get("warnings", []), *cut_short]
    if candidates is not None:
        extra["ladder"] = candidates
    env = environment_of(ready, arms, shown) | {"command": folder.start["command"], "workers": workers}
    return summary, check(env | extra | _times(job), Environment, "env.json")


def _times(job: _Job) -> dict[str, Any]:
    """When it was begun, how long it took, and when it was gone on with."""
    sessions = job.folder.start["sessions"]
    seconds = sum(session["seconds"] for session in sessions[:-1]) + time.perf_counter() - job.clock
    times: dict[str, Any] = {"started": sessions[0]["started"], "seconds": round(seconds, 2)}
    if sessions[1:]:
        times["resumed"] = [session["started"] for session in sessions[1:]]
    return times


def _write(job: _Job, records: Sequence[RunRecord], summary: Summary, env: Environment) -> dict[str, Any]:
    """Write the result, show it on the page, and give the folder its name."""
    path = job.folder.path
    lines = [{**RunKey.of(record)._asdict(), **epoch} for record in records for epoch in record["epochs"]]
    write_lines(path / "metrics.jsonl", lines)
    for fold, encoder in enumerate(job.ready.data.encoders):
        stored = {"schema": ENCODING_SCHEMA, **encoder.stored()}
        name = encoding_file(fold, job.ready.data.folds)
        write_json(path / name, check(stored, StoredEncoding, name))
    write_json(path / "env.json", env)
    write_json(path / "summary.json", summary)
    if job.watcher.choose is not None:
        show(path, job.watcher.choose(path), job.ready.data.table.features)
    if job.watcher.render is not None:
        job.watcher.render(path)
    job.folder.finish()
    return {**summary}
