"""Figures of a comparison: each function draws on an axis, sets no global style and returns the numbers it drew.

One colour an arm, dashed for the temperature-scaled version, ink for what theory says. Numbers are computed here from
the test logits in float64, so that a figure can be checked against the arrays beside it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sfumato.report.drawing import (
    ARM_COLOURS,
    INK,
    PAPER,
    Ints,
    axes,
    label_beside,
    label_line,
    legend,
    mean_over_seeds,
    seed_lines,
    style,
    whole_decades,
    whole_epochs,
)
from sfumato.report.run import Arm, Floats, Rows, Run
from sfumato.report.tables import arm_title, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 15
Z95 = 1.959963984540054


@dataclass(frozen=True)
class ReliabilityCurve:
    """One arm in bins; empty bins are NaN.

    Attributes:
        arm: its title.
        scaled: whether the logits were divided by each seed's temperature.
        count: rows in each bin over all seeds (15,).
        distinct: distinct rows in each bin (15,); the intervals use it, since seeds share rows.
        confidence: mean largest probability in each bin.
        accuracy: share of right rows in each bin.
        low, high: Wilson's 95 % interval of the accuracy.
        ece: expected calibration error of the pooled rows.
        signed_gap: mean confidence − accuracy of the pooled rows.
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
    """What :func:`plot_reliability` drew: bin edges (16,), one curve for each arm with and without temperature."""

    edges: Floats
    curves: tuple[ReliabilityCurve, ...]
    rows: int
    seeds: int

    @property
    def alt(self) -> str:
        """The figure in words."""
        parts = [
            f"{c.arm}{' with temperature' if c.scaled else ''}: ECE {number(c.ece)}, "
            f"confidence − accuracy {number(c.signed_gap, sign=True)}"
            for c in self.curves
        ]
        return (
            f"Reliability diagram in {BINS} bins, {self.rows} test rows pooled over {_seeds(self.seeds)}, "
            f"with a histogram of confidence below. {'; '.join(parts)}."
        )


@dataclass(frozen=True)
class GapData:
    """What :func:`plot_gap` drew: epochs (E,), the gap of each arm (S, E) and its closed form, infinite for one-hot."""

    epochs: Ints
    arms: tuple[str, ...]
    gaps: tuple[Floats, ...]
    closed_form: tuple[float, ...]

    @property
    def alt(self) -> str:
        """The figure in words."""
        parts = [
            f"{arm} ends at {number(mean_over_seeds(gap)[-1], 2, zero=True)}, closed form {_finite(closed)}"
            for arm, gap, closed in zip(self.arms, self.gaps, self.closed_form, strict=True)
        ]
        return f"Mean training logit gap over {len(self.epochs)} epochs. {'; '.join(parts)}."


@dataclass(frozen=True)
class ExcessData:
    """What :func:`plot_excess` drew: epochs (E,), loss − floor of each arm (S, E) and the floors in nats."""

    epochs: Ints
    arms: tuple[str, ...]
    excess: tuple[Floats, ...]
    floors: tuple[float, ...]

    @property
    def alt(self) -> str:
        """The figure in words."""
        parts = [
            f"{arm}: floor {_floor(floor)}, {mean_over_seeds(excess)[-1]:.2g} above it after the last epoch"
            for arm, excess, floor in zip(self.arms, self.excess, self.floors, strict=True)
        ]
        return f"Training loss minus its floor over {len(self.epochs)} epochs, log scale. {'; '.join(parts)}."


@dataclass(frozen=True)
class GapHistogramData:
    """What :func:`plot_gap_histogram` drew: edges (B+1,), the share of rows in each bin (B,) and the means."""

    edges: Floats
    arms: tuple[str, ...]
    shares: tuple[Floats, ...]
    means: tuple[float, ...]
    closed_form: tuple[float, ...]

    @property
    def alt(self) -> str:
        """The figure in words."""
        parts = [
            f"{arm}: mean {number(mean, 2, zero=True)}, closed form {_finite(closed)}"
            for arm, mean, closed in zip(self.arms, self.means, self.closed_form, strict=True)
        ]
        return f"Histogram of the logit gap of the test rows. {'; '.join(parts)}."


