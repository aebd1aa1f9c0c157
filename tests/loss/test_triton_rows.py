"""The kernel in Triton beyond what every path is asked: rows of several blocks, its limits, and that it compiles."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

import sfumato as sf
from sfumato import reference
from sfumato.targets import checks
from tests import needs

pytest.importorskip("triton")
interpreted = pytest.mark.skipif("triton" not in needs.PATHS, reason="TRITON_INTERPRET=1 asks for the interpreter")

COMPILE = """
import itertools
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from sfumato.loss import _triton_rows

ARRAYS = {"labels": "*i64", "valid": "*i1", "true": "*fp64", "rest": "*fp64", "u": "*fp32", "numbers": "*fp64",
          "top_class": "*i64", "factor": "*fp64", "ignored": "i64"}
kernels = (_triton_rows._measure, _triton_rows._gradient)
for kernel, (stored, chip), all_given in itertools.product(kernels, [("fp32", 90), ("bf16", 80), ("fp16", 75)], [0, 1]):
    given = {**ARRAYS, "z": "*" + stored, "grad": "*" + stored}
    constants = {"IGNORES": bool(all_given), "BLOCK": 2048}
    if not all_given:  # and one row of one class: Triton makes a constant of every 1
        constants |= {"valid": None, "u": None, "BLOCK": 1, "K": 1, "stride": 1, "N": 1, "of_true": 1, "of_rest": 1}
    signature = {each: "constexpr" if each in constants else given.get(each, "i32") for each in kernel.arg_names}
    done = triton.compile(
        ASTSource(kernel, signature, constants), target=GPUTarget("cuda", chip, 32), options={"enable_fp_fusion": True}
    )
    assert done.asm["cubin"]
"""


def test_the_kernels_compile_for_gpus(tmp_path):
    env = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    env.pop("TRITON_INTERPRET", None)
    done = subprocess.run([sys.executable, "-c", COMPILE], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def served(monkeypatch):
    """The Triton path in force; how many losses it gave."""
    needs.path("triton", monkeypatch)
    from sfumato.loss import _triton_rows

    found, loss = [], _triton_rows.loss
    monkeypatch.setattr(_triton_rows, "loss", lambda *args: found.append(1) or loss(*args))
    return found


BLOCK, K = 2048, 5000
ORDERS = {  # where the maximum is first, last, and higher from block to block
    "falls": torch.linspace(9, -9, K),
    "rises": torch.linspace(-9, 9, K),
    "in the middle": torch.sin(torch.arange(K) / 900) * 9,
    "flat": torch.zeros(K),
    "first block at -inf": torch.cat([torch.full((BLOCK,), -torch.inf), torch.linspace(-9, 9, K - BLOCK)]),
    "last block at -inf": torch.cat([torch.linspace(-9, 9, K - BLOCK), torch.full((BLOCK,), -torch.inf)]),
}


def targets(labels: torch.Tensor) -> dict[str, sf.Target]:
    prior = torch.arange(K, dtype=torch.float64).fmod(7)
    return {
        "one-hot": sf.smooth(labels, K, 0.0, over="all"),
        "smoothed": sf.smooth(labels, K, 0.1, over="all"),
        "strengths": sf.smooth(labels, K, torch.linspace(0, 1, len(labels)), over="others"),
        "prior": sf.smooth_prior(labels, prior / prior.sum(), 0.2),
    }


def evaluated(loss, z: torch.Tensor, target) -> tuple[torch.Tensor, torch.Tensor]:
    """Each row's loss, and the gradient under factors that differ."""
    leaf = z.detach().clone().requires_grad_()
    each = loss(leaf, target, reduction="none")
    return each.detach(), torch.autograd.grad(each, leaf, torch.linspace(0.5, 2, len(z), dtype=each.dtype))[0]


@interpreted
@pytest.mark.parametrize("name", targets(torch.tensor([0])))
@pytest.mark.parametrize("order", ORDERS)
def test_rows_of_several_blocks_have_the_loss_and_gradient_of_the_reference(order, name, served):
    z, labels = ORDERS[order].repeat(4, 1), torch.tensor([0, BLOCK - 1, BLOCK, K - 1])
    target = targets(labels)[name]
    loss, grad = evaluated(sf.cross_entropy, z, target)
    true, slopes = evaluated(reference.cross_entropy, z.double(), target)
    assert served
    torch.testing.assert_close(loss.double(), true, rtol=1e-6, atol=1e-6, equal_nan=True)
    finite = true.isfinite()  # where a class at −∞ has mass the loss is infinite; its gradient is −q still
    torch.testing.assert_close(grad[finite].double(), slopes[finite], rtol=5e-7, atol=5e-7)


