"""The one form of every model, and what turns rows of the data into what a body can take."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.lab.data.arrays import CHANNELS
from sfumato.lab.data.inputs import Inputs

CHUNK = 1024
"""Rows that are evaluated at a time."""


class Classifier(nn.Module):
    """A body that makes features and a linear head that makes logits.

    Attributes:
        prepare: turns rows of the data into what the body takes.
        body: makes features.
        head: makes logits; the identity where a foreign model has no linear last layer.
        description: layers in words, for the report.
        notes: what a reader should know of the model.
        names: names of weights in the model as it came, by their names here; empty where they are the same.
    """

    def __init__(
        self,
        body: nn.Module,
        head: nn.Module,
        description: str,
        *,
        prepare: nn.Module | None = None,
        notes: tuple[str, ...] = (),
        names: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.prepare = prepare or nn.Identity()
        self.body = body
        self.head = head
        self.description = description
        self.notes = notes
        self.names = dict(names or {})

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


class Pixels(nn.Module):
    """Bytes (n, H, W, C) to standardised float32 (n, C, H, W), grey to three channels and to another size if asked."""

    def __init__(self, inputs: Inputs, *, channels: int | None = None, size: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(inputs.mean, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(inputs.scale, dtype=torch.float32))
        self.channels, self.size = channels, size

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, H, W)."""
        mean, scale = self.get_buffer("mean"), self.get_buffer("scale")
        return _fitted(((x.float() - mean) / scale).permute(0, 3, 1, 2), self.channels, self.size)


class Picture(nn.Module):
    """Dense rows (n, D) that are pictures, back to (n, C, H, W)."""

    def __init__(self, inputs: Inputs, *, channels: int | None = None, size: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.shape, self.channels, self.size = inputs.picture, channels, size

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, H, W)."""
        x = x.reshape(len(x), *self.shape)
        if len(self.shape) == 2:
            x = x.unsqueeze(1)
        elif channel_axis(self.shape) == 2:
            x = x.permute(0, 3, 1, 2)
        return _fitted(x, self.channels, self.size)


def channel_axis(shape: tuple[int, ...]) -> int | None:
    """Which of three axes is that of channels: the first or the last of size 1, 3 or 4; None if neither is.

    >>> channel_axis((3, 32, 32)), channel_axis((28, 28, 1)), channel_axis((8, 8, 8))
    (0, 2, None)
    """
    return 0 if shape[0] in CHANNELS else 2 if shape[2] in CHANNELS else None


def _fitted(x: Tensor, channels: int | None, size: tuple[int, int] | None) -> Tensor:
    if channels is not None and x.shape[1] != channels:
        x = x.mean(1, keepdim=True).expand(-1, channels, -1, -1) if x.shape[1] not in (3, 4) else x[:, :channels]
    if size is not None and x.shape[2:] != size:
        x = F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
    return x


class Flat(nn.Module):
    """Bytes (n, H, W, C) to standardised float32 (n, H·W·C)."""

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        self.pixels = Pixels(inputs)

    def forward(self, x: Tensor) -> Tensor:
        """(n, D)."""
        return self.pixels(x).flatten(1)


class Spread(nn.Module):
    """Sparse rows, L term numbers and as many weights, to dense ones: (n, 2L) to (n, V)."""

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        self.width = inputs.width

    def forward(self, x: Tensor) -> Tensor:
        """(n, V)."""
        terms, weights = x.chunk(2, dim=1)
        return torch.zeros(len(x), self.width, dtype=x.dtype, device=x.device).scatter_add_(1, terms.long(), weights)


class SparseLinear(nn.Module):
    """A linear layer for sparse rows: each row's result is the weighted sum of its terms' rows of the weight.

    Equal to ``nn.Linear(V, width)`` on the dense row, initial weights too, at a cost that goes with the terms of a row.
    """

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        dense = nn.Linear(vocabulary, width)
        self.weight = nn.Parameter(dense.weight.detach().t().contiguous())
        self.bias = nn.Parameter(dense.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """(n, width)."""
        terms, weights = x.chunk(2, dim=1)
        longest = max(1, int((weights != 0).sum(1).max()))  # rows are filled up at the end
        terms, weights = terms[:, :longest].long().contiguous(), weights[:, :longest].contiguous()
        return F.embedding_bag(terms, self.weight, per_sample_weights=weights, mode="sum") + self.bias
