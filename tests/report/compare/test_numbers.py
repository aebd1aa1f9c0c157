import math

import numpy as np
import pytest
import torch

from sfumato import evaluate
from sfumato.report.compare import numbers


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(5)
    labels = rng.integers(7, size=200)
    logits = rng.normal(scale=3, size=(200, 7)).astype(np.float32)
    logits[np.arange(200), labels] += 2
    logits[100:120] = logits[100]  # ties
    return logits, labels


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_hard_nll_is_that_of_torch(rows, temperature):
    logits, labels = rows
    known = torch.nn.functional.cross_entropy(torch.from_numpy(logits).double() / temperature, torch.from_numpy(labels))
    assert numbers.hard_nll(logits, labels, temperature) == pytest.approx(known.item(), rel=1e-13)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_softmax_is_that_of_torch(rows, temperature):
    logits, _ = rows
    known = torch.softmax(torch.from_numpy(logits).double() / temperature, dim=1).numpy()
    np.testing.assert_allclose(numbers.softmax(logits, temperature), known, rtol=1e-12)


def test_log_confidence_and_gap_are_those_of_evaluate(rows):
    logits, labels = rows
    known = evaluate.per_row(logits=logits, labels=labels)
    np.testing.assert_allclose(numbers.log_confidence(logits), known.score, rtol=1e-13)
    np.testing.assert_allclose(numbers.logit_gap(logits, labels), known.gap, rtol=1e-12, atol=1e-12)


def test_log_confidence_keeps_its_digits_where_the_probability_is_1():
    assert numbers.log_confidence(np.array([[50.0, 0.0]]))[0] == pytest.approx(-math.exp(-50), rel=1e-15)


def test_risk_by_coverage_is_that_of_evaluate_also_with_ties(rows):
    logits, labels = rows
    score, correct = numbers.log_confidence(logits), logits.argmax(axis=1) == labels
    known = evaluate.risk_coverage_curve(score, correct)
    np.testing.assert_allclose(numbers.risk_by_coverage(score, correct), known.risk, rtol=1e-13, atol=1e-15)
