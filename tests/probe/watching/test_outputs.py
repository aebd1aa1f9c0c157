"""Where logits are in an output, in its graph, and on which axis their classes are."""

from __future__ import annotations

from collections import namedtuple

import pytest
import torch
import torch.nn.functional as F

from sfumato.probe.watching.tensors import as_rows, class_axis, logits_of, loss_in, source_of

Z = torch.zeros(2, 5)
Pair = namedtuple("Pair", "logits aux_logits")


@pytest.mark.parametrize(
    "output",
    [
        Z,
        {"logits": Z, "hidden": Z + 1},
        (torch.tensor(1.0), Z),
        [Z],
        Pair(Z, Z + 1),
        {"loss": torch.tensor(1.0), "scores": Z},
    ],
)
def test_the_logits_of_an_output_are_found(output):
    assert logits_of(output, None) is Z


@pytest.mark.parametrize("output", [{"loss": torch.tensor(1.0)}, {"loss": None, "logits": None}, {"log_probs": Z}])
def test_an_output_that_leaves_them_out_has_none(output):
    assert logits_of(output, None) is None


def test_a_loss_is_found_by_name_and_in_the_first_place():
    assert loss_in({"loss": torch.tensor(2.0), "logits": Z}) == 2
    assert loss_in((torch.tensor(3.0), Z)) == 3
    assert loss_in((Z, torch.tensor(3.0))) is None


def test_the_node_behind_a_copy_is_that_of_the_logits():
    z = (torch.zeros(2, 3, requires_grad=True) * 2).to(torch.bfloat16)
    assert source_of(z.float().clone()) == source_of(z)
    assert source_of(torch.zeros(2, 3, requires_grad=True)) is None


@pytest.mark.parametrize(("shape", "axis"), [((4, 6, 5), 1), ((4, 6, 5), 2), ((2, 5, 3, 4), 1), ((7, 5), 1)])
def test_the_axis_of_the_classes_is_that_along_which_gradients_sum_to_0(shape, axis):
    z = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    rows = as_rows(z, axis)
    F.cross_entropy(rows, torch.arange(len(rows)) % shape[axis]).backward()
    assert class_axis(z.detach(), z.grad) == axis
