"""Every penalty against its formula in numpy: values, gradients, reductions, half precision, and its fixed point."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch

import sfumato as sf
from sfumato.targets.checks import ArgumentError
from tests.loss.penalty.registry import CASES, IDS, PENALTIES, log_softmax

K, ROWS = 6, 40
each_case = pytest.mark.parametrize(("name", "strengths"), CASES, ids=IDS)
OF_PROBABILITIES = ("confidence", "relaxation", "focal")  # the others are infinite at a logit of −∞
FINITE = [case for case in CASES if math.isfinite(PENALTIES[case[0]].optimum(K, **case[1]).gap)]
each_penalty = pytest.mark.parametrize("name", PENALTIES)


def drawn(seed=0, spread=3.0):
    """Logits (N, K), labels (N,) and a softened target (N, K)."""
    rng = np.random.default_rng(seed)
    z, labels = spread * rng.normal(size=(ROWS, K)), rng.integers(0, K, ROWS)
    return z, labels, rng.dirichlet(np.ones(K), ROWS)


def loss_of(name, strengths, z, target, **options):
    return getattr(sf.penalty, name)(z, target, **strengths, **options)


def gradient_of(name, strengths, z, target, **options):
    leaf = torch.as_tensor(z).detach().clone().requires_grad_()
    loss = loss_of(name, strengths, leaf, target, **options)
    return torch.autograd.grad(loss.sum(), leaf)[0]


def kinds(name, labels, soft):
    """Targets of every kind that a penalty takes, each with the distribution that it stands for."""
    hot = np.eye(K)[labels]
    found = [(torch.from_numpy(labels), hot)]
    if PENALTIES[name].soft:
        found.append(
            (sf.smooth(torch.from_numpy(labels), K, 0.2, over="others"), 0.8 * hot + 0.2 * (1 - hot) / (K - 1))
        )
        found.append((torch.from_numpy(soft), soft))
    return found


def test_every_function_of_the_room_has_a_row():
    functions = {name: value for name, value in vars(sf.penalty).items() if inspect.isfunction(value)}
    public = {name for name, value in functions.items() if value.__module__ == sf.penalty.__name__ and name[0] != "_"}
    assert public == set(PENALTIES)


@each_case
def test_a_row_is_its_formula(name, strengths):
    z, labels, soft = drawn()
    for target, q in kinds(name, labels, soft):
        found = loss_of(name, strengths, torch.from_numpy(z), target, reduction="none").numpy()
        np.testing.assert_allclose(found, PENALTIES[name].value(z, q, **strengths), rtol=1e-12, atol=1e-12)


@each_case
def test_the_gradient_is_the_one_by_hand(name, strengths):
    z, labels, soft = drawn()
    for target, q in kinds(name, labels, soft):
        found = gradient_of(name, strengths, z, target, reduction="none").numpy()
        np.testing.assert_allclose(found, PENALTIES[name].gradient(z, q, **strengths), rtol=1e-12, atol=1e-12)


@each_case
def test_first_and_second_derivatives_are_those_of_finite_differences(name, strengths):
    z, labels, _ = drawn(spread=2.0)
    leaf, y = torch.from_numpy(z[:6]).requires_grad_(), torch.from_numpy(labels[:6])

    def loss(logits):
        return loss_of(name, strengths, logits, y, reduction="none")

    assert torch.autograd.gradcheck(loss, leaf, atol=1e-7)
    assert torch.autograd.gradgradcheck(loss, leaf, atol=1e-6)


@each_penalty
def test_without_strength_it_is_the_cross_entropy_to_the_bit(name):
    z, labels, _ = drawn()
    z[labels != 1, 1] = -np.inf  # where some penalties are infinite
    y, weight = torch.from_numpy(labels), torch.linspace(0.5, 2, K, dtype=torch.float64)
    for options in ({}, {"reduction": "sum"}, {"reduction": "none"}, {"weight": weight}):
        x = torch.from_numpy(z)
        assert torch.equal(loss_of(name, PENALTIES[name].nothing, x, y, **options), sf.cross_entropy(x, y, **options))


@each_case
def test_the_mean_divides_by_the_weights_of_the_labels_and_rows(name, strengths):
    z, labels, _ = drawn()
    x, y = torch.from_numpy(z), torch.from_numpy(labels)
    of_class, of_row = torch.linspace(0.5, 2, K, dtype=torch.float64), torch.linspace(0, 3, ROWS, dtype=torch.float64)
    rows = loss_of(name, strengths, x, y, reduction="none")
    mass = of_class[y] * of_row
    for weight_on in ("class", "sample"):
        options = {"weight": of_class, "sample_weight": of_row, "weight_on": weight_on}
        found = {how: loss_of(name, strengths, x, y, **options, reduction=how) for how in ("none", "sum", "mean")}
        torch.testing.assert_close(found["none"], rows * mass, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(found["sum"], (rows * mass).sum(), rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(found["mean"], (rows * mass).sum() / mass.sum(), rtol=1e-12, atol=1e-13)


@each_case
def test_float32_is_near_the_exact_value_also_far_from_the_origin(name, strengths):
    z, labels, _ = drawn(spread=15.0)
    x, y = torch.from_numpy(z).float(), torch.from_numpy(labels)
    found = loss_of(name, strengths, x, y, reduction="none")
    wanted = PENALTIES[name].value(x.double().numpy(), np.eye(K)[labels], **strengths)
    np.testing.assert_allclose(found.double().numpy(), wanted, rtol=2e-6, atol=2e-6)
    half = x.half()
    found = loss_of(name, strengths, half, y, out_dtype=torch.float32)
    assert torch.equal(found, loss_of(name, strengths, half.float(), y))


def test_a_confident_row_keeps_its_digits():
    z = torch.zeros(1, 10, dtype=torch.float64)
    z[0, 0] = 60.0
    rest = 9 * math.exp(-60)  # 1 − p_y, of which 1 − p itself has no digit
    found = sf.penalty.focal(z, torch.tensor([0]), gamma=2.0).item()
    assert found == pytest.approx(rest**3, rel=1e-12)
    leaf = z.clone().requires_grad_()
    grad = torch.autograd.grad(sf.penalty.focal(leaf, torch.tensor([0]), gamma=2.0), leaf)[0]
    assert grad[0, 0].item() == pytest.approx(-3 * rest**3, rel=1e-9)


@each_case
def test_renaming_the_classes_renames_the_gradient_ties_included(name, strengths):
    z, labels, _ = drawn()
    z[::4] = np.round(z[::4] / 3)  # equal logits, also at the top
    z[::8] = 1.0
    order = np.random.default_rng(1).permutation(K)
    place = np.argsort(order)
    plain = gradient_of(name, strengths, z, torch.from_numpy(labels), reduction="none").numpy()
    renamed = gradient_of(name, strengths, z[:, order], torch.from_numpy(place[labels]), reduction="none").numpy()
    np.testing.assert_allclose(renamed, plain[:, order], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(("name", "strengths"), [("maxsup", {"alpha": 0.3}), ("margin", {"margin": 1.0, "alpha": 0.3})])
def test_equal_largest_logits_share_the_gradient_of_the_maximum(name, strengths):
    z = np.array([[2.0, 2.0, 0.0, -1.0]])
    found = gradient_of(name, strengths, z, torch.tensor([0]), reduction="none").numpy()
    np.testing.assert_allclose(found, PENALTIES[name].gradient(z, np.eye(4)[[0]], **strengths), atol=1e-15)
    assert found[0, 0] + 1 == pytest.approx(found[0, 1], abs=1e-15)  # but for the label itself, the two are alike


def test_a_logit_on_the_margin_is_not_pulled():
    z = np.array([[3.0, 0.0, 0.0]])
    found = gradient_of("margin", {"margin": 3.0, "alpha": 0.5}, z, torch.tensor([0])).numpy()
    np.testing.assert_allclose(found, np.exp(log_softmax(z)) - np.eye(3)[[0]], atol=1e-15)


def test_maxsup_is_smoothing_over_all_where_the_label_is_on_top_and_not_elsewhere():
    z, labels, _ = drawn()
    x, y = torch.from_numpy(z), torch.from_numpy(labels)
    right = z.argmax(1) == labels
    ours = sf.penalty.maxsup(x, y, alpha=0.2, reduction="none")
    theirs = sf.cross_entropy(x, y, label_smoothing=0.2, reduction="none")
    torch.testing.assert_close(ours[right], theirs[right], rtol=1e-13, atol=1e-14)
    top_less_label = torch.from_numpy(z.max(1) - z[np.arange(ROWS), labels])
    torch.testing.assert_close((ours - theirs)[~right], 0.2 * top_less_label[~right], rtol=1e-12, atol=1e-13)
    assert 0 < right.sum() < ROWS


def test_a_margin_of_0_is_maxsup():
    z, labels, _ = drawn()
    x, y = torch.from_numpy(z), torch.from_numpy(labels)
    torch.testing.assert_close(sf.penalty.margin(x, y, margin=0, alpha=0.2), sf.penalty.maxsup(x, y, alpha=0.2))


def test_negative_smoothing_undoes_symmetric_flips_on_average():
    z, labels, _ = drawn()
    x, flips = torch.from_numpy(z), 0.3
    rate = -flips * K / (K - 1 - flips * K)
    every = [sf.penalty.negative_smoothing(x, torch.full((ROWS,), k), rate=rate, reduction="none") for k in range(K)]
    share = np.where(np.eye(K)[labels] == 1, 1 - flips, flips / (K - 1))
    mean = (torch.stack(every, 1) * torch.from_numpy(share)).sum(1)
    wanted = sf.cross_entropy(x, torch.from_numpy(labels), reduction="none")
    torch.testing.assert_close(mean, wanted, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("name", "strengths"), [case for case in CASES if case[0] in OF_PROBABILITIES])
def test_a_class_without_mass_may_be_impossible(name, strengths):
    z, labels, _ = drawn()
    labels = np.where(labels == K - 1, 0, labels)
    cut = z.copy()
    cut[:, K - 1] = -np.inf
    x, y = torch.from_numpy(cut), torch.from_numpy(labels)
    found = loss_of(name, strengths, x, y, reduction="none").numpy()
    wanted = PENALTIES[name].value(z[:, : K - 1], np.eye(K - 1)[labels], **strengths)
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)
    grad = gradient_of(name, strengths, cut, y, reduction="none").numpy()
    np.testing.assert_allclose(grad[:, K - 1], 0, atol=1e-15)
    assert np.isfinite(grad).all()


@each_case
@pytest.mark.parametrize("impossible", [0, K - 1])
def test_a_row_without_weight_costs_nothing_even_where_its_penalty_is_infinite(name, strengths, impossible):
    z, labels, _ = drawn()
    cut, y, weight = z.copy(), torch.from_numpy(labels).clone(), torch.ones(ROWS, dtype=torch.float64)
    cut[1::3, impossible], y[1::3], weight[1::3] = -np.inf, impossible, 0.0
    counted = weight != 0
    options = {"sample_weight": weight, "reduction": "none"}
    found = loss_of(name, strengths, torch.from_numpy(cut), y, **options)
    wanted = loss_of(name, strengths, torch.from_numpy(z), y, reduction="none")
    assert torch.equal(found, torch.where(counted, wanted, 0.0))
    mean = loss_of(name, strengths, torch.from_numpy(cut), y, sample_weight=weight)
    torch.testing.assert_close(mean, wanted[counted].mean(), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize(("name", "strengths"), [case for case in CASES if case[0] in OF_PROBABILITIES])
def test_a_label_that_is_the_only_possible_class_gets_derivatives_of_0(name, strengths, k):
    z = torch.full((1, k), -torch.inf, dtype=torch.float64)
    z[0, 1] = 1.0
    z.requires_grad_()
    loss = loss_of(name, strengths, z, torch.tensor([1]))
    (grad,) = torch.autograd.grad(loss, z, create_graph=True)
    (second,) = torch.autograd.grad(grad.sum(), z)
    assert (grad.tolist(), second.tolist()) == ([[0.0] * k], [[0.0] * k])


@each_case
def test_vmap_over_the_batch_gives_the_rows(name, strengths):
    z, labels, _ = drawn()
    x, y = torch.from_numpy(z), torch.from_numpy(labels)
    rows = torch.func.vmap(lambda a, b: loss_of(name, strengths, a, b))(x, y)
    torch.testing.assert_close(rows, loss_of(name, strengths, x, y, reduction="none"), rtol=1e-12, atol=1e-13)


@pytest.mark.slow
@each_penalty
def test_compiled_code_gives_the_same_without_a_graph_break(name):
    strengths = PENALTIES[name].strengths[0]
    z, labels, _ = drawn()
    y = torch.from_numpy(np.where(np.arange(ROWS) % 5 > 0, labels, -100))
    torch._dynamo.reset()
    compiled = torch.compile(lambda a, b: loss_of(name, strengths, a, b), fullgraph=True, backend="aot_eager")
    leaf = torch.from_numpy(z).requires_grad_()
    loss = compiled(leaf, y)
    plain = loss_of(name, strengths, torch.from_numpy(z), y)
    torch.testing.assert_close(loss, plain, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(
        torch.autograd.grad(loss, leaf)[0], gradient_of(name, strengths, z, y), rtol=1e-11, atol=1e-13
    )


@pytest.mark.parametrize("k", [2, 3, 10, 100])
@each_case
def test_the_slope_changes_its_sign_at_the_closed_form(name, strengths, k):
    optimum = PENALTIES[name].optimum(k, **strengths)
    if math.isinf(optimum.gap):
        gaps, signs = [1.0, 10.0, 30.0], [-1, -1, -1]
    elif name == "relaxation":
        gaps, signs = [optimum.gap - 1e-6, optimum.gap + 1e-6], [-1, 0]
    else:
        gaps, signs = [optimum.gap - 1e-6, optimum.gap + 1e-6], [-1, 1]
    for gap, sign in zip(gaps, signs, strict=True):
        z = np.full((1, k), -gap / k)
        z[0, 0] += gap  # the logits sum to 0, which only the squared logits ask for
        grad = gradient_of(name, strengths, z, torch.tensor([0]))[0].numpy()
        assert np.sign(grad[0] - grad[1]) == sign, gap


@pytest.mark.parametrize("k", [2, 10])
@each_case
def test_the_floor_is_the_loss_at_the_closed_form_and_no_logits_are_below_it(name, strengths, k):
    optimum = PENALTIES[name].optimum(k, **strengths)
    labels = torch.zeros(2000, dtype=torch.int64)
    rng = np.random.default_rng(0)
    near = rng.normal(size=(2000, k)) * rng.choice([0.01, 0.3, 3.0, 20.0], (2000, 1))
    if math.isfinite(optimum.gap):
        near[:, 0] += optimum.gap
        z = torch.full((1, k), -optimum.gap / k, dtype=torch.float64)
        z[0, 0] += optimum.gap
        assert loss_of(name, strengths, z, labels[:1]).item() == pytest.approx(optimum.floor, rel=1e-12, abs=1e-14)
        assert torch.softmax(z, 1)[0, 0].item() == pytest.approx(optimum.probability, rel=1e-12)
    rows = loss_of(name, strengths, torch.from_numpy(near - near.mean(1, keepdims=True)), labels, reduction="none")
    assert rows.min().item() >= optimum.floor - 1e-12


@pytest.mark.parametrize("k", [2, 10])
@pytest.mark.parametrize(("name", "strengths"), FINITE)
def test_gradient_descent_on_free_logits_reaches_the_closed_form(name, strengths, k):
    optimum = PENALTIES[name].optimum(k, **strengths)
    # On a kink the slope does not fade, so the steps must; past the end of relaxation nothing would bring logits back.
    rates = [4.0] * 600 + [4 * 0.7**i for i in range(60) for _ in range(10)]
    z, label = torch.zeros(1, k, dtype=torch.float64), torch.tensor([0])
    for rate in [0.5] * 700 if name == "relaxation" else rates:
        slope = gradient_of(name, strengths, z, label)
        z = z - rate * slope
        if slope.abs().max() < 1e-12:
            break
    gap = (z[0, 0] - z[0, 1:].mean()).item()
    assert gap == pytest.approx(optimum.gap, abs=1e-8)


@pytest.mark.parametrize(("name", "strengths"), [case for case in CASES if case not in FINITE])
def test_a_loss_without_a_finite_optimum_falls_to_its_floor_as_the_gap_grows(name, strengths):
    optimum = PENALTIES[name].optimum(10, **strengths)
    z = torch.zeros(3, 10, dtype=torch.float64)
    z[:, 0] = torch.tensor([10.0, 100.0, 600.0])
    rows = loss_of(name, strengths, z, torch.zeros(3, dtype=torch.int64), reduction="none")
    assert (rows.diff() < 0).all()
    assert rows[-1].item() < -50 if optimum.floor == -math.inf else rows[-1].item() < 1e-200


FINITE_NUMBER = "must be a finite number, at least 0, got"
REFUSED = {
    "negative beta": ("confidence", {"beta": -0.1}, f"beta {FINITE_NUMBER} -0.1"),
    "no beta": ("logit_l2", {"beta": math.nan}, f"beta {FINITE_NUMBER} nan"),
    "threshold": ("confidence", {"beta": 1, "threshold": -1}, f"threshold {FINITE_NUMBER} -1"),
    "margin": ("margin", {"margin": math.inf}, f"margin {FINITE_NUMBER} inf"),
    "alpha": ("maxsup", {"alpha": -1}, f"alpha {FINITE_NUMBER} -1"),
    "gamma": ("focal", {"gamma": -1}, f"gamma {FINITE_NUMBER} -1"),
    "relaxation": ("relaxation", {"alpha": 1}, "alpha must be at least 0 and below 1, got 1"),
    "positive rate": (
        "negative_smoothing",
        {"rate": 0.1},
        "rate must be a finite number, at most 0, got 0.1; above 0 use label_smoothing",
    ),
}


@pytest.mark.parametrize(("name", "strengths", "message"), REFUSED.values(), ids=REFUSED)
def test_a_strength_that_makes_no_sense_is_refused(name, strengths, message):
    with pytest.raises(ArgumentError) as error:
        loss_of(name, strengths, torch.zeros(2, 3), torch.tensor([0, 1]))
    assert str(error.value) == message


@each_penalty
def test_a_single_class_is_refused(name):
    with pytest.raises(ValueError, match="^a penalty on logits needs at least 2 classes, got 1$"):
        loss_of(name, PENALTIES[name].strengths[0], torch.zeros(2, 1), torch.tensor([0, 0]))


def test_relaxation_refuses_a_target_that_is_softened_already():
    with pytest.raises(ValueError, match="^relaxation takes one-hot labels, got smoothed, ε = 0.1 .*alpha softens"):
        sf.penalty.relaxation(torch.zeros(2, 3), torch.tensor([0, 1]), alpha=0.1, label_smoothing=0.1)


def test_the_focal_loss_is_no_proper_score():
    """Over two classes of which the first has a share of 80 %, its best prediction is another one."""
    shares, p = np.array([0.8, 0.2]), np.linspace(0.01, 0.99, 9801)
    rows = torch.from_numpy(np.log(np.stack([p, 1 - p], 1)))
    both = [sf.penalty.focal(rows, torch.full((len(p),), k), gamma=3, reduction="none").numpy() for k in (0, 1)]
    assert p[np.argmin(shares @ np.stack(both))] < 0.7
    hard = [sf.cross_entropy(rows, torch.full((len(p),), k), reduction="none").numpy() for k in (0, 1)]
    assert p[np.argmin(shares @ np.stack(hard))] == pytest.approx(0.8, abs=1e-3)
