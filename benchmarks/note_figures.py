"""How many gradient steps do the note's two conclusions speak of? Counts them, and draws docs/note/*.svg.

The steps are counted by plain gradient descent on one row of free logits, z ← z − η(p − q), which is eq. 1 and nothing
else; :mod:`sfumato.theory` is only what the counts are set beside. From the root of the repository:

    python benchmarks/note_figures.py          # the table of docs/note.md on stdout, the figures into docs/note/
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from sfumato import conventions, theory
from sfumato.report.charts.drawing import FAINT, INK, OCHRE, PAPER, SLATE, style, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sfumato.theory import Over

CLASSES, EPS = 10, 0.1
DECADES = 4  # the first figure runs to 10**DECADES steps


class Row(NamedTuple):
    """One line of the table: a target, the gap to reach, the steps counted, and what the formula says."""

    target: str
    gap: float
    share: str  # of the optimal gap; "" for one-hot, which has none
    counted: int
    formula: float


def gaps(num_classes: int, *, eps: float, over: Over, lr: float = 1.0) -> Iterator[float]:
    """The gap z_true − z_other after 0, 1, 2, … steps of gradient descent on K free logits, from all zero."""
    true, other = conventions.CONVENTIONS[over].target(eps, num_classes)
    q = np.full(num_classes, other)
    q[0] = true
    z = np.zeros(num_classes)
    while True:
        yield float(z[0] - z[1])
        p = np.exp(z - z.max())
        z -= lr * (p / p.sum() - q)


def steps_to_gap(gap: float, num_classes: int, *, eps: float, over: Over, lr: float = 1.0) -> int:
    """Steps counted until the gap is reached; without end where it never is."""
    return next(step for step, reached in enumerate(gaps(num_classes, eps=eps, over=over, lr=lr)) if reached >= gap)


def rows() -> list[Row]:
    """The table of the note's first conclusion: K = 10, steps of size 1."""
    table = []
    for gap in (6.0, 8.0, 10.0):
        time = theory.time_to_gap(gap, CLASSES, eps=0.0, over="others")
        table.append(Row("one-hot", gap, "", steps_to_gap(gap, CLASSES, eps=0.0, over="others"), time))
    overs: tuple[Over, Over] = ("others", "all")
    for over in overs:
        name = f"smoothed, {EPS:g} over {'the 9 others' if over == 'others' else 'all 10'}"
        optimum = theory.optimal_gap(EPS, CLASSES, over=over)
        for share in (0.9, 0.99, 0.999):
            gap = share * optimum
            time = theory.time_to_gap(gap, CLASSES, eps=EPS, over=over)
            table.append(Row(name, gap, f"{share:.1%}", steps_to_gap(gap, CLASSES, eps=EPS, over=over), time))
    return table


def markdown(table: list[Row]) -> str:
    """The table as it stands in docs/note.md."""
    lines = [
        "| target | gap to reach (nats) | of its optimal gap | steps counted | formula |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in table:
        share = row.share.replace(".0%", "%").replace("%", " %")
        lines.append(f"| {row.target} | {row.gap:.3f} | {share or '—'} | {row.counted} | {row.formula:.1f} |")
    return "\n".join(lines)


@dataclass(frozen=True)
class DescentData:
    """What :func:`plot_descent` drew: steps (S,), the gaps counted after them (S,), and the smoothed optimum."""

    steps: npt.NDArray[np.int64]
    one_hot: npt.NDArray[np.float64]
    smoothed: npt.NDArray[np.float64]
    optimum: float

    @property
    def alt(self) -> str:
        """The figure in words."""
        return (
            f"Logit gap against gradient steps on a log axis, {CLASSES} classes. One-hot is at {self.one_hot[-1]:.1f} "
            f"nats after {self.steps[-1]} steps and still grows by {math.log(10):.1f} with every tenfold number of "
            f"steps; smoothed, {EPS:g} over the {CLASSES - 1} others, levels off at {self.optimum:.3f}."
        )


def plot_descent(ax: Axes | None = None) -> tuple[Axes, DescentData]:
    """The gap against the number of steps: dots are counted, lines are the closed form of the flow."""
    ax = ax or _figure(1)[0]
    last = 10**DECADES
    steps = np.unique(np.geomspace(1, last, 4 * DECADES + 1).round().astype(np.int64))
    smooth_time = np.geomspace(1, last, 400)
    counted = []
    for eps, colour, label in (
        (0.0, SLATE, "one-hot"),
        (EPS, OCHRE, f"smoothed, {EPS:g} over the {CLASSES - 1} others"),
    ):
        descent = gaps(CLASSES, eps=eps, over="others")
        reached = np.array([gap for gap, _ in zip(descent, range(last + 1), strict=False)])
        counted.append(reached[steps])
        flow = theory.gap_after_time(smooth_time, CLASSES, eps=eps, over="others")
        ax.plot(smooth_time, flow, color=colour, lw=1.4, label=label, zorder=2)
        ax.plot(steps, reached[steps], "o", color=colour, ms=3.6, zorder=3)
    optimum = theory.optimal_gap(EPS, CLASSES, over="others")
    ax.axhline(optimum, color=INK, lw=0.8, zorder=1.5)
    ax.plot([], [], "o", color=FAINT, ms=3.6, label="counted steps")
    ax.plot([], [], color=FAINT, lw=1.4, label="formula (gradient flow)")
    ax.annotate(
        f"closed form {optimum:.3f}",
        (1.0, optimum),
        xycoords=("axes fraction", "data"),
        xytext=(-4, -5),
        textcoords="offset points",
        ha="right",
        va="top",
        color=INK,
        fontsize=9,
    )
    ax.set_xscale("log")
    ax.set(xlabel="gradient steps of size 1 (count)", ylabel="logit gap z_true − z_other (nats)")
    ax.set(xlim=(0.9, 1.15 * last), ylim=(0, 12.5))
    style(ax)
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=2,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        columnspacing=1.6,
    )
    return ax, DescentData(steps, counted[0], counted[1], optimum)


