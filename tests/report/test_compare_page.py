"""The page of a comparison: its structure, its numbers, what of the data goes into it, and its words, pinned once."""

import html
import json
import re
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from sfumato.report.changed_rows import rows_to_show
from sfumato.report.charts import drawing
from sfumato.report.compare_page import compose, render
from sfumato.runs.read import ReportError, load_run
from tests.report.run_folders import (
    log_softmax,
    text_of,
    thumbnail,
    without_terms,
    words,
    write_examples,
    write_run,
)  # fmt: skip
from tests.snapshots import assert_snapshot


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
    assert (folder / "report.html").stat().st_size < 400_000
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
        "differences.svg",
        "gap-histogram.svg",
        "gap.svg",
        "ladder.svg",
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


def test_the_contents_link_every_section_in_its_order(written):
    contents = re.search(r'<nav class="contents" aria-label="Contents">.*?</nav>', written, re.DOTALL)[0]
    headings = re.findall(r'<h2 id="(.*?)">(.*?)</h2>', written)
    assert len(headings) == written.count("<h2") == 6
    assert re.findall(r'<a href="#(.*?)">(.*?)</a>', contents) == headings


def test_terms_lead_to_the_glossary_of_the_page_at_their_first_use(written):
    linked = re.findall(r'class="term" href="#term-([\w-]+)"', written)
    assert len(linked) == len(set(linked))
    explained = re.findall(r'<dt id="term-([\w-]+)">', written)
    assert set(explained) == set(linked)
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
    assert wanted | {"logit_gap", "closed-form", "over", "interval", "margin", "adjusted-p"} <= set(explained)
    table = re.search(r'aria-label="Test metrics">.*?</table>', written, re.DOTALL)[0]
    assert ">log loss (NLL)</a>" in table


def test_words_of_the_data_are_not_taken_for_terms(tmp_path):
    folder = write_run(tmp_path / "run", seeds=1, epochs=2, test=50, class_names=["arm", "seed", *map(str, range(8))])
    write_examples(folder, rows_to_show(folder), "text")
    page = compose(load_run(folder), {})
    assert "<dd>10: arm, seed, 0" in page
    cards = re.findall(r'<ul class="cards.*?</ul>', page, re.DOTALL)
    assert cards
    assert not any("term" in each for each in cards)


def test_the_summary_in_the_page_is_the_summary(folder, page):
    text = re.search(r'<script type="application/json" id="summary">(.*?)</script>', page, re.DOTALL)[1]
    assert json.loads(text) == json.loads((folder / "summary.json").read_text())


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
    assert "日本語" in render(folder, figures=ONE).read_text(encoding="utf-8")


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
    assert "<legend>Code for smoothed-0.15 (others)</legend>" in page


def test_four_arms_are_tables_of_four_columns(tmp_path):
    page = words(write_run(tmp_path / "run", smoothed=(0.02, 0.05, 0.1), seeds=1, epochs=2, test=50))
    tables = re.findall(r'aria-label="Test metrics[^"]*">.*?</table>', page, re.DOTALL)
    assert [len(re.findall(r"<th scope=\"col\">", table)) for table in tables] == [4, 4]
    assert "arm-2" in tables[1]
    assert "arm-0" not in tables[1]


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
    assert "had the same weights and batches in 3 of 3 runs" in out.read_text(encoding="utf-8")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_card_is_written_beside_the_page_by_day_and_by_night(folder, written):
    for name, paper in (("card", drawing.LIGHT["paper"]), ("card-dark", drawing.DARK["paper"])):
        with Image.open(folder / f"{name}.png") as image:
            assert image.size == (1200, 630)
            assert bytes(image.convert("RGB").getpixel((3, 3))).hex() == paper[1:]
        text = html.unescape(re.sub(r"<[^>]*>", "\n", (folder / f"{name}.svg").read_text(encoding="utf-8")))
        for word in ("Smooth", "one-hot", "better →", "accuracy", "log loss", "calibration error"):
            assert word in text
        assert "Use label smoothing, ε = 0.1, and temperature-scale" in text


