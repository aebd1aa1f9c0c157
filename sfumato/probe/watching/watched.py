"""The result of watching a run."""

from dataclasses import dataclass
from typing import Any

from sfumato.probe.findings import ProbeFinding
from sfumato.probe.text import lines_of_facts, lines_of_findings, wrapped
from sfumato.probe.watching.normaliser import NormaliserName
from sfumato.text import plural

SCHEMA = "sfumato.watch/1"


@dataclass
class Watched:
    """What a trainer did; it is filled when the ``with`` block of :func:`watch` ends.

    Attributes:
        eps: the strength over all classes, as torch's argument, that reached the logits; None where it cannot be told.
        eps_others: the same target as a strength over the other classes. At one K nobody can tell the two apart.
        mass: what a row's gradient is multiplied by beside its normaliser: 1, or Σq of a target that does not sum to 1.
        normaliser: ``"rows"``: one mean over all rows that count between two steps of the optimiser;
            ``"micro-batches"``: a mean of means; ``"sum"``; ``"twice"``: divided once too often or too rarely; None
            where it cannot be told.
        steps: steps that the optimiser took.
        evaluation_eps: the strength over all classes of the loss in evaluation; None without one that could be read.
        findings: what was found, the worst first.
        model: the class of the model.
        classes: K.
        rows: rows with a gradient, of the steps that were read.
        ignored: rows without a gradient.
        micro_batches: backward passes a step, the most common number.
        ranks: processes that trained together.

    >>> print(Watched(model="Tiny", eps=0.1, eps_others=0.09, classes=10, steps=2, normaliser="rows").sentence)
    Tiny was trained with label smoothing of ε = 0.1 over all classes (0.09 over the others).
    """

    eps: float | None = None
    eps_others: float | None = None
    mass: float | None = None
    normaliser: NormaliserName | None = None
    steps: int = 0
    evaluation_eps: float | None = None
    findings: tuple[ProbeFinding, ...] = ()
    model: str = ""
    classes: int | None = None
    rows: int = 0
    ignored: int = 0
    micro_batches: int = 0
    ranks: int = 1

    @property
    def sentence(self) -> str:
        """What reached the logits, in one sentence."""
        if self.classes is None:
            return f"Nothing was read of {self.model or 'the model'}."
        if self.eps is None:
            return f"No one strength could be read off the gradients of {self.model}."
        if self.eps == 0:
            return f"{self.model} was trained on hard labels: no smoothing reached its logits."
        others = "" if self.eps_others is None else f" ({self.eps_others:.4g} over the others)"
        return f"{self.model} was trained with label smoothing of ε = {self.eps:.4g} over all classes{others}."

    def __str__(self) -> str:
        """The result for a person, at 100 columns."""
        return self.as_text()

    def as_text(self, width: int = 100) -> str:
        """The result for a person, in lines of ``width`` columns."""
        lines = wrapped("", self.sentence, width)
        if self.classes is not None:
            lines += ["", *lines_of_facts(self._facts(), width)]
        if self.findings:
            lines += ["", f"{'':7}  findings", *lines_of_findings(self.findings, width)]
        return "\n".join(lines).rstrip()

    def _facts(self) -> list[tuple[str, str]]:
        ignored = f", and {plural(self.ignored, 'row')} without" if self.ignored else ""
        micro = plural(self.micro_batches, "backward pass", "backward passes")
        together = f" on each of {self.ranks} ranks" if self.ranks > 1 else ""
        told = {
            "rows": "one mean over all rows that count between two steps of the optimiser",
            "micro-batches": "a mean of means: not all rows count alike",
            "sum": "a sum: nothing is divided by the number of rows",
            "twice": "not that of a mean: divided once too often or too rarely",
            None: "could not be told",
        }
        rows = [
            ("classes", str(self.classes)),
            ("steps", f"{self.steps}, each of {micro}{together}"),
            ("rows", f"{self.rows} with a gradient{ignored}"),
            ("normaliser", told[self.normaliser]),
        ]
        if self.mass is not None and abs(self.mass - 1) > 1e-3:
            rows.append(("mass", f"{self.mass:.4g}"))
        if self.evaluation_eps is not None:
            hard = (
                "the log loss of hard labels" if self.evaluation_eps == 0 else f"ε = {self.evaluation_eps:.4g} over all"
            )
            rows.append(("evaluation", hard))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """The object that ``sfumato probe --trainer … --json`` prints."""
        names = (
            "model", "classes", "eps", "eps_others", "mass", "normaliser", "steps", "micro_batches", "ranks", "rows",
            "ignored", "evaluation_eps",
        )  # fmt: skip
        fields = {name: getattr(self, name) for name in names}
        return {"schema": SCHEMA, **fields, "findings": [str(each) for each in self.findings]}
