"""What is in a model's call: logits and loss in its output, tokens, mask and labels among its arguments, and the
strengths that the program around it was given, by name in the functions that are running and in their objects.
"""

import functools
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from sfumato.probe.find_loss import ProbeError, in_words
from sfumato.probe.rows import Array, Form, ReadRows, read_rows

Choice: TypeAlias = Callable[[Any], Any] | str | None

CASTS = ("ToCopyBackward0", "CloneBackward0", "AliasBackward0")
"""Nodes of a graph that return the same numbers in another type or place."""

OF_TOKENS = ("log_probs", "logprobs", "logps", "per_token_logps", "entropy", "entropies", "token_accuracy")
"""Names of what a fused head returns in place of logits: one number a token."""

NAME_THEM = "say where they are, as in watch(model, logits=lambda output: output.scores)"


def logits_of(output: Any, choice: Choice) -> Tensor | None:
    """The logits in an output; None where a model left them out on purpose, as a fused head does."""
    if choice is not None:
        return _chosen(output, choice)
    if isinstance(output, Tensor):
        if not output.is_floating_point() or output.dim() == 0:
            raise ProbeError(f"the model returned {_shown(output)}, which cannot be logits: {NAME_THEM}")
        return output
    named = _named(output)
    logits = named["logits"] if "logits" in named else getattr(output, "logits", ...)
    if logits is None or isinstance(logits, Tensor):
        return logits
    tensors = {
        name: value for name, value in named.items() if isinstance(value, Tensor) and value.is_floating_point()
        if value.dim() >= 2 and value.shape[-1] >= 2 and name not in OF_TOKENS
    }  # fmt: skip
    if len(tensors) > 1:
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in tensors.items())
        first = next(iter(tensors))
        way = f'logits="{first}"' if not first.isdigit() else f"logits=lambda output: output[{first}]"
        text = f"the model returned several tensors that could be logits ({shapes}): name one"
        raise ProbeError(f"{text}, as in watch(model, {way})")
    for value in tensors.values():
        return value
    if isinstance(named.get("loss"), Tensor) or not set(OF_TOKENS).isdisjoint(named):
        return None
    raise ProbeError(f"the model returned {_shown(output)}, in which no logits were found: {NAME_THEM}")


def loss_in(output: Any) -> Tensor | None:
    """The loss that a model computed itself; None where it returned none."""
    named = _named(output)
    loss = named.get("loss", named.get("0"))
    return loss if isinstance(loss, Tensor) and loss.numel() == 1 and loss.is_floating_point() else None


def source_of(logits: Tensor) -> tuple[Any, int] | None:
    """The node of the graph that made the logits, and which of its outputs they are; None for a leaf."""
    node, number = logits.grad_fn, logits.output_nr
    while node is not None and node.name() in CASTS and node.next_functions and node.next_functions[0][0] is not None:
        node, number = node.next_functions[0]
    return None if node is None else (node, number)


def _named(output: Any) -> dict[str, Any]:
    """The parts of an output by name or by number."""
    if isinstance(output, Mapping):
        return {str(name): value for name, value in output.items()}
    if isinstance(output, (tuple, list)):
        names = getattr(output, "_fields", range(len(output)))
        return {str(name): value for name, value in zip(names, output, strict=True)}
    return {name: value for name, value in getattr(output, "__dict__", {}).items() if not name.startswith("_")}


def _chosen(output: Any, choice: Callable[[Any], Any] | str) -> Tensor:
    named = _named(output)
    try:
        if isinstance(choice, str):
            logits = named[choice] if choice in named else getattr(output, choice)
        else:
            logits = choice(output)
    except Exception as error:
        has = f" It has {', '.join(named)}." if named else ""
        raise ProbeError(f"logits= found nothing in {_shown(output)}: {in_words(error)}.{has}") from error
    if not isinstance(logits, Tensor) or not logits.is_floating_point() or logits.dim() == 0:
        text = f"logits= gave {_shown(logits)}, where logits are a floating tensor with the classes on an axis"
        raise ProbeError(text)
    return logits


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    named = _named(value)
    return f"a {type(value).__name__}" + (f" with {', '.join(named)}" if named else "")


def class_axis(z: Tensor, g: Tensor) -> int:
    """The axis of the classes, along which the gradients of a softmax sum to 0; the last one where none does."""
    last = z.dim() - 1
    if last < 2:
        return last
    some, its = z[:4].detach().float(), g[:4].detach().float()
    size = its.abs().sum().clamp(min=1e-30)
    left, left_of_last = (float(its.sum(axis).abs().sum() / size) for axis in (1, last))
    if float((some.sum(-1) - 1).abs().max()) < 1e-3:
        return last
    return 1 if left < min(0.1 * left_of_last, 1e-2) else last


