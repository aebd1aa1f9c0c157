"""The loss against torch's, against the definition, and against its own promises."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

import sfumato as sf
from sfumato import reference
from tests import needs
from tests.targets.registry import EXAMPLES, example


@pytest.fixture(autouse=True, params=needs.PATHS)
def path(request, monkeypatch):
    """Every claim of this file is made twice: of the compiled kernel and of the torch path."""
    needs.path(request.param, monkeypatch)
    return request.param


DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
each_dtype = pytest.mark.parametrize("dtype", [*DTYPES[:3], pytest.param(*DTYPES[3:], marks=pytest.mark.slow)], ids=str)
SHAPES = [(5,), (7, 5), (4, 5, 3), (2, 5, 3, 2), (6, 1), (0, 5), (3, 5, 0)]


def labels_for(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    positions = () if len(shape) == 1 else (shape[0], *shape[2:])
    return torch.randint(0, shape[0] if len(shape) == 1 else shape[1], positions, generator=generator)


def both(z, target, ours: dict, theirs: dict | None = None):
    """Loss and gradient of ours and torch's on the same leaf values, with a random upstream gradient."""
    results = []
    for function, options in ((sf.cross_entropy, ours), (F.cross_entropy, ours if theirs is None else theirs)):
        leaf = z.clone().requires_grad_()
        loss = function(leaf, target, **options)
        upstream = torch.rand(loss.shape, generator=torch.Generator().manual_seed(1)).to(loss.dtype) + 0.5
        (grad,) = torch.autograd.grad(loss, leaf, upstream)
        results.append((loss.detach(), grad))
    return results


@each_dtype
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("eps", [0.0, pytest.param(1e-8, marks=pytest.mark.slow), 0.1, 1.0])
def test_index_targets_give_torchs_numbers(dtype, shape, reduction, eps):
    generator = torch.Generator().manual_seed(3)
    z = (3 * torch.randn(shape, generator=generator)).to(dtype)
    labels = labels_for(shape, generator)
    num_classes = shape[0] if len(shape) == 1 else shape[1]
    weight = (torch.rand(num_classes, generator=generator) + 0.2).to(dtype)
    for ignore_index, w in itertools.product((-100, 2), (None, weight)):
        options = {"weight": w, "ignore_index": ignore_index, "reduction": reduction, "label_smoothing": eps}
        (loss, grad), (their_loss, their_grad) = both(z, labels, options)
        close(loss, their_loss, z, labels, options)
        if their_grad.isfinite().all():  # torch's is NaN where every row is ignored under a mean
            close(grad, their_grad, z, labels, options, gradient=True)


def close(ours, theirs, z, target, options, gradient=False):
    """assert_close's defaults; in half precision, no further from the truth than torch plus one unit."""
    assert ours.dtype == theirs.dtype
    if z.dtype in (torch.float32, torch.float64):
        torch.testing.assert_close(ours, theirs, equal_nan=True)
        return
    wide = {**options, "weight": None if options["weight"] is None else options["weight"].double()}
    truth = reference.cross_entropy(z, target, **wide)
    if gradient:
        leaf = z.double().requires_grad_()
        loss = reference.cross_entropy(leaf, target, **wide)
        upstream = torch.rand(loss.shape, generator=torch.Generator().manual_seed(1)).to(z.dtype) + 0.5
        (truth,) = torch.autograd.grad(loss, leaf, upstream.double())
    no_further(ours, theirs, truth, z.dtype)


def no_further(ours, theirs, truth, dtype):
    unit = torch.finfo(dtype).eps * truth.abs().clamp(min=torch.finfo(dtype).tiny)
    worse = (ours.double() - truth).abs() - ((theirs.double() - truth).abs().nan_to_num(nan=torch.inf) + unit)
    assert not bool((worse > 0).any()), f"further from the truth than torch by {worse.max().item():g}"


