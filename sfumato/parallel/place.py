"""How a caller says that logits are split: by a group and two numbers, or by a DTensor, which knows."""

import sys
from typing import Any, NamedTuple

import torch
from torch import distributed

from sfumato.targets.checks import ArgumentError


class Place(NamedTuple):
    """Where a rank's logits belong.

    Attributes:
        group: the ranks that the classes are split over; None for all.
        start: the first class of the rank; None for consecutive slices in rank order.
        num_classes: K; None for all columns of all ranks.
    """

    group: "distributed.ProcessGroup | None"
    start: int | None
    num_classes: int | None


def local_part(value: Any) -> Any:
    """This rank's part of a DTensor, and anything else as it is."""
    return value.to_local() if _is_dtensor(value) else value


def place_of(split: Any, given: Place, *, name: str = "logits", axis: int | None = None) -> Place:
    """How logits, or the rows of a weight, are split: as the caller said, or as a DTensor knows.

    Args:
        split: the logits or the weight of this rank.
        given: what the caller said.
        name: what messages call it.
        axis: its class axis; None for that of logits.

    Raises:
        ValueError: a DTensor whose classes are not on exactly one axis of its mesh, or that holds partial sums; a group
            or start beside a DTensor.
    """
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