@dataclass(frozen=True)
class OptimumData:
    """What :func:`plot_optimum` drew: strengths (E,), and for each K the gaps (E,) over the others and over all."""

    eps: npt.NDArray[np.float64]
    curves: dict[int, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]
    marked: dict[int, tuple[float, float]]

    @property
    def alt(self) -> str:
        """The figure in words."""
        parts = [
            f"at K = {k} and ε = {EPS:g} it is {a:.3f} over the others and {b:.3f} over all"
            for k, (a, b) in self.marked.items()
        ]
        return (
            f"Optimal logit gap against smoothing strength in both conventions: {'; '.join(parts)}. Over the others it "
            "falls through zero at ε = (K−1)/K; over all it reaches zero only at ε = 1."
        )


def plot_optimum(pair: tuple[Axes, Axes] | None = None) -> tuple[tuple[Axes, Axes], OptimumData]:
    """The optimal gap against ε, one panel for K = 2 and one for K = 10, a curve for each convention."""
    pair = pair or _figure(2)
    eps = 1 / (1 + np.exp(-np.linspace(-10, 10, 401)))  # dense at both ends, where the curves run off the panel
    curves, marked = {}, {}
    for ax, k in zip(pair, (2, CLASSES), strict=True):
        others = theory.optimal_gap(eps, k, over="others")
        every = theory.optimal_gap(eps, k, over="all")
        ax.axhline(0, color=FAINT, lw=0.6, zorder=1)
        ax.plot(eps, others, color=OCHRE, lw=1.6, label="over the K−1 others (the note, eq. 7)")
        ax.plot(eps, every, color=OCHRE, lw=1.6, ls=":", label="over all K (Szegedy 2016, torch)")
        at = (theory.optimal_gap(EPS, k, over="others"), theory.optimal_gap(EPS, k, over="all"))
        ax.plot([EPS, EPS], at, "o", color=INK, ms=3, zorder=3)
        ax.annotate(
            f"ε = {EPS:g}: {at[1]:.3f} over all,\n{at[0]:.3f} over the others",
            (EPS, at[1]),
            xytext=(12, 16),
            textcoords="offset points",
            va="bottom",
            color=INK,
            fontsize=9,
            arrowprops={"arrowstyle": "-", "color": FAINT, "lw": 0.6, "shrinkB": 3},
        )
        ax.set_title(f"K = {k}", fontsize=10, color=INK, loc="right")
        ax.set(xlabel="smoothing strength ε (no unit)", xlim=(0, 1), ylim=(-3, 8))
        style(ax)
        curves[k], marked[k] = (others, every), at
    pair[0].set_ylabel("optimal logit gap (nats)")
    handles, labels = pair[0].get_legend_handles_labels()
    figure = pair[0].get_figure(root=True)
    assert figure is not None
    figure.legend(
        handles, labels, loc="outside upper left", ncols=2, frameon=False, fontsize=9, labelcolor=INK, handlelength=2.2
    )
    return pair, OptimumData(eps, curves, marked)


def _figure(panels: int) -> tuple[Axes, ...]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.5), layout="constrained", facecolor=PAPER)
    return tuple(figure.subplots(1, panels, sharey=True, squeeze=False)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description="Count the steps of docs/note.md and draw its figures.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "note", help="folder")
    parser.add_argument("--png", action="store_true", help="write PNG as well, to look at")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)

    print(markdown(rows()))
    descent, descent_data = plot_descent()
    (left, _), optimum_data = plot_optimum()
    for name, ax, data in (("descent", descent, descent_data), ("optimum", left, optimum_data)):
        (given.out / f"{name}.svg").write_text(to_svg(ax), encoding="utf-8")
        print(f"\n{name}.svg: {data.alt}")
        if given.png:
            figure = ax.get_figure(root=True)
            assert figure is not None
            figure.savefig(given.out / f"{name}.png", dpi=150)


if __name__ == "__main__":
    main()
