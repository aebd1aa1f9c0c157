"""The definition against mpmath: every row of the golden file, and the script that made it."""

from __future__ import annotations

import json

import mpmath
import pytest
import torch

from sfumato import reference, smooth
from tests.golden.make_mpmath_rows import FILE, logits_of, specs, truth

ROWS = [json.loads(line) for line in FILE.read_text().splitlines()]
TINY = torch.finfo(torch.float64).tiny


def test_the_golden_file_is_the_scripts():
    described = [{key: row[key] for key in spec} for row, spec in zip(ROWS, specs(), strict=True)]
    assert described == specs()
    assert len(ROWS) >= 500
    for row in ROWS[:: len(ROWS) // 12]:
        if row["k"] <= 1000:
            assert {key: row[key] for key in truth(row)} == truth(row)


@pytest.mark.parametrize("k", sorted({row["k"] for row in ROWS}))
def test_reference_agrees_with_mpmath_to_1e_14(k):
    for row in (row for row in ROWS if row["k"] == k):
        agrees(row)


@pytest.mark.nightly  # a row takes mpmath half a minute
@pytest.mark.parametrize("kind", range(3))
def test_reference_agrees_with_mpmath_at_a_million_classes(kind):
    largest = [spec for spec in specs() if spec["k"] == max(row["k"] for row in ROWS)]
    row = largest[kind * (len(largest) // 3)] | {"k": 1_000_000}
    agrees(row | truth(row))


def agrees(row):
    z = torch.from_numpy(logits_of(row)).unsqueeze(0)
    target = smooth(torch.tensor([row["label"]]), row["k"], row["eps"], over=row["over"])
    loss = reference.cross_entropy(z, target)
    exact = mpmath.mpf(row["loss"])
    assert abs(mpmath.mpf(loss.item()) - exact) <= 1e-14 * abs(exact) + TINY, row
    grad = reference.gradient(z, target)[0]
    places = {"grad_label": row["label"], "grad_top": int(z.argmax()), "grad_next": (row["label"] + 1) % row["k"]}
    for name, place in places.items():
        assert abs(mpmath.mpf(grad[place].item()) - mpmath.mpf(row[name])) <= 1e-14, (name, row)


def test_gradient_is_the_derivative_of_the_loss():
    torch.manual_seed(0)
    z = torch.randn(5, 4, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 4, (5, 3))
    labels[0, 0] = -100
    weight, rows = torch.rand(4).double() + 0.1, torch.rand(5, 3).double()
    for weight_on in ("class", "sample"):
        for reduction in ("mean", "sum"):
            options = {"weight_on": weight_on, "reduction": reduction, "sample_weight": rows, "label_smoothing": 0.2}
            (by_autograd,) = torch.autograd.grad(reference.cross_entropy(z, labels, weight, **options), z)
            by_formula = reference.gradient(z, labels, weight, **options)
            torch.testing.assert_close(by_autograd, by_formula, rtol=1e-13, atol=1e-14)
