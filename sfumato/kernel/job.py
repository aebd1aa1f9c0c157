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
_STRUCTURES: dict[str, Any] = {"strides": _Strides}


def _fields(declared: str) -> list[tuple[str, Any]]:
    """Fields of a structure from lines of ``kernel/sfumato.h``: a type, then the names that have it."""
    lines = map(str.split, declared.strip().splitlines())
    return [(name, _STRUCTURES.get(kind) or getattr(ctypes, f"c_{kind}")) for kind, *names in lines for name in names]


class _Back(ctypes.Structure):
    """``sfumato_back``, field by field."""

    _fields_ = _fields("int32 used\n void_p u index\n double c\n void_p c_rows")


_STRUCTURES["backs"] = _Back * 2


class _Job(ctypes.Structure):
    """``sfumato_job``, field by field."""

    _fields_ = _fields("""
        int32   abi type
        int64   outer classes inner
        strides logit_strides
        void_p  logits grad
        strides grad_strides
        void_p  labels
        int64   ignore_index
        int32   has_ignore
        double  true_mass rest_mass
        void_p  true_rows rest_rows prior dense
        int32   dense_type
        strides dense_strides
        double  dense_scale dense_shift
        void_p  dense_scale_rows
        backs   back
        void_p  support
        strides support_strides
        void_p  weight
        int64   entries
        void_p  entry_classes entry_masses valid
        double  scale
        int32   mean
        void_p  row_scale loss
        int32   threads
        int64   counted bad_row bad_label
        void_p  top_class top sum mass at_top
        int64   start
        double  softcap
    """)


class FlatTarget(NamedTuple):
    """Each row's target in the kernel's types.

    Where the label's mass replaces what the back gives, the target is one label and the rest: it has one back, whose u
    is float64. Any other target is what ``kernel/sfumato.h`` calls composed.
    """

    # Contiguous arrays with one axis for the positions, (N·…), except the dense array and the support of a back that is
    # alone, which are shaped like the logits. Masses are float64, u and tables of composed terms in the type of the
    # arithmetic, the dense array in that or in the type of the logits.
    terms: Terms
    valid: Tensor | None = None  # (N·…) bool contiguous, or None
    ignore_index: int | None = None  # the label of rows that do not count, or None
    weight: Tensor | None = None  # (K,) in the type of the arithmetic, which everything composed is multiplied by

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
        job = _filled(logits, target)
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
    row_scale: Tensor | None = None,
) -> None:
    """Fill the gradient at consecutive classes of rows: (mass·exp(z − top)/(1 + rest) − q)·row_scale."""
    if len(logits) == 0:
        return
    job = _filled(logits, target, grad, row_scale=row_scale)
    job.start, job.softcap, job.top_class = start, softcap, whole.top_class.data_ptr()
    job.top, job.sum, job.mass, job.at_top = (_doubles(each) for each in whole[1:])
    _call("sfumato_slice", job)


def _filled(
    logits: Tensor,
    target: FlatTarget,
    grad: Tensor | None = None,
    scale: float = 1.0,
    row_scale: Tensor | None = None,
) -> Any:
    """A job with everything that all kinds of call need."""
    (dense, backs, entries, label), valid, ignore_index, weight = target
    job = _Job(abi=ABI, type=_TYPES[logits.dtype], scale=scale, threads=torch.get_num_threads())
    (job.outer, job.classes, job.inner), strides = _layout(logits)
    job.logits, job.logit_strides = logits.data_ptr(), _Strides(*strides)
    if grad is not None:
        job.grad, job.grad_strides = grad.data_ptr(), _Strides(*_layout(grad)[1])
    if ignore_index is not None:
        job.ignore_index, job.has_ignore = ignore_index, True
    job.valid, job.row_scale = _pointer(valid), _doubles(row_scale)
    if label is not None:
        job.labels = label.labels.data_ptr()
        job.true_mass, job.true_rows = _either(label.mass)
    if label is not None and not label.added:
        (back,) = backs
        job.rest_mass, job.rest_rows = _either(back.c)
        job.prior = _doubles(back.u)
        return job
    job.weight = _pointer(weight)
    if dense is not None:
        job.dense, job.dense_type, job.dense_shift = dense.x.data_ptr(), _TYPES[dense.x.dtype], dense.shift
        job.dense_strides = _Strides(*_layout(dense.x)[1])
        job.dense_scale, job.dense_scale_rows = _either(dense.scale)
    for at, (c, u, row, support) in enumerate(backs):
        number, rows = _either(c)
        job.back[at] = _Back(used=1, u=_pointer(u), index=_pointer(row), c=number, c_rows=rows)
        if support is not None:
            job.support, job.support_strides = support.data_ptr(), _Strides(*_layout(support)[1])
    if entries is not None:
        job.entries, job.entry_classes = entries.classes.shape[1], entries.classes.data_ptr()
        job.entry_masses = _doubles(entries.masses)
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
