"""What confidence is worth: does it match accuracy, and what is gained by not answering the least confident rows."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sfumato import evaluate
from sfumato.evaluate.metrics.calibration import draws_of_a_row, in_bins
from sfumato.evaluate.metrics.registry import METRICS, SOFT_WORDS
from sfumato.evaluate.metrics.selective import RankedGroups
from sfumato.report.arms import arm_title, places, rows_of
from sfumato.report.charts.drawing import FAINT, INK, PAPER, Chart, axes, label_ends, look, room_for, style
from sfumato.runs.read import Floats, Ints, Run
from sfumato.runs.schema import ArmSummary
from sfumato.text import number, percent, short

BINS = 15
FEW = 10
"""Bins of fewer distinct rows are drawn faintly and not joined: chance moves them too much."""
POINTS = 96


class Curve(NamedTuple):
    """One model or arm in equal bins: rows, mean confidence and accuracy (NaN in an empty bin), and its interval.

    ``distinct`` are the distinct rows of each bin, which are fewer than ``rows`` where seeds share rows. ``place`` is
    that of the arm, which gives its colour.
    """

    title: str
    place: int
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


def plot_reliability(curves: Sequence[Curve], *, of: str, soft: bool = False) -> Chart:
    """Accuracy against confidence, dashed after temperature, with the histogram below; ``of`` names what was pooled."""
    names = [_name(curve) for curve in curves]
    ax, ends = axes(4.2, bottom=1.5, right=room_for(names)), list[tuple[float, float, str, str]]()
    edges = np.linspace(0, 1, len(curves[0].rows) + 1)
    below = ax.inset_axes((0, -0.36, 1, 0.28), sharex=ax)
    for curve, name in zip(curves, names, strict=True):
        colour, mark = look(curve.place)
        dash = "--" if curve.scaled else "-"
        firm, faint = curve.distinct >= FEW, (curve.distinct > 0) & (curve.distinct < FEW)
        line: dict[str, Any] = {"color": colour, "mfc": PAPER if curve.scaled else colour, "marker": mark}
        line["clip_on"] = False
        connected = np.where(firm, curve.confidence, np.nan)
        ax.plot(connected, curve.accuracy, dash, lw=1.4, ms=4, **line)
        ax.plot(curve.confidence[faint], curve.accuracy[faint], ls="", ms=2.5, alpha=0.45, **line)
        for which, alpha in ((firm, 0.7), (faint, 0.25)):
            ax.vlines(curve.confidence[which], curve.low[which], curve.high[which], color=colour, lw=0.9, alpha=alpha)
        below.stairs(100 * curve.rows / curve.rows.sum(), edges, color=colour, lw=1.2, ls=dash)
        last = np.flatnonzero(firm if firm.any() else curve.rows)[-1]
        ends.append((float(curve.confidence[last]), float(curve.accuracy[last]), name, colour))
    ax.plot([0, 1], [0, 1], color=INK, lw=0.7, zorder=0.5)
    ax.set(xlim=(0, 1), ylim=(0, 1), ylabel="agreement (share of annotators)" if soft else "accuracy (share of rows)")
    ax.tick_params(labelbottom=False)
    below.set(xlabel="confidence (largest probability)", ylabel="rows (%)", ylim=(0, None))
    style(ax)
    style(below)
    label_ends(ax, ends)
    gap = SOFT_WORDS["signed_gap"] if soft else METRICS["signed_gap"].label
    parts = [
        f"{_name(c)}: {METRICS['ece'].label} {number(c.ece)}, {gap} {number(c.signed_gap, sign=True)}, "
        f"{100 * c.rows[-1] / c.rows.sum():.0f} % of rows in the top bin"
        for c in curves
    ]
    alt = f"Reliability diagram {of}, with a histogram of confidence below. {'; '.join(parts)}."
    return Chart(ax, {"edges": edges, "curves": tuple(curves)}, alt)


def _name(curve: "Curve | RiskCurve") -> str:
    return short(curve.title, 22, end="…") + (", with T" if curve.scaled else "")


def arm_curve(run: Run, arm: ArmSummary, *, scaled: bool) -> Curve:
    """The test rows of an arm, pooled over seeds, with Wilson's intervals for the distinct rows of each bin."""
    rows = [rows_of(run, arm["name"], seed, scaled=scaled) for seed in run.seeds]
    confidence, right = (np.concatenate([getattr(each, name) for each in rows]) for name in ("confidence", "right"))
    bins = in_bins(confidence, right, BINS)
    index, which = run.pooled(run.index), np.searchsorted(bins.upper[:-1], confidence)
    distinct = np.array([len(np.unique(index[which == b])) for b in range(BINS)], dtype=np.int64)
    low, high = evaluate.wilson(bins.accuracy, np.where(distinct > 0, distinct, np.nan) * draws_of_a_row(right, which))
    title, place = arm_title(arm, strength=False), places(run.arms)[run.arms.index(arm)]
    return Curve(title, place, bins.count, distinct, bins.confidence, bins.accuracy, low, high, scaled)


