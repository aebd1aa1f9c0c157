"""What the inputs of a model say about the labels that it was trained on: padding, ignored labels, the shift by one."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ModelInputs:
    """The integer tensors of one call of a model, (B, T), and its labels, where they were among the arguments."""

    ids: Tensor | None = None
    mask: Tensor | None = None
    labels: Tensor | None = None

    def compare(self, label: Array, live: Array, shape: tuple[int, ...], pad: int | None) -> Counter[str]:
        """How the labels that rows were trained on (R,) stand to the tokens.

        Args:
            label: the classes that gradients name; −1 where none.
            live: which rows have a gradient.
            shape: of the rows, as (B, T); nothing is told of others.
            pad: the token that is padding, where the model's configuration says so.

        Returns:
            Counts of live rows: ``"live"``; ``"same"``, ``"next"`` and ``"second"``, whose label is the token at the
            same place, one and two places on; ``"padding"``, whose token to predict is masked; ``"ignored"``, whose
            label was −100; ``"given"``, which have a label that was given.

        >>> ids = torch.tensor([[5, 7, 9, 0]])
        >>> found = ModelInputs(ids, torch.tensor([[1, 1, 1, 0]]))
        >>> sorted(found.compare(np.array([7, 9, 0, -1]), np.array([1, 1, 1, 0], bool), (1, 4), None).items())
        [('live', 3), ('next', 3), ('next of', 3), ('padding', 1), ('same of', 3), ('second of', 2)]
        """
        found: Counter[str] = Counter()
        if len(shape) == 2 and self.ids is not None and tuple(self.ids.shape) == shape:
            y, alive, ids = label.reshape(shape), live.reshape(shape), self.ids.cpu().numpy()
            found["live"] = int(alive.sum())
            for name, by in (("same", 0), ("next", 1), ("second", 2)):
                kept = alive[:, : shape[1] - by]
                found[f"{name} of"] = int(kept.sum())
                found[name] = int((kept & (y[:, : shape[1] - by] == ids[:, by:])).sum())
            found["padding"] = _padding(y, alive, ids, self.mask, pad, shifted=found["next"] >= found["same"])
        if self.labels is not None and not self.labels.is_floating_point() and tuple(self.labels.shape) == shape:
            given, alive = self.labels.cpu().numpy().reshape(shape), live.reshape(shape)
            y = label.reshape(shape)
            by = _shift_of(y, alive, given) if len(shape) == 2 else 0
            kept = alive[..., : shape[-1] - by] if by else alive
            found["given"] = int(kept.sum())
            found["ignored"] = int((kept & (given[..., by:] == -100)).sum())
            found["labels shifted"] = by * found["given"]
        return +found


def inputs_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> ModelInputs:
    """The tokens, the mask and the labels among the arguments of a model; tokens by position are the first integers."""
    named = dict(kwargs)
    for each in args:
        if isinstance(each, Mapping):
            named |= {str(name): value for name, value in each.items()}
    ids = next((named[name] for name in ("input_ids", "ids", "tokens", "idx", "x") if _whole(named.get(name))), None)
    if ids is None:
        ids = next((each for each in _flat(args) if _whole(each) and each.dim() == 2), None)
    mask = next((named[name] for name in ("attention_mask", "mask", "padding_mask") if _flags(named.get(name))), None)
    labels = next((named[name] for name in ("labels", "targets", "target", "y") if _whole(named.get(name))), None)
    return ModelInputs(ids, mask, labels)


def _flat(values: Any) -> Iterator[Any]:
    for each in values:
        if isinstance(each, (tuple, list)):
            yield from _flat(each)
        else:
            yield each


def _whole(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype in (torch.int64, torch.int32)


def _flags(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 2


def _padding(y: Array, alive: Array, ids: Array, mask: Tensor | None, pad: int | None, *, shifted: bool) -> int:
    """How many rows with a gradient have padding as their label: masked tokens, or a second padding token in a row."""
    by = 1 if shifted else 0
    alive = alive[:, : ids.shape[1] - by]
    if mask is not None and tuple(mask.shape) == ids.shape and bool((mask != 0).any()):
        return int((alive & (mask.cpu().numpy() == 0)[:, by:]).sum())
    if pad is None:
        return 0
    is_pad = ids == pad
    # The first of a run may be the end of the text, where one token serves as both.
    second = is_pad & np.pad(is_pad, ((0, 0), (1, 0)))[:, :-1]
    return int((alive & second[:, by:] & (y[:, : ids.shape[1] - by] == pad)).sum())


def _shift_of(y: Array, alive: Array, given: Array) -> int:
    """1 where the labels in use are the given ones of the next position, else 0."""
    same = (alive & (y == given)).sum()
    following = (alive[:, :-1] & (y[:, :-1] == given[:, 1:])).sum()
    return int(following > same)
