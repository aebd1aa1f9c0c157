"""A kind of arm is one record: its name, parameters, words, code to copy, and the function that makes an arm of it.

An :class:`Arm` is one target of a comparison, with the loss that trains it and the proof that the loss used it. Nothing
heavy is imported at the top, because ``--help`` is made from the records.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from sfumato.lab.errors import ArmError
from sfumato.verdict.arms import ComparedArm, smoothing_in_words

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import Tensor

    from sfumato.runs.schema import ArmDescription
    from sfumato.theory import Over

Value: TypeAlias = "float | str"
"""Of a parameter: a number, or a text such as the path of a file."""

NUMBERS = "numbers"
"""In the place of a file of values: the classes are called by their numbers."""


@dataclass(frozen=True)
class Parameter:
    """One of the words after the kind of an ``--arm``, with colons between."""

    name: str  # as code calls it: "eps"
    called: str  # as an error calls it: "its strength"
    range: str = ""  # what it must be, in words: "above 0 and at most 1"
    holds: Callable[[float], bool] | None = None  # whether a number is in that range; None for a text
    default: Value | None = None  # None where it must be given, and NaN where it then has none

    def __str__(self) -> str:
        """Its name, range and default, as the docs have them."""
        left_out = self.default is None or self.default != self.default
        default = "" if left_out else f"({self.default})"
        return " ".join(filter(None, (self.name, self.range, default)))


@dataclass(frozen=True)
class Words:
    """What readers see of a kind of arm, with its ``{eps}``, ``{name}``, ``{over}`` and strengths filled in."""

    method: str = "smoothing"  # what training with it is called
    strength: str = ""  # in a sentence, with the function that makes the target
    target: str = "{eps:g} over {over}"  # the strength in a table
    title: str = "{name}"
    code: str = ""  # lines that compute ``loss``
    code_strength: str = ""
    code_note: str = ""
    varies: Literal["", "mixed rows", "soft labels"] = ""  # why the target differs between rows of one class
    no_gap: str = ""  # why no single gap is best


@dataclass(frozen=True)
class ArmKind:
    """One kind of arm."""

    name: str  # as ``--arm`` calls it
    example: str
    formula: str  # the target or the loss, as the docs print it
    make: Callable[[ArmSpec, TrainingLabels], Arm]  # may raise OptionError
    parameters: tuple[Parameter, ...] = ()
    note: str = ""  # in brackets after the example, in ``--help``
    needs: Literal["", "soft labels", "rows that can be mixed", "pictures"] = ""  # of the data, or of the model
    words: Words | None = None  # None for plain smoothing

    def row(self) -> str:
        """The kind's row in the table of the docs."""
        parameters = "; ".join(map(str, self.parameters)) or "none"
        return f"| `{self.example}` | {parameters} | {self.formula} |"


@dataclass(frozen=True)
class ArmSpec:
    """What an ``--arm`` asks for: a kind, and a value for each of its parameters."""

    kind: ArmKind
    values: tuple[Value, ...]

    @property
    def named(self) -> Mapping[str, Any]:
        """Each value by the name of its parameter."""
        return {parameter.name: value for parameter, value in zip(self.kind.parameters, self.values, strict=True)}

    @property
    def numbers(self) -> tuple[float, ...]:
        """The values that are numbers, in their order."""
        return tuple(value for value in self.values if not isinstance(value, str))

    @property
    def files(self) -> tuple[str, ...]:
        """The values that are paths of files, in their order."""
        return tuple(value for value in self.values if isinstance(value, str) and value != NUMBERS)

    @property
    def arm_name(self) -> str:
        """What the arm is called in files and tables: its kind and its values, of a path the name of the file."""
        return "-".join([self.kind.name, *(_in_a_name(value) for value in self.values if value != NUMBERS)])


def _in_a_name(value: Value) -> str:
    if isinstance(value, str):
        return re.sub(r"[^\w.]+", "-", PurePath(value).stem).strip("-.") or "file"
    return f"{value:g}"


@dataclass(frozen=True)
class TrainingLabels:
    """What an arm may be made from: labels (n,) of the training rows, K, soft labels (n, K), and the classes' names."""

    labels: npt.NDArray[np.int64]
    num_classes: int
    soft: npt.NDArray[np.float64] | None = None
    class_names: tuple[str, ...] = ()

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """The share of each class among the rows, (K,)."""
        import numpy as np

        return np.bincount(self.labels, minlength=self.num_classes) / len(self.labels)


