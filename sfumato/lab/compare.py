"""The main job: train every arm from the same weights on the same batches, and say what came of it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.arrays.atomic import WriteError, write_json, write_lines
from sfumato.lab import ladder
from sfumato.lab.arms import Arm, arm_of, arms_of, rungs_of
from sfumato.lab.cost import Estimate, estimate, within
from sfumato.lab.data import Data, Part, prepare
from sfumato.lab.examples import show
from sfumato.lab.execute import ray, torchrun
from sfumato.lab.execute.processes import PARTS, Progress, Task, WorkerError, finished, run_all
from sfumato.lab.machine import arithmetic, notes_on_change, versions
from sfumato.lab.model_and_device import Choice, choose
from sfumato.lab.options import OptionError, Options, check_on, check_track, from_toml, to_toml
from sfumato.lab.trackers import Tracker, TrackingError
from sfumato.lab.train.words import notes_on_training, refuse_small_parts
from sfumato.runs.folder import RunError, RunFolder, resume_command
from sfumato.runs.schema import Environment, LadderRung, check

if TYPE_CHECKING:
    from sfumato.lab.train.loop import Plan


class Stopped(KeyboardInterrupt):
    """Interrupted by the user, with work to go on with."""


@dataclass(frozen=True)
class Setup:
    """What is about to run, for those who show it.

    Attributes:
        data: the data set, split.
        arms: one-hot first.
        plan: the budget of every run.
        tasks: runs in all.
        workers: processes that share them.
        finished: records of the runs that an earlier sitting finished.
    """

    data: Data
    arms: tuple[Arm, ...]
    plan: Plan
    tasks: int
    workers: int
    finished: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Watcher:
    """Who is told how it goes.

    Attributes:
        setup: called once, when the data are read and before training starts.
        progress: called after every epoch of every run.
        render: called with the folder when all but the report is in it; the command line passes the report here.
        choose: says, of that folder, which rows of the data are worth showing on the page.
    """

    setup: Callable[[Setup], object]
    progress: Progress
    render: Callable[[Path], object] | None = None
    choose: Callable[[Path], Sequence[int]] | None = None


_TOGETHER = (
    "All runs trained together as one batched program (--together): last digits differ from those of separate runs."
)

_NOBODY = Watcher(lambda setup: None, lambda arm, seed, epoch: None)


def compare(
    options: Options,
    *,
    sources: Mapping[str, str] | None = None,
    command: str = "",
    watcher: Watcher | None = None,
) -> dict[str, Any]:
    """Run a whole comparison into a run folder.

    Args:
        options: what to compare; checked before anything is written.
        sources: where each option came from, for ``config.toml``.
        command: the command line, for ``env.json``.
        watcher: who is told how it goes.

    Returns:
        The summary, as ``compare --json`` prints it and ``summary.json`` holds it; nothing on torchrun's ranks but the
        first. What a reader should know before
        trusting the verdict is under ``"notes"`` in ``env.json``.

    Raises:
        OptionError, DataError, RunError: bad input; nothing was written.
        ArmError, TrainingError: a run failed, and would fail again; the folder stays ``….partial``.
        WorkerError, WriteError, Stopped: the world failed; :func:`resume` goes on with what is in ``….partial``.
    """
    clock = time.perf_counter()
    options.check()
    if torchrun.started_by_torchrun():
        with torchrun.joined(options.device) as group:
            return _by_ranks(options, group, sources or {}, command, watcher or _NOBODY, clock)
    data, chosen, plan = prepared(options)
    notes: tuple[str, ...] = ()
    if options.time_budget is not None:
        expected = estimated(options, data, chosen, plan)
        cut = within(plan, expected, 60 * options.time_budget)
        if cut != plan:
            notes = (
                f"Cut from {plan.epochs:,} to {cut.epochs:,} epochs by --time-budget: the arms may be short of their "
                "optima, and a full budget may change the verdict.",
            )
            plan, options = cut, replace(options, epochs=cut.epochs)
            sources = {**(sources or {}), "epochs": "time budget"}
    folder = _begin(options, data, chosen, plan, sources or {}, command, notes)
    return _work(_Job(folder, options, data, chosen, plan, watcher or _NOBODY, clock, notes))


def _begin(
    options: Options,
    data: Data,
    chosen: Choice,
    plan: Plan,
    sources: Mapping[str, str],
    command: str,
    notes: tuple[str, ...] = (),
) -> RunFolder:
    found = {"epochs": plan.epochs, "batch_size": plan.batch_size, "model": chosen.model}
    return RunFolder.create(
        options.out,
        data.table.name,
        config=to_toml(options, sources, found),
        start={
            "command": command,
            "folder": os.getcwd(),
            "fingerprint": data.fingerprint,
            "versions": versions(),
            "machine": arithmetic(),
            "notes": list(notes),
            "ranks": int(os.environ["WORLD_SIZE"]) if torchrun.started_by_torchrun() else None,
        },
    )


def _by_ranks(
    options: Options, group: torchrun.Ranks, sources: Mapping[str, str], command: str, watcher: Watcher, clock: float
) -> dict[str, Any]:
    """The comparison by torchrun's ranks: one run after the other, each by all; the first rank writes and tells."""
    if options.on is not None or options.time_budget is not None or options.together:
        raise OptionError(
            "under torchrun leave out --on, --together and --time-budget: its ranks share out each run in turn"
        )
    data, chosen, plan = prepared(options)
    if plan.batch_size < group.world:
        raise OptionError(f"--batch-size {plan.batch_size} cannot be shared out between {group.world} ranks")
    note = (
        f"Trained by {group.world} processes under torchrun that share every batch: last digits differ from those of "
        "one process."
    )
    if group.rank == 0:
        try:
            folder = _begin(options, data, chosen, plan, sources, command, (note,))
        except Exception as error:
            group.agree(error)
            raise
        group.agree(None)
        return _work(_Job(folder, options, data, chosen, plan, watcher, clock, (note,), group))
    if (error := group.agree(None)) is not None:
        raise error
    parts = {part: data.part(part) for part in ("train", "validation")}
    tasks = _tasks(options, data, chosen, plan, _arms(options, data), Path())
    torchrun.run_all(tasks, parts, group, watcher.progress)
    return {}


