"""Calls that compiled code makes between two of its graphs, since they work in pieces in memory of their own.

The decorator loads nothing; what it needs of torch's compiler is loaded where code is compiled and nowhere else.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

Function = TypeVar("Function", bound=Callable[..., Any])


def uncompiled(function: Function) -> Function:
    """The function, called eagerly also where compiled code calls it."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            from sfumato.loss import operators

            return operators.outside(function, *args, **kwargs)
        return function(*args, **kwargs)

    return cast("Function", call)
