"""Which test rows two targets treat differently, by a rule that anyone can repeat from the logits.

An arm's answer for a row is the one that most of its seeds give; its probability of the label is the mean over seeds
after each seed's temperature.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np

from sfumato.report.arms import arm_title, places, probabilities
from sfumato.runs.read import Floats, Ints, ReportError, Run, load_run
from sfumato.runs.schema import ArmSummary
from sfumato.text import number

MAX_ROWS = 8  # that a list shows
_PNG = r"\Adata:image/png;base64,iVBORw0KGgo[\w+/]*={0,2}\Z"
_HELD = "\N{NO-BREAK SPACE}"


class ChangedRow(NamedTuple):
    """One test row, by its number in the data: of both arms the answer, its votes, and the probability of the label."""

    row: int
    label: int
    answers: tuple[int, int]
    votes: tuple[int, int]
    probability: tuple[float, float]


class Changes(NamedTuple):
    """What changed between two arms, the largest changes first; ``counts`` are all rows of the first three kinds."""

    gained: tuple[ChangedRow, ...]  # only the other arm is right
    lost: tuple[ChangedRow, ...]  # only the base arm is right
    swapped: tuple[ChangedRow, ...]  # both are wrong, with different answers
    shifted: tuple[ChangedRow, ...]  # the same answer, and another probability
    counts: tuple[int, int, int]

    @property
    def shown(self) -> tuple[ChangedRow, ...]:
        """The rows of all lists."""
        return self.gained + self.lost + self.swapped + self.shifted


def compared(run: Run) -> tuple[ArmSummary, ArmSummary] | None:
    """The two arms whose rows are set side by side: the first, and the verdict's choice or else the second, if any."""
    if len(run.arms) < 2:
        return None
    base, chosen = run.arms[0], run.chosen
    return base, chosen if chosen is not None and chosen["name"] != base["name"] else run.arms[1]


def changes(run: Run, base: ArmSummary, other: ArmSummary, *, most: int = MAX_ROWS) -> Changes:
    """The rows on which two arms differ, in each list by falling change of the label's probability, then by number."""
    labels, index = run.labels, run.index
    (first, votes_first, p_first), (second, votes_second, p_second) = (_majority(run, arm) for arm in (base, other))
    move = p_second - p_first
    order = np.lexsort((index, -np.abs(move)))
    was, now, same = first == labels, second == labels, first == second

    def pick(which: np.ndarray) -> tuple[ChangedRow, ...]:
        rows = order[which[order]][:most]
        pairs = (np.stack(each, axis=1)[rows].tolist() for each in ((first, second), (votes_first, votes_second)))
        probability = np.stack((p_first, p_second), axis=1)[rows].tolist()
        columns = (index[rows].tolist(), labels[rows].tolist(), *(map(tuple, each) for each in (*pairs, probability)))
        return tuple(ChangedRow(*each) for each in zip(*columns, strict=True))

    gained, lost, swapped = now & ~was, was & ~now, ~was & ~now & ~same
    counts = (int(gained.sum()), int(lost.sum()), int(swapped.sum()))
    return Changes(pick(gained), pick(lost), pick(swapped), pick(same & (np.abs(move) > 0)), counts)


def rows_to_show(folder: str | Path) -> list[int]:
    """Numbers in the data of the rows that the page of a run shows, rising, for the writer of ``examples.json``."""
    run = load_run(folder)
    pair = compared(run)
    return [] if pair is None else sorted({changed.row for changed in changes(run, *pair).shown})


def _majority(run: Run, arm: ArmSummary) -> tuple[Ints, Ints, Floats]:
    """The answer that most seeds give (n,), of equal ones the likelier; how many do; the label's mean probability."""
    votes = np.zeros((len(run.labels), run.num_classes))
    mean = np.zeros_like(votes)
    for seed in run.seeds:
        own, logits = run.tested(seed), run.test[arm["name"], seed].logits
        votes[np.arange(own.start, own.stop), logits.argmax(axis=1)] += 1
        mean[own] += probabilities(run, arm["name"], seed) / run.times
    answer = np.lexsort((mean, votes), axis=1)[:, -1]
    count = np.take_along_axis(votes, answer[:, None], axis=1)[:, 0]
    return answer.astype(np.int64), count.astype(np.int64), mean[np.arange(len(mean)), run.labels]


def what_changed(run: Run) -> dict[str, Any] | None:
    """What the page shows of the rows that two arms treat differently; nothing for a run of one arm."""
    pair = compared(run)
    if pair is None:
        return None
    found, examples = changes(run, *pair), load_examples(run.folder)
    names = [arm_title(arm, strength=False) for arm in pair]
    colours = [places(run.arms)[run.arms.index(arm)] for arm in pair]

    def card(row: ChangedRow) -> dict[str, Any]:
        answers = [
            {
                "arm": names[i],
                "place": colours[i],
                "answer": run.class_name(row.answers[i]),
                "right": row.answers[i] == row.label,
                "votes": "" if votes == run.times else f"{votes} of {run.times}".replace(" ", _HELD),
                "probability": number(row.probability[i], 2),
            }
            for i, votes in enumerate(row.votes)
        ]
        example = examples.rows.get(str(row.row), Example())
        values = {name: _shown(cell) for name, cell in (example.values or {}).items()}
        label = run.class_name(row.label)
        return {"row": f"{row.row:,}", "label": label, "example": example, "values": values, "answers": answers}

    lists = (
        (f"Only {names[1]} is right", found.gained, found.counts[0]),
        (f"Only {names[0]} is right", found.lost, found.counts[1]),
        ("Both are wrong, differently", found.swapped, found.counts[2]),
        ("Same answer, another probability", found.shifted, None),
    )
    are = [f"{count:,}" if count else "none" for count in found.counts]
    verbs = ["are" if count > 1 else "is" for count in found.counts]
    return {
        "rows": f"{len(run.labels):,}",
        "total": sum(found.counts),
        "gained": f"{are[0]} {verbs[0]} right only with {names[1]}",
        "lost": f"{are[1]} only with {names[0]}",
        "swapped": f"{are[2]} {verbs[2]} wrong with both, but differently",
        "names": names,
        "kind": examples.kind,
        "lists": [
            {"title": title, "count": count, "cards": [card(each) for each in rows]}
            for title, rows, count in lists
            if rows
        ],
    }


class Example(msgspec.Struct):
    """What a row looks like, in one of three ways."""

    thumbnail: Annotated[str, msgspec.Meta(pattern=_PNG, max_length=400_000)] | None = None  # a data URI
    text: str | None = None
    values: dict[str, float | str] | None = None


class Examples(msgspec.Struct):
    """What ``examples.json`` holds: rows by their number in the data."""

    kind: Literal["image", "text", "table", "none"] = "none"
    rows: dict[Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{1,18}\Z")], Example] = {}


def load_examples(folder: Path) -> Examples:
    """Examples of a run; none where it has no such file."""
    path = folder / "examples.json"
    if not path.exists():
        return Examples()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Examples)
    except msgspec.DecodeError as error:
        raise ReportError(f"{path}: {error}") from None


def _shown(cell: float | str) -> str:
    return cell if isinstance(cell, str) else f"{cell:.4g}".replace("-", "−")
