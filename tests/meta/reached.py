"""A pytest plugin: which tests reach which lines of the package, and a run of some tests alone, the quickest first.

``SFUMATO_REACHED=FILE`` writes ``{"lines": {path: {line: [test or file]}}, "seconds": {test: seconds}}``. A line that
is run while a fixture is set up belongs to the whole file of tests, one that is run when it is imported to nobody. What
a command runs that a test forks belongs to that test; what that command's own processes run, to nobody.
``SFUMATO_CHOSEN=FILE`` runs the tests in that file, a JSON list of tests and files, rising in what they cost.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import warnings
from collections.abc import Generator, Mapping
from pathlib import Path

import coverage
import pytest
from coverage.exceptions import CoverageWarning

COMMANDS = "REACHED_COMMANDS"
"""The variable with the folder in which every forked command leaves what it has run."""


def pytest_configure(config: pytest.Config) -> None:
    if path := os.environ.get("SFUMATO_REACHED"):
        config.pluginmanager.register(_Reached(Path(path)))
    if path := os.environ.get("SFUMATO_CHOSEN"):
        config.pluginmanager.register(_Chosen(json.loads(Path(path).read_text(encoding="utf-8"))))


class _Reached:
    def __init__(self, path: Path) -> None:
        self.path, self.seconds = path, dict[str, float]()
        self.coverage = coverage.Coverage(data_file=None, config_file=False, source=[str(Path.cwd() / "sfumato")])
        self.coverage.start()
        self.commands = tempfile.TemporaryDirectory()
        os.environ[COMMANDS] = self.commands.name

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self.coverage.switch_context(item.nodeid.partition("::")[0])
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        self.coverage.switch_context(item.nodeid)
        try:
            return (yield)
        finally:
            self.coverage.switch_context(item.nodeid.partition("::")[0])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration

    def pytest_sessionfinish(self) -> None:
        self.coverage.stop()
        del os.environ[COMMANDS]
        lines: dict[str, dict[int, set[str]]] = {}
        with self.commands, warnings.catch_warnings():
            warnings.simplefilter("ignore", CoverageWarning)  # tests of commands alone run nothing
            found = [coverage.CoverageData(path) for path in map(str, Path(self.commands.name).iterdir())]
            for data in found:
                data.read()
            for data in (self.coverage.get_data(), *found):
                for name in data.measured_files():
                    of_file = lines.setdefault(str(Path(name).relative_to(Path.cwd())), {})
                    for line, contexts in data.contexts_by_lineno(name).items():
                        of_file.setdefault(line, set()).update(filter(None, contexts))
                data.close()
        sorted_lines = {name: {at: sorted(tests) for at, tests in each.items()} for name, each in lines.items()}
        self.path.write_text(json.dumps({"lines": sorted_lines, "seconds": self.seconds}), encoding="utf-8")


@contextlib.contextmanager
def of_command(variables: Mapping[str, str]) -> Generator[None]:
    """Note what a command runs, for the test that has forked it."""
    test, _, phase = variables["PYTEST_CURRENT_TEST"].rpartition(" ")
    measured = coverage.Coverage(
        data_file=str(Path(variables[COMMANDS], os.urandom(8).hex())),
        config_file=False,
        include=[str(Path(__file__).parents[2] / "sfumato" / "*")],
        context=test if phase == "(call)" else test.partition("::")[0],
        messages=False,
    )
    measured.start()
    try:
        yield
    finally:
        measured.stop()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CoverageWarning)
            measured.save()


class _Chosen:
    def __init__(self, names: list[str]) -> None:
        self.rank = {name: rank for rank, name in enumerate(names)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        def rank(item: pytest.Item) -> int | None:
            return self.rank.get(item.nodeid, self.rank.get(item.nodeid.partition("::")[0]))

        items[:] = sorted((item for item in items if rank(item) is not None), key=lambda item: rank(item) or 0)
