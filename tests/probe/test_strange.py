"""The probe against losses of no framework: it names them, gives the line that is the same, or says what it cannot."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import sfumato as sf
from sfumato.probe import Probe, ProbeError, probe
from tests.conftest import run_sfumato

EPS = 0.1


def said(found: Probe, level: str = "") -> str:
    return "\n".join(str(each) for each in found.findings if each.level.startswith(level))


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


def smoothed(logits, labels, **options):
    return F.cross_entropy(logits, labels, label_smoothing=EPS, **options)


def class_weights(logits):
    return torch.linspace(1, 2, logits.size(1), dtype=logits.dtype)


def mean_counts_ignored(logits, labels):
    return smoothed(logits, labels, reduction="none").sum() / len(labels)


def weighted_as_torch(logits, labels):
    return smoothed(logits, labels, weight=class_weights(logits))


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
        (weighted_over_rows, 'reduction="sum") / labels.numel()', -100),
        (weighted_sum, 'reduction="sum")', -100),
        (rows_weighted, 'weight_on="sample", reduction="sum") / labels.numel()', None),
        (rows_weighted_and_divided_by_weights, 'over="all", weight_on="sample")', None),
        (over_a_prior, "sf.cross_entropy(logits, sf.smooth_prior(labels, torch.tensor([0.018", None),
        (cooled, 'sf.cross_entropy(logits / 2, labels, label_smoothing=0.1, over="all")', -100),
        (scaled, 'sf.cross_entropy(30 * logits, labels, label_smoothing=0.1, over="all")', -100),
        (squared_partition, " + 0.001 * logits.logsumexp(1).square()", None),
        (confident, " - 0.2 * torch.distributions.Categorical(logits=logits).entropy().mean()", None),
        (suppressed, 'reduction="sum") + 0.1 * (logits.amax(1) - logits.mean(1)).sum()', None),
    ],
)
def test_the_line_is_the_loss_on_rows_that_the_probe_never_saw(loss, part, ignored):
    found = probe(loss)
    assert part in str(found.line)
    assert_line_is(loss, found, ignored)


def test_a_line_that_is_off_beside_ignored_rows_says_so():
    def loss(logits, labels):
        ignored = (labels < 0).sum()
        return smoothed(logits, labels, reduction="none").sum() / (len(labels) - ignored) * (1 + 0.1 * ignored)

    assert "where rows of label -100 are among them" in said(probe(loss), "warning")


def test_a_line_for_one_k_says_that_it_is():
    def loss(logits, labels):
        return F.cross_entropy(logits, labels, label_smoothing=1 / logits.size(1))

    found = probe(loss)
    assert (found.convention, found.eps_all) == (None, 0.1)
    assert "same loss: at K = 10 alone: at another K the strength is another" in said(found, "warning")


def test_a_smoothing_over_a_prior_is_named():
    found = probe(over_a_prior)
    assert (found.convention, found.eps) == ("prior", EPS)
    assert "(1−ε)·e_y + ε·π with ε = 0.1 and π = (0.01818, 0.03636," in said(found, "note")


def test_a_mean_over_no_row_alone_is_an_ignored_class_and_not_a_strange_target():
    def loss(logits, labels):
        counts = (labels != 3).to(logits.dtype)
        return (smoothed(logits, labels, reduction="none") * counts).sum() / counts.sum()

    found = probe(loss)
    assert (found.convention, found.eps, found.ignore_index) == ("all", EPS, 3)
    assert_line_is(loss, found, 3)


def in_float32(logits, labels):
    z = np.asarray(logits, dtype=np.float32)
    z = z - z.max(1, keepdims=True)
    logp = z - np.log(np.exp(z).sum(1, keepdims=True))
    q = np.full_like(z, EPS / z.shape[1])
    q[np.arange(len(labels)), labels] += 1 - EPS
    return float(-(q * logp).sum(1).mean())


def test_float32_without_a_gradient_is_read_with_longer_steps():
    found = probe(in_float32)
    assert (found.convention, found.eps, found.reduction) == ("all", EPS, "mean")
    assert "gradient: read by finite differences: numpy has no others" in said(found, "note")


def test_a_list_of_numbers_is_one_a_row():
    def loss(logits, labels):
        return smoothed(logits, labels, reduction="none").tolist()

    found = probe(loss)
    assert (found.convention, found.reduction) == ("all", "none")
    assert "hides rows" not in said(found)


class Annealed(nn.Module):
    """Its strength shrinks with every call."""

    def __init__(self):
        super().__init__()
        self.eps = 0.2

    def forward(self, logits, labels):
        self.eps *= 0.5
        return F.cross_entropy(logits, labels, label_smoothing=self.eps)


def test_a_loss_that_changes_with_every_call_is_read_as_it_is_first():
    found = probe(Annealed)
    assert (found.convention, found.eps, found.reduction, found.line) == ("all", 0.1, "mean", None)
    assert "state: a call changes what the next one returns" in said(found, "warning")
    assert "leaks" not in said(found)


def test_a_loss_that_changes_and_cannot_be_copied_is_refused():
    calls: list[int] = []

    def loss(logits, labels):
        calls.append(1)
        return len(calls) * F.cross_entropy(logits, labels)

    with pytest.raises(ProbeError, match="returns another number in every call, with the same seed too"):
        probe(loss)


def test_a_random_target_is_not_named_and_its_rows_are_not_said_to_leak():
    def loss(logits, labels):
        flipped = torch.where(torch.rand(len(labels)) < 0.3, torch.randint(0, logits.size(1), labels.shape), labels)
        return F.cross_entropy(logits, flipped)

    found = probe(loss)
    assert (found.convention, found.eps, found.line) == (None, None, None)
    assert "randomness" in said(found, "warning")
    assert "leak" not in said(found)


def one_sided(logits, labels, eps=EPS):
    return F.binary_cross_entropy_with_logits(logits, (1 - eps) * F.one_hot(labels, logits.size(1)).to(logits.dtype))


def test_sigmoids_whose_label_is_short_of_one_are_not_hard():
    found = probe(one_sided)
    assert (found.convention, found.eps) == (None, None)
    assert found.target == pytest.approx((0.9, 0.0))


def test_a_turned_sign_is_a_defect():
    found = probe(lambda logits, labels: -smoothed(logits, labels))
    assert "total mass: Σq = -1: the sign is turned" in said(found, "defect")
    assert str(found.line).startswith("-1 * sf.cross_entropy(")


def test_a_sum_that_changes_with_the_strength_is_not_a_factor():
    def loss(logits, labels, eps=EPS):
        q = F.one_hot(labels, logits.size(1)) + eps / logits.size(1)
        return -(q * logits.log_softmax(1)).sum(1).mean()

    assert "total mass: Σq changes with eps: 1 at 0, 1.1 here: the target is not normalised" in said(probe(loss))


def test_a_squared_error_is_not_a_cross_entropy_with_weight_decay():
    found = probe(lambda logits, labels: F.mse_loss(logits, F.one_hot(labels, logits.size(1)).to(logits.dtype)))
    assert (found.convention, found.target, found.line) == (None, None, None)
    assert "not a cross entropy of a softmax or sigmoids" in said(found, "warning")


def test_a_loss_that_does_not_look_at_labels_is_told():
    found = probe(lambda logits, labels: -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean())
    assert "labels: they are not looked at" in said(found, "defect")
    assert "it is 0 for every label" not in said(found)


def poly(logits, labels, epsilon=1.0):
    nll = F.cross_entropy(logits, labels, reduction="none")
    return (nll + epsilon * (1 - torch.exp(-nll))).mean()


def generalised(logits, labels):
    return ((1 - torch.exp(-F.cross_entropy(logits, labels, reduction="none")) ** 0.7) / 0.7).mean()


def symmetric(logits, labels, alpha=0.1):
    hot = F.one_hot(labels, logits.size(1)).to(logits.dtype).clamp(min=1e-4)
    return alpha * F.cross_entropy(logits, labels) - (logits.softmax(1) * hot.log()).sum(1).mean()


def focal_and_smoothed(logits, labels, eps=EPS):
    logp = logits.log_softmax(1)
    q = (1 - eps) * F.one_hot(labels, logits.size(1)) + eps / logits.size(1)
    return -(q * (1 - logp.exp()) ** 2 * logp).sum(1).mean()


def with_margin(logits, labels):
    return F.cross_entropy(logits - 0.35 * F.one_hot(labels, logits.size(1)), labels)


def normalised(logits, labels):
    return smoothed(30 * F.normalize(logits, dim=1), labels)


def relaxed(logits, labels, alpha=EPS):
    p, hot = logits.softmax(1), F.one_hot(labels, logits.size(1)).to(logits.dtype)
    rest = (1 - hot) * p.detach()
    q = alpha * rest / rest.sum(1, keepdim=True) + (1 - alpha) * hot
    far = F.kl_div(p.log(), q, reduction="none").sum(1)
    return torch.where((p * hot).sum(1) >= 1 - alpha, 0.0, far).mean()


@pytest.mark.parametrize(
    "loss", [poly, generalised, symmetric, focal_and_smoothed, with_margin, normalised, relaxed, F.multi_margin_loss]
)
def test_what_is_no_fixed_target_is_not_guessed(loss):
    found = probe(loss)
    assert (found.convention, found.eps, found.target, found.line) == (None, None, None, None)
    assert "no fixed target explains its gradient" in said(found, "warning")
    for claim in ("no lower bound", "without mass", "no two levels"):
        assert claim not in said(found)


def test_a_guard_that_is_called_eps_is_no_strength():
    def guarded(logits, labels, eps=1e-6):
        p = logits.softmax(1)
        return F.cross_entropy(logits, labels) + (p * torch.log(p + eps)).sum(1).mean()

    for loss in (guarded, poly, symmetric):
        assert "ε = " not in said(probe(loss))


def test_a_weight_that_multiplies_the_whole_loss_is_told():
    def loss(logits, labels, weight=None):
        return smoothed(logits, labels) * (1 if weight is None else torch.as_tensor(weight).mean())

    told = "class weights: weight=… weights no class and no row: the whole loss is multiplied by 1.25"
    assert told in said(probe(loss), "defect")


def test_rows_that_show_the_mean_of_the_batch_are_told():
    def loss(logits, labels):
        return smoothed(logits, labels) + 0.2 * (logits.amax(1) - logits.mean(1))

    found = probe(loss)
    assert (found.reduction, found.line) == ("none", None)
    assert "rows: the value of a row depends on the other rows" in said(found, "defect")


def test_half_precision_inside_is_guessed_at():
    found = probe(lambda logits, labels: smoothed(logits.half().float(), labels))
    assert "as half precision inside would" in said(found, "warning")


def test_the_hardest_half_of_a_batch_hides_the_others():
    def loss(logits, labels):
        return smoothed(logits, labels, reduction="none").topk(max(1, len(labels) // 2)).values.mean()

    assert "hides rows: 2 of 4 have no gradient" in said(probe(loss), "defect")


def test_labels_that_are_overwritten_where_they_are_no_class_are_told():
    def in_torch(logits, labels):
        return smoothed(logits, labels.clamp_(min=0))

    def in_numpy(logits, labels):
        labels[labels < 0] = 0
        z = logits - logits.max(1, keepdims=True)
        return -(z - np.log(np.exp(z).sum(1, keepdims=True)))[np.arange(len(labels)), labels].mean()

    for loss in (in_torch, in_numpy):
        found = probe(loss)
        assert "side effects: the labels are overwritten" in said(found, "defect")
        assert "label -1 is not refused: it silently becomes class 0" in said(found, "defect")


def test_clipped_gradients_are_not_said_to_leak():
    class Clip(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, upstream):
            return upstream.clamp(-0.01, 0.01)

    found = probe(lambda logits, labels: smoothed(Clip.apply(logits), labels))
    assert "gradient: it is not that of the value" in said(found, "defect")
    assert "leak" not in said(found)


def test_a_loss_for_two_classes_says_with_how_many_it_can_be_called():
    def loss(logits, labels):
        assert logits.size(1) == 2
        return smoothed(logits, labels)

    with pytest.raises(ProbeError, match="with 2 classes it can be: --classes 2"):
        probe(loss)
    assert probe(loss, classes=2).target == pytest.approx((0.95, 0.05))


def test_a_loss_in_jax_that_takes_arrays_is_differentiated_by_jax():
    optax = pytest.importorskip("optax")

    def loss(logits, labels):
        import jax.numpy as jnp

        hot = jnp.eye(logits.shape[1])[labels]
        return optax.softmax_cross_entropy(jnp.asarray(logits), optax.smooth_labels(hot, EPS)).mean()

    found = probe(loss, classes=4)
    assert (found.convention, found.eps) == ("all", EPS)
    assert "finite differences" not in said(found)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda logits, labels: sys.exit(3), "it ends the program (exit code 3)"),
        (lambda logits, labels: (logits * float("nan")).sum(), "some of them not finite"),
        (lambda logits, labels: smoothed(logits, labels).to(torch.complex64), "it returns Tensor, not a number"),
    ],
)
def test_a_loss_that_gives_no_number_is_refused(loss, message):
    with pytest.raises(ProbeError) as caught:
        probe(loss)
    assert message in str(caught.value)


def test_a_loss_with_named_arguments_only_is_not_taken_for_a_factory():
    def loss(*, input, target):
        return F.cross_entropy(input, target)

    with pytest.raises(ProbeError, match="takes 0 positional arguments but 2 were given"):
        probe(loss)


def test_a_module_that_exits_on_import_is_a_usage_error_and_not_a_finding(tmp_path):
    (tmp_path / "script.py").write_text("import sys\nsys.exit(3)\n", encoding="utf-8")
    for name in ("script:loss", "script.py:loss"):
        ran = run_sfumato("probe", name, "--strict", folder=tmp_path)
        assert (ran.code, ran.out) == (2, "")
        assert "cannot be imported: SystemExit: 3" in ran.err
