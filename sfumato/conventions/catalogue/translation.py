"""Formulas of translation toolkits: fairseq, OpenNMT, JoeyNMT, Tensor2Tensor, Sockeye."""

import math
from dataclasses import replace
from functools import partial

import numpy as np

from sfumato.conventions import spread
from sfumato.conventions.batch import Array, Batch
from sfumato.conventions.building_blocks import excess, mean_valid, off_below_zero, total, two_level
from sfumato.conventions.formula import Formula


def _gaussian(b: Batch) -> Array:
    confidence = 1 - b.eps
    distance = np.arange(b.classes)[None, :] - b.safe[:, None]
    q = np.exp(-(distance**2) / (2 * confidence**2)) / (confidence * math.sqrt(2 * math.pi))
    low = b.eps / (b.classes - 1)
    constant = -(confidence * math.log(confidence) + (b.classes - 1) * low * math.log(low + 1e-20))
    return ((q * b.losses).sum(axis=1) - constant) * b.valid


SOCKEYE = Formula(
    key="sockeye.mxnet",
    names=("Sockeye",),
    call='CrossEntropyLoss(label_smoothing=ε, label_smoothing_impl="mxnet")',
    convention=spread.all,
    row="(1−ε)·n + (ε/K)·S",
    mean="rows that count, times a scalar weight",
    ignore="padding, 0; not counted",
    outside="below 0 raises",
    read="871d9863, 2024-10-24",
    path="sockeye/loss.py",
    reduce=mean_valid,
    options=("ignore_index",),
    ignore_index=0,
)

_fairseq = partial(
    Formula,
    ignore="not counted; the padding index",
    outside="applied",
    path="fairseq/criterions/label_smoothed_cross_entropy.py",
    options=("ignore_index",),
)

_without_padding = partial(
    Formula,
    convention=spread.nopad,
    row="Σ q_k(log q_k − log p_k), padding without mass",
    mean="sum",
    reduce=total,
    minus_entropy=True,
    options=("pad",),
    ignore_index=0,
)

_t2t = partial(
    Formula,
    mean="sum of weights (label 0 is padding)",
    ignore="label 0, by weights",
    read="bafdc1b6",
    path="tensor2tensor/layers/common_layers.py",
    evidence="read",
    reduce=mean_valid,
    minus_entropy=True,
    options=("ignore_index",),
)

FORMULAS = (
    _fairseq(
        key="fairseq",
        names=("fairseq", "fairseq label_smoothed_cross_entropy"),
        call="label_smoothed_nll_loss(lprobs, target, epsilon=ε, ignore_index)",
        convention=spread.others,
        row="(1−ε−ε')·n + ε'·S, ε' = ε/(V−1)",
        mean="sum; the trainer divides by tokens or sentences",
        read="3d262bb2, 2025-09-30",
        reduce=total,
    ),
    _fairseq(
        key="fairseq.logged",
        names=("fairseq's log",),
        call="the value that fairseq logs",
        convention=spread.others,
        row="((1−ε−ε')·n + ε'·S)/ln 2, ε' = ε/(V−1): in bits",
        mean="rows that count",
        read="3d262bb2, 2025-09-30",
        evidence="read",
        reduce=mean_valid,
        base=2.0,
    ),
    _fairseq(
        key="fairseq.old",
        names=("fairseq before 2021-02",),
        call="label_smoothed_nll_loss(lprobs, target, epsilon=ε, ignore_index)",
        convention=spread.all,
        row="(1−ε)·n + (ε/V)·S",
        mean="sum; the trainer divides by tokens or sentences",
        read="the parent of 791ab7c2, 2021-02-03",
        reduce=total,
        defect="the same name means the others since 2021-02; copies made before still mean all",
    ),
    _without_padding(
        key="onmt2",
        names=("OpenNMT-py 2", "OpenNMT-py 1", "onmt"),
        call="onmt.utils.loss.LabelSmoothingLoss(ε, V, ignore_index)",
        ignore="the padding class, which must be one of the V",
        outside="an assertion outside (0, 1]",
        read="8204f5e6, 2022-11-22",
        path="onmt/utils/loss.py",
        defect="ignore_index=−100, the default, gives class V−100 no mass",
    ),
    _without_padding(
        key="joeynmt",
        names=("JoeyNMT", "joeynmt XentLoss"),
        call="joeynmt.loss.XentLoss(pad_index, smoothing=ε)",
        ignore="the padding class",
        outside="up to 0 plain",
        read="cdc4d03, 2024-01-25",
        path="joeynmt/loss.py",
        compute=off_below_zero(excess(spread.nopad)),
    ),
    _without_padding(
        key="annotated",
        names=("The Annotated Transformer", "annotated transformer"),
        call="LabelSmoothing(size, padding_idx, smoothing=ε)",
        argument="smoothing",
        ignore="the padding class",
        outside="below 0 and above 1 NaN",
        read="debc9fd",
        path="the_annotated_transformer.py",
    ),
    Formula(
        key="onmt3",
        names=("OpenNMT-py 3",),
        call="nn.CrossEntropyLoss(label_smoothing=ε, reduction='sum')",
        convention=spread.all,
        row="(1−ε)·n + (ε/K)·S",
        mean="sum",
        ignore="the padding index",
        outside="as torch",
        read="97111d97, 2024-06-27",
        path="onmt/utils/loss.py",
        evidence="read",
        compute=off_below_zero(two_level(spread.all)),
        reduce=total,
        defect="the same option was another loss before version 3",
        options=("ignore_index",),
    ),
    _t2t(
        key="t2t",
        names=("Tensor2Tensor",),
        call="smoothing_cross_entropy(logits, labels, V, confidence=1−ε)",
        convention=spread.others,
        row="(1−ε)·n + ε/(V−1)·(S−n), less the entropy of its target",
    ),
    _t2t(
        key="t2t.gaussian",
        names=("Tensor2Tensor gaussian",),
        call="smoothing_cross_entropy(logits, labels, V, confidence=σ, gaussian=True)",
        row="Σ Normal(k; y, σ)(−log p_k) less a constant, σ = 1 − ε",
        compute=_gaussian,
        defect="densities are not normalised over the classes, and the constant is that of the uniform case",
    ),
    Formula(
        key="t2t.mtf",
        names=("Tensor2Tensor mtf_transformer",),
        call="mtf_transformer, label_smoothing=ε",
        convention=spread.all,
        row="Σ q_k(−log p_k), q over all",
        mean="unknown",
        ignore="unknown",
        read="bafdc1b6",
        path="tensor2tensor/models/mtf_transformer.py",
        evidence="read",
    ),
    SOCKEYE,
    replace(
        SOCKEYE,
        key="sockeye.fairseq",
        names=('Sockeye, label_smoothing_impl="fairseq"',),
        call='CrossEntropyLoss(label_smoothing=ε, label_smoothing_impl="fairseq")',
        convention=spread.others,
        row="(1−ε−ε')·n + ε'·S, ε' = ε/(K−1)",
    ),
    replace(
        SOCKEYE,
        key="sockeye.torch",
        names=('Sockeye, label_smoothing_impl="torch"',),
        call='CrossEntropyLoss(label_smoothing=ε, label_smoothing_impl="torch")',
        outside="as torch",
        compute=off_below_zero(two_level(spread.all)),
    ),
)