def as_rows(values: Tensor, axis: int) -> Tensor:
    """Values with the classes on some axis as (R, K)."""
    return values[None] if values.dim() == 1 else values.movedim(axis, -1).reshape(-1, values.shape[axis])


def read_output(z: Tensor, g: Tensor, node: str) -> tuple[ReadRows, tuple[int, ...]] | None:
    """The rows of an output and their shape; None where each has one number that is not the logit of two classes."""
    axis = class_axis(z, g) % max(z.dim(), 1)
    rows = read_rows(as_rows(z, axis), as_rows(g, axis)) if z.dim() and z.shape[axis] > 1 else None
    if rows is None or (rows.finite and rows.live.any() and np.nanmedian(rows.unbalanced[rows.live]) > 0.1):
        two = _of_two_classes(z.reshape(-1).double(), g.reshape(-1), is_sigmoid=node.startswith("SigmoidBackward"))
        if two is not None:
            return two, tuple(z.shape[:-1] if z.shape[-1:] == (1,) else z.shape)
    return None if rows is None else (rows, tuple(n for i, n in enumerate(z.shape) if i != axis))


def _of_two_classes(z: Tensor, g: Tensor, *, is_sigmoid: bool) -> ReadRows | None:
    """One logit per row, read as the two logits 0 and z; None where no binary cross entropy fits."""
    logits = read_rows(torch.stack([torch.zeros_like(z), z], 1), torch.stack([-g, g], 1))
    readings = [replace(logits, form=Form.SOFTMAX_OF_PROBABILITIES if is_sigmoid else Form.SIGMOIDS)]
    if is_sigmoid:
        readings.append(read_rows(torch.stack([1 - z, z], 1), torch.stack([torch.zeros_like(g), g], 1)))
    for rows in readings:
        known = rows.live & np.isfinite(rows.eps)
        if known.sum() < 6 or np.ptp(rows.eps[known]) > (0.1 if rows.coarse else 1e-2):
            continue
        if np.abs(rows.eps[known]).max() < 1 and np.median(rows.misfit[known]) < (3e-2 if rows.coarse else 1e-4):
            return rows
    return None


@dataclass(frozen=True)
class ModelInputs:
    """The integer tensors of one call of a model, (B, T), its labels, where they were among the arguments, and the
    first tensor of all.
    """

    ids: Tensor | None = None
    mask: Tensor | None = None
    labels: Tensor | None = None
    first: Tensor | None = None

    def compare(self, label: Array, live: Array, shape: tuple[int, ...], pad: int | None) -> Counter[str]:
        """How the labels that rows were trained on (R,) stand to the tokens."""
        counts: Counter[str] = Counter()
        y, alive = label.reshape(shape), live.reshape(shape)
        if len(shape) == 2 and self.ids is not None and tuple(self.ids.shape) == shape:
            ids = self.ids.cpu().numpy()
            counts["live"] = int(alive.sum())
            for name, by in (("same", 0), ("next", 1), ("second", 2)):
                kept = alive[:, : shape[1] - by]
                counts[f"{name} of"] = int(kept.sum())
                counts[name] = int((kept & (y[:, : shape[1] - by] == ids[:, by:])).sum())
            counts["padding"] = _padding(y, alive, ids, self.mask, pad, int(counts["next"] >= counts["same"]))
        if self.labels is not None and not self.labels.is_floating_point() and tuple(self.labels.shape) == shape:
            given, by = self.labels.cpu().numpy(), 0
            if len(shape) == 2:  # the labels in use may be the given ones of the next position
                following = (alive[:, :-1] & (y[:, :-1] == given[:, 1:])).sum()
                by = int(following > (alive & (y == given)).sum())
            kept = alive[..., : shape[-1] - by] if by else alive
            counts["given"] = int(kept.sum())
            counts["ignored"] = int((kept & (given[..., by:] == -100)).sum())
        return +counts


def _padding(y: Array, alive: Array, ids: Array, mask: Tensor | None, pad: int | None, by: int) -> int:
    """How many rows with a gradient have padding as their label: masked tokens, or a second padding token in a row."""
    kept = ids.shape[1] - by
    if mask is not None and tuple(mask.shape) == ids.shape and bool((mask != 0).any()):
        return int((alive[:, :kept] & (mask.cpu().numpy() == 0)[:, by:]).sum())
    if pad is None:
        return 0
    is_pad = ids == pad
    # The first of a run may be the end of the text, where one token serves as both.
    second = is_pad & np.pad(is_pad, ((0, 0), (1, 0)))[:, :-1]
    return int((alive[:, :kept] & second[:, by:] & (y[:, :kept] == pad)).sum())


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
        by_place = tensors_in([each for each in args if not isinstance(each, Mapping)])
        ids = next((each for each in by_place if _whole(each) and each.dim() == 2), None)
    mask = first("attention_mask", "mask", "padding_mask", whole=False)
    return ModelInputs(ids, mask, first("labels", "targets", "target", "y"), next(tensors_in((args, named)), None))


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in nested mappings and sequences."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (Mapping, tuple, list)):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from tensors_in(each)


