"""Figures of a comparison: each function draws on an axis, sets no global style and returns the numbers it drew.

Every function takes a run that :func:`~sfumato.runs.read.load_run` read, and an axis to draw on; without an axis it
makes a figure of its own, which pyplot does not know. It returns the axis and a record of what it drew, whose ``alt``
is the figure in words. An arm has one colour and one marker, is dashed with its temperature, and theory is in ink.
"""

from sfumato.report.charts.calibration import plot_reliability as plot_reliability
from sfumato.report.charts.confusions import plot_confusions as plot_confusions
from sfumato.report.charts.differences import plot_differences as plot_differences
from sfumato.report.charts.gaps import plot_excess as plot_excess
from sfumato.report.charts.gaps import plot_gap as plot_gap
from sfumato.report.charts.gaps import plot_gap_histogram as plot_gap_histogram
from sfumato.report.charts.ladder import plot_ladder as plot_ladder
from sfumato.report.charts.projection import plot_projection as plot_projection
from sfumato.report.charts.selective import plot_risk_coverage as plot_risk_coverage
from sfumato.report.charts.temperature import plot_temperature_sweep as plot_temperature_sweep