def plot_reliability(run: Run, ax: "Axes | None" = None) -> "tuple[Axes, ReliabilityData]":
    """Accuracy against confidence in 15 bins, with the histogram of confidence below.

    Args:
        run: from :func:`~sfumato.report.run.load_run`.
        ax: an axis to draw on; without one, a new figure (not pyplot's) gets one.

    Returns:
        The axis and what was drawn. Bins are (lower, upper] and the last is closed. Rows are pooled over seeds; the
        intervals are Wilson's for the distinct rows of a bin, and drawn for the curves without temperature only.
    """
    ax = axes(ax, height=4.4)
    edges = np.linspace(0, 1, BINS + 1)
    curves: list[ReliabilityCurve] = []
    below = ax.inset_axes((0, -0.36, 1, 0.28), sharex=ax)
    for arm, colour in zip(run.arms, _colours(run), strict=True):
        for scaled in (False, True):
            curve = _reliability(run, arm, scaled)
            curves.append(curve)
            seen = curve.count > 0
            dash = "--" if scaled else "-"
            ax.plot(
                curve.confidence[seen],
                curve.accuracy[seen],
                dash,
                color=colour,
                lw=1.4,
                marker="o",
                ms=3 if scaled else 4,
                mfc=PAPER if scaled else colour,
                clip_on=False,
                label=None if scaled else curve.arm,
            )
            if not scaled:
                ax.vlines(curve.confidence[seen], curve.low[seen], curve.high[seen], color=colour, lw=0.8, alpha=0.6)
            share = 100 * curve.count / curve.count.sum()
            below.stairs(share, edges, color=colour, lw=1.2, ls=dash)
    ax.plot([0, 1], [0, 1], color=INK, lw=0.7, zorder=0.5)
    data = ReliabilityData(edges, tuple(curves), len(_pooled_index(run, run.arms[0])), len(run.seeds))
    ax.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy (share of rows)")
    ax.tick_params(labelbottom=False)
    below.set(xlabel="confidence (largest probability)", ylabel="rows (%)", ylim=(0, None))
    style(ax)
    style(below)
    ax.plot([], [], "--", color=INK, lw=1.4, marker="o", ms=3, mfc=PAPER, label="with temperature")
    legend(ax)
    return ax, data


def plot_gap(run: Run, ax: "Axes | None" = None) -> "tuple[Axes, GapData]":
    """Mean logit gap of the training rows, epoch by epoch, against the closed form.

    Args:
        run: from :func:`~sfumato.report.run.load_run`.
        ax: an axis to draw on; without one, a new figure gets one.

    Returns:
        The axis and what was drawn: a thin line a seed, a thick one for their mean, and the closed form of each
        smoothed arm with its value on it.
    """
    ax = axes(ax)
    curves = [run.curve(arm["name"], "train_gap") for arm in run.arms]
    for arm, colour, (epochs, gaps) in zip(run.arms, _colours(run), curves, strict=True):
        seed_lines(ax, epochs, gaps, colour, arm_title(arm))
    data = GapData(
        curves[0][0],
        tuple(arm_title(arm) for arm in run.arms),
        tuple(gaps for _, gaps in curves),
        _closed_forms(run),
    )
    ax.set(xlabel="epoch", ylabel="training logit gap (nats)")
    whole_epochs(ax, curves[0][0])
    for closed in data.closed_form:
        if np.isfinite(closed):
            ax.axhline(closed, color=INK, lw=0.8, zorder=1.5)
    bottom, top = ax.get_ylim()
    ax.set_ylim(min(bottom, 0), top + 0.06 * (top - bottom))
    labels = _closed_labels(run)
    if len(labels) == 1:
        means = np.concatenate([np.column_stack([e.astype(np.float64), mean_over_seeds(g)]) for e, g in curves])
        label_line(ax, *labels[0], means)
    else:
        label_beside(ax, [value for value, _ in labels])
    style(ax)
    legend(ax)
    return ax, data


def plot_excess(run: Run, ax: "Axes | None" = None) -> "tuple[Axes, ExcessData]":
    """Training loss minus its floor, epoch by epoch, on a log scale.

    Args:
        run: from :func:`~sfumato.report.run.load_run`.
        ax: an axis to draw on; without one, a new figure gets one.

    Returns:
        The axis and what was drawn. The legend names each floor; values that are not positive are not drawn.
    """
    ax = axes(ax)
    curves = [run.curve(arm["name"], "train_excess") for arm in run.arms]
    floors = [float(mean_over_seeds(run.curve(arm["name"], "train_floor")[1])[-1]) for arm in run.arms]
    ax.set_yscale("log")
    for arm, colour, (epochs, excess), floor in zip(run.arms, _colours(run), curves, floors, strict=True):
        drawn = np.where(excess > 0, excess, np.nan)
        seed_lines(ax, epochs, drawn, colour, f"{arm_title(arm)}, floor {_floor(floor)}")
    ax.set(xlabel="epoch", ylabel="loss − floor (nats)")
    whole_decades(ax)
    whole_epochs(ax, curves[0][0])
    style(ax)
    legend(ax)
    titles = tuple(arm_title(arm) for arm in run.arms)
    return ax, ExcessData(curves[0][0], titles, tuple(excess for _, excess in curves), tuple(floors))


