"""The loss of rows on a GPU, in Triton. Logits are read once for the loss, and once more for the gradient.

The arithmetic is that of ``kernel/row.hpp``, in its letters. Rows are read in blocks, and a block that raises the row's
maximum brings down to it what was summed before. Sums beyond 16 terms, and whatever is one number a row, are float64.
"""

# pyright: basic, reportMissingImports=false, reportIndexIssue=false, reportCallIssue=false
# Triton's language is not Python's: its kernels are read by its own compiler.

from typing import Any

import torch
from torch import Tensor

from sfumato.arguments import Call
from sfumato.extras import framework_imports
from sfumato.kernel import job
from sfumato.loss import eager
from sfumato.loss.reduce import reduce, weigh

with framework_imports("SFUMATO_TRITON=1", "triton"):
    import triton
    import triton.language as tl

_LONGEST = 2048  # classes of a block


def takes(z: Tensor, target: job.FlatTarget) -> bool:
    """Whether these are rows whose classes lie side by side, towards a label and one rest for the others."""
    label = target.terms.label
    if label is None or label.added or z.numel() == 0:
        return False
    found = job.collapse(z)
    return found is not None and found[0][2] == 1 and found[1][1] == 1


def loss(z: Tensor, call: Call, target: job.FlatTarget) -> Tensor:
    """The reduced loss in float32, of a target that :func:`takes` allows.

    To find a label that is no class would cost a sync. The loss of its row is NaN, and so is all of its gradient.
    """
    each: Any = _Rows.apply(z, call, target)
    return reduce(call, each.reshape(call.target().shape), weigh(call, torch.float64)).to(call.dtype)


class _Rows(torch.autograd.Function):
    """Each row's loss, float64."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, call: Call, target: job.FlatTarget) -> Tensor:
        numbers = z.new_empty((5, len(z)), dtype=torch.float64)
        top_class = z.new_empty(len(z), dtype=torch.int64)
        given = _given(z, target)
        with torch.cuda.device_of(z):  # Triton launches on the current device, whosever the arrays are
            _measure[(len(z),)](z, *given, numbers, top_class, z.shape[1], z.stride(0), len(z), **_shape(z, target))
        ctx.save_for_backward(z, numbers, top_class, *target.watched())
        ctx.call, ctx.target, ctx.given = call, target, given
        return numbers[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        z, numbers, top_class, *_ = ctx.saved_tensors  # raises if they were changed since
        if torch.is_grad_enabled():
            rows = eager.shift(z, ctx.call)
            terms, weight = ctx.call.target().terms(rows.wide), eager.class_weight(ctx.call, rows.wide)
            each = eager.towards(rows, terms, weight).reshape(-1)
            return *torch.autograd.grad(each, z, grads[0].to(each.dtype), create_graph=True), None, None
        grad = torch.empty_like(z, memory_format=torch.contiguous_format)
        shape, factor = _shape(z, ctx.target), grads[0].contiguous()
        grid = (len(z), triton.cdiv(z.shape[1], shape["BLOCK"]))
        with torch.cuda.device_of(z):
            _gradient[grid](z, *ctx.given, numbers, top_class, z.shape[1], z.stride(0), len(z), factor, grad, **shape)
        return grad, None, None


def _given(z: Tensor, target: job.FlatTarget) -> tuple[Any, ...]:
    """What both kernels are told of the rows' targets: arrays, and how far apart the masses of two rows are."""
    label, back = target.terms.label, target.terms.backs[0]
    assert label is not None, "takes() asked"
    true, of_true = _masses(z, label.mass)
    rest, of_rest = _masses(z, back.c)
    u = None if back.u is None else back.u.to(torch.float32)
    ignored = -1 if target.ignore_index is None else target.ignore_index
    return label.labels, target.valid, true, rest, u, of_true, of_rest, ignored


def _masses(z: Tensor, mass: float | Tensor) -> tuple[Tensor, int]:
    """Masses of rows, float64. A number of Python's would get to a kernel as float32."""
    if isinstance(mass, Tensor):
        return mass, 1
    return torch.full((1,), mass, dtype=torch.float64, device=z.device), 0


