"""A strength at its ends and beyond: refused, applied, or taken for something else without a word."""

from __future__ import annotations

import math

import pytest
import torch.nn.functional as F

import sfumato as sf
from sfumato.probe.call.find import of
from sfumato.probe.call.understand import understand
from sfumato.probe.checks.arguments import at_the_ends, by_default, ignoring_survives, is_strength
from sfumato.probe.read.gradients import read

K = 5


def told(check, function, name="smoothing"):
    spec = of(function)
    loss = understand(spec.made(K), K)
    given = K if check in (by_default, is_strength) else read(loss, K)
    found = check(spec, name, loss, given) if check is not is_strength else check(spec, name, loss, K)
    return found if check is is_strength else [str(each) for each in found]


def rows_over_all(z, y, eps):
    losses = -z.log_softmax(1)
    return ((1 - eps) * losses.gather(1, y[:, None]).squeeze(1) + eps * losses.mean(1)).mean()


def test_a_strength_that_is_refused_out_of_its_range():
    def loss(logits, labels, smoothing=0.1):
        return sf.cross_entropy(logits, labels, label_smoothing=smoothing)

    assert told(at_the_ends, loss) == [
        "note: ε = 0: one-hot",
        "note: ε = 1: uniform: 0.2 on the label, 0.2 on each other class",
        "note: negative ε: refused",
        "note: ε = nan: refused",
        "note: ε = 1.5: refused",
    ]


def test_a_strength_that_is_applied_whatever_it_is():
    def loss(logits, labels, smoothing=0.1):
        return rows_over_all(logits, labels, smoothing)

    assert told(at_the_ends, loss) == [
        "note: ε = 0: one-hot",
        "note: ε = 1: uniform: 0.2 on the label, 0.2 on each other class",
        "warning: negative ε: not refused but applied: 1.08 on the label, -0.02 on each other class; such a loss "
        "has no lower bound",
        "note: ε = nan: not refused: the loss or its gradient is NaN",
        "warning: ε = 1.5: not refused: -0.2 on the label, 0.3 on each other class",
    ]


def test_a_strength_that_silently_means_0():
    def loss(logits, labels, smoothing=0.1):
        return rows_over_all(logits, labels, min(smoothing, 1.0) if smoothing > 0 else 0.0)

    assert told(at_the_ends, loss)[2:] == [
        "warning: negative ε: not refused: it silently means 0",
        "warning: ε = nan: not refused: it silently means 0",
        "warning: ε = 1.5: not refused: 0.2 on the label, 0.2 on each other class",
    ]


def test_a_strength_over_the_others_leaves_nothing_on_the_label_at_1():
    def loss(logits, labels, smoothing=0.1):
        return sf.cross_entropy(logits, labels, label_smoothing=smoothing, over="others")

    assert told(at_the_ends, loss)[1] == "note: ε = 1: 0 on the label, 0.25 on each other class"


def test_ends_that_are_not_what_they_should_be():
    def loss(logits, labels, smoothing=0.1):
        eps = 0.1 + 0.9 * smoothing if smoothing < 1 else math.nan
        return rows_over_all(logits, labels, eps)

    found = told(at_the_ends, loss)
    assert "warning: ε = 0: not one-hot: 0.92 on the label, 0.02 on each other class" in found
    assert "defect: ε = 1: the loss or its gradient is NaN" in found


def test_a_sum_that_changes_with_the_strength():
    def loss(logits, labels, smoothing=0.1):
        return rows_over_all(logits, labels, smoothing) * (1 + smoothing)

    (found,) = [each for each in told(at_the_ends, loss) if "total mass" in each]
    assert found == ("defect: total mass: Σq changes with smoothing: 1 at 0, 1.1 here: the target is not normalised")


@pytest.mark.parametrize(
    ("smoothed", "said"),
    [
        (lambda z, y, eps: F.cross_entropy(z, y, label_smoothing=eps), []),
        (lambda z, y, eps: rows_over_all(z, y.clamp(min=0), eps),
         ["defect: ignored rows: rows of label -1 are ignored at ε = 0, and trained on as soon as ε > 0"]),
        (rows_over_all, ["defect: ignored rows: rows of label -1 are ignored at ε = 0, and an error as soon as ε > 0"]),
    ],
)  # fmt: skip
def test_whether_an_ignored_label_is_ignored_with_smoothing_too(smoothed, said):
    def loss(logits, labels, smoothing=0.1, ignore_index=-1):
        if smoothing == 0:
            return F.cross_entropy(logits, labels, ignore_index=ignore_index)
        if said:
            return smoothed(logits, labels, smoothing)
        return F.cross_entropy(logits, labels, ignore_index=ignore_index, label_smoothing=smoothing)

    assert told(ignoring_survives, loss) == said


def test_a_doubtful_name_is_a_strength_only_where_more_of_it_smooths_more():
    def loss(logits, labels, alpha=0.1):
        return rows_over_all(logits, labels, alpha)

    def inverse(logits, labels, alpha=0.9):
        return rows_over_all(logits, labels, 1 - alpha)

    def unused(logits, labels, alpha=0.1):
        return rows_over_all(logits, labels, 0.1)

    assert [told(is_strength, each, "alpha") for each in (loss, inverse, unused)] == [True, False, False]
    assert told(is_strength, unused, "label_smoothing")


def test_what_the_strength_of_a_one_hot_loss_would_mean():
    def loss(logits, labels, smoothing=0.0):
        return sf.cross_entropy(logits, labels, label_smoothing=smoothing, over="others")

    assert told(by_default, loss) == [
        "note: its strength: smoothing=0.1 would be others with ε = 0.1: 0.9 on the label, 0.025 on each other class "
        "at K = 5"
    ]
