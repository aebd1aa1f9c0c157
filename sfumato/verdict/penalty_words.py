"""What penalties and rival losses are called in sentences, and with which function of ``sf.penalty`` they are used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sfumato.runs.schema import ArmSummary

_SYMBOLS = {"alpha": "α", "beta": "β", "gamma": "exponent", "margin": "m", "rate": "r", "threshold": "Γ"}


@dataclass(frozen=True)
class PenaltyWords:
    """One kind of penalty: its function in ``sf.penalty``, its name in a sentence, and what its gap is.

    Attributes:
        function: the name of the function.
        name: as in "train with the margin penalty".
        no_gap: why no single gap is best, where that is so; "" where one is.
        below: why the mean gap of a trained network stays below the best one, where that is the margin of a hinge.
    """

    function: str
    name: str
    no_gap: str = ""
    below: str = ""


_HINGE = "it holds only the wrong classes that lie furthest below the label, and the others may be nearer"

PENALTIES: dict[str, PenaltyWords] = {
    "confidence": PenaltyWords("confidence", "the confidence penalty"),
    "margin": PenaltyWords("margin", "the margin penalty", below=_HINGE),
    "maxsup": PenaltyWords("maxsup", "MaxSup"),
    "relax": PenaltyWords(
        "relaxation", "label relaxation", "from some gap on the loss is 0, and every larger gap is as good"
    ),
    "focal": PenaltyWords(
        "focal", "the focal loss", "the loss falls for as long as the gap grows, but ever more slowly"
    ),
    "l2": PenaltyWords("logit_l2", "the penalty on squared logits"),
    "negative": PenaltyWords(
        "negative_smoothing", "negative smoothing", "the loss has no floor: it falls for ever as the gap grows"
    ),
}
"""Every kind of penalty, by the name that ``--arm`` has for it."""


@dataclass(frozen=True)
class PenaltyOfArm:
    """The penalty of an arm: its kind, and its strengths by the names of the function's arguments."""

    kind: str
    strengths: Mapping[str, float]

    @property
    def words(self) -> PenaltyWords:
        """What the kind is called; the kind itself where it is not known."""
        return PENALTIES.get(self.kind, PenaltyWords(self.kind, self.kind))

    def told(self) -> str:
        """The strengths in brackets.

        >>> PenaltyOfArm("margin", {"margin": 10.0, "alpha": 0.1}).told()
        '(m = 10, α = 0.1)'
        """
        told = [f"{_SYMBOLS.get(name, name)} = {value:g}" for name, value in self.strengths.items()]
        return f"({', '.join(told)})".replace("= -", "= −")

    def below(self, gap: float | None) -> str:
        """Why the mean gap of a network stays below the best one, ``gap``; "" where it need not.

        >>> PenaltyOfArm("margin", {"margin": 3.0, "alpha": 0.1}).below(4.51)
        ''
        """
        return self.words.below if gap is not None and gap == self.strengths.get("margin") else ""

    def arguments(self) -> list[str]:
        """The strengths as arguments of the function.

        >>> PenaltyOfArm("margin", {"margin": 10.0, "alpha": 0.1}).arguments()
        ['margin=10', 'alpha=0.1']
        """
        return [f"{name}={value:g}" for name, value in self.strengths.items()]


def penalty_of(arm: ArmSummary) -> PenaltyOfArm | None:
    """The penalty of an arm of a summary; None where it trains towards a target."""
    found = arm.get("penalty")
    return None if found is None else PenaltyOfArm(found["kind"], found["strengths"])
