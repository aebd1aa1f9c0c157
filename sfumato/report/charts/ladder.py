"""The strengths that were tried, on the validation rows."""

from typing import Any

import numpy as np

from sfumato.evaluate.metrics.calibration import Z95
from sfumato.evaluate.metrics.registry import METRICS
from sfumato.report.arms import spread
from sfumato.report.charts.style import INK, OCHRE, PAPER, Axes, Chart, axes, style_with_legend
from sfumato.runs.read import ReportError, Run
from sfumato.text import number


def plot_ladder(run: Run, ax: Axes | None = None) -> Chart:
    """Log loss of the validation rows against ε, as trained and after temperature, with the chosen ε ringed.

    Vertical lines are the mean ± 1.96 standard errors.
    """
    if not run.ladder:
        raise ReportError(f"{run.folder / 'env.json'} holds no ladder: only one strength was tried")
    ax = axes(ax)
    eps = np.array([rung["eps"] for rung in run.ladder])
    raw = np.array([(rung["nll"]["mean"], rung["nll"]["se"]) for rung in run.ladder])
    after = [rung["nll_after_temperature"] for rung in run.ladder]
    scaled = np.array([(entry["mean"], entry["se"]) for entry in after])
    for values, dash, face, label in ((raw, "-", OCHRE, "as trained"), (scaled, "--", PAPER, "after temperature")):
        ax.plot(eps, values[:, 0], dash, color=OCHRE, lw=1.6, marker="o", ms=4, mfc=face, label=label)
        half = Z95 * values[:, 1]
        ax.vlines(eps, values[:, 0] - half, values[:, 0] + half, color=OCHRE, lw=0.9, alpha=0.7)
    chosen = next((rung for rung in run.ladder if rung["chosen"]), None)
    if chosen is not None:  # a ring in ink, which differs from the points without colour too
        ring: dict[str, Any] = {"ls": "", "marker": "o", "ms": 11, "mfc": "none", "mec": INK}
        nll = chosen["nll_after_temperature"]["mean"]
        ax.plot(chosen["eps"], nll, label=f"ε {chosen['eps']:g} chosen", **ring)
    over, choice = spread(run), None if chosen is None else chosen["eps"]
    nll_label = METRICS["nll"].label
    ax.set(xlabel=f"strength ε {over}", ylabel=f"{nll_label}, validation rows (nats)")
    ax.set_xticks(eps, _apart(eps))
    low = float(min((values[:, 0] - Z95 * values[:, 1]).min() for values in (raw, scaled)))
    ax.set_ylim(max(0.0, low - 0.05 * abs(low)), None)
    style_with_legend(ax)
    parts = [
        f"ε {value:g}: {number(one)}, after temperature {number(other)}"
        for value, one, other in zip(eps, raw[:, 0], scaled[:, 0], strict=True)
    ]
    alt = (
        f"The {nll_label} of the validation rows in nats by strength ε {over}. {'; '.join(parts)}; "
        f"{'none' if choice is None else f'{choice:g}'} chosen."
    )
    return Chart(ax, {"eps": eps, "over": over, "nll": raw, "scaled": scaled, "chosen": choice}, alt)


def _apart(eps: np.ndarray) -> list[str]:
    """A label for each strength, left out where it would stand on the one before."""
    labels, last = list[str](), -np.inf
    for value in eps:
        clear = value - last >= 0.08 * float(np.ptp(eps))
        labels.append(f"{value:g}" if clear else "")
        last = value if clear else last
    return labels
