"""The Tab key in real shells, at a terminal: what is typed with tabs arrives at the program as whole words."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sfumato.cli import app, main
from sfumato.cli.completion import script
from tests.conftest import run_sfumato

BASH = ["bash", "--norc", "--noprofile", "-i"]


def arguments(shell: list[str], start: str, typed: str, folder: Path) -> list[str]:
    """The words that a program named sfumato gets when this is typed at the terminal of a shell, tabs and all."""
    pty = pytest.importorskip("pty")
    if shutil.which(shell[0]) is None:
        pytest.skip(f"there is no {shell[0]} here")
    words = folder / "words"
    lines = [start, f'sfumato() {{ printf "%s\\n" "$@" > {words}; }}', f"sfumato {typed}", "exit"]
    master, terminal = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "dumb", "LC_ALL": "C.UTF-8"}
    with subprocess.Popen(
        shell, cwd=folder, env=environment, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    ) as process:
        os.close(terminal)
        os.write(master, "".join(f"{line}\n" for line in lines).encode())
        with contextlib.suppress(OSError):  # Linux says in this way that the shell has closed its terminal
            while os.read(master, 4096):
                pass
        process.wait(timeout=60)
    os.close(master)
    return words.read_text(encoding="utf-8").splitlines()


@pytest.fixture
def bash(tmp_path):
    """What to type first in bash: the script, read from a file."""
    (tmp_path / "completion.bash").write_text(script("bash"), encoding="utf-8")
    return "source completion.bash"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("aud\t", ["audit"]),
        ("comp\tdigits --ov\toth\t", ["compare", "digits", "--over", "others"]),
        ("audit --ki\tpro\t--str\t", ["audit", "--kind", "probs", "--strict"]),
        ("audit --kind=per\t", ["audit", "--kind=percent"]),
        ("audit my_sc\t", ["audit", "my_scores.npz"]),
        ("audit x.npz --lab\tmy_l\t", ["audit", "x.npz", "--labels", "my_labels.csv"]),
        ("compare -c my_o\t--prec\tbf\t", ["compare", "-c", "my_options.toml", "--precision", "bf16"]),
        ("report ru\t", ["report", "runs/"]),
        ("probe mine.py:loss --cl\t5", ["probe", "mine.py:loss", "--classes", "5"]),
        ("--vers\t", ["--version"]),
    ],
)
def test_bash_completes_commands_options_values_and_files(bash, typed, expected, tmp_path):
    for name in ("my_scores.npz", "my_labels.csv", "my_options.toml"):
        (tmp_path / name).touch()
    (tmp_path / "runs").mkdir()
    assert arguments(BASH, bash, typed, tmp_path) == expected


def test_every_command_can_be_completed(bash, tmp_path):
    for name in app:
        if not name.startswith("-"):
            assert arguments(BASH, bash, f"{name[:-1]}\t", tmp_path) == [name]


def test_zsh_completes_commands_options_values_and_files(tmp_path):
    (tmp_path / "_cyclopts_sfumato").write_text(script("zsh"), encoding="utf-8")
    (tmp_path / "my_scores.npz").touch()
    start = f"fpath=({tmp_path} $fpath); autoload -Uz compinit; compinit -u -D"
    for typed, expected in (
        ("aud\t", ["audit"]),
        ("audit my_sc\t--ki\tpro\t", ["audit", "my_scores.npz", "--kind", "probs"]),
    ):
        assert arguments(["zsh", "-f", "-i"], start, typed, tmp_path) == expected


def test_fish_completes_commands_options_values_and_files(tmp_path):
    if shutil.which("fish") is None:
        pytest.skip("there is no fish here")
    (tmp_path / "sfumato.fish").write_text(script("fish"), encoding="utf-8")
    (tmp_path / "my_scores.npz").touch()
    for typed, expected in (("aud", "audit"), ("audit --ki", "--kind"), ("audit my_sc", "my_scores.npz")):
        ask = f"source sfumato.fish; complete -C 'sfumato {typed}'"
        told = subprocess.run(["fish", "-c", ask], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        assert told.split()[0] == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_printed_as_it_is_installed(shell, tmp_path):
    shown = run_sfumato("--show-completion", "--shell", shell, folder=tmp_path)
    assert (shown.code, shown.err) == (0, "")
    installed = run_sfumato("--install-completion", "--shell", shell, folder=tmp_path, env={"HOME": str(tmp_path)})
    assert installed.code == 0, installed.err
    path = Path(installed.out.split(" from now on: ")[1].removesuffix(" is written.\n"))
    assert path.is_relative_to(tmp_path)
    assert path.read_text(encoding="utf-8").rstrip() == shown.out.rstrip()


def test_a_bash_that_starts_after_the_installation_completes(tmp_path):
    ran = run_sfumato("--install-completion", "--shell", "bash", folder=tmp_path, env={"HOME": str(tmp_path)})
    assert ran.code == 0, ran.err
    assert arguments(["bash", "-i"], "", "expl\t--cla\t5", tmp_path) == ["explain", "--classes", "5"]


def test_without_a_shell_that_is_known_the_way_to_name_one_is_said(monkeypatch, capsys):
    detect = pytest.importorskip("cyclopts.completion.detect")

    def nothing():
        raise detect.ShellDetectionError

    monkeypatch.setattr(detect, "detect_shell", nothing)
    assert main(["--show-completion"]) == 2
    told = "sfumato: the shell cannot be told; name it: --shell bash, --shell zsh or --shell fish\n"
    assert capsys.readouterr().err == told


def test_a_shell_that_is_not_known_is_a_usage_error(tmp_path):
    ran = run_sfumato("--show-completion", "--shell", "ksh", folder=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith('sfumato: Invalid value "ksh" for --shell. Choose from: "bash", "zsh", "fish".')


def test_printing_a_script_loads_neither_torch_nor_numpy():
    code = (
        "import sys\nfrom sfumato.cli import main\nassert main(['--show-completion', '--shell', 'bash']) == 0\n"
        "assert not {'torch', 'numpy', 'matplotlib', 'sklearn'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
