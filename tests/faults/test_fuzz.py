"""Every reader against mutated real files: a clear error or an answer, never a traceback, a hang, 1 GB, or code run."""

import io
import os
import pickle
import random
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from sfumato.lab.data import DataError, load
from sfumato.runs.read import ReportError, load_run
from tests.faults import fuzz
from tests.faults.conftest import WORDS
from tests.warm import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")]


@pytest.fixture(scope="session")
def runs(whole, warm, tmp_path_factory) -> Path:
    """A whole run, ``run``, and one that was stopped with all its work done, ``stopped.partial``."""
    streams = tmp_path_factory.mktemp("stopped")
    if not whole.folder.with_name("stopped.partial").exists():
        words = (*WORDS, "--out", "stopped")
        code, _ = warm.run(*words, folder=whole.folder.parent, streams=streams, name="metrics.jsonl")
        assert code == -9
    return whole.folder


def fuzzed(readers: str, run: Path, seed: int, count: int) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "tests.faults.fuzz", readers, str(run), str(seed), str(count)]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout[:5000] + done.stderr[-3000:]


def test_readers_stand_mutated_files(runs):
    fuzzed(",".join(fuzz.READERS), runs, 0, 60)  # in one process, which loads what they need once


@pytest.mark.nightly
@pytest.mark.parametrize("reader", fuzz.READERS)
def test_a_reader_stands_very_many_mutated_files(reader, runs):
    fuzzed(reader, runs, random.SystemRandom().randrange(10**9), 10_000)


def test_the_fuzzer_sees_a_traceback_a_hang_much_memory_and_a_process(tmp_path, monkeypatch):
    program = (
        "import sys, subprocess, time\n"
        "from pathlib import Path\n"
        "from tests.faults import fuzz\n"
        "fuzz.SECONDS = 1\n"
        "acts = [lambda: None, lambda: 1 / 0, lambda: time.sleep(5), lambda: bytearray(2**31),\n"
        "        lambda: subprocess.run(['true'])]\n"
        "fuzz.READERS['bad'] = lambda folder, run, rng: (acts.pop(0), (ValueError,))\n"
        "print(*fuzz.failures('bad', Path(), 0, 4), sep='\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    for sign in ("ZeroDivisionError", "TimeoutError: more than 1 seconds", "MemoryError", "subprocess.Popen"):
        assert sign in done.stdout


GB = 10**9


def archive(**arrays: bytes) -> bytes:
    """A zip file of ``.npy`` members as they are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in arrays.items():
            packed.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def array(shape: str, content: bytes = b"", descr: str = "'<f8'") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + content


def claims_in_its_list() -> bytes:
    """A list of contents that says 100 GB of an array of 8 bytes."""
    data = bytearray(archive(X=array("(1,)", bytes(8)), y=array("(1,)", bytes(8))))
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (0xFFFFFFFE).to_bytes(4, "little")
    return bytes(data)


def packed_otherwise() -> bytes:
    """Seven billion zeros in a few kilobytes, as bzip2 can and numpy never does."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as packed:
        with packed.open("X.npy", "w", force_zip64=True) as member:
            member.write(array("(100, 125000)"))
            for _ in range(100):
                member.write(bytes(10**6))
        packed.writestr("y.npy", array("(100,)", np.arange(100).astype("<f8").tobytes()))
    return buffer.getvalue()


BOMBS = {
    "100 GB in an array's header": (
        lambda: archive(X=array(f"({100 * GB // 80}, 10)", bytes(10_000)), y=array("(60,)", bytes(480))),
        r"X is .*damaged \(shape \(1250000000, 10\) of float64 does not fit its 10,0\d\d bytes\)",
    ),
    "4 GB in the archive's list": (claims_in_its_list, r"X is .*damaged \(it claims 4,294,967,294 bytes, more "),
    "rows without size": (
        lambda: archive(X=array(f"({10**15},)", descr="'<U0'"), y=array("(1,)", bytes(8))), r"X is .*damaged \(shape"
    ),
    "a shape below zero": (
        lambda: archive(X=array("(-1, 8)", bytes(8)), y=array("(1,)", bytes(8))), r"X is .*damaged \(it has the shape"
    ),
    "brackets in brackets": (
        lambda: archive(X=array("(" * 9000), y=array("(1,)", bytes(8))), "X is .*damaged"
    ),
    "packed by bzip2": (packed_otherwise, r"X is .*damaged \(it is packed by method 12, not as numpy does\)"),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_an_archive_that_claims_more_than_it_holds_is_refused_at_once(bomb, tmp_path):
    content, message = BOMBS[bomb]
    (tmp_path / "t.npz").write_bytes(content())
    assert (tmp_path / "t.npz").stat().st_size < 20_000
    with pytest.raises(DataError, match=message):
        load(str(tmp_path / "t.npz"))


class Payload:
    """What a pickle can do: this one makes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_pickled_npz_is_refused_and_runs_nothing(tmp_path, whole):
    mark = tmp_path / "it ran"
    objects = np.array([Payload(str(mark))] * 60, dtype=object)
    np.savez(tmp_path / "t.npz", X=np.zeros((60, 2)), y=objects, allow_pickle=True)
    with pytest.raises(DataError, match="y holds Python objects, which are not read because they can run code"):
        load(str(tmp_path / "t.npz"))
    (tmp_path / "plain.npz").write_bytes(pickle.dumps(objects))
    with pytest.raises(DataError, match=r"plain\.npz is not an \.npz archive"):
        load(str(tmp_path / "plain.npz"))
    copy = tmp_path / "run"
    shutil.copytree(whole.folder, copy)
    np.savez(copy / "logits" / "one-hot-seed0-test.npz", index=objects, logits=objects, labels=objects)
    with pytest.raises(ReportError, match="holds Python objects"):
        load_run(copy)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Payload(str(mark)))).close()
    assert mark.exists()  # so that the test would have seen it


def test_no_module_uses_pickle():
    pattern = re.compile(r"\bpickle\b(?!=False)|joblib|torch\.(save|load)|allow_pickle=True|\bmarshal\b|\bshelve\b")
    # readers of .pt files, which load weights only, and what refuses pickles
    allowed = {"io/arrays.py", "evaluate/scores/read_scores.py", "lab/models/__init__.py"}
    assert all((ROOT / "sfumato" / name).is_file() for name in allowed)
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted((ROOT / "sfumato").rglob("*.py"))
        if path.relative_to(ROOT / "sfumato").as_posix() not in allowed
        for line in path.read_text(encoding="utf-8").splitlines()
        if pattern.search(re.sub(r"#.*|^\s*[A-Z\"].*", "", line))
    ]
    assert found == []