@each_dtype
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("eps", [0.0, 0.1, 1.0])
def test_probability_targets_give_torchs_numbers(dtype, shape, reduction, eps):
    generator = torch.Generator().manual_seed(4)
    z = (3 * torch.randn(shape, generator=generator)).to(dtype)
    axis = 0 if len(shape) == 1 else 1
    q = torch.randn(shape, generator=generator).softmax(axis).to(dtype)
    weight = (torch.rand(shape[axis], generator=generator) + 0.2).to(dtype)
    for w in (None, weight):
        options = {"weight": w, "reduction": reduction, "label_smoothing": eps}
        (loss, grad), (their_loss, their_grad) = both(z, q, options)
        close(loss, their_loss, z, q, options)
        close(grad, their_grad, z, q, options, gradient=True)


def test_probabilities_need_not_be_a_distribution_and_get_torchs_gradient():
    z, q = torch.randn(4, 5, 3), torch.randn(4, 5, 3)
    grads = []
    for function in (sf.cross_entropy, F.cross_entropy):
        leaf = q.clone().requires_grad_()
        function(z, leaf, label_smoothing=0.2).backward()
        grads.append(leaf.grad)
    torch.testing.assert_close(*grads)
    torch.testing.assert_close(sf.cross_entropy(z, q), F.cross_entropy(z, q))


def test_negative_class_weights_are_taken_as_torchs():
    z, labels, weight = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 1, 0]), torch.tensor([1.0, -0.5, 2.0, 0.0])
    for eps in (0.0, 0.3):
        ours, theirs = both(z, labels, {"weight": weight, "label_smoothing": eps})
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("enabled", [False, True])
def test_autocast_returns_float32_as_torchs(enabled):
    z, labels = torch.randn(3, 4).bfloat16(), torch.tensor([0, 1, 3])
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
        ours, theirs = (f(z, labels, label_smoothing=0.1) for f in (sf.cross_entropy, F.cross_entropy))
    assert ours.dtype == theirs.dtype
    torch.testing.assert_close(ours, theirs)


def test_float16_over_many_classes_is_finite_and_the_float32_value_rounded_once():
    z, labels = torch.randn(256, 10000).half(), torch.randint(0, 10000, (256,))
    loss = sf.cross_entropy(z, labels, label_smoothing=0.1)
    assert not F.cross_entropy(z, labels, label_smoothing=0.1).isfinite()
    assert loss.dtype == torch.float16
    assert loss == sf.cross_entropy(z, labels, label_smoothing=0.1, out_dtype=torch.float32).half()
    assert loss == sf.cross_entropy(z.float(), labels, label_smoothing=0.1).half()
    assert loss == reference.cross_entropy(z, labels, label_smoothing=0.1).half()


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


@pytest.mark.parametrize("over", ["others", "all"])
def test_a_mean_over_no_row_is_nan_with_gradient_zero(over):
    z = torch.randn(3, 4, requires_grad=True)
    loss = sf.cross_entropy(z, torch.full((3,), -100), label_smoothing=0.1, over=over)
    loss.backward()
    assert loss.isnan()
    assert torch.equal(z.grad, torch.zeros(3, 4))
    assert sf.cross_entropy(torch.randn(0, 4), torch.zeros(0, dtype=torch.long)).isnan()


def test_a_class_at_minus_infinity_costs_nothing_without_mass_and_everything_with_it():
    z = torch.tensor([[1.0, float("-inf"), 0.0]], requires_grad=True)
    labels = torch.tensor([0])
    for target in (labels, torch.tensor([[1.0, 0.0, 0.0]]), sf.one_hot(labels, 3)):
        loss = sf.cross_entropy(z, target)
        (grad,) = torch.autograd.grad(loss, z)
        p = torch.tensor([1.0, 0.0]).softmax(0)
        assert loss.item() == pytest.approx(-p[0].log().item())
        torch.testing.assert_close(grad, torch.tensor([[p[0] - 1, 0, p[1]]]))
    support = torch.tensor([True, False, True])
    assert sf.cross_entropy(z, sf.smooth(labels, 3, 0.1, over="all", support=support)).isfinite()
    prior = torch.tensor([0.5, 0.0, 0.5])
    assert sf.cross_entropy(z, sf.smooth_prior(labels, prior, 0.1)).isfinite()
    loss = sf.cross_entropy(z, labels, label_smoothing=0.1)
    (grad,) = torch.autograd.grad(loss, z)
    assert loss == torch.inf
    assert grad.isfinite().all()
    everything_elsewhere = sf.smooth(torch.tensor([1]), 3, 1.0, over="others")
    assert sf.cross_entropy(z, everything_elsewhere).isfinite()


