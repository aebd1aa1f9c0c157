"""Arms: each kind of target or loss that ``compare`` trains is one record of a table, from which all else follows.

A new kind is one record of a table in ``smoothing``, ``class_tables``, ``mixing`` or ``penalties``. The errors,
``--help``, the docs, the loss, the verdict's words, the page and the code to copy follow from the record.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sfumato.lab.arms.class_tables import CLASS_TABLES
from sfumato.lab.arms.kind import Arm as Arm
from sfumato.lab.arms.kind import ArmKind, ArmSpec, Parameter, TrainingLabels, Value
from sfumato.lab.arms.mixing import MIXING
from sfumato.lab.arms.penalties import PENALTIES
from sfumato.lab.arms.smoothing import SCHEDULES, SMOOTHING
from sfumato.lab.errors import OptionError
from sfumato.text import did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from sfumato.theory import Over

KINDS: dict[str, ArmKind] = {kind.name: kind for kind in (*SMOOTHING, *CLASS_TABLES, *SCHEDULES, *MIXING, *PENALTIES)}
"""Every kind of arm by its name, in the order in which they are shown."""


def default_arms(eps: float, over: Over) -> tuple[Arm, ...]:
    """One-hot and smoothed, in the order in which they are shown."""
    return Arm("one-hot", 0.0, over), Arm("smoothed", eps, over)


def candidates_of(strengths: Sequence[float], over: Over) -> tuple[Arm, ...]:
    """The arms of a ladder: one-hot, and each strength above 0, rising."""
    softened = sorted({eps for eps in strengths if eps > 0})
    return Arm("one-hot", 0.0, over), *(Arm(f"smoothed-{eps:g}", eps, over) for eps in softened)


def in_words() -> str:
    """All examples with their notes, for ``--help``."""
    *most, last = [kind.example + (f" ({kind.note})" if kind.note else "") for kind in KINDS.values()]
    return f"{', '.join(most)}, or {last}"


def parse_arm(spec: str) -> ArmSpec:
    """What an ``--arm`` asks for: a kind, and its parameters with colons between; an OptionError where it is wrong."""
    name, *words = spec.split(":")
    name = "onehot" if name == "one-hot" else name
    if name not in KINDS:
        examples = ", ".join(kind.example for kind in KINDS.values())
        raise OptionError(
            f'--arm "{spec}" is not a target that compare knows.{did_you_mean(name, KINDS)} Use one of: {examples}'
        )
    kind = KINDS[name]
    if not kind.parameters and words:
        raise OptionError(f"--arm {name} takes no strength, got {':'.join(words)}")
    surplus = len(words) - len(kind.parameters)
    for at, parameter in enumerate(kind.parameters):
        if surplus > 0 and parameter.holds is None:  # a path may have colons of its own
            words[at : at + surplus + 1] = [":".join(words[at : at + surplus + 1])]
    if len(words) > len(kind.parameters):
        raise OptionError(f'--arm {spec} has a word too many, "{words[len(kind.parameters)]}": {kind.example}')
    words += [""] * (len(kind.parameters) - len(words))
    values = [_value(spec, kind, *pair) for pair in zip(kind.parameters, words, strict=True)]
    return ArmSpec(kind, tuple(values))


def arm_of(
    spec: str,
    labels: npt.NDArray[np.int64],
    num_classes: int,
    soft: npt.NDArray[np.float64] | None = None,
    class_names: tuple[str, ...] = (),
) -> Arm:
    """The arm that an ``--arm`` asks for, made from the labels (n,) of the training rows and what they may have."""
    parsed = parse_arm(spec)
    return parsed.kind.make(parsed, TrainingLabels(labels, num_classes, soft, class_names))


def _value(spec: str, kind: ArmKind, parameter: Parameter, word: str) -> Value:
    """The value of one parameter, checked; that of a word that is not there is its default."""
    if not word:
        if parameter.default is None:
            wanted = parameter.called.removeprefix("its ")
            raise OptionError(f"--arm {spec.rstrip(':')} needs a {wanted}: {kind.example}")
        return parameter.default
    if parameter.holds is None:
        return word
    try:
        value = float(word)
    except ValueError:
        value = math.nan
    if not parameter.holds(value):
        raise OptionError(f"--arm {spec}: {parameter.called} must be {parameter.range}")
    return value
