"""What Liger-Kernel asks of its loss (test/transformers/test_cross_entropy.py), re-expressed for a CPU.

Truth is torch's own loss: in float64 for float32 logits, and in half precision no further from that than torch's.
Liger's shapes are vocabularies on a GPU; these keep their oddness and not their size. A cap and a z-loss, which torch's
loss has not, are asked of sfumato's alone.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.conformance import aim

SHAPES = [(2, 64, 512), (3, 41, 407), (9, 7, 41), (2, 2, 8)]
TYPES = [(torch.float32, 1.0), (torch.float32, 10.0), (torch.bfloat16, 1.0), (torch.float16, 1.0)]


def numbers(shape: tuple[int, int, int], dtype: torch.dtype, scale: float, ignored: int | None = None):
    """Logits and labels of B·T tokens, some of them ignored."""
    b, t, v = shape
    logits, labels = (torch.randn(b * t, v) * scale).to(dtype), torch.randint(0, v, (b * t,))
    if ignored is not None:
        some = torch.randperm(b * t)[: int(torch.randint(1, b * t // 2 + 1, ()))]
        labels[some] = ignored
    return logits, labels


def capped(z: torch.Tensor, y: torch.Tensor, weight=None, *, softcap, z_loss, reduction="mean", **options):
    """As Liger's own test has it: of capped logits in float32, and a mean of λ·lse² over the rows that count."""
    dtype, z = z.dtype, z.to(torch.promote_types(z.dtype, torch.float32))
    z, weight = softcap * torch.tanh(z / softcap), None if weight is None else weight.to(z.dtype)
    counted = y != options.get("ignore_index", -100)
    more = torch.where(counted, z_loss * z.logsumexp(1) ** 2, 0.0)
    more = more if reduction == "none" else more.sum() / (counted.sum() if reduction == "mean" else 1)
    return (F.cross_entropy(z, y, weight, reduction=reduction, **options) + more).to(dtype)


def agree(
    cross_entropy: aim.Loss, logits: torch.Tensor, labels: torch.Tensor, reference=F.cross_entropy, **options
) -> None:
    """Value and gradient are torch's."""
    if logits.dtype not in aim.EXACT and reference is F.cross_entropy:
        assert aim.compare(cross_entropy, reference, reference, (logits, labels), options) == ""
        return
    exact = aim.widened((logits, labels))
    wide = {name: aim.wide(value) for name, value in options.items()}
    ours, theirs = (
        aim.value_and_gradients(f, x, o)
        for f, x, o in ((cross_entropy, (logits, labels), options), (reference, exact, wide))
    )
    if logits.dtype not in aim.EXACT:  # rounded once; where terms of a gradient cancel, float32 shows
        for mine, truth in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine.double(), truth, rtol=torch.finfo(logits.dtype).eps, atol=1e-6)
        return
    torch.testing.assert_close(ours[0].double(), theirs[0], rtol=1e-6, atol=1e-8)
    # Liger allows 1e-8 after a mean over 8192 tokens, 8e-5 a row. This is what rounding z − max z and p does to a row.
    row, divisor = 1e-6 + 2**-23 * float(logits.max() - logits.min()), 1.0
    if options.get("reduction", "mean") == "mean":
        counted = labels != options.get("ignore_index", -100)
        weight = options.get("weight", torch.ones(logits.shape[1]))
        divisor = float(weight[labels[counted]].sum())
    torch.testing.assert_close(ours[1].double(), theirs[1], rtol=1e-6, atol=row / divisor)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
