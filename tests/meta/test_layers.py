"""Imports of the modules of the package: each only from layers to its left, and none in a circle.

Imports under TYPE_CHECKING and inside functions count too: they are dependencies as well. What a layer costs to import
is asked of fresh interpreters.
"""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "sfumato"

LAYERS = tuple(
    tuple(line.split())
    for line in """
theory reference text io messages conventions targets class_tables schedules arguments extras version
kernel
loss
parallel
evaluate probe
glossary
runs
verdict
lab
report
explain
cli
from_python
adapters
""".strip().splitlines()
)
"""Each line is a layer, and the layers to the left of it are above."""
DEPTH = {name: depth for depth, names in enumerate(LAYERS) for name in names}
ENTRANCES = ("__init__", "__main__")  # they name every layer, and no layer imports them
NEVER = {("report", "lab"): "report reads a run folder, never lab"}


def imports(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a module imports from the package."""
    parts = path.relative_to(root.parent).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = [".".join(parts[: -node.level])] if node.level else []
            names = [".".join(filter(None, (*above, node.module, alias.name))) for alias in node.names]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            names = [str(node.args[0].value)] if called in ("import_module", "__import__") else []
        yield from ((node.lineno, name) for name in names if name.partition(".")[0] == root.name)


def modules(package: Path) -> dict[str, Path]:
    """The file of each module, by its full name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def violations(package: Path) -> list[str]:
    """Every import that the layers forbid, as ``path:line: reason``."""
    found: list[str] = []
    for path in sorted(package.rglob("*.py")):
        own = path.relative_to(package).with_suffix("").parts[0]
        if own in ENTRANCES:
            continue
        where = path.relative_to(package.parent).as_posix()
        if own not in DEPTH:
            found.append(f"{where}: {own} is in no layer")
            continue
        for line, name in imports(path, package):
            if reason := refusal(own, (*name.split("."), "")[1]):
                found.append(f"{where}:{line}: {reason}")
    return found


def refusal(own: str, name: str) -> str | None:
    """Why a module of ``own`` may not import ``name``; None if it may."""
    if name in (own, "__version__"):
        return None
    if (own, name) in NEVER:
        return NEVER[own, name]
    if name not in DEPTH:
        return f"{own} imports {name or 'the whole package'}, which is in no layer; name the module"
    return None if DEPTH[name] <= DEPTH[own] else f"{own} imports {name}, which is to its right"


def circle(package: Path) -> list[str]:
    """Modules that import one another in a circle, the first again at the end; none if there is no such circle."""
    files = modules(package)
    graph = {}
    for module, path in files.items():
        homes = {home_of(name, files) for _, name in imports(path, package)}
        graph[module] = homes - {"", module}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def home_of(name: str, files: dict[str, Path]) -> str:
    """The module that a name is imported from."""
    while name and name not in files:
        name = name.rpartition(".")[0]
    return name


def classes(package: Path) -> dict[str, list[str]]:
    """The modules that define a public class, by its name; frameworks in ``adapters`` may each have their own."""
    found = defaultdict(list)
    for name, path in modules(package).items():
        if name.split(".")[1:2] != ["adapters"]:
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    found[node.name].append(name)
    return found


def test_each_module_imports_only_from_layers_to_its_left():
    assert violations(PACKAGE) == []


def test_no_module_imports_one_that_imports_it_by_any_way():
    assert circle(PACKAGE) == []


def test_no_two_public_classes_have_one_name():
    assert {name: homes for name, homes in classes(PACKAGE).items() if len(homes) > 1} == {}


def test_import_sfumato_loads_neither_torch_nor_numpy():
    assert _loaded("import sfumato", "torch", "numpy") == []


@pytest.mark.parametrize("package", ["theory", "conventions", "report", "lab.data"])
def test_what_needs_no_torch_loads_none(package: str):
    place = PACKAGE / Path(*package.split("."))
    names = [f"sfumato.{package}"]
    if place.is_dir():
        names += [f"sfumato.{package}.{file.stem}" for file in sorted(place.glob("*.py")) if file.stem != "__init__"]
    assert _loaded(f"import {', '.join(names)}", "torch") == []


def _loaded(statement: str, *modules: str) -> list[str]:
    """Which of ``modules`` a fresh interpreter holds after ``statement``."""
    code = f"import sys\n{statement}\nprint(*[name for name in {modules!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture
def package(tmp_path: Path):
    """Write modules by path, and give the package that they are in."""

    def write(**sources: str) -> Path:
        for name, source in sources.items():
            path = tmp_path / "sfumato" / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source, encoding="utf-8")
        return tmp_path / "sfumato"

    return write


@pytest.mark.parametrize(
    ("file", "source", "reason"),
    [
        ("theory", "from sfumato.loss import cross_entropy", "1: theory imports loss, which is to its right"),
        ("loss", "import sfumato.lab.train", "1: loss imports lab, which is to its right"),
        ("loss", "from sfumato import evaluate, targets", "1: loss imports evaluate, which is to its right"),
        ("loss", "def f():\n    from sfumato import cli", "2: loss imports cli, which is to its right"),
        ("probe", "if TYPE_CHECKING:\n    import sfumato.lab", "2: probe imports lab, which is to its right"),
        ("targets", "from . import loss", "1: targets imports loss, which is to its right"),
        ("lab/data/table", "from ...report import run", "1: lab imports report, which is to its right"),
        ("lab/data/init", "from ... import report", "1: lab imports report, which is to its right"),
        ("report/page", "from sfumato.lab import arms", "1: report reads a run folder, never lab"),
        ("loss", "import_module('sfumato.report.page')", "1: loss imports report, which is to its right"),
        ("lab/work", "import sfumato as sf", "1: lab imports the whole package, which is in no layer"),
        ("lab/work", "from sfumato import smooth", "1: lab imports smooth, which is in no layer"),
        ("cli/probe", "from sfumato.adapters import timm", "1: cli imports adapters, which is to its right"),
        ("extra", "", " extra is in no layer"),
    ],
)
def test_a_forbidden_import_is_found(package, file: str, source: str, reason: str):
    (found,) = violations(package(**{file: source}))
    assert found.startswith(f"sfumato/{file}.py:{reason}")


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("loss", "from sfumato.arguments import Call\nfrom sfumato.targets import Target\nimport torch"),
        ("evaluate/__init__", "from . import rows\nfrom .rows import per_row"),
        ("lab/data/table", "from .. import runs\nfrom ...evaluate import ece"),
        ("cli/compare", "from sfumato import __version__\nfrom sfumato.lab import compare\nimport sfumato.report"),
        ("adapters/timm", "from sfumato import loss, verdict"),
        ("__init__", "from sfumato.lab import compare"),
    ],
)
def test_an_import_to_the_left_is_allowed(package, file: str, source: str):
    assert violations(package(**{file: source})) == []


@pytest.mark.parametrize("back", ["from sfumato.a.x import f", "from ..a import x", "def g():\n    import sfumato.a.x"])
def test_a_circle_is_found(package, back: str):
    made = package(a__x="from sfumato.b.y import g", b__y="import sfumato.c", c="from .b import z", b__z=back)
    found = circle(made)
    assert found[0] == found[-1]
    assert set(found) == {"sfumato.a.x", "sfumato.b.y", "sfumato.c", "sfumato.b.z"}
    assert circle(package(a__x="from sfumato.b.y import g", b__y="", b__z="")) == []


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
