"""Strengths that stand in a program, found where they are and nowhere else."""

from __future__ import annotations

import argparse
import functools

import pytest
import torch.nn.functional as F
from torch import nn

from sfumato.adapters.hf import compute_loss
from sfumato.probe.watching.given import GivenStrength, given_strengths


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
