"""Callbacks of Trainer: save held-out scores for ``sfumato judge``, and change the strength while training."""

import inspect
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from sfumato.adapters._saving import save_parts
from sfumato.targets.checks import ArgumentError, check_strength


class SaveScores(TrainerCallback):
    """Write ``FOLDER/ARM/SEED.npz`` when training ends: logits and labels of test rows, and of validation rows.

    ``sfumato judge FOLDER`` then compares the arms. With ``load_best_model_at_end`` the best model is saved. Rows are
    read in the order of the data set, in batches of ``per_device_eval_batch_size``, by the collator of training, and by
    the first process alone.

    Args:
        folder: of all arms; made where it is missing.
        arm: what is trained, such as ``"one-hot"``.
        seed: which model of the arm; None for ``args.seed``.
        test: data set of the test rows, with labels, as Trainer takes one.
        validation: data set of the validation rows, on which the temperature is fitted; None for none.

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
        save_parts(
            self.folder, self.arm, args.seed if self.seed is None else self.seed, read, self.test, self.validation
        )


class ScheduleSmoothing(TrainerCallback):
    """Set the strength of a loss before each step of the optimiser.

    The training loss that Trainer logs moves with the strength, since its floor does; the evaluation loss of
    :func:`compute_loss` and :func:`fuse_head` is hard and does not. A run that is resumed goes on at the strength of
    its step.

    Args:
        loss: what has a ``label_smoothing``: that of :func:`compute_loss`, what :func:`fuse_head` gave, or a
            ``sfumato.CrossEntropyLoss`` that your own ``compute_loss_func`` calls.
        schedule: called with the steps that were taken and the number of all steps; returns ε in [0, 1].

    Raises:
        TypeError: a loss without a ``label_smoothing``.
        ValueError: a strength outside [0, 1]; when the step begins.

    >>> import sfumato as sf
    >>> from sfumato.adapters.hf import compute_loss
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


def _scores(data: Any, model: Any, collate: Any, size: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Logits (N, K) in float32 and labels (N,) of all rows; the model's mode is put back."""
    accepted = inspect.signature(model.forward).parameters
    training, logits, labels = model.training, list[torch.Tensor](), list[torch.Tensor]()
    model.eval()
    try:
        with torch.no_grad():
            for start in range(0, len(data), size):
                batch = collate([data[at] for at in range(start, min(start + size, len(data)))])
                if "labels" not in batch:
                    raise ArgumentError(f"the rows have no labels, only {', '.join(batch)}")
                labels.append(batch["labels"].cpu())
                inputs = {
                    name: value.to(model.device) if isinstance(value, torch.Tensor) else value
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
    return torch.cat(logits).numpy(), torch.cat(labels).numpy()
