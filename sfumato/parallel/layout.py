"""Which rank has which classes, agreed upon by all ranks before the numbers of rows are sent.

Every call begins with one small message of fixed size. It says whether any rank found something wrong, knows no layout
yet, or was called with other arguments. Only then do the ranks tell each other more, and all of them raise the same
error or learn the same layout. So no rank waits for one that has gone.
"""

import hashlib
import sys
from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, distributed

from sfumato.arguments import Call
from sfumato.parallel.request import Request
from sfumato.parallel.row_slices import ClassRange
from sfumato.targets.checks import ArgumentError


class Place(NamedTuple):
    """Where a rank's logits belong."""

    group: "distributed.ProcessGroup | None"  # the ranks that the classes are split over; None for all
    start: int | None  # the first class of the rank; None for consecutive slices in rank order
    num_classes: int | None  # K; None for all columns of all ranks


def local_part(value: Any) -> Any:
    """This rank's part of a DTensor, and anything else as it is."""
    return value.to_local() if _is_dtensor(value) else value


def place_of(split: Any, given: Place, *, name: str = "logits", axis: int | None = None) -> Place:
    """How logits, or the rows of a weight, are split: as the caller said, or as a DTensor knows."""
    if not _is_dtensor(split):
        return given
    for word in ("group", "start"):
        if getattr(given, word) is not None:
            raise ArgumentError(f"{word} is given, but {name} is a DTensor, which knows it: leave {word} out")
    mesh, placements = split.device_mesh, split.placements
    if axis is None:
        axis = 0 if split.dim() == 1 else 1
    over = [at for at, placement in enumerate(placements) if placement.is_shard(axis)]
    if len(over) != 1 or any(placement.is_partial() for placement in placements):
        raise ArgumentError(
            f"{name} must be sharded on the class axis, Shard({axis}), over one axis of the mesh, "
            f"and on no axis partial; got {placements}: use {name}.redistribute"
        )
    columns = split.shape[axis]
    start = None
    if split.device.type != "cpu":
        # Told here, nothing has to be asked of the other ranks, which an accelerator would have to be waited for.
        start = min(mesh.get_local_rank(over[0]) * -(-columns // mesh.size(over[0])), columns)
    return Place(mesh.get_group(over[0]), start, columns if given.num_classes is None else given.num_classes)


def _is_dtensor(value: Any) -> bool:
    # Where there is one, its module is loaded.
    for name in ("torch.distributed.tensor", "torch.distributed._tensor"):  # the latter until torch 2.4
        kind: Any = getattr(sys.modules.get(name), "DTensor", None)
        if kind is not None:
            return isinstance(value, kind)
    return False


def is_told(place: Place, device: torch.device) -> bool:
    """Whether a rank knows its classes without asking, and asking would make it wait for an accelerator."""
    return device.type != "cpu" and place.start is not None and place.num_classes is not None


_ERRORS: dict[str, type[Exception]] = {
    each.__name__: each for each in (ArgumentError, IndexError, TypeError, ValueError, NotImplementedError)
}


class Layout(NamedTuple):
    """The classes of every rank, in rank order."""

    sizes: tuple[int, ...]  # how many columns of logits each rank has, padding included
    starts: tuple[int, ...]  # the first class of each rank
    num_classes: int  # K; columns from this class on are padding

    def of(self, rank: int) -> ClassRange:
        """The classes of one rank."""
        return ClassRange.within(self.starts[rank], self.sizes[rank], self.num_classes)


class Asked(NamedTuple):
    """What one rank brings to a call."""

    size: int  # how many columns of logits it has
    start: int | None = None  # its first class as the caller gave it, or None
    num_classes: int | None = None  # K as the caller gave it, or None
    alike: tuple[tuple[str, Any], ...] = ()  # what must be equal on all ranks, by name
    error: tuple[str, str] | None = None  # the name of an error's class, and what it says; None if nothing is wrong
    # the layout that the error was found by; None if it is one by any layout. The layout that a rank remembers may be
    # that of another layer, which it cannot see from its own slice
    by: Layout | None = None

    @classmethod
    def attempt(cls, request: Request, place: Place) -> "tuple[Asked, Exception | None]":
        """What a call brings; if it is wrong in itself, what is wrong, and the error."""
        try:
            _check_place(place)
            return cls(request.columns(), place.start, place.num_classes, request.alike()), None
        except Exception as error:  # whatever it is, the other ranks must not wait for this one
            return cls(0).failed(error), error

    def checked(
        self, request: Request, classes: ClassRange, layout: Layout
    ) -> "tuple[Call | None, Asked, Exception | None]":
        """The call over all classes; or none, and what is wrong with it by this layout."""
        try:
            return request.over(classes), self._replace(error=None, by=None), None
        except Exception as error:
            return None, self.failed(error)._replace(by=layout), error

    def place(self) -> tuple[int | None, ...]:
        """What the rank says of its classes."""
        return self.size, self.start, self.num_classes

    def failed(self, error: Exception) -> "Asked":
        """The same with an error."""
        return self._replace(error=(type(error).__name__, str(error)))


class RankGroup:
    """The ranks that share a vocabulary: the exchanges between them, and what they agreed upon last."""

    # By name of the group: what this rank said of its classes, and the layout that followed from what all said. The
    # ranks find out whether all of them still have one layout before any of them relies on it.
    _agreed: dict[str, tuple[tuple[int | None, ...], Layout]] = {}  # noqa: RUF012

    def __init__(self, group: "distributed.ProcessGroup | None") -> None:
        if not distributed.is_available() or not distributed.is_initialized():
            raise ValueError(
                "there is no process group: call torch.distributed.init_process_group first, in a program that "
                "torchrun started; in one process use sf.cross_entropy"
            )
        self.group = distributed.group.WORLD if group is None else group
        self.rank = distributed.get_rank(self.group)
        if self.rank < 0:
            raise ValueError(f"rank {distributed.get_rank()} is not in the group that was given")
        self.count = distributed.get_world_size(self.group)
        self._name = str(getattr(self.group, "group_name", ""))

    def largest(self, values: Tensor) -> Tensor:
        """The elementwise maximum over the ranks."""
        return self._reduced(values, distributed.ReduceOp.MAX)

    def added(self, values: Tensor) -> Tensor:
        """The sum over the ranks."""
        return self._reduced(values, distributed.ReduceOp.SUM)

    def known_layout(self, asked: Asked) -> Layout | None:
        """The layout that was agreed upon last, if this rank said the same of its classes then."""
        said, layout = self._agreed.get(self._name, (None, None))
        return layout if layout and said == asked.place() and len(layout.sizes) == self.count else None

    def ask(self, asked: Asked, layout: Layout | None, device: torch.device) -> "Answer":
        """Begin to find out whether all ranks agree; the answer is waited for where it is read."""
        own = _fingerprint((asked.alike, layout))
        told = torch.tensor([asked.error is not None, layout is None, own, -own], dtype=torch.int64, device=device)
        return Answer(told, distributed.all_reduce(told, distributed.ReduceOp.MAX, group=self.group, async_op=True))

    def confer(self, asked: Asked) -> Layout:
        """Tell all ranks what this one brings, and agree on a layout."""
        told: list[Any] = [None] * self.count
        distributed.all_gather_object(told, asked, group=self.group)
        layout = agreed_layout(told)
        self._agreed[self._name] = asked.place(), layout
        return layout

    def _reduced(self, values: Tensor, operation: Any) -> Tensor:
        values = values.clone(memory_format=torch.contiguous_format)
        if values.numel():
            distributed.all_reduce(values, operation, group=self.group)
        return values


class Answer(NamedTuple):
    """Whether all ranks agree, on its way."""

    told: Tensor
    work: Any

    def agreed(self) -> bool:
        """Whether no rank found an error or lacks a layout, and all were called alike."""
        self.work.wait()
        failed, unknown, most, least = self.told.tolist()
        return not failed and not unknown and most == -least


def agreed_layout(told: Sequence[Asked]) -> Layout:
    """The layout that follows from what each rank brings, in rank order.

    >>> agreed_layout([Asked(3), Asked(0), Asked(4)])
    Layout(sizes=(3, 0, 4), starts=(0, 3, 3), num_classes=7)
    """
    sizes = tuple(asked.size for asked in told)
    starts = tuple(sum(sizes[:rank]) for rank in range(len(sizes)))
    if told[0].start is not None:
        starts = tuple(asked.start or 0 for asked in told)
    ends = [start + size for start, size in zip(starts, sizes, strict=True) if size]
    layout = Layout(sizes, starts, told[0].num_classes or max(ends, default=0))
    for rank, asked in enumerate(told):
        if asked.error is not None and asked.by in (None, layout):
            name, words = asked.error
            raise _ERRORS.get(name, RuntimeError)(f"rank {rank}: {words}")
    _check_alike(told)
    _check_tiles(layout)
    return layout


def _check_place(place: Place) -> None:
    for name, least in (("start", 0), ("num_classes", 1)):
        value = getattr(place, name)
        if value is None:
            continue
        if not isinstance(value, Integral):
            raise TypeError(f"{name} must be an int, got {value!r}")
        if value < least:
            raise ArgumentError(f"{name} must be at least {least}, got {value}")


def _check_alike(told: Sequence[Asked]) -> None:
    for rank, asked in enumerate(told):
        for name in ("start", "num_classes"):
            mine, first = getattr(asked, name), getattr(told[0], name)
            if (mine is None) != (first is None):
                given, absent = (0, rank) if mine is None else (rank, 0)
                raise ArgumentError(
                    f"{name} is given on rank {given} and not on rank {absent}: give it on all, or none"
                )
        named = (("num_classes", told[0].num_classes), *told[0].alike)
        for (name, first), (_, mine) in zip(named, (("num_classes", asked.num_classes), *asked.alike), strict=True):
            if repr(mine) == repr(first):
                continue
            if name == "labels":
                raise ArgumentError(
                    f"rank {rank} has other labels than rank 0: all ranks of a group need the same rows"
                )
            raise ArgumentError(
                f"{name} is {first} on rank 0 and {mine} on rank {rank}: it must be the same on all ranks"
            )


def _check_tiles(layout: Layout) -> None:
    """Refuse classes that are on two ranks, or on none."""
    ranks = range(len(layout.sizes))
    classes = layout.num_classes
    if classes < 1:
        raise ArgumentError(f"no rank has a class: the {len(layout.sizes)} ranks have logits of 0 columns")
    next_class, last = 0, 0
    for rank in sorted(ranks, key=lambda rank: (layout.of(rank).start, layout.of(rank).stop)):
        start, stop, _ = layout.of(rank)
        if start == stop:
            continue
        if start > next_class:
            _no_rank(next_class, start - 1, classes)
        if start < next_class:
            raise ArgumentError(
                f"class {start} is on rank {last} and on rank {rank}: the slices overlap; starts are "
                f"{list(layout.starts)}, sizes {list(layout.sizes)}"
            )
        next_class, last = stop, rank
    if next_class < classes:
        _no_rank(next_class, classes - 1, classes)


def _no_rank(first: int, last: int, classes: int) -> NoReturn:
    which = f"class {first} of {classes} is" if first == last else f"classes {first} to {last} of {classes} are"
    raise ArgumentError(
        f"{which} on no rank: check start, num_classes and that the group is the one that the vocabulary is split over"
    )


def _fingerprint(value: object) -> int:
    """A number that is the same in every process, and another one for another value."""
    return int.from_bytes(hashlib.blake2b(repr(value).encode(), digest_size=7).digest(), "big")
