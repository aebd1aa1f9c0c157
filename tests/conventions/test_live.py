"""Formulas and the libraries themselves, where they are installed; one test a library, for importing one is dear."""

from __future__ import annotations

import importlib.util
import os
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn._loss import HalfBinomialLoss
from sklearn.metrics import log_loss

import sfumato as sf
from sfumato.conventions import FORMULAS, find

RNG = np.random.default_rng(7)
K, N = 7, 9
Z = 3 * RNG.standard_normal((N, K))
Y = RNG.integers(0, K, N)
IGNORED = np.where(np.arange(N) % 4 == 1, -100, Y)
WEIGHT = RNG.uniform(0.2, 3.0, K)
DENSE = RNG.dirichlet(np.ones(K), N)
STRENGTHS = (0.0, 0.1, 0.5, 1.0)
z, y, ignored, weight, dense = map(torch.tensor, (Z, Y, IGNORED, WEIGHT, DENSE))


def imported(name: str):
    """A library, or a skip; its warnings on import are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name)


def same(value, formula: str, labels, eps: float, rel: float = 1e-12, **options):
    value = value.item() if isinstance(value, torch.Tensor) else float(value)
    assert value == pytest.approx(find(formula).loss(Z, labels, eps, **options), rel=rel), (formula, eps, options)


@pytest.mark.parametrize("eps", [*STRENGTHS, -0.3])
def test_torch_is_its_formula(eps):
    same(F.cross_entropy(z, y, label_smoothing=eps), "torch.index", Y, eps)
    same(F.cross_entropy(z, y, weight, label_smoothing=eps), "torch.index", Y, eps, weight=WEIGHT)
    same(F.cross_entropy(z, ignored, weight, label_smoothing=eps), "torch.index", IGNORED, eps, weight=WEIGHT)
    none = torch.where(torch.arange(K) == 2, 0.0, weight)
    assert F.cross_entropy(z, torch.full((N,), 2), none, label_smoothing=eps).isnan()
    assert np.isnan(find("torch").loss(Z, np.full(N, 2), eps, weight=none.numpy()))
    same(F.cross_entropy(z, y, label_smoothing=eps, ignore_index=2), "torch", Y, eps, ignore_index=2)
    same(F.cross_entropy(z, dense, label_smoothing=eps), "torch.prob", DENSE, eps)
    same(F.cross_entropy(z, dense, weight, label_smoothing=eps), "torch.prob", DENSE, eps, weight=WEIGHT)
    summed = F.cross_entropy(z, y, label_smoothing=eps, reduction="none")
    np.testing.assert_allclose(summed.numpy(), find("torch").rows(Z, Y, eps), rtol=1e-12)


@pytest.mark.parametrize(("rows", "classes", "finite"), [(9, 1000, True), (10, 1000, False), (32, 512, False)])
def test_torchs_mean_of_float16_is_infinite_where_the_sum_over_rows_and_classes_is(rows, classes, finite):
    found = F.cross_entropy(torch.zeros(rows, classes).half(), torch.arange(rows), label_smoothing=0.1).item()
    assert (rows * classes * np.log(classes) < 65504) == np.isfinite(found) == finite
    assert "passes 65504, as it does with 10 rows at K = 1000 and" in find("torch").defect


@pytest.mark.parametrize("eps", STRENGTHS)
def test_sfumato_is_its_formula(eps):
    for over in ("all", "others"):
        same(sf.cross_entropy(z, ignored, label_smoothing=eps, over=over), f"sfumato.{over}", IGNORED, eps)
        value = sf.cross_entropy(z, y, weight, label_smoothing=eps, over=over)
        same(value, f"sfumato.{over}", Y, eps, weight=WEIGHT)
        value = sf.cross_entropy(z, dense, weight, label_smoothing=eps, over=over)
        same(value, f"sfumato.{over}", DENSE, eps, weight=WEIGHT)


@pytest.mark.slow
def test_timm_is_its_formulas():
    timm, mixup = imported("timm.loss"), imported("timm.data.mixup")
    for eps in (0.0, 0.1, 0.5):
        same(timm.LabelSmoothingCrossEntropy(eps)(z, y), "timm.ls", Y, eps)
        same(timm.BinaryCrossEntropy(eps)(z, y), "timm.bce", Y, eps)
        same(timm.BinaryCrossEntropy(eps)(z, dense), "timm.bce", DENSE, eps)
        target = mixup.mixup_target(y, K, lam=0.3, smoothing=eps)  # float32
        value = timm.SoftTargetCrossEntropy()(z, target.double()).item()
        assert value == pytest.approx(find("timm.mixup").loss(Z, Y, eps, lam=0.3), rel=1e-6)
    same(timm.SoftTargetCrossEntropy()(z, dense), "timm.soft", DENSE, 0.0)


@pytest.mark.slow
def test_optax_is_its_formula():
    optax, jax = imported("optax"), imported("jax")
    hot = np.eye(K)[Y]
    with jax.enable_x64(True):
        for eps in STRENGTHS:
            for labels, given in ((Y, hot), (DENSE, DENSE)):
                rows = optax.softmax_cross_entropy(Z, optax.smooth_labels(jax.numpy.asarray(given), eps))
                np.testing.assert_allclose(rows, find("optax").rows(Z, labels, eps), rtol=1e-12)


@pytest.mark.slow
def test_keras_is_its_formulas():
    os.environ.setdefault("KERAS_BACKEND", "torch")
    losses = imported("keras").losses
    hot = np.eye(K)[Y]
    for eps in STRENGTHS:
        options = {"from_logits": True, "label_smoothing": eps}  # means are taken in float32
        same(losses.CategoricalCrossentropy(**options)(hot, Z), "keras.cat", Y, eps, rel=1e-6)
        same(losses.CategoricalCrossentropy(**options)(DENSE, Z), "keras.cat", DENSE, eps, rel=1e-6)
        same(losses.BinaryCrossentropy(**options)(hot, Z), "keras.bin", Y, eps, rel=1e-6)
        focal = losses.CategoricalFocalCrossentropy(alpha=0.3, gamma=1.5, **options)(hot, Z)
        same(focal, "keras.focal", Y, eps, rel=2e-6, alpha=0.3, gamma=1.5)
        same(losses.CategoricalFocalCrossentropy(**options)(hot, Z), "keras.focal", Y, eps, rel=2e-6)
        far = losses.CategoricalFocalCrossentropy(**options)(hot, 10 * Z).cpu().item()
        assert far == pytest.approx(find("keras.focal").loss(10 * Z, Y, eps), rel=2e-6)


@pytest.mark.slow
def test_transformers_label_smoother_is_its_formula():
    smoother = imported("transformers.trainer_pt_utils").LabelSmoother
    wrong = np.where(np.arange(N) == 3, -1, IGNORED)
    for eps in STRENGTHS:
        for labels in (Y, IGNORED, wrong):
            value = smoother(epsilon=eps)({"logits": z}, torch.tensor(labels)).item()
            expected = find("hugging face trainer").loss(Z, labels, eps)
            assert value == pytest.approx(expected, rel=1e-6)  # sums over the classes in float32


def test_torch_uncertainty_is_its_formulas():
    # The file alone: the package imports a trainer, and the losses need torch only.
    found = importlib.util.find_spec("torch_uncertainty")
    if found is None:
        pytest.skip("torch-uncertainty is not installed")
    path = Path(found.submodule_search_locations[0]) / "losses" / "classification.py"
    spec = importlib.util.spec_from_file_location("torch_uncertainty_losses", path)
    losses = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(losses)
    for eps in (0.0, 0.1, 0.5, 1.0):
        value = losses.BCEWithLogitsLSLoss(label_smoothing=eps)(z, F.one_hot(y, K).double()).item()
        assert value == pytest.approx(find("torch-uncertainty.bce").loss(Z, Y, eps), rel=1e-6)  # float32 targets
        value = losses.BCEWithLogitsLSLoss(label_smoothing=eps)(z, dense).item()
        assert value == pytest.approx(find("torch-uncertainty.bce").loss(Z, DENSE, eps), rel=1e-6)
    for eps in (0.0, 0.1, 0.5, 1.0, -0.3):
        for alpha in (0.0, 0.2):
            maxsup = partial(losses.CrossEntropyMaxSupLoss, label_smoothing=eps, max_sup=alpha)
            for labels in (y, ignored, dense):
                same(maxsup()(z, labels), "maxsup", labels.numpy(), eps, alpha=alpha)
                rows = maxsup(reduction="none")(z, labels).ravel()
                np.testing.assert_allclose(rows, find("maxsup").rows(Z, labels, eps, alpha=alpha), rtol=1e-12)


@pytest.mark.slow
def test_segmentation_models_is_its_formulas():
    losses = imported("segmentation_models_pytorch.losses")
    for eps in STRENGTHS:
        same(losses.SoftCrossEntropyLoss(smooth_factor=eps)(z, ignored), "smp", IGNORED, eps)
        value = losses.SoftBCEWithLogitsLoss(smooth_factor=eps)(z, F.one_hot(y, K).double())
        same(value, "smp.bce", Y, eps)
        same(losses.SoftBCEWithLogitsLoss(smooth_factor=eps)(z, dense), "smp.bce", DENSE, eps)


def test_scikit_learn_agrees_without_smoothing():
    p = np.exp(-find("torch").rows(Z, Y, 0.0))
    expected = log_loss(Y, z.softmax(1).numpy(), labels=range(K))
    assert -np.log(p).mean() == pytest.approx(expected, rel=1e-12)
    same(expected, "keras.cat", Y, 0.0)


def test_scikit_learn_agrees_on_smoothed_coins():
    smoothed = np.eye(K)[Y] * 0.8 + 0.1  # over one half, ε = 0.2
    each = HalfBinomialLoss().loss(y_true=smoothed.ravel(), raw_prediction=Z.ravel())
    same(each.mean(), "keras.bin", Y, 0.2)


def test_every_formula_said_to_be_executed_is_compared_somewhere():
    here = Path(__file__).parent
    compared = (here / "test_live.py").read_text(encoding="utf-8")
    compared += (here.parent / "golden" / "convention_values.json").read_text(encoding="utf-8")
    aliases = {"hf": "hugging face trainer", "sfumato.all": 'f"sfumato.', "sfumato.others": 'f"sfumato.'}
    executed = [key for key, formula in FORMULAS.items() if formula.evidence == "run"]
    assert [key for key in executed if f'"{aliases.get(key, key)}"' not in compared and key not in aliases] == []
