"""The loss as a module."""

import torch
from torch import Tensor

from sfumato.arguments import check_weight_on
from sfumato.loss.functional import cross_entropy
from sfumato.targets import Target
from sfumato.targets.checks import check_over, check_reduction, check_strength
from sfumato.theory import Over


class CrossEntropyLoss(torch.nn.CrossEntropyLoss):
    """:func:`cross_entropy` as a module: torch's arguments in torch's order, then sfumato's own by name.

    Being a ``torch.nn.CrossEntropyLoss`` it is taken for one wherever code asks, for example to apply softmax to a
    model's output. As torch's, it smooths in evaluation too: report the log loss there, with ``label_smoothing=0``.

    Raises:
        ValueError: a strength outside [0, 1] or NaN, an unknown ``reduction``, ``over`` or ``weight_on``; at
            construction.

    >>> loss = CrossEntropyLoss(label_smoothing=0.1, over="others")
    >>> round(loss(torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0])).item(), 4)
    0.4395
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        *,
        over: Over = "all",
        weight_on: str = "class",
        out_dtype: torch.dtype | None = None,
        overwrite_logits: bool = False,
    ) -> None:
        check_strength(label_smoothing)
        check_over(over)
        check_weight_on(weight_on)
        super().__init__(weight, size_average, ignore_index, reduce, reduction, label_smoothing)
        check_reduction(self.reduction)  # which the two old arguments may have set
        self.over: Over = over
        self.weight_on = weight_on
        self.out_dtype = out_dtype
        self.overwrite_logits = overwrite_logits

    def forward(self, input: Tensor, target: Tensor | Target, sample_weight: Tensor | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride] - it takes more than torch's
        """The loss of ``input`` against ``target``; shapes as of :func:`cross_entropy`."""
        return cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
            over=self.over,
            weight_on=self.weight_on,
            sample_weight=sample_weight,
            out_dtype=self.out_dtype,
            overwrite_logits=self.overwrite_logits,
        )

    def extra_repr(self) -> str:
        """What was set, the convention always with the strength."""
        return f'label_smoothing={self.label_smoothing:g}, over="{self.over}", reduction="{self.reduction}"'
