"""The loss of distillation against its two terms."""

from __future__ import annotations

import math

import pytest
import torch

import sfumato as sf
from tests.loss.properties import path

__all__ = ["path"]  # a fixture: every claim is made of the compiled kernel and of the torch path


def test_at_temperature_1_it_has_the_gradient_of_one_target():
    generator = torch.Generator().manual_seed(2)
    z = torch.randn(6, 5, generator=generator, dtype=torch.float64).requires_grad_()
    t, y = torch.randn(6, 5, generator=generator, dtype=torch.float64), torch.tensor([0, 4, 2, -100, 1, 3])
    (grad,) = torch.autograd.grad(sf.distillation_loss(z, y, t, alpha=0.3, temperature=1.0), z)
    (one,) = torch.autograd.grad(sf.cross_entropy(z, sf.distil(y, t.softmax(1), 0.3)), z)
    torch.testing.assert_close(grad, one)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_a_term_of_a_distillation_without_a_share_costs_nothing_even_where_it_is_impossible(dtype):
    y, t = torch.tensor([0]), torch.tensor([[0.0, 1.0, 2.0]])
    no_teacher = torch.tensor([[1.0, -torch.inf, 0.0]], dtype=dtype)  # the teacher has mass on class 1
    assert sf.distillation_loss(no_teacher, y, t, alpha=0.0, temperature=2.0).item() == pytest.approx(
        0.313262, rel=1e-2
    )
    no_label, sure = torch.tensor([[-torch.inf, 1.0, 0.0]], dtype=dtype), torch.tensor([[-torch.inf, 2.0, 0.0]])
    p, q = (1 / (1 + math.exp(-gap / 2)) for gap in (1.0, 2.0))
    kl = q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))
    value = sf.distillation_loss(no_label, y, sure, alpha=1.0, temperature=2.0).item()
    assert value == pytest.approx(4 * kl, rel=1e-2 if dtype == torch.bfloat16 else 1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(5,), (6, 5), (4, 5, 3)], ids=str)
def test_distillation_is_its_formula_for_every_shape_and_reduction(shape, reduction):
    generator = torch.Generator().manual_seed(3)
    z, t = (2 * torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    axis = 0 if len(shape) == 1 else 1
    y = torch.randint(0, 5, (*shape[:axis], *shape[axis + 1 :]), generator=generator)
    if axis:
        y[0] = 255
    given = sf.distillation_loss(z, y, t, 0.3, 2.0, ignore_index=255, reduction=reduction)
    student, teacher = (torch.log_softmax(x / 2, axis) for x in (z, t))
    each = 0.7 * torch.nn.functional.cross_entropy(z, y, ignore_index=255, reduction="none")
    each = each + torch.where(y == 255, 0.0, 0.3 * 4 * (teacher.exp() * (teacher - student)).sum(axis))
    expected = {"mean": each.sum() / (y != 255).sum(), "sum": each.sum(), "none": each}[reduction]
    torch.testing.assert_close(given, expected, rtol=1e-12, atol=1e-14)


def test_label_156_of_uint8_counts():  # which is −100 there
    z, y = torch.linspace(-1, 1, 400).reshape(2, 200), torch.tensor([156, 3])
    found, wanted = (sf.distillation_loss(z, labels, z.flip(1), 0.5, 2.0) for labels in (y.to(torch.uint8), y))
    assert found.item() == wanted.item()


Z, T, Y = torch.zeros(4, 3), torch.ones(4, 3), torch.tensor([0, 1, 2, -100])
REFUSED = {
    "a label": ((Z, torch.tensor([0, 7, -3, 99]), T), IndexError, "label 7 in row 1 is not a class: logits have 3"),
    "too few labels": ((Z, Y[:2], T), ValueError, r"labels must be \(4,\), one a row, got \(2,\)"),
    "probabilities": ((Z, Z.softmax(1), T), ValueError, r"labels must be \(4,\), one a row, got \(4, 3\)"),
    "labels for one row": ((Z[0], Y[:3], T[0]), ValueError, r"labels must be \(\), one a row, got \(3,\)"),
    "a Target": ((Z, sf.one_hot(Y, 3), T), TypeError, "labels must be a torch.Tensor, got Labelled"),
    "a list": ((Z, Y, [[1.0, 2.0, 3.0]] * 4), TypeError, "teacher_logits must be a torch.Tensor, got list"),
    "another teacher": ((Z, Y, T[:, :2]), ValueError, r"teacher_logits \(4, 2\) must be shaped as the logits \(4, 3\)"),
    "integers": ((Z.long(), Y, T), ValueError, "logits must be floating, got torch.int64"),
}


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_refused_whatever_its_share(what, alpha):
    given, error, message = REFUSED[what]
    with pytest.raises(error, match=f"^{message}"):
        sf.distillation_loss(*given, alpha, 2.0)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_under_autocast_a_distillation_in_half_precision_is_float32_whatever_the_share(alpha):
    z = torch.linspace(-1, 1, 12).reshape(4, 3).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = sf.distillation_loss(z, Y, z.flip(1), alpha, 2.0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, sf.distillation_loss(z.float(), Y, z.flip(1).float(), alpha, 2.0))
