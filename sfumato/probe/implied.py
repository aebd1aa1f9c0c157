r"""The target that a loss implies for one label, read off two gradients.

For any cross entropy ∂L/∂z = S·p − q. Two logit vectors give two gradients: their difference gives the mass S, and
what remains is q. No source has to be read, and no name of an argument has to be believed.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class ImpliedTarget(NamedTuple):
    """What one label is trained towards.

    Attributes:
        target: q, (K,) float64.
        mass: S, from the slope of the gradient; for a proper target it is Σq = 1.
    """

    target: Tensor
    mass: float


def implied_target(loss: Callable[[Tensor, Tensor], Tensor], num_classes: int, *, label: int = 0) -> ImpliedTarget:
    r"""The target that ``loss`` implies for one label.

    .. math:: S = \frac{\langle g_1 - g_0,\, p_1 - p_0\rangle}{\lVert p_1 - p_0\rVert^2}, \qquad q = S\,p_0 - g_0

    Args:
        loss: called as ``loss(logits, labels)`` with float64 (1, K) and int64 (1,); it returns one number.
        num_classes: K, at least 2.
        label: the label to ask about.

    Returns:
        :class:`ImpliedTarget`, exact to rounding for every loss that is a cross entropy.

    Raises:
        ValueError: the loss does not depend on the logits through torch, or K is below 2.

    >>> import sfumato as sf
    >>> loss = sf.CrossEntropyLoss(label_smoothing=0.1, over="others")
    >>> [round(q, 4) for q in implied_target(loss, 3).target.tolist()]
    [0.9, 0.05, 0.05]

    Source: the note, eq. 1, solved for the target.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2 to tell a target, got {num_classes}")
    labels = torch.tensor([label])
    flat = torch.zeros(1, num_classes, dtype=torch.float64)
    tilted = torch.linspace(-1.0, 1.0, num_classes, dtype=torch.float64).unsqueeze(0)
    g0, g1 = (_gradient(loss, z, labels) for z in (flat, tilted))
    p0, p1 = flat.softmax(1), tilted.softmax(1)
    mass = ((g1 - g0) * (p1 - p0)).sum() / (p1 - p0).square().sum()
    return ImpliedTarget((mass * p0 - g0).squeeze(0), mass.item())


def _gradient(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, labels: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = logits.clone().requires_grad_()
        value = loss(leaf, labels).sum()
    if not value.requires_grad:
        raise ValueError("the loss does not depend on its logits through torch: there is no gradient to read")
    return torch.autograd.grad(value, leaf)[0]