@dataclass(frozen=True)
class Arm:
    """One target of a comparison; by itself it is plain smoothing, or one-hot where ε is 0."""

    name: str
    eps: float | None  # the last one of a schedule, α of the Beta distribution of arms that mix; None for penalties
    over: str | None  # what ε is spread over; None where no strength says it
    words: Words | None = field(default=None, kw_only=True, repr=False)
    strengths: tuple[tuple[str, float], ...] = field(default=(), kw_only=True, repr=False)  # of a penalty or schedule

    @property
    def penalty(self) -> dict[str, Any] | None:
        """The kind and the strengths of a penalty, as the summary has them; None for an arm towards a target."""

    @property
    def schedule(self) -> dict[str, Any] | None:
        """The kind and the strengths of a schedule, likewise; None where the strength stands still."""

    @property
    def strength(self) -> float:
        """The strength ε, of an arm that has one."""
        assert self.eps is not None, "an arm towards a target has a strength"
        return self.eps

    def refuse_steps(self, steps: int) -> None:
        """Raise OptionError where the arm cannot be trained in so many steps."""

    def loss(self) -> torch.nn.Module:
        """A new loss module for this arm."""
        from sfumato.loss import CrossEntropyLoss

        return CrossEntropyLoss(label_smoothing=self.strength, over=self._over)

    def floor(self, num_classes: int) -> float:
        """The smallest value of the loss, in nats: a mean over the training rows where it differs between them."""
        from sfumato import theory

        return theory.loss_floor(self.strength, num_classes, over=self._over)

    def gap(self, num_classes: int) -> float:
        """The mean logit gap at the optimum, in nats; ``inf`` for one-hot and for arms that mix."""
        from sfumato import theory

        return theory.optimal_gap(self.strength, num_classes, over=self._over)

    def target(self, label: int, num_classes: int) -> list[float]:
        """The whole target of one label, (K,); an example of one where the label alone does not decide it."""
        from sfumato.conventions import CONVENTIONS

        true, other = CONVENTIONS[self._over].target(self.strength, num_classes)
        return [true if k == label else other for k in range(num_classes)]

    def verify(self, loss: Any, num_classes: int) -> list[float]:
        """Probe the loss object that trained; ArmError where another target than this arm's made the result.

        Returns ``[q_true, q_other]`` of the last class; the other class is the first one.
        """
        from sfumato.probe import implied_target

        q: list[float] = []
        for label in (0, num_classes - 1):
            implied = implied_target(self.probed(loss, num_classes), num_classes, label=label)
            q, wanted = implied.target.tolist(), self.target(label, num_classes)
            if max(abs(a - b) for a, b in zip(q, wanted, strict=True)) > 1e-9 or abs(implied.mass - 1) > 1e-9:
                other = (label + 1) % num_classes
                raise ArmError(
                    f'arm "{self.name}" (ε = {self.strength:g} over {self.over}) should train towards '
                    f"{wanted[label]:.6g} on the label and {wanted[other]:.6g} on each other class, but its loss "
                    f"implies {q[label]:.6g} and {q[other]:.6g}; nothing of this comparison can be trusted"
                )
        return [round(q[num_classes - 1], 12), round(q[0], 12) + 0.0]  # the rest is rounding of the probe itself

    def probed(self, loss: Any, num_classes: int) -> Callable[[Tensor, Tensor], Tensor]:
        """The loss as a function of logits and labels, whose target is that of :meth:`target`."""
        return loss

    def describe(self, num_classes: int) -> str:
        """The strength in words, with the function or argument that gives it."""
        if self.words is None:
            return smoothing_in_words(self.strength, self.over, num_classes)
        return self._filled(self.words.strength, num_classes)

    def code(self) -> str:
        """The lines of Python that compute ``loss`` with sfumato."""
        return "" if self.words is None else self._filled(self.words.code, 0)

    def below(self, num_classes: int) -> str:
        """Why the mean gap of a network stays below the best one; "" where it need not."""
        return ""

    def description(self, num_classes: int) -> ArmDescription | None:
        """What the summary of a run holds for those who show this arm; None for plain smoothing."""
        if self.words is None:
            return None
        filled = {
            name: self._filled(getattr(self.words, name), num_classes)
            for name in ("title", "method", "target", "code_strength", "code_note", "varies", "no_gap")
        }
        strength, below = self.describe(num_classes), self.below(num_classes)
        return cast("ArmDescription", {**filled, "strength": strength, "below": below, "code": self.code()})

    def compared(self, num_classes: int) -> ComparedArm:
        """The arm as a verdict knows it."""
        method = "smoothing" if self.words is None else self.words.method
        one_hot, moves = self.is_one_hot, self.schedule is not None
        return ComparedArm(self.name, method, self.describe(num_classes), one_hot, moves)

    @property
    def is_one_hot(self) -> bool:
        """Whether it trains on one-hot labels from the first step to the last."""
        return self.eps == 0 and self.words is None

    @property
    def _over(self) -> Over:
        return cast("Over", self.over)

    def _filled(self, words: str, num_classes: int) -> str:
        known = {"name": self.name, "eps": self.eps, "over": self.over, "classes": num_classes}
        percent = {f"{name}_percent": f"{100 * value:g} %" for name, value in self.strengths}
        return words.format_map(known | dict(self.strengths) | percent)


@dataclass(frozen=True)
class MeasuredArm(Arm):
    """An arm whose floor and gap, in nats, were measured on the training rows."""

    mean_floor: float
    mean_gap: float

    def floor(self, num_classes: int) -> float:
        return self.mean_floor

    def gap(self, num_classes: int) -> float:
        return self.mean_gap


def entropies_and_gaps(targets: Any, labels: npt.NDArray[np.int64]) -> tuple[Any, Any]:
    """Of each target (n, K) its entropy, and log q_y minus the mean of the other log q_k; in nats, (n,) each."""
    import numpy as np

    rows = np.arange(len(labels))
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(targets)
        entropies = -(targets * np.where(targets > 0, logs, 0.0)).sum(1)
        own = logs[rows, labels]
        logs[rows, labels] = 0.0  # not taken off again: it may be −∞
        return entropies, own - logs.sum(1) / (targets.shape[1] - 1)


def floor_and_gap(table: Any, shares: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The means over the training rows, where each class has a row of a table as its target; an infinite gap is inf."""
    import numpy as np

    entropies, gaps = entropies_and_gaps(table, np.arange(len(table)))
    counted = shares > 0  # a class without rows may have an infinite gap
    gap = float(gaps[counted] @ shares[counted])
    return float(entropies @ shares), gap if np.isfinite(gap) else float("inf")
