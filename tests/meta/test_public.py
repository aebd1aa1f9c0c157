"""What every public name owes its reader: a docstring, annotations, an example that runs, a source for mathematics."""

import ast
import enum
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import sfumato

ROOT = Path(sfumato.__file__).parent

MATHEMATICS = (
    "targets",
    "class_tables",
    "schedules",
    "loss",
    "theory",
    "conventions",
    "reference",
    "probe",
    "evaluate",
    "parallel",
    "loss.penalty",
)
"""Modules whose public functions have an example, and a source for each formula."""


def public_modules() -> list[str]:
    """Every module of the package whose path has no leading underscore in it."""
    names = [each.name for each in pkgutil.walk_packages([str(ROOT)], "sfumato.")]
    return sorted(name for name in names if not any(part.startswith("_") for part in name.split(".")))


def public_of(module: ModuleType) -> dict[str, Any]:
    """Functions and classes that a module defines, or for a package also those that it re-exports, by full name."""
    package = hasattr(module, "__path__")
    found: dict[str, Any] = {}
    for name, value in vars(module).items():
        if name.startswith("_") or not (inspect.isfunction(value) or inspect.isclass(value)):
            continue
        if value.__module__ == module.__name__ or (package and value.__module__.startswith(f"{module.__name__}.")):
            found[f"{value.__module__}.{value.__qualname__}"] = value
    return found


def methods_of(owner: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties that a class itself defines."""
    for name, value in vars(owner).items():
        plain = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if not name.startswith("_") and (inspect.isfunction(plain) or isinstance(plain, property)):
            yield name, plain


def collect() -> dict[str, Any]:
    """Every public function, class, method and property, by full name."""
    found: dict[str, Any] = {}
    for name in public_modules():
        found |= public_of(importlib.import_module(name))
    for name, value in list(found.items()):
        if inspect.isclass(value):
            found |= {f"{name}.{method}": each for method, each in methods_of(value)}
    return found


PUBLIC = collect()


def mathematics() -> dict[str, Any]:
    """What the modules of mathematics export: functions, classes and their methods."""
    exported: dict[str, Any] = {}
    for head in MATHEMATICS:
        exported |= public_of(importlib.import_module(f"sfumato.{head}"))
    return {name: value for name, value in PUBLIC.items() if name in exported or name.rpartition(".")[0] in exported}


def lacking_example(name: str, value: Any) -> bool:
    """Whether a function has no example, or a method has none and its class neither."""
    if not inspect.isfunction(value):
        return False
    texts = [value.__doc__ or ""]
    owner = PUBLIC.get(name.rpartition(".")[0])
    if owner is not None:
        texts.append(owner.__doc__ or "")
    return not any(">>>" in text for text in texts)


def bare_annotations(value: Any) -> list[str]:
    """Parameters without an annotation, and "return" where that is missing."""
    if isinstance(value, property):
        value = value.fget
    if inspect.isclass(value) and issubclass(value, enum.Enum):
        return []
    if inspect.isclass(value):
        # a class without a constructor of its own has its base's signature, often one that C code gives
        made = vars(value).get("__init__") or vars(value).get("__new__")
        if made is None or not inspect.isfunction(made) or made.__module__ == "typing":  # of a protocol
            return []
        signature, result = inspect.signature(value), False
    else:
        signature, result = inspect.signature(value), True
    bare = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.annotation is inspect.Parameter.empty and parameter.name not in ("self", "cls")
    ]
    return bare + (["return"] if result and signature.return_annotation is inspect.Signature.empty else [])


def test_the_collection_is_not_empty():
    assert {"sfumato.theory.smoothing.optimal_gap", "sfumato.targets.base.Target.probs"} <= set(PUBLIC)
    assert {"sfumato.evaluate.scores.per_row.Rows", "sfumato.targets.dense.mix"} <= set(PUBLIC)
    assert {
        "sfumato.lab.data.split.split",
        "sfumato.report.compare_page.render",
        "sfumato.runs.folder.find",
    } <= set(PUBLIC)


def test_every_public_name_has_a_docstring():
    assert [name for name, value in PUBLIC.items() if not (inspect.getdoc(value) or "").strip()] == []


def test_every_public_signature_is_annotated():
    found = {name: bare for name, value in PUBLIC.items() if (bare := bare_annotations(value))}
    assert found == {}


def test_every_public_function_of_the_mathematics_has_an_example():
    assert [name for name, value in mathematics().items() if lacking_example(name, value)] == []


def test_every_formula_names_its_source():
    lacking = [
        name
        for name, value in mathematics().items()
        if inspect.isfunction(value) and ".. math::" in (value.__doc__ or "") and "Source:" not in value.__doc__
    ]
    assert lacking == []


def test_the_names_of_the_package_are_those_that_type_checkers_see():
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    block = next(
        node for node in tree.body if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
    )
    seen: dict[str, str] = {}
    for statement in block.body:
        assert isinstance(statement, ast.ImportFrom)
        for alias in statement.names:
            assert alias.asname == alias.name, f"{alias.name} is not re-exported as itself"
            seen[alias.name] = str(statement.module)
    homes = {name: f"sfumato.{home}" for home, names in sfumato._HOMES.items() for name in names.split()}
    assert seen == homes | dict.fromkeys(sfumato._MODULES, "sfumato")


@pytest.mark.parametrize("name", sorted([*sfumato._HOME_OF, *sfumato._MODULES]))
def test_a_name_of_the_package_can_be_used_and_says_what_it_is(name: str):
    value = getattr(sfumato, name)
    assert (value.__doc__ or "").strip()


def test_dir_shows_names_of_sfumato_only():
    allowed = {*sfumato._MODULES, *sfumato._HOME_OF, *(each.name for each in pkgutil.iter_modules([str(ROOT)]))}
    assert [name for name in dir(sfumato) if not name.startswith("_") and name not in allowed] == []


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"^module 'sfumato' has no attribute 'smoothe'$"):
        _ = sfumato.smoothe


def test_what_a_name_lacks_is_found():
    def bare(x, *, y: int = 0):  # no annotation, docstring or example
        return x + y

    class Holder:
        """A class without an example."""

        @property
        def size(self):
            return 0

    assert bare_annotations(bare) == ["x", "return"]
    assert bare_annotations(Holder.__dict__["size"]) == ["return"]
    assert bare_annotations(Holder) == []
    assert lacking_example("sfumato.nowhere.bare", bare)
    assert [name for name, _ in methods_of(Holder)] == ["size"]
