"""Which rank has which classes, agreed upon by all ranks before the numbers of rows are sent.

Every call begins with one small message of fixed size: whether any rank found something wrong, knows no layout yet, or
was called with other arguments. Only then do the ranks confer, and all raise the same error or learn the same layout.
"""

import hashlib
import sys
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, distributed

from sfumato.arguments import Call
from sfumato.loss.slices import RowNumbers, SliceNumbers
from sfumato.parallel.rank import ClassRange, Request
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
        # Known here, nothing has to be asked of the other ranks, which an accelerator would have to be waited for.
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
    error: tuple[str, str] | None = None  # the name of an error's class, and its message; None if nothing is wrong
    # the layout that the error was found by; None if it is one by any layout. The layout that a rank remembers may be
    # that of another layer, which it cannot see from its own slice
    by: Layout | None = None

    def place(self) -> tuple[int | None, ...]:
        """What the rank was given about its classes."""
        return self.size, self.start, self.num_classes

    def failed(self, error: Exception, by: Layout | None = None) -> Self:
        """The same with an error."""
        return self._replace(error=(type(error).__name__, str(error)), by=by)


Find = Callable[[Call, ClassRange], SliceNumbers]
"""Finds the numbers of a rank's own classes, once the call is known to be right on this rank."""


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

    def rows(self, mine: SliceNumbers) -> RowNumbers:
        """The numbers of whole rows, from those of each rank's own classes."""
        top = self._reduced(mine.top, distributed.ReduceOp.MAX)
        return RowNumbers.of(top, self.added(mine.against(top)))

    def agree(self, request: Request, place: Place, find: Find) -> tuple[Call, ClassRange, SliceNumbers]:
        """Find the numbers of this rank while the ranks find out whether they agree; if not, let them confer."""
        device: torch.device = getattr(request.logits, "device", torch.device("cpu"))  # no tensor: refused below
        if is_told(place, device):
            assert place.start is not None
            assert place.num_classes is not None
            classes = ClassRange.within(place.start, request.columns(), place.num_classes)
            call = request.over(classes)
            return call, classes, find(call, classes)
        layout: Layout | None = None
        cause: Exception | None = None
        try:
            _check_place(place)
            asked = Asked(request.columns(), place.start, place.num_classes, request.alike())
        except Exception as error:  # whatever it is, the other ranks must not wait for this one
            asked, cause = Asked(0).failed(error), error
        else:
            # The layout that was agreed upon last, if this rank was given the same about its classes then.
            before, known = self._agreed.get(self._name, (None, None))
            layout = known if known and before == asked.place() and len(known.sizes) == self.count else None
        while True:
            call = classes = mine = None
            if layout is not None:
                classes = layout.of(self.rank)
                try:
                    call, cause, asked = request.over(classes), None, asked._replace(error=None, by=None)
                except Exception as error:
                    asked, cause = asked.failed(error, layout), error
            own = _fingerprint((asked.alike, layout))
            sent = torch.tensor([asked.error is not None, layout is None, own, -own], dtype=torch.int64, device=device)
            work: Any = distributed.all_reduce(sent, distributed.ReduceOp.MAX, group=self.group, async_op=True)
            if call is not None and classes is not None:
                mine = find(call, classes)
            work.wait()
            failed, unknown, most, least = sent.tolist()
            if call and classes and mine and not failed and not unknown and most == -least:
                return call, classes, mine
            of_all: list[Any] = [None] * self.count
            distributed.all_gather_object(of_all, asked, group=self.group)
            try:
                layout = agreed_layout(of_all)
            except Exception as error:
                raise error from cause
            self._agreed[self._name] = asked.place(), layout

    def added(self, values: Tensor) -> Tensor:
        """The sum over the ranks."""
        return self._reduced(values, distributed.ReduceOp.SUM)

    def _reduced(self, values: Tensor, operation: Any) -> Tensor:
        values = values.clone(memory_format=torch.contiguous_format)
        if values.numel():
            distributed.all_reduce(values, operation, group=self.group)
        return values


def agreed_layout(of_all: Sequence[Asked]) -> Layout:
    """The layout that follows from what each rank brings, in rank order.

    >>> agreed_layout([Asked(3), Asked(0), Asked(4)])
    Layout(sizes=(3, 0, 4), starts=(0, 3, 3), num_classes=7)
    """
    sizes = tuple(asked.size for asked in of_all)
    starts = tuple(sum(sizes[:rank]) for rank in range(len(sizes)))
    if of_all[0].start is not None:
        starts = tuple(asked.start or 0 for asked in of_all)
    ends = [start + size for start, size in zip(starts, sizes, strict=True) if size]
    layout = Layout(sizes, starts, of_all[0].num_classes or max(ends, default=0))
    for rank, asked in enumerate(of_all):
        if asked.error is not None and asked.by in (None, layout):
            name, words = asked.error
            raise _ERRORS.get(name, RuntimeError)(f"rank {rank}: {words}")
    _check_alike(of_all)
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


def _check_alike(of_all: Sequence[Asked]) -> None:
    zero = of_all[0]
    for rank, asked in enumerate(of_all):
        for name in ("start", "num_classes"):
            mine, first = getattr(asked, name), getattr(zero, name)
            if (mine is None) != (first is None):
                given, absent = (0, rank) if mine is None else (rank, 0)
                raise ArgumentError(
                    f"{name} is given on rank {given} and not on rank {absent}: give it on all, or none"
                )
        pairs = zip(asked.alike, zero.alike, strict=True)
        for name, mine, first in (
            ("num_classes", asked.num_classes, zero.num_classes),
            *((name, mine, first) for (name, mine), (_, first) in pairs),
        ):
            if repr(mine) != repr(first):
                raise ArgumentError(
                    f"rank {rank} has other labels than rank 0: all ranks of a group need the same rows"
                    if name == "labels"
                    else f"{name} is {first} on rank 0 and {mine} on rank {rank}: it must be the same on all ranks"
                )


def _check_tiles(layout: Layout) -> None:
    """Refuse classes that are on two ranks, or on none."""
    classes = layout.num_classes
    if classes < 1:
        raise ArgumentError(f"no rank has a class: the {len(layout.sizes)} ranks have logits of 0 columns")
    ranges = [(*layout.of(rank)[:2], rank) for rank in range(len(layout.sizes))]
    next_class, last = 0, 0
    for start, stop, rank in [*sorted(each for each in ranges if each[0] < each[1]), (classes, classes, -1)]:
        if start > next_class:
            one = start - 1 == next_class
            which = f"class {next_class} of {classes} is"
            which = which if one else f"classes {next_class} to {start - 1} of {classes} are"
            raise ArgumentError(
                f"{which} on no rank: check start, num_classes and that the group is the one that the vocabulary is "
                "split over"
            )
        if start < next_class:
            raise ArgumentError(
                f"class {start} is on rank {last} and on rank {rank}: the slices overlap; starts are "
                f"{list(layout.starts)}, sizes {list(layout.sizes)}"
            )
        next_class, last = stop, rank


def _fingerprint(value: object) -> int:
    """A number that is the same in every process, and another one for another value."""
    return int.from_bytes(hashlib.blake2b(repr(value).encode(), digest_size=7).digest(), "big")
