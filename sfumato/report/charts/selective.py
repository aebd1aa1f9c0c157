"""What can be gained by not answering: risk against coverage."""

from dataclasses import dataclass

import numpy as np

from sfumato.evaluate.metrics.ranking import RankedGroups
from sfumato.report.arms import arm_title, rows_of
from sfumato.report.charts.style import INK, Axes, axes, colours, style_with_legend
from sfumato.runs.read import Floats, Run
from sfumato.text import percent, plural

POINTS = 96


@dataclass(frozen=True)
class RiskCurve:
    """One arm with or without temperature: at each coverage the mean share of wrong rows among those answered."""

    arm: str
    scaled: bool
    risk: Floats


@dataclass(frozen=True)
class RiskCoverageData:
    """What :func:`plot_risk_coverage` drew: the shares of rows answered (P,) and two curves an arm."""

    coverage: Floats
    curves: tuple[RiskCurve, ...]
    rows: int
    seeds: int
    soft: bool = False

    @property
    def alt(self) -> str:
        """The figure in words."""
        near = [int(np.abs(self.coverage - share).argmin()) for share in (0.5, 0.8)]
        parts = [
            f"{c.arm}{' with temperature' if c.scaled else ''}: {', '.join(percent(float(c.risk[i])) for i in near)} "
            f"and {percent(float(c.risk[-1]))}"
            for c in self.curves
        ]
        risky = "annotators who disagree" if self.soft else "wrong answers"
        return (
            f"Share of {risky} among the most confident test rows, {self.rows} rows and "
            f"{plural(self.seeds, 'seed')}; at 50 %, 80 % and 100 % of rows answered. {'; '.join(parts)}."
        )


def plot_risk_coverage(run: Run, ax: Axes | None = None) -> tuple[Axes, RiskCoverageData]:
    """Share of wrong rows among the most confident ones, against how many of them are answered.

    Rows are ranked by log confidence, tied rows count in expectation over their orders, and curves are means over
    seeds. Below 5 % of rows, where one row decides, nothing is drawn.
    """
    ax = axes(ax)
    n = len(run.labels)
    place = np.unique(np.linspace(max(1, round(0.05 * n)), n, POINTS).round().astype(np.int64))
    curves: list[RiskCurve] = []
    for arm, colour in zip(run.arms, colours(run), strict=True):
        for scaled in (False, True):
            seen = [rows_of(run, arm["name"], seed, scaled=scaled) for seed in run.seeds]
            ranked = [RankedGroups(rows.score, rows.right) for rows in seen]
            risks = [(each.errors / each.place)[place - 1] for each in ranked]
            risk = np.mean(risks, axis=0)
            curves.append(RiskCurve(arm_title(arm), scaled, risk))
            dash, width, label = ("--", 1.2, None) if scaled else ("-", 1.6, arm_title(arm))
            ax.plot(100 * place / n, 100 * risk, dash, color=colour, lw=width, label=label)
    risky = "disagreement" if run.soft else "wrong"
    ax.set(xlabel="rows answered, most confident first (%)", ylabel=f"{risky} among them (%)", xlim=(0, 100))
    ax.set_ylim(0, max(1.08 * max(100 * float(curve.risk.max()) for curve in curves), 1e-3))
    ax.plot([], [], "--", color=INK, lw=1.2, label="with temperature")
    style_with_legend(ax)
    return ax, RiskCoverageData(place / n, tuple(curves), n, len(run.seeds), run.soft)
