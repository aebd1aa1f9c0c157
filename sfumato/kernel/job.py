"""The loss of rows on the compiled kernel: a job in the numbers of ``kernel/sfumato.h``, which is the contract."""

import ctypes
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sfumato.kernel.library import ABI, NO_MEMORY
from sfumato.kernel.library import Status as Status
from sfumato.kernel.library import status as status
from sfumato.targets.checks import ArgumentError, readable
from sfumato.targets.terms import Terms, watched

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
        ("mean", ctypes.c_int32),
        ("row_scale", ctypes.c_void_p),
        ("loss", ctypes.c_void_p),
        ("threads", ctypes.c_int32),
        ("counted", ctypes.c_int64),
        ("bad_row", ctypes.c_int64),
        ("bad_label", ctypes.c_int64),
        ("top_class", ctypes.c_void_p),
        ("top", ctypes.c_void_p),
        ("sum", ctypes.c_void_p),
        ("mass", ctypes.c_void_p),
        ("at_top", ctypes.c_void_p),
        ("start", ctypes.c_int64),
        ("softcap", ctypes.c_double),
    )


class FlatTarget(NamedTuple):
    """Each row's target in the kernel's types.

    Where the label's mass replaces what the back gives, the target is one label and the rest: it has one back, whose u
    is float64. Any other target is what ``kernel/sfumato.h`` calls composed.
    """

    # every array contiguous and with one axis for the positions, (N·…), except for what is shaped like the logits: the
    # dense array, in their type or that of the arithmetic, and the support of a back that is alone. Masses are float64,
    # u and tables of composed terms in the type of the arithmetic
    terms: Terms
    valid: Tensor | None = None  # (N·…) bool contiguous, or None
    ignore_index: int | None = None  # the label of rows that do not count, or None
    # (K,) in the type of the arithmetic, which everything composed is multiplied by; or None
    weight: Tensor | None = None

    def watched(self) -> list[Tensor]:
        """Its arrays for ``save_for_backward``: see :func:`sfumato.targets.terms.watched`."""
        return watched(*self.terms.tensors(), self.valid, self.weight)


class WholeRows(NamedTuple):
    """What the gradient at some classes of a row needs to know of all its classes; each array is (N,)."""

    top_class: Tensor  # j, the class of the first maximum, int64
    top: Tensor  # z_j, like all that follow float64
    rest: Tensor  # s = Σ exp(z_k − z_j) over the other classes
    mass: Tensor  # what p_k = exp(z_k − z_j)/(1 + s) is multiplied by in the gradient: S = Σ q
    at_top: Tensor  # the gradient at j, (S − q_j) − S·(1 − p_j), which S·p_j − q_j has no digits of in a confident row

    def of(self, rows: slice) -> "WholeRows":
        """The same of some of the rows."""
        return WholeRows(*(each[rows] for each in self))


