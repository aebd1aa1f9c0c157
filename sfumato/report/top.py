"""The block on top of a page, which its card shows alone: the state, the verdict, its figure, and three tiles."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from sfumato.evaluate.metrics.registry import METRICS, SOFT_WORDS
from sfumato.report.arms import arm_title, places
from sfumato.report.charts.differences import DifferenceRow
from sfumato.report.tables import (
    Cell,
    Row,
    class_tables,
    differences_table,
    four_columns,
    in_columns,
    metric,
    shown,
)
from sfumato.report.template import as_script
from sfumato.runs.schema import Summary
from sfumato.verdict.decision import STATES
from sfumato.verdict.sentences import unsaid_warnings
from sfumato.verdict.wording import SHOWN

MAX_CHIP = 40  # characters
STATE_COLOURS = {
    **dict.fromkeys(("smooth", "switch", "under-confident"), "arm-1"),
    **dict.fromkeys(("keep-one-hot", "keep", "well-calibrated"), "arm-0"),
    **dict.fromkeys(("undecided", "over-confident", "look-first"), "faint"),
}
"""The colour about the chip of each state."""


class Tile(NamedTuple):
    """A metric with a row per arm: its name, and its cells under the heads."""

    title: str
    heads: Sequence[str]
    rows: Sequence[tuple[int, Row]]  # with the place of each arm


class Top(NamedTuple):
    """What stands on top of a page."""

    about: Sequence[str]  # the small line
    state: str  # the code that gives the chip its colour
    chip: str
    heading: str
    more: Sequence[str]  # the sentences between the heading and those on single metrics
    tiles: Sequence[Tile]


def top_of(summary: Summary, about: Sequence[str]) -> Top:
    """The block on top of a comparison or a judgement."""
    verdict = summary["verdict"]
    chip, heading = chip_and_heading(verdict["state"], verdict["sentences"][0])
    more = list(takewhile(lambda text: not _about_a_metric(text), verdict["sentences"][1:]))
    arms = [(arm_title(arm, strength=False), arm) for arm in summary["arms"]]
    return Top(about, verdict["state"], chip, heading, more, tiles(arms, places(summary["arms"])))


def chip_and_heading(state: str, sentence: str) -> tuple[str, str]:
    """The first sentence of a verdict, without the words that its chip has."""
    word = STATES.get(state, state)
    lead, colon, rest = sentence.partition(": ")
    if colon and lead.startswith(word) and len(lead) <= MAX_CHIP:
        return lead, rest[:1].upper() + rest[1:]
    return word, sentence


def _about_a_metric(sentence: str) -> bool:
    """Whether a sentence of a verdict is on a headline metric, whose numbers the figure shows."""
    return any(sentence.lower().startswith(f"{each.name.lower()}: ") for each in SHOWN.values())


def tiles(arms: Sequence[tuple[str, Any]], places: Sequence[int], plain: str = "as trained") -> list[Tile]:
    """Accuracy, log loss and calibration of each arm, without and with its temperature."""
    soft = any("agreement" in arm["metrics"] for _, arm in arms)
    wanted = (
        ("agreement" if soft else "accuracy", {"": ""}),
        ("nll", {plain: "", "with T": "_after_temperature", "T": None}),
        ("ece", {plain: "", "with T": "_after_temperature"}),
    )
    found = list[Tile]()
    for name, columns in wanted:
        names = ["temperature" if end is None else f"{name}{end}" for end in columns.values()]
        rows = [
            (place, Row(title, tuple(Cell(shown(each)(metric(arm, each)["mean"])) for each in names)))
            for (title, arm), place in zip(arms, places, strict=True)
        ]
        words = SOFT_WORDS.get(name) if soft else None
        found.append(Tile(words or METRICS[name].label, tuple(columns), rows))
    return found


def difference_rows(summary: Summary, prefix: str = "") -> list[DifferenceRow]:
    """The rows of the figure of the verdict: every other arm against the first."""
    arms, colours = summary["arms"], places(summary["arms"])
    several = len(arms) > 2 or not prefix
    return [
        (
            "\n".join(filter(None, (prefix, arm_title(arm) if several else ""))),
            place,
            [each for each in summary["differences"] if each["arm"] == arm["name"]],
        )
        for arm, place in zip(arms[1:], colours[1:], strict=True)
    ]


def verdict_context(summary: Summary, top: Top, few: Sequence[str] = ()) -> dict[str, Any]:
    """What the pages of comparisons and of judgements show alike; ``few`` are warnings besides those of the summary."""
    heading = [each["text"] for each in summary.get("warnings", []) if each["code"] == "order-reversed"]  # has it
    return {
        "top": top,
        "warnings": [*(text for text in unsaid_warnings(summary) if text not in heading), *few],
        "right": "agreement" if any("agreement" in arm["metrics"] for arm in summary["arms"]) else "accuracy",
        "tables": in_columns(four_columns(summary)),
        "places": places(summary["arms"]),
        "by_class": class_tables(summary),
        "differences": differences_table(summary),
        "rest": [*heading, *summary["verdict"]["sentences"][1 + len(top.more) :]],
        "json": as_script(summary),
    }