def dry_run(options: Options) -> Estimate:
    """What a comparison would run and cost; nothing is written.

    Raises:
        OptionError, DataError: as :func:`compare`.
    """
    options.check()
    data, chosen, plan = prepared(options)
    expected = estimated(options, data, chosen, plan)
    if options.time_budget is None:
        return expected
    cut = within(plan, expected, 60 * options.time_budget)
    return expected if cut == plan else estimated(options, data, chosen, cut)


def prepared(options: Options) -> tuple[Data, Choice, Plan]:
    """What is about to run: the data, the model, and the budget of each run.

    Raises:
        OptionError, DataError: as :func:`compare`.
    """
    data = prepare(options.data, options.roles())
    chosen = choose(options, data)
    plan = _plan(options, data, chosen)  # this loads torch: only now, when the input is known to be good
    if options.together:
        from sfumato.lab.execute import together

        together.refuse(options, plan, _arms(options, data), data, chosen.model)
    return data, chosen, plan


def estimated(options: Options, data: Data, chosen: Choice, plan: Plan) -> Estimate:
    """What that will cost, from a few steps tried here."""
    workers = options.workers or chosen.workers
    return estimate(options, data, chosen.model, plan, _arms(options, data), workers)


def resume(
    final: Path,
    *,
    workers: int | None = None,
    on: str | None = None,
    track: str | None = None,
    watcher: Watcher | None = None,
) -> dict[str, Any]:
    """Go on with a comparison that was stopped: what is finished is kept, and the result has the same bits.

    Args:
        final: the name that the run will have; see :func:`sfumato.runs.folder.find`.
        workers: processes; None for one a core.
        on: where they run; None for here.
        track: the tracker that is shown the runs that are left; None for none.
        watcher: who is told how it goes.

    Returns:
        The summary, as of :func:`compare`.

    Raises:
        RunError: the run cannot go on: it is at work in another process, its options or data have changed, or it was
            begun with another sfumato or torch.
        DataError: the data cannot be read any more.
        ArmError, TrainingError, WorkerError, WriteError, Stopped: as :func:`compare`.
    """
    clock = time.perf_counter()
    if workers is not None and workers < 1:
        raise OptionError(f"--workers must be at least 1, got {workers}")
    check_on(on)
    check_track(track)
    if torchrun.started_by_torchrun():
        raise OptionError("--resume goes on in processes of its own: leave torchrun out")
    folder = RunFolder.reopen(final)
    try:
        if folder.start.get("ranks"):
            raise RunError(
                f"{folder.path} was begun under torchrun, whose last digits one process would not repeat; "
                "start it again"
            )
        notes = [*folder.start.get("notes", ()), *notes_on_change(folder.start)]
        config = folder.path / "config.toml"
        try:
            options = replace(from_toml(config.read_text(encoding="utf-8")), workers=workers, on=on, track=track)
        except (OptionError, UnicodeDecodeError) as error:
            raise RunError(f"{config}: {error}; start the run again") from None
        data = prepare(_where(options.data, Path(folder.start["folder"])), options.roles())
        chosen = choose(options, data)
        if data.fingerprint != folder.start["fingerprint"]:
            raise RunError(
                f"{options.data} has changed since {folder.path} was begun: its rows are no longer those that the "
                "finished runs saw; put the old file back, or start the run again"
            )
    except BaseException:
        folder.close()
        raise
    plan = _plan(options, data, chosen)
    return _work(_Job(folder, options, data, chosen, plan, watcher or _NOBODY, clock, tuple(notes)))


