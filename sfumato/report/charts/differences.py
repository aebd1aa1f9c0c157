"""The headline differences of one run, several runs or a judgement, with their intervals and margins."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from sfumato.evaluate.metrics.registry import HEADLINE, METRICS
from sfumato.evaluate.statistics.margins import RELIABLE
from sfumato.report.charts.drawing import INK, PAPER, RULE, Chart, axes, look, style
from sfumato.runs.schema import ArmDifference
from sfumato.text import number, short

ENDS = ("mean", "low", "high", "margin")


def plot_differences(rows: Sequence[tuple[str, int, Sequence[ArmDifference]]]) -> Chart:
    """Headline differences from the first arm: a panel per metric, a row per arm.

    A row has a name of one line or two, the place of its arm, which gives its colour, and the differences. Lines are
    unadjusted 95 % intervals, the band is the margin, and filled marks are findings. In the numbers, what a row lacks
    is NaN, in the unit of the axis.
    """
    by_metric = [{entry["metric"]: cast(dict[str, Any], entry) for entry in entries} for _, _, entries in rows]
    numbers: dict[str, Any] = {"rows": [name.replace("\n", ": ") for name, _, _ in rows]}
    lines = [[short(line, 24, end="…") for line in name.split("\n")] for name, _, _ in rows]
    longest = max(len(line) for row in lines for line in row)
    said = max((len(each["finding"] or "") for row in by_metric for each in row.values()), default=0)
    tall = (0.42 if any(len(row) > 1 for row in lines) else 0.3) * len(rows)  # inches of a panel
    pitch = tall + 0.5  # with its ticks and their label
    ax = axes(0.1 + len(HEADLINE) * pitch, left=0.2 + 0.075 * longest, right=0.15 + 0.068 * said, bottom=0, top=0.1)
    ax.set_axis_off()
    place = np.arange(len(rows))
    colours = [look(arm)[0] for _, arm, _ in rows]
    for i, metric in enumerate(HEADLINE):
        shown = METRICS[metric].shown
        entries = [row.get(metric, {}) for row in by_metric]
        findings = [entry.get("finding") for entry in entries]
        mean, low, high, margin = (
            np.array([np.nan if e.get(end) is None else shown.scale * e[end] for e in entries]) for end in ENDS
        )
        reliable = [finding in RELIABLE for finding in findings]
        numbers[metric] = {"mean": mean, "low": low, "high": high, "margin": margin, "reliable": reliable}
        panel = ax.inset_axes(
            (0.0, 1 - (i * pitch + tall) / (len(HEADLINE) * pitch), 1.0, tall / pitch / len(HEADLINE))
        )
        panel.barh(place, 2 * margin, left=-margin, height=1, color=RULE, alpha=0.7, lw=0, zorder=0.3)
        panel.axvline(0, color=INK, lw=0.7, zorder=0.5)
        panel.hlines(place, low, high, color=colours, lw=1.4)
        for row, (_, arm, _) in enumerate(rows):
            colour, mark = look(arm)
            face = colour if reliable[row] else PAPER
            panel.plot(mean[row], row, ls="", marker=mark, ms=5, color=colour, mfc=face)
            where: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
            panel.annotate(findings[row] or "", (1.0, row), (4, 0), va="center", color=INK, fontsize=9, **where)
        panel.set_xlabel(f"{METRICS[metric].heading}, {shown.unit or 'points'}", loc="right")
        panel.set_yticks(place, ["\n".join(row) for row in lines])
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
