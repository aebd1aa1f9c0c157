"""Progress on stderr: a live table with the arms side by side, or one line a run where there is no terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from sfumato.cli.common import columns_in_short, width
from sfumato.evaluate.metrics.registry import METRICS
from sfumato.text import duration, plural, wrapped

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from sfumato.lab.compare import Setup, Watcher


PAUSE = 30.0
"""Seconds without a line after which an epoch in the middle of a run has one."""


class Watch:
    """Shows a comparison on ``stream`` while it runs, or nothing where it is to be quiet."""

    def __init__(self, stream: TextIO = sys.stderr, *, quiet: bool = False) -> None:
        self.stream, self.quiet = stream, quiet
        self.live: Live | None = None
        self.plan: Setup | None = None
        self.epochs: dict[tuple[int, int], dict[str, dict[str, Any]]] = {}
        self.latest: dict[str, tuple[int, dict[str, Any]]] = {}
        self.done = 0
        self.first: tuple[float, int] | None = None
        self.last: dict[str, tuple[int, str, int]] = {}
        self.told = float("-inf")  # the first epoch is told at once

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *error: object) -> None:
        if self.live is not None:
            self.live.stop()

    def watcher(self) -> Watcher:
        """What a comparison is given, so that it is shown here and ends in its page."""
        from sfumato.lab.compare import Watcher
        from sfumato.report.changed_rows import rows_to_show

        def render(folder: Path) -> object:
            from sfumato.report.compare_page import render as to_page

            self.say("writing the report")
            return to_page(folder)

        return Watcher(self.setup, lambda run, epoch: self.epoch(run.arm, run.seed, epoch), render, rows_to_show)

    def setup(self, plan: Setup) -> None:
        """Say what is about to run."""
        self.plan = plan
        for record in plan.finished:
            for epoch in record["epochs"]:
                self.epochs.setdefault((record["seed"], epoch["epoch"]), {})[record["arm"]] = epoch
                self.done += 1
        if self.quiet:
            return
        for line in _before_training(plan):
            self._line(line)
        if self.stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):  # these cannot move the cursor
            from rich.console import Console
            from rich.live import Live

            console = Console(file=self.stream)
            self.live = Live(self._table(), console=console, refresh_per_second=8, transient=True)
            self.live.start()

    def epoch(self, arm: str, seed: int, epoch: dict[str, Any]) -> None:
        """Take one epoch of one run."""
        if self.quiet or self.plan is None:
            return
        self.latest[arm] = (seed, epoch)
        self.done += 1
        if self.first is None:
            self.first = (time.monotonic(), self.done)
        if self.live is not None:
            self.live.update(self._table())
            return
        if self.plan.plan.early_stop is not None:  # arms stop at different epochs: none waits for another to be shown
            before = self.last.get(arm)
            self.last[arm] = (seed, f"{arm}  {_numbers(epoch)}", epoch["epoch"])
            if before is not None and before[0] != seed:  # that run is over
                self._epoch(*before, final=True)
            self._epoch(*self.last[arm])
            return
        together = self.epochs.setdefault((seed, epoch["epoch"]), {})
        together[arm] = epoch
        if len(together) == len(self.plan.arms):  # one line when the last arm has reached this epoch
            shown = "   ".join(f"{a.name}  {_numbers(together[a.name])}" for a in self.plan.arms)
            self._epoch(seed, shown, epoch["epoch"], final=epoch["epoch"] == self.plan.plan.epochs)
            del self.epochs[seed, epoch["epoch"]]

    def _epoch(self, seed: int, shown: str, number: int, *, final: bool = False) -> None:
        """A line for the first epoch of all, for the end of a run, and where there was no line for a while."""
        now = time.monotonic()
        if final or now - self.told >= PAUSE:
            self.told = now
            assert self.plan is not None
            self._line(f"seed {seed}  epoch {number:>3}/{self.plan.plan.epochs}   {shown}{self._left()}")

    def say(self, text: str) -> None:
        """One word on what is being done."""
        if self.live is not None:
            self.live.stop()
            self.live = None
        if not self.quiet:
            for last in self.last.values():
                self._epoch(*last, final=True)
            self.last.clear()
            self._line(text)

    def _line(self, text: str) -> None:
        if self.stream.isatty():
            text = wrapped(text, self._width(160), rest=" " * 7)
        with contextlib.suppress(BrokenPipeError):  # whoever read the progress has left: that stops no run
            print(text, file=self.stream, flush=True)

    def _width(self, most: int) -> int:
        """Columns of the terminal that shows the progress: the result may go elsewhere."""
        if "COLUMNS" not in os.environ:
            with contextlib.suppress(OSError, ValueError):
                return min(os.get_terminal_size(self.stream.fileno()).columns, most)
        return width(most)

    def _left(self) -> str:
        """The time that is left, by the epochs since the first: the start of processes is no part of it."""
        if self.plan is None or self.first is None:
            return ""
        total, (since, before) = self.plan.tasks * self.plan.plan.epochs, self.first
        fresh = self.done - before
        if fresh <= 0.02 * total or self.done >= total:
            return ""
        about = "at most" if self.plan.plan.early_stop else "about"
        return f", {about} {duration((time.monotonic() - since) * (total - self.done) / fresh)} to go"

    def _table(self) -> Table:
        """The arms side by side, or one below the other where they would not fit beside each other."""
        from rich.table import Table

        assert self.plan is not None
        share = self.done / (self.plan.tasks * self.plan.plan.epochs)
        head, columns = f"{100 * share:3.0f} %{self._left()}", self._cells()
        names = [arm.name for arm in self.plan.arms]
        table = Table(box=None, pad_edge=False, padding=(0, 2))
        if 28 + sum(2 + max(12, len(name)) for name in names) <= self._width(1000):
            table.add_column(head, min_width=28)
            for name in names:
                table.add_column(name, justify="right", min_width=12)
            rows = list(zip(*columns, strict=True))
        else:
            table.title, table.title_justify, table.title_style = head, "left", ""
            table.add_column("", overflow="ellipsis", no_wrap=True)
            for words in columns[0]:
                table.add_column(words.replace(", ", "\n"), justify="right")
            rows = [(name, *cells) for name, cells in zip(names, columns[1:], strict=True)]
        for row in rows:
            table.add_row(*row)
        return table

    def _cells(self) -> list[tuple[str, ...]]:
        """The names of the numbers, and those of each arm."""
        assert self.plan is not None
        classes = len(self.plan.data.table.class_names)
        nll = METRICS["nll"].label
        columns = [("seed, epoch", f"{nll}, validation", "accuracy, validation", "logit gap, training")]
        for arm in self.plan.arms:
            seed, epoch = self.latest.get(arm.name, (0, None))
            if epoch is None:
                columns.append(("–", "–", "–", "–"))
                continue
            goal, of = arm.gap(classes), self.plan.plan.epochs
            loss, share = f"{epoch['validation_nll']:.3f}", f"{100 * epoch['validation_accuracy']:.1f} %"
            gap = f"{epoch['train_gap']:.2f} → {'∞' if goal == float('inf') else f'{goal:.2f}'}"
            columns.append((f"{seed}, {epoch['epoch']}/{of}", loss, share, gap))
        return columns


def _before_training(plan: Setup) -> Iterator[str]:
    """What was read, and what is about to run."""
    table, split, epochs = plan.data.table, plan.data.split, plan.plan.epochs
    classes, folds, models = len(table.class_names), plan.data.folds, plan.tasks // len(plan.arms)
    times = plural(models, "seed") if folds == 1 else f"{folds} folds × {plural(models // folds, 'seed')}"
    rows = [len(part) for part in (split.train, split.validation, split.test)]
    train, validation, test = (f"{count:,}" for count in rows)
    repeat = "repeats" if split.duplicates == 1 else "repeat"
    twice = f", of which {split.duplicates:,} {repeat} an earlier one" if split.duplicates else ""
    origin = "parts as given" if split.given else "split by content"
    yield (
        f"data   {table.name}: {sum(rows):,} rows{twice}, {plan.data.inputs.describe()}, {classes} classes "
        f"(train {train}, validation {validation}, test {test}; {origin})"
    )
    if table.columns:
        from sfumato.lab.summary import columns_of

        yield f"read   {columns_in_short(columns_of(plan.data))}"
    yield from (f"warn   {warning.text}" for warning in plan.data.warnings)
    softened = [arm for arm in plan.arms if not arm.is_one_hot]
    told = [arm.describe(classes) if arm in softened else "" for arm in plan.arms]
    shown = [
        f"{arm.name}{'' if each[:1] in ('', '(') else ','} {each}".rstrip()
        for arm, each in zip(plan.arms, told, strict=True)
    ]
    few = len(shown) == 2 and len(softened) == 1 and softened[0].penalty is None
    yield from [f"arms   {'; '.join(shown)}"] if few else (f"arm    {each}" for each in shown)
    steps, processes = -(-rows[0] // plan.plan.batch_size), plural(plan.workers, "process")
    yield f"plan   {len(plan.arms)} arms × {times} × {epochs} epochs of {steps:,} steps, {processes}"
    if plan.finished:
        yield f"kept   {len(plan.finished)} of {plan.tasks} runs, finished before"


def _numbers(epoch: dict[str, Any]) -> str:
    return (
        f"{METRICS['nll'].words} {epoch['validation_nll']:.3f}  acc {100 * epoch['validation_accuracy']:5.1f} %  "
        f"gap {epoch['train_gap']:5.2f}"
    )