def takes(*tensors: Tensor) -> bool:
    """Whether the kernel is there and finds the values of some tensors in memory: no sign is still to be turned."""
    return status().library is not None and readable(*tensors) and not any(map(Tensor.is_neg, tensors))


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
    logits: Tensor,
    target: FlatTarget,
    loss: Tensor | None,
    grad: Tensor | None,
    *,
    scale: float = 1.0,
    row_scale: Tensor | None = None,
    mean: bool = False,
) -> int:
    """Fill each row's loss, and its gradient (S·p − q)·scale·row_scale; how many rows count."""
    if logits.shape.numel() == 0 and logits.shape[1] > 0:
        return 0
    if loss is None:
        loss = torch.empty(logits.shape.numel() // logits.shape[1], dtype=torch.float64)
    job = _filled(logits, target, grad, scale, row_scale)
    job.loss, job.mean = _doubles(loss), mean
    _call("sfumato_run", job)
    return job.counted


def add(each: Tensor) -> float:
    """The sum of float64 numbers, pairwise and on one thread: its bits do not depend on how many threads torch has.

    >>> add(torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64))
    0.6000000000000001
    """
    each = each.contiguous()
    library = status().library
    assert library is not None, "the caller asked status()"
    return library.sfumato_sum(_doubles(each), each.numel())


def measure(logits: Tensor, target: FlatTarget, *, start: int) -> tuple[Tensor, ...]:
    """What rows have at some classes: j, z_j, Σ_{k≠j} e^(z_k − z_j), Σ q_k (z_j − z_k), Σ q_k, Σ_{k≠j} q_k."""
    top_class = torch.empty(len(logits), dtype=torch.int64)
    top, rest, label_deficit, mass, others = torch.empty(5, len(logits), dtype=torch.float64).unbind()
    if len(logits):
        job = _filled(logits, target, None, 1.0, None)
        job.start, job.loss, job.top_class = start, _doubles(label_deficit), top_class.data_ptr()
        job.top, job.sum, job.mass, job.at_top = (_doubles(each) for each in (top, rest, mass, others))
        _call("sfumato_measure", job)
    return top_class, top, rest, label_deficit, mass, others


def slice_gradient(
    logits: Tensor,
    target: FlatTarget,
    whole: WholeRows,
    grad: Tensor,
    *,
    start: int,
    softcap: float,
    scale: float = 1.0,
    row_scale: Tensor | None = None,
) -> None:
    """Fill the gradient at consecutive classes of rows: (mass·exp(z − top)/(1 + rest) − q)·scale·row_scale."""
    if len(logits) == 0:
        return
    job = _filled(logits, target, grad, scale, row_scale)
    job.start, job.softcap, job.top_class = start, softcap, whole.top_class.data_ptr()
    job.top, job.sum, job.mass, job.at_top = (_doubles(each) for each in whole[1:])
    _call("sfumato_slice", job)


def _filled(logits: Tensor, target: FlatTarget, grad: Tensor | None, scale: float, row_scale: Tensor | None) -> Any:
    """A job with everything that both kinds of call need."""
    (outer, classes, inner), strides = _layout(logits)
    terms, valid, ignore_index, weight = target
    label = terms.label
    job = _Job(
        abi=ABI,
        type=_TYPES[logits.dtype],
        outer=outer,
        classes=classes,
        inner=inner,
        logit_strides=_Strides(*strides),
        logits=logits.data_ptr(),
        grad=_pointer(grad),
        grad_strides=_Strides(*(_layout(grad)[1] if grad is not None else (0, 0, 0))),
        ignore_index=ignore_index or 0,
        has_ignore=ignore_index is not None,
        valid=_pointer(valid),
        scale=scale,
        row_scale=_doubles(row_scale),
        threads=torch.get_num_threads(),
    )
    if label is not None:
        job.labels = label.labels.data_ptr()
        job.true_mass, job.true_rows = _either(label.mass)
    if label is not None and not label.added:
        (back,) = terms.backs
        job.rest_mass, job.rest_rows = _either(back.c)
        job.prior = _doubles(back.u)
    else:
        _compose(job, terms)
        job.weight = _pointer(weight)
    return job


def _call(function: str, job: Any) -> None:
    library = status().library
    assert library is not None, "the caller asked status()"
    error = getattr(library, function)(ctypes.byref(job))
    if error == _BAD_LABEL:
        raise IndexError(f"label {job.bad_label} of row {job.bad_row} is not a class")
    if error == NO_MEMORY:
        raise MemoryError("the kernel found no memory to work in")
    if error:
        raise ArgumentError(f"the kernel refused the call with code {error}")


def _compose(job: Any, terms: Terms) -> None:
    """The fields of a composed target."""
    if terms.dense is not None:
        x, scale, shift = terms.dense
        job.dense, job.dense_type, job.dense_strides = x.data_ptr(), _TYPES[x.dtype], _Strides(*_layout(x)[1])
        job.dense_scale, job.dense_scale_rows = _either(scale)
        job.dense_shift = shift
    for at, (c, u, row, support) in enumerate(terms.backs):
        number, rows = _either(c)
        job.back[at] = _Back(used=1, u=_pointer(u), index=_pointer(row), c=number, c_rows=rows)
        if support is not None:
            job.support, job.support_strides = support.data_ptr(), _Strides(*_layout(support)[1])
    if terms.entries is not None:
        classes, masses = terms.entries
        job.entries, job.entry_classes, job.entry_masses = classes.shape[1], classes.data_ptr(), _doubles(masses)


def _layout(tensor: Tensor) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    found = collapse(tensor)
    assert found is not None, "the caller asked collapse()"
    return found


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _either(value: float | Tensor) -> tuple[float, int | None]:
    """A number, or 0 and the address of one a row."""
    return (0.0, _doubles(value)) if isinstance(value, Tensor) else (value, None)


def _doubles(tensor: Tensor | None) -> int | None:
    """The address of what the kernel reads as float64: any other type would be read past its end."""
    if tensor is not None and (tensor.dtype != torch.float64 or not tensor.is_contiguous()):
        raise TypeError(f"the kernel reads contiguous float64 here, got {tensor.dtype}")
    return _pointer(tensor)