def test_the_verdict_and_its_figure_come_first_and_the_rest_is_said_once(folder, page):
    top, rest = page.split("</header>", 1)
    assert re.findall(r'<p class="chip (.*?)">(.*?)</p>', top) == [("smooth", "Smooth")]
    assert "<h1>Use label smoothing, ε\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}0.1" in top
    assert page.index('id="differences') < page.index("<h2")
    said = load_run(folder).summary["verdict"]["sentences"][1].partition(":")[0]
    assert said not in top
    assert rest.count(f"<p>{said}:") == 1


def edited(folder, file="env.json", **changes):
    """The folder, with other values at the top of a JSON file."""
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), encoding="utf-8")
    return folder


NOISE = {"rate": 0.4, "given": "table.csv", "transition": None}


def odd(folder):
    """A run with all that a page rarely has to say: noise, copies, an early stop, odd temperatures, no fair start."""
    write_run(folder, seeds=2, epochs=2, test=60, equal=False, choice="", smoothed=(0.05, 0.95), name="odd")
    env = json.loads((folder / "env.json").read_text("utf-8"))
    env["temperatures"]["smoothed-0.05"][0]["at_bound"] = True
    env["data"] |= {"duplicates": 1200, "noise": {**NOISE, "replaced": {"train": 2010, "validation": 9}}}
    env["training"] |= {"early_stop": 5, "augment": ["flip"]}
    texts = {"imbalance": "The classes are uneven.", "order-reversed": "Temperature scaling reverses the order."}
    warnings = [{"code": code, "column": None, "text": text} for code, text in texts.items()]
    columns = [{"name": "petal", "read_as": "number", "distinct": 43, "missing": 1, "note": "kept"}]
    edited(folder, "summary.json", warnings=warnings, columns=columns)
    return edited(folder, **env)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """A run, and the text of its page, whose classes have names and whose rows are texts."""
    names = [f"class {k}" for k in range(10)]
    folder = write_run(
        tmp_path_factory.mktemp("runs") / "run", seeds=3, epochs=2, test=900, class_names=names, noise=0.4
    )
    write_examples(folder, rows_to_show(folder), "text")
    return load_run(folder), words(folder)


@pytest.mark.parametrize("name", ["plain", "odd", "soft"])
def test_the_words_of_the_page(tmp_path, name):
    folder = tmp_path / "run"
    if name == "odd":
        odd(folder)
    else:
        write_run(
            folder, seeds=1, epochs=2, test=60, ladder=(0.0, 0.1), choice="one-hot" if name == "soft" else "smoothed"
        )
    if name == "soft":
        soften(folder)
    page = render(folder).read_text(encoding="utf-8")
    assert_snapshot(text_of(page, folder), f"pages/compare-{name}.txt", without_numbers=True)


def seen_by(run, arm, i):
    """The answer of most seeds to test row i, of tied ones the likelier; their number; p of the label."""
    answers = [int(run.test[arm, seed].logits[i].argmax()) for seed in run.seeds]
    scaled = [run.test[arm, seed].logits[[i]].astype(float) / run.temperature(arm, seed) for seed in run.seeds]
    p = np.exp([log_softmax(z)[0] for z in scaled]).mean(axis=0)
    votes = Counter(answers)
    answer = max(votes, key=lambda k: (votes[k], p[k]))
    return answer, votes[answer], p[run.labels[i]]


def test_each_card_shows_its_own_row_as_each_arm_sees_it(spoken):
    run, page = spoken
    cards = re.findall(r"<li>(.*?)</li>", re.search(r'<ul class="cards.*</ul>', page, re.DOTALL)[0], re.DOTALL)
    assert len(cards) > 20
    place = {int(row): i for i, row in enumerate(run.index)}
    for card in cards:
        label, row = re.search(r'label <strong>(.*?)</strong> <span class="quiet">row ([\d,]+)', card).groups()
        i = place[int(row.replace(",", ""))]
        assert label == f"class {run.labels[i]}"
        assert f"Row {run.index[i]}. A &lt;b&gt;" in card
        shown = re.findall(
            r'arm-(\d)"></span>([\w-]+): <span class="(\w+)">(.*?)</span> <span class="quiet">p = ([\d.]+)'
            r"(?:, (\d)\N{NO-BREAK SPACE}of\N{NO-BREAK SPACE}3)?<",
            card,
        )
        assert [(mark, arm) for mark, arm, *_ in shown] == [("0", "one-hot"), ("1", "smoothed")]
        for _, arm, right, said, p, votes in shown:
            answer, most, known = seen_by(run, arm, i)
            assert (right, said) == ("right" if answer == run.labels[i] else "wrong", f"class {answer}")
            assert float(p) == float(f"{known:.2f}")
            assert votes == ("" if most == 3 else str(most))


