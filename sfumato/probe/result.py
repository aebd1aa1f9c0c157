"""The result of a probe with its text for a terminal, and the findings of probe and watch."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

from sfumato.conventions import SPREADS
from sfumato.probe.levels import least_share
from sfumato.probe.recipe import Recipe
from sfumato.text import wrapped

Level: TypeAlias = Literal["defect", "warning", "note"]
WORST_FIRST: tuple[Level, ...] = ("defect", "warning", "note")
SCHEMA = "sfumato.probe/1"


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


defect = partial(ProbeFinding, "defect")
warning = partial(ProbeFinding, "warning")
note = partial(ProbeFinding, "note")


def worst_first(findings: Iterable[ProbeFinding]) -> tuple[ProbeFinding, ...]:
    """The findings in the order of their levels, each once."""
    return tuple(sorted(dict.fromkeys(findings), key=lambda finding: WORST_FIRST.index(finding.level)))


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
        corrected: the line of code without the defects of the loss; None where the loss has no defect, or no such line.
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
    reduction: str
    findings: tuple[ProbeFinding, ...]
    why: str
    recipe: Recipe | str
    convention: str | None = None
    eps: float | None = None
    eps_all: float | None = None
    eps_others: float | None = None
    target: tuple[float, float] | None = None
    mass: float | None = None
    ignore_index: int | None = None
    corrected: str | None = None
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
        names = (
            "called", "classes", "convention", "eps", "eps_all", "eps_others", "target", "mass", "ignore_index",
            "reduction", "findings", "why", "line", "corrected", "where",
        )  # fmt: skip
        found = {"schema": SCHEMA, "loss": self.name, **{name: getattr(self, name) for name in names}}
        found["target"] = None if self.target is None else list(self.target)
        found["findings"] = [dataclasses.asdict(finding) for finding in self.findings]
        return found


def as_text(result: Probe, width: int = 100) -> str:
    """What :func:`~sfumato.probe.probing.probe` found, for a person, in lines of ``width`` columns.

    >>> import torch
    >>> from sfumato.probe import probe
    >>> print(as_text(probe(torch.nn.CrossEntropyLoss(label_smoothing=0.1))).splitlines()[0])
    CrossEntropyLoss is label smoothing with ε = 0.1 over all classes
    """
    lines = [wrapped(_headline(result), width), wrapped(_in_plain_words(result), width), ""]
    lines += [*lines_of_facts(_facts(result), width), *lines_of_findings(result.findings, width)]
    where = [] if result.where is None else [hanging("  ", f"Here {result.where}.", width)]
    if result.line is None:
        lines += ["", "In sfumato", hanging("  ", str(result.recipe), width)]
    elif result.line != result.corrected:
        kind = "The same loss in sfumato" + (", with its defects" if result.corrected else "")
        lines += ["", f"{kind} (import sfumato as sf):", *where, f"  {result.line}"]
    if result.corrected is not None:
        lines += ["", "Without the defects (import sfumato as sf):", *where, f"  {result.corrected}"]
    return "\n".join(lines)


def _headline(result: Probe) -> str:
    name = result.name.rpartition(":")[2]
    if result.convention is None:
        return f"{name}: {result.why}"
    if result.convention in ("one-hot", "sigmoid-hard"):
        return f"{name} {'is not smoothed' if result.moved_by is None else 'has hard labels'}: {result.why}"
    proper = result.mass is None or abs(result.mass - 1) < 1e-5
    turned = "minus " if result.mass is not None and result.mass < 0 else ""
    where = {
        "others": "over the other classes",
        "all": "over all classes",
        "nopad": "over the other classes, padding left out",
        "classy": "added over all classes" + (", then normalised (ClassyVision's)" if proper else ", not normalised"),
        "prior": "over a prior",
        "deficit": "over the other classes, but a share short",
        "sigmoid-half": "of each class towards one half",
        "sigmoid-full": "as the chance of a wrong label a class",
        "sigmoid-all": "over all classes, given to sigmoids",
    }[result.convention]
    return f"{name} is {turned}label smoothing with ε = {result.eps:g} {where}"


def _in_plain_words(result: Probe) -> str:
    """What training with the loss aims at, for a reader who knows none of the terms."""
    if result.convention == "prior":
        return "It trains a model to give a part of its probability to the right class, and the rest as π says."
    if result.target is None:
        return "It trains a model towards no fixed probabilities that could be recovered from its gradient."
    if result.moved_by is not None:
        return f"It does not train a model to give the probabilities of this target: {result.moved_by}."
    of_sigmoids = (result.convention or "").startswith("sigmoid")
    true, other = (share / (1.0 if of_sigmoids else result.mass or 1.0) for share in result.target)
    if abs(other) <= least_share(result.classes):
        return "It trains a model to give all probability to the right class, and none to any other."
    if of_sigmoids:
        shares = f"right class with chance {true:.4g}, and to each other with {other:.4g}"
        return f"It trains a model to say yes to the {shares}."
    shares = f"{100 * true:.4g} % of its probability to the right class and {100 * other:.4g} % to each other class"
    return f"It trains a model to give {shares} (of {result.classes}), instead of everything to the right one."


def _facts(result: Probe) -> list[tuple[str, str]]:
    """What is known of the loss: the name of each fact, and the fact."""
    rows = [("called", f"loss({result.called})")]
    if result.convention in SPREADS:
        spread = SPREADS[result.convention]
        target = f"{spread.formula_true} and {spread.formula_other}"
        rows.append(("convention", f"{result.convention}: {target}; {result.why}"))
    if result.target is not None:
        true, other = result.target
        rows.append(("target", f"{true:.6g} on the label, {other:.6g} on each other class, at K = {result.classes}"))
        rows += [] if result.mass is None else [("total mass", f"{result.mass:.6g}")]
    both = ((result.eps_all, "over all"), (result.eps_others, "over the others"))
    readings = " or ".join(f"{eps:.6g} {where}" for eps, where in both if eps is not None)
    rows += [("same optimum", readings)] if readings else []
    ignored = "none found" if result.ignore_index is None else str(result.ignore_index)
    return [*rows, ("reduction", result.reduction), ("ignored label", ignored)]


def lines_of_facts(facts: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Names and what they say, the names side by side."""
    left = max(len(name) for name, _ in facts)
    return [hanging(f"{name:<{left}}  ", text, width) for name, text in facts]


def lines_of_findings(findings: Sequence[ProbeFinding], width: int) -> list[str]:
    """Findings with level and code under a heading; the text is below where the codes leave no room for 40 columns."""
    left = max((len(each.code) for each in findings), default=0)
    lines = ["", "findings"] if findings else []
    for each in findings:
        if width < left + 51:
            lines += [f"{each.level:<7}  {each.code}", hanging(" " * 9, each.text, width)]
        else:
            lines.append(hanging(f"{each.level:<7}  {each.code:<{left}}  ", each.text, width))
    return lines


def hanging(lead: str, text: str, width: int) -> str:
    """A paragraph whose first line begins with ``lead``, and the others below the end of that."""
    return wrapped(text, width, first=lead, rest=" " * len(lead))
