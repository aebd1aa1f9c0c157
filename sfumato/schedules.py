r"""A strength that changes while a model trains: plain functions of the step that return ε.

Set the strength before each step, be it a batch or an epoch::

    loss = sf.CrossEntropyLoss(label_smoothing=0.1)
    for step in range(steps):
        loss.label_smoothing = sf.schedules.cosine(step, steps, 0.1, 0.0)

**A training loss cannot be compared across strengths.** Its floor, the entropy of the target, moves with ε: at K = 1000
and ε = 0.1 over all it is 1.01 nats. A curve that falls because ε falls shows no progress, and a rule that watches the
training loss (a scheduler on a plateau, an early stop) is misled. Watch the hard log loss, or the excess that
:func:`sfumato.loss_parts` gives.
"""

import math

from sfumato.targets.checks import ArgumentError, check_strength


def linear(step: float, steps: float, start: float, end: float) -> float:
    r"""The strength on a straight line from the first step to the last.

    .. math:: \varepsilon = \varepsilon_0 + s\,(\varepsilon_1-\varepsilon_0), \qquad s = t/(T-1)

    Args:
        step: t, from 0 to T−1; later steps keep the last strength.
        steps: T, how many steps there are, at least 1. Of one step the strength is ``start``.
        start: ε₀ in [0, 1], at step 0.
        end: ε₁ in [0, 1], at step T−1.

    Raises:
        ValueError: a strength outside [0, 1], a step that is negative or NaN, fewer than 1 steps.

    >>> [round(linear(step, 5, 0.2, 0.0), 6) for step in range(6)]
    [0.2, 0.15, 0.1, 0.05, 0.0, 0.0]

    Source: the MaxSup authors' training script raises ε from 0.1 to 0.2 so.
    """
    s = _progress(step, steps, start, end)
    return (1 - s) * start + s * end


def cosine(step: float, steps: float, start: float, end: float) -> float:
    r"""The strength on half a wave of a cosine, slow at both ends.

    .. math:: \varepsilon = \varepsilon_1 + \frac{\varepsilon_0-\varepsilon_1}{2}\,(1+\cos\pi s), \qquad s = t/(T-1)

    Arguments and errors are those of :func:`linear`.

    >>> [round(cosine(step, 5, 0.2, 0.0), 4) for step in range(5)]
    [0.2, 0.1707, 0.1, 0.0293, 0.0]

    Source: the form of Loshchilov and Hutter 2017 (SGDR), eq. 5, for ε in place of the learning rate.
    """
    s = 0.5 * (1 - math.cos(math.pi * _progress(step, steps, start, end)))
    return (1 - s) * start + s * end


def drop_late(step: float, steps: float, eps: float, *, after: float = 0.8) -> float:
    r"""The full strength for most of the training, and none at its end.

    .. math:: \varepsilon_t = \varepsilon \quad (t < aT), \qquad \varepsilon_t = 0 \quad (t \ge aT)

    The last part trains towards one-hot targets, so the logits end further apart than those of a smoothed model, and
    :func:`sfumato.theory.optimal_gap` does not hold at the end.

    ``eps`` is ε and ``after`` a in [0, 1], the part of the steps that is smoothed; ``step``, ``steps`` and errors are
    those of :func:`linear`.

    >>> [drop_late(step, 5, 0.1) for step in range(5)]
    [0.1, 0.1, 0.1, 0.1, 0.0]

    Source: Xu et al. 2020, "Towards Understanding Label Smoothing" (TSLA, in two stages).
    """
    _progress(step, steps, eps, 0.0)
    check_strength(after, "after")
    return float(eps) if step < after * steps else 0.0


def _progress(step: float, steps: float, start: float, end: float) -> float:
    """S in [0, 1], after the checks that all schedules share."""
    check_strength(start, "start")
    check_strength(end, "end")
    if not steps >= 1:
        raise ArgumentError(f"steps must be at least 1, got {steps:g}")
    if not step >= 0:
        raise ArgumentError(f"step must be at least 0, got {step:g}")
    return min(step / (steps - 1), 1.0) if steps > 1 else 0.0
