"""Figures of a comparison: each function draws on an axis, sets no global style and returns the numbers it drew.

One colour and one marker an arm, dashed for the temperature-scaled version, ink for what theory says. Numbers are
computed here from the logits in float64, so that a figure can be checked against the arrays beside it.
"""

from sfumato.report.compare.plots.calibration import plot_reliability as plot_reliability
from sfumato.report.compare.plots.confusions import plot_confusions as plot_confusions
from sfumato.report.compare.plots.differences import plot_differences as plot_differences
from sfumato.report.compare.plots.gaps import plot_excess as plot_excess
from sfumato.report.compare.plots.gaps import plot_gap as plot_gap
from sfumato.report.compare.plots.gaps import plot_gap_histogram as plot_gap_histogram
from sfumato.report.compare.plots.ladder import plot_ladder as plot_ladder
from sfumato.report.compare.plots.projection import plot_projection as plot_projection
from sfumato.report.compare.plots.selective import plot_risk_coverage as plot_risk_coverage
from sfumato.report.compare.plots.temperature import plot_temperature_sweep as plot_temperature_sweep
