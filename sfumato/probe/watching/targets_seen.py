"""What is kept of a run: its passes and steps, and the one strength that most rows are trained towards."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from sfumato.conventions import SPREADS
from sfumato.probe.levels import ClassSpread, as_typed
from sfumato.probe.rows import Array, Form, ReadRows
from sfumato.probe.watching.labels_seen import LabelledRows
from sfumato.probe.watching.model_call import GivenStrength
from sfumato.probe.watching.parameters import multiplier

MAX_STEPS = 50  # steps whose passes are read; the ones after that are only counted
UNIFORM = 0.98  # the strength over all classes from which a row has no label of its own


@dataclass
class ReadPass:
    """One backward pass: its rows, and how they were shaped."""

    rows: ReadRows
    sequences: int
    inputs: Counter[str]
    training: bool
    backward: int = -1  # the call of backward: one may go through several calls of the model; -1 where it is not known
    ascends: bool = False  # whether the loss is turned round, so that it grows
    labelled: LabelledRows | None = None  # where each row is one example
    reaches: bool = True  # whether a gradient arrived at a parameter; an attack on the inputs reaches none


@dataclass
class ReadStep:
    """Passes whose gradients add up, and what became of the gradients."""

    passes: list[ReadPass] = field(default_factory=list[ReadPass])  # in their order
    stepped: bool = False  # whether the optimiser took a step with them
    began_with_gradients: bool = False  # whether gradients of before stood at the parameters already
    arrived: list[float] = field(default_factory=list[float])  # some entries of what arrived at one parameter
    at_the_optimiser: list[float] = field(default_factory=list[float])  # the same entries of the gradient
    divided_by: int = 1  # what the optimiser itself averages over, as Keras does
    cut: int = 0  # how many passes came before gradients were cleared
    maximises: bool = False  # whether the optimiser was told to go up

    @property
    def micro_batches(self) -> list[list[ReadPass]]:
        """The passes of each call of backward."""
        calls: dict[int, list[ReadPass]] = {}
        for i, each in enumerate(self.passes):
            calls.setdefault(-1 - i if each.backward < 0 else each.backward, []).append(each)
        return list(calls.values())

    @property
    def has_older_gradients(self) -> bool:
        """Whether gradients of before were added: not if the optimiser is given just what arrived."""
        after = multiplier(self.arrived, self.at_the_optimiser)
        return self.began_with_gradients and (after is None or abs(after - 1) > 1e-3)

    @property
    def ascends(self) -> bool:
        """Whether the step makes the loss grow, after all turns of the sign."""
        turned = np.mean([each.ascends for each in self.passes]) > 0.5
        return bool(turned) ^ self.maximises ^ bool((multiplier(self.arrived, self.at_the_optimiser) or 1.0) < 0)


@dataclass
class Record:
    """Everything that was seen."""

    steps: list[ReadStep] = field(default_factory=list[ReadStep])
    optimiser_steps: int = 0
    steps_of_others: int = 0
    forwards: int = 0
    training_forwards: int = 0
    without_logits: int = 0
    given: list[GivenStrength] = field(default_factory=list[GivenStrength])
    evaluations: int = 0
    evaluation_eps: list[float] = field(default_factory=list[float])
    noisy_losses: int = 0  # losses of evaluation in training mode, which makes a difference to the model
    noisy_calls: int = 0  # other calls without gradients in that mode whose outputs were used
    rates: list[float] = field(default_factory=list[float])  # the largest learning rate of each step of an optimiser
    unreached: bool = False  # whether no pass reached a parameter of the model
    left_out: list[str] = field(default_factory=list[str])  # parameters with gradients that are in no optimiser
    last_layer_left_out: bool = False
    problems: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])  # code and text of what failed
    ranks: int = 1
    ranks_silent: list[int] = field(default_factory=list[int])

    def leave_out_passes_without_parameters(self) -> None:
        """Forget passes that reached no parameter, such as those of an attack on the inputs, unless none did."""
        self.unreached = bool(self.steps) and not any(one.reaches for step in self.steps for one in step.passes)
        if not self.unreached:
            for step in self.steps:
                step.passes = [one for one in step.passes if one.reaches]

    def complete_steps(self) -> list[ReadStep]:
        """The steps whose passes were all seen: those that the optimiser took, or all where it took none."""
        steps = [each for each in self.steps if each.passes]
        stepped = [each for each in steps if each.stepped] or steps
        begun = [each.began_with_gradients for each in stepped]
        return stepped[1:] if len(stepped) > 1 and begun[0] and not any(begun[1:]) else stepped


@dataclass(frozen=True)
class TargetsSeen:
    """The target that most rows have."""

    classes: int  # K
    eps: float | None  # the strength over all classes; None where it cannot be told
    mass: float | None  # Σq of the rows, which is 1 for a proper target
    rows: int  # rows with a gradient
    ignored: int  # rows without one
    uniform: int  # rows with a gradient that are trained towards all classes alike, beside rows with a label
    soft: float  # the share of rows whose target has more than two levels
    pairs: float  # the share of rows with more than one label
    prior: bool  # whether the strength goes to the classes by a prior, and not to all alike
    beside: bool  # whether a term in proportion to p stands beside the cross entropy
    misfit: float  # what the line of a row leaves of its gradients beyond rounding, as a part of them
    spread: tuple[float, float] | None  # (smallest, largest) strength of the rows
    balanced: bool  # whether the gradients of a row sum to 0, as those of a softmax do
    form: Form  # what the model's outputs are
    divisor: float  # what the loss divides the logits by
    flat: bool  # whether no row has logits that differ, so that nothing but a product of strength and factor is known
    coarse: bool  # whether the gradients have the digits of half precision

    @property
    def eps_others(self) -> float | None:
        """The same target as a strength over the other classes."""
        k = self.classes
        return None if self.eps is None else as_typed(float(SPREADS["others"].inverse(self.eps / k, k)), coarse=True)


class PassCount(NamedTuple):
    """The rows of one pass, and what their gradients were multiplied by."""

    counted: int  # rows with a gradient
    rows: int  # all rows
    sequences: int  # how many sequences the rows came in; rows where they came in none
    factor: float  # c, the mean over the rows that count
    rank: int = 0  # the rank that had it


def targets_seen(passes: list[ReadPass]) -> TargetsSeen | None:
    """The target of the rows of some passes; None where no row has a gradient."""
    live = [each.rows for each in passes if each.rows.live.any()]
    if not live:
        return None
    k, coarse = live[0].classes, any(rows.coarse for rows in live)
    eps, doubt, misfit, others, mass, unbalanced, second, beside, sure = (
        np.concatenate([getattr(rows, name)[rows.live] for rows in live])
        for name in ("eps", "doubt", "misfit", "others", "mass", "unbalanced", "mass_beside", "beside_p", "is_sure")
    )
    by_prior = np.concatenate([np.full(rows.live.sum(), rows.spread is ClassSpread.PRIOR) for rows in live])
    summed = ~np.isnan(unbalanced)
    balanced = not summed.any() or float(np.median(unbalanced[summed])) < (3e-2 if coarse else 3e-3)
    known = np.isfinite(eps) & np.isfinite(doubt)
    close = 3e-2 if coarse else 1e-3
    plain = known & (misfit < close) & ~((others > 0) & (second < -close))
    good = plain & (doubt < 2e-2)
    for most in (3e-3, 3e-4, 3e-5):  # the rows whose strength is known best
        surer = plain & (doubt < most)
        good = surer if surer.sum() >= max(1, plain.sum() // 20) else good
    uniform = good & (eps > UNIFORM) if (good & (eps <= UNIFORM)).any() else np.zeros_like(good)
    good &= ~uniform
    strength = None
    if good.any() and balanced and 2 * plain.sum() >= known.sum():
        strength = _without_rounding(float(np.median(eps[good])), coarse=coarse)
    rounding = np.concatenate([rows.rounding(strength or 0.0)[rows.live] for rows in live])  # near the optimum, p − q
    beyond = np.nan_to_num(misfit - 10 * rounding)[plain]
    return TargetsSeen(
        classes=k,
        eps=strength,
        mass=float(np.median(mass[good])) if good.any() and balanced else None,
        rows=len(eps),
        ignored=sum(int((~each.rows.live).sum()) for each in passes),
        uniform=int((uniform & ~sure).sum()),
        soft=float((known & ~plain).sum() / max(known.sum(), 1)),
        pairs=float((others[plain] > 0).mean()) if plain.any() else 0.0,
        prior=bool(plain.any()) and float(by_prior[plain].mean()) > 0.5,
        beside=bool(beside.any()) and float(beside[known].mean()) > 0.5,
        misfit=max(float(np.median(beyond)), 0.0) if plain.any() else 0.0,
        spread=_spread(eps[good], doubt[good], coarse),
        balanced=balanced,
        form=Counter(rows.form for rows in live).most_common(1)[0][0],
        divisor=live[0].divisor,
        flat=not known.any(),
        coarse=coarse,
    )


def count_of(passes: list[ReadPass], eps: float) -> PassCount | None:
    """The rows of one call of backward and their factor, once the strength is known; None where no row has one."""
    counts: list[PassCount] = []
    for one in passes:
        counted, factors = own_factors(one.rows, eps)
        if len(factors):
            middle = np.mean(factors) if varies(factors, coarse=False) else np.median(factors)
            counts.append(PassCount(counted, len(one.rows.live), one.sequences, float(middle)))
    if not counts:
        return None
    counted, rows, sequences = (sum(column) for column in list(zip(*counts, strict=True))[:3])
    return PassCount(counted, rows, sequences, sum(each.factor * each.counted for each in counts) / max(counted, 1))


def losses_differ(passes: list[ReadPass], eps: float) -> bool:
    """Whether the calls of the model in one call of backward have losses of different weights."""
    factors = [count.factor for each in passes if (count := count_of([each], eps)) is not None]
    return len(factors) > 1 and varies(np.array(factors), coarse=passes[0].rows.coarse)


def own_factors(rows: ReadRows, eps: float) -> tuple[int, Array]:
    """How many rows of a pass count, and the factors of those whose gradient is large enough to tell."""
    without_label = (rows.eps > UNIFORM) & (eps < UNIFORM)
    counts = rows.live & ~(without_label & (rows.doubt < 0.02) & ~rows.is_sure)
    loud = np.abs(rows.g_label)
    usable = counts & np.isfinite(loud) & (rows.misfit < (3e-2 if rows.coarse else 1e-3))
    usable &= ~(without_label & rows.is_sure)
    usable &= loud >= 0.05 * loud[usable].max(initial=0.0)
    factors = rows.factors(eps)[usable]
    return int(counts.sum()), factors[np.isfinite(factors)]


def varies(factors: Array, *, coarse: bool) -> bool:
    """Whether rows of one pass are multiplied by different factors, beyond rounding."""
    if len(factors) < 2:
        return False
    return bool(np.mean(np.abs(factors / np.median(factors) - 1) > (0.1 if coarse else 0.01)) > 0.05)


def _spread(eps: Array, doubt: Array, coarse: bool) -> tuple[float, float] | None:
    if len(eps) < 2:
        return None
    low, high = np.percentile(eps, [2, 98])
    differs = float(high - low) > max(2e-3, 20 * float(np.median(doubt)), 0.05 if coarse else 0.0)
    return (float(low), float(high)) if differs else None


def _without_rounding(eps: float, *, coarse: bool) -> float:
    """0 where a strength is next to 0, and the short number that a person typed."""
    if abs(eps) < (5e-3 if coarse else 2e-5):
        return 0.0
    short = float(f"{eps:.2g}")
    return short if coarse and abs(short - eps) < 1e-3 * eps else as_typed(eps, coarse=True)
