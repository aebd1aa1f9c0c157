"""A target in the kernel's numbers: one label and the rest where it is that, else composed from a few arrays.

``kernel/sfumato.h`` says what the numbers mean. Nothing N×K is made here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sfumato._checks import at_labels, class_axis, readable
from sfumato.kernel import job

if TYPE_CHECKING:
    from sfumato.loss.arguments import Call
    from sfumato.targets import Target


def tensors(target: Target) -> list[Tensor]:
    """Every tensor that a target is made of."""
    own = (target.labels, target.valid, target.prior, target.support, target.dense, target.eps, target.listed)
    found = [part for part in (*own, *(share for share, _ in target.parts)) if isinstance(part, Tensor)]
    for _, part in target.parts:
        found += tensors(part)
    return found


def takes(call: Call) -> bool:
    """Whether a call's target and weights can be put into the kernel's numbers, and get no gradient."""
    weights = (call.weight, call.sample_weight)
    if any(t is not None and t.requires_grad for t in (*weights, *tensors(call.target))):
        return False
    if call.weight is None or call.weight_on == "class" or call.ignore_index is not None:  # which has plain labels
        return _takes(call, call.target)
    return call.target.of_label(call.weight) is not None and _takes(call, call.target)


def _takes(call: Call, target: Target) -> bool:
    support = target.support
    if support is not None and support.dim() > 1 and job.collapse(support) is None:
        return False
    if target.form == "dense":
        assert target.dense is not None, "the form says so"
        if target.dense.dtype not in (call.logits.dtype, call.dtype) or job.collapse(target.dense) is None:
            return False
    several = [part for _, part in target.parts]
    if any(part.support is not None and part.support.dim() > 1 for part in several):
        return False
    return all(_takes(call, part) for part in several)


def rows(call: Call, weight: Tensor | None) -> job.Rows:
    """The call for the kernel.

    Args:
        call: one that the kernel serves.
        weight: w on the classes, (K,) float64, or None.
    """
    target = call.target
    per_position = target.support is not None and target.support.dim() > 1
    if target.sparse and target.form != "rows" and not per_position:
        return _labelled(call, weight)
    valid = None if target.valid is None else target.valid.reshape(-1).contiguous()
    base = job.Rows(
        call.logits.detach(), None, valid, weight=None if weight is None else weight.to(call.dtype).contiguous()
    )
    if target.form == "dense":
        scale, shift = target.affine
        return base._replace(dense=target.dense, scale=scale, shift=shift)
    if target.form != "mixed":
        return _sparse(base, call, ((1.0, target),))
    (hard, _), (share, other) = target.parts
    if other.form == "dense":
        return base._replace(
            labels=flat_labels(target), true=_flat(hard, target), dense=other.dense, scale=_flat(share, target)
        )
    if other.listed is not None:
        return _listed(base, target)
    return _sparse(base, call, target.parts)


def _labelled(call: Call, weight: Tensor | None) -> job.Rows:
    target, labels = call.target, call.target.labels
    assert labels is not None, "the target is sparse"
    true, rest, prior = target.masses(torch.float64)
    if weight is not None:
        true, prior = true * at_labels(weight, labels), weight if prior is None else prior * weight
    return job.Rows(
        logits=call.logits.detach(),
        labels=flat_labels(target),
        valid=None if target.valid is None else target.valid.reshape(-1).contiguous(),
        ignore_index=call.ignore_index,
        true=_flat(true, target),
        rest=_flat(rest, target),
        prior=None if prior is None else prior.contiguous(),
    )


class _Part:
    """One labelled target within a sum: share·(true on its label, rest·u elsewhere), all flat."""

    def __init__(self, share: float | Tensor, target: Target, dtype: torch.dtype) -> None:
        self.labels = flat_labels(target)
        self.share = _flat(share, target)
        self.table = self.mask = self.u = None
        self.true: float | Tensor
        self.rest: float | Tensor
        if target.form == "rows":
            assert target.prior is not None, "the form says so"
            self.table = target.prior.to(dtype).contiguous()
            self.true, self.rest = self.table[self.labels, self.labels].double(), 1.0
        elif target.support is not None and target.support.dim() > 1:
            self.mask = target.support
            self.true, self.rest, self.u = _supported(target)
        else:
            true, rest, self.u = target.masses(torch.float64)
            self.true, self.rest = _flat(true, target), _flat(rest, target)

    def own(self) -> float | Tensor:
        """The mass that this part gives to its own labels."""
        return self.share * self.true

    def elsewhere(self, labels: Tensor) -> Tensor:
        """The mass that it gives to other classes, at ``labels``."""
        if self.table is not None:
            return self.share * self.table[self.labels, labels].double()
        rest = torch.as_tensor(self.share * self.rest, dtype=torch.float64)
        return rest if self.u is None else rest * self.u[labels]

    def back(self, dtype: torch.dtype) -> job.Back:
        if self.table is not None:
            return job.Back(self.share, self.table, self.labels)
        c = self.share * self.rest
        return job.Back(c, None if self.u is None else self.u.to(dtype).contiguous())


def _sparse(base: job.Rows, call: Call, parts: tuple[tuple[float | Tensor, Target], ...]) -> job.Rows:
    made = [_Part(share, target, call.dtype) for share, target in parts]
    if len(made) == 1 and made[0].table is not None:
        return base._replace(backs=(made[0].back(call.dtype),))  # a row of the table is the whole target
    classes, masses = _entries(made)
    backs = [part.back(call.dtype) for part in made]
    if len(backs) == 2 and backs[0].u is None and backs[1].u is None:
        backs = [job.Back(backs[0].c + backs[1].c)]
    return base._replace(backs=tuple(backs), entries=(classes, masses), support=made[0].mask)


def _entries(made: list[_Part]) -> tuple[Tensor, Tensor]:
    """The labels' classes (N·…, m), each once and −1 for none, and all the mass that they get."""
    first = made[0]
    count = len(first.labels)
    classes = torch.empty((count, len(made)), dtype=torch.int64)
    masses = torch.empty((count, len(made)), dtype=torch.float64)
    classes[:, 0] = first.labels
    if len(made) == 1:
        masses[:, 0] = first.own()
        return classes, masses
    second = made[1]
    same = first.labels == second.labels
    classes[:, 1] = second.labels.masked_fill(same, -1)  # one label: one entry
    own, other = first.own(), second.own()
    masses[:, 0] = own + torch.where(same, other, second.elsewhere(first.labels))
    masses[:, 1] = other + first.elsewhere(second.labels)
    return classes, masses


