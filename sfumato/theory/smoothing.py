"""The closed forms: optimum, gap, floor, conversion and time of a smoothed cross entropy.

With the other logits equal, everything depends on the gap d = z_true − z_other, and the target is one pair. ``over``
says where the strength ε goes: over the K−1 ``"others"``, q_true = 1 − ε and q_other = ε/(K−1) (the note, eq. 4;
fairseq; Tensor2Tensor), or over ``"all"`` K, q_true = 1 − ε + ε/K and q_other = ε/K (Szegedy 2016; torch; timm; Keras).

Every function takes ε in [0, 1] (``eps``), K from 2 (``num_classes``), gaps and times in nats and in steps of size
``lr`` above 0. They may be numbers, numpy arrays or torch tensors that broadcast; the same kind comes back, computed in
float64 and not differentiable. A ValueError names the first value out of range or NaN, or an unknown ``over``.
Only numpy is needed, so that ``sfumato explain`` answers before torch could have been loaded.
"""

import sys
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Over: TypeAlias = Literal["others", "all"]
"""Where the strength ε is spread: over the K−1 ``"others"`` or over ``"all"`` K classes."""

PairKind: TypeAlias = Literal["conservative", "robust"]
"""How a loss of pairs allows for wrong labels: ``"conservative"`` smooths, ``"robust"`` corrects on average."""

ArrayT = TypeVar("ArrayT", float, NDArray[np.floating[Any]], "Tensor")
_Array: TypeAlias = NDArray[np.float64]


def optimal_logits(eps: ArrayT, num_classes: int | ArrayT, *, over: Over, alpha: float = 0.0) -> tuple[ArrayT, ArrayT]:
    r"""Logits at which a smoothed cross entropy is smallest, ``(true, other)`` in nats.

    .. math:: z^*_{true} = d^* + \alpha, \qquad z^*_{other} = \alpha

    ``alpha`` is the free constant α: softmax does not see a shift of all logits. At ε = 0 the first is ``inf``.

    >>> [round(z, 4) for z in optimal_logits(0.1, 10, over="others", alpha=1.0)]
    [5.3944, 1.0]

    Source: the note, eq. 7. Arguments and errors: see the module, as for every function here.
    """
    back, e, k = _arrays(eps, num_classes)
    gap = _gap(_checked_eps(e), _checked_classes(k), over)
    return back(gap + alpha), back(np.full_like(gap, alpha))


def optimal_gap(eps: ArrayT, num_classes: int | ArrayT, *, over: Over) -> ArrayT:
    r"""Logit gap in nats at which a smoothed cross entropy is smallest.

    .. math:: d^* = \log\frac{(K-1)(1-\varepsilon)}{\varepsilon} \quad\text{(others)}, \qquad
              d^* = \log\Bigl(1 + \frac{K(1-\varepsilon)}{\varepsilon}\Bigr) \quad\text{(all)}

    ε = 0 gives ``inf``: one-hot has no finite optimum. Over the others it is negative beyond (K−1)/K, and ``-inf`` at
    1.

    >>> round(optimal_gap(0.1, 10, over="others"), 4), round(optimal_gap(0.1, 10, over="all"), 4)
    (4.3944, 4.5109)

    Source: the note, eq. 7; Szegedy et al. 2016, section 7, for ``"all"``. See also :func:`eps_for_gap`, its inverse.
    """
    back, e, k = _arrays(eps, num_classes)
    return back(_gap(_checked_eps(e), _checked_classes(k), over))


def loss_floor(eps: ArrayT, num_classes: int | ArrayT, *, over: Over) -> ArrayT:
    r"""The smallest value in nats that a smoothed cross entropy can take: the entropy of its target.

    .. math:: H(q) = -q_{true}\log q_{true} - (K-1)\,q_{other}\log q_{other}

    A training loss minus its floor is KL(q‖p) and can be compared between strengths.

    >>> round(loss_floor(0.1, 10, over="others"), 4), round(loss_floor(0.1, 10, over="all"), 4)
    (0.5448, 0.5003)

    Source: Gibbs' inequality; for ``"others"`` it is h(ε) + ε log(K−1), h the binary entropy.
    """
    back, e, k = _arrays(eps, num_classes)
    e, k = _checked_eps(e), _checked_classes(k)
    wrong = _wrong_mass(e, k, over)
    with np.errstate(divide="ignore", invalid="ignore"):
        true_part = np.where(wrong < 1, -(1 - wrong) * np.log1p(-wrong), 0.0)
        other_part = np.where(wrong > 0, -wrong * (np.log(wrong) - np.log(k - 1)), 0.0)
    return back(true_part + other_part)


