"""The parameters of a loss that somebody has to fill: how many tensors the loss takes, and by what names."""

import inspect
from collections.abc import Callable
from typing import Any

BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a loss, or of the method that a module runs; empty where Python knows no signature."""
    inner = getattr(function, "forward", None) or getattr(function, "call", None) or function
    try:
        found = inspect.signature(inner).parameters.values()
    except (TypeError, ValueError):
        return []
    return [each for each in found if each.name != "self"]


def required(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters without a default, in their order.

    >>> def loss(logits, *, labels, weight=None): ...
    >>> [each.name for each in required(loss)]
    ['logits', 'labels']
    """
    lacking = [each for each in parameters_of(function) if each.default is each.empty]
    return [each for each in lacking if each.kind in (*BY_POSITION, each.KEYWORD_ONLY)]


def keywords_of(function: Callable[..., Any]) -> tuple[str, str] | None:
    """The names of logits and labels in a loss that cannot take both by position; None of any other loss.

    >>> def loss(*, input, target): ...
    >>> keywords_of(loss)
    ('input', 'target')
    """
    lacking = required(function)
    if len(lacking) != 2 or all(each.kind in BY_POSITION for each in lacking):
        return None
    if any(each.kind is each.POSITIONAL_ONLY for each in lacking):
        return None
    return lacking[0].name, lacking[1].name
