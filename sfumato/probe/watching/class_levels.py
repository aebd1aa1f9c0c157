r"""Read targets whose classes have levels of their own: class weights beside a strength, and strengths towards a prior.

For a row with label y, ∂L/∂z_k = S_y·p_k − β_k for every other class k. All rows together give S and β by least
squares. With class weights w, as torch multiplies them in, β_k = c·w_k·ε/K and S_y = c·w_y·(1 − ε) + Σβ. Towards a
prior π, β_k = c·ε·π_k and all S_y are c.
"""

from typing import NamedTuple

import torch
from torch import Tensor

MOST_CLASSES, MOST_ROWS = 64, 512
"""Classes and rows up to which such a target is looked for."""

CLOSE = 1e-3
"""What may be left of the gradients, in parts of them."""


class ClassLevels(NamedTuple):
    """What was found: whether the levels are ``"weights"`` or a ``"prior"``, ε over all classes, and c of each row."""

    kind: str
    eps: float
    factor: Tensor
    misfit: float


def class_levels(p: Tensor, g: Tensor, label: Tensor) -> ClassLevels | None:
    """The levels of the classes, of probabilities and gradients (R, K) and labels (R,); None where none fit.

    >>> z, y = torch.randn(40, 4, dtype=torch.float64).requires_grad_(), torch.arange(40) % 4
    >>> weight = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    >>> torch.nn.functional.cross_entropy(z, y, weight=weight, label_smoothing=0.2).backward()
    >>> found = class_levels(z.detach().softmax(1), z.grad, y)
    >>> found.kind, round(found.eps, 6)
    ('weights', 0.2)

    Source: ∂L/∂z = S·p − w·q, with torch's q over all classes.
    """
    rows, k = p.shape
    if k > MOST_CLASSES or k < 3 or rows < 2 * k:
        return None
    p, g, label = p[:MOST_ROWS].double(), g[:MOST_ROWS].double(), label[:MOST_ROWS]
    rows = len(p)
    index = torch.arange(k, device=p.device).expand(rows, k)
    of_others = index != label[:, None]
    count = int(of_others.sum())
    design = torch.zeros(count, 2 * k, dtype=torch.float64, device=p.device)
    at = torch.arange(count, device=p.device)
    design[at, label[:, None].expand(rows, k)[of_others]] = p[of_others]
    design[at, k + index[of_others]] = -1.0
    there = torch.bincount(label, minlength=k) > 0
    kept = torch.cat([there, torch.ones_like(there)])
    found = torch.linalg.lstsq(design[:, kept], g[of_others][:, None], driver="gelsd").solution[:, 0]
    left = design[:, kept] @ found - g[of_others]
    misfit = float(left.norm() / g[of_others].norm().clamp(min=1e-300))
    levels = found[int(there.sum()) :]
    slopes = torch.zeros(k, dtype=torch.float64, device=p.device)
    slopes[there] = found[: int(there.sum())]
    whole = float(levels.sum())
    own = slopes[there]
    if misfit > CLOSE or whole <= 0 or float(own.min()) <= 0:
        return None
    if float(own.max() - own.min()) < 1e-3 * float(own.mean()):
        return ClassLevels("prior", whole / float(own.mean()), slopes, misfit)
    hard, level = own - whole, levels[there]
    ratio = float((hard * level).sum() / (level * level).sum())
    if float((hard - ratio * level).norm()) > 10 * CLOSE * float(hard.norm()) or ratio <= 0:
        return None
    eps = k / (k + ratio)
    return ClassLevels("weights", eps, (slopes - whole) / (1 - eps), misfit)
