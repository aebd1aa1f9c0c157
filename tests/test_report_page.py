import json
import re
import shutil
import subprocess
import sys

import pytest

from sfumato.report import ReportError, render
from tests.report_runs import write_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "digits")


@pytest.fixture(scope="module")
def page(folder):
    return render(folder).read_text(encoding="utf-8")


def test_page_is_one_small_file_that_refers_to_nothing_outside(folder, page):
    assert (folder / "report.html").stat().st_size < 1_000_000
    assert "http" not in page
    assert "src=" not in page
    assert "@import" not in page
    assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)"', page))
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))


def test_the_same_run_gives_the_same_bytes(folder, page, tmp_path):
    again = render(shutil.copytree(folder, tmp_path / "copy"))
    assert again.read_bytes() == page.encode()
    for figure in (folder / "figures").iterdir():
        assert figure.read_bytes() == (tmp_path / "copy" / "figures" / figure.name).read_bytes()


def test_nothing_half_written_is_left(folder, page):
    assert sorted(path.name for path in (folder / "figures").iterdir()) == [
        "excess.svg",
        "gap-histogram.svg",
        "gap.svg",
        "reliability.svg",
    ]
    assert not list(folder.rglob("*.partial"))


def test_identifiers_are_unique(page):
    found = re.findall(r'\bid="([^"]*)"', page)
    assert len(found) == len(set(found))
    assert set(re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', page)) != set()
    used = {a or b for a, b in re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', page)}
    assert used <= set(found)


def test_the_summary_in_the_page_is_the_summary(folder, page):
    text = re.search(r'<script type="application/json" id="summary">(.*?)</script>', page, re.DOTALL)[1]
    assert json.loads(text) == json.loads((folder / "summary.json").read_text())


def test_the_code_to_copy_converts_the_strength(page):
    assert "torch.nn.CrossEntropyLoss(label_smoothing=0.111111)" in page
    assert 'sf.cross_entropy(logits, labels, label_smoothing=0.1, over="others")' in page


@pytest.mark.parametrize(
    "hostile", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</script>{{ 7*7 }}"]
)
def test_names_from_the_data_are_text(tmp_path, hostile):
    names = [hostile, *map(str, range(1, 10))]
    page = render(write_run(tmp_path / "run", class_names=names, name=hostile, seeds=1, epochs=2, test=50)).read_text()
    assert hostile not in page
    assert page.count("<script") == 1
    assert page.count("</script>") == 1
    assert "<img" not in page
    text = re.search(r'id="summary">(.*?)</script>', page, re.DOTALL)[1]
    assert json.loads(text)["data"]["name"] == hostile


def test_an_unfair_comparison_is_called_unfair(tmp_path):
    page = render(write_run(tmp_path / "run", equal=False, seeds=1, epochs=2, test=50)).read_text()
    assert "did not start from the same weights" in page
    assert "✓" not in page


def test_a_choice_of_one_hot_shows_one_hot_code(tmp_path):
    page = render(write_run(tmp_path / "run", choice="one-hot", seeds=1, epochs=2, test=50)).read_text()
    assert "The verdict’s choice is one-hot." in page
    assert "loss = torch.nn.CrossEntropyLoss()" in page
    assert "label_smoothing=" not in page


def test_a_choice_that_names_no_arm_shows_every_arm(tmp_path):
    page = render(write_run(tmp_path / "run", choice="no difference", seeds=1, epochs=2, test=50)).read_text()
    assert "singles out no arm" in page
    assert "CrossEntropyLoss()" in page
    assert "CrossEntropyLoss(label_smoothing=0.111111)" in page


def test_a_strength_beyond_torch_is_said_to_be_so(tmp_path):
    page = render(write_run(tmp_path / "run", smoothed=(0.95,), seeds=1, epochs=2, test=50)).read_text()
    assert "torch's label_smoothing cannot express smoothed 0.95 (others)" in page
    assert "CrossEntropyLoss(label_smoothing" not in page


def test_no_strength_stands_without_what_it_is_spread_over(tmp_path):
    page = render(write_run(tmp_path / "run", smoothed=(0.02, 0.05), classes=20, seeds=1, epochs=2, test=50))
    text = re.sub(
        r"<script.*?</script>|<style.*?</style>|<pre>.*?</pre>|<details.*?</details>", "", page.read_text(), flags=re.S
    )
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
        f"import sys, sfumato.report as r; r.render({str(folder)!r}); "
        "print([m for m in ('torch', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_choice_is_matched_as_a_whole_word(tmp_path):
    folder = write_run(tmp_path / "run", smoothed=(0.1, 0.15), choice="smoothed-0.15, T", seeds=1, epochs=2, test=50)
    page = render(folder).read_text()
    assert "The verdict’s choice is smoothed-0.15 (others)." in page
