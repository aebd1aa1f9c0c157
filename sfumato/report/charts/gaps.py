"""How far apart the logits are, and how far the loss is from its floor: what the closed forms speak of."""

from collections.abc import Sequence

import numpy as np

from sfumato.report.arms import arm_titles, closed_form, finite, in_nats, rows_of
from sfumato.report.charts.drawing import (
    INK,
    RIGHT,
    Axes,
    Chart,
    axes,
    log_ticks,
    looks,
    mean_over_seeds,
    seed_lines,
    style_with_legend,
    whole_epochs,
)
from sfumato.runs.read import Floats, Ints, Run
from sfumato.text import number


def plot_gap(run: Run) -> Chart:
    """Mean logit gap of the training rows, epoch by epoch, against the closed form.

    Each seed has a thin line and their mean a thick one.
    """
    curves = [run.curve(arm["name"], "train_gap") for arm in run.arms]
    titles, closed, longest = arm_titles(run), [closed_form(arm) for arm in run.arms], _longest(curves)
    ax = axes(right=RIGHT + (0.36 if np.isfinite(closed).any() else 0))  # room for the values of closed forms
    for title, (colour, _), (epochs, gaps) in zip(titles, looks(len(titles)), curves, strict=True):
        seed_lines(ax, epochs, gaps, colour, title)
    ax.set(xlabel="epoch", ylabel="training logit gap (nats)")
    whole_epochs(ax, longest)
    forms = sorted({form for form in closed if np.isfinite(form)})
    bottom, top = min(0, *ax.get_ylim(), *forms), max(*ax.get_ylim(), *forms)
    ax.set_ylim(bottom, top + 0.06 * (top - bottom))
    _draw_closed_forms(ax, forms, across=True)
    style_with_legend(ax)
    parts = [
        f"{title} ends at {number(mean_over_seeds(gap)[-1], 2, zero=True)}, closed form {finite(form)}"
        for title, (_, gap), form in zip(titles, curves, closed, strict=True)
    ]
    alt = f"Mean training logit gap over {len(longest)} epochs. {'; '.join(parts)}."
    return Chart(ax, {"epochs": longest, "gaps": tuple(gaps for _, gaps in curves), "closed_form": closed}, alt)


def plot_gap_histogram(
    titles: Sequence[str], counts: Sequence[Ints], edges: Floats, means: Sequence[float], closed: Sequence[float], *,
    of: str,
) -> Chart:  # fmt: skip
    """Histograms of the logit gap in common bins, against the closed forms; an infinite closed form has no line.

    ``of`` says in words which rows these are.
    """
    ax = axes()
    shares = [count / max(count.sum(), 1) for count in counts]
    for title, (colour, _), share in zip(titles, looks(len(titles)), shares, strict=True):
        ax.stairs(100 * share, edges, color=colour, lw=1.4, label=title)
        ax.stairs(100 * share, edges, color=colour, fill=True, alpha=0.12, lw=0)
    top = 100 * max(float(share.max()) for share in shares)
    forms = sorted({form for form in closed if np.isfinite(form)})
    ax.set(xlabel="logit gap (nats)", ylabel="rows (%)", ylim=(0, 1.06 * top))
    ax.set_xlim(min(ax.get_xlim()[0], *forms, np.inf), max(ax.get_xlim()[1], *forms, -np.inf))
    _draw_closed_forms(ax, forms, across=False)
    style_with_legend(ax, above=0.16 if forms else 0)
    parts = [
        f"{title}: mean {number(mean, 2, zero=True)}, closed form {finite(form)}"
        for title, mean, form in zip(titles, means, closed, strict=True)
    ]
    low, high = (number(edge, 1, zero=True) for edge in (edges[0], edges[-1]))
    alt = f"Histogram of the logit gap of the {of}, from {low} to {high} nats. {'; '.join(parts)}."
    numbers = {"edges": edges, "shares": shares, "means": list(means), "closed_form": list(closed)}
    return Chart(ax, numbers, alt)


def arm_gaps(run: Run) -> Chart:
    """:func:`plot_gap_histogram` of the test rows of each arm, all seeds, in 40 bins."""
    gaps = [np.concatenate([rows_of(run, arm["name"], seed).gap for seed in run.seeds]) for arm in run.arms]
    low, high = float(np.min(gaps)), float(np.max(gaps))
    edges = np.linspace(low, high if high > low else low + 1, 41)
    counts, means = [np.histogram(gap, edges)[0] for gap in gaps], [float(gap.mean()) for gap in gaps]
    closed = [closed_form(arm) for arm in run.arms]
    return plot_gap_histogram(arm_titles(run), counts, edges, means, closed, of="test rows")


def plot_excess(run: Run) -> Chart:
    """Training loss minus its floor, epoch by epoch, on a log scale.

    The legend names each floor; values that are not positive are not drawn, and a loss without a floor has no line.
    """
    ax, titles, parts = axes(), arm_titles(run), list[str]()
    curves = [run.curve(arm["name"], "train_excess") for arm in run.arms]
    floors = [float(mean_over_seeds(run.curve(arm["name"], "train_floor")[1])[-1]) for arm in run.arms]
    longest = _longest(curves)
    ax.set_yscale("log")
    for title, (colour, _), (epochs, excess), floor in zip(titles, looks(len(titles)), curves, floors, strict=True):
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


def _draw_closed_forms(ax: Axes, forms: Sequence[float], *, across: bool) -> None:
    """A thin line at each closed form, with its value where the line ends; values keep clear of each other."""
    low, high = ax.get_ylim() if across else ax.get_xlim()
    apart = (0.06 if across else 0.11) * (high - low)
    place = -np.inf
    for i, form in enumerate(forms):
        (ax.axhline if across else ax.axvline)(form, color=INK, lw=0.8, zorder=1.5, label="_" if i else "closed form")
        place = max(form, place + apart)
        at, system, offset = ((1, place), ("axes fraction", "data"), (4, 0)) if across else (
            (place, 1), ("data", "axes fraction"), (0, 3))  # fmt: skip
        ax.annotate(f"{form:.2f}", at, offset, xycoords=system, textcoords="offset points", color=INK, fontsize=9,
                    va="center" if across else "bottom", ha="left" if across else "center")  # fmt: skip


def _longest(curves: Sequence[tuple[Ints, Floats]]) -> Ints:
    """The epochs of the arm that trained longest: after an early stop, arms differ in length."""
    return max((epochs for epochs, _ in curves), key=len)
