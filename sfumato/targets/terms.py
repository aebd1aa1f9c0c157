"""What any target is, in arrays: the algebra of ``kernel/sfumato.h``, so that no path has to know kinds of targets.

The masses of a position are A·x + B, or a sum of c·u over the classes. After that, a few classes get masses that
replace those, and the label may get a mass that is added. The loss is linear in its target, so each term adds its part.

Terms are those of positions with a batch axis, classes on axis 1. Nothing N×K is made for them.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from sfumato.targets.checks import at_labels


class Scaled(NamedTuple):
    """Mass A·x + B."""

    x: Tensor  # (N, K, …), in the dtype that the target was made from
    scale: float | Tensor = 1.0  # A, a number or a tensor that broadcasts with the positions
    shift: float = 0.0  # B

    def written_out(self, dtype: torch.dtype) -> Tensor:
        """The masses, (N, K, …)."""
        q = self.x.to(dtype)
        if isinstance(self.scale, Tensor) or self.scale != 1.0:
            q = beside_classes(self.scale, dtype) * q
        return q + self.shift if self.shift != 0.0 else q


class Back(NamedTuple):
    """Mass c·u_k over the classes, the background of a position."""

    c: float | Tensor  # a number, or a tensor that broadcasts with the positions
    # (K,), or a table (…, K) of which ``row`` tells each position's row, in any floating dtype; None for 1
    u: Tensor | None = None
    row: Tensor | None = None  # (N, …) int64; None where u is one row
    support: Tensor | None = None  # (N, K, …) bool, the classes that may receive mass; None for all

    def shares(self, position_dims: int, dtype: torch.dtype) -> Tensor | None:
        """The factors u within the support, shaped to multiply (N, K, …); None where it is 1 for every class."""
        u = self.u
        if u is not None:
            u = u.to(dtype)
            if self.row is None:
                u = along_classes(u, position_dims)
            else:
                u = u.index_select(0, self.row.reshape(-1)).reshape(*self.row.shape, u.shape[-1]).movedim(-1, 1)
        if self.support is None:
            return u
        return self.support.to(dtype) if u is None else u * self.support

    def at(self, classes: Tensor, dtype: torch.dtype) -> float | Tensor:
        """The mass at one class a position, in ``dtype``."""
        mass = self.c
        if self.u is not None and self.row is None:
            mass = mass * at_labels(self.u, classes).to(dtype)
        elif self.u is not None:
            mass = mass * self.u[self.row, classes].to(dtype)
        return mass if self.support is None else mass * at_labels(self.support, classes)


class Entries(NamedTuple):
    """Classes whose mass is set."""

    # (N, m, …) int64, no class twice in a position. −1 stands for no class, but never in the first place
    classes: Tensor
    masses: Tensor  # like ``classes``; 0 where there is no class

    def known(self) -> Tensor:
        """The classes, with the first of the position in place of −1."""
        return torch.where(self.classes < 0, self.classes[:, :1], self.classes)


class AtLabel(NamedTuple):
    """The label of each position and its mass, which replaces what the terms before give it, or is added to that.

    A mass that replaces stands beside backs alone; where other classes are set too, all of them are entries.
    """

    labels: Tensor
    mass: float | Tensor
    added: bool = False


class Terms(NamedTuple):
    """A target in arrays: ``dense`` or ``backs``, then ``entries``, then the label's own mass.

    >>> import sfumato as sf
    >>> sf.smooth(torch.tensor([2]), 5, 0.2, over="others").terms(torch.float64).backs
    (Back(c=0.05, u=None, row=None, support=None),)
    """

    dense: Scaled | None = None
    backs: tuple[Back, ...] = ()
    entries: Entries | None = None
    label: AtLabel | None = None

    def tensors(self) -> list[Tensor]:
        """Every tensor of the terms."""
        parts = [part for part in (self.dense, *self.backs, self.entries, self.label) if part is not None]
        return [each for part in parts for each in part if isinstance(each, Tensor)]

    def replaced(self) -> Tensor | None:
        """(N, m, …): the classes that no back gives mass to, because theirs is set; None if there are none."""
        if self.entries is not None:
            return self.entries.known()
        return None if self.label is None or self.label.added else self.label.labels.unsqueeze(1)

    def replaced_count(self) -> int | Tensor:
        """How many classes of a position :meth:`replaced` names."""
        if self.entries is not None:
            return (self.entries.classes >= 0).sum(1)
        return 0 if self.label is None or self.label.added else 1

    def singles(self, dtype: torch.dtype) -> list[tuple[Tensor, float | Tensor]]:
        """Classes, (N, m, …), and the mass that each has of its own: a number, or masses shaped like the classes."""
        found: list[tuple[Tensor, float | Tensor]] = []
        if self.entries is not None:
            found.append((self.entries.known(), self.entries.masses.to(dtype)))
        if self.label is not None:
            found.append((self.label.labels.unsqueeze(1), beside_classes(self.label.mass, dtype)))
        return found

    def to_dense(self, q: Tensor) -> Tensor:
        """The sum of the terms, written out into the shape, dtype and device of ``q``, which is 0."""
        dtype, dims = q.dtype, q.dim() - 1
        if self.dense is not None:
            q = self.dense.written_out(dtype)
        for back in self.backs:
            u, c = back.shares(dims, dtype), beside_classes(back.c, dtype)
            q = q + (c if u is None else c * u)
        if (replaced := self.replaced()) is not None:
            q = q.scatter(1, replaced, 0.0)
        for classes, masses in self.singles(dtype):
            masses = torch.as_tensor(masses, dtype=dtype, device=q.device).expand(classes.shape)
            q = q.scatter_add(1, classes, masses)
        return q


def watched(*arrays: Tensor | None) -> list[Tensor]:
    """Those that ``save_for_backward`` takes, so that backward raises where somebody changed one of them since.

    Tensors of inference mode do not count their changes, and are left out.
    """
    return [each for each in arrays if each is not None and not each.is_inference()]


def along_classes(per_class: Tensor, position_dims: int) -> Tensor:
    """(K,) shaped to multiply (N, K, …)."""
    return per_class.reshape((1, -1) + (1,) * (position_dims - 1))


def beside_classes(mass: float | Tensor, dtype: torch.dtype) -> float | Tensor:
    """A number as it is; numbers of positions, (N, …), with an axis for the classes."""
    if not isinstance(mass, Tensor):
        return mass
    return mass.to(dtype).unsqueeze(1) if mass.dim() else mass.to(dtype)
