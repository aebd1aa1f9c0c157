"""Metrics of logits: calibration, ranking, temperature and logit gap, with intervals; and the audit of a model.

:func:`evaluate` gives all of them, :func:`metric` one by name, :func:`audit` what they mean and what to do about it.
Below stand pure functions of columns, which :func:`per_row` makes of (N, K) logits.
"""

from sfumato.evaluate.auditing.audit import Audit as Audit
from sfumato.evaluate.auditing.audit import audit as audit
from sfumato.evaluate.auditing.findings import Finding as Finding
from sfumato.evaluate.evaluation import Evaluation as Evaluation
from sfumato.evaluate.evaluation import evaluate as evaluate
from sfumato.evaluate.evaluation import metric as metric
from sfumato.evaluate.inferred_smoothing import Smoothing as Smoothing
from sfumato.evaluate.inferred_smoothing import infer_smoothing as infer_smoothing
from sfumato.evaluate.metrics.calibration import NoiseFloor as NoiseFloor
from sfumato.evaluate.metrics.calibration import Reliability as Reliability
from sfumato.evaluate.metrics.calibration import ece as ece
from sfumato.evaluate.metrics.calibration import noise_floor as noise_floor
from sfumato.evaluate.metrics.calibration import reliability as reliability
from sfumato.evaluate.metrics.calibration import wilson as wilson
from sfumato.evaluate.metrics.compute import Interval as Interval
from sfumato.evaluate.metrics.features import nc1 as nc1
from sfumato.evaluate.metrics.registry import METRICS as METRICS
from sfumato.evaluate.metrics.registry import Definition as Definition
from sfumato.evaluate.metrics.temperature import Temperature as Temperature
from sfumato.evaluate.metrics.temperature import fit_temperature as fit_temperature
from sfumato.evaluate.scores.per_row import Rows as Rows
from sfumato.evaluate.scores.per_row import logit_gap as logit_gap
from sfumato.evaluate.scores.per_row import per_row as per_row
from sfumato.evaluate.statistics.intervals import Estimate as Estimate
from sfumato.evaluate.statistics.intervals import estimate_interval as estimate_interval
from sfumato.evaluate.statistics.intervals import estimate_unpaired as estimate_unpaired
from sfumato.evaluate.statistics.intervals import holm as holm
from sfumato.evaluate.statistics.intervals import pseudo_values as pseudo_values
from sfumato.evaluate.statistics.margins import Margins as Margins
from sfumato.evaluate.statistics.planning import detectable_difference as detectable_difference
from sfumato.evaluate.statistics.planning import power as power
from sfumato.evaluate.statistics.planning import rows_to_settle as rows_to_settle
from sfumato.evaluate.statistics.planning import seeds_to_settle as seeds_to_settle
