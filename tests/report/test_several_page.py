import re
import shutil

import pytest

from sfumato.report.several_page import distinct_names, render_merged
from sfumato.runs.read import ReportError, load_run
from tests.report.run_folders import text_of, without_terms, write_run
from tests.snapshots import assert_snapshot


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    parent = tmp_path_factory.mktemp("runs")
    return [
        write_run(parent / "a", seeds=2, epochs=2, test=60),
        write_run(parent / "b", seeds=1, epochs=3, test=60, smoothed=(0.05, 0.2), choice="one-hot", name="letters"),
    ]


@pytest.fixture(scope="module")
def page(folders):
    return render_merged(folders, folders[0].parent / "both.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def told(page):
    return without_terms(page)


def test_each_run_stands_under_its_own_name_with_its_own_numbers(told, folders):
    sections = re.split(r'<h2 id="run-\d+">', told)[1:]
    names, strengths = ("digits", "letters"), (("0.1",), ("0.05", "0.2"))
    for section, folder, name, eps in zip(sections, folders, names, strengths, strict=True):
        run = load_run(folder)
        assert section.startswith(f"{name}</h2>")
        assert f"<code>{folder}</code>" in section
        assert run.env["command"] in section
        for arm, strength in zip(run.arms[1:], eps, strict=True):
            assert re.search(rf"smoothed[ -]{re.escape(strength)} \(others\)", section)
            assert f"{100 * arm['metrics']['accuracy']['mean']:.1f} %" in section
        differences = re.search(
            r'aria-label="Headline differences between arms, [^"]*">.*?</table>', section, re.DOTALL
        )[0]
        known = [d for d in run.summary["differences"] if d["metric"] == "nll_after_temperature"]
        shown = re.findall(r"log loss after temperature.*?</th><td>(.*?)</td>", differences)
        assert [float(text.replace("−", "-")) for text in shown] == [round(d["mean"], 3) for d in known]


def test_an_unfair_run_alone_is_called_unfair(folders, tmp_path):
    unfair = write_run(tmp_path / "c", seeds=1, epochs=1, test=30, name="odd", equal=False)
    page = render_merged([folders[0], unfair], tmp_path / "both.html").read_text()
    first, second = page.split('<h2 id="run-2">')
    assert "did not start from the same weights" in second
    assert "did not start from the same weights" not in first


def test_what_differs_stands_in_a_table_and_what_is_shared_beside_it(told):
    table = re.search(r'aria-label="Settings that differ">.*?</table>', told, re.DOTALL)[0]
    rows = {
        label: re.findall('<td translate="no">(.*?)</td>', rest)
        for label, rest in re.findall('row">(.*?)</th>(.*?)</tr>', table)
    }
    assert rows["epochs"] == ["2", "3"]
    assert rows["seeds"] == ["2", "1"]
    assert "learning rate" not in rows
    assert "learning rate 0.05" in told


def test_the_page_refers_to_the_pages_of_its_runs_and_nothing_else(folders, tmp_path):
    (folders[0] / "report.html").write_text("")
    page = render_merged(folders, folders[0].parent / "linked.html").read_text()
    assert set(re.findall(r'href="([^"#][^"]*)"', page)) == {"a/report.html"}
    assert "<script" not in page
    assert "http" not in page


def test_the_same_runs_give_the_same_bytes_over_their_own_page(folders, tmp_path):
    out = tmp_path / "both.html"
    first = render_merged(folders, out).read_bytes()
    assert render_merged(folders, out).read_bytes() == first


def test_another_file_is_not_written_over(folders, tmp_path):
    notes = tmp_path / "notes.html"
    notes.write_text("my notes")
    with pytest.raises(ReportError, match=r"notes.html exists and is not a page of several runs; name another file"):
        render_merged(folders, notes)
    assert notes.read_text() == "my notes"


def test_a_run_named_twice_is_refused(folders):
    with pytest.raises(ReportError, match=r"a is named twice; name each run once"):
        render_merged([folders[0], folders[1], folders[0].parent / "b" / ".." / "a"], "out.html")


def test_one_run_is_too_few(folders):
    with pytest.raises(ReportError, match=r"at least two runs, got 1"):
        render_merged(folders[:1], "out.html")


@pytest.mark.parametrize(
    ("out", "message"),
    [(".", "is a folder; name a file for the page"), ("none/out.html", "there is no folder")],
)
def test_a_place_that_cannot_hold_the_page_is_named(folders, tmp_path, out, message):
    with pytest.raises(ReportError, match=message):
        render_merged(folders, tmp_path / out)


def test_runs_of_one_data_set_are_told_apart_by_their_folders(folders, tmp_path):
    copies = [shutil.copytree(folders[0], tmp_path / name / "a") for name in ("first", "second")]
    runs = [load_run(path) for path in (folders[1], *copies)]
    assert distinct_names(runs) == ["letters", "digits, a (1)", "digits, a (2)"]


def test_the_words_of_the_page(page, folders):
    assert_snapshot(text_of(page, *folders), "pages/several.txt", without_numbers=True)
