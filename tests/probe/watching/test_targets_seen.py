"""One strength of many rows, and the rows that have another target."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sfumato.probe.rows import read_rows
from sfumato.probe.watching.targets_seen import ReadPass, count_of, targets_seen, varies


def one_pass(loss, rows=24, classes=8):
    z = torch.randn(rows, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    loss(z, torch.arange(rows) % classes).backward()
    found = read_rows(z.detach(), z.grad)
    return ReadPass(found, rows, Counter(), training=True)


def of_each(eps):
    """A strength a row."""

    def loss(z, y):
        rows = [F.cross_entropy(z[i, None], y[i, None], label_smoothing=float(e)) for i, e in enumerate(eps)]
        return torch.stack(rows).mean()

    return loss


def test_one_strength_of_all_rows_has_no_spread():
    found = targets_seen([one_pass(of_each([0.1] * 24))])
    assert (found.eps, found.eps_others, found.spread, found.uniform) == (0.1, pytest.approx(0.0875), None, 0)


def test_strengths_that_differ_have_their_median_and_a_spread():
    found = targets_seen([one_pass(of_each(np.linspace(0.05, 0.25, 24)))])
    assert found.eps == pytest.approx(0.15, abs=0.01)
    assert found.spread == (pytest.approx(0.05, abs=0.01), pytest.approx(0.25, abs=0.01))


def test_rows_without_a_label_are_counted_apart():
    found = targets_seen([one_pass(of_each([1.0] * 4 + [0.1] * 20))])
    assert (found.eps, found.uniform) == (0.1, 4)
    alone = targets_seen([one_pass(of_each([1.0] * 24))])
    assert (alone.eps, alone.uniform) == (pytest.approx(1.0), 0)


def test_the_factor_of_a_pass_is_that_of_its_labelled_rows():
    counted = count_of(one_pass(of_each([1.0] * 4 + [0.1] * 20)), 0.1)
    assert (counted.counted, counted.rows) == (20, 24)
    assert counted.factor == pytest.approx(1 / 24, rel=1e-6)


def test_a_part_that_is_not_normalised_is_no_z_loss_and_has_no_strength():
    def loss(z, y):  # the uniform term has a constant for its log-partition
        return 0.9 * F.cross_entropy(z, y) - 0.1 * z.mean()

    found = targets_seen([one_pass(loss)])
    assert (found.eps, found.beside, found.balanced) == (None, False, False)


def test_a_class_with_negative_mass_is_no_second_label():
    found = targets_seen([one_pass(lambda z, y: F.cross_entropy(z, y) + 0.1 * (z.amax(1) - z.mean(1)).mean())])
    assert (found.eps, found.pairs, found.soft > 0.5) == (None, 0.0, True)


def test_no_row_with_a_gradient_has_no_target():
    assert targets_seen([one_pass(lambda z, y: 0 * z.sum())]) is None


@pytest.mark.parametrize(("factors", "told"), [([1, 1, 1, 1.001], False), ([1, 2, 1, 2], True), ([1], False)])
def test_factors_vary_beyond_rounding(factors, told):
    assert varies(np.array(factors, float), coarse=False) == told
