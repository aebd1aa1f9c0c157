"""How far apart the logits are, and how far the loss is from its floor: what the closed forms speak of."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sfumato.report.arms import arm_titles, closed_form, finite, in_nats, rows_of
from sfumato.report.charts.style import (
    INK,
    Axes,
    Chart,
    axes,
    colours,
    log_ticks,
    mean_over_seeds,
    seed_lines,
    style_with_legend,
    whole_epochs,
)
from sfumato.runs.read import Floats, Ints, Run
from sfumato.text import number


def plot_gap(run: Run, ax: Axes | None = None) -> Chart:
    """Mean logit gap of the training rows, epoch by epoch, against the closed form.

    Each seed has a thin line and their mean a thick one.
    """
    ax = axes(ax)
    curves = [run.curve(arm["name"], "train_gap") for arm in run.arms]
    titles, closed = arm_titles(run), [closed_form(arm) for arm in run.arms]
    for title, colour, (epochs, gaps) in zip(titles, colours(len(titles)), curves, strict=True):
        seed_lines(ax, epochs, gaps, colour, title)
    longest = _longest(curves)
    ax.set(xlabel="epoch", ylabel="training logit gap (nats)")
    whole_epochs(ax, longest)
    _draw_closed_forms(ax.axhline, closed)
    bottom, top = ax.get_ylim()
    ax.set_ylim(min(bottom, 0), top + 0.06 * (top - bottom))
    style_with_legend(ax)
    parts = [
        f"{title} ends at {number(mean_over_seeds(gap)[-1], 2, zero=True)}, closed form {finite(form)}"
        for title, (_, gap), form in zip(titles, curves, closed, strict=True)
    ]
    alt = f"Mean training logit gap over {len(longest)} epochs. {'; '.join(parts)}."
    return Chart(ax, {"epochs": longest, "gaps": tuple(gaps for _, gaps in curves), "closed_form": closed}, alt)


def plot_gap_histogram(
    titles: Sequence[str],
    counts: Sequence[Ints],
    edges: Floats,
    means: Sequence[float],
    closed: Sequence[float],
    ax: Axes | None = None,
    *,
    of: str,
) -> Chart:
    """Histograms of the logit gap in common bins, against the closed forms; an infinite closed form has no line.

    ``of`` says in words which rows these are.
    """
    ax = axes(ax)
    shares = [count / max(count.sum(), 1) for count in counts]
    for title, colour, share in zip(titles, colours(len(titles)), shares, strict=True):
        ax.stairs(100 * share, edges, color=colour, lw=1.4, label=title)
        ax.stairs(100 * share, edges, color=colour, fill=True, alpha=0.12, lw=0)
    top = 100 * max(float(share.max()) for share in shares)
    ax.set(xlabel="logit gap (nats)", ylabel="rows (%)", ylim=(0, 1.06 * top))
    _draw_closed_forms(ax.axvline, closed)
    style_with_legend(ax)
    parts = [
        f"{title}: mean {number(mean, 2, zero=True)}, closed form {finite(form)}"
        for title, mean, form in zip(titles, means, closed, strict=True)
    ]
    low, high = (number(edge, 1, zero=True) for edge in (edges[0], edges[-1]))
    alt = f"Histogram of the logit gap of the {of}, from {low} to {high} nats. {'; '.join(parts)}."
    numbers = {"edges": edges, "shares": shares, "means": list(means), "closed_form": list(closed)}
    return Chart(ax, numbers, alt)


def arm_gaps(run: Run, ax: Axes | None = None) -> Chart:
    """:func:`plot_gap_histogram` of the test rows of each arm, all seeds, in 40 bins."""
    gaps = [np.concatenate([rows_of(run, arm["name"], seed).gap for seed in run.seeds]) for arm in run.arms]
    low, high = float(np.min(gaps)), float(np.max(gaps))
    edges = np.linspace(low, high if high > low else low + 1, 41)
    counts = [np.histogram(gap, edges)[0] for gap in gaps]
    closed = [closed_form(arm) for arm in run.arms]
    means = [float(gap.mean()) for gap in gaps]
    return plot_gap_histogram(arm_titles(run), counts, edges, means, closed, ax, of="test rows")


def plot_excess(run: Run, ax: Axes | None = None) -> Chart:
    """Training loss minus its floor, epoch by epoch, on a log scale.

    The legend names each floor; values that are not positive are not drawn, and a loss without a floor has no line.
    """
    ax = axes(ax)
    curves = [run.curve(arm["name"], "train_excess") for arm in run.arms]
    floors = [float(mean_over_seeds(run.curve(arm["name"], "train_floor")[1])[-1]) for arm in run.arms]
    titles, longest, parts = arm_titles(run), _longest(curves), list[str]()
    ax.set_yscale("log")
    for title, colour, (epochs, excess), floor in zip(titles, colours(len(titles)), curves, floors, strict=True):
        if np.isnan(floor):
            parts.append(f"{title}: no floor")
            continue
        seed_lines(ax, epochs, np.where(excess > 0, excess, np.nan), colour, f"{title}, floor {in_nats(floor)}")
        last = mean_over_seeds(excess)[-1]
        parts.append(f"{title}: floor {in_nats(floor)}, {last:.2g} above it after the last epoch")
    ax.set(xlabel="epoch", ylabel="loss − floor (nats)")
    bottom, top = ax.get_ylim()
    if top < 10 * bottom:  # at least a whole decade
        ax.set_ylim(10 ** np.floor(np.log10(bottom)), 10 ** np.ceil(np.log10(top)))
    log_ticks(ax.yaxis)
    whole_epochs(ax, longest)
    style_with_legend(ax)
    alt = f"Training loss minus its floor over {len(longest)} epochs, log scale. {'; '.join(parts)}."
    return Chart(ax, {"epochs": longest, "excess": tuple(excess for _, excess in curves), "floors": floors}, alt)


def _draw_closed_forms(draw: Callable[..., Any], closed: Sequence[float]) -> None:
    """A thin line at each finite closed form; the legend has their values."""
    forms = sorted({form for form in closed if np.isfinite(form)})
    names = f"closed form{'s' if len(forms) > 1 else ''} {', '.join(f'{form:.2f}' for form in forms)}"
    for i, form in enumerate(forms):
        draw(form, color=INK, lw=0.8, zorder=1.5, label="_" if i else names)


def _longest(curves: Sequence[tuple[Ints, Floats]]) -> Ints:
    """The epochs of the arm that trained longest: after an early stop, arms differ in length."""
    return max((epochs for epochs, _ in curves), key=len)
