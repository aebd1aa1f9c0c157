"""The loss as a module."""

from __future__ import annotations

import torch

import sfumato as sf
from tests.loss.properties import path

__all__ = ["path"]  # a fixture: every claim is made of the compiled kernel and of the torch path


def test_the_module_is_torchs_and_takes_its_arguments_in_order():
    weight = torch.rand(4)
    ours = sf.CrossEntropyLoss(weight, None, 2, None, "sum", 0.1)
    theirs = torch.nn.CrossEntropyLoss(weight, None, 2, None, "sum", 0.1)
    z, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 2, 1])
    assert isinstance(ours, torch.nn.CrossEntropyLoss)
    torch.testing.assert_close(ours(z, labels), theirs(z, labels))
    assert repr(ours) == 'CrossEntropyLoss(label_smoothing=0.1, over="all", reduction="sum")'
    assert torch.equal(ours.state_dict()["weight"], weight)


def test_permission_to_overwrite_hinders_neither_evaluation_nor_compilation():
    loss = sf.CrossEntropyLoss(overwrite_logits=True)
    z, labels = torch.randn(3, 4), torch.tensor([0, 1, 3])
    with torch.no_grad():
        assert loss(z, labels) == sf.cross_entropy(z, labels)
    weight = torch.randn(4, 4, requires_grad=True)
    compiled = torch.compile(lambda z: loss(z @ weight, labels), fullgraph=True, backend="aot_eager")
    compiled(z).backward()
