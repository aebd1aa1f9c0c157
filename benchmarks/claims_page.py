"""docs/claims.md out of the claims and the rows; `claims.py --write` calls it.

The text between the markers is replaced, the rest is written by hand. A claim without a row is shown as not yet run.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "claims.md"
MARKED = re.compile(r"(<!-- results -->\n).*(<!-- /results -->)", re.DOTALL)
_INTERVAL = "Means of one-hot and of ε = 0.1, and their difference with its 95 % interval, {}."
SHOWN = {  # what the table of a claim has
    "gap": "Mean training gap in nats, by strength.",
    "runaway": "Steps that were counted and steps of the formula, by the number of classes.",
    "clusters": "NC1 of the training features, smallest to largest of five seeds.",
    "accuracy": _INTERVAL.format("as shares of 1"),
    "calibration": _INTERVAL.format("ECE as trained"),
    "valley": "Mean ECE as trained, by strength.",
    "temperature": "Temperatures, smallest to largest of five seeds.",
    "calibratable": _INTERVAL.format("ECE after temperature"),
    "ranking": _INTERVAL.format("E-AURC"),
    "logit norm": "Mean E-AURC by the largest probability → by the largest logit over the norm.",
    "maxsup": "Means over seeds: accuracy in points, log loss after temperature, ECE and E-AURC as trained.",
    "teacher": "Accuracy in points: of the teacher, then of its students by temperature. A row is a teacher's ε.",
    "hot teacher": "The same students as for the claim above.",
    "noise": "Accuracy in points, by strength. A row is a share of wrong labels.",
    "negative": "Accuracy in points, by strength.",
    "confidence penalty": "Mean training gap and its fixed point; temperatures, smallest to largest of five seeds.",
    "online": "Means over seeds: accuracy in points, log loss after temperature, ECE and E-AURC as trained.",
    "relaxation": "Mean ECE as trained.",
}
NAMES = {"mnist-5k": "pictures", "wordnet": "texts"}


def write(claims: Sequence[Any], rows: Sequence[Mapping[str, Any]], page: Path = PAGE) -> None:
    """Put what the rows say between the markers."""
    text = page.read_text(encoding="utf-8")
    page.write_text(MARKED.sub(lambda found: found[1] + results(claims, rows) + found[2], text), encoding="utf-8")


def results(claims: Sequence[Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """A summary, and a section for each claim."""
    by_claim = {row["claim"]: row for row in rows}
    outcomes = {
        claim.name: claim.outcome(by_claim[claim.name]) if claim.name in by_claim else "not yet run" for claim in claims
    }
    counts = Counter(outcomes.values())
    yes, no = _many(counts["holds"], "holds", "hold"), _many(counts["contradicted"], "is", "are")
    parts = [f"Of {len(claims)} claims, {yes} here, {no} contradicted, and {counts['not shown']} could not be shown. "]
    if counts["not yet run"]:
        parts[0] += f"{_many(counts['not yet run'], 'was', 'were')} not yet run. "
    parts += ["\n\n| claim | here |\n| --- | --- |\n"]
    parts += [f"| [{claim.says}](#{anchor(claim.name)}) | {outcomes[claim.name]} |\n" for claim in claims]
    for claim in claims:
        row = by_claim.get(claim.name)
        parts.append(f"\n### {claim.name.capitalize()}\n\n{claim.says}\n\n")
        parts.append(f"- Source: {claim.source}.\n- Data: {claim.data}.\n- Condition: {claim.condition}\n")
        if row is None:
            parts.append("- Result: not yet run.\n")
            continue
        parts.append(f"- Result: {outcomes[claim.name]}{where(claim, row)}.\n")
        parts.append(f"\n{SHOWN[claim.name]}\n\n{table(row['measured'])}\n")
    parts.append(f"\n{versions(rows)}\n" if rows else "")
    return "".join(parts).replace(". \n", ".\n")


def where(claim: Any, row: Mapping[str, Any]) -> str:
    """On which kinds of data it is so, and the date."""
    if claim.by_kind is None:
        return f" ({row['date'][:10]})"
    measured: Mapping[str, Mapping[str, Any]] = row["measured"]
    kinds = [NAMES.get(kind, kind) for kind, numbers in measured.items() if claim.by_kind(numbers)]
    against = [
        NAMES.get(kind, kind) for kind, numbers in measured.items() if claim.opposite and claim.opposite(numbers)
    ]
    text = f"; it is so on {', '.join(kinds) or 'none of the four'}"
    text += f", and the opposite is reliable on {', '.join(against)}" if against else ""
    return f"{text} ({row['date'][:10]})"


def anchor(heading: str) -> str:
    """The end of a link to a heading."""
    return heading.lower().replace(" ", "-")


def _many(count: int, one: str, more: str) -> str:
    """A number with its verb."""
    return f"{count} {one if count == 1 else more}"


def table(measured: Mapping[str, Any]) -> str:
    """What was measured: a row for each first key, a column for each path of the keys below."""
    if not all(isinstance(value, Mapping) for value in measured.values()):
        measured = {"": measured}
    flat = {name: dict(_paths(value)) for name, value in measured.items()}
    columns = list(dict.fromkeys(path for each in flat.values() for path in each))
    lines = ["| | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for name, each in flat.items():
        lines.append(
            f"| {NAMES.get(name, _plain(name))} | " + " | ".join(each.get(path, "–") for path in columns) + " |"
        )
    return "\n".join(lines)


def _paths(value: Mapping[str, Any], head: str = "") -> list[tuple[str, str]]:
    """Every number with the path that leads to it; the numbers of several seeds as their range."""
    found: list[tuple[str, str]] = []
    for key, each in value.items():
        path = f"{head}{_plain(key)}"
        if isinstance(each, Mapping):
            found += _paths(each, f"{path}, ")
        elif isinstance(each, list):
            pair = len(each) == 2  # two ways to do it, in their order; else a number for each seed
            found.append(
                (path, " → ".join(map(number, each)) if pair else f"{number(min(each))} to {number(max(each))}")
            )
        else:
            found.append((path, number(each)))
    return found


def _plain(key: str) -> str:
    return key.replace("_", " ").replace("-", "−" if key[:1] == "-" else "-")


def number(value: float) -> str:
    """Four digits, without zeros that say nothing; minus signs as elsewhere.

    >>> number(-0.0123456), number(4.0), number(98.76543)
    ('−0.01235', '4', '98.77')
    """
    return f"{value:.4g}".replace("-", "−")


def versions(rows: Sequence[Mapping[str, Any]]) -> str:
    """When, where and with what the rows were measured."""
    first, last = min(row["date"] for row in rows)[:10], max(row["date"] for row in rows)[:10]
    row = rows[-1]
    when = first if first == last else f"{first} to {last}"
    return f"Measured {when} on {row['cpu']}, one thread a model; torch {row['torch']}, Python {row['python']}."
