"""The line of sfumato that the probe gives: the loss written out in torch, and rows that the probe never saw."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import sfumato as sf
from sfumato.probe import Probe, Recipe, probe
from sfumato.probe.gradients import CONFIDENCE, DECAY, SUPPRESSION, Z_LOSS, ExtraTerm
from tests.probe.losses import EPS, codes, smoothed, text_of

K = 4
Z = torch.randn(6, K, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
Y = torch.tensor([0, 1, 2, 3, 1, 2])
W = (0.5, 1.0, 2.0, 3.0)
PRIOR = (0.4, 0.3, 0.2, 0.1)
w, prior = torch.tensor(W, dtype=torch.float64), torch.tensor(PRIOR, dtype=torch.float64)


def dense(q, z=Z, reduce=torch.mean):
    return reduce(-(q * z.log_softmax(1)).sum(1))


HOT = F.one_hot(Y, K).double()
OTHERS = 0.8 * HOT + 0.2 / 3 * (1 - HOT)
CE = F.cross_entropy

CASES = [
    (Recipe(0.2, "all", K), CE(Z, Y, label_smoothing=0.2)),
    (Recipe(0.2, "others", K, factor=3.0, reduction="sum"), 3 * dense(OTHERS, reduce=torch.sum)),
    (Recipe(0.2, "others", K, excess=True), dense(OTHERS) + (OTHERS * OTHERS.log()).sum(1).mean()),
    (Recipe(0.0, "all", K, ignore_index=1, reduction="none"), CE(Z, Y, ignore_index=1, reduction="none")),
    (Recipe(0.0, "all", K, ignore_index=1, over_all_rows=True), CE(Z, Y, ignore_index=1, reduction="sum") / 6),
    (Recipe(0.1, "all", K, temperature=2.5), CE(Z / 2.5, Y, label_smoothing=0.1)),
    (Recipe(0.1, "all", K, temperature=1 / 30), CE(30 * Z, Y, label_smoothing=0.1)),
    (Recipe(0.1, "all", K, weight=W), CE(Z, Y, w, label_smoothing=0.1)),
    (Recipe(0.1, "all", K, weight=W, weight_on="sample"),
     (w[Y] * CE(Z, Y, label_smoothing=0.1, reduction="none")).sum() / w[Y].sum()),
    (Recipe(0.3, "all", K, prior=PRIOR), dense(0.7 * HOT + 0.3 * prior)),
    (Recipe(0.0, "all", K, extra=ExtraTerm(Z_LOSS, -0.5)), CE(Z, Y) - 0.5 * Z.logsumexp(1).square().mean()),
    (Recipe(0.0, "all", K, extra=ExtraTerm(DECAY, 0.5), reduction="sum"),
     CE(Z, Y, reduction="sum") + 0.25 * Z.square().sum()),
    (Recipe(0.0, "all", K, extra=ExtraTerm(CONFIDENCE, 0.5)),
     CE(Z, Y) + 0.5 * (Z.softmax(1) * Z.log_softmax(1)).sum(1).mean()),
    (Recipe(0.0, "all", K, extra=ExtraTerm(SUPPRESSION, 0.5), reduction="none"),
     CE(Z, Y, reduction="none") + 0.5 * (Z.amax(1) - Z.mean(1))),
]  # fmt: skip


@pytest.mark.parametrize(("recipe", "expected"), CASES, ids=[recipe.code for recipe, _ in CASES])
def test_the_line_gives_the_loss(recipe, expected):
    torch.testing.assert_close(recipe(Z, Y), expected, rtol=1e-12, atol=1e-14)


def test_a_padding_class_has_no_mass():
    labels = torch.tensor([1, 2, 3, 1, 1, 2])
    q = (0.1 + 0.7 * F.one_hot(labels, K).double()) * (torch.arange(K) != 0)
    torch.testing.assert_close(Recipe(0.2, "others", K, pad=0)(Z, labels), dense(q), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("recipe", "code"),
    [
        (Recipe(0.0, "all", 3), "sf.cross_entropy(logits, labels)"),
        (Recipe(0.0, "all", 3, ignore_index=-100), "sf.cross_entropy(logits, labels)"),
        (Recipe(0.0, "all", 3, temperature=0.05), "sf.cross_entropy(20 * logits, labels)"),
        (Recipe(0.0, "all", 3, temperature=2.0), "sf.cross_entropy(logits / 2, labels)"),
    ],
)
def test_a_line_says_no_more_than_it_must(recipe, code):
    assert recipe.code == code


def rows_of(seed: int, count: int, classes: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(1, classes, (count,), generator=generator)


def assert_line_is(loss, found: Probe, ignored: int | None = None) -> None:
    """The line, run as it stands on batches that the probe has not seen."""
    assert found.line is not None, found.recipe
    for seed, count in ((1, 7), (2, 12)):
        logits, labels = rows_of(seed, count)
        if ignored is not None:
            labels[::3] = ignored
        own = eval(found.line, {"sf": sf, "torch": torch, "logits": logits, "labels": labels})
        torch.testing.assert_close(own, torch.as_tensor(loss(logits, labels)).double(), rtol=1e-6, atol=1e-9)


def class_weights(logits):
    return torch.linspace(1, 2, logits.size(1), dtype=logits.dtype)


def mean_counts_ignored(logits, labels):
    return smoothed(logits, labels, reduction="none").sum() / len(labels)


def weighted_as_torch(logits, labels):
    return smoothed(logits, labels, weight=class_weights(logits))


def weighted_and_scaled(logits, labels):
    return 2.5 * weighted_as_torch(logits, labels)


def weighted_over_rows(logits, labels):
    return smoothed(logits, labels, weight=class_weights(logits), reduction="none").mean()


def weighted_sum(logits, labels):
    return F.cross_entropy(logits, labels, class_weights(logits), reduction="sum")


def rows_weighted(logits, labels):
    return (class_weights(logits)[labels] * smoothed(logits, labels, reduction="none")).mean()


def rows_weighted_and_divided_by_weights(logits, labels):
    w = class_weights(logits)[labels]
    return (w * smoothed(logits, labels, reduction="none")).sum() / w.sum()


def over_a_prior(logits, labels, eps=EPS):
    k = logits.size(1)
    prior = torch.arange(1, k + 1, dtype=logits.dtype)
    q = (1 - eps) * F.one_hot(labels, k) + eps * prior / prior.sum()
    return -(q * logits.log_softmax(1)).sum(1).mean()


def cooled(logits, labels):
    return smoothed(logits / 2, labels)


def scaled(logits, labels):
    return smoothed(30 * logits, labels)


def squared_partition(logits, labels):
    return smoothed(logits, labels, reduction="none") + 1e-3 * logits.logsumexp(1) ** 2


def divergence_and_squared_partition(logits, labels):
    k = logits.size(1)
    q = torch.full_like(logits, EPS / k).scatter_(1, labels[:, None], 1 - EPS + EPS / k)
    return F.kl_div(logits.log_softmax(1), q, reduction="batchmean") + 1e-3 * logits.logsumexp(1).square().mean()


def confident(logits, labels):
    logp = logits.log_softmax(1)
    return F.cross_entropy(logits, labels) + 0.2 * (logp.exp() * logp).sum(1).mean()


def suppressed(logits, labels):
    return F.cross_entropy(logits, labels, reduction="sum") + 0.1 * (logits.amax(1) - logits.mean(1)).sum()


@pytest.mark.parametrize(
    ("loss", "part", "ignored"),
    [
        (mean_counts_ignored, 'reduction="sum") / labels.numel()', -100),
        (weighted_as_torch, 'label_smoothing=0.1, over="all")', -100),
        (weighted_and_scaled, 'dtype=logits.dtype), label_smoothing=0.1, over="all")', -100),
        (weighted_over_rows, 'reduction="sum") / labels.numel()', -100),
        (weighted_sum, 'reduction="sum")', -100),
        (rows_weighted, 'weight_on="sample", reduction="sum") / labels.numel()', None),
        (rows_weighted_and_divided_by_weights, 'over="all", weight_on="sample")', None),
        (over_a_prior, "sf.cross_entropy(logits, sf.smooth_prior(labels, torch.tensor([0.018", None),
        (cooled, 'sf.cross_entropy(logits / 2, labels, label_smoothing=0.1, over="all")', -100),
        (scaled, 'sf.cross_entropy(30 * logits, labels, label_smoothing=0.1, over="all")', -100),
        (squared_partition, " + 0.001 * logits.logsumexp(1).square()", None),
        (divergence_and_squared_partition, ".loss - parts.floor + 0.001 * logits.logsumexp(1).square().mean()", None),
        (confident, " - 0.2 * torch.distributions.Categorical(logits=logits).entropy().mean()", None),
        (suppressed, 'reduction="sum") + 0.1 * (logits.amax(1) - logits.mean(1)).sum()', None),
    ],
)
def test_the_line_is_the_loss_on_rows_that_the_probe_never_saw(loss, part, ignored):
    found = probe(loss)
    assert part in str(found.line)
    assert_line_is(loss, found, ignored)


def test_weights_of_rows_in_a_line_are_about_one():
    line = str(probe(rows_weighted_and_divided_by_weights).line)
    weights = [float(each) for each in line.partition("torch.tensor([")[2].partition("]")[0].split(",")]
    assert sum(weights) / len(weights) == pytest.approx(1, abs=1e-6)


def test_a_line_that_is_off_beside_ignored_rows_says_so():
    def loss(logits, labels):
        ignored = (labels < 0).sum()
        return smoothed(logits, labels, reduction="none").sum() / (len(labels) - ignored) * (1 + 0.1 * ignored)

    assert "where rows of label -100 are among them" in text_of(probe(loss).findings, "no-line")


def test_a_line_for_one_k_says_that_it_is():
    def loss(logits, labels):
        return F.cross_entropy(logits, labels, label_smoothing=1 / logits.size(1))

    found = probe(loss)
    assert (found.convention, found.eps_all) == (None, 0.1)
    assert "warning: line-for-one-k" in codes(found.findings)


def test_a_reduction_that_sfumato_has_not_has_no_line():
    found = probe(lambda logits, labels: smoothed(logits, labels, reduction="none").square().mean().sqrt())
    assert (found.reduction, found.line) == ("other", None)
    assert found.recipe == "there is no line: its reduction is neither mean, sum nor none"


def test_a_smoothing_over_a_prior_is_named():
    found = probe(over_a_prior)
    assert (found.convention, found.eps) == ("prior", EPS)
    assert "ε = 0.1 and π = (0.01818, 0.03636," in text_of(found.findings, "prior-target")


def test_a_mean_over_no_row_alone_is_an_ignored_class_and_not_a_strange_target():
    def loss(logits, labels):
        counts = (labels != 3).to(logits.dtype)
        return (smoothed(logits, labels, reduction="none") * counts).sum() / counts.sum()

    found = probe(loss)
    assert (found.convention, found.eps, found.ignore_index) == ("all", EPS, 3)
    assert_line_is(loss, found, 3)
