"""The loss as a module."""

import torch
from torch import Tensor

from sfumato.arguments import check_weight_on
from sfumato.loss.functional import cross_entropy
from sfumato.loss.reduce import checked_numbers
from sfumato.targets import Target
from sfumato.targets.checks import check_over, check_reduction, check_strength
from sfumato.theory import Over

_OPTIONS = (
    "ignore_index",
    "reduction",
    "label_smoothing",
    "over",
    "weight_on",
    "softcap",
    "z_loss",
    "out_dtype",
    "overwrite_logits",
)


class CrossEntropyLoss(torch.nn.CrossEntropyLoss):
    """:func:`cross_entropy` as a module: torch's arguments in torch's order, then sfumato's own by name.

    Being a ``torch.nn.CrossEntropyLoss`` it is taken for one wherever code asks, for example to apply softmax to a
    model's output. As torch's, it smooths in evaluation too: report the log loss there, with ``label_smoothing=0``.

    The errors of a strength, ``reduction``, ``over`` or ``weight_on`` are those of the function, at construction.

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
        softcap: float | None = None,
        z_loss: float = 0.0,
        out_dtype: torch.dtype | None = None,
        overwrite_logits: bool = False,
    ) -> None:
        check_strength(label_smoothing)
        check_over(over)
        check_weight_on(weight_on)
        checked_numbers(softcap, z_loss)
        super().__init__(weight, size_average, ignore_index, reduce, reduction, label_smoothing)
        check_reduction(self.reduction)  # which the two old arguments may have set
        self.over: Over = over
        self.weight_on, self.softcap, self.z_loss = weight_on, softcap, z_loss
        self.out_dtype, self.overwrite_logits = out_dtype, overwrite_logits

    def forward(self, input: Tensor, target: Tensor | Target, sample_weight: Tensor | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride] - it takes more than torch's
        """The loss of ``input`` against ``target``; shapes as of :func:`cross_entropy`."""
        options = {name: getattr(self, name) for name in _OPTIONS}
        return cross_entropy(input, target, self.weight, sample_weight=sample_weight, **options)

    def extra_repr(self) -> str:
        """What was set, the convention always with the strength."""
        return f'label_smoothing={self.label_smoothing:g}, over="{self.over}", reduction="{self.reduction}"'
