"""The numbers of rows on ranks without processes: whatever the cut of the classes, they are those of the definition.

Each slice is worked on in turn, and the exchanges are a maximum and a sum over a list.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import sfumato as sf
from sfumato import reference
from sfumato.loss.reduce import reduce, weigh
from sfumato.loss.slices import RowNumbers
from sfumato.parallel import rank
from sfumato.parallel.rank import ClassRange, Request, slice_gradient, slice_numbers
from sfumato.targets.dense import Dense
from tests import needs
from tests.golden.make_mpmath_rows import FILE, logits_of
from tests.loss.properties import PROMISED, REDUCTIONS, WEIGHT_ON, some
from tests.parallel.common import own_target
from tests.targets.drawn import cases, logits
from tests.targets.registry import EXAMPLES, OVER, TARGETS, example, to_torch


def split_loss(
    z: Tensor, target: Any, cuts: Sequence[int], weight: Tensor | None = None, **options: Any
) -> tuple[Tensor, Tensor]:
    """The loss of logits (N, K, …) cut into slices, and its gradient, under an upstream gradient that is not 1."""
    ranges = [ClassRange(start, stop, z.shape[1]) for start, stop in itertools.pairwise(cuts)]
    slices = [z[:, each.start : each.stop] for each in ranges]
    calls = [
        Request(own, own_target(target, each), weight, None, options).over(each)  # type: ignore[arg-type]
        for own, each in zip(slices, ranges, strict=True)
    ]
    mine = [slice_numbers(own, call, each) for own, call, each in zip(slices, calls, ranges, strict=True)]
    top = torch.stack([each.top for each in mine]).amax(0)
    total = torch.stack([each.against(top) for each in mine]).sum(0)
    rows = RowNumbers.of(top, total)
    each = rows.loss.detach().requires_grad_()
    loss = reduce(calls[0], each, weigh(calls[0], each.dtype))
    upstream = torch.linspace(0.25, 3, loss.numel(), dtype=loss.dtype).reshape(loss.shape)
    (back,) = torch.autograd.grad(loss, each, upstream)
    grads = [
        slice_gradient(own, numbers, rows, back, call, classes)
        for own, numbers, call, classes in zip(slices, mine, calls, ranges, strict=True)
    ]
    return loss.detach(), torch.cat(grads, 1)


@st.composite
def cuts(draw, classes: int) -> list[int]:
    """One to five slices, some of them empty."""
    inner = draw(st.lists(st.integers(0, classes), max_size=4))
    return [0, *sorted(inner), classes]


def truth(z, target, weight=None, **options):
    """The definition's loss, and its gradient under the upstream gradient of ``split_loss``."""
    loss = reference.cross_entropy(z, target, weight, **options)
    upstream = torch.linspace(0.25, 3, loss.numel(), dtype=torch.float64).reshape(loss.shape)
    if loss.dim():
        upstream = upstream.unsqueeze(1)
    return loss, reference.gradient(z, target, weight, **options) * upstream


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
@some
def test_any_cut_gives_the_loss_and_the_gradient_of_the_definition(name, data):
    case = data.draw(cases(name, batched=True))
    z = to_torch(data.draw(logits(case))).double()
    weight, options = None, {"reduction": data.draw(st.sampled_from(REDUCTIONS))}
    target = case.build()
    target = target if target.num_classes else target.with_classes(case.num_classes)
    if data.draw(st.booleans()):
        weight = torch.from_numpy(np.array(data.draw(st.lists(st.floats(0, 3), min_size=6, max_size=6))))
        weight = weight[: case.num_classes]
        dense = isinstance(target, Dense)  # whose slices are probabilities without labels, which would weigh a mean
        options["weight_on"] = data.draw(st.sampled_from(["class"] if dense else WEIGHT_ON))
        options["reduction"] = "sum" if dense and options["reduction"] == "mean" else options["reduction"]
    loss, grad = split_loss(z, target, data.draw(cuts(case.num_classes)), weight, **options)
    exact, gradient = truth(z, target, weight, **options)
    gap = float((z.amax(1) - z.amin(1)).max())
    torch.testing.assert_close(loss, exact, rtol=1e-12, atol=1e-15 * (1 + gap), equal_nan=True)
    torch.testing.assert_close(grad, gradient, rtol=1e-12, atol=1e-14 + 2.0**-50 * gap, equal_nan=True)


