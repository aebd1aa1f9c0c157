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
        differences = re.search(r'aria-label="Headline differences, [^"]*">.*?</table>', section, re.DOTALL)[0]
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
    assert rows["models of each arm"] == ["2 seeds", "1 seed"]
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


@pytest.mark.parametrize(
    ("runs", "out", "message"),
    [
        ("a", "out.html", r"at least two runs, got 1"),
        ("a b b/../a", "out.html", r"a is named twice; name each run once"),
        ("a b", ".", "is a folder; name a file for the page"),
        ("a b", "none/out.html", "there is no folder"),
        ("a b", "notes.html", r"notes.html exists and is not a page of several runs; name another file"),
    ],
)
def test_what_cannot_be_merged_is_named(folders, tmp_path, runs, out, message):
    notes = tmp_path / "notes.html"
    notes.write_text("my notes")
    with pytest.raises(ReportError, match=message):
        render_merged([folders[0].parent / name for name in runs.split()], tmp_path / out)
    assert notes.read_text() == "my notes"


def test_runs_of_one_data_set_are_told_apart_by_their_folders(folders, tmp_path):
    copies = [shutil.copytree(folders[0], tmp_path / name / "a") for name in ("first", "second")]
    runs = [load_run(path) for path in (folders[1], *copies)]
    assert distinct_names(runs) == ["letters", "digits, a (1)", "digits, a (2)"]


def test_the_words_of_the_page(page, folders):
    assert_snapshot(text_of(page, *folders), "pages/several.txt", without_numbers=True)
