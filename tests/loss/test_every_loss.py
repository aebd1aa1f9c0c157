"""What every loss of labels and logits owes, one claim for all of them: shapes, reductions, ignored rows, and types."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import sfumato as sf
from tests.loss.penalty.registry import PENALTIES
from tests.loss.properties import path

__all__ = ["path"]  # a fixture: every claim is made of the compiled kernel and of the torch path

K, ROWS = 6, 40
_NOISE = torch.rand(K, K, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TABLE = 0.5 * torch.eye(K, dtype=torch.float64) + 0.5 * _NOISE / _NOISE.sum(1, keepdim=True)  # can be inverted


def online(z: Tensor, y: Tensor, **options) -> Tensor:
    """After an epoch of other rows, in evaluation."""
    loss = sf.OnlineSmoothing(K, 0.4, **options)
    loss.update(*drawn(7))
    loss.end_epoch()
    return loss.eval()(z, y)


def distilled(z: Tensor, y: Tensor, **options) -> Tensor:
    teacher = torch.where(z.detach().isfinite(), z.detach(), 0.0).roll(1, 0 if z.dim() == 1 else 1)
    return sf.distillation_loss(z, y, teacher, 0.3, 2.0, **options)


def last_layer(loss: Callable[..., Tensor], z: Tensor, y: Tensor, **options) -> Tensor:
    """A loss of a layer that gives its input."""
    return loss(z.movedim(1, -1) if z.dim() > 1 else z, torch.eye(K, dtype=z.dtype), y, **options)


LOSSES: dict[str, Callable[..., Tensor]] = {
    "hard": sf.cross_entropy,
    "over all": functools.partial(sf.cross_entropy, label_smoothing=0.1),
    "over the others": functools.partial(sf.cross_entropy, label_smoothing=0.1, over="others"),
    "weights of classes": functools.partial(sf.cross_entropy, weight=torch.linspace(0.5, 2, K), weight_on="sample"),
    "distillation": distilled,
    "forward": functools.partial(sf.noisy_cross_entropy, transition=TABLE),
    "backward": functools.partial(sf.noisy_cross_entropy, transition=TABLE, correction="backward"),
    "online": online,
    "last layer": functools.partial(last_layer, functools.partial(sf.linear_cross_entropy, label_smoothing=0.1)),
}
LOSSES |= {
    f"{name} {i}": functools.partial(getattr(sf.penalty, name), **strengths)
    for name, row in PENALTIES.items()
    for i, strengths in enumerate(row.strengths)
}
each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def drawn(seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = 3 * torch.randn(ROWS, K, generator=generator, dtype=torch.float64)
    return z, torch.randint(0, K, (ROWS,), generator=generator)


def value_and_gradient(loss: Callable[..., Tensor], z: Tensor, y: Tensor, **options) -> tuple[Tensor, Tensor]:
    leaf = z.clone().requires_grad_()
    value = loss(leaf, y, **options)
    return value.detach(), torch.autograd.grad(value.sum(), leaf)[0]


@each_loss
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_ignored_rows_are_inert_whatever_they_hold(loss, bad):
    z, y = drawn()
    kept = torch.arange(ROWS) % 3 > 0
    holed, some = torch.where(kept.unsqueeze(1), z, bad), torch.where(kept, y, -100)
    for reduction in ("mean", "none"):
        value, grad = value_and_gradient(loss, holed, some, reduction=reduction)
        wanted, gradient = value_and_gradient(loss, z[kept], y[kept], reduction=reduction)
        torch.testing.assert_close(value[kept] if reduction == "none" else value, wanted, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(grad[kept], gradient, rtol=1e-12, atol=1e-14)
        assert not grad[~kept].any()
        assert reduction == "mean" or not value[~kept].any()


@each_loss
def test_more_axes_are_rows_and_a_row_alone_is_its_row(loss):
    z, y = drawn()
    rows = loss(z, y, reduction="none")
    deep, labels = z.reshape(4, 2, 5, K).movedim(-1, 1), y.reshape(4, 2, 5)
    torch.testing.assert_close(loss(deep, labels, reduction="none"), rows.reshape(4, 2, 5), rtol=1e-12, atol=1e-13)
    for reduction in ("none", "mean", "sum"):
        batch = loss(z[:1], y[:1], reduction=reduction).squeeze()
        torch.testing.assert_close(loss(z[0], y[0], reduction=reduction), batch, rtol=1e-12, atol=1e-13)


@each_loss
def test_the_sum_is_that_of_the_rows_and_the_mean_over_no_row_is_nan_with_gradient_zero(loss):
    z, y = drawn()
    torch.testing.assert_close(loss(z, y, reduction="sum"), loss(z, y, reduction="none").sum(), rtol=1e-12, atol=0)
    for some, labels in ((z[:3], torch.full((3,), -100)), (z[:0], y[:0])):
        mean, grad = value_and_gradient(loss, some, labels)
        assert mean.isnan()
        assert torch.equal(grad, torch.zeros_like(some))
        assert loss(some, labels, reduction="sum") == 0
        assert torch.equal(loss(some, labels, reduction="none"), torch.zeros(len(labels), dtype=torch.float64))


@each_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_the_float32_value_rounded_once_and_under_autocast_not_rounded(loss, dtype):
    z, y = drawn()
    low = (5 * z).to(dtype)
    for reduction in ("none", "mean"):
        wide = loss(low.float(), y, reduction=reduction)
        assert torch.equal(loss(low, y, reduction=reduction), wide.to(dtype))
    with torch.autocast("cpu", dtype):
        found = loss(low, y)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wide)


@each_loss
def test_a_label_that_is_no_class_is_named(loss):
    with pytest.raises(IndexError, match="^label 7 in row 1 is not a class"):
        loss(torch.zeros(2, K), torch.tensor([0, 7]))