@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("eps", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("dtype", PROMISED, ids=str)
def test_a_split_loss_stays_within_the_promised_bounds(over, eps, dtype):
    bound, unit = PROMISED[dtype]
    generator = torch.Generator().manual_seed(5)
    for k, scale, offset in ((2, 1.0, 0.0), (10, 30.0, 9e3), (1000, 1e4, 0.0), (5000, 30.0, 9e3)):
        z = (scale * (2 * torch.rand(16, k, generator=generator, dtype=torch.float64) - 1) + offset).to(dtype)
        target = sf.smooth(torch.randint(0, k, (16,), generator=generator), k, eps, over=over)
        loss, grad = split_loss(z, target, [0, k // 3, k // 3, k - 1, k], reduction="none", out_dtype=torch.float64)
        exact, gradient = truth(z, target, reduction="none")
        gap = (z.max(1).values - z.min(1).values).double()
        assert bool(((loss - exact).abs() <= bound * exact.abs() + unit * gap).all()), (k, scale)
        upstream = torch.linspace(0.25, 3, 16, dtype=torch.float64)
        room = (bound + unit * gap) * upstream
        assert bool(((grad.double() - gradient).abs() <= room.unsqueeze(1)).all()), (k, scale)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_rows_of_mpmath_stay_within_the_promised_bounds_when_they_are_cut(dtype):
    bound, unit = PROMISED[dtype]
    lines = [row for row in map(json.loads, FILE.read_text().splitlines()) if row["k"] <= 1000]
    for row in lines:
        z = torch.from_numpy(logits_of(row)).unsqueeze(0).to(dtype)
        target = sf.smooth(torch.tensor([row["label"]]), row["k"], row["eps"], over=row["over"])
        cut = [0, row["label"], row["label"] + 1, row["k"]]
        loss, grad = split_loss(z, target, cut, reduction="sum", out_dtype=dtype)
        exact = reference.cross_entropy(z, target, reduction="sum").item()
        gap = (z.double().max() - z.double().min()).item()
        assert abs(loss.item() - exact) <= bound * abs(exact) + unit * gap + torch.finfo(torch.float32).tiny, row
        off = (grad.double() - 0.25 * reference.gradient(z, target, reduction="sum")).abs().max().item()
        assert off <= 0.25 * (bound + unit * gap), row


@pytest.mark.parametrize("name", EXAMPLES)
def test_blocks_of_rows_give_the_numbers_of_all_rows(name, monkeypatch):
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(9, 6, 2, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 6, (9, 2), generator=generator)
    labels[4, 1] = -1
    target = example(name, labels, 6).build()
    whole = split_loss(z, target, [0, 2, 6], reduction="none")
    monkeypatch.setattr(rank, "_BLOCK", 20)  # two rows of one slice, one of the other
    blocks = split_loss(z, target, [0, 2, 6], reduction="none")
    assert all(torch.equal(a, b) for a, b in zip(whole, blocks, strict=True))


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_kernel_and_torch_operations_give_the_same(name, monkeypatch):
    needs.kernel()
    generator = torch.Generator().manual_seed(4)
    z = torch.randn(9, 130, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 130, (9,), generator=generator)
    labels[4], z[4] = -1, torch.nan
    target = example(name, labels, 130).build()
    if target.valid is None:  # the row counts
        z[4] = 0.0
    served, for_kernel = [], rank._for_kernel
    monkeypatch.setattr(rank, "_for_kernel", lambda *a: served.append(for_kernel(*a)) or served[-1])
    on_kernel = split_loss(z, target, [0, 2, 67, 130], reduction="none")
    terms = target.terms(torch.float64)
    dense = terms.dense is not None or any(each.support is not None for each in terms.backs)
    assert [each is None for each in served] == [dense] * 6
    monkeypatch.setattr(rank, "_for_kernel", lambda *a: None)
    in_torch = split_loss(z, target, [0, 2, 67, 130], reduction="none")
    for a, b in zip(on_kernel, in_torch, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("cut", [[0, 1, 3], [0, 2, 3], [0, 0, 3], [0, 1, 2, 3]])
@pytest.mark.parametrize("gap", [10.0, 40.0, 400.0])
def test_a_confident_row_keeps_the_digits_of_its_loss_and_gradient(cut, gap):
    z = torch.tensor([[gap, 0.0, -1.0]], dtype=torch.float64)
    loss, grad = split_loss(z, torch.tensor([0]), cut, reduction="sum")
    others = (1 + np.exp(-1.0)) * np.exp(-gap)
    assert loss.item() == pytest.approx(np.log1p(others), rel=1e-14)
    assert grad[0, 0].item() == pytest.approx(-0.25 * others / (1 + others), rel=1e-13, abs=0)


@pytest.mark.parametrize("cut", [[0, 2, 4], [0, 1, 4], [0, 3, 4]])
def test_a_slice_of_minus_infinity_costs_nothing_without_mass(cut):
    z = torch.tensor([[1.0, 2.0, -torch.inf, -torch.inf]], dtype=torch.float64)
    loss, grad = split_loss(z, torch.tensor([0]), cut, reduction="sum")
    assert loss.item() == pytest.approx(np.log1p(np.e), rel=1e-15)
    assert grad[0, 2:].tolist() == [0.0, 0.0]


def test_mass_on_a_class_at_minus_infinity_costs_infinity_with_a_finite_gradient():
    z = torch.tensor([[1.0, 2.0, -torch.inf]], dtype=torch.float64)
    loss, grad = split_loss(z, torch.tensor([0]), [0, 2, 3], reduction="sum", label_smoothing=0.1)
    assert loss == torch.inf
    assert grad.isfinite().all()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_on_one_rank_is_nan_on_all(bad):
    z = torch.tensor([[1.0, bad, 0.0]], dtype=torch.float64)
    loss, grad = split_loss(z, torch.tensor([0]), [0, 1, 2, 3], reduction="sum")
    assert loss.isnan()
    assert grad.isnan().all()


def test_ignored_rows_are_inert_whatever_they_hold():
    z = torch.tensor([[torch.nan, 1.0, torch.inf], [1.0, 2.0, 3.0]], dtype=torch.float64)
    loss, grad = split_loss(z, torch.tensor([-100, 1]), [0, 2, 3], label_smoothing=0.1)
    alone, own = split_loss(z[1:], torch.tensor([1]), [0, 2, 3], label_smoothing=0.1)
    assert torch.equal(loss, alone)
    assert grad[0].tolist() == [0.0, 0.0, 0.0]
    assert torch.equal(grad[1:], own)


def test_a_mean_over_no_row_is_nan_with_gradient_zero():
    loss, grad = split_loss(torch.randn(2, 4), torch.tensor([-100, -100]), [0, 1, 4], label_smoothing=0.1)
    assert loss.isnan()
    assert grad.abs().max() == 0


def test_half_precision_is_float32_arithmetic_rounded_once():
    generator = torch.Generator().manual_seed(1)
    z = (torch.randn(8, 50, generator=generator) * 8).to(torch.bfloat16)
    labels = torch.randint(0, 50, (8,), generator=generator)
    options = {"label_smoothing": 0.1, "reduction": "none"}
    loss, grad = split_loss(z, labels, [0, 20, 50], **options)
    wide, wide_grad = split_loss(z.float(), labels, [0, 20, 50], **options)
    assert torch.equal(grad, wide_grad.to(torch.bfloat16))
    assert loss.dtype == torch.float64  # a row's number, not rounded yet
    assert torch.equal(loss, wide)


def test_probabilities_of_a_wider_type_widen_the_arithmetic_as_in_one_process():
    generator = torch.Generator().manual_seed(4)
    z = torch.randn(5, 8, generator=generator) * 8
    probs = torch.rand(5, 8, generator=generator, dtype=torch.float64).softmax(1)
    loss, grad = split_loss(z, probs, [0, 3, 8], reduction="sum", label_smoothing=0.1)
    exact, gradient = truth(z.double(), sf.from_probs(0.9 * probs + 0.1 / 8), reduction="sum")
    torch.testing.assert_close(loss, exact, rtol=1e-14, atol=0)
    assert grad.dtype == torch.float32
    torch.testing.assert_close(grad, gradient.float(), rtol=1e-6, atol=1e-9)
