"""A target for the kernel: its terms with every array flat and of the type that the kernel reads."""

import torch
from torch import Tensor

from sfumato.arguments import Call, GivenLabels
from sfumato.kernel import job
from sfumato.loss.eager import class_weight
from sfumato.targets.checks import at_labels, readable
from sfumato.targets.terms import AtLabel, Back, Entries, Scaled, Terms


def flatten(z: Tensor, call: Call) -> job.FlatTarget | None:
    """The target of a call for the kernel; None where the kernel has no place for one of its terms.

    Plain labels are left as they were given, for the kernel to check, unless weights are looked up by them.
    """
    given = call.given
    ignore_index: int | None = None
    if isinstance(given, GivenLabels) and call.weight is None and call.sample_weight is None:
        target, ignore_index = given.target, given.ignore_index
    else:
        target = call.target()
    positions = target.shape
    valid = None if target.valid is None else target.valid.reshape(-1).contiguous()
    terms, weight = target.terms(torch.float64), class_weight(call, torch.float64)
    label = terms.label
    if label is not None and not label.added:
        (back,) = terms.backs
        if back.row is None and back.support is None:
            return job.FlatTarget(_labelled(back, label, weight, positions), valid, ignore_index)
        classes = label.labels.unsqueeze(1)
        masses = torch.as_tensor(label.mass, dtype=torch.float64).expand(label.labels.shape).unsqueeze(1)
        terms = Terms(None, terms.backs, Entries(classes, masses))
    if not _has_place(z, call.dtype, terms):
        return None
    weight = None if weight is None else weight.to(call.dtype).contiguous()
    return job.FlatTarget(_composed(terms, positions, call.dtype), valid, ignore_index, weight)


def _labelled(back: Back, label: AtLabel, weight: Tensor | None, positions: torch.Size) -> Terms:
    """One label and the rest: two numbers a row, and a prior with the class weights in it."""
    mass, u = label.mass, back.u
    if weight is not None:
        mass = mass * at_labels(weight, label.labels)
        u = weight if u is None else u * weight
    back = Back(_flat(back.c, positions), None if u is None else u.contiguous())
    return Terms(backs=(back,), label=AtLabel(label.labels.reshape(-1).contiguous(), _flat(mass, positions)))


def _has_place(z: Tensor, dtype: torch.dtype, terms: Terms) -> bool:
    if terms.dense is not None:
        return terms.dense.x.dtype in (z.dtype, dtype) and job.collapse(terms.dense.x) is not None
    supports = [back.support for back in terms.backs if back.support is not None]
    if supports:
        return len(terms.backs) == 1 and job.collapse(supports[0]) is not None
    return len(terms.backs) <= 2


def _composed(terms: Terms, positions: torch.Size, dtype: torch.dtype) -> Terms:
    """Any other target: its rows are written out in the cache from these arrays."""
    dense, entries, label = terms.dense, terms.entries, terms.label
    if dense is not None:
        dense = Scaled(dense.x, _flat(dense.scale, positions), dense.shift)
    backs = tuple(
        Back(
            _flat(back.c, positions),
            None if back.u is None else back.u.to(dtype).contiguous(),
            None if back.row is None else back.row.reshape(-1).contiguous(),
            back.support,
        )
        for back in terms.backs
    )
    if dense is None and not backs:
        backs = (Back(0.0),)  # the kernel wants something that the entries and the label come on top of
    if entries is not None:
        width = entries.classes.shape[1]
        entries = Entries(*(each.movedim(1, -1).reshape(-1, width).contiguous() for each in entries))
    if label is not None:
        label = AtLabel(label.labels.reshape(-1).contiguous(), _flat(label.mass, positions), added=True)
    return Terms(dense, backs, entries, label)


def _flat(mass: float | Tensor, positions: torch.Size) -> float | Tensor:
    """A number, or (N·…) float64, contiguous."""
    if not isinstance(mass, Tensor):
        return float(mass)
    if mass.dim() == 0 and readable(mass):
        return float(mass)
    return mass.double().expand(positions).reshape(-1).contiguous()


def take_rows(target: job.FlatTarget, rows: slice | Tensor) -> job.FlatTarget:
    """The target of some of its rows: a range, or those that an index tensor names."""

    def pick(mass: float | Tensor) -> float | Tensor:
        return mass[rows] if isinstance(mass, Tensor) else mass

    (dense, backs, entries, label), valid, ignore_index, weight = target
    assert dense is None, "made of arrays of one axis alone"
    terms = Terms(
        backs=tuple(Back(pick(back.c), back.u, None if back.row is None else back.row[rows]) for back in backs),
        entries=None if entries is None else Entries(entries.classes[rows], entries.masses[rows]),
        label=None if label is None else AtLabel(label.labels[rows], pick(label.mass), label.added),
    )
    return job.FlatTarget(terms, None if valid is None else valid[rows], ignore_index, weight)


def take_classes(target: job.FlatTarget, start: int, stop: int) -> job.FlatTarget:
    """What runs over the classes, of these classes alone; labels and entries still count from the first of all."""
    backs = tuple(
        Back(back.c, None if back.u is None else back.u[..., start:stop].contiguous(), back.row)
        for back in target.terms.backs
    )
    weight = target.weight
    return target._replace(
        terms=target.terms._replace(backs=backs), weight=None if weight is None else weight[start:stop].contiguous()
    )
