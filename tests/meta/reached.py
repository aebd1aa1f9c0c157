"""A pytest plugin: which tests reach which lines of the package, and a run of some tests alone, the quickest first.

``SFUMATO_REACHED=FILE`` writes ``{"lines": {path: {line: [test or file]}}, "seconds": {test: seconds}}``. A line that
is run while a fixture is set up belongs to the whole file of tests, one that is run when it is imported to nobody.
``SFUMATO_CHOSEN=FILE`` runs the tests in that file, a JSON list of tests and files, rising in what they cost.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path

import coverage
import pytest


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
        data = self.coverage.get_data()
        lines = {
            str(Path(name).relative_to(Path.cwd())): {
                line: sorted(filter(None, contexts)) for line, contexts in data.contexts_by_lineno(name).items()
            }
            for name in data.measured_files()
        }
        self.path.write_text(json.dumps({"lines": lines, "seconds": self.seconds}), encoding="utf-8")


class _Chosen:
    def __init__(self, names: list[str]) -> None:
        self.rank = {name: rank for rank, name in enumerate(names)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        def rank(item: pytest.Item) -> int | None:
            return self.rank.get(item.nodeid, self.rank.get(item.nodeid.partition("::")[0]))

        items[:] = sorted((item for item in items if rank(item) is not None), key=lambda item: rank(item) or 0)