def _shape(z: Tensor, target: job.FlatTarget) -> dict[str, Any]:
    block = min(_LONGEST, triton.next_power_of_2(z.shape[1]))
    options = {"num_warps": max(1, min(8, block // 256)), "enable_fp_fusion": True}
    return {"IGNORES": target.ignore_index is not None, "BLOCK": block, **options}


# ---- the kernels ----------------------------------------------------------------------------------------------------


@triton.jit
def _exp(d):
    """As in ``kernel/row.hpp``, not Triton's own, whose error grows with −d: within 1.25 ULP for d ≤ 0 or NaN."""
    y = d * 1.44269504 + 12582912.0
    n = y - 12582912.0
    r = d - n * 0.693359375
    r = r + n * 2.12194440e-4
    p = r * 0.0013814540579915 + 0.0083687454462051
    p = p * r + 0.0416683889925480
    p = p * r + 0.1666652113199234
    p = p * r + 0.4999999403953552
    p = p * r + 1.0
    p = p * r + 1.0
    scale = ((y.to(tl.int32, bitcast=True) << 23) + 1065353216).to(tl.float32, bitcast=True)
    return tl.where(d < -87.33654, 0.0, p * scale)


@triton.jit
def _sum(x, BLOCK: tl.constexpr):
    """Σ x of a block: at most 16 terms in float32, and what comes of them in float64."""
    if BLOCK > 16:
        x = tl.sum(tl.reshape(x, (BLOCK // 16, 16)), 1)
    return tl.sum(x.to(tl.float64), 0)


@triton.jit
def _row(labels, valid, true, rest, of_true, of_rest, ignored, IGNORES: tl.constexpr):
    """A row's label, the masses of it and of the rest, and whether the row counts."""
    row = tl.program_id(0).to(tl.int64)
    y = tl.load(labels + row)
    counts = row >= 0
    if valid is not None:
        counts = tl.load(valid + row) != 0
    if IGNORES:
        counts = counts & (y != ignored)
    return row, y, tl.load(true + row * of_true), tl.load(rest + row * of_rest), counts


@triton.jit
def _measure(
    z, labels, valid, true, rest, u, of_true, of_rest, ignored, numbers, top_class, K, stride, N,
    IGNORES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A row's loss, and what its gradient is made of: z_j, S/(1 + s), and the gradients at j and at y."""
    row, y, q_y, rest, counts = _row(labels, valid, true, rest, of_true, of_rest, ignored, IGNORES)
    lowest = float("-inf")
    known = counts & (y >= 0) & (y < K)
    j = tl.full([], -1, tl.int64)
    top = tl.full([], lowest, tl.float32)
    s = tl.full([], 0.0, tl.float64)  # Σ exp(d) of all but j
    of_d = tl.full([], 0.0, tl.float64)  # Σ u·d of all but y
    u_top = tl.full([], 0.0, tl.float64)  # u at j, 0 where that is y
    u_others = tl.full([], 0.0, tl.float64)  # Σ u of the others but y
    for first in range(0, tl.where(counts, K, 0), BLOCK):
        k = first + tl.arange(0, BLOCK)
        x = tl.load(z + row * stride + k, mask=k < K, other=lowest).to(tl.float32)
        highest, at = tl.max(x, 0, return_indices=True)
        rises = highest > top
        # Where all is −∞ until now, sums are taken against 0.
        before = tl.where(top == lowest, 0.0, top)
        after = tl.where(rises, highest, before)
        if rises:
            s = (s + tl.where(top == lowest, 0.0, 1.0)) * tl.exp((top - after).to(tl.float64))
            if u is None:
                u_others = first - tl.where((y >= 0) & (y < first), 1.0, 0.0).to(tl.float64)
            of_d -= (after - before).to(tl.float64) * (u_others + u_top)
            u_others += u_top
            u_top = u_top * 0.0
            top = highest
            j = (first + at).to(tl.int64)
        d = x - after
        in_s = (k < K) & (k != tl.where(rises, first + at, -1))
        in_rest = (k < K) & (k != y)
        s += _sum(tl.where(in_s, _exp(d), 0.0), BLOCK)
        if u is None:
            of_d += _sum(tl.where(in_rest, d, 0.0), BLOCK)
        else:
            v = tl.load(u + k, mask=in_rest, other=0.0)
            of_d += _sum(tl.where(v == 0.0, 0.0, v * d), BLOCK)  # no mass costs nothing: 0·inf is 0
            u_others += _sum(tl.where(in_s, v, 0.0), BLOCK)
            u_top += _sum(tl.where(in_s, 0.0, v), BLOCK)
    if u is None:
        u_top = tl.where(j == y, 0.0, 1.0).to(tl.float64)
        u_others = K - 1 - u_top

    d_y = tl.load(z + row * stride + y, mask=known, other=0.0).to(tl.float32) - top
    s += (top - top).to(tl.float64)  # NaN where the maximum is infinite
    s = tl.where(known, s, float("nan"))
    w = 1.0 + s
    lse = tl.log(w) + (s - (w - 1.0)) / w
    total = q_y + rest * (u_others + u_top)
    of_label = tl.where(q_y == 0.0, 0.0, q_y * d_y.to(tl.float64))
    of_others = tl.where(rest == 0.0, 0.0, rest * of_d)
    at_top = rest * u_others + tl.where(j == y, 0.0, q_y) - total * (s / w)
    tl.store(numbers + row, tl.where(counts, total * lse - of_label - of_others, 0.0))
    tl.store(numbers + N + row, top.to(tl.float64))
    tl.store(numbers + 2 * N + row, total / w)
    tl.store(numbers + 3 * N + row, at_top)
    tl.store(numbers + 4 * N + row, total * _exp(d_y).to(tl.float64) / w - q_y)
    tl.store(top_class + row, j)


@triton.jit
def _gradient(
    z, labels, valid, true, rest, u, of_true, of_rest, ignored, numbers, top_class, K, stride, N, factor, grad,
    IGNORES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradient of some of a row's classes: (slope·exp(d) − rest·u)·factor, and what is known at j and at y."""
    row, y, _, rest, counts = _row(labels, valid, true, rest, of_true, of_rest, ignored, IGNORES)
    k = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    factor = tl.load(factor + row)
    top = tl.load(numbers + N + row).to(tl.float32)
    slope = (tl.load(numbers + 2 * N + row) * factor).to(tl.float32)
    of_rest = (rest * factor).to(tl.float32)
    x = tl.load(z + row * stride + k, mask=k < K, other=0.0).to(tl.float32)
    if u is not None:
        of_rest = of_rest * tl.load(u + k, mask=k < K, other=0.0)
    g = _exp(x - top) * slope - of_rest
    g = tl.where(k == y, (tl.load(numbers + 4 * N + row) * factor).to(tl.float32), g)
    g = tl.where(k == tl.load(top_class + row), (tl.load(numbers + 3 * N + row) * factor).to(tl.float32), g)
    tl.store(grad + row * K + k, tl.where(counts, g, 0.0).to(grad.dtype.element_ty), mask=k < K)
