"""A small data set, one run of it that nothing happened to, and the means of making things happen."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tests.warm import Command, Warm

WORDS = (
    "compare",
    "pets.csv",
    "--label",
    "pet",
    "--epochs",
    "6",
    "--folds",
    "1",
    "--seeds",
    "3",
    "--workers",
    "2",
    "-q",
)


def write_pets(folder: Path) -> None:
    """A CSV file of 180 rows and three classes that can be told apart."""
    rng = np.random.default_rng(0)
    y = np.repeat(["ant", "bee", "cat"], 60)
    x = rng.normal(size=(180, 4)) + 2 * np.repeat(np.eye(3, 4), 60, axis=0)
    rows = "".join(",".join(map(repr, map(float, row))) + f",{label}\n" for row, label in zip(x, y, strict=True))
    (folder / "pets.csv").write_text("a,b,c,d,pet\n" + rows)


def bits(folder: Path) -> dict[str, bytes]:
    """Every file of a run, less the lines that tell the time and the machine's use, and the records in work/."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.parent != folder / "work"]
    found = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    env = json.loads(found["env.json"])
    for name in ("started", "seconds", "seconds_per_seed", "resumed", "workers"):
        env.pop(name, None)
    found["env.json"] = json.dumps(env).encode()
    found["report.html"] = re.sub(rb"started [^<]*seconds|; \d+ workers?", b"", found["report.html"])
    return found


class Whole(NamedTuple):
    """The run that nothing happened to."""

    folder: Path
    changes: int
    seconds: float
    bits: dict[str, bytes]


@pytest.fixture(scope="session")
def whole(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    write_pets(folder)
    begun = time.monotonic()
    code, command = warm.run(*WORDS, "--out", "run", folder=folder, streams=tmp_path_factory.mktemp("streams"))
    assert code == 0, command.err
    return Whole(folder / "run", warm.changes(), time.monotonic() - begun, bits(folder / "run"))


Start = Callable[..., Command]


@pytest.fixture
def start(warm: Warm, tmp_path: Path) -> Iterator[Start]:
    """Start a command in ``tmp_path / "here"``, where ``pets.csv`` is."""
    here, streams = tmp_path / "here", tmp_path / "streams"
    here.mkdir()
    streams.mkdir()
    write_pets(here)
    started: list[Command] = []

    def begin(*words: str, folder: Path = here, **how: object) -> Command:
        started.append(warm.start(*words, folder=folder, streams=streams, **how))
        return started[-1]

    yield begin
    for command in started:
        command.kill()
