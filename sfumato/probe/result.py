"""The result of a probe, and the findings of probe and watch."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

from sfumato.probe.recipe import Recipe

Level: TypeAlias = Literal["defect", "warning", "note"]
WORST_FIRST: tuple[Level, ...] = ("defect", "warning", "note")


@dataclass(frozen=True)
class ProbeFinding:
    """One thing found.

    Attributes:
        level: ``"defect"``: the loss trains towards something that nobody asked for, or fails; ``"warning"``: it will
            surprise; ``"note"``: it is good to know.
        code: a stable name of this kind of statement.
        text: what was seen.

    >>> str(ProbeFinding("defect", "mass-deficit", "Σq = 0.99"))
    'defect: mass-deficit: Σq = 0.99'
    """

    level: Level
    code: str
    text: str

    def __str__(self) -> str:
        """The finding as one line."""
        return f"{self.level}: {self.code}: {self.text}"


def in_figures(numbers: Iterable[float], most: int = 6, *, digits: int = 4) -> str:
    """The first numbers of a distribution, without the rounding of a fit."""
    figures = [f"{round(float(each), 9) + 0.0:.{digits}g}" for each in numbers]
    return f"({', '.join(figures[:most])}{', …' if len(figures) > most else ''})"


def worst_first(findings: Iterable[ProbeFinding]) -> tuple[ProbeFinding, ...]:
    """The findings in the order of their levels, each once."""
    return tuple(sorted(dict.fromkeys(findings), key=lambda finding: WORST_FIRST.index(finding.level)))


defect = partial(ProbeFinding, "defect")
warning = partial(ProbeFinding, "warning")
note = partial(ProbeFinding, "note")


SCHEMA = "sfumato.probe/1"


@dataclass(frozen=True)
class Probe:
    """What a loss trains towards.

    Attributes:
        name: how the loss was named.
        called: how the loss is called, as in ``"logits[N, K], labels[N]"``.
        classes: K that ``target`` and the strengths are for.
        convention: its name in :data:`sfumato.conventions.SPREADS`, ``"one-hot"``, ``"prior"`` for (1−ε)·e_y + ε·π
            with another π than the uniform, or None where it cannot be told.
        eps: the strength in that convention, or None.
        eps_all: the strength over all classes with the same optimum; None where none has it, or where ``moved_by`` says
            why the optimum is not at ``target``.
        eps_others: the strength over the others with the same optimum, or None as ``eps_all``.
        target: (q_true, q_other) as the gradient has them, or None where there are not two levels.
        mass: Σq, or None.
        ignore_index: the label of rows without gradient, or None.
        reduction: ``"mean"``, ``"sum"``, ``"none"`` or ``"other"``.
        findings: what was found, the worst first.
        why: how the convention was told, or why it was not.
        recipe: the same loss in sfumato, or why there is none.
        moved_by: why the loss is not smallest at ``target``, as a clause; None where it is. Class weights, a penalty, a
            turned sign and a gradient that does not sum to 0 are such reasons.

    >>> import torch
    >>> from sfumato.probe import probe
    >>> probe(torch.nn.CrossEntropyLoss(), classes=3).to_dict()["target"]
    [1.0, 0.0]
    """

    name: str
    called: str
    classes: int
    convention: str | None
    eps: float | None
    eps_all: float | None
    eps_others: float | None
    target: tuple[float, float] | None
    mass: float | None
    ignore_index: int | None
    reduction: str
    findings: tuple[ProbeFinding, ...]
    why: str
    recipe: Recipe | str
    moved_by: str | None = None

    @property
    def line(self) -> str | None:
        """The line of code that gives the same loss in sfumato; None where there is none."""
        return None if isinstance(self.recipe, str) else self.recipe.code

    @property
    def where(self) -> str | None:
        """What ``logits`` are in the line, where the loss takes something else; None where the loss takes logits."""
        if "log-probabilities[" in self.called:
            return "logits are the log-probabilities that the loss takes, or the logits before them"
        if "probabilities[" in self.called:
            return "logits are probabilities.log(), or the logits before them"
        return 'logits are outputs["logits"]' if '{"logits"' in self.called else None

    def to_dict(self) -> dict[str, Any]:
        """The object that ``sfumato probe --json`` prints: the recipe is only its line, and findings say what moves."""
        fields = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        named = {"schema": SCHEMA, "loss": fields.pop("name"), **fields, "line": self.line, "where": self.where}
        del named["recipe"], named["moved_by"]
        named["target"] = None if self.target is None else list(self.target)
        named["findings"] = [dataclasses.asdict(finding) for finding in self.findings]
        return named
