"""JAX: the loss of each row, for jit, vmap and grad, from class indices without an array of one-hot rows.

Every term is the log of a sum of positive numbers, with the largest logit left out of the sum, so that a row that is
right by far keeps its digits.
"""

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sfumato.adapters._shared import check_smoothing, masses, scale_and_floor
from sfumato.extras import framework_imports
from sfumato.theory import Over

with framework_imports("sfumato.adapters.jax", "jax"):
    import jax
    import jax.numpy as jnp
    from jax.core import Tracer

if TYPE_CHECKING:
    from jax.typing import ArrayLike


def cross_entropy(
    logits: "ArrayLike",
    labels: "ArrayLike",
    *,
    label_smoothing: "float | ArrayLike" = 0.0,
    over: Over = "all",
    ignore_index: int = -100,
) -> jax.Array:
    r"""The loss of each row, (…), as optax gives it: nothing is reduced. In float32 or the wider type of the logits.

    .. math:: L = \sum_k q_k\,(\mathrm{lse}(z) - z_k)
              = (q_y - r)\,(\mathrm{lse}(z) - z_y) + r \sum_k (\mathrm{lse}(z) - z_k)

    with q_y the mass of the label and r that of each other class.

    ``logits`` are z, (…, K) with the classes last; float16 and bfloat16 are computed in float32. ``labels`` are class
    indices (…), or probabilities (…, K), which are smoothed as well. ``label_smoothing`` is ε in [0, 1]: a number, or
    an array that broadcasts with (…) and may be traced, as in a schedule, and is then not checked. ``over`` is where ε
    goes: ``"all"`` K classes, as in optax, or the K−1 ``"others"``; static under jit. The loss and the gradient of rows
    of ``ignore_index`` are 0: divide a sum by the number of the others for a mean.

    ValueError: a strength outside [0, 1], an unknown ``over``, or shapes that do not fit. IndexError: a label that is
    no class; names the first. Under jit and vmap nobody can look at labels: there the loss of such a row is NaN.
    TypeError: labels that are neither integers nor floating.

    >>> logits, labels = jnp.array([[2.0, 0.0, 0.0]]), jnp.array([0])
    >>> round(float(cross_entropy(logits, labels, label_smoothing=0.1)[0]), 4)  # as torch and optax
    0.3729
    >>> round(float(cross_entropy(logits, labels, label_smoothing=0.1, over="others")[0]), 4)  # as the note
    0.4395

    Source: the note, eq. 1 and 4. The definition is :func:`sfumato.reference.cross_entropy`.
    """
    z, y = jnp.asarray(logits), jnp.asarray(labels)
    hard = jnp.issubdtype(y.dtype, jnp.integer)
    _check(z, y, label_smoothing, over, ignore_index, hard=hard)
    z = z.astype(jnp.promote_types(z.dtype, jnp.float32))
    eps: Any = label_smoothing if _is_number(label_smoothing) else jnp.asarray(label_smoothing, z.dtype)
    counts = y != ignore_index
    if hard:
        z = jnp.where(counts[..., None], z, 0.0)  # what an ignored row holds, NaN included, reaches no gradient
        y = jnp.where(counts, y, 0)
    top = jax.lax.stop_gradient(z.max(-1))
    log_total, deficits = _sums(z)
    if hard:
        loss = _of_labels(_entry(z, y) - top, log_total, deficits, (y >= 0) & (y < z.shape[-1]), z.shape[-1], eps, over)
        return jnp.where(counts, loss, 0.0)
    return _of_probabilities(z - top[..., None], log_total, y, eps, over)


