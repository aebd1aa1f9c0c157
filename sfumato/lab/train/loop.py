"""The training loop, read top to bottom, the same for every arm.

What differs between arms is the loss object alone. Weights, order of rows, budget and schedule come from the seed and
the plan, and hashes of the first two are kept to prove it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato import evaluate
from sfumato.evaluate.metrics.temperature import NllSlope, fit
from sfumato.evaluate.scores.per_row import scan
from sfumato.evaluate.scores.score_matrix import ScoreMatrix
from sfumato.evaluate.scores.soft_labels import SoftLabels, Truth
from sfumato.lab.errors import TrainingError
from sfumato.lab.execute.torchrun import ONE_PROCESS, Ranks
from sfumato.lab.models import Classifier, logits_of
from sfumato.lab.train import Plan
from sfumato.lab.train.augment import Augmentation
from sfumato.lab.train.objectives import MovingLoss, TrainingObjective


@dataclass(frozen=True)
class Epoch:
    """What one epoch showed; losses and gaps in nats."""

    epoch: int  # from 1
    train_loss: float  # mean over the epoch's rows, each at the step that used it
    train_floor: float | None  # the smallest value that the loss could take; None for a loss without a floor
    train_excess: float | None  # train_loss less the floor
    train_gap: float  # mean logit gap over the epoch's rows, each at the step that used it, mixed where the arm mixes
    validation_nll: float  # against the labels, or the soft labels of the data, whatever the target was
    validation_accuracy: float
    validation_nll_after_temperature: float | None = None  # by which the best epoch is found

    def to_dict(self) -> dict[str, Any]:
        """As one line of ``metrics.jsonl``."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Trained:
    """What a training leaves beside its weights.

    A hash of batches is SHA-256 over the rows of every batch up to the end of an epoch, in the order in which they were
    used, and over what augmentation drew for them. Runs of different lengths saw the same batches if their hashes agree
    at the end of the shorter.
    """

    batches: tuple[str, ...]  # the hash at the end of each epoch
    kept_epoch: int  # the epoch whose weights the model has
    train_gap: float  # mean logit gap of the training rows by the last weights, whichever are kept


