"""The headline differences of one run or several, with their intervals, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sfumato.evaluate.metrics.registry import METRICS
from sfumato.report.arms import arm_title
from sfumato.report.charts.style import INK, MARKS, PAPER, Axes, axes, style
from sfumato.runs.read import Floats, Run
from sfumato.text import number, short

PANELS = {
    name: (f"{METRICS[name].heading}, {METRICS[name].shown.unit or 'points'}", METRICS[name].shown)
    for name in ("accuracy", "nll_after_temperature", "eaurc")
}
"""The headline metrics with the label of their axis, and how their numbers are shown."""


@dataclass(frozen=True)
class DifferencesData:
    """What :func:`plot_differences` drew, by metric for each row (a run and its arm), in the unit of the axis.

    Intervals are unadjusted 95 % intervals, and NaN where a run lacks the metric. A row is reliable if there is a
    difference to rely on.
    """

    rows: tuple[str, ...]
    mean: dict[str, Floats]
    low: dict[str, Floats]
    high: dict[str, Floats]
    reliable: dict[str, tuple[bool, ...]]

    @property
    def alt(self) -> str:
        """The figure in words."""
        parts = [
            f"{row}: "
            + ", ".join(
                f"{PANELS[name][0]} {_signed(name, self.mean[name][i])} "
                f"({_signed(name, self.low[name][i])} to {_signed(name, self.high[name][i])})"
                for name in PANELS
            )
            for i, row in enumerate(self.rows)
        ]
        return f"Differences from the first arm with 95 % intervals. {'; '.join(parts)}."


def plot_differences(
    runs: Sequence[Run], ax: Axes | None = None, *, names: Sequence[str] = ()
) -> tuple[Axes, DifferencesData]:
    """Headline differences of each arm from the first, a panel a metric, a row a run and arm.

    The axis becomes an empty frame for the panels. Filled marks are findings, hollow ones no difference to rely on.
    ``names`` says what to call the runs; by default they are called by their data.
    """
    named = zip(names or [run.summary["data"]["name"] for run in runs], runs, strict=True)
    entries = [(name, run, arm) for name, run in named for arm in run.arms[1:]]
    rows = tuple(f"{name}: {arm_title(arm)}" for name, _, arm in entries)
    several = any(len(run.arms) > 2 for run in runs)
    labels = [
        short(name, 24, end="…") + (f"\n{short(arm_title(arm), 24, end='…')}" if several else "")
        for name, _, arm in entries
    ]
    tall = 0.42 if several else 0.3
    mean, low, high = ({name: np.full(len(rows), np.nan) for name in PANELS} for _ in range(3))
    reliable = {name: [False] * len(rows) for name in PANELS}
    for i, (_, run, arm) in enumerate(entries):
        for difference in run.summary["differences"]:
            name = difference["metric"]
            if name in PANELS and difference["arm"] == arm["name"]:
                for store, key in ((mean, "mean"), (low, "low"), (high, "high")):
                    store[name][i] = PANELS[name][1].scale * difference[key]
                reliable[name][i] = difference["finding"] not in ("the same", "not settled")
    height = 0.62 + tall * len(rows)
    ax = axes(ax, height=3 * height + 0.3)
    ax.set_axis_off()
    place, size = np.arange(len(rows)), tall * len(rows) / (3 * height)
    for panel_number, (name, (label, _)) in enumerate(PANELS.items()):
        top = 1 - panel_number / 3
        panel = ax.inset_axes((0.0, top - size, 1.0, size))
        panel.axvline(0, color=INK, lw=0.7, zorder=0.5)
        panel.hlines(place, low[name], high[name], color=INK, lw=1.0)
        for i in place:
            face = INK if reliable[name][i] else PAPER
            panel.plot(mean[name][i], i, ls="", marker=MARKS[0], ms=5, color=INK, mfc=face)
        panel.set_xlabel(f"difference in {label}", loc="right")  # a long label may reach below the names of the rows
        panel.set_ylabel("run" if len(rows) > 2 else "")
        panel.set_yticks(place, labels)
        panel.set_ylim(len(rows) - 0.5, -0.5)
        style(panel)
    data = DifferencesData(rows, mean, low, high, {name: tuple(found) for name, found in reliable.items()})
    return ax, data


def _signed(name: str, value: float) -> str:
    return number(float(value), PANELS[name][1].digits, sign=True, zero=name != "nll_after_temperature")
