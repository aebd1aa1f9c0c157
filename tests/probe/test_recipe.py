"""The line of sfumato that the probe gives: the loss written out in torch, on rows and in shapes that it never saw."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import sfumato as sf
from sfumato.probe import Recipe, probe
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
    (Recipe(0.3, "all", K, prior=PRIOR, ignore_index=1), dense((0.7 * HOT + 0.3 * prior)[Y != 1], Z[Y != 1])),
    (Recipe(0.2, "others", K, pad=0, ignore_index=0),
     dense(((0.1 + 0.7 * HOT) * (torch.arange(K) != 0))[Y != 0], Z[Y != 0])),
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


def rows(count: int, ignored: int | None = None):
    generator = torch.Generator().manual_seed(count)
    logits = 2 * torch.randn(count, 10, generator=generator, dtype=torch.float64)
    labels = torch.randint(1, 10, (count,), generator=generator)
    if ignored is not None:
        labels[::3] = ignored
    return logits.requires_grad_(), labels


def assert_line_is(loss, line, logits, labels, called=None) -> None:
    """The line, run as it stands: its value and its gradient are those of the loss, which is called in another way."""
    assert line is not None
    own = eval(line, {"sf": sf, "torch": torch, "logits": logits, "labels": labels})
    theirs = (called or loss)(logits, labels)
    torch.testing.assert_close(own, theirs.double(), rtol=1e-6, atol=1e-9)
    gradients = [torch.autograd.grad(each.sum(), logits)[0] for each in (own, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-7)


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
    return dense((1 - eps) * F.one_hot(labels, k) + eps * prior / prior.sum(), logits)


def squared_partition(logits, labels):
    return smoothed(logits, labels, reduction="none") + 1e-3 * logits.logsumexp(1) ** 2


def divergence_and_squared_partition(logits, labels):
    return divergence(logits.log_softmax(1), labels) + 1e-3 * logits.logsumexp(1).square().mean()


def confident(logits, labels):
    logp = logits.log_softmax(1)
    return F.cross_entropy(logits, labels) + 0.2 * (logp.exp() * logp).sum(1).mean()


def suppressed(logits, labels):
    return F.cross_entropy(logits, labels, reduction="sum") + 0.1 * (logits.amax(1) - logits.mean(1)).sum()


def of_a_class_without_rows(logits, labels):  # a mean over no row alone, which is NaN
    counts = (labels != 3).to(logits.dtype)
    return (smoothed(logits, labels, reduction="none") * counts).sum() / counts.sum()


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
        (lambda logits, labels: smoothed(logits / 2, labels),
         'sf.cross_entropy(logits / 2, labels, label_smoothing=0.1, over="all")', -100),
        (lambda logits, labels: smoothed(30 * logits, labels),
         'sf.cross_entropy(30 * logits, labels, label_smoothing=0.1, over="all")', -100),
        (squared_partition, " + 0.001 * logits.logsumexp(1).square()", None),
        (divergence_and_squared_partition, ".loss - parts.floor + 0.001 * logits.logsumexp(1).square().mean()", None),
        (confident, " - 0.2 * torch.distributions.Categorical(logits=logits).entropy().mean()", None),
        (suppressed, 'reduction="sum") + 0.1 * (logits.amax(1) - logits.mean(1)).sum()', None),
        (of_a_class_without_rows, "ignore_index=3", 3),
    ],
)  # fmt: skip
def test_the_line_is_the_loss_on_rows_that_the_probe_never_saw(loss, part, ignored):
    line = str(probe(loss).line)
    assert part in line
    for count in (7, 12):
        assert_line_is(loss, line, *rows(count, ignored))


def next_token(logits, labels):
    return smoothed(logits[..., :-1, :].flatten(0, 1), labels[..., 1:].flatten())


def next_token_of_hugging_face(logits, labels, vocab_size):
    loss_utils = pytest.importorskip("transformers.loss.loss_utils")
    return loss_utils.ForCausalLMLoss(logits, labels, vocab_size)


def trainer_of_hugging_face(outputs, labels):
    trainer = pytest.importorskip("transformers.trainer_pt_utils")
    return trainer.LabelSmoother(EPS)(outputs, labels, shift_labels=True)


def classes_second(logits, labels):
    assert logits.dim() == 3
    assert labels.shape == (len(logits), logits.size(2))
    return smoothed(logits, labels)


def classes_last(logits, labels):
    batch, positions, classes = logits.shape
    return smoothed(logits.view(batch * positions, classes), labels.view(-1), ignore_index=0)


def a_sum_a_sequence(logits, labels):
    return a_number_a_position(logits, labels).sum(1).mean()


def a_number_a_position(logits, labels):
    return smoothed(logits.transpose(1, 2), labels, reduction="none")


def padded_sum_over_all(log_probs, target):
    return F.nll_loss(log_probs.transpose(1, 2), target, ignore_index=0, reduction="sum") / target.numel()


def image(logits, masks):
    assert logits.dim() == 4
    return smoothed(logits, masks, ignore_index=255)


def sum_an_image(logits, masks):
    assert logits.dim() == 4
    return smoothed(logits, masks, reduction="sum") / len(logits)


def column(logits, labels):
    assert labels.shape == (len(logits), 1)
    return smoothed(logits, labels.squeeze(1))


def divergence(log_probs, target):
    q = torch.full_like(log_probs, EPS / log_probs.size(-1))
    q = q + (1 - EPS) * F.one_hot(target, log_probs.size(-1))
    return F.kl_div(log_probs, q, reduction="batchmean")


def sequences(batch: int, positions: int, ignored: int | None = None, *, second: bool = False):
    logits, labels = rows(batch * positions)
    logits, labels = logits.detach().reshape(batch, positions, -1), labels.reshape(batch, positions)
    if ignored is not None:
        labels[0, 1] = ignored
    return (logits.transpose(1, 2) if second else logits).contiguous().requires_grad_(), labels


def images(ignored: int):
    logits, labels = sequences(2, 6, ignored, second=True)
    return logits.detach().reshape(2, 10, 2, 3).requires_grad_(), labels.reshape(2, 2, 3)


def of_log_probabilities(loss):
    return lambda logits, labels: loss(logits.log_softmax(-1), labels)


CALLS = [
    (next_token, None, lambda: sequences(3, 5, -100),
     "logits[:, :-1].flatten(0, -2), labels[:, 1:].flatten(), label_sm"),
    (next_token_of_hugging_face, lambda z, y: next_token_of_hugging_face(z, y, 10), lambda: sequences(3, 5, -100),
     "logits[:, :-1].flatten(0, -2), labels[:, 1:]"),
    (trainer_of_hugging_face, lambda z, y: trainer_of_hugging_face({"logits": z}, y), lambda: sequences(3, 5, -100),
     "logits[:, :-1].flatten(0, -2), labels[:, 1:]"),
    (classes_second, None, lambda: sequences(3, 5, -100, second=True),
     "sf.cross_entropy(logits, labels, label_smoothing"),
    (classes_last, None, lambda: sequences(3, 5, 0), "sf.cross_entropy(logits.flatten(0, -2), labels.flatten(), la"),
    (a_sum_a_sequence, None, lambda: sequences(3, 5, -100), 'reduction="sum") / len(labels)'),
    (a_number_a_position, None, lambda: sequences(3, 5, -100), 'reduction="none").view_as(labels)'),
    (padded_sum_over_all, of_log_probabilities(padded_sum_over_all), lambda: sequences(3, 5, 0),
     'ignore_index=0, reduction="sum") / labels.numel()'),
    (image, None, lambda: images(255), "sf.cross_entropy(logits, labels, label_smoothing"),
    (sum_an_image, None, lambda: images(-100), 'reduction="sum") / len(labels)'),
    (column, None, lambda: (rows(7)[0], rows(7)[1][:, None]), "sf.cross_entropy(logits, labels.flatten(), label_"),
    (divergence, of_log_probabilities(divergence), lambda: rows(7),
     "(parts := sf.loss_parts(logits, labels, label_smoothing="),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "called", "arguments", "part"), CALLS, ids=[loss.__name__ for loss, *_ in CALLS])
def test_the_line_has_value_and_gradient_of_the_loss_on_the_arguments_of_the_loss(loss, called, arguments, part):
    line = str(probe(loss).line)
    assert part in line
    assert_line_is(loss, line, *arguments(), called)


def test_weights_of_rows_in_a_line_are_about_one():
    line = str(probe(rows_weighted_and_divided_by_weights).line)
    weights = [float(each) for each in line.partition("torch.tensor([")[2].partition("]")[0].split(",")]
    assert sum(weights) / len(weights) == pytest.approx(1, abs=1e-6)


class OtherGradient(torch.autograd.Function):
    """The smoothed loss for its value, and one and a half times its gradient in a batch of eight rows or more."""

    @staticmethod
    def forward(ctx, logits, labels):
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            value = smoothed(leaf, labels, reduction="none")
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
        ctx.save_for_backward(gradient * (1.5 if len(logits) >= 8 else 1.0))
        return value.detach()

    @staticmethod
    def backward(ctx, upstream):
        return upstream[:, None] * ctx.saved_tensors[0], None


def mean_of_means(logits, labels):
    counts = (labels != -100).to(logits.dtype)
    return (a_number_a_position(logits, labels).sum(1) / counts.sum(1)).mean()


def largest_sequence(logits, labels):
    return a_number_a_position(logits, labels).mean(1).max()


def more_beside_ignored_rows(logits, labels):
    ignored = (labels < 0).sum()
    return smoothed(logits, labels, reduction="none").sum() / (len(labels) - ignored) * (1 + 0.1 * ignored)


@pytest.mark.parametrize(
    ("loss", "part"),
    [
        (OtherGradient.apply, "its gradient, but not its value, differs from that of sfumato's nearest line by 0.5"),
        (more_beside_ignored_rows, "where rows of label -100 are among them"),
        (largest_sequence, "where a batch has several sequences or images"),
    ],
    ids=["gradient", "ignored rows", "sequences"],
)
def test_without_a_line_the_part_that_differs_is_named(loss, part):
    found = probe(loss)
    assert found.line is None
    assert part in str(found.recipe)
    assert text_of(found.findings, "no-line").endswith(str(found.recipe)[18:])


def soft(logits, targets):
    return dense(targets * (1 - EPS) + EPS / logits.size(1), logits)


def hard(logits, targets):
    assert targets.shape == logits.shape
    return smoothed(logits, targets.argmax(1))


def test_a_loss_of_one_hot_labels_is_tried_with_probabilities_too():
    found = probe(soft)
    assert "note: line-takes-probabilities" in codes(found.findings)
    targets = torch.tensor(np.random.default_rng(0).dirichlet(np.ones(10), 6))
    assert_line_is(soft, found.line, rows(6)[0], targets)
    found = probe(hard)
    assert found.line == 'sf.cross_entropy(logits, labels.argmax(1), label_smoothing=0.1, over="all")'
    assert "note: line-takes-probabilities" in codes(found.findings)


def of_one_strength_per_k(logits, labels):
    return F.cross_entropy(logits, labels, label_smoothing=1 / logits.size(1))


def of_sequences_too(logits, labels):
    return smoothed(logits.reshape(-1, logits.size(-1)), labels.reshape(-1))


@pytest.mark.parametrize(
    ("loss", "code", "told"),
    [
        (lambda logits, targets: dense(targets**2, logits), "line-for-one-hot", True),
        (of_one_strength_per_k, "line-for-one-k", True),
        (of_sequences_too, "sequences-too", True),
        (smoothed, "sequences-too", False),
    ],
)
def test_where_a_line_is_the_loss_and_where_not_is_told(loss, code, told):
    found = probe(loss)
    assert found.line is not None
    assert (code in [each.code for each in found.findings]) == told


@pytest.mark.parametrize(
    ("loss", "where"),
    [
        (lambda probs, labels: -probs.gather(1, labels[:, None]).log().mean(), "logits are probabilities.log(), or"),
        (lambda lprobs, labels: F.nll_loss(lprobs, labels), "logits are the log-probabilities that the loss takes"),
        (lambda out, labels: F.cross_entropy(out["logits"], labels), 'logits are outputs["logits"]'),
        (lambda logits, labels: F.cross_entropy(logits, labels), "None"),
    ],
)
def test_what_logits_are_in_the_line_is_said_where_the_loss_takes_something_else(loss, where):
    assert str(probe(loss).where).startswith(where)


def test_a_reduction_that_sfumato_has_not_has_no_line():
    found = probe(lambda logits, labels: smoothed(logits, labels, reduction="none").square().mean().sqrt())
    assert (found.reduction, found.line) == ("other", None)
    assert found.recipe == "there is no line: its reduction is neither mean, sum nor none"


def test_a_smoothing_over_a_prior_is_named_and_a_class_without_rows_is_ignored():
    found = probe(over_a_prior)
    assert (found.convention, found.eps) == ("prior", EPS)
    assert "ε = 0.1 and π = (0.01818, 0.03636," in text_of(found.findings, "prior-target")
    found = probe(of_a_class_without_rows)
    assert (found.convention, found.eps, found.ignore_index) == ("all", EPS, 3)
