"""The page of a judgement: that of a comparison, without what is known of training alone; and its folder."""

from __future__ import annotations

import itertools
import json
import os
import re
import secrets
import shutil
from pathlib import Path

from sfumato.io.atomic import WriteError, make_folder, write_text
from sfumato.messages import texts
from sfumato.report.card import write_card
from sfumato.report.charts.confidence import Curve, plot_reliability
from sfumato.report.charts.differences import plot_differences
from sfumato.report.charts.drawing import Chart, figure
from sfumato.report.code_to_copy import divided
from sfumato.report.tables import as_text, differences_table, four_columns
from sfumato.report.template import rendered
from sfumato.report.top import Top, difference_rows, top_of, verdict_context
from sfumato.runs.folder import RunError
from sfumato.runs.read import chosen_of
from sfumato.text import plural, wrapped
from sfumato.verdict.judge import Judgement
from sfumato.verdict.read_arms import RESULT
from sfumato.verdict.sentences import unsaid_warnings
from sfumato.verdict.wording import divisor

PAGE = "report.html"


def refuse_taken(out: Path | None) -> None:
    """Refuse a folder that is there already, before anything is read."""
    if out is not None and os.path.lexists(out):
        raise RunError(f"{out} exists already and is never written over; choose another --out")


def write(judgement: Judgement, out: Path | None = None) -> Path:
    """Write page, card and JSON into a new folder, whole or not at all; one of the same judgement is left as it is."""
    text = json.dumps(judgement.to_dict(), ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    refuse_taken(out)
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", judgement.summary["run"])[:60].strip("-.") or "models"
    places = [out] if out else (Path(f"{safe}-judged" + (f"-{n}" if n > 1 else "")) for n in itertools.count(1))
    for place in places:
        result = place / RESULT
        if result.is_file() and result.read_text(encoding="utf-8") == text:
            return place
        if not os.path.lexists(place):
            return _written(judgement, text, place)
    raise AssertionError("numbers do not end")


def _written(judgement: Judgement, text: str, place: Path) -> Path:
    scratch = place.with_name(f".{place.name}.{secrets.token_hex(8)}")
    try:
        make_folder(place.parent)
        scratch.mkdir()
        write_text(scratch / RESULT, text)
        write_text(scratch / PAGE, page_of(judgement))
        write_card(top(judgement), difference_rows(judgement.summary), scratch)
        os.rename(scratch, place)
    except OSError as error:
        raise WriteError(f"cannot write {place}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return place


def top(judgement: Judgement) -> Top:
    """The block on top of the page."""
    summary = judgement.summary
    data, counts = summary["data"], [arm.get("seeds", 1) for arm in summary["arms"]]
    models = plural(counts[0], "model") + " per arm" if len(set(counts)) == 1 else plural(sum(counts), "model")
    groups = [plural(count, "group")] if (count := data.get("groups")) else []
    about = [summary["run"], plural(data["test"], "test row"), *groups, plural(data["classes"], "class"), models]
    return top_of(summary, about)


def page_of(judgement: Judgement) -> str:
    """The page as text; the same judgement gives the same bytes."""
    summary, chosen = judgement.summary, chosen_of(judgement.summary)
    result = next((each for each in judgement.arms if chosen and each.arm.name == chosen["name"]), None)
    by = None if result is None else divisor(result)
    figures = {"differences": figure(plot_differences(difference_rows(summary)), "differences")}
    figures["reliability"] = figure(_reliability(judgement), "reliability")
    return rendered(
        "compare.html.jinja",
        **verdict_context(summary, top(judgement)),
        title=f"{summary['run']}: models judged",
        uses=[{"title": result.arm.name, "snippets": divided(by)}] if result and by else [],
        soft="agreement" in judgement.arms[0].metrics,
        notes=[],
        cautions=texts(judgement.notes),
        files=[
            (arm["name"], [*zip(arm.get("files", ()), arm.get("temperature", ()), strict=True)])
            for arm in summary["arms"]
        ],
        figures=figures,
    )


def as_terminal(judgement: Judgement, width: int) -> str:
    """The judgement for a terminal of so many columns."""
    summary = judgement.summary
    warnings = [f"Warning: {text}" for text in unsaid_warnings(summary)]
    lines = [wrapped(text, width, rest="  ") for text in [*warnings, *judgement.verdict["sentences"]]]
    notes = [wrapped(text, width, rest="  ") for text in texts(judgement.notes)]
    tables = [as_text(table, width).rstrip() for table in (four_columns(summary), differences_table(summary))]
    return "\n".join([*lines, "", *notes, "", tables[0], "", tables[1]])


def _reliability(judgement: Judgement) -> Chart:
    """The first arm and the one that was chosen, or else the second, as they are and after temperature."""
    chosen = [place for place, result in enumerate(judgement.arms) if result.arm.name == judgement.verdict["choice"]]
    other = chosen[0] if chosen and chosen[0] else 1
    curves = [
        Curve(judgement.arms[place].arm.name, place, b.count, b.count, b.confidence, b.accuracy, b.low, b.high, scaled)
        for place in (0, other)
        for scaled, b in zip((False, True), judgement.arms[place].reliability.values(), strict=True)
    ]
    return plot_reliability(curves, of="of the models of an arm, pooled", soft="agreement" in judgement.arms[0].metrics)
