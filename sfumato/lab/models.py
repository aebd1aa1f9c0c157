"""The built-in models: small, plain, and with their last features within reach."""

from __future__ import annotations

import hashlib
import itertools

import torch
from torch import Tensor, nn

_HIDDEN = 256


class Classifier(nn.Module):
    """A body that makes features and a linear head that makes logits.

    Attributes:
        description: layers in words, for the report.
    """

    def __init__(self, widths: list[int], classes: int) -> None:
        super().__init__()
        layers = [(nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(widths)]
        self.body = nn.Sequential(*itertools.chain.from_iterable(layers))
        self.head = nn.Linear(widths[-1], classes)
        self.description = "-".join(str(width) for width in [*widths, classes]) + (", ReLU" if layers else "")

    def features(self, x: Tensor) -> Tensor:
        """What the head sees, (n, width)."""
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (n, K)."""
        return self.head(self.body(x))


def build(name: str, inputs: int, classes: int, *, seed: int) -> Classifier:
    """A model with weights drawn from ``seed`` alone; the caller's random state is left as it was.

    Args:
        name: ``"mlp"`` (two hidden layers of 256, ReLU) or ``"linear"``.
        inputs: features of a row.
        classes: K.
        seed: of the initial weights.

    >>> build("mlp", 64, 10, seed=0).description
    '64-256-256-10, ReLU'
    """
    widths = {"mlp": [inputs, _HIDDEN, _HIDDEN], "linear": [inputs]}[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Classifier(widths, classes)


def weights_hash(model: nn.Module) -> str:
    """SHA-256 over names and bytes of all weights: equal for equal weights, and shown so that pairing can be seen.

    >>> weights_hash(build("linear", 3, 2, seed=0)) == weights_hash(build("linear", 3, 2, seed=0))
    True
    """
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()
