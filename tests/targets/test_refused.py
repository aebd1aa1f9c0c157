"""What constructors of targets refuse: with which error, and with which place and value."""

from __future__ import annotations

import math

import pytest
import torch
from torch import tensor

import sfumato as sf

Y, ONE, NAN = tensor([0, 1, 2]), tensor([0]), float("nan")
PRESENT, COUNTS = tensor([[1, 1, 0, 0, 0], [0, 0, 1, 0, 0]]), tensor([[1, 2], [0, 0]])
Z2, Z3, BOTH = torch.zeros(1, 2), torch.zeros(1, 3), tensor([True, False])


def top(indices, probs, rest="drop", **more):
    return sf.distil_top(ONE, tensor([indices]), tensor([probs]), 0.5, rest=rest, **more)


def several(present=PRESENT, eps=0.1, spread="half", **more):
    return sf.smooth_multilabel(present, eps, spread=spread, **more)


def taught(alpha, temperature, teacher=Z2):
    return sf.distillation_loss(Z2, ONE, teacher, alpha, temperature)


TWO = sf.one_hot(tensor([0, 1]), 2)
OVER = 'over must be "others" .* or "all" .*'
REFUSED = [
    (lambda: sf.one_hot(tensor([0, 5]), 3), IndexError, "label 5 in row 1 is not a class: there are 3"),
    (lambda: sf.one_hot(tensor([[0, -1]]), 3), IndexError, r"label -1 in position \(0, 1\)"),
    (lambda: sf.one_hot(torch.rand(3), 3), TypeError, "labels must be integers .* sf.from_probs"),
    (lambda: sf.one_hot(Y, 0), ValueError, "num_classes must be at least 1, got 0"),
    (lambda: sf.one_hot(Y, 3, ignore_index=None), TypeError, "ignore_index must be an int, got None"),
    (lambda: sf.smooth([0, 1], 3, 0.1, over="all"), TypeError, "labels must be a torch.Tensor, got list; torch.as_t"),
    (lambda: sf.smooth(Y * 0, 1, 0.1, over="all"), ValueError, "at least 2 to smooth, got 1"),
    (lambda: sf.smooth(Y, 3, 1.5, over="all"), ValueError, r"^eps must be in \[0, 1\], got 1.5$"),
    (lambda: sf.smooth(Y, 3, NAN, over="all"), RuntimeError, "got nan"),
    (lambda: sf.smooth(Y, 3, tensor([0.1, -0.2, 3.0]), over="all"), ValueError, r"got -0.2 in row 1$"),
    (lambda: sf.smooth(Y, 3, tensor([0.1, 0.2]), over="all"), ValueError, r"eps \(2,\) does not broadcast"),
    (lambda: sf.smooth(Y, 3, 0.1, over="uniform"), ValueError, f"{OVER} got 'uniform'"),
    (lambda: sf.smooth(Y, 3, 0.1, over="all", support=Y < 2), ValueError, "label 2 in row 2 is outside the support"),
    (lambda: sf.smooth(Y * 0, 3, 0.1, over="others", support=Y < 1), ValueError, "at least 2 supported classes"),
    (lambda: sf.smooth(Y, 3, 0.1, over="all", support=torch.ones(3)), TypeError, "support must be bool"),
    (lambda: sf.smooth(Y, 3, 0.1, over="all", support=torch.ones(4) > 0), ValueError, r"support must be \(3,\) or"),
    (lambda: sf.smooth_by_class(Y, tensor([0.1, 0.2, 1.2]), over="all"), ValueError, "got 1.2 for class 2"),
    (lambda: sf.smooth_by_class(Y, torch.full((4,), 0.1), over="both"), ValueError, f"{OVER} got 'both'"),
    (lambda: sf.smooth_by_class(Y, torch.full((4,), 0.1), over=None), ValueError, f"{OVER} got None"),
    (lambda: sf.smooth_prior(Y, tensor([0.5, 0.2, 0.2]), 0.1), ValueError, "prior must sum to 1, got 0.9"),
    (lambda: sf.smooth_prior(Y, tensor([1.1, -0.1, 0]), 0.1), ValueError, "and at least 0, got -0.1 for class 1"),
    (lambda: sf.smooth_prior(Y, tensor([1, NAN, 0.0]), 0.1), ValueError, "got nan for class 1"),
    (lambda: sf.smooth_prior(Y, torch.rand(3, 3), 0.1), ValueError, r"prior must be floating and \(K,\)"),
    (lambda: sf.smooth_prior(Y, [0.5, 0.5], 0.1), TypeError, "prior must be a torch.Tensor, got list"),
    (lambda: sf.smooth_prior(Y * 0, tensor([0, 0.5, 0.5]), 0.1, support=Y < 1), ValueError, "within the support$"),
    (
        lambda: sf.smooth_prior(
            tensor([-100, 0]), tensor([0, 0.5, 0.5]), 0.3, support=tensor([[False] * 3, [True, False, False]])
        ),
        ValueError,
        "^the prior has no mass within the support of row 1$",
    ),
    (lambda: sf.smooth_rows(ONE, torch.ones(2, 3)), ValueError, r"rows must be .* got torch.float32 \(2, 3\)"),
    (lambda: sf.smooth_rows(ONE, tensor([[1, 0], [0.5, 0.6]])), ValueError, "rows must sum to 1, got 1.1.* in row 1"),
    (lambda: sf.from_probs(tensor([[0.5, 0.5], [0.6, 0.5]])), ValueError, "probs must sum to 1, got 1.1.* in row 1"),
    (lambda: sf.from_probs(tensor([[1.5, -0.5]])), ValueError, "at least 0, got -0.5 for class 1 in row 0"),
    (lambda: sf.from_probs(torch.full((1, 10), 0.11).half()), ValueError, "must sum to 1"),
    (lambda: sf.from_probs(torch.ones(2, 2).long()), TypeError, "probs must be floating"),
    (lambda: sf.from_probs(torch.eye(2), mask=torch.ones(2)), TypeError, "mask must be bool"),
    (lambda: sf.from_probs(torch.eye(2), mask=torch.ones(3) > 0), ValueError, r"mask has positions \(3,\), the prob"),
    (lambda: sf.from_probs(torch.eye(2)).masses(torch.float64), TypeError, "a dense target is not one label and"),
    (lambda: sf.from_counts(tensor([[1.0, -2.0]]), 1.0), ValueError, "got -2 for class 1 in row 0"),
    (lambda: sf.from_counts(tensor([1.0, math.inf]), 1.0), ValueError, "got inf for class 1$"),
    (lambda: sf.from_counts(COUNTS, NAN), ValueError, "concentration must be at least 0, got nan"),
    (lambda: sf.from_counts(COUNTS, 0.0), ValueError, "nobody has annotated row 1: give a concentration above 0"),
    (lambda: sf.from_counts(COUNTS, 1.0, prior=torch.ones(3) / 3), ValueError, r"prior must be floating and \(2,\)"),
    (lambda: sf.from_counts(COUNTS, 1.0, prior=tensor([0.5, 0.6])), ValueError, "prior must sum to 1, got 1.1"),
    (lambda: sf.from_counts(COUNTS, 1.0, mask=tensor([True])), ValueError, r"mask has positions \(1,\), the counts"),
    (lambda: sf.fit_concentration(tensor([1, 2])), ValueError, r"counts must be \(N, K\)"),
    (lambda: sf.fit_concentration(torch.eye(2)), ValueError, "no row has two answers"),
    (lambda: several(PRESENT * 2), ValueError, r"present must be in \[0, 1\], got 2 for class 0 in row 0"),
    (lambda: several(spread="all"), ValueError, "spread must be .* got 'all'"),
    (lambda: several(eps=1.1), ValueError, r"eps must be in \[0, 1\], got 1.1"),
    (lambda: several(mask=tensor([True])), ValueError, r"mask has positions \(1,\), the labels \(2,\)"),
    (lambda: sf.distil_sampled(torch.zeros(2, 0).long()), ValueError, r"at least one draw .* got \(2, 0\)"),
    (lambda: sf.distil_sampled(tensor([[0, 1], [4, 0]]), num_classes=4), IndexError, r"row 1 .* are 4 \(0 to 3\)"),
    (lambda: sf.distil_sampled(tensor([[0, -1]])), IndexError, "a drawn class in row 0 .*: it is below 0"),
    (lambda: sf.cross_entropy(Z3, sf.distil_sampled(tensor([[0, 3]]))), IndexError, r"row 0 .* are 3 \(0 to 2\)"),
    (lambda: sf.distil_sampled(tensor([[0, 1]]), num_classes=0), ValueError, "a whole number from 1, or None, got 0"),
    (lambda: sf.distil_sampled(tensor([[0, 1]]), num_classes=2.5), ValueError, "a whole number .* got 2.5"),
    (lambda: sf.distil_sampled(tensor([[0, 1]]), tensor([[1.0, -1.0]])), ValueError, "and at least 0, .* in row 0"),
    (lambda: sf.distil_sampled(tensor([[0, 1]]), Z2), ValueError, "weights sum to 0 in row 0"),
    (lambda: sf.distil_sampled(tensor([[0, 1]]), torch.ones(2)), ValueError, r"like the indices, \(1, 2\), got"),
    (lambda: sf.distil_sampled(tensor([[0, 1]]), mask=BOTH), ValueError, r"positions \(2,\), the indices \(1,\)"),
    (lambda: sf.distil(ONE, torch.ones(2, 3) / 3, 0.5), ValueError, r"has positions \(2,\), the labels \(1,\)"),
    (lambda: sf.distil(ONE, tensor([[0.5, 0.5]]), -0.1), ValueError, r"alpha must be in \[0, 1\], got -0.1"),
    (
        lambda: sf.distil_top([0], ONE, ONE / 2, 0.5, rest="drop"),
        TypeError,
        r"labels must be a torch\.Tensor, got list",
    ),
    (lambda: top([1, 1], [0.5, 0.2]), ValueError, "a class is stored twice in row 0"),
    (lambda: sf.cross_entropy(Z2, top([2], [0.5])), IndexError, r"a stored class in row 0 .* are 2 \(0 to 1\)"),
    (lambda: top([0, 1], [0.9, 0.2]), ValueError, "probs must sum to at most 1, got 1.09999998 in row 0"),
    (lambda: top([0], [0.0], "renormalise"), ValueError, "probs sum to 0 in row 0: there is nothing to renormalise"),
    (lambda: sf.cross_entropy(Z2, top([0, 1], [0.5, 0.2], "uniform")), ValueError, "is not stored: all 2 are"),
    (lambda: top([0], [0.5]).probs(), ValueError, "does not know how many classes there are: give num_classes="),
    (lambda: sf.mix(TWO, TWO, tensor([0.5, 1.5])), ValueError, r"lam must be in \[0, 1\], got 1.5 in row 1"),
    (lambda: sf.mix(TWO, TWO, tensor([0.5])), ValueError, r"lam \(1,\) does not broadcast from the left with \(2,\)"),
    (lambda: sf.mix(sf.mix(TWO, TWO, 0.5), TWO, 0.5), ValueError, r"and target_a is neither \(mixed: 0.5 of"),
    (lambda: sf.mix(TWO, sf.one_hot(ONE, 3), 0.5), ValueError, "the targets have 2 and 3 classes"),
    (lambda: taught(0.5, 0.0), ValueError, "temperature must be above 0 and finite, got 0"),
    (lambda: taught(0.5, math.inf), ValueError, "temperature must be above 0 and finite, got inf"),
    (lambda: taught(0.5, 1.0, torch.zeros(2)), ValueError, r"teacher_logits \(2,\) must be shaped as .* \(1, 2\)"),
    (lambda: taught(1.5, 1.0), ValueError, r"alpha must be in \[0, 1\], got 1.5"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=[message for *_, message in REFUSED])
def test_what_is_wrong_is_said_with_place_and_value(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_single_position_has_no_axis_to_index():
    with pytest.raises(IndexError, match="one position and no axis"):
        sf.one_hot(tensor(1), 3)[0]
