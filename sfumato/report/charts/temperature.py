"""Whether smoothing did more than a temperature: log loss against the divisor of the logits."""

from dataclasses import dataclass

import numpy as np

from sfumato.evaluate.metrics.registry import METRICS
from sfumato.report.arms import rows_of, titles
from sfumato.report.charts.style import INK, Axes, axes, beside, colours, few_log_ticks, marks, style_with_legend
from sfumato.runs.read import Floats, Run
from sfumato.text import number
from sfumato.text import temperature as in_words

POINTS = 41


@dataclass(frozen=True)
class TemperatureData:
    """What :func:`plot_temperature_sweep` drew: log loss of the test rows by temperature (P,) and arm, over seeds.

    ``fitted`` is the geometric mean over seeds of the temperatures fitted on validation rows, and ``at_fitted`` that
    with every seed at that temperature; ``as_trained`` is the log loss at T = 1.
    """

    temperatures: Floats
    arms: tuple[str, ...]
    nll: tuple[Floats, ...]
    fitted: tuple[float, ...]
    at_fitted: tuple[float, ...]
    as_trained: tuple[float, ...]

    @property
    def alt(self) -> str:
        """The figure in words."""
        parts = [
            f"{arm}: {number(one)} at T = 1, {number(best)} at the fitted T = {in_words(t)}"
            for arm, one, best, t in zip(self.arms, self.as_trained, self.at_fitted, self.fitted, strict=True)
        ]
        return (
            f"The {METRICS['nll'].label} of the test rows in nats for temperatures {self.temperatures[0]:.2g} to "
            f"{self.temperatures[-1]:.2g}. {'; '.join(parts)}."
        )


def plot_temperature_sweep(run: Run, ax: Axes | None = None) -> tuple[Axes, TemperatureData]:
    """Log loss of the test rows against one temperature for all seeds, with the fitted one marked.

    The marks lie on the curves, at temperatures fitted on validation rows alone: how far a mark is from the lowest
    point of its curve shows how well the temperature carries over to test rows.
    """
    ax = axes(ax)
    logs = [[np.log(run.temperature(arm["name"], seed)) for seed in run.seeds] for arm in run.arms]
    fitted = [float(np.exp(np.mean(each))) for each in logs]
    low, high = min(1.0, *fitted) / 2, max(1.0, *fitted) * 2
    temperatures = np.geomspace(low, high, POINTS)
    nll = [np.array([_mean_nll(run, arm["name"], float(t)) for t in temperatures]) for arm in run.arms]
    at_fitted = [_mean_nll(run, arm["name"], t) for arm, t in zip(run.arms, fitted, strict=True)]
    as_trained = [_mean_nll(run, arm["name"], 1.0) for arm in run.arms]
    ax.set_xscale("log")
    ax.axvline(1.0, color=INK, lw=0.7, zorder=0.5)
    for i, (title, colour, mark) in enumerate(zip(titles(run), colours(run), marks(run), strict=True)):
        ax.plot(temperatures, nll[i], color=colour, lw=1.6, label=f"{title}, T = {in_words(fitted[i])}")
        ax.plot(fitted[i], at_fitted[i], ls="", marker=mark, ms=6, color=colour)
    nll_label = f"{METRICS['nll'].label}, test rows (nats)"
    ax.set(xlabel="temperature T (divisor of the logits, log scale)", ylabel=nll_label)
    # What lies near the minima is what matters; the far ends may leave at the top.
    floor, ceiling = min(at_fitted), max(*as_trained, *at_fitted)
    ax.set_ylim(max(0.0, floor - 0.25 * (ceiling - floor)), ceiling + 0.6 * (ceiling - floor) + 1e-6)
    ax.set_xlim(low, high)
    few_log_ticks(ax, low, high)
    _name_one(ax, temperatures, nll)
    style_with_legend(ax)
    data = TemperatureData(temperatures, titles(run), tuple(nll), tuple(fitted), tuple(at_fitted), tuple(as_trained))
    return ax, data


def _mean_nll(run: Run, arm: str, temperature: float) -> float:
    return float(np.mean([rows_of(run, arm, seed, temperature=temperature).nll.mean() for seed in run.seeds]))


def _name_one(ax: Axes, temperatures: Floats, nll: list[Floats]) -> None:
    """Write on the line at T = 1 what it is, at the top, on the side where the next curve is further away."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    place = np.linspace(np.log(left), np.log(right), 801)
    curves = [np.interp(place, np.log(temperatures), curve) for curve in nll]
    crossed = place[np.any([(c > bottom + 0.88 * (top - bottom)) & (c < top) for c in curves], axis=0)]
    after = float(np.min(crossed[crossed > 0], initial=np.log(right)))
    before = float(np.min(-crossed[crossed < 0], initial=-np.log(left)))
    to_the_right = after >= before
    beside(ax, "as trained", (1.0, 1.0), (4 if to_the_right else -4, -2), "top", across="data", up="axes fraction")
