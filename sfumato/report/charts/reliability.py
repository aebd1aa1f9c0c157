"""Does confidence match accuracy: the reliability diagram."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sfumato import evaluate
from sfumato.evaluate.metrics.calibration import draws_of_a_row, in_bins
from sfumato.evaluate.metrics.registry import METRICS, SOFT_WORDS
from sfumato.report.arms import arm_title, rows_of
from sfumato.report.charts.style import INK, PAPER, Axes, Chart, axes, colours, marks, style, style_with_legend
from sfumato.runs.read import Floats, Ints, Run
from sfumato.runs.schema import ArmSummary
from sfumato.text import number

BINS = 15
FEW = 10
"""Bins of fewer distinct rows are drawn faintly and not joined: chance moves them too much."""


class Curve(NamedTuple):
    """One model or arm in equal bins: rows, mean confidence and accuracy (NaN in an empty bin), and its interval.

    ``distinct`` are the distinct rows of each bin, which are fewer than ``rows`` where seeds share rows.
    """

    title: str
    rows: Ints
    distinct: Ints
    confidence: Floats
    accuracy: Floats
    low: Floats
    high: Floats
    scaled: bool = False

    @property
    def ece(self) -> float:
        """Calibration error."""
        return float(np.nansum(self.rows * np.abs(self.accuracy - self.confidence)) / self.rows.sum())

    @property
    def signed_gap(self) -> float:
        """Mean confidence minus accuracy."""
        return float(np.nansum(self.rows * (self.confidence - self.accuracy)) / self.rows.sum())


def plot_reliability(
    curves: Sequence[Curve], ax: Axes | None = None, *, of: str, soft: bool = False, few: int = FEW
) -> Chart:
    """Accuracy against confidence, curves overlaid, with the histogram of confidence below.

    Curves after temperature are dashed, and bins of fewer than ``few`` distinct rows are faint. ``of`` says in words
    what was pooled, and labels are ``soft`` where rows are right in part.
    """
    ax = axes(ax, height=4.4)
    edges = np.linspace(0, 1, len(curves[0].rows) + 1)
    below = ax.inset_axes((0, -0.36, 1, 0.28), sharex=ax)
    for curve, colour, mark in zip(curves, colours(len(curves)), marks(len(curves)), strict=True):
        dash = "--" if curve.scaled else "-"
        firm, faint = curve.distinct >= few, (curve.distinct > 0) & (curve.distinct < few)
        look: dict[str, Any] = {"color": colour, "mfc": PAPER if curve.scaled else colour, "marker": mark}
        connected = np.where(firm, curve.confidence, np.nan)
        lines = ax.plot(connected, curve.accuracy, dash, lw=1.4, ms=4, label=curve.title, clip_on=False, **look)
        lines += ax.plot(
            curve.confidence[faint], curve.accuracy[faint], ls="", ms=2.5, alpha=0.45, clip_on=False, **look
        )
        for line, which, alpha in zip(lines, (firm, faint), (0.7, 0.25), strict=True):
            line.set_in_layout(bool(which.any()))  # a line without points would claim the corner of the figure
            ax.vlines(curve.confidence[which], curve.low[which], curve.high[which], color=colour, lw=0.9, alpha=alpha)
        below.stairs(100 * curve.rows / curve.rows.sum(), edges, color=colour, lw=1.2, ls=dash)
    ax.plot([0, 1], [0, 1], color=INK, lw=0.7, zorder=0.5)
    ax.set(xlim=(0, 1), ylim=(0, 1), ylabel="agreement (share of annotators)" if soft else "accuracy (share of rows)")
    ax.tick_params(labelbottom=False)
    below.set(xlabel="confidence (largest probability)", ylabel="rows (%)", ylim=(0, None))
    style_with_legend(ax)
    style(below)
    gap = SOFT_WORDS["signed_gap"] if soft else METRICS["signed_gap"].label
    parts = [
        f"{c.title}: {METRICS['ece'].label} {number(c.ece)}, {gap} {number(c.signed_gap, sign=True)}, "
        f"{100 * c.rows[-1] / c.rows.sum():.0f} % of rows in the top bin"
        for c in curves
    ]
    alt = f"Reliability diagram {of}, with a histogram of confidence below. {'; '.join(parts)}."
    return Chart(ax, {"edges": edges, "curves": tuple(curves)}, alt)


def arm_curve(run: Run, arm: ArmSummary, *, scaled: bool) -> Curve:
    """The test rows of an arm, pooled over seeds; ``scaled`` divides the logits by the temperature of each seed.

    Intervals are Wilson's for the distinct rows of a bin, and for the draws that they are worth where labels are soft.
    """
    rows = [rows_of(run, arm["name"], seed, scaled=scaled) for seed in run.seeds]
    confidence, right = (np.concatenate([getattr(each, name) for each in rows]) for name in ("confidence", "right"))
    bins = in_bins(confidence, right, BINS)
    index, which = np.tile(run.index, len(run.seeds)), np.searchsorted(bins.upper[:-1], confidence)
    distinct = np.array([len(np.unique(index[which == b])) for b in range(BINS)], dtype=np.int64)
    low, high = evaluate.wilson(bins.accuracy, np.where(distinct > 0, distinct, np.nan) * draws_of_a_row(right, which))
    return Curve(arm_title(arm), bins.count, distinct, bins.confidence, bins.accuracy, low, high, scaled)
