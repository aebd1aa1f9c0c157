"""What is found in a model's call: logits, loss, tokens, masks, labels, and the strengths of the program around it."""

from __future__ import annotations

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
    GivenStrength,
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


IDS = torch.tensor([[3, 4, 5, 6, 0, 0], [7, 8, 9, 3, 4, 5]])
MASK = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])


def compared(labels: torch.Tensor, inputs: ModelInputs, pad: int | None = None):
    live = (labels >= 0).numpy().ravel()
    return inputs.compare(np.where(live, labels.numpy().ravel(), -1), live, (2, 6), pad)


def shifted(by: int, ids: torch.Tensor = IDS) -> torch.Tensor:
    out = torch.full_like(ids, -1)
    out[:, : 6 - by] = ids[:, by:]
    return out


def test_labels_of_the_next_and_of_the_token_after_it_are_told_apart():
    for by, name in ((0, "same"), (1, "next"), (2, "second")):
        found = compared(shifted(by), ModelInputs(IDS))
        assert found[name] == found["live"] == 2 * (6 - by)


def test_masked_tokens_as_labels_are_padding():
    assert compared(shifted(1), ModelInputs(IDS, MASK))["padding"] == 2
    assert compared(shifted(1).masked_fill(shifted(1) == 0, -1), ModelInputs(IDS, MASK))["padding"] == 0


def test_without_a_mask_the_second_padding_token_in_a_row_is_padding():
    assert compared(shifted(1), ModelInputs(IDS), pad=0)["padding"] == 1
    assert compared(shifted(1), ModelInputs(IDS))["padding"] == 0


def test_rows_whose_given_label_is_ignored_are_counted_at_the_shift_in_use():
    given = IDS.masked_fill(MASK == 0, -100)
    assert compared(shifted(1), ModelInputs(IDS, MASK, given))["ignored"] == 2
    assert compared(shifted(1).masked_fill(shifted(1) == 0, -1), ModelInputs(IDS, MASK, given))["ignored"] == 0


def test_tensors_are_found_by_name_in_a_batch_and_by_place():
    batch = {"input_ids": IDS, "attention_mask": MASK, "labels": IDS, "pixel_values": torch.zeros(2, 3)}
    assert inputs_of((), batch) == inputs_of((batch,), {}) == ModelInputs(IDS, MASK, IDS)
    assert inputs_of((IDS, torch.zeros(2, 3)), {}).ids is IDS
    assert inputs_of((torch.zeros(2, 3),), {}) == ModelInputs()


def found(model=None, **kwargs) -> list[tuple[str, float]]:
    return [(each.where, each.value) for each in given_strengths(model, kwargs)]


def test_an_argument_of_a_function_that_is_running():
    def train(label_smoothing):
        return found()

    assert train(0.1) == [("label_smoothing", 0.1)]


def test_an_attribute_of_a_trainers_arguments():
    class Trainer:
        args = None

        def train(self):
            return found()

    trainer = Trainer()
    trainer.args = argparse.Namespace(label_smoothing_factor=0.2, adam_epsilon=1e-8, weight_decay=0.1)
    assert trainer.train() == [("Trainer.args.label_smoothing_factor", 0.2)]


@pytest.mark.parametrize(
    "criterion",
    [
        nn.CrossEntropyLoss(label_smoothing=0.1),
        functools.partial(F.cross_entropy, label_smoothing=0.1),
        compute_loss(0.1),
    ],
)
def test_a_loss_of_a_name_or_of_a_class_that_says_so(criterion):
    assert [value for _, value in found()] == [0.1]


def test_a_loss_inside_a_module():
    class Lit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.objective = nn.CrossEntropyLoss(label_smoothing=0.3)

        def step(self):
            return found()

    assert Lit().step() == [("Lit.objective.label_smoothing", 0.3)]


def test_an_argument_of_the_model_itself():
    assert found(nn.Linear(1, 1), label_smoothing=0.1) == [("Linear(…, label_smoothing=…)", 0.1)]


def test_what_a_loss_spreads_over_is_told():
    loss = compute_loss(0.1, over="others")
    assert [each.over for each in given_strengths(None, {}) if isinstance(each, GivenStrength)] == [loss.over]


def test_what_a_function_was_told_to_spread_over_goes_with_its_strength():
    def train(label_smoothing, over):
        return [(each.value, each.over) for each in given_strengths(None, {})]

    assert train(0.1, "others") == [(0.1, "others")]


def test_other_numbers_of_such_names_are_left_alone():
    def train(bar, label_smoothing_schedule, eps, args):
        return found()

    bar = argparse.Namespace(smoothing=0.3)  # as progress bars have it
    assert train(bar, 0.1, 1e-8, argparse.Namespace(eps=0.1, label_smoothing=0.0)) == []
