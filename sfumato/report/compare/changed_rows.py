"""Which test rows two targets treat differently, by a rule that anyone can repeat from the logits.

An arm's answer for a row is the one that most of its seeds give; its probability of the label is the mean over seeds
after each seed's temperature. Without the temperature nearly every probability would change, since that is what
smoothing does to all of them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sfumato.report.compare.predictions import probabilities
from sfumato.runs.read import Floats, Ints, Run, load_run
from sfumato.runs.schema import ArmSummary

MOST = 8


@dataclass(frozen=True)
class ChangedRow:
    """One test row, by its number in the data, as the base arm and the other arm see it.

    ``answers`` are the classes that most seeds of each arm give, and ``votes`` the numbers of these seeds.
    ``probability`` is that of the label, mean over seeds after temperature.
    """

    row: int
    label: int
    answers: tuple[int, int]
    votes: tuple[int, int]
    probability: tuple[float, float]


@dataclass(frozen=True)
class Changes:
    """What changed between two arms among all ``rows``, the largest changes first, at most eight rows a list.

    Only the other arm is right in the rows ``gained``, and only the base arm in the rows ``lost``. Both are wrong, with
    different answers, in the rows ``swapped``. The rows ``shifted`` have the same answer, and their probability of the
    label changed most. ``counts`` are all rows of the first three kinds.
    """

    base: ArmSummary
    other: ArmSummary
    gained: tuple[ChangedRow, ...]
    lost: tuple[ChangedRow, ...]
    swapped: tuple[ChangedRow, ...]
    shifted: tuple[ChangedRow, ...]
    counts: tuple[int, int, int]
    rows: int

    @property
    def shown(self) -> tuple[ChangedRow, ...]:
        """The rows of all lists."""
        return self.gained + self.lost + self.swapped + self.shifted


def compared(run: Run) -> tuple[ArmSummary, ArmSummary] | None:
    """The two arms whose rows are set side by side: the first, and the verdict's choice or else the second.

    A run with one arm has no such pair: None.
    """
    if len(run.arms) < 2:
        return None
    base, chosen = run.arms[0], run.chosen
    return base, chosen if chosen is not None and chosen["name"] != base["name"] else run.arms[1]


def changes(run: Run, base: ArmSummary, other: ArmSummary, *, most: int = MOST) -> Changes:
    """The rows on which two arms differ, at most so many a list.

    Within a list, rows stand by falling change of the probability of the label, then by row number.
    """
    labels, index = run.labels, run.index
    (first, votes_first, p_first), (second, votes_second, p_second) = (_majority(run, arm) for arm in (base, other))
    move = p_second - p_first
    order = np.lexsort((index, -np.abs(move)))
    was, now, same = first == labels, second == labels, first == second

    def pick(which: np.ndarray) -> tuple[ChangedRow, ...]:
        return tuple(
            ChangedRow(
                row=int(index[i]),
                label=int(labels[i]),
                answers=(int(first[i]), int(second[i])),
                votes=(int(votes_first[i]), int(votes_second[i])),
                probability=(float(p_first[i]), float(p_second[i])),
            )
            for i in order[which[order]][:most]
        )

    gained, lost, swapped = now & ~was, was & ~now, ~was & ~now & ~same
    counts = (int(gained.sum()), int(lost.sum()), int(swapped.sum()))
    shifted = pick(same & (np.abs(move) > 0))
    return Changes(base, other, pick(gained), pick(lost), pick(swapped), shifted, counts, len(labels))


def rows_to_show(folder: str | Path) -> list[int]:
    """Numbers in the data of the rows that the page of this run shows, rising, for the writer of ``examples.json``.

    The run in the ``folder`` is whole but for its page. It has no such rows if it has one arm only.

    Raises:
        ReportError: a file of the run is missing or broken.
    """
    run = load_run(folder)
    pair = compared(run)
    return [] if pair is None else sorted({each.row for each in changes(run, *pair).shown})


def _majority(run: Run, arm: ArmSummary) -> tuple[Ints, Ints, Floats]:
    """The answer that most seeds give (n,), how many do, and the mean probability of the label.

    Of answers with as many seeds the one with the larger mean probability counts.
    """
    votes = np.zeros((len(run.labels), run.num_classes))
    mean = np.zeros_like(votes)
    for seed in run.seeds:
        logits = run.test[arm["name"], seed].logits
        votes[np.arange(len(votes)), logits.argmax(axis=1)] += 1
        mean += probabilities(run, arm["name"], seed) / len(run.seeds)
    answer = np.lexsort((mean, votes), axis=1)[:, -1]
    count = np.take_along_axis(votes, answer[:, None], axis=1)[:, 0]
    return answer.astype(np.int64), count.astype(np.int64), mean[np.arange(len(mean)), run.labels]
