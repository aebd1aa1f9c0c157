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
    """The arms of a ladder: one-hot, and each strength above 0, rising.

    >>> [arm.name for arm in candidates_of([0.1, 0, 0.05], "others")]
    ['one-hot', 'smoothed-0.05', 'smoothed-0.1']
    """
    softened = sorted({eps for eps in strengths if eps > 0})
    return Arm("one-hot", 0.0, over), *(Arm(f"smoothed-{eps:g}", eps, over) for eps in softened)


def in_words() -> str:
    """All examples with their notes, for ``--help``.

    >>> in_words()[:32]
    'onehot, others:0.1, all:0.1, pri'
    """
    told = [kind.example + (f" ({kind.note})" if kind.note else "") for kind in KINDS.values()]
    return f"{', '.join(told[:-1])}, or {told[-1]}"


def parse_arm(spec: str) -> ArmSpec:
    """What an ``--arm`` asks for: a kind, and its parameters with colons between.

    Raises OptionError where there is no such kind, or a parameter is missing, out of range or too much.

    >>> parse_arm("others:0.1").values, parse_arm("onehot").values
    ((0.1,), ())
    >>> parse_arm("one-hot").kind.name  # as the arm is called in what is printed
    'onehot'
    """
    name, *given = spec.split(":")
    name = "onehot" if name == "one-hot" else name
    if name not in KINDS:
        examples = ", ".join(kind.example for kind in KINDS.values())
        raise OptionError(
            f'--arm "{spec}" is not a target that compare knows.{did_you_mean(name, KINDS)} Use one of: {examples}'
        )
    kind = KINDS[name]
    if not kind.parameters and given:
        raise OptionError(f"--arm {name} takes no strength, got {':'.join(given)}")
    surplus = len(given) - len(kind.parameters)
    for at, parameter in enumerate(kind.parameters):
        if surplus > 0 and parameter.holds is None:  # a path may have colons of its own
            given[at : at + surplus + 1] = [":".join(given[at : at + surplus + 1])]
    if len(given) > len(kind.parameters):
        raise OptionError(f'--arm {spec} has a word too many, "{given[len(kind.parameters)]}": {kind.example}')
    given += [""] * (len(kind.parameters) - len(given))
    values = [_value(spec, kind, *each) for each in zip(kind.parameters, given, strict=True)]
    return ArmSpec(kind, tuple(values))


def arm_of(
    spec: str,
    labels: npt.NDArray[np.int64],
    num_classes: int,
    soft: npt.NDArray[np.float64] | None = None,
    class_names: tuple[str, ...] = (),
) -> Arm:
    """The arm that an ``--arm`` asks for, made from the labels (n,) of the training rows and what they may have.

    >>> import numpy as np
    >>> arm_of("others:0.1", np.array([0, 1]), 2)
    Arm(name='others-0.1', eps=0.1, over='others')
    """
    asked = parse_arm(spec)
    return asked.kind.make(asked, TrainingLabels(labels, num_classes, soft, class_names))


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
