"""What is refused, and in which words: each check names the first offender, its value and the way out."""

import operator
from typing import SupportsIndex, cast

import torch
from torch import Tensor

from sfumato.theory.noise import distribution_fault
from sfumato.theory.smoothing import check_over as check_over


class ArgumentError(ValueError, RuntimeError):
    """An argument outside its legal range. Also a RuntimeError, because that is what torch raises in the same place."""


def check_tensor(value: object, name: str) -> None:
    """Refuse what is not a tensor, and say how to make one."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}; torch.as_tensor makes one")


def readable(*tensors: Tensor | None) -> bool:
    """Whether values can be looked at without a sync, a graph break, or leaving a transform or a tracer."""
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0:  # pyright: ignore[reportPrivateUsage]
        return False
    for t in tensors:
        if t is None:
            continue
        if type(t) not in (torch.Tensor, torch.nn.Parameter) or t.device.type != "cpu":  # fake, distributed, elsewhere
            return False
        if torch._C._functorch.is_functorch_wrapped_tensor(t):  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
            return False
    return True


def first(bad: Tensor) -> tuple[int, ...]:
    """Index of the first True."""
    return tuple(int(i) for i in bad.nonzero()[0])


def position(bad: Tensor) -> tuple[tuple[int, ...], str]:
    """Index of the first True, and its name in a message: "row 3", or "position (3, 1)" where rows have axes."""
    index = first(bad)
    return index, _place(index).removeprefix(" in ") or "the only row"


def _place(index: tuple[int, ...]) -> str:
    return "" if not index else f" in row {index[0]}" if len(index) == 1 else f" in position {index}"


def check_entries(values: Tensor, good: Tensor, axis: int, rule: str) -> None:
    """Refuse the first entry that is not good, naming its value, its class, which is on ``axis``, and its position."""
    if not readable(values) or bool(good.all()):
        return
    at = first(~good)
    where = _place(at[:axis] + at[axis + 1 :])
    raise ArgumentError(f"{rule}, got {float(values[at]):g} for class {at[axis]}{where}")


def check_strength(eps: float, name: str = "label_smoothing") -> None:
    """Refuse a strength outside [0, 1] or NaN; torch takes a negative one and a NaN for 0 without a word."""
    if isinstance(eps, Tensor):
        raise TypeError(
            f"{name} must be a number; for a strength per row use sf.smooth(labels, num_classes, eps, over=…)"
        )
    if isinstance(eps, str):  # as YAML reads 1e-1
        raise TypeError(f"{name} must be a number, got {eps!r}")
    if not 0.0 <= eps <= 1.0:
        raise ArgumentError(f"{name} must be in [0, 1], got {eps:g}")


def check_reduction(reduction: str) -> None:
    """Refuse an unknown reduction."""
    if reduction not in ("mean", "sum", "none"):
        raise ArgumentError(f'reduction must be "mean", "sum" or "none", got {reduction!r}')


def checked_ignore_index(ignore_index: object) -> int:
    """The label of what does not count, as torch takes it: any whole number, numpy's too, but no bool."""
    if type(ignore_index) is int:
        return ignore_index
    if isinstance(ignore_index, torch.SymInt):  # of compiled code
        return cast("int", ignore_index)
    if not isinstance(ignore_index, SupportsIndex) or isinstance(ignore_index, bool):
        raise TypeError(f"ignore_index must be an int, got {ignore_index!r}")
    return operator.index(ignore_index)


def check_labels(labels: Tensor, valid: Tensor | None, num_classes: int, owner: str) -> None:
    """Refuse the first label outside 0..K−1 among the rows that count (IndexError, as torch's)."""
    if labels.numel() == 0 or not readable(labels):
        return
    low, high = labels.aminmax()
    if int(low) >= 0 and int(high) < num_classes:
        return
    bad = (labels < 0) | (labels >= num_classes)
    if valid is not None:
        bad = bad & valid
    if bool(bad.any()):
        index, where = position(bad)
        raise IndexError(
            f"label {int(labels[index])} in {where} is not a class: "
            f"{owner} {num_classes} classes (0 to {num_classes - 1})"
        )


def class_axis(position_dims: int) -> int:
    """The class axis of an array whose positions have so many axes: 1, or 0 where there is one position only."""
    return 1 if position_dims else 0


def positions_of(with_classes: Tensor) -> torch.Size:
    """The shape of an array without its class axis."""
    shape = with_classes.shape
    return torch.Size(()) if len(shape) <= 1 else torch.Size((shape[0], *shape[2:]))


def at_labels(per_class: Tensor, labels: Tensor) -> Tensor:
    """Each position's entry of its label: of (K,), or of an array with classes on axis 1.

    By gather, because indexing with a label without axes reads its value, which vmap and compiled code cannot.
    """
    if per_class.dim() == 1:
        return per_class.gather(0, labels.reshape(-1)).reshape(labels.shape)
    return per_class.gather(1, labels.unsqueeze(1)).squeeze(1)


def checked_labels(
    labels: Tensor, num_classes: int, ignore_index: int, owner: str = "there are"
) -> tuple[Tensor, Tensor | None]:
    """Labels as int64 with 0 where ignored, and the mask of those that count; None if all do."""
    check_tensor(labels, "labels")
    ignore_index = checked_ignore_index(ignore_index)
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(
            f"labels must be integers (torch.int64), got {labels.dtype}; for probabilities use sf.from_probs"
        )
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    labels = labels.long()
    valid: Tensor | None = labels != ignore_index
    if readable(labels) and bool(valid.all()):
        valid = None
    check_labels(labels, valid, num_classes, owner)
    return (labels if valid is None else torch.where(valid, labels, 0)), valid


