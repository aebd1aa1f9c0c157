"""The tensors of a model's call: logits and loss in its output, tokens, mask and labels among its arguments."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from sfumato.probe.call.find import ProbeError, in_words

Choice: TypeAlias = Callable[[Any], Any] | str | None

CASTS = ("ToCopyBackward0", "CloneBackward0", "AliasBackward0")
"""Nodes of a graph that return the same numbers in another type or place."""


OF_TOKENS = ("log_probs", "logprobs", "logps", "per_token_logps", "entropy", "entropies", "token_accuracy")
"""Names of what a fused head returns in place of logits: one number a token."""

MISSING = object()


def logits_of(output: Any, choice: Choice) -> Tensor | None:
    """The logits in an output; None where a model left them out on purpose, as a fused head does."""
    if choice is not None:
        return _chosen(output, choice)
    if isinstance(output, Tensor):
        if not output.is_floating_point() or output.dim() == 0:
            raise ProbeError(f"the model returned {_shown(output)}, which cannot be logits: {NAME_THEM}")
        return output
    named = _named(output)
    logits = named["logits"] if "logits" in named else getattr(output, "logits", MISSING)
    if logits is None or isinstance(logits, Tensor):
        return logits
    tensors = {
        name: value for name, value in named.items() if isinstance(value, Tensor) and value.is_floating_point()
        if value.dim() >= 2 and value.shape[-1] >= 2 and name not in OF_TOKENS
    }  # fmt: skip
    if len(tensors) == 1:
        return next(iter(tensors.values()))
    if tensors:
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in tensors.items())
        first = next(iter(tensors))
        way = f'logits="{first}"' if not first.isdigit() else f"logits=lambda output: output[{first}]"
        text = (
            f"the model returned several tensors that could be logits ({shapes}): name one, as in watch(model, {way})"
        )
        raise ProbeError(text)
    if isinstance(named.get("loss"), Tensor) or not set(OF_TOKENS).isdisjoint(named):
        return None
    raise ProbeError(f"the model returned {_shown(output)}, in which no logits were found: {NAME_THEM}")


NAME_THEM = "say where they are, as in watch(model, logits=lambda output: output.scores)"


def loss_in(output: Any) -> Tensor | None:
    """The loss that a model computed itself; None where it returned none."""
    named = _named(output)
    loss = named.get("loss", named.get("0"))
    return loss if isinstance(loss, Tensor) and loss.numel() == 1 and loss.is_floating_point() else None


def source_of(logits: Tensor) -> tuple[Any, int] | None:
    """The node of the graph that made the logits, and which of its outputs they are; None for a leaf."""
    node, number = logits.grad_fn, logits.output_nr
    if node is None:
        return None
    while node.name() in CASTS and node.next_functions:
        before, of_it = node.next_functions[0]
        if before is None:
            break
        node, number = before, of_it
    return node, number


def _named(output: Any) -> dict[str, Any]:
    """The parts of an output by name or by number."""
    if isinstance(output, Mapping):
        return {str(name): value for name, value in output.items()}
    if isinstance(output, (tuple, list)):
        names = getattr(output, "_fields", range(len(output)))
        return {str(name): value for name, value in zip(names, output, strict=True)}
    fields = getattr(output, "__dict__", {})
    return {name: value for name, value in fields.items() if not name.startswith("_")}


def _chosen(output: Any, choice: Callable[[Any], Any] | str) -> Tensor:
    try:
        if isinstance(choice, str):
            named = _named(output)
            logits = named[choice] if choice in named else getattr(output, choice)
        else:
            logits = choice(output)
    except Exception as error:
        has = f" It has {', '.join(_named(output))}." if _named(output) else ""
        raise ProbeError(f"logits= found nothing in {_shown(output)}: {in_words(error)}.{has}") from error
    if not isinstance(logits, Tensor) or not logits.is_floating_point() or logits.dim() == 0:
        text = f"logits= gave {_shown(logits)}, where logits are a floating tensor with the classes on an axis"
        raise ProbeError(text)
    return logits


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    kind = type(value).__name__
    named = _named(value)
    return f"a {kind} with {', '.join(named)}" if named else f"a {kind}"


def class_axis(z: Tensor, g: Tensor) -> int:
    """The axis of the classes, along which the gradients of a softmax sum to 0; the last one where none does."""
    if z.dim() < 3:
        return z.dim() - 1
    some, its = z[:4].detach(), g[:4].detach().float()
    size = its.abs().sum().clamp(min=1e-30)
    left = {axis: float(its.sum(axis).abs().sum() / size) for axis in (z.dim() - 1, 1)}
    if float((some.float().sum(-1) - 1).abs().max()) < 1e-3:
        return z.dim() - 1
    return 1 if left[1] < 0.1 * left[z.dim() - 1] and left[1] < 1e-2 else z.dim() - 1


def as_rows(values: Tensor, axis: int) -> Tensor:
    """Values with the classes on some axis as (R, K)."""
    if values.dim() == 1:
        return values[None]
    return values.movedim(axis, -1).reshape(-1, values.shape[axis])


Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ModelInputs:
    """The integer tensors of one call of a model, (B, T), and its labels, where they were among the arguments."""

    ids: Tensor | None = None
    mask: Tensor | None = None
    labels: Tensor | None = None

    def compare(self, label: Array, live: Array, shape: tuple[int, ...], pad: int | None) -> Counter[str]:
        """How the labels that rows were trained on (R,) stand to the tokens."""
        counts: Counter[str] = Counter()
        if len(shape) == 2 and self.ids is not None and tuple(self.ids.shape) == shape:
            y, alive, ids = label.reshape(shape), live.reshape(shape), self.ids.cpu().numpy()
            counts["live"] = int(alive.sum())
            for name, by in (("same", 0), ("next", 1), ("second", 2)):
                kept = alive[:, : shape[1] - by]
                counts[f"{name} of"] = int(kept.sum())
                counts[name] = int((kept & (y[:, : shape[1] - by] == ids[:, by:])).sum())
            counts["padding"] = _padding(y, alive, ids, self.mask, pad, shifted=counts["next"] >= counts["same"])
        if self.labels is not None and not self.labels.is_floating_point() and tuple(self.labels.shape) == shape:
            given, alive = self.labels.cpu().numpy().reshape(shape), live.reshape(shape)
            y = label.reshape(shape)
            by = 0
            if len(shape) == 2:  # the labels in use may be the given ones of the next position
                following = (alive[:, :-1] & (y[:, :-1] == given[:, 1:])).sum()
                by = int(following > (alive & (y == given)).sum())
            kept = alive[..., : shape[-1] - by] if by else alive
            counts["given"] = int(kept.sum())
            counts["ignored"] = int((kept & (given[..., by:] == -100)).sum())
        return +counts


def inputs_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> ModelInputs:
    """The tokens, the mask and the labels among the arguments of a model; tokens by position are the first integers."""
    named = dict(kwargs)
    for each in args:
        if isinstance(each, Mapping):
            named |= {str(name): value for name, value in each.items()}

    def first(*names: str, whole: bool = True) -> Tensor | None:
        tensors = (named[name] for name in names if isinstance(named.get(name), Tensor))
        return next((each for each in tensors if (_whole(each) if whole else each.dim() == 2)), None)

    ids = first("input_ids", "ids", "tokens", "idx", "x")
    if ids is None:
        ids = next((each for each in _flat(args) if _whole(each) and each.dim() == 2), None)
    mask = first("attention_mask", "mask", "padding_mask", whole=False)
    return ModelInputs(ids, mask, first("labels", "targets", "target", "y"))


def _flat(values: Any) -> Iterator[Any]:
    for each in values:
        if isinstance(each, (tuple, list)):
            yield from _flat(each)
        else:
            yield each


def _whole(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype in (torch.int64, torch.int32)


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
