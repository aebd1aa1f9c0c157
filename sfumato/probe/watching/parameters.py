"""The parameters that a run trains: which of them gradients reach, which an optimiser holds, and what becomes of the
gradients of a few small ones between the backward passes and the optimiser.
"""

import gc
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

FEW, SMALL, SHARED = 4, 65536, 64
"""How many parameters are looked at, how large they may be, and how many entries of one the ranks tell each other."""


class TrainedParameters:
    """Counts what arrives at each parameter, and sums what arrives at a few small ones."""

    def __init__(self, model: nn.Module) -> None:
        able = {name: p for name, p in model.named_parameters() if p.requires_grad and p.is_leaf and p.numel() > 0}
        self._names = {id(p): name for name, p in able.items()}
        self._able = list(able.values())
        self._held: set[int] = set()
        self._reached: dict[int, None] = {}  # in the order of the first gradients: those next to the loss come first
        self.arrivals = 0
        self._sums: dict[int, Tensor | None] = {}
        self._values: list[Tensor] | None = None
        self._choose()
        self._handles = [p.register_hook(self._adding(id(p))) for p in self._able]

    def _choose(self) -> None:
        """Take the smallest parameters, and of two as small the one nearer to the head."""
        known = {id(p): i for i, p in enumerate(self._able) if not self._held or id(p) in self._held}
        able = sorted(
            (p for p in self._able if id(p) in known and type(p) is nn.Parameter), key=lambda p: -known[id(p)]
        )
        able = sorted(able, key=nn.Parameter.numel)[:FEW]
        self._parameters = [p for p in able if p.numel() <= SMALL] or able[:1]
        self._sums = {id(p): self._sums.get(id(p)) for p in self._parameters}

    def _adding(self, key: int) -> Any:
        def add(gradient: Tensor) -> None:
            self.arrivals += 1
            self._reached.setdefault(key)
            if key in self._sums and not gradient.is_sparse:
                with torch.no_grad():
                    values, held = gradient.detach().reshape(-1)[:SMALL].float(), self._sums[key]
                    self._sums[key] = values.clone() if held is None else held + values

        return add

    def __len__(self) -> int:
        return len(self._able)

    def hold(self, optimiser: Any) -> None:
        """Look at parameters alone that an optimiser holds which takes a step: no other is trained or cleared."""
        of_optimiser = {id(p) for group in optimiser.param_groups for p in group["params"]} & set(self._names)
        if not of_optimiser <= self._held:
            self._held |= of_optimiser
            self._choose()

    def left_out(self) -> tuple[list[str], bool]:
        """Names of parameters that get gradients and are in no optimiser, and whether the whole last layer is."""
        if not self._held or self._held >= set(self._reached):
            return [], False
        for each in _optimisers():
            self.hold(each)
        names = [self._names[key] for key in self._reached if key not in self._held]
        last = self._names[next(iter(self._reached))].rpartition(".")[0]
        held_of_last = any(self._names[key].rpartition(".")[0] == last for key in self._held)
        return names, bool(names) and not held_of_last

    def has_gradients(self) -> bool:
        """Whether any of the parameters has a gradient that is not 0."""
        return any(p.grad is not None and bool(p.grad.any()) for p in self._parameters)

    def cleared(self) -> bool:
        """Whether the gradients of parameters at which some arrived are gone; False where none arrived."""
        known = [p for p in self._parameters if self._sums[id(p)] is not None]
        return bool(known) and not any(p.grad is not None and bool(p.grad.any()) for p in known)

    def entries(self) -> tuple[list[float], list[float]]:
        """A few entries of what arrived at one parameter, and of the gradient there now, for other ranks to read."""
        pairs = [
            (arrived, p.grad.detach().reshape(-1)[:SMALL].float())
            for p in self._parameters
            if (arrived := self._sums[id(p)]) is not None and p.grad is not None and not p.grad.is_sparse
        ]
        if not pairs:
            return [], []
        arrived, there = max(pairs, key=lambda pair: float(pair[1].abs().max()))
        return arrived[:SHARED].double().tolist(), there[:SHARED].double().tolist()

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
        self._sums = dict.fromkeys(self._sums)

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._sums, self._values = dict.fromkeys(self._sums), None


def _optimisers() -> Iterator[torch.optim.Optimizer]:
    """All optimisers of this process, those too that have taken no step yet."""
    return (each for each in gc.get_objects() if issubclass(type(each), torch.optim.Optimizer))


def multiplier(arrived: Sequence[float], at_the_optimiser: Sequence[float]) -> float | None:
    """What the optimiser's gradients are of those that arrived; None where they point elsewhere, or nothing arrived."""
    a, b = np.array(arrived, float), np.array(at_the_optimiser, float)
    if len(a) == 0 or len(a) != len(b) or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    size, other = np.linalg.norm(a), np.linalg.norm(b)
    if size == 0 or other == 0 or (len(a) > 1 and abs(a @ b) < 0.999 * size * other):
        return None
    return float(a @ b / (a @ a))
