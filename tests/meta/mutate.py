"""How many small changes of the code the tests see: a mutation run over the modules that compute.

    python tests/meta/mutate.py [--minutes 60] [--seed 0] [--out FILE.md] [--near] [MODULE…]

Mutants are drawn in turn from each module until the time is over. Each meets the tests that reach its lines first, the
quickest before the others, and where these pass all tests of its module. With ``--near`` it then meets all tests of
their files instead, unless no test reaches its lines: that is much quicker, and can only find too few killed. Those
that no test sees are printed, with the reason why that is so where ``survivors.toml`` has one. Exit code 1 where a
module has fewer than 90 % killed, of those that can be told from the original.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import json
import os
import random
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])

from tests.meta.changed import ROOT, Forks, build_kernel, copy, kernel_passes
from tests.meta.mutants import Mutant, of_cpp, of_python

ENOUGH = 0.9
REASONS = Path(__file__).parent / "survivors.toml"
PROPERTIES = ["tests/loss/test_properties.py", "tests/loss/test_properties_edges.py"]


def _of(*places: str, but: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The modules of rooms of the package, or single ones; ``but`` those whose path begins so."""
    found = []
    for place in places:
        path = ROOT / "sfumato" / place
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    names = (path.relative_to(ROOT / "sfumato").as_posix() for path in found if path.name != "__init__.py")
    return tuple(f"sfumato/{name}" for name in names if not name.startswith(but))


def _tests(*places: str, words: tuple[str, ...] = ("-m", "not nightly")) -> list[str]:
    """The files of tests in rooms, and more words for pytest."""
    found = []
    for place in places:
        path = ROOT / "tests" / place
        found += sorted(path.rglob("test_*.py")) if path.is_dir() else [path]
    return [*(path.relative_to(ROOT).as_posix() for path in found), *words]


QUICK = ("-m", "not nightly and not slow")
ONE_RUN = _tests("cli/test_compare.py", words=("-k", "text_begins or same_bits or config_file or diverges"))

# What is changed, and the tests that should see it, the fastest first.
MODULES: dict[str, tuple[tuple[str, ...], tuple[list[str], ...]]] = {
    "theory": (_of("theory"), (_tests("theory"),)),
    "targets": (
        _of("targets"),
        (
            _tests("targets"),
            PROPERTIES,
            ["tests/loss/test_loss.py"],
            ["--doctest-modules", "sfumato/targets"],
        ),
    ),
    "loss": (
        _of("loss"),
        (
            PROPERTIES,
            [
                "tests/loss/test_loss.py",
                "tests/loss/test_module.py",
                "tests/loss/test_parts.py",
                "tests/test_arguments.py",
                "-m",
                "not slow",
            ],
            [*_tests("targets", words=()), "tests/kernel/test_kernel.py"],
            ["tests/conformance/test_torch_nn.py", "--doctest-modules", "sfumato/loss"],
        ),
    ),
    "evaluate": (
        _of("evaluate"),
        (
            _tests("evaluate"),
            ["--doctest-modules", "sfumato/evaluate"],
            ["tests/cli/test_audit.py", "-k", "not comparison and not input_is_read and not help"],
        ),
    ),
    "conventions": (_of("conventions"), (_tests("conventions"), ["--doctest-modules", "sfumato/conventions"])),
    "probe": (_of("probe"), (_tests("probe"), ["--doctest-modules", "sfumato/probe"], _tests("cli/test_probe.py"))),
    "runs": (
        _of("runs", "arrays"),
        (
            _tests("arrays", "runs", "report", "lab/test_lab.py", words=QUICK),
            _tests("faults/test_resume.py", "faults/test_names.py"),
        ),
    ),
    "verdict": (
        _of("verdict"),
        (_tests("verdict", "lab/test_lab.py", "lab/test_arms.py", words=QUICK), ONE_RUN),
    ),
    "lab": (
        _of("lab", but=("lab/execute/ray", "lab/execute/torchrun", "lab/trackers")),
        (
            _tests("lab", "cli", "verdict", words=QUICK),
            ["--doctest-modules", "sfumato/lab"],
            _tests("lab/test_ladder.py", "lab/train", "from_python"),
            ONE_RUN,
        ),
    ),
    "report": (_of("report"), (_tests("report"), _tests("cli/test_judge.py", words=QUICK))),
    "explain": (_of("explain"), (_tests("explain", "cli/test_cli.py", "conventions"),)),
    "cli": (_of("cli"), (_tests("cli", "report", words=QUICK), _tests("cli", "explain"))),
    "scan.hpp": (("kernel/scan.hpp",), ([*_tests("evaluate/scores", words=()), "-k", "kernel"],)),
    "row.hpp": (
        ("kernel/row.hpp", "kernel/long_rows.hpp", "kernel/short_rows.hpp"),
        (
            [*PROPERTIES, "-k", "[kernel"],
            ["tests/kernel/test_kernel.py"],
            ["tests/targets/test_composed.py", "-k", "[kernel"],
            [
                "tests/loss/test_loss.py",
                "tests/test_reference.py",
                "tests/conformance/test_liger.py",
                "-k",
                "[kernel",
            ],
        ),
    ),
}