def _whole(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype in (torch.int64, torch.int32)


NAMES = (
    "label_smoothing", "label_smoothing_factor", "label_smoothing_eps", "label_smooth", "label_smooth_val", "lb_smooth",
    "smoothing_param", "lsm_weight",
)  # fmt: skip
"""Names that mean the strength wherever they stand."""

HOLDERS = (
    "args", "config", "cfg", "hparams", "opt", "options", "criterion", "loss", "loss_fn", "loss_func",
    "compute_loss_func", "train_loss_fn", "label_smoother", "task", "trainer", "lightning_module", "pl_module",
    "_compile_loss", "_loss", "self",
)  # fmt: skip
"""Names of variables and attributes whose object is searched too; the first six hold options."""

HERE = str(Path(__file__).parent)
DEEP = 60  # functions that are searched, from the model outwards


class GivenStrength(NamedTuple):
    """A strength that stands in a program."""

    where: str  # its name, as in "args.label_smoothing_factor"
    value: Any  # the number; anything else is left out
    over: str = ""  # what its owner says that it is spread over; "" where the owner says nothing


def given_strengths(model: Any, kwargs: Mapping[str, Any]) -> list[GivenStrength]:
    """Strengths other than 0 in the arguments of a model's call, and in the functions that called it."""
    own = [GivenStrength(f"{type(model).__name__}(…, {name}=…)", kwargs[name]) for name in NAMES if name in kwargs]
    values = {each.where: each for each in own}
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    for _ in range(DEEP):
        if frame is None:
            break
        owner = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if not frame.f_code.co_filename.startswith(HERE) and owner not in ("torch", "_pytest", "pluggy"):
            for each in _in_variables(frame.f_locals):
                values.setdefault(each.where, each)
        frame = frame.f_back
    first: dict[tuple[float, str], GivenStrength] = {}
    for where, value, over in values.values():  # one object may have several names
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < abs(value) <= 1:
            first.setdefault((value, over), GivenStrength(where, float(value), over))
    return list(first.values())


def _in_variables(variables: Mapping[str, Any]) -> Iterator[GivenStrength]:
    for name, value in list(variables.items()):
        if name in NAMES:
            yield GivenStrength(name, value, str(variables.get("over", "")))
        elif name in HOLDERS or _is_loss(name, value):
            yield from _in_object(name, value, deeper=True)


def _in_object(path: str, value: Any, *, deeper: bool) -> Iterator[GivenStrength]:
    """The strengths that an object holds itself, and those of the objects that it is known to keep them in."""
    if isinstance(value, functools.partial):
        over = str(value.keywords.get("over", ""))
        names = (name for name in NAMES if name in value.keywords)
        yield from (GivenStrength(f"{path}({name}=…)", value.keywords[name], over) for name in names)
        return
    fields = _fields(value)
    path = type(value).__name__ if path == "self" else path
    over = str(fields.get("over", ""))
    unsure = ("smoothing", "epsilon") if _is_loss(path, value) else ("smoothing",) if path in HOLDERS[:6] else ()
    yield from (GivenStrength(f"{path}.{name}", fields[name], over) for name in NAMES + unsure if name in fields)
    if deeper:
        for name in (*HOLDERS, *(name for name, each in fields.items() if _is_loss(name, each))):
            if fields.get(name) is not None and name != "self":
                yield from _in_object(f"{path}.{name}", fields[name], deeper=path.count(".") < 1)


def _fields(value: Any) -> dict[str, Any]:
    """The attributes of an object, without running any code of its own; the submodules of a module among them."""
    if isinstance(value, dict):
        return {name: each for name, each in value.items() if isinstance(name, str)}
    fields = dict(getattr(value, "__dict__", {})) if not isinstance(value, type) else {}
    modules = fields.get("_modules")
    return {**modules, **fields} if isinstance(modules, dict) else fields


def _is_loss(name: str, value: Any) -> bool:
    """Whether an object is a loss, by its class or by its name."""
    if value is None or isinstance(value, (int, float, str, tuple, list, type)) or hasattr(value, "shape"):
        return False
    names = f"{name.rpartition('.')[2]} {type(value).__name__}".lower()
    return any(word in names for word in ("loss", "criterion", "crossentropy", "cross_entropy", "labelsmooth"))
