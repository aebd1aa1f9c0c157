"""What can be gained by not answering: risk against coverage."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sfumato.evaluate.metrics.selective import RankedGroups
from sfumato.report.arms import arm_title, rows_of
from sfumato.report.charts.style import FAINT, INK, Axes, Chart, axes, colours, style_with_legend
from sfumato.runs.read import Floats, Run
from sfumato.text import percent

POINTS = 96


class RiskCurve(NamedTuple):
    """One model or arm: the share of wrong rows among those answered, at each share of rows answered."""

    title: str
    coverage: Floats
    risk: Floats
    scaled: bool = False


def plot_risk_coverage(
    curves: Sequence[RiskCurve],
    ax: Axes | None = None,
    *,
    of: str,
    best: tuple[Floats, Floats] | None = None,
    soft: bool = False,
) -> Chart:
    """Share of wrong rows among the most confident ones, against how many of them are answered.

    A curve after temperature is dashed and has the colour of the curve before it. ``best`` are coverage and risk of the
    best order, and ``of`` says in words whose rows these are.
    """
    ax = axes(ax)
    places = [sum(not curve.scaled for curve in curves[: i + 1]) - 1 for i in range(len(curves))]
    for place, curve in zip(places, curves, strict=True):
        dash, width, label = ("--", 1.2, None) if curve.scaled else ("-", 1.6, curve.title)
        colour = colours(len(curves))[place]
        ax.plot(100 * curve.coverage, 100 * curve.risk, dash, color=colour, lw=width, label=label)
    top = max(float(curve.risk.max()) for curve in curves)
    ax.set(xlabel="rows answered, most confident first (%)", xlim=(0, 100), ylim=(0, max(108 * top, 1e-3)))
    ax.set_ylabel(f"{'disagreement' if soft else 'wrong'} among them (%)")
    if best is not None:
        ax.plot(100 * best[0], 100 * best[1], ":", color=FAINT, lw=1.2, label="best order")
    if any(curve.scaled for curve in curves):
        ax.plot([], [], "--", color=INK, lw=1.2, label="with temperature")
    style_with_legend(ax)

    def at(curve: RiskCurve, share: float) -> str:
        return percent(float(curve.risk[np.abs(curve.coverage - share).argmin()]))

    parts = [
        f"{c.title}{' with temperature' if c.scaled else ''}: {at(c, 0.5)}, {at(c, 0.8)} and {at(c, 1.0)}"
        for c in curves
    ]
    alt = (
        f"Share of {'annotators who disagree' if soft else 'wrong answers'} among the most confident {of}; at 50 %, "
        f"80 % and 100 % of rows answered. {'; '.join(parts)}."
    )
    return Chart(ax, {"curves": tuple(curves), "best": best}, alt)


def arm_risks(run: Run) -> list[RiskCurve]:
    """Each arm as trained and with its temperature, means over seeds.

    Rows are ranked by log confidence, and tied rows count in expectation over their orders. Below 5 % of rows, where
    one row decides, there is no point.
    """
    n = len(run.labels)
    place = np.unique(np.linspace(max(1, round(0.05 * n)), n, POINTS).round().astype(np.int64))
    curves: list[RiskCurve] = []
    for arm in run.arms:
        for scaled in (False, True):
            rows = [rows_of(run, arm["name"], seed, scaled=scaled) for seed in run.seeds]
            ranked = [RankedGroups(each.score, each.right) for each in rows]
            risk = np.mean([(each.errors / each.place)[place - 1] for each in ranked], axis=0)
            curves.append(RiskCurve(arm_title(arm), place / n, risk, scaled))
    return curves
