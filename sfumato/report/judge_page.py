"""The page of a judgement: the verdict, the differences against their margins, and every number, in one file."""

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
from sfumato.report.charts.confidence import Curve, plot_reliability
from sfumato.report.charts.differences import plot_differences
from sfumato.report.charts.drawing import Chart, figure
from sfumato.report.tables import as_text, class_tables, differences_table, four_columns, in_columns, unsaid_warnings
from sfumato.report.template import as_script, rendered
from sfumato.runs.folder import RunError
from sfumato.text import wrapped
from sfumato.verdict.judge import Judgement
from sfumato.verdict.read_arms import RESULT
from sfumato.verdict.wording import divisor

PAGE = "report.html"


def refuse_taken(out: Path | None) -> None:
    """Refuse a folder that is there already, before anything is read."""
    if out is not None and os.path.lexists(out):
        raise RunError(f"{out} exists already and is never written over; choose another --out")


def write(judgement: Judgement, out: Path | None = None) -> Path:
    """Write the page and the JSON file into a new folder, which is whole or absent, and return its path.

    Without ``out`` the folder is named after what was judged; a folder of the same judgement is left as it is.
    """
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
        os.rename(scratch, place)
    except OSError as error:
        raise WriteError(f"cannot write {place}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return place


def page_of(judgement: Judgement) -> str:
    """The page as text; the same judgement gives the same bytes."""
    summary = judgement.summary
    first, soft = judgement.arms[0], _soft(judgement)
    figures = {"differences": figure(_differences(judgement), "differences")}
    for place, how in enumerate(first.reliability):
        figures[how] = figure(_reliability(judgement, how, scaled=place > 0), f"reliability-{place}")
    return rendered(
        "judge.html.jinja",
        judgement=judgement,
        verdict=judgement.verdict["sentences"],
        use=_use(judgement),
        soft=soft,
        right="agreement" if soft else "accuracy",
        json=as_script(summary),
        tables=in_columns(four_columns(summary)),
        differences=differences_table(summary),
        by_class=class_tables(summary),
        warnings=unsaid_warnings(summary),
        files=[(arm["name"], arm.get("files"), arm.get("temperature")) for arm in summary["arms"]],
        figures=figures,
        curves=list(first.reliability),
    )


def as_terminal(judgement: Judgement, width: int) -> str:
    """The judgement for a terminal of so many columns."""
    summary = judgement.summary
    warnings = [f"Warning: {text}" for text in unsaid_warnings(summary)]
    lines = [wrapped(text, width, rest="  ") for text in [*warnings, *judgement.verdict["sentences"]]]
    notes = [wrapped(text, width, rest="  ") for text in texts(judgement.notes)]
    tables = [as_text(table, width).rstrip() for table in (four_columns(summary), differences_table(summary))]
    return "\n".join([*lines, "", *notes, "", tables[0], "", tables[1]])


def _soft(judgement: Judgement) -> bool:
    return "agreement" in judgement.arms[0].metrics


def _use(judgement: Judgement) -> dict[str, str] | None:
    """The arm to take, and its mean temperature; None where the verdict takes none or no division helps it."""
    chosen = next((result for result in judgement.arms if result.arm.name == judgement.verdict["choice"]), None)
    if chosen is None or (temperature := divisor(chosen)) is None:
        return None
    return {"name": chosen.arm.name, "temperature": temperature}


def _differences(judgement: Judgement) -> Chart:
    names = [result.arm.name for result in judgement.arms]
    rows = [(name, i, [d for d in judgement.differences if d["arm"] == name]) for i, name in enumerate(names)]
    return plot_differences(rows[1:])


def _reliability(judgement: Judgement, how: str, *, scaled: bool) -> Chart:
    curves = [
        Curve(result.arm.name, bins.count, bins.count, bins.confidence, bins.accuracy, bins.low, bins.high, scaled)
        for result in judgement.arms
        for bins in [result.reliability[how]]
    ]
    return plot_reliability(curves, of=f"{how}, models of an arm pooled", soft=_soft(judgement))