class RiskCurve(NamedTuple):
    """One model or arm: the share of wrong rows among those answered, at each share of rows answered."""

    title: str
    place: int
    coverage: Floats
    risk: Floats
    scaled: bool = False


def plot_risk_coverage(
    curves: Sequence[RiskCurve], *, of: str, best: tuple[Floats, Floats] | None = None, soft: bool = False
) -> Chart:
    """Share of wrong rows among the most confident ones; ``best`` are coverage and risk of the best order."""
    names = [*map(_name, curves), *(["best order"] if best is not None else [])]
    ax, ends = axes(right=room_for(names)), list[tuple[float, float, str, str]]()
    for curve, name in zip(curves, names, strict=False):
        dash, width, colour = "--" if curve.scaled else "-", 1.2 if curve.scaled else 1.6, look(curve.place)[0]
        ax.plot(100 * curve.coverage, 100 * curve.risk, dash, color=colour, lw=width)
        ends.append((100.0, 100 * float(curve.risk[-1]), name, colour))
    top = max(float(curve.risk.max()) for curve in curves)
    ax.set(xlabel="rows answered, most confident first (%)", xlim=(0, 100), ylim=(0, 108 * top or 1))
    ax.set_ylabel(f"{'disagreement' if soft else 'wrong'} among them (%)")
    if best is not None:
        ax.plot(100 * best[0], 100 * best[1], ":", color=FAINT, lw=1.2)
        ends.append((100.0, 100 * float(best[1][-1]), names[-1], FAINT))
    style(ax)
    label_ends(ax, ends)

    def at(curve: RiskCurve, share: float) -> str:
        return percent(float(curve.risk[np.abs(curve.coverage - share).argmin()]))

    parts = [f"{_name(c)}: {at(c, 0.5)}, {at(c, 0.8)} and {at(c, 1.0)}" for c in curves]
    alt = (
        f"Share of {'annotators who disagree' if soft else 'wrong answers'} among the most confident {of}; at 50 %, "
        f"80 % and 100 % of rows answered. {'; '.join(parts)}."
    )
    return Chart(ax, {"curves": tuple(curves), "best": best}, alt)


def arm_risks(run: Run) -> list[RiskCurve]:
    """Each arm as trained and with its temperature, means over seeds, from 5 % of the rows: below, one row decides."""
    n = min(len(run.rows(seed).labels) for seed in run.seeds)
    place = np.unique(np.linspace(max(1, round(0.05 * n)), n, POINTS).round().astype(np.int64))

    def answered(
        ranked: RankedGroups,
    ) -> Ints:  # those that answer the same shares of rows, where folds differ by a row
        return np.rint(place / n * len(ranked.place)).astype(np.int64)

    curves: list[RiskCurve] = []
    for arm, colour in zip(run.arms, places(run.arms), strict=True):
        for scaled in (False, True):
            rows = [rows_of(run, arm["name"], seed, scaled=scaled) for seed in run.seeds]
            ranked = [RankedGroups(each.score, each.right) for each in rows]
            risk = np.mean([(each.errors / each.place)[answered(each) - 1] for each in ranked], axis=0)
            curves.append(RiskCurve(arm_title(arm, strength=False), colour, place / n, risk, scaled))
    return curves
