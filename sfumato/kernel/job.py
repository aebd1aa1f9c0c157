"""The loss on the compiled kernel: a call in the numbers of ``kernel/sfumato.h``, which is the contract."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sfumato._checks import ArgumentError
from sfumato.kernel.library import ABI, NO_MEMORY
from sfumato.kernel.library import Status as Status
from sfumato.kernel.library import status as status

_TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
_BAD_LABEL = 1
_Strides = ctypes.c_int64 * 3


class _Back(ctypes.Structure):
    """``sfumato_back``, field by field."""

    _fields_ = (
        ("used", ctypes.c_int32),
        ("u", ctypes.c_void_p),
        ("index", ctypes.c_void_p),
        ("c", ctypes.c_double),
        ("c_rows", ctypes.c_void_p),
    )


class _Job(ctypes.Structure):
    """``sfumato_job``, field by field."""

    _fields_ = (
        ("abi", ctypes.c_int32),
        ("type", ctypes.c_int32),
        ("outer", ctypes.c_int64),
        ("classes", ctypes.c_int64),
        ("inner", ctypes.c_int64),
        ("logit_strides", _Strides),
        ("logits", ctypes.c_void_p),
        ("grad", ctypes.c_void_p),
        ("grad_strides", _Strides),
        ("labels", ctypes.c_void_p),
        ("ignore_index", ctypes.c_int64),
        ("has_ignore", ctypes.c_int32),
        ("true_mass", ctypes.c_double),
        ("rest_mass", ctypes.c_double),
        ("true_rows", ctypes.c_void_p),
        ("rest_rows", ctypes.c_void_p),
        ("prior", ctypes.c_void_p),
        ("dense", ctypes.c_void_p),
        ("dense_type", ctypes.c_int32),
        ("dense_strides", _Strides),
        ("dense_scale", ctypes.c_double),
        ("dense_shift", ctypes.c_double),
        ("dense_scale_rows", ctypes.c_void_p),
        ("back", _Back * 2),
        ("support", ctypes.c_void_p),
        ("support_strides", _Strides),
        ("weight", ctypes.c_void_p),
        ("entries", ctypes.c_int64),
        ("entry_classes", ctypes.c_void_p),
        ("entry_masses", ctypes.c_void_p),
        ("valid", ctypes.c_void_p),
        ("scale", ctypes.c_double),
        ("row_scale", ctypes.c_void_p),
        ("loss", ctypes.c_void_p),
        ("threads", ctypes.c_int32),
        ("bad_row", ctypes.c_int64),
        ("bad_label", ctypes.c_int64),
    )


class Back(NamedTuple):
    """Mass c·u_k over the classes of every row.

    Attributes:
        c: a number, or (N·…) float64.
        u: (…, K) in the type of the arithmetic, or None for 1.
        row: (N·…) int64, which row of ``u`` is meant; None for the first.
    """

    c: float | Tensor
    u: Tensor | None = None
    row: Tensor | None = None


class Rows(NamedTuple):
    """What the kernel is asked about: logits with classes on axis 1, and each row's target in numbers.

    A labelled target is ``true`` at its label and ``rest``·``prior`` elsewhere. A composed one has ``dense`` or
    ``backs``, and is what ``kernel/sfumato.h`` says of them.

    Attributes:
        logits: (N, K, …), at most one block of trailing axes that collapse; see :func:`collapse`.
        labels: (N·…) int64 contiguous; None only in a composed target.
        valid: (N·…) bool contiguous, or None.
        ignore_index: the label of rows that do not count, or None.
        true: mass of the label, a number or (N·…) float64.
        rest: mass of each other class before the prior, a number or (N·…) float64.
        prior: (K,) float64 or None.
        dense: shaped like ``logits``, of their type or that of the arithmetic, or None.
        scale: what ``dense`` is multiplied by, a number or (N·…) float64.
        shift: what is added to it.
        backs: at most two.
        support: shaped like ``logits``, bool: which classes the backs may give mass to; or None.
        weight: (K,) in the type of the arithmetic, which everything is multiplied by; or None.
        entries: classes (N·…, m) int64, −1 for none, and their masses float64; or None.
    """

    logits: Tensor
    labels: Tensor | None
    valid: Tensor | None = None
    ignore_index: int | None = None
    true: float | Tensor = 0.0
    rest: float | Tensor = 0.0
    prior: Tensor | None = None
    dense: Tensor | None = None
    scale: float | Tensor = 1.0
    shift: float = 0.0
    backs: tuple[Back, ...] = ()
    support: Tensor | None = None
    weight: Tensor | None = None
    entries: tuple[Tensor, Tensor] | None = None


def collapse(tensor: Tensor) -> tuple[tuple[int, int, int], tuple[int, int, int]] | None:
    """(outer, classes, inner) and their strides, or None where the trailing axes do not form one."""
    if tensor.dim() == 2:
        n, k = tensor.shape
        return (n, k, 1), (tensor.stride(0), tensor.stride(1), 1)
    inner, stride = 1, 1
    for size, step in zip(reversed(tensor.shape[2:]), reversed(tensor.stride()[2:]), strict=True):
        if size == 1:
            continue
        if inner == 1:
            stride = step
        elif step != stride * inner:
            return None
        inner *= size
    return (tensor.shape[0], tensor.shape[1], inner), (tensor.stride(0), tensor.stride(1), stride)


def run(
    rows: Rows, loss: Tensor | None, grad: Tensor | None, *, scale: float = 1.0, row_scale: Tensor | None = None
) -> None:
    """Fill each row's loss, and its gradient (S·p − q)·scale·row_scale.

    Args:
        rows: checked by the caller to be what the kernel serves.
        loss: (N·…) float64 to fill, or None.
        grad: like the logits, of their type, to fill; None for the loss alone. May be the logits themselves.
        scale: factor of every gradient.
        row_scale: (N·…) float64 factors, or None.

    Raises:
        IndexError: a label that is no class; nothing was written.
    """
    library = status().library
    assert library is not None, "the caller asked status()"
    layout, strides = _layout(rows.logits)
    outer, classes, inner = layout
    if outer * inner == 0:
        return
    if loss is None:
        loss = torch.empty(outer * inner, dtype=torch.float64)
    job = _Job(
        abi=ABI,
        type=_TYPES[rows.logits.dtype],
        outer=outer,
        classes=classes,
        inner=inner,
        logit_strides=_Strides(*strides),
        logits=rows.logits.data_ptr(),
        grad=_pointer(grad),
        grad_strides=_Strides(*(_layout(grad)[1] if grad is not None else (0, 0, 0))),
        labels=_pointer(rows.labels),
        ignore_index=rows.ignore_index or 0,
        has_ignore=rows.ignore_index is not None,
        true_mass=0.0 if isinstance(rows.true, Tensor) else rows.true,
        rest_mass=0.0 if isinstance(rows.rest, Tensor) else rows.rest,
        true_rows=_doubles(rows.true) if isinstance(rows.true, Tensor) else None,
        rest_rows=_doubles(rows.rest) if isinstance(rows.rest, Tensor) else None,
        prior=_doubles(rows.prior),
        valid=_pointer(rows.valid),
        scale=scale,
        row_scale=_doubles(row_scale),
        loss=_doubles(loss),
        threads=torch.get_num_threads(),
    )
    if rows.dense is not None or rows.backs:
        _compose(job, rows)
    error = library.sfumato_run(ctypes.byref(job))
    if error == _BAD_LABEL:
        raise IndexError(f"label {job.bad_label} of row {job.bad_row} is not a class")
    if error == NO_MEMORY:
        raise MemoryError("the kernel found no memory to work in")
    if error:
        raise ArgumentError(f"the kernel refused the call with code {error}")


def _compose(job: Any, rows: Rows) -> None:
    """The fields of a composed target."""
    if rows.dense is not None:
        job.dense, job.dense_type = rows.dense.data_ptr(), _TYPES[rows.dense.dtype]
        job.dense_strides = _Strides(*_layout(rows.dense)[1])
        job.dense_scale = 1.0 if isinstance(rows.scale, Tensor) else rows.scale
        job.dense_scale_rows = _doubles(rows.scale) if isinstance(rows.scale, Tensor) else None
        job.dense_shift = rows.shift
    for at, back in enumerate(rows.backs):
        many = isinstance(back.c, Tensor)
        job.back[at] = _Back(
            used=1,
            u=_pointer(back.u),
            index=_pointer(back.row),
            c=0.0 if many else back.c,
            c_rows=_doubles(back.c) if isinstance(back.c, Tensor) else None,
        )
    if rows.support is not None:
        job.support, job.support_strides = rows.support.data_ptr(), _Strides(*_layout(rows.support)[1])
    job.weight = _pointer(rows.weight)
    if rows.entries is not None:
        classes, masses = rows.entries
        job.entries, job.entry_classes, job.entry_masses = classes.shape[1], classes.data_ptr(), _doubles(masses)


def _layout(tensor: Tensor) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    found = collapse(tensor)
    assert found is not None, "the caller asked collapse()"
    return found


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _doubles(tensor: Tensor | None) -> int | None:
    """The address of what the kernel reads as float64: any other type would be read past its end."""
    if tensor is not None and (tensor.dtype != torch.float64 or not tensor.is_contiguous()):
        raise TypeError(f"the kernel reads contiguous float64 here, got {tensor.dtype}")
    return _pointer(tensor)
