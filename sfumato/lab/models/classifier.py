"""The one form of every model: a body that makes features and a head that makes logits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from sfumato.messages import Note

CHUNK = 1024
"""Rows that are evaluated at a time."""


class Classifier(nn.Module):
    """A body that makes features and a linear head that makes logits.

    Attributes:
        prepare: turns rows of the data into what the body takes.
        head: makes logits; the identity where a foreign model has no linear last layer.
        description: layers in words, for the report.
        notes: what a reader should know of the model.
        names: of weights in the model as it came, by their names here; a weight of the same name may be missing.
    """

    def __init__(
        self,
        body: nn.Module,
        head: nn.Module,
        description: str,
        *,
        prepare: nn.Module | None = None,
        notes: tuple[Note, ...] = (),
    ) -> None:
        super().__init__()
        self.prepare, self.body, self.head = prepare or nn.Identity(), body, head
        self.description, self.notes = description, notes
        self.names: dict[str, str] = {}

    def features(self, x: Tensor) -> Tensor:
        """What the head sees, (n, width)."""
        return self.body(self.prepare(x))

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (n, K)."""
        return self.head(self.features(x))


def features_and_logits(model: Classifier, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Features and logits of all rows, a chunk at a time, without gradients; the model is put in evaluation mode.

    >>> from sfumato.lab.models import build
    >>> [tuple(z.shape) for _, z in features_and_logits(build("mlp", 4, 3, seed=0), torch.zeros(1500, 4))]
    [(1024, 3), (476, 3)]
    """
    model.eval()
    with torch.no_grad():
        for rows in x.split(CHUNK):
            features = model.features(rows)
            yield features, model.head(features)


def logits_of(model: Classifier, x: Tensor) -> Tensor:
    """(n, K) logits of all rows, without gradients; the model is put in evaluation mode."""
    return torch.cat([logits for _, logits in features_and_logits(model, x)])


def weights_hash(model: nn.Module) -> str:
    """SHA-256 over names and bytes of all weights: equal for equal weights, and shown so that pairing can be seen.

    >>> from sfumato.lab.models import build
    >>> weights_hash(build("linear", 3, 2, seed=0)) == weights_hash(build("linear", 3, 2, seed=0))
    True
    """
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8 if tensor.dim() else tensor.dtype).numpy())
    return digest.hexdigest()
