"""Every number against soft labels: by its definition, and equal to that of the hard label where q is one-hot."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax, xlogy

import sfumato.evaluate as ev
from sfumato.evaluate.metrics.calibration import by_chance, draws_of_a_row, ece_without_each, in_bins
from sfumato.evaluate.metrics.registry import compute_metric, compute_metrics
from sfumato.evaluate.metrics.selective import RankedGroups, best_area, best_area_of, best_area_part
from sfumato.evaluate.metrics.temperature import NllSlope, jackknife
from sfumato.evaluate.scores.measure import measure
from sfumato.evaluate.scores.soft_labels import SoftLabels, Truth
from sfumato.report.audit_page import numbers_table
from tests.limits import examples

SOFT_ONLY = {"agreement", "kl", "kl_after_temperature"}


def sample(n=300, k=7, seed=0, annotators=9):
    """Logits, and counts of annotators who draw from probabilities near those of the model."""
    rng = np.random.default_rng(seed)
    z = 2 * rng.normal(size=(n, k))
    p = softmax(z / 1.5 + 0.7 * rng.normal(size=(n, k)), axis=1)
    return z, np.stack([rng.multinomial(annotators, row) for row in p])


def by_hand(z, q):
    """The metrics by their definitions, in numpy, without the package."""
    p, logp, n = softmax(z, axis=1), log_softmax(z, axis=1), len(z)
    top, conf = z.argmax(axis=1), p.max(axis=1)
    agreed = q[np.arange(n), top]
    nll = -(q * logp).sum(axis=1)

    def binned(score, right):
        of = np.clip(np.ceil(score * 15).astype(int), 1, 15)
        return sum(abs((score[of == b] - right[of == b]).sum()) for b in range(1, 16))

    risk = (1 - agreed)[np.argsort(-conf)]
    best = np.sort(risk)
    s = np.arange(n + 1) / n
    area = np.diff(s - xlogy(s, s))
    aurc = (np.cumsum(risk) / np.arange(1, n + 1)).mean()
    return {
        "accuracy": (top == q.argmax(axis=1)).mean(),
        "agreement": agreed.mean(),
        "nll": nll.mean(),
        "kl": (nll + xlogy(q, q).sum(axis=1)).mean(),
        "brier": ((p - q) ** 2).sum(axis=1).mean(),
        "ece": binned(conf, agreed) / n,
        "signed_gap": (conf - agreed).mean(),
        "aurc": aurc,
        "eaurc": aurc - best @ area,
        "augrc": ((np.cumsum(risk) - risk / 2) / n).mean(),
    }


def test_every_metric_is_what_its_definition_gives():
    z, counts = sample()
    found = ev.evaluate(logits=z, label_counts=counts).to_dict()
    truth = by_hand(z, counts / counts.sum(axis=1, keepdims=True))
    assert {name: found[name] for name in truth} == pytest.approx(truth, abs=1e-12)


def test_cross_entropy_divergence_and_brier_score_of_a_row_are_those_of_mpmath():
    z, q = np.array([[31.0, 0.5, -8.0, 2.25]]), np.array([[0.9375, 0.03125, 0.0, 0.03125]])
    rows = measure(logits=z, label_probs=q).rows
    with mpmath.workdps(50):
        e = [mpmath.exp(mpmath.mpf(float(v))) for v in z[0]]
        p, own = [v / sum(e) for v in e], [mpmath.mpf(float(v)) for v in q[0]]
        nll = -sum(a * mpmath.log(b) for a, b in zip(own, p, strict=True))
        kl = sum(a * mpmath.log(a / b) for a, b in zip(own, p, strict=True) if a)
        brier = sum((a - b) ** 2 for a, b in zip(own, p, strict=True))
        slope = sum((b - a) * mpmath.mpf(float(v)) for a, b, v in zip(own, p, z[0], strict=True))
        truth = [float(v) for v in (nll, kl, brier, slope)]
    assert [rows.nll[0], rows.kl[0], rows.brier[0], rows.slope[0]] == pytest.approx(truth, rel=4e-15)


def test_a_class_without_mass_may_be_ruled_out_and_one_with_mass_costs_infinity():
    z = np.array([[1.0, -np.inf, 0.0], [1.0, -np.inf, 0.0]])
    rows = measure(logits=z, label_counts=[[1, 0, 1], [2, 1, 0]]).rows
    truth = -log_softmax([1.0, 0.0]).mean()
    assert rows.nll.tolist() == [pytest.approx(truth, abs=1e-15), np.inf]


def test_the_fit_names_the_row_whose_mass_lies_on_a_class_that_is_ruled_out_however_little():
    z, q = np.zeros((3, 3)), np.tile([0.5, 0.5, 0.0], (3, 1))
    z[2, 1], q[2] = -np.inf, [1 - 1e-9, 1e-9, 0.0]
    with pytest.raises(ValueError, match="logit is −inf in row 2"):
        NllSlope(z, Truth(q.argmax(axis=1), SoftLabels(q, "label_probs")))


def drawn(draw):
    n, k = draw(st.integers(2, 40)), draw(st.integers(2, 9))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, k)) * draw(st.sampled_from([0.1, 1.0, 5.0, 60.0]))
    if draw(st.booleans()):
        z = np.round(z)  # ties
    return rng, z


@examples(60)
@given(st.data())
def test_one_hot_soft_labels_give_every_number_of_the_hard_labels(data):
    rng, z = drawn(data.draw)
    y = rng.integers(z.shape[1], size=len(z))
    hot = np.eye(z.shape[1], dtype=data.draw(st.sampled_from([np.int64, np.float32, np.float64])))[y]
    name = data.draw(st.sampled_from(["label_probs", "label_counts"]))
    hard = compute_metrics(measure(logits=z, labels=y), parts=True)
    soft = compute_metrics(measure(logits=z, **{name: hot}), parts=True)
    assert set(soft) - set(hard) == {
        each for each in SOFT_ONLY if not each.endswith("e") or "nll_after_temperature" in hard
    }
    for metric, truth in hard.items():
        found = soft[metric]
        assert [found.value, found.low, found.high] == pytest.approx(
            [truth.value, truth.low, truth.high], rel=1e-12, abs=1e-12, nan_ok=True
        ), metric
        if truth.part is not None:
            np.testing.assert_allclose(found.part, truth.part, rtol=1e-9, atol=1e-12, err_msg=metric)
    assert soft["kl"].value == soft["nll"].value
    assert soft["agreement"].value == soft["accuracy"].value
    columns = measure(logits=z, labels=y).rows, measure(logits=z, label_counts=3 * hot.astype(int)).rows
    for column, truth in vars(columns[0]).items():
        if column == "of_classes":
            continue
        assert np.array_equal(getattr(columns[1], column), truth, equal_nan=True), column
    assert np.array_equal(columns[1].right, columns[0].right)


@examples(40)
@given(st.data())
def test_the_divergence_is_never_negative_and_0_for_the_models_own_probabilities(data):
    rng, z = drawn(data.draw)
    other = rng.dirichlet(np.ones(z.shape[1]), len(z))
    assert (measure(logits=z, label_probs=other).rows.kl >= 0).all()
    own = measure(logits=np.clip(z, -20, 20), label_probs=softmax(np.clip(z, -20, 20), axis=1)).rows
    assert own.kl == pytest.approx(np.zeros(len(z)), abs=1e-13)


def test_counts_and_the_probabilities_that_they_are_give_the_same_numbers():
    z, counts = sample()
    q = counts / counts.sum(axis=1, keepdims=True)
    found, truth = ev.evaluate(logits=z, label_counts=counts).to_dict(), ev.evaluate(logits=z, label_probs=q).to_dict()
    assert found == pytest.approx(truth, abs=1e-12)


@pytest.mark.parametrize("scores", ["logits", "probs"])
def test_rows_without_annotators_are_as_if_they_were_not_there(scores):
    z, counts = sample()
    counts[[0, 17, 299]] = 0
    keep = counts.sum(axis=1) > 0
    given = z if scores == "logits" else softmax(z, axis=1)
    found = ev.evaluate(**{scores: given}, label_counts=counts)
    assert found == ev.evaluate(**{scores: given[keep]}, label_counts=counts[keep])


def test_rows_without_annotators_leave_groups_features_and_the_other_model_of_an_audit():
    z, counts = sample()
    counts[[3, 8]] = 0
    keep, rng = counts.sum(axis=1) > 0, np.random.default_rng(1)
    more = {
        "features": rng.normal(size=(300, 4)),
        "group": np.arange(300) // 3,
        "against": z + rng.normal(size=z.shape),
    }
    found = ev.audit(logits=z, label_counts=counts, **more).to_dict()
    truth = ev.audit(logits=z[keep], label_counts=counts[keep], **{name: each[keep] for name, each in more.items()})
    told = "Rows without annotators do not count; 298 rows are left."
    found["notes"].remove({"code": "rows-ignored", "text": told})
    found["reading"].remove(told)
    assert found == truth.to_dict()


def test_the_temperature_is_that_of_least_cross_entropy():
    z, counts = sample()
    q = counts / counts.sum(axis=1, keepdims=True)
    best = minimize_scalar(
        lambda t: -(q * log_softmax(z / np.exp(t), axis=1)).sum(), bounds=(-3, 3), options={"xatol": 1e-12}
    )
    assert ev.evaluate(logits=z, label_counts=counts).temperature == pytest.approx(np.exp(best.x), rel=1e-6)
    # of annotators who disagree there is an optimum also where no prediction is wrong
    found = ev.evaluate(logits=z, label_probs=0.8 * np.eye(7)[z.argmax(axis=1)] + 0.2 / 7)
    assert (found.accuracy, found.temperature_at_bound) == (1.0, False)


def test_numbers_after_temperature_are_cross_fitted_cross_entropies():
    z, counts = sample()
    found = measure(logits=z, label_counts=counts)
    assert found.after is not None
    psi = jackknife(NllSlope(z, Truth(counts.argmax(axis=1), SoftLabels(counts, "label_counts"))), found.fitted.value)
    assert psi.mean() == pytest.approx(found.fitted.value, rel=1e-8)
    q, log_p = counts / counts.sum(axis=1, keepdims=True), log_softmax(z / found.fitted.value, axis=1)
    assert found.after.nll.mean() == pytest.approx(-(q * log_p).sum(axis=1).mean(), rel=5e-3)
    assert (found.after.nll != -(q * log_p).sum(axis=1)).any()


@pytest.mark.parametrize("name", ["aurc", "eaurc", "augrc", "risk_at_80_coverage", "ece", "brier", "nll", "kl"])
def test_what_a_row_adds_is_the_derivative_of_the_metric_in_the_number_of_its_copies(name):
    z, counts = sample(n=40, k=4, seed=3)
    copies = np.full(40, 100)

    def found(copies):
        rows = np.repeat(np.arange(40), copies)
        return compute_metric(name, measure(logits=z[rows], label_counts=counts[rows]))

    own = found(copies)
    for row in (0, 11, 39):
        up, down = (found(copies + sign * (np.arange(40) == row)).value for sign in (1, -1))
        assert own.part[100 * row] == pytest.approx((up - down) / 2 * copies.sum() + own.value, abs=2e-5)


@examples(60)
@given(st.integers(2, 30), st.integers(0, 10**6), st.booleans())
def test_leaving_a_row_out_is_exact(n, seed, tied):
    rng = np.random.default_rng(seed)
    score, right = rng.uniform(0, 1, n), rng.integers(0, 5, n) / 4 * rng.uniform(0.5, 1)
    if tied:
        score = np.round(score, 1)
    g = RankedGroups(score, right)
    for found, value in (
        (g.aurc_without_each(), lambda keep: RankedGroups(score[keep], right[keep]).aurc()),
        (g.eaurc_without_each(), lambda keep: RankedGroups(score[keep], right[keep]).eaurc()),
    ):
        assert found == pytest.approx([value(np.arange(n) != row) for row in range(n)], abs=1e-12)
    of = np.maximum(np.searchsorted(np.linspace(0, 1, 16), score, side="left") - 1, 0)
    off = score - right
    left = [sum(abs(off[(of == b) & (np.arange(n) != row)].sum()) for b in range(15)) / (n - 1) for row in range(n)]
    assert ece_without_each(score, right, 15) == pytest.approx(left, abs=1e-12)


@pytest.mark.parametrize("r", [0.0, 0.25, 1.0])
def test_the_best_order_of_rows_that_are_right_or_wrong_has_the_closed_form(r):
    risk = (np.arange(40) < 40 * r).astype(float)
    assert best_area_of(risk) == pytest.approx(float(best_area(np.asarray(r))), abs=1e-14)


def test_the_best_order_is_the_integral_of_sorted_risks_against_minus_the_logarithm():
    risk = np.array([0.5, 0.1, 0.9, 0.1])
    with mpmath.workdps(30):
        truth = sum(
            r * mpmath.quad(lambda s: -mpmath.log(s), [mpmath.mpf(i) / 4, mpmath.mpf(i + 1) / 4])
            for i, r in enumerate(sorted(risk.tolist()))
        )
    assert best_area_of(risk) == pytest.approx(float(truth), abs=1e-12)


def test_no_order_of_soft_rows_beats_the_best_one_by_more_than_one_row():
    risk = np.random.default_rng(2).uniform(size=5000)
    assert RankedGroups(-risk, 1 - risk).eaurc() == pytest.approx(0.0, abs=2e-3)
    assert RankedGroups(np.arange(5000.0), 1 - risk).eaurc() > 0.1
    assert best_area_part(risk).mean() == pytest.approx(best_area_of(risk), abs=1e-12)


def test_the_noise_floor_is_the_error_of_calibrated_models_at_the_spread_that_the_soft_labels_have():
    rng = np.random.default_rng(5)
    errors, floors = [], []
    for _ in range(600):
        conf = rng.uniform(0.4, 1.0, 800)
        agreed = rng.binomial(5, conf) / 5  # five annotators each
        errors.append(np.abs(np.bincount(np.ceil(conf * 15).astype(int), weights=conf - agreed)).sum() / 800)
        floors.append(by_chance(conf, agreed, 15).mean)
    assert np.mean(floors) == pytest.approx(np.mean(errors), rel=0.05)
    assert ev.noise_floor(conf).mean > 1.8 * np.mean(floors)  # that of hard labels, which vary more


@pytest.mark.parametrize(("annotators", "spread"), [(2, 10), (5, 3), (50, 1), (50, 10)])
def test_intervals_of_bins_hold_the_truth_as_often_as_they_say(annotators, spread):
    """Annotators draw from a probability that itself varies about the confidence by a Beta distribution."""
    rng, held, narrower = np.random.default_rng(6), [], []
    for _ in range(60):
        conf = rng.beta(4, 1.6, 1000)
        q = rng.binomial(annotators, rng.beta(spread * conf, spread * (1 - conf))) / annotators
        table, full = in_bins(conf, q), np.bincount(np.ceil(conf * 15).astype(int) - 1, minlength=15) >= 10
        held += ((table.low <= table.confidence) & (table.confidence <= table.high))[full].tolist()
        low, high = ev.wilson(table.accuracy[full], table.count[full])
        narrower.append(np.mean((table.high - table.low)[full] / (high - low)))
    assert 0.93 < np.mean(held) < 0.975
    assert np.mean(narrower) < 0.8


def test_hard_labels_are_worth_one_draw_each():
    rng = np.random.default_rng(7)
    bin_ = rng.integers(0, 15, 500)
    assert draws_of_a_row(rng.random(500) < 0.7, bin_) == 1
    assert draws_of_a_row(np.full(20, 0.6), bin_[:20]) == 1  # nothing shows how rows vary
    assert draws_of_a_row(np.array([0.2, 0.9]), np.array([3, 4])) == 1


def test_an_overconfident_model_is_told_how_far_annotators_agree():
    z, counts = sample(n=2000)
    found = ev.audit(logits=4 * z, label_counts=counts)
    mean = found.metrics["signed_gap"].value + found.metrics["agreement"].value
    assert found.findings[0].code == "over-confident"
    assert f"it claims {100 * mean:.1f} % and agrees with" in found.findings[0].text
    assert "of the annotators, a difference of +" in found.findings[0].text
    assert (found.evidence.smoothing, found.evidence.answer) == (None, "cannot tell")
    assert found.evidence.sentence.startswith("The labels of these rows are soft")
    labels = [row.label for row in numbers_table(found.to_dict()).rows]
    assert "rows answered at 1 % disagreement (coverage)" in labels
    assert not any("wrong" in label for label in labels)


def test_an_audit_where_annotators_disagree_does_not_blame_the_ranking():
    rng = np.random.default_rng(0)
    top = rng.integers(3, size=1000)
    lead = rng.uniform(2, 4, 1000)
    wrong = rng.random(1000) < np.exp(-lead)  # the surer, the less often wrong
    z = lead[:, None] * np.eye(3)[top]
    q = 0.6 * np.eye(3)[np.where(wrong, (top + 1) % 3, top)] + 0.4 / 3
    assert "poor-ranking" not in [finding.code for finding in ev.audit(logits=z, label_probs=q).findings]


def test_a_metric_of_soft_labels_is_missing_for_hard_ones_and_says_what_it_needs():
    z, counts = sample()
    assert ev.metric("kl", logits=z, label_counts=counts).value == ev.evaluate(logits=z, label_counts=counts).kl
    with pytest.raises(ValueError, match="have no kl: it needs label_probs or label_counts"):
        ev.metric("kl", logits=z, labels=counts.argmax(axis=1))


@pytest.mark.parametrize("risk", [0.2, 0.3, 0.35])
def test_coverages_of_tied_rows_are_shares_of_the_rows_and_not_of_the_groups(risk):
    rng = np.random.default_rng(8)
    score, q = np.round(rng.random(200), 1), rng.binomial(5, 0.7, 200) / 5
    q[score > 0.6] = 0.9
    kept = [score >= t for t in np.unique(score)[::-1]]
    rows, wrong = (np.array([each[k].sum() for k in kept]) for each in (np.ones(200), 1 - q))
    low, high = ev.wilson(wrong / rows, rows)
    groups = RankedGroups(score, q)
    assert 0.1 < groups.coverage_at(risk) == pytest.approx(rows[wrong / rows <= risk].max() / 200)
    ends = [rows[bound <= risk].max(initial=0) / 200 for bound in (high, low)]
    assert groups.coverage_interval(risk) == pytest.approx(ends)
    assert groups.risk_at(0.45) == pytest.approx(np.interp(90, np.append(0, rows), np.append(0, wrong)) / 90)


def test_the_curve_of_an_audit_ends_where_all_rows_are_answered():
    z, counts = sample(n=400)
    z = np.clip(np.round(z), 0, 1)  # so that many rows are equally sure
    found = ev.audit(logits=z, label_counts=counts)
    curve, rows = found.figures["risk"], ev.per_row(logits=z, labels=z.argmax(axis=1))
    agreed = (counts / counts.sum(axis=1, keepdims=True))[np.arange(400), rows.predicted]
    levels = np.unique(rows.score)[::-1]
    assert len(levels) < 200
    kept = [rows.score >= level for level in levels]
    assert curve["coverage"] == pytest.approx([k.mean() for k in kept])
    assert curve["risk"] == pytest.approx([1 - agreed[k].mean() for k in kept])
    assert curve["best"][-1] == pytest.approx(1 - found.metrics["agreement"].value)
