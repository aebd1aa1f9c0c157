"""The page of a judgement: the verdict, the differences against their margins, and every number, in one file."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sfumato.evaluate import Reliability
from sfumato.evaluate.metrics.registry import HEADLINE
from sfumato.io.atomic import WriteError, make_folder, write_text
from sfumato.messages import texts
from sfumato.report.tables import as_text, differences_table, four_columns, in_columns, shown
from sfumato.report.template import rendered
from sfumato.runs.folder import RunError
from sfumato.runs.schema import ArmDifference, Summary
from sfumato.text import short, wrapped
from sfumato.verdict.judge import Judgement
from sfumato.verdict.read_arms import RESULT
from sfumato.verdict.wording import SHOWN, divisor

PAGE = "report.html"
_WIDTH, _FEW = 300.0, 10


def refuse_taken(out: Path | None) -> None:
    """Refuse a folder that is there already, before anything is read.

    Raises:
        RunError: nothing is ever written over.
    """
    if out is not None and os.path.lexists(out):
        raise RunError(f"{out} exists already and is never written over; choose another --out")


def write(found: Judgement, out: Path | None = None) -> Path:
    """Write the page and the JSON file into a new folder, which is whole or absent, and return its path.

    Without ``out`` the folder is named after what was judged; a folder of the same judgement is left as it is.

    Raises:
        RunError: ``out`` is there already.
        WriteError: the folder cannot be written.
    """
    text = json.dumps(found.to_dict(), ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    refuse_taken(out)
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", found.name)[:60].strip("-.") or "models"
    places = [out] if out else (Path(f"{safe}-judged" + (f"-{n}" if n > 1 else "")) for n in itertools.count(1))
    for place in places:
        told = place / RESULT
        if told.is_file() and told.read_text(encoding="utf-8") == text:
            return place
        if not os.path.lexists(place):
            return _written(found, text, place)
    raise AssertionError("numbers do not end")


def _written(found: Judgement, text: str, place: Path) -> Path:
    scratch = place.with_name(f".{place.name}.{secrets.token_hex(8)}")
    try:
        make_folder(place.parent)
        scratch.mkdir()
        write_text(scratch / RESULT, text)
        write_text(scratch / PAGE, page_of(found))
        os.rename(scratch, place)
    except OSError as error:
        raise WriteError(f"cannot write {place}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return place


def page_of(found: Judgement) -> str:
    """The page as text; the same judgement gives the same bytes."""
    summary = as_summary(found)
    return rendered(
        "judge.html.jinja",
        found=found,
        use=_use(found),
        right="agreement" if "agreement" in found.arms[0].metrics else "accuracy",
        told=json.dumps(found.to_dict(), ensure_ascii=False).replace("</", "<\\/"),
        tables=in_columns(four_columns(summary)),
        differences=differences_table(summary),
        warnings=[each["text"] for each in found.warnings if each["text"] not in found.verdict["sentences"]],
        files=[(result.arm.name, found.files[result.arm.name], result.temperatures) for result in found.arms],
        forest=[_panel(name, [d for d in found.differences if d["metric"] == name]) for name in HEADLINE],
        curves={
            how: [(result.arm.name, _points(result.reliability[how])) for result in found.arms]
            for how in found.arms[0].reliability
        },
    )


def _use(found: Judgement) -> dict[str, str] | None:
    """The arm to take, and its mean temperature; None where the verdict takes none or no division helps it."""
    chosen = next((result for result in found.arms if result.arm.name == found.verdict["choice"]), None)
    if chosen is None or (temperature := divisor(chosen)) is None:
        return None
    return {"name": chosen.arm.name, "temperature": temperature}


def _panel(name: str, rows: Sequence[ArmDifference]) -> dict[str, Any]:
    """One metric of the forest: places of zero, margin and intervals on a common axis."""
    scale, margin = SHOWN[name].scale, max(row.get("margin") or 0.0 for row in rows)
    ends = [abs(row[end]) for row in rows for end in ("low", "high")]
    reach = 1.15 * scale * max([*ends, margin, 1e-12])

    def place(value: float) -> float:
        return round(_WIDTH / 2 * (1 + scale * value / reach), 2)

    power = 10.0 ** math.floor(math.log10(reach))
    step = next(power * factor for factor in (5, 2, 1, 0.5) if power * factor <= reach / 1.2)
    ticks = [step * k for k in range(-math.floor(reach / step), math.floor(reach / step) + 1)]
    show = shown(name)
    return {
        "name": SHOWN[name].name,
        "unit": SHOWN[name].points.strip(),
        "margin": (place(-margin), place(margin)),
        "ticks": [(place(tick / scale), f"{tick:+.10g}".replace("-", "−") if tick else "0") for tick in ticks],
        "rows": [
            {
                "arm": short(row["arm"], 16, end="…"),
                "low": place(row["low"]),
                "mean": place(row["mean"]),
                "high": place(row["high"]),
                "finding": row["finding"],
                "told": f"{row['arm']}: {show(row['mean'])}, {show(row['low'])} to {show(row['high'])}",
            }
            for row in rows
        ],
    }


def _points(curve: Reliability) -> list[tuple[float, float]]:
    """Confidence and accuracy of the bins that hold enough rows to be drawn."""
    return [
        (round(float(x), 4), round(float(y), 4))
        for x, y, count in zip(curve.confidence, curve.accuracy, curve.count, strict=True)
        if count >= _FEW
    ]


def as_summary(found: Judgement) -> Summary:
    """What the tables of a comparison are made of; of the training nothing is known."""
    told = found.to_dict()
    rows = told["rows"]
    return {
        "schema": told["schema"],
        "run": told["name"],
        "data": {
            "name": told["name"],
            "classes": told["classes"],
            "train": 0,
            "validation": rows["validation"] or 0,
            "test": rows["test"],
        },
        "paired": {"weights": [], "batches": [], "equal": told["paired"]},
        "arms": [
            {
                "name": arm["name"],
                "eps": 0.0,
                "over": None,
                "closed_form_gap": None,
                "train_gap": None,
                "metrics": arm["metrics"],
            }
            for arm in told["arms"]
        ],
        "differences": told["differences"],
        "warnings": told["warnings"],
        "verdict": told["verdict"],
    }


def as_terminal(found: Judgement, width: int) -> str:
    """The judgement for a terminal of so many columns."""
    summary, said = as_summary(found), found.verdict["sentences"]
    warnings = [f"Warning: {each['text']}" for each in found.warnings if each["text"] not in said]
    lines = [wrapped(each, width, rest="  ") for each in [*warnings, *said]]
    notes = [wrapped(each, width, rest="  ") for each in texts(found.notes)]
    tables = [as_text(table, width).rstrip() for table in (four_columns(summary), differences_table(summary))]
    return "\n".join([*lines, "", *notes, "", tables[0], "", tables[1]])
