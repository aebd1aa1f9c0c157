"""How far apart the logits are, of which the closed forms speak."""

from collections.abc import Sequence

import numpy as np

from sfumato.report.arms import arm_titles, closed_form, finite, line_names, places, rows_of
from sfumato.report.charts.drawing import (
    INK,
    Chart,
    axes,
    label_ends,
    look,
    mean_over_seeds,
    room_for,
    seed_lines,
    style,
)
from sfumato.runs.read import Floats, Ints, Run
from sfumato.text import number


def plot_gap(run: Run) -> Chart:
    """Mean logit gap of the training rows, epoch by epoch, against the closed form."""
    curves = [run.curve(arm["name"], "train_gap") for arm in run.arms]
    names, closed, longest = line_names(run), [closed_form(arm) for arm in run.arms], _longest(curves)
    forms = {form: f"closed form {form:.2f}" for form in sorted(closed) if np.isfinite(form)}
    ax = axes(right=room_for([*names, *forms.values()]))
    ends = [
        end
        for name, place, (epochs, gaps) in zip(names, places(run.arms), curves, strict=True)
        for end in seed_lines(ax, epochs, gaps, look(place)[0], name)
    ]
    ax.set(xlabel="epoch", ylabel="training logit gap (nats)")
    if len(longest) == 1:
        ax.set_xlim(longest[0] - 1, longest[0] + 1)
    ax.locator_params(axis="x", nbins=7, integer=True)
    bottom, top = min(0, *ax.get_ylim(), *forms), max(*ax.get_ylim(), *forms)
    ax.set_ylim(bottom, top + 0.06 * (top - bottom))
    for form in forms:
        ax.axhline(form, color=INK, lw=0.8, zorder=1.5)
    style(ax)
    label_ends(ax, [*ends, *((ax.get_xlim()[1], form, name, INK) for form, name in forms.items())])
    parts = [
        f"{title} ends at {number(mean_over_seeds(gap)[-1], 2)}, closed form {finite(form)}"
        for title, (_, gap), form in zip(arm_titles(run), curves, closed, strict=True)
    ]
    alt = f"Mean training logit gap over {len(longest)} epochs. {'; '.join(parts)}."
    return Chart(ax, {"epochs": longest, "gaps": tuple(gaps for _, gaps in curves), "closed_form": closed}, alt)


def plot_gap_histogram(
    names: Sequence[str], arms: Sequence[int], counts: Sequence[Ints], edges: Floats, means: Sequence[float],
    closed: Sequence[float], *, of: str,
) -> Chart:  # fmt: skip
    """Histograms of the logit gap in common bins, each named at its peak; ``arms`` are the places of their colours."""
    shares = [count / max(count.sum(), 1) for count in counts]
    forms = {form: f"closed form {form:.2f}" for form in sorted(closed) if np.isfinite(form)}
    ax = axes(top=0.12 + 0.16 * len(forms))
    top = 100 * max(float(share.max()) for share in shares)
    ax.set(xlabel="logit gap (nats)", ylabel="rows (%)", ylim=(0, 1.2 * top))
    for share, place in zip(shares, arms, strict=True):
        ax.stairs(100 * share, edges, color=look(place)[0], lw=1.4)
        ax.stairs(100 * share, edges, color=look(place)[0], fill=True, alpha=0.12, lw=0)
    ax.set_xlim(min(ax.get_xlim()[0], *forms, np.inf), max(ax.get_xlim()[1], *forms, -np.inf))
    middle, used = float(np.mean(ax.get_xlim())), list[tuple[float, float]]()
    for name, share in zip(names, shares, strict=True):
        peak, height = float(edges[share.argmax()] + edges[share.argmax() + 1]) / 2, 100 * float(share.max())
        while any(abs(peak - x) < 0.7 * np.ptp(ax.get_xlim()) and abs(height - y) < 0.075 * top for x, y in used):
            height += 0.02 * top
        used.append((peak, height))
        ax.annotate(name, (peak, height), (0, 3), textcoords="offset points", color=INK, fontsize=9,
                    ha="left" if peak < middle else "right")  # fmt: skip
    for i, (form, name) in enumerate(forms.items()):
        ax.axvline(form, color=INK, lw=0.8, zorder=1.5)
        ax.annotate(name, (form, 1), (0, 3 + 11.5 * i), xycoords=("data", "axes fraction"), color=INK, fontsize=9,
                    textcoords="offset points", ha="left" if form < middle else "right")  # fmt: skip
    style(ax)
    parts = [
        f"{name}: mean {number(mean, 2)}, closed form {finite(form)}"
        for name, mean, form in zip(names, means, closed, strict=True)
    ]
    low, high = (number(edge, 1) for edge in (edges[0], edges[-1]))
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
    return plot_gap_histogram(arm_titles(run), places(run.arms), counts, edges, means, closed, of="test rows")


def _longest(curves: Sequence[tuple[Ints, Floats]]) -> Ints:
    """The epochs of the arm that trained longest: after an early stop, arms differ in length."""
    return max((epochs for epochs, _ in curves), key=len)