def eps_for_gap(gap: ArrayT, num_classes: int | ArrayT, *, over: Over) -> ArrayT:
    r"""Strength whose optimum has a wanted gap d = z_true − z_other: the inverse of :func:`optimal_gap`.

    .. math:: \varepsilon = \frac{K-1}{K-1+e^{d}} \quad\text{(others)}, \qquad
              \varepsilon = \frac{K}{K-1+e^{d}} \quad\text{(all)}

    ``inf`` gives 0. A negative gap is a ValueError with ``"all"``, since no strength in [0, 1] gives one.

    >>> round(eps_for_gap(4.394449154672439, 10, over="others"), 12)
    0.1

    Source: the note, eq. 7, solved for ε.
    """
    back, d, k = _arrays(gap, num_classes)
    k = _checked_classes(k)
    check_over(over)
    _refuse(np.isnan(d), d, "gap must be a number, got {}")
    # e^−d is above/below, and above is taken in two steps: it is subnormal where (K−1)e^−d is none.
    half, below = np.exp(-np.maximum(d, 0) / 2), np.exp(np.minimum(d, 0))
    odds = (k - 1) * half * half
    if over == "others":
        return back(odds / (odds + below))
    _refuse(d < 0, d, 'gap must be at least 0 with over="all", got {}; no strength in [0, 1] has a negative gap')
    return back(k * half * half / (odds + 1))


def convert_eps(eps: ArrayT, num_classes: int | ArrayT, *, frm: Over, to: Over) -> ArrayT:
    r"""The same target in the other convention: the loss, the gradient and the optimum are the same.

    .. math:: \varepsilon_{others} = \varepsilon_{all}\,\frac{K-1}{K}

    A ValueError refuses an ``"others"`` strength above (K−1)/K, too. Its target puts less mass on the true class than
    on each other class, which no ``"all"`` strength up to 1 does.

    >>> round(convert_eps(0.1, 10, frm="others", to="all"), 6)
    0.111111

    Source: equate the two targets' q_other.
    """
    back, e, k = _arrays(eps, num_classes)
    e, k = _checked_eps(e), _checked_classes(k)
    check_over(frm)
    check_over(to)
    if frm == to:
        return back(e)
    if to == "others":
        return back(e * (k - 1) / k)
    # A strength that is a few units of its type above (K−1)/K was rounded: 1 is meant, which is no error.
    limit = (k - 1) / k
    _refuse(
        e > limit * (1 + 4 * _unit(eps)),
        e,
        'eps {} over "others" is above (K-1)/K: its target favours the wrong classes, and no strength over "all" does',
    )
    return back(np.minimum(e / limit, 1.0))


def time_to_gap(gap: ArrayT, num_classes: int | ArrayT, *, eps: float, over: Over, lr: float = 1.0) -> ArrayT:
    r"""Time in steps of size ``lr`` that gradient flow on free logits needs from gap 0 to a wanted gap d.

    With :math:`q = q_{true}`, :math:`\delta = 1-q` and learning rate η,

    .. math:: t(d) = \frac{K-1}{\eta K q}\Bigl[d - \frac1\delta
              \log\Bigl(1-\frac{\delta\,(e^d-1)}{qK-1}\Bigr)\Bigr],
              \qquad t(d) = \frac{e^d - 1 + (K-1)d}{\eta K} \quad\text{at } \varepsilon = 0.

    One-hot needs exponentially long for a linear gain, since its gradient fades like e^−d; a smoothed target gets
    within a fixed distance of its finite optimum in time that grows like the logarithm of the precision. ``eps`` is one
    number. A gap at or beyond the optimum, or on the other side of 0, is never reached: ``inf``.

    >>> [round(time_to_gap(d, 10, eps=0.0, over="others"), 1) for d in (6.0, 8.0, 10.0)]
    [45.6, 305.2, 2211.5]

    Source: separate d' = ηK/(K−1)·(q − p_true(d)) and integrate. See also :func:`gap_after_time`, its inverse.
    """
    back, d, k = _arrays(gap, num_classes)
    k = _checked_classes(k)
    _refuse(np.isnan(d), d, "gap must be a number, got {}")
    return back(_time(d, k, _checked_eps(np.full_like(d, eps)), over, _checked_lr(lr)))


