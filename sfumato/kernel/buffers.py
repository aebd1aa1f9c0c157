"""Memory for gradients, used again when its storage is dead and never before.

A fresh gradient of 256 MB costs more in page faults than in arithmetic. Torch keeps the object that exports a block
alive as long as the storage, views and retained graphs included: its finalizer is the moment when the block is free.
"""

import os
import weakref
from collections import deque

import numpy as np
import torch

_SMALLEST = 1 << 16  # below 64 kB the allocator is as fast
_MAX_BLOCKS = 4
_MAX_BYTES = 4 << 30
_ALIGNMENT = 64

# deque.append and popleft are atomic, so that a finalizer may run on any thread, and in the middle of anything.
_free: deque[np.ndarray] = deque()


def empty(shape: torch.Size, dtype: torch.dtype) -> torch.Tensor:
    """An uninitialised contiguous tensor, over a block used before if one fits."""
    count = shape.numel()
    size = count * dtype.itemsize
    if size < _SMALLEST:
        return torch.empty(shape, dtype=dtype)
    block = _take(size)
    export = block[:size]
    weakref.finalize(export, _give, block).atexit = False
    return torch.frombuffer(export, dtype=dtype, count=count).view(shape)


def release_buffers() -> None:
    """Give the memory of unused gradients back to the system.

    The pool keeps at most four blocks, so that the next gradient of about the same size needs no fresh memory.
    Gradients in use are not touched.

    >>> release_buffers()
    """
    _free.clear()


def _take(size: int) -> np.ndarray:
    """The first free block that is large enough and not wastefully so; the others go back behind it."""
    for _ in range(len(_free)):
        try:
            block = _free.popleft()
        except IndexError:  # another thread was faster
            break
        if size <= block.nbytes <= 2 * size:
            return block
        _free.append(block)
    fresh = np.empty(size + _ALIGNMENT, dtype=np.uint8)
    start = -fresh.ctypes.data % _ALIGNMENT
    return fresh[start : start + size]


def _give(block: np.ndarray) -> None:
    _free.append(block)
    while len(_free) > _MAX_BLOCKS or (len(_free) > 1 and sum(b.nbytes for b in list(_free)) > _MAX_BYTES):
        try:
            _free.popleft()
        except IndexError:
            break


if hasattr(os, "register_at_fork"):
    # A child has its own copy of every free block; keeping them would hold the parent's pages twice.
    os.register_at_fork(after_in_child=release_buffers)
