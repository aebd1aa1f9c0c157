"""The table of the kinds of arms, and how an ``--arm`` is read by it.

A new kind is one record of :data:`KINDS` and the function that makes its arm. The errors, ``--help``, ``sfumato init``
and the table of docs/design.md follow from the record.
"""

from __future__ import annotations

import math
import pkgutil
from dataclasses import replace
from typing import TYPE_CHECKING

from sfumato.lab.arms.kind import NUMBERS, ArmKind, AskedArm, Parameter, TrainingLabels, Value
from sfumato.lab.errors import OptionError
from sfumato.text import did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from sfumato.lab.arms.arm import Arm


def _positive(name: str, called: str, default: float | None = None) -> Parameter:
    return Parameter(name, called, "above 0 and at most 100", lambda value: 0 < value <= 100, default)


_STRENGTH = Parameter("eps", "its strength", "above 0 and at most 1", lambda eps: 0 < eps <= 1)
_BETA = Parameter("alpha", "α of its Beta distribution", "above 0 and at most 100", lambda alpha: 0 < alpha <= 100)
_MARGIN = Parameter("margin", "its margin m", "at least 0 and at most 1000", lambda m: 0 <= m <= 1000)
_WEIGHT = Parameter("alpha", "its strength α", "above 0 and below 1", lambda alpha: 0 < alpha < 1)
_RATE = Parameter("rate", "its rate r", "at least -10 and below 0", lambda rate: -10 <= rate < 0)
_HINGE = Parameter(
    "threshold", "its threshold Γ", "above 0 and at most 100, or left out", lambda t: 0 < t <= 100, math.nan
)
_ARM, _MEASURED, _PENALTY = (f"sfumato.lab.arms.{name}" for name in ("arm", "measured", "penalties:penalty_arm"))
_TAU = Parameter("tau", "its scale τ", "above 0 and at most 1000", lambda tau: 0 < tau <= 1000)
_TREE_BETA = Parameter("beta", "its sharpness β", "above 0 and at most 1000", lambda beta: 0 < beta <= 1000)
_ROWS, _SCHEDULE = "sfumato.lab.arms.rows", "sfumato.lab.arms.schedules:scheduled_arm"
_FROM_TO = tuple(
    Parameter(name, f"its {called} strength", "at least 0 and at most 1", lambda eps: 0 <= eps <= 1)
    for name, called in (("start", "first"), ("end", "last"))
)
_AFTER = Parameter(
    "after", "the part of the steps that is smoothed", "above 0 and below 1", lambda part: 0 < part < 1, 0.8
)

