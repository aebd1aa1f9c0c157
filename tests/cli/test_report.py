import shutil

import pytest

from sfumato.cli import OK, USAGE, main
from sfumato.report import compare_page as page
from tests.report.run_folders import write_run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run", seeds=1, epochs=2, test=50)


@pytest.fixture
def folder(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(page, "FIGURES", {"gap": page.FIGURES["gap"]})  # the others take time and add nothing here
    return shutil.copytree(whole, tmp_path / "run")


def test_report_makes_the_page_of_a_run_again(folder, capsys):
    (folder / "report.html").write_text("an older page")
    assert main(["report", "run"]) == OK
    assert capsys.readouterr().out == "run/report.html\n"
    assert "The arms had the same weights and batches in" in (folder / "report.html").read_text(encoding="utf-8")
    assert (folder / "figures" / "gap.svg").exists()


def test_report_of_one_run_can_go_elsewhere(folder, capsys):
    assert main(["report", "run", "--out", "page.html"]) == OK
    assert capsys.readouterr().out == "page.html\n"
    assert not (folder / "report.html").exists()


def test_report_of_several_runs_is_one_page(folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "other")
    assert main(["report", "run", "other"]) == OK
    assert capsys.readouterr().out == "comparison.html\n"
    assert "<h1>2 comparisons of training targets</h1>" in (tmp_path / "comparison.html").read_text(encoding="utf-8")
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "report needs RUN: the folder of a finished comparison, or several"),
        (["nowhere"], "nowhere is not a folder; give the run folder that `sfumato compare` wrote"),
        (["run/summary.json"], "run/summary.json is a file, and report takes the folder of a run; its folder is run"),
        (["half"], "half.partial is not finished: it has no result to report yet"),
        (["half.partial"], "half.partial is not finished: it has no result to report yet"),
        (["run", "run"], "run is named twice; name each run once"),
        (["half.partial/empty"], "half.partial/empty/summary.json is missing: the run is incomplete or this is not a"),
    ],
)
def test_what_cannot_be_reported_on_is_named(folder, tmp_path, capsys, words, message):
    (tmp_path / "half.partial" / "empty").mkdir(parents=True)
    assert main(["report", *words]) == USAGE
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"sfumato: {message}")


def test_a_broken_run_writes_nothing(folder, capsys):
    (folder / "env.json").write_text("{")
    assert main(["report", "run"]) == USAGE
    assert "env.json is not JSON" in capsys.readouterr().err
    assert not (folder / "report.html").exists()
