"""The loss of preference pairs whose labels may be wrong: label smoothing at two classes, over the other one."""

import torch
from torch import Tensor
from torch.nn import functional

from sfumato.arguments import result_type
from sfumato.targets.checks import check_reduction, check_strength, check_tensor
from sfumato.theory import PairKind, optimal_margin


def pair_cross_entropy(
    margin: Tensor, eps: float, *, kind: PairKind = "conservative", reduction: str = "mean"
) -> Tensor:
    r"""The loss of pairs of which a share ε is labelled the wrong way round.

    .. math:: L_{conservative} = -(1-\varepsilon)\log\sigma(m) - \varepsilon\log\sigma(-m), \qquad
              L_{robust} = \frac{-(1-\varepsilon)\log\sigma(m) + \varepsilon\log\sigma(-m)}{1-2\varepsilon}
              = -\log\sigma(m) - \frac{\varepsilon\,m}{1-2\varepsilon}

    The conservative loss is smoothing at K = 2 over the others. Its optimum is finite:
    :math:`m^* = \log((1-\varepsilon)/\varepsilon)`. The robust loss is, on average over labels that are wrong with
    chance ε, the loss of the right labels. It has no lower bound: it falls for ever as m grows, so stop early.

    Args:
        margin: m, how much better the chosen one is: of DPO β times the difference of the log-ratios, of a reward model
            the difference of the rewards. Any shape, any floating dtype; half precision is computed in float32.
        eps: share ε of wrong labels: in [0, 1] if conservative, in [0, ½) if robust.
        kind: ``"conservative"`` or ``"robust"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Returns:
        A scalar, or the shape of ``margin`` with ``reduction="none"``; in the dtype of ``margin`` (float32 under
        autocast).

    Raises:
        TypeError: a margin that is no floating tensor.
        ValueError: ε outside its range or NaN, an unknown ``kind`` or ``reduction``.

    >>> margin = torch.tensor([2.0, -1.0])
    >>> pair_cross_entropy(margin, 0.1, reduction="none")
    tensor([0.3269, 1.2133])
    >>> pair_cross_entropy(margin, 0.1, kind="robust", reduction="none")
    tensor([-0.1231,  1.4383])

    Source: Mitchell 2023, a note on DPO with noisy preferences (conservative); Ray Chowdhury et al. 2024,
    arXiv 2403.00409 (robust). The optimum is :func:`sfumato.theory.optimal_margin`.
    """
    check_tensor(margin, "margin")
    if not margin.is_floating_point():
        raise TypeError(f"margin must be floating, got {margin.dtype}")
    check_strength(eps, "eps")
    optimal_margin(eps, kind=kind)  # refuses an unknown kind, and a robust strength from ½
    check_reduction(reduction)
    m = margin.to(torch.promote_types(margin.dtype, torch.float32))
    against = functional.logsigmoid(m).neg()  # −log σ(m), at least 0
    if kind == "conservative":
        rows = (1 - eps) * against - eps * functional.logsigmoid(-m)
    else:
        rows = against - eps / (1 - 2 * eps) * m
    reduced = rows if reduction == "none" else rows.sum() if reduction == "sum" else rows.mean()
    return reduced.to(result_type(margin.dtype, margin.device))