def checked_eps(eps: float | Tensor, labels: Tensor, ignore_index: int) -> float | Tensor:
    """A strength, or one a position, in [0, 1]; 0 where ignored. See :func:`checked_share`."""
    check_tensor(labels, "labels")
    if isinstance(eps, Tensor) and eps.is_floating_point() and eps.shape == labels.shape:
        eps = torch.where(labels.long() != ignore_index, eps, 0.0)  # an ignored row is inert, whatever its strength
    return checked_share(eps, labels.shape, "eps", beside="labels ")


def checked_share(share: float | Tensor, positions: torch.Size, name: str, *, beside: str = "") -> float | Tensor:
    """λ, α or ε: a number in [0, 1], or a tensor of them that broadcasts from the left with what stands ``beside``."""
    if not isinstance(share, Tensor):
        check_strength(share, name)
        return float(share)
    if not share.is_floating_point():
        raise TypeError(f"{name} must be floating, got {share.dtype}")
    if share.shape != positions[: share.dim()]:
        shapes = f"{tuple(share.shape)} does not broadcast from the left with {beside}{tuple(positions)}"
        raise ArgumentError(f"{name} {shapes}")
    if readable(share):
        bad = ~((share >= 0) & (share <= 1))
        if bool(bad.any()):
            index, where = position(bad)
            raise ArgumentError(f"{name} must be in [0, 1], got {float(share[index]):g} in {where}")
    return share


def checked_mask(mask: Tensor | None, positions: torch.Size, owner: str) -> Tensor | None:
    """A mask of the positions that count; None where all do."""
    if mask is None:
        return None
    if mask.dtype != torch.bool:
        raise TypeError(f"mask must be bool (True: the position counts), got {mask.dtype}")
    if mask.shape != positions:
        raise ArgumentError(f"mask has positions {tuple(mask.shape)}, {owner} {tuple(positions)}")
    return None if readable(mask) and bool(mask.all()) else mask


def both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """Where both masks count; None is a mask of everything."""
    return b if a is None else a if b is None else a & b


def checked_support(support: Tensor, labels: Tensor, valid: Tensor | None, num_classes: int, *, spare: bool) -> Tensor:
    """A mask of classes that holds every label; with ``spare`` at least one class more."""
    if support.dtype != torch.bool:
        raise TypeError(f"support must be bool, got {support.dtype}")
    expected = list(labels.shape)
    expected.insert(class_axis(labels.dim()), num_classes)
    if tuple(support.shape) not in ((num_classes,), tuple(expected)):
        raise ValueError(f"support must be ({num_classes},) or {tuple(expected)}, got {tuple(support.shape)}")
    if not readable(support, labels):
        return support
    per_position = support.dim() > 1
    if spare:
        few = (sum_within(support) if per_position else support.sum()) < 2
        few = few & valid if per_position and valid is not None else few
        if bool(few.any()):
            where = f" in {position(few)[1]}" if per_position else ""
            raise ValueError(f'over="others" needs at least 2 supported classes{where}: the label alone has no others')
    at_label = at_labels(support, labels)
    outside = ~at_label if valid is None else ~at_label & valid
    if bool(outside.any()):
        index, where = position(outside)
        raise ValueError(f"label {int(labels[index])} in {where} is outside the support")
    return support


def sum_within(support: Tensor, prior: Tensor | None = None) -> Tensor:
    """The prior's mass within the support of each position, (N, K, …), or how many classes the support has.

    A few positions at a time, so that nothing N×K is made: torch sums a wider copy of a mask.
    """
    if prior is not None:
        along = prior.reshape((1, -1) + (1,) * (support.dim() - 2))
        return torch.cat([(along * block).sum(1) for block in support.split(64)])
    if torch.compiler.is_compiling():
        return support.sum(1, dtype=torch.int32)
    return torch.cat([block.sum(1, dtype=torch.int32) for block in support.split(64)])


# How far a row's sum may be from 1: what rounding each entry to its type can do, and no more.
_SUM_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}


def check_distribution(q: Tensor, valid: Tensor | None, name: str, *, of_class: bool = False) -> None:
    """Refuse the first entry that is negative or not finite, or the first sum that is not 1; classes on axis 1."""
    if not readable(q, valid) or q.numel() == 0:
        return
    values = q.detach().double()
    if valid is not None:
        values = torch.where(valid.unsqueeze(1) if valid.dim() else valid, values, 1.0 / q.shape[1])
    # Each entry may also be off by half a subnormal, which adds up where classes are many.
    subnormal = torch.finfo(q.dtype).smallest_normal * torch.finfo(q.dtype).eps
    tolerance = _SUM_TOLERANCE.get(q.dtype, 1e-5) + 0.5 * subnormal * q.shape[1]
    if (fault := distribution_fault(values, tolerance, axis=1)) is None:
        return
    kind, at, value = fault
    where = "" if of_class else _place(at[:1] + at[2:] if kind == "entry" else at)
    if kind == "entry":
        raise ArgumentError(f"{name} must be finite and at least 0, got {value:g} for class {at[1]}{where}")
    raise ArgumentError(f"{name} must sum to 1, got {value:.9g}{where}")


def check_prior(prior: Tensor, num_classes: int | None = None) -> None:
    """Refuse what is not one distribution over the classes, (K,)."""
    check_tensor(prior, "prior")
    if prior.dim() != 1 or num_classes not in (None, len(prior)) or not prior.is_floating_point():
        shape = f"({num_classes or 'K'},)"
        raise ArgumentError(f"prior must be floating and {shape}, got {prior.dtype} {tuple(prior.shape)}")
    check_distribution(prior.unsqueeze(0), None, "prior", of_class=True)
