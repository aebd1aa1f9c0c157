"""What holds of the loss for every target, whatever the numbers: properties instead of examples.

Each is asked of every constructor in ``tests/targets/registry/`` and of both paths. Truth is mpmath, or the loss
itself on numbers that the property relates. `make nightly` draws twenty times as many cases, and new ones each time.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import sfumato as sf
from tests.exact import exact
from tests.loss.properties import (
    PROMISED,
    REDUCTIONS,
    TINY,
    WEIGHT_ON,
    each_target,
    evaluated,
    gaps,
    last,
    near,
    path,
    some,
)
from tests.targets.drawn import cases, logits
from tests.targets.registry import OVER, PUBLIC, TARGETS, to_torch

__all__ = ["path"]  # a fixture: every property is asked twice


@pytest.mark.parametrize("name", PUBLIC)
def test_every_constructor_of_the_package_is_asked(name):
    assert name in TARGETS


@each_target
@given(data=st.data())
@some
def test_a_target_is_its_formula_with_its_entropy_and_its_sum(name, data):
    case = data.draw(cases(name))
    target, q = case.build(), case.q()
    target = target if target.num_classes else target.with_classes(case.num_classes)
    np.testing.assert_allclose(last(target.to_dense(torch.float64)), q, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(target.total().double().numpy(), q.sum(-1), rtol=1e-6)
    entropy = -(q * np.log(np.where(q > 0, q, 1.0))).sum(-1)
    np.testing.assert_allclose(target.entropy().numpy(), entropy, rtol=1e-12, atol=1e-14)
    assert target.shape == case.labels.shape


@each_target
@pytest.mark.parametrize("dtype", PROMISED, ids=str)
@given(data=st.data())
@some
def test_the_value_is_the_exact_one(name, dtype, data):
    case = data.draw(cases(name))
    z = to_torch(data.draw(logits(case))).to(dtype)
    loss = sf.cross_entropy(z, case.build(), reduction="none")
    truth, _ = exact(last(z), case.q())
    bound, unit = PROMISED[dtype]
    off = np.abs(loss.double().numpy() - truth)
    assert (off <= bound * np.abs(truth) + unit * gaps(last(z)) + TINY).all()


@each_target
@pytest.mark.parametrize("dtype", PROMISED, ids=str)
@given(data=st.data())
@some
def test_the_gradient_is_the_exact_one_times_the_upstream(name, dtype, data):
    case = data.draw(cases(name))
    z = to_torch(data.draw(logits(case))).to(dtype)
    upstream = data.draw(
        st.lists(st.sampled_from([-2.0, 0.5, 3.0]), min_size=case.labels.size, max_size=case.labels.size)
    )
    up = np.array(upstream).reshape(case.labels.shape)
    _, grad = evaluated(z, case.build(), torch.from_numpy(up).to(dtype), reduction="none")
    _, truth = exact(last(z), case.q())
    bound, unit = PROMISED[dtype]
    off = np.abs(last(grad) - truth * up[..., None])
    assert (off <= 3 * (bound + unit * gaps(last(z))[..., None])).all()


@each_target
@given(data=st.data())
@some
def test_the_gradient_of_a_row_sums_to_nothing(name, data):
    case = data.draw(cases(name))
    z = data.draw(logits(case))
    _, grad = evaluated(z, case.build(), reduction="none")
    assert np.abs(last(grad).sum(-1)).max() <= 3 * case.num_classes * 2.0**-52 * 4


@each_target
@pytest.mark.parametrize("dtype", PROMISED, ids=str)
@given(data=st.data(), offset=st.floats(-1e6, 1e6))
@some
def test_a_common_offset_changes_nothing_beyond_the_rounding_of_the_logits(name, dtype, data, offset):
    case = data.draw(cases(name))
    z = data.draw(logits(case, largest=100))
    here, there = (to_torch(x).to(dtype) for x in (z, z + offset))
    target = case.build()
    values = [sf.cross_entropy(x, target, reduction="none").double() for x in (here, there)]
    # Two logits of a row are off by half a unit of their size each, and the loss moves by no more than their gap does,
    # times the mass of the target.
    rounding = 2 * PROMISED[dtype][1] * (abs(offset) + 100) * max(1.0, case.q().sum(-1).max())
    torch.testing.assert_close(*values, rtol=4 * PROMISED[dtype][0], atol=rounding)


@each_target
@given(data=st.data())
@some
def test_renaming_the_classes_renames_the_gradient(name, data):
    case = data.draw(cases(name))
    z = data.draw(logits(case))
    order = np.array(data.draw(st.permutations(range(case.num_classes))))
    loss, grad = evaluated(z, case.build(), reduction="none")
    renamed, renamed_grad = evaluated(z[..., order], case.permuted(order).build(), reduction="none")
    near(renamed, loss, z)
    near(torch.from_numpy(last(renamed_grad)), torch.from_numpy(last(grad)[..., order]), z)


@each_target
@given(data=st.data())
@some
def test_a_row_does_not_depend_on_the_others(name, path, data):
    case = data.draw(cases(name, batched=True))
    z = data.draw(logits(case))
    rows = data.draw(st.lists(st.integers(0, len(z) - 1), min_size=1, max_size=5))
    ones = torch.ones(1, dtype=torch.float64)
    loss, grad = evaluated(z, case.build(), ones.expand(case.labels.shape), reduction="none")
    part = case.rows(rows)
    some_loss, some_grad = evaluated(z[rows], part.build(), ones.expand(part.labels.shape), reduction="none")
    if path == "kernel":  # torch's own sums may go another way with another number of rows
        assert torch.equal(some_loss, loss[rows])
        assert torch.equal(some_grad, grad[rows])
    near(some_loss, loss[rows], z)
    near(some_grad, grad[rows], z)


@each_target
@given(data=st.data())
@some
def test_micro_batches_add_up_to_the_batch(name, data):
    case = data.draw(cases(name, batched=True))
    z = data.draw(logits(case))
    cut = data.draw(st.integers(0, len(z)))
    one = torch.tensor(1.0, dtype=torch.float64)
    parts = [(z[:cut], case.rows(slice(0, cut))), (z[cut:], case.rows(slice(cut, None)))]
    summed = [evaluated(x, part.build(), one, reduction="sum") for x, part in parts]
    whole, grad = evaluated(z, case.build(), one, reduction="sum")
    near(summed[0][0] + summed[1][0], whole, z, factor=4.0 * case.labels.size)
    near(torch.cat([summed[0][1], summed[1][1]]), grad, z)
    counted = int(case.valid.sum())
    mean, mean_grad = evaluated(z, case.build(), one)
    if counted == 0:
        assert mean.isnan()
        assert torch.equal(mean_grad, torch.zeros_like(mean_grad))
    else:
        near(mean * counted, whole, z, factor=4.0 * case.labels.size)
        near(mean_grad * counted, grad, z, factor=8.0)


@pytest.mark.parametrize("over", OVER)
@given(data=st.data())
@some
def test_no_strength_is_one_hot_and_all_of_it_forgets_the_label_or_forbids_it(over, data):
    case = data.draw(cases("one_hot", ignored=False))
    z, k, labels = data.draw(logits(case)), case.num_classes, to_torch(case.labels, class_axes=0)
    hard, _ = evaluated(z, case.build(), reduction="none")
    near(evaluated(z, sf.smooth(labels, k, 0.0, over=over), reduction="none")[0], hard, z)
    near(evaluated(z, labels, label_smoothing=0.0, over=over, reduction="none")[0], hard, z)
    uniform = np.full(z.shape, 1 / k) if over == "all" else (1 - case.at_label) / (k - 1)
    truth, _ = exact(z, uniform)
    near(evaluated(z, sf.smooth(labels, k, 1.0, over=over), reduction="none")[0], torch.from_numpy(truth), z)
    near(evaluated(z, labels, label_smoothing=1.0, over=over, reduction="none")[0], torch.from_numpy(truth), z)


@each_target
@given(data=st.data(), lam=st.floats(0, 1))
@some
def test_the_loss_is_linear_in_the_target(name, data, lam):
    case = data.draw(cases(name, ignored=False))
    z, q = data.draw(logits(case)), case.q()
    other = np.roll(q, 1, -1)
    mixed = sf.from_probs(to_torch(lam * q + (1 - lam) * other), check=False)
    loss, grad = evaluated(z, mixed, reduction="none")
    one, two = (evaluated(z, t, reduction="none") for t in (case.build(), sf.from_probs(to_torch(other), check=False)))
    near(loss, lam * one[0] + (1 - lam) * two[0], z)
    near(grad, lam * one[1] + (1 - lam) * two[1], z, factor=12.0)


@each_target
@given(data=st.data())
@some
def test_the_sparse_and_the_dense_form_of_a_target_agree(name, data):
    case = data.draw(cases(name))
    z = data.draw(logits(case))
    mask = torch.from_numpy(np.array(case.valid))
    sparse, dense = case.build(), sf.from_probs(to_torch(case.q()), check=False, mask=mask)
    for reduction in REDUCTIONS:
        a, b = (evaluated(z, t, reduction=reduction) for t in (sparse, dense))
        near(a[0], b[0], z, factor=4.0 * case.labels.size)
        near(a[1], b[1], z, factor=12.0)


@given(data=st.data(), eps=st.floats(0, 1), over=st.sampled_from(OVER), reduction=st.sampled_from(REDUCTIONS))
@some
def test_labels_one_hot_probabilities_and_targets_are_smoothed_alike(data, eps, over, reduction):
    case = data.draw(cases("one_hot", ignored=False))
    z, labels = data.draw(logits(case)), to_torch(case.labels, class_axes=0)
    given = [
        (labels, {"label_smoothing": eps, "over": over}),
        (to_torch(case.at_label), {"label_smoothing": eps, "over": over}),
        (sf.smooth(labels, case.num_classes, eps, over=over), {}),
    ]
    results = [evaluated(z, target, reduction=reduction, **options) for target, options in given]
    for loss, grad in results[1:]:
        near(loss, results[0][0], z, factor=4.0 * case.labels.size)
        near(grad, results[0][1], z, factor=12.0)


@given(data=st.data(), eps=st.floats(0, 1))
@some
def test_a_converted_strength_is_the_same_target(data, eps):
    case = data.draw(cases("one_hot"))
    z, k = data.draw(logits(case)), case.num_classes
    labels = to_torch(np.where(case.valid, case.labels, -100), class_axes=0)
    others = sf.theory.convert_eps(eps, k, frm="all", to="others")
    assert others == pytest.approx(eps * (k - 1) / k, rel=1e-14)
    a = evaluated(z, sf.smooth(labels, k, eps, over="all"), reduction="none")
    b = evaluated(z, sf.smooth(labels, k, others, over="others"), reduction="none")
    near(a[0], b[0], z)
    near(a[1], b[1], z, factor=12.0)


@given(data=st.data(), lam=st.floats(0, 1))
@some
def test_a_target_mixed_with_itself_is_itself(data, lam):
    name = data.draw(st.sampled_from(["one_hot", "smooth_by_class"]))
    case = data.draw(cases(name))
    z, target = data.draw(logits(case)), case.build()
    a, b = (evaluated(z, t, reduction="none") for t in (target, sf.mix(target, target, lam)))
    near(a[0], b[0], z)
    near(a[1], b[1], z, factor=12.0)


@each_target
@given(data=st.data())
@some
def test_the_minimiser_has_the_target_for_its_softmax(name, data):
    case = data.draw(cases(name, ignored=False))
    q = case.q()
    assume((q.sum(-1) > 0.5).all())  # what is left of a truncated teacher may be nothing
    z = np.where(q > 0, np.log(np.where(q > 0, q, 1.0)), -np.inf)
    parts = sf.loss_parts(to_torch(z), case.build(), reduction="none")
    entropy = -np.where(q > 0, q * np.where(q > 0, z, 0.0), 0.0).sum(-1)
    total = q.sum(-1)
    floor = entropy + total * np.log(total)  # where a target does not sum to 1
    np.testing.assert_allclose(parts.loss.numpy(), floor, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(parts.floor.numpy(), floor, rtol=1e-12, atol=1e-14)
    assert np.abs(parts.excess.numpy()).max() <= 1e-14
    _, grad = evaluated(z, case.build(), reduction="none")
    assert np.abs(last(grad)).max() <= 3e-15 * case.num_classes


@given(strengths=st.tuples(st.floats(1e-6, 1), st.floats(1e-6, 1)), k=st.integers(2, 1000), over=st.sampled_from(OVER))
@some
def test_the_gap_of_the_minimiser_falls_as_the_strength_grows(strengths, k, over):
    low, high = sorted(strengths)
    assume(high - low > 1e-6)
    label = torch.tensor(0)
    gaps = []
    for eps in (low, high):
        q = sf.smooth(label, k, eps, over=over).to_dense(torch.float64)
        gap = float(q[0].log() - q[1].log())
        assert sf.theory.optimal_gap(eps, k, over=over) == pytest.approx(gap, rel=1e-9, abs=1e-9)
        gaps.append(gap)
    assert gaps[0] > gaps[1]


@each_target
@given(data=st.data(), reduction=st.sampled_from(REDUCTIONS), weight_on=st.sampled_from(WEIGHT_ON))
@some
def test_weights_weigh_what_they_are_said_to_weigh(name, data, reduction, weight_on):
    case = data.draw(cases(name))
    z, q, k = data.draw(logits(case, largest=50)), case.q(), case.num_classes
    weight = np.array(data.draw(st.lists(st.floats(0.01, 4), min_size=k, max_size=k)))
    count = case.labels.size
    each = data.draw(st.one_of(st.none(), st.lists(st.sampled_from([0.0, 0.5, 2.0]), min_size=count, max_size=count)))
    given = np.ones(case.labels.shape) if each is None else np.array(each).reshape(case.labels.shape)
    of_label = case.label_weight(weight)
    of_row = (weight * q).sum(-1) if of_label is None else of_label
    rows, grads = exact(z, q * weight if weight_on == "class" else q)
    factor = given * (of_row if weight_on == "sample" else 1.0)
    divisor = 1.0
    if reduction == "mean":
        counted = of_row if weight_on == "sample" or of_label is not None else np.ones(case.labels.shape)
        divisor = float((counted * given * case.valid).sum())
    loss, grad = evaluated(
        z,
        case.build(),
        torch.full(case.labels.shape if reduction == "none" else (), 2.0, dtype=torch.float64),
        weight=torch.from_numpy(weight),
        reduction=reduction,
        weight_on=weight_on,
        sample_weight=None if each is None else torch.from_numpy(given),
    )
    if divisor == 0:
        assert loss.isnan()
        assert torch.equal(grad, torch.zeros_like(grad))
        return
    expected = rows * factor * case.valid
    expected = expected if reduction == "none" else expected.sum() / divisor
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-12, atol=1e-13)
    scale = 2 * factor * case.valid / divisor
    np.testing.assert_allclose(last(grad), grads * scale[..., None], rtol=1e-11, atol=1e-12 * scale.max())


@each_target
@given(data=st.data(), reduction=st.sampled_from(REDUCTIONS), bad=st.sampled_from([np.nan, np.inf, -np.inf, 1e308]))
@some
def test_an_ignored_position_is_inert_whatever_it_holds(name, data, reduction, bad):
    case = data.draw(cases(name))
    assume(not case.valid.all())
    z = data.draw(logits(case))
    poisoned = np.where(case.valid[..., None], z, bad)
    clean, dirty = (evaluated(x, case.build(), reduction=reduction) for x in (z, poisoned))
    torch.testing.assert_close(dirty[0], clean[0], rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(dirty[1], clean[1], rtol=0, atol=0)
    assert (last(dirty[1])[~case.valid] == 0).all()


@each_target
@given(data=st.data(), layout=st.sampled_from(["transposed", "every other", "expanded", "offset"]))
@some
def test_how_the_logits_lie_in_memory_changes_nothing(name, data, layout):
    case = data.draw(cases(name, batched=True))
    z = data.draw(logits(case))
    z = np.broadcast_to(z[:1], z.shape) if layout == "expanded" else z
    plain = to_torch(z)
    if layout == "transposed":
        strided = plain.permute(*reversed(range(plain.dim()))).contiguous().permute(*reversed(range(plain.dim())))
    elif layout == "every other":
        strided = torch.stack([torch.full_like(plain, torch.nan), plain], -1)[..., 1]
    elif layout == "expanded":
        strided = plain[:1].expand(plain.shape)
    else:
        strided = torch.nn.functional.pad(plain, (2, 1), value=torch.nan)[..., 2:-1]
    a, b = (evaluated(x, case.build(), reduction="none") for x in (plain, strided))
    near(a[0], b[0], z)
    near(a[1], b[1], z, factor=12.0)


@each_target
@given(data=st.data(), reduction=st.sampled_from(REDUCTIONS))
@some
def test_nothing_that_is_given_is_changed(name, data, reduction):
    case = data.draw(cases(name))
    z, weight = to_torch(data.draw(logits(case))), torch.linspace(0.5, 2, case.num_classes)
    target = case.build()
    given = [x for x in (z, weight, *vars(target).values()) if isinstance(x, torch.Tensor)]
    before = [(x.clone(), x._version) for x in given]
    evaluated(z, target, weight=weight, reduction=reduction)
    sf.loss_parts(z, target, weight, reduction=reduction)
    for now, (then, version) in zip(given, before, strict=True):
        assert torch.equal(now.nan_to_num(), then.nan_to_num())
        assert now._version == version


@each_target
@given(data=st.data(), reduction=st.sampled_from(REDUCTIONS))
@some
def test_permission_to_overwrite_changes_no_number(name, data, reduction):
    case = data.draw(cases(name))
    leaf = to_torch(data.draw(logits(case))).requires_grad_()
    target = case.build()
    upstream = torch.full(case.labels.shape if reduction == "none" else (), 1.5, dtype=torch.float64)
    expected, grad = evaluated(leaf, target, upstream, reduction=reduction)
    computed = leaf * 1
    loss = sf.cross_entropy(computed, target, reduction=reduction, overwrite_logits=True)
    loss.backward(upstream)
    torch.testing.assert_close(loss.detach(), expected, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(leaf.grad, grad, rtol=0, atol=1e-15)