@pytest.mark.parametrize("choice", ["one-hot", "smoothed"])
@pytest.mark.parametrize(
    ("gain", "at_bound", "divides"),
    [((-0.02, -0.01), False, True), ((-0.02, 0.01), False, False), ((0.01, 0.02), False, False),
     ((-0.02, -0.01), True, False), (None, False, True)],
)  # fmt: skip
def test_the_code_divides_by_a_temperature_that_helps_on_test_rows_and_by_no_other(
    tmp_path, choice, gain, at_bound, divides
):
    folder = write_run(tmp_path / "run", choice=choice, seeds=2, epochs=1, test=40)
    env = json.loads((folder / "env.json").read_text())
    env["temperatures"][choice][1]["at_bound"] = at_bound
    other = {"one-hot": "smoothed", "smoothed": "one-hot"}[choice]
    opposite = 0.01 if divides else -0.01  # what the other arm gains does not matter
    gains = {} if gain is None else {choice: {"low": gain[0], "high": gain[1]}, other: {"high": opposite}}
    page = words(edited(folder, temperatures=env["temperatures"], temperature_gain=gains))
    mean = next(arm["metrics"]["temperature"]["mean"] for arm in load_run(folder).arms if arm["name"] == choice)
    assert (f"probabilities = (logits / {mean:.2f}).softmax(dim=1)" in page) == divides
    assert ("probabilities = " in page) == divides


def test_changed_rows_are_counted_by_who_is_right(spoken):
    run, page = spoken
    answers = np.array([[seen_by(run, arm, i)[0] for arm in ("one-hot", "smoothed")] for i in range(len(run.labels))])
    base, other = (answers == run.labels[:, None]).T
    gained, lost = (other & ~base).sum(), (base & ~other).sum()
    swapped = (~base & ~other & (answers[:, 0] != answers[:, 1])).sum()
    assert len({gained, lost, swapped}) == 3 < min(gained, lost, swapped)  # or a swap of two would not be seen
    assert (
        f"Of 900 test rows, {gained} are right only with smoothed, {lost} only with one-hot, and {swapped} are wrong "
        "with both, but differently."
    ) in page


def test_uneven_classes_are_a_warning_and_each_class_has_its_recall_and_precision(tmp_path):
    folder = write_run(tmp_path / "run", seeds=2, epochs=2, test=60)
    path = folder / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    text = 'The classes are uneven: 75.0 % of the test rows are "<b>".'
    summary["warnings"] = [{"code": "imbalance", "column": None, "text": text}]
    number, none = {"mean": 0.5, "low": 0.25, "high": 1.0}, {"mean": None, "low": None, "high": None}
    rates = {arm["name"]: number for arm in summary["arms"]}
    summary["by_class"] = [{"name": "<i>", "rows": 1, "recall": rates, "precision": dict.fromkeys(rates, none)}]
    path.write_text(json.dumps(summary), encoding="utf-8")
    page = without_terms(compose(load_run(folder), {}))
    assert "75.0&nbsp;%" in page or "75.0 %" in page
    assert "<b>" not in page
    table = re.search(r'aria-label="Recall and precision of classes">.*?</table>', page, re.DOTALL)[0]
    assert '<th scope="row" translate="no">&lt;i&gt; <span class="unit">1 row</span>' in table
    cells = re.findall(r"<td.*?</td>", table.partition("<tbody>")[2].replace("&nbsp;", " "))
    assert cells == 2 * ["<td>50.0 %<small>25.0 to 100.0 %</small></td>", '<td class="none">–</td>']


def soften(folder):
    """Give the test rows of a run soft labels, four fifths of whose mass is on the label."""
    for file in (folder / "logits").glob("*-test.npz"):
        arrays = dict(np.load(file))
        classes = arrays["logits"].shape[1]
        np.savez(file, **arrays, label_probs=0.8 * np.eye(classes)[arrays["labels"]] + 0.2 / classes)
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    for arm in summary["arms"]:
        metrics = arm["metrics"]
        metrics |= {"agreement": metrics["accuracy"], "kl": metrics["nll"], "kl_after_temperature": metrics["nll"]}
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
