"""How rows become one number, from gradients of rows together and alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sfumato.probe import ProbeError
from sfumato.probe.find_loss import of
from sfumato.probe.gradients import read
from sfumato.probe.reduction import reduction_of
from sfumato.probe.understand import understand
from tests.probe.losses import codes

K = 5


def checked(function):
    spec = of(function)
    loss = understand(spec.made(K), K)
    return reduction_of(spec, loss, read(loss, K))


def rows_of(z, y):
    return F.cross_entropy(z, y, reduction="none")


def weighted_by(weights_of):
    def loss(z, y):
        w = weights_of(z, y)
        return (w * rows_of(z, y)).sum() / w.sum()

    return loss


def misnamed(logits, labels, reduction="mean"):
    return rows_of(logits, labels).sum()


def with_largest(share):
    return lambda z, y: rows_of(z, y) + share * (len(y) > 1) * rows_of(z, y).max().detach()


@pytest.mark.parametrize(
    ("loss", "name", "factors", "expected"),
    [
        (lambda z, y: rows_of(z, y).mean(), "mean", 0.25, []),
        (lambda z, y: rows_of(z, y).sum(), "sum", 1.0, []),
        (rows_of, "none", 1.0, []),
        (lambda z, y: -F.one_hot(y, K) * z.log_softmax(1), "none", 1.0, []),
        (weighted_by(lambda z, y: torch.arange(1.0, K + 1, dtype=z.dtype)[y]), "mean", [1 / 7, 3 / 14, 2 / 7, 5 / 14],
         ["note: weighted-mean"]),
        (weighted_by(lambda z, y: torch.linspace(1, 2, len(y), dtype=z.dtype)), "other", [1 / 6, 2 / 9, 5 / 18, 1 / 3],
         ["warning: reduction-unknown"]),
        (lambda z, y: rows_of(z, y).sum() / len(y) ** 0.5, "other", 0.5, ["warning: reduction-unknown"]),
        (misnamed, "sum", 1.0, ["defect: reduction-misnamed"]),
        (with_largest(0.0015), "none", 1.0, ["defect: values-leak"]),
        (with_largest(0.0005), "none", 1.0, []),
    ],
)  # fmt: skip
def test_the_reduction_and_what_is_peculiar_about_it(loss, name, factors, expected):
    reduction, findings = checked(loss)
    assert (reduction.name, codes(findings)) == (name, expected)
    np.testing.assert_allclose(reduction.factors, factors, rtol=1e-6)


def test_a_gradient_that_turns_with_the_size_of_the_batch_is_told_and_does_not_leak():
    found = checked(lambda z, y: rows_of(z, y).mean() + 0.1 * (len(y) > 1) * z.square().mean())[1]
    assert "warning: rows-turn" in codes(found)
    assert "defect: rows-leak" not in codes(found)


def test_a_loss_of_one_row_only_is_refused_for_four():
    def loss(z, y):
        if len(y) == 4:
            raise ValueError("three rows at most")
        return F.cross_entropy(z, y)

    with pytest.raises(ProbeError, match="loss cannot be called with four rows: ValueError: three rows at most"):
        checked(loss)
