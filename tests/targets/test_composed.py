"""Every target of the registry: its loss is that of its dense array, which its formula gives, on both paths."""

from __future__ import annotations

import pytest
import torch

import sfumato as sf
from sfumato import reference
from sfumato.arguments import resolve
from sfumato.kernel import job
from sfumato.loss import flatten
from sfumato.targets.dense import Dense
from tests import needs
from tests.targets.registry import EXAMPLES, Case, example, to_torch


@pytest.fixture(autouse=True, params=needs.PATHS)
def path(request, monkeypatch):
    needs.path(request.param, monkeypatch)
    return request.param


LARGE = [pytest.param(shape, marks=pytest.mark.slow) for shape in [(70, 64), (2, 90, 3, 2)]]
SHAPES = [(7, 5), (5, 100), (3, 7, 4), *LARGE]


def made(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Case, sf.Target, torch.Tensor]:
    """An example of the table whose first row is ignored, its target and its array."""
    generator = torch.Generator().manual_seed(shape[1])
    labels = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)
    labels[0] = -1
    case = example(name, labels, shape[1], dtype)
    return case, case.build(), to_torch(case.q())


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_loss_and_gradient_are_those_of_the_array(name, shape, dtype, path):
    bound = 5e-7 if dtype == torch.float32 else 1e-14
    case, target, q = made(name, shape, dtype)
    generator = torch.Generator().manual_seed(0)
    z = (3 * torch.randn(shape, generator=generator)).to(dtype)
    weight = torch.rand(shape[1], generator=generator, dtype=torch.float64) + 0.2
    along = weight.reshape((1, -1) + (1,) * (len(shape) - 2))
    valid, of_label = torch.from_numpy(case.valid), case.label_weight(weight.numpy())
    rows = (along * q).sum(1) if of_label is None else torch.where(valid, torch.from_numpy(of_label), 0.0)
    p = (z.double() - z.double().logsumexp(1, keepdim=True)).exp()
    for weight_on in (None, "class", "sample"):
        wq = q * (along if weight_on == "class" else 1.0)
        each = (wq * -p.log()).sum(1)
        factor = rows if weight_on == "sample" else torch.ones_like(each)
        weighted = weight_on == "sample" or (weight_on == "class" and of_label is not None)
        divisor = rows.sum() if weighted else valid.sum()
        options = {} if weight_on is None else {"weight": weight.to(dtype), "weight_on": weight_on}
        leaf = z.clone().requires_grad_()
        loss = sf.cross_entropy(leaf, target, **options)
        (grad,) = torch.autograd.grad(loss, leaf)
        expected = (each * factor).sum() / divisor
        exact = factor.unsqueeze(1) * (wq.sum(1, keepdim=True) * p - wq) / divisor
        # The array in the test has roundings of its own, a few units in the last place of float64.
        assert abs(loss.double() - expected) <= (bound + 1e-14) * expected * 2
        # The gradient Σq·p − q is as large as the mass of its row, which several labels have above 1.
        assert float((grad.double() - exact).abs().max()) <= (bound + 1e-14) * max(1.0, float(q.sum(1).max()))
        assert bool((grad[0] == 0).all())
        torch.testing.assert_close(
            reference.cross_entropy(z, target, **options), expected, rtol=3e-7 if weight_on else 1e-13, atol=0
        )


@pytest.mark.parametrize("name", EXAMPLES)
def test_all_of_them_run_on_the_kernel(name):
    _, target, _ = made(name, (7, 5), torch.float32)
    assert flatten.flatten(*resolve(torch.randn(7, 5), target, None)) is not None


@pytest.mark.parametrize("name", EXAMPLES)
def test_half_precision_is_the_float32_value_rounded_once(name):
    _, target, _ = made(name, (6, 90), torch.float32)
    z = (4 * torch.randn(6, 90)).bfloat16()
    loss = sf.cross_entropy(z, target, reduction="none")
    assert torch.equal(loss, sf.cross_entropy(z.float(), target, reduction="none").bfloat16())


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_slice_of_the_target_is_the_target_of_the_slice(name):
    _, target, q = made(name, (7, 5), torch.float64)
    torch.testing.assert_close(target[2:5].to_dense(torch.float64), q[2:5])
    torch.testing.assert_close(target[3].to_dense(torch.float64), q[3])
    assert sf.cross_entropy(torch.zeros(5), target[3]).isfinite()


