"""Ignored rows that are inert, that count, that leak, or that hold NaN."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import sfumato as sf
from sfumato.probe.gradients import read
from sfumato.probe.labels import ignored_by
from sfumato.probe.understand import understand
from tests.probe.losses import codes

K = 5
CLEAN = ["note: ignored-label", "note: all-rows-ignored"]


def checked(function, reduction="mean", candidates=(-100, -1)):
    loss = understand(function, K)
    ignored, findings = ignored_by(loss, read(loss, K), reduction, candidates)
    return ignored, codes(findings)


def rows_of(z, y):
    return F.cross_entropy(z, y.clamp(min=0), reduction="none")


def over(divisor):
    return lambda z, y: F.cross_entropy(z, y, reduction="sum") / divisor(y)


def masked(z, y):
    mask = (y != -1).to(z.dtype)
    return (rows_of(z, y) * mask).sum() / mask.sum()


def chosen(z, y):
    return torch.where(y == -1, 0.0, rows_of(z, y)).sum() / (y != -1).sum()


def draws_on_row(z, y):
    return F.cross_entropy(z - 0.1 * z[y < 0].sum(0), y)


def draws_on_row_before(z, y):
    return F.cross_entropy(z - 0.5 * (y < 0).roll(1)[:, None] * z.detach().roll(1, 0), y)


def mean_of_two_kinds(z, y):  # the labels' term is a mean over rows that count, and the uniform term one over all rows
    counts = y != -100
    return 0.9 * (rows_of(z, y) * counts).sum() / counts.sum() - 0.1 * z.log_softmax(1).mean()


@pytest.mark.parametrize(
    ("loss", "label", "ignored", "found"),
    [
        (sf.cross_entropy, -100, -100, CLEAN),
        (masked, -1, -1, ["defect: ignored-nan-in-loss"]),
        (chosen, -1, -1, ["warning: ignored-nan-in-gradient"]),
        (over(len), -100, -100, ["defect: ignored-rows-in-mean"]),
        (over(lambda y: (y >= 0).sum() ** 2 / len(y)), -100, -100, ["warning: ignored-rows-scale"]),
        (over(lambda y: (y >= 0).sum()), -100, -100, ["note: ignored-label"]),
        (draws_on_row, -100, None, ["defect: label-gets-leak"]),
        (draws_on_row_before, -100, -100, ["defect: ignored-rows-leak"]),
        (mean_of_two_kinds, -100, None, ["defect: ignored-rows-uniform"]),
    ],
)
def test_what_an_ignored_row_does(loss, label, ignored, found):
    told = checked(loss, candidates=(label,))
    assert told[0] == ignored
    assert [code for code in told[1] if code in found] == found


def test_a_sum_scales_nothing_and_says_nothing():
    assert checked(lambda z, y: sf.cross_entropy(z, y, reduction="sum"), "sum", (-100,)) == (-100, [])


STRANGE = torch.tensor([0.4, 0.3, 0.2, 0.1, 0.0]).double()


@pytest.mark.parametrize(
    ("loss", "code"),
    [
        (lambda z, y: rows_of(z, y).mean(), "defect: label-becomes-class"),
        (lambda z, y: F.cross_entropy(z, (y[:, None] == torch.arange(K)).to(z.dtype) * 0.9 + 0.1 / K),
         "defect: ignored-rows-uniform"),
        (lambda z, y: F.cross_entropy(z, torch.where(y[:, None] < 0, STRANGE, F.one_hot(y.clamp(min=0), K))),
         "defect: label-with-target"),
        (lambda z, y: torch.where(y < 0, z.square().sum(1) * z[:, 0], rows_of(z, y)).mean(),
         "defect: label-without-target"),
        (lambda z, y: (torch.where(y < 0, 0.0, rows_of(z, y)) - 0.1 * z.mean(1)).mean(),
         "defect: label-without-target"),
        (lambda z, y: sum(float("nan") * z[i, 0] if y[i] < 0 else rows_of(z, y)[i] for i in range(len(y))),
         "defect: label-gives-nan"),
        (lambda z, y: (torch.where(y < 0, 0.0, rows_of(z, y)) + 0.01 * z.logsumexp(1) ** 2).mean(),
         "warning: ignored-rows-in-extra-term"),
    ],
)  # fmt: skip
def test_a_label_below_0_that_is_not_inert(loss, code):
    assert checked(loss, candidates=(-1,)) == (None, [code])


def test_rows_that_count_by_their_place_do_not_leak():
    def loss(z, y):
        w = torch.linspace(1, 2, len(y), dtype=z.dtype)
        return (w * F.cross_entropy(z, y, reduction="none")).sum() / w.sum()

    assert checked(loss, "other", (-100,)) == (-100, ["warning: ignored-nan-in-gradient"])


def test_a_class_without_gradient_is_told_and_is_the_ignored_label():
    ignored, found = checked(lambda z, y: F.cross_entropy(z, y, ignore_index=2), candidates=())
    assert (ignored, found[0]) == (2, "warning: class-without-gradient")


@pytest.mark.parametrize("candidates", [(-100, -1), (-1, -100)])
def test_of_several_ignored_labels_the_likeliest_is_reported(candidates):
    def loss(z, y):
        return sf.cross_entropy(z, y.clamp(min=-1), ignore_index=-1)

    assert checked(loss, candidates=candidates)[0] == candidates[0]
