"""Hook a model of Keras, whose calls do not go through the hooks of torch."""

import functools
import sys
from collections.abc import Callable
from typing import Any


def wrap_call(model: Any, called: Callable[..., None]) -> Callable[[], None] | None:
    """Let ``called(model, args, kwargs, output)`` be told of each call of a Keras model, until the result is called.

    Returns:
        What takes it away again; None where the model is none of Keras's.

    >>> wrap_call(object(), print) is None
    True
    """
    layers = sys.modules.get("keras.src.layers.layer")
    if layers is None or not isinstance(model, layers.Layer):
        return None
    owner = type(model)
    own = owner.__dict__.get("__call__")
    plain = owner.__call__

    @functools.wraps(plain)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = plain(self, *args, **kwargs)
        if self is model:
            called(self, args, kwargs, output)
        return output

    owner.__call__ = call

    def undo() -> None:
        if own is None:
            del owner.__call__
        else:
            owner.__call__ = own

    return undo
