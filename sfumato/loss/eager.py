"""The loss in torch operations: on any device, and differentiable as often as one likes.

A row's numbers are taken from d = z − max z, every d ≤ 0, so that the loss is a sum of positive terms: nothing cancels
at a large offset, and nothing overflows in half precision, where the arithmetic is float32 throughout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sfumato._checks import at_labels

if TYPE_CHECKING:
    from sfumato.loss.arguments import Call
    from sfumato.targets import Target


def loss(call: Call) -> Tensor:
    """The reduced loss of a call whose labels are checked, in the dtype of the arithmetic."""
    rows = Rows(call)
    return rows.reduce(rows.loss()).to(call.dtype)


def reduce(call: Call, loss: Tensor, wide: torch.dtype) -> Tensor:
    """Row weights, ignored rows, and the reduction asked for, in a dtype for sums."""
    target, valid = call.target, call.target.valid
    weight = None if call.weight is None else call.weight.to(wide)
    row_weight = mass = None
    if weight is not None:
        of_label = target.of_label(weight)
        if call.weight_on == "class":
            mass = of_label  # what torch's mean divides by; None: probabilities are divided by their rows
        elif of_label is not None:
            row_weight = mass = of_label
        else:
            q = target.to_dense(call.dtype)
            row_weight = mass = (weight.reshape((1, -1) + (1,) * (q.dim() - 2)) * q).sum(1, dtype=wide)
    if call.sample_weight is not None:
        given = call.sample_weight.to(wide)
        row_weight = given if row_weight is None else row_weight * given
        mass = given if mass is None else mass * given
    if row_weight is not None:
        loss = _times(row_weight, loss)
    if valid is not None:
        loss = torch.where(valid, loss, 0.0)
    if call.reduction == "none":
        return loss.squeeze(0) if call.unbatched else loss
    if call.reduction == "sum":
        return loss.sum()
    if mass is None:
        return loss.sum() / (loss.numel() if valid is None else valid.sum())
    total = (mass if valid is None else torch.where(valid, mass, 0.0)).sum()
    return loss.sum() / torch.where(total == 0, torch.nan, total)  # over nothing the mean is NaN, never inf


class Rows:
    """The rows of one call: d = z − max z, lse − max z, and the target's numbers with their class weights."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.target = call.target
        self.valid = call.target.valid
        z = call.logits.to(call.dtype)
        if self.valid is not None:
            # Before any arithmetic: an ignored row may hold NaN, and where() is what sends it a gradient of exactly 0.
            z = torch.where(self.valid.unsqueeze(1), z, 0.0)
        top, index = z.max(1, keepdim=True)
        zero = (top - top).detach()  # NaN where the maximum is infinite
        # At the maximum d is 0 and stays 0: its gradient is then −Σ of the others', not −q + (q − Σ), which would lose
        # all digits of a confident row. Its term of the sum is the 1 of log1p, for the same reason.
        self.d = _put(z - top, index, zero)
        # Sums over classes and all that is one number a row: float64 where it is cheap, so that float32 rounds once.
        self.wide = torch.float64 if call.dtype == torch.float32 and z.device.type == "cpu" else call.dtype
        self.lse = _put(self.d.exp(), index, 0.0).sum(1, dtype=self.wide).log1p() + zero.squeeze(1)
        self.weight = None if call.weight is None else call.weight.to(self.wide)

    def loss(self) -> Tensor:
        """Each row's loss before row weights."""
        return self._towards(self.target)

    def _towards(self, target: Target) -> Tensor:
        """Each row's loss for one target or for a part of one: the loss is linear in its target."""
        if target.form == "mixed":
            parts = [_times(target.share(share, self.wide), self._towards(part)) for share, part in target.parts]
            return torch.stack(parts).sum(0)
        if target.listed is not None:
            return self._towards_list(target, target.listed)
        if target.form == "dense":
            q = self._weighted(target)
            t = self._surprisal()
            return (q * t.masked_fill((q == 0) & t.isinf(), 0.0)).sum(1, dtype=self.wide)
        true, rest, u = self._masses(target)
        label = _times(true, -self._at(target, self.d).to(self.wide))
        if isinstance(rest, float) and rest == 0.0:
            return label + true * self.lse
        if u is None:
            # Σq·(lse − d) = S·lse − Σq·d, a sum of positive terms still, for every d ≤ 0; S is 1.
            others = -self._without_label(target, self.d).sum(1, dtype=self.wide)
            return self.lse + label + _times(rest, others)
        return label + _times(true, self.lse) + _times(rest, self._sum_of_others(target, u, self._surprisal()))

    def _towards_list(self, target: Target, listed: Tensor) -> Tensor:
        """A few classes with masses of their own, and one mass for each of the others."""
        assert target.dense is not None, "a list has masses"
        surprisal = self._surprisal()
        if self.weight is not None and self.call.weight_on == "class":
            surprisal = self._along_classes(self.weight).to(surprisal.dtype) * surprisal
        mass = target.dense.to(self.wide)
        own = (mass * torch.where(mass == 0, 0.0, surprisal.gather(1, listed).to(self.wide))).sum(1)
        others = surprisal.scatter(1, listed, 0.0).sum(1, dtype=self.wide)
        return own + _times(target.share(target.unlisted(), self.wide), others)

    def hard(self) -> Tensor:
        """Each row's −log p_y, weighted on the class as torch's."""
        nll = self.lse - self._at(self.target, self.d).to(self.wide)
        if self.weight is None or self.call.weight_on == "sample":
            return nll
        return _times(self._at(self.target, self.weight), nll)

    def mean_gap(self) -> Tensor:
        """The gap of each row, or its mean over the rows that count."""
        others = self._without_label(self.target, self.d).sum(1, dtype=self.wide)
        gap = self._at(self.target, self.d).to(self.wide) - others / (self.d.shape[1] - 1)
        if self.valid is not None:
            gap = torch.where(self.valid, gap, 0.0)
        if self.call.reduction == "none":
            return gap.squeeze(0) if self.call.unbatched else gap
        return gap.sum() / (gap.numel() if self.valid is None else self.valid.sum())

    def floor_and_excess(self) -> tuple[Tensor, Tensor]:
        """Each row's S·H(q′) and S·KL(q′‖p), the latter as S·Σ q′(r − 1 + e^−r) with r = log q′ − log p.

        That is Σ q′r, because Σp = Σq′, with every term at least 0: nothing cancels near the optimum.
        """
        xlogy = torch.special.xlogy
        q = self._weighted(self.target)
        total = q.sum(1)
        share = q / total.unsqueeze(1)
        surprisal = self._surprisal()
        p = (-surprisal).exp()
        r = torch.where(share == 0, 0.0, share.log() + surprisal)
        # r + expm1(−r) keeps digits at small r; at large r the direct form does not overflow.
        near = share * (r + torch.expm1(-r.clamp(min=-1.0)))
        terms = torch.where(r.abs() < 1, near, share * r - share + p)
        terms = torch.where(share == 0, p, terms)
        excess = torch.where(total == 0, 0.0, total * terms.sum(1, dtype=self.wide))
        return xlogy(total, total) - xlogy(q, q).sum(1), excess

    def reduce(self, loss: Tensor) -> Tensor:
        """Row weights, ignored rows, and the reduction asked for."""
        return reduce(self.call, loss, self.wide)

    def _masses(self, target: Target) -> tuple[float | Tensor, float | Tensor, Tensor | None]:
        """The labelled target's numbers with class weights in them: w_y·q_y, r, and w·u."""
        true, rest, u = target.masses(self.wide)
        if self.weight is not None and self.call.weight_on == "class":
            true = true * self._at(target, self.weight)
            u = self.weight if u is None else u * (self.weight if u.dim() == 1 else self._along_classes(self.weight))
        return true, rest, u

    def _weighted(self, target: Target) -> Tensor:
        q = target.to_dense(self.call.dtype)
        if self.weight is not None and self.call.weight_on == "class":
            q = q * self._along_classes(self.weight).to(q.dtype)
        return q

    def _surprisal(self) -> Tensor:
        """−log p, (N, K, …)."""
        return self.lse.unsqueeze(1).to(self.d.dtype) - self.d

    def _sum_of_others(self, target: Target, u: Tensor, terms: Tensor) -> Tensor:
        """Σ u_k·term_k over the classes other than the label; a class without mass counts nothing, even at inf."""
        u = self._along_classes(u).to(terms.dtype)
        return (u * self._without_label(target, torch.where(u == 0, 0.0, terms))).sum(1, dtype=self.wide)

    def _without_label(self, target: Target, terms: Tensor) -> Tensor:
        """(N, K, …) with 0 at the label."""
        assert target.labels is not None
        return _put(terms, target.labels.unsqueeze(1), 0.0)

    def _at(self, target: Target, per_class: Tensor) -> Tensor:
        """At the target's label."""
        assert target.labels is not None
        return at_labels(per_class, target.labels)

    def _along_classes(self, per_class: Tensor) -> Tensor:
        return per_class if per_class.dim() > 1 else per_class.reshape((1, -1) + (1,) * (self.d.dim() - 2))


def _put(x: Tensor, index: Tensor, value: float | Tensor) -> Tensor:
    """``x`` with a value at one class a row. Compiled, by comparison: a scatter would end the fused loop."""
    if not torch.compiler.is_compiling():
        return x.scatter(1, index, value)
    classes = torch.arange(x.shape[1], device=x.device).reshape((1, -1) + (1,) * (x.dim() - 2))
    return torch.where(classes == index, value, x)


def _times(mass: float | Tensor, surprisal: Tensor) -> Tensor:
    """Mass times −log p, where no mass costs nothing even at −log p = inf."""
    if not isinstance(mass, Tensor):
        return mass * surprisal if mass != 0.0 else torch.zeros_like(surprisal)
    return mass * torch.where(mass == 0, 0.0, surprisal)