class Result(NamedTuple):
    module: str
    file: str
    line: int
    before: str
    after: str
    killed: bool
    why: str = ""


class Module:
    """The mutants of one module in random order, and a copy of the package to make them in."""

    def __init__(self, name: str, folder: Path, seed: int, *, near: bool = False) -> None:
        self.name, self.near = name, near
        self.files, self.tests = MODULES[name]
        self.folder = copy(folder)
        self.limits = [600] * len(self.tests)  # seconds that each of the tests may work
        self.reached: list[dict[str, dict[str, list[str]]]] = []
        self.seconds: dict[str, float] = {}
        self.is_kernel = name.endswith(".hpp")
        find = of_cpp if self.is_kernel else of_python
        self.sources = {file: (self.folder / file).read_text(encoding="utf-8") for file in self.files}
        self.left = [(file, mutant) for file, source in self.sources.items() for mutant in find(source)]
        self.count = len(self.left)
        random.Random(seed).shuffle(self.left)

    def start(self, forks: Forks) -> None:
        """Run the tests on the original: where one fails there, every mutant would look killed.

        A mutant then has thrice as long as they took, so that a slow machine kills none.

        Raises:
            RuntimeError: one does.
        """
        if self.is_kernel:
            build_kernel(self.folder)
        for at, words in enumerate(self.tests):
            began, told = time.monotonic(), self.folder / "reached.json"
            env = {} if self.is_kernel else {"SFUMATO_REACHED": str(told)}
            if failed := self._failure(forks, words, self.limits[at], env):
                raise RuntimeError(f"the tests of {self.name} fail before anything is changed:\n{failed}")
            self.limits[at] = 10 + int(3 * (time.monotonic() - began))
            if not self.is_kernel:
                found = json.loads(told.read_text(encoding="utf-8"))
                self.reached.append(found["lines"])
                self.seconds |= found["seconds"]
        if self.is_kernel and not kernel_passes(self.folder):
            raise RuntimeError("the kernel's own tests fail before anything is changed")

    def next(self, forks: Forks) -> Result | None:
        """What came of the next mutant; None where it was no program, or none is left."""
        file, mutant = self.left.pop()
        path = self.folder / file
        times = path.stat()
        path.write_text(mutant.applied(self.sources[file]), encoding="utf-8")
        try:
            if self.is_kernel:
                try:
                    build_kernel(self.folder)
                except RuntimeError:
                    return None
            line = mutant.lines(self.sources[file])[0]
            nearest = list(self._nearest(file, line))
            killed = any(self._failure(forks, *each) for each in nearest)
            if not killed and self.near and nearest and in_function(self.sources[file], line):
                # what one test finds in a cache or a fixture was counted for another: so all tests of its file
                killed = any(self._failure(forks, words, limit) for words, limit, _ in nearest)
            elif not killed:
                killed = any(self._failure(forks, *each) for each in zip(self.tests, self.limits, strict=True))
            killed = killed or (self.is_kernel and not kernel_passes(self.folder))
            return self._result(file, mutant, killed)
        finally:
            path.write_text(self.sources[file], encoding="utf-8")
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def _nearest(self, file: str, line: int) -> Iterator[tuple[list[str], int, dict[str, str]]]:
        """The tests that reach a line's statement; none where nothing does but an import."""
        if self.is_kernel:
            return
        near = statement(self.sources[file], line)
        for number, (words, limit, lines) in enumerate(zip(self.tests, self.limits, self.reached, strict=True)):
            names = {name for at in near for name in lines.get(file, {}).get(str(at), ())}
            if names:
                chosen = self.folder / f"chosen{number}.json"
                chosen.write_text(json.dumps(sorted(names, key=self._cost)), encoding="utf-8")
                files = {name.partition("::")[0] for name in names}
                needed = [word for word in words if not word.startswith("tests/") or word in files]
                yield needed, limit, {"SFUMATO_CHOSEN": str(chosen)}

    def _cost(self, name: str) -> float:
        """Seconds of a test, or of all tests of a file."""
        return self.seconds.get(name) or sum(s for test, s in self.seconds.items() if test.startswith(f"{name}::"))

    def _failure(self, forks: Forks, words: list[str], limit: int, env: dict[str, str] | None = None) -> str:
        """What the first test that fails says; nothing where all pass."""
        plugin = ["-p", "tests.meta.reached"] if env else []
        ran = forks.run(self.folder, ["-x", *plugin, *words], env={"SFUMATO_SHRINK": "0", **(env or {})}, limit=limit)
        return "" if ran.code == 0 else ran.out or f"exit code {ran.code}"

    def _result(self, file: str, mutant: Mutant, killed: bool) -> Result:
        line, before, after = mutant.lines(self.sources[file])
        return Result(self.name, file, line, before, after, killed, "" if killed else reason(file, before, after))


