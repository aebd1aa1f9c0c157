"""The modules of the package: no circles of imports, and no two public classes of one name."""

from __future__ import annotations

import ast
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "sfumato"


def modules(package: Path) -> dict[str, Path]:
    """The file of each module, by its full name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(name: str, files: dict[str, Path]) -> set[str]:
    """The modules that one imports, inside functions and for type checkers too."""
    path, found = files[name], set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            found |= {".".join(filter(None, (above, node.module, alias.name))) for alias in node.names}
    return {home for each in found if (home := _module_of(each, files)) not in ("", name)}


def _module_of(name: str, files: dict[str, Path]) -> str:
    while name and name not in files:
        name = name.rpartition(".")[0]
    return name


def circle(package: Path) -> list[str]:
    """Modules that import one another in a circle, the first again at the end; none if there is no such circle."""
    files = modules(package)
    try:
        TopologicalSorter({name: imported(name, files) for name in files}).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def classes(package: Path) -> dict[str, list[str]]:
    """The modules that define a public class, by its name; frameworks in ``adapters`` may each have their own."""
    found = defaultdict(list)
    for name, path in modules(package).items():
        if name.split(".")[1:2] != ["adapters"]:
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    found[node.name].append(name)
    return found


def test_no_module_imports_one_that_imports_it_by_any_way():
    assert circle(PACKAGE) == []


def test_no_two_public_classes_have_one_name():
    assert {name: homes for name, homes in classes(PACKAGE).items() if len(homes) > 1} == {}


@pytest.fixture
def package(tmp_path: Path):
    """Write modules, and give the package that they are in."""

    def write(**sources: str) -> Path:
        for name, source in sources.items():
            path = tmp_path / "sfumato" / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source, encoding="utf-8")
            (path.parent / "__init__.py").touch()
        return tmp_path / "sfumato"

    return write


@pytest.mark.parametrize(
    "back",
    [
        "from sfumato.a.x import f",
        "from sfumato.a import x",
        "import sfumato.a.x",
        "from ..a import x",
        "def g():\n    from ..a.x import f",
        "if TYPE_CHECKING:\n    from sfumato.a.x import F",
    ],
)
def test_a_circle_is_found(package, back: str):
    made = package(a__x="from sfumato.b.y import g", b__y="import sfumato.c", c="from .b import z", b__z=back)
    found = circle(made)
    assert found[0] == found[-1]
    assert set(found) == {"sfumato.a.x", "sfumato.b.y", "sfumato.c", "sfumato.b.z"}


def test_what_is_no_circle_is_none(package):
    assert (
        circle(package(a__x="from sfumato.a.y import f\nimport os", a__y="from sfumato import b", b="import re")) == []
    )


def test_two_classes_of_one_name_are_found(package):
    made = package(
        a="class Rows: pass\nclass _Own: pass",
        b__c="class Rows: pass\nclass _Own: pass\ndef f():\n    class Within: pass",
        d="class Within: pass",
        adapters__e="class Rows: pass",
    )
    assert {name: homes for name, homes in classes(made).items() if len(homes) > 1} == {
        "Rows": ["sfumato.a", "sfumato.b.c"]
    }
