"""``sf.compare``: the result of the command from data in Python, what is refused, and what a notebook shows."""

from __future__ import annotations

import contextlib
import html
import inspect
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas
import pytest

import sfumato as sf
from sfumato.from_python.compare import Comparison, options_of
from sfumato.lab.data import DataError
from sfumato.lab.errors import OptionError, WorkerError
from sfumato.lab.options import Options
from sfumato.report.judge_page import page_of
from sfumato.runs.folder import RunError
from sfumato.verdict.judge import judge as without_page
from tests.conftest import run_sfumato

QUICK = {"model": "linear", "folds": 1, "seeds": 3, "epochs": 2, "workers": 1, "quiet": True}
WORDS = ("--model", "linear", "--folds", "1", "--seeds", "3", "--epochs", "2", "--workers", "1", "--quiet", "--json")


def table(rows=240):
    """A table of numbers with gaps, words, dates and a label, as a frame of pandas."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, rows)
    return pandas.DataFrame(
        {
            "size": np.where(rng.random(rows) < 0.1, np.nan, kind + rng.normal(size=rows)),
            "city": np.array(["Oslo", "Rome", "Bern"])[(kind + (rng.random(rows) < 0.3)) % 3],
            "seen": pandas.to_datetime("2024-01-01") + pandas.to_timedelta(rng.integers(0, 700, rows), unit="D"),
            "kind": np.array(["a", "b", "c"])[kind],
        }
    )


def compared(folder, *given, **options):
    return sf.compare(*given, **{**QUICK, "out": folder / "run", **options})


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return compared(tmp_path_factory.mktemp("frame"), table(), "kind")


def same_numbers(found, other):
    mine, theirs = ({**each, "run": ""} for each in (found.to_dict(), other))
    return json.loads(json.dumps(mine)) == {**theirs, "data": {**theirs["data"], "name": mine["data"]["name"]}}


def test_a_frame_gives_the_numbers_of_the_command_on_the_same_table(found, tmp_path):
    table().to_parquet(tmp_path / "data.parquet")
    ran = run_sfumato("compare", "data.parquet", "--label", "kind", *WORDS, folder=tmp_path)
    assert same_numbers(found, ran.json())


@pytest.mark.nightly  # by day a frame is asked this
def test_a_path_is_read_as_the_command_reads_it(found, tmp_path):
    table().to_parquet(tmp_path / "data.parquet")
    assert same_numbers(found, compared(tmp_path, tmp_path / "data.parquet", "kind").to_dict())


class Told(NamedTuple):
    """A run with options of its own, without a name, that is not quiet."""

    found: Comparison
    err: str
    folder: Path


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    folder, err = tmp_path_factory.mktemp("told"), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stderr(err):
        found = sf.compare(table(), "kind", eps=0.2, drop=["seen"], **{**QUICK, "quiet": False})
    return Told(found, err.getvalue(), folder)


def test_without_out_the_run_is_where_the_command_would_put_it(told):
    assert re.fullmatch(r"runs/data-\d{4}-\d\d-\d\d-1", str(told.found.folder))


def test_it_prints_its_warnings_and_sentences(found):
    said = str(found).splitlines()
    unsaid = [each["text"] for each in found.warnings if each["text"] not in found.verdict["sentences"]]
    assert said == [*(f"Warning: {text}" for text in unsaid), *found.verdict["sentences"]]


def test_its_repr_names_the_folder_the_arms_and_the_choice(found):
    assert repr(found) == f"Comparison({str(found.folder)!r}: one-hot, smoothed; choice {found.verdict['choice']!r})"


def test_a_notebook_shows_the_report_page(found):
    (page,) = re.findall(r'srcdoc="([^"]*)"', found._repr_html_())
    report = (found.folder / "report.html").read_text(encoding="utf-8")
    assert html.unescape(page).replace('<base href="about:srcdoc">', "", 1) == report


def test_the_frame_has_a_row_for_each_difference(found):
    assert found.to_frame().to_dict("records")[0]["metric"] == found.differences[0]["metric"] == "accuracy"
    assert len(found.to_frame()) == len(found.differences)


def test_options_and_the_call_are_recorded(told):
    run = told.folder / told.found.folder
    config = (run / "config.toml").read_text()
    assert 'data = "(in memory)"  # Python' in config
    assert "eps = 0.2  # Python" in config
    assert 'drop = "seen"  # Python' in config
    command = json.loads((run / "env.json").read_text())["command"]
    assert command == (
        "sf.compare(X, 'kind', eps=0.2, drop=['seen'], model='linear', folds=1, seeds=3, epochs=2, workers=1)"
    )


@pytest.mark.nightly
def test_a_script_without_a_guard_trains_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np, sfumato as sf\n"
        "x, y = np.random.default_rng(0).normal(size=(90, 2)), np.arange(90) % 2\n"
        "print('here')\n"
        "sf.compare(x, y, model='linear', seeds=3, epochs=1, workers=1, quiet=True, out='run')\n"
    )
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "here\n"), done.stderr


def test_progress_is_told_unless_it_is_to_be_quiet(told):
    assert "seed 2  epoch   2/2" in told.err


def stop(monkeypatch):
    """Let training break down, as a machine does."""

    def broken(*args, **given):
        raise WorkerError("no memory is left")

    monkeypatch.setattr("sfumato.lab.execute.processes.run_all", broken)


def test_a_run_that_was_stopped_goes_on_with_the_same_data(found, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop(patch)
        with pytest.raises(WorkerError) as stopped:
            compared(tmp_path, table(), "kind")
    told = f'no memory is left; `sf.compare(X, y, resume="{tmp_path / "run"}")` goes on from here'
    assert str(stopped.value).startswith(told)
    resumed = sf.compare(table(), "kind", resume=tmp_path / "run", workers=1, quiet=True)
    assert same_numbers(resumed, found.to_dict())
    assert same_numbers(sf.compare(resume=tmp_path / "run"), found.to_dict())  # now it is whole


def test_a_run_goes_on_with_no_other_data(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop(patch)
        with pytest.raises(WorkerError):
            compared(tmp_path, table(), "kind")
    with pytest.raises(RunError, match="what was given has changed since"):
        sf.compare(table().iloc[:200], "kind", resume=tmp_path / "run", quiet=True)
    with pytest.raises(DataError, match="these data were given from Python and are in no file"):
        sf.compare(resume=tmp_path / "run", quiet=True)


@pytest.mark.parametrize(
    ("given", "options", "error", "text"),
    [
        ((), {}, OptionError, "compare needs data: arrays X and y, a data frame, or a path"),
        ((table(), "kin"), {}, DataError, 'X has no column "kin". Did you mean "kind"? Columns: size, city,'),
        ((table(), "kind"), {"sedes": 3}, OptionError, 'compare has no option "sedes". Did you mean "seeds"? All: '),
        ((table(), "kind"), {"folds": 1, "seeds": 2}, OptionError, "--seeds must be at least 3 where"),
        (("digits", np.arange(3)), {}, OptionError, '"digits" is read with its labels; y may only name the column'),
        (("digits",), {"group": np.arange(3)}, OptionError, 'group must name a column of "digits", not be an array'),
        ((table(), "kind"), {"resume": "runs/no", "eps": 0.2}, OptionError,
         "resume takes everything from the run; leave out eps"),
        (("digits",), {"resume": "runs/no"}, OptionError, "resume reads the data where the run says; leave out X"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_before_anything_is_written(given, options, error, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as refused:
        sf.compare(*given, **{"quiet": True, **options})
    assert str(refused.value).startswith(text)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"seeds": np.int64(3)}, {"seeds": 3}),
        ({"eps": np.float32(0.5)}, {"eps": 0.5}),
        ({"learning_rate": 1}, {"learning_rate": 1.0}),
        ({"ladder": [0, 0.05, 0.1]}, {"ladder": "0,0.05,0.1"}),
        ({"drop": ("a", "b")}, {"drop": "a,b"}),
        ({"model": None}, {}),
    ],
)
def test_a_value_of_python_is_stored_as_the_command_would_store_it(given, stored):
    assert options_of("digits", given) == Options("digits", **stored)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"seeds": "3"}, "seeds must be a whole number, got '3'"),
        ({"seeds": True}, "seeds must be a whole number, got True"),
        ({"eps": "0.1"}, "eps must be a number, got '0.1'"),
        ({"over": "any"}, """over must be "others" or "all", got 'any'"""),
        ({"weight": [1, 2]}, "weight must be text, got [1, 2]"),
        ({"data": "x"}, 'compare has no option "data".'),
        ({"sedes": 3}, 'compare has no option "sedes". Did you mean "seeds"? All: label, label_probs, '),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(given, text):
    with pytest.raises(OptionError) as refused:
        options_of("digits", given)
    assert str(refused.value).startswith(text)


@pytest.fixture
def arms():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    return {name: [{"logits": np.eye(3)[y] + rng.normal(size=(300, 3)), "labels": y}] for name in ("hard", "soft")}


def test_a_notebook_shows_the_page_that_the_command_writes(arms):
    found = sf.judge(arms)
    (page,) = re.findall(r'srcdoc="([^"]*)"', found._repr_html_())
    assert html.unescape(page).replace('<base href="about:srcdoc">', "", 1) == page_of(found) == found.page()


def test_a_judgement_without_a_page_shows_its_sentences(arms):
    found = without_page(arms)
    shown = found._repr_html_()
    assert found.page() is None
    assert html.unescape(shown) == f"<pre>{found}</pre>"


def test_it_takes_what_the_function_that_it_wraps_takes():
    assert inspect.signature(sf.judge) == inspect.signature(without_page)
