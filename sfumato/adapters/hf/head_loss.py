"""One forward pass of a causal model with labels, in which the last layer makes no logits.

The model's own forward runs as it is. In place of its last layer it meets a stand-in, which keeps the layer's input and
gives one row of known numbers. In place of its loss function it meets ours, which computes the loss from that input.
What the model does between the two is then seen on the known row, so that nothing is trusted that was not looked at.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sfumato.loss.linear import HeadParts, linear_cross_entropy
from sfumato.theory import Over

_LARGEST = 50.0  # of the known row: past the bend of any soft cap


@dataclass(frozen=True)
class HeadLoss:
    """What a fused head computes: logits s·z, capped at c, and their loss, as the arguments of ``fuse_head`` say."""

    label_smoothing: float
    over: Over
    softcap: float | None
    logit_scale: float
    z_loss: float
    smooth_evaluation: bool
    evaluation_logits: bool

    def of_logits(self, z: Tensor) -> Tensor:
        """What the model is taken to do to its last layer's output."""
        z = z * self.logit_scale
        return z if self.softcap is None else self.softcap * torch.tanh(z / self.softcap)


class HeadPass:
    """One forward pass; ``rows`` keeps the parts of each row, ``check`` looks at the known row (this syncs a GPU)."""

    def __init__(self, model: Any, head: torch.nn.Linear, how: HeadLoss, *, rows: bool, check: bool) -> None:
        self.model, self.head, self.how, self.rows, self.check = model, head, how, rows, check
        self.name = type(model).__name__
        self.keeps_logits = how.evaluation_logits and not model.training
        self.input: Tensor | None = None
        self.output = torch.empty(0)
        self.parts: HeadParts | None = None
        self.valid: Tensor | None = None

    def stand_in(self, input: Tensor) -> Tensor:
        """In place of the last layer: its output where logits are kept, and one row of known numbers elsewhere."""
        if self.input is not None:
            raise ValueError(f"{self.name} calls its output layer twice in one pass, and fuse_head knows one call")
        self.input = input
        if self.keeps_logits:
            self.output = torch.nn.functional.linear(input, self.head.weight, self.head.bias)
        else:
            known = torch.linspace(-_LARGEST, _LARGEST, self.head.out_features, device=input.device)
            self.output = known.to(input.dtype).reshape(*(1 for _ in input.shape[:-1]), -1)
        return self.output

    def loss(
        self,
        logits: Tensor,
        labels: Tensor | None = None,
        vocab_size: int | None = None,
        num_items_in_batch: Tensor | int | None = None,
        ignore_index: int = -100,
        shift_labels: Tensor | None = None,
        **rest: Any,
    ) -> Tensor:
        """In place of the model's loss function, with the same arguments."""
        if self.input is None:
            raise ValueError(f"{self.name} computes its loss before it calls its output layer")
        if "label_smoothing" in rest:
            raise ValueError("label_smoothing is no argument of a fused model: give it to fuse_head")
        self._look_at(logits)
        labels = labels if shift_labels is None else shift_labels.view(self.input.shape[:-1])
        if labels is None:
            raise ValueError(f"{self.name} gives its loss neither labels nor shift_labels")
        labels, shift = labels.to(self.head.weight.device), shift_labels is None
        items = num_items_in_batch.to(labels.device) if isinstance(num_items_in_batch, Tensor) else num_items_in_batch
        smoothed = self.model.training or self.how.smooth_evaluation
        loss = self._of_input(
            self.input.to(labels.device),
            labels,
            shift=shift,
            ignore_index=ignore_index,
            reduction="none" if self.rows else "mean",
            num_items=None if self.rows else items,
            label_smoothing=self.how.label_smoothing if smoothed else 0.0,
            z_loss=self.how.z_loss if smoothed else 0.0,
        )
        if isinstance(loss, HeadParts):
            self.parts = loss
            self.valid = (labels[..., 1:] if shift else labels) != ignore_index
            loss = loss.loss.sum() / (self.valid.sum().clamp(min=1) if items is None else items)
        self.own = loss.detach()
        if not self.keeps_logits:
            logits.fill_(torch.nan)  # so that whatever else the model computes of them is seen in its loss
        return loss

    def look_at_loss(self, loss: Tensor) -> None:
        """Refuse a model that adds to its loss what it computes of its logits."""
        if self.check and bool(loss.isnan().any() & ~self.own.isnan()):
            raise ValueError(
                f"{self.name} adds something to its loss that it computes of its logits, which fuse_head does not "
                "make: turn that off in its configuration, or train it without fuse_head"
            )

    def _of_input(self, x: Tensor, labels: Tensor, **options: Any) -> Tensor | HeadParts:
        scale, bias = self.how.logit_scale, dict(self.head.named_parameters(recurse=False)).get("bias")
        return linear_cross_entropy(
            x if scale == 1 else x * scale,
            self.head.weight,
            labels,
            linear_bias=bias if bias is None or scale == 1 else bias * scale,
            over=self.how.over,
            softcap=self.how.softcap,
            out_dtype=torch.promote_types(x.dtype, torch.float32),
            return_parts=self.rows,
            **options,
        )

    def _look_at(self, logits: Tensor) -> None:
        """Refuse a model that does something else to its logits than the loss was told."""
        if logits.shape != self.output.shape:
            raise ValueError(
                f"{self.name} cuts or reshapes its logits before its loss ({tuple(self.output.shape)} became "
                f"{tuple(logits.shape)}), which fuse_head does not know: train it without fuse_head"
            )
        if not self.check or self.keeps_logits:
            return
        actual, wanted = logits.double(), self.how.of_logits(self.output.double())
        allowed = 8 * torch.finfo(self.output.dtype).eps * wanted.abs().max()
        if not bool(((actual - wanted).abs() <= allowed).all()):
            cap = "no softcap" if self.how.softcap is None else f"softcap={self.how.softcap:g}"
            raise ValueError(
                f"{self.name} does something else to its logits than fuse_head read in its configuration ({cap}, "
                f"logit_scale={self.how.logit_scale:g}). Give fuse_head the softcap= and logit_scale= of its forward, "
                "or train it without fuse_head"
            )
