"""Every fault of ``faults`` is seen by the test that is named with it.

The package as it is passes those tests: they run with all the others.
"""

from __future__ import annotations

import os
import shutil

import pytest

from tests.meta.changed import ROOT, Change, Forks, NotFoundError, build_kernel, change, copy
from tests.meta.faults import FAULTS, Fault

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="copies of the package are tested in forks")


@pytest.fixture(scope="module")
def forks():
    server = Forks()
    yield server
    server.close()


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory):
    """A copy of the package for faults that are made in the process of the tests."""
    return copy(tmp_path_factory.mktemp("unchanged"))


def _of_the_day() -> set[str]:
    """One fault for each file of tests, and for each path of the loss; those of the kernel have to be compiled."""
    first: dict[str, str] = {}
    for name, fault in FAULTS.items():
        if fault.package != "kernel":
            first.setdefault(fault.test.partition("::")[0] + fault.path, name)
    return {*first.values()}


DAILY = _of_the_day()


@pytest.mark.parametrize(
    "name", [pytest.param(name, id=name, marks=[] if name in DAILY else [pytest.mark.nightly]) for name in FAULTS]
)
def test_the_fault_is_caught(name: str, forks: Forks, unchanged, tmp_path):
    fault, env, folder = FAULTS[name], {"SFUMATO_SHRINK": "0"}, unchanged
    only = f"[{fault.path}" if fault.path else fault.only
    words = ["-x", fault.test, *(["-k", only] if only else [])]
    if callable(fault.made):
        words += ["-p", "tests.meta.planted"]
        env["SFUMATO_PLANTED"] = name
    else:
        folder = copy(tmp_path)
        change(folder, fault.made, fault.package)
    if fault.package == "kernel":
        if shutil.which(os.environ.get("CXX", "c++")) is None:
            pytest.skip("no C++ compiler")
        build_kernel(folder)
    if fault.path == "kernel" and not (folder / "sfumato" / "_kernel.so").exists():
        pytest.skip("no kernel")
    ran = forks.run(folder, words, env=env)
    assert ran.code == 1, f"not seen by {fault.test}:\n{ran.out}"


def test_each_fault_changes_a_text_that_is_there():
    for fault in FAULTS.values():
        if not callable(fault.made):
            assert change(ROOT, fault.made, fault.package, write=False)


@pytest.mark.parametrize("fault", [pytest.param(f, id=name) for name, f in FAULTS.items()])
def test_the_named_test_is_there(fault: Fault):
    file, *names = fault.test.split("::")
    text = (ROOT / file).read_text(encoding="utf-8")
    assert [name for name in names if f"def {name}(" not in text and f"class {name}:" not in text] == []


def test_a_change_that_finds_nothing_to_change_is_an_error(tmp_path):
    (tmp_path / "sfumato").mkdir()
    (tmp_path / "sfumato" / "module.py").write_text("x = 1\nx = 1\n", encoding="utf-8")
    for old, times in (("y = 1", 1), ("x = 1", 1), ("x = 1", 3)):
        with pytest.raises(NotFoundError, match="this should be in the package"):
            change(tmp_path, [Change(old, "z", times)])
    changed = change(tmp_path, [Change("x = 1", "z = 1", 2)])
    assert changed[0].read_text(encoding="utf-8") == "z = 1\nz = 1\n"


@pytest.mark.parametrize("text", ["f(a, b=1)", "f(\n    a,\n    b=1,\n)", "f(a,\n  b = 1)"])
def test_a_text_is_found_however_its_lines_are_broken(text, tmp_path):
    (tmp_path / "sfumato").mkdir()
    (tmp_path / "sfumato" / "module.py").write_text(f"x = {text} + g(a, b=1)\n", encoding="utf-8")
    (changed,) = change(tmp_path, [Change(" f(a, b=1)", "0")])
    assert changed.read_text(encoding="utf-8") == "x = 0 + g(a, b=1)\n"
