"""What became of the gradients after the backward passes, read off a few small parameters of the model.

A scaler, a clip, an average over ranks or a division by hand multiplies gradients after they were computed. The sum of
what arrived at a parameter, beside the gradient that its optimiser is given, tells the multiplier.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

FEW, SMALL = 4, 65536
"""How many parameters are looked at, and how large they may be."""

TOLD = 64
"""Entries of a parameter that ranks tell each other."""


class SmallParameters:
    """Sums what arrives at a few small parameters.

    >>> model = nn.Linear(2, 3)
    >>> seen = SmallParameters(model.parameters())
    >>> model(torch.ones(1, 2)).sum().backward()
    >>> seen.arrived()[0].shape, seen.at_the_optimiser()[0].shape
    (torch.Size([3]), torch.Size([3]))
    >>> seen.remove()
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        parameters = list(parameters)
        order = {id(p): i for i, p in enumerate(parameters)}  # of two as small the one nearer to the head
        able = [p for p in parameters if p.requires_grad and p.is_leaf and p.numel() > 0 and type(p) is nn.Parameter]
        able = sorted(able, key=lambda p: (p.numel(), -order[id(p)]))[:FEW]
        self._parameters = [p for p in able if p.numel() <= SMALL] or able[:1]
        self._sums: list[Tensor | None] = [None] * len(self._parameters)
        self._handles = [p.register_hook(self._adding(i)) for i, p in enumerate(self._parameters)]
        self._values: list[Tensor] | None = None

    def _adding(self, i: int) -> Any:
        def add(gradient: Tensor) -> None:
            if gradient.is_sparse:
                return
            with torch.no_grad():
                told = gradient.detach().reshape(-1)[:SMALL].float()
                held = self._sums[i]
                self._sums[i] = told.clone() if held is None else held + told

        return add

    def arrived(self) -> list[Tensor | None]:
        """The sum of the gradients of each parameter since the last :meth:`forget`; None where none arrived."""
        return self._sums

    def at_the_optimiser(self) -> list[Tensor | None]:
        """The gradients that stand at the parameters now."""
        return [
            None if p.grad is None or p.grad.is_sparse else p.grad.detach().reshape(-1)[:SMALL].float()
            for p in self._parameters
        ]

    def has_gradients(self) -> bool:
        """Whether any of the parameters has a gradient that is not 0."""
        return any(p.grad is not None and bool(p.grad.any()) for p in self._parameters)

    def cleared(self) -> bool:
        """Whether the gradients of parameters at which some arrived are gone; False where none arrived."""
        known = [p for p, each in zip(self._parameters, self._sums, strict=True) if each is not None]
        return bool(known) and not any(p.grad is not None and bool(p.grad.any()) for p in known)

    def told(self) -> tuple[list[float], list[float]]:
        """A few entries of what arrived at one parameter, and of what stands there, for other ranks to read."""
        pairs = [
            (mine, there)
            for mine, there in zip(self.arrived(), self.at_the_optimiser(), strict=True)
            if mine is not None and there is not None
        ]
        if not pairs:
            return [], []
        mine, there = max(pairs, key=lambda pair: float(pair[1].abs().max()))
        return mine[:TOLD].double().tolist(), there[:TOLD].double().tolist()

    def moved(self) -> bool:
        """Whether any value differs from what it was at the last :meth:`remember`."""
        if self._values is None:
            return False
        return any(not torch.equal(p.detach(), old) for p, old in zip(self._parameters, self._values, strict=True))

    def remember(self) -> None:
        """Keep the values of now, to compare them later."""
        self._values = [p.detach().clone() for p in self._parameters]

    def forget(self) -> None:
        """Begin a new sum."""
        self._sums = [None] * len(self._parameters)

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._sums, self._values = [], None


def multiplier(arrived: list[float], at_the_optimiser: list[float]) -> float | None:
    """What the optimiser's gradients are of those that arrived; None where they point elsewhere, or nothing arrived.

    >>> multiplier([1.0, -2.0], [0.5, -1.0])
    0.5
    """
    a = torch.tensor(arrived, dtype=torch.float64)
    b = torch.tensor(at_the_optimiser, dtype=torch.float64)
    if len(a) == 0 or len(a) != len(b) or not bool(torch.isfinite(a).all() and torch.isfinite(b).all()):
        return None
    size, other = float(a.norm()), float(b.norm())
    if size == 0 or other == 0 or (len(a) > 1 and float(a @ b) < 0.999 * size * other):
        return None
    return float(a @ b) / float(a @ a)
