"""The target as a value: what every kind of target can do, from its terms and from which axis each field has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
from torch import Tensor

from sfumato.targets.checks import ArgumentError, at_labels, check_labels, class_axis
from sfumato.targets.terms import Terms

Axes = Literal[
    "nothing", "positions", "first positions", "positions and classes", "perhaps positions, classes", "classes"
]
"""What a field of a target runs over. "first positions": a number, or a tensor that broadcasts from the left."""

Fields = tuple[tuple[str, Axes], ...]
FIELDS: Fields = (("num_classes", "nothing"), ("labels", "positions"), ("valid", "positions"))


class Masses(NamedTuple):
    """A labelled target in numbers: q_label = ``true``; q_k = ``rest``·``prior``_k for every other class k."""

    true: float | Tensor
    rest: float | Tensor
    prior: Tensor | None  # None: 1 for every class; (K,), or with the class axis at its place


@dataclass(frozen=True, eq=False, repr=False)
class Target:
    """What each position is trained towards: a distribution over ``num_classes``, or nothing where it is ignored.

    Made by the constructors of :mod:`sfumato.targets`, which check their arguments; taken by
    :func:`sfumato.cross_entropy` in place of labels. A kind of target is a subclass that gives its :meth:`terms`,
    :meth:`describe` and ``_made``, and says in ``FIELDS`` what each of its fields runs over.

    Attributes:
        num_classes: K; 0 where only the logits will tell.
        labels: (P…) int64, 0 where ignored; None where positions do not have one label each.
        valid: (P…) bool, False where ignored; None if no position is.

    >>> import sfumato as sf
    >>> sf.smooth(torch.tensor([2, 0]), 5, 0.2, over="others").terms(torch.float64).label.mass
    0.8
    """

    FIELDS: ClassVar[Fields] = FIELDS
    ONE_LABEL: ClassVar[bool] = False  # whether each position has one label and `mix` takes the target as it is

    num_classes: int
    labels: Tensor | None
    valid: Tensor | None

    @property
    def shape(self) -> torch.Size:
        """Shape of the positions: that of the labels, or of the probabilities without their class axis."""
        assert self.labels is not None, "a kind of target without labels says its shape itself"
        return self.labels.shape

    @property
    def device(self) -> torch.device:
        """Where the target lives."""
        return self.tensors()[0].device

    def terms(self, dtype: torch.dtype) -> Terms:
        """The target in arrays, its numbers computed in ``dtype``; the target has a batch axis."""
        raise NotImplementedError

    def of_label(self, per_class: Tensor) -> Tensor | None:
        """(K,) looked up by each position's label, or mixed as the labels are; None where positions have no label."""
        return None if self.labels is None else at_labels(per_class, self.labels)

    def describe(self) -> str:
        """The target in words and numbers, with every strength said in both conventions.

        >>> import sfumato as sf
        >>> print(sf.smooth(torch.tensor([3]), 10, 0.1, over="others").describe())
        smoothed, ε = 0.1 over the 9 others (0.111111 over all): 0.9 on the label, 0.0111111 on each other class
        """
        raise NotImplementedError

    def masses(self, dtype: torch.dtype) -> Masses:
        """The numbers of a labelled target, computed in ``dtype``; (1 − ε) is never taken in a lower precision.

        Raises:
            TypeError: the target is not one label and the rest.

        >>> import sfumato as sf
        >>> sf.smooth(torch.tensor([0]), 4, 0.3, over="others").masses(torch.float64).true
        0.7
        """
        kind = type(self).__name__.lower()
        raise TypeError(f"a {kind} target is not one label and the rest: use .probs()")

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
        positions = self.shape
        if len(positions) == 0:
            return self.batched().to_dense(dtype).squeeze(0)
        zeros = torch.zeros((positions[0], self.num_classes, *positions[1:]), dtype=dtype, device=self.device)
        q = self.terms(dtype).to_dense(zeros)
        return q if self.valid is None else torch.where(self.valid.unsqueeze(1), q, 0.0)

    def entropy(self) -> Tensor:
        """−Σ q log q of every position in nats; 0 where ignored.

        Where q sums to 1, this is the floor of its cross entropy. Where it does not, the floor is S·log S more, with
        S = Σq: see :func:`sfumato.loss_parts`.

        >>> import sfumato as sf
        >>> [round(h, 4) for h in sf.smooth(torch.tensor([3, -100]), 10, 0.1, over="others").entropy().tolist()]
        [0.5448, 0.0]
        >>> of_two = sf.smooth_multilabel(torch.tensor([[1.0, 1.0, 0.0]]), 0.0, spread="count")  # S = 2
        >>> [round(x.item(), 4) for x in (of_two.entropy(), sf.loss_parts(torch.zeros(1, 3), of_two).floor)]
        [0.0, 1.3863]
        """
        q = self.to_dense(torch.float64)
        return -torch.special.xlogy(q, q).sum(class_axis(len(self.shape))) + 0.0

    def total(self) -> Tensor:
        """Σq of every position: 1 up to rounding, and 0 where ignored.

        It is less than 1 where a list drops its rest, and another number where a position has several labels.

        >>> import sfumato as sf
        >>> sf.one_hot(torch.tensor([2, -100]), 3).total()
        tensor([1., 0.])
        """
        return self.probs().sum(class_axis(len(self.shape)))

    def to(self, device: torch.device | str) -> Self:
        """The same target on another device.

        >>> import sfumato as sf
        >>> sf.one_hot(torch.tensor([0]), 2).to("cpu").device
        device(type='cpu')
        """
        return self._mapped(lambda _, array: array.to(device))

    def __getitem__(self, index: Any) -> Self:
        """The target of some positions, by any index that a tensor of their shape takes.

        >>> import sfumato as sf
        >>> sf.smooth(torch.tensor([2, 0, 1]), 3, torch.tensor([0.0, 0.3, 0.6]), over="others")[1:].eps
        tensor([0.3000, 0.6000])
        """
        positions = self.shape
        dims = len(positions)
        if dims == 0:
            raise IndexError("this target has one position and no axis to index")
        if isinstance(index, tuple) and any(part is Ellipsis for part in index):
            # The class axis is no position: "…" must stop before it.
            given = sum(part is not None and part is not Ellipsis for part in index)
            at = next(i for i, part in enumerate(index) if part is Ellipsis)
            index = (*index[:at], *(slice(None),) * (dims - given), *index[at + 1 :])

        def pick(axes: Axes, array: Tensor) -> Tensor:
            if axes == "classes" or (axes == "first positions" and array.dim() == 0):
                return array
            if axes == "positions":
                return array[index]
            if axes == "first positions":
                return array.reshape(array.shape + (1,) * (dims - array.dim())).expand(positions)[index]
            if array.dim() == 1:
                return array
            picked = array.movedim(1, -1)[index]
            return picked.movedim(-1, 1) if picked.dim() > 1 else picked

        return self._mapped(pick)

    def batched(self) -> Self:
        """A target of one position with a batch axis of one."""
        return self._mapped(
            lambda axes, array: array.unsqueeze(0) if axes in ("positions", "positions and classes") else array
        )

    def with_classes(self, num_classes: int) -> Self:
        """The same target for K classes, where it was made without knowing them."""
        if self.num_classes not in (0, num_classes):
            raise ArgumentError(f"the target has {self.num_classes} classes, the logits have {num_classes}")
        if self.labels is not None:
            check_labels(self.labels, self.valid, num_classes, "there are")
        return self._changed(num_classes=num_classes)

    def __repr__(self) -> str:
        """The class, the shape of the positions, and the target in words."""
        return f"Target({tuple(self.shape)}: {self.describe()})"

    def probs_dtype(self) -> torch.dtype:
        """The dtype of :meth:`probs`: the default dtype, or a wider one that the target was made from."""
        dtype = torch.get_default_dtype()
        for array in self.tensors():
            dtype = torch.promote_types(dtype, array.dtype)
        return dtype

    def tensors(self) -> list[Tensor]:
        """Every tensor that the target is made of."""
        found: list[Tensor] = []
        for name, _ in self.FIELDS:
            value = getattr(self, name)
            if isinstance(value, Tensor):
                found.append(value)
        return found

    def _mapped(self, change: Callable[[Axes, Tensor], Tensor]) -> Self:
        """The target with every tensor changed, knowing what the tensor runs over."""
        values: dict[str, Any] = {}
        for name, axes in self.FIELDS:
            value = getattr(self, name)
            values[name] = change(axes, value) if isinstance(value, Tensor) else value
        return self._made(**values)

    def _changed(self, **values: Any) -> Self:
        """The target with other values of some fields."""
        kept: dict[str, Any] = {}
        for name, _ in self.FIELDS:
            kept[name] = getattr(self, name)
        return self._made(**{**kept, **values})

    def _made(self, **fields: Any) -> Self:
        """A target of the same kind with these fields.

        Each kind names its own class here: torch 2.4 cannot trace ``type(self)(…)``.
        """
        raise NotImplementedError

    def share(self, value: float | Tensor, dtype: torch.dtype) -> float | Tensor:
        """A number as it is; a tensor of the first positions with axes of 1 behind, so that it multiplies all."""
        if not isinstance(value, Tensor):
            return value
        value = value.to(dtype)
        return value.reshape(value.shape + (1,) * (len(self.shape) - value.dim())) if value.dim() else value


def mixed_in_words(*parts: tuple[float | Tensor, str]) -> str:
    """Shares of several targets, as :meth:`Target.describe` says them."""
    shares = [f"{share:g}" if isinstance(share, float) else "one share a position" for share, _ in parts]
    return "mixed: " + ", and ".join(f"{share} of ({words})" for share, (_, words) in zip(shares, parts, strict=True))
