"""Two models on the same rows: which differences are findings, against paired t tests at a level that is shared out."""

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import ttest_rel

import sfumato.evaluate as ev
from sfumato.messages import texts
from sfumato.verdict.judge import judge


def two_models(only_first, only_second, n=2000, k=3):
    """Logits of two models, and labels: each is right alone on so many rows; elsewhere only confidence differs."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % k
    wrong = rng.random(n) < 0.15
    first = rng.normal(size=(n, k)) * 0.1
    first[np.arange(n), np.where(wrong, (y + 1) % k, y)] += 2 + rng.random(n)
    second = first.copy()
    second[np.arange(n), first.argmax(axis=1)] += rng.normal(size=n) * 0.05
    close, rest = np.arange(only_first + only_second), (y + 1) % k
    first[close] = second[close] = 0.0
    ahead = np.where(close < only_first, y[close], rest[close])
    behind = np.where(close < only_first, rest[close], y[close])
    first[close, ahead], first[close, behind] = 1.02, 1.0
    second[close, ahead], second[close, behind] = 1.0, 1.02
    return first, second, y


@pytest.mark.parametrize("kind", ["logits", "probs"])
@pytest.mark.parametrize(("only_first", "only_second"), [(61, 39), (62, 39), (62, 38), (38, 62)])
def test_a_headline_difference_is_a_finding_at_5_percent_shared_by_the_metrics_looked_at(kind, only_first, only_second):
    first, second, y = two_models(only_first, only_second)
    p = ttest_rel(*((z.argmax(axis=1) == y).astype(float) for z in (first, second))).pvalue
    assert p < 0.05  # alone it would always be one
    given = {"logits": first, "probs": softmax(first, axis=1)}
    other = {"logits": second, "probs": softmax(second, axis=1)}
    found = ev.audit(**{kind: given[kind]}, labels=y, against=other[kind], against_kind=kind)
    headline = ["accuracy", "nll_after_temperature", "eaurc"]
    assert set(headline) <= set(found.differences)
    for name in headline[1:]:  # that accuracy alone is in question
        assert found.differences[name].low < 0 < found.differences[name].high, name
    said = [finding.text for finding in found.findings if finding.code == "differs-from-other"]
    accuracy = found.differences["accuracy"]
    assert accuracy.p_adjusted == pytest.approx(min(1, p * len(headline)), rel=0.1)  # few rows differ: ν is smaller
    if accuracy.p_adjusted <= 0.05:
        assert len(said) == 1
        assert f"this one is {'better' if only_first > only_second else 'worse'} in accuracy, by " in said[0]
    else:
        assert said == []
        assert accuracy.finding == ("not worse" if only_first > only_second else "not better")
        assert {note["code"] for note in found.notes} >= {accuracy.finding.replace(" ", "-")}


def test_the_intervals_of_differences_are_those_of_each_alone():
    first, second, y = two_models(61, 39)
    found = ev.audit(logits=first, labels=y, against=second).differences
    columns = [ev.per_row(logits=z, labels=y) for z in (first, second)]
    for name, column in (("accuracy", "correct"), ("nll", "nll"), ("brier", "brier"), ("logit_gap", "gap")):
        part = np.subtract(*(getattr(rows, column).astype(float) for rows in columns))
        truth = ev.estimate_interval(part[None, :])
        assert (found[name].low, found[name].high) == pytest.approx((truth.low, truth.high), rel=1e-3), name


@pytest.mark.parametrize("group", [None, np.arange(600) // 3])
def test_an_audit_against_another_model_finds_what_judge_finds(group):
    rng = np.random.default_rng(2)
    y = rng.integers(0, 3, 600)
    shared = rng.normal(size=(600, 3))
    one, two = (s * np.eye(3)[y] + shared + 0.5 * rng.normal(size=(600, 3)) for s in (1.2, 1.6))
    audited = ev.audit(logits=two, labels=y, against=one, group=group).to_dict()["differences"]
    more = {} if group is None else {"group": group}
    arms = {"one-hot": {"logits": one, "labels": y, **more}, "new": {"logits": two, "labels": y, **more}}
    judged = {row["metric"]: row for row in judge({name: [model] for name, model in arms.items()}).differences}
    for name in ("accuracy", "nll_after_temperature", "eaurc"):
        assert audited[name]["finding"] == judged[name]["finding"]
        for mine in ("value", "low", "high", "p_adjusted", "margin"):
            theirs = judged[name]["mean" if mine == "value" else mine]
            assert audited[name][mine] == (theirs and pytest.approx(theirs, rel=1e-6, abs=1e-9)), (name, mine)


def test_a_ranking_of_few_mistakes_is_not_tested():
    rng = np.random.default_rng(3)
    y = rng.integers(0, 3, 600)
    one, two = (4 * np.eye(3)[y] + s * rng.normal(size=(600, 3)) for s in (1.4, 1.5))
    found = ev.audit(logits=one, labels=y, against=two)
    assert 0 < 600 * (1 - found.metrics["accuracy"].value) < 30
    ranking = found.differences["eaurc"]
    assert (ranking.finding, ranking.p_adjusted) == ("not tested", None)
    assert "not-tested" in {note["code"] for note in found.notes}
    assert sum(each.p_adjusted is not None for each in found.differences.values()) == 2


def test_a_lower_loss_is_better_and_a_higher_one_worse():
    rng = np.random.default_rng(1)
    z = rng.normal(size=(3000, 4)) * 2
    y = np.minimum((softmax(z, axis=1).cumsum(axis=1) < rng.random((3000, 1))).sum(axis=1), 3)
    noisy = z + rng.normal(size=z.shape)
    says = [ev.audit(logits=a, labels=y, against=b).findings[-1].text for a, b in ((z, noisy), (noisy, z))]
    assert "better in log loss after temperature (NLL)" in says[0]
    assert "worse in log loss after temperature (NLL)" in says[1]


def test_eight_copies_of_every_row_in_one_group_are_audited_like_the_rows():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 300)
    one, two = (s * np.eye(4)[labels] + rng.normal(size=(300, 4)) for s in (1.5, 2.0))
    rows = ev.audit(logits=one, labels=labels, against=two)
    tiled = [np.tile(each, (8, 1)) for each in (one, two)]
    copies = ev.audit(logits=tiled[0], labels=np.tile(labels, 8), against=tiled[1], group=np.tile(np.arange(300), 8))
    assert (rows.groups, copies.groups) == (None, 300)
    for name in ("nll", "brier", "eaurc", "nll_after_temperature"):
        for of in ("metrics", "differences"):
            mine, theirs = getattr(copies, of)[name], getattr(rows, of)[name]
            assert mine.high - mine.low == pytest.approx(theirs.high - theirs.low, rel=0.1)
    naive = ev.audit(logits=tiled[0], labels=np.tile(labels, 8)).metrics["nll"]
    assert naive.high - naive.low < 0.4 * (rows.metrics["nll"].high - rows.metrics["nll"].low)


@pytest.mark.parametrize(
    ("group", "said"), [(np.arange(3), r"one value a row, \(300,\)"), (np.zeros(300), "all rows are of one group")]
)
def test_groups_that_do_not_fit_are_refused(group, said):
    labels = np.arange(300) % 4
    with pytest.raises(ValueError, match=said):
        ev.audit(logits=np.eye(4)[labels] * 2, labels=labels, group=group)


@pytest.mark.parametrize("group", [None, np.arange(400) // 4])
@pytest.mark.parametrize("mine", [False, True])
def test_a_log_loss_that_is_infinite_is_said_not_to_be_compared(mine, group):
    rng = np.random.default_rng(0)
    p = softmax(rng.normal(size=(400, 4)), axis=1)
    y = (p.cumsum(axis=1) < rng.random((400, 1))).sum(axis=1)
    zero = p.copy()
    zero[6, y[6]] = 0.0
    zero /= zero.sum(axis=1, keepdims=True)
    found = ev.audit(probs=zero if mine else p, labels=y, against=zero, against_kind="probs", group=group)
    assert list(texts(found.notes)[-2:]) == [
        "The label has probability 0 in row 6, so the log loss (NLL) of the other model is infinite at every "
        "temperature.",
        "An infinite log loss (NLL) cannot be compared, so there is no difference in it.",
    ]
    assert found.to_dict()["differences"]["nll"]["value"] is None
