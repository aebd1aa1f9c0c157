"""When an audit finds something: models made to be off by a known amount, on either side of each rule's threshold."""

import numpy as np
import pytest
from scipy.stats import norm

import sfumato.evaluate as ev
from sfumato.messages import texts
from tests.evaluate.samples import smoothed

K = 4


def model(*parts):
    """Probabilities and labels of parts of rows, each (rows, confidence, part of them that is right)."""
    rows = sum(n for n, _, _ in parts)
    confidence = np.concatenate([np.full(n, c) for n, c, _ in parts])
    right = np.concatenate([np.arange(n) < round(r * n) for n, _, r in parts])
    y = np.arange(rows) % K
    p = np.repeat((1 - confidence)[:, None] / (K - 1), K, axis=1)
    p[np.arange(rows), np.where(right, y, (y + 1) % K)] = confidence
    return p, y


def audit(p, y):
    found = ev.audit(probs=p, labels=y)
    return found.metrics, [finding.code for finding in found.findings]


@pytest.mark.parametrize(("gap", "worth"), [(0.015, True), (0.0115, True), (0.0085, False), (0.006, False)])
def test_a_reliable_difference_of_confidence_is_a_finding_from_one_point_on(gap, worth):
    metrics, names = audit(*model((40_000, 0.8 + gap, 0.8)))
    assert metrics["signed_gap"].low > 0
    assert metrics["ece"].value == pytest.approx(gap, abs=1e-9)
    assert ("over-confident" in names) == worth


@pytest.mark.parametrize(("gap", "beyond"), [(-0.043, False), (-0.056, True)])
def test_an_error_that_chance_alone_shows_once_in_forty_is_no_finding_about_confidence(gap, beyond):
    confidence = 0.8 + gap
    chance = norm.ppf(0.9875) * np.sqrt(confidence * (1 - confidence) / 400)  # of |mean of 400 redrawn labels|
    metrics, names = audit(*model((400, confidence, 0.8)))
    assert (abs(gap) > 1.05 * chance) == beyond
    assert (abs(gap) < 0.95 * chance) != beyond
    assert metrics["signed_gap"].high < 0
    assert ("under-confident" in names) == beyond


@pytest.mark.parametrize(("rows", "found"), [(100, False), (200, True)])
def test_an_error_that_averages_out_is_a_finding_where_its_whole_interval_is_above_chance(rows, found):
    metrics, names = audit(*model((rows, 0.9, 0.8), (rows, 0.7, 0.8)))
    assert metrics["signed_gap"].value == pytest.approx(0, abs=1e-12)
    assert metrics["ece"].value == pytest.approx(0.1)
    assert metrics["ece"].value > metrics["ece_noise_floor"].high
    assert ("miscalibrated" in names) == found


@pytest.mark.parametrize(("wrong", "found"), [(9, False), (10, True)])
def test_a_ranking_is_judged_from_ten_errors_on(wrong, found):
    confidence = np.linspace(0.5, 0.9, 400)
    right = np.ones(400, dtype=bool)
    right[np.linspace(250, 390, wrong).astype(int)] = False  # errors among the surer rows: a ranking the wrong way
    y = np.arange(400) % K
    p = np.repeat((1 - confidence)[:, None] / (K - 1), K, axis=1)
    p[np.arange(400), np.where(right, y, (y + 1) % K)] = confidence
    assert ("poor-ranking" in audit(p, y)[1]) == found


@pytest.mark.parametrize(
    ("rows", "tied", "found"), [(4000, 5, True), (6000, 5, False), (500, 2, True), (500, 1, False)]
)
def test_ties_are_a_finding_from_one_row_in_a_thousand_on_and_not_for_a_single_row(rows, tied, found):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(rows, K))
    z[:tied] = [1.0, 1.0, 0.0, 0.0]
    names = [finding.code for finding in ev.audit(logits=z, labels=z.argmax(axis=1)).findings]
    assert ("tied-scores" in names) == found


@pytest.mark.parametrize(("rows", "wrong", "said"), [(1000, 1, True), (1000, 2, False), (999, 0, False)])
def test_held_out_rows_that_are_nearly_all_right_are_asked_about(rows, wrong, said):
    p, y = model((rows, 0.9, 1 - wrong / rows))
    notes = texts(ev.audit(probs=p, labels=y).notes)
    assert any("if the model was trained on these rows, say so" in note for note in notes) == said


@pytest.mark.parametrize("kind", ["probs", "logits"])
def test_labels_of_probability_0_are_the_first_finding_with_their_number_and_the_first_row(kind):
    p, y = model((400, 0.9, 0.8))
    p[[7, 9], y[[7, 9]]] = 0.0
    p /= p.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        found = ev.audit(**{kind: np.log(p) if kind == "logits" else p}, labels=y)
    assert found.findings[0].code == "infinite-loss"
    assert found.findings[0].text == (
        "The label has probability 0 in row 7, so the log loss (NLL) is infinite at every temperature; 2 rows are so "
        "(7, 9)."
    )
    assert ("numpy.clip(p, 1e-6, 1)" in found.findings[0].advice) == (kind == "probs")
    assert found.summary[0].startswith(
        "The model's probabilities cannot be used as they are: in 2 of 400 rows it gives the label probability 0"
    )
    assert found.summary[1] == found.findings[0].advice


