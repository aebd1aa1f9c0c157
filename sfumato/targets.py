"""The target apart from the loss: what a row is trained towards, as a small typed value.

Every target with labels is q_y on the label and r·u_k on each other class k, with u constant, a prior, or a mask of
supported classes. A :class:`Target` keeps those few numbers a row; nothing N×K is built unless the target is dense.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

from sfumato import theory
from sfumato._checks import (
    ArgumentError,
    at_labels,
    check_labels,
    check_over,
    check_strength,
    check_tensor,
    class_axis,
    position,
    readable,
    spread,
)

if TYPE_CHECKING:
    from sfumato.theory import Over


class Masses(NamedTuple):
    """A labelled target in numbers: q_label = ``true``; q_k = ``rest``·``prior``_k for every other class k."""

    true: float | Tensor
    rest: float | Tensor
    prior: Tensor | None  # None: 1 for every class; (K,), or with the class axis at its place


@dataclass(frozen=True, eq=False)
class Target:
    """What each position is trained towards: a distribution over ``num_classes``, or nothing where it is ignored.

    Made by :func:`one_hot`, :func:`smooth`, :func:`smooth_by_class`, :func:`smooth_prior` and :func:`from_probs`, which
    check their arguments; taken by :func:`sfumato.cross_entropy` in place of labels.

    Attributes:
        num_classes: K.
        labels: (P…) int64, 0 where ignored; None for a dense target.
        valid: (P…) bool, False where ignored; None if no position is.
        eps: strength ε, a number or a tensor that broadcasts from the left with ``labels``.
        form: where ε goes: ``"others"``, ``"all"`` or to the ``"prior"``; ``"dense"`` for probabilities.
        prior: π, (K,) or per position with classes on axis 1.
        support: classes that may receive mass, bool, (K,) or per position; None for all.
        dense: the probabilities of a dense target, classes on axis 1 (axis 0 if unbatched).
    """

    num_classes: int
    labels: Tensor | None
    valid: Tensor | None = None
    eps: float | Tensor = 0.0
    form: Literal["others", "all", "prior", "dense"] = "all"
    prior: Tensor | None = None
    support: Tensor | None = None
    dense: Tensor | None = None

    @property
    def shape(self) -> torch.Size:
        """Shape of the positions: that of the labels, or of the probabilities without their class axis."""
        if self.labels is not None:
            return self.labels.shape
        shape = self._probabilities().shape
        return torch.Size(() if len(shape) == 1 else (shape[0], *shape[2:]))

    @property
    def device(self) -> torch.device:
        """Where the target lives."""
        return (self.labels if self.labels is not None else self._probabilities()).device

    def masses(self, dtype: torch.dtype) -> Masses:
        """The numbers of a labelled target, computed in ``dtype``; (1 − ε) is never taken in a lower precision.

        Raises:
            TypeError: the target is dense and has no label.

        >>> smooth(torch.tensor([0]), 4, 0.3, over="others").masses(torch.float64).true
        0.7
        """
        if self.labels is None:
            raise TypeError("a dense target has no label: use .probs()")
        eps = self.eps
        if isinstance(eps, Tensor):
            eps = spread(eps.to(dtype), self.labels)
        if self.form == "prior":
            prior = self._prior(dtype)
            return Masses((1 - eps) + eps * self._at_label(prior), eps, prior)
        supported: int | Tensor = self.num_classes
        mask = None
        if self.support is not None:
            mask = self.support.to(dtype)
            supported = mask.sum() if mask.dim() == 1 else mask.sum(1)
            if self.valid is not None:  # an ignored row may support nothing: its ε must not divide by 0
                supported = torch.where(self.valid, supported, 2.0)
        if self.form == "others":
            return Masses(1 - eps, eps / (supported - 1), mask)
        share = eps / supported
        return Masses((1 - eps) + share, share, mask)

    def probs(self) -> Tensor:
        """The distribution of every position as one dense array, for looking at.

        Returns:
            Shape of the positions with the classes on axis 1 (axis 0 if there is one position), in the default dtype or
            a wider one that the target was made from; rows of zeros where ignored.

        >>> one_hot(torch.tensor([2, -100]), 3).probs()
        tensor([[0., 0., 1.],
                [0., 0., 0.]])
        """
        dtype = torch.get_default_dtype()
        for part in (self.eps, self.prior, self.dense):
            dtype = torch.promote_types(dtype, part.dtype) if isinstance(part, Tensor) else dtype
        return self.to_dense(torch.float64).to(dtype)

    def to_dense(self, dtype: torch.dtype) -> Tensor:
        """As :meth:`probs`, computed in a dtype of the caller's choice.

        >>> smooth(torch.tensor([0]), 3, 0.1, over="all").to_dense(torch.float64).sum().item()
        1.0
        """
        axis = class_axis(len(self.shape))
        if self.labels is None:
            q = self._probabilities().to(dtype)
        else:
            true, rest, prior = self.masses(dtype)
            shape = list(self.shape)
            shape.insert(axis, self.num_classes)
            q = torch.ones(shape, dtype=dtype, device=self.device)
            if prior is not None:
                q = q * self._along_classes(prior)
            q = q * (rest.unsqueeze(axis) if isinstance(rest, Tensor) and rest.dim() else rest)
            on = torch.as_tensor(true, dtype=dtype, device=self.device).expand(self.shape)
            q = q.scatter(axis, self.labels.unsqueeze(axis), on.unsqueeze(axis))
        return q if self.valid is None else torch.where(self.valid.unsqueeze(axis), q, 0.0)

    def entropy(self) -> Tensor:
        """H(q) of every position in nats: the floor of its cross entropy; 0 where ignored.

        >>> [round(h, 4) for h in smooth(torch.tensor([3, -100]), 10, 0.1, over="others").entropy().tolist()]
        [0.5448, 0.0]
        """
        xlogy = torch.special.xlogy
        if self.labels is None:
            q = self.to_dense(torch.float64)
            return -xlogy(q, q).sum(class_axis(len(self.shape))) + 0.0
        masses = self.masses(torch.float64)
        true, rest = (torch.as_tensor(m, dtype=torch.float64, device=self.device) for m in masses[:2])
        # The other classes hold r·u_k each: −Σ r·u_k (log r + log u_k), label left out.
        count: float | Tensor = self.num_classes - 1.0
        log_part: float | Tensor = 0.0
        if (u := masses.prior) is not None:
            axis = 0 if u.dim() == 1 else 1
            count = u.sum(axis) - self._at_label(u)
            log_part = xlogy(u, u).sum(axis) - self._at_label(xlogy(u, u))
        floor = -xlogy(true, true) - count * xlogy(rest, rest) - rest * log_part
        floor = floor.expand(self.shape)
        return floor + 0.0 if self.valid is None else torch.where(self.valid, floor, 0.0)

    def total(self) -> Tensor:
        """Σq of every position: 1 up to rounding, 0 where ignored.

        >>> one_hot(torch.tensor([2, -100]), 3).total()
        tensor([1., 0.])
        """
        return self.probs().sum(class_axis(len(self.shape)))

    def describe(self) -> str:
        """The target in words and numbers, with every strength said in both conventions.

        >>> print(smooth(torch.tensor([3]), 10, 0.1, over="others").describe())
        smoothed, ε = 0.1 over the 9 others (0.111111 over all): 0.9 on the label, 0.0111111 on each other class
        """
        k = self.num_classes
        if self.form == "dense":
            return f"probabilities over {k} classes"
        if isinstance(self.eps, float) and self.eps == 0.0:
            return f"one-hot over {k} classes"
        strength = f"{self.eps:g}" if isinstance(self.eps, float) else "one number a position"
        limited = "" if self.support is None else ", within a support"
        if self.form == "prior":
            return f"smoothed, ε = {strength} to a prior over {k} classes{limited}"
        over: Over = "others" if self.form == "others" else "all"
        where = f"the {k - 1} others" if over == "others" else f"all {k}"
        if not isinstance(self.eps, float) or self.support is not None:
            return f"smoothed, ε = {strength} over {where}{limited}"
        masses = self.masses(torch.float64)
        other: Over = "all" if over == "others" else "others"
        try:
            same = f"{theory.convert_eps(self.eps, k, frm=over, to=other):g}"
            converted = f"{same} over {'all' if over == 'others' else 'the others'}"
        except ValueError:
            converted = "no strength over all is the same"
        return (
            f"smoothed, ε = {strength} over {where} ({converted}): "
            f"{masses.true:g} on the label, {masses.rest:g} on each other class"
        )

    def to(self, device: torch.device | str) -> Target:
        """The same target on another device.

        >>> one_hot(torch.tensor([0]), 2).to("cpu").device
        device(type='cpu')
        """

        def move(part: Any) -> Any:
            return part.to(device) if isinstance(part, Tensor) else part

        names = ("labels", "valid", "eps", "prior", "support", "dense")
        return replace(self, **{name: move(getattr(self, name)) for name in names})

    def __getitem__(self, index: Any) -> Target:
        """The target of some positions, by any index that a tensor of their shape takes.

        >>> smooth(torch.tensor([2, 0, 1]), 3, torch.tensor([0.0, 0.3, 0.6]), over="others")[1:].eps
        tensor([0.3000, 0.6000])
        """
        dims = len(self.shape)
        if dims == 0:
            raise IndexError("this target has one position and no axis to index")
        if isinstance(index, tuple) and any(part is Ellipsis for part in index):
            # The class axis is no position: "…" must stop before it.
            given = sum(part is not None and part is not Ellipsis for part in index)
            at = next(i for i, part in enumerate(index) if part is Ellipsis)
            index = (*index[:at], *(slice(None),) * (dims - given), *index[at + 1 :])

        def pick(part: Tensor | None) -> Tensor | None:
            return None if part is None else part[index]

        def pick_with_classes(part: Tensor | None) -> Tensor | None:
            if part is None or part.dim() == 1:
                return part
            picked = part.movedim(1, -1)[index]
            return picked.movedim(-1, 1) if picked.dim() > 1 else picked

        eps = self.eps
        if isinstance(eps, Tensor) and eps.dim() and self.labels is not None:
            eps = spread(eps, self.labels).expand(self.shape)[index]
        return replace(
            self,
            labels=pick(self.labels),
            valid=pick(self.valid),
            eps=eps,
            support=pick_with_classes(self.support),
            dense=pick_with_classes(self.dense),
        )

    def __repr__(self) -> str:
        """The class, the shape of the positions, and the target in words."""
        return f"Target({tuple(self.shape)}: {self.describe()})"

    def _probabilities(self) -> Tensor:
        assert self.dense is not None, "a target has labels or probabilities"
        return self.dense

    def _prior(self, dtype: torch.dtype) -> Tensor:
        assert self.prior is not None, "the form says so"
        prior = self.prior.to(dtype)
        if self.support is None:
            return prior
        limited = (self._along_classes(prior) if self.support.dim() > 1 else prior) * self.support.to(dtype)
        return limited / limited.sum(0 if limited.dim() == 1 else 1, keepdim=True)

    def _along_classes(self, per_class: Tensor) -> Tensor:
        """(K,) shaped to multiply an array with classes on their axis; per-position arrays as they are."""
        if per_class.dim() > 1 or len(self.shape) == 0:
            return per_class
        return per_class.reshape((1, -1) + (1,) * (len(self.shape) - 1))

    def _at_label(self, per_class: Tensor) -> Tensor:
        assert self.labels is not None
        return at_labels(per_class, self.labels)


def one_hot(labels: Tensor, num_classes: int, *, ignore_index: int = -100) -> Target:
    """All mass on the label.

    Args:
        labels: (P…) int64, any shape; each in 0..K−1 or ``ignore_index``.
        num_classes: K, at least 1.
        ignore_index: the label of positions without a target.

    Raises:
        IndexError: a label that is no class (names the first position; on the CPU only, elsewhere it costs a sync).
        TypeError: labels that are not integers.

    >>> one_hot(torch.tensor([2, 0]), 3).probs()
    tensor([[0., 0., 1.],
            [1., 0., 0.]])

    Source: the note, section 1. It has no finite optimum: see :func:`sfumato.theory.optimal_gap` at ε = 0.
    """
    labels, valid = checked_labels(labels, num_classes, ignore_index)
    return Target(num_classes, labels, valid)


def smooth(
    labels: Tensor,
    num_classes: int,
    eps: float | Tensor,
    *,
    over: Over,
    support: Tensor | None = None,
    ignore_index: int = -100,
) -> Target:
    r"""A share ε of the mass taken from the label and spread evenly.

    .. math:: q_y = 1-\varepsilon,\; q_k = \frac{\varepsilon}{K-1} \quad\text{(others)}, \qquad
              q_y = 1-\varepsilon+\frac{\varepsilon}{K},\; q_k = \frac{\varepsilon}{K} \quad\text{(all)}

    Args:
        labels: (P…) int64, any shape.
        num_classes: K, at least 2.
        eps: strength ε in [0, 1], a number or a tensor that broadcasts from the left with ``labels``.
        over: ``"others"`` or ``"all"``; required, because frameworks differ.
        support: classes that may receive mass, bool, (K,) or per position with classes on axis 1; K is then the number
            supported.
        ignore_index: the label of positions without a target.

    Raises:
        IndexError: a label that is no class (names the first position).
        ValueError: ε outside [0, 1] or NaN (names the first position and the value), a label outside its support,
            ``"others"`` where one class is supported, or an unknown ``over``.

    >>> smooth(torch.tensor([0]), 5, 0.2, over="others").probs()
    tensor([[0.8000, 0.0500, 0.0500, 0.0500, 0.0500]])

    Source: the note, eq. 4 (``"others"``); Szegedy et al. 2016, section 7 (``"all"``).
    """
    check_over(over)
    eps = _checked_eps(eps, labels, ignore_index)
    labels, valid = checked_labels(labels, num_classes, ignore_index)
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2 to smooth, got {num_classes}")
    if support is not None:
        support = _checked_support(support, labels, valid, num_classes, spare=over == "others")
    return Target(num_classes, labels, valid, eps, over, support=support)


def smooth_by_class(labels: Tensor, eps_by_class: Tensor, *, over: Over, ignore_index: int = -100) -> Target:
    r"""As :func:`smooth` with one strength a class: :math:`\varepsilon = \varepsilon_y`.

    Args:
        labels: (P…) int64, any shape.
        eps_by_class: (K,) floating, each in [0, 1].
        over: ``"others"`` or ``"all"``.
        ignore_index: the label of positions without a target.

    Raises:
        IndexError: a label that is no class (names the first position).
        ValueError: a strength outside [0, 1] or NaN (names the class and the value), or an unknown ``over``.

    >>> smooth_by_class(torch.tensor([0, 1]), torch.tensor([0.0, 0.5]), over="all").probs()
    tensor([[1.0000, 0.0000],
            [0.2500, 0.7500]])

    Source: label-aware smoothing, Zhong et al. 2021 (MiSLAS), section 3.
    """
    check_over(over)
    check_tensor(eps_by_class, "eps_by_class")
    if eps_by_class.dim() != 1 or not eps_by_class.is_floating_point():
        raise ValueError(
            f"eps_by_class must be floating and (K,), got {eps_by_class.dtype} {tuple(eps_by_class.shape)}"
        )
    if readable(eps_by_class):
        bad = ~((eps_by_class >= 0) & (eps_by_class <= 1))
        if bool(bad.any()):
            (index,), _ = position(bad)
            raise ArgumentError(f"eps_by_class must be in [0, 1], got {float(eps_by_class[index]):g} for class {index}")
    num_classes = len(eps_by_class)
    labels, valid = checked_labels(labels, num_classes, ignore_index)
    if num_classes < 2:
        raise ValueError(f"eps_by_class must have at least 2 classes to smooth, got {num_classes}")
    return Target(num_classes, labels, valid, at_labels(eps_by_class, labels), over)


def smooth_prior(
    labels: Tensor,
    prior: Tensor,
    eps: float | Tensor,
    *,
    support: Tensor | None = None,
    ignore_index: int = -100,
) -> Target:
    r"""A share ε of the mass given to a prior, the label's own class included.

    .. math:: q = (1-\varepsilon)\,e_y + \varepsilon\,\pi

    Args:
        labels: (P…) int64, any shape.
        prior: π, (K,) floating, at least 0, sums to 1; for example the class frequencies (unigram smoothing). A zero in
            it is a class that the optimum still pushes to minus infinity.
        eps: strength ε in [0, 1], a number or a tensor that broadcasts from the left with ``labels``.
        support: classes that may receive mass; the prior is renormalised within it.
        ignore_index: the label of positions without a target.

    Raises:
        IndexError: a label that is no class (names the first position).
        ValueError: ε outside [0, 1] or NaN, a prior entry that is negative or not finite (names the class and the
            value), a prior that does not sum to 1 (names the sum), or no prior mass within a support.

    >>> smooth_prior(torch.tensor([0]), torch.tensor([0.5, 0.25, 0.25]), 0.4).probs()
    tensor([[0.8000, 0.1000, 0.1000]])

    Source: Szegedy et al. 2016, section 7, with u(k) any distribution; Pereyra et al. 2017, section 3.2 (unigram).
    """
    check_tensor(prior, "prior")
    eps = _checked_eps(eps, labels, ignore_index)
    if prior.dim() != 1 or not prior.is_floating_point():
        raise ValueError(f"prior must be floating and (K,), got {prior.dtype} {tuple(prior.shape)}")
    _check_distribution(prior.unsqueeze(0), None, "prior", of_class=True)
    num_classes = len(prior)
    labels, valid = checked_labels(labels, num_classes, ignore_index)
    if support is not None:
        support = _checked_support(support, labels, valid, num_classes, spare=False)
        if readable(support, prior):
            axis = 0 if support.dim() == 1 else 1
            along = prior if support.dim() == 1 else prior.reshape((1, -1) + (1,) * (support.dim() - 2))
            empty = (along * support).sum(axis) <= 0
            if bool(empty.any()):
                where = "support" if support.dim() == 1 else f"support of {position(empty)[1]}"
                raise ValueError(f"the prior has no mass within the {where}")
    return Target(num_classes, labels, valid, eps, "prior", prior, support)


def from_probs(probs: Tensor, *, check: bool = True, mask: Tensor | None = None) -> Target:
    """A dense target: any distribution for each position.

    Args:
        probs: floating, (N, K, …) with the classes on axis 1, or (K,).
        check: refuse what is not a distribution; False takes the numbers as they are.
        mask: bool, shape of the positions; False marks a position without a target, whatever its numbers are.

    Raises:
        ValueError: a probability that is negative or not finite, or a position that does not sum to 1 (names the first
            position and the value); a mask of another shape. Values are looked at on the CPU only.
        TypeError: probabilities that are not floating, a mask that is not bool.

    >>> from_probs(torch.tensor([[0.7, 0.2, 0.1]])).entropy()
    tensor([0.8018], dtype=torch.float64)

    Source: any; the loss is S·logsumexp(z) − ⟨q, z⟩.
    """
    check_tensor(probs, "probs")
    if not probs.is_floating_point():
        raise TypeError(f"probs must be floating, got {probs.dtype}; for labels use sf.one_hot or sf.smooth")
    if probs.dim() == 0:
        raise ValueError("probs must have a class axis: (K,) or (N, K, …)")
    target = Target(probs.shape[class_axis(probs.dim() - 1)], None, form="dense", dense=probs)
    if mask is not None:
        if mask.dtype != torch.bool:
            raise TypeError(f"mask must be bool (True: the position counts), got {mask.dtype}")
        if mask.shape != target.shape:
            raise ValueError(
                f"mask must have the shape of the positions {tuple(target.shape)}, got {tuple(mask.shape)}"
            )
        if not readable(mask) or not bool(mask.all()):
            target = replace(target, valid=mask)
    if check:
        _check_distribution(probs.unsqueeze(0) if probs.dim() == 1 else probs, target.valid, "probs")
    return target


def checked_labels(
    labels: Tensor, num_classes: int, ignore_index: int, owner: str = "there are"
) -> tuple[Tensor, Tensor | None]:
    """Labels as int64 with 0 where ignored, and the mask of those that count; None if all do.

    Raises:
        TypeError, ValueError, IndexError: labels that are no integers, no class at all, a label that is no class.

    >>> checked_labels(torch.tensor([2, -100]), 3, -100)
    (tensor([2, 0]), tensor([ True, False]))

    Source: torch's ``ignore_index``.
    """
    check_tensor(labels, "labels")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(
            f"labels must be integers (torch.int64), got {labels.dtype}; for probabilities use sf.from_probs"
        )
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    labels = labels.long()
    valid: Tensor | None = labels != ignore_index
    if readable(labels) and bool(valid.all()):
        valid = None
    check_labels(labels, valid, num_classes, owner)
    return (labels if valid is None else torch.where(valid, labels, 0)), valid


def _checked_eps(eps: float | Tensor, labels: Tensor, ignore_index: int) -> float | Tensor:
    check_tensor(labels, "labels")
    if not isinstance(eps, Tensor):
        check_strength(eps, "eps")
        return float(eps)
    if not eps.is_floating_point():
        raise TypeError(f"eps must be floating, got {eps.dtype}")
    if eps.shape != labels.shape[: eps.dim()]:
        raise ValueError(f"eps {tuple(eps.shape)} does not broadcast from the left with labels {tuple(labels.shape)}")
    if eps.dim() == labels.dim():
        eps = torch.where(labels != ignore_index, eps, 0.0)  # an ignored row is inert, whatever its strength
    if readable(eps):
        bad = ~((eps >= 0) & (eps <= 1))
        if bool(bad.any()):
            index, where = position(bad)
            raise ArgumentError(f"eps must be in [0, 1], got {float(eps[index]):g} in {where}")
    return eps


def _checked_support(support: Tensor, labels: Tensor, valid: Tensor | None, num_classes: int, *, spare: bool) -> Tensor:
    if support.dtype != torch.bool:
        raise TypeError(f"support must be bool, got {support.dtype}")
    expected = list(labels.shape)
    expected.insert(class_axis(labels.dim()), num_classes)
    if tuple(support.shape) not in ((num_classes,), tuple(expected)):
        raise ValueError(f"support must be ({num_classes},) or {tuple(expected)}, got {tuple(support.shape)}")
    if not readable(support, labels):
        return support
    per_position = support.dim() > 1
    if spare:
        few = (support.sum(1) if per_position else support.sum()) < 2
        few = few & valid if per_position and valid is not None else few
        if bool(few.any()):
            where = f" in {position(few)[1]}" if per_position else ""
            raise ValueError(f'over="others" needs at least 2 supported classes{where}: the label alone has no others')
    at_label = at_labels(support, labels)
    outside = ~at_label if valid is None else ~at_label & valid
    if bool(outside.any()):
        index, where = position(outside)
        raise ValueError(f"label {int(labels[index])} in {where} is outside the support")
    return support


# How far a row's sum may be from 1: what rounding each entry to its type can do, and no more.
_SUM_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}


def _check_distribution(q: Tensor, valid: Tensor | None, name: str, *, of_class: bool = False) -> None:
    """Refuse the first entry that is negative or not finite, or the first sum that is not 1; classes on axis 1."""
    if not readable(q, valid) or q.numel() == 0:
        return
    values = q.detach().double()
    if valid is not None:
        values = torch.where(valid.unsqueeze(1) if valid.dim() else valid, values, 1.0 / q.shape[1])
    bad = ~((values >= 0) & values.isfinite())
    if bool(bad.any()):
        at = tuple(int(i) for i in bad.nonzero()[0])
        rows = at[:1] + at[2:]
        where = "" if of_class else (f" in row {rows[0]}" if len(rows) == 1 else f" in position {rows}")
        raise ArgumentError(f"{name} must be finite and at least 0, got {float(values[at]):g} for class {at[1]}{where}")
    sums = values.sum(1)
    # Each entry may also be off by half a subnormal, which adds up where classes are many.
    subnormal = torch.finfo(q.dtype).smallest_normal * torch.finfo(q.dtype).eps
    off = (sums - 1).abs() > _SUM_TOLERANCE.get(q.dtype, 1e-5) + 0.5 * subnormal * q.shape[1]
    if bool(off.any()):
        index, where = position(off)
        raise ArgumentError(
            f"{name} must sum to 1, got {float(sums[index]):.9g}" + ("" if of_class else f" in {where}")
        )