def plot_gap_histogram(run: Run, ax: "Axes | None" = None) -> "tuple[Axes, GapHistogramData]":
    """Logit gap of the test rows of each arm, against the closed form.

    Args:
        run: from :func:`~sfumato.report.run.load_run`.
        ax: an axis to draw on; without one, a new figure gets one.

    Returns:
        The axis and what was drawn: shares of the rows of all seeds in 40 common bins.
    """
    ax = axes(ax)
    gaps = [np.concatenate([logit_gap(run.test[arm["name"], seed]) for seed in run.seeds]) for arm in run.arms]
    everything = np.concatenate(gaps)
    closed = _closed_forms(run)
    low, high = float(everything.min()), float(everything.max())
    edges = np.linspace(low, high if high > low else low + 1, 41)
    shares = tuple(np.histogram(g, edges)[0] / len(g) for g in gaps)
    for arm, colour, share in zip(run.arms, _colours(run), shares, strict=True):
        ax.stairs(100 * share, edges, color=colour, lw=1.4, label=arm_title(arm))
        ax.stairs(100 * share, edges, color=colour, fill=True, alpha=0.12, lw=0)
    top = 100 * max(float(share.max()) for share in shares)
    labels = _closed_labels(run)
    ax.set(xlabel="test logit gap (nats)", ylabel="rows (%)", ylim=(0, top * (1.06 + 0.1 * len(labels))))
    left, right = ax.get_xlim()
    ax.set_xlim(min(left, *(c for c, _ in labels), left), max(right, *(1.04 * c for c, _ in labels), right))
    left, right = ax.get_xlim()
    to_the_right = not labels or float(np.mean([value for value, _ in labels])) < (left + right) / 2
    for i, (value, text) in enumerate(sorted(labels, reverse=not to_the_right)):
        height = top * (1.04 + 0.1 * (len(labels) - i))  # a label is crossed by no other line
        ax.vlines(value, 0, height, color=INK, lw=0.8, zorder=1.5)
        ax.annotate(
            text,
            (value, height),
            xytext=(4 if to_the_right else -4, 0),
            textcoords="offset points",
            ha="left" if to_the_right else "right",
            va="top",
            color=INK,
            fontsize=9,
        )
    style(ax)
    legend(ax)
    titles = tuple(arm_title(arm) for arm in run.arms)
    return ax, GapHistogramData(edges, titles, shares, tuple(float(g.mean()) for g in gaps), closed)


def softmax(logits: Floats) -> Floats:
    """Probabilities of logits (n, K), in float64."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def logit_gap(rows: Rows) -> Floats:
    """z_true − mean of the other logits, of each row (n,)."""
    logits = rows.logits.astype(np.float64)
    true = np.take_along_axis(logits, rows.labels[:, None], axis=1)[:, 0]
    return true - (logits.sum(axis=1) - true) / (logits.shape[1] - 1)


def wilson(right: Floats, n: Ints) -> tuple[Floats, Floats]:
    """Wilson's 95 % interval for a share ``right`` of ``n`` rows; NaN where n is 0."""
    size = np.where(n > 0, n, np.nan)
    centre = (right + Z95**2 / (2 * size)) / (1 + Z95**2 / size)
    half = Z95 * np.sqrt(right * (1 - right) / size + Z95**2 / (4 * size**2)) / (1 + Z95**2 / size)
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def _reliability(run: Run, arm: Arm, scaled: bool) -> ReliabilityCurve:
    confidence: list[Floats] = []
    right: list[npt.NDArray[np.bool_]] = []
    for seed in run.seeds:
        rows = run.test[arm["name"], seed]
        probabilities = softmax(
            rows.logits.astype(np.float64) / (run.temperature(arm["name"], seed) if scaled else 1.0)
        )
        confidence.append(probabilities.max(axis=1))
        right.append(rows.logits.argmax(axis=1) == rows.labels)
    index = np.concatenate([run.test[arm["name"], seed].index for seed in run.seeds])
    c, r = np.concatenate(confidence), np.concatenate(right).astype(np.float64)
    which = np.clip(np.ceil(c * BINS).astype(np.int64) - 1, 0, BINS - 1)
    count = np.bincount(which, minlength=BINS).astype(np.int64)
    distinct = np.array([len(np.unique(index[which == b])) for b in range(BINS)], dtype=np.int64)
    size = np.where(count > 0, count, np.nan)
    mean_confidence = np.bincount(which, c, BINS) / size
    accuracy = np.bincount(which, r, BINS) / size
    low, high = wilson(accuracy, distinct)
    ece = float(np.nansum(count * np.abs(accuracy - mean_confidence)) / len(c))
    return ReliabilityCurve(
        arm_title(arm), scaled, count, distinct, mean_confidence, accuracy, low, high, ece, float(c.mean() - r.mean())
    )


def _pooled_index(run: Run, arm: Arm) -> Ints:
    return np.unique(np.concatenate([run.test[arm["name"], seed].index for seed in run.seeds]))


def _colours(run: Run) -> list[str]:
    return [ARM_COLOURS[i % len(ARM_COLOURS)] for i in range(len(run.arms))]


def _closed_forms(run: Run) -> tuple[float, ...]:
    gaps = [arm["closed_form_gap"] for arm in run.arms]
    return tuple(np.inf if gap is None else float(gap) for gap in gaps)


def _closed_labels(run: Run) -> list[tuple[float, str]]:
    found: dict[float, str] = {}
    several = sum(np.isfinite(closed) for closed in _closed_forms(run)) > 1
    for arm, closed in zip(run.arms, _closed_forms(run), strict=True):
        if np.isfinite(closed):
            strength = f"ε {arm['eps']:g} ({arm['over']})"
            found.setdefault(
                closed, f"{closed:.2f}, {strength}" if several else f"closed form {closed:.2f}, {strength}"
            )
    return list(found.items())


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _finite(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "infinite"


def _floor(value: float) -> str:
    return "0" if value == 0 else number(value)
