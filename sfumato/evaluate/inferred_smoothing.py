r"""Whether a model was trained with smoothed targets, and how strongly, from its logits.

At a stationary point of the smoothed loss, a linear last layer gains nothing by growing: the derivative of the loss
along the logits themselves is zero. With :math:`q = (1-\varepsilon) e_y + \varepsilon / K` this says that

.. math:: \sum_i \langle p_i - q_i, z_i \rangle = 0 \quad\Longleftrightarrow\quad
          \varepsilon = \frac{\sum_i (z_{iy} - E_{p_i}[z_i])}{\sum_i (z_{iy} - \bar z_i)}

which holds for any model with a linear last layer and no weight decay, whether or not it fits its rows. Where the rows
are fitted, each row alone satisfies it, so the median of the ratios of single rows is a second estimate, robust against
a few odd rows. The shape of the logits, which no temperature changes, tells a smoothed model from one that has merely
not grown far: with smoothing, the gaps of the rows agree, and the wrong classes of a row lie close together. Where
classes overlap or training was short, a smoothed model does not have that shape. Such rows say "no sign" only if the
logits are too large for a smoothed model; otherwise the answer is that it cannot be told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores import block_scan
from sfumato.evaluate.scores.column_checks import Column
from sfumato.evaluate.scores.per_row import Rows, scan
from sfumato.evaluate.scores.score_matrix import Labels, ScoreMatrix, Scores, check_labels
from sfumato.text import number, plural, share

RowKind: TypeAlias = Literal["train", "heldout"]
Answer: TypeAlias = Literal["strength", "no sign", "cannot tell"]

LEAST_ROWS = 20  # with fewer right rows nothing is said
LEAST_EPS = 0.005  # a smaller strength looks like none
# A smaller strength cannot be told: a model without smoothing that learns its rows by heart passes through it, and more
# slowly the smaller it is, since its gap grows like the logarithm of time.
LEAST_NAMED = 0.015
RULED_OUT = 0.02  # "no sign" says that there was no smoothing by this or more
# What the median gap fits, and what training rows fit as a whole, must lie below these: trained models overshoot the
# closed form, so that the gap of ε = 0.02 fits a quarter of it, and batch normalisation and dropout read a quarter low.
_RULED_OUT_BY_GAP, _RULED_OUT_BY_ALL_ROWS = RULED_OUT / 8, RULED_OUT * 3 / 4
# The most that the gap may vary between rows (MAD over median), and that wrong classes may vary within a row (deviation
# over gap). Measured on MLPs: docs/audit.md.
_MOST_VARIED = {"train": 0.21, "heldout": 0.30}
_MOST_SPREAD = {"train": 0.19, "heldout": 0.175}
# The most of the sum of both, each divided by its bound. On held-out rows, one-hot with batch normalisation, stopped
# after two epochs, comes near to both bounds; smoothed models come near to one of them at most.
_MOST_TOGETHER = {"train": 2.0, "heldout": 1.67}
# The most that rows may disagree about ε: robust deviation of its logarithm. A temperature does change this number. It
# rules out models with normalised features that stopped early, whose gaps agree and still grow.
_MOST_AT_ODDS = {"train": 0.9, "heldout": 1.08}
# On training rows, the most that wrong classes may vary within a row, in nats, and the most of its square times ε. A
# smoothed loss makes their probabilities equal, and holds them there the harder the larger ε is. Models with batch
# normalisation that learn noise by heart, stopped before the end, have the shape of smoothing but not this.
_MOST_APART, _MOST_APART_FOR_EPS = 0.76, 0.029
# Boosting with small steps, early stops and penalties leave gaps that agree as well. But they hold back the easy rows
# alone, so that few gaps are far above the median and many far below: the least ratio of the distances of the 98 % and
# the 2 % quantile from the median.
_LEAST_UPWARDS = {"train": 0.5, "heldout": 0.45}
# And they leave the wrong classes that resemble the label above the others, in all rows of a label alike, which is what
# smoothing takes away. Either the part of the variation that rows of a label share is small, or, from 4 classes on, the
# skewness within a row and 6 times that part are bounded together; held-out gaps must then not stop at one height.
_HARDLY_SHARED, _MOST_ALIKE, _SHARED_COUNTS, _ENOUGH_CLASSES = 0.06, 1.06, 6.0, 4
_EVEN = 0.005  # gaps or wrong classes that differ by less than this part of the gap are equal, and show nothing
_SAMPLE = 1 << 22  # logits at which the wrong classes are looked at
# The share of its length by which the interval reaches further up than down: held-out rows give too small an ε.
_READS_LOW = {"train": 0.0, "heldout": 0.25}
_AT_ODDS = 3.0  # if single rows give so many times the ε of all rows together, their labels were not learnt
_STRONGEST_DECAY = 0.03  # weight decay beyond this trains nothing


@dataclass(frozen=True)
class Smoothing:
    """The strength of label smoothing that fits logits, if none of the ``explanations`` does.

    ``eps_all`` is ε spread over all K classes, as torch's ``label_smoothing``, with the interval ``low`` to ``high``;
    ``eps_others`` is that of the same target spread over the K − 1 wrong classes. ``rows`` are the rows it was read
    from, ``"train"`` or ``"heldout"``, and ``explanations`` what else fits these logits, a sentence each.
    """

    eps_all: float
    eps_others: float
    low: float
    high: float
    rows: RowKind
    explanations: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """What the inference rests on; there is a strength only where the answer is ``"strength"``."""

    answer: Answer  # "no sign": smoothing by RULED_OUT or more would show
    smoothing: Smoothing | None
    reason: str  # a sentence without its full stop
    gap: float = np.nan  # median logit gap of the rows looked at, nats; NaN where there are too few
    varied: float = np.nan  # robust deviation of the gap over its median
    spread: float | None = None  # median deviation of the wrong logits within a row over the gap; None for two classes
    eps_of_gap: float | None = None  # the ε over all that the gap alone would fit if every row were at its optimum

    @property
    def sentence(self) -> str:
        """The reason as a sentence of its own, or several."""
        scaled = " Logits that were divided by a temperature would hide it." if self.answer == "no sign" else ""
        return f"{self.reason[0].upper()}{self.reason[1:]}.{scaled}"


SOFT_LABELS = Evidence(
    "cannot tell",
    None,  # a model that learnt to agree with annotators has softened logits, too
    "the labels of these rows are soft, and what smoothing does to logits is known for hard labels",
)


def infer_smoothing(*, logits: Scores, labels: Labels, rows: RowKind) -> Smoothing | None:
    r"""The strength of label smoothing that a model was trained with, or None where these rows do not show one.

    On training rows the estimate is the geometric mean of Σ (z_y − E_p z) / Σ (z_y − mean z) and of the median of this
    ratio over single rows. Of held-out rows only the right ones are used, and the estimate is the median of three: the
    mode of the ratio, its 40 % quantile, and the ε of the mode of the gap. These rows are fitted less well, so their
    interval is several times as wide.

    ``rows`` is ``"train"`` if the model was trained on these rows, with these labels, and ``"heldout"`` if not. The
    other arguments and errors are those of :func:`sfumato.evaluate.per_row`.

    The result is None where the logits do not have the shape that smoothing leaves, defined in docs/audit.md. None does
    not say that the model was not smoothed: ``audit(…).evidence.answer`` tells ``"no sign"`` from ``"cannot tell"``.

    >>> import numpy as np
    >>> y = np.arange(60) % 3
    >>> logits = np.log(np.eye(3)[y] * 0.9 + 0.1 / 3)  # the optimum of smoothing by 0.1 over all
    >>> found = infer_smoothing(logits=logits, labels=y, rows="train")
    >>> round(found.eps_all, 6), round(found.eps_others, 6), found.low < 0.1 < found.high
    (0.1, 0.066667, True)

    Source: the identity is the stationarity of Müller et al. 2019's loss along the logits. What weight decay does
    is the unconstrained feature model of Zhou et al. 2022 and Guo et al. 2024, arXiv 2402.03979.
    """
    if rows not in ("train", "heldout"):
        raise ValueError(f'rows must be "train" or "heldout", got {rows!r}')
    source = ScoreMatrix(logits=logits)
    label = check_labels(labels, source.rows, source.classes)
    found = block_scan.scan(source, label).rows if block_scan.suits(source) else scan(source, label)
    return judge(found, source.classes, rows).smoothing


def judge(rows: Rows, classes: int, kind: RowKind) -> Evidence:
    """The inference from columns at T = 1."""
    keep = np.isfinite(rows.gap) & np.isfinite(rows.norm) & (rows.gap > 0)
    if kind == "heldout":
        keep &= rows.correct
    if (usable := int(np.count_nonzero(keep))) < LEAST_ROWS or 2 * usable < np.count_nonzero(rows.correct):
        counted = f"only {plural(usable, 'row')} can be used" if usable else "no row can be used"
        why = f"{counted}, and at least {LEAST_ROWS} rows, and half of the right ones, are needed"
        return Evidence("cannot tell", None, why)
    if (rows.predicted == rows.predicted[0]).all() and not (rows.label == rows.label[0]).all():
        why = f"the model names class {rows.predicted[0]} in every row, whatever the label, so it has learnt no targets"
        return Evidence("cannot tell", None, why)
    gap, over_others = rows.gap[keep], classes / (classes - 1)  # ε over all is so many times ε over the others
    shape = _Shape.of(gap, rows.norm[keep], classes)
    measured = (shape.gap, shape.varied, shape.spread, eps_of_gap(shape.gap, classes))
    ratio = -rows.slope[keep] / gap * over_others
    logs = np.log(np.maximum(ratio, 1e-12))
    disagreement = _deviation(logs)
    whole = _of_all_rows(rows, over_others) if kind == "train" else None
    unlike = (
        _unlike_smoothing(shape, kind, disagreement)
        or (_labels_not_learnt(rows, whole, float(np.median(ratio))) if whole is not None else "")
        or _held_back_otherwise(rows, keep, shape, classes, kind)
    )
    if unlike:
        return _without_strength(shape, unlike, whole, classes)
    if whole is not None:
        ends = sorted((max(whole, 1e-12), max(float(np.median(ratio)), 1e-12)))
        width = 0.03 + 0.6 * shape.varied
    else:
        of_gap = eps_of_gap(_mode(gap), classes)
        ends = [float(np.median([of_gap, np.exp(_mode(logs)), np.quantile(ratio, 0.4)]))] * 2
        width = 0.05 + 0.25 * disagreement
    value = float(np.sqrt(ends[0] * ends[1]))
    if value < LEAST_EPS:
        small = f"{shape.alike}, but their size leaves ε = {value:.2g} over all, which is none to speak of"
        return Evidence("no sign", None, small, *measured)
    if (loose := _wrong_classes_apart(shape, value)) and whole is not None:
        return _without_strength(shape, loose, whole, classes)
    if value < LEAST_NAMED:
        passing = f"{shape.alike}, but a model without smoothing passes through so small an ε, {value:.2g} over all"
        return _without_strength(shape, passing, whole, classes)
    if value > 1:
        return _without_strength(shape, f"{shape.alike}, but no ε below 1 leaves so small a gap", None, classes)
    chance = 2.5 * disagreement / np.sqrt(len(ratio))
    reach = float(np.exp(np.hypot(width, chance)))
    smoothing = Smoothing(
        eps_all=value,
        eps_others=value / over_others,
        low=ends[0] / reach ** (1 - _READS_LOW[kind]),
        high=min(ends[1] * reach ** (1 + _READS_LOW[kind]), 1.0),
        rows=kind,
        explanations=tuple(_explanations(rows, shape, classes, kind, value / over_others)),
    )
    return Evidence("strength", smoothing, shape.alike, *measured)


def eps_of_gap(gap: float, classes: int) -> float:
    """The ε over all classes whose optimum has this logit gap; the inverse of the closed form."""
    with np.errstate(over="ignore"):  # a gap beyond 709 nats leaves ε = 0
        return float(classes / (classes - 1 + np.exp(gap)))


@dataclass(frozen=True)
class _Shape:
    """How large the gap of the rows is, and how far rows and wrong classes lie apart."""

    gap: float
    varied: float
    spread: float | None

    @classmethod
    def of(cls, gap: Column, norm: Column, classes: int) -> _Shape:
        middle = float(np.median(gap))
        spread = None
        if classes > 2:
            squares = np.maximum(np.square(norm) - np.square(gap) * (classes - 1) / classes, 0.0)
            spread = float(np.median(np.sqrt(squares / (classes - 1)))) / middle
        return cls(middle, _deviation(gap) / middle, spread)

    @property
    def says(self) -> str:
        apart = "" if self.spread is None else f", and the wrong classes by {100 * self.spread:.0f} % of the gap"
        return f"the gap by {100 * self.varied:.0f} %{apart}"

    @property
    def alike(self) -> str:
        return f"the logits vary as little between rows as smoothing leaves them ({self.says})"


def _of_all_rows(rows: Rows, over_others: float) -> float:
    """The ε at which these rows as a whole would pull neither way on the size of the logits."""
    finite = np.isfinite(rows.gap)
    total = float(rows.gap[finite].sum())
    return float(-rows.slope[finite].sum() / total * over_others) if total > 0 else 0.0


def _unlike_smoothing(shape: _Shape, kind: RowKind, disagreement: float) -> str:
    """What of the shape is not as smoothing leaves it; empty where all is."""
    parts = [shape.varied / _MOST_VARIED[kind]]
    if shape.spread is not None:
        parts.append(shape.spread / _MOST_SPREAD[kind])
    if max(parts) > 1 or sum(parts) > _MOST_TOGETHER[kind]:
        return f"the logits vary as much between rows as those of a model without smoothing: {shape.says}"
    if disagreement > _MOST_AT_ODDS[kind]:
        return f"{shape.alike}, but the rows disagree about ε by a factor of {np.exp(disagreement):.2g}"
    return ""


def _held_back_otherwise(rows: Rows, keep: npt.NDArray[np.bool_], shape: _Shape, classes: int, kind: RowKind) -> str:
    """Signs of boosting, an early stop or a penalty in logits that vary as little as smoothing leaves them; or ""."""
    low, middle, high = np.quantile(rows.gap[keep], [0.02, 0.5, 0.98])
    upwards, few = (high - middle) / max(middle - low, 1e-300), classes < _ENOUGH_CLASSES
    one_height = high - low > _EVEN * middle and upwards < _LEAST_UPWARDS[kind]
    if one_height and (few or kind == "train"):
        return (
            f"{shape.alike}, but their gaps reach only {upwards:.2g} times as far above the median as below, as with "
            "boosting in small steps or an early stop, where easy rows stop at one height and others lag behind"
        )
    if shape.spread is None or shape.spread < _EVEN or rows.of_classes is None:
        return ""
    skewness, shared = _wrong_classes(rows, rows.of_classes.source, keep)
    alike = not few and not one_height and skewness + _SHARED_COUNTS * shared <= _MOST_ALIKE
    if alike or shared <= _HARDLY_SHARED:
        return ""
    return (
        f"{shape.alike}, but some wrong classes are above the others, with {share(shared)} of their variation the same "
        "in all rows of a label, as with boosting, an early stop or a penalty, and smoothing makes them equal"
    )


def _wrong_classes(rows: Rows, source: ScoreMatrix, keep: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Of the wrong logits of a row, the median skewness, at least 0, and the part of the variation that labels share.

    That part is estimated without bias: the mean of n rows of a label has 1/n of the variation by chance alone.
    """
    step = max(1, source.rows * source.classes // _SAMPLE)
    sample, keep, label = ScoreMatrix(**{source.name: source.part(step)}), keep[::step], rows.label[::step]
    present, own = np.unique(label, return_inverse=True)
    sums, squares = np.zeros((len(present), source.classes)), np.zeros(len(label))
    cubes = np.zeros(len(label))
    for at, z in sample:
        place, kept = (np.arange(len(z)), label[at]), keep[at]
        with np.errstate(invalid="ignore"):  # rows with a class at −inf are not kept
            off = z - ((z.sum(axis=1) - z[place]) / (source.classes - 1))[:, None]
        off[place] = 0.0
        off[~kept] = 0.0
        squares[at], cubes[at] = np.square(off).sum(axis=1), (off**3).sum(axis=1)
        np.add.at(sums, own[at], off)
    count, varies = np.bincount(own[keep], minlength=len(present)), keep & (squares > 0)
    total = np.bincount(own, weights=squares)
    several = count > 1
    common = (np.square(sums[several]).sum(axis=1) - total[several]) / (count[several] - 1)
    shared = float(common.sum() / total[several].sum()) if total[several].any() else 0.0
    skewness = cubes[varies] * np.sqrt(source.classes - 1) / squares[varies] ** 1.5
    return max(float(np.median(skewness)), 0.0) if varies.any() else 0.0, max(shared, 0.0)


def _wrong_classes_apart(shape: _Shape, eps: float) -> str:
    """That wrong classes of a row differ more than smoothing by ε leaves them; empty where they do not."""
    if shape.spread is None:
        return ""
    apart = shape.spread * shape.gap
    if apart <= _MOST_APART and eps * apart**2 <= _MOST_APART_FOR_EPS:
        return ""
    return (
        f"{shape.alike}, but the wrong classes of a row differ in probability by a factor of {np.exp(apart):.2g}, and "
        f"smoothing by ε = {eps:.2g} over all would have made them more alike"
    )


def _labels_not_learnt(rows: Rows, whole: float, typical: float) -> str:
    """Labels that were not learnt leave single rows as smoothing does, but do not pull on the logits as a whole."""
    if typical < LEAST_EPS or whole >= typical / _AT_ODDS:
        return ""
    return (
        f"single rows fit ε = {typical:.2g} over all, but all rows together fit {max(whole, 0.0):.2g}; label noise "
        f"fits better, since {share(1 - float(rows.correct.mean()))} of these rows are wrong"
    )


def _without_strength(shape: _Shape, unlike: str, whole: float | None, classes: int) -> Evidence:
    """No sign, where smoothing by ``RULED_OUT`` would have held the logits back; elsewhere, that it cannot be told."""
    # At the optimum of a smoothed loss no row's gap exceeds the closed form, however much the classes overlap. And what
    # training rows give as a whole falls to the strength during training and not below. Either is an upper bound.
    alone, over_others = eps_of_gap(shape.gap, classes), classes / (classes - 1)
    measured = (shape.gap, shape.varied, shape.spread, alone)
    if alone < _RULED_OUT_BY_GAP:
        most = np.log(1 + classes * (1 - RULED_OUT) / RULED_OUT)
        why = (
            f"the median logit gap is {number(shape.gap, 1)} nats, and smoothing by ε = {RULED_OUT:g} over "
            f"all or more holds it near {most:.1f} or below. Also, {unlike}"
        )
        return Evidence("no sign", None, why, *measured)
    if whole is not None and abs(whole) < _RULED_OUT_BY_ALL_ROWS:
        why = (
            f"all training rows together fit ε = {max(whole, 0.0):.2g} over all, and smoothing by {RULED_OUT:g} or "
            f"more would show there, whether or not the rows were fitted. Also, {unlike}"
        )
        return Evidence("no sign", None, why, *measured)
    why = (
        f"{unlike}. If every row had reached its optimum, ε would be about {alone:.2g} over all and "
        f"{alone / over_others:.2g} over the others, but data whose classes overlap, a temperature or an early stop "
        "fits as well"
    )
    return Evidence("cannot tell", None, why, *measured)


def _explanations(rows: Rows, shape: _Shape, classes: int, kind: RowKind, eps_others: float) -> Iterator[str]:
    told = classes >= _ENOUGH_CLASSES and shape.spread is not None and shape.spread >= _EVEN
    boosting = "" if told else ", or boosting in small steps on rows that are easy to fit,"
    yield f"a confidence penalty or mixup{boosting} fits as well as label smoothing"
    each = len(rows) / classes
    decay = eps_others / ((classes - 1) * np.sqrt(each))
    if kind == "train" and decay <= _STRONGEST_DECAY:
        yield (
            f"weight decay fits as well: a decay of about {decay:.1g} on the last layer and as much on its features "
            f"leaves the same logits without smoothing, at {each:.0f} rows a class"
        )
    elif kind == "heldout":
        yield (
            f"weight decay fits as well, if √(n·λ_W·λ_H) was {eps_others / (classes - 1):.1g}, where n is the number "
            "of training rows a class, and λ_W and λ_H are the decay of the last layer and of its features"
        )
        yield (
            f"label noise fits as well: {100 * eps_others:.0f} % of the training labels may have been replaced by "
            "random other ones"
        )
    divided = "if these logits had already been divided by one, ε is that of the result and not of the training"
    yield f"temperature changes ε: {divided}"


def _deviation(values: Column) -> float:
    """Median absolute deviation, scaled to the standard deviation of a normal."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _mode(values: Column) -> float:
    """The mode: the peak of a Gaussian kernel estimate with Silverman's width, on a grid of 1024 cells."""
    low, high = float(values.min()), float(values.max())
    quarter = float(np.subtract(*np.quantile(values, [0.75, 0.25]))) / 1.34
    width = 1.06 * min(float(values.std()), quarter) * len(values) ** -0.2
    if width <= 1e-9 * max(abs(low), abs(high)):
        return float(np.median(values))
    cells = 1024
    count, edges = np.histogram(values, bins=cells)
    # zeros on either side keep the convolution from wrapping around
    wave = np.fft.rfft(np.concatenate([count, np.zeros(cells)]))
    wave *= np.exp(-0.5 * (np.pi * np.arange(len(wave)) / cells * width / (high - low) * cells) ** 2)
    smooth = np.fft.irfft(wave)[:cells]
    top = int(smooth.argmax())
    return float((edges[top] + edges[top + 1]) / 2)
