"""Losses to probe: what other projects compute, in a few lines each, with the defects that were found in them."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

EPS = 0.1


def fairseq(lprobs, target, epsilon=EPS, ignore_index=None):
    nll = -lprobs.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    smooth = -lprobs.sum(-1)
    if ignore_index is not None:
        pad = target.eq(ignore_index)
        nll, smooth = nll.masked_fill(pad, 0.0), smooth.masked_fill(pad, 0.0)
    share = epsilon / (lprobs.size(-1) - 1)
    return (1 - epsilon - share) * nll.sum() + share * smooth.sum(), nll.sum()


def fairseq_before_2021(lprobs, target):
    nll = -lprobs.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    return ((1 - EPS) * nll - EPS / lprobs.size(-1) * lprobs.sum(-1)).sum()


class OpenNMT(nn.Module):
    """Padding without mass, and a KL divergence."""

    def __init__(self, label_smoothing, tgt_vocab_size, ignore_index=0):
        super().__init__()
        one_hot = torch.full((tgt_vocab_size,), label_smoothing / (tgt_vocab_size - 2))
        one_hot[ignore_index] = 0
        self.register_buffer("one_hot", one_hot.unsqueeze(0))
        self.confidence, self.ignore_index = 1 - label_smoothing, ignore_index

    def forward(self, output, target):
        q = self.one_hot.repeat(target.size(0), 1).scatter(1, target.unsqueeze(1), self.confidence)
        return F.kl_div(output, q.masked_fill((target == self.ignore_index).unsqueeze(1), 0), reduction="sum")


class ESPnet(nn.Module):
    """Rows of a sequence, a KL divergence, the others."""

    def __init__(self, size, padding_idx=-1, smoothing=EPS):
        super().__init__()
        self.size, self.padding_idx, self.smoothing = size, padding_idx, smoothing

    def forward(self, x, target):
        assert x.size(2) == self.size
        x, target = x.reshape(-1, self.size), target.reshape(-1)
        ignore = target == self.padding_idx
        q = torch.full_like(x, self.smoothing / (self.size - 1))
        q.scatter_(1, target.masked_fill(ignore, 0).unsqueeze(1), 1 - self.smoothing)
        kl = F.kl_div(x.log_softmax(1), q, reduction="none")
        return kl.masked_fill(ignore.unsqueeze(1), 0).sum() / (~ignore).sum()


def tensor2tensor(logits, labels):
    k = logits.size(1)
    low = EPS / (k - 1)
    constant = -((1 - EPS) * np.log(1 - EPS) + (k - 1) * low * np.log(low + 1e-20))
    q = torch.full_like(logits, low).scatter(1, labels.unsqueeze(1), 1 - EPS)
    return -(q * logits.log_softmax(1)).sum(1) - constant


def classy_vision(output, target, smoothing_param=EPS, ignore_index=-100):
    valid = (target != ignore_index).unsqueeze(1)
    q = F.one_hot(target.clamp(min=0), output.size(1)) * valid + smoothing_param / output.size(1)
    q = q / q.sum(1, keepdim=True)
    return -(q * output.log_softmax(1)).sum(1).mean()


def coincheung(logits, label, lb_smooth=EPS, lb_ignore=-100):
    ignore = label == lb_ignore
    label = label.masked_fill(ignore, 0)
    q = torch.full_like(logits, lb_smooth / logits.size(1)).scatter(1, label.unsqueeze(1), 1 - lb_smooth)
    loss = -(q * logits.log_softmax(1)).sum(1).masked_fill(ignore, 0)
    return loss.sum() / (~ignore).sum()


class SegmentationModels(nn.Module):
    """No default that can be called; ignored positions are in the mean."""

    def __init__(self, reduction="mean", smooth_factor=None, ignore_index=-100):
        super().__init__()
        self.smooth_factor, self.ignore_index, self.reduction = smooth_factor, ignore_index, reduction

    def forward(self, y_pred, y_true):
        lprobs = y_pred.log_softmax(1)
        pad = y_true.eq(self.ignore_index)
        nll = -lprobs.gather(1, y_true.masked_fill(pad, 0).unsqueeze(1)).squeeze(1).masked_fill(pad, 0)
        smooth = -lprobs.sum(1).masked_fill(pad, 0)
        return (1 - self.smooth_factor) * nll.mean() + self.smooth_factor / y_pred.size(1) * smooth.mean()


def hugging_face(logits, labels):
    logp = -logits.log_softmax(-1)
    pad = labels.eq(-100)
    labels = labels.clamp(min=0)
    nll = logp.gather(-1, labels.unsqueeze(-1)).squeeze(-1).masked_fill(pad, 0)
    smooth = logp.sum(-1).masked_fill(pad, 0)
    return ((1 - EPS) * nll + EPS / logits.size(-1) * smooth).sum() / (~pad).sum()


def speechbrain(log_probabilities, targets, label_smoothing=EPS, pad_idx=0, reduction="mean"):
    q = torch.full_like(log_probabilities, label_smoothing / (log_probabilities.size(-1) - 1))
    ignore = targets == pad_idx
    q.scatter_(1, targets.masked_fill(ignore, 0).unsqueeze(1), 1 - label_smoothing)
    loss = F.kl_div(log_probabilities, q, reduction="none").masked_fill(ignore.unsqueeze(1), 0)
    return loss.sum().mean() if reduction == "mean" else loss


def apex(logits, labels, smoothing=EPS, padding_idx=0):
    lse = logits.logsumexp(1)
    nll = lse - logits.gather(1, labels.unsqueeze(1)).squeeze(1)
    return (smoothing * (lse - logits.mean(1)) + (1 - smoothing) * nll).masked_fill(labels == padding_idx, 0)


class _Kernel(torch.autograd.Function):
    """A value with a gradient of its own, as kernels compute the two apart."""

    @staticmethod
    def forward(ctx, logits, value, gradient):
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx, upstream):
        return upstream.unsqueeze(1) * ctx.saved_tensors[0], None, None


def megatron_two_ranks(logits, labels):
    """Each of two ranks smooths over its own half; the gradients together are the model's."""
    z, half = logits.detach(), logits.size(1) // 2
    s = EPS * half / (half - 1)
    p = z.softmax(1)
    gradient = p - s / half
    gradient[torch.arange(len(labels)), labels] -= 1 - s
    nll = -p.log().gather(1, labels.unsqueeze(1)).squeeze(1)
    return _Kernel.apply(logits, (1 - s) * nll - s * p[:, :half].log().mean(1), gradient)