def test_an_infinite_log_loss_of_soft_labels_names_the_row_among_all_that_were_given():
    p, y = model((400, 0.8, 0.8))
    counts = 3 * np.eye(K, dtype=int)[y]
    counts[0] = 0  # nobody labelled this row, so it does not count
    p[5] = np.eye(K)[(y[5] + 1) % K]
    found = ev.audit(probs=p, label_counts=counts)
    assert found.findings[0].text.startswith("A class that annotators chose has probability 0 in row 5, so")
    assert "in 1 of 399 rows it gives a class that annotators chose probability 0" in found.summary[0]


Y = np.arange(500) % 3
Z = 2 * np.eye(3)[Y] + np.random.default_rng(0).normal(size=(500, 3))


@pytest.mark.parametrize(
    ("logits", "advice"),
    [
        (1e-4 * Z, "The logits are too small for this range: multiply them by 1000 "),
        (1e5 * Z, "The logits are too large for this range: divide them by 1000 "),
        (-Z, "The model's order of the classes says less than chance: "),
        (6 * np.eye(3)[Y] + Z, "No row is wrong, so nothing limits the confidence; "),
    ],
    ids=["small", "large", "turned", "right"],
)
def test_a_temperature_without_an_optimum_is_told_with_its_cause(logits, advice):
    (found,) = [
        finding for finding in ev.audit(logits=logits, labels=Y).findings if finding.code == "no-optimal-temperature"
    ]
    assert found.advice.startswith(advice)


@pytest.mark.parametrize("kind", ["heldout", "train"])
def test_a_model_that_always_names_one_class_is_not_called_smoothed(kind):
    found = ev.audit(logits=np.tile([1.0, 2.0, 3.0], (500, 1)), labels=Y, rows=kind)
    assert found.evidence.answer == "cannot tell"
    assert found.evidence.reason.startswith("the model names class 2 in every row, whatever the label")
    of_one = ev.audit(logits=4 * np.eye(3)[Y * 0] + 0.1 * Z, labels=Y * 0, rows=kind)  # these rows have one label, too
    assert of_one.evidence.answer == "strength"


@pytest.mark.parametrize(("rows", "advice"), [(20, "Use more rows, at least 100"), (100, "Check that labels")])
def test_of_few_rows_more_are_asked_for_also_where_the_model_is_as_good_as_the_commonest_label(rows, advice):
    found = ev.audit(logits=np.tile([1.0, 2.0, 3.0], (rows, 1)), labels=np.full(rows, 2))
    assert found.findings[0].advice.startswith(advice)


def rare(share, know, *, n=6000, classes=2, seed=0):
    """Probabilities of rare events that are true, and what happened; ``know`` is how far they differ between rows."""
    rng = np.random.default_rng(seed)
    z = np.column_stack([np.full(n, np.log((1 - share) / share)), *know * rng.normal(size=(classes - 1, n))])
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    return p, (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=classes - 1)


@pytest.mark.parametrize(
    ("p", "y", "known"),
    [
        (*rare(0.02, 1.0), True),
        (*rare(0.026, 1.0, seed=1), True),
        (*rare(0.05, 0.7, seed=2), True),
        (*rare(0.01, 1.5, n=20_000, seed=3), True),
        (*rare(0.03, 1.0, classes=4, seed=4), True),
        (rare(0.02, 1.0)[0], rare(0.02, 1.0, seed=5)[1], False),  # of other rows
        (rare(0.03, 1.0, classes=4)[0], rare(0.03, 1.0, classes=4, seed=6)[1], False),
        (*rare(0.02, 0.0), False),
        (rare(0.02, 1.0)[0] ** 4 / (rare(0.02, 1.0)[0] ** 4).sum(axis=1, keepdims=True), rare(0.02, 1.0)[1], True),
    ],
)
def test_a_log_loss_below_that_of_the_class_shares_passes_where_accuracy_can_show_nothing(p, y, known):
    found = ev.audit(probs=p, labels=y)
    assert found.metrics["accuracy"].low <= np.bincount(y).max() / len(y)
    assert ("no-better-than-commonest" in {each.code for each in found.findings}) != known
    assert ("accuracy-says-little" in {note["code"] for note in found.notes}) == known


@pytest.mark.parametrize("wrong", [0.0, 0.02])
def test_a_temperature_is_named_for_a_smoothed_model_only_where_it_has_an_optimum(wrong):
    found = ev.audit(**smoothed(2000, 10, 0.2, 0.1, 0, wrong=wrong), rows="train")
    (advice,) = (each.advice for each in found.findings if each.code == "smoothed")
    assert ("need the temperature" in advice) == (wrong > 0)
    assert "0.001" not in advice


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.eye(K)[Y], r"give labels\.argmax\(axis=-1\)"),
        (np.eye(K, dtype=int)[Y], r"give labels\.argmax\(axis=-1\)"),
        (np.eye(K)[Y] == 1, r"give labels\.argmax\(axis=-1\)"),
        (np.maximum(np.eye(K)[Y], np.eye(K)[0]), "they are multi-label, since a row has 1 to 2 classes"),
        (np.zeros((500, K)), "they are multi-label, since a row has 0 to 0 classes"),
        ((np.random.default_rng(0).random((500, K)) < 0.3).astype(int), "multi-label, since a row has 0 to "),
        (0.9 * np.eye(K)[Y] + 0.1 / K, "give labels that are distributions as label_probs"),
        (3 * np.eye(K, dtype=int)[Y], "counts of annotators as label_counts"),
    ],
)
def test_labels_of_several_classes_are_named_with_the_way_out(labels, said):
    with pytest.raises(ValueError, match=said):
        ev.audit(logits=np.random.default_rng(0).normal(size=(500, K)), labels=labels)
