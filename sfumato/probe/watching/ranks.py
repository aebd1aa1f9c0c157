"""What the other ranks of a distributed run saw. Ranks leave notes in the store of the process group.

A collective call would hang where one rank alone is watched, so nothing collective is called.
"""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch

WAIT = timedelta(seconds=60)
"""How long the notes of another rank are waited for."""


def store_of_ranks() -> tuple[Any, int, int] | None:
    """The store of the default process group, this rank, and the number of ranks; None without several ranks."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return None
    ranks = torch.distributed.get_world_size()
    if ranks < 2:
        return None
    store = torch.distributed.distributed_c10d._get_default_store()  # pyright: ignore[reportPrivateUsage]
    return store, torch.distributed.get_rank(), ranks


def exchange(note: Sequence[Any], place: tuple[Any, int, int], number: int) -> dict[int, list[Any]]:
    """Leave a note for the other ranks, and read theirs; ranks that left none in time are absent.

    ``number`` counts the uses of a process, which are the same on all ranks.
    """
    store, rank, ranks = place
    store.set(f"sfumato watch {number} of {rank}", json.dumps(list(note)))
    found: dict[int, list[Any]] = {rank: list(note)}
    for other in range(ranks):
        if other == rank:
            continue
        key = f"sfumato watch {number} of {other}"
        try:
            store.wait([key], WAIT)
            found[other] = json.loads(store.get(key))
        except Exception:  # a rank that is not watched, or that has ended
            continue
    return found
