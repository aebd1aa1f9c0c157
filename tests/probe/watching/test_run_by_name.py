"""Trainers that are named as ``module:function``."""

from __future__ import annotations

import sys
import types

import pytest
import torch

from sfumato.probe import ProbeError
from sfumato.probe.watching.watch import watch_named


@pytest.fixture
def module(monkeypatch):
    made = types.ModuleType("trainers_of_a_test")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return made


def a_step(model, name):
    return lambda: torch.nn.functional.cross_entropy(model(torch.randn(6, 3))[name], torch.arange(6) % 4).backward()


class TwoHeads(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Linear(3, 4), torch.nn.Linear(3, 4)

    def forward(self, x):
        return {"a": self.a(x), "b": self.b(x)}


def test_a_third_part_names_the_logits(module):
    model = TwoHeads()
    module.made = lambda: (model, a_step(model, "b"), "b")
    assert watch_named("trainers_of_a_test:made").eps == 0


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: 3, r"returned a int; it must return \(model, run\)"),
        (lambda: (torch.nn.Linear(1, 1), 3), "returned a int in the second place, which cannot be called"),
        (lambda: (3, print), "watch needs the torch.nn.Module that is trained, got a int"),
        (lambda: 1 / 0, "trainers_of_a_test:made failed: ZeroDivisionError"),
        (lambda: (torch.nn.Linear(1, 1), lambda: 1 / 0), "the training of trainers_of_a_test:made failed"),
        (lambda: (m := TwoHeads(), a_step(m, "a")), r'name one, as in watch\(model, logits="a"\)'),
    ],
)
def test_what_is_no_trainer_is_refused(module, made, message):
    module.made = made
    with pytest.raises(ProbeError, match=message):
        watch_named("trainers_of_a_test:made")