KINDS: dict[str, ArmKind] = {
    kind.name: kind
    for kind in (
        ArmKind("onehot", "onehot", "e_y", f"{_ARM}:one_hot_arm"),
        ArmKind(
            "others",
            "others:0.1",
            "(1−ε)·e_y + ε·u, u even over the others",
            f"{_ARM}:smoothed_arm",
            (_STRENGTH,),
        ),
        ArmKind("all", "all:0.1", "(1−ε)·e_y + ε·u, u even over all", f"{_ARM}:smoothed_arm", (_STRENGTH,)),
        ArmKind(
            "prior",
            "prior:0.1",
            "(1−ε)·e_y + ε·π, π the classes' shares",
            f"{_MEASURED}:prior_arm",
            (_STRENGTH,),
            note="spread by the classes' shares",
        ),
        ArmKind(
            "ordinal",
            "ordinal:0.5",
            "the row R_y, R_yk ∝ exp(−abs(r_k − r_y)/τ), r the classes' numbers, or their values in a file",
            f"{_ROWS}:ordinal_arm",
            (_TAU, Parameter("file", "its file of classes and values", "a CSV file", default=NUMBERS)),
            note="τ, for classes that are numbers; else add a file of their values: ordinal:0.5:order.csv",
        ),
        ArmKind(
            "similarity",
            "similarity:likeness.csv:0.25",
            "the row R_y, R_yk ∝ exp(s_yk/τ), s the likeness of two classes in a file",
            f"{_ROWS}:similarity_arm",
            (Parameter("file", "its file of likenesses", "a CSV file"), _TAU),
            note="a table of how much the classes resemble each other, and τ",
        ),
        ArmKind(
            "hierarchy",
            "hierarchy:tree.json:5",
            "the row R_y, R_yk ∝ exp(−β·d(k, y)/d_max), d the height of the lowest node above both in a tree",
            f"{_ROWS}:hierarchy_arm",
            (Parameter("file", "its tree", "a JSON file"), _TREE_BETA),
            note="a tree of the classes, and β",
        ),
        ArmKind(
            "confusion",
            "confusion:counts.csv:0.1",
            "(1−ε)·e_y + ε·π_y, π_yk = (C_yk + 1/(K−1))/(Σ_j C_yj + 1), j and k among the others, C counts in a file",
            f"{_ROWS}:confusion_arm",
            (Parameter("file", "its file of counts", "a CSV file"), replace(_STRENGTH, default=0.1)),
            note="spread by a table of confusions that you counted on other rows",
        ),
        ArmKind(
            "online",
            "online:0.5",
            "(1−ε)·e_y + ε·S_y, S the mean of the model's own right predictions in the last epoch",
            f"{_ROWS}:online_arm",
            (_STRENGTH,),
            note="online smoothing",
        ),
        ArmKind(
            "linear",
            "linear:0.2:0",
            "(1−ε)·e_y + ε·u, u even over all, ε on a line over the steps",
            _SCHEDULE,
            _FROM_TO,
            note="ε over all classes, from its first value to its last on a line over the steps",
        ),
        ArmKind(
            "cosine",
            "cosine:0.2:0",
            "(1−ε)·e_y + ε·u, u even over all, ε on half a cosine over the steps",
            _SCHEDULE,
            _FROM_TO,
            note="the same on half a cosine",
        ),
        ArmKind(
            "drop_late",
            "drop_late:0.1:0.8",
            "(1−ε)·e_y + ε·u, u even over all, then e_y after this part of the steps",
            _SCHEDULE,
            (_STRENGTH, _AFTER),
            note="ε over all classes, and the part of the steps after which there is none",
        ),
        ArmKind(
            "mixup",
            "mixup:0.2",
            "λ·e_y + (1−λ)·e_y', λ from Beta(α, α), rows mixed as their targets",
            f"{_MEASURED}:mix_arm",
            (_BETA,),
            needs="rows that can be mixed",
        ),
        ArmKind(
            "cutmix",
            "cutmix:1",
            "λ·e_y + (1−λ)·e_y', λ the share of a picture that is left",
            f"{_MEASURED}:mix_arm",
            (_BETA,),
            note="α of their Beta distribution",
            needs="pictures",
        ),
        ArmKind(
            "soft",
            "soft",
            "the row's soft label",
            f"{_MEASURED}:soft_arm",
            note="the data's soft labels",
            needs="soft labels",
        ),
        ArmKind(
            "confidence",
            "confidence:0.1",
            "CE − β·H(p); with Γ, CE + β·max(0, Γ − H(p))",
            _PENALTY,
            (_positive("beta", "its strength β"), _HINGE),
            note="β, then Γ if there is a hinge",
        ),
        ArmKind(
            "margin",
            "margin:10:0.1",
            "CE + (α/K)·Σ max(0, max z − z_k − m)",
            _PENALTY,
            (_MARGIN, _positive("alpha", "its strength α", 0.1)),
            note="m in nats, then α",
        ),
        ArmKind("maxsup", "maxsup:0.1", "CE + α·(max z − z̄)", _PENALTY, (_WEIGHT,), note="α"),
        ArmKind(
            "relax",
            "relax:0.1",
            "0 from p_y = 1−α on, else KL((1−α, α) ‖ (p_y, 1−p_y))",
            _PENALTY,
            (_WEIGHT,),
            note="label relaxation by α",
        ),
        ArmKind(
            "focal",
            "focal:3",
            "−(1−p_y)^γ·log p_y",
            _PENALTY,
            (_positive("gamma", "its exponent γ"),),
            note="γ",
        ),
        ArmKind(
            "l2",
            "l2:0.002",
            "CE + (β/2)·Σ z_k²",
            _PENALTY,
            (_positive("beta", "its strength β"),),
            note="β on squared logits",
        ),
        ArmKind(
            "negative",
            "negative:-0.2",
            "CE towards (1−r)·e_y + r/K, r < 0",
            _PENALTY,
            (_RATE,),
            note="smoothing by r < 0, whose loss has no floor",
        ),
    )
}
"""Every kind of arm by its name, in the order in which they are shown."""


def in_words() -> str:
    """All examples with their notes, for ``--help``.

    >>> in_words()[:32]
    'onehot, others:0.1, all:0.1, pri'
    """
    told = [kind.example + (f" ({kind.note})" if kind.note else "") for kind in KINDS.values()]
    return f"{', '.join(told[:-1])}, or {told[-1]}"


def asked_arm(spec: str) -> AskedArm:
    """What an ``--arm`` asks for: a kind, and its parameters with colons between.

    Raises:
        OptionError: there is no such kind, or a parameter is missing, out of range or too much.

    >>> asked_arm("others:0.1").values, asked_arm("onehot").values
    ((0.1,), ())
    >>> asked_arm("one-hot").kind.name  # as the arm is called in what is printed
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
    return AskedArm(kind, tuple(values))


def arm_of(
    spec: str,
    labels: npt.NDArray[np.int64],
    num_classes: int,
    soft: npt.NDArray[np.float64] | None = None,
    class_names: tuple[str, ...] = (),
) -> Arm:
    """The arm that an ``--arm`` asks for.

    Args:
        spec: a kind, and its parameters; see :func:`asked_arm`.
        labels: of the training rows, (n,).
        num_classes: K.
        soft: their soft labels, (n, K), or None.
        class_names: of the classes, for kinds that read a file about them.

    >>> import numpy as np
    >>> arm_of("others:0.1", np.array([0, 1]), 2)
    Arm(name='others-0.1', eps=0.1, over='others')
    """
    asked = asked_arm(spec)
    made: Arm = pkgutil.resolve_name(asked.kind.made_by)(asked, TrainingLabels(labels, num_classes, soft, class_names))
    return made


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
