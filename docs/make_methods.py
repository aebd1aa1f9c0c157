"""Write the tables of docs/methods.md from the formulas that the tests hold: ``python docs/make_methods.py``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

PAGE = Path(__file__).with_name("methods.md")


def page() -> str:
    """The page as it is, with a row for each penalty and for each constructor of a target."""
    sys.path.insert(0, str(PAGE.parents[1]))
    try:
        from tests.loss.penalty.registry import PENALTIES
        from tests.targets.registry import TARGETS
    finally:
        sys.path.pop(0)
    penalties = {f"sf.penalty.{name}": row.printed for name, row in PENALTIES.items()}
    targets = {f"sf.{name}": row.printed for name, row in TARGETS.items()}
    text = PAGE.read_text(encoding="utf-8")
    for name, what, formulas in (("penalties", "loss", penalties), ("targets", "q", targets)):
        lines = "".join(f"| `{function}` | {formula} |\n" for function, formula in formulas.items())
        table = f"| function | {what} |\n| --- | --- |\n{lines}"
        pattern = rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)"
        text, count = re.subn(pattern, lambda marks, table=table: marks[1] + table + marks[2], text, flags=re.DOTALL)
        assert count == 1, name
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
