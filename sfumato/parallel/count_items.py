"""What the mean of a whole step divides by: its rows that count, over micro-batches and over ranks."""

from collections.abc import Sequence

import torch
from torch import Tensor, distributed

from sfumato.parallel.layout import RankGroup
from sfumato.targets import Target
from sfumato.targets.checks import ArgumentError, at_labels, check_labels, check_tensor


def count_items(
    targets: Tensor | Target | Sequence[Tensor | Target],
    group: "distributed.ProcessGroup | None" = None,
    *,
    weight: Tensor | None = None,
    ignore_index: int = -100,
) -> Tensor:
    r"""How many rows count in all micro-batches of all ranks, or the sum of their labels' weights.

    .. math:: n = \sum_{\text{ranks}} \sum_{\text{micro-batches}} \sum_{\text{rows that count}} w_y

    A mean over each micro-batch, averaged over micro-batches and ranks, weighs a row by how few rows stand beside it.
    Where every loss is a sum over its rows, divided by this number, the gradients add up to those of one large batch.

    Args:
        targets: labels, targets or probabilities of this rank's rows; one, or a sequence of micro-batches, which may be
            empty.
        group: the ranks that have other rows (those of data parallelism), which all call this; by default all ranks.
            Ranks that share rows and split their classes must not be in one group: their rows would count twice.
            Where no process group was started, this process alone counts.
        weight: (K,), one number a class, where the loss has class weights.
        ignore_index: the label of rows that do not count.

    Returns:
        A number as a tensor, float64, on the device of the targets; the same on every rank. It may be given to
        :func:`sfumato.parallel.cross_entropy` as ``num_items``; in one process divide
        ``sf.cross_entropy(…, reduction="sum")`` by it. Data parallelism that averages the gradients of R ranks (DDP,
        FSDP) divides by R once more: multiply the loss by R there.

    Raises:
        TypeError: what is neither a tensor nor a Target.
        ValueError: a weight that is not (K,), or a process that is not in ``group``.
        IndexError: a label that ``weight`` has no number for (names the first row).

    >>> import torch
    >>> count_items([torch.tensor([3, -100, 0]), torch.tensor([1])]).item()
    3.0

    Source: the mean of a loss over all rows of a step, written out.
    """
    given = [targets] if isinstance(targets, Tensor | Target) else list(targets)
    if weight is not None:
        check_tensor(weight, "weight")
        if weight.dim() != 1:
            raise ArgumentError(f"weight must be one number a class, (K,), got {tuple(weight.shape)}")
    counts = [_counted(each, weight, ignore_index) for each in given]
    device = counts[0].device if counts else None if weight is None else weight.device
    total = torch.stack(counts).sum() if counts else torch.zeros((), dtype=torch.float64, device=device)
    if group is not None or (distributed.is_available() and distributed.is_initialized()):
        return RankGroup(group).added(total)
    return total


def _counted(target: Tensor | Target, weight: Tensor | None, ignore_index: int) -> Tensor:
    """The rows of one target that count, or the sum of their labels' weights."""
    if isinstance(target, Target):
        valid = target.valid
        weights = None if weight is None else target.of_label(weight.double())
        counted = torch.ones(target.shape, dtype=torch.float64, device=target.device) if weights is None else weights
    else:
        check_tensor(target, "targets")
        if target.is_floating_point():
            positions = target.shape[:1] + target.shape[2:] if target.dim() > 1 else ()
            return torch.ones(positions, dtype=torch.float64, device=target.device).sum()
        if target.dtype == torch.bool or target.is_complex():
            raise TypeError(f"targets must be class indices, probabilities or Targets, got {target.dtype}")
        labels = target.long()
        valid = labels != ignore_index
        labels = torch.where(valid, labels, 0)
        if weight is not None:
            check_labels(labels, valid, len(weight), "weight has")
        counted = valid.double() if weight is None else at_labels(weight.double(), labels)
    return (counted if valid is None else torch.where(valid, counted, 0.0)).sum()
