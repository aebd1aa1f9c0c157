"""The page of `sfumato judge` in a real browser, offline: narrow and wide, light and dark."""

import numpy as np
import pytest

import sfumato as sf
from tests.browser.looks import BLOCKS, CUT, FITS, STICKING_OUT, TEXTS_OF_FIGURES, too_faint
from tests.conftest import run_sfumato

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[2, 4, "soft labels"])
def page_file(request, tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("judge"), np.random.default_rng(0)
    labels = rng.integers(0, 5, 400)
    soft, arms = request.param == "soft labels", ["one-hot", "smoothed", "smoothed-over-the-others", "mixup"]
    truth = {"label_counts": np.eye(5)[labels] * 3 + rng.integers(0, 2, (400, 5))} if soft else {"labels": labels}
    for number, arm in enumerate(arms[: 3 if soft else request.param]):
        for seed in range(3):
            logits = (1.5 + number / 4) * np.eye(5)[labels] + rng.normal(size=(400, 5))
            sf.save_scores(folder / "scores", arm=arm, seed=seed, logits=logits, **truth)
    ran = run_sfumato("judge", "scores", folder=folder)
    assert ran.code == 0, ran.err
    return folder / "scores-judged" / "report.html"


def test_page_opens_offline_without_errors_or_requests(view, page_file):
    assert view.wrong == []
    assert view.asked == [page_file.as_uri()]


def test_nothing_is_wider_than_the_window_cut_or_on_top_of_another(view):
    assert view.evaluate(FITS)
    assert view.evaluate(STICKING_OUT) == []
    assert view.evaluate(CUT) == []
    assert view.evaluate(BLOCKS) == []
    assert view.evaluate(TEXTS_OF_FIGURES, "figure svg") == []


def test_text_and_lines_stand_out_from_the_paper(view):
    assert too_faint(view, ["--ink", "--faint", "--arm-0", "--arm-1"]) == []


def test_links_lead_to_their_sections(view):
    for link in view.locator("nav a").all():
        assert view.locator(link.get_attribute("href")).count() == 1
