"""Watch a trainer at work, and say what it did: the whole of ``watch``."""

from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from sfumato.probe.find_loss import ProbeError, load, refusing
from sfumato.probe.result import ProbeFinding, lines_of_facts, lines_of_findings, note, worst_first
from sfumato.probe.watching import judging
from sfumato.probe.watching.labels_seen import label_findings
from sfumato.probe.watching.normaliser import NormaliserName, StepCount, normaliser, step_counts
from sfumato.probe.watching.targets_seen import Record, TargetsSeen, losses_differ, targets_seen
from sfumato.probe.watching.watcher import RunWatcher
from sfumato.text import plural, wrapped

SCHEMA = "sfumato.watch/1"


@dataclass
class Watched:
    """What a trainer did; it is filled when the ``with`` block of :func:`watch` ends.

    Attributes:
        eps: the strength over all classes, as torch's argument, that reached the logits; None if unknown.
        eps_others: the same target as a strength over the other classes. At one K the two cannot be distinguished.
        mass: what a row's gradient is multiplied by beside its normaliser: 1, or Σq of a target that does not sum to 1.
        normaliser: ``"rows"``: one mean over all rows that count between two steps of the optimiser;
            ``"micro-batches"``: a mean of means; ``"sum"``; ``"twice"``: divided once too often or too rarely; None
            if unknown.
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
            return f"Nothing could be read from {self.model or 'the model'}."
        if self.eps is None:
            return f"No single strength could be recovered from the gradients of {self.model}."
        if self.eps == 0:
            return f"{self.model} was trained on hard labels: no smoothing reached its logits."
        others = "" if self.eps_others is None else f" ({self.eps_others:.4g} over the others)"
        return f"{self.model} was trained with label smoothing of ε = {self.eps:.4g} over all classes{others}."

    def __str__(self) -> str:
        """The result for a person, at 100 columns."""
        return self.as_text()

    def as_text(self, width: int = 100) -> str:
        """The result for a person, in lines of ``width`` columns."""
        facts = [] if self.classes is None else ["", *lines_of_facts(self._facts(), width)]
        return "\n".join([wrapped(self.sentence, width), *facts, *lines_of_findings(self.findings, width)])

    def _facts(self) -> list[tuple[str, str]]:
        ignored = f", and {plural(self.ignored, 'row')} without" if self.ignored else ""
        micro = plural(self.micro_batches, "backward pass", "backward passes")
        together = f" on each of {self.ranks} ranks" if self.ranks > 1 else ""
        shown = {
            "rows": "one mean over all rows that count between two steps of the optimiser",
            "micro-batches": "a mean of means: not all rows count alike",
            "sum": "a sum: nothing is divided by the number of rows",
            "twice": "not that of a mean: divided once too often or too rarely",
            None: "unknown",
        }
        rows = [
            ("classes", str(self.classes)),
            ("steps", f"{self.steps}, each of {micro}{together}"),
            ("rows", f"{self.rows} with a gradient{ignored}"),
            ("normaliser", shown[self.normaliser]),
        ]
        if self.mass is not None and abs(self.mass - 1) > 1e-3:
            rows.append(("mass", f"{self.mass:.4g}"))
        if self.evaluation_eps is not None:
            smoothed = f"ε = {self.evaluation_eps:.4g} over all"
            rows.append(("evaluation", smoothed if self.evaluation_eps else "the log loss of hard labels"))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """The object that ``sfumato probe --trainer … --json`` prints."""
        names = (
            "model", "classes", "eps", "eps_others", "mass", "normaliser", "steps", "micro_batches", "ranks", "rows",
            "ignored", "evaluation_eps",
        )  # fmt: skip
        fields = {name: getattr(self, name) for name in names}
        return {"schema": SCHEMA, **fields, "findings": [asdict(each) for each in self.findings]}


@contextmanager
def watch(model: Any, logits: Callable[[Any], Any] | str | None = None) -> Generator[Watched]:
    r"""Detect what a trainer does from its gradients, while it trains.

    .. math:: \partial L/\partial z_k = c\,(p_k - q_k)

    for each row of each backward pass: the classes other than the label lie on one line, whose zero is the mass of each
    and whose slope c is what the row was multiplied by. The run is not changed, and nothing is left behind.

    Args:
        model: the :class:`torch.nn.Module` that the trainer calls; a model of Keras on torch too.
        logits: where the logits are in the model's output, as a function of it or as a name; by default the output
            itself, its ``logits``, or its only tensor with two axes.

    Returns:
        A context manager that gives a :class:`Watched`, which is filled when the block ends.

    Raises:
        ProbeError: the model is no module, or its output holds no logits or several; the message says how to name them.

    >>> import torch
    >>> model, loss = torch.nn.Linear(4, 3), torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    >>> optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with watch(model) as seen:
    ...     loss(model(torch.randn(8, 4)), torch.arange(8) % 3).backward()
    ...     optimiser.step()
    >>> seen.eps, seen.normaliser, seen.steps
    (0.1, 'rows', 1)

    Source: the note, eq. 1, solved for the target.
    """
    seen = Watched(model=type(model).__name__)
    if not isinstance(model, nn.Module):
        own = f"; its own .model is one: watch({seen.model.lower()}.model)"
        hint = own if isinstance(getattr(model, "model", None), nn.Module) else ""
        raise ProbeError(f"watch needs the torch.nn.Module that is trained, got a {seen.model}{hint}")
    watcher = RunWatcher(model, logits)
    watcher.start()
    try:
        yield seen
    finally:
        watcher.stop()
    fill(seen, watcher.record)


def fill(seen: Watched, record: Record) -> None:
    """Say what a record means."""
    steps = record.complete_steps()
    passes = [each for step in steps for each in step.passes]
    targets = targets_seen(passes)
    evaluation = max((abs(each) for each in record.evaluation_eps), default=None)
    seen.evaluation_eps = None if evaluation is None else round(evaluation, 6) if evaluation > 1e-4 else 0.0
    seen.steps = record.optimiser_steps
    findings = list(judging.reading_findings(record, targets))
    counts, apart = step_counts(record, (targets and targets.eps) or 0.0)
    seen.ranks = record.ranks
    if targets is not None:
        seen.classes, seen.eps, seen.eps_others = targets.classes, targets.eps, targets.eps_others
        seen.rows, seen.ignored, seen.mass = targets.rows, targets.ignored, targets.mass
        seen.micro_batches = Counter(len(step.micro_batches) for step in steps).most_common(1)[0][0]
        findings += [*judging.target_findings(record, targets), *judging.strength_findings(record, targets)]
        findings += judging.step_findings(record, targets, apart=apart)
        findings += label_findings([each.labelled for each in passes if each.labelled is not None], targets.classes)
        trained = record.optimiser_steps > 0 or not record.steps_of_others
        if targets.eps is not None and trained and not record.unreached:
            findings += _normaliser_findings(seen, record, targets, counts)
    findings += judging.evaluation_findings(record, seen.evaluation_eps, seen.eps)
    seen.findings = worst_first(findings)


def _normaliser_findings(
    seen: Watched, record: Record, targets: TargetsSeen, counts: list[StepCount]
) -> Iterator[ProbeFinding]:
    """Say what was divided by, as far as it can be known."""
    eps, known = targets.eps or 0.0, normaliser(counts, coarse=targets.coarse)
    if known is None:
        return
    calls = [each for step in record.complete_steps() for each in step.micro_batches]
    passes = [each for call in calls for each in call]
    seen.normaliser, seen.mass = known.name, known.mass
    most = max(len(call) for call in calls)
    weighted = any(judging.is_weighted(each, targets) for each in passes)
    if any(judging.is_mean_of_sequences(each, eps, uneven=True) for each in passes):
        seen.normaliser = "micro-batches"
    elif most > 1 and (
        known.name == "twice" or abs(known.mass - 1) > 1e-2 or any(losses_differ(c, eps) for c in calls)
    ):
        seen.normaliser, seen.mass = None, targets.mass
        text = f"a backward pass goes through {most} calls of the model, whose losses are added: right for several "
        yield note("losses-added", f"{text}losses, and too large for micro-batches")
    elif weighted and known.steps < known.of:
        seen.normaliser, seen.mass = None, targets.mass  # one over a sum of weights, which need not be known
    else:
        exact = not weighted and (targets.coarse or targets.misfit < 1e-5)
        seen.mass = known.mass if exact else targets.mass
        yield from judging.normaliser_findings(known, counts, coarse=targets.coarse, exact=exact)


def watch_named(name: str) -> Watched:
    """What a trainer does that ``module:function`` makes; the current folder is importable."""
    how = "it must return (model, run): the model that is trained, and what starts the training, such as trainer.train"
    spec = load(name)
    with refusing(f"{name} failed"):
        made = spec.target(*spec.positional, **spec.arguments)
    if not isinstance(made, (tuple, list)) or len(made) not in (2, 3):
        raise ProbeError(f"{name} returned a {type(made).__name__}; {how}")
    model, run, *logits = made
    if not callable(run):
        raise ProbeError(f"{name} returned a {type(run).__name__} in the second place, which cannot be called; {how}")
    with watch(model, *logits) as seen, refusing(f"the training of {name} failed"):
        run()
    return seen