def transformer_engine(logits, labels, label_smoothing=EPS, ranks=1):
    """A gradient with ε whatever its sign, and a value that takes ε below 0 for 0, or local logits."""
    z, k, eps = logits.detach(), logits.size(1), label_smoothing
    gradient = z.softmax(1) - eps / k
    gradient[torch.arange(len(labels)), labels] -= 1 - eps
    lse = z.logsumexp(1)
    value = lse - z.gather(1, labels.unsqueeze(1)).squeeze(1)
    if not eps <= 0:
        value = (1 - eps) * value + eps / k * (k * lse - z[:, : k // ranks].sum(1))
    return _Kernel.apply(logits, value, gradient).mean()


def transformer_engine_two_ranks(logits, labels):
    return transformer_engine(logits, labels, EPS, 2)


def flash_attention(logits, labels):
    """A label out of range has loss 0, and the gradient of the rest."""
    z, k = logits.detach(), logits.size(1)
    outside = (labels < 0) | (labels >= k)
    gradient = z.softmax(1) - EPS / k
    gradient[torch.arange(len(labels))[~outside], labels[~outside]] -= 1 - EPS
    gradient[labels == -100] = 0
    z_y = z.gather(1, labels.clamp(0, k - 1).unsqueeze(1)).squeeze(1)
    value = (z.logsumexp(1) - (1 - EPS) * z_y - EPS * z.mean(1)).masked_fill(outside, 0)
    return _Kernel.apply(logits, value, gradient)


def lightgbm(scores, labels):
    """Labels are cast to int before anything is checked."""
    y = np.asarray(labels).astype(np.int64)
    z = scores - scores.max(1, keepdims=True)
    return -(z - np.log(np.exp(z).sum(1, keepdims=True)))[np.arange(len(y)), y].mean()


def paddle(input, label, label_smoothing=EPS, ignore_index=-100):
    if label_smoothing > 0:
        hot = (label.unsqueeze(1) == torch.arange(input.size(1))).to(input.dtype)
        q = (1 - label_smoothing) * hot + label_smoothing / input.size(1)
        return -(q * input.log_softmax(1)).sum(1).mean()
    return F.cross_entropy(input, label, ignore_index=ignore_index)


class VISSL(nn.CrossEntropyLoss):
    """Weights and ignored labels are dropped with smoothing."""

    def __init__(self, label_smoothing=EPS, weight=None, ignore_index=-100):
        super().__init__(weight=weight, ignore_index=ignore_index)
        self.eps = label_smoothing

    def forward(self, input, target):
        if self.eps == 0:
            return super().forward(input, target)
        hot = (target.unsqueeze(1) == torch.arange(input.size(1))).to(input.dtype)
        return F.cross_entropy(input, (1 - self.eps) * hot + self.eps / input.size(1))


class NeMo(nn.Module):
    """Smooths in training only."""

    def __init__(self, label_smoothing=EPS):
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, logits, labels):
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing if self.training else 0.0)


class Fastai(nn.Module):
    """Class weights on the label's term alone."""

    def __init__(self, eps=EPS, weight=None):
        super().__init__()
        self.eps, self.weight = eps, weight

    def forward(self, output, target):
        logp = output.log_softmax(1)
        label = F.nll_loss(logp, target, weight=self.weight, reduction="none").mean()
        return (1 - self.eps) * label - self.eps * logp.mean()


def teacher_free(outputs, labels):
    q = torch.full_like(outputs, EPS / (outputs.size(1) - 1)).scatter(1, labels.unsqueeze(1), 1 - EPS)
    return -torch.sum(outputs.log_softmax(1) * q) / outputs.size(0)


