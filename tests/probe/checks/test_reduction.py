"""How rows become one number, read off gradients of rows together and alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sfumato.probe import ProbeError
from sfumato.probe.call.find import of
from sfumato.probe.call.understand import understand
from sfumato.probe.checks.target import reduction_of
from sfumato.probe.read.gradients import read

K = 5


def told(function):
    spec = of(function)
    loss = understand(spec.made(K), K)
    reduction, findings = reduction_of(spec, loss, read(loss, K))
    return reduction, [str(each) for each in findings]


def rows_of(z, y):
    return F.cross_entropy(z, y, reduction="none")


@pytest.mark.parametrize(
    ("name", "loss", "factor"),
    [
        ("mean", lambda z, y: rows_of(z, y).mean(), 0.25),
        ("sum", lambda z, y: rows_of(z, y).sum(), 1.0),
        ("none", rows_of, 1.0),
        ("none", lambda z, y: -F.one_hot(y, K) * z.log_softmax(1), 1.0),
    ],
)
def test_the_plain_reductions(name, loss, factor):
    reduction, findings = told(loss)
    assert (reduction.name, findings) == (name, [])
    np.testing.assert_allclose(reduction.factors, factor, rtol=1e-9)


def test_a_mean_over_weights_is_a_mean_and_its_shares_are_told():
    def loss(z, y):
        w = torch.arange(1.0, K + 1, dtype=z.dtype)[y]
        return (w * rows_of(z, y)).sum() / w.sum()

    reduction, findings = told(loss)
    assert (reduction.name, findings) == (
        "mean", ["note: reduction: a mean over the labels' weights: four rows count 0.1429, 0.2143, 0.2857, 0.3571"],
    )  # fmt: skip


def test_weights_of_places_are_not_taken_for_those_of_labels():
    def loss(z, y):
        w = torch.linspace(1, 2, len(y), dtype=z.dtype)
        return (w * rows_of(z, y)).sum() / w.sum()

    reduction, findings = told(loss)
    assert (reduction.name, findings) == (
        "other",
        ["warning: reduction: neither mean nor sum: a row in a batch of four counts 0.1667, 0.2222, 0.2778, 0.3333 of "
         "what it does alone"],
    )  # fmt: skip


def test_a_root_of_the_number_of_rows_is_neither_mean_nor_sum():
    reduction, findings = told(lambda z, y: rows_of(z, y).sum() / len(y) ** 0.5)
    assert (reduction.name, findings) == (
        "other",
        ["warning: reduction: neither mean nor sum: a row in a batch of four counts 0.5, 0.5, 0.5, 0.5 of what it does "
         "alone"],
    )  # fmt: skip


def test_a_gradient_that_turns_with_the_size_of_the_batch_is_told_and_does_not_leak():
    def loss(z, y):
        return rows_of(z, y).mean() + 0.1 * (len(y) > 1) * z.square().mean()

    assert "warning: rows: the gradient of a row in a batch is no multiple of its gradient alone" in told(loss)[1]


@pytest.mark.parametrize(("share", "defects"), [(0.0015, 1), (0.0005, 0)])
def test_a_value_that_depends_on_the_other_rows_is_told_from_a_thousandth_on(share, defects):
    def loss(z, y):
        values = rows_of(z, y)
        return values + share * (len(y) > 1) * values.max().detach()

    findings = told(loss)[1]
    assert len(findings) == defects
    assert all("rows: the value of a row depends on the other rows" in each for each in findings)


def test_the_argument_that_says_another_reduction_is_told():
    def loss(logits, labels, reduction="mean"):
        return rows_of(logits, labels).sum()

    assert told(loss)[1] == ['defect: reduction: reduction="mean" is the sum']


def test_a_loss_of_one_row_only_is_refused_for_four():
    def loss(z, y):
        if len(y) == 4:
            raise ValueError("three rows at most")
        return F.cross_entropy(z, y)

    with pytest.raises(ProbeError, match="loss cannot be called with four rows: ValueError: three rows at most"):
        told(loss)
