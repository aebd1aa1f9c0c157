"""Watch a trainer at work, and say what it did: the whole of ``watch``."""

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from sfumato.probe.findings import WORST_FIRST, ProbeFinding
from sfumato.probe.watching import judging
from sfumato.probe.watching.combine import complete_steps, step_counts
from sfumato.probe.watching.normaliser import normaliser
from sfumato.probe.watching.record import Record
from sfumato.probe.watching.targets_seen import targets_seen
from sfumato.probe.watching.watched import Watched
from sfumato.probe.watching.watcher import RunWatcher, check_model


@contextmanager
def watch(model: Any, logits: Callable[[Any], Any] | str | None = None) -> Generator[Watched]:
    r"""Read off the gradients what a trainer does, while it trains.

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
    watcher, seen = RunWatcher(check_model(model), logits), Watched(model=type(model).__name__)
    watcher.start()
    try:
        yield seen
    finally:
        watcher.stop()
    fill(seen, watcher.record)


def fill(seen: Watched, record: Record) -> None:
    """Say what a record means.

    >>> fill(seen := Watched(model="Tiny"), Record())
    >>> seen.findings[0].about
    'model'
    """
    steps = complete_steps(record)
    passes = [each for step in steps for each in step.passes]
    targets = targets_seen(passes)
    evaluation = max((abs(each) for each in record.evaluation_eps), default=None)
    seen.evaluation_eps = None if evaluation is None else round(evaluation, 6) if evaluation > 1e-4 else 0.0
    seen.steps = record.optimiser_steps
    found = list(judging.of_reading(record, targets))
    counts, apart = step_counts(record, 0.0 if targets is None or targets.eps is None else targets.eps)
    seen.ranks = record.ranks
    if targets is not None:
        seen.classes, seen.eps, seen.eps_others = targets.classes, targets.eps, targets.eps_others
        seen.rows, seen.ignored, seen.mass = targets.rows, targets.ignored, targets.mass
        seen.micro_batches = Counter(len(step.passes) for step in steps).most_common(1)[0][0]
        found += [*judging.of_targets(record, targets), *judging.of_given(record, targets)]
        found += judging.of_steps(record, targets, apart=apart)
        known = normaliser(counts, coarse=targets.coarse) if targets.eps is not None and counts else None
        if known is not None:
            seen.normaliser, seen.mass = known.name, known.mass
            if any(judging.is_mean_of_sequences(each, targets.eps or 0.0) and _uneven(each) for each in passes):
                seen.normaliser = "micro-batches"
            else:
                weighted = any(judging.is_weighted(each, targets) for each in passes)
                exact = not weighted and (targets.coarse or targets.misfit < 1e-5)
                seen.mass = known.mass if exact else targets.mass
                found += judging.of_normaliser(known, counts, coarse=targets.coarse, exact=exact)
    found += judging.of_evaluation(record, seen.evaluation_eps, seen.eps)
    seen.findings = _sorted(found)


def _uneven(one: Any) -> bool:
    """Whether the sequences of a pass have unequal numbers of rows with a gradient."""
    counts = one.rows.live.reshape(one.sequences, -1).sum(1)
    return len(set(counts[counts > 0].tolist())) > 1


def _sorted(found: list[ProbeFinding]) -> tuple[ProbeFinding, ...]:
    return tuple(sorted(dict.fromkeys(found), key=lambda each: WORST_FIRST.index(each.level)))
