"""What the tests of properties share: the two paths, how many cases are drawn, and what is near enough."""

from __future__ import annotations

import os
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import Phase, settings
from numpy import ndarray

import sfumato as sf
from sfumato import arguments
from tests import needs
from tests.limits import examples
from tests.targets.registry import TARGETS, to_torch

REDUCTIONS, WEIGHT_ON = get_args(arguments.Reduction), get_args(arguments.WeightOn)
# What docs/numerics.md promises: relative of a loss, absolute of a gradient; and one unit of the type.
PROMISED = {torch.float64: (1e-14, 2.0**-52), torch.float32: (5e-7, 2.0**-23)}
TINY = float(np.finfo(np.float64).smallest_normal)

# Whoever only asks whether a property holds has no use for the simplest case in which it does not.
PHASES = [p for p in Phase if p not in (Phase.shrink, Phase.explain) or os.environ.get("SFUMATO_SHRINK") != "0"]
some = settings(examples(5), phases=PHASES)
few = settings(examples(2), phases=PHASES)
each_target = pytest.mark.parametrize("name", TARGETS)


@pytest.fixture(autouse=True, scope="module", params=needs.PATHS)
def path(request):
    """Every property is asked of each path."""
    with pytest.MonkeyPatch.context() as patch:
        needs.path(request.param, patch)
        yield request.param


def evaluated(z: ndarray | torch.Tensor, target: Any, upstream: torch.Tensor | None = None, **options):
    """The loss and its gradient, under an upstream gradient that is not 1 unless it is given."""
    leaf = (to_torch(z) if isinstance(z, ndarray) else z).detach().requires_grad_()
    loss = sf.cross_entropy(leaf, target, **options)
    if upstream is None:
        upstream = torch.linspace(0.25, 3, loss.numel(), dtype=loss.dtype).reshape(loss.shape)
    return loss.detach(), torch.autograd.grad(loss, leaf, upstream)[0]


def last(x: torch.Tensor) -> ndarray:
    """Classes back on the last axis, as the exact values have them."""
    return (x.movedim(1, -1) if x.dim() > 2 else x).double().numpy()


def gaps(z: ndarray) -> ndarray:
    return z.max(-1) - z.min(-1)


def near(a: torch.Tensor, b: torch.Tensor, z: ndarray, factor: float = 4.0) -> None:
    """Equal up to what rounding may do to both of them."""
    bound, unit = PROMISED[a.dtype]
    room = factor * (bound + unit * float(gaps(z).max()))
    torch.testing.assert_close(a, b, rtol=factor * bound, atol=room, equal_nan=True)