@interpreted
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("at", [0, BLOCK, K - 1])
def test_what_is_no_number_spoils_its_row_and_no_other(bad, at, served):
    z, labels = torch.randn(3, K), torch.tensor([1, 1, 1])
    z[1, at] = bad
    loss, grad = evaluated(sf.cross_entropy, z, sf.smooth(labels, K, 0.1, over="all"))
    assert served
    assert loss.isnan().tolist() == grad.isnan().any(1).tolist() == [False, True, False]


IGNORING = {  # the kernel is told of such rows by their label, or by what counts
    "labels": lambda z, y: sf.cross_entropy(z, y, label_smoothing=0.1),
    "another label": lambda z, y: sf.cross_entropy(z, y.masked_fill(y < 0, 3), label_smoothing=0.1, ignore_index=3),
    "a target": lambda z, y: sf.cross_entropy(z, sf.smooth(y, 5, 0.1, over="all")),
    "weights": lambda z, y: sf.cross_entropy(z, y, label_smoothing=0.1, sample_weight=torch.ones(len(y))),
}


@interpreted
@pytest.mark.parametrize("name", IGNORING)
def test_ignored_rows_cost_nothing_and_have_no_gradient_whatever_they_hold(name, served):
    z, labels = torch.randn(4, 5), torch.tensor([0, -100, -100, 2])
    z[1:3] = torch.nan
    leaf = z.clone().requires_grad_()
    loss = IGNORING[name](leaf, labels)
    (grad,) = torch.autograd.grad(loss, leaf)
    kept = sf.cross_entropy(z[[0, 3]].double(), labels[[0, 3]], label_smoothing=0.1)
    assert served
    assert loss.item() == pytest.approx(kept.item(), rel=1e-6)
    assert grad[1:3].count_nonzero() == 0


@interpreted
def test_a_label_that_is_no_class_makes_its_row_nan(served, monkeypatch):
    monkeypatch.setattr(checks, "check_labels", lambda *args: None)  # as on a GPU, where labels are not looked at
    z = torch.randn(3, 5)
    loss, grad = evaluated(sf.cross_entropy, z, torch.tensor([0, 5, -1]))
    assert served
    assert loss.isnan().tolist() == [False, True, True]
    assert grad.isnan().any(1).tolist() == [False, True, True]


@interpreted
def test_rows_that_lie_apart_are_read_where_they_lie(served):
    z, labels = torch.randn(6, 8)[::2, :5], torch.tensor([0, 4, 2])
    assert not z.is_contiguous()
    loss, grad = evaluated(sf.cross_entropy, z, labels)
    true, slopes = evaluated(reference.cross_entropy, z.double(), labels)
    assert served
    torch.testing.assert_close(loss.double(), true, rtol=1e-6, atol=0)
    torch.testing.assert_close(grad.double(), slopes, rtol=0, atol=5e-7)


@interpreted
def test_second_derivatives_are_those_of_the_torch_path(served, monkeypatch):
    z, labels = torch.randn(3, 5), torch.tensor([0, -100, 2])

    def curvature():
        leaf = z.clone().requires_grad_()
        (grad,) = torch.autograd.grad(sf.cross_entropy(leaf, labels, label_smoothing=0.1), leaf, create_graph=True)
        return torch.autograd.grad(grad.square().sum(), leaf)[0]

    ours = curvature()
    assert served
    monkeypatch.delenv("SFUMATO_TRITON")
    torch.testing.assert_close(ours, curvature())


LEFT_TO_TORCH = {
    "float64": lambda z, y: sf.cross_entropy(z.double(), y),
    "classes that lie apart": lambda z, y: sf.cross_entropy(z.t().contiguous().t(), y),
    "probabilities": lambda z, y: sf.cross_entropy(z, torch.full((3, 5), 0.2)),
    "a mixed pair": lambda z, y: sf.cross_entropy(
        z, sf.mix(sf.smooth(y, 5, 0.1, over="all"), sf.smooth(y.flip(0), 5, 0.3, over="all"), 0.3)
    ),
    "no rows": lambda z, y: sf.cross_entropy(z[:0], y[:0], reduction="sum"),
    "weights that get a gradient": lambda z, y: sf.cross_entropy(z, y, sample_weight=torch.ones(3, requires_grad=True)),
}


@interpreted
@pytest.mark.parametrize("name", LEFT_TO_TORCH)
def test_what_it_has_no_place_for_is_left_to_torch(name, served):
    assert LEFT_TO_TORCH[name](torch.randn(3, 5), torch.tensor([0, 4, 2])).isfinite()
    assert not served
