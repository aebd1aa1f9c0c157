"""Keras: the loss has the reference's numbers and trains to the closed form, on torch and on JAX.

The tests run on the backend that is set, which is torch; the last one runs this file again on JAX.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import sfumato as sf
from tests.adapters.common import CLASSES, assert_at_closed_form, assert_both_arms, digits, run_block

keras = pytest.importorskip("keras")
from sfumato.adapters.keras import CrossEntropy, SaveScores  # noqa: E402  after Keras is known to be there

TITLE = "Keras"
K = 5
BACKEND = keras.backend.backend()
# Keras 3.15 gives numpy 2.4 its tensors of torch by an older rule.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def batch(rows: int = 8) -> tuple[np.ndarray, np.ndarray]:
    drawn = np.random.default_rng(0)
    return (3 * drawn.normal(size=(rows, K))).astype(np.float32), np.arange(rows) % K


def soft(rows: int = 8) -> np.ndarray:
    return np.random.default_rng(1).dirichlet(np.ones(K), rows).astype(np.float32)


def number(value: Any) -> float:
    return float(keras.ops.convert_to_numpy(value))


def gradient(loss: Any, z: np.ndarray) -> np.ndarray:
    """The gradient of a loss of logits, on the backend that is set."""
    if BACKEND == "jax":
        import jax

        return np.asarray(jax.jit(jax.grad(loss))(z))
    leaf = torch.tensor(z, requires_grad=True)
    return torch.autograd.grad(loss(leaf), leaf)[0].numpy()


@pytest.mark.parametrize("over", ["all", "others"])
@pytest.mark.parametrize("eps", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("softened", [False, True])
def test_value_and_gradient_are_those_of_the_reference(over, eps, softened):
    z, y = batch()
    target, how = (soft() if softened else y), {"label_smoothing": eps, "over": over}
    own = torch.tensor(z).double(), torch.tensor(target).to(torch.float64 if softened else torch.int64)
    loss = CrossEntropy(**how)
    assert number(loss(target, z)) == pytest.approx(sf.reference.cross_entropy(*own, **how).item(), rel=1e-6)
    found = gradient(lambda z: loss(target, z), z)
    np.testing.assert_allclose(found, sf.reference.gradient(*own, **how), atol=1e-6)


@pytest.mark.parametrize("eps", [0.0, 0.1])
@pytest.mark.parametrize("from_logits", [True, False])
def test_over_all_has_the_numbers_of_keras(eps, from_logits):
    z, y = batch()
    outputs = z if from_logits else np.asarray(F.softmax(torch.tensor(z), 1))
    theirs = keras.losses.CategoricalCrossentropy(from_logits=from_logits, label_smoothing=eps)
    own = number(theirs(np.eye(K, dtype=np.float32)[y], outputs))
    assert number(CrossEntropy(eps, from_logits=from_logits)(y, outputs)) == pytest.approx(own, rel=1e-6)


@pytest.mark.parametrize(("row", "wanted"), [([10, 1, -2], [1.2954e-4, 9.00013, 12.00013]), ([1, 0, -np.inf], None)])
def test_a_probability_of_0_keeps_its_derivative(row, wanted):  # the first row and its values are optax's
    found = gradient(lambda q: CrossEntropy()(q, np.array([row], np.float32)), np.eye(3, dtype=np.float32)[[1]])
    wanted = [np.log1p(np.exp(-1)), 1 + np.log1p(np.exp(-1)), 0] if wanted is None else wanted
    np.testing.assert_allclose(found[0], wanted, rtol=1e-3)


def test_ignored_rows_are_inert_and_not_in_the_mean():
    z, y = batch()
    y[2], y[5] = -100, -100
    z[2] = np.nan
    wanted = F.cross_entropy(torch.tensor(z), torch.tensor(y), label_smoothing=0.1).item()
    loss = CrossEntropy(0.1)
    assert number(loss(y, z)) == pytest.approx(wanted, rel=1e-6)
    found = gradient(lambda z: loss(y, z), z)
    assert (found[[2, 5]] == 0).all()
    assert np.isfinite(found).all()


def test_sequences_have_their_classes_last():
    z, y = batch(12)
    y[3] = -100
    for shape in ((3, 4), (3, 4, 1)):
        found = CrossEntropy(0.1)(y.reshape(shape), z.reshape(3, 4, K))
        assert number(found) == pytest.approx(number(CrossEntropy(0.1)(y, z)), rel=1e-6)


@pytest.mark.parametrize("reduction", ["sum", "sum_over_batch_size", "mean_with_sample_weight"])
def test_weights_are_reduced_as_keras_reduces_them(reduction):
    z, y = batch()
    weights = np.linspace(0.5, 2, 8).astype(np.float32)
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1, reduction=reduction)
    own = number(theirs(np.eye(K, dtype=np.float32)[y], z, sample_weight=weights))
    assert number(CrossEntropy(0.1, reduction=reduction)(y, z, weights)) == pytest.approx(own, rel=1e-6)


def test_rows_come_out_where_nothing_is_reduced():
    z, y = batch()
    y[2] = -100
    found = keras.ops.convert_to_numpy(CrossEntropy(0.1, reduction=None)(y, z))
    wanted = F.cross_entropy(torch.tensor(z), torch.tensor(y), label_smoothing=0.1, reduction="none")
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_a_mask_of_keras_leaves_positions_out():
    class Embedded(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = keras.layers.Embedding(6, K, mask_zero=True)

        def call(self, words: Any) -> Any:
            return self.embedding(words)

    words, y = np.array([[1, 2, 0], [3, 0, 0]]), np.array([[0, 1, 2], [3, 4, 0]])
    outputs = Embedded()(words)
    z = torch.tensor(keras.ops.convert_to_numpy(outputs))
    wanted = F.cross_entropy(z[words != 0], torch.tensor(y)[torch.tensor(words != 0)], label_smoothing=0.1)
    assert number(CrossEntropy(0.1)(y, outputs)) == pytest.approx(wanted.item(), rel=1e-6)


def test_a_row_that_is_right_by_far_keeps_its_digits():
    z = np.array([[40.0, 0.0, 0.0]], dtype=np.float32)
    assert number(CrossEntropy()(np.array([0]), z)) == pytest.approx(2 * np.exp(-40.0), rel=1e-6)


def test_a_label_at_minus_infinity_costs_infinity_where_it_has_the_mass_of_the_others():
    z = np.array([[1.0, 0.0, -np.inf]], dtype=np.float32)
    assert np.isposinf(number(CrossEntropy(1.0)(np.array([2]), z)))


def test_class_indices_stay_integers_where_float32_has_no_room():
    y = np.array([2**24 + 1, 2**24], dtype=np.int32)  # the first is the second as a float32
    loss = CrossEntropy(ignore_index=2**24 + 1)
    assert number(loss(np.where(y == 2**24, 1, y), np.zeros((2, 2), np.float32))) == pytest.approx(np.log(2), rel=1e-6)


def test_an_index_that_is_no_class_is_nan():
    z, y = batch()
    y[1] = K
    assert np.isnan(number(CrossEntropy(0.1)(y, z)))


def test_shapes_that_do_not_fit_are_refused():
    told = r"^labels must be class indices \(8,\) or \(8, 1\), or probabilities \(8, 5\), got \(8, 3\)$"
    with pytest.raises(ValueError, match=told):
        CrossEntropy()(soft()[:, :3], batch()[0])


def network(loss: Any, metrics: Any = None) -> Any:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Dense(64, activation="relu"), keras.layers.Dense(CLASSES)])
    model.compile(keras.optimizers.Adam(0.02), loss, metrics=metrics)
    return model


@pytest.mark.parametrize("over", ["all", "others"])
def test_a_network_reaches_the_closed_form_of_the_digits(over):
    X, y = digits()
    model = network(CrossEntropy(0.1, over=over))
    model.fit(X, y, batch_size=200, epochs=40, verbose=0)
    assert_at_closed_form(model.predict(X, verbose=0), y, over)


def test_a_saved_model_keeps_the_loss(tmp_path):
    X, y = digits()
    model = network(CrossEntropy(0.1, over="others", ignore_index=-1))
    model.fit(X[:20], y[:20], epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    found = keras.saving.load_model(tmp_path / "model.keras").loss
    assert isinstance(found, CrossEntropy)
    assert (found.label_smoothing, found.over, found.ignore_index) == (0.1, "others", -1)


@pytest.mark.parametrize("from_logits", [True, False])
def test_saved_scores_are_those_of_the_trained_model(from_logits, tmp_path):
    X, y = digits()
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Dense(CLASSES, activation=None if from_logits else "softmax")])
    model.compile("adam", CrossEntropy(0.1, from_logits=from_logits))
    parts = {"test": (X[400:], y[400:, None]), "validation": (X[300:400], y[300:400])}
    save = SaveScores(tmp_path, arm="a", seed=3, from_logits=from_logits, **parts)
    model.fit(X[:100], y[:100], epochs=1, verbose=0, callbacks=[save])
    with np.load(tmp_path / "a" / "3.npz") as file:
        for name, rows in (("logits", X[400:]), ("val_logits", X[300:400])):
            saved = file[name] if from_logits else np.exp(file[name])
            np.testing.assert_allclose(saved, model.predict(rows, verbose=0), atol=1e-5)


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        ((1, 2, 3), "validation must be a pair of inputs and labels, got 3 things"),
        ((1, np.eye(10)), r"the labels of validation must be class indices \(N,\), got probabilities \(10, 10\): give"),
    ],
)
def test_rows_that_cannot_be_saved_are_refused_before_training(validation, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        SaveScores("scores", arm="a", seed=0, test=digits(), validation=validation)


def test_the_lines_for_training_smooth_and_evaluate_hard():
    X, y = digits()
    model = network(None)
    run_block(TITLE, 0, {"keras": keras, "model": model})
    model.fit(X, y, batch_size=200, epochs=1, verbose=0)
    told = model.evaluate(X, y, verbose=0, return_dict=True)
    logits, labels = torch.tensor(model.predict(X, verbose=0)), torch.tensor(y)
    wanted = {"loss": F.cross_entropy(logits, labels, label_smoothing=0.1), "nll": F.cross_entropy(logits, labels)}
    assert told == {name: pytest.approx(value.item(), rel=1e-4) for name, value in wanted.items()}


def test_the_lines_for_judge_save_both_arms(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, y = digits()
    names = {"new_model": lambda: network(None), "x": X[:100], "y": y[:100], "x_test": X[400:], "y_test": y[400:]}
    run_block(TITLE, 1, names)
    assert_both_arms(tmp_path)


@pytest.mark.skipif(BACKEND == "jax", reason="this is that run")
@pytest.mark.nightly
def test_this_holds_on_jax():
    pytest.importorskip("jax")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    where = {"cwd": Path(__file__).parents[2], "env": os.environ | {"KERAS_BACKEND": "jax"}}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, **where)
    assert ran.returncode == 0, ran.stdout + ran.stderr
