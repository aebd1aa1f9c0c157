"""Formulas of general frameworks: torch, timm, optax, Keras, TensorFlow 1, Paddle, and sfumato's own."""

from dataclasses import replace
from functools import partial

import numpy as np

from sfumato.conventions import spread
from sfumato.conventions.batch import Array, Batch
from sfumato.conventions.building_blocks import (
    binary,
    dense,
    mean_entries,
    mean_valid,
    mean_weight,
    mixed,
    off_below_zero,
    sigmoid,
    two_level,
)
from sfumato.conventions.formula import Formula


def _mixup(b: Batch) -> Array:
    partner = b.safe[::-1] if b.partner is None else b.partner
    first, second = (two_level(spread.all)(replace(b, labels=labels)) for labels in (b.safe, partner))
    return b.lam * first + (1 - b.lam) * second


def _keras_focal(b: Batch) -> Array:
    q = (1 - b.eps) * b.given + b.eps / b.classes
    losses = np.clip(b.losses, -np.log1p(-1e-7), -np.log(1e-7))
    return (b.alpha * (1 - np.exp(-losses)) ** b.gamma * q * losses).sum(axis=1)


SFUMATO = Formula(
    key="sfumato.all",
    names=("sfumato over all", "sfumato", "all", "szegedy"),
    call='sf.cross_entropy(…, label_smoothing=ε), over="all" by default',
    convention=spread.all,
    row="(1−ε)·n + (ε/K)·S",
    mean="rows that count, or their weights",
    ignore="inert, not counted; −100 by default",
    outside="refused",
    read="this version",
    path="sfumato/loss/functional.py",
    compute=mixed(spread.all),
    reduce=mean_weight,
    options=("weight", "ignore_index"),
    ignore_index=-100,
)

_torch = partial(
    Formula,
    convention=spread.all,
    outside="below 0 and NaN mean 0 without a word; above 1 raises",
    read="2.13.0",
    path="aten/src/ATen/native/LossNLL.cpp",
    compute=off_below_zero(dense),
)

_keras = partial(Formula, outside="applied", read="3.15.1", path="keras/src/losses/losses.py")

_tensorflow = partial(
    Formula,
    ignore="by weights",
    outside="below 0 means 0 without a word",
    read="version not noted",
    path="tensorflow/python/ops/losses/losses_impl.py",
    evidence="read",
)

