"""Online label smoothing: a table of targets that a model learns from its own right predictions, epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, distributed, nn

from sfumato.loss.functional import cross_entropy
from sfumato.targets import Target
from sfumato.targets.checks import ArgumentError, check_reduction, check_strength, checked_labels
from sfumato.targets.labelled import TableRows


class OnlineSmoothing(nn.Module):
    r"""A loss towards the label and towards what the model itself says of rows of that label that it gets right.

    .. math:: q = (1-\varepsilon)\,e_y + \varepsilon\,S_y, \qquad
              S^{(t+1)}_y = \frac{1}{n_y}\sum_{i:\,y_i = y = \hat y_i} \mathrm{softmax}(z_i)

    S is (K, K). In the first epoch each of its rows is 1/K, which is smoothing over all. During an epoch the
    probabilities of each row that is predicted right are added up, n_y counts them, and :meth:`end_epoch` makes the
    next S of their means. A class without a right prediction gets 1/K again; its row is never empty. Nothing has a
    gradient through S.

    Call the loss on the logits of training. In ``eval()`` it uses S and learns nothing. Call :meth:`end_epoch` when an
    epoch ends, on every rank; until then S stays as it is.

    S, the sums and the counts, 16·K² bytes, are in ``state_dict()``. A checkpoint that is read back, within an epoch
    too, goes on to the same bits. They stay in float64 under ``half()`` and ``bfloat16()``.

    ``eps`` is ε in [0, 1]; the paper's α is 1 − ε, and ε = 0.5 there. ``ignore_index`` and ``reduction`` are those of
    :func:`cross_entropy`. ValueError: fewer than two classes, ε outside [0, 1] or NaN, an unknown reduction.

    >>> loss = OnlineSmoothing(3, eps=0.3)
    >>> loss.target(torch.tensor([0])).probs()
    tensor([[0.8000, 0.1000, 0.1000]])
    >>> _ = loss(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0]))
    >>> loss.end_epoch()
    >>> loss.target(torch.tensor([0])).probs()
    tensor([[0.8996, 0.0734, 0.0270]])

    Source: Zhang et al. 2021, "Delving Deep Into Label Smoothing" (OLS), and the code of its authors.
    """

    rows: Tensor  # S, (K, K) float64
    sums: Tensor  # of the probabilities in this epoch, (K, K) float64
    hits: Tensor  # n, (K,) int64: rows that were predicted right in this epoch

    def __init__(
        self, num_classes: int, eps: float = 0.5, *, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ArgumentError(f"num_classes must be at least 2, got {num_classes}")
        check_strength(eps, "eps")
        check_reduction(reduction)
        self.num_classes, self.eps = num_classes, float(eps)
        self.ignore_index, self.reduction = ignore_index, reduction
        shape = (num_classes, num_classes)
        self.register_buffer("rows", torch.full(shape, 1 / num_classes, dtype=torch.float64))
        self.register_buffer("sums", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("hits", torch.zeros(num_classes, dtype=torch.int64))
        self._table: Tensor | None = None
        self.register_load_state_dict_post_hook(_drop_table)

    def forward(self, input: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """The loss of logits (N, K, …) or (K,) and labels (N, …) or (); in training they are learnt from."""
        towards = self.target(target, input.dtype)
        loss = cross_entropy(input, towards, reduction=self.reduction, sample_weight=sample_weight)
        if self.training:
            self.update(input, target)
        return loss

    def target(self, labels: Tensor, dtype: torch.dtype | None = None) -> Target:
        """What labels, (P…) int64, are trained towards now, for logits in ``dtype``; IndexError names a wrong one."""
        dtype = torch.promote_types(dtype or torch.get_default_dtype(), torch.float32)
        if self._table is None or (self._table.dtype, self._table.device) != (dtype, self.rows.device):
            own = torch.eye(self.num_classes, dtype=torch.float64, device=self.rows.device)
            self._table = ((1 - self.eps) * own + self.eps * self.rows).to(dtype)
        labels, valid = checked_labels(labels, self.num_classes, self.ignore_index)
        return TableRows(self.num_classes, labels, valid, self._table)

    @torch.no_grad()
    def update(self, input: Tensor, target: Tensor) -> None:
        """Add the probabilities of the positions that are predicted right; of equal logits the lowest class counts."""
        axis = 1 if input.dim() > 1 else 0
        z = input.movedim(axis, -1).reshape(-1, self.num_classes)
        y = target.reshape(-1).long()
        right = (z.argmax(1) == y) & (y != self.ignore_index)
        self.sums.index_add_(0, y[right], z[right].double().softmax(1))
        self.hits += torch.bincount(y[right], minlength=self.num_classes)

    @torch.no_grad()
    def end_epoch(self, group: distributed.ProcessGroup | None = None) -> None:
        """Make the next S of this epoch's right predictions, and begin the next epoch.

        ``group`` is the ranks that have other rows (data parallelism), which all call this; by default all ranks.
        """
        if group is not None or (distributed.is_available() and distributed.is_initialized()):
            distributed.all_reduce(self.sums, group=group)
            distributed.all_reduce(self.hits, group=group)
        counted = self.hits.unsqueeze(1)
        self.rows.copy_(torch.where(counted > 0, self.sums / counted.clamp(min=1), 1 / self.num_classes))
        self.sums.zero_()
        self.hits.zero_()
        self._table = None

    def extra_repr(self) -> str:
        """The classes, and the strength with what it goes to."""
        return f'{self.num_classes}, eps={self.eps:g} to its own right predictions, reduction="{self.reduction}"'

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> OnlineSmoothing:
        """Move to another device, and to no other type: sums of many probabilities need float64."""
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = buffer.to(fn(buffer.reshape(-1)[:1]).device)
        self._table = None
        return self


def _drop_table(loss: nn.Module, _: Any) -> None:
    """A table that was made of the old S must not outlive it."""
    assert isinstance(loss, OnlineSmoothing)
    loss._table = None  # pyright: ignore[reportPrivateUsage]
