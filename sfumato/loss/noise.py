"""Losses of labels that are wrong by chance: corrected by a transition table, and those of preference pairs."""

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn import functional

from sfumato.arguments import check_logits, resolve, result_type
from sfumato.loss import eager
from sfumato.loss.functional import cross_entropy
from sfumato.loss.reduce import RowWeights, reduce
from sfumato.targets.checks import (
    ArgumentError,
    check_distribution,
    check_reduction,
    check_strength,
    check_tensor,
    checked_labels,
)
from sfumato.targets.labelled import Labelled, TableRows
from sfumato.theory import PairKind, backward_rows, optimal_margin

Correction: TypeAlias = Literal["forward", "backward"]
"""How a loss allows for wrong labels: the probabilities are made noisy, or the loss is made right on average."""


def noisy_cross_entropy(
    input: Tensor,
    target: Tensor,
    transition: Tensor,
    *,
    correction: Correction = "forward",
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    r"""Cross entropy of labels that are wrong by chance, corrected by a transition table.

    .. math:: L_{forward} = -\log\sum_y p_y\,T_{y\tilde y}, \qquad
              L_{backward} = \sum_k (T^{-1})_{\tilde y k}\,(-\log p_k)

    *Forward*: the model's p is that of the true class, and the loss compares what the noise makes of it with the label.
    It is at least 0. Its optimum over noisy labels is the true posterior. It is no cross entropy towards a fixed
    target: its gradient is p − r, r the posterior of the true class given p and the label.

    *Backward*: the cross entropy towards the row of :func:`sfumato.theory.backward_rows`. On average over the noise it
    is the loss of the true labels. For symmetric noise η it is smoothing by the negative strength −η/(1−η) over all.
    **It has no lower bound**: its masses below 0 pay for logits that grow, so a model that can fit every label drives
    it to −∞. Stop early by a validation loss, or prefer the forward correction.

    Args:
        input: logits, (N, K, …) with the classes on axis 1, or (K,).
        target: the noisy labels, (N, …) or ().
        transition: T, (K, K) floating; T_yk is how often class y gets the label k, so rows sum to 1.
            :func:`sfumato.theory.noise_transition` makes that of symmetric noise.
        correction: ``"forward"`` or ``"backward"``.
        ignore_index, reduction: as of :func:`cross_entropy`, whose results and errors these are as well.

    Raises:
        TypeError: what is not a tensor, or a transition that is not floating.
        ValueError: a table that is not (K, K), a row that is not a distribution, a table that cannot be inverted
            (backward), labels of another shape than the logits' positions, an unknown ``correction`` or ``reduction``.

    >>> z, labels = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
    >>> transition = torch.tensor([[0.8, 0.2], [0.2, 0.8]])
    >>> noisy_cross_entropy(z, labels, transition, reduction="none")
    tensor([0.3168, 1.0179])
    >>> noisy_cross_entropy(z, labels, transition, correction="backward", reduction="none")
    tensor([-0.5397,  1.6466])

    Source: Patrini et al. 2017, theorems 1 (backward) and 2 (forward).
    """
    check_logits(input)
    check_tensor(transition, "transition")
    classes = input.shape[1] if input.dim() > 1 else input.shape[0]
    if not transition.is_floating_point():
        raise TypeError(f"transition must be floating, got {transition.dtype}")
    if transition.shape != (classes, classes):
        raise ArgumentError(f"transition must be ({classes}, {classes}) as the logits, got {tuple(transition.shape)}")
    check_distribution(transition, None, "transition")
    if correction not in get_args(Correction):
        raise ArgumentError(f'correction must be "forward" or "backward", got {correction!r}')
    labels, valid = checked_labels(target, classes, ignore_index, "logits have")
    if correction == "backward":
        dtype = torch.promote_types(input.dtype, torch.float32)
        table = transition.detach().cpu().double()
        table = table / table.sum(1, keepdim=True)  # without what rounding did to the sums
        rows = torch.from_numpy(backward_rows(table.numpy())).to(input.device, dtype)
        return cross_entropy(input, TableRows(classes, labels, valid, rows), reduction=reduction)
    z, call = resolve(input, Labelled(classes, labels, valid), None, reduction=reduction)
    # −log Σ_y p_y T_yỹ of each position: two sums of exponentials, none of which leaves the logarithm.
    table = transition.to(z.device, call.dtype).log()
    of_positions = labels.unsqueeze(0) if call.unbatched else labels
    column = table.T[of_positions.reshape(-1)].reshape(*of_positions.shape, classes).movedim(-1, 1)
    rows = -(eager.counted(z, call).log_softmax(1) + column).logsumexp(1)
    return reduce(call, rows, RowWeights()).to(call.result_dtype)


def pair_cross_entropy(
    margin: Tensor, eps: float, *, kind: PairKind = "conservative", reduction: str = "mean"
) -> Tensor:
    r"""The loss of pairs of which a share ε is labelled the wrong way round.

    .. math:: L_{conservative} = -(1-\varepsilon)\log\sigma(m) - \varepsilon\log\sigma(-m), \qquad
              L_{robust} = \frac{-(1-\varepsilon)\log\sigma(m) + \varepsilon\log\sigma(-m)}{1-2\varepsilon}
              = -\log\sigma(m) - \frac{\varepsilon\,m}{1-2\varepsilon}

    The conservative loss is smoothing at K = 2 over the others. Its optimum is finite:
    :math:`m^* = \log((1-\varepsilon)/\varepsilon)`. The robust loss is, on average over labels that are wrong with
    chance ε, the loss of the right labels. It has no lower bound: it falls without limit as m grows, so stop early.

    Args:
        margin: m, how much better the chosen one is: of DPO β times the difference of the log-ratios, of a reward model
            the difference of the rewards. Any shape, any floating dtype; half precision is computed in float32.
        eps: share ε of wrong labels: in [0, 1] if conservative, in [0, ½) if robust.
        kind: ``"conservative"`` or ``"robust"``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``, which gives the shape of ``margin``.

    Raises:
        TypeError: a margin that is not a floating tensor.
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