FORMULAS = (
    SFUMATO,
    replace(
        SFUMATO,
        key="sfumato.others",
        names=("sfumato over the others", "others", "the note"),
        call='sf.cross_entropy(…, label_smoothing=ε, over="others")',
        convention=spread.others,
        row="(1−ε−ε/(K−1))·n + ε/(K−1)·S",
        compute=mixed(spread.others),
    ),
    _torch(
        key="torch.index",
        names=("torch", "pytorch", "torch.nn.CrossEntropyLoss", "F.cross_entropy"),
        call="F.cross_entropy(input, labels, label_smoothing=ε)",
        row="(1−ε)·w_y·n + (ε/K)·Σ w_k(−log p_k)",
        mean="Σ w_y over rows that count",
        ignore="not counted; −100 by default",
        reduce=mean_weight,
        defect="in float16 the mean is inf where −log p, summed over rows and classes, passes 65504, as it does with "
        "10 rows at K = 1000 and equal logits; class weights move the optimum",
        options=("weight", "ignore_index"),
        ignore_index=-100,
    ),
    _torch(
        key="torch.prob",
        names=("torch with probabilities",),
        call="F.cross_entropy(input, probabilities, label_smoothing=ε)",
        row="Σ w_k q'_k(−log p_k), q' = (1−ε)q + ε/K",
        mean="all rows, whatever their weights",
        ignore="none: an ignore_index from 0 raises",
        defect="probabilities are not checked: negative, unnormalised and NaN ones are taken",
        options=("weight",),
    ),
    Formula(
        key="timm.ls",
        names=("timm", "timm LabelSmoothingCrossEntropy"),
        call="timm.loss.LabelSmoothingCrossEntropy(smoothing=ε)",
        argument="smoothing",
        convention=spread.all,
        row="(1−ε)·n + ε·S/K",
        outside="below 0 applied; from 1 an assertion",
        read="1.0.31",
        path="timm/loss/cross_entropy.py",
    ),
    Formula(
        key="timm.soft",
        names=("timm SoftTargetCrossEntropy",),
        call="timm.loss.SoftTargetCrossEntropy()",
        argument="",
        row="Σ q_k(−log p_k)",
        outside="has no ε",
        read="1.0.31",
        path="timm/loss/cross_entropy.py",
        compute=lambda b: (b.given * b.losses).sum(axis=1),
    ),
    Formula(
        key="timm.mixup",
        names=("timm Mixup",),
        call="timm.data.Mixup(label_smoothing=ε)",
        convention=spread.all,
        row="λ·L(y) + (1−λ)·L(y reversed), L over all",
        outside="applied",
        read="1.0.31",
        path="timm/data/mixup.py",
        compute=_mixup,
        defect="smooths by 0.1 unless told not to",
        options=("partner", "lam"),
    ),
    Formula(
        key="timm.bce",
        names=("timm BinaryCrossEntropy",),
        call="timm.loss.BinaryCrossEntropy(smoothing=ε)",
        argument="smoothing",
        convention=spread.sigmoid_all,
        row="Σ BCE(z_k, q_k), q over all; dense targets not smoothed unless smooth_dense",
        mean="rows × classes",
        outside="an assertion outside [0, 1)",
        read="1.0.31",
        path="timm/loss/binary_cross_entropy.py",
        compute=lambda b: binary(b.logits, b.given) if b.labels.ndim == 2 else sigmoid(spread.sigmoid_all)(b),
        reduce=mean_entries,
        scale=lambda k: 1 / k,
    ),
    Formula(
        key="optax",
        names=("optax", "optax.smooth_labels"),
        call="optax.softmax_cross_entropy(logits, optax.smooth_labels(one_hot, ε))",
        argument="alpha",
        convention=spread.all,
        row="Σ q'_k(−log p_k), q' = (1−ε)q + ε/K",
        mean="no reduction",
        ignore="by where=",
        outside="applied",
        read="0.2.8",
        path="optax/losses/_smoothing.py",
        compute=dense,
    ),
    _keras(
        key="keras.cat",
        names=("Keras", "keras.losses.CategoricalCrossentropy", "tf.keras"),
        call="keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=ε)",
        convention=spread.all,
        row="Σ q'_k(−log p_k), q' = (1−ε)q + ε/K",
        ignore="none (the sparse loss has one, and no ε)",
        compute=dense,
        defect="with from_logits=False, the default, probabilities are clipped to [1e-7, 1 − 1e-7]",
    ),
    _keras(
        key="keras.bin",
        names=("Keras BinaryCrossentropy",),
        call="keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=ε)",
        convention=spread.sigmoid_half,
        row="mean over k of BCE(z_k, y_k(1−ε) + ε/2)",
        mean="rows × classes",
        compute=lambda b: binary(b.logits, b.given * (1 - b.eps) + b.eps / 2),
        reduce=mean_entries,
        scale=lambda k: 1 / k,
    ),
    _keras(
        key="keras.focal",
        names=("Keras CategoricalFocalCrossentropy",),
        call="keras.losses.CategoricalFocalCrossentropy(from_logits=True, label_smoothing=ε)",
        row="Σ α(1−p_k)^γ q'_k(−log p_k), q' over all, α = 0.25 and γ = 2 by default",
        compute=_keras_focal,
        defect="probabilities are clipped to [1e-7, 1 − 1e-7], those of logits too",
        options=("alpha", "gamma"),
        defaults=(("alpha", 0.25), ("gamma", 2.0)),
    ),
    _tensorflow(
        key="tf1.softmax",
        names=("TensorFlow 1", "tf.losses.softmax_cross_entropy"),
        call="tf.losses.softmax_cross_entropy(onehot, logits, label_smoothing=ε)",
        convention=spread.all,
        row="Σ q'_k(−log p_k), q' = (1−ε)q + ε/K",
        mean="rows of weight other than 0",
        compute=off_below_zero(dense),
        reduce=mean_valid,
        defect="K is read from axis 1 of the labels, which is wrong beyond two axes",
    ),
    _tensorflow(
        key="tf1.sigmoid",
        names=("TensorFlow 1 sigmoid", "tf.losses.sigmoid_cross_entropy"),
        call="tf.losses.sigmoid_cross_entropy(labels, logits, label_smoothing=ε)",
        convention=spread.sigmoid_half,
        row="BCE(z_k, y_k(1−ε) + ε/2)",
        mean="rows × classes",
        compute=off_below_zero(sigmoid(spread.sigmoid_half)),
        reduce=mean_entries,
        scale=lambda k: 1 / k,
    ),
    Formula(
        key="paddle",
        names=("Paddle", "paddle.nn.functional.label_smooth"),
        call="F.cross_entropy(logits, F.label_smooth(onehot, prior_dist, ε), soft_label=True)",
        argument="epsilon",
        convention=spread.all,
        row="Σ q'_k(−log p_k), q' = (1−ε)q + ε·π, π uniform by default",
        ignore="lost: smoothing makes labels soft, and ignore_index is for hard ones",
        outside="label_smooth raises; cross_entropy ignores below 0",
        read="version not noted",
        path="python/paddle/nn/functional/common.py",
        evidence="read",
        compute=dense,
        defect="cross_entropy(label_smoothing=) drops ignore_index and the tensor-parallel kernel",
        options=("prior",),
    ),
)