def gap_after_time(time: ArrayT, num_classes: int | ArrayT, *, eps: float, over: Over, lr: float = 1.0) -> ArrayT:
    r"""Gap in nats that gradient flow on free logits has reached after a time t ≥ 0, from gap 0.

    The solution d of :math:`t(d) = t`, see :func:`time_to_gap`. One-hot has
    :math:`e^d + (K-1)d = 1 + \eta K t`, so d grows like log(ηKt) without end; a smoothed target tends to its optimum,
    which ``inf`` gives. ``eps`` is one number. The result is accurate to a few units of float64.

    >>> round(gap_after_time(2211.5, 10, eps=0.0, over="others"), 3)
    10.0

    Source: as :func:`time_to_gap`.
    """
    back, t, k = _arrays(time, num_classes)
    k = _checked_classes(k)
    _refuse(~(t >= 0), t, "time must be at least 0, got {}")
    lr = _checked_lr(lr)
    e = _checked_eps(np.full_like(t, eps))
    optimum = _gap(e, k, over)
    forever = np.isinf(t)
    finite = np.where(forever, 0.0, t)
    # One-hot is the fastest target of all, and fastest at gap 0, with speed η; its e^d ≤ 1 + ηKt ends below e^2200.
    with np.errstate(over="ignore"):
        fastest = np.minimum(lr * finite, 2200.0)
    low, high = np.zeros_like(t), np.minimum(np.abs(optimum), fastest)
    sign = np.sign(optimum)
    for _ in range(100):  # bisection to the last bit; Newton's steps could overflow e^d
        middle = low + (high - low) / 2
        too_far = _time(sign * middle, k, e, over, lr) > finite
        low, high = np.where(too_far, low, middle), np.where(too_far, middle, high)
    return back(np.where(forever, optimum, sign * low + 0.0))


def optimal_margin(eps: ArrayT, *, kind: PairKind = "conservative") -> ArrayT:
    r"""Margin in nats at which the loss of preference pairs is smallest, where a share ε is labelled the wrong way
    round.

    .. math:: m^* = \log\frac{1-\varepsilon}{\varepsilon} \quad\text{(conservative)}, \qquad
              m^* = \infty \quad\text{(robust)}

    ε is in [0, 1], or in [0, ½) with ``kind="robust"``; 0 gives ``inf``. A ValueError names the first that is not.

    >>> round(optimal_margin(0.1), 4), optimal_margin(0.1, kind="robust")
    (2.1972, inf)

    Source: :func:`optimal_gap` at K = 2 over the others; the slope of the robust loss is below 0 everywhere.
    """
    back, e, _ = _arrays(eps, 2)
    _check_pairs(e, kind)
    return back(_gap(e, np.full_like(e, 2.0), "others") if kind == "conservative" else np.full_like(e, np.inf))


def pair_floor(eps: ArrayT, *, kind: PairKind = "conservative") -> ArrayT:
    r"""The smallest value in nats that the loss of preference pairs can take; arguments as of :func:`optimal_margin`.

    .. math:: h(\varepsilon) = -(1-\varepsilon)\log(1-\varepsilon) - \varepsilon\log\varepsilon
              \quad\text{(conservative)}, \qquad -\infty \quad\text{(robust)}

    >>> round(pair_floor(0.1), 4), pair_floor(0.1, kind="robust"), pair_floor(0.0, kind="robust")
    (0.3251, -inf, 0.0)

    Source: :func:`loss_floor` at K = 2 over the others; the robust loss falls like −εm/(1−2ε).
    """
    back, e, _ = _arrays(eps, 2)
    _check_pairs(e, kind)
    if kind == "robust":
        return back(np.where(e > 0, -np.inf, 0.0))
    return back(np.asarray(loss_floor(e, 2, over="others")))


def _check_pairs(e: _Array, kind: str) -> None:
    if kind not in ("conservative", "robust"):
        raise ValueError(f'kind must be "conservative" or "robust", got {kind!r}')
    _checked_eps(e)
    if kind == "robust":
        _refuse(e >= 0.5, e, 'eps must be below 0.5 with kind="robust", got {}: half of all labels wrong tell nothing')


def _gap(e: _Array, k: _Array, over: Over) -> _Array:
    check_over(over)
    with np.errstate(divide="ignore"):
        if over == "others":
            return np.log(k - 1) + np.log1p(-e) - np.log(e)
        return np.logaddexp(0.0, np.log(k) + np.log1p(-e) - np.log(e))  # K(1−ε)/ε itself overflows at tiny ε


def _wrong_mass(e: _Array, k: _Array, over: Over) -> _Array:
    """δ = 1 − q_true: ε over the others, ε(K−1)/K over all."""
    check_over(over)
    return e if over == "others" else e * (k - 1) / k


