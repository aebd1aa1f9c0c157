"""The checks of rows, labels, arithmetic and arguments, each on losses that are wrong in one known way."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import sfumato as sf
from sfumato.probe import ProbeError, arguments
from sfumato.probe.find_loss import of
from sfumato.probe.gradients import read
from sfumato.probe.labels import ignored_by, odd_labels, side_effects
from sfumato.probe.numerics import at_infinity, far_out, gradient_of_value, in_half
from sfumato.probe.reduction import reduction_of
from sfumato.probe.understand import understand
from tests.probe.losses import codes

K = 5


def made(function, classes=K):
    """The spec of a loss, the loss as it is called, and its reading."""
    spec = of(function)
    loss = understand(spec.made(classes), classes)
    return spec, loss, read(loss, classes)


def hot(y):
    return F.one_hot(y, K) if y.dim() == 1 else y


def dense(z, q):
    return -(q * z.log_softmax(1)).sum(1).mean()


def rows_of(z, y):
    return F.cross_entropy(z, y.clamp(min=0), reduction="none")


def over_all(z, y, eps):
    losses = -z.log_softmax(1)
    return ((1 - eps) * losses.gather(1, y[:, None]).squeeze(1) + eps * losses.mean(1)).mean()


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
        (lambda z, y: -hot(y) * z.log_softmax(1), "none", 1.0, []),
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
    reduction = reduction_of(*made(loss))
    assert (reduction.name, codes(reduction.findings)) == (name, expected)
    np.testing.assert_allclose(reduction.factors, factors, rtol=1e-6)


def test_a_gradient_that_turns_with_the_size_of_the_batch_is_told_and_does_not_leak():
    found = codes(
        reduction_of(*made(lambda z, y: rows_of(z, y).mean() + 0.1 * (len(y) > 1) * z.square().mean())).findings
    )
    assert "warning: rows-turn" in found
    assert "defect: rows-leak" not in found


def test_a_loss_of_one_row_only_is_refused_for_four():
    def loss(z, y):
        if len(y) == 4:
            raise ValueError("three rows at most")
        return F.cross_entropy(z, y)

    with pytest.raises(ProbeError, match="loss cannot be called with four rows: ValueError: three rows at most"):
        reduction_of(*made(loss))


def over(divisor):
    return lambda z, y: F.cross_entropy(z, y, reduction="sum") / divisor(y)


def masked(z, y):
    mask = (y != -1).to(z.dtype)
    return (rows_of(z, y) * mask).sum() / mask.sum()


def draws_on_row_before(z, y):
    return F.cross_entropy(z - 0.5 * (y < 0).roll(1)[:, None] * z.detach().roll(1, 0), y)


def mean_of_two_kinds(z, y):  # the labels' term is a mean over rows that count, and the uniform term one over all rows
    counts = y != -100
    return 0.9 * (rows_of(z, y) * counts).sum() / counts.sum() - 0.1 * z.log_softmax(1).mean()


def of_places(z, y):
    w = torch.linspace(1, 2, len(y), dtype=z.dtype)
    return (w * F.cross_entropy(z, y, reduction="none")).sum() / w.sum()


STRANGE = torch.tensor([0.4, 0.3, 0.2, 0.1, 0.0]).double()
CLEAN = ["note: ignored-label", "note: all-rows-ignored"]


@pytest.mark.parametrize(
    ("loss", "reduction", "label", "ignored", "expected"),
    [
        (sf.cross_entropy, "mean", -100, -100, CLEAN),
        (lambda z, y: sf.cross_entropy(z, y, reduction="sum"), "sum", -100, -100, []),
        (masked, "mean", -1, -1, ["defect: ignored-nan-in-loss"]),
        (lambda z, y: torch.where(y == -1, 0.0, rows_of(z, y)).sum() / (y != -1).sum(), "mean", -1, -1,
         ["warning: ignored-nan-in-gradient"]),
        (over(len), "mean", -100, -100, ["defect: ignored-rows-in-mean"]),
        (over(lambda y: (y >= 0).sum() ** 2 / len(y)), "mean", -100, -100, ["warning: ignored-rows-scale"]),
        (over(lambda y: (y >= 0).sum()), "mean", -100, -100, ["note: ignored-label"]),
        (lambda z, y: F.cross_entropy(z - 0.1 * z[y < 0].sum(0), y), "mean", -100, None, ["defect: label-gets-leak"]),
        (draws_on_row_before, "mean", -100, -100, ["defect: ignored-rows-leak"]),
        (of_places, "other", -100, -100, ["warning: ignored-nan-in-gradient"]),
        (mean_of_two_kinds, "mean", -100, None, ["defect: ignored-rows-uniform"]),
        (lambda z, y: rows_of(z, y).mean(), "mean", -1, None, ["defect: label-becomes-class"]),
        (lambda z, y: F.cross_entropy(z, (y[:, None] == torch.arange(K)).to(z.dtype) * 0.9 + 0.1 / K), "mean", -1, None,
         ["defect: ignored-rows-uniform"]),
        (lambda z, y: F.cross_entropy(z, torch.where(y[:, None] < 0, STRANGE, hot(y.clamp(min=0)))), "mean", -1, None,
         ["defect: label-with-target"]),
        (lambda z, y: torch.where(y < 0, z.square().sum(1) * z[:, 0], rows_of(z, y)).mean(), "mean", -1, None,
         ["defect: label-without-target"]),
        (lambda z, y: (torch.where(y < 0, 0.0, rows_of(z, y)) - 0.1 * z.mean(1)).mean(), "mean", -1, None,
         ["defect: label-without-target"]),
        (lambda z, y: sum(float("nan") * z[i, 0] if y[i] < 0 else rows_of(z, y)[i] for i in range(len(y))), "mean", -1,
         None, ["defect: label-gives-nan"]),
        (lambda z, y: (torch.where(y < 0, 0.0, rows_of(z, y)) + 0.01 * z.logsumexp(1) ** 2).mean(), "mean", -1, None,
         ["warning: ignored-rows-in-extra-term"]),
    ],
)  # fmt: skip
def test_what_a_row_of_a_label_below_0_does(loss, reduction, label, ignored, expected):
    found, findings = ignored_by(*made(loss)[1:], reduction, [label])
    assert found == ignored
    assert set(expected) <= set(codes(findings))
    assert expected or not findings


def test_a_class_without_gradient_is_told_and_is_the_ignored_label():
    ignored, found = ignored_by(*made(lambda z, y: F.cross_entropy(z, y, ignore_index=2))[1:], "mean", [])
    assert (ignored, found[0].code) == (2, "class-without-gradient")


@pytest.mark.parametrize("candidates", [(-100, -1), (-1, -100)])
def test_of_several_ignored_labels_the_likeliest_is_reported(candidates):
    loss = made(lambda z, y: sf.cross_entropy(z, y.clamp(min=-1), ignore_index=-1))
    assert ignored_by(*loss[1:], "mean", candidates)[0] == candidates[0]


def only_whole(z, y):  # 1.0 is class 1, and 1.75 is refused
    assert (y == y.round()).all()
    return F.cross_entropy(z, y.long())


def odd(function, classes=K):
    return list(odd_labels(*made(function, classes)[1:], np.full(4, 0.25)))


@pytest.mark.parametrize(
    ("loss", "classes", "expected"),
    [
        (lambda z, y: dense(z, 0.8 * hot(y).to(z.dtype) + 0.2 / K), K, ["note: probabilities-smoothed"]),
        (lambda z, y: dense(z, hot(y).to(z.dtype)), K, ["note: probabilities-taken"]),
        (lambda z, y: F.cross_entropy(z, y if y.dim() == 1 else y.argmax(1)), K, ["defect: probabilities-misread"]),
        (lambda z, y: F.cross_entropy(z, y.clamp(max=K - 1)), K,
         ["defect: label-out-of-range", "note: probabilities-taken"]),
        (lambda z, y: F.cross_entropy(z, y, ignore_index=K), K, ["defect: label-out-of-range"]),
        (lambda z, y: F.cross_entropy(z, y.long()), K, ["defect: labels-cut"]),
        (only_whole, K, []),
        (lambda z, y: z.square().sum(), K, ["defect: labels-unused"]),
        (lambda z, y: z.square().sum(), 2, ["defect: labels-unused"]),
        (F.multi_margin_loss, K, []),
        (F.multi_margin_loss, 2, []),
    ],
)  # fmt: skip
def test_what_becomes_of_odd_labels(loss, classes, expected):
    assert codes(odd(loss, classes)) == expected


@pytest.mark.parametrize(
    ("classes", "eps", "became"), [(K, 0.2, "(0.28, 0.6, 0.04, …)"), (2, 0.1, "(0.32, 0.68)")]
)  # ε/K more for each class
def test_softened_probabilities_are_shown(classes, eps, became):
    (finding,) = odd(lambda z, y: F.cross_entropy(z, y, label_smoothing=eps), classes)
    assert (finding.code, finding.text.endswith(became)) == ("probabilities-smoothed", True)


def shifts_in_place(logits, labels):
    logits -= logits.detach().max()
    return F.cross_entropy(logits, labels)


def shifts_in_place_in_numpy(logits, labels):
    logits -= logits.max()
    return (np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]).mean()


def renames(label):
    def loss(logits, labels):
        labels[labels == label] = 0 if label < K else -100
        return F.cross_entropy(logits, labels)

    return loss


def negates_log_probabilities(lprobs, target):
    lprobs *= -1
    return lprobs.gather(1, target[:, None]).mean()


@pytest.mark.parametrize(
    ("loss", "ignored", "expected"),
    [
        (shifts_in_place, None, {"defect: logits-overwritten"}),
        (shifts_in_place_in_numpy, None, {"defect: logits-overwritten"}),
        (renames(3), None, {"defect: labels-overwritten"}),
        (renames(77), None, set()),
        (renames(77), 77, {"defect: labels-overwritten"}),
        (F.cross_entropy, None, set()),
        (negates_log_probabilities, None, set()),  # log-probabilities belong to the call
    ],
)
def test_what_a_call_overwrites(loss, ignored, expected):
    assert set(codes(side_effects(*made(loss)[1:], ignored))) == expected


class TooSteep(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, upstream):
        return 1.01 * upstream


def refuses_float16(z, y):
    assert z.dtype != torch.float16
    return F.cross_entropy(z.float(), y).to(z.dtype)


def guarded(z, y):
    return F.nll_loss((z.softmax(1) + 1e-9).log(), y)


@pytest.mark.parametrize(
    ("check", "loss", "expected"),
    [
        (at_infinity, F.cross_entropy, []),
        (at_infinity, lambda z, y: dense(z, hot(y)), ["defect: masked-class-nan"]),  # 0·(−∞)
        (at_infinity, lambda z, y: F.cross_entropy(z, y, label_smoothing=0.1), ["note: masked-class-with-mass"]),
        (at_infinity, lambda z, y: 1e-6 * F.cross_entropy(z, y, label_smoothing=0.1),  # a mean over a million tokens
         ["note: masked-class-with-mass"]),
        (at_infinity, lambda z, y: F.cross_entropy(z, y) + torch.where(z.isinf(), float("inf"), 0.0).sum(),
         ["defect: masked-class-infinite"]),
        (at_infinity, lambda z, y: F.cross_entropy(z, y) + 0 * z.exp().sqrt().sum(),  # which has no derivative at 0
         ["defect: masked-class-nan-gradient"]),
        (at_infinity, lambda z, y: -((0.9 * hot(y) + 0.1 / K) * z.log_softmax(1).clamp(min=-50.0)).sum(1).mean(),
         ["note: masked-class-clipped"]),
        (far_out, lambda z, y: F.cross_entropy(z, y, label_smoothing=0.2), []),
        (far_out, lambda z, y: (z.exp().sum(1).log() - z.gather(1, y[:, None]).squeeze(1)).mean(),
         ["defect: large-logit-overflow"]),
        (far_out, guarded, ["warning: probability-clipped"]),
        (gradient_of_value, F.cross_entropy, []),
        (gradient_of_value, lambda z, y: F.cross_entropy(TooSteep.apply(z), y), ["defect: gradient-wrong"]),
        (in_half, lambda z, y: F.cross_entropy(z.float(), y).to(z.dtype), []),
        (in_half, refuses_float16, ["note: half-precision-refused"]),
        (in_half, lambda z, y: (1000 * F.cross_entropy(z.float(), y, reduction="sum")).to(z.dtype),
         ["defect: half-precision-overflow"]),
        (in_half, lambda z, y: (F.cross_entropy(z, y) + 100) - 100,  # what was rounded at 100 stays lost
         ["warning: half-precision-rounding"]),
    ],
)  # fmt: skip
def test_where_arithmetic_gives_out(check, loss, expected):
    _, called, reading = made(loss)
    assert codes(check(called, K if check is in_half else reading)) == expected


def test_the_least_probability_of_a_guard_is_told():
    (finding,) = far_out(*made(guarded)[1:])
    assert "about 1e-09 is the smallest" in finding.text


def refused(logits, labels, smoothing=0.1):
    return sf.cross_entropy(logits, labels, label_smoothing=smoothing)


def applied(logits, labels, smoothing=0.1):
    return over_all(logits, labels, smoothing)


def silently_0(logits, labels, smoothing=0.1):
    return over_all(logits, labels, min(smoothing, 1.0) if smoothing > 0 else 0.0)


def others(logits, labels, smoothing=0.1):
    return sf.cross_entropy(logits, labels, label_smoothing=smoothing, over="others")


def strange_ends(logits, labels, smoothing=0.1):
    return over_all(logits, labels, 0.1 + 0.9 * smoothing if smoothing < 1 else math.nan)


def moving_mass(logits, labels, smoothing=0.1):
    return over_all(logits, labels, smoothing) * (1 + smoothing)


def at_ends(function):
    spec, loss, reading = made(function)
    return list(arguments.at_the_ends(spec, "smoothing", loss, reading))


ENDS = ["note: strength-zero", "note: strength-one"]
REFUSED = [*ENDS, *(f"note: strength-{word}-refused" for word in ("negative", "nan", "above-one"))]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (refused, REFUSED),
        (others, REFUSED),
        (applied, [*ENDS, "warning: strength-negative-applied", "note: strength-nan-gives-nan",
                   "warning: strength-above-one-accepted"]),
        (silently_0, [*ENDS, "warning: strength-negative-means-zero", "warning: strength-nan-means-zero",
                      "warning: strength-above-one-accepted"]),
    ],
)  # fmt: skip
def test_a_strength_at_its_ends(loss, expected):
    assert codes(at_ends(loss)) == expected


@pytest.mark.parametrize(
    ("loss", "code", "numbers"),
    [
        (refused, "strength-one", ["uniform", "0.2 on the label, 0.2 on each"]),
        (others, "strength-one", ["ε = 1: 0 on the label, 0.25 on each"]),
        (applied, "strength-negative-applied", ["1.08 on the label, -0.02 on each", "no lower bound"]),
        (applied, "strength-above-one-accepted", ["-0.2 on the label, 0.3 on each"]),
        (strange_ends, "strength-zero-smooths", ["0.92 on the label, 0.02 on each"]),
        (strange_ends, "strength-one-gives-nan", []),
        (moving_mass, "mass-changes-with-strength", ["1 at 0, 1.1 here"]),
    ],
)
def test_the_shares_at_the_ends_are_shown(loss, code, numbers):
    (finding,) = [each for each in at_ends(loss) if each.code == code]
    assert [number for number in numbers if number not in finding.text] == []


@pytest.mark.parametrize(
    ("smoothed", "then"),
    [
        (lambda z, y, eps: F.cross_entropy(z, y, label_smoothing=eps, ignore_index=-1), None),
        (lambda z, y, eps: over_all(z, y.clamp(min=0), eps), "trained on"),
        (over_all, "an error"),
    ],
)
def test_whether_an_ignored_label_is_ignored_with_smoothing_too(smoothed, then):
    def loss(logits, labels, smoothing=0.1, ignore_index=-1):
        if smoothing == 0:
            return F.cross_entropy(logits, labels, ignore_index=ignore_index)
        return smoothed(logits, labels, smoothing)

    spec, called, reading = made(loss)
    found = list(arguments.ignoring_survives(spec, "smoothing", called, reading))
    assert codes(found) == (["defect: smoothing-stops-ignoring"] if then else [])
    assert all(then in each.text for each in found)


def test_a_doubtful_name_is_a_strength_only_where_more_of_it_smooths_more():
    def more(logits, labels, alpha=0.1):
        return over_all(logits, labels, alpha)

    def inverse(logits, labels, alpha=0.9):
        return over_all(logits, labels, 1 - alpha)

    def unused(logits, labels, alpha=0.1):
        return over_all(logits, labels, 0.1)

    for loss, is_one in ((more, True), (inverse, False), (unused, False)):
        spec, called, _ = made(loss)
        assert arguments.is_strength(spec, "alpha", called, K) == is_one
        assert arguments.is_strength(spec, "label_smoothing", called, K)


def test_what_the_strength_of_a_one_hot_loss_would_mean():
    spec, called, _ = made(lambda logits, labels, smoothing=0.0: others(logits, labels, smoothing))
    (finding,) = arguments.by_default(spec, "smoothing", called, K)
    assert finding.code == "strength-would-mean"
    assert "others with ε = 0.1: 0.9 on the label, 0.025 on each" in finding.text


def weighted(kind, eps):
    def loss(logits, labels, weight=None):
        w = (torch.ones(K) if weight is None else torch.as_tensor(weight)).to(logits.dtype)
        losses = -logits.log_softmax(1)
        nll, every = losses.gather(1, labels[:, None]).squeeze(1), losses.mean(1)
        rows = (1 - eps) * nll + eps * every
        strange = 0 if weight is None else logits.square().sum() * logits.mean()
        return {
            "class": ((1 - eps) * w[labels] * nll + eps * (w * losses).mean(1)).mean(),
            "label": ((1 - eps) * w[labels] * nll + eps * every).mean(),
            "row": (w[labels] * rows).mean(),
            "sum": rows.mean() * w.sum() / len(w),
            "square": (w.square() * losses).mean(1).mean() * eps + (1 - eps) * nll.mean(),
            "nowhere": rows.mean(),
            "strange": rows.mean() + strange,
        }[kind]

    return loss


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (weighted("class", 0.1), ["warning: weights-on-classes"]),
        (weighted("label", 0.1), ["warning: weights-on-label-term"]),
        (weighted("row", 0.1), ["note: weights-on-rows"]),
        (weighted("row", 0.0), ["note: weights-on-rows"]),
        (weighted("sum", 0.1), ["defect: weights-multiply-loss"]),
        (weighted("nowhere", 0.1), ["defect: weights-ignored"]),
        (weighted("nowhere", 0.0), ["note: weights-without-effect"]),
        (weighted("square", 0.1), ["warning: weights-move-optimum"]),
        (weighted("strange", 0.1), ["note: weights-change-kind"]),
        (lambda logits, labels: F.cross_entropy(logits, labels), []),
        (lambda logits, labels, weight=(1.0,) * K: F.cross_entropy(logits, labels), []),
    ],
)
def test_where_class_weights_are(loss, expected):
    assert codes(arguments.class_weights(*made(loss))) == expected


class OnlyInTraining(nn.Module):
    def __init__(self, training, evaluation):
        super().__init__()
        self.strengths = {True: training, False: evaluation}

    def forward(self, logits, labels):
        return F.cross_entropy(logits, labels, label_smoothing=self.strengths[self.training])


@pytest.mark.parametrize("training_mode", [True, False])
@pytest.mark.parametrize(
    ("strengths", "expected"),
    [
        ((0.0, 0.0), []),
        ((0.1, 0.1), ["note: evaluation-smoothed"]),
        ((0.1, 0.0), ["note: evaluation-differs"]),
        ((0.0, 0.2), ["note: evaluation-differs"]),
    ],
)
def test_whether_a_module_smooths_in_evaluation_mode(strengths, expected, training_mode):
    module = OnlyInTraining(*strengths)
    loss = understand(module, K)
    reading = read(loss, K)
    module.train(training_mode)
    assert codes(arguments.in_evaluation(loss, reading)) == expected
    assert module.training == training_mode
