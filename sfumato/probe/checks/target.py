"""What is peculiar about a target, its mass and its levels, and how the rows of a batch become one number."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sfumato.probe.call.find import ProbeError, Spec, in_words
from sfumato.probe.call.loss import Array, Labels, Loss
from sfumato.probe.read.gradients import Reading
from sfumato.probe.read.levels import Levels
from sfumato.probe.read.target import TargetRead
from sfumato.probe.result import ProbeFinding, defect, in_figures, note, warning


def target_findings(target: TargetRead) -> Iterator[ProbeFinding]:
    """What the gradients say of the target."""
    reading, level = target.reading, target.level
    if not reading.alive.any():
        yield defect("no-gradient", "the gradient is 0 for every label")
        return
    if reading.kind == "other":
        near = f"; the nearest leaves {reading.residual:.2g} of it, as half precision inside would"
        text = "the loss is not a cross entropy of a softmax or sigmoids: no fixed target explains its gradient"
        yield warning("no-fixed-target", text + (near if reading.residual < 5e-3 else ""))
        return
    if target.weighted is not None:
        yield warning("weighted-target", target.weighted.description)
    if reading.extra is not None:
        text = f"a term beside the cross entropy: {reading.extra.kind.formula}, coefficient "
        yield note("extra-term", f"{text}{reading.extra.size:.6g}")
    if target.prior is not None:
        yield note("prior-target", f"the target is {target.prior.description}")
    elif level is None:
        first_two = np.flatnonzero(reading.alive)[:2]
        differ = "; ".join(f"label {reading.labels[i]} has {in_figures(reading.targets[i])}" for i in first_two)
        yield warning("target-differs", f"the target differs between labels or classes: {differ}")
    else:
        yield from _level_findings(level, target)
        yield from _value_findings(reading)


def _level_findings(level: Levels, target: TargetRead) -> Iterator[ProbeFinding]:
    identity = target.identity
    if identity.convention is None and not level.drifts:
        yield warning("convention-unknown", identity.why)
    if identity.eps is not None and identity.eps < 0:
        yield defect("negative-smoothing", f"ε = {identity.eps:g}: negative smoothing, which has no lower bound")
    if level.pad is not None:
        yield note("padding-class", f"class {level.pad} gets no mass: its logit is pushed to −∞ without limit")
    if level.kind == "sigmoid":
        if abs(level.factor - 1) > 1e-6:
            scale = _factor_in_words(level.factor, {k: each.factor for k, each in target.level_at.items()})
            yield note("scale", f"the loss is scaled, by {scale}")
    elif level.drifts:
        text = f"Σq = {level.mass:.6g}, while p counts {level.factor:.6g}: the gradient does not sum to 0, and the "
        yield defect("logits-drift", f"{text}logits drift together")
    elif abs(level.mass - 1) > 1e-5:
        yield _mass_finding(level, target)


def _mass_finding(level: Levels, target: TargetRead) -> ProbeFinding:
    """Whether a Σq other than 1 is a factor of the loss, the same at every K, or that of a target not normalised."""
    masses = {k: each.mass for k, each in target.level_at.items()}
    total = f"Σq = {level.mass:.6g}"
    if target.identity.convention == "deficit":
        return defect("mass-deficit", f"{total}, not 1: the ε/K of the label was left out")
    if level.mass < 0:
        return defect("sign-turned", f"{total}: the sign is turned, and the loss is smallest at the wrong class")
    scale = _factor_in_words(level.mass, masses)
    constant = len(masses) > 1 and max(masses.values()) - min(masses.values()) < 1e-5
    if constant or scale.startswith("1/K"):
        return warning("mass-factor", f"{total}, not 1: {scale}")
    return defect("mass-changes-with-classes", f"{total}, not 1: {scale}")


def _value_findings(reading: Reading) -> Iterator[ProbeFinding]:
    floor = float(reading.floors[reading.alive].mean())
    if abs(floor) > 1e-5 and abs(reading.offset + floor) < 1e-5 * max(1, abs(floor)):
        text = f"the entropy of the target, {floor:.4g}, is subtracted (a KL divergence): the smallest loss is 0"
        yield note("entropy-subtracted", text)
    elif abs(reading.offset) > 1e-4 * max(1, abs(floor)):
        text = f"the value is shifted by {reading.offset:.6g} from the plain cross entropy; it trains alike"
        yield note("value-shifted", text)


def _factor_in_words(value: float, at: dict[int, float]) -> str:
    if all(abs(each * k - 1) < 1e-4 for k, each in at.items()):
        return "1/K: the mean is over rows and classes"
    if len(at) > 1 and max(at.values()) - min(at.values()) < 1e-5:
        return f"{value:.6g} times the loss, at every K"
    return ", ".join(f"{each:.6g} at K = {k}" for k, each in sorted(at.items()))


@dataclass(frozen=True)
class RowReduction:
    """How the rows of a batch become one number."""

    name: Literal["mean", "sum", "none", "other"]
    factors: Array  # gradient of each row in a batch of four, over that of the row alone; NaN if it alone has none


def reduction_of(spec: Spec, loss: Loss, reading: Reading) -> tuple[RowReduction, list[ProbeFinding]]:
    """The reduction, from gradients of four rows together and one by one, and what is peculiar about it."""
    z, labels = reading.batch(4, seed=23)
    try:
        together, alone, factors = loss.in_a_batch(z, labels)
        values = loss.values(z, labels)
        findings = [] if loss.seeded else _gradients_that_mix(loss, z, labels, together, alone, factors)
        if values.ndim >= 1 and values.size in (4, 4 * reading.classes):
            findings += [] if loss.seeded else _values_that_mix(loss, z, labels, values)
            reduction = RowReduction("none", factors)
        else:
            reduction, more = _reduction_of_factors(loss, z, labels, factors)
            findings += more
    except Exception as error:
        raise ProbeError(f"{spec.name} cannot be called with four rows: {in_words(error)}") from error
    declared, name = spec.given("reduction") or getattr(loss.function, "reduction", None), reduction.name
    if declared in ("mean", "sum", "none") and name != "other" and declared != name:
        findings.append(defect("reduction-misnamed", f'reduction="{declared}" is the {name}'))
    return reduction, findings


def _gradients_that_mix(
    loss: Loss, z: Array, labels: Labels, together: Array, alone: Array, factors: Array
) -> list[ProbeFinding]:
    """Whether the gradient of a row in the batch is another than a multiple of its gradient alone."""
    known = np.isfinite(factors)
    apart = np.abs(together - factors[:, None] * alone)[known].max(initial=0.0)
    close = 1e-3 * np.abs(together).max()
    if apart <= close:
        return []
    others = z.copy()
    others[1:] = others[1:, ::-1]
    if np.abs(loss.gradient(others, labels)[0] - together[0]).max() > close:
        return [defect("rows-leak", "the gradient of a row depends on the other rows: they leak into each other")]
    return [warning("rows-turn", "the gradient of a row in a batch is no multiple of its gradient alone")]


def _values_that_mix(loss: Loss, z: Array, labels: Labels, values: Array) -> list[ProbeFinding]:
    shown = values.reshape(4, -1).sum(axis=1)
    alone = np.array([loss.value(z[i : i + 1], labels[i : i + 1]) for i in range(4)])
    if np.abs(shown - alone).max() <= 1e-3 * np.abs(alone).max():
        return []
    text = f"the value of a row depends on the other rows: {shown[0]:.4g} among four, {alone[0]:.4g} alone"
    return [defect("values-leak", text)]


def _reduction_of_factors(
    loss: Loss, z: Array, labels: Labels, factors: Array
) -> tuple[RowReduction, list[ProbeFinding]]:
    hidden = [i for i in range(4) if abs(factors[i]) < 1e-7]
    if hidden and not loss.seeded:
        text = f"the loss hides rows: {len(hidden)} of 4 have no gradient in a batch (rows "
        text += f"{', '.join(map(str, hidden))}), and each has one alone"
        return RowReduction("other", factors), [defect("rows-hidden", text)]
    if np.allclose(factors, 0.25, rtol=1e-4):
        return RowReduction("mean", factors), []
    if np.allclose(factors, 1.0, rtol=1e-4):
        return RowReduction("sum", factors), []
    if loss.seeded:  # draws may differ with the size of the batch, so nothing can be said
        return RowReduction("other", factors), []
    shown = ", ".join(f"{f:.4g}" for f in factors)
    _, _, twice = loss.in_a_batch(z, labels[[0, 1, 0, 1]])  # with four labels, places would look like weights of them
    if abs(float(factors.sum()) - 1) < 1e-4 and np.abs(twice[:2] - twice[2:]).max() < 1e-4:
        text = f"a mean over the labels' weights: four rows count {shown}"
        return RowReduction("mean", factors), [note("weighted-mean", text)]
    text = f"neither mean nor sum: a row in a batch of four counts {shown} of what it does alone"
    return RowReduction("other", factors), [warning("reduction-unknown", text)]
