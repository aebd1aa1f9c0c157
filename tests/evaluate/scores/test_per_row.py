"""Columns of a row of logits: against mpmath, against torch's own functions on tame rows, and at the edges."""

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sfumato.evaluate as ev


def exact(z, y, temperature=1.0):
    """Confidence, log confidence, NLL, Brier and gap of one row with 60 digits."""
    with mpmath.workdps(400):
        z = [mpmath.mpf(float(v)) / mpmath.mpf(temperature) for v in z]
        e = [mpmath.exp(v) for v in z]
        total = mpmath.fsum(e)
        p = [v / total for v in e]
        brier = mpmath.fsum((v - (k == y)) ** 2 for k, v in enumerate(p))
        others = mpmath.fsum(v for k, v in enumerate(z) if k != y) / (len(z) - 1)
        best = max(p)
        return tuple(float(v) for v in (best, mpmath.log(best), -mpmath.log(p[y]), brier, z[y] - others))


def columns(rows, i=0):
    return tuple(float(c[i]) for c in (rows.confidence, rows.log_confidence, rows.nll, rows.brier, rows.gap))


logit = st.floats(-60, 60, allow_nan=False)
rows_and_labels = st.lists(logit, min_size=2, max_size=6).flatmap(
    lambda z: st.tuples(st.just(z), st.integers(0, len(z) - 1))
)


@given(rows_and_labels, st.sampled_from([0.3, 1.0, 2.5]))
def test_columns_of_a_row_are_mpmaths(row, temperature):
    z, y = row
    found = columns(ev.per_row(logits=np.array([z]), labels=np.array([y]), temperature=temperature))
    # the shift z − max rounds, which costs a unit of the gap itself
    np.testing.assert_allclose(found, exact(z, y, temperature), rtol=1e-12, atol=1e-13)


def test_digits_of_confident_rows_survive_and_score_orders_them():
    leads = [30.0, 40.0, 100.0, 300.0, 700.0]
    rows = ev.per_row(logits=np.array([[lead, 0.0, 0.0] for lead in leads]), labels=np.zeros(5, dtype=int))
    for i, lead in enumerate(leads):
        np.testing.assert_allclose(columns(rows, i), exact([lead, 0.0, 0.0], 0), rtol=1e-14, atol=0)
    assert (rows.confidence[1:] == 1.0).all()
    assert (np.diff(rows.score) > 0).all()


def test_a_lead_of_800_costs_a_wrong_row_800_nats():
    rows = ev.per_row(logits=np.array([[800.0, 0.0], [800.0, 0.0]]), labels=np.array([0, 1]))
    assert rows.nll.tolist() == [0.0, 800.0]
    assert rows.brier.tolist() == [0.0, 2.0]
    assert rows.gap.tolist() == [800.0, -800.0]


def test_columns_agree_with_torch_on_tame_rows():
    g = torch.Generator().manual_seed(1)
    z, y = torch.randn(50, 7, generator=g, dtype=torch.float64), torch.randint(7, (50,), generator=g)
    rows = ev.per_row(logits=z, labels=y)
    p = z.softmax(1)
    np.testing.assert_allclose(rows.nll, torch.nn.functional.cross_entropy(z, y, reduction="none"), rtol=1e-12)
    np.testing.assert_allclose(rows.confidence, p.max(1).values, rtol=1e-12)
    np.testing.assert_allclose(rows.brier, (p - torch.nn.functional.one_hot(y, 7)).square().sum(1), rtol=1e-12)
    np.testing.assert_array_equal(rows.predicted, z.argmax(1))
    np.testing.assert_array_equal(rows.correct, z.argmax(1) == y)
    np.testing.assert_array_equal(rows.rank, (z > z.gather(1, y[:, None])).sum(1))
    np.testing.assert_allclose(rows.norm, (z - z.mean(1, keepdim=True)).norm(dim=1), rtol=1e-12)


def test_ties_go_to_the_first_class():
    rows = ev.per_row(logits=np.array([[1.0, 1.0, 1.0, 0.0]] * 3), labels=np.array([0, 1, 2]))
    assert rows.predicted.tolist() == [0, 0, 0]
    assert rows.rank.tolist() == [0, 1, 2]
    assert rows.correct.tolist() == [True, False, False]


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32", "numpy16", "numpy32", "strided", "readonly"])
def test_every_input_type_gives_the_float64_numbers_of_its_values(kind):
    z = (np.arange(24).reshape(6, 4) % 7) / 4.0
    y = np.array([0, 1, 2, 3, 0, 1])
    readonly = z.copy()
    readonly.setflags(write=False)
    given_ = {
        "float16": torch.tensor(z).half(),
        "bfloat16": torch.tensor(z).bfloat16(),
        "float32": torch.tensor(z).float().requires_grad_(),
        "numpy16": z.astype(np.float16),
        "numpy32": z.astype(np.float32),
        "strided": np.repeat(z, 2, axis=1)[:, ::2],
        "readonly": readonly,
    }[kind]
    assert ev.per_row(logits=given_, labels=y).nll.tolist() == ev.per_row(logits=z, labels=y).nll.tolist()


def test_probabilities_are_logits_through_their_logarithm():
    p = np.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]])
    rows = ev.per_row(probs=p, labels=np.array([0, 1]))
    np.testing.assert_allclose(rows.nll, -np.log([0.7, 0.25]), rtol=1e-14)
    np.testing.assert_allclose(rows.gap, [np.log(0.7) - np.log(0.02) / 2, np.log(0.25) - np.log(0.125) / 2], rtol=1e-14)