def train(
    model: Classifier,
    loss: nn.Module,
    rows: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    plan: Plan,
    *,
    seed: int,
    floor: float,
    on_epoch: Callable[[Epoch], None],
    weight: Tensor | None = None,
    soft: Tensor | None = None,
    validation_soft: Tensor | None = None,
    ranks: Ranks = ONE_PROCESS,
    augment: Augmentation | None = None,
) -> Trained:
    """Train ``model`` in place; a loss that is not finite is a TrainingError before the weights move.

    Args:
        model: with its initial weights.
        loss: called as ``loss(logits, labels)``, with ``sample_weight`` where there are weights; the mean over the
            batch. A ``TrainingObjective`` is given the model and the batch; a ``MovingLoss`` hears of each step and
            each end of an epoch.
        rows: features (n, D) and labels (n,) to train on.
        validation: features and labels that are looked at after every epoch, and decide only which epoch is kept.
        plan: epochs, batch size, learning rate.
        seed: of the order of rows.
        floor: of the loss, in nats; ``-inf`` for a loss that has none. A loss that moves has its own in each epoch.
        on_epoch: called after every epoch.
        weight: (n,) of the rows.
        soft: (n, K) soft labels of the rows, for an objective that trains on them.
        validation_soft: (m, K) soft labels of the validation rows, in the place of their labels.
        ranks: processes that share every batch, each of which calls this with the same arguments.
        augment: changes the rows of each epoch.
    """
    x, y = rows
    optimiser = optimiser_of(model.parameters(), plan)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=plan.steps(len(y)))
    order = torch.Generator().manual_seed(seed)
    batches, hashes = hashlib.sha256(), list[str]()
    best = BestEpoch(model, plan.early_stop) if plan.keeps_best else None
    step = _Step(model, loss, x, y, weight, soft, plan, ranks, augment)
    moving, steps = (loss if isinstance(loss, MovingLoss) else None), 0

    for epoch in range(1, plan.epochs + 1):
        model.train()
        seen: list[_Seen] = []
        shuffled = torch.randperm(len(y), generator=order)
        drawn = b"" if augment is None else augment.begin(epoch)
        for batch in shuffled.split(plan.batch_size):
            if moving is not None:
                moving.begin_step(steps, plan.steps(len(y)), float(step.mass(batch)))
            steps += 1
            optimiser.zero_grad()
            lost, parts = step.backward(batch)
            if lost != 0:
                raise TrainingError(
                    f"the loss is {lost:g} in epoch {epoch}; the features or the learning rate "
                    f"({plan.learning_rate:g}) are too large"
                )
            seen += parts
            optimiser.step()
            schedule.step()

        batches.update(shuffled.numpy().tobytes() + drawn)
        hashes.append(batches.hexdigest())
        train_loss, train_gap = step.means(seen)
        if moving is not None:
            floor = moving.end_epoch(y)
        logits, labels = logits_of(model, validation[0]), validation[1]
        nll, accuracy = _scores(logits, labels, validation_soft)
        scaled = None if best is None else nll_after_temperature(logits, labels, validation_soft)
        # A rank's own statistics of its batches may differ in the last digits.
        nll, accuracy, scaled = ranks.agree((nll, accuracy, scaled))
        lowest, excess = (floor, train_loss - floor) if math.isfinite(floor) else (None, None)
        on_epoch(Epoch(epoch, train_loss, lowest, excess, train_gap, nll, accuracy, scaled))
        if best is not None and scaled is not None and best.enough(epoch, scaled):
            break

    gap = mean_gap(logits_of(model, x).double(), y.cpu())
    if best is not None:
        best.restore()
    return Trained(tuple(hashes), plan.epochs if best is None else best.epoch, gap)


class _Seen(NamedTuple):
    """What a part of a batch showed before its step: the loss is the mean over its rows, whose mass is beside it."""

    logits: Tensor
    labels: Tensor
    loss: Tensor
    mass: int | Tensor


