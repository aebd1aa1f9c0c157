"""The registered operators: torch's own checks of them, and compiled code that calls the kernel."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

import sfumato as sf
from sfumato.arguments import resolve
from sfumato.loss import flatten, functional, operators
from tests import needs
from tests.targets.registry import ONE_OF_EACH, example


@pytest.fixture(autouse=True)
def kernel():
    needs.kernel()


LABELS = torch.tensor([0, 4, 2, 2, -100])
CASES = {name: example(name, LABELS, 6, torch.float32).build() for name in (*ONE_OF_EACH, "others", "stored, dropped")}
CASES = {"labels": LABELS, "plain probabilities": torch.rand(5, 6).softmax(1), **CASES}


@pytest.mark.parametrize("kind", CASES)
# What opcheck asks (schema, fake tensors, autograd's place) hangs on the type only in the type that comes out.
@pytest.mark.parametrize(
    "dtype",
    [
        pytest.param(dtype, id=str(dtype), marks=[pytest.mark.nightly] if dtype is not torch.float32 else [])
        for dtype in (torch.float32, torch.float64, torch.bfloat16)
    ],
)
def test_the_operators_pass_torchs_opcheck(kind, dtype, monkeypatch):
    taken = []
    real = operators.loss_rows
    monkeypatch.setattr(operators, "loss_rows", lambda *fields: taken.append(fields) or real(*fields))
    z = torch.randn(5, 6).to(dtype).requires_grad_()
    smoothing = 0.1 if isinstance(CASES[kind], torch.Tensor) else 0.0
    target = CASES[kind].to(dtype) if kind == "plain probabilities" else CASES[kind]
    z, call = resolve(z, target, torch.rand(6), label_smoothing=smoothing)
    flat = flatten.flatten(z, call)
    if flat is None:
        pytest.skip("a teacher in float32 beside logits in float64: the torch path")
    operators.loss(z, call, flat)
    (fields,) = taken
    torch.library.opcheck(real, fields)
    # Itself it has no derivative: second ones take the torch path.
    torch.library.opcheck(operators.gradient_rows, (torch.rand(5, dtype=torch.float64), z.detach(), *fields[1:]))


@pytest.mark.parametrize("kind", CASES)
# The operators give rows, and are reduced in torch: "none" is less than "mean".
@pytest.mark.parametrize("reduction", ["mean", pytest.param("none", marks=pytest.mark.nightly)])
def test_compiled_code_calls_the_kernel_in_one_graph_and_gives_its_numbers(kind, reduction):
    torch._dynamo.reset()
    target = CASES[kind]
    weight, given = torch.rand(6), torch.rand(5)

    def loss(z):
        return sf.cross_entropy(z, target, weight, sample_weight=given, reduction=reduction)

    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(loss, backend=counter, fullgraph=True)
    results = []
    for function in (loss, compiled):
        z = torch.randn(5, 6, generator=torch.Generator().manual_seed(1)).requires_grad_()
        value = function(z)
        (grad,) = torch.autograd.grad(value, z, torch.ones_like(value))
        results.append((value.detach(), grad))
    torch.testing.assert_close(*[value for value, _ in results], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(*[grad for _, grad in results], rtol=1e-6, atol=1e-7)
    (graph,) = counter.graphs
    assert any("loss_rows" in str(node.target) for node in graph.graph.nodes)


def test_a_transform_inside_compiled_code_takes_the_torch_path():
    z, labels = torch.randn(3, 5), torch.tensor([0, 4, 2])

    def gradients(z):
        return torch.func.vmap(torch.func.grad(lambda z, y: sf.cross_entropy(z, y, label_smoothing=0.1)))(z, labels)

    compiled = torch.compile(gradients, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(z), gradients(z))


def test_a_label_out_of_range_is_found_by_compiled_code_too():
    compiled = torch.compile(lambda z, y: sf.cross_entropy(z, y), backend="aot_eager", fullgraph=True)
    with pytest.raises(IndexError, match="label 6 of row 1 is not a class"):
        compiled(torch.randn(3, 6), torch.tensor([0, 6, 1]))


def test_what_gets_a_gradient_as_target_is_left_to_torch():
    z, q = torch.randn(3, 4), torch.rand(3, 4).softmax(1).requires_grad_()
    assert not functional.kernel_serves(*resolve(z, q, None))
    compiled = torch.compile(lambda z, q: sf.cross_entropy(z, q), backend="aot_eager", fullgraph=True)
    (grad,) = torch.autograd.grad(compiled(z, q), q)
    (expected,) = torch.autograd.grad(sf.cross_entropy(z, q), q)
    torch.testing.assert_close(grad, expected)
