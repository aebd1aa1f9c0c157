"""Which path serves a loss, and what the first loss of a process loads."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from sfumato.arguments import resolve
from sfumato.loss import paths
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
    assert paths.kernel_serves(*resolve(z, target, None)) == served
