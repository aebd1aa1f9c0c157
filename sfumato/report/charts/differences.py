"""The headline differences of one run, several runs or a judgement, with their intervals and margins."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from sfumato.evaluate.metrics.registry import HEADLINE, METRICS
from sfumato.report.charts.style import INK, MARKS, PAPER, RULE, Axes, Chart, axes, style
from sfumato.runs.schema import ArmDifference
from sfumato.text import number, short

ENDS = ("mean", "low", "high", "margin")
OPEN = ("the same", "not settled")
"""The findings that are no difference to rely on."""


def plot_differences(rows: Sequence[tuple[str, Sequence[ArmDifference]]], ax: Axes | None = None) -> Chart:
    """Headline differences from the first arm: a panel per metric, a row per arm, each with its name (one line or two).

    The axis becomes an empty frame for the panels. Lines are unadjusted 95 % intervals, the band is the margin, and
    filled marks are findings. In the numbers, what a row lacks is NaN, in the unit of the axis.
    """
    by_metric = [{entry["metric"]: cast(dict[str, Any], entry) for entry in entries} for _, entries in rows]
    numbers: dict[str, Any] = {"rows": [name.replace("\n", ": ") for name, _ in rows]}
    labels = ["\n".join(short(line, 24, end="…") for line in name.split("\n")) for name, _ in rows]
    tall = (0.42 if any("\n" in label for label in labels) else 0.3) * len(rows)
    height = 0.62 + tall
    ax = axes(ax, height=len(HEADLINE) * height + 0.3)
    ax.set_axis_off()
    place, size = np.arange(len(rows)), tall / (len(HEADLINE) * height)
    for i, metric in enumerate(HEADLINE):
        shown = METRICS[metric].shown
        entries = [row.get(metric) for row in by_metric]
        findings = [entry["finding"] if entry else None for entry in entries]
        mean, low, high, margin = (
            np.array([np.nan if e is None or e.get(end) is None else shown.scale * e[end] for e in entries])
            for end in ENDS
        )
        reliable = [finding is not None and finding not in OPEN for finding in findings]
        numbers[metric] = {"mean": mean, "low": low, "high": high, "margin": margin, "reliable": reliable}
        panel = ax.inset_axes((0.0, 1 - i / len(HEADLINE) - size, 1.0, size))
        panel.barh(place, 2 * margin, left=-margin, height=1, color=RULE, alpha=0.7, lw=0, zorder=0.3)
        panel.axvline(0, color=INK, lw=0.7, zorder=0.5)
        panel.hlines(place, low, high, color=INK, lw=1.0)
        for row in place:
            face = INK if reliable[row] else PAPER
            panel.plot(mean[row], row, ls="", marker=MARKS[0], ms=5, color=INK, mfc=face)
            where: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
            panel.annotate(findings[row] or "", (1.0, row), (4, 0), va="center", color=INK, fontsize=9, **where)
        panel.set_xlabel(f"{METRICS[metric].heading}, {shown.unit or 'points'}", loc="right")
        panel.set_yticks(place, labels)
        panel.set_ylim(len(rows) - 0.5, -0.5)
        style(panel)
    parts = [
        f"{name}: {', '.join(_in_words(numbers[metric], metric, i) for metric in HEADLINE)}"
        for i, name in enumerate(numbers["rows"])
    ]
    return Chart(ax, numbers, f"Differences from the first arm with 95 % intervals. {'; '.join(parts)}.")


def _in_words(drawn: dict[str, Any], metric: str, row: int) -> str:
    defined = METRICS[metric]
    mean, low, high = (
        number(float(drawn[end][row]), defined.shown.digits, sign=True, zero=metric != "nll_after_temperature")
        for end in ENDS[:3]
    )
    return f"{defined.heading}, {defined.shown.unit or 'points'} {mean} ({low} to {high})"
