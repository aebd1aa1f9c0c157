"""A one-hot loss and the term are the smoothed loss, in value and gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import sfumato as sf

CLASSES, FEATURES, ROWS = 5000, 12, 31  # more classes than the term takes at a time


def layer(dtype: torch.dtype):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, FEATURES, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(CLASSES, FEATURES, generator=generator).to(dtype).requires_grad_()
    bias = torch.randn(CLASSES, generator=generator).to(dtype).requires_grad_()
    labels = torch.randint(0, CLASSES, (ROWS,), generator=generator)
    labels[3:6] = labels[2]  # their gradients meet in one row of the weight
    labels[::7] = -100
    return x, weight, bias, labels


PRIOR = torch.arange(CLASSES, dtype=torch.float64) / (CLASSES * (CLASSES - 1) / 2)
KINDS = {
    "all": ({"over": "all"}, lambda y: sf.smooth(y, CLASSES, 0.2, over="all")),
    "others": ({"over": "others"}, lambda y: sf.smooth(y, CLASSES, 0.2, over="others")),
    "prior": ({"prior": PRIOR}, lambda y: sf.smooth_prior(y, PRIOR, 0.2)),
}
# In float64 the error is that of what is wanted: a difference of two losses.
NEAR = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 2**-8, torch.float16: 2**-10}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", NEAR, ids=str)
def test_the_term_is_the_smoothed_loss_less_the_hard_one(dtype, kind, reduction):
    options, target = KINDS[kind]
    x, weight, bias, labels = layer(dtype)
    exact = [each.detach().double().requires_grad_() for each in (x, weight, bias)]
    z = F.linear(*exact)
    wanted = sf.cross_entropy(z, target(labels), reduction=reduction) - F.cross_entropy(z, labels, reduction=reduction)
    term = sf.smoothing_term(x, weight, labels, 0.2, linear_bias=bias, reduction=reduction, **options)
    assert term.dtype == dtype
    scale = wanted.abs().max() + 1e-3
    assert ((term.double() - wanted).abs() <= NEAR[dtype] * scale).all()
    up = torch.linspace(0.5, 2, ROWS).expand(wanted.shape) if reduction == "none" else torch.tensor(2.0)
    found = torch.autograd.grad(term, (x, weight, bias), up.to(dtype))
    for mine, theirs in zip(found, torch.autograd.grad(wanted, exact, up.to(dtype).double()), strict=True):
        assert mine.dtype == dtype
        assert ((mine.double() - theirs).abs() <= 2 * NEAR[dtype] * theirs.abs().max()).all()


def test_with_torchs_chunked_loss_it_is_torchs_smoothed_loss():
    chunked = getattr(F, "linear_cross_entropy", None)
    if chunked is None:
        pytest.skip("this torch has no fused loss")
    x, weight, _, labels = layer(torch.float64)
    hard = chunked(x, weight, labels, options=torch.nn.LinearCrossEntropyOptions())
    found = hard + sf.smoothing_term(x, weight, labels, 0.1, over="all")
    wanted = F.cross_entropy(F.linear(x, weight), labels, label_smoothing=0.1)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-13)
    mine, theirs = (torch.autograd.grad(each, (x, weight)) for each in (found, wanted))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-14)


def cut(gradient: torch.Tensor, block: int, least: float) -> torch.Tensor:
    """What Cut Cross Entropy's default filter leaves of a gradient: blocks with an entry of at least ``least``."""
    blocks = gradient.reshape(len(gradient), -1, block)
    return (blocks * (blocks.abs().amax((0, 2), keepdim=True) >= least)).reshape(gradient.shape)


def test_beside_a_kernel_that_drops_small_gradients_the_value_is_right_and_the_gradient_is_not():
    """At the optimum of the smoothed loss, by Cut Cross Entropy's formulas: blocks of classes, eps/32 of bfloat16."""
    labels = torch.tensor([0])
    z = torch.zeros(1, CLASSES, dtype=torch.float64)
    z[0, 0] = sf.theory.optimal_gap(0.1, CLASSES, over="all")
    x, weight = torch.ones(1, 1, dtype=torch.float64), z.t().clone().requires_grad_()  # so that ∂L/∂W is ∂L/∂z
    (of_term,) = torch.autograd.grad(sf.smoothing_term(x, weight, labels, 0.1, over="all"), weight)
    of_hard = z.softmax(1) - F.one_hot(labels, CLASSES)
    kept = cut(of_hard, 50, torch.finfo(torch.bfloat16).eps / 32)
    assert (kept != 0).sum() == 50, "the block of the label alone is left"
    exact, filtered = of_hard + of_term.t(), kept + of_term.t()
    assert exact.abs().max() < 5e-14, "with the filter off the two cancel: this is the optimum"
    assert filtered.abs().sum() > 0.09, "with it on, nine tenths of what ε moved pull at the tail"


X, W, B, Y = layer(torch.float32)
REFUSED = {
    "neither": ({"over": None}, "either over"),
    "both": ({"prior": PRIOR}, "either over"),
    "over": ({"over": "some"}, "some"),
    "prior's size": ({"over": None, "prior": PRIOR[1:]}, r"\(5000,\).*got torch.float64 \(4999,\)"),
    "prior's sum": ({"over": None, "prior": PRIOR / 2}, "prior must sum to 1"),
    "prior's gradient": (
        {"over": None, "prior": PRIOR.clone().requires_grad_()},
        "^the prior gets no gradient: pass it detached",
    ),
    "bias": ({"linear_bias": B[1:]}, "linear_bias must be"),
    "reduction": ({"reduction": "median"}, "median"),
    "strength": ({"eps": -0.1}, r"^eps must be in \[0, 1\], got -0\.1$"),
    "positions": ({"target": Y[1:]}, "positions"),
    "type of the strength": ({"eps": torch.tensor(0.1)}, r"^eps must be a number"),
    "type of the prior": ({"over": None, "prior": [1.0] * CLASSES}, r"^prior must be a torch\.Tensor, got list"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_by_name(name):
    given, message = REFUSED[name]
    with pytest.raises(TypeError if name.startswith("type") else ValueError, match=message):
        sf.smoothing_term(X, W, **({"target": Y, "eps": 0.1, "over": "all"} | given))


def test_under_autocast_it_is_that_of_the_rounded_layer_in_float32():
    x, weight = X.detach().bfloat16().requires_grad_(), W.detach().clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        term = sf.smoothing_term(x, weight, Y, 0.1, over="all", linear_bias=B)
    rounded = [each.detach().bfloat16().float().requires_grad_() for each in (x, weight, B)]
    wanted = sf.smoothing_term(rounded[0], rounded[1], Y, 0.1, over="all", linear_bias=rounded[2])
    assert term.dtype == torch.float32
    torch.testing.assert_close(term, wanted, rtol=1e-6, atol=0)
    found = torch.autograd.grad(term, (x, weight))
    assert [each.dtype for each in found] == [torch.bfloat16, torch.float32]
    for mine, theirs in zip(found, torch.autograd.grad(wanted, rounded[:2]), strict=True):
        assert (mine.float() - theirs).abs().max() <= 2**-8 * theirs.abs().max()


def test_without_strength_it_is_0_and_it_has_no_second_derivative():
    assert sf.smoothing_term(X, W, Y, 0.0, over="all").item() == 0
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(sf.smoothing_term(X, W, Y, 0.1, over="all"), X, create_graph=True)


def test_labels_that_change_between_forward_and_backward_are_an_error():
    labels = Y.abs() % CLASSES
    term = sf.smoothing_term(X, W, labels, 0.1, over="all")
    labels.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        term.backward()
