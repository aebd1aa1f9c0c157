"""The loss of preference pairs: its definition, its optimum, and smoothing at two classes."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch

import sfumato as sf

MARGINS = [-300.0, -40.0, -2.0, -1e-3, 0.0, 0.5, 3.0, 40.0, 300.0]


def exact(margin: float, eps: float, kind: str) -> float:
    """By the formula of the papers, with 400 digits."""
    with mpmath.workdps(400):
        m, e = mpmath.mpf(margin), mpmath.mpf(eps)
        right, flipped = mpmath.log(1 / (1 + mpmath.exp(-m))), mpmath.log(1 / (1 + mpmath.exp(m)))
        if kind == "conservative":
            return float(-(1 - e) * right - e * flipped)
        return float((-(1 - e) * right + e * flipped) / (1 - 2 * e))


@pytest.mark.parametrize("kind", ["conservative", "robust"])
@pytest.mark.parametrize("eps", [0.0, 0.1, 0.45])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-14), (torch.float32, 5e-7)])
def test_each_pair_has_the_exact_loss(kind, eps, dtype, bound):
    margins = torch.tensor(MARGINS, dtype=dtype)
    found = sf.pair_cross_entropy(margins, eps, kind=kind, reduction="none").double().numpy()
    wanted = np.array([exact(m, eps, kind) for m in margins.tolist()])
    size = np.abs(wanted)
    if kind == "robust":  # it crosses 0, where it is as exact as its two terms
        size = np.array([exact(m, 0.0, kind) for m in margins.tolist()]) + eps / (1 - 2 * eps) * np.abs(MARGINS)
    assert (np.abs(found - wanted) <= bound * size + 1e-44).all()


@pytest.mark.parametrize("eps", [0.0, 0.1, 0.7])
def test_the_conservative_loss_is_smoothing_over_the_other_of_two_classes(eps):
    margin = torch.tensor(MARGINS, dtype=torch.float64)
    logits, labels = torch.stack([margin, torch.zeros_like(margin)], 1), torch.zeros(len(MARGINS), dtype=torch.int64)
    wanted = sf.reference.cross_entropy(logits, labels, label_smoothing=eps, over="others")
    torch.testing.assert_close(sf.pair_cross_entropy(margin, eps), torch.as_tensor(wanted), rtol=1e-13, atol=0)


@pytest.mark.parametrize("eps", [0.01, 0.1, 0.5, 0.9])
def test_the_conservative_gradient_is_zero_at_the_closed_form_and_the_loss_at_its_floor(eps):
    margin = torch.tensor(sf.theory.optimal_margin(eps), dtype=torch.float64, requires_grad=True)
    loss = sf.pair_cross_entropy(margin, eps)
    assert torch.autograd.grad(loss, margin)[0].item() == pytest.approx(0, abs=1e-15)
    assert loss.item() == pytest.approx(sf.theory.pair_floor(eps), rel=1e-14)


@pytest.mark.parametrize("eps", [0.0, 0.1, 0.4])
def test_the_robust_loss_is_on_average_over_flipped_labels_that_of_the_right_ones(eps):
    margin = torch.tensor(MARGINS, dtype=torch.float64)
    seen, flipped = (sf.pair_cross_entropy(m, eps, kind="robust", reduction="none") for m in (margin, -margin))
    wanted = sf.pair_cross_entropy(margin, 0.0, reduction="none")
    torch.testing.assert_close((1 - eps) * seen + eps * flipped, wanted, rtol=1e-12, atol=1e-12)


def test_the_robust_loss_falls_for_ever():
    margin = torch.tensor([1.0, 10.0, 100.0, 1e6], dtype=torch.float64)
    loss = sf.pair_cross_entropy(margin, 0.1, kind="robust", reduction="none")
    assert (loss.diff() < 0).all()
    assert loss[-1].item() < -1e5
    assert sf.theory.optimal_margin(0.1, kind="robust") == np.inf
    assert sf.theory.pair_floor(0.1, kind="robust") == -np.inf


@pytest.mark.parametrize("kind", ["conservative", "robust"])
def test_derivatives_are_those_of_finite_differences(kind):
    margin = torch.tensor([-2.0, 0.3, 4.0], dtype=torch.float64, requires_grad=True)

    def loss(m: torch.Tensor) -> torch.Tensor:
        return sf.pair_cross_entropy(m, 0.2, kind=kind, reduction="none")

    assert torch.autograd.gradcheck(loss, margin)
    assert torch.autograd.gradgradcheck(loss, margin)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype):
    margin = torch.tensor([-2.0, 0.3, 4.0]).to(dtype)
    found = sf.pair_cross_entropy(margin, 0.2, reduction="sum")
    assert torch.equal(found, sf.pair_cross_entropy(margin.float(), 0.2, reduction="sum").to(dtype))


@pytest.mark.parametrize(("dtype", "wanted"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)])
def test_under_autocast_half_precision_is_float32(dtype, wanted):
    with torch.autocast("cpu", torch.bfloat16):
        assert sf.pair_cross_entropy(torch.tensor([0.5], dtype=dtype), 0.1).dtype == wanted


def test_reductions_are_mean_sum_and_none():
    margin = torch.tensor([[-2.0, 0.3], [4.0, 1.0]])
    rows = sf.pair_cross_entropy(margin, 0.2, reduction="none")
    assert rows.shape == margin.shape
    torch.testing.assert_close(sf.pair_cross_entropy(margin, 0.2), rows.mean())
    torch.testing.assert_close(sf.pair_cross_entropy(margin, 0.2, reduction="sum"), rows.sum())


@pytest.mark.parametrize(
    ("eps", "how", "message"),
    [
        (-0.1, {}, r"eps must be in \[0, 1\], got -0.1"),
        (float("nan"), {}, r"eps must be in \[0, 1\], got nan"),
        (0.5, {"kind": "robust"}, 'eps must be below 0.5 with kind="robust", got 0.5: half of all labels wrong tell'),
        (0.1, {"kind": "cautious"}, 'kind must be "conservative" or "robust", got \'cautious\''),
        (0.1, {"reduction": "median"}, 'reduction must be "mean", "sum" or "none", got \'median\''),
    ],
)
def test_what_has_no_loss_is_refused(eps, how, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        sf.pair_cross_entropy(torch.zeros(2), eps, **how)


def test_a_margin_of_integers_is_refused():
    with pytest.raises(TypeError, match=r"^margin must be floating, got torch.int64$"):
        sf.pair_cross_entropy(torch.zeros(2, dtype=torch.int64), 0.1)
