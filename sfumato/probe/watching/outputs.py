"""Find the logits in what a model returns, and the place in its graph where their gradient arrives."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from torch import Tensor

from sfumato.probe.call.find import ProbeError, in_words

Choice: TypeAlias = Callable[[Any], Any] | str | None

CASTS = ("ToCopyBackward0", "CloneBackward0", "AliasBackward0")
"""Nodes of a graph that return the same numbers in another type or place."""


OF_TOKENS = ("log_probs", "logprobs", "logps", "per_token_logps", "entropy", "entropies", "token_accuracy")
"""Names of what a fused head returns in place of logits: one number a token."""

MISSING = object()


def logits_of(output: Any, choice: Choice) -> Tensor | None:
    """The logits in an output; None where a model left them out on purpose, as a fused head does.

    Raises:
        ProbeError: the output holds no tensor, or several that could be logits, or ``choice`` finds none.

    >>> import torch
    >>> logits_of({"loss": torch.tensor(1.0), "logits": torch.zeros(2, 3)}, None).shape
    torch.Size([2, 3])
    """
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
    found = {
        name: value for name, value in named.items() if isinstance(value, Tensor) and value.is_floating_point()
        if value.dim() >= 2 and value.shape[-1] >= 2 and name not in OF_TOKENS
    }  # fmt: skip
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        told = ", ".join(f"{name} {tuple(value.shape)}" for name, value in found.items())
        first = next(iter(found))
        way = f'logits="{first}"' if not first.isdigit() else f"logits=lambda output: output[{first}]"
        raise ProbeError(
            f"the model returned several tensors that could be logits ({told}): name one, as in watch(model, {way})"
        )
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
    """The node of the graph that made the logits, and which of its outputs they are; None for a leaf.

    A trainer may hand out a copy of the logits in float32 beside the loss; the node before the copy sees the gradient
    of both.
    """
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
        if not isinstance(choice, str):
            found = choice(output)
        else:
            found = _named(output)[choice] if choice in _named(output) else getattr(output, choice)
    except Exception as error:
        has = f" It has {', '.join(_named(output))}." if _named(output) else ""
        raise ProbeError(f"logits= found nothing in {_shown(output)}: {in_words(error)}.{has}") from error
    if not isinstance(found, Tensor) or not found.is_floating_point() or found.dim() == 0:
        raise ProbeError(
            f"logits= gave {_shown(found)}, where logits are a floating tensor with the classes on an axis"
        )
    return found


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    kind = type(value).__name__
    named = _named(value)
    return f"a {kind} with {', '.join(named)}" if named else f"a {kind}"


def class_axis(z: Tensor, g: Tensor) -> int:
    """The axis of the classes, along which the gradients of a softmax sum to 0; the last one where none does.

    >>> import torch
    >>> z = torch.randn(2, 5, 7, requires_grad=True)
    >>> torch.nn.functional.cross_entropy(z, torch.zeros(2, 7, dtype=torch.long)).backward()
    >>> class_axis(z, z.grad)
    1
    """
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
