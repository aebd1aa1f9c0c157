"""Ignored rows that are inert, that count, that leak, or that hold NaN."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import sfumato as sf
from sfumato.probe.call.understand import understand
from sfumato.probe.checks.ignored_rows import ignored_by
from sfumato.probe.read.gradients import read

K = 5


def told(function, reduction="mean", candidates=(-100, -1)):
    loss = understand(function, K)
    ignored, findings = ignored_by(loss, read(loss, K), reduction, candidates)
    return ignored, [str(each) for each in findings]


def rows_of(z, y):
    return F.cross_entropy(z, y.clamp(min=0), reduction="none")


def test_sfumatos_ignored_rows_are_inert():
    ignored, found = told(sf.cross_entropy, candidates=(-100,))
    assert ignored == -100
    assert found == [
        "note: ignored rows: label -100 is ignored; the mean is over the rows that count",
        "note: ignored rows: a batch of ignored rows only is NaN, as torch's mean is",
    ]


def test_a_mask_that_multiplies_lets_nan_through():
    def loss(z, y):
        mask = (y != -1).to(z.dtype)
        return (rows_of(z, y) * mask).sum() / mask.sum()

    ignored, found = told(loss, candidates=(-1,))
    assert ignored == -1
    assert "defect: ignored rows: an ignored row (label -1) that holds NaN makes the loss NaN" in found


def test_a_mask_that_chooses_values_can_still_let_nan_into_the_gradient():
    def loss(z, y):
        kept = torch.where(y == -1, 0.0, rows_of(z, y))
        return kept.sum() / (y != -1).sum()

    assert told(loss, candidates=(-1,))[1][1] == (
        "warning: ignored rows: an ignored row (label -1) that holds NaN gets a gradient of NaN, not 0"
    )


@pytest.mark.parametrize(
    ("divide", "said"),
    [
        (lambda y: len(y), "defect: ignored rows: the mean counts ignored rows: one of four of label -100 makes"),
        (lambda y: (y >= 0).sum() ** 2 / len(y), "warning: ignored rows: one of four of label -100 scales the other"),
        (lambda y: (y >= 0).sum(), "note: ignored rows: label -100 is ignored; the mean is over the rows that count"),
    ],
)  # fmt: skip
def test_what_an_ignored_row_does_to_the_mean(divide, said):
    ignored, found = told(lambda z, y: F.cross_entropy(z, y, reduction="sum") / divide(y), candidates=(-100,))
    assert ignored == -100
    assert found[0].startswith(said)


def test_a_sum_scales_nothing_and_says_nothing():
    assert told(lambda z, y: sf.cross_entropy(z, y, reduction="sum"), "sum", (-100,)) == (-100, [])


def test_a_row_that_changes_the_gradients_of_others_leaks():
    def loss(z, y):
        drawn = z - 0.1 * z[y < 0].sum(0)
        return F.cross_entropy(drawn, y)

    found = told(loss, candidates=(-100,))[1]
    assert "defect: ignored rows: a row of label -100 gets a gradient from the other rows: it leaks" in found


def test_a_row_that_changes_the_row_after_it_alone_leaks():
    def loss(z, y):
        before = (y < 0).roll(1)[:, None] * z.detach().roll(1, 0)
        return F.cross_entropy(z - 0.5 * before, y)

    found = told(loss, candidates=(-100,))[1]
    assert "defect: ignored rows: a row of label -100 changes the gradients of other rows: it leaks" in found


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda z, y: rows_of(z, y).mean(), "defect: labels: label -1 is not refused: it silently becomes class 0"),
        (lambda z, y: F.cross_entropy(z, (y[:, None] == torch.arange(K)).to(z.dtype) * 0.9 + 0.1 / K),
         "defect: ignored rows: a row of label -1 is trained towards the uniform target, not ignored"),
        (lambda z, y: F.cross_entropy(z, torch.where(y[:, None] < 0, torch.tensor([0.4, 0.3, 0.2, 0.1, 0.0]).double(),
                                                     F.one_hot(y.clamp(min=0), K))),
         "defect: labels: label -1 is not refused: it is trained towards (0.4, 0.3, 0.2, 0.1, 0)"),
        (lambda z, y: torch.where(y < 0, z.square().sum(1) * z[:, 0], rows_of(z, y)).mean(),
         "defect: labels: label -1 is not refused, and trained towards no fixed target"),
        (lambda z, y: (torch.where(y < 0, 0.0, rows_of(z, y)) - 0.1 * z.mean(1)).mean(),
         "defect: labels: label -1 is not refused, and trained towards no fixed target"),
        (lambda z, y: sum(float("nan") * z[i, 0] if y[i] < 0 else rows_of(z, y)[i] for i in range(len(y))),
         "defect: ignored rows: a row of label -1 gets a gradient of NaN"),
        (lambda z, y: (torch.where(y < 0, 0.0, rows_of(z, y)) + 0.01 * z.logsumexp(1) ** 2).mean(),
         "warning: ignored rows: a row of label -1 still gets a gradient: the extra term counts it"),
    ],
)  # fmt: skip
def test_a_label_below_0_that_is_not_inert(loss, said):
    assert told(loss, candidates=(-1,)) == (None, [said])


def test_rows_that_count_by_their_place_do_not_leak():
    def loss(z, y):
        w = torch.linspace(1, 2, len(y), dtype=z.dtype)
        return (w * F.cross_entropy(z, y, reduction="none")).sum() / w.sum()

    assert told(loss, "other", (-100,)) == (
        -100, ["warning: ignored rows: an ignored row (label -100) that holds NaN gets a gradient of NaN, not 0"],
    )  # fmt: skip


def test_a_row_that_is_nan_alone_is_read_among_others_and_does_not_leak():
    def loss(z, y):  # the labels' term is a mean over rows that count, and the uniform term one over all rows
        counts = y != -100
        return 0.9 * (rows_of(z, y) * counts).sum() / counts.sum() - 0.1 * z.log_softmax(1).mean()

    assert told(loss, candidates=(-100,)) == (
        None, ["defect: ignored rows: a row of label -100 is trained towards the uniform target, not ignored"],
    )  # fmt: skip


def test_a_class_without_gradient_is_told_and_is_the_ignored_label():
    ignored, found = told(lambda z, y: F.cross_entropy(z, y, ignore_index=2), candidates=())
    assert ignored == 2
    assert found[0] == "warning: ignored rows: rows of class 2 have no gradient: ignored"


def test_of_several_ignored_labels_the_likeliest_is_reported():
    def loss(z, y):
        return sf.cross_entropy(z, y.clamp(min=-1), ignore_index=-1)

    assert told(loss, candidates=(-100, -1))[0] == -100
    assert told(loss, candidates=(-1, -100))[0] == -1
