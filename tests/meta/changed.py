"""Changed copies of the package, and tests run against them.

A copy is the package with some text replaced, beside the tests, in a folder of its own. The tests run in forks of one
process that has loaded torch and nothing of the package, so that a run costs the tests and not the imports.

    python tests/meta/changed.py     is that process: one JSON request a line, one JSON answer a line
"""

from __future__ import annotations

import importlib
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
TIMED_OUT = 124


class Change(NamedTuple):
    """``old`` becomes ``new``; it must be found so many times in the package, wherever it stands."""

    old: str
    new: str
    times: int = 1


class Ran(NamedTuple):
    code: int  # pytest's: 0 passed, 1 failed; 124 where it would not end
    out: str


class NotFoundError(LookupError):
    """A text to change is not there, or not as often as it should be."""


# An editable install finds the package before any path does; a Python whose path begins with the copy runs this first.
_FORGET_THE_INSTALL = """
import re, sys
sys.meta_path[:] = [each for each in sys.meta_path if not re.search("Editable|ScikitBuild", repr(each))]
"""


def copy(folder: Path) -> Path:
    """The package and its tests as they are, without what tests them from outside."""
    ignored = shutil.ignore_patterns("*.partial")  # compiled files are kept: they know their sources by time and size
    for name in ("sfumato", "tests", "kernel", "benchmarks", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "sitecustomize.py").write_text(_FORGET_THE_INSTALL, encoding="utf-8")
    for place in map(Path, sys.path):  # an editable install keeps the kernel apart
        kernel = place / "sfumato" / "_kernel.so"
        if kernel.is_file() and not (folder / "sfumato" / "_kernel.so").exists():
            shutil.copy(kernel, folder / "sfumato")
    return folder


def change(folder: Path, changes: Iterable[Change], package: str = "sfumato", suffix: str = ".py") -> list[Path]:
    """Make the changes in a copy.

    Returns:
        The files that were changed.

    Raises:
        NotFoundError: a text is not there as often as it should be; the code has moved on, and the change must too.
    """
    changed = []
    for old, new, times in changes:
        texts = {path: path.read_text(encoding="utf-8") for path in sorted((folder / package).rglob(f"*{suffix}"))}
        pattern = _however_broken(old)
        found = {path: count for path, text in texts.items() if (count := len(pattern.findall(text)))}
        if sum(found.values()) != times:
            where = {path.name: count for path, count in found.items()} or "nowhere"
            raise NotFoundError(f"this should stand in the package {times} times, but stands {where}:\n{old}")
        for path in found:
            path.write_text(pattern.sub(lambda _, new=new: new.strip(), texts[path]), encoding="utf-8")
            changed.append(path)
    return changed


def _however_broken(text: str) -> re.Pattern[str]:
    """A pattern of a piece of code, whatever the white space in it and the comma that a formatter puts before a ")"."""
    words = re.findall(r"\w+|[^\w\s]", re.sub(r",(?=\s*[)\]}])", "", text))
    parts = [(r"\s*,?\s*" if word in ")]}" else r"\s*") + re.escape(word) for word in words]
    edges = [r"(?<!\w)" if words[0][0].isidentifier() else "", r"(?!\w)" if words[-1][-1].isalnum() else ""]
    return re.compile(edges[0] + "".join(parts).removeprefix(r"\s*") + edges[1])


def build_kernel(folder: Path) -> None:
    """Compile the copy's kernel for its tests: plain and unoptimised, one instruction set, in a few seconds.

    Raises:
        RuntimeError: it does not compile.
    """
    library = folder / "sfumato" / "_kernel.so"
    library.unlink(missing_ok=True)  # a new file: the old one may be mapped
    sources = [folder / "kernel" / name for name in ("rows.cpp", "scan.cpp", "dispatch.cpp")]
    _compile(library, ["-O0", "-shared", "-DSFUMATO_ISA=baseline", *map(str, sources)])


def kernel_passes(folder: Path) -> bool:
    """Whether the kernel that was built last passes its own tests, which know the bounds of exp and log1p alone.

    The scan's is built with it, so that AddressSanitizer sees what is written beside the row's memory.
    """
    kernel = folder / "kernel"
    scan = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DSFUMATO_ISA=baseline"]
    scan += [str(kernel / name) for name in ("scan.cpp", "rows.cpp", "dispatch.cpp")]
    for name, words in (("scan_test", scan), ("row_test", ["-O1", str(folder / "sfumato" / "_kernel.so")])):
        program = folder / name
        _compile(program, [str(kernel / f"{name}.cpp"), *words])
        words = ["/bin/sh", "-c", f"ulimit -t 300; exec {shlex.quote(str(program))}"]
        if subprocess.run(words, capture_output=True, check=False).returncode != 0:
            return False
    return True


def _compile(made: Path, words: list[str]) -> None:
    compiler = os.environ.get("CXX") or shutil.which("c++") or "c++"
    flags = ["-std=c++17", "-fPIC", "-ffp-contract=off", "-fno-trapping-math", "-w"]
    done = subprocess.run([compiler, *flags, *words, "-o", str(made)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)


class Forks:
    """The process that forks; close it when done."""

    def __init__(self, preload: Iterable[str] = ()) -> None:
        self._words = [sys.executable, __file__, *preload]
        self._process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        others = re.compile("(PYTEST_(?!DEBUG_TEMPROOT)|SFUMATO_|HYPOTHESIS_)")
        env = {name: value for name, value in os.environ.items() if not others.match(name)}
        env["OMP_NUM_THREADS"] = "1"
        return subprocess.Popen(self._words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True)

    def run(self, folder: Path, words: list[str], *, env: dict[str, str] | None = None, limit: int = 60) -> Ran:
        """pytest with these words in that folder, for at most ``limit`` seconds of the processor."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"folder": str(folder), "words": words, "env": env or {}, "limit": limit}
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return Ran(**json.loads(self._process.stdout.readline()))
        except BaseException:  # it has died, or was not let finish: its answer may still come
            self._process.kill()
            self.close()
            self._process = self._start()
            raise

    def close(self) -> None:
        self._process.communicate()


def _serve(preload: list[str]) -> None:
    from importlib import import_module

    # All that the tests load and the package is no part of.
    slow = ("torch._dynamo", "torch.distributed", "numpy.testing", "scipy.special", "hypothesis.strategies", "mpmath")
    for name in ("pytest", *slow, *preload):
        import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing else may write among the answers
    for line in sys.stdin:
        answers.write(json.dumps(_forked(json.loads(line))._asdict()) + "\n")
        answers.flush()


def _forked(request: dict) -> Ran:
    folder = Path(request["folder"])
    said = folder / "said.txt"
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.setsid()  # what it starts ends with it
            resource.setrlimit(resource.RLIMIT_CPU, (request["limit"], request["limit"]))
            out = os.open(said, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.chdir(folder)
            os.environ.update(request["env"], PYTHONPATH=str(folder))  # for what the tests start
            sys.path[0] = str(folder)  # not the folder of this file
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
    ends = time.monotonic() + 30 * request["limit"]  # for what waits and does not work
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > ends:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return Ran(TIMED_OUT, "it waits for ever")
        time.sleep(0.01)
    code = os.waitstatus_to_exitcode(status)
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return Ran(TIMED_OUT, "it works for ever")
    text = re.sub(r"\n{2,}", "\n", said.read_text(encoding="utf-8", errors="replace"))
    return Ran(code, text[-3000:])


if __name__ == "__main__":
    _serve(sys.argv[1:])
