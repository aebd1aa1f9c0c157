"""The page of a judgement says what its verdict says."""

import re

import numpy as np
import pytest

import sfumato as sf
from sfumato.evaluate.metrics.registry import HEADLINE
from sfumato.report.compare.tables import shown
from sfumato.report.judge.page import page_of
from sfumato.verdict.wording import SHOWN

ROWS, K = 1500, 4
RNG = np.random.default_rng(3)
TRUE = RNG.normal(size=(ROWS, K)) * 2
LABELS = (TRUE + RNG.gumbel(size=(ROWS, K))).argmax(axis=1)  # drawn with the probabilities softmax(TRUE)


def judged(factor):
    """A model that knows the probabilities, its logits times a factor, against one that hardly does."""
    models, rng = {"one-hot": 3.0, "smoothed": 0.05}, np.random.default_rng(4)
    return sf.judge(
        {
            name: [{"logits": factor * (TRUE + rng.normal(size=TRUE.shape) * off), "labels": LABELS} for _ in range(3)]
            for name, off in models.items()
        }
    )


def test_each_panel_of_the_forest_has_the_difference_of_its_metric():
    found = judged(1.0)
    panels = re.findall(r'<svg role="img" aria-label="([^:"]+): smoothed: (\S+)', page_of(found))
    wanted = [
        (SHOWN[row["metric"]].name, shown(row["metric"])(row["mean"]).partition(" ")[0].rstrip(","))
        for row in found.differences
        if row["metric"] in HEADLINE
    ]
    assert sorted((name, value.rstrip(",")) for name, value in panels) == sorted(wanted)
    assert len(wanted) == 3


@pytest.mark.parametrize(("factor", "helps"), [(1.0, False), (3.0, True)])
def test_a_temperature_is_advised_where_the_verdict_advises_it(factor, helps):
    found = judged(factor)
    said, page = " ".join(found.verdict["sentences"]), page_of(found)
    assert found.verdict["choice"] == "smoothed"
    assert ("of the smoothed model by 3.0" in said and "lowers its log loss" in said) == helps
    by = re.findall(r"torch\.softmax\(logits / ([\d.]+), dim=-1\)", page)
    assert len(by) == helps
    assert all(f"{float(each):.2f}" in said for each in by)
