import itertools
import json
import re
import shutil
import subprocess
import sys

import pytest

from sfumato.report.changed_rows import rows_to_show
from sfumato.report.compare_page import compose, render
from sfumato.runs.read import ReportError, load_run
from tests.report.run_folders import thumbnail, without_terms, words, write_examples, write_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("runs") / "digits", ladder=(0.0, 0.05, 0.1))
    write_examples(folder, rows_to_show(folder), "image")
    return folder


@pytest.fixture(scope="module")
def written(folder):
    return render(folder).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(written):
    return without_terms(written)


def test_page_is_one_small_file_that_refers_to_nothing_outside(folder, written):
    assert (folder / "report.html").stat().st_size < 1_000_000
    assert "http" not in written
    assert set(re.findall(r'src="([^"]*)"', written)) == {thumbnail()}
    assert "@import" not in written
    assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)"', written))
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", written))


def test_the_same_run_gives_the_same_bytes(folder, written, tmp_path):
    again = render(shutil.copytree(folder, tmp_path / "copy"))
    assert again.read_bytes() == written.encode()
    for figure in (folder / "figures").iterdir():
        assert figure.read_bytes() == (tmp_path / "copy" / "figures" / figure.name).read_bytes()


def test_nothing_half_written_is_left(folder, page):
    assert sorted(path.name for path in (folder / "figures").iterdir()) == [
        "confusions.svg",
        "excess.svg",
        "gap-histogram.svg",
        "gap.svg",
        "ladder.svg",
        "projection.svg",
        "reliability-temperature.svg",
        "reliability.svg",
        "risk-coverage.svg",
        "temperature-sweep.svg",
    ]
    assert [path.name for path in folder.rglob("*") if path.name.startswith(".") or path.suffix == ".partial"] == []