@pytest.mark.parametrize(("dtype", "scale"), TYPES, ids=str)
class TestCorrectness:
    def test_plain(self, shape, reduction, dtype, scale, cross_entropy, seed):
        agree(cross_entropy, *numbers(shape, dtype, scale), reduction=reduction)

    @pytest.mark.parametrize("ignored", [2, -123])
    def test_with_ignored_tokens(self, shape, reduction, dtype, scale, ignored, cross_entropy, seed):
        logits, labels = numbers(shape, dtype, scale, ignored)
        agree(cross_entropy, logits, labels, reduction=reduction, ignore_index=ignored)

    def test_smoothed(self, shape, reduction, dtype, scale, cross_entropy, seed):
        agree(cross_entropy, *numbers(shape, dtype, scale), reduction=reduction, label_smoothing=0.1)

    @pytest.mark.parametrize(("ignored", "eps"), [(1, 0.1), (-300, 0.2)])
    def test_smoothed_with_ignored_tokens(self, shape, reduction, dtype, scale, ignored, eps, cross_entropy, seed):
        logits, labels = numbers(shape, dtype, scale, ignored)
        agree(cross_entropy, logits, labels, reduction=reduction, ignore_index=ignored, label_smoothing=eps)

    def test_weighted(self, shape, reduction, dtype, scale, cross_entropy, seed):
        logits, labels = numbers(shape, dtype, scale)
        agree(cross_entropy, logits, labels, weight=torch.rand(shape[2]).to(dtype), reduction=reduction)

    @pytest.mark.parametrize(("ignored", "eps"), [(1, 0.1), (-300, 0.2)])
    def test_weighted_and_smoothed_with_ignored_tokens(
        self, shape, reduction, dtype, scale, ignored, eps, cross_entropy, seed
    ):
        logits, labels = numbers(shape, dtype, scale, ignored)
        weight = torch.rand(shape[2]).to(dtype)
        options = {"weight": weight, "ignore_index": ignored, "label_smoothing": eps}
        agree(cross_entropy, logits, labels, reduction=reduction, **options)

    @pytest.mark.parametrize(("ignored", "eps", "cap", "z_loss"), [(-100, 0.1, 30.0, 1e-4), (1, 0.2, 4.0, 1e-2)])
    @pytest.mark.parametrize("weighted", [False, True])
    def test_capped_with_a_z_loss(
        self, shape, reduction, dtype, scale, ignored, eps, cap, z_loss, weighted, cross_entropy, seed
    ):
        logits, labels = numbers(shape, dtype, scale, ignored)
        options = {"ignore_index": ignored, "label_smoothing": eps, "reduction": reduction}
        options |= {"weight": torch.rand(shape[2])} if weighted else {}
        loss = cross_entropy if aim.NAME == aim.OURS else capped
        agree(loss, logits, labels, capped, softcap=cap, z_loss=z_loss, **options)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_a_loss_that_is_not_the_last_layer_passes_its_gradient_on(shape, reduction, eps, cross_entropy, seed):
    logits, labels = numbers(shape, torch.float32, 1.0)
    grads = []
    for loss, z in ((cross_entropy, logits), (F.cross_entropy, logits.double())):
        leaf = z.requires_grad_()
        (loss(leaf, labels, reduction=reduction, label_smoothing=eps) * 3).backward()
        grads.append(leaf.grad.double())
    divisor = len(labels) if reduction == "mean" else 1
    torch.testing.assert_close(*grads, rtol=1e-6, atol=3e-6 / divisor)


@pytest.mark.parametrize("eps", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
def test_a_forward_without_a_backward_gives_the_same_value(reduction, eps, cross_entropy, seed):
    logits, labels = numbers((3, 41, 407), torch.float32, 1.0)
    options = {"reduction": reduction, "label_smoothing": eps}
    with torch.no_grad():
        alone = cross_entropy(logits, labels, **options)
    assert not alone.requires_grad
    torch.testing.assert_close(alone, F.cross_entropy(logits, labels, **options), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_a_label_beyond_the_vocabulary_is_refused_and_nothing_is_broken(eps, cross_entropy, seed):
    logits, labels = numbers((2, 2, 8), torch.float32, 1.0)
    wrong = labels.clone()
    wrong[1] = 8
    with pytest.raises(IndexError, match="8"):
        cross_entropy(logits.clone().requires_grad_(), wrong, label_smoothing=eps)
    agree(cross_entropy, logits, labels, label_smoothing=eps)


@pytest.mark.parametrize("eps", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("gap", [4.0, 8.0, 12.0, 16.0])
def test_the_gradient_of_a_confident_true_class_keeps_its_digits(gap, dtype, eps, cross_entropy, seed):
    logits = torch.randn(64, 512).to(dtype)
    labels = torch.randint(0, 512, (64,))
    logits[torch.arange(64), labels] += gap
    grads = []
    for z in (logits.clone().requires_grad_(), logits.double().requires_grad_()):
        loss = cross_entropy if z.dtype == dtype else F.cross_entropy
        grads.append(torch.autograd.grad(loss(z, labels, reduction="sum", label_smoothing=eps), z)[0].double())
    ours, exact = (g[torch.arange(64), labels] for g in grads)
    info = torch.finfo(dtype)
    # What is left of p − q is rounded by the type once, and p itself by float32.
    allowed = info.eps * exact.abs() + info.smallest_normal * info.eps + 2 * torch.finfo(torch.float32).eps
    assert bool(((ours - exact).abs() <= allowed).all())
