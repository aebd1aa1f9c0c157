"""The early stop: training ends when no better epoch has come for a while, and the best epoch is kept.

Epochs are ranked by log loss after a temperature. Without the temperature the rule would end an arm for being too sure
or not sure enough, which one scalar repairs, and so would treat one-hot and smoothed arms differently.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from sfumato import evaluate
from sfumato.evaluate.metrics.temperature import NllSlope, fit
from sfumato.evaluate.scores.per_row import scan
from sfumato.evaluate.scores.score_matrix import ScoreMatrix
from sfumato.evaluate.scores.soft_labels import SoftLabels, Truth


class BestEpoch:
    """The weights of the best epoch so far.

    Args:
        model: in training.
        patience: epochs without a better one after which to stop, at least 1.
    """

    def __init__(self, model: nn.Module, patience: int) -> None:
        self.epoch, self._nll = 0, math.inf  # the best epoch is counted from 1
        self._model, self._patience = model, patience
        self._weights: dict[str, Tensor] = {}

    def enough(self, epoch: int, nll: float) -> bool:
        """Take note of an epoch; whether ``patience`` epochs have passed since the best, of equal ones the first."""
        if nll < self._nll or not self._weights:
            self.epoch, self._nll = epoch, nll
            self._weights = {name: tensor.detach().clone() for name, tensor in self._model.state_dict().items()}
        return epoch - self.epoch >= self._patience

    def restore(self) -> None:
        """Give the model the weights of the best epoch."""
        self._model.load_state_dict(self._weights)


def nll_after_temperature(logits: Tensor, labels: Tensor, soft: Tensor | None = None) -> float:
    r"""Log loss at the temperature that fits these rows best, in nats.

    .. math:: \min_T \frac{1}{N} \sum_i -\log \mathrm{softmax}(z_i / T)_{y_i}

    >>> import torch
    >>> logits, labels = torch.tensor([[2.0, 0.0]] * 4), torch.tensor([0, 0, 0, 1])
    >>> round(nll_after_temperature(logits, labels), 4)  # the entropy of 3/4 and 1/4
    0.5623
    """
    if not bool(logits.isfinite().all()):
        return math.inf
    logits, labels = logits.cpu(), labels.cpu()
    if soft is not None:
        q = SoftLabels(soft.cpu().numpy(), "label_probs")
        divisor = fit(NllSlope(logits, Truth(q.mode, q)), small=True).value
        return float(scan(ScoreMatrix(logits=logits), q.mode, divisor, soft=q).nll.mean())
    temperature = evaluate.fit_temperature_small(logits=logits, labels=labels)
    return float(evaluate.per_row(logits=logits, labels=labels, temperature=temperature.value).nll.mean())
