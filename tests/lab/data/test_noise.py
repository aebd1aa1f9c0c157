"""Labels made wrong on purpose: rates, tables, and what stays as it was."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sfumato as sf
from sfumato import theory
from sfumato.lab import compare as lab
from sfumato.lab.data import DataError, prepare
from sfumato.lab.data.noise import NOISY_PARTS, LabelNoise, NoisyLabels, noise_of, noisy_labels, read_table, validate
from sfumato.lab.data.prepare import prepare_table, with_noise
from sfumato.lab.options import Options
from sfumato.verdict.wording import CAUTION

DIGITS = prepare("digits")
CLASSES = ("cat", "dog", "car")
TABLE = """,dog,cat,car
car,0.1,0.1,0.8
dog,0.7,0.2,0.1

cat,0.25,0.75,0
"""


@pytest.fixture
def table(tmp_path: Path):
    def written(text: str) -> Path:
        path = tmp_path / "table.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return written


NOISY = with_noise(DIGITS, noise_of("0.4", DIGITS.table.class_names))


def test_rows_test_labels_and_the_fingerprint_are_as_they_were_and_other_labels_are_replaced_at_the_rate():
    assert np.array_equal(NOISY.part("test").labels, DIGITS.part("test").labels)
    assert np.array_equal(NOISY.table.labels, DIGITS.table.labels)
    assert (NOISY.fingerprint, NOISY.warnings) == (DIGITS.fingerprint, DIGITS.warnings)
    for part in NOISY_PARTS:
        assert np.array_equal(NOISY.part(part).features, DIGITS.part(part).features)
        other = NOISY.part(part).labels != DIGITS.part(part).labels
        assert NOISY.describe()["noise"]["replaced"][part] == other.sum()
        assert abs(other.mean() - 0.4) < 4 * np.sqrt(0.24 / len(other))


def test_each_other_class_is_as_likely():
    """A χ² of 90 cells, which must lie within its mean of 80 and four standard deviations."""
    old, new = (np.concatenate([each.part(part).labels for part in NOISY_PARTS]) for each in (DIGITS, NOISY))
    counts = np.zeros((10, 10))
    np.add.at(counts, (old, new), 1)
    expected = counts.sum(1, keepdims=True) * theory.noise_transition(0.4, 10, over="others")
    assert ((counts - expected) ** 2 / expected).sum() < 90 + 4 * np.sqrt(180)


def test_the_draws_do_not_depend_on_the_order_of_the_file():
    order = np.random.default_rng(1).permutation(len(DIGITS.table.labels))
    table, features = DIGITS.table, DIGITS.table.features
    shuffled = replace(table, labels=table.labels[order], features=replace(features, values=features.values[order]))
    other = with_noise(prepare_table(shuffled), NOISY.noisy.noise)
    for part in NOISY_PARTS:
        assert np.array_equal(NOISY.part(part).labels, other.part(part).labels)


@pytest.mark.slow
def test_the_verdict_says_what_was_done_to_the_labels_and_what_its_numbers_are_about(tmp_path):
    short = Options(
        "digits", model="linear", folds=1, seeds=3, epochs=1, workers=1, noise="0.4", out=str(tmp_path / "run")
    )
    said = lab.compare(short)["verdict"]["sentences"]
    assert said[-2] == (
        "Labels of training and validation rows were made wrong on purpose: each was replaced with probability 0.4 by "
        "another class, each other class as likely. Test labels are as they were."
    )
    assert said[-1] == CAUTION
    assert sf.judge(tmp_path / "run").verdict["sentences"][-2:] == said[-2:]
    env = json.loads((tmp_path / "run" / "env.json").read_text(encoding="utf-8"))
    replaced = env["data"]["noise"]["replaced"]
    assert any(f"{replaced['train']:,} of the training rows" in note["text"] for note in env["notes"])
    with np.load(tmp_path / "run" / "logits" / "smoothed-seed2-train.npz") as file:
        assert int((file["labels"] != DIGITS.part("train").labels).sum()) == replaced["train"]


def test_a_rate_is_what_was_asked_for_and_its_table_is_symmetric():
    noise = noise_of("0.3", CLASSES)
    assert (noise.given, noise.rate) == ("0.3", 0.3)
    np.testing.assert_allclose(noise.transition, [[0.7, 0.15, 0.15], [0.15, 0.7, 0.15], [0.15, 0.15, 0.7]])
    told = NoisyLabels(noise, np.array([0, 1]), {"train": 3, "validation": 1}).describe()
    assert told == {"given": "0.3", "rate": 0.3, "transition": None, "replaced": {"train": 3, "validation": 1}}


def test_a_table_is_kept_with_the_name_of_its_file(table):
    noise = noise_of(str(table(TABLE)), CLASSES)
    told = NoisyLabels(noise, np.array([0, 1]), {}).describe()
    assert (told["given"], told["rate"]) == ("table.csv", None)
    np.testing.assert_allclose(told["transition"], [[0.75, 0.25, 0], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]])


def test_labels_of_other_rows_stay_and_the_given_ones_are_not_changed():
    labels = np.arange(60) % 3
    rows = {"train": np.arange(10, 40), "validation": np.arange(50, 40, -1)}
    noisy = noisy_labels(noise_of("0.6", CLASSES), labels, rows)
    assert labels.tolist() == [i % 3 for i in range(60)]
    changed = np.flatnonzero(noisy.labels != labels)
    assert set(changed) <= {*range(10, 51)}
    assert noisy.replaced == {"train": int((changed < 40).sum()), "validation": int((changed > 40).sum())}
    assert min(noisy.replaced.values()) > 0
    again = noisy_labels(noise_of("0.6", CLASSES), labels, rows)
    assert noisy.fingerprint() == again.fingerprint() == hashlib.sha256(noisy.labels.astype("<i8")).hexdigest()


def test_the_same_rows_get_the_same_labels_in_every_release():
    labels = np.zeros(12, np.int64)
    noisy = noisy_labels(noise_of("0.6", CLASSES), labels, {"train": np.arange(12)})
    draws = np.random.default_rng(2026).random(12)  # below 0.4 the label stays, below 0.7 it is the next class
    assert noisy.labels.tolist() == [0 if draw < 0.4 else 1 if draw < 0.7 else 2 for draw in draws]


def test_a_line_may_miss_1_by_what_rounding_leaves_and_is_divided_by_its_sum(table):
    good = read_table(table(TABLE.replace("0.1,0.1,0.8", "0.1,0.1,0.8000009")), CLASSES)
    assert good.sum(1) == pytest.approx([1, 1, 1], abs=1e-15)
    assert good[2, 2] == pytest.approx(0.8000009 / 1.0000009, abs=1e-15)
    for share, total in (("0.8000011", "1.0000011"), ("0.7999989", "0.9999989")):
        with pytest.raises(DataError, match=f'line 2: the row of "car" must sum to 1, got {total}$'):
            read_table(table(TABLE.replace("0.1,0.1,0.8", f"0.1,0.1,{share}")), CLASSES)


REFUSED = {
    "a sum": (TABLE.replace("0.8", "0.9"), 'line 2: the row of "car" must sum to 1, got 1.1'),
    "above 1": (TABLE.replace("0.8", "1.5"), 'line 2, column "car": "1.5" is not a probability from 0 to 1'),
    "no noise": (",cat,dog,car\ncat,1,0,0\ndog,0,1,0\ncar,0,0,1\n", "leaves every label as it is; leave out --noise"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_table_that_is_none_is_refused_with_its_line(what, table):
    text, message = REFUSED[what]
    path = table(text)
    with pytest.raises(DataError) as error:
        read_table(path, CLASSES)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)


@pytest.mark.parametrize("rate", ["0", "1", "-0.1", "nan", "40"])
def test_a_rate_out_of_range_is_refused_and_a_file_is_not(rate):
    assert validate(rate) == f"--noise must be a rate above 0 and below 1, got {rate}"
    assert validate("0.001") is validate("0.999") is validate("table.csv") is None


def test_a_rate_at_which_labels_say_nothing_is_refused():
    with pytest.raises(DataError, match="so that labels say nothing; choose less than 0.667"):
        noise_of("0.7", CLASSES)
    with pytest.raises(DataError, match=r"no likelier than any other of 2 classes, so .*; choose less than 0\.5$"):
        noise_of("0.5", CLASSES[:2])
    assert noise_of("0.499", CLASSES[:2]).rate == 0.499
    with pytest.raises(DataError, match='there is no file "nowhere.csv"'):
        noise_of("nowhere.csv", CLASSES)


def test_soft_labels_are_refused():
    soft = replace(DIGITS, table=replace(DIGITS.table, soft=np.full((len(DIGITS.table.labels), 10), 0.1)))
    with pytest.raises(DataError, match="these data have soft labels"):
        with_noise(soft, noise_of("0.4", DIGITS.table.class_names))


@pytest.mark.parametrize(("draw", "label"), [(0.0, 1), (0.25, 2), (np.nextafter(0.25, 0), 1), (np.nextafter(1, 0), 2)])
def test_a_label_without_a_share_is_never_drawn_be_it_the_lowest_or_the_highest_draw(monkeypatch, draw, label):
    class Draws:
        random = staticmethod(lambda count: np.full(count, draw))

    monkeypatch.setattr(np.random, "default_rng", lambda seed: Draws)
    noise = LabelNoise("table.csv", None, np.array([[0, 0.25, 0.75, 0]] * 4))
    assert noisy_labels(noise, np.zeros(3, np.int64), {"train": np.arange(3)}).labels.tolist() == [label] * 3
