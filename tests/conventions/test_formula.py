"""Formulas by hand, and against values of the projects' own source (tests/golden/make_convention_values.py)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from sfumato.conventions import FORMULAS, SPREADS, convert, convert_loss, find

K, EPS = 6, 0.2
RNG = np.random.default_rng(12)
Z = 2 * RNG.standard_normal((5, K))
Y = np.array([1, 3, 5, 2, 4])
LOSSES = np.log(np.exp(Z).sum(axis=1))[:, None] - Z  # −log p of every class
N = LOSSES[np.arange(5), Y]  # −log p of the label

DIVISORS = {  # by the words of ``mean``: what the sum of five rows, one of them ignored, is divided by
    "rows that count": 4, "sum of weights": 4, "sum": 1, "all rows": 5, "all positions": 5, "rows × classes": 5 * K,
}  # fmt: skip


@pytest.mark.parametrize("key", [key for key, f in FORMULAS.items() if f.mean.startswith(tuple(DIVISORS))])
def test_rows_are_divided_by_what_the_words_say(key):
    formula = find(key)
    label = formula.ignore_index if formula.ignore_index is not None else -100
    options = {"ignore_index": label} if "ignore_index" in formula.options else {}
    can_ignore = bool(options) or "pad" in formula.options
    labels = np.where(np.arange(5) == 2, label if can_ignore else 0, Y)
    divisor = next(number for words, number in DIVISORS.items() if formula.mean.startswith(words))
    divisor += divisor == 4 and not can_ignore
    rows = formula.rows(Z, labels, EPS, **options)
    assert formula.loss(Z, labels, EPS, **options) == pytest.approx(rows.sum() / divisor, rel=1e-6)


@pytest.mark.parametrize("key", [key for key, f in FORMULAS.items() if f.ignore_index is not None and key != "classy"])
def test_an_ignored_row_is_inert_under_the_label_that_the_words_say(key):
    formula = find(key)
    assert formula.ignore_index == (-100 if "−100" in formula.ignore else 0)
    labels = np.where(np.arange(5) == 2, formula.ignore_index, Y)
    kept = formula.rows(Z[labels == Y], Y[labels == Y], EPS)
    np.testing.assert_allclose(formula.rows(Z, labels, EPS)[labels == Y], kept, rtol=1e-13)
    assert formula.rows(Z, labels, EPS)[2] == 0


def test_classy_vision_trains_an_ignored_row_towards_the_uniform_target():
    labels = np.where(np.arange(5) == 2, -100, Y)
    rows = find("classy").rows(Z, labels, EPS)
    assert rows[2] == pytest.approx(LOSSES[2].mean(), rel=1e-6)
    np.testing.assert_array_equal(rows[labels == Y], find("classy").rows(Z, Y, EPS)[labels == Y])


@pytest.mark.parametrize(
    ("key", "same", "options"),
    [("mbls", "timm.soft", {}), ("maxsup", "torch", {}), ("nls", "torch", {}), ("tfkd.reg", "timm.soft", {}),
     ("keras.focal", "keras.cat", {"alpha": 1.0, "gamma": 0.0}), ("liger", "torch", {}), ("t5x", "flax", {}),
     ("megatron.partition", "megatron", {}), ("paddle", "optax", {})],
)  # fmt: skip
def test_an_option_that_is_left_out_changes_nothing(key, same, options):
    assert find(key).loss(Z, Y, EPS, **options) == pytest.approx(find(same).loss(Z, Y, EPS), rel=1e-12)


def test_keras_focal_factor_is_a_quarter_of_the_square_of_what_is_missing_unless_told_otherwise():
    q = (1 - EPS) * np.eye(K)[Y] + EPS / K
    expected = (0.25 * (1 - np.exp(-LOSSES)) ** 2 * q * LOSSES).sum(axis=1)
    np.testing.assert_allclose(find("keras.focal").rows(Z, Y, EPS), expected, rtol=1e-12)


def test_keras_focal_clips_probabilities_of_logits():
    p, q = np.array([1 - 1e-7, 1e-7, 1e-7]), np.array([0.1, 0.8, 0.1])
    expected = (0.25 * (1 - p) ** 2 * q * -np.log(p)).sum()
    assert find("keras.focal").loss([[25.0, 0.0, -5.0]], [1], 0.3) == pytest.approx(expected, rel=1e-12)


def test_tensor2tensors_gaussian_is_a_density_about_the_label_less_a_constant():
    sigma, low = 1 - EPS, EPS / (K - 1)
    q = stats.norm.pdf(np.arange(K)[None, :], Y[:, None], sigma)
    constant = -(sigma * np.log(sigma) + (K - 1) * low * np.log(low + 1e-20))
    expected = (q * LOSSES).sum(axis=1) - constant
    np.testing.assert_allclose(find("t2t.gaussian").rows(Z, Y, EPS), expected, rtol=1e-12)


def test_online_smoothing_adds_the_cross_entropy_of_the_labels_row_of_its_table():
    table = RNG.dirichlet(np.ones(K), K)
    expected = [N[i] + table[Y[i]] @ LOSSES[i] for i in range(5)]
    np.testing.assert_allclose(find("ols").rows(Z, Y, 0.0, rows_table=table), expected, rtol=1e-12)
    np.testing.assert_allclose(find("ols").rows(Z, Y, 0.0), N + LOSSES.mean(axis=1), rtol=1e-12)


def test_paddle_spreads_over_a_prior():
    prior = RNG.dirichlet(np.ones(K))
    expected = (1 - EPS) * N + EPS * LOSSES @ prior
    np.testing.assert_allclose(find("paddle").rows(Z, Y, EPS, prior=prior), expected, rtol=1e-12)


@pytest.mark.parametrize(("key", "divisor"), [("nemo.snll", 4), ("speechbrain.nll", 5)])
def test_class_weights_on_the_labels_term_alone(key, divisor):
    weight = np.array([3.0, 0.5, 2.0, 1.0, 4.0, 0.25])
    labels, options = Y, {"weight": weight}
    rows = (1 - EPS) * weight[Y] * N + EPS * LOSSES.mean(axis=1)
    if divisor == 4:
        labels, options["ignore_index"] = np.where(np.arange(5) == 2, -1, Y), -1
        rows = np.where(np.arange(5) == 2, 0.0, rows)
    assert find(key).loss(Z, labels, EPS, **options) == pytest.approx(rows.sum() / divisor, rel=1e-8)


OFF = (  # the words of formulas that are plain below 0
    "as torch", "below 0 and NaN mean 0", "below 0 means 0", "below 0 the loss is plain", "up to 0 plain", "the module",
)  # fmt: skip


@pytest.mark.parametrize("key", [key for key, f in FORMULAS.items() if f.outside.startswith(OFF)])
@pytest.mark.parametrize("eps", [-0.3, float("nan")])
def test_a_strength_that_means_0_without_a_word_is_one_hot(key, eps):
    labels = np.eye(K)[Y] if key == "torch.prob" else Y
    coins = (np.logaddexp(0, Z) - np.eye(K)[Y] * Z).sum(axis=1)
    np.testing.assert_allclose(find(key).rows(Z, labels, eps), coins if key == "tf1.sigmoid" else N, rtol=1e-12)


def test_without_smoothing_speechbrains_divergence_is_a_mean_over_every_class_of_label():
    labels = np.where(np.arange(5) == 2, 0, Y)
    expected = LOSSES[np.arange(5), labels]
    for eps in (0.0, -0.3):
        np.testing.assert_allclose(find("speechbrain.kldiv").rows(Z, labels, eps), expected, rtol=1e-12)
        assert find("speechbrain.kldiv").loss(Z, labels, eps) == pytest.approx(expected.mean(), rel=1e-12)


def test_fastai_divides_the_labels_term_by_weights_and_the_smoothing_term_by_rows():
    weight = np.array([3.0, 0.5, 2.0, 1.0, 4.0, 0.25])
    expected = (1 - EPS) * np.average(N, weights=weight[Y]) + EPS * LOSSES.mean()
    assert find("fastai").loss(Z, Y, EPS, weight=weight) == pytest.approx(expected, rel=1e-12)


def test_a_margin_that_is_left_out_is_0():
    far = Z.max(axis=1, keepdims=True) - Z
    np.testing.assert_allclose(find("mbls").rows(Z, Y, 0.0, alpha=0.3), N + 0.3 * far.mean(axis=1), rtol=1e-12)


@pytest.mark.parametrize(
    ("key", "q"),
    [("keras.bin", (0.9, 0.1)), ("tf1.sigmoid", (0.9, 0.1)), ("torch-uncertainty.bce", (0.9, 0.1)),
     ("mm.multi", (0.8, 0.2)), ("smp.bce", (0.8, 0.2)), ("timm.bce", (0.8 + 0.2 / K, 0.2 / K))],
)  # fmt: skip
def test_k_sigmoids_are_averaged_over_classes_and_their_factor_says_so(key, q):
    target = np.where(np.arange(K)[None, :] == Y[:, None], *q)
    p = 1 / (1 + np.exp(-Z))
    coins = -target * np.log(p) - (1 - target) * np.log(1 - p)
    assert find(key).loss(Z, Y, EPS) == pytest.approx(coins.mean(), rel=1e-12)
    assert find(key).factor(K) == 1 / K


def test_flash_attention_adds_its_squared_partition_to_rows_that_count():
    lse = np.log(np.exp(Z).sum(axis=1))
    plain = (1 - EPS) * N + EPS * LOSSES.mean(axis=1)
    np.testing.assert_allclose(find("flash").rows(Z, Y, EPS, z_loss=0.01), plain + 0.01 * lse**2, rtol=1e-12)
    labels = np.where(np.arange(5) == 2, -100, Y)
    assert find("flash").rows(Z, labels, EPS, z_loss=0.01)[2] == 0


@pytest.mark.parametrize("base", [1.0, 0.5, float("nan")])
def test_a_base_of_a_logarithm_that_is_none_is_refused(base):
    with pytest.raises(ValueError, match=f"to_base must be above 1, got {base:g}"):
        convert_loss(1.0, 5, eps=0.1, frm="torch", to="keras", to_base=base)


@pytest.mark.parametrize(
    ("logits", "labels"), [(np.zeros(3), [0]), (np.zeros((2, 3)), [0]), (np.zeros((2, 3)), np.zeros((2, 2)))]
)
def test_shapes_that_do_not_fit_are_refused(logits, labels):
    with pytest.raises(ValueError, match=r"logits must be \(N, K\) and labels \(N,\) or \(N, K\), got \("):
        find("torch").loss(logits, labels, 0.1)


@pytest.mark.parametrize("key", FORMULAS)
def test_probabilities_are_taken_as_one_hot_labels_are_or_refused_in_words(key):
    options = {"partner": Y} if key == "timm.mixup" else {}
    if key == "timm.bce":
        options["eps"] = 0.0  # it does not smooth them
    eps = options.pop("eps", EPS)
    try:
        told = find(key).loss(Z, np.eye(K)[Y], eps, **options)
    except ValueError as error:
        assert "takes labels (N,), the number of a class a row, got (5, 6)" in str(error)  # noqa: PT017
    else:
        assert told == pytest.approx(find(key).loss(Z, Y, eps, **options), rel=1e-12)


def test_the_options_of_a_self_teacher_are_1_unless_they_are_given():
    formula = find("tfkd.reg")
    told = formula.loss(Z, Y, EPS, alpha=0.5, temperature=1.0, multiplier=1.0)
    assert formula.loss(Z, Y, EPS, alpha=0.5) == told
    assert formula.loss(Z, Y, EPS, alpha=0.5, temperature=2.0) != told
    assert formula.loss(Z, Y, EPS, alpha=0.5, multiplier=2.0) != told


@pytest.mark.parametrize(("key", "label"), [("torch", K), ("torch", -1), ("hf", K)])
def test_a_label_just_outside_the_classes_is_refused(key, label):
    with pytest.raises(IndexError, match=rf"label {label} in row 3 is not a class: logits have 6 classes \(0 to 5\)"):
        find(key).rows(Z, np.where(np.arange(5) == 3, label, Y), EPS)


@pytest.mark.parametrize("label", [0, 1])
def test_a_label_that_one_framework_takes_wrongly_is_taken_so(label):
    labels = np.where(np.arange(5) == 3, -7, Y)
    told = find("hf").rows(Z, labels, EPS)
    np.testing.assert_array_equal(told, find("hf").rows(Z, np.where(labels == -7, 0, labels), EPS))
    find("hf").rows(Z, np.where(labels == -7, label, labels), EPS)


@pytest.mark.parametrize("record", [find("fairseq"), *SPREADS.values()], ids=lambda record: record.name)
def test_a_record_is_shown_without_its_functions(record):
    assert " at 0x" not in repr(record)


@pytest.mark.parametrize("frm", [key for key, formula in FORMULAS.items() if formula.convention is not None])
def test_nothing_to_add_is_a_zero_without_a_sign(frm):
    for eps in (0.0, 0.1):
        same = convert(eps, K, frm=frm, to=frm)
        assert (same.to_eps, same.offset) == (eps, 0)
        assert not np.signbit([same.to_eps, same.offset]).any()


GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "convention_values.json").read_text(encoding="utf-8"))
ARRAYS = {name: np.array(values) for name, values in GOLDEN["arrays"].items()}
CASES = GOLDEN["values"]


def _name(case):
    rest = [f"{k}={v}" for k, v in case.items() if k not in ("formula", "value", "eps")]
    return f"{case['formula']}-{'-'.join(rest)}"


@pytest.mark.parametrize("case", CASES, ids=map(_name, CASES))
def test_the_formula_gives_the_value_of_its_source(case):
    options = {k: ARRAYS.get(v, v) if isinstance(v, str) else v for k, v in case.items()}
    formula, eps, labels = (options.pop(name) for name in ("formula", "eps", "labels"))
    expected = options.pop("value")
    value = find(formula).loss(ARRAYS["LOGITS"], labels, eps, **options)
    float32 = ("onmt2", "joeynmt", "mm", "classy", "coincheung", "tfkd.ls", "megatron", "vissl")  # their targets are
    assert value == pytest.approx(expected, rel=3e-7 if formula.startswith(float32) else 1e-12)
