"""Which test rows two targets treat differently, by a rule that anyone can repeat from the logits.

An arm's answer for a row is the one that most of its seeds give; its probability of the label is the mean over seeds
after each seed's temperature. Without the temperature nearly every probability would change, since that is what
smoothing does to all of them.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from sfumato.report.arms import probabilities
from sfumato.runs.read import Floats, Ints, ReportError, Run, load_run, read_object
from sfumato.runs.schema import ArmSummary

MAX_ROWS = 8
"""Rows that a list shows."""
KINDS = ("image", "text", "table")
_PNG = "data:image/png;base64,"
_MAX_THUMBNAIL = 400_000  # characters of a thumbnail: the page stays below 1 MB


@dataclass(frozen=True)
class ChangedRow:
    """One test row, by its number in the data: of both arms the answer, its votes, and the probability of the label."""

    row: int
    label: int
    answers: tuple[int, int]
    votes: tuple[int, int]
    probability: tuple[float, float]


@dataclass(frozen=True)
class Changes:
    """What changed between two arms, the largest changes first.

    Only the other arm is right in the rows ``gained``, and only the base arm in the rows ``lost``. Both are wrong, with
    different answers, in the rows ``swapped``. The rows ``shifted`` have the same answer and another probability.
    ``counts`` are all rows of the first three kinds, of which the lists have some.
    """

    base: ArmSummary
    other: ArmSummary
    gained: tuple[ChangedRow, ...]
    lost: tuple[ChangedRow, ...]
    swapped: tuple[ChangedRow, ...]
    shifted: tuple[ChangedRow, ...]
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
    return Changes(base, other, pick(gained), pick(lost), pick(swapped), shifted, counts)


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
        logits = run.test[arm["name"], seed].logits
        votes[np.arange(len(votes)), logits.argmax(axis=1)] += 1
        mean += probabilities(run, arm["name"], seed) / len(run.seeds)
    answer = np.lexsort((mean, votes), axis=1)[:, -1]
    count = np.take_along_axis(votes, answer[:, None], axis=1)[:, 0]
    return answer.astype(np.int64), count.astype(np.int64), mean[np.arange(len(mean)), run.labels]


@dataclass(frozen=True)
class Example:
    """One row to look at: a thumbnail (data URI), a text, or names with values; the other two are empty."""

    thumbnail: str = ""
    text: str = ""
    values: Mapping[str, str] = field(default_factory=dict[str, str])


def load_examples(folder: Path) -> dict[int, Example]:
    """Examples of a run by row number; none where it has no ``examples.json``."""
    path = folder / "examples.json"
    if not path.exists():
        return {}
    content = read_object(path)
    kind, rows = content.get("kind"), content.get("rows")
    if kind not in KINDS or not isinstance(rows, dict):
        raise ReportError(f"{path} should hold a kind ({', '.join(KINDS)}) and rows, got kind {kind!r}")
    for key in cast(dict[str, Any], rows):
        if not re.fullmatch(r"[0-9]{1,18}", key):
            raise ReportError(f"{path}: {key!r} is not the number of a row")
    return {int(key): _example(path, key, value) for key, value in cast(dict[str, Any], rows).items()}


def _example(path: Path, key: str, value: Any) -> Example:
    entry = cast(dict[str, Any], value) if isinstance(value, dict) else {}
    if isinstance(entry.get("thumbnail"), str):
        return Example(thumbnail=_thumbnail(path, key, entry["thumbnail"]))
    if isinstance(entry.get("text"), str):
        return Example(text=entry["text"])
    if isinstance(entry.get("values"), dict):
        return Example(values={str(name): _shown(cell) for name, cell in entry["values"].items()})
    raise ReportError(f"{path} row {key} has no thumbnail, text or values")


def _thumbnail(path: Path, key: str, uri: str) -> str:
    try:
        start = base64.b64decode(uri.removeprefix(_PNG), validate=True)[:8] if uri.startswith(_PNG) else b""
    except binascii.Error:
        start = b""
    where = f"{path} row {key}: the thumbnail"
    if start != b"\x89PNG\r\n\x1a\n":
        raise ReportError(f"{where} is not a PNG as {_PNG}…")
    if len(uri) > _MAX_THUMBNAIL:
        raise ReportError(f"{where} has {len(uri):,} characters; at most {_MAX_THUMBNAIL:,} are shown")
    return uri


def _shown(cell: Any) -> str:
    return f"{cell:.4g}".replace("-", "−") if isinstance(cell, float | int) else str(cell)
