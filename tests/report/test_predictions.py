import numpy as np
import pytest
import torch

from sfumato.report.arms import probabilities, rows_of
from sfumato.runs.read import load_run
from tests.report.run_folders import write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return load_run(write_run(tmp_path_factory.mktemp("runs") / "run", seeds=2, epochs=1, test=80))


def logits(run, arm, seed):
    return torch.from_numpy(run.test[arm, seed].logits).double()


def test_rows_are_those_of_the_arm_and_seed_as_trained(run):
    for arm, seed in run.test:
        known = torch.nn.functional.cross_entropy(
            logits(run, arm, seed), torch.from_numpy(run.labels), reduction="none"
        )
        np.testing.assert_allclose(rows_of(run, arm, seed).nll, known.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("scaled", [False, True])
def test_logits_are_divided_by_the_fitted_temperature_or_the_one_given(run, scaled):
    for arm, seed in run.test:
        divisor = run.temperature(arm, seed) if scaled else 1.7
        known = torch.softmax(logits(run, arm, seed) / divisor, dim=1).max(dim=1).values
        rows = rows_of(run, arm, seed, scaled=scaled, temperature=1.7)
        np.testing.assert_allclose(rows.confidence, known.numpy(), rtol=1e-12, atol=1e-15)


def test_probabilities_are_those_after_temperature(run):
    for arm, seed in run.test:
        known = torch.softmax(logits(run, arm, seed) / run.temperature(arm, seed), dim=1)
        np.testing.assert_allclose(probabilities(run, arm, seed), known.numpy(), rtol=1e-12, atol=1e-15)
