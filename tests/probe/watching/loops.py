"""Small models and plain training loops, right ones and wrong ones."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.probe import Watched, watch
from tests.probe.losses import codes

K, V = 7, 23


class Tokens(nn.Module):
    """A language model of one layer: (B, T) tokens to (B, T, V) logits."""

    def __init__(self, classes: int = V) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, 8)
        self.head = nn.Linear(8, classes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **ignored: Any) -> Tensor:
        return self.head(self.embedding(input_ids))


def classifier(inputs: int = 5, classes: int = K) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, classes))


def tokens() -> Tokens:
    torch.manual_seed(0)
    return Tokens()


def table(steps: int = 2, batches: int = 1, rows: int = 12, ignored: bool = True) -> list[list[tuple[Tensor, Tensor]]]:
    """Batches of each step, with uneven numbers of ignored rows."""
    draw = torch.Generator().manual_seed(1)
    made: list[list[tuple[Tensor, Tensor]]] = []
    for _ in range(steps):
        step: list[tuple[Tensor, Tensor]] = []
        for m in range(batches):
            x, y = torch.randn(rows, 5, generator=draw), torch.randint(0, K, (rows,), generator=draw)
            if ignored:
                y[: 2 + 3 * m] = -100
            step.append((x, y))
        made.append(step)
    return made


def text(steps: int = 2, rows: int = 4, length: int = 9) -> list[dict[str, Tensor]]:
    """Token ids with padding of uneven length at the end, and labels that leave it out."""
    draw = torch.Generator().manual_seed(2)
    made: list[dict[str, Tensor]] = []
    for _ in range(steps):
        ids = torch.randint(1, V, (rows, length), generator=draw)
        mask = torch.ones_like(ids)
        for row in range(rows):
            mask[row, length - row :] = 0
        ids = ids * mask
        made.append({"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)})
    return made


def next_token(z: Tensor, labels: Tensor, **how: Any) -> Tensor:
    return F.cross_entropy(z[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), **how)


def smoothed(z: Tensor, y: Tensor, eps: float = 0.1, reduction: str = "mean") -> Tensor:
    return F.cross_entropy(z, y, label_smoothing=eps, reduction=reduction)


def loop(
    steps: list[list[tuple[Tensor, Tensor]]],
    loss: Callable[[Tensor, Tensor, list[tuple[Tensor, Tensor]]], Tensor],
    *,
    model: nn.Module | None = None,
    clear: bool = True,
    after: Callable[[nn.Module], Any] = lambda model: None,
    evaluate: Callable[[Tensor, Tensor], Any] | None = None,
) -> Watched:
    """Train for some steps, each of some batches, and watch it."""
    model = classifier() if model is None else model
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model) as seen:
        for step in steps:
            for x, y in step:
                loss(model(x), y, step).backward()
            after(model)
            optimiser.step()
            if clear:
                optimiser.zero_grad()
        if evaluate is not None:
            model.eval()
            with torch.no_grad():
                x, y = steps[0][0]
                evaluate(model(x), y)
    return seen


def language(
    loss: Callable[[Tensor, dict[str, Tensor]], Tensor], batches: list[dict[str, Tensor]] | None = None
) -> Watched:
    """Train the language model on some batches, and watch it."""
    model = tokens()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model) as seen:
        for batch in text() if batches is None else batches:
            optimiser.zero_grad()
            loss(model(batch["input_ids"], attention_mask=batch["attention_mask"]), batch).backward()
            optimiser.step()
    return seen


def counted(step: list[tuple[Tensor, Tensor]]) -> int:
    return sum(int((y != -100).sum()) for _, y in step)


def alarms(seen: Watched) -> list[str]:
    return [code for code in codes(seen.findings) if not code.startswith("note")]
