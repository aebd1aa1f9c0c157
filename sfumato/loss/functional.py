"""Cross entropy towards any target.

The arguments are brought into one form, the compiled kernel or torch gives each row's loss, and the rows are reduced.
"""

import torch
from torch import Tensor

from sfumato.arguments import resolve
from sfumato.loss import paths
from sfumato.targets import Target
from sfumato.targets.checks import ArgumentError
from sfumato.theory import Over


def cross_entropy(
    input: Tensor,
    target: Tensor | Target,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    over: Over = "all",
    weight_on: str = "class",
    sample_weight: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
    overwrite_logits: bool = False,
) -> Tensor:
    r"""Cross entropy of softmax(input) against labels, probabilities or a :class:`Target`.

    .. math:: L = \sum_k w_k q_k\,(\mathrm{lse}(z) - z_k), \qquad
              \frac{\partial L}{\partial z} = S\,p - w q, \quad S = \sum_k w_k q_k

    A plain tensor as ``target`` means what it means to :func:`torch.nn.functional.cross_entropy`: the same numbers.

    Args:
        input: logits z, (N, K, …) with the classes on axis 1, or (K,); any floating dtype.
        target: class indices (N, …), probabilities (N, K, …), or a Target with those positions. Probabilities are not
            checked, and get a gradient.
        weight: w, one number a class, (K,).
        ignore_index: index of rows that do not count, whatever they hold; their gradient is exactly 0.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``. The mean divides by the rows that count, or by the sum of their
            weights where they have any: their labels' class weights, their sample weights, or the product. Class
            weights on dense probabilities are in the terms and not in the divisor, as torch has it. Over no row the
            mean is NaN with gradient 0.
        label_smoothing: strength ε in [0, 1].
        over: where ε goes: ``"all"`` K classes, as in torch, or the K−1 ``"others"``, as in the note. On probabilities
            they are (1−ε)q + ε/K and (1−ε)q + ε(1−q)/(K−1).
        weight_on: ``"class"`` multiplies each class's term, torch's rule, which moves the optimum to p ∝ w·q;
            ``"sample"`` multiplies each row's loss by its label's weight and leaves the optimum where it was.
        sample_weight: one number a row, (N, …); a row with 0 costs nothing, even at −log p = inf.
        out_dtype: dtype of the result, by default that of the logits (float32 under autocast). In half precision it is
            the float32 value rounded once.
        overwrite_logits: permission to reuse the memory of the logits for their gradient, in backward. Refused for
            leaves and views. The torch path makes no use of it.

    Returns:
        A scalar, or (N, …) with ``reduction="none"``.

    Raises:
        ValueError: a strength outside [0, 1] or NaN, shapes that do not fit, an unknown ``reduction``, ``over`` or
            ``weight_on``, smoothing or another ``ignore_index`` on top of a Target. Those of range and shape are
            RuntimeErrors as well, as torch's.
        IndexError: a label that is no class (names the first row and the label; on the CPU, outside of compiled code
            and vmap only: elsewhere it would cost a sync).

    >>> logits, labels = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0])
    >>> round(cross_entropy(logits, labels, label_smoothing=0.1).item(), 4)  # as torch
    0.3729
    >>> round(cross_entropy(logits, labels, label_smoothing=0.1, over="others").item(), 4)  # as the note
    0.4395

    Source: the note, eq. 1 and 4. The definition is :func:`sfumato.reference.cross_entropy`.
    """
    logits, call = resolve(
        input,
        target,
        weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
        over=over,
        weight_on=weight_on,
        sample_weight=sample_weight,
        out_dtype=out_dtype,
    )
    training = torch.is_grad_enabled() and input.requires_grad and not torch.compiler.is_compiling()
    if overwrite_logits and training and (input.is_leaf or input._is_view()):  # pyright: ignore[reportPrivateUsage]
        what = "a leaf" if input.is_leaf else "a view"
        raise ArgumentError(f"overwrite_logits=True is refused: the logits are {what}, and others may still read them")
    return paths.loss(logits, call, overwrite=overwrite_logits).to(call.result_dtype)
