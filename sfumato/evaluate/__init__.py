"""Metrics on logits against hard labels: calibration, ranking, temperature, logit gap, and honest intervals.

:func:`evaluate` gives all of them, :func:`metric` one by name, :func:`audit` what they mean and what to do about it.
Below stand pure functions of columns, which :func:`per_row` makes of (N, K) logits.
"""

from sfumato.evaluate.auditing import Audit as Audit
from sfumato.evaluate.auditing import Finding as Finding
from sfumato.evaluate.auditing import audit as audit
from sfumato.evaluate.calibration import NoiseFloor as NoiseFloor
from sfumato.evaluate.calibration import Reliability as Reliability
from sfumato.evaluate.calibration import ece as ece
from sfumato.evaluate.calibration import ece_equal_mass as ece_equal_mass
from sfumato.evaluate.calibration import ece_jackknife as ece_jackknife
from sfumato.evaluate.calibration import noise_floor as noise_floor
from sfumato.evaluate.calibration import reliability as reliability
from sfumato.evaluate.calibration import signed_gap as signed_gap
from sfumato.evaluate.calibration import wilson as wilson
from sfumato.evaluate.classwise import ClasswiseSums as ClasswiseSums
from sfumato.evaluate.classwise import ece_classwise as ece_classwise
from sfumato.evaluate.gap import logit_gap as logit_gap
from sfumato.evaluate.gap import logit_norm as logit_norm
from sfumato.evaluate.geometry import class_separation as class_separation
from sfumato.evaluate.geometry import nc1 as nc1
from sfumato.evaluate.geometry import nc2 as nc2
from sfumato.evaluate.intervals import Estimate as Estimate
from sfumato.evaluate.intervals import estimate_interval as estimate_interval
from sfumato.evaluate.intervals import holm as holm
from sfumato.evaluate.intervals import pseudo_values as pseudo_values
from sfumato.evaluate.measures import METRICS as METRICS
from sfumato.evaluate.measures import Definition as Definition
from sfumato.evaluate.measures import Interval as Interval
from sfumato.evaluate.measures import metric as metric
from sfumato.evaluate.planning import detectable_difference as detectable_difference
from sfumato.evaluate.planning import power as power
from sfumato.evaluate.planning import seeds_to_settle as seeds_to_settle
from sfumato.evaluate.rows import Rows as Rows
from sfumato.evaluate.rows import per_row as per_row
from sfumato.evaluate.selective import RiskCoverage as RiskCoverage
from sfumato.evaluate.selective import augrc as augrc
from sfumato.evaluate.selective import aurc as aurc
from sfumato.evaluate.selective import aurc_jackknife as aurc_jackknife
from sfumato.evaluate.selective import coverage_at_risk as coverage_at_risk
from sfumato.evaluate.selective import eaurc as eaurc
from sfumato.evaluate.selective import eaurc_jackknife as eaurc_jackknife
from sfumato.evaluate.selective import risk_at_coverage as risk_at_coverage
from sfumato.evaluate.selective import risk_coverage_curve as risk_coverage_curve
from sfumato.evaluate.smooth import SmoothError as SmoothError
from sfumato.evaluate.smooth import smooth_ece as smooth_ece
from sfumato.evaluate.smoothing import Smoothing as Smoothing
from sfumato.evaluate.smoothing import infer_smoothing as infer_smoothing
from sfumato.evaluate.summary import Evaluation as Evaluation
from sfumato.evaluate.summary import evaluate as evaluate
from sfumato.evaluate.temperature import Temperature as Temperature
from sfumato.evaluate.temperature import fit_temperature as fit_temperature
from sfumato.evaluate.temperature import fit_temperature_small as fit_temperature_small
from sfumato.evaluate.temperature import temperature_jackknife as temperature_jackknife
