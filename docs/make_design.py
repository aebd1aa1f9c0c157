"""Write the layout and the layers in docs/design.md from the code: ``python docs/make_design.py``."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

PAGE = Path(__file__).with_name("design.md")
ROOT = PAGE.parents[1]


def page() -> str:
    """The page as it is, with the layout and the layers of the code."""
    sys.path.insert(0, str(ROOT))
    try:
        from tests.meta.test_layers import LAYERS
    finally:
        sys.path.remove(str(ROOT))
    text = PAGE.read_text(encoding="utf-8")
    layers = " → ".join(" · ".join(names) for names in LAYERS)
    for name, part in (("layout", layout()), ("layers", f"> {layers}\n")):
        pattern = rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)"
        text, count = re.subn(pattern, lambda marks, part=part: marks[1] + part + marks[2], text, flags=re.DOTALL)
        assert count == 1, name
    return text


def layout() -> str:
    """A line for each module and package of sfumato, and below it one for each package in it."""
    lines = []
    for path in _within(ROOT / "sfumato"):
        lines.append(f"- **`{path.stem}`** {_first_line(path)}")
        if path.is_dir():
            lines += [f"  - `{each.stem}` {_first_line(each)}" for each in _within(path) if each.is_dir()]
    return "\n".join(lines) + "\n"


def _within(folder: Path) -> list[Path]:
    """The packages of a folder and its public modules."""
    modules = [path for path in folder.glob("*.py") if not path.name.startswith("_")]
    return sorted([*modules, *(path.parent for path in folder.glob("*/__init__.py"))])


def _first_line(path: Path) -> str:
    source = (path / "__init__.py" if path.is_dir() else path).read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    return re.sub(r":\w+:`(.*?)`", r"`\1`", " ".join(docstring.split("\n\n")[0].split()).replace("``", "`"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
