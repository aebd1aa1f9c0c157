"""The target as a value.

A target with one label is q_y on it and r·u_k on each other class k, with u constant, a prior, a row of a table, or a
mask of supported classes. Mixtures hold two such parts. Nothing N×K is built unless the target is dense.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

from sfumato import theory
from sfumato._checks import ArgumentError, at_labels, check_labels, class_axis, position, readable, spread

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

    Made by the constructors of :mod:`sfumato.targets`, which check their arguments; taken by
    :func:`sfumato.cross_entropy` in place of labels.

    Attributes:
        num_classes: K; 0 where only the logits will tell.
        labels: (P…) int64, 0 where ignored; None where positions do not have one label each.
        valid: (P…) bool, False where ignored; None if no position is.
        eps: strength ε, a number or a tensor that broadcasts from the left with ``labels``.
        form: where ε goes: ``"others"``, ``"all"``, to the ``"prior"``, or by the ``"rows"`` of a table; ``"dense"``
            for probabilities, ``"listed"`` for those of a few classes, ``"mixed"`` for a sum of parts.
        prior: π, (K,); with ``"rows"`` the table, (K, K).
        support: classes that may receive mass, bool, (K,) or per position; None for all.
        dense: probabilities, classes (or the listed ones) on axis 1 (axis 0 if unbatched).
        affine: (A, B): a dense target is A·``dense`` + B.
        listed: (N, k, …) int64, the classes that ``dense`` speaks of; the others share ``eps``.
        parts: what a mixture is made of, each with its share, a number or a tensor like ``eps``.
    """

    num_classes: int
    labels: Tensor | None
    valid: Tensor | None = None
    eps: float | Tensor = 0.0
    form: Literal["others", "all", "prior", "rows", "dense", "listed", "mixed"] = "all"
    prior: Tensor | None = None
    support: Tensor | None = None
    dense: Tensor | None = None
    affine: tuple[float, float] = (1.0, 0.0)
    listed: Tensor | None = None
    parts: tuple[tuple[float | Tensor, Target], ...] = ()

    @property
    def sparse(self) -> bool:
        """Whether it is one label and the rest, so that :meth:`masses` tells all."""
        return self.form in ("others", "all", "prior", "rows")

    @property
    def shape(self) -> torch.Size:
        """Shape of the positions: that of the labels, or of the probabilities without their class axis."""
        if self.labels is not None:
            return self.labels.shape
        if self.parts:
            return self.parts[0][1].shape
        shape = self._probabilities().shape
        return torch.Size(() if len(shape) == 1 else (shape[0], *shape[2:]))

    @property
    def device(self) -> torch.device:
        """Where the target lives."""
        if self.labels is not None:
            return self.labels.device
        return self.parts[0][1].device if self.parts else self._probabilities().device

    def masses(self, dtype: torch.dtype) -> Masses:
        """The numbers of a labelled target, computed in ``dtype``; (1 − ε) is never taken in a lower precision.

        Raises:
            TypeError: the target is not one label and the rest.

        >>> import sfumato as sf
        >>> sf.smooth(torch.tensor([0]), 4, 0.3, over="others").masses(torch.float64).true
        0.7
        """
        if self.labels is None or not self.sparse:
            raise TypeError(f"a {self.form} target is not one label and the rest: use .probs()")
        if self.form == "rows":
            table = self._prior(dtype)
            rows = table.index_select(0, self.labels.reshape(-1)).reshape(*self.shape, self.num_classes)
            rows = rows.movedim(-1, class_axis(len(self.shape)))
            return Masses(self._at_label(rows), 1.0, rows)
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

        >>> import sfumato as sf
        >>> sf.one_hot(torch.tensor([2, -100]), 3).probs()
        tensor([[0., 0., 1.],
                [0., 0., 0.]])
        """
        return self.to_dense(torch.float64).to(self.probs_dtype())

    def to_dense(self, dtype: torch.dtype) -> Tensor:
        """As :meth:`probs`, computed in a dtype of the caller's choice.

        >>> import sfumato as sf
        >>> sf.smooth(torch.tensor([0]), 3, 0.1, over="all").to_dense(torch.float64).sum().item()
        1.0
        """
        if self.num_classes == 0:
            raise ValueError("this target does not know how many classes there are: give num_classes=")
        axis = class_axis(len(self.shape))
        if self.form == "dense":
            scale, shift = self.affine
            q = self._probabilities().to(dtype)
            q = q if self.affine == (1.0, 0.0) else scale * q + shift
        elif self.form == "mixed":
            q = torch.zeros((), dtype=dtype, device=self.device)
            for share, part in self.parts:
                q = q + self.share(share, dtype, axis) * part.to_dense(dtype)
        elif self.listed is not None:
            shape = list(self.shape)
            shape.insert(axis, self.num_classes)
            q = self.share(self.unlisted(), dtype, axis) * torch.ones(shape, dtype=dtype, device=self.device)
            q = q.scatter(axis, self.listed, self._probabilities().to(dtype))
        else:
            true, rest, prior = self.masses(dtype)
            shape = list(self.shape)
            shape.insert(axis, self.num_classes)
            assert self.labels is not None, "the target is sparse"
            q = torch.ones(shape, dtype=dtype, device=self.device)
            if prior is not None:
                q = q * self._along_classes(prior)
            q = q * (rest.unsqueeze(axis) if isinstance(rest, Tensor) and rest.dim() else rest)
            on = torch.as_tensor(true, dtype=dtype, device=self.device).expand(self.shape)
            q = q.scatter(axis, self.labels.unsqueeze(axis), on.unsqueeze(axis))
        return q if self.valid is None else torch.where(self.valid.unsqueeze(axis), q, 0.0)

    def entropy(self) -> Tensor:
        """H(q) of every position in nats: the floor of its cross entropy; 0 where ignored.

        >>> import sfumato as sf
        >>> [round(h, 4) for h in sf.smooth(torch.tensor([3, -100]), 10, 0.1, over="others").entropy().tolist()]
        [0.5448, 0.0]
        """
        xlogy = torch.special.xlogy
        if not self.sparse:
            q = self.to_dense(torch.float64)
            return -xlogy(q, q).sum(class_axis(len(self.shape))) + 0.0
        masses = self.masses(torch.float64)
        true, rest = (torch.as_tensor(m, dtype=torch.float64, device=self.device) for m in masses[:2])
        # The other classes hold r·u_k each: −Σ r·u_k (log r + log u_k), label left out.
        count: float | Tensor = self.num_classes - 1.0
        log_part: float | Tensor = 0.0
        if (u := masses.prior) is not None:
            axis = 0 if u.dim() == 1 else class_axis(len(self.shape))
            count = u.sum(axis) - self._at_label(u)
            log_part = xlogy(u, u).sum(axis) - self._at_label(xlogy(u, u))
        floor = -xlogy(true, true) - count * xlogy(rest, rest) - rest * log_part
        floor = floor.expand(self.shape)
        return floor + 0.0 if self.valid is None else torch.where(self.valid, floor, 0.0)

    def total(self) -> Tensor:
        """Σq of every position: 1 up to rounding (less where a list drops its rest), 0 where ignored.

        >>> import sfumato as sf
        >>> sf.one_hot(torch.tensor([2, -100]), 3).total()
        tensor([1., 0.])
        """
        return self.probs().sum(class_axis(len(self.shape)))

    def describe(self) -> str:
        """The target in words and numbers, with every strength said in both conventions.

        >>> import sfumato as sf
        >>> print(sf.smooth(torch.tensor([3]), 10, 0.1, over="others").describe())
        smoothed, ε = 0.1 over the 9 others (0.111111 over all): 0.9 on the label, 0.0111111 on each other class
        """
        k = self.num_classes
        known = k or "all"
        if self.form == "dense":
            return f"probabilities over {k} classes"
        if self.form == "rows":
            return f"each label towards its own row of a table over {k} classes"
        if self.listed is not None:
            return f"probabilities of {self.listed.shape[class_axis(len(self.shape))]} classes a position, of {known}"
        if self.form == "mixed":
            shares = (f"{share:g}" if isinstance(share, float) else "one share a position" for share, _ in self.parts)
            return "mixed: " + ", and ".join(
                f"{share} of ({part.describe()})" for share, (_, part) in zip(shares, self.parts, strict=True)
            )
        if isinstance(self.eps, float) and self.eps == 0.0:
            return f"one-hot over {known} classes"
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

        >>> import sfumato as sf
        >>> sf.one_hot(torch.tensor([0]), 2).to("cpu").device
        device(type='cpu')
        """

        def move(part: Any) -> Any:
            return part.to(device) if isinstance(part, Tensor) else part

        names = ("labels", "valid", "eps", "prior", "support", "dense", "listed")
        parts = tuple((move(share), part.to(device)) for share, part in self.parts)
        return replace(self, **{name: move(getattr(self, name)) for name in names}, parts=parts)

    def __getitem__(self, index: Any) -> Target:
        """The target of some positions, by any index that a tensor of their shape takes.

        >>> import sfumato as sf
        >>> sf.smooth(torch.tensor([2, 0, 1]), 3, torch.tensor([0.0, 0.3, 0.6]), over="others")[1:].eps
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

        def pick_share(share: float | Tensor) -> float | Tensor:
            if not isinstance(share, Tensor) or share.dim() == 0:
                return share
            return share.reshape(share.shape + (1,) * (dims - share.dim())).expand(self.shape)[index]

        return replace(
            self,
            labels=pick(self.labels),
            valid=pick(self.valid),
            eps=pick_share(self.eps),
            support=pick_with_classes(self.support),
            dense=pick_with_classes(self.dense),
            listed=pick_with_classes(self.listed),
            parts=tuple((pick_share(share), part[index]) for share, part in self.parts),
        )

    def unlisted(self) -> float | Tensor:
        """Of a listed target: the mass of each class that is not listed.

        >>> import sfumato as sf
        >>> stored = torch.tensor([[0, 2]]), torch.tensor([[0.5, 0.25]])
        >>> made = sf.distil_top(torch.tensor([0]), *stored, 1.0, rest="uniform", num_classes=4)
        >>> made.parts[1][1].unlisted()
        tensor([0.1250], dtype=torch.float64)
        """
        assert self.listed is not None, "the form says so"
        others = self.num_classes - self.listed.shape[class_axis(len(self.shape))]
        return self.eps / others if others else 0.0

    def with_classes(self, num_classes: int) -> Target:
        """The same target for K classes, where it was made without knowing them.

        Raises:
            IndexError: a label or a listed class that is none of them.
            ValueError: every class is listed, and some mass is left for the others.

        >>> import sfumato as sf
        >>> stored = torch.tensor([[0]]), torch.tensor([[1.0]])
        >>> sf.distil_top(torch.tensor([0]), *stored, 1.0, rest="drop").with_classes(2).probs()
        tensor([[1., 0.]])
        """
        if self.listed is not None and readable(self.listed):
            axis = class_axis(len(self.shape))
            low, high = self.listed.aminmax() if self.listed.numel() else (0, 0)
            if low < 0 or high >= num_classes:
                outside = ((self.listed < 0) | (self.listed >= num_classes)).any(axis)
                raise IndexError(
                    f"a stored class in {position(outside)[1]} is not a class: "
                    f"there are {num_classes} (0 to {num_classes - 1})"
                )
            if (
                self.listed.shape[axis] >= num_classes
                and isinstance(self.eps, Tensor)
                and bool((self.eps > 1e-6).any())
            ):
                raise ArgumentError(f'rest="uniform" needs a class that is not stored: all {num_classes} are')
        if self.labels is not None:
            check_labels(self.labels, self.valid, num_classes, "there are")
        parts = tuple((share, part.with_classes(num_classes)) for share, part in self.parts)
        return replace(self, num_classes=num_classes, parts=parts)

    def batched(self) -> Target:
        """A target of one position with a batch axis of one.

        >>> import sfumato as sf
        >>> sf.one_hot(torch.tensor(1), 3).batched().shape
        torch.Size([1])
        """

        def lead(part: Tensor | None) -> Tensor | None:
            return None if part is None else part.unsqueeze(0)

        return replace(
            self,
            labels=lead(self.labels),
            valid=lead(self.valid),
            dense=lead(self.dense),
            listed=lead(self.listed),
            parts=tuple((share, part.batched()) for share, part in self.parts),
        )

    def of_label(self, per_class: Tensor) -> Tensor | None:
        """(K,) looked up by each position's label, mixed as the labels are; None where there are none.

        >>> import sfumato as sf
        >>> sf.one_hot(torch.tensor([1, 0]), 2).of_label(torch.tensor([5.0, 7.0]))
        tensor([7., 5.])
        """
        if self.labels is not None:
            return at_labels(per_class, self.labels)
        found: Tensor | None = None
        for share, part in self.parts:
            of_part = part.of_label(per_class)
            if of_part is None:
                return None
            term = self.share(share, per_class.dtype) * of_part
            found = term if found is None else found + term
        return found

    def share(self, share: float | Tensor, dtype: torch.dtype, axis: int | None = None) -> Tensor:
        """A share as a tensor that multiplies one number a position, or with ``axis`` one a class as well.

        >>> import sfumato as sf
        >>> sf.one_hot(torch.zeros(2, 3).long(), 4).share(torch.tensor([0.5, 0.25]), torch.float64, 1).shape
        torch.Size([2, 1, 1])
        """
        if not isinstance(share, Tensor) or share.dim() == 0:
            return torch.as_tensor(share, dtype=dtype, device=self.device)
        spreaded = share.to(dtype).reshape(share.shape + (1,) * (len(self.shape) - share.dim()))
        return spreaded if axis is None else spreaded.unsqueeze(axis)

    def __repr__(self) -> str:
        """The class, the shape of the positions, and the target in words."""
        return f"Target({tuple(self.shape)}: {self.describe()})"

    def probs_dtype(self) -> torch.dtype:
        """Of :meth:`probs`: the default dtype, or a wider one that the target was made from.

        >>> import sfumato as sf
        >>> sf.from_probs(torch.tensor([[0.5, 0.5]], dtype=torch.float64)).probs_dtype()
        torch.float64
        """
        dtype = torch.get_default_dtype()
        for part in (self.eps, self.prior, self.dense, *(share for share, _ in self.parts)):
            dtype = torch.promote_types(dtype, part.dtype) if isinstance(part, Tensor) else dtype
        for _, part in self.parts:
            dtype = torch.promote_types(dtype, part.probs_dtype())
        return dtype

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
