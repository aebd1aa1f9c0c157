"""Parts for Trainer: a loss of any model's logits, callbacks that save scores and that change the strength."""

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback
from transformers.utils import ModelOutput

from sfumato.adapters._shared import save_parts
from sfumato.loss import cross_entropy
from sfumato.targets.checks import ArgumentError, check_distribution, check_over, check_strength
from sfumato.theory import Over


@dataclass(eq=False)
class TrainerLoss:
    r"""The smoothed loss of a model's logits, for ``Trainer(compute_loss_func=…)``; ``compute_loss`` is its other name.

    .. math:: L = \frac{1}{M}\sum_t \sum_k q_{t,k}\,(\mathrm{lse}(z_t) - z_{t,k})

    M is what Trainer counted over all batches that it accumulates, so that their gradients add up to that of one large
    batch. Where Trainer counts nothing, M is the number of labels in this batch that count. Evaluation, which Trainer
    runs without gradients, gets the hard loss: a smoothed loss on held-out rows is no log loss, and would choose
    another checkpoint.

    ``label_smoothing`` is ε in [0, 1], and ``over`` where it goes: ``"all"`` K classes, as in torch, or the K−1
    ``"others"``; others are a ValueError at once. ``shift`` says whether position t predicts label t+1. None shifts
    where the outputs are of a causal model's class (``CausalLMOutput…``), and refuses logits of three axes in a plain
    dictionary or tuple until it is told.

    >>> loss = compute_loss(0.1)
    >>> logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]], requires_grad=True)
    >>> round(loss({"logits": logits}, torch.tensor([0, 1])).item(), 4)
    0.2951

    See also :func:`fuse_head`, for large vocabularies: it makes no logits.
    """

    label_smoothing: float = 0.1
    over: Over = "all"
    shift: bool | None = None

    def __post_init__(self) -> None:
        check_strength(self.label_smoothing)
        check_over(self.over)

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


compute_loss = TrainerLoss


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


class SaveScores(TrainerCallback):
    """Write ``FOLDER/ARM/SEED.npz`` when training ends: logits and labels of test rows, and of validation rows.

    ``sfumato judge FOLDER`` then compares the arms. With ``load_best_model_at_end`` the best model is saved. Rows are
    read in the order of the data set, in batches of ``per_device_eval_batch_size``, by the collator of training, and by
    the first process alone.

    ``folder`` is that of all arms, and is made where it is missing; ``arm`` is what is trained, such as ``"one-hot"``;
    ``seed`` is which model of the arm, None for ``args.seed``. ``test`` and ``validation``, on which the temperature is
    fitted, are data sets with labels as Trainer takes them.

    >>> SaveScores("scores", arm="smoothed", test=[{"x": [0.0], "labels": 0}])
    SaveScores(scores/smoothed, test rows: 1)
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        arm: str,
        seed: int | str | None = None,
        test: Any,
        validation: Any = None,
    ) -> None:
        for name, data in (("test", test), ("validation", validation)):
            if data is None:
                continue
            if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
                raise TypeError(f"{name} must be a data set with rows by number, got {type(data).__name__}")
            if len(data) == 0:
                raise ArgumentError(f"{name} has no rows: SaveScores needs at least one")
        self.folder, self.arm, self.seed, self.test, self.validation = folder, arm, seed, test, validation

    def __repr__(self) -> str:
        parts = (("test", self.test), ("validation", self.validation))
        rows = ", ".join(f"{name} rows: {len(data):,}" for name, data in parts if data is not None)
        return f"SaveScores({os.fspath(self.folder)}/{self.arm}, {rows})"

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save the scores; Trainer calls this."""
        if not state.is_world_process_zero:
            return
        collate, size = kwargs["train_dataloader"].collate_fn, args.per_device_eval_batch_size
        read = partial(_scores, model=kwargs["model"], collate=collate, size=size)
        seed = args.seed if self.seed is None else self.seed
        save_parts(self.folder, self.arm, seed, read, self.test, self.validation)


class ScheduleSmoothing(TrainerCallback):
    """Set the strength of a loss before each step of the optimiser.

    The training loss that Trainer logs moves with the strength, since its floor does; the evaluation loss of
    :func:`compute_loss` and :func:`fuse_head` is hard and does not. A run that is resumed goes on at the strength of
    its step.

    ``loss`` is what has a ``label_smoothing``, else a TypeError: that of :func:`compute_loss`, what :func:`fuse_head`
    gave, or a ``sfumato.CrossEntropyLoss`` that your own ``compute_loss_func`` calls. ``schedule`` is called with the
    steps that were taken and the number of all steps, and returns ε; one outside [0, 1] is a ValueError of its step.

    >>> import sfumato as sf
    >>> loss = compute_loss(0.1)
    >>> ScheduleSmoothing(loss, lambda step, steps: sf.schedules.linear(step, steps, 0.1, 0.0))
    ScheduleSmoothing(TrainerLoss)

    ``Trainer(compute_loss_func=loss, callbacks=[…])`` takes both.
    """

    def __init__(self, loss: Any, schedule: Callable[[int, int], float]) -> None:
        if not hasattr(loss, "label_smoothing"):
            raise TypeError(f"the loss must have a label_smoothing to set, which {type(loss).__name__} has not")
        self.loss, self.schedule = loss, schedule

    def __repr__(self) -> str:
        return f"ScheduleSmoothing({type(self.loss).__name__})"

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Set the strength of the step; Trainer calls this."""
        eps = self.schedule(state.global_step, state.max_steps)
        try:
            check_strength(eps)
        except ArgumentError as error:
            raise ArgumentError(f"the schedule gives step {state.global_step} no strength: {error}") from None
        self.loss.label_smoothing = eps


def _scores(data: Any, model: Any, collate: Any, size: int) -> tuple[Tensor, Tensor]:
    """Logits (N, K) in float32 and labels (N,) of all rows; the model's mode is put back."""
    accepted = inspect.signature(model.forward).parameters
    training, logits, labels = model.training, list[Tensor](), list[Tensor]()
    model.eval()
    try:
        with torch.no_grad():
            for start in range(0, len(data), size):
                batch = collate([data[at] for at in range(start, min(start + size, len(data)))])
                if "labels" not in batch:
                    raise ArgumentError(f"the rows have no labels, only {', '.join(batch)}")
                labels.append(batch["labels"].cpu())
                inputs = {
                    name: value.to(model.device) if isinstance(value, Tensor) else value
                    for name, value in batch.items()
                    if name in accepted and name != "labels"
                }
                logits.append(model(**inputs).logits.float().cpu())
    finally:
        model.train(training)
    if logits[0].dim() != 2:
        raise ArgumentError(
            f"SaveScores keeps logits (N, K) of classification models, got {tuple(logits[0].shape)}: for tokens, whose "
            "logits are too many to keep, save the last hidden states and the head (sf.save_scores, docs/judge.md)"
        )
    return torch.cat(logits), torch.cat(labels)
