"""What several test files share: the command line as a stranger runs it, and one real comparison."""

from __future__ import annotations

import gc
import importlib
import json
import multiprocessing
import multiprocessing.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import Phase, settings

from tests import leaks
from tests.limits import EXAMPLES, NIGHTLY, SECONDS, Watch, limit
from tests.warm import Warm, environment

# A shell starts what is in its background deaf to SIGINT, and so would be every process that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests time nothing, so examples have no deadline. Every change sees the same examples, `make quick` the first of them,
# and `make nightly` draws new ones, forty times as many.
for name, many in EXAMPLES.items():
    same = {} if name == "nightly" else {"derandomize": True}
    settings.register_profile(name, deadline=None, print_blob=True, max_examples=many, **same)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "every change"))
if os.environ.get("SFUMATO_SHRINK") == "0":  # for planted faults: nobody reads the smallest failure
    settings.register_profile("first failure", settings(), phases=[Phase.explicit, Phase.reuse, Phase.generate])
    settings.load_profile("first failure")

# Workers of a comparison that a test makes in its own process are forks of one that has loaded what they need: a worker
# that starts from nothing takes seconds for its imports. They are given as much as that one: arguments and the path of
# imports, and no other state of this process. Commands of a process of their own, and `digits`, start workers anew.
if sys.platform == "linux":
    multiprocessing.set_forkserver_preload(["torch", "sfumato.lab.execute.training_run", "sfumato.lab.models.outside"])
    _context_of = multiprocessing.get_context
    multiprocessing.get_context = lambda method=None: _context_of("forkserver" if method == "spawn" else method)


_WATCH = pytest.StashKey[Watch]()
_own_temporary: list[str] = []  # the folder for temporary files, of this process and all that it starts


def pytest_configure(config: pytest.Config) -> None:
    """A folder of its own for temporary files, which goes when the tests end: libraries leave some behind.

    pytest's own folders stay where they were, for whoever looks at a failure.
    """
    if getattr(config.option, "numprocesses", None):  # only its workers run tests
        return
    importlib.import_module("torch")  # before a test looks at what it leaves behind: loading it sets filters and states
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    multiprocessing.util.get_temp_dir()  # it goes by itself, later than the folder made here
    _own_temporary.append(tempfile.mkdtemp(prefix="sf-"))  # short: Ray makes sockets in it
    os.environ["TMPDIR"] = tempfile.tempdir = _own_temporary[0]
    os.environ["KERAS_HOME"] = f"{_own_temporary[0]}/keras"  # Keras writes its settings where it finds none
    os.mkdir(os.environ["KERAS_HOME"])
    config.stash[_WATCH] = Watch()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays to the end: it is not searched for garbage, a fifth of the time of short tests."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def _limited(item: pytest.Item) -> Generator[None, object, object]:
    nightly = item.get_closest_marker("nightly") or os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
    seconds = NIGHTLY if nightly else SECONDS
    item.config.stash[_WATCH](3 * seconds)
    with limit(seconds):
        return (yield)


# The test, what it sets up and what it tidies away each have the limit for themselves.
pytest_runtest_setup = pytest_runtest_call = pytest_runtest_teardown = pytest.hookimpl(wrapper=True)(_limited)


@pytest.fixture(autouse=True)
def leaves_nothing_behind() -> Iterator[None]:
    """A test that changes the process for the tests after it fails; fixtures of wider scope come before this one.

    What it drew from the generators that everyone shares is put back, so that no test's numbers hang on another's.
    """
    before, states = leaks.snapshot(), leaks.random_states()
    yield
    leaks.put_back(states)
    if os.environ.get("SFUMATO_LEAKS") == "0":  # under a torch that leaves other things behind: tests/meta/floor.py
        return
    left = leaks.changes(before, leaks.snapshot())
    assert left == [], "the test leaves something behind"


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str
    folder: Path

    def json(self) -> dict:
        return json.loads(self.out)


_running: list[Warm] = []  # the process that forks, when it has been needed


def warm_process() -> Warm:
    """The process that forks commands, one for all tests of this process."""
    if not _running:
        _running.append(Warm())
    return _running[0]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:  # a worker of xdist is never unconfigured
    while _running:
        _running.pop().close()
    while _own_temporary:
        shutil.rmtree(_own_temporary.pop(), ignore_errors=True)


@pytest.fixture(scope="session")
def warm() -> Warm:
    return warm_process()


def run_sfumato(*words: str, folder: Path, env: dict[str, str] | None = None, figures: bool = False) -> Ran:
    """``sfumato …`` in a process of its own, in a folder of its own; where the system can, a fork of a warm one.

    The page of a comparison then has two figures unless ``figures`` asks for all, which take most of its time.
    """
    if sys.platform != "linux":
        return run_cold(*words, folder=folder, env=env)
    with tempfile.TemporaryDirectory() as streams:
        how = {"env": environment() | (env or {}), "figures": figures}
        code, command = warm_process().run(*words, folder=folder, streams=Path(streams), **how)
        return Ran(code, command.out, command.err, folder)


def run_cold(*words: str, folder: Path, env: dict[str, str] | None = None) -> Ran:
    """``sfumato …`` as a stranger runs it, by a Python that starts from nothing."""
    command = [sys.executable, "-m", "sfumato", *words]
    done = subprocess.run(
        command, cwd=folder, env=environment() | (env or {}), capture_output=True, text=True, timeout=300, check=False
    )
    return Ran(done.returncode, done.stdout, done.stderr, folder)


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> Ran:
    """`sfumato compare digits --json`, whole, with every default: run once, whatever the number of xdist's workers."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, told = shared / "digits", shared / "digits.json"
    with FileLock(shared / "digits.lock", timeout=SECONDS):
        if not told.exists():
            folder.mkdir()
            ran = run_cold("compare", "digits", "--json", folder=folder)
            told.write_text(json.dumps([ran.code, ran.out, ran.err]), encoding="utf-8")
    ran = Ran(*json.loads(told.read_text(encoding="utf-8")), folder)
    assert ran.code == 0, ran.err
    return ran


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start a program in ``tmp_path``; one that is still at work when the test ends is killed."""
    started: list[subprocess.Popen] = []

    def begin(*words: str, **how: Any) -> subprocess.Popen:
        started.append(subprocess.Popen([sys.executable, *words], cwd=tmp_path, **how))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
