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


def test_a_calibrated_model_can_be_used_and_needs_no_repair():
    state, deed = said(**drawn(4000, 6, 0))
    assert re.fullmatch(
        r"The model's probabilities can be used as they are: on average it is 61\.\d % sure, and it is "
        r"right 6\d\.\d % of the time\.",
        state,
    )
    assert deed.startswith("Nothing needs to be repaired: the calibration error (ECE) is .0")


@pytest.mark.parametrize(("sharp", "sure"), [(2.0, "surer than it should be"), (0.5, "less sure than it could be")])
def test_confidence_that_is_off_is_divided_by_the_temperature(sharp, sure):
    state, deed = said(**drawn(4000, 6, 1, sharp=sharp))[:2]
    assert state.startswith(f"The model is {sure}: on average it is ")
    divisor = float(re.match(r"Divide its logits by ([\d.]+) before you use its probabilities: ", deed)[1])
    assert divisor == pytest.approx(sharp, rel=0.1)
    assert re.search(r"the log loss \(NLL\) goes from [\d.]+ to [\d.]+ and the calibration error \(ECE\) from", deed)


def test_from_probabilities_alone_the_way_to_a_temperature_is_named():
    sample = drawn(4000, 6, 1, sharp=2.0)
    _, deed = said(probs=softmax(sample["logits"], axis=1), labels=sample["labels"])[:2]
    assert deed == (
        "Do not use its probabilities as they are: recalibrate them on held-out rows, or run the audit on its logits, "
        "which then names the temperature to divide them by."
    )


def test_on_training_rows_nothing_is_changed_before_new_rows_are_seen():
    _, deed = said(**drawn(4000, 6, 1, sharp=2.0), rows="train")[:2]
    assert deed.startswith("It was trained on these rows, so run the audit on rows that it has not seen before you")


def test_scores_that_know_nothing_ask_for_a_check_of_rows_and_classes():
    rng = np.random.default_rng(3)
    state, deed, _ = said(logits=rng.normal(size=(1000, 5)) * 3, labels=rng.integers(5, size=1000))
    assert re.match(r"The model is (hardly|no) better than always giving the commonest answer: it is right in ", state)
    assert deed.startswith("Check first that every row of scores stands beside its own label")


def test_few_rows_are_said_to_show_nothing():
    state, deed = said(**drawn(14, 3, 7))[:2]
    assert state.startswith("14 rows cannot show that the model is better than always giving the commonest answer")
    assert deed == "Run the audit on more rows, at least 100, before you use or reject the model."


def test_rows_of_one_class_cannot_show_whether_the_model_tells_classes_apart():
    sample = drawn(300, 4, 2)
    state, deed = said(logits=sample["logits"], labels=np.full(300, 2))[:2]
    assert state == "All 300 rows have the label 2, so they cannot show whether the model tells the classes apart."
    assert deed == "Run the audit on rows of all classes."


def test_a_model_hardly_better_than_the_commonest_class_is_judged_by_balanced_accuracy_where_it_knows_something():
    sample = skewed(know=1.1)
    state, deed = said(**sample)[:2]
    assert ev.metric("accuracy", **sample).low <= (sample["labels"] == 0).mean()
    assert "better than always giving the commonest answer" in state
    assert "always answering class 0 would be right in" in state
    assert deed.startswith("Judge it by its balanced accuracy, which counts all classes alike: it is ")
    assert "where guessing would give 20.0 %" in deed


def test_a_model_that_names_one_class_only_is_told_to_learn_the_others():
    sample = skewed()
    constant = np.tile(np.log([0.9, 0.04, 0.03, 0.02, 0.01]), (3000, 1))
    _, deed = said(logits=constant, labels=sample["labels"])[:2]
    assert deed.startswith("It answers class 0 in 100.0 % of the rows, so train it with more rows of the other classes")


def test_rare_classes_that_are_recognised_less_often_are_a_sentence_of_their_own():
    state, _, rare = said(**skewed())
    assert state.startswith("The model's probabilities can be used as they are")
    assert rare.startswith("It recognises common classes better than rare ones: it is right in ")
    assert rare.endswith(" on average over the classes (balanced accuracy).")


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


def sure(confidence, right, classes=10):
    """Logits of a model that is so sure of one answer, with the rest even, and labels: the answer where it is right."""
    n = len(confidence)
    y, z = np.arange(n) % classes, np.repeat(np.log((1 - confidence) / (classes - 1))[:, None], classes, axis=1)
    z[np.arange(n), np.where(right, y, (y + 1) % classes)] = np.log(confidence)
    return {"logits": z, "labels": y}


def test_confidence_that_ranks_nothing_is_not_to_be_sorted_by():
    rng = np.random.default_rng(0)
    state, deed = said(**sure(0.67 + 0.06 * rng.random(4000), np.arange(4000) % 10 < 7, classes=7))[:2]
    assert re.match(
        r"How sure the model is hardly shows where it is wrong: it is surer of a right answer than of a wrong one "
        r"\d\d\.\d % of the time, and tossing a coin would give 50 %\.",
        state,
    )
    assert deed.startswith("Do not sort or reject rows by its confidence: the ranking of mistakes (E-AURC) is poor")


def test_confidence_that_is_off_at_each_level_and_right_on_average_asks_for_a_look_at_the_diagram():
    state, deed = said(**sure(np.where(np.arange(4000) < 2000, 0.9, 0.7), np.arange(4000) % 5 < 4))[:2]
    assert state == (
        "The model is as sure as it should be on average, but too sure in some rows and not sure enough in others."
    )
    assert deed.startswith("Look at the reliability diagram of the page before you set a threshold, or recalibrate")


def test_of_a_smoothed_model_that_is_not_sure_enough_the_reason_is_named():
    state, deed = said(**smoothed(3000, 10, 0.4, 0.1, 3, wrong=0.02))[:2]
    why = ", which is typical of training with softened labels"
    assert state.startswith(f"The model is less sure than it could be{why}: on average it is ")
    assert deed.startswith("Divide its logits by 0.")


def test_a_smoothed_model_with_good_probabilities_is_no_teacher():
    flat = np.arange(4000) % 5 == 0  # a fifth of the rows is hard, and each level of confidence is right
    confidence = np.where(flat, 0.4, 0.955)
    state, deed = said(**sure(confidence, np.random.default_rng(0).random(4000) < confidence))[:2]
    assert state.startswith("The model's probabilities can be used as they are: ")
    assert state.endswith(", but it looks as if it was trained with softened labels.")
    assert deed.startswith("Do not use it to teach another model: its label smoothing")
