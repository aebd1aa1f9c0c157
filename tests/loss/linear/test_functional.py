"""What may be given to ``linear_cross_entropy`` beside its layer, and in which types."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad

import sfumato as sf

CLASSES = 5
GENERATOR = torch.Generator().manual_seed(0)
X, WEIGHT = (torch.randn(n, 3, generator=GENERATOR, dtype=torch.float64) for n in (4, CLASSES))
LABELS = torch.tensor([0, 1, 4, 2])
ROWS = torch.full((CLASSES, CLASSES), 1 / CLASSES, dtype=torch.float64)
# Of each tensor that takes part as a number: its values, and the loss as a function of it.
CONSTANT = {
    "class weights": (ROWS[0], lambda w: sf.linear_cross_entropy(X, WEIGHT, LABELS, weight=w)),
    "strengths": (
        torch.full((4,), 0.1),
        lambda eps: sf.linear_cross_entropy(X, WEIGHT, sf.smooth(LABELS, CLASSES, eps, over="all")),
    ),
    "a table": (ROWS, lambda rows: sf.linear_cross_entropy(X, WEIGHT, sf.smooth_rows(LABELS, rows), reduction="sum")),
}
MESSAGE = "^targets and class weights get no gradient: pass them detached, or use sf.cross_entropy"


@pytest.mark.parametrize("what", CONSTANT)
def test_what_would_get_a_gradient_beside_the_layer_is_refused(what):
    values, loss = CONSTANT[what]
    with pytest.raises(ValueError, match=MESSAGE):
        loss(values.clone().requires_grad_())


@pytest.mark.parametrize("what", CONSTANT)
def test_what_forward_mode_follows_beside_the_layer_is_refused(what):
    values, loss = CONSTANT[what]
    with forward_ad.dual_level(), pytest.raises(ValueError, match=MESSAGE):
        loss(forward_ad.make_dual(values.clone(), torch.ones_like(values)))


@pytest.mark.parametrize("what", CONSTANT)
def test_where_no_gradient_is_asked_for_a_parameter_is_a_number(what):
    values, loss = CONSTANT[what]
    with torch.no_grad():
        assert loss(values.clone().requires_grad_()) == loss(values)


OF_INPUT = [
    lambda x: sf.linear_cross_entropy(x, WEIGHT, LABELS),
    lambda x: sf.smoothing_term(x, WEIGHT, LABELS, 0.1, over="all"),
]


@pytest.mark.parametrize("loss", OF_INPUT)
def test_transforms_and_forward_mode_are_refused_with_the_way_out(loss):
    told = r"^a layer whose logits are never all there has gradients by backward\(\) alone.* use sf\.cross_entropy"
    with pytest.raises(NotImplementedError, match=told):
        torch.func.grad(loss)(X)
    with pytest.raises(NotImplementedError, match=told):
        torch.func.vmap(loss)(X[None])
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match=told):
        loss(forward_ad.make_dual(X, torch.ones_like(X)))


def test_autocast_leaves_float64_as_it_is():
    with torch.autocast("cpu", torch.bfloat16):
        found = sf.linear_cross_entropy(X, WEIGHT, LABELS)
    assert found.dtype == torch.float64
    assert torch.equal(found, sf.linear_cross_entropy(X, WEIGHT, LABELS))


def test_under_autocast_float64_beside_float32_is_refused_as_torch_refuses_it():
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(RuntimeError):
            torch.nn.functional.linear(X.float(), WEIGHT)
        with pytest.raises(ValueError, match="input is torch.bfloat16 on cpu and linear_weight torch.float64"):
            sf.linear_cross_entropy(X.float(), WEIGHT, LABELS)
