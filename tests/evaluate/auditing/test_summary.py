"""The first two sentences of an audit: how things stand, and what to do, for each kind of model."""

import re

import numpy as np
import pytest
from scipy.special import softmax

import sfumato.evaluate as ev
from tests.evaluate.samples import drawn, smoothed


def said(**given):
    return ev.audit(**given).summary


def skewed(n=3000, seed=0, *, know=2.0):
    """Five classes, of which the first is by far the commonest; ``know`` is how much the logits say."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 5)) * know + np.log([0.9, 0.04, 0.03, 0.02, 0.01])
    return {"logits": z, "labels": (softmax(z, axis=1).cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=4)}


def sure(confidence, right, classes=10):
    """Logits of a model that is so sure of one answer, with the rest even, and labels: the answer where it is right."""
    n = len(confidence)
    y, z = np.arange(n) % classes, np.repeat(np.log((1 - confidence) / (classes - 1))[:, None], classes, axis=1)
    z[np.arange(n), np.where(right, y, (y + 1) % classes)] = np.log(confidence)
    return {"logits": z, "labels": y}


def good_teacher():
    """A fifth of the rows is hard, and each level of confidence is right."""
    confidence = np.where(np.arange(4000) % 5 == 0, 0.4, 0.955)
    return sure(confidence, np.random.default_rng(0).random(4000) < confidence)


def in_hundredths(probs):
    """Probabilities in whole hundredths, none of them 0, whose rows sum to 1."""
    hundredths = np.maximum(np.rint(100 * probs), 1)
    hundredths[np.arange(len(probs)), probs.argmax(axis=1)] += 100 - hundredths.sum(axis=1)
    return hundredths / 100


OFF, LOST = drawn(4000, 6, 1, sharp=2.0), np.random.default_rng(3)
CASES = {
    "calibrated": (drawn(4000, 6, 0), "The model's probabilities can be used as they are: on average it is 61.", "No"),
    "too sure": (OFF, "The model is surer than it should be: on average it is ", "Divide the logits by T = "),
    "not sure": (
        drawn(4000, 6, 1, sharp=0.5),
        "The model is less sure than it could be: on ",
        "Divide the logits by T = ",
    ),
    "probabilities": (
        {"probs": softmax(OFF["logits"], axis=1), "labels": OFF["labels"]},
        "The model is surer than it should be: ",
        "Divide the logits by T = ",
    ),
    "rounded probabilities": (
        {"probs": in_hundredths(softmax(OFF["logits"], axis=1)), "labels": OFF["labels"]},
        "The model is surer than it should be: ",
        "Do not use the probabilities as they are: recalibrate on held-out rows, or run the audit on logits or",
    ),
    "training rows": ({**OFF, "rows": "train"}, "The model is surer than ", "It was trained on these rows, so run "),
    "nothing known": (
        {"logits": LOST.normal(size=(1000, 5)) * 3, "labels": LOST.integers(5, size=1000)},
        "The model is ",
        "Check first that every row of scores stands beside its own label",
    ),
    "few rows": (drawn(14, 3, 7), "14 rows cannot show that the model is better", "Run the audit on more rows, at "),
    "one class": (
        {"logits": drawn(300, 4, 2)["logits"], "labels": np.full(300, 2)},
        "All 300 rows have the label 2, so they cannot show whether the model tells the classes apart.",
        "Run the audit on rows of all classes.",
    ),
    "rare classes known": (
        {**skewed(know=1.1), "logits": skewed(know=1.1)["logits"] - np.log([0.9, 0.04, 0.03, 0.02, 0.01])},
        "The model is no better than always giving the commonest answer: ",
        "Judge it by its balanced accuracy, which counts all classes alike: it is ",
    ),
    "one answer": (
        {**skewed(), "logits": np.tile(np.log([0.9, 0.04, 0.03, 0.02, 0.01]), (3000, 1))},
        "The model is no better than always giving the commonest answer: ",
        "It answers class 0 in 100.0 % of the rows, so train it with more rows of the other classes",
    ),
    "no ranking": (
        sure(0.67 + 0.06 * np.random.default_rng(0).random(4000), np.arange(4000) % 10 < 7, classes=7),
        "How sure the model is hardly shows where it is wrong: it is surer of a right answer than of a wrong one ",
        "Do not sort or reject by confidence; a temperature cannot change this.",
    ),
    "off at each level": (
        sure(np.where(np.arange(4000) < 2000, 0.9, 0.7), np.arange(4000) % 5 < 4),
        "The model is as sure as it should be on average, but too sure in some rows and not sure enough in others.",
        "Look at the reliability diagram before a threshold is set, or recalibrate",
    ),
    "smoothed, not sure": (
        smoothed(3000, 10, 0.4, 0.1, 3, wrong=0.02),
        "The model is less sure than it could be, which is typical of training with softened labels: on average it is ",
        "Divide the logits by T = 0.",
    ),
    "smoothed, good": (
        good_teacher(),
        "The model's probabilities can be used as they are: ",
        "They say little of which classes are alike, so a model trained with one-hot targets may be a better teacher",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_first_two_sentences_are_how_things_stand_and_what_to_do(name):
    given, state, deed = CASES[name]
    found = said(**given)
    assert found[0].startswith(state)
    assert found[1].startswith(deed)


@pytest.mark.parametrize("sharp", [2.0, 0.5])
def test_confidence_that_is_off_is_divided_by_the_temperature(sharp):
    divisor = re.match(r"Divide the logits by T = ([\d.]+) ", said(**drawn(4000, 6, 1, sharp=sharp))[1])[1]
    assert float(divisor) == pytest.approx(sharp, rel=0.1)


def test_rare_classes_that_are_recognised_less_often_are_a_sentence_of_their_own():
    state, _, rare = said(**skewed())
    assert state.startswith("The model's probabilities can be used as they are")
    assert rare.startswith("It recognises common classes better than rare ones: it is right in ")


def test_a_model_that_is_always_right_is_asked_for_rows_in_which_it_is_wrong():
    sample = drawn(500, 5, 9, scale=4.0)
    sample["labels"] = sample["logits"].argmax(axis=1)
    state, deed, _ = said(**sample)
    assert state.startswith("The model is right in every one of these 500 rows, so they cannot show whether")
    assert "run the audit on rows that it was not trained on and in some of which it is wrong" in deed
    assert "it was trained on them, so run the audit" in said(**sample, rows="train")[1]


def test_rows_too_few_to_show_five_points_name_how_many_would():
    sample = drawn(120, 4, 5)
    found = ev.audit(**sample)
    half = (found.metrics["signed_gap"].high - found.metrics["signed_gap"].low) / 2
    assert found.findings == []
    assert found.summary[0].startswith("120 rows are too few to say whether the model's probabilities can be trusted")
    wanted = int(re.match(r"Run the audit on ([\d,]+) rows or more", found.summary[1])[1].replace(",", ""))
    assert 0 <= wanted / (120 * (half / 0.05) ** 2) - 1 < 0.1
