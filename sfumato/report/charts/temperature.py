"""Whether smoothing did more than a temperature: log loss against the divisor of the logits."""

import numpy as np

from sfumato.evaluate.metrics.registry import METRICS
from sfumato.report.arms import arm_titles, rows_of
from sfumato.report.charts.style import INK, Axes, Chart, axes, colours, log_ticks, marks, style_with_legend
from sfumato.runs.read import Run
from sfumato.text import number
from sfumato.text import temperature as in_words

POINTS = 41


def plot_temperature_sweep(run: Run, ax: Axes | None = None) -> Chart:
    """Log loss of the test rows against one temperature for all seeds, with the fitted one marked.

    The marks lie on the curves, at the geometric mean over seeds of the temperatures that were fitted on validation
    rows alone: how far a mark is from the lowest point of its curve shows how well the temperature carries over.
    """
    ax = axes(ax)
    logs = [[np.log(run.temperature(arm["name"], seed)) for seed in run.seeds] for arm in run.arms]
    fitted = [float(np.exp(np.mean(values))) for values in logs]
    low, high = min(1.0, *fitted) / 2, max(1.0, *fitted) * 2
    temperatures, titles = np.geomspace(low, high, POINTS), arm_titles(run)
    nll = [np.array([_mean_nll(run, arm["name"], float(t)) for t in temperatures]) for arm in run.arms]
    at_fitted = [_mean_nll(run, arm["name"], t) for arm, t in zip(run.arms, fitted, strict=True)]
    as_trained = [_mean_nll(run, arm["name"], 1.0) for arm in run.arms]
    ax.set_xscale("log")
    for i, (title, colour, mark) in enumerate(zip(titles, colours(len(titles)), marks(len(titles)), strict=True)):
        ax.plot(temperatures, nll[i], color=colour, lw=1.6, label=f"{title}, T = {in_words(fitted[i])}")
        ax.plot(fitted[i], at_fitted[i], ls="", marker=mark, ms=6, color=colour)
    ax.axvline(1.0, color=INK, lw=0.7, zorder=0.5, label="as trained, T = 1")
    nll_label = METRICS["nll"].label
    ax.set(xlabel="temperature T (divisor of the logits, log scale)", ylabel=f"{nll_label}, test rows (nats)")
    # What lies near the minima is what matters; the far ends may leave at the top.
    floor, ceiling = min(at_fitted), max(*as_trained, *at_fitted)
    ax.set_ylim(max(0.0, floor - 0.25 * (ceiling - floor)), ceiling + 0.6 * (ceiling - floor) + 1e-6)
    ax.set_xlim(low, high)
    log_ticks(ax.xaxis)
    style_with_legend(ax)
    parts = [
        f"{title}: {number(one)} at T = 1, {number(best)} at the fitted T = {in_words(t)}"
        for title, one, best, t in zip(titles, as_trained, at_fitted, fitted, strict=True)
    ]
    alt = f"The {nll_label} of the test rows in nats for temperatures {low:.2g} to {high:.2g}. {'; '.join(parts)}."
    numbers = {"temperatures": temperatures, "nll": nll, "fitted": fitted, "at_fitted": at_fitted}
    return Chart(ax, {**numbers, "as_trained": as_trained}, alt)


def _mean_nll(run: Run, arm: str, temperature: float) -> float:
    return float(np.mean([rows_of(run, arm, seed, temperature=temperature).nll.mean() for seed in run.seeds]))