@dataclass(frozen=True)
class _Step:
    """The gradient of a batch, in as many parts as the plan says, on as many ranks as there are."""

    model: Classifier
    loss: nn.Module
    x: Tensor
    y: Tensor
    weight: Tensor | None
    soft: Tensor | None
    plan: Plan
    ranks: Ranks
    augment: Augmentation | None

    def backward(self, batch: Tensor) -> tuple[float, list[_Seen]]:
        """Add the gradient of the batch's mean loss to the weights' own; 0, or a loss that was not finite."""
        share = self.ranks.rows(batch)
        alone = share is batch
        parts = parts_of(share, self.plan.accumulate) if len(share) else ()
        masses = [self.mass(part) for part in parts]
        whole = sum(masses) if alone else self.mass(batch)
        lost, seen = 0.0, list[_Seen]()
        for part, mass in zip(parts, masses, strict=True):
            labels = self.y[part]
            bf16 = self.plan.precision == "bf16"
            with torch.autocast(self.x.device.type, torch.bfloat16) if bf16 else nullcontext():
                logits, value = self._forward(part, labels)
            if not math.isfinite(value.item()):
                lost = value.item()
                break
            # A part's mean counts as much as its rows do, so that the parts add up to the mean of the batch.
            (value if len(parts) == 1 and alone else value * (mass / whole)).backward()
            seen.append(_Seen(logits.detach(), labels, value.detach(), mass))
        return self.ranks.add_gradients(self.model, lost), seen

    def mass(self, rows: Tensor) -> int | Tensor:
        """What some rows count in the mean over the epoch."""
        return len(rows) if self.weight is None else self.weight[rows].sum()

    def _forward(self, part: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of some rows and their mean loss."""
        x = self.x[part] if self.augment is None else self.augment(self.x[part], part)
        if isinstance(self.loss, TrainingObjective):
            weight, soft = (None if rows is None else rows[part] for rows in (self.weight, self.soft))
            return self.loss.step(self.model, x, labels, weight, soft)
        logits = self.model(x)
        own = {} if self.weight is None else {"sample_weight": self.weight[part]}
        return logits, self.loss(logits, labels, **own)

    def means(self, seen: list[_Seen]) -> tuple[float, float]:
        """The loss and the gap of an epoch, of all ranks: means over its rows, each at the step that used it."""
        logits, labels, losses, masses = zip(*seen, strict=True)
        values = torch.stack(losses) * torch.tensor(masses, dtype=losses[0].dtype, device=self.x.device)
        loss = (values.sum() / (len(self.y) if self.weight is None else self.weight.sum())).item()
        gap, rows = mean_gap(torch.cat(logits), torch.cat(labels)), len(torch.cat(labels))
        return self.ranks.means(loss, gap, rows)


def optimiser_of(weights: Iterable[Tensor], plan: Plan) -> torch.optim.Optimizer:
    """Adam, or AdamW where the plan has weight decay: on every weight, decoupled from the gradient."""
    kind = torch.optim.AdamW if plan.weight_decay > 0 else torch.optim.Adam
    return kind(weights, lr=plan.learning_rate, weight_decay=plan.weight_decay)


def parts_of(batch: Tensor, parts: int) -> tuple[Tensor, ...]:
    """A batch in parts of nearly equal size, in order, each of at least two rows: a short batch has fewer of them."""
    return (batch,) if parts == 1 else batch.tensor_split(max(1, min(parts, len(batch) // 2)))


def _scores(logits: Tensor, labels: Tensor, soft: Tensor | None) -> tuple[float, float]:
    """Log loss in nats and accuracy; against soft labels, of which the likeliest class counts as right, if given."""
    if soft is None:
        return hard_scores(logits, labels)
    return F.cross_entropy(logits, soft.to(logits.dtype)).item(), hard_scores(logits, soft.argmax(1))[1]


def hard_scores(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """Log loss in nats and accuracy."""
    return F.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).float().mean().item()


def mean_gap(logits: Tensor, labels: Tensor) -> float:
    """Mean over rows of z_true − mean of the other logits, in nats; half precision is summed in float32."""
    logits = logits.float() if logits.dtype.itemsize < 4 else logits
    true = logits.gather(1, labels.unsqueeze(1)).squeeze(1)
    others = (logits.sum(1) - true) / (logits.shape[1] - 1)
    return (true - others).mean().item()


class BestEpoch:
    """The weights of the best epoch so far, and whether ``patience`` epochs have passed since; None never stops.

    Epochs are ranked by log loss after a temperature. Without the temperature the rule would end an arm for being too
    confident or not confident enough, which one scalar repairs, and so would treat one-hot and smoothed arms
    differently.
    """

    def __init__(self, model: nn.Module, patience: int | None) -> None:
        self.epoch, self._nll = 0, math.inf  # the best epoch is counted from 1
        self._model, self._patience = model, math.inf if patience is None else patience
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
    r"""Log loss at the temperature that fits these rows best, in nats."""
    if not bool(logits.isfinite().all()):
        return math.inf
    logits, labels = logits.cpu(), labels.cpu()
    if soft is not None:
        q = SoftLabels(soft.cpu().numpy(), "label_probs")
        divisor = fit(NllSlope(logits, Truth(q.mode, q)), small=True).value
        return float(scan(ScoreMatrix(logits=logits), q.mode, divisor, soft=q).nll.mean())
    temperature = evaluate.fit_temperature(small=True, logits=logits, labels=labels)
    return float(evaluate.per_row(logits=logits, labels=labels, temperature=temperature.value).nll.mean())
