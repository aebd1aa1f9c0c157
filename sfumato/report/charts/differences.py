"""The figure of the verdict: differences with their intervals and margins, better to the right."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np

from sfumato.evaluate.metrics.registry import HEADLINE, METRICS
from sfumato.evaluate.statistics.margins import RELIABLE
from sfumato.report.charts.drawing import LIGHT, Axes, Chart, axes, look, style
from sfumato.runs.read import Floats
from sfumato.runs.schema import ArmDifference
from sfumato.text import number, short

ENDS = ("mean", "low", "high", "margin")
WIDTH = 4.9  # inches

DifferenceRow: TypeAlias = tuple[str, int, Sequence[ArmDifference]]
"""A name of one line or two, the place of its arm, which gives its colour, and the differences from the first arm."""


class Panel(NamedTuple):
    """One number of several rows, in the unit of the axis: mean, ends of the interval and margin, NaN where missing."""

    title: str
    digits: int
    rows: Sequence[tuple[str, int]]  # the name and the place of each arm
    ends: Mapping[str, Floats]
    findings: Sequence[str]
    flipped: bool = False  # whether less is to the right
    hint: str = ""  # which way is right

    def in_words(self, row: int) -> tuple[str, str]:
        """The mean, and the interval."""
        mean, low, high = (
            number(float(self.ends[end][row]), self.digits, sign=True) for end in ("mean", "low", "high")
        )
        return mean, f"{low} to {high}"


def difference_panels(rows: Sequence[DifferenceRow]) -> dict[str, Panel]:
    """Headline differences from the first arm: a panel per metric, a row per arm."""
    by_metric = [{entry["metric"]: cast(dict[str, Any], entry) for entry in entries} for _, _, entries in rows]
    panels = dict[str, Panel]()
    for metric in HEADLINE:
        defined, entries = METRICS[metric], [row.get(metric, {}) for row in by_metric]
        ends = {
            end: np.array([np.nan if e.get(end) is None else defined.shown.scale * e[end] for e in entries])
            for end in ENDS
        }
        title = f"{defined.heading}{'' if defined.shown.unit else ', points'}"
        findings = [entry.get("finding") or "" for entry in entries]
        named = [(name, place) for name, place, _ in rows]
        hint = "" if panels else "better →"
        panels[metric] = Panel(title, defined.shown.digits, named, ends, findings, defined.better == "lower", hint)
    return panels


def plot_differences(rows: Sequence[DifferenceRow]) -> Chart:
    """:func:`difference_panels`, drawn. Lines are unadjusted 95 % intervals, and the band is the margin."""
    panels = difference_panels(rows)
    return Chart(
        plot_panels([*panels.values()]),
        {metric: {**panel.ends, "findings": panel.findings} for metric, panel in panels.items()},
        f"Differences from the first arm with 95 % intervals. {in_words([*panels.values()])}.",
    )


def plot_panels(panels: Sequence[Panel]) -> Axes:
    """Panels in a figure of their own."""
    names = [line for panel in panels for name, _ in panel.rows for line in _lines(name)]
    single = len(panels[0].rows) == 1
    lines = max(name.count("\n") for name, _ in panels[0].rows) + 1
    tall = 0.25 + len(panels) * (0.62 if single else 0.5 + (0.28 + 0.06 * lines) * len(panels[0].rows))
    left = 1.4 if single else 0.2 + 0.07 * max(map(len, names))
    ax = axes(tall, width=WIDTH, left=left, right=1.48, bottom=0.02, top=0.02)
    draw_panels(ax, panels)
    return ax


def draw_panels(ax: Axes, panels: Sequence[Panel], *, size: float = 9, scheme: Mapping[str, str] = LIGHT) -> None:
    """Draw panels into the frame of an axis, with text of so many points; a single row is named by its panel."""
    from matplotlib.ticker import MaxNLocator

    line = 1.3 * size / ax.get_window_extent().height  # of text, as a part of the axis
    pitch = (1 - 1.3 * line) / len(panels)
    ax.set_axis_off()
    for i, panel in enumerate(panels):
        single, ink = len(panel.rows) == 1, scheme["ink"]
        bottom = 1 - 1.3 * line - (i + 1) * pitch + 1.6 * line  # above the ticks
        sub = ax.inset_axes((0.0, bottom, 1.0, pitch - line * (1.6 if single else 3)))
        above: dict[str, Any] = {
            "xycoords": "axes fraction", "textcoords": "offset points", "color": ink, "fontsize": size,
        }  # fmt: skip
        mean, low, high, margin = (panel.ends[end] for end in ENDS)
        place = np.arange(len(mean))
        sub.barh(place, 2 * margin, left=-margin, height=1, color=scheme["rule"], alpha=0.7, lw=0, zorder=0.3)
        sub.axvline(0, color=ink, lw=0.08 * size, zorder=0.5)
        for row, (_, arm) in enumerate(panel.rows):
            colour, mark = look(arm, scheme)
            sub.hlines(row, low[row], high[row], color=colour, lw=0.19 * size)
            face = colour if panel.findings[row] in RELIABLE else scheme["paper"]
            sub.plot(mean[row], row, ls="", marker=mark, ms=0.65 * size, color=colour, mfc=face)
            value, interval = panel.in_words(row)
            beside: dict[str, Any] = above | {"xycoords": ("axes fraction", "data"), "va": "center"}
            right = 0.8 * size
            sub.annotate(
                f"{panel.findings[row]} {value}".strip(), (1, row), (right, 0.58 * size), fontweight="bold", **beside
            )
            sub.annotate(interval, (1, row), (right, -0.62 * size), alpha=0.75, **beside)
        title = panel.hint if single else " · ".join(filter(None, (panel.title, panel.hint)))
        sub.annotate(title, (int(single), 1), (0, 0.35 * size), ha="right" if single else "left", **above)
        names = [textwrap.fill(panel.title, 20)] if single else ["\n".join(_lines(name)) for name, _ in panel.rows]
        sub.set_yticks(place, names)
        sub.set_ylim(len(place) - 0.5, -0.5)
        sub.xaxis.set_major_locator(MaxNLocator(4))
        style(sub, scheme)
        sub.tick_params(labelsize=size, length=0.3 * size)
        sub.tick_params(axis="y", length=0)
        if panel.flipped:
            sub.invert_xaxis()


def in_words(panels: Sequence[Panel]) -> str:
    """Every row with its numbers."""
    parts = list[str]()
    for row, (name, _) in enumerate(panels[0].rows):
        said = (f"{panel.title} {' ('.join(panel.in_words(row))})" for panel in panels)
        parts.append(f"{name.replace(chr(10), ': ')}: {', '.join(said)}")
    return "; ".join(parts)


def _lines(name: str) -> list[str]:
    return [short(line, 24, end="…") for line in name.split("\n")]
