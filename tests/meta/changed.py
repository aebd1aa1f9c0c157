"""Changed copies of the package, and tests run against them.

A copy is the package with some text replaced, beside the tests, in a folder of its own. The tests run in forks of one
process that has loaded torch and nothing of the package, so that a run costs the tests and not the imports.

    python tests/meta/changed.py     is that process: one JSON request per line, one JSON answer per line
"""

from __future__ import annotations

import importlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Change(NamedTuple):
    """``old`` becomes ``new``; it must be found this many times in the package, wherever it is."""

    old: str
    new: str
    times: int = 1


class Ran(NamedTuple):
    code: int  # pytest's: 0 passed, 1 failed; below 0 where a signal ended it
    out: str


class NotFoundError(LookupError):
    """A text to change is not there, or not as often as it should be."""


# An editable install finds the package before any path does; a Python whose path begins with the copy runs this first.
_FORGET_THE_INSTALL = """
import re, sys
sys.meta_path[:] = [finder for finder in sys.meta_path if not re.search("Editable|ScikitBuild", repr(finder))]
"""


def copy(folder: Path) -> Path:
    """The package and its tests as they are, with the compiled kernel."""
    for name in ("sfumato", "tests", "kernel", "benchmarks", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.partial"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "sitecustomize.py").write_text(_FORGET_THE_INSTALL, encoding="utf-8")
    for place in map(Path, sys.path):  # an editable install keeps the kernel apart
        kernel = place / "sfumato" / "_kernel.so"
        if kernel.is_file() and not (folder / "sfumato" / "_kernel.so").exists():
            shutil.copy(kernel, folder / "sfumato")
    return folder


def change(folder: Path, changes: Iterable[Change], package: str = "sfumato", *, write: bool = True) -> list[Path]:
    """Change a copy, in the Python of ``"sfumato"`` or the headers of ``"kernel"``; give the changed files.

    Raises:
        NotFoundError: a text is not there as often as it should be; the code has moved on, and the change must too.
    """
    changed = []
    for old, new, times in changes:
        paths = sorted((folder / package).rglob("*.hpp" if package == "kernel" else "*.py"))
        texts = {path: path.read_text(encoding="utf-8") for path in paths}
        pattern = _however_broken(old)
        counts = {path: count for path, text in texts.items() if (count := len(pattern.findall(text)))}
        if sum(counts.values()) != times:
            where = {path.name: count for path, count in counts.items()} or "nowhere"
            raise NotFoundError(f"this should be in the package {times} times, but is {where}:\n{old}")
        for path in counts if write else ():
            path.write_text(pattern.sub(lambda _, new=new: new.strip(), texts[path]), encoding="utf-8")
        changed += counts
    return changed


def _however_broken(text: str) -> re.Pattern[str]:
    """A pattern of a piece of code, whatever the white space in it and the comma that a formatter puts before a ")"."""
    words = re.findall(r"\w+|[^\w\s]", re.sub(r",(?=\s*[)\]}])", "", text))
    parts = [(r"\s*,?\s*" if word in ")]}" else r"\s*") + re.escape(word) for word in words]
    edges = [r"(?<!\w)" if words[0][0].isidentifier() else "", r"(?!\w)" if words[-1][-1].isalnum() else ""]
    return re.compile(edges[0] + "".join(parts).removeprefix(r"\s*") + edges[1])


def build_kernel(folder: Path) -> None:
    """Compile the copy's kernel for its tests: plain and unoptimised, one instruction set, in a few seconds."""
    library = folder / "sfumato" / "_kernel.so"
    library.unlink(missing_ok=True)  # a new file: the old one may be mapped
    compiler = os.environ.get("CXX") or shutil.which("c++") or "c++"
    flags = ["-std=c++17", "-fPIC", "-ffp-contract=off", "-fno-trapping-math", "-w", "-O0", "-shared"]
    sources = [str(folder / "kernel" / name) for name in ("rows.cpp", "scan.cpp", "dispatch.cpp")]
    subprocess.run([compiler, *flags, "-DSFUMATO_ISA=baseline", *sources, "-o", str(library)], check=True)


class Forks:
    """The process that forks; close it when done."""

    def __init__(self) -> None:
        others = re.compile("(PYTEST_(?!DEBUG_TEMPROOT)|SFUMATO_|HYPOTHESIS_)")
        env = {name: value for name, value in os.environ.items() if not others.match(name)}
        env["OMP_NUM_THREADS"] = "1"
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True
        )

    def run(self, folder: Path, words: list[str], *, env: dict[str, str], limit: int = 60) -> Ran:
        """pytest with these words in that folder, for at most ``limit`` seconds of the processor."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"folder": str(folder), "words": words, "env": env, "limit": limit}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Ran(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate()


def _serve() -> None:
    # All that the tests load and the package is no part of.
    slow = ("torch._dynamo", "torch.distributed", "numpy.testing", "scipy.special", "hypothesis.strategies", "mpmath")
    for name in ("pytest", *slow):
        importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing else may write among the answers
    for line in sys.stdin:
        answers.write(json.dumps(_forked(json.loads(line))._asdict()) + "\n")
        answers.flush()


def _forked(request: dict) -> Ran:
    printed = Path(request["folder"]) / "printed.txt"
    child = os.fork()
    if child == 0:
        _run(request, printed)
    _, status = os.waitpid(child, 0)
    text = re.sub(r"\n{2,}", "\n", printed.read_text(encoding="utf-8", errors="replace"))
    return Ran(os.waitstatus_to_exitcode(status), text[-3000:])


def _run(request: dict, printed: Path) -> None:
    code = 70
    try:
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CPU, (request["limit"], request["limit"]))
        out = os.open(printed, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.chdir(request["folder"])
        os.environ.update(request["env"], PYTHONPATH=request["folder"])  # for what the tests start
        sys.path[0] = request["folder"]  # not the folder of this file
        importlib.import_module("sitecustomize")
        sys.dont_write_bytecode = True
        import pytest

        quiet = ["-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", "-p", "no:xdist"]
        loaded_before = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
        code = int(pytest.main([*quiet, *loaded_before, *request["words"]]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
