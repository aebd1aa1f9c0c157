"""``LinearCrossEntropyLoss``: the function with a weight of its own, and what it refuses when it is made."""

from __future__ import annotations

import pytest
import torch

import sfumato as sf


def test_the_module_is_the_function_with_a_weight_of_its_own():
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(*shape, generator=generator) for shape in ((41, 12), (70, 12), (70,)))
    labels = torch.randint(0, 70, (41,), generator=generator)
    module = sf.LinearCrossEntropyLoss(12, 70, bias=True, label_smoothing=0.1, over="others", softcap=9.0)
    module.load_state_dict({"linear.weight": weight, "linear.bias": bias})
    wanted = sf.linear_cross_entropy(
        x, weight, labels, linear_bias=bias, label_smoothing=0.1, over="others", softcap=9.0
    )
    assert module(x, labels).item() == wanted.item()
    assert 'over="others"' in repr(module)


def test_repr_says_what_was_set():
    assert "shift" not in repr(sf.LinearCrossEntropyLoss(2, 3))
    told = repr(sf.LinearCrossEntropyLoss(2, 3, softcap=30.0, z_loss=1e-4, shift=True))
    assert 'reduction="mean", softcap=30, z_loss=0.0001, shift=True\n' in told


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"label_smoothing": 2.0}, r"label_smoothing must be in \[0, 1\], got 2"),
        ({"over": "some"}, "over must be .* got 'some'"),
        ({"reduction": "avg"}, 'reduction must be "mean", "sum" or "none", got \'avg\''),
        ({"softcap": -1.0}, "softcap must be above 0 and finite, got -1"),
        ({"z_loss": -1.0}, "z_loss must be at least 0 and finite, got -1"),
    ],
)
def test_a_bad_argument_is_refused_at_construction(bad, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        sf.LinearCrossEntropyLoss(2, 3, **bad)
