"""What several test files share: the command line as a stranger runs it, and one real comparison."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch  # noqa: F401  before any test looks at what it leaves behind: loading it sets filters and states
from hypothesis import Phase, settings

from tests import leaks

# A shell starts what is in its background deaf to SIGINT, and so would be every process that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests time nothing, so examples have no deadline. Every change sees the same examples; `make nightly` draws new ones.
settings.register_profile("every change", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("nightly", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "every change"))
if os.environ.get("SFUMATO_SHRINK") == "0":  # a mutant is dead at its first failure: nobody reads the smallest one
    settings.register_profile("first failure", settings(), phases=[Phase.explicit, Phase.reuse, Phase.generate])
    settings.load_profile("first failure")


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


def run_sfumato(*words: str, folder: Path, env: dict[str, str] | None = None) -> Ran:
    """``sfumato …`` in a process of its own, in a folder of its own."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("SFUMATO_")}
    command = [sys.executable, "-m", "sfumato", *words]
    done = subprocess.run(
        command, cwd=folder, env={**clean, **(env or {})}, capture_output=True, text=True, timeout=300, check=False
    )
    return Ran(done.returncode, done.stdout, done.stderr, folder)


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> Ran:
    """`sfumato compare digits --json`, whole, with every default."""
    ran = run_sfumato("compare", "digits", "--json", folder=tmp_path_factory.mktemp("digits"))
    assert ran.code == 0, ran.err
    return ran
