"""A full disk, a file that may grow no further, a folder that must not be written: a sentence, and a way to go on."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import WORDS, bits, write_pets

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="forks, and asks Linux for more")]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, made and grown by root alone."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def resize(place: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=True)


def test_a_full_disk_is_said_and_the_run_goes_on_when_there_is_room(small_disk, start, whole):
    write_pets(small_disk)
    begin = (*WORDS, "--out", "run")
    size = sum(len(content) for content in whole.bits.values())
    for share in (0.03, 0.2, 0.6, 0.97):  # the disk is full in the logits, the weights, and the report
        resize(small_disk, int(share * size))
        command = start(*begin, folder=small_disk)
        assert command.wait() == 1, share
        assert command.out == ""
        assert command.err.splitlines()[-1].startswith("sfumato: "), share
        assert command.err.endswith("No space left on device; `sfumato compare --resume run` goes on from here\n"), (
            command.err
        )
        assert "Traceback" not in command.err
        assert "Exception" not in command.err
        assert not (small_disk / "run").exists()
        begin = ("compare", "--resume", "run", "-q", "--workers", "1")
    resize(small_disk, 3 * size)
    command = start(*begin, folder=small_disk)
    assert command.wait() == 0, command.err
    assert bits(small_disk / "run") == whole.bits


def test_a_disk_that_is_full_from_the_start_is_said_before_anything_is_written(small_disk, start):
    write_pets(small_disk)
    (small_disk / "rest").write_bytes(b"")
    with open(small_disk / "rest", "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    command = start(*WORDS, folder=small_disk)
    assert command.wait() == 2
    assert command.err == "sfumato: cannot write to runs: No space left on device\n"
    assert sorted(path.name for path in small_disk.iterdir()) == ["pets.csv", "rest"]


# By day only in the middle of the run: where the file is that may not grow changes nothing of how that is told.
@pytest.mark.parametrize(
    "largest",
    [40_000, *(pytest.param(largest, marks=pytest.mark.nightly) for largest in (4_000, 120_000))],
)
def test_a_file_that_may_grow_no_further_is_said_and_the_run_goes_on_when_it_may(largest, start, whole, tmp_path):
    command = start(*WORDS, "--out", "run", largest=largest)
    assert command.wait() == 1
    assert command.out == ""
    assert command.err.splitlines()[-1].endswith("File too large; `sfumato compare --resume run` goes on from here")
    assert "Traceback" not in command.err
    assert "Exception" not in command.err
    here = tmp_path / "here"
    assert [path.name for path in here.rglob(".*")] == [".run.lock"]  # until the run has its name
    command = start("compare", "--resume", "run")
    assert command.wait() == 0, command.err
    assert bits(here / "run") == whole.bits


@pytest.fixture
def lockable(request, tmp_path) -> tuple[Path, Callable[[str, bool], None]]:
    """A folder, and what makes it, or one below it, read-only. Root may write anywhere but on what is mounted so."""
    if os.geteuid() == 0:
        place = request.getfixturevalue("small_disk")

        def lock(below: str, locked: bool) -> None:
            if below == ".":
                command = ["mount", "-o", f"remount,{'ro' if locked else 'rw'}", str(place)]
            elif locked:  # a file system with files open for writing stays as it is: its folder goes on top, to be read
                command = ["mount", "-o", "bind,ro", str(place / below), str(place / below)]
            else:
                command = ["umount", str(place / below)]
            subprocess.run(command, check=True)
    else:
        place = tmp_path / "disk"
        place.mkdir()

        def lock(below: str, locked: bool) -> None:
            (place / below).chmod(0o555 if locked else 0o755)

    write_pets(place)
    return place, lock


REASON = "Read-only file system" if os.geteuid() == 0 else "Permission denied"


def test_a_read_only_folder_is_said_before_anything_is_written(lockable, start):
    place, lock = lockable
    lock(".", True)
    for out, where in ((), "runs"), (("--out", "run"), "."), (("--out", "a/b/run"), "a/b"):
        command = start(*WORDS, *out, folder=place)
        assert command.wait() == 2
        assert command.err == f"sfumato: cannot write to {where}: {REASON}\n"
    lock(".", False)
    assert [path.name for path in place.iterdir()] == ["pets.csv"]


def test_a_folder_that_becomes_read_only_is_said_and_the_run_goes_on_when_it_is_not(lockable, start, whole):
    place, lock = lockable
    command = start(*WORDS, "--out", "run", folder=place, name="one-hot-seed1-train.npz", signal="stop")
    command.wait_for_stop()
    lock("run.partial/logits", True)
    command.resume()
    assert command.wait() == 1
    assert command.err.splitlines()[-1].startswith("sfumato: cannot write run.partial/logits/")
    assert command.err.endswith(f".npz: {REASON}; `sfumato compare --resume run` goes on from here\n")
    lock("run.partial/logits", False)
    command = start("compare", "--resume", "run", "-q", folder=place)
    assert command.wait() == 0, command.err
    assert bits(place / "run") == whole.bits


def test_a_folder_of_work_that_is_taken_away_is_said(start, tmp_path):
    command = start(*WORDS, "--out", "run", name="smoothed-seed1-test.npz", signal="stop")
    command.wait_for_stop()
    (tmp_path / "here" / "run.partial").rename(tmp_path / "elsewhere")
    command.resume()
    assert command.wait() == 1
    assert "Traceback" not in command.err
    assert "No such file or directory" in command.err
