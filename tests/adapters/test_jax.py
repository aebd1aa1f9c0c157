"""JAX: each row's loss is the reference's and optax's, under every transform, without an array of one-hot rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import sfumato as sf
from tests.adapters.common import CLASSES, assert_at_closed_form, digits, run_block

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")
jnp = jax.numpy
from sfumato.adapters import jax as adapter  # noqa: E402  after jax is known to be there

cross_entropy = jax.jit(adapter.cross_entropy, static_argnames="over")  # one compilation, where eager code has dozens

TITLE = "JAX"
K = 7


def batch(rows: int = 9, classes: int = K) -> tuple[np.ndarray, np.ndarray]:
    drawn = np.random.default_rng(0)
    return 3 * drawn.normal(size=(rows, classes)), np.arange(rows) % classes


def soft(rows: int = 9) -> np.ndarray:
    return np.random.default_rng(1).dirichlet(np.ones(K), rows)


@pytest.mark.parametrize("over", ["all", "others"])
@pytest.mark.parametrize("eps", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("softened", [False, True])
def test_value_and_gradient_are_those_of_the_reference(over, eps, softened):
    z, y = batch()
    target = soft() if softened else y
    how = {"label_smoothing": eps, "over": over}

    def both(z: Any, target: Any) -> Any:
        rows, back = jax.vjp(lambda z: adapter.cross_entropy(z, target, **how), z)
        return rows, back(jnp.ones_like(rows))[0]

    with jax.enable_x64(True):
        rows, gradient = jax.jit(both)(z, target)
    own = torch.tensor(z), torch.tensor(target)
    np.testing.assert_allclose(rows, sf.reference.cross_entropy(*own, reduction="none", **how), rtol=1e-13)
    np.testing.assert_allclose(gradient, sf.reference.gradient(*own, reduction="sum", **how), atol=1e-14)


@pytest.mark.parametrize("row", [[40.0, 0.0, 0.0], [1e6 + 40, 1e6, 1e6], [2.0, 2.0, 2.0, 0.0]])  # the last: ties
def test_a_row_that_is_right_by_far_keeps_its_digits(row):
    z = jnp.array([row])
    wanted = sf.reference.cross_entropy(torch.tensor(np.asarray(z, np.float64)), torch.tensor([0])).item()
    assert float(cross_entropy(z, jnp.array([0]))[0]) == pytest.approx(wanted, rel=1e-6)


def test_half_precision_is_computed_in_float32():
    z, y = batch()
    half = jnp.asarray(z, jnp.bfloat16)
    found = cross_entropy(half, y, label_smoothing=0.1)
    assert found.dtype == jnp.float32
    wanted = sf.reference.cross_entropy(
        torch.tensor(np.asarray(half, np.float64)), torch.tensor(y), label_smoothing=0.1, reduction="none"
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_an_impossible_class_costs_nothing_without_mass_and_everything_with_it():
    z = jnp.array([[1.0, 0.0, -jnp.inf]])
    q = jnp.array([[0.5, 0.5, 0.0]])
    plain = np.log1p(np.exp(-1.0))
    assert float(adapter.cross_entropy(z, np.array([0]))[0]) == pytest.approx(plain, rel=1e-6)
    assert float(cross_entropy(z, q)[0]) == pytest.approx(plain + 0.5, rel=1e-6)
    assert np.isinf(cross_entropy(z, jnp.array([0]), label_smoothing=0.1)[0])
    gradient = jax.jit(jax.grad(lambda z: adapter.cross_entropy(z, np.array([0])).sum()))(z)
    assert np.isfinite(gradient).all()
    for eps in (1.0, np.array([1.0])):  # the mass of the others
        assert np.isposinf(cross_entropy(z, jnp.array([2]), label_smoothing=eps)).all()


def test_an_impossible_class_costs_nothing_where_an_array_of_strengths_is_0():
    z, y = jnp.array([[1.0, 0.0, -jnp.inf]] * 2), jnp.array([0, 0])
    eps = jnp.array([0.0, 0.1])

    def total(z: Any) -> Any:
        return jnp.where(eps == 0, cross_entropy(z, y, label_smoothing=eps), 0.0).sum()

    loss, gradient = jax.jit(jax.value_and_grad(total))(z)
    assert float(loss) == pytest.approx(np.log1p(np.exp(-1.0)), rel=1e-6)
    p = np.exp(-1.0) / (1 + np.exp(-1.0))
    np.testing.assert_allclose(gradient[0], [-p, p, 0.0], rtol=1e-6)
    assert np.isinf(cross_entropy(z, y, label_smoothing=eps)[1])


def test_a_probability_of_0_keeps_its_derivative():  # z and the values are optax's
    z, q = jnp.array([[10.0, 1.0, -2.0]]), jnp.array([[0.0, 1.0, 0.0]])
    for eps in (0.0, 0.1):
        slope = jax.jit(jax.grad(lambda q, eps=eps: adapter.cross_entropy(z, q, label_smoothing=eps).sum()))(q)
        np.testing.assert_allclose(slope[0], (1 - eps) * np.array([1.2954e-4, 9.00013, 12.00013]), rtol=1e-3)
    impossible = jnp.array([[1.0, 0.0, -jnp.inf]])
    assert np.isfinite(jax.grad(lambda q: adapter.cross_entropy(impossible, q).sum())(q)).all()
    strength = jax.grad(lambda eps: adapter.cross_entropy(z, q, label_smoothing=eps).sum())(0.0)
    assert float(strength) == pytest.approx((1.2954e-4 + 9.00013 + 12.00013) / 3 - 9.00013, rel=1e-5)


def test_ignored_rows_are_inert_whatever_they_hold():
    z = jnp.array([[1.0, 0.0], [jnp.nan, jnp.inf], [0.0, 2.0]])
    y = jnp.array([0, -100, 1])
    loss, gradient = jax.jit(jax.value_and_grad(lambda z: cross_entropy(z, y, label_smoothing=0.1).sum()))(z)
    assert np.isfinite(loss)
    assert (gradient[1] == 0).all()
    assert (gradient[0] != 0).all()


def test_jit_and_vmap_give_the_same_rows():
    z, y = batch()
    wanted = cross_entropy(z, y, label_smoothing=0.1, over="others")

    def row(z: Any, y: Any) -> Any:
        return adapter.cross_entropy(z, y, label_smoothing=0.1, over="others")

    for each in (row(z, y), jax.vmap(row)(z, y), jax.jit(jax.vmap(row))(z, y)):
        np.testing.assert_allclose(each, wanted, rtol=1e-6)


def test_sequences_have_their_classes_last():
    z, y = batch(12)
    found = cross_entropy(z.reshape(3, 4, K), y.reshape(3, 4), label_smoothing=0.1)
    np.testing.assert_allclose(found.ravel(), cross_entropy(z, y, label_smoothing=0.1), rtol=1e-6)


def test_the_second_derivative_is_that_of_softmax():
    z, _ = batch(1)
    p = np.exp(z[0]) / np.exp(z[0]).sum()
    found = jax.jit(jax.hessian(lambda z: adapter.cross_entropy(z, np.array(2), label_smoothing=0.1)))(z[0])
    np.testing.assert_allclose(found, np.diag(p) - np.outer(p, p), atol=1e-6)


def test_a_strength_may_be_traced_and_differ_by_row():
    z, y = batch()
    strengths = np.linspace(0.1, 0.9, 9)
    found = cross_entropy(z, y, label_smoothing=strengths)
    target = sf.smooth(torch.tensor(y), K, torch.tensor(strengths), over="all")
    wanted = sf.reference.cross_entropy(torch.tensor(z), target, reduction="none")
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    slope = jax.jit(jax.grad(lambda eps: adapter.cross_entropy(z, y, label_smoothing=eps).sum()))
    step = [float(np.sum(cross_entropy(z, y, label_smoothing=eps))) for eps in (0.2, 0.4)]
    for eps in (0.0, 0.3):  # the loss is linear in it
        assert float(slope(eps)) == pytest.approx((step[1] - step[0]) / 0.2, rel=1e-4)


def test_value_and_gradient_keep_no_array_of_rows_and_classes_beside_the_gradient():
    z, y = batch(256, 4096)
    z = z.astype(np.float32)

    def extra(loss: Any) -> float:
        compiled = jax.jit(jax.value_and_grad(lambda z, y: loss(z, y).mean())).lower(z, y).compile()
        return compiled.memory_analysis().temp_size_in_bytes / z.nbytes

    def theirs(z: Any, y: Any) -> Any:
        return optax.softmax_cross_entropy(z, optax.smooth_labels(jax.nn.one_hot(y, 4096), 0.1))

    assert extra(lambda z, y: cross_entropy(z, y, label_smoothing=0.1)) < 0.05
    assert extra(theirs) > 1  # so that the measure sees one


@pytest.mark.parametrize(
    ("labels", "how", "error", "message"),
    [
        ([0, 1, 7], {}, IndexError, r"label 7 in row 2 is not a class: logits have 7 classes \(0 to 6\)"),
        ([0, -1, 2], {}, IndexError, r"label -1 in row 1 is not a class: logits have 7 classes \(0 to 6\)"),
        ([0, 1], {}, ValueError, r"labels must be class indices \(3,\) for logits \(3, 7\), got \(2,\)"),
        ([0.0, 1.0, 2.0], {}, ValueError, r"labels must be probabilities \(3, 7\) for logits \(3, 7\), got \(3,\)"),
        ([True, False, True], {}, TypeError, r"labels must be integers \(…\) or probabilities \(…, K\), got bool"),
        ([0, 1, 2], {"label_smoothing": 1.5}, ValueError, r"label_smoothing must be in \[0, 1\], got 1.5"),
        ([0, 1, 2], {"label_smoothing": np.array([0.1, 2, 0])}, ValueError, r"label_smoothing must be in \[0, 1\]"),
        ([0, 1, 2], {"label_smoothing": np.full((3, 1), 0.1)}, ValueError, r"label_smoothing must be .*got \(3, 1\)$"),
        ([0, 1, 2], {"label_smoothing": np.full(2, 0.1)}, ValueError, r"label_smoothing must be .*got \(2,\)$"),
        ([0, 1, 2], {"over": "rest"}, ValueError, 'over must be "others"'),
    ],
)  # fmt: skip
def test_what_has_no_loss_is_refused(labels, how, error, message):
    with pytest.raises(error, match=f"^{message}"):
        adapter.cross_entropy(batch(3)[0], np.array(labels), **how)


def test_a_label_that_is_no_class_is_nan_under_jit():
    found = cross_entropy(batch(3)[0], np.array([0, 9, -1]), label_smoothing=0.1)
    assert np.isnan(found).tolist() == [False, True, True]


def network() -> list[Any]:
    drawn = np.random.default_rng(0)
    return [drawn.normal(size=shape).astype(np.float32) / 8 for shape in ((64, 64), (64, CLASSES))]


def logits_of(weights: list[Any], x: Any) -> Any:
    return jax.nn.relu(x @ weights[0]) @ weights[1]


@pytest.mark.parametrize("over", ["all", "others"])
def test_a_network_reaches_the_closed_form_of_the_digits(over):
    X, y = digits()
    optimiser, weights = optax.adam(0.01), network()

    @jax.jit
    def step(weights: Any, state: Any) -> Any:
        loss = jax.grad(lambda w: cross_entropy(logits_of(w, X), y, label_smoothing=0.1, over=over).mean())
        moved, state = optimiser.update(loss(weights), state)
        return optax.apply_updates(weights, moved), state

    state = optimiser.init(weights)
    for _ in range(250):
        weights, state = step(weights, state)
    assert_at_closed_form(logits_of(weights, X), y, over)


def test_the_lines_for_training_are_a_mean_over_the_rows_that_count():
    X, y = digits()
    weights, labels = network(), np.where(y == 3, -100, y)
    loss = jax.jit(run_block(TITLE, 0, {"model": logits_of})["loss"])(weights, X, labels)
    wanted = torch.nn.functional.cross_entropy(
        torch.tensor(np.array(logits_of(weights, X))), torch.tensor(labels), label_smoothing=0.1
    )
    assert float(loss) == pytest.approx(wanted.item(), rel=1e-5)


def test_the_lines_for_judge_save_the_logits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, y = digits()
    names = {"model": logits_of, "weights": network(), "x_test": X, "labels_test": y}
    run_block(TITLE, 1, names)
    with np.load(tmp_path / "scores" / "smoothed" / "0.npz") as file:
        assert file["logits"].shape == (600, CLASSES)
