"""Cross entropy towards any target: check, dispatch, reduce.

Every target is q_y on its label and r·u_k on each other class, so a row's loss needs three numbers: lse, z_y and
⟨u, z⟩ without the label. They are taken from d = z − max z, every d ≤ 0, so that the loss is a sum of positive terms:
nothing cancels at a large offset, and nothing overflows in half precision, where the arithmetic is float32 throughout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from sfumato import _autograd
from sfumato._call import Call, resolve
from sfumato._checks import ArgumentError, at_labels, check_over, check_strength, readable
from sfumato.targets import Target

if TYPE_CHECKING:
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
    call = resolve(
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
    return _loss(call, overwrite=overwrite_logits).to(call.result_dtype)


class CrossEntropyLoss(torch.nn.CrossEntropyLoss):
    """:func:`cross_entropy` as a module: torch's arguments in torch's order, then sfumato's own by name.

    Being a ``torch.nn.CrossEntropyLoss`` it is taken for one wherever code asks, for example to apply softmax to a
    model's output. As torch's, it smooths in evaluation too: report the hard NLL there, with ``label_smoothing=0``.

    Raises:
        ValueError: a strength outside [0, 1] or NaN, an unknown ``over`` or ``weight_on``; at construction.

    >>> loss = CrossEntropyLoss(label_smoothing=0.1, over="others")
    >>> round(loss(torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0])).item(), 4)
    0.4395
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        *,
        over: Over = "all",
        weight_on: str = "class",
        out_dtype: torch.dtype | None = None,
        overwrite_logits: bool = False,
    ) -> None:
        check_strength(label_smoothing)
        check_over(over)
        if weight_on not in ("class", "sample"):
            raise ValueError(f'weight_on must be "class" or "sample", got {weight_on!r}')
        super().__init__(weight, size_average, ignore_index, reduce, reduction, label_smoothing)
        self.over: Over = over
        self.weight_on = weight_on
        self.out_dtype = out_dtype
        self.overwrite_logits = overwrite_logits

    def forward(self, input: Tensor, target: Tensor | Target, sample_weight: Tensor | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride] - it takes more than torch's
        """The loss of ``input`` against ``target``; shapes as of :func:`cross_entropy`."""
        return cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
            over=self.over,
            weight_on=self.weight_on,
            sample_weight=sample_weight,
            out_dtype=self.out_dtype,
            overwrite_logits=self.overwrite_logits,
        )

    def extra_repr(self) -> str:
        """What was set, the convention always with the strength."""
        return f'label_smoothing={self.label_smoothing:g}, over="{self.over}", reduction="{self.reduction}"'


class LossParts(NamedTuple):
    """A loss and what it is made of; all but ``loss`` are detached from the graph.

    Attributes:
        loss: as :func:`cross_entropy` gives it.
        nll: −log p_y, the hard loss, with the same weights and reduction; None where rows do not have one label.
        floor: the smallest value that the loss could take, whatever the logits.
        excess: loss − floor = Σ w·q·(log q′ − log p) with q′ = w·q/S, a KL divergence where nothing is weighted.
        gap: z_y − mean of the other logits, in nats and at least float32: a row's own with ``reduction="none"``, else
            the mean over the rows that count; None where rows do not have one label.
    """

    loss: Tensor
    nll: Tensor | None
    floor: Tensor
    excess: Tensor
    gap: Tensor | None