@jax.custom_jvp
def _sums(z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """lse(z) − max z and Σ (max z − z), each (…), from one reading of z; the largest stays out of the sum of the first.

    XLA computes this and its derivatives without an array of the size of z.
    """
    top = z.max(-1, keepdims=True)
    at_top = z == top
    terms = (jnp.where(at_top, 0.0, jnp.exp(z - top)), at_top.astype(z.dtype), top - z)

    def add(left: Any, right: Any) -> tuple[Any, ...]:
        return tuple(a + b for a, b in zip(left, right, strict=True))

    rest, ties, deficits = jax.lax.reduce(terms, (jnp.zeros((), z.dtype),) * 3, add, (z.ndim - 1,))
    return jnp.log1p(rest + (ties - 1)), deficits


@_sums.defjvp
def _derivative_of_sums(primals: Any, tangents: Any) -> Any:
    (z,), (dz,) = primals, tangents
    log_total, deficits = _sums(z)
    p = jnp.exp(z - jax.lax.stop_gradient(z.max(-1, keepdims=True)) - log_total[..., None])
    return (log_total, deficits), ((p * dz).sum(-1), -dz.sum(-1))


@jax.custom_jvp
def _entry(z: jax.Array, y: jax.Array) -> jax.Array:
    """z_y of each row; its derivative is a mask, because that of a gather is an array of the size of z."""
    return jnp.take_along_axis(z, y[..., None], -1, mode="clip")[..., 0]


@_entry.defjvp
def _derivative_of_entry(primals: Any, tangents: Any) -> Any:
    (z, y), (dz, _) = primals, tangents
    return _entry(z, y), jnp.where(jnp.arange(z.shape[-1]) == y[..., None], dz, 0.0).sum(-1)


def _of_labels(
    own: jax.Array, log_total: jax.Array, deficits: jax.Array, known: jax.Array, classes: int, eps: Any, over: Over
) -> jax.Array:
    nll = jnp.where(known, log_total - own, jnp.nan)
    if _is_number(eps) and eps == 0:
        return nll  # a class at −∞ costs nothing where it has no mass
    true, other = masses(eps, classes, over)
    spread = classes * log_total + deficits
    spread = jnp.where((other == 0) & jnp.isinf(spread), 0.0, spread)  # nor where an array of strengths is 0
    lead = true - other
    return jnp.where((lead == 0) & jnp.isinf(nll), 0.0, lead * nll) + other * spread


def _of_probabilities(below: jax.Array, log_total: jax.Array, q: jax.Array, eps: Any, over: Over) -> jax.Array:
    scale, floor = scale_and_floor(eps, below.shape[-1], over)
    scale, floor = (each if _is_number(each) else each[..., None] for each in (scale, floor))
    q = scale * q.astype(below.dtype) + floor
    surprisal = log_total[..., None] - below
    # Where no mass meets no probability, and there alone, so that a probability of 0 keeps its derivative.
    return (q * jnp.where((q == 0) & jnp.isinf(surprisal), 0.0, surprisal)).sum(-1)


def _check(z: jax.Array, y: jax.Array, eps: Any, over: Over, ignore_index: int, *, hard: bool) -> None:
    """Refuse what does not fit, and what is out of range where it can be looked at."""
    check_smoothing(eps if _is_number(eps) else 0.0, over)
    if not jnp.issubdtype(z.dtype, jnp.floating) or z.ndim < 1 or z.shape[-1] < 2:
        raise ValueError(f"logits must be floating and (…, K) with at least 2 classes, got {z.dtype} {z.shape}")
    if not hard and not jnp.issubdtype(y.dtype, jnp.floating):
        raise TypeError(f"labels must be integers (…) or probabilities (…, K), got {y.dtype}")
    wanted = z.shape[:-1] if hard else z.shape
    if y.shape != wanted:
        what = "class indices" if hard else "probabilities"
        raise ValueError(f"labels must be {what} {wanted} for logits {z.shape}, got {y.shape}")
    if not _is_number(eps) and not _broadcasts(np.shape(eps), z.shape[:-1]):
        rows = z.shape[:-1]
        raise ValueError(f"label_smoothing must be a number or broadcast with the rows {rows}, got {np.shape(eps)}")
    if not _is_number(eps) and _can_look(eps):
        strengths = np.ravel(np.asarray(eps))
        for strength in strengths[~((strengths >= 0) & (strengths <= 1))][:1]:
            check_smoothing(float(strength), over)
    if hard and _can_look(y):
        labels = np.atleast_1d(np.asarray(y))
        for at in np.argwhere(((labels < 0) | (labels >= z.shape[-1])) & (labels != ignore_index))[:1]:
            where = f"row {at[0]}" if len(at) == 1 else f"position {tuple(int(axis) for axis in at)}"
            raise IndexError(
                f"label {labels[tuple(at)]} in {where} is not a class: logits have {z.shape[-1]} classes "
                f"(0 to {z.shape[-1] - 1})"
            )


def _broadcasts(shape: tuple[int, ...], rows: tuple[int, ...]) -> bool:
    """Whether an array of this shape broadcasts with the rows and leaves them as many as they are."""
    ends = zip(reversed(shape), reversed(rows), strict=False)
    return len(shape) <= len(rows) and all(mine in (1, theirs) for mine, theirs in ends)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _can_look(value: Any) -> bool:
    return not isinstance(cast("object", value), Tracer)
