"""Every figure of a report page: each function draws on an axis, sets no global style and returns what it drew.

Without an axis a function makes a figure of its own, which pyplot does not know. The record that it returns holds the
axis, the numbers by name, and the figure in words. An arm has one colour and one marker, is dashed with its
temperature, and theory is in ink. Pages of a comparison, a judgement and an audit call the same functions.
"""

from sfumato.report.charts.confusions import plot_confusions as plot_confusions
from sfumato.report.charts.differences import plot_differences as plot_differences
from sfumato.report.charts.gaps import arm_gaps as arm_gaps
from sfumato.report.charts.gaps import plot_excess as plot_excess
from sfumato.report.charts.gaps import plot_gap as plot_gap
from sfumato.report.charts.gaps import plot_gap_histogram as plot_gap_histogram
from sfumato.report.charts.ladder import plot_ladder as plot_ladder
from sfumato.report.charts.projection import plot_projection as plot_projection
from sfumato.report.charts.reliability import Curve as Curve
from sfumato.report.charts.reliability import arm_curve as arm_curve
from sfumato.report.charts.reliability import plot_reliability as plot_reliability
from sfumato.report.charts.risk_coverage import RiskCurve as RiskCurve
from sfumato.report.charts.risk_coverage import arm_risks as arm_risks
from sfumato.report.charts.risk_coverage import plot_risk_coverage as plot_risk_coverage
from sfumato.report.charts.style import Chart as Chart
from sfumato.report.charts.temperature import plot_temperature_sweep as plot_temperature_sweep