def loss_parts(
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
) -> LossParts:
    r"""The loss together with its hard part, its floor, its excess and the logit gap.

    .. math:: \text{loss} = \text{floor} + \text{excess}, \qquad
              \text{excess} = \sum_k w_k q_k \Bigl(\log\frac{w_k q_k}{S} - \log p_k\Bigr)

    Curves of different strengths can be compared by ``excess`` and by ``nll``, never by ``loss``: each strength has
    another floor.

    The arguments are those of :func:`cross_entropy`.

    Returns:
        :class:`LossParts`. The excess is summed directly, never as a difference, so that it keeps its digits near the
        optimum.

    Raises:
        ValueError, IndexError: as :func:`cross_entropy`. A negative class weight has no floor: its parts are NaN.

    >>> parts = loss_parts(
    ...     torch.tensor([[4.3944, 0, 0, 0, 0, 0, 0, 0, 0, 0]]), torch.tensor([0]), label_smoothing=0.1, over="others"
    ... )
    >>> [round(x.item(), 3) + 0.0 for x in parts]
    [0.545, 0.105, 0.545, 0.0, 4.394]

    Source: Gibbs' inequality applied to w·q/S.
    """
    call = resolve(
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
    loss = _loss(call).to(call.result_dtype)
    with torch.no_grad():
        call = call.checked()
        rows = _Rows(call)
        floor, excess = (rows.reduce(part).to(call.result_dtype) for part in rows.floor_and_excess())
        nll = gap = None
        if call.target.labels is not None:
            nll = rows.reduce(rows.hard()).to(call.result_dtype)
            gap = rows.mean_gap().to(call.dtype)
        if any(w is not None and readable(w) and bool((w < 0).any()) for w in (weight, sample_weight)):
            floor, excess = floor * torch.nan, excess * torch.nan
    return LossParts(loss, nll, floor, excess, gap)


def _loss(call: Call, *, overwrite: bool = False) -> Tensor:
    """The reduced loss in the dtype of the arithmetic: on the kernel where it serves the call, else in torch."""
    if _autograd.served(call):
        return _autograd.loss(call, _in_torch, overwrite=overwrite)
    return _in_torch(call.checked())


def _in_torch(call: Call) -> Tensor:
    rows = _Rows(call)
    return rows.reduce(rows.loss()).to(call.dtype)


class _Rows:
    """The rows of one call: d = z − max z, lse − max z, and the target's numbers with their class weights."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.target = call.target
        self.valid = call.target.valid
        z = call.logits.to(call.dtype)
        if self.valid is not None:
            # Before any arithmetic: an ignored row may hold NaN, and where() is what sends it a gradient of exactly 0.
            z = torch.where(self.valid.unsqueeze(1), z, 0.0)
        top, index = z.max(1, keepdim=True)
        zero = (top - top).detach()  # NaN where the maximum is infinite
        # At the maximum d is 0 and stays 0: its gradient is then −Σ of the others', not −q + (q − Σ), which would lose
        # all digits of a confident row. Its term of the sum is the 1 of log1p, for the same reason.
        self.d = (z - top).scatter(1, index, zero)
        # Sums over classes and all that is one number a row: float64 where it is cheap, so that float32 rounds once.
        self.wide = torch.float64 if call.dtype == torch.float32 and z.device.type == "cpu" else call.dtype
        self.lse = self.d.exp().scatter(1, index, 0.0).sum(1, dtype=self.wide).log1p() + zero.squeeze(1)
        self.weight = None if call.weight is None else call.weight.to(self.wide)
        self.labels = call.target.labels

    def loss(self) -> Tensor:
        """Each row's loss before row weights."""
        if self.labels is None:
            q = self._weighted_q()
            t = self._surprisal()
            return (q * t.masked_fill((q == 0) & t.isinf(), 0.0)).sum(1, dtype=self.wide)
        true, rest, u = self._masses()
        label = _times(true, -self._at_label(self.d).to(self.wide))
        if isinstance(rest, float) and rest == 0.0:
            return label + true * self.lse
        if u is None:
            # Σq·(lse − d) = S·lse − Σq·d, a sum of positive terms still, for every d ≤ 0; S is 1.
            others = -self._without_label(self.d).sum(1, dtype=self.wide)
            return self.lse + label + _times(rest, others)
        return label + _times(true, self.lse) + _times(rest, self._sum_of_others(u, self._surprisal()))

    def hard(self) -> Tensor:
        """Each row's −log p_y, weighted on the class as torch's."""
        nll = self.lse - self._at_label(self.d).to(self.wide)
        if self.weight is None or self.call.weight_on == "sample":
            return nll
        return _times(self._at_label(self.weight), nll)

    def mean_gap(self) -> Tensor:
        """The gap of each row, or its mean over the rows that count."""
        others = self._without_label(self.d).sum(1, dtype=self.wide)
        gap = self._at_label(self.d).to(self.wide) - others / (self.d.shape[1] - 1)
        if self.valid is not None:
            gap = torch.where(self.valid, gap, 0.0)
        if self.call.reduction == "none":
            return gap.squeeze(0) if self.call.unbatched else gap
        return gap.sum() / (gap.numel() if self.valid is None else self.valid.sum())

    def floor_and_excess(self) -> tuple[Tensor, Tensor]:
        """Each row's S·H(q′) and S·KL(q′‖p), the latter as S·Σ q′(r − 1 + e^−r) with r = log q′ − log p.

        That is Σ q′r, because Σp = Σq′, with every term at least 0: nothing cancels near the optimum.
        """
        xlogy = torch.special.xlogy
        q = self._weighted_q()
        total = q.sum(1)
        share = q / total.unsqueeze(1)
        surprisal = self._surprisal()
        p = (-surprisal).exp()
        r = torch.where(share == 0, 0.0, share.log() + surprisal)
        # r + expm1(−r) keeps digits at small r; at large r the direct form does not overflow.
        near = share * (r + torch.expm1(-r.clamp(min=-1.0)))
        terms = torch.where(r.abs() < 1, near, share * r - share + p)
        terms = torch.where(share == 0, p, terms)
        excess = torch.where(total == 0, 0.0, total * terms.sum(1, dtype=self.wide))
        return xlogy(total, total) - xlogy(q, q).sum(1), excess

    def reduce(self, loss: Tensor) -> Tensor:
        """Row weights, ignored rows, and the reduction asked for."""
        call = self.call
        row_weight = self._row_weight() if call.weight_on == "sample" else None
        mass = row_weight
        if call.weight_on == "class" and self.weight is not None and self.labels is not None:
            mass = self._at_label(self.weight)  # what torch's mean divides by; dense targets are divided by their rows
        if call.sample_weight is not None:
            given = call.sample_weight.to(self.wide)
            row_weight = given if row_weight is None else row_weight * given
            mass = given if mass is None else mass * given
        if row_weight is not None:
            loss = _times(row_weight, loss)
        if self.valid is not None:
            loss = torch.where(self.valid, loss, 0.0)
        if call.reduction == "none":
            return loss.squeeze(0) if call.unbatched else loss
        if call.reduction == "sum":
            return loss.sum()
        if mass is None:
            return loss.sum() / (loss.numel() if self.valid is None else self.valid.sum())
        total = (mass if self.valid is None else torch.where(self.valid, mass, 0.0)).sum()
        return loss.sum() / torch.where(total == 0, torch.nan, total)  # over nothing the mean is NaN, never inf

    def _row_weight(self) -> Tensor | None:
        if self.weight is None:
            return None
        if self.labels is not None:
            return self._at_label(self.weight)
        return (self._along_classes(self.weight) * self.target.to_dense(self.call.dtype)).sum(1, dtype=self.wide)

    def _masses(self) -> tuple[float | Tensor, float | Tensor, Tensor | None]:
        """The labelled target's numbers with class weights in them: w_y·q_y, r, and w·u."""
        true, rest, u = self.target.masses(self.wide)
        if self.weight is not None and self.call.weight_on == "class":
            true = true * self._at_label(self.weight)
            u = self.weight if u is None else u * (self.weight if u.dim() == 1 else self._along_classes(self.weight))
        return true, rest, u

    def _weighted_q(self) -> Tensor:
        q = self.target.to_dense(self.call.dtype)
        if self.weight is not None and self.call.weight_on == "class":
            q = q * self._along_classes(self.weight).to(q.dtype)
        return q

    def _surprisal(self) -> Tensor:
        """−log p, (N, K, …)."""
        return self.lse.unsqueeze(1).to(self.d.dtype) - self.d

    def _sum_of_others(self, u: Tensor, terms: Tensor) -> Tensor:
        """Σ u_k·term_k over the classes other than the label; a class without mass counts nothing, even at inf."""
        u = self._along_classes(u).to(terms.dtype)
        return (u * self._without_label(torch.where(u == 0, 0.0, terms))).sum(1, dtype=self.wide)

    def _without_label(self, terms: Tensor) -> Tensor:
        """(N, K, …) with 0 at the label."""
        assert self.labels is not None
        return terms.scatter(1, self.labels.unsqueeze(1), 0.0)

    def _at_label(self, per_class: Tensor) -> Tensor:
        assert self.labels is not None
        return at_labels(per_class, self.labels)

    def _along_classes(self, per_class: Tensor) -> Tensor:
        return per_class if per_class.dim() > 1 else per_class.reshape((1, -1) + (1,) * (self.d.dim() - 2))


def _times(mass: float | Tensor, surprisal: Tensor) -> Tensor:
    """Mass times −log p, where no mass costs nothing even at −log p = inf."""
    if not isinstance(mass, Tensor):
        return mass * surprisal if mass != 0.0 else torch.zeros_like(surprisal)
    return mass * torch.where(mass == 0, 0.0, surprisal)