def statement(source: str, line: int) -> range:
    """The lines of the smallest statement that a line belongs to; of one with a body, those before the body."""
    found = range(line, line + 1)
    for node in ast.walk(ast.parse(source)):  # those within come after
        body = getattr(node, "body", None)
        if isinstance(node, ast.stmt):
            last = body[0].lineno - 1 if body else node.end_lineno or line
            if node.lineno <= line <= last:
                found = range(node.lineno, last + 1)
    return found


def in_function(source: str, line: int) -> bool:
    """Whether a line is in the body of a function; the others run at an import, in whichever test comes first."""
    functions = (
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return any(node.body[0].lineno <= line <= (node.end_lineno or line) for node in functions)


def reason(file: str, before: str, after: str) -> str:
    """Why nobody can see this mutant, from the list that is kept."""
    for entry in tomllib.loads(REASONS.read_text(encoding="utf-8"))["survivor"]:
        if entry["file"] == file and (entry["before"], entry["after"]) == (before, after):
            return entry["why"]
    return ""


def table(results: list[Result], counts: dict[str, int]) -> str:
    """Markdown: a row a module, and every survivor."""
    lines = ["| module | mutants | tried | killed | same program | killed of the others |", "| --- |" + " ---: |" * 5]
    for name, count in counts.items():
        own = [r for r in results if r.module == name]
        killed, same = sum(r.killed for r in own), sum(bool(r.why) for r in own)
        lines.append(f"| {name} | {count} | {len(own)} | {killed} | {same} | {rate(own):.1%} |")
    survivors = [r for r in results if not r.killed]
    for r in sorted(survivors):
        lines += ["", f"{r.file}:{r.line}  {r.why or '(no reason known)'}", f"    - {r.before}", f"    + {r.after}"]
    return "\n".join(lines) + "\n"


def rate(results: list[Result]) -> float:
    """Killed, of those that can be told from the original."""
    told = [r for r in results if not r.why]
    return sum(r.killed for r in told) / len(told) if told else 1.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="*", choices=[*MODULES, []], default=list(MODULES))
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()) // 86400, help="default: another one each day")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--near", action="store_true", help="only the tests that reach a mutant, where some do")
    given = parser.parse_args()
    print(f"seed {given.seed}", file=sys.stderr)
    ends = time.monotonic() + 60 * given.minutes
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = folder  # a mutant that is killed leaves files behind
        forks = Forks()
        modules = [Module(name, Path(folder) / name, given.seed, near=given.near) for name in given.modules or MODULES]
        for module in modules:
            module.start(forks)
        for module in itertools.cycle(modules):
            if time.monotonic() > ends or not any(m.left for m in modules):
                break
            if module.left and (result := module.next(forks)) is not None:
                results.append(result)
                mark = "killed" if result.killed else "SURVIVED" if not result.why else "same"
                print(f"{mark:8} {result.file}:{result.line}  {result.after}", file=sys.stderr, flush=True)
    forks.close()
    text = table(results, {m.name: m.count for m in modules})
    print(text)
    if given.out is not None:
        given.out.write_text(text, encoding="utf-8")
    return int(any(rate([r for r in results if r.module == m.name]) < ENOUGH for m in modules))


if __name__ == "__main__":
    sys.exit(main())
