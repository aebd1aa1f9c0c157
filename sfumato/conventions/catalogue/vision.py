"""Formulas of vision and segmentation libraries, and of utility collections."""

from dataclasses import replace
from functools import partial

import numpy as np

from sfumato.conventions import spread
from sfumato.conventions.batch import Array, Batch
from sfumato.conventions.building_blocks import dense, label_term_weighted, mean_entries, mean_valid, mixed
from sfumato.conventions.formula import Formula

_EPS32 = float(np.finfo(np.float32).eps)


def _classy(b: Batch) -> Array:
    """Divided twice by a sum + 1.2e-7; an ignored row is zeroed first, and becomes the uniform target."""
    q = b.given * b.valid[:, None]
    q = q / (_EPS32 + q.sum(axis=1, keepdims=True)) + b.eps / b.classes
    q = q / (_EPS32 + q.sum(axis=1, keepdims=True))
    return (q * b.losses).sum(axis=1)


def _fastai_mean(b: Batch, rows: Array) -> float:
    """Two normalisers in one mean: rows for the smoothing term, weights for the label's."""
    w = b.weights[b.safe]
    label_term = (w * b.nll).sum() / w.sum()
    return float((1 - b.eps) * label_term + b.eps * b.losses.mean())


SMP = Formula(
    key="smp",
    names=("segmentation_models_pytorch", "smp SoftCrossEntropyLoss"),
    call="SoftCrossEntropyLoss(smooth_factor=ε)",
    argument="smooth_factor",
    convention=spread.all,
    row="(1−ε)·n + (ε/K)·S",
    mean="all positions, the ignored included",
    ignore="−100 by default; inert, but counted in the mean",
    outside="applied",
    read="0.6.0",
    path="segmentation_models_pytorch/losses/soft_ce.py",
    defect="the mean counts ignored positions; the docstring shows the others; the default ε=None cannot be called",
    options=("ignore_index",),
    ignore_index=-100,
)

_mmpretrain = partial(
    Formula,
    argument="label_smooth_val",
    outside="an assertion outside [0, 1)",
    read="ee7f2e88, 2024-11-01",
    path="mmpretrain/models/losses/label_smooth_loss.py",
)

FORMULAS = (
    _mmpretrain(
        key="mm.original",
        names=("mmpretrain", "mmpretrain LabelSmoothLoss", "mmcls"),
        call='LabelSmoothLoss(label_smooth_val=ε, mode="original")',
        convention=spread.all,
        row="Σ w_k q'_k(−log p_k), q' = (1−ε)q + ε/K",
        mean="all rows, or avg_factor",
        compute=dense,
        defect="K is taken from the first batch and kept",
        options=("weight",),
    ),
    _mmpretrain(
        key="mm.classy",
        names=('mmpretrain, mode="classy_vision"',),
        call='LabelSmoothLoss(label_smooth_val=ε, mode="classy_vision")',
        convention=spread.classy,
        row="Σ q_k(−log p_k), q over all with ε/(1+ε)",
        mean="all rows, or avg_factor",
        compute=mixed(spread.classy),
    ),
    _mmpretrain(
        key="mm.multi",
        names=('mmpretrain, mode="multi_label"',),
        call='LabelSmoothLoss(label_smooth_val=ε, mode="multi_label")',
        convention=spread.sigmoid_full,
        row="Σ BCE(z_k, y_k(1−ε) + (1−y_k)ε)",
        mean="rows × classes",
        reduce=mean_entries,
        scale=lambda k: 1 / k,
    ),
    Formula(
        key="classy",
        names=("ClassyVision",),
        call="LabelSmoothingCrossEntropyLoss(smoothing_param=ε)",
        argument="smoothing_param",
        convention=spread.classy,
        row="Σ q_k(−log p_k), q = (onehot + ε/K) over its sum",
        mean="all rows, the ignored included",
        ignore="trained towards uniform",
        read="08a82e88, 2023-03-23",
        path="classy_vision/losses/label_smoothing_loss.py",
        compute=_classy,
        defect="an ignored row is trained towards the uniform target",
        options=("ignore_index",),
        ignore_index=-100,
    ),
    Formula(
        key="vissl",
        names=("VISSL",),
        call="CrossEntropyMultipleOutputSingleTargetCriterion(label_smoothing=ε)",
        convention=spread.all,
        row="Σ q_k(−log p_k), q over all",
        ignore="lost with smoothing",
        outside="an assertion",
        read="09270ed2, 2024-03-02",
        path="vissl/losses/cross_entropy_multiple_output_single_target.py",
        defect="weight and ignore_index are dropped as soon as ε > 0",
    ),
    Formula(
        key="fastai",
        names=("fastai", "fastai LabelSmoothingCrossEntropy"),
        call="LabelSmoothingCrossEntropy(eps=ε, weight)",
        argument="eps",
        convention=spread.all,
        row="(1−ε)·w_y·n + ε·S/K",
        mean="rows for the smoothing term, Σ w_y for the label's",
        outside="applied",
        read="version not noted, possibly old",
        path="fastai/losses.py",
        evidence="read",
        compute=label_term_weighted,
        reduce=_fastai_mean,
        defect="with class weights its mean mixes two normalisers",
        options=("weight",),
    ),
    SMP,
    replace(
        SMP,
        key="toolbelt",
        names=("pytorch-toolbelt",),
        read="05e07ac7, 2024-11-21",
        path="pytorch_toolbelt/losses/functional.py",
        defect="the mean counts ignored positions; its bi-tempered loss means the others by the same word",
    ),
    Formula(
        key="smp.bce",
        names=("segmentation_models_pytorch SoftBCEWithLogitsLoss", "toolbelt.bce"),
        call="SoftBCEWithLogitsLoss(smooth_factor=ε)",
        argument="smooth_factor",
        convention=spread.sigmoid_full,
        row="Σ BCE(z_k, y_k(1−ε) + (1−y_k)ε)",
        mean="rows × classes, the ignored included",
        ignore="entries, −100 by default; inert, but counted in the mean",
        outside="applied",
        read="0.6.0",
        path="segmentation_models_pytorch/losses/soft_bce.py",
        reduce=mean_entries,
        scale=lambda k: 1 / k,
        defect="the mean counts ignored entries",
    ),
    Formula(
        key="coincheung",
        names=("CoinCheung pytorch-loss", "pytorch-loss"),
        call="LabelSmoothSoftmaxCEV1(lb_smooth=ε)",
        argument="lb_smooth",
        convention=spread.deficit,
        row="(1−ε)·n + (ε/K)·(S−n)",
        mean="rows that count",
        ignore="−100 by default; not counted",
        outside="applied",
        read="67d01584, 2024-10-17",
        path="pytorch_loss/label_smooth.py",
        reduce=mean_valid,
        defect="the target sums to 1 − ε/K",
        options=("ignore_index",),
        ignore_index=-100,
    ),
    Formula(
        key="torch-uncertainty.bce",
        names=("torch-uncertainty", "torch_uncertainty BCEWithLogitsLSLoss"),
        call="BCEWithLogitsLSLoss(label_smoothing=ε)",
        convention=spread.sigmoid_half,
        row="Σ BCE(z_k, y_k(1−ε) + ε/2)",
        mean="rows × classes",
        outside="below 0 raises",
        read="0.13.0",
        path="src/torch_uncertainty/losses/classification.py",
        reduce=mean_entries,
        scale=lambda k: 1 / k,
    ),
)
