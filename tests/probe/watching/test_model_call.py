"""What is found in a model's call: logits, loss, tokens, masks, labels, and the strengths of the program around it."""

import argparse
import functools
from collections import namedtuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sfumato.adapters.hf import compute_loss
from sfumato.probe.watching.model_call import (
    ModelInputs,
    as_rows,
    class_axis,
    given_strengths,
    inputs_of,
    logits_of,
    loss_in,
    source_of,
)

Z = torch.zeros(2, 5)
ONE = torch.tensor(1.0)
Pair = namedtuple("Pair", "logits aux_logits")


@pytest.mark.parametrize(
    ("output", "logits", "loss"),
    [
        (Z, Z, None),
        ({"logits": Z, "hidden": Z + 1, "loss": ONE}, Z, ONE),
        ((ONE, Z), Z, ONE),
        ([Z], Z, None),
        (Pair(Z, Z + 1), Z, None),
        ({"loss": ONE, "scores": Z}, Z, ONE),
        ((Z, ONE), Z, None),
        ({"loss": ONE}, None, ONE),
        ({"loss": None, "logits": None}, None, None),
        ({"log_probs": Z}, None, None),
    ],
)
def test_the_logits_and_the_loss_of_an_output_are_found_unless_it_leaves_them_out(output, logits, loss):
    assert logits_of(output, None) is logits
    assert loss_in(output) is loss


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


IDS = torch.tensor([[3, 4, 5, 6, 0, 0], [7, 8, 9, 3, 4, 5]])
MASK = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])


def shifted(by: int) -> torch.Tensor:
    out = torch.full_like(IDS, -1)
    out[:, : 6 - by] = IDS[:, by:]
    return out


PADDED, CLEAN = shifted(1), shifted(1).masked_fill(shifted(1) == 0, -1)
GIVEN = ModelInputs(IDS, MASK, IDS.masked_fill(MASK == 0, -100))


@pytest.mark.parametrize(
    ("labels", "inputs", "pad", "counts"),
    [
        *((shifted(by), ModelInputs(IDS), None, {name: 2 * (6 - by), "live": 2 * (6 - by)})
          for by, name in enumerate(("same", "next", "second"))),
        (PADDED, ModelInputs(IDS, MASK), None, {"padding": 2}),
        (CLEAN, ModelInputs(IDS, MASK), None, {"padding": 0}),
        (PADDED, ModelInputs(IDS), 0, {"padding": 1}),  # the second token of a run, where there is no mask
        (PADDED, ModelInputs(IDS), None, {"padding": 0}),
        (PADDED, GIVEN, None, {"ignored": 2}),  # at the shift in use
        (CLEAN, GIVEN, None, {"ignored": 0}),
    ],
)  # fmt: skip
def test_labels_in_use_are_compared_with_tokens_masks_and_given_labels(labels, inputs, pad, counts):
    live = (labels >= 0).numpy().ravel()
    found = inputs.compare(np.where(live, labels.numpy().ravel(), -1), live, (2, 6), pad)
    assert {name: found[name] for name in counts} == counts


def test_tensors_are_found_by_name_in_a_batch_and_by_place():
    batch = {"input_ids": IDS, "attention_mask": MASK, "labels": IDS, "pixel_values": torch.zeros(2, 3)}
    assert inputs_of((), batch) == inputs_of((batch,), {}) == ModelInputs(IDS, MASK, IDS, IDS)
    assert inputs_of((IDS, torch.zeros(2, 3)), {}).ids is IDS
    assert inputs_of((MASK / 2,), {}).ids is None


def found(model=None, **kwargs) -> list[tuple[str, float, str]]:
    return [tuple(each) for each in given_strengths(model, kwargs)]


def test_arguments_of_a_function_that_is_running_and_of_the_model_itself():
    def train(label_smoothing, over):
        return found()

    assert train(0.1, "others") == [("label_smoothing", 0.1, "others")]
    assert found(nn.Linear(1, 1), label_smoothing=0.1) == [("Linear(…, label_smoothing=…)", 0.1, "")]


def test_attributes_of_a_trainers_arguments_and_of_a_loss_inside_a_module():
    class Trainer:
        def __init__(self) -> None:
            self.args = argparse.Namespace(label_smoothing_factor=0.2, adam_epsilon=1e-8, weight_decay=0.1)

        def train(self):
            return found()

    class Lit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.objective = nn.CrossEntropyLoss(label_smoothing=0.3)

        def step(self):
            return found()

    assert Trainer().train() == [("Trainer.args.label_smoothing_factor", 0.2, "")]
    assert Lit().step() == [("Lit.objective.label_smoothing", 0.3, "")]


@pytest.mark.parametrize(
    ("criterion", "over"),
    [
        (nn.CrossEntropyLoss(label_smoothing=0.1), ""),
        (functools.partial(F.cross_entropy, label_smoothing=0.1), ""),
        (compute_loss(0.1, over="others"), "others"),
    ],
)
def test_a_loss_of_a_name_or_of_a_class_that_says_so(criterion, over):
    assert [each[1:] for each in found()] == [(0.1, over)]


def test_other_numbers_of_such_names_are_left_alone():
    def train(bar, label_smoothing_schedule, eps, args):
        return found()

    bar = argparse.Namespace(smoothing=0.3)  # as progress bars have it
    assert train(bar, 0.1, 1e-8, argparse.Namespace(eps=0.1, label_smoothing=0.0)) == []
