"""What the conformance suites are aimed at, and how two results are compared.

``SFUMATO_CONFORMANCE_TARGET=module:function`` names a function with the arguments of
``torch.nn.functional.cross_entropy``; without it the suites are aimed at sfumato's own, on both of its paths.
``SFUMATO_CONFORMANCE_SEEDS=20`` runs them with so many seeds instead of one.

    SFUMATO_CONFORMANCE_TARGET=torch.nn.functional:cross_entropy python -m pytest tests/conformance
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

OURS = "sfumato:cross_entropy"
NAME = os.environ.get("SFUMATO_CONFORMANCE_TARGET", OURS)
SEEDS = range(int(os.environ.get("SFUMATO_CONFORMANCE_SEEDS", "1")))
PATHS = ("kernel", "torch") if NAME == OURS else ("as it is",)

Loss = Callable[..., Tensor]
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
EXACT = (torch.float64, torch.float32)


def target() -> Loss:
    """The function that the suites are aimed at."""
    module, _, function = NAME.partition(":")
    return getattr(import_module(module), function)


@contextmanager
def path(name: str):
    """sfumato's kernel or its torch path in force; another function is taken as it is."""
    if name == "as it is":
        yield
        return
    from tests import needs

    with pytest.MonkeyPatch.context() as patch:
        needs.path(name, patch)
        yield


def value_and_gradients(loss: Loss, inputs: tuple[Tensor, ...], options: dict[str, Any]) -> list[Tensor]:
    """The loss and its gradient in every floating input, with an upstream gradient that is not 1."""
    leaves = [x.detach().requires_grad_(x.is_floating_point()) for x in inputs]
    value = loss(*leaves, **options)
    eighths = torch.randint(4, 13, value.shape, generator=torch.Generator().manual_seed(1))  # exact in every type
    upstream = eighths.to(value.dtype) / 8
    differentiable = [x for x in leaves if x.requires_grad]
    return [value.detach(), *torch.autograd.grad(value, differentiable, upstream)]


def difference(ours: Tensor, theirs: Tensor, exact: Tensor | None = None) -> str:
    """How two results differ, "" if they do not.

    Without the exact value: by ``torch.testing.assert_close`` in its defaults. With it, what low precision is held to:
    no further from it than theirs, plus one unit of the type. Where theirs is NaN any finite gradient will do.
    """
    if ours.dtype != theirs.dtype or ours.shape != theirs.shape:
        return f"{ours.dtype} {tuple(ours.shape)} instead of {theirs.dtype} {tuple(theirs.shape)}"
    if exact is None:
        try:
            torch.testing.assert_close(ours, theirs, equal_nan=True)
        except AssertionError as error:
            return str(error).splitlines()[0] + f" {ours.flatten()[:6].tolist()} {theirs.flatten()[:6].tolist()}"
        return ""
    info = torch.finfo(theirs.dtype)
    unit = info.eps * exact.abs().clamp(min=info.smallest_normal)
    allowed = (theirs.double() - exact).abs().nan_to_num(nan=torch.inf, posinf=torch.inf) + unit
    same = (ours.double() == exact) | (ours.isnan() & exact.isnan())
    off = (ours.double() - exact).abs()
    # A truth beyond the largest number of the type is rightly rounded to inf.
    overflow = (ours.double() == exact.to(theirs.dtype).double()) & exact.isfinite()
    worse = ~(same | overflow | (off <= allowed))
    return f"further from the truth by {(off - allowed)[worse].max().item():g}" if bool(worse.any()) else ""


def compare(loss: Loss, reference: Loss, judge: Loss, inputs: tuple[Tensor, ...], options: dict[str, Any]) -> str:
    """Value and gradients of a loss against a reference; in half precision ``judge`` says what is near enough.

    Returns:
        What differs, or "".
    """
    ours = value_and_gradients(loss, inputs, options)
    exact: list[Tensor] | list[None]
    if inputs[0].dtype in EXACT:
        theirs = value_and_gradients(reference, inputs, options)
        exact = [None] * len(theirs)
    else:
        theirs = value_and_gradients(judge, inputs, options)
        exact = value_and_gradients(reference, widened(inputs), {k: wide(v) for k, v in options.items()})
    names = ("loss", *(f"gradient {i}" for i, x in enumerate(inputs) if x.is_floating_point()))
    for name, a, b, c in zip(names, ours, theirs, exact, strict=True):
        if name != "loss" and bool((b if c is None else c).isnan().all()) and not bool(a.isnan().any()):
            continue  # a mean over no row: NaN there, and a gradient of 0 is as good
        if said := difference(a, b, c):
            return f"{name}: {said}"
    return ""


def widened(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(wide(x) for x in inputs)


def wide(x: Any) -> Any:
    return x.double() if isinstance(x, Tensor) and x.is_floating_point() else x