@pytest.mark.parametrize("form", ["others", "all", "prior"])
@pytest.mark.parametrize("classes", [6, 90])
def test_a_support_of_its_own_a_position_is_served_too(form, classes):
    generator = torch.Generator().manual_seed(4)
    y = torch.randint(0, classes, (9,), generator=generator)
    y[3] = -100
    support = torch.rand(9, classes, generator=generator) < 0.5
    support[:, :2] = True
    support.scatter_(1, y.clamp(min=0).unsqueeze(1), True)
    prior = torch.rand(classes, generator=generator, dtype=torch.float64)
    prior = prior / prior.sum()
    if form == "prior":
        target = sf.smooth_prior(y, prior, 0.3, support=support)
    else:
        target = sf.smooth(y, classes, 0.3, over=form, support=support)
    z = torch.where(support, torch.randn(9, classes, generator=generator), -torch.inf).requires_grad_()
    loss = sf.cross_entropy(z, target)
    (grad,) = torch.autograd.grad(loss, z)
    assert loss.isfinite()
    torch.testing.assert_close(loss.double(), reference.cross_entropy(z.detach(), target), rtol=5e-7, atol=0)
    torch.testing.assert_close(grad.double(), reference.gradient(z.detach(), target), rtol=0, atol=5e-7)


@pytest.mark.parametrize("kind", ["support", "probabilities"])
def test_places_that_lie_in_memory_in_another_order_than_the_logits_are_served_too(kind):
    generator = torch.Generator().manual_seed(5)
    y = torch.randint(0, 4, (3, 2, 5), generator=generator)
    z = torch.randn(3, 4, 2, 5, generator=generator, dtype=torch.float64)
    given = torch.rand(3, 4, 2, 5, generator=generator, dtype=torch.float64).softmax(1)
    given = given if kind == "probabilities" else (given < given.mean()).scatter(1, y.unsqueeze(1), True)
    turned = given.transpose(2, 3).contiguous().transpose(2, 3)  # (…, 2, 5) with strides that are no one block's
    assert job.collapse(turned) is None
    values = [
        sf.cross_entropy(
            z, sf.from_probs(each) if kind == "probabilities" else sf.smooth(y, 4, 0.3, over="all", support=each)
        )
        for each in (given, turned)
    ]
    torch.testing.assert_close(values[1], values[0], rtol=1e-14, atol=0)


def test_a_pair_with_probabilities_is_probabilities():
    y = torch.tensor([0, 2])
    mixed = sf.mix(sf.from_probs(torch.tensor([[0.2, 0.8, 0.0], [1.0, 0.0, 0.0]])), sf.one_hot(y, 3), 0.5)
    assert isinstance(mixed, Dense)
    torch.testing.assert_close(mixed.probs(), torch.tensor([[0.6, 0.4, 0.0], [0.5, 0.0, 0.5]]))


@pytest.mark.parametrize("rest", ["uniform", "renormalise", "drop"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_stored_probabilities_may_sum_to_a_unit_above_1_as_rounded_ones_do(rest, dtype):
    unit = torch.finfo(dtype).eps
    probs = torch.tensor([[1.0, unit]], dtype=dtype)  # both exact, and so is their sum in float64
    made = sf.distil_top(torch.tensor([0]), torch.tensor([[2, 0]]), probs, 1.0, rest=rest, num_classes=3)
    torch.testing.assert_close(made.probs().double(), torch.tensor([[unit, 0, 1]]).double(), rtol=0, atol=unit)
    with pytest.raises(ValueError, match="probs must sum to at most 1"):
        sf.distil_top(torch.tensor([0]), torch.tensor([[2, 0]]), probs * torch.tensor([[1, 16]]), 1.0, rest=rest)


def test_what_is_sampled_is_the_teacher_on_average_and_what_is_stored_is_not():
    """Over every way to draw three of four classes, each weighted by how likely it is."""
    p = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    draws = torch.cartesian_prod(*[torch.arange(4)] * 3)
    likely = p[draws].prod(1)
    mean = likely @ sf.distil_sampled(draws, num_classes=4).to_dense(torch.float64)
    torch.testing.assert_close(mean, p, rtol=1e-14, atol=0)
    label = torch.tensor([0])
    for rest, bias in (("renormalise", 0.15), ("drop", 0.15), ("uniform", 0.05)):
        top = sf.distil_top(label, torch.tensor([[0, 1]]), p[None, :2], 1.0, rest=rest, num_classes=4)
        assert (top.to_dense(torch.float64)[0] - p).abs().max().item() == pytest.approx(bias)
