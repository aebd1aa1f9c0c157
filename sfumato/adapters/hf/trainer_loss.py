"""A loss for ``Trainer(compute_loss_func=…)``: of any model's logits, divided by what Trainer counted."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.utils import ModelOutput

from sfumato.loss import cross_entropy
from sfumato.targets.checks import ArgumentError, check_distribution, check_over, check_strength
from sfumato.theory import Over


def compute_loss(label_smoothing: float = 0.1, over: Over = "all", shift: bool | None = None) -> "TrainerLoss":
    r"""The smoothed loss of a model's logits, as ``Trainer(compute_loss_func=…)`` calls it.

    .. math:: L = \frac{1}{M}\sum_t \sum_k q_{t,k}\,(\mathrm{lse}(z_t) - z_{t,k})

    M is what Trainer counted over all batches that it accumulates, so that their gradients add up to that of one large
    batch. Where Trainer counts nothing, M is the number of labels in this batch that count. Evaluation, which Trainer
    runs without gradients, gets the hard loss: a smoothed loss on held-out rows is no log loss, and would choose
    another checkpoint.

    Args:
        label_smoothing: strength ε in [0, 1].
        over: where ε goes: ``"all"`` K classes, as in torch, or the K−1 ``"others"``.
        shift: whether position t predicts label t+1. None shifts where the outputs are of a causal model's class
            (``CausalLMOutput…``), and refuses logits of three axes in a plain dictionary or tuple until it is told.

    Returns:
        A :class:`TrainerLoss`.

    Raises:
        ValueError: a strength outside [0, 1] or an unknown ``over``, at once.

    >>> loss = compute_loss(0.1)
    >>> logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]], requires_grad=True)
    >>> round(loss({"logits": logits}, torch.tensor([0, 1])).item(), 4)
    0.2951

    See also :func:`fuse_head`, for large vocabularies: it makes no logits.
    """
    check_strength(label_smoothing)
    check_over(over)
    return TrainerLoss(float(label_smoothing), over, shift)


@dataclass(eq=False)
class TrainerLoss:
    """What :func:`compute_loss` gives; :class:`ScheduleSmoothing` may change its strength while Trainer trains."""

    label_smoothing: float
    over: Over
    shift: bool | None

    def __call__(self, outputs: Any, labels: Tensor | None, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        """The loss of one batch: labels are class indices (N,) or (B, T), or probabilities of the logits' shape."""
        logits = _logits(outputs)
        if labels is None:
            raise ArgumentError("compute_loss needs labels, and Trainer gave none: is there a column of that name?")
        labels = labels.to(logits.device)
        if self._shifts(outputs, logits):
            logits, labels = logits[:, :-1], labels[:, 1:]
        probabilities = labels.is_floating_point()
        if labels.shape != (logits.shape if probabilities else logits.shape[:-1]):
            raise ArgumentError(
                f"labels must be class indices {tuple(logits.shape[:-1])} or probabilities {tuple(logits.shape)}, got "
                f"{labels.dtype} {tuple(labels.shape)}"
            )
        if probabilities:
            check_distribution(labels.movedim(-1, 1), None, "labels")
        total = cross_entropy(
            logits.movedim(-1, 1),
            labels.movedim(-1, 1) if probabilities else labels,
            label_smoothing=self.label_smoothing if logits.requires_grad else 0.0,
            over=self.over,
            reduction="sum",
            out_dtype=torch.promote_types(logits.dtype, torch.float32),
        )
        return total / _items(logits, labels, num_items_in_batch, probabilities)

    def _shifts(self, outputs: Any, logits: Tensor) -> bool:
        if self.shift is not None:
            return self.shift
        if logits.dim() == 3 and not isinstance(outputs, ModelOutput):
            raise ArgumentError(
                f"these outputs are a {type(outputs).__name__} with logits {tuple(logits.shape)}, and its class does "
                "not tell whether position t predicts label t or t+1: say compute_loss(shift=False) or "
                "compute_loss(shift=True)"
            )
        return any("CausalLMOutput" in each.__name__ for each in type(outputs).__mro__)


def _logits(outputs: Any) -> Tensor:
    """Logits with their classes last, (N, K) or (B, T, K)."""
    if isinstance(outputs, dict):
        if outputs.get("logits") is None:
            raise ArgumentError(f"the model's outputs have no logits, only {', '.join(outputs) or 'nothing'}")
        logits = outputs["logits"]
    else:
        logits = outputs[0] if isinstance(outputs, tuple) else outputs.logits
    if logits.dim() not in (2, 3):
        raise ArgumentError(
            f"compute_loss takes logits (N, K) or (B, T, K), got {tuple(logits.shape)}; for others call "
            "sf.cross_entropy in a function of your own"
        )
    return logits


def _items(logits: Tensor, labels: Tensor, counted: Tensor | int | None, probabilities: bool) -> Tensor | float:
    """M: rows over all batches that are accumulated. Of probabilities Trainer counts the entries."""
    if counted is None:
        return float(logits.shape[:-1].numel()) if probabilities else (labels.long() != -100).sum()
    counted = counted.to(logits.device) if isinstance(counted, Tensor) else counted
    return counted / logits.shape[-1] if probabilities else counted
