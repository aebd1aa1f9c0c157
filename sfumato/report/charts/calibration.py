"""Does confidence match accuracy: the reliability diagram."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sfumato import evaluate
from sfumato.evaluate.metrics.calibration import binned, draws_of_a_row, in_bins
from sfumato.evaluate.metrics.registry import METRICS, SOFT_WORDS
from sfumato.report.arms import arm_title, rows_of
from sfumato.report.charts.style import INK, PAPER, Axes, axes, colours, marks, style, style_with_legend
from sfumato.runs.read import Floats, Ints, Run
from sfumato.runs.schema import ArmSummary
from sfumato.text import number, plural

BINS = 15
FEW = 10
"""Bins of fewer distinct rows are drawn faintly and not joined: chance moves them too much."""


@dataclass(frozen=True)
class ReliabilityCurve:
    """One arm with or without temperature, in 15 bins; empty bins are NaN, and ``ece`` is that of the pooled rows.

    ``count`` has the rows of all seeds. The 95 % intervals ``low`` to ``high`` of the accuracy rest on the ``distinct``
    rows of each bin, since seeds share rows.
    """

    arm: str
    scaled: bool
    count: Ints
    distinct: Ints
    confidence: Floats
    accuracy: Floats
    low: Floats
    high: Floats
    ece: float
    signed_gap: float


@dataclass(frozen=True)
class ReliabilityData:
    """What :func:`plot_reliability` drew: bin edges (16,), one curve an arm, all with temperature or all without."""

    edges: Floats
    curves: tuple[ReliabilityCurve, ...]
    rows: int
    seeds: int
    soft: bool = False

    @property
    def alt(self) -> str:
        """The figure in words."""
        gap = SOFT_WORDS["signed_gap"] if self.soft else METRICS["signed_gap"].label
        parts = [
            f"{c.arm}: {METRICS['ece'].label} {number(c.ece)}, {gap} "
            f"{number(c.signed_gap, sign=True)}, "
            f"{100 * c.count[-1] / c.count.sum():.0f} % of rows in the top bin"
            for c in self.curves
        ]
        how = "with temperature" if self.curves[0].scaled else "as trained"
        return (
            f"Reliability diagram {how} in {BINS} bins, {self.rows} test rows pooled over "
            f"{plural(self.seeds, 'seed')}, with a histogram of confidence below. {'; '.join(parts)}."
        )


def plot_reliability(run: Run, ax: Axes | None = None, *, scaled: bool = False) -> tuple[Axes, ReliabilityData]:
    """Accuracy against confidence in 15 bins, arms overlaid, with the histogram of confidence below.

    Bins are (lower, upper] and the first is closed. Rows are pooled over seeds; the intervals are Wilson's for the
    distinct rows of a bin, and for the draws that they are worth where labels are soft. Bins of fewer than ten distinct
    rows are faint. ``scaled`` divides the logits by the temperature of each seed.
    """
    ax = axes(ax, height=4.4)
    edges = np.linspace(0, 1, BINS + 1)
    below = ax.inset_axes((0, -0.36, 1, 0.28), sharex=ax)
    curves = [_reliability(run, arm, scaled) for arm in run.arms]
    dash = "--" if scaled else "-"
    for curve, colour, mark in zip(curves, colours(run), marks(run), strict=True):
        firm, faint = curve.distinct >= FEW, (curve.distinct > 0) & (curve.distinct < FEW)
        face: dict[str, Any] = {"color": colour, "mfc": PAPER if scaled else colour, "marker": mark, "clip_on": False}
        joined = np.where(firm, curve.confidence, np.nan)
        lines = ax.plot(joined, curve.accuracy, dash, lw=1.4, ms=4, label=curve.arm, **face)
        lines += ax.plot(curve.confidence[faint], curve.accuracy[faint], ls="", ms=2.5, alpha=0.45, **face)
        for line, which, alpha in zip(lines, (firm, faint), (0.7, 0.25), strict=True):
            line.set_in_layout(bool(which.any()))  # a line without points would claim the corner of the figure
            ax.vlines(curve.confidence[which], curve.low[which], curve.high[which], color=colour, lw=0.9, alpha=alpha)
        below.stairs(100 * curve.count / curve.count.sum(), edges, color=colour, lw=1.2, ls=dash)
    ax.plot([0, 1], [0, 1], color=INK, lw=0.7, zorder=0.5)
    ax.set(
        xlim=(0, 1), ylim=(0, 1), ylabel="agreement (share of annotators)" if run.soft else "accuracy (share of rows)"
    )
    ax.tick_params(labelbottom=False)
    below.set(xlabel="confidence (largest probability)", ylabel="rows (%)", ylim=(0, None))
    style_with_legend(ax)
    style(below)
    return ax, ReliabilityData(edges, tuple(curves), len(run.labels), len(run.seeds), run.soft)


def _reliability(run: Run, arm: ArmSummary, scaled: bool) -> ReliabilityCurve:
    seen = [rows_of(run, arm["name"], seed, scaled=scaled) for seed in run.seeds]
    confidence, right = (np.concatenate([getattr(rows, each) for rows in seen]) for each in ("confidence", "right"))
    bins = in_bins(confidence, right, BINS)
    index, which = np.tile(run.index, len(run.seeds)), np.searchsorted(bins.upper[:-1], confidence)
    distinct = np.array([len(np.unique(index[which == b])) for b in range(BINS)], dtype=np.int64)
    draws = np.where(distinct > 0, distinct, np.nan) * draws_of_a_row(right, which)
    low, high = evaluate.wilson(bins.accuracy, draws)
    errors = binned(confidence, right, None, BINS)[0], float(np.mean(confidence - right))
    columns = (bins.count, distinct, bins.confidence, bins.accuracy, low, high)
    return ReliabilityCurve(arm_title(arm), scaled, *columns, *errors)
