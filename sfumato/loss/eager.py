"""The loss in torch operations: on any device, and differentiable as often as one likes.

A row's numbers are taken from d = z − max z, every d ≤ 0, so that the loss is a sum of positive terms: nothing cancels
at a large offset, and nothing overflows in half precision, where the arithmetic is float32 throughout. The loss is
linear in its target, so every target is served by one loop: each of its terms adds mass·(lse − d) over its classes.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from sfumato.arguments import Call
from sfumato.loss.reduce import costless, reduce, times, weigh
from sfumato.targets.checks import at_labels
from sfumato.targets.terms import Back, Terms, along_classes


def loss(z: Tensor, call: Call) -> Tensor:
    """The reduced loss in the dtype of the arithmetic."""
    rows = shift(z, call)
    terms = call.target().terms(rows.wide)
    return reduce(call, towards(rows, terms, class_weight(call, rows.wide)), weigh(call, rows.wide)).to(call.dtype)


class ShiftedRows(NamedTuple):
    """Logits less the largest of their row."""

    d: Tensor  # z − max z, (N, K, …)
    lse: Tensor  # log Σ e^d, (N, …)
    # the dtype for sums over classes and for what is one number a row: float64 where that is cheap, so that float32
    # rounds once
    wide: torch.dtype

    def surprisal(self) -> Tensor:
        """−log p, (N, K, …)."""
        return self.lse.unsqueeze(1).to(self.d.dtype) - self.d


def shift(z: Tensor, call: Call) -> ShiftedRows:
    """The rows of a call, those that do not count at 0."""
    return shifted(counted(z, call), wide_type(z, call))[0]


def counted(z: Tensor, call: Call) -> Tensor:
    """The logits in the dtype of the arithmetic, 0 in rows that do not count."""
    z, valid = z.to(call.dtype), call.target().valid
    # Before any arithmetic: an ignored row may hold NaN, and where() is what sends it a gradient of exactly 0.
    return z if valid is None else torch.where(valid.unsqueeze(1), z, 0.0)


def wide_type(z: Tensor, call: Call) -> torch.dtype:
    """The dtype for sums over classes: float64 where that is cheap."""
    return torch.float64 if call.dtype == torch.float32 and z.device.type == "cpu" else call.dtype


def shifted(z: Tensor, wide: torch.dtype) -> tuple[ShiftedRows, Tensor, Tensor]:
    """Rows in the dtype of the arithmetic, shifted; their largest logits, (N, 1, …), and the classes of these."""
    top, index = z.max(1, keepdim=True)
    zero = (top - top).detach()  # NaN where the maximum is infinite
    # At the maximum d is 0 and stays 0: its gradient is then −Σ of the others', not −q + (q − Σ), which would lose
    # all digits of a confident row. Its term of the sum is the 1 of log1p, for the same reason.
    d = put(z - top, index, zero)
    lse = put(d.exp(), index, 0.0).sum(1, dtype=wide).log1p() + zero.squeeze(1)
    return ShiftedRows(d, lse, wide), top, index


def class_weight(call: Call, dtype: torch.dtype) -> Tensor | None:
    """The weights that multiply each class's term, (K,); None if none do."""
    return call.weight.to(dtype) if call.weight is not None and call.weight_on == "class" else None


def towards(rows: ShiftedRows, terms: Terms, weight: Tensor | None) -> Tensor:
    """Each row's loss before the weights of rows."""
    found: list[Tensor] = []
    if terms.dense is not None:
        q = terms.dense.written_out(rows.d.dtype)
        if weight is not None:
            q = q * along_classes(weight, q.dim() - 1).to(q.dtype)
        found.append((q * costless(q, rows.surprisal())).sum(1, dtype=rows.wide))
    backs = [back for back in terms.backs if not (isinstance(back.c, float) and back.c == 0.0)]
    found += [times(back.c, _over_classes(rows, back, terms, weight)) for back in backs]
    for classes, mass in terms.singles(rows.wide):
        of_class = 1.0 if weight is None else at_labels(weight, classes)
        surprisal = rows.lse.unsqueeze(1) - rows.d.gather(1, classes).to(rows.wide)
        found.append(times(mass * of_class, surprisal).sum(1))
    total = found[0]
    for part in found[1:]:
        total = total + part
    return total


def _over_classes(rows: ShiftedRows, back: Back, terms: Terms, weight: Tensor | None) -> Tensor:
    """Σ u·(lse − d) over the classes that are not replaced; a class without mass counts nothing, even at inf."""
    u, replaced = back.shares(rows.lse.dim(), rows.wide), terms.replaced()
    if weight is not None:
        along = along_classes(weight, rows.lse.dim())
        u = along if u is None else u * along
    if u is None:
        # Σ (lse − d) = count·lse − Σ d, a sum of positive terms still, for every d ≤ 0.
        d = rows.d if replaced is None else put(rows.d, replaced, 0.0)
        return (rows.d.shape[1] - terms.replaced_count()) * rows.lse - d.sum(1, dtype=rows.wide)
    u = u.to(rows.d.dtype)
    surprisal = costless(u, rows.surprisal())
    return (u * (surprisal if replaced is None else put(surprisal, replaced, 0.0))).sum(1, dtype=rows.wide)


def put(x: Tensor, index: Tensor, value: float | Tensor) -> Tensor:
    """``x`` with a value at some classes a row. Compiled, by comparison: a scatter would end the fused loop."""
    if index.shape[1] != 1 or not torch.compiler.is_compiling():
        return x.scatter(1, index, value)
    classes = torch.arange(x.shape[1], device=x.device).reshape((1, -1) + (1,) * (x.dim() - 2))
    return torch.where(classes == index, value, x)