def test_a_class_ruled_out_or_of_probability_0_costs_nothing_unless_it_is_the_label():
    rows = ev.per_row(logits=np.array([[1.0, 0.0, -np.inf]] * 2), labels=np.array([0, 2]))
    assert rows.nll[0] == pytest.approx(np.log1p(np.exp(-1)), rel=1e-14)
    assert rows.gap[0] == np.inf
    assert rows.nll[1] == np.inf
    assert rows.brier[1] == pytest.approx(1 + (1 + np.exp(-2)) / (1 + np.exp(-1)) ** 2, rel=1e-14)
    assert ev.per_row(probs=np.array([[1.0, 0.0]]), labels=np.array([1])).nll[0] == np.inf


def test_rows_do_not_depend_on_where_chunks_end(monkeypatch):
    z = np.random.default_rng(0).normal(size=(37, 5))
    y = np.arange(37) % 5
    whole = ev.per_row(logits=z, labels=y)
    monkeypatch.setattr("sfumato.evaluate.scores.score_matrix.CHUNK_ELEMENTS", 20)
    parts = ev.per_row(logits=z, labels=y)
    np.testing.assert_allclose(parts.nll, whole.nll, rtol=1e-14)
    np.testing.assert_array_equal(parts.predicted, whole.predicted)


def test_inputs_and_random_states_are_left_alone():
    z, y = torch.randn(20, 3, dtype=torch.float64), torch.arange(20) % 3
    given_, before, state = z.clone(), torch.get_rng_state(), np.random.get_state()[1].copy()
    ev.evaluate(logits=z, labels=y)
    assert torch.equal(z, given_)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


TWO = np.array([[1.0, 0.0], [0.0, 1.0]])
Y2 = np.array([0, 1])


@pytest.mark.parametrize(
    ("scores", "labels", "error", "message"),
    [
        ({}, Y2, TypeError, "exactly one of logits= and probs="),
        ({"logits": TWO, "probs": TWO}, Y2, TypeError, "exactly one of logits= and probs="),
        ({"logits": TWO.astype(int)}, Y2, TypeError, "logits must be of a float type, got int64"),
        ({"logits": torch.ones(2, 2).int()}, Y2, TypeError, r"got int32; give logits.float\(\)$"),
        ({"logits": TWO}, torch.tensor([True, False]), TypeError, r"got bool; give labels.long\(\)$"),
        ({"logits": TWO[0]}, Y2, ValueError, r"logits must be \(N, K\), got shape \(2,\)"),
        ({"logits": TWO[:, :1]}, Y2, ValueError, "at least 2 classes, got 1"),
        ({"logits": TWO[:0]}, Y2[:0], ValueError, "logits has no rows"),
        ({"logits": TWO}, Y2[:1], ValueError, r"labels must be \(2,\), one per row of logits, got shape \(1,\)"),
        ({"logits": TWO}, Y2 * 1.0, TypeError, "labels must be integers, got float64$"),
        ({"logits": TWO}, np.array(["no", "yes"]), TypeError, r"<U3; of words: np.searchsorted\(classes, labels\)$"),
        ({"logits": TWO}, np.array([0, 2]), IndexError, r"label 2 in row 1 is not a class: logits have 2 classes \(0"),
        ({"logits": TWO}, np.array([-100, 0]), IndexError, "label -100 in row 0 is not a class"),
        ({"logits": np.array([[0.0, 1.0], [0.0, np.nan]])}, Y2, ValueError, "row 1 are not finite: nan at class 1"),
        ({"logits": np.array([[0.0, 1.0], [np.inf, 0.0]])}, Y2, ValueError, "row 1 are not finite: inf at class 0"),
        ({"logits": np.array([[-np.inf, -np.inf]])}, Y2[:1], ValueError, "row 0 are −inf for every class"),
        ({"probs": np.array([[0.5, 0.5], [1.5, -0.5]])}, Y2, ValueError, "negative in row 1: -0.5 at class 1"),
        ({"probs": np.array([[0.5, 0.5], [0.6, 0.6]])}, Y2, ValueError, "probs in row 1 sum to 1.2, not 1"),
        ({"probs": np.array([[np.nan, 0.5]])}, Y2[:1], ValueError, "not a number in row 0, class 0"),
        ({"logits": TWO, "temperature": 0.0}, Y2, ValueError, "temperature must be positive and finite, got 0"),
    ],
)
def test_wrong_input_is_named(scores, labels, error, message):
    with pytest.raises(error, match=message):
        ev.per_row(**scores, labels=labels)


def test_the_gap_at_the_optimum_is_the_closed_form():
    eps, k = 0.1, 10
    q = np.full((k, k), eps / (k - 1))
    np.fill_diagonal(q, 1 - eps)
    gap = np.log((k - 1) * (1 - eps) / eps)
    np.testing.assert_allclose(ev.logit_gap(np.log(q), np.arange(k)), gap, rtol=1e-14)
    for moved in (0.0, 8.0):  # a constant changes no norm
        np.testing.assert_allclose(
            ev.per_row(logits=np.log(q) + moved, labels=np.arange(k)).norm, gap * np.sqrt((k - 1) / k), rtol=1e-14
        )
