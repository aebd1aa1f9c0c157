"""How far apart the logits are, and how far the loss is from its floor: what the closed forms speak of."""

from dataclasses import dataclass

import numpy as np

from sfumato.report.arms import closed_forms, closed_labels, finite, in_nats, rows_of, titles
from sfumato.report.charts.style import (
    INK,
    Axes,
    axes,
    beside,
    colours,
    label_beside,
    label_line,
    mean_over_seeds,
    seed_lines,
    style_with_legend,
    whole_decades,
    whole_epochs,
)
from sfumato.runs.read import Floats, Ints, Run
from sfumato.text import number


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
            f"{arm} ends at {number(mean_over_seeds(gap)[-1], 2, zero=True)}, closed form {finite(closed)}"
            for arm, gap, closed in zip(self.arms, self.gaps, self.closed_form, strict=True)
        ]
        return f"Mean training logit gap over {len(self.epochs)} epochs. {'; '.join(parts)}."


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
            f"{arm}: mean {number(mean, 2, zero=True)}, closed form {finite(closed)}"
            for arm, mean, closed in zip(self.arms, self.means, self.closed_form, strict=True)
        ]
        return f"Histogram of the logit gap of the test rows. {'; '.join(parts)}."


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
            f"{arm}: no floor"
            if np.isnan(floor)
            else f"{arm}: floor {in_nats(floor)}, {mean_over_seeds(excess)[-1]:.2g} above it after the last epoch"
            for arm, excess, floor in zip(self.arms, self.excess, self.floors, strict=True)
        ]
        return f"Training loss minus its floor over {len(self.epochs)} epochs, log scale. {'; '.join(parts)}."


def plot_gap(run: Run, ax: Axes | None = None) -> tuple[Axes, GapData]:
    """Mean logit gap of the training rows, epoch by epoch, against the closed form.

    Each seed has a thin line and their mean a thick one. The closed form of a smoothed arm has its value on it.
    """
    ax = axes(ax)
    curves = [run.curve(arm["name"], "train_gap") for arm in run.arms]
    for title, colour, (epochs, gaps) in zip(titles(run), colours(run), curves, strict=True):
        seed_lines(ax, epochs, gaps, colour, title)
    data = GapData(_longest(curves), titles(run), tuple(gaps for _, gaps in curves), closed_forms(run))
    ax.set(xlabel="epoch", ylabel="training logit gap (nats)")
    whole_epochs(ax, data.epochs)
    for closed in data.closed_form:
        if np.isfinite(closed):
            ax.axhline(closed, color=INK, lw=0.8, zorder=1.5)
    bottom, top = ax.get_ylim()
    ax.set_ylim(min(bottom, 0), top + 0.06 * (top - bottom))
    labels = closed_labels(run)
    if len(labels) == 1:
        means = np.concatenate([np.column_stack([e.astype(np.float64), mean_over_seeds(g)]) for e, g in curves])
        label_line(ax, *labels[0], means)
    else:
        label_beside(ax, [value for value, _ in labels])
    style_with_legend(ax)
    return ax, data


def plot_gap_histogram(run: Run, ax: Axes | None = None) -> tuple[Axes, GapHistogramData]:
    """Logit gap of the test rows of each arm, against the closed form.

    Drawn are the shares of the rows of all seeds in 40 common bins.
    """
    ax = axes(ax)
    gaps = [np.concatenate([rows_of(run, arm["name"], seed).gap for seed in run.seeds]) for arm in run.arms]
    low, high = float(np.min(gaps)), float(np.max(gaps))
    edges = np.linspace(low, high if high > low else low + 1, 41)
    shares = tuple(np.histogram(g, edges)[0] / len(g) for g in gaps)
    for title, colour, share in zip(titles(run), colours(run), shares, strict=True):
        ax.stairs(100 * share, edges, color=colour, lw=1.4, label=title)
        ax.stairs(100 * share, edges, color=colour, fill=True, alpha=0.12, lw=0)
    top = 100 * max(float(share.max()) for share in shares)
    labels = closed_labels(run)
    ax.set(xlabel="test logit gap (nats)", ylabel="rows (%)", ylim=(0, top * (1.06 + 0.1 * len(labels))))
    left, right = ax.get_xlim()
    ax.set_xlim(min(left, *(c for c, _ in labels), left), max(right, *(1.04 * c for c, _ in labels), right))
    left, right = ax.get_xlim()
    to_the_right = not labels or float(np.mean([value for value, _ in labels])) < (left + right) / 2
    for i, (value, text) in enumerate(sorted(labels, reverse=not to_the_right)):
        height = top * (1.04 + 0.1 * (len(labels) - i))  # a label is crossed by no other line
        ax.vlines(value, 0, height, color=INK, lw=0.8, zorder=1.5)
        beside(ax, text, (value, height), (4 if to_the_right else -4, 0), "top", across="data")
    style_with_legend(ax)
    means = tuple(float(g.mean()) for g in gaps)
    return ax, GapHistogramData(edges, titles(run), shares, means, closed_forms(run))


def plot_excess(run: Run, ax: Axes | None = None) -> tuple[Axes, ExcessData]:
    """Training loss minus its floor, epoch by epoch, on a log scale.

    The legend names each floor; values that are not positive are not drawn.
    """
    ax = axes(ax)
    curves = [run.curve(arm["name"], "train_excess") for arm in run.arms]
    floors = [float(mean_over_seeds(run.curve(arm["name"], "train_floor")[1])[-1]) for arm in run.arms]
    ax.set_yscale("log")
    for title, colour, (epochs, excess), floor in zip(titles(run), colours(run), curves, floors, strict=True):
        if np.isnan(floor):
            continue  # what is above nothing cannot be drawn
        seed_lines(ax, epochs, np.where(excess > 0, excess, np.nan), colour, f"{title}, floor {in_nats(floor)}")
    ax.set(xlabel="epoch", ylabel="loss − floor (nats)")
    whole_decades(ax)
    whole_epochs(ax, _longest(curves))
    style_with_legend(ax)
    return ax, ExcessData(_longest(curves), titles(run), tuple(excess for _, excess in curves), tuple(floors))


def _longest(curves: list[tuple[Ints, Floats]]) -> Ints:
    """The epochs of the arm that trained longest: after an early stop, arms differ in length."""
    return max((epochs for epochs, _ in curves), key=len)
