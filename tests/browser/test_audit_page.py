"""The page of `sfumato audit` in a real browser, offline: narrow and wide, light and dark, on paper."""

import numpy as np
import pytest

from tests.browser.looks import (
    BLOCKS,
    CUT,
    FITS,
    LABELS_ON_POINTS,
    SCROLLING,
    STICKING_OUT,
    TEXTS_OF_FIGURES,
    opened,
    too_faint,
)
from tests.conftest import run_sfumato
from tests.evaluate.samples import drawn, smoothed

pytestmark = pytest.mark.slow

SAMPLES = {
    "much to say": drawn(4000, 10, 1, scale=4.0, sharp=2.5, noise=0.05),
    "smoothed, many classes": smoothed(3000, 120, 0.1, 0.3, 2, wrong=0.1),
    "one row": drawn(1, 3, 3),
}


ARMS = ("one-hot", "smoothed 0.1 over the others", "cutmix 0.2")


def seeds_of_a_run(folder):
    """The page of a run of three arms and two seeds, of which the table over seeds has its own columns."""
    (folder / "run" / "logits").mkdir(parents=True)
    for arm in ARMS:
        for seed in (0, 1):
            np.savez(folder / "run" / "logits" / f"{arm}-seed{seed}-test.npz", **drawn(800, 5, seed))
    ran = run_sfumato("audit", "run", folder=folder)
    assert ran.code == 0, ran.err
    return folder / "cutmix 0.2-seed0-test-audit.html"


@pytest.fixture(scope="module", params=[*SAMPLES, "seeds of a run"])
def page_file(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("audit")
    if request.param == "seeds of a run":
        return seeds_of_a_run(folder)
    name = "a_long_file_name_without_any_place_to_break_it_for_the_logits_of_a_model.npz"
    np.savez(folder / name, **SAMPLES[request.param])
    words = ["--against", name] if request.param == "much to say" else []
    ran = run_sfumato("audit", name, *words, folder=folder)
    assert ran.code == 0, ran.err
    return folder / f"{name.removesuffix('.npz')}-audit.html"


def test_page_opens_offline_without_errors_or_requests(view, page_file):
    assert view.wrong == []
    assert view.asked == [page_file.as_uri()]


def test_nothing_is_wider_than_the_window_cut_or_on_top_of_another(view):
    assert view.evaluate(FITS)
    assert view.evaluate(STICKING_OUT) == []
    assert view.evaluate(CUT) == []
    assert view.evaluate(BLOCKS) == []
    assert view.evaluate(TEXTS_OF_FIGURES, "figure svg") == []


def test_a_phone_of_390_pixels_shows_all_of_it(browser, page_file):
    page = opened(browser, page_file, 390)
    for script in (SCROLLING, CUT, BLOCKS):
        assert page.evaluate(script) == []
    for script in (TEXTS_OF_FIGURES, LABELS_ON_POINTS):
        assert page.evaluate(script, "figure svg") == []
    page.context.close()


def test_text_and_lines_stand_out_from_the_paper(view):
    assert too_faint(view, ["--ink", "--faint", "--arm-0", "--arm-1"]) == []


def test_every_figure_has_a_name_and_a_size(view):
    figures = view.locator("svg[role=img]").all()
    assert len(figures) >= 2
    for figure in figures:
        assert len(figure.get_attribute("aria-label")) > 30
        box = figure.bounding_box()
        assert (box["width"] > 250, box["height"] > 150) == (True, True)


def test_page_prints(browser, page_file, tmp_path):
    page = opened(browser, page_file)
    page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)
    page.context.close()
    most = 10 if page_file.name.startswith("cutmix") else 6  # the JSON of a run has every metric of every arm and seed
    assert 1 <= (tmp_path / "page.pdf").read_bytes().count(b"/Type /Page\n") <= most