def _listed(base: job.Rows, target: Target) -> job.Rows:
    """A label beside a list of classes with masses of their own."""
    (hard, _), (share, teacher) = target.parts
    assert teacher.listed is not None, "the caller looked"
    assert teacher.dense is not None, "a list has masses"
    axis = class_axis(len(target.shape))
    listed = teacher.listed.movedim(axis, -1).reshape(-1, teacher.listed.shape[axis])
    own = teacher.dense.movedim(axis, -1).reshape(listed.shape).double()
    of_list = _flat(share, target)
    per_row = of_list.unsqueeze(1) if isinstance(of_list, Tensor) else of_list
    return base._replace(
        labels=flat_labels(target),
        true=_flat(hard, target),
        backs=(job.Back(of_list * _flat(teacher.unlisted(), target)),),
        entries=(listed.contiguous(), (per_row * own).contiguous()),
    )


def _supported(target: Target) -> tuple[float | Tensor, float | Tensor, Tensor | None]:
    """As Target.masses for a support of its own a position, whose mask is not written out in float64."""
    support = target.support
    assert support is not None, "the caller looked"
    eps = _flat(target.eps, target)
    counts = target.valid
    if target.form == "prior":
        assert target.prior is not None, "the form says so"
        prior = target.prior.double()
        along = prior.reshape((1, -1) + (1,) * (support.dim() - 2))
        within = torch.cat([(along * block).sum(1) for block in support.split(64)]).reshape(-1)
        within = within if counts is None else torch.where(counts.reshape(-1), within, 1.0)
        rest = eps / within
        return (1 - eps) + rest * prior[flat_labels(target)], rest, prior
    supported = support.sum(1).reshape(-1).double()
    if counts is not None:  # an ignored row may support nothing: its ε must not divide by 0
        supported = torch.where(counts.reshape(-1), supported, 2.0)
    rest = eps / (supported - 1 if target.form == "others" else supported)
    return ((1 - eps) if target.form == "others" else (1 - eps) + rest), rest, None


def flat_labels(target: Target) -> Tensor:
    """(N·…) int64, contiguous."""
    assert target.labels is not None, "the target has labels"
    return target.labels.reshape(-1).contiguous()


def _flat(mass: float | Tensor, target: Target) -> float | Tensor:
    """A number, or (N·…) float64, contiguous."""
    if not isinstance(mass, Tensor):
        return float(mass)
    if mass.dim() == 0 and readable(mass):
        return float(mass)
    spread = mass.double().reshape(mass.shape + (1,) * (len(target.shape) - mass.dim()))
    return spread.expand(target.shape).reshape(-1).contiguous()
