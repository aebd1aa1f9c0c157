"""The command line around its commands: help, completion, explain, doctor, the first second, exit codes."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys

import pytest

from sfumato import theory
from sfumato.cli.common import line_a_column, write_every_letter
from tests.conftest import run_cold, run_sfumato


def test_help_names_the_commands_and_loads_neither_torch_nor_numpy(tmp_path):
    ran = run_sfumato("--help", folder=tmp_path)
    assert ran.code == 0
    assert "compare" in ran.out
    assert "explain" in ran.out
    code = (
        "import sys\nfrom sfumato.cli import main\n"
        "assert main(['--help']) == 0\nassert main(['compare', '--help']) == 0\n"
        "assert not {'torch', 'numpy', 'matplotlib', 'sklearn'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_help_of_compare_opens_with_the_data_and_offers_nothing_without_use(tmp_path):
    ran = run_sfumato(folder=tmp_path)
    assert (ran.code, ran.err) == (0, "")
    assert "sfumato compare digits" in ran.out
    said = run_sfumato("compare", "--help", folder=tmp_path).out
    assert said.startswith("Usage: sfumato compare DATA [OPTIONS]\n")
    assert re.findall(r"╭─ ([\w ]+?) ─", said) == [
        "Data", "Targets", "Training", "Where it runs", "Output", "How it starts",
    ]  # fmt: skip
    for option in ("--label", "--eps", "--over", "--seeds", "--model", "--epochs", "--out", "--json", "--config"):
        assert option in said
    assert "--empty" not in said
    assert "[default: False]" not in said


def test_output_to_a_pipe_is_utf8_where_the_system_would_lack_letters(tmp_path):
    ran = run_cold("explain", folder=tmp_path, env={"PYTHONIOENCODING": "cp1252"})
    assert (ran.code, ran.err) == (0, "")
    assert "ε" in ran.out


def test_a_terminal_that_lacks_a_letter_shows_a_question_mark(monkeypatch):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="cp1252")
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", stream)
    write_every_letter()
    stream.write("ε = é")
    stream.flush()
    assert raw.getvalue() == b"? = \xe9"


@pytest.mark.parametrize("classes", [2, 10, 1_000_000])
@pytest.mark.parametrize("eps", [0.0, 1e-8, 0.1, 0.95, 1.0])
def test_explain_as_json_is_the_closed_forms(classes, eps, tmp_path):
    ran = run_sfumato("explain", "--classes", str(classes), "--eps", repr(eps), "--json", folder=tmp_path)
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert list(told) == ["schema", "classes", "eps", "others", "all"]
    assert (told["schema"], told["classes"], told["eps"]) == ("sfumato.explain/1", classes, eps)
    for over in ("others", "all"):
        part = told[over]
        assert set(part) == {"true", "other", "gap", "floor"}
        assert part["true"] + (classes - 1) * part["other"] == pytest.approx(1)
        gap = theory.optimal_gap(eps, classes, over=over)
        assert part["gap"] == (gap if abs(gap) != float("inf") else None)
        assert part["floor"] == theory.loss_floor(eps, classes, over=over)


def test_explain_as_text_says_both_conventions_and_the_conversion(tmp_path):
    ran = run_sfumato("explain", folder=tmp_path)
    assert ran.code == 0
    for text in (
        "K = 10 classes, strength ε = 0.1",
        "log((K−1)(1−ε)/ε) = 4.394449",
        "log(1 + K(1−ε)/ε) = 4.510860",
        "0.111111 over all",
        "0.09 over the others",
        "6 nats after 45.6 steps, 8 nats after 305.2 steps, 10 nats after 2,211.5 steps",
    ):
        assert text in ran.out
    lines = ran.out.splitlines()
    (head,) = [at for at, line in enumerate(lines) if line.startswith("  ")]
    table = lines[head : lines.index("", head)]
    assert len(table) == 9
    for at in (lines[head].index(words) for words in ("over the others", "over all")):
        assert all((line[at - 2 : at], line[at] != " ") == ("  ", True) for line in table)  # columns of their own
    for eps, text in (("0", "∞"), ("1", "none over all"), ("0.95", "none over all")):
        assert text in run_sfumato("explain", "--eps", eps, folder=tmp_path).out


def test_explain_says_how_many_steps_lead_near_the_optimum_where_there_is_one(tmp_path):
    told = run_sfumato("explain", "--eps", "0.3", "--classes", "7", folder=tmp_path).out
    for over in ("others", "all"):
        gap = theory.optimal_gap(0.3, 7, over=over)
        for share in (0.9, 0.99):
            assert f"{theory.time_to_gap(share * gap, 7, eps=0.3, over=over):,.1f}" in told
    assert "never" not in told
    assert "never: there is no optimum" in run_sfumato("explain", "--eps", "0", folder=tmp_path).out


def test_explain_writes_a_page_of_as_many_classes_as_a_page_can_show(tmp_path):
    ran = run_sfumato("explain", "--classes", "1000000", "--page", "page.html", folder=tmp_path)
    assert ran.code == 0, ran.err
    assert (tmp_path / "page.html").is_file()
    ran = run_sfumato("explain", "--classes", "1000001", "--page", "more.html", folder=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "sfumato: the page shows up to 1000000 classes, got 1000001\n"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("explain", "--eps", "1.5"), "--eps must be in [0, 1], got 1.5"),
        (("explain", "--page", "."), ". is a folder; name a file for the page"),
        (("explain", "--eps", "nan"), "--eps must be in [0, 1], got nan"),
        (("explain", "--classes", "1"), "--classes must be a whole number from 2, got 1"),
        (("explain", "--clases", "3"), "Did you mean --classes?"),
        (("explane",), 'Did you mean "explain"?'),
        (("explain", "--eps", "much"), 'Invalid value for --eps: "much" is not a number'),
        (("compare", "digits", "--eps", "much"), 'Invalid value for --eps: "much" is not a number'),
        (("compare", "digits", "--zzz", "x"), "Unknown option: --zzz. Options: sfumato compare --help"),
        (
            ("doctor", "digits", "--eps", "0.1"),
            "--eps is an option of compare, and doctor has no use for it; leave it out",
        ),
    ],
)
def test_what_means_nothing_is_refused_with_the_way_out(words, message, tmp_path):
    ran = run_sfumato(*words, folder=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("sfumato: ")
    assert ran.err.count("\n") == 1
    assert message in ran.err


@pytest.mark.parametrize("enabled", ["0", "1"])
def test_doctor_says_which_path_is_in_force(enabled, tmp_path):
    ran = run_sfumato("doctor", "--json", folder=tmp_path, env={"SFUMATO_NATIVE": enabled})
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert told["loss_path"] in ("kernel", "torch")
    if enabled == "0":
        assert (told["loss_path"], told["kernel"]["reason"]) == ("torch", "turned off by SFUMATO_NATIVE=0")
    words = {
        "kernel": f"compiled kernel, instruction set {told['kernel'].get('isa')}",
        "torch": f"torch operations; no compiled kernel: {told['kernel'].get('reason')}",
    }
    text = run_sfumato("doctor", folder=tmp_path, env={"SFUMATO_NATIVE": enabled}).out
    assert words[told["loss_path"]] in " ".join(text.split())


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    shell = f"{sys.executable} -m sfumato explain | true"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {shell}"], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_a_reader_that_has_left_before_anything_is_printed_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}  # what is held back counts
    with os.fdopen(writer, "wb") as stdout:
        command = [sys.executable, "-m", "sfumato", "explain"]
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=env, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


TABLE = "nr;day;size;label\n" + "".join(
    f"{i};{10 + i % 20}.03.2024;{i % 7},{25 * (i % 2):02d};{'xy'[i % 2]}\n" for i in range(60)
)


def test_doctor_has_a_line_for_each_column_in_text_and_in_json(tmp_path):
    (tmp_path / "t.csv").write_text(TABLE)
    ran = run_sfumato("doctor", "t.csv", "--model", "linear", folder=tmp_path)
    assert ran.code == 0, ran.err
    read, _, warned = ran.out.partition("\n\ndata ")[0].partition("\n\nwarning       ")
    assert " ".join(warned.split()).startswith('"day" alone tells the label in 100.0 % of the rows that were tried')
    assert '"size" alone tells the label' in " ".join(warned.split())
    assert read.splitlines()[-5:] == [
        "column  read as  distinct  missing  note",
        "nr      id             60        0  left out: has another whole number in every row; --keep takes it in",
        "day     date           20        0  DD.MM.YYYY, counted in days",
        "size    number         14        0  decimal comma",
        "label   label           2        0",
    ]
    found = run_sfumato("doctor", "t.csv", "--drop", "day", "--model", "linear", "--json", folder=tmp_path).json()
    assert [(each["code"], each["column"]) for each in found["warnings"]] == [("leak", "size")]
    assert [(each["name"], each["read_as"]) for each in found["columns"]] == [
        ("nr", "id"), ("day", "left out"), ("size", "number"), ("label", "label"),
    ]  # fmt: skip


def test_a_reason_is_wrapped_beside_the_numbers_or_below_them():
    why = "left out: has another code in every row; --keep takes it in"
    columns = [{"name": "nr", "read_as": "id", "distinct": 60, "missing": 0, "note": why}]
    assert line_a_column(columns, 70).splitlines() == [
        "column  read as  distinct  missing  note",
        "nr      id             60        0  left out: has another code in",
        "                                    every row; --keep takes it in",
    ]
    assert line_a_column(columns, 50).splitlines()[1:] == [
        "nr      id             60        0  left out: has",
        "    another code in every row; --keep takes it in",
    ]
    assert line_a_column(columns).splitlines()[1].endswith(why)


def test_the_installed_script_knows_every_command_and_completes_files(tmp_path):
    ran = run_sfumato("--install-completion", "--shell", "bash", folder=tmp_path, env={"HOME": str(tmp_path)})
    assert ran.code == 0, ran.err
    script = next(tmp_path.rglob("completions/sfumato")).read_text(encoding="utf-8")
    for command in ("audit", "compare", "doctor", "explain", "init", "judge", "probe", "report"):
        assert f" {command}" in script or f"{command} " in script
    assert "compgen -f" in script
