"""The loss as a module: by its attributes, as code that was written for torch's uses them, and refused when made."""

from __future__ import annotations

import pytest
import torch

import sfumato as sf
from tests.loss.properties import path

__all__ = ["path"]  # a fixture: every claim is made of the compiled kernel and of the torch path

WEIGHT = torch.tensor([0.5, 1.0, 2.0, 4.0])
LOGITS = 3 * torch.sin(torch.arange(24.0)).reshape(6, 4)
LABELS = torch.tensor([0, 1, 2, 3, 2, 1])

# Of each argument, a value that is not its default and changes the loss of LOGITS and LABELS.
OF_TORCH = {"weight": WEIGHT, "ignore_index": 2, "reduction": "sum", "label_smoothing": 0.25}
OF_SFUMATO = {"over": "others", "weight_on": "sample", "softcap": 3.0, "z_loss": 0.1, "out_dtype": torch.float64}


def public(module: torch.nn.Module) -> set[str]:
    return {name for name in [*vars(module), *dict(module.named_buffers())] if not name.startswith("_")}


def test_every_attribute_of_torchs_module_is_there_under_its_name():
    ours, theirs = (made(**OF_TORCH) for made in (sf.CrossEntropyLoss, torch.nn.CrossEntropyLoss))
    assert public(theirs) >= set(OF_TORCH)
    assert public(ours) == public(theirs) | {*OF_SFUMATO, "overwrite_logits"}
    for name in public(theirs):
        assert getattr(ours, name) is getattr(theirs, name) or getattr(ours, name) == getattr(theirs, name), name


@pytest.mark.parametrize("name", [*OF_TORCH, *OF_SFUMATO])
def test_an_attribute_that_is_set_later_counts_as_the_argument_does(name):
    value = (OF_TORCH | OF_SFUMATO)[name]
    needed = {"over": {"label_smoothing": 0.1}, "weight_on": {"label_smoothing": 0.1, "weight": WEIGHT}}
    others = needed.get(name, {})
    loss, argued = sf.CrossEntropyLoss(**others), sf.CrossEntropyLoss(**others, **{name: value})
    plain = loss(LOGITS, LABELS)
    setattr(loss, name, value)
    found, wanted = loss(LOGITS, LABELS), argued(LOGITS, LABELS)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    assert plain.dtype != wanted.dtype or not torch.equal(plain, wanted)  # or the test would see nothing
    if name in OF_TORCH:
        theirs = torch.nn.CrossEntropyLoss(**others)
        setattr(theirs, name, value)
        torch.testing.assert_close(found, theirs(LOGITS, LABELS))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"label_smoothing": -0.1}, r"label_smoothing must be in \[0, 1\], got -0.1"),
        ({"label_smoothing": "1e-1"}, "label_smoothing must be a number, got '1e-1'"),  # as YAML reads 1e-1
        ({"over": "some"}, "over must be .* got 'some'"),
        ({"reduction": "avg"}, 'reduction must be "mean", "sum" or "none", got \'avg\''),
        ({"weight_on": "row"}, "weight_on must be .* got 'row'"),
        ({"softcap": -1.0}, "softcap must be above 0 and finite, got -1"),
        ({"z_loss": -1.0}, "z_loss must be at least 0 and finite, got -1"),
    ],
)
def test_a_bad_argument_is_refused_at_construction(bad, message):
    with pytest.raises(TypeError if "number" in message else ValueError, match=f"^{message}"):
        sf.CrossEntropyLoss(**bad)


def test_permission_to_overwrite_that_is_given_later_counts():
    loss = sf.CrossEntropyLoss()
    loss.overwrite_logits = True
    with pytest.raises(ValueError, match="overwrite_logits=True is refused"):
        loss(LOGITS.clone().requires_grad_(), LABELS)


def test_the_module_is_torchs_and_takes_its_arguments_in_order():
    weight = torch.rand(4)
    ours = sf.CrossEntropyLoss(weight, None, 2, None, "sum", 0.1)
    theirs = torch.nn.CrossEntropyLoss(weight, None, 2, None, "sum", 0.1)
    z, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 2, 1])
    assert isinstance(ours, torch.nn.CrossEntropyLoss)
    torch.testing.assert_close(ours(z, labels), theirs(z, labels))
    assert repr(ours) == 'CrossEntropyLoss(label_smoothing=0.1, over="all", reduction="sum")'
    assert torch.equal(ours.state_dict()["weight"], weight)


@pytest.mark.slow
def test_permission_to_overwrite_hinders_neither_evaluation_nor_compilation():
    loss = sf.CrossEntropyLoss(overwrite_logits=True)
    z, labels = torch.randn(3, 4), torch.tensor([0, 1, 3])
    with torch.no_grad():
        assert loss(z, labels) == sf.cross_entropy(z, labels)
    weight = torch.randn(4, 4, requires_grad=True)
    compiled = torch.compile(lambda z: loss(z @ weight, labels), fullgraph=True, backend="aot_eager")
    compiled(z).backward()
