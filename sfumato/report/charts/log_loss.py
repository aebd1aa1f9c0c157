"""Log loss against what was turned: one divisor of the logits, and the strength of the smoothing."""

import numpy as np

from sfumato.evaluate.metrics.calibration import Z95
from sfumato.evaluate.metrics.registry import METRICS
from sfumato.report.arms import arm_titles, rows_of, spread
from sfumato.report.charts.drawing import INK, OCHRE, PAPER, Chart, axes, log_ticks, looks, style_with_legend
from sfumato.runs.read import ReportError, Run
from sfumato.text import number
from sfumato.text import temperature as in_words

POINTS = 41
NLL = METRICS["nll"].label


def plot_temperature_sweep(run: Run) -> Chart:
    """Log loss of the test rows against one temperature for all seeds, with the fitted one marked.

    The marks lie on the curves, at the geometric mean over seeds of the temperatures that were fitted on validation
    rows alone: how far a mark is from the lowest point of its curve shows how well the temperature carries over.
    """
    ax, titles = axes(), arm_titles(run)
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
    for i, (title, (colour, mark)) in enumerate(zip(titles, looks(len(titles)), strict=True)):
        ax.plot(temperatures, nll[i], color=colour, lw=1.6, label=f"{title}, T = {in_words(fitted[i])}")
        ax.plot(fitted[i], at_fitted[i], ls="", marker=mark, ms=6, color=colour)
    ax.axvline(1.0, color=INK, lw=0.7, zorder=0.5, label="as trained, T = 1")
    ax.set(xlabel="temperature T (divisor of the logits, log scale)", ylabel=f"{NLL}, test rows (nats)")
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
    alt = f"The {NLL} of the test rows in nats for temperatures {low:.2g} to {high:.2g}. {'; '.join(parts)}."
    numbers = {"temperatures": temperatures, "nll": nll, "fitted": fitted, "at_fitted": at_fitted}
    return Chart(ax, {**numbers, "as_trained": as_trained}, alt)


def plot_ladder(run: Run) -> Chart:
    """Log loss of the validation rows against ε, as trained and after temperature, with the chosen ε ringed.

    Vertical lines are the mean ± 1.96 standard errors.
    """
    if not run.ladder:
        raise ReportError(f"{run.folder / 'env.json'} holds no ladder: only one strength was tried")
    ax, over = axes(), spread(run)
    eps = np.array([rung["eps"] for rung in run.ladder])
    raw, scaled = (
        np.array([(nll["mean"], nll["se"]) for nll in each])
        for each in zip(*((rung["nll"], rung["nll_after_temperature"]) for rung in run.ladder), strict=True)
    )
    for values, dash, face, label in ((raw, "-", OCHRE, "as trained"), (scaled, "--", PAPER, "after temperature")):
        ax.plot(eps, values[:, 0], dash, color=OCHRE, lw=1.6, marker="o", ms=4, mfc=face, label=label)
        half = Z95 * values[:, 1]
        ax.vlines(eps, values[:, 0] - half, values[:, 0] + half, color=OCHRE, lw=0.9, alpha=0.7)
    choice = next((rung["eps"] for rung in run.ladder if rung["chosen"]), None)
    if choice is not None:  # a ring in ink, which differs from the points without colour too
        nll = scaled[eps == choice, 0]
        ax.plot([choice], nll, ls="", marker="o", ms=11, mfc="none", mec=INK, label=f"ε {choice:g} chosen")
    ax.set(xlabel=f"strength ε {over}", ylabel=f"{NLL}, validation rows (nats)")
    labels, last = list[str](), -np.inf
    for value in eps:  # a label is left out where it would stand on the one before
        clear = value - last >= 0.08 * float(np.ptp(eps))
        labels.append(f"{value:g}" if clear else "")
        last = value if clear else last
    ax.set_xticks(eps, labels)
    low = float(min((values[:, 0] - Z95 * values[:, 1]).min() for values in (raw, scaled)))
    ax.set_ylim(max(0.0, low - 0.05 * abs(low)), None)
    style_with_legend(ax)
    parts = [
        f"ε {value:g}: {number(one)}, after temperature {number(other)}"
        for value, one, other in zip(eps, raw[:, 0], scaled[:, 0], strict=True)
    ]
    alt = (
        f"The {NLL} of the validation rows in nats by strength ε {over}. {'; '.join(parts)}; "
        f"{'none' if choice is None else f'{choice:g}'} chosen."
    )
    return Chart(ax, {"eps": eps, "over": over, "nll": raw, "scaled": scaled, "chosen": choice}, alt)
