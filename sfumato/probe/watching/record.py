"""What is kept of a run while it is watched: passes, and the steps that they belong to."""

from collections import Counter
from dataclasses import dataclass, field

from sfumato.probe.watching.given import GivenStrength
from sfumato.probe.watching.rows import ReadRows

MOST_STEPS = 50
"""Steps whose passes are read; the ones after that are only counted."""


@dataclass
class ReadPass:
    """One backward pass: its rows, and how they were shaped."""

    rows: ReadRows
    sequences: int
    inputs: Counter[str]
    training: bool


@dataclass
class ReadStep:
    """Passes whose gradients add up, and what became of the gradients.

    Attributes:
        passes: in their order.
        stepped: whether the optimiser took a step with them.
        began_with_gradients: whether gradients of before stood at the parameters already.
        arrived: some entries of what arrived at one parameter.
        at_the_optimiser: the same entries of the gradient that the optimiser was given.
        divided_by: what the optimiser itself averages over, as Keras does.
    """

    passes: list[ReadPass] = field(default_factory=list[ReadPass])
    stepped: bool = False
    began_with_gradients: bool = False
    arrived: list[float] = field(default_factory=list[float])
    at_the_optimiser: list[float] = field(default_factory=list[float])
    divided_by: int = 1


@dataclass
class Record:
    """Everything that was seen."""

    steps: list[ReadStep] = field(default_factory=list[ReadStep])
    optimiser_steps: int = 0
    steps_of_others: int = 0
    forwards: int = 0
    training_forwards: int = 0
    without_logits: int = 0
    parameters: int = 0
    given: list[GivenStrength] = field(default_factory=list[GivenStrength])
    evaluations: int = 0
    evaluation_eps: list[float] = field(default_factory=list[float])
    problems: Counter[str] = field(default_factory=Counter[str])
    ranks: int = 1
    ranks_silent: list[int] = field(default_factory=list[int])
