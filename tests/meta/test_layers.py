"""The layers of the package, read off its import statements: each module imports only from layers to its left.

Imports under TYPE_CHECKING and inside functions count too: they are dependencies as well. What a layer costs to import
is asked of fresh interpreters.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "sfumato"

LAYERS = (
    (
        "theory",
        "reference",
        "text",
        "io",
        "conventions",
        "targets",
        "class_tables",
        "schedules",
        "arguments",
        "extras",
        "version",
    ),
    ("kernel",),
    ("loss",),
    ("parallel",),
    ("evaluate", "probe"),
    ("glossary",),
    ("runs",),
    ("verdict",),
    ("lab",),
    ("report",),
    ("explain",),
    ("cli",),
    ("from_python",),
    ("adapters",),
)
DEPTH = {name: depth for depth, names in enumerate(LAYERS) for name in names}
ENTRANCES = ("__init__", "__main__")  # they name every layer, and no layer imports them
NEVER = {("report", "lab"): "report reads a run folder, never lab"}


def violations(package: Path) -> list[str]:
    """Every import that the layers forbid, as ``path:line: reason``."""
    found: list[str] = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        own = parts[0]
        if own in ENTRANCES:
            continue
        where = path.relative_to(package.parent).as_posix()
        if own not in DEPTH:
            found.append(f"{where}: {own} is in no layer")
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for line, name in imports(tree, package.name, parts[:-1]):
            reason = refusal(own, name)
            if reason is not None:
                found.append(f"{where}:{line}: {reason}")
    return found


def imports(tree: ast.AST, package: str, folder: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Line and first name below the package of everything imported from it; "" for the package as a whole."""
    for node in ast.walk(tree):
        modules: list[list[str]] = []
        if isinstance(node, ast.Import):
            modules = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = [package, *folder][: len(folder) + 2 - node.level] if node.level else []
            module = above + (node.module.split(".") if node.module else [])
            modules = [[*module, alias.name] for alias in node.names]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                modules = [str(node.args[0].value).split(".")]
        for module in modules:
            if module[0] == package:
                yield node.lineno, module[1] if len(module) > 1 else ""


def refusal(own: str, name: str) -> str | None:
    """Why a module of ``own`` may not import ``name``; None if it may."""
    if name in (own, "__version__"):
        return None
    if (own, name) in NEVER:
        return NEVER[own, name]
    if name not in DEPTH:
        return f"{own} imports {name or 'the whole package'}, which is in no layer; name the module"
    return None if DEPTH[name] <= DEPTH[own] else f"{own} imports {name}, which is to its right"


def test_each_module_imports_only_from_layers_to_its_left():
    assert violations(PACKAGE) == []


@pytest.mark.parametrize(
    ("file", "source", "reason"),
    [
        ("theory.py", "from sfumato.loss import cross_entropy", "1: theory imports loss, which is to its right"),
        ("loss.py", "import sfumato.lab.train", "1: loss imports lab, which is to its right"),
        ("loss.py", "from sfumato import evaluate, targets", "1: loss imports evaluate, which is to its right"),
        ("loss.py", "def f():\n    from sfumato import cli", "2: loss imports cli, which is to its right"),
        ("probe.py", "if TYPE_CHECKING:\n    import sfumato.lab", "2: probe imports lab, which is to its right"),
        ("targets.py", "from . import loss", "1: targets imports loss, which is to its right"),
        ("lab/data/table.py", "from ...report import run", "1: lab imports report, which is to its right"),
        ("lab/data/__init__.py", "from ... import report", "1: lab imports report, which is to its right"),
        ("evaluate/__init__.py", "from ..lab import runs", "1: evaluate imports lab, which is to its right"),
        ("report/page.py", "from sfumato.lab import arms", "1: report reads a run folder, never lab"),
        ("loss.py", "import_module('sfumato.report.compare_page')", "1: loss imports report, which is to its right"),
        ("loss.py", "importlib.import_module('sfumato.lab')", "1: loss imports lab, which is to its right"),
        ("lab/work.py", "import sfumato as sf", "1: lab imports the whole package, which is in no layer"),
        ("lab/work.py", "from sfumato import smooth", "1: lab imports smooth, which is in no layer"),
        ("lab/train.py", "from sfumato.adapters import timm", "1: lab imports adapters, which is to its right"),
        ("cli/probe.py", "from sfumato.adapters import timm", "1: cli imports adapters, which is to its right"),
        ("extra.py", "", " extra is in no layer"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, file: str, source: str, reason: str):
    found = violations(_tree(tmp_path, file, source))
    assert len(found) == 1
    assert found[0].startswith(f"sfumato/{file}:{reason}")


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("loss.py", "from sfumato.arguments import Call\nfrom sfumato.targets import Target\nimport torch"),
        ("evaluate/rows.py", "from sfumato.evaluate.scores.source import Source\nfrom .calibration import ece"),
        ("evaluate/__init__.py", "from . import rows\nfrom .rows import per_row"),
        ("lab/arms.py", "from sfumato import conventions, theory\nfrom ..loss import CrossEntropyLoss"),
        ("lab/data/table.py", "from .. import runs\nfrom ...evaluate import ece"),
        ("report/page.py", "def f():\n    from sfumato import theory"),
        ("cli/compare.py", "from sfumato import __version__\nfrom sfumato.lab import compare\nimport sfumato.report"),
        ("adapters/timm.py", "from sfumato import loss, verdict"),
        ("__main__.py", "from sfumato.cli import main"),
        ("__init__.py", "from sfumato.lab import compare"),
    ],
)
def test_an_import_to_the_left_is_allowed(tmp_path: Path, file: str, source: str):
    assert violations(_tree(tmp_path, file, source)) == []


def test_import_sfumato_loads_neither_torch_nor_numpy():
    assert _loaded("import sfumato", "torch", "numpy") == []


@pytest.mark.parametrize("package", ["theory", "conventions", "report", "lab.data"])
def test_what_needs_no_torch_loads_none(package: str):
    place = PACKAGE / Path(*package.split("."))
    modules = [f"sfumato.{package}"]
    if place.is_dir():
        modules += [f"sfumato.{package}.{file.stem}" for file in sorted(place.glob("*.py")) if file.stem != "__init__"]
    assert _loaded(f"import {', '.join(modules)}", "torch") == []


def _tree(folder: Path, file: str, source: str) -> Path:
    path = folder / "sfumato" / file
    path.parent.mkdir(parents=True)
    path.write_text(source, encoding="utf-8")
    return folder / "sfumato"


def _loaded(statement: str, *modules: str) -> list[str]:
    """Which of ``modules`` a fresh interpreter holds after ``statement``."""
    code = f"import sys\n{statement}\nprint(*[name for name in {modules!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
