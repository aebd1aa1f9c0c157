"""Which path serves a loss, and what the first loss of a process loads."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.autograd import forward_ad

import sfumato as sf
from sfumato.arguments import resolve
from sfumato.loss import functional
from tests import needs


@pytest.mark.slow
def test_the_first_loss_loads_neither_dynamo_nor_sympy():
    code = (
        "import sys, torch, sfumato as sf\n"
        "z = torch.randn(3, 4, requires_grad=True)\n"
        "sf.cross_entropy(z, torch.tensor([0, 1, 3]), label_smoothing=0.1).backward()\n"
        "sf.cross_entropy(z, torch.rand(3, 4).softmax(1).requires_grad_()).backward()\n"  # which the kernel leaves
        "print([name for name in ('torch._dynamo', 'sympy') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


@pytest.mark.parametrize(
    ("served", "z", "target"),
    [
        (True, torch.zeros(2, 3), torch.tensor([0, 1])),
        (True, torch.zeros(2, 3, dtype=torch.bfloat16), torch.tensor([0, 1])),
        (False, torch.zeros(2, 3, device="meta"), torch.tensor([0, 1], device="meta")),
        (False, torch.zeros(2, 3), torch.full((2, 3), 1 / 3, dtype=torch.float64)),  # the arithmetic is not the logits'
        (False, torch.zeros(2, 3), torch.full((2, 3), 1 / 3, requires_grad=True)),
        (False, torch.zeros(2, 4, 3, 5).transpose(2, 3)[:, :, ::2], torch.zeros(2, 3, 3, dtype=torch.long)),
    ],
)
def test_the_kernel_serves_values_on_the_cpu_towards_what_gets_no_gradient(served, z, target):
    needs.kernel()
    assert functional.kernel_serves(*resolve(z, target, None)) == served


Z, Y = torch.tensor([[1.0, -0.5, 0.3], [0.2, 2.0, -1.0]], dtype=torch.float64), torch.tensor([2, 1])
FOLLOWED = {  # what a derivative may be taken by beside the logits: where, and the loss as a function of it
    "class weights": (torch.tensor([0.5, 2.0, 1.0]), lambda w: sf.cross_entropy(Z, Y, w, label_smoothing=0.1)),
    "sample weights": (torch.tensor([0.5, 2.0]), lambda w: sf.cross_entropy(Z, Y, sample_weight=w)),
    "probabilities": (torch.tensor([[0.2, 0.3, 0.5], [0.1, 0.9, 0.0]]), lambda q: sf.cross_entropy(Z, q)),
    "strengths": (torch.tensor([0.1, 0.4]), lambda eps: sf.cross_entropy(Z, sf.smooth(Y, 3, eps, over="others"))),
    "logits": (torch.tensor([[1.0, -0.5, 0.3], [0.2, 2.0, -1.0]]), lambda z: sf.cross_entropy(z, Y)),
}


@pytest.mark.parametrize("what", FOLLOWED)
def test_forward_mode_follows_whatever_it_is_asked_to(what):
    at, loss = FOLLOWED[what]
    at = at.double()
    along = torch.linspace(0.5, 1.5, at.numel(), dtype=torch.float64).reshape(at.shape)
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(loss(forward_ad.make_dual(at, along))).tangent
    step = 1e-6
    expected = (loss(at + step * along) - loss(at - step * along)) / (2 * step)
    assert found is not None
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


def negative_bit(x: torch.Tensor) -> torch.Tensor:
    """The same values as the imaginary part of conjugates: torch notes that their signs are to be turned, and waits."""
    noted = torch.complex(torch.zeros_like(x), -x).conj().imag
    assert noted.is_neg()
    return noted


@pytest.mark.parametrize("what", FOLLOWED)
def test_signs_that_torch_has_yet_to_turn_are_turned(what):
    at, loss = FOLLOWED[what]
    at = at.double()
    assert loss(negative_bit(at)).item() == pytest.approx(loss(at).item(), rel=1e-14)


def test_signs_of_an_upstream_gradient_are_turned():
    z, upstream = Z[:1].clone().requires_grad_(), torch.tensor([3.0], dtype=torch.float64)
    loss = sf.cross_entropy(z, Y[:1], reduction="none")
    (found,) = torch.autograd.grad(loss, z, negative_bit(upstream), retain_graph=True)
    (wanted,) = torch.autograd.grad(loss, z, upstream)
    torch.testing.assert_close(found, wanted)
