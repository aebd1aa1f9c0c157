"""How far the loss is from the truth in each type, on both paths: the bounds hold, and docs/numerics.md says what was.

python -m tests.loss.test_numerics    # measures again and writes the table
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

import sfumato as sf
from sfumato import reference
from sfumato.loss import functional
from tests import needs
from tests.golden.make_mpmath_rows import FILE, logits_of

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "numerics.md"
TYPES = {
    "float32": (torch.float32, 5e-7),
    "float64": (torch.float64, 1e-14),
    "bfloat16": (torch.bfloat16, 5e-7),
    "float16": (torch.float16, 5e-7),
}
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"


class Worst(NamedTuple):
    """Loss: relative, beyond one unit times the row's largest gap. Gradient: absolute, beyond its own rounding."""

    loss: float
    gradient: float


@functools.cache
def true_rows(dtype: torch.dtype) -> list[tuple[torch.Tensor, sf.Target, float, torch.Tensor]]:
    """The logits of every row of the golden file in a type, the target, and the loss and gradient of the reference."""
    found = []
    for row in map(json.loads, FILE.read_text().splitlines()):
        z = torch.from_numpy(logits_of(row)).unsqueeze(0).to(dtype)
        target = sf.smooth(torch.tensor([row["label"]]), row["k"], row["eps"], over=row["over"])
        exact = reference.cross_entropy(z, target, reduction="sum").item()
        found.append((z, target, exact, reference.gradient(z, target, reduction="sum")))
    return found


def measure(dtype: torch.dtype) -> Worst:
    """Over the rows of the golden file, each rounded to the type; the truth is the reference of the rounded row.

    The reference itself is held to 1e-14 against mpmath on the same rows (``test_reference.py``).
    """
    arithmetic = torch.float64 if dtype == torch.float64 else torch.float32
    unit = torch.finfo(arithmetic).eps
    stored = torch.finfo(dtype).eps / 2 if dtype != arithmetic else 0.0
    smallest = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps / 2 if dtype != arithmetic else 0.0
    loss_error = gradient_error = 0.0
    for z, target, exact, true in true_rows(dtype):
        leaf = z.clone().requires_grad_()
        loss = sf.cross_entropy(leaf, target, reduction="sum", out_dtype=arithmetic)
        (grad,) = torch.autograd.grad(loss, leaf)
        gap = (z.double().max() - z.double().min()).item()
        beyond = abs(loss.item() - exact) - unit * gap - torch.finfo(torch.float32).tiny
        loss_error = max(loss_error, beyond / max(abs(exact), 1e-300))
        off = (grad.double() - true).abs() - stored * true.abs() - smallest
        gradient_error = max(gradient_error, off.max().item())
    return Worst(loss_error, gradient_error)


@pytest.fixture(params=needs.PATHS)
def path(request, monkeypatch):
    needs.path(request.param, monkeypatch)
    return request.param


@pytest.mark.parametrize("name", TYPES)
def test_no_row_is_further_from_the_truth_than_promised_and_the_page_says_how_far(name, path):
    dtype, bound = TYPES[name]
    worst = measure(dtype)
    assert worst.loss <= bound
    assert worst.gradient <= bound
    # Another instruction set has other last digits: twice what the page says is still what it says.
    told = table()[name, path]
    assert worst.loss <= max(2 * told.loss, bound / 20)
    assert worst.gradient <= max(2 * told.gradient, bound / 20)


def test_the_header_of_the_kernel_promises_the_same_bounds():
    header = (ROOT / "kernel" / "sfumato.h").read_text(encoding="utf-8")
    assert re.search(r"float32, bfloat16, float16: loss 5e-7 relative, gradient 5e-7 absolute", header)
    assert re.search(r"float64: 1e-14 and 1e-14", header)
    assert {bound for _, bound in TYPES.values()} == {5e-7, 1e-14}


def table() -> dict[tuple[str, str], Worst]:
    """The page's numbers."""
    told = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
    rows = re.findall(r"^\| (\w+) \| (\w+) \| (\S+) \| (\S+) \|", told, flags=re.M)
    return {(name, path): Worst(float(loss), float(grad)) for name, path, loss, grad in rows if name in TYPES}


def _write() -> None:
    lines = ["| type | path | loss, relative | gradient, absolute | promised |", "| --- | --- | --- | --- | --- |"]
    for name, (dtype, bound) in TYPES.items():
        for path in ("kernel", "torch"):
            kept = functional.kernel_serves
            if path == "torch":
                functional.kernel_serves = lambda z, call: False
            worst = measure(dtype)
            functional.kernel_serves = kept
            lines.append(f"| {name} | {path} | {max(worst.loss, 0):.1e} | {max(worst.gradient, 0):.1e} | {bound:.0e} |")
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(before + BEGIN + "\n".join(lines) + "\n" + END + after, encoding="utf-8")


if __name__ == "__main__":
    _write()
