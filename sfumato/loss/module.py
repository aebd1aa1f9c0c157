"""The losses as modules: of logits, and of a last layer with a weight of its own."""

import torch
from torch import Tensor

from sfumato.arguments import check_weight_on
from sfumato.loss.functional import cross_entropy
from sfumato.loss.linear.functional import HeadParts, linear_cross_entropy
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
_HEAD_OPTIONS = ("weight", "ignore_index", "reduction", "label_smoothing", "over", "softcap", "z_loss", "shift")


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


class LinearCrossEntropyLoss(torch.nn.Module):
    """A last layer and its loss: :func:`linear_cross_entropy` with a weight of its own.

    ``linear`` is a :class:`torch.nn.Linear`, so that a state loads from ``torch.nn.LinearCrossEntropyLoss``, and logits
    for prediction are ``module.linear(x)``. To share a weight, as with an embedding, set ``module.linear.weight``.

    ``in_features`` is D and ``num_classes`` V; ``bias``, ``device`` and ``dtype`` are those of the layer, and all other
    arguments those of the function, whose errors come at construction.

    >>> head = LinearCrossEntropyLoss(8, 100, label_smoothing=0.1)
    >>> head(torch.zeros(4, 8), torch.tensor([0, 1, 2, 3])).item()  # log 100, for all logits are equal
    4.605170249938965
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        bias: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        over: Over = "all",
        softcap: float | None = None,
        z_loss: float = 0.0,
        shift: bool = False,
    ) -> None:
        check_strength(label_smoothing)
        check_over(over)
        check_reduction(reduction)
        checked_numbers(softcap, z_loss)
        super().__init__()
        self.linear = torch.nn.Linear(in_features, num_classes, bias=bias, device=device, dtype=dtype)
        self.register_buffer("weight", weight)
        self.weight: Tensor | None
        self.ignore_index, self.reduction, self.label_smoothing = ignore_index, reduction, label_smoothing
        self.over: Over = over
        self.softcap, self.z_loss, self.shift = softcap, z_loss, shift

    def forward(
        self,
        input: Tensor,
        target: Tensor | Target,
        *,
        sample_weight: Tensor | None = None,
        num_items: int | Tensor | None = None,
        return_parts: bool = False,
    ) -> Tensor | HeadParts:
        """The loss of ``input``, (…, D), against ``target``; shapes as of :func:`linear_cross_entropy`."""
        options = {name: getattr(self, name) for name in _HEAD_OPTIONS}
        return linear_cross_entropy(
            input,
            self.linear.weight,
            target,
            linear_bias=self.linear.bias,
            sample_weight=sample_weight,
            num_items=num_items,
            return_parts=return_parts,
            **options,
        )

    def extra_repr(self) -> str:
        """What was set, the convention always with the strength."""
        parts = [f'label_smoothing={self.label_smoothing:g}, over="{self.over}", reduction="{self.reduction}"']
        parts += [] if self.softcap is None else [f"softcap={self.softcap:g}"]
        parts += [f"z_loss={self.z_loss:g}"] if self.z_loss else []
        parts += ["shift=True"] if self.shift else []
        return ", ".join(parts)