def _time(d: _Array, k: _Array, e: _Array, over: Over, lr: float) -> _Array:
    """t(d), δ = 1 − q, in two equal forms: towards a positive optimum δ may vanish, towards a negative optimum q.

    Above 0 it is d − g·log1p(−δg)/(δg) over q with g = (e^d − 1)/(qK − 1); below 0 it is −d − g·log1p(−qg)/(qg) over δ
    with g = (K−1)(e^−d − 1)/(1 − qK). Each runs smoothly into its limit, where g stands alone, as δ or q goes to 0.
    """
    wrong = _wrong_mass(e, k, over)
    true = 1 - e + e / k if over == "all" else 1 - e  # not 1 − δ, whose digits are lost for "all" near ε = 1
    optimum, up = _gap(e, k, over), d > 0
    above_uniform = (1 - e) * (k - 1) if over == "all" else (1 - e) * k - 1  # qK − 1, without q's rounding for "all"
    small, large = np.where(up, wrong, true), np.where(up, true, wrong)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        pace = (k - 1) / k / large / lr
        # e^|d| − 1 is 2·sinh(|d|/2)·e^(|d|/2): multiplied in two steps, it overflows where the time does.
        half = np.exp(np.abs(d) / 2)
        growth = np.where(up, 2, 2 * (k - 1)) * np.sinh(np.abs(d) / 2) / np.abs(above_uniform)
        x = small * growth * half
        t = pace * np.abs(d) + pace * growth * half * np.where(x > 0, -np.log1p(-x) / x, 1.0)
    # The gap is compared with the optimum, since x is rounded and may be below 1 at a gap that is never reached.
    reachable = np.where(up, d < optimum, d > optimum) & (x < 1)
    return np.where(d == 0, 0.0, np.where(reachable, t, np.inf))


def _arrays(first: ArrayT, second: int | ArrayT) -> tuple[Any, _Array, _Array]:
    """A function that turns a result back into the kind of the arguments, and these as float64 arrays of one shape."""
    kinds = tuple(np.asarray(each) if isinstance(each, (list, tuple)) else each for each in (first, second))
    torch: Any = sys.modules.get("torch")
    tensor: Any = next((each for each in kinds if torch is not None and isinstance(each, torch.Tensor)), None)
    a, b = np.broadcast_arrays(*(_to_numpy(each) for each in kinds))
    a, b = a.astype(np.float64), b.astype(np.float64)

    arrays = [each for each in kinds if isinstance(each, np.ndarray)]
    floating: Any = float
    if torch is not None and tensor is not None:
        floating = tensor.dtype if tensor.is_floating_point() else torch.get_default_dtype()
    elif arrays and np.issubdtype(np.result_type(*arrays), np.floating):
        floating = np.result_type(*arrays)

    def back(result: _Array) -> Any:
        if tensor is not None:
            return tensor.detach().new_tensor(result, dtype=floating)
        return np.asarray(result, dtype=floating) if arrays else float(result)

    return back, a, b


def _unit(value: Any) -> float:
    """The relative resolution of a number, an array or a tensor."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return float(torch.finfo(value.dtype).eps) if value.is_floating_point() else 0.0
    dtype = np.asarray(value).dtype
    return float(np.finfo(dtype).eps) if np.issubdtype(dtype, np.floating) else 0.0


def _to_numpy(value: Any) -> NDArray[Any]:
    detach = getattr(value, "detach", None)
    return np.asarray(value if detach is None else detach().cpu().double().numpy())


def _refuse(bad: NDArray[np.bool_], values: _Array, message: str) -> None:
    if np.any(bad):
        raise ValueError(message.format(f"{np.broadcast_to(values, bad.shape)[bad].flat[0]:g}"))


def check_over(over: str) -> None:
    """Refuse an unknown convention."""
    if over not in ("others", "all"):
        raise ValueError(f'over must be "others" (the K-1 wrong classes) or "all" (all K), got {over!r}')


def class_count(num_classes: float) -> int:
    """K as an int; all but a whole number from 2 is refused."""
    return int(_checked_classes(np.asarray(num_classes, dtype=np.float64)))


def _checked_eps(e: _Array) -> _Array:
    _refuse(~((e >= 0) & (e <= 1)), e, "eps must be in [0, 1], got {}")
    return e


def _checked_classes(k: _Array) -> _Array:
    _refuse(~((k >= 2) & (k == np.floor(k)) & np.isfinite(k)), k, "num_classes must be a whole number from 2, got {}")
    return k


def _checked_lr(lr: float) -> float:
    if not (lr > 0 and np.isfinite(lr)):
        raise ValueError(f"lr must be a finite number above 0, got {lr:g}")
    return lr
