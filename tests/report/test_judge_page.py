"""The page of a judgement says what its verdict says."""

import re

import numpy as np
import pytest

import sfumato as sf
from sfumato.report.charts.differences import plot_differences
from sfumato.report.judge_page import _reliability, page_of, write
from sfumato.report.top import difference_rows
from sfumato.runs.folder import RunError, WriteError
from tests.report.run_folders import text_of
from tests.snapshots import assert_snapshot

ROWS, K = 1500, 4
RNG = np.random.default_rng(3)
TRUE = RNG.normal(size=(ROWS, K)) * 2
LABELS = (TRUE + RNG.gumbel(size=(ROWS, K))).argmax(axis=1)  # drawn with the probabilities softmax(TRUE)


def judged(factor):
    """A model that knows the probabilities, its logits times a factor, against one that hardly does."""
    models, rng = {"one-hot": 3.0, "smoothed": 0.05}, np.random.default_rng(4)
    return sf.judge(
        {
            name: [{"logits": factor * (TRUE + rng.normal(size=TRUE.shape) * off), "labels": LABELS} for _ in range(3)]
            for name, off in models.items()
        }
    )


def test_the_figures_have_the_numbers_of_the_judgement():
    found = judged(1.0)
    drawn = plot_differences(difference_rows(found.summary)).numbers
    for metric, factor in (("accuracy", 100), ("nll_after_temperature", 1), ("eaurc", 1000)):
        row = next(row for row in found.differences if row["metric"] == metric)
        for end in ("mean", "low", "high", "margin"):
            assert drawn[metric][end] == pytest.approx([factor * row[end]])
    curves = iter(_reliability(found).numbers["curves"])
    for place, result in enumerate(found.arms):
        for scaled, bins in enumerate(result.reliability.values()):
            curve = next(curves)
            assert (curve.title, curve.place, curve.scaled) == (result.arm.name, place, scaled)
            assert curve.accuracy is bins.accuracy
    assert page_of(found).count("<svg role=") == 2


@pytest.mark.parametrize(("factor", "helps"), [(1.0, False), (3.0, True)])
def test_a_temperature_is_advised_where_the_verdict_advises_it(factor, helps):
    found = judged(factor)
    said, page = " ".join(found.verdict["sentences"]), page_of(found)
    assert found.verdict["choice"] == "smoothed"
    assert ("ividing the smoothed logits by 3.0" in said and "lowers their log loss" in said) == helps
    by = re.findall(r"\(logits / ([\d.]+)\)\.softmax\(dim=1\)", page)
    assert len(by) == helps
    assert all(f"{float(each):.2f}" in said for each in by)


@pytest.mark.parametrize("made", [lambda place: place.mkdir(), lambda place: place.write_text("mine")])
def test_nothing_is_written_over(tmp_path, made):
    place = tmp_path / "taken"
    made(place)
    with pytest.raises(RunError, match="taken exists already and is never written over; choose another --out"):
        write(judged(1.0), place)
    assert [each.name for each in tmp_path.iterdir()] == ["taken"]
    assert place.is_dir() or place.read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(WriteError, match="cannot write .*file/judged: .*/file is a file, not a folder$"):
        write(judged(1.0), tmp_path / "file" / "judged")


@pytest.mark.parametrize("soft", [False, True])
def test_confidence_is_held_against_what_the_labels_are(soft):
    def models(seed):
        z = TRUE + np.random.default_rng(seed).normal(size=TRUE.shape)
        return {"logits": z, **({"label_probs": np.eye(K)[LABELS] * 0.8 + 0.05} if soft else {"labels": LABELS})}

    page = page_of(sf.judge({"one-hot": [models(0)], "smoothed": [models(1)]}))
    assert ("agreement (share of annotators)" in page) == soft
    assert ("accuracy (share of rows)" in page) != soft
    assert ("Does confidence match agreement?" in page) == soft


def test_the_words_of_the_page():
    assert_snapshot(text_of(page_of(judged(3.0))), "pages/judge.txt", without_numbers=True)
