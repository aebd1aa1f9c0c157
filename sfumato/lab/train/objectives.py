"""Losses that torch does not have: towards a prior, towards soft labels, of rows that are mixed, and with a penalty.

The training loop calls a :class:`TrainingObjective` with the model and a batch, and every other loss with logits and
labels. It notifies a :class:`MovingLoss` of every step and of the end of every epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from sfumato import schedules, theory
from sfumato.lab.models import Classifier
from sfumato.loss import CrossEntropyLoss, OnlineSmoothing, cross_entropy, penalty
from sfumato.targets.base import Target
from sfumato.targets.dense import from_probs, mix
from sfumato.targets.labelled import one_hot


class TrainingObjective(nn.Module):
    """A loss that runs the model itself."""

    def step(
        self, model: Classifier, x: Tensor, labels: Tensor, weight: Tensor | None, soft: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Logits (n, K) and the mean loss of a batch."""
        raise NotImplementedError


class MovingLoss(nn.Module):
    """A loss whose target, and with it the floor, changes while it trains."""

    def begin_step(self, step: int, steps: int, mass: float) -> None:
        """Take the target of a step."""

    def end_epoch(self, labels: Tensor) -> float:
        """End an epoch; its floor on these labels, in nats."""
        raise NotImplementedError


class MixLoss(TrainingObjective):
    r"""Rows of a batch mixed in pairs, inputs and targets alike.

    .. math:: \tilde x = \lambda x + (1-\lambda) x', \qquad \tilde q = \lambda e_y + (1-\lambda) e_{y'}, \qquad
              \lambda \sim \mathrm{Beta}(\alpha, \alpha)

    One λ and one permutation per batch, drawn from the seed of the run. What is mixed is what the model's body takes,
    after scaling. With ``cut`` a rectangle of the partner is pasted, and λ is the share that is left of the image.

    Source: Zhang et al. 2018, "mixup"; Yun et al. 2019, "CutMix".
    """

    def __init__(self, alpha: float, *, cut: bool) -> None:
        super().__init__()
        self.alpha, self.cut = alpha, cut
        self.draw = np.random.default_rng(torch.initial_seed())

    def step(
        self, model: Classifier, x: Tensor, labels: Tensor, weight: Tensor | None, soft: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """A mixed row weighs as its parts do."""
        lam = float(self.draw.beta(self.alpha, self.alpha))
        other = torch.from_numpy(self.draw.permutation(len(x))).to(x.device)
        ready = model.prepare(x)
        mixed, lam = self._pasted(ready, other, lam) if self.cut else (lam * ready + (1 - lam) * ready[other], lam)
        logits = model.head(model.body(mixed))
        weight = None if weight is None else lam * weight + (1 - lam) * weight[other]
        return logits, self.of(logits, labels, labels[other], lam, weight)

    def of(self, logits: Tensor, labels: Tensor, others: Tensor, lam: float, weight: Tensor | None = None) -> Tensor:
        """The mean loss towards λ·e_y + (1−λ)·e_y'."""
        classes = logits.shape[1]
        target = mix(one_hot(labels, classes), one_hot(others, classes), lam)
        return cross_entropy(logits, target, sample_weight=weight)

    def _pasted(self, x: Tensor, other: Tensor, lam: float) -> tuple[Tensor, float]:
        box: list[slice] = []
        for size in x.shape[2:]:
            middle, half = int(self.draw.integers(size)), int(size * (1 - lam) ** 0.5) // 2
            box.append(slice(max(0, middle - half), min(size, middle + half)))
        mixed, pasted = x.clone(), (..., *box)
        mixed[pasted] = x[other][pasted]
        return mixed, 1 - mixed[0, 0][tuple(box)].numel() / mixed[0, 0].numel()


class SoftLoss(TrainingObjective):
    """Cross entropy towards the soft labels of the rows, such as the votes of annotators."""

    def step(
        self, model: Classifier, x: Tensor, labels: Tensor, weight: Tensor | None, soft: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        assert soft is not None, "the arm was refused for data without soft labels"
        logits = model(x)
        return logits, self.of(logits, soft, weight)

    def of(self, logits: Tensor, soft: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean loss towards soft labels (n, K)."""
        return cross_entropy(logits, from_probs(soft, check=False), sample_weight=weight)


class TargetLoss(nn.Module):
    """Cross entropy towards the target that a function makes of logits (n, K) and labels (n,)."""

    def __init__(self, make_target: Callable[[Tensor, Tensor], Target]) -> None:
        super().__init__()
        self.make_target = make_target

    def forward(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        return cross_entropy(input, self.make_target(input, target), sample_weight=sample_weight)


class PenaltyLoss(nn.Module):
    """A function of ``sf.penalty`` with its strengths, on one-hot labels."""

    def __init__(self, function: str, strengths: Mapping[str, float]) -> None:
        super().__init__()
        self.function, self.strengths = function, dict(strengths)

    def forward(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        return getattr(penalty, self.function)(input, target, sample_weight=sample_weight, **self.strengths)


class OnlineLoss(MovingLoss):
    """Online smoothing, which learns its table from the batches of an epoch, for the next one."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.online: OnlineSmoothing | None = None  # until the logits show how many classes there are

    def forward(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        return self._of(input.shape[1], input.device)(input, target, sample_weight)

    def table(self, num_classes: int) -> np.ndarray:
        """S, (K, K)."""
        return self._of(num_classes, torch.device("cpu")).rows.cpu().numpy()

    def end_epoch(self, labels: Tensor) -> float:
        """Learn from the epoch; its floor is the mean entropy of its targets."""
        assert self.online is not None, "an epoch has batches"
        floor = float(self.online.target(labels, torch.float64).entropy().mean())
        self.online.end_epoch()
        return floor

    def _of(self, num_classes: int, device: torch.device) -> OnlineSmoothing:
        if self.online is None:
            self.online = OnlineSmoothing(num_classes, self.eps).to(device).train(self.training)
        return self.online


class ScheduledLoss(MovingLoss):
    """Cross entropy smoothed over all classes, with the strength that ``sf.schedules`` gives each step."""

    def __init__(self, schedule: str, strengths: Mapping[str, float]) -> None:
        super().__init__()
        self.schedule, self.strengths = schedule, dict(strengths)
        self.at = (0, 1)  # the step, and how many there are
        self.smoothed = CrossEntropyLoss(over="all")
        self._epoch: list[tuple[float, float]] = []  # the strength and the mass of each step
        self._classes: int  # the logits show how many there are

    def begin_step(self, step: int, steps: int, mass: float) -> None:
        self.at = (step, steps)
        self.smoothed.label_smoothing = getattr(schedules, self.schedule)(step, steps, **self.strengths)
        self._epoch.append((self.smoothed.label_smoothing, mass))

    def forward(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        self._classes = input.shape[1]
        return self.smoothed(input, target, sample_weight)

    def end_epoch(self, labels: Tensor) -> float:
        """The floor is the mean over the steps of the epoch, which no label changes."""
        floors = [mass * theory.loss_floor(eps, self._classes, over="all") for eps, mass in self._epoch]
        floor = sum(floors) / sum(mass for _, mass in self._epoch)
        self._epoch = []
        return float(floor)
