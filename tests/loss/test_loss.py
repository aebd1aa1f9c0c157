"""The loss against torch's, against the definition, and against its own promises."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

import sfumato as sf
from sfumato import reference
from tests import needs


@pytest.fixture(autouse=True, params=needs.PATHS)
def path(request, monkeypatch):
    """Every claim of this file is made twice: of the compiled kernel and of the torch path."""
    needs.path(request.param, monkeypatch)
    return request.param


DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def no_further(ours, theirs, truth, dtype):
    unit = torch.finfo(dtype).eps * truth.abs().clamp(min=torch.finfo(dtype).tiny)
    worse = (ours.double() - truth).abs() - ((theirs.double() - truth).abs().nan_to_num(nan=torch.inf) + unit)
    assert not bool((worse > 0).any()), f"further from the truth than torch by {worse.max().item():g}"


def test_float16_over_many_classes_is_finite_and_the_float32_value_rounded_once():
    z, labels = torch.randn(256, 10000).half(), torch.randint(0, 10000, (256,))
    loss = sf.cross_entropy(z, labels, label_smoothing=0.1)
    assert not F.cross_entropy(z, labels, label_smoothing=0.1).isfinite()
    assert loss.dtype == torch.float16
    assert loss == sf.cross_entropy(z, labels, label_smoothing=0.1, out_dtype=torch.float32).half()
    assert loss == sf.cross_entropy(z.float(), labels, label_smoothing=0.1).half()
    assert loss == reference.cross_entropy(z, labels, label_smoothing=0.1).half()


Z = torch.tensor([[10.0, 1.0, -2.0], [0.0, 2.0, -torch.inf]], dtype=torch.float64)
Y, HARD = torch.tensor([1, 0]), torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
# Linear in a mass that is 0 at some classes or rows: the loss of a mass, and the mass that it is moved to, where the
# impossible class of the second row gets none.
OF_A_MASS = {
    "probabilities": (lambda q: sf.cross_entropy(Z, q, reduction="sum"), HARD, HARD[[1, 1]]),
    "probabilities as a target": (lambda q: sf.cross_entropy(Z, sf.from_probs(q), reduction="sum"), HARD, HARD[[1, 1]]),
    "probabilities, focal": (lambda q: sf.penalty.focal(Z, q, gamma=2.0, reduction="sum"), HARD, HARD[[1, 1]]),
    "probabilities, negative": (
        lambda q: sf.penalty.negative_smoothing(Z[:1], q, rate=-0.5, reduction="sum"), HARD[:1], HARD[1:],
    ),
    "a prior": (
        lambda u: sf.cross_entropy(Z, sf.smooth_prior(Y, u, 0.3), reduction="sum"), HARD[0], HARD[1],
    ),
    "a strength": (
        lambda e: sf.cross_entropy(Z[:1], sf.smooth(Y[:1], 3, e, over="others"), reduction="sum"),
        torch.zeros(1, dtype=torch.float64), torch.full((1,), 0.4, dtype=torch.float64),
    ),
    "row weights": (lambda w: sf.cross_entropy(Z, Y, sample_weight=w, reduction="sum"), HARD[0, :2], HARD[1, :2]),
    "row weights of the definition": (
        lambda w: reference.cross_entropy(Z, Y, sample_weight=w, reduction="sum"), HARD[0, :2], HARD[1, :2],
    ),
    "class weights": (lambda w: sf.cross_entropy(Z, Y, w, reduction="sum"), HARD[0], HARD[1]),
    "the definition": (lambda q: reference.cross_entropy(Z, q, reduction="sum"), HARD, HARD[[1, 1]]),
}  # fmt: skip


@pytest.mark.parametrize("of", OF_A_MASS)
def test_a_mass_of_0_keeps_its_derivative(of):
    loss, start, end = OF_A_MASS[of]
    leaf = start.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(leaf), leaf)
    assert slope.isfinite().all()
    along = (slope * (end - start)).sum()
    torch.testing.assert_close(along, loss(end) - loss(start), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("target", ["labels", "probs"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("weighted", [False, True])
def test_an_ignored_row_is_inert_whatever_it_holds(target, bad, weighted):
    z = torch.randn(5, 4)
    labels = torch.tensor([0, 1, -100, 3, 2])
    weight = torch.tensor([1.0, 2.0, 0.5, 3.0]) if weighted else None
    poisoned = z.clone()
    poisoned[2] = bad
    given = labels
    if target == "probs":
        q = torch.rand(5, 4).softmax(1)
        q[2] = bad
        given = sf.from_probs(q, mask=labels != -100)
    options = {} if target == "probs" else {"label_smoothing": 0.1}
    leaf, clean = poisoned.clone().requires_grad_(), z.clone().requires_grad_()
    loss, expected = (sf.cross_entropy(x, given, weight, **options) for x in (leaf, clean))
    assert torch.equal(loss, expected)
    loss.backward()
    expected.backward()
    assert torch.equal(leaf.grad[2], torch.zeros(4))
    assert torch.equal(leaf.grad, clean.grad)
    assert torch.equal(poisoned.nan_to_num(), leaf.detach().nan_to_num())


def test_vmap_over_the_batch_is_the_loop():
    z, labels = torch.randn(5, 4), torch.tensor([0, 3, -100, 1, 2])
    for eps in (0.0, 0.1):

        def one(z, label, eps=eps):
            return sf.cross_entropy(z, label, label_smoothing=eps, reduction="sum")

        rows = torch.vmap(one)(z, labels)
        torch.testing.assert_close(rows, sf.cross_entropy(z, labels, label_smoothing=eps, reduction="none"))
        grads = torch.vmap(torch.func.grad(one))(z, labels)
        leaf = z.clone().requires_grad_()
        sf.cross_entropy(leaf, labels, label_smoothing=eps, reduction="sum").backward()
        torch.testing.assert_close(grads, leaf.grad)


@pytest.mark.parametrize("kind", ["labels", "probs", "target"])
def test_compiles_without_a_graph_break(kind):
    z = torch.randn(5, 4, requires_grad=True)
    labels = torch.tensor([0, 3, -100, 1, 2])
    target = labels if kind == "labels" else torch.rand(5, 4).softmax(1)

    def loss(z, target):
        if kind == "target":
            return sf.cross_entropy(z, sf.smooth(labels, 4, 0.1, over="others"))
        return sf.cross_entropy(z, target, label_smoothing=0.1)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(z, target), loss(z, target))


def test_overwriting_a_leaf_or_a_view_is_refused():
    z, labels = torch.randn(3, 4, requires_grad=True), torch.tensor([0, 1, 3])
    with pytest.raises(RuntimeError, match="the logits are a leaf"):
        sf.cross_entropy(z, labels, overwrite_logits=True)
    with pytest.raises(RuntimeError, match="the logits are a view"):
        sf.cross_entropy((z * 2).view(3, 4), labels, overwrite_logits=True)
    computed = z * 2
    sf.cross_entropy(computed, labels, overwrite_logits=True).backward()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("gap", [8.0, 16.0, 20.0, 40.0, 80.0])
def test_the_gradient_of_a_confident_row_keeps_its_digits(gap, dtype):
    z = torch.tensor([[gap, 0.0, 0.0]], dtype=dtype, requires_grad=True)
    (grad,) = torch.autograd.grad(sf.cross_entropy(z, torch.tensor([0])), z)
    small = torch.exp(torch.tensor(-gap).double())
    exact = torch.tensor([[-2.0, 1.0, 1.0]]).double() * small / (1 + 2 * small)
    torch.testing.assert_close(grad.double(), exact, rtol=8 * torch.finfo(dtype).eps, atol=0)
    torch.testing.assert_close(reference.gradient(z, torch.tensor([0])), exact, rtol=1e-14, atol=0)


def test_a_row_of_weight_zero_costs_nothing_even_where_it_is_impossible():
    z = torch.tensor([[0.0, float("-inf"), 1.0], [0.0, 1.0, 2.0]])
    labels, weight = torch.tensor([1, 0]), torch.tensor([1.0, 0.0, 1.0])
    expected = F.cross_entropy(z[1:], labels[1:]).item()
    for function in (sf.cross_entropy, reference.cross_entropy):
        assert function(z, labels, weight, weight_on="sample").item() == pytest.approx(expected)
        assert function(z, labels, weight).item() == pytest.approx(expected)
        assert function(z, labels, sample_weight=torch.tensor([0.0, 1.0])).item() == pytest.approx(expected)
    assert sf.loss_parts(z, labels, weight).nll.item() == pytest.approx(expected)


def test_tracers_and_devices_without_values_are_served():
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    z, labels = torch.randn(3, 4), torch.tensor([0, 1, 3])
    with FakeTensorMode() as mode:
        assert sf.cross_entropy(mode.from_tensor(z), mode.from_tensor(labels), label_smoothing=0.1).shape == ()
    traced = make_fx(lambda z, y: sf.cross_entropy(z, y, label_smoothing=0.1))(z, labels)
    torch.testing.assert_close(traced(z, labels), sf.cross_entropy(z, labels, label_smoothing=0.1))
    for dtype in DTYPES:
        assert sf.cross_entropy(z.to(dtype).to("meta"), labels.to("meta")).dtype == dtype


def test_float32_is_never_further_from_the_truth_than_torch_plus_one_unit():
    generator = torch.Generator().manual_seed(8)
    for k, scale, eps in itertools.product((2, 10, 1000), (1.0, 10.0, 1e3), (0.0, 0.1, 0.5, 1.0)):
        z = torch.randn(200, k, generator=generator) * scale
        labels = torch.randint(0, k, (200,), generator=generator)
        for reduction in ("none", "mean"):
            options = {"label_smoothing": eps, "reduction": reduction}
            ours, theirs = (f(z, labels, **options) for f in (sf.cross_entropy, F.cross_entropy))
            no_further(ours, theirs, reference.cross_entropy(z, labels, **options), torch.float32)


def test_a_loss_scale_of_65536_reaches_float16_gradients():
    z = (torch.randn(64, 1000) * 4).half().requires_grad_()
    labels = torch.randint(0, 1000, (64,))
    loss = sf.cross_entropy(z, labels, label_smoothing=0.1, out_dtype=torch.float32)
    (grad,) = torch.autograd.grad(loss * 65536, z)
    exact = reference.gradient(z.detach(), labels, label_smoothing=0.1) * 65536
    torch.testing.assert_close(grad.double(), exact, rtol=2**-10, atol=2**-24)
    assert (grad == 0).double().mean() < 0.001
