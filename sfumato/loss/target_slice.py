"""The part of a target that lies on some consecutive classes: those of one rank, or of a piece of the logits.

A term of a target, restricted to a slice of the classes, is a term again: arrays are cut as views, and of the few
classes whose mass is set or added, those elsewhere are left out.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor

from sfumato.targets.checks import at_labels
from sfumato.targets.terms import Back, Scaled, Terms, along_classes, beside_classes


class FewHere(NamedTuple):
    """A few classes a row with masses of their own, as one slice has them."""

    # (N, m, …) int64, counted from the first class of the slice. An absent class is named as the first present class of
    # its row, or as class 0 where the row has none here
    classes: Tensor
    here: Tensor  # (N, m, …) bool, whether the class is in the slice
    masses: Tensor  # (N, m, …), 0 where the class is absent

    @classmethod
    def cut(cls, classes: Tensor, masses: float | Tensor, start: int, stop: int, dtype: torch.dtype) -> Self:
        """The classes from ``start`` to ``stop`` − 1 among some that are counted over all ranks; −1 is no class."""
        here = (classes >= start) & (classes < stop)
        local = torch.where(here, classes - start, 0)
        first = local.gather(1, here.to(torch.uint8).argmax(1, keepdim=True))
        masses = torch.as_tensor(masses, dtype=dtype, device=classes.device).expand(classes.shape)
        return cls(torch.where(here, local, first), here, masses.masked_fill(~here, 0.0))

    def hidden(self, x: Tensor) -> Tensor:
        """``x``, (N, n, …), with 0 at the classes of each row that are here."""
        return x.scatter(1, self.classes, x.gather(1, self.classes).masked_fill(self.here.any(1, keepdim=True), 0.0))


class TargetSlice(NamedTuple):
    """A target on the classes ``start`` to ``stop`` − 1."""

    dense: Scaled | None  # as in :class:`sfumato.targets.terms.Terms`, (N, n, …)
    backs: tuple[Back, ...]  # mass c·u over the classes of the slice
    replaced: FewHere | None  # the classes that no back gives mass to, because theirs is set; None if there are none
    singles: tuple[FewHere, ...]  # classes with masses of their own, those that are replaced among them
    weight: Tensor | None  # (n,) class weights that multiply each class's mass; None if none do

    @classmethod
    def cut(cls, terms: Terms, start: int, stop: int, weight: Tensor | None, dtype: torch.dtype) -> Self:
        """The terms of one rank. The dense term holds the classes of the slice already, and is not cut."""
        backs = tuple(
            Back(
                back.c,
                None if back.u is None else back.u[..., start:stop],
                back.row,
                None if back.support is None else back.support[:, start:stop],
            )
            for back in terms.backs
            if not (isinstance(back.c, float) and back.c == 0.0)
        )
        entries = None if terms.entries is None else FewHere.cut(*terms.entries, start, stop, dtype)
        label = None
        if terms.label is not None:
            mass = beside_classes(terms.label.mass, dtype)
            label = FewHere.cut(terms.label.labels.unsqueeze(1), mass, start, stop, dtype)
        replaced = entries if entries is not None else None if terms.label is None or terms.label.added else label
        singles = tuple(few for few in (entries, label) if few is not None)
        return cls(terms.dense, backs, replaced, singles, None if weight is None else weight[start:stop])

    def sums(self, d: Tensor, wide: torch.dtype) -> tuple[Tensor, Tensor]:
        """Σ w·q·(−d) and Σ w·q over the classes of the slice, each (N, …) in ``wide``; d ≤ 0 is (N, n, …).

        A class without mass adds nothing, even where d is −inf. No two terms of either sum have opposite signs.
        """
        label_deficit = mass = torch.zeros((d.shape[0], *d.shape[2:]), dtype=wide, device=d.device)
        for c, u in self._shares(d.dim() - 1, wide):
            if u is None:
                visible = d if self.replaced is None else self.replaced.hidden(d)
                mine, total = -visible.sum(1, dtype=wide), visible.shape[1]
                if self.replaced is not None:
                    total = total - self.replaced.here.sum(1).to(wide)
            else:
                u = u.to(d.dtype).expand(d.shape)
                u = u if self.replaced is None else self.replaced.hidden(u)
                mine = (u * torch.where(u == 0, 0.0, -d)).sum(1, dtype=wide)
                total = u.sum(1, dtype=wide)
            label_deficit = label_deficit + c * (mine if not isinstance(c, Tensor) else torch.where(c == 0, 0.0, mine))
            mass = mass + c * total
        for few in self.singles:
            masses = self._weighted(few)
            far = torch.where(masses == 0, 0.0, -d.gather(1, few.classes).to(wide))
            label_deficit, mass = label_deficit + (masses * far).sum(1), mass + masses.sum(1)
        return label_deficit, mass

    def subtract(self, x: Tensor, factor: Tensor, wide: torch.dtype) -> None:
        """Take ``factor``·w·q from ``x``, (N, n, …), in place; ``factor`` is (N, …)."""
        factor = factor.unsqueeze(1)
        kept = None if self.replaced is None else x.gather(1, self.replaced.classes)
        for c, u in self._shares(x.dim() - 1, wide):
            each = beside_classes(c, wide) * factor
            x.sub_((each if u is None else each * u).to(x.dtype))
        if self.replaced is not None and kept is not None:
            at, some = self.replaced.classes, self.replaced.here.any(1, keepdim=True)
            x.scatter_(1, at, torch.where(some, kept, x.gather(1, at)))
        for few in self.singles:
            x.scatter_add_(1, few.classes, -(self._weighted(few) * factor).to(x.dtype))

    def mass_at(self, place: Tensor, wide: torch.dtype) -> Tensor:
        """w·q of one class a row, (N, 1, …), which is counted from the first class of the slice."""
        mass = torch.zeros(place.shape, dtype=wide, device=place.device)
        for c, u in self._shares(place.dim() - 1, wide):
            c = beside_classes(c, wide)
            mass = mass + (c if u is None else c * u.expand(len(place), -1, *place.shape[2:]).gather(1, place))
        if self.replaced is not None:
            mass = torch.where(((self.replaced.classes == place) & self.replaced.here).any(1, keepdim=True), 0.0, mass)
        for few in self.singles:
            mass = mass + self._weighted(few).masked_fill(few.classes != place, 0.0).sum(1, keepdim=True)
        return mass

    def _shares(self, dims: int, wide: torch.dtype) -> list[tuple[float | Tensor, Tensor | None]]:
        """Each term that gives mass to every class: c, and u with the class weights in it; None for 1."""
        weight = None if self.weight is None else along_classes(self.weight, dims)
        shares: list[tuple[float | Tensor, Tensor | None]] = []
        if self.dense is not None:
            q = self.dense.written_out(wide)
            shares.append((1.0, q if weight is None else q * weight))
        for back in self.backs:
            u = back.shares(dims, wide)
            shares.append((back.c, u if weight is None else weight if u is None else u * weight))
        return shares

    def _weighted(self, few: FewHere) -> Tensor:
        return few.masses if self.weight is None else few.masses * at_labels(self.weight, few.classes)