def _plan(options: Options, data: Data, chosen: Choice) -> Plan:
    from sfumato.lab.train.loop import default_plan

    plan = default_plan(
        len(data.split.train),
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        least_epochs=chosen.least_epochs,
    )
    plan = replace(
        plan,
        weight_decay=options.weight_decay,
        accumulate=options.accumulate,
        precision=options.precision,
        early_stop=options.early_stop,
    )
    plan = chosen.fit(plan, options, len(data.split.train))
    refuse_small_parts(plan)
    return plan


def _where(source: str, begun_in: Path) -> str:
    """Where the data are, seen from here: a path was given as seen from where the run was begun."""
    there = begun_in / source
    return str(there) if there.exists() and not Path(source).is_absolute() and source != "digits" else source


@dataclass(frozen=True)
class _Job:
    """A comparison, ready to be worked on; ``clock`` is when this process took it up."""

    folder: RunFolder
    options: Options
    data: Data
    chosen: Choice
    plan: Plan
    watcher: Watcher
    clock: float
    notes: tuple[str, ...] = ()
    group: torchrun.Ranks | None = None


def _work(job: _Job) -> dict[str, Any]:
    """Train what is not yet trained, and tell; whatever the world does meanwhile, say how to go on."""
    go_on = f"`{resume_command(job.folder.final)}` goes on from here" if job.group is None else "start it again"
    try:
        with _tracker(job) as tracker:
            return _train_and_tell(job, tracker)
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
    options, plan = job.options, job.plan
    if options.track is None:
        return contextlib.nullcontext()
    config = {"data": job.data.table.name, "model": job.chosen.model, "device": options.device, **asdict(plan)}
    arms = {arm.name: {"eps": arm.eps, "over": arm.over} for arm in _arms(options, job.data)}
    return Tracker(options.track, job.folder.final.name, job.folder.path, config, arms)


