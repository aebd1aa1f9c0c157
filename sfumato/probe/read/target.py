"""All that gradients say of a target: the reading at one K, and the convention from the readings at several K."""

from dataclasses import dataclass

import numpy as np

from sfumato.probe.call.caller import Loss
from sfumato.probe.call.find import ProbeError, Spec, in_words
from sfumato.probe.call.make import OTHER_CLASSES, remade
from sfumato.probe.identify import Identity, identify, strength_over
from sfumato.probe.read.class_weights import Weighted, without_weights
from sfumato.probe.read.extra_terms import KEEP
from sfumato.probe.read.gradients import Reading, read
from sfumato.probe.read.levels import Levels, levels
from sfumato.probe.read.prior import Prior, prior_of


@dataclass(frozen=True)
class TargetRead:
    """What a loss trains towards, as far as its gradients tell.

    Attributes:
        reading: the targets at the K asked for.
        level: the two levels of the target, without class weights; None where there are more levels.
        weighted: the class weights, if the targets have any.
        prior: the prior that the targets are spread over, if they have no two levels.
        identity: the convention.
        level_at: the two levels at every K at which they could be read.
    """

    reading: Reading
    level: Levels | None
    weighted: Weighted | None
    prior: Prior | None
    identity: Identity
    level_at: dict[int, Levels]

    @property
    def moved_by(self) -> str | None:
        """Why the loss is not smallest at the two levels, as a clause; None where it is, and where there are none."""
        level, extra = self.level, self.reading.extra
        if level is None:
            return None
        if self.weighted is not None and np.ptp(self.weighted.classes) > 1e-4:
            return "class weights move the optimum"
        if extra is not None and not extra[0].startswith(KEEP):
            return "the term beside the cross entropy moves the optimum"
        if extra is None and level.drifts:
            return "its gradient is nowhere 0, and the logits drift"
        if level.mass < 0:
            return "the sign is turned, and the loss has no lower bound"
        if not level.is_hard and min(level.optimum) < 0:
            return "a share of this target is negative, and the loss has no lower bound"
        return None

    def strength_over(self, name: str) -> float | None:
        """The strength in a convention whose optimum is that of the loss; None where no strength has that optimum."""
        return None if self.level is None or self.moved_by else strength_over(name, self.level)


def read_target(spec: Spec, loss: Loss, classes: int) -> TargetRead:
    """Read the target of a loss at K classes, and name its convention from other K.

    Raises:
        ProbeError: the loss cannot be called with one row.
    """
    try:
        reading = read(loss, classes)
    except Exception as error:
        raise ProbeError(f"{spec.name} cannot be called with one row at a time: {in_words(error)}") from error
    level = levels(reading)
    weighted = without_weights(reading) if level is None else None
    if weighted is not None:
        level = levels(weighted.reading)
    prior = prior_of(reading) if level is None and weighted is None and reading.extra is None else None
    level_at = {} if level is None else {classes: level, **_levels_elsewhere(spec, loss, classes, weighted is not None)}
    identity = _identity(spec, loss, level_at, prior)
    return TargetRead(reading, level, weighted, prior, identity, level_at)


def _levels_elsewhere(spec: Spec, loss: Loss, classes: int, weighted: bool) -> dict[int, Levels]:
    """The levels at every other K at which the loss can be made and called."""
    found: dict[int, Levels] = {}
    for k in OTHER_CLASSES:
        if k == classes:
            continue
        try:
            # Weights need every label; without them a few tell as much, and differences of values are slow.
            at = read(remade(spec, loss, k), k, tuple(range(k)) if weighted else None)
            clean = without_weights(at) if weighted else None
            level = levels(at if clean is None else clean.reading)
        except Exception:
            continue
        if level is not None:
            found[k] = level
    return found


def _identity(spec: Spec, loss: Loss, level_at: dict[int, Levels], prior: Prior | None) -> Identity:
    if prior is not None:
        known = Identity("prior", prior.eps, f"the target is {prior.told}")
    elif not level_at:
        known = Identity(None, None, "the target has not two levels")
    elif any(each.drifts for each in level_at.values()):
        known = Identity(None, None, "its gradient is that of no cross entropy")
    else:
        value = None if spec.strength is None else spec.given(spec.strength)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        known = identify(level_at, value if is_number else None)
    if not loss.seeded:
        return known
    draw = "" if known.eps is None else f"; one draw is {known.convention} with ε = {known.eps:g}"
    return Identity(None, None, f"it is random, and its expectation unknown{draw}")
