"""Write the tables of docs/scale.md from the rows of the benchmarks: ``python docs/make_scale.py``.

Only what is between the markers is replaced; the text between the tables is written by hand.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("scale.md")
BENCHMARKS = PAGE.parents[1] / "benchmarks"


def page() -> str:
    """The page as it is, with its tables from the measured rows."""
    text = PAGE.read_text(encoding="utf-8")
    for name, table in (("errors", errors()), ("costs", costs())):
        pattern = rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)"
        text, count = re.subn(pattern, lambda m, table=table: m[1] + table + m[2], text, flags=re.DOTALL)
        assert count == 1, name
    return text


def errors() -> str:
    """The errors of split losses: a line for each contestant, a column for each question."""
    cells: dict[str, dict[str, str]] = {}
    for row in _rows("parallel.jsonl"):
        shown = "refused" if "refuses" in row else f"{float(row['loss']):.0e}, {float(row['gradient']):.0e}"
        cells.setdefault(row["who"], {})[f"{row['classes']} classes, {row['words']}"] = shown
    questions = list(cells["sfumato"])
    lines = [[who, *(own[question] for question in questions)] for who, own in cells.items()]
    return _table([["loss, gradient", *questions], *lines])


def costs() -> str:
    """Time and memory of the last layer's loss with a smoothed target: a line for each shape and type."""
    fused, unfused = "fused, smoothed", "layer and sf.cross_entropy"
    lines = [["rows", "features", "classes", "dtype", "times as long", "MB", "MB with all logits"]]
    for row in _rows("head.jsonl"):
        if fused in row["seconds"]:
            memory = (f"{row['peak_mb'][way]:,.0f}" for way in (fused, unfused))
            lines.append([*row["shape"].split("x"), row["dtype"], f"{row['against_unfused'][fused]:.2f}", *memory])
    return _table(lines)


def _rows(name: str) -> list[dict[str, Any]]:
    return list(map(json.loads, (BENCHMARKS / name).read_text(encoding="utf-8").splitlines()))


def _table(lines: list[list[str]]) -> str:
    lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
