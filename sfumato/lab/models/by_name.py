"""From the name of a model to a model with weights drawn from a seed."""

from __future__ import annotations

import torch
from torch import nn

from sfumato.lab.data.table import Inputs
from sfumato.lab.errors import OptionError
from sfumato.lab.model_names import OWN
from sfumato.lab.models.built_in import cnn, stack
from sfumato.lab.models.classifier import Classifier
from sfumato.lab.models.outside import build_outside
from sfumato.lab.models.pretrained import load_pretrained

_HIDDEN = {"mlp": [256, 256], "linear": []}  # the widths of the layers before the last


def build(name: str, inputs: Inputs | int, classes: int, *, seed: int, pretrained: str | None = None) -> Classifier:
    """A model with weights drawn from ``seed`` alone; the caller's random state is left as it was.

    >>> build("mlp", 64, 10, seed=0).description
    '64-256-256-10, ReLU'
    """
    if isinstance(inputs, int):
        inputs = Inputs.dense(inputs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name not in OWN:
            model = build_outside(name, inputs, classes)
        elif inputs.kind == "tokens":
            raise OptionError(f"--model {name} cannot read tokens")
        elif name == "cnn":
            model = cnn(inputs, classes)
        else:
            model = stack([inputs.width, *_HIDDEN[name]], classes, inputs=inputs)
    if pretrained is not None:
        model.notes += load_pretrained(model, pretrained)
    return model


def normalises_over_the_batch(model: nn.Module) -> bool:
    """Whether a batch of one row cannot be trained on.

    >>> normalises_over_the_batch(build("mlp", 4, 2, seed=0))
    False
    """
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())  # pyright: ignore[reportPrivateUsage]