def overwrites(logits, labels):
    logits -= logits.max(dim=1, keepdim=True).values.detach()
    return F.cross_entropy(logits, labels, label_smoothing=EPS)


def in_numpy(logits, labels):
    k = logits.shape[1]
    z = logits - logits.max(1, keepdims=True)
    logp = z - np.log(np.exp(z).sum(1, keepdims=True))
    q = np.full_like(z, EPS / (k - 1))
    q[np.arange(len(labels)), labels] = 1 - EPS
    return -(q * logp).sum(1).mean()


def unshifted(logits, labels):
    return (logits.exp().sum(1).log() - logits.gather(1, labels.unsqueeze(1)).squeeze(1)).mean()


def no_gradient(logits, labels):
    return F.cross_entropy(logits, labels, label_smoothing=EPS).item()


def detached(logits, labels):
    return F.cross_entropy(logits.detach(), labels, label_smoothing=EPS, reduction="sum")


def constant(logits, labels):
    return torch.tensor(1.0)


def hardest(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none", label_smoothing=EPS).max()


def first_row(logits, labels):
    return F.cross_entropy(logits[:1], labels[:1], label_smoothing=EPS)


def leaks(logits, labels):
    valid = labels != -1
    nll = F.cross_entropy(logits, labels.clamp(min=0), reduction="none", label_smoothing=EPS)
    return (nll * valid).sum() / valid.sum() + 0.01 * ((logits - logits.mean(0)) ** 2).sum()


def with_z_loss(logits, labels):
    return F.cross_entropy(logits, labels, label_smoothing=EPS) + 1e-3 * (logits.logsumexp(1) ** 2).mean()


def focal(logits, labels):
    nll = F.cross_entropy(logits, labels, reduction="none")
    return ((1 - torch.exp(-nll)) ** 2 * nll).mean()


def confidence_penalty(logits, labels):
    logp = logits.log_softmax(1)
    return F.cross_entropy(logits, labels) + 0.1 * (logp.exp() * logp).sum(1).mean()


def cooled(logits, labels):
    return F.cross_entropy(logits / 2.5, labels, label_smoothing=EPS)


def from_probabilities(probs, labels):
    return -torch.log(probs[torch.arange(len(labels)), labels] + 1e-7).mean()


def only_ten_classes(logits, labels):
    assert logits.size(1) == 10
    return F.cross_entropy(logits, labels, label_smoothing=EPS)


def brier(logits, labels):
    return ((logits.softmax(1) - F.one_hot(labels, logits.size(1))) ** 2).sum(1).mean()


def neighbours(logits, labels):
    distance = (torch.arange(logits.size(1))[None, :] - labels[:, None]).abs()
    return -((-distance.double()).softmax(1) * logits.log_softmax(1)).sum(1).mean()


def randomly(logits, labels):
    return F.cross_entropy(logits, labels) * (1 + 0.1 * torch.rand(()))


def forgot_to_divide(logits, labels):
    """The share of each other class is ε, not ε/(K−1)."""
    logp = logits.log_softmax(1)
    return (-(1 - EPS) * logp.gather(1, labels.unsqueeze(1)).squeeze(1) - EPS * logp.sum(1)).mean()


def mean_over_classes_too(logits, labels):
    q = torch.full_like(logits, EPS / (logits.size(1) - 1)).scatter(1, labels.unsqueeze(1), 1 - EPS)
    return F.kl_div(logits.log_softmax(1), q)


def weighted(logits, labels):
    weight = torch.linspace(0.5, 2, logits.size(1), dtype=logits.dtype)
    return F.cross_entropy(logits, labels, weight, label_smoothing=EPS)


def labels_in_a_column(logits, labels):
    assert labels.shape == (len(logits), 1)
    logp = logits.log_softmax(1)
    return -((1 - EPS) * logp.gather(1, labels).squeeze(1) + EPS * logp.mean(1)).mean()


def of_images(logits, labels):
    assert logits.dim() == 4
    return F.cross_entropy(logits, labels, label_smoothing=EPS)


class InFloat32(nn.Module):
    """A table of targets in float32, which float64 logits cannot be multiplied with."""

    def __init__(self, num_classes, smoothing=EPS):
        super().__init__()
        self.register_buffer("table", torch.eye(num_classes) * (1 - smoothing) + smoothing / num_classes)

    def forward(self, logits, labels):
        return -torch.einsum("nk,nk->n", self.table[labels], logits.log_softmax(1)).mean()


def in_a_dictionary(logits, labels):
    return {"loss": F.cross_entropy(logits, labels, label_smoothing=EPS), "rows": len(labels)}


def negative(logits, labels):
    logp = logits.log_softmax(1)
    return -((1 + EPS) * logp.gather(1, labels.unsqueeze(1)).squeeze(1) - EPS * logp.mean(1)).mean()


def make(smoothing=EPS):
    return nn.CrossEntropyLoss(label_smoothing=smoothing)


CRITERION = nn.CrossEntropyLoss(label_smoothing=0.2)
NOT_A_LOSS = 3
