"""Write the table of arms in docs/compare.md from their records: ``python docs/make_compare.py``."""

from __future__ import annotations

import re
from pathlib import Path

from sfumato.lab.arms import KINDS

PAGE = Path(__file__).with_name("compare.md")


def page() -> str:
    """The page as it is, with a row for each kind of arm."""
    rows = "".join(f"{kind.row()}\n" for kind in KINDS.values())
    table = f"| `--arm` | parameters | target or loss |\n| --- | --- | --- |\n{rows}"
    text, count = re.subn(
        r"(<!-- arms: begin -->\n).*?(<!-- arms: end -->)",
        lambda marks: marks[1] + table + marks[2],
        PAGE.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    assert count == 1
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
