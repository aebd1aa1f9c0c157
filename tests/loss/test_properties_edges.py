"""Properties at the edges: extreme shapes and numbers, derivatives of every kind, half precision, and legal ranges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sfumato as sf
from tests.exact import exact
from tests.loss.properties import PROMISED, REDUCTIONS, TINY, each_target, evaluated, few, gaps, last, path, some
from tests.targets.drawn import cases, logits
from tests.targets.registry import TARGETS, WITHOUT_LABEL, Case, Part, to_torch

__all__ = ["path"]  # a fixture: every property is asked twice


@given(data=st.data(), shape=st.sampled_from([(3, 1), (1, 1, 4), (1,), (0, 4), (3, 4, 0), (0, 1)]))
@some
def test_one_class_and_no_position_are_served(data, shape):
    place = shape[:1] + shape[2:] if len(shape) > 1 else ()
    k = shape[1] if len(shape) > 1 else shape[0]
    labels = torch.zeros(place, dtype=torch.long)
    z = torch.full(shape, data.draw(st.floats(-1e300, 1e300)), dtype=torch.float64)
    for target in (labels, sf.one_hot(labels, k), sf.from_probs(torch.full(shape, 1 / k, dtype=torch.float64))):
        loss, grad = evaluated(z, target, reduction="none")
        assert loss.shape == place
        assert grad.shape == shape
        assert k > 1 or bool((loss == 0).all() & (grad == 0).all())
        assert sf.cross_entropy(z, target, reduction="sum") == 0
        assert bool(sf.cross_entropy(z, target).isnan()) == (labels.numel() == 0)


@each_target
@pytest.mark.parametrize("dtype", PROMISED, ids=str)
@given(data=st.data(), gap=st.sampled_from([10.0, 40.0, 400.0]))
@some
def test_a_confident_row_keeps_its_digits(name, dtype, data, gap):
    case = data.draw(cases(name))
    top = np.array(data.draw(st.integers(0, case.num_classes - 1)))
    z = gap * np.eye(case.num_classes)[np.broadcast_to(top, case.labels.shape)]
    loss, grad = evaluated(to_torch(z).to(dtype), case.build(), reduction="none")
    upstream = np.linspace(0.25, 3, case.labels.size).reshape(case.labels.shape)
    truth, slope = exact(z, case.q())
    # These logits are exact in either type, so no rounding of theirs is allowed for; below the range of float32 is 0.
    floor = 1e-37 if dtype == torch.float32 else 1e-300
    relative = 64 * torch.finfo(dtype).eps
    np.testing.assert_allclose(loss.double().numpy(), truth, rtol=relative, atol=floor)
    # A gradient that cancels is exact to a unit of the numbers that it is the difference of, each at most 1.
    q = case.q()
    room = relative * np.maximum(np.minimum(q, np.abs(slope) + q), np.abs(slope)) + 3 * floor
    off = np.abs(last(grad) - slope * upstream[..., None])
    assert (off <= 3 * room + 3 * relative * np.abs(slope).max(-1, keepdims=True)).all()


@each_target
@given(data=st.data())
@some
def test_denormal_and_enormous_logits_give_what_the_formula_says(name, data):
    case = data.draw(cases(name))
    values = st.sampled_from([0.0, 5e-324, -5e-324, 2e-308, 1e-30, 1e300, 1e307, -1e307])  # sums of them are finite
    count = case.labels.size * case.num_classes
    z = np.array(data.draw(st.lists(values, min_size=count, max_size=count))).reshape(*case.labels.shape, -1)
    loss, grad = evaluated(z, case.build(), reduction="none")
    truth, slope = exact(z, case.q())
    off = np.abs(loss.numpy() - truth)
    assert (off <= 1e-14 * np.abs(truth) + 2.0**-52 * gaps(z) + TINY).all()
    assert (
        np.abs(last(grad) - slope * np.linspace(0.25, 3, case.labels.size).reshape(case.labels.shape)[..., None]).max()
        <= 4e-14
    )


@each_target
@given(data=st.data())
@some
def test_an_impossible_class_costs_nothing_without_mass_and_everything_with_it(name, data):
    case = data.draw(cases(name))
    z, q = data.draw(logits(case, largest=50)), case.q()
    lost = data.draw(st.integers(0, case.num_classes - 1))
    z[..., lost] = -np.inf
    loss, grad = evaluated(z, case.build(), reduction="none")
    rest = [k for k in range(case.num_classes) if k != lost]
    truth, slope = exact(z[..., rest], q[..., rest])
    free = q[..., lost] == 0
    upstream = np.linspace(0.25, 3, case.labels.size).reshape(case.labels.shape)[..., None]
    np.testing.assert_allclose(loss.numpy()[free], truth[free], rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(last(grad)[free][..., rest], (slope * upstream)[free], rtol=1e-12, atol=1e-13)
    assert (last(grad)[free][..., lost] == 0).all()
    assert (loss.numpy()[~free] == np.inf).all()
    assert np.isfinite(last(grad)).all()


@each_target
@given(data=st.data())
@few
def test_derivatives_of_every_kind_are_those_of_the_values(name, data):
    case = data.draw(cases(name))
    z, target = to_torch(data.draw(logits(case, largest=8))).requires_grad_(), case.build()
    weight = torch.linspace(0.5, 2, case.num_classes, dtype=torch.float64)
    reduction = data.draw(st.sampled_from(["none", "sum"]))

    def loss(z):
        return sf.cross_entropy(z, target, weight, reduction=reduction)

    with torch.random.fork_rng(devices=[]):
        assert torch.autograd.gradcheck(loss, (z,), check_forward_ad=True)
        assert torch.autograd.gradgradcheck(loss, (z,))


@each_target
@given(data=st.data())
@few
def test_vmap_is_the_loop(name, data):
    case = data.draw(cases(name))
    target = case.build()
    stack = torch.stack([to_torch(data.draw(logits(case, largest=8))) for _ in range(3)])

    def loss(z):
        return sf.cross_entropy(z, target, reduction="sum")

    torch.testing.assert_close(torch.vmap(loss)(stack), torch.stack([loss(z) for z in stack]))
    grads = torch.stack([torch.func.grad(loss)(z) for z in stack])
    torch.testing.assert_close(torch.vmap(torch.func.grad(loss))(stack), grads)


@each_target
@given(data=st.data(), reduction=st.sampled_from(REDUCTIONS), factor=st.sampled_from([1.0, 3.0]))
@some
def test_a_retained_graph_gives_the_same_gradient_again(name, data, reduction, factor):
    case = data.draw(cases(name))
    z = to_torch(data.draw(logits(case))).requires_grad_()
    loss = sf.cross_entropy(z, case.build(), reduction=reduction)
    upstream = torch.full_like(loss, factor)
    first, second, third = (torch.autograd.grad(loss, z, upstream, retain_graph=True)[0].clone() for _ in range(3))
    torch.testing.assert_close(second, first, rtol=0, atol=1e-15)
    assert torch.equal(second, third)


@given(data=st.data(), wanted=st.tuples(st.booleans(), st.booleans()), reduction=st.sampled_from(REDUCTIONS))
@some
def test_only_the_gradients_that_are_asked_for_exist(data, wanted, reduction):
    case = data.draw(cases("from_probs", ignored=False))
    z, q = to_torch(data.draw(logits(case, largest=50))), to_torch(case.q())
    z.requires_grad_(wanted[0])
    q.requires_grad_(wanted[1])
    loss = sf.cross_entropy(z, q, reduction=reduction, label_smoothing=0.1)
    assert loss.requires_grad == any(wanted)
    if any(wanted):
        loss.sum().backward()
    assert (z.grad is not None, q.grad is not None) == wanted
    if wanted[1]:
        surprisal = -(z.detach().log_softmax(0 if z.dim() == 1 else 1))
        share = 0.9 / (case.labels.size if reduction == "mean" else 1)
        torch.testing.assert_close(q.grad, share * surprisal, rtol=1e-10, atol=1e-10)


@each_target
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@given(data=st.data(), reduction=st.sampled_from(REDUCTIONS))
@some
def test_half_precision_is_the_exact_value_rounded_once(name, dtype, data, reduction):
    case = data.draw(cases(name))
    z = to_torch(data.draw(logits(case, largest=500))).to(dtype)
    loss = sf.cross_entropy(z, case.build(), reduction=reduction)
    rows, _ = exact(last(z), case.q())
    counted = case.valid.sum()
    if reduction == "mean" and counted == 0:
        assert loss.isnan()
        return
    truth = rows if reduction == "none" else rows.sum() / (counted if reduction == "mean" else 1)
    info = torch.finfo(dtype)
    unit = info.eps * np.maximum(np.abs(truth), info.smallest_normal)
    float32 = 5e-7 * np.abs(truth) + 2.0**-23 * gaps(last(z)).max() * case.labels.size
    assert loss.dtype == dtype
    assert (np.abs(loss.double().numpy() - truth) <= 0.51 * unit + float32).all()


# The ranges that the cases above are drawn from are those that the code checks: what lies outside of them is refused.


@pytest.mark.parametrize("function", ["label_smoothing", "smooth", "smooth_by_class", "smooth_prior"])
@given(eps=st.floats())
@some
def test_a_strength_is_taken_if_it_is_in_the_range_and_refused_if_it_is_not(function, eps):
    labels, z = torch.tensor([1, 0]), torch.zeros(2, 3)
    call = {
        "label_smoothing": lambda: sf.cross_entropy(z, labels, label_smoothing=eps),
        "smooth": lambda: sf.smooth(labels, 3, torch.tensor([0.5, eps], dtype=torch.float64), over="all"),
        "smooth_by_class": lambda: sf.smooth_by_class(
            labels, torch.tensor([0.5, eps, 0.5], dtype=torch.float64), over="all"
        ),
        "smooth_prior": lambda: sf.smooth_prior(labels, torch.full((3,), 1 / 3), eps),
    }[function]
    if 0 <= eps <= 1:
        call()
    else:
        for kind in (ValueError, RuntimeError):
            with pytest.raises(kind, match=r"must be in \[0, 1\], got (-?\d|-?inf|nan)"):
                call()


@pytest.mark.parametrize("name", ["labels", *(name for name in TARGETS if name not in (*WITHOUT_LABEL, "mix"))])
@given(data=st.data())
@some
def test_a_label_is_taken_if_it_is_a_class_and_refused_if_it_is_not(name, data):
    case = data.draw(cases(name if name != "labels" else "one_hot", batched=True, ignored=False))
    z = torch.zeros(2, 3)
    if name == "labels":
        label = data.draw(st.integers(-(2**63), 2**63 - 1).filter(lambda y: y != -100 and not 0 <= y < 3))
        with pytest.raises(IndexError, match=f"^label {label} in row 1 is not a class"):
            sf.cross_entropy(z, torch.tensor([0, label]))
        return
    labels = case.labels.copy()
    at = tuple(data.draw(st.integers(0, n - 1)) for n in labels.shape)
    labels[at] = case.num_classes + data.draw(st.integers(1, 7))
    parts = {key: part for key, part in case.parts.items() if key != "ignore_index"}
    if "told" in parts:
        parts["told"] = Part(True)  # else there is nothing yet to be beyond
    beyond = Case(name, case.num_classes, labels, parts)
    where = f"row {at[0]}" if len(at) == 1 else rf"position \({', '.join(map(str, at))}\)"
    with pytest.raises(IndexError, match=f"^label {labels[at]} in {where} is not a class"):
        beyond.build()