@pytest.mark.parametrize("gap", [10.0, 40.0, 400.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_confident_rows_keep_their_digits(gap, dtype):
    z = torch.tensor([[gap, 0.0, -1.0]], dtype=dtype, requires_grad=True)
    loss = sf.cross_entropy(z, torch.tensor([0]))
    exact = torch.log1p(torch.tensor(1 + torch.e**-1, dtype=torch.float64) * torch.exp(-torch.tensor(gap).double()))
    assert loss.double().item() == pytest.approx(exact.item(), rel=1e-14 if dtype == torch.float64 else 5e-7)


@pytest.mark.parametrize("over", ["others", "all"])
@pytest.mark.parametrize("eps", [0.0, 0.1, 0.95, 1.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_loss_and_gradient_stay_within_the_promised_bounds(over, eps, dtype):
    generator = torch.Generator().manual_seed(5)
    bound, unit = (1e-14, 2.0**-52) if dtype == torch.float64 else (5e-7, 2.0**-23)
    for k, scale, offset in itertools.product((2, 10, 1000, 5000), (1.0, 30.0, 1e4), (0.0, 9e3)):
        z = (scale * (2 * torch.rand(16, k, generator=generator, dtype=torch.float64) - 1) + offset).to(dtype)
        target = sf.smooth(torch.randint(0, k, (16,), generator=generator), k, eps, over=over)
        leaf = z.clone().requires_grad_()
        loss = sf.cross_entropy(leaf, target, reduction="none")
        (grad,) = torch.autograd.grad(loss.sum(), leaf)
        truth = reference.cross_entropy(z, target, reduction="none")
        largest_gap = (z.max(1).values - z.min(1).values).double()
        assert bool(((loss.double() - truth).abs() <= bound * truth.abs() + unit * largest_gap).all()), (k, scale)
        exact = reference.gradient(z, target, reduction="none")
        assert bool(((grad.double() - exact).abs() <= bound + unit * largest_gap.unsqueeze(1)).all()), (k, scale)


@pytest.mark.parametrize("offset", [1e4, -1e4, 1e6])
def test_a_large_offset_does_not_cancel(offset):
    z = torch.randn(8, 100, dtype=torch.float64).mul(4).round().div(4)  # exact under the offset
    labels = torch.randint(0, 100, (8,))
    for dtype in (torch.float64, torch.float32):
        shifted = (z + offset).to(dtype)
        torch.testing.assert_close(
            sf.cross_entropy(shifted, labels, label_smoothing=0.1, out_dtype=torch.float64),
            reference.cross_entropy(z, labels, label_smoothing=0.1),
            rtol=1e-14 if dtype == torch.float64 else 5e-7,
            atol=0,
        )


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("weight_on", [None, "class", "sample"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_every_target_agrees_with_the_definition(name, weight_on, reduction):
    generator = torch.Generator().manual_seed(6)
    z = torch.randn(9, 6, generator=generator, dtype=torch.float64) * 4
    target = example(name, torch.randint(0, 5, (9,), generator=generator), 6).build()
    weight = None if weight_on is None else torch.rand(6, generator=generator, dtype=torch.float64) + 0.1
    options = {"weight_on": weight_on or "class", "reduction": reduction, "sample_weight": torch.rand(9).double()}
    leaf = z.clone().requires_grad_()
    loss = sf.cross_entropy(leaf, target, weight, **options)
    torch.testing.assert_close(
        loss.detach(), reference.cross_entropy(z, target, weight, **options), rtol=1e-13, atol=1e-15
    )
    (grad,) = torch.autograd.grad(loss.sum(), leaf)
    torch.testing.assert_close(grad, reference.gradient(z, target, weight, **options), rtol=1e-12, atol=1e-14)


def test_class_weights_move_the_optimum_and_sample_weights_do_not():
    labels, weight = torch.tensor([0]), torch.tensor([1.0, 100.0], dtype=torch.float64)
    target = sf.smooth(labels, 2, 0.1, over="all")
    optima = {}
    for weight_on in ("class", "sample"):
        z = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
        for _ in range(400):
            loss = sf.cross_entropy(z, target, weight, weight_on=weight_on)
            (grad,) = torch.autograd.grad(loss, z)
            z = (z - 0.3 * grad).detach().requires_grad_()
        optima[weight_on] = z.detach().softmax(1)[0, 0].item()
    assert optima["class"] == pytest.approx(0.95 / (0.95 + 100 * 0.05), abs=1e-3)
    assert optima["sample"] == pytest.approx(0.95, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_first_second_and_forward_derivatives(name):
    y = torch.tensor([0, 3, 1])
    target = example(name, y, 6).build()
    weight = torch.rand(6).double() + 0.1
    z = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)

    def loss(z):
        return sf.cross_entropy(z, target, weight, reduction="none")

    assert torch.autograd.gradcheck(loss, (z,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(loss, (z,))


def test_derivatives_reach_plain_probabilities():
    z, q = (torch.randn(3, 4, 2, dtype=torch.float64).softmax(1).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(lambda z, q: sf.cross_entropy(z, q, label_smoothing=0.1), (z, q))
    assert torch.autograd.gradgradcheck(lambda z, q: sf.cross_entropy(z, q, label_smoothing=0.1), (z, q))


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


def test_inputs_are_never_changed():
    z, q, w = torch.randn(4, 3, requires_grad=True), torch.rand(4, 3).softmax(1), torch.rand(3)
    labels = torch.tensor([0, 2, -100, 1])
    before = [t.clone() for t in (z, q, w, labels)]
    for target in (labels, q):
        sf.cross_entropy(z, target, w, label_smoothing=0.1).backward()
        sf.loss_parts(z, target, w, label_smoothing=0.1)
    for now, then in zip((z, q, w, labels), before, strict=True):
        assert torch.equal(now, then)


def test_strided_inputs_are_read_as_they_are():
    z = torch.randn(6, 5, 4)
    labels = torch.randint(0, 5, (6, 4))
    plain = sf.cross_entropy(z, labels, label_smoothing=0.1)
    views = {
        "transposed": z.movedim(1, 2).contiguous().movedim(2, 1),
        "sliced": torch.cat([z, z], 2)[:, :, :4],
        "expanded labels": z,
    }
    for name, view in views.items():
        torch.testing.assert_close(sf.cross_entropy(view, labels, label_smoothing=0.1), plain, msg=name)
    torch.testing.assert_close(
        sf.cross_entropy(z, labels[:1].expand(6, 4)), sf.cross_entropy(z, labels[:1].repeat(6, 1))
    )


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


def test_a_mean_over_rows_of_no_weight_is_nan_with_gradient_zero():
    z = torch.randn(3, 4, requires_grad=True)
    loss = sf.cross_entropy(z, torch.tensor([0, 1, 2]), sample_weight=torch.zeros(3), label_smoothing=0.1)
    loss.backward()
    assert loss.isnan()
    assert torch.equal(z.grad, torch.zeros(3, 4))


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


def test_a_retained_graph_gives_the_same_gradient_twice():
    z, labels = torch.randn(5, 4, requires_grad=True), torch.tensor([0, 1, 2, 3, 0])
    loss = sf.cross_entropy(z, labels, label_smoothing=0.1)
    first, second = (torch.autograd.grad(loss, z, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