def test_identifiers_are_unique(written):
    found = re.findall(r'\bid="([^"]*)"', written)
    assert len(found) == len(set(found))
    assert set(re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', written)) != set()
    used = {a or b for a, b in re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', written)}
    assert used <= set(found)


def test_the_verdict_stands_first_then_how_to_use_it_then_the_numbers(written):
    places = [
        written.index(part) for part in ('class="contents"', 'class="verdict"', ">Use it</h2>", 'id="what-each-arm')
    ]
    assert places == sorted(places)


def test_the_contents_link_every_section_in_its_order(written):
    contents = re.search(r'<nav class="contents" aria-label="Contents">.*?</nav>', written, re.DOTALL)[0]
    headings = re.findall(r'<h2 id="(.*?)">(.*?)</h2>', written)
    assert len(headings) == written.count("<h2") > 10
    assert re.findall(r'<a href="#(.*?)">(.*?)</a>', contents) == headings


def test_headings_leave_out_no_level(tmp_path, written):
    undecided = words(write_run(tmp_path / "run", choice="", seeds=1, epochs=2, test=50))
    for page in (written, undecided):
        levels = [int(level) for level in re.findall(r"<h(\d)", page)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_terms_lead_to_the_glossary_of_the_page_once_a_section(written):
    sections = re.findall(r"<section.*?</section>", written, re.DOTALL)
    linked = [re.findall(r'class="term" href="#term-([\w-]+)"', section) for section in sections]
    assert all(len(terms) == len(set(terms)) for terms in linked)
    explained = re.findall(r'<dt id="term-([\w-]+)">', written)
    assert set(explained) == {term for terms in linked for term in terms}
    wanted = {
        "arm",
        "one-hot",
        "accuracy",
        "nll",
        "brier",
        "ece",
        "ece_noise_floor",
        "signed_gap",
        "eaurc",
        "temperature",
    }
    assert wanted | {"logit_gap", "closed-form", "floor", "over", "interval", "margin", "adjusted-p"} <= set(explained)
    table = re.search(r'aria-label="Results of each arm">.*?</table>', written, re.DOTALL)[0]
    assert ">log loss (NLL)</a>" in table


def test_words_of_the_data_are_not_taken_for_terms(tmp_path):
    folder = write_run(tmp_path / "run", seeds=1, epochs=2, test=50, class_names=["arm", "seed", *map(str, range(8))])
    write_examples(folder, rows_to_show(folder), "text")
    page = compose(load_run(folder), {}, {})
    assert "<dd>10: arm, seed, 0" in page
    cards = re.findall(r'<ul class="cards.*?</ul>', page, re.DOTALL)
    assert cards
    assert not any("term" in each for each in cards)


def test_the_summary_in_the_page_is_the_summary(folder, page):
    text = re.search(r'<script type="application/json" id="summary">(.*?)</script>', page, re.DOTALL)[1]
    assert json.loads(text) == json.loads((folder / "summary.json").read_text())


def test_the_code_to_copy_converts_the_strength(page):
    assert "torch.nn.CrossEntropyLoss(\n    label_smoothing=0.111111\n)" in page
    assert "    label_smoothing=0.1,\n    over=&#34;others&#34;,\n" in page


ONE = ("confusions",)  # figure, for what does not depend on how many there are


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</script>{{ 7*7 }}"]
)
def test_names_from_the_data_are_text(tmp_path, hostile):
    names = [hostile, *map(str, range(1, 10))]
    folder = write_run(tmp_path / "run", class_names=names, name=hostile, seeds=1, epochs=2, test=50)
    page = render(folder, figures=ONE).read_text()
    assert hostile not in page
    assert page.count("<script") == 1
    assert page.count("</script>") == 1
    assert "<img" not in page
    text = re.search(r'id="summary">(.*?)</script>', page, re.DOTALL)[1]
    assert json.loads(text)["data"]["name"] == hostile


def test_names_in_other_scripts_are_drawn_without_a_warning(tmp_path):
    names = ["日本語", "한국어", "ไทย", *map(str, range(3, 10))]
    folder = write_run(tmp_path / "run", class_names=names, name="日本語", seeds=1, epochs=2, test=50)
    assert "日本語" in render(folder, figures=["projection"]).read_text(encoding="utf-8")


def test_an_unfair_comparison_is_called_unfair(tmp_path):
    page = words(write_run(tmp_path / "run", equal=False, seeds=1, epochs=2, test=50))
    assert "did not start from the same weights" in page
    assert "✓" not in page


def test_a_choice_of_one_hot_shows_one_hot_code(tmp_path):
    page = words(write_run(tmp_path / "run", choice="one-hot", seeds=1, epochs=2, test=50))
    assert "The verdict’s choice is one-hot: leave label smoothing at 0, and divide the logits by " in page
    assert "criterion = torch.nn.CrossEntropyLoss()" in page
    assert re.findall(r"label_smoothing[a-z_]*=", page) == ["label_smoothing_factor="]
    assert "label_smoothing_factor=0\n" in page
    assert re.search(r"probabilities = \(logits / \d\.\d\d\)\.softmax\(dim=1\)", page)


def test_a_choice_that_names_no_arm_shows_every_arm(tmp_path):
    page = words(write_run(tmp_path / "run", choice="no difference", seeds=1, epochs=2, test=50))
    assert "singles out no arm" in page
    assert "CrossEntropyLoss()" in page
    assert "CrossEntropyLoss(\n    label_smoothing=0.111111\n)" in page


def test_a_strength_beyond_torch_is_said_to_be_so(tmp_path):
    page = words(write_run(tmp_path / "run", smoothed=(0.95,), seeds=1, epochs=2, test=50))
    assert "torch&#39;s label_smoothing cannot express" in page.replace("torch's", "torch&#39;s")
    assert "CrossEntropyLoss" not in page
    assert "--label-smoothing 0.95" in page


def test_no_strength_stands_without_what_it_is_spread_over(tmp_path):
    page = words(write_run(tmp_path / "run", smoothed=(0.02, 0.05), classes=20, seeds=1, epochs=2, test=50))
    text = re.sub(r"<script.*?</script>|<style.*?</style>|<pre>.*?</pre>|<details.*?</details>", "", page, flags=re.S)
    for found in re.finditer(r"smoothed[- ]0\.0\d+", re.sub(r"<[^>]*>", " ", text)):
        rest = re.sub(r"<[^>]*>", " ", text)[found.end() :].split()
        assert rest[0].startswith("(others)") or rest[1:3] == ["over", "others"], found


def test_an_incomplete_run_renders_nothing(tmp_path):
    folder = write_run(tmp_path / "run", seeds=1, epochs=2, test=50)
    (folder / "logits" / "smoothed-seed0-test.npz").unlink()
    with pytest.raises(ReportError, match=r"smoothed-seed0-test.npz is missing"):
        render(folder)
    assert not (folder / "report.html").exists()


def test_importing_the_report_imports_neither_torch_nor_matplotlib():
    code = "import sys, sfumato.report; print([m for m in ('torch', 'matplotlib', 'jinja2') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_rendering_imports_neither_torch_nor_pyplot(folder):
    code = (
        f"import sys, sfumato.report.compare_page as page; page.render({str(folder)!r}); "
        "print([m for m in ('torch', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_choice_is_matched_as_a_whole_word(tmp_path):
    folder = write_run(tmp_path / "run", smoothed=(0.1, 0.15), choice="smoothed-0.15, T", seeds=1, epochs=2, test=50)
    page = words(folder)
    assert "The verdict’s choice is smoothed-0.15 (others)." in page


def test_four_arms_are_tables_of_four_columns(tmp_path):
    page = words(write_run(tmp_path / "run", smoothed=(0.02, 0.05, 0.1), seeds=1, epochs=2, test=50))
    tables = re.findall(r'aria-label="Results of each arm[^"]*">.*?</table>', page, re.DOTALL)
    assert [len(re.findall(r"<th scope=\"col\">", table)) for table in tables] == [5, 5]
    assert "arm-2" in tables[1]
    assert "arm-0" not in tables[1]


def test_numbers_of_the_table_have_units(page):
    table = re.search(r'aria-label="Results of each arm">.*?</table>', page, re.DOTALL)[0]
    rows = re.findall(r'<th scope="row">(.*?)</th><td>([^<]*)', table)
    bare = [label for label, value in rows if "unit" not in label and "%" not in value]
    assert rows
    assert bare == []


def test_a_run_with_a_ladder_says_what_was_chosen(page):
    assert "0.1 over the others was chosen by log loss after temperature on the validation rows alone" in page
    assert "Temperatures and the strength were chosen on validation rows; the test rows were read once" in page


def test_a_run_without_a_ladder_has_no_such_section(tmp_path):
    page = words(write_run(tmp_path / "run", seeds=1, epochs=2, test=50))
    assert "Which strength was chosen" not in page


def test_a_run_without_weights_says_why_there_is_no_projection(tmp_path):
    folder = write_run(tmp_path / "run", seeds=1, epochs=2, test=50)
    for path in (folder / "weights").iterdir():
        path.unlink()
    page = render(folder, figures=["projection"]).read_text()
    assert "The run kept no weights: there is no picture of them." in page
    assert not (folder / "figures" / "projection.svg").exists()


def test_texts_and_values_are_shown_as_text(tmp_path):
    folder = write_run(tmp_path / "run", seeds=1, epochs=2, test=50)
    write_examples(folder, rows_to_show(folder), "text")
    assert "A &lt;b&gt;message&lt;/b&gt; about the price of rockets &amp; their fuel." in words(folder)
    write_examples(folder, rows_to_show(folder), "table")
    page = words(folder)
    assert "petal length, cm <b>4.25</b>" in page
    assert "sepal width <b>−1.23e−05</b>" in page


def test_only_a_page_of_a_run_is_written_over(folder, tmp_path):
    out, notes = tmp_path / "page.html", tmp_path / "notes.txt"
    first = render(folder, out, figures=ONE).read_bytes()
    assert render(folder, out, figures=ONE).read_bytes() == first
    notes.write_text("precious")
    with pytest.raises(ReportError, match=r"notes.txt exists and is not a page of one run; name another file"):
        render(folder, notes)
    assert notes.read_text() == "precious"
    with pytest.raises(ReportError, match="is a folder; name a file for the page"):
        render(folder, tmp_path)


def test_the_page_can_be_written_elsewhere_and_leaves_the_run_as_it_was(folder, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    out = render(folder, tmp_path / "page.html")
    assert "Was it a fair comparison?" in out.read_text(encoding="utf-8")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
