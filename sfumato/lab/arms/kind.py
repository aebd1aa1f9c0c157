"""What one kind of arm says of itself: its name, an example, its parameters, and how an arm of it is made.

This file imports nothing heavy, because ``--help`` is made from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

NUMBERS = "numbers"
"""In the place of a file of values: the classes are called by their numbers."""

Value: TypeAlias = "float | str"
"""Of a parameter: a number, or a text such as the path of a file."""


@dataclass(frozen=True)
class Parameter:
    """One of the words after the kind of an ``--arm``, with colons between.

    Attributes:
        name: as code calls it, such as ``"eps"``.
        called: as an error calls it: ``"its strength"``.
        range: what it must be, in words: ``"above 0 and at most 1"``. A text may be anything.
        holds: whether a number is in that range; None for a parameter that is a text.
        default: its value where it is left out; None where it must be given, and NaN where it then has none.
    """

    name: str
    called: str
    range: str = ""
    holds: Callable[[float], bool] | None = None
    default: Value | None = None

    def __str__(self) -> str:
        """Its name, range and default, as the docs have them.

        >>> str(Parameter("alpha", "its weight α", "above 0", default=0.1))
        'alpha above 0 (0.1)'
        """
        left_out = self.default is None or self.default != self.default
        default = "" if left_out else f"({self.default})"
        return " ".join(filter(None, (self.name, self.range, default)))


@dataclass(frozen=True)
class ArmKind:
    """One kind of arm.

    Attributes:
        name: what ``--arm`` calls it.
        example: an ``--arm`` of this kind, as ``"others:0.1"``.
        formula: the target, or the loss, that it trains with; as the docs print it.
        made_by: ``"module:function"``, called with an :class:`AskedArm` and :class:`TrainingLabels`; returns the arm.
            It may raise OptionError.
        parameters: in the order in which they are written.
        note: what ``--help`` says in brackets after the example; may be empty.
        needs: what the data, or the model, must have.
    """

    name: str
    example: str
    formula: str
    made_by: str
    parameters: tuple[Parameter, ...] = ()
    note: str = ""
    needs: Literal["", "soft labels", "rows that can be mixed", "pictures"] = ""

    def row(self) -> str:
        """The kind's row in the table of docs/design.md."""
        parameters = "; ".join(map(str, self.parameters)) or "none"
        return f"| `{self.example}` | {parameters} | {self.formula} |"


@dataclass(frozen=True)
class AskedArm:
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
        """What the arm is called in files and tables: its kind and its values, of a path the name of the file.

        >>> AskedArm(ArmKind("hierarchy", "", "", ""), ("trees/my tree.json", 5.0)).arm_name
        'hierarchy-my-tree-5'
        """
        return "-".join([self.kind.name, *(_in_a_name(value) for value in self.values if value != NUMBERS)])


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


def _in_a_name(value: Value) -> str:
    if isinstance(value, str):
        return re.sub(r"[^\w.]+", "-", PurePath(value).stem).strip("-.") or "file"
    return f"{value:g}"
