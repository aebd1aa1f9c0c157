"""Log loss against what was turned: one divisor of the logits, and the strength of the smoothing."""

import numpy as np

from sfumato.evaluate.metrics.calibration import Z95
from sfumato.evaluate.metrics.registry import METRICS
from sfumato.report.arms import arm_titles, line_names, places, rows_of
from sfumato.report.charts.drawing import (
    INK,
    OCHRE,
    PAPER,
    Chart,
    axes,
    label_ends,
    log_ticks,
    look,
    room_for,
    style,
)
from sfumato.runs.read import ReportError, Run
from sfumato.text import number
from sfumato.text import temperature as in_words

POINTS = 41
NLL = METRICS["nll"].label


def plot_temperature_sweep(run: Run) -> Chart:
    """Log loss of the test rows against one temperature for all seeds; marks are at the means of the fitted ones."""
    titles, names = arm_titles(run), line_names(run)
    ax, ends = axes(right=room_for(names), top=0.25), list[tuple[float, float, str, str]]()
    logs = [[np.log(run.temperature(arm["name"], seed)) for seed in run.seeds] for arm in run.arms]
    fitted = [float(np.exp(np.mean(values))) for values in logs]
    low, high = min(1.0, *fitted) / 2, max(1.0, *fitted) * 2
    temperatures = np.geomspace(low, high, POINTS)

    def mean_nll(arm: str, temperature: float) -> float:
        return float(np.mean([rows_of(run, arm, seed, temperature=temperature).nll.mean() for seed in run.seeds]))

    nll = [np.array([mean_nll(arm["name"], float(t)) for t in temperatures]) for arm in run.arms]
    at_fitted = [mean_nll(arm["name"], t) for arm, t in zip(run.arms, fitted, strict=True)]
    as_trained = [mean_nll(arm["name"], 1.0) for arm in run.arms]
    ax.set_xscale("log")
    ax.axvline(1.0, color=INK, lw=0.7, zorder=0.5)
    ax.annotate("T = 1, as trained", (1, 1), (0, 3), xycoords=("data", "axes fraction"), textcoords="offset points",
                color=INK, fontsize=9, ha="center")  # fmt: skip
    ax.set(xlabel="temperature T (divisor of the logits, log scale)", ylabel=f"{NLL}, test rows (nats)")
    # What lies near the minima is what matters; the far ends may leave at the top.
    floor, ceiling = min(at_fitted), max(*as_trained, *at_fitted)
    ax.set_ylim(max(0.0, floor - 0.25 * (ceiling - floor)), ceiling + 0.6 * (ceiling - floor) + 1e-6)
    ax.set_xlim(low, high)
    for i, place in enumerate(places(run.arms)):
        colour, mark = look(place)
        ax.plot(temperatures, nll[i], color=colour, lw=1.6)
        ax.plot(fitted[i], at_fitted[i], ls="", marker=mark, ms=6, color=colour)
        seen = np.flatnonzero(nll[i] <= ax.get_ylim()[1])[-1]  # where the line leaves the plot
        ends.append((float(temperatures[seen]), float(nll[i][seen]), names[i], colour))
    log_ticks(ax.xaxis)
    style(ax)
    label_ends(ax, ends)
    parts = [
        f"{title}: {number(one)} at T = 1, {number(best)} at the fitted T = {in_words(t)}"
        for title, one, best, t in zip(titles, as_trained, at_fitted, fitted, strict=True)
    ]
    alt = f"The {NLL} of the test rows in nats for temperatures {low:.2g} to {high:.2g}. {'; '.join(parts)}."
    numbers = {"temperatures": temperatures, "nll": nll, "fitted": fitted, "at_fitted": at_fitted}
    return Chart(ax, {**numbers, "as_trained": as_trained}, alt)


def plot_ladder(run: Run) -> Chart:
    """Log loss of the validation rows against ε, ± 1.96 standard errors, with the chosen ε ringed."""
    if not run.ladder:
        raise ReportError(f"{run.folder / 'env.json'} holds no ladder: only one strength was tried")
    over = "over the others" if {arm["over"] for arm in run.arms if arm["eps"]} == {"others"} else ""
    strength = f"strength ε {over}".rstrip()
    eps = np.array([rung["eps"] for rung in run.ladder])
    raw, scaled = (
        np.array([(nll["mean"], nll["se"]) for nll in each])
        for each in zip(*((rung["nll"], rung["nll_after_temperature"]) for rung in run.ladder), strict=True)
    )
    lines = (raw, "-", OCHRE, "as trained"), (scaled, "--", PAPER, "with T")
    ax, ends = axes(right=room_for([line[-1] for line in lines])), list[tuple[float, float, str, str]]()
    for values, dash, face, name in lines:
        ax.plot(eps, values[:, 0], dash, color=OCHRE, lw=1.6, marker="o", ms=4, mfc=face)
        ends.append((float(eps[-1]), float(values[-1, 0]), name, OCHRE))
        half = Z95 * values[:, 1]
        ax.vlines(eps, values[:, 0] - half, values[:, 0] + half, color=OCHRE, lw=0.9, alpha=0.7)
    choice = next((rung["eps"] for rung in run.ladder if rung["chosen"]), None)
    if choice is not None:  # a ring in ink, which differs from the points without colour too
        nll = scaled[eps == choice, 0]
        ax.plot([choice], nll, ls="", marker="o", ms=11, mfc="none", mec=INK)
    ax.set(xlabel=strength, ylabel=f"{NLL}, validation rows (nats)")
    labels, last = list[str](), -np.inf
    for value in eps:  # a label is left out where it would stand on the one before
        clear = value - last >= 0.08 * float(np.ptp(eps))
        labels.append(f"{value:g}" if clear else "")
        last = value if clear else last
    ax.set_xticks(eps, labels)
    low = float(min((values[:, 0] - Z95 * values[:, 1]).min() for values in (raw, scaled)))
    ax.set_ylim(max(0.0, low - 0.05 * abs(low)), None)
    style(ax)
    label_ends(ax, ends)
    parts = [
        f"ε {value:g}: {number(one)}, after temperature {number(other)}"
        for value, one, other in zip(eps, raw[:, 0], scaled[:, 0], strict=True)
    ]
    alt = (
        f"The {NLL} of the validation rows in nats by {strength}. {'; '.join(parts)}; "
        f"{'none' if choice is None else f'{choice:g}'} chosen."
    )
    return Chart(ax, {"eps": eps, "over": over, "nll": raw, "scaled": scaled, "chosen": choice}, alt)
