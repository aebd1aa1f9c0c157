"""Every metric against another library, on the same logits: run beside it, or frozen by tests/golden/make_oracles.py.

Known wrong corners of the oracles, each held by a test below or in make_oracles.py, so that a mended oracle is noticed:

- torchmetrics puts confidence 1 into a sixteenth bin of its own, and reads logits in [0, 1] as probabilities.
- netcal and probmetrics take two classes for one: their ECE bins the probability of class 1, not the largest.
- netcal's equal-mass bins stop with an error where confidences are tied.
- scikit-learn clips probabilities at 2.2e-16, so that no row's NLL exceeds 36.04.
- fd-shifts and Xia et al. draw AURC as a trapezoid: less than the mean of the risks by (R_N − R_1)/2N without ties, and
  along the chord instead of the expectation within them. AUGRC, which is linear in between, is equal.
- A risk curve over sorted rows, as most code has it, depends on the order of tied rows.
- Temperature fitted by L-BFGS on T from 1.5, as most code has it, diverges below T = 1, since the NLL is convex in 1/T.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from sklearn import metrics

import sfumato.evaluate as ev
from sfumato.evaluate.metrics.selective import RankedGroups

HERE = Path(__file__).parents[1] / "golden"
FROZEN = json.loads((HERE / "oracles.json").read_text(encoding="utf-8"))
_spec = importlib.util.spec_from_file_location("make_oracles", HERE / "make_oracles.py")
make_oracles = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_oracles)

NAMES = ["plain", "saturated", "many", "two"]
each = pytest.mark.parametrize("name", NAMES)
CLOSE = {"abs": 1e-6, "rel": 0}


@pytest.fixture(scope="module")
def found():
    return {n: ev.evaluate(logits=make_oracles.sample(n)[0], labels=make_oracles.sample(n)[1]) for n in NAMES}


@each
def test_nll_brier_accuracy_and_temperature_are_those_of_probmetrics(name, found):
    oracle, own = FROZEN[name]["probmetrics"], found[name]
    assert own.nll == pytest.approx(oracle["logloss"], **CLOSE)
    assert own.brier == pytest.approx(oracle["brier"], **CLOSE)
    assert own.accuracy == pytest.approx(1 - oracle["class-error"], **CLOSE)
    assert own.temperature == pytest.approx(oracle["temperature"], **CLOSE)


@each
def test_scores_are_those_of_scikit_learn(name, found):
    z, y = make_oracles.sample(name)
    p, own, k = softmax(z, axis=1), found[name], z.shape[1]
    told = metrics.log_loss(y, p, labels=np.arange(k))
    if name == "saturated":
        assert own.nll - told > 0.01  # clipped at 36.04 a row
    else:
        assert own.nll == pytest.approx(told, **CLOSE)
    recalls = [np.mean(p.argmax(axis=1)[y == c] == c) for c in np.unique(y)]
    assert own.balanced_accuracy == pytest.approx(np.mean(recalls), **CLOSE)
    assert own.macro_f1 == pytest.approx(
        metrics.f1_score(y, p.argmax(axis=1), average="macro", zero_division=0.0), **CLOSE
    )
    if k > 5:
        assert own.top5 == metrics.top_k_accuracy_score(y, z, k=5, labels=np.arange(k))


@each
def test_the_brier_score_is_that_of_scikit_learn(name, found):
    pytest.importorskip("sklearn", minversion="1.7")  # before, it had none of several classes
    z, y = make_oracles.sample(name)
    p, k = softmax(z, axis=1), z.shape[1]
    binary = {} if k > 2 else {"pos_label": 1}
    scores = p if k > 2 else p[:, 1]
    brier = metrics.brier_score_loss(y, scores, labels=np.arange(k), scale_by_half=False, **binary)
    assert found[name].brier == pytest.approx(brier, **CLOSE)


@pytest.mark.parametrize("name", ["plain", "saturated", "many"])
def test_ece_is_netcals_and_probmetrics(name):
    _, confidence, correct = make_oracles.columns(name)
    assert ev.ece(confidence, correct) == pytest.approx(FROZEN[name]["netcal"]["ece"], **CLOSE)
    assert ev.ece(confidence, correct) == pytest.approx(FROZEN[name]["probmetrics"]["ece-15"], **CLOSE)


def test_two_classes_are_binned_by_the_larger_probability_and_not_by_that_of_class_1():
    p, confidence, correct = make_oracles.columns("two")
    y = make_oracles.sample("two")[1]
    frozen = FROZEN["two"]["netcal"]["ece"]
    assert ev.ece(p[:, 1], y.astype(bool)) == pytest.approx(frozen, **CLOSE)  # what netcal means by it
    assert abs(ev.ece(confidence, correct) - frozen) > 1e-3


@pytest.mark.parametrize("name", ["plain", "many"])
def test_equal_mass_ece_is_netcals(name):
    _, confidence, correct = make_oracles.columns(name)
    assert ev.ece(confidence, correct, equal_mass=True) == pytest.approx(
        FROZEN[name]["netcal"]["ece_equal_mass"], **CLOSE
    )


@pytest.mark.slow  # torchmetrics takes seconds for its imports
def test_ece_is_torchmetrics_but_for_its_bin_beyond_the_last():
    from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

    p, confidence, correct = make_oracles.columns("plain")
    y = make_oracles.sample("plain")[1]
    told = multiclass_calibration_error(torch.as_tensor(p), torch.as_tensor(y), num_classes=10, n_bins=15).item()
    assert ev.ece(confidence, correct) == pytest.approx(told, **CLOSE)
    sure = torch.tensor([1.0, 1.0, 0.97, 0.97])
    right = torch.tensor([1, 1, 0, 0])
    phantom = binary_calibration_error(sure, right, n_bins=15).item()
    assert ev.ece(sure.numpy(), right.numpy()) == pytest.approx(abs((2 * 1 + 2 * 0.97) - 2) / 4)
    assert phantom == pytest.approx(0.97 / 2)  # torchmetrics: bins {1.0} and {0.97} apart


@pytest.mark.slow
def test_ece_is_torchmetrics_on_continuous_confidences():
    from torchmetrics.functional.classification import multiclass_calibration_error

    g = torch.Generator().manual_seed(3)
    p = torch.randn(500, 4, generator=g, dtype=torch.float64).mul(2).softmax(1)
    y = torch.randint(4, (500,), generator=g)
    truth = multiclass_calibration_error(p, y, num_classes=4, n_bins=15, norm="l1").item()
    assert ev.ece(p.max(1).values.numpy(), (p.argmax(1) == y).numpy()) == pytest.approx(truth, abs=1e-6)


@each
def test_augrc_is_that_of_fd_shifts_and_of_scikit_learns_auroc(name):
    _, confidence, correct = make_oracles.columns(name)
    assert RankedGroups(confidence, correct).augrc() == pytest.approx(FROZEN[name]["fd-shifts"]["augrc"], **CLOSE)
    r = 1 - correct.mean()
    auroc = metrics.roc_auc_score(correct, confidence)
    assert RankedGroups(confidence, correct).augrc() == pytest.approx(r * (1 - r) * (1 - auroc) + r * r / 2, **CLOSE)


@each
def test_aurc_is_that_of_fd_shifts_once_its_trapezoid_is_undone(name):
    _, confidence, correct = make_oracles.columns(name)
    groups = RankedGroups(confidence, correct)
    risk = groups.errors / groups.place
    trapezoid = groups.aurc() - (risk[-1] - risk[0]) / (2 * len(risk))
    assert trapezoid == pytest.approx(FROZEN[name]["fd-shifts"]["aurc"], **CLOSE)


def test_no_number_of_the_risk_curve_depends_on_the_order_of_rows_with_73_percent_of_the_scores_tied():
    _, confidence, correct = make_oracles.columns("saturated")
    assert np.mean(confidence == 1) == pytest.approx(0.73, abs=0.005)
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(correct)) for _ in range(3)] + [np.argsort(correct), np.argsort(~correct)]
    numbers = {
        "aurc": lambda s, c: RankedGroups(s, c).aurc(), "eaurc": lambda s, c: RankedGroups(s, c).eaurc(),
        "augrc": lambda s, c: RankedGroups(s, c).augrc(),
        "risk at 80 %": lambda s, c: RankedGroups(s, c).risk_at(0.8),
        "coverage at 5 %": lambda s, c: RankedGroups(s, c).coverage_at(0.05),
        "curve": lambda s, c: RankedGroups(s, c).errors,
    }  # fmt: skip
    for name, number in numbers.items():
        truth = number(confidence, correct)
        for order in orders:
            np.testing.assert_array_equal(number(confidence[order], correct[order]), truth, err_msg=name)


def test_the_usual_recipe_for_a_temperature_fails_below_1_where_ours_finds_the_optimum():
    z, y = make_oracles.sample("plain")
    z = z / 3.2  # true T: 0.5
    logits, labels = torch.as_tensor(z), torch.as_tensor(y)
    temperature = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([temperature], lr=0.01, max_iter=50)

    def closure():
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits / temperature, labels)
        loss.backward()
        return loss

    optimiser.step(closure)
    own = ev.fit_temperature(logits=z, labels=y).value
    assert own == pytest.approx(0.5, rel=0.05)
    assert abs(temperature.item() / own - 1) > 0.5
    nll = [-log_softmax(z / t, axis=1)[np.arange(len(y)), y].mean() for t in (own * 0.999, own, own * 1.001)]
    assert nll[1] == min(nll)
