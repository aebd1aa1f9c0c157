"""The page of a judgement says what its verdict says."""

import re

import numpy as np
import pytest

import sfumato as sf
from sfumato.evaluate.metrics.registry import HEADLINE
from sfumato.report.judge_page import _panel, page_of, write
from sfumato.report.tables import shown
from sfumato.runs.folder import RunError, WriteError
from sfumato.verdict.wording import SHOWN

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


def test_each_panel_of_the_forest_has_the_difference_of_its_metric():
    found = judged(1.0)
    panels = re.findall(r'<svg role="img" aria-label="([^:"]+): smoothed: (\S+)', page_of(found))
    wanted = [
        (SHOWN[row["metric"]].name, shown(row["metric"])(row["mean"]).partition(" ")[0].rstrip(","))
        for row in found.differences
        if row["metric"] in HEADLINE
    ]
    assert sorted((name, value.rstrip(",")) for name, value in panels) == sorted(wanted)
    assert len(wanted) == 3


@pytest.mark.parametrize(("factor", "helps"), [(1.0, False), (3.0, True)])
def test_a_temperature_is_advised_where_the_verdict_advises_it(factor, helps):
    found = judged(factor)
    said, page = " ".join(found.verdict["sentences"]), page_of(found)
    assert found.verdict["choice"] == "smoothed"
    assert ("of the smoothed model by 3.0" in said and "lowers its log loss" in said) == helps
    by = re.findall(r"torch\.softmax\(logits / ([\d.]+), dim=-1\)", page)
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


def differences(low, mean, high, margin):
    row = {"metric": "accuracy", "arm": "smoothed", "against": "one-hot", "margin": margin, "finding": "not settled"}
    return [row | {"low": low, "mean": mean, "high": high}]


@pytest.mark.parametrize(
    ("most", "ticks"),
    [
        (0.01, ["−0.5", "0", "+0.5"]),  # in points: the axis ends at 1.15
        (0.02, ["−1", "0", "+1"]),
        (0.03, ["−2", "0", "+2"]),
        (0.07, ["−5", "0", "+5"]),
    ],
)
def test_a_panel_has_zero_in_its_middle_and_round_ticks(most, ticks):
    panel = _panel("accuracy", differences(-most / 2, most / 4, most, 0.005))
    unit = 150 / (1.15 * most)
    (row,) = panel["rows"]
    places = (*panel["margin"], row["low"], row["mean"], row["high"])
    assert places == pytest.approx([150 + unit * each for each in (-0.005, 0.005, -most / 2, most / 4, most)], abs=0.01)
    shown_ticks = {text: place for place, text in panel["ticks"]}
    assert set(ticks) <= set(shown_ticks)
    assert len(shown_ticks) <= 5
    for text, place in shown_ticks.items():
        assert place == pytest.approx(150 + unit * float(text.replace("−", "-")) / 100, abs=0.01)


@pytest.mark.parametrize("soft", [False, True])
def test_confidence_is_held_against_what_the_labels_are(soft):
    def models(seed):
        z = TRUE + np.random.default_rng(seed).normal(size=TRUE.shape)
        return {"logits": z, **({"label_probs": np.eye(K)[LABELS] * 0.8 + 0.05} if soft else {"labels": LABELS})}

    page = page_of(sf.judge({"one-hot": [models(0)], "smoothed": [models(1)]}))
    assert ("Agreement against confidence" in page) == soft
    assert ("Accuracy against confidence" in page) != soft
    assert ("of the annotators should agree" in page) == soft