def _train_and_tell(job: _Job, tracker: Tracker | None) -> dict[str, Any]:
    folder, options, data, plan = job.folder, job.options, job.data, job.plan
    arms, parts = _arms(options, data), PARTS[:2] if options.ladder else PARTS
    tasks = _tasks(options, data, job.chosen, plan, arms, folder.path)
    kept = {task: record for task in tasks if (record := finished(task)) is not None}
    if options.together and len(kept) < len(tasks):
        kept = {}  # the bits of a run depend on those that train beside it
    left = [task for task in tasks if task not in kept]
    workers = job.group.world if job.group else max(1, min(options.workers or job.chosen.workers, len(left)))
    job.watcher.setup(Setup(data, arms, plan, len(tasks), workers, tuple(kept.values())))
    if left:
        if tracker is not None:
            tracker.begin(left[0].arm.name, left[0].seed)  # one that does not answer is known before anything trains

        def progress(arm: str, seed: int, epoch: dict[str, Any]) -> None:
            job.watcher.progress(arm, seed, epoch)
            if tracker is not None:
                tracker.epoch(arm, seed, epoch)

        rows = {part: data.part(part) for part in parts}
        if job.group is not None:
            made = torchrun.run_all(left, rows, job.group, progress)
        else:
            run_on = ray.run_all if options.on == "ray" else _run_together if options.together else run_all
            made = run_on(left, rows, workers=workers, progress=progress)
        kept |= dict(zip(left, made, strict=True))
        if tracker is not None:
            tracker.trained()
    records = [dict(kept[task]) for task in tasks]
    climbed = _climb(job, arms, tasks, records) if options.ladder else None

    from sfumato.lab.summary import environment_of, summary_of

    shown = climbed.arms if climbed else arms
    of_shown = [record for record in records if record["arm"] in {arm.name for arm in shown}]
    summary, extra = summary_of(folder.path, str(folder.final), data, shown, options.seeds, records)
    extra["notes"] = [
        *(climbed.notes if climbed else ()),
        *job.notes,
        *((_TOGETHER,) if options.together else ()),
        *extra["notes"],
        *notes_on_training(plan, shown, len(data.table.class_names), of_shown),
        *data.notes,
        *job.chosen.notes,
        *(() if tracker is None else (tracker.note,)),
    ]
    if climbed:
        extra["ladder"] = climbed.rungs
    epochs = [
        {"arm": record["arm"], "seed": record["seed"], **epoch} for record in records for epoch in record["epochs"]
    ]
    write_lines(folder.path / "metrics.jsonl", epochs)
    env = environment_of(options, data, job.chosen.model, plan, shown, records, folder.start["command"], workers)
    sittings = folder.start["sittings"]
    seconds = sum(sitting["seconds"] for sitting in sittings[:-1]) + time.perf_counter() - job.clock
    env |= extra | {"started": sittings[0]["started"], "seconds": round(seconds, 2)}
    if sittings[1:]:
        env["resumed"] = [sitting["started"] for sitting in sittings[1:]]
    write_json(folder.path / "env.json", check(env, Environment, "env.json"))
    write_json(folder.path / "summary.json", summary)
    if job.watcher.choose is not None:
        show(folder.path, job.watcher.choose(folder.path), data.table.features)
    if job.watcher.render is not None:
        job.watcher.render(folder.path)
    folder.finish()
    return {**summary}


def _run_together(
    tasks: Sequence[Task], parts: dict[str, Part], *, workers: int, progress: Progress
) -> list[dict[str, Any]]:
    from sfumato.lab.execute import together  # it loads torch

    return together.run_all(tasks, parts, workers=workers, progress=progress)


def _tasks(options: Options, data: Data, chosen: Choice, plan: Plan, arms: Sequence[Arm], folder: Path) -> list[Task]:
    """Every run, seed by seed, so that the arms of one seed train at the same time and can be watched side by side."""
    return [
        Task(
            arm,
            seed,
            chosen.model,
            len(data.table.class_names),
            plan,
            folder,
            inputs=data.inputs,
            pretrained=options.pretrained,
            device=options.device,
            parts=PARTS[:2] if options.ladder else PARTS,
        )
        for seed in range(options.seeds)
        for arm in arms
    ]


def _arms(options: Options, data: Data) -> tuple[Arm, ...]:
    """What is trained, one-hot first unless --arm says otherwise."""
    if options.ladder:
        return rungs_of(options.strengths(), options.over)
    if options.arm:
        table, rows = data.table, data.split.train
        soft = None if table.soft is None else table.soft[rows]
        return tuple(arm_of(spec, table.labels[rows], len(table.class_names), soft) for spec in options.arms())
    return arms_of(options.eps, options.over)


@dataclass(frozen=True)
class _Climbed:
    """What came of a ladder: the two arms that are compared, the rungs for ``env.json``, and what to say."""

    arms: tuple[Arm, ...]
    rungs: list[LadderRung]
    notes: tuple[str, ...]


def _climb(job: _Job, arms: Sequence[Arm], tasks: Sequence[Task], records: Sequence[dict[str, Any]]) -> _Climbed:
    """Choose a strength on the validation rows; then, and not before, let the two arms read the test rows."""
    choice = ladder.choose([ladder.measure(job.folder.path, arm, range(job.options.seeds)) for arm in arms])
    one_hot, compared = arms[0], choice.compared
    test = job.data.part("test")
    for arm, name in ((one_hot, one_hot.name), (compared, "smoothed")):
        ladder.go_on([task for task in tasks if task.arm == arm], name, test)
    for record in records:
        record["arm"] = "smoothed" if record["arm"] == compared.name else record["arm"]
    return _Climbed((one_hot, replace(compared, name="smoothed")), choice.to_json("smoothed"), (choice.told(),))
