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
    """A body that makes features and a linear head that makes logits."""

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
        self.prepare = prepare or nn.Identity()  # turns rows of the data into what the body takes
        self.body, self.head = body, head  # a foreign model without a linear last layer has the identity as its head
        self.description, self.notes = description, notes  # layers in words; what a reader should know of the model
        self.names: dict[str, str] = {}  # of weights in the model as it came, by their names here, where they differ

    def features(self, x: Tensor) -> Tensor:
        """What the head sees, (n, width)."""
        return self.body(self.prepare(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def features_and_logits(model: Classifier, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Features and logits of all rows, a chunk at a time, without gradients; the model is put in evaluation mode."""
    model.eval()
    with torch.no_grad():
        for rows in x.split(CHUNK):
            features = model.features(rows)
            yield features, model.head(features)


def logits_of(model: Classifier, x: Tensor) -> Tensor:
    """(n, K) logits of all rows, without gradients; the model is put in evaluation mode."""
    return torch.cat([logits for _, logits in features_and_logits(model, x)])


def weights_hash(model: nn.Module) -> str:
    """SHA-256 over names and bytes of all weights: equal for equal weights, and shown so that pairing can be seen."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8 if tensor.dim() else tensor.dtype).numpy())
    return digest.hexdigest()
