"""A strength that changes while Trainer trains."""

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from sfumato.targets.checks import ArgumentError, check_strength


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
