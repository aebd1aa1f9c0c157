"""Labels, strengths and factors of rows, read from gradients of torch, and the one strength of many rows."""

from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sfumato.probe.rows import Form, _labels_of_few, form_of, read_rows, temperature_of
from sfumato.probe.watching.targets_seen import ReadPass, count_of, targets_seen, varies


def rows(classes: int, eps: float, *, scale: float = 1.0, dtype: torch.dtype = torch.float32, count: int = 24):
    """Logits, labels (every sixth row ignored), and the gradient of torch's mean."""
    draw = torch.Generator().manual_seed(classes)
    z = (scale * torch.randn(count, classes, generator=draw)).to(dtype).requires_grad_()
    y = torch.randint(0, classes, (count,), generator=draw)
    y[::6] = -100
    F.cross_entropy(z.float() if dtype.itemsize == 2 else z, y, label_smoothing=eps).backward()
    return z.detach(), y.numpy(), z.grad


@pytest.mark.parametrize("classes", [2, 3, 5, 10, 600, 5000])
@pytest.mark.parametrize("eps", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_each_row_of_a_smoothed_mean_has_its_label_the_strength_and_one_over_the_rows(classes, eps, scale):
    z, y, g = rows(classes, eps, scale=scale)
    found = read_rows(z, g)
    live = y != -100
    assert found.live.tolist() == live.tolist()
    assert found.label[live].tolist() == y[live].tolist()
    assert np.median(found.eps[live]) == pytest.approx(eps, abs=1e-3)
    assert np.median(found.factors(eps)[live]) == pytest.approx(1 / live.sum(), rel=1e-3)
    assert np.abs(found.mass[live] - 1).max() < 1e-3


def test_a_row_that_is_surer_than_its_target_has_its_label_too():
    z = torch.zeros(3, 6)
    z[:, 4] = torch.tensor([4.0, 6.0, 9.0])  # p up to .999, where the target is .9
    z = (z + torch.linspace(0, 0.3, 6)).requires_grad_()
    F.cross_entropy(z, torch.tensor([4, 4, 4]), label_smoothing=0.12).backward()
    found = read_rows(z.detach(), z.grad)
    assert found.label.tolist() == [4, 4, 4]
    assert found.eps == pytest.approx([0.12] * 3, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("classes", [10, 2000])
def test_a_strength_of_half_precision_is_known_to_three_thousandths(dtype, classes):
    z, y, g = rows(classes, 0.1, dtype=dtype, count=48)
    assert np.median(read_rows(z, g).eps[y != -100]) == pytest.approx(0.1, abs=3e-3)


def test_two_labels_of_a_row_are_both_off_the_line():
    z, y, _ = rows(12, 0.1)
    y = torch.from_numpy(np.maximum(y, 0))
    z.requires_grad_()
    parts = [F.cross_entropy(z, each, label_smoothing=0.1) for each in (y, (y + 5) % 12)]
    (0.7 * parts[0] + 0.3 * parts[1]).backward()
    found = read_rows(z.detach(), z.grad)
    assert (found.others == 1).mean() > 0.9
    assert np.median(found.eps) == pytest.approx(0.1, abs=1e-4)


@pytest.mark.parametrize("form", [Form.PROBABILITIES, Form.LOG_PROBABILITIES, Form.SOFTMAX_OF_PROBABILITIES])
def test_outputs_after_a_softmax_are_known_and_read(form):
    z, y, _ = rows(9, 0.1)
    y = torch.from_numpy(y)
    out = (z.log_softmax(1) if form is Form.LOG_PROBABILITIES else z.softmax(1)).requires_grad_()
    if form is Form.SOFTMAX_OF_PROBABILITIES:
        F.cross_entropy(out, y, label_smoothing=0.1).backward()
    else:
        log = out if form is Form.LOG_PROBABILITIES else out.log()
        (0.9 * F.nll_loss(log, y) - 0.1 * log[y != -100].mean()).backward()
    assert form_of(out.detach(), out.grad) == form
    found = read_rows(out.detach(), out.grad)
    assert np.median(found.eps[found.live]) == pytest.approx(0.1, abs=1e-3)


@pytest.mark.parametrize("size", [1.0, 0.02], ids=["", "fresh"])
@pytest.mark.parametrize("softmaxes", [1, 2])
@pytest.mark.parametrize("classes", [2, 3, 4, 6])
def test_a_softmax_before_the_loss_is_told_from_none_at_few_classes_too(classes, softmaxes, size):
    draw = torch.Generator().manual_seed(classes)
    z = (size * torch.randn(24, classes, generator=draw)).requires_grad_()
    y = torch.randint(0, classes, (24,), generator=draw)
    F.cross_entropy(z if softmaxes == 1 else z.softmax(1), y, label_smoothing=0.1).backward()
    found = read_rows(z.detach(), z.grad)
    assert found.form == (Form.LOGITS if softmaxes == 1 else Form.TWO_SOFTMAXES)
    assert np.median(found.eps) == pytest.approx(0.1, abs=1e-3)


@pytest.mark.parametrize("classes", [600, 9])
def test_of_many_rows_a_part_is_read_and_every_label_is_told(classes):
    z, y, g = rows(classes, 0.1, count=210)
    found = read_rows(z, g, max_rows=50)
    assert found.label.tolist() == np.where(y == -100, -1, y).tolist()
    assert 45 <= np.isfinite(found.eps).sum() <= 50
    assert np.nanmedian(found.eps) == pytest.approx(0.1, abs=1e-4)


@pytest.mark.parametrize("weighted", [False, True])
def test_two_classes_need_all_rows_of_a_pass(weighted):
    z, y, _ = rows(2, 0.0, count=40)
    z.requires_grad_()
    F.cross_entropy(z, torch.from_numpy(y), weight=torch.tensor([1.0, 3.0]) if weighted else None).backward()
    found = read_rows(z.detach(), z.grad)
    assert found.eps[found.live] == pytest.approx(np.zeros(found.live.sum()), abs=1e-4)


def test_a_row_of_three_classes_that_is_surer_than_its_target_is_told_by_few_rows():
    own = torch.tensor([0.2, 0.4, 0.5, 0.6, 0.7, 0.97], dtype=torch.float64)
    p = torch.stack([own, 0.3 * (1 - own), 0.7 * (1 - own)], dim=1)
    g = p - torch.tensor([0.95, 0.025, 0.025], dtype=torch.float64)
    assert g.argmin(1).tolist() == [0, 0, 0, 0, 0, 1]
    assert _labels_of_few(p, g).tolist() == [0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("true", [0.05, 0.5, 2.0, 3.3333, 20.0])
def test_the_temperature_without_misfit_is_found(true):
    assert temperature_of(lambda t: abs(np.log(t / true))) == pytest.approx(true, rel=1e-4)


@pytest.mark.parametrize(
    "misfit", [lambda t: 0.01 + abs(np.log(t / 2)), lambda t: abs(np.log(t)), lambda t: 1e-6, lambda t: np.nan]
)
def test_where_none_stands_out_or_where_it_is_1_there_is_none(misfit):
    assert temperature_of(misfit) is None


@pytest.mark.parametrize("t", [0.5, 5.0])
def test_strength_and_factor_are_those_of_the_loss_at_its_temperature(t):
    found = one_pass(lambda z, y: F.cross_entropy(z / t, y, label_smoothing=0.1)).rows
    assert (found.form, found.divisor) == (Form.LOGITS, t)
    assert np.median(found.eps) == pytest.approx(0.1, abs=1e-3)
    assert np.median(found.factors(0.1)) == pytest.approx(1 / 24, rel=1e-3)


def one_pass(loss, rows=24, classes=8):
    z = torch.randn(rows, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    loss(z, torch.arange(rows) % classes).backward()
    return ReadPass(read_rows(z.detach(), z.grad), rows, Counter(), training=True)


def of_each(eps):
    """A pass in which each row has a strength of its own."""

    def loss(z, y):
        rows = [F.cross_entropy(z[i, None], y[i, None], label_smoothing=float(e)) for i, e in enumerate(eps)]
        return torch.stack(rows).mean()

    return one_pass(loss)


@pytest.mark.parametrize(
    ("strengths", "eps", "spread", "uniform"),
    [
        ([0.1] * 24, 0.1, None, 0),
        (np.linspace(0.05, 0.25, 24), 0.15, (0.05, 0.25), 0),
        ([1.0] * 4 + [0.1] * 20, 0.1, None, 4),  # rows without a label
        ([1.0] * 24, 1.0, None, 0),
    ],
)
def test_many_rows_have_one_strength_its_spread_and_rows_without_a_label(strengths, eps, spread, uniform):
    found = targets_seen([of_each(strengths)])
    assert (found.eps, found.uniform) == (pytest.approx(eps, abs=0.01 if spread else 1e-6), uniform)
    assert found.eps_others == pytest.approx(found.eps * 7 / 8, rel=1e-4)
    assert found.spread == (None if spread is None else pytest.approx(spread, abs=0.01))


def test_the_factor_of_a_pass_is_that_of_its_labelled_rows():
    counted = count_of([of_each([1.0] * 4 + [0.1] * 20)], 0.1)
    assert (counted.counted, counted.rows) == (20, 24)
    assert counted.factor == pytest.approx(1 / 24, rel=1e-6)


def test_a_part_that_is_not_normalised_is_no_z_loss_and_has_no_strength():
    found = targets_seen([one_pass(lambda z, y: 0.9 * F.cross_entropy(z, y) - 0.1 * z.mean())])
    assert (found.eps, found.beside, found.balanced) == (None, False, False)


def test_a_class_with_negative_mass_is_no_second_label():
    found = targets_seen([one_pass(lambda z, y: F.cross_entropy(z, y) + 0.1 * (z.amax(1) - z.mean(1)).mean())])
    assert (found.eps, found.pairs, found.soft > 0.5) == (None, 0.0, True)


def test_no_row_with_a_gradient_has_no_target():
    assert targets_seen([one_pass(lambda z, y: 0 * z.sum())]) is None


@pytest.mark.parametrize(("factors", "told"), [([1, 1, 1, 1.001], False), ([1, 2, 1, 2], True), ([1], False)])
def test_factors_vary_beyond_rounding(factors, told):
    assert varies(np.array(factors, float), coarse=False) == told
