"""Intervals of the metrics: where they end, and the quantile that they are made with."""

import numpy as np
import pytest
from scipy.special import stdtrit

from sfumato.evaluate.metrics.compute import half_width, t95
from sfumato.evaluate.metrics.registry import METRICS


@pytest.mark.parametrize(("df", "error"), [(9, 3.5e-4), (12, 1.2e-4), (20, 2e-5), (100, 3e-8)])
def test_the_quantile_of_t_is_as_near_as_it_says(df, error):
    assert error / 3 < abs(t95(df) - stdtrit(df, 0.975)) < error


def test_the_quantile_of_t_is_exact_for_few_degrees_of_freedom():
    assert [t95(df) for df in (*range(1, 9), 2.5)] == pytest.approx([stdtrit(df, 0.975) for df in (*range(1, 9), 2.5)])


def test_intervals_end_where_a_metric_ends():
    everywhere = np.array([-1e6, 1e6])
    ends = {name: defined.ends(0.4, half_width(everywhere)) for name, defined in METRICS.items()}
    unit = (
        *("accuracy", "balanced_accuracy", "macro_f1", "top5", "ece", "ece_after_temperature", "ece_equal_mass"),
        "agreement",
        *("roc_auc", "roc_auc_after_temperature", "average_precision", "average_precision_after_temperature"),
        *("aurc", "coverage_at_1_risk", "coverage_at_5_risk", "risk_at_80_coverage"),
    )
    low, high = pytest.approx(-1e7, rel=1), pytest.approx(1e7, rel=1)
    assert ends == {
        **dict.fromkeys(unit, (0.0, 1.0)),
        **dict.fromkeys(("nll", "nll_after_temperature", "kl", "kl_after_temperature", "logit_norm"), (0.0, high)),
        **dict.fromkeys(("brier", "brier_after_temperature", "gamma"), (0.0, 2.0)),
        **dict.fromkeys(("signed_gap", "signed_gap_after_temperature"), (-1.0, 1.0)),
        **dict.fromkeys(("eaurc", "eaurc_after_temperature"), (low, 1.0)),
        **dict.fromkeys(("logit_gap", "ece_noise_floor"), (low, high)),
        "augrc": (0.0, 0.5),
        "temperature": (1e-3, 1e3),
    }
