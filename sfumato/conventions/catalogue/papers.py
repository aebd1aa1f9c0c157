"""Formulas of papers' own repositories: smoothed targets, and penalties that take their place."""

import numpy as np

from sfumato.conventions import spread
from sfumato.conventions.batch import Array, Batch, own_class
from sfumato.conventions.building_blocks import dense, mean_all, mean_valid, off_below_zero
from sfumato.conventions.formula import Formula


def _virtual_teacher(b: Batch) -> Array:
    design = np.where(own_class(b.safe, b.classes), 0.99, 0.01 / (b.classes - 1)) / b.temperature
    q = np.exp(design) / np.exp(design).sum(axis=1, keepdims=True)
    divergence = (q * (np.log(q) + b.losses)).mean(axis=1)  # KLDivLoss's default mean is over rows and classes
    return (1 - b.alpha) * b.nll + b.alpha * b.multiplier * divergence


def _learned(b: Batch) -> Array:
    table = np.full((b.classes, b.classes), 1 / b.classes) if b.rows_table is None else b.rows_table
    return b.nll + (table[b.safe] * b.losses).sum(axis=1)


def _margin(b: Batch) -> Array:
    far = np.maximum(b.logits.max(axis=1, keepdims=True) - b.logits - b.margin, 0.0)
    return b.nll + b.alpha * far.mean(axis=1)


def _max_suppression(b: Batch) -> Array:
    smoothed = off_below_zero(dense)(b)
    if b.alpha == 0:
        return smoothed
    # The cross entropy is reduced before the penalty of each row is added, of an ignored one too.
    return mean_valid(b, smoothed) + b.alpha * (b.logits.max(axis=1) - b.logits.mean(axis=1))


FORMULAS = (
    Formula(
        key="tfkd.ls",
        names=("Teacher-free KD, label smoothing", "tf-kd"),
        call="loss_label_smoothing(outputs, labels), ε = 0.1",
        argument="",
        convention=spread.others,
        row="(1−ε)·n + ε/(K−1)·(S−n)",
        outside="fixed at 0.1",
        read="d000ab37, 2022-02-11",
        path="my_loss_function.py",
    ),
    Formula(
        key="tfkd.reg",
        names=("Teacher-free KD, virtual teacher",),
        call="loss_kd_regularization(outputs, labels, params)",
        argument="",
        row="(1−a)·n + a·m·mean_k KL(softmax(d/T)‖p), d = 0.99 on the label, 0.01/(K−1) elsewhere",
        outside="has no ε",
        read="d000ab37, 2022-02-11",
        path="my_loss_function.py",
        compute=_virtual_teacher,
        defect="at T = 20 the teacher is all but uniform; the divergence is divided by K, which m makes up for",
        options=("alpha", "temperature", "multiplier"),
    ),
    Formula(
        key="ols",
        names=("Online label smoothing",),
        call="soft cross entropy with a learned K × K table + cross entropy",
        argument="",
        row="n + Σ L[y, k](−log p_k)",
        outside="has no ε",
        read="7eaf70c",
        path="fine-grained/solver.py",
        evidence="read",
        compute=_learned,
        options=("rows_table",),
    ),
    Formula(
        key="mbls",
        names=("Margin-based label smoothing",),
        call="LogitMarginL1(margin=m, alpha=a)",
        argument="",
        row="n + a·mean_k max(max z − z_k − m, 0)",
        ignore="only an ignore_index from 0",
        outside="has no ε",
        read="dc865036, 2022-06-16",
        path="calibrate/losses/logit_margin_l1.py",
        compute=_margin,
        options=("alpha", "margin"),
    ),
    Formula(
        key="mbls.ls",
        names=("MbLS LabelSmoothingCrossEntropy",),
        call="LabelSmoothingCrossEntropy(alpha=ε)",
        argument="alpha",
        convention=spread.all,
        row="(1−ε)·n + ε·S/K",
        mean="rows that count",
        ignore="only an ignore_index from 0",
        outside="applied",
        read="dc865036, 2022-06-16",
        path="calibrate/losses/label_smoothing.py",
        defect="an ignore_index below 0, the default included, is not looked at",
    ),
    Formula(
        key="nls",
        names=("Negative label smoothing", "GLS"),
        call="loss_gls(epoch, y, t, smooth_rate=ε, wa, wb)",
        argument="smooth_rate",
        convention=spread.all,
        row="(wa + wb(1−ε))·n + wb·ε·S/K",
        outside="any sign, by design; unbounded below for ε < 0",
        read="05078f67, 2022-09-12",
        path="loss.py",
        compute=lambda b: (b.wa + b.wb * (1 - b.eps)) * b.nll + b.wb * b.eps * b.losses.mean(axis=1),
        options=("wa", "wb"),
    ),
    Formula(
        key="maxsup",
        names=("MaxSup", "torch_uncertainty CrossEntropyMaxSupLoss"),
        call="CrossEntropyMaxSupLoss(label_smoothing=ε, max_sup=a)",
        row="mean(smoothed over all) + a·(max z − mean z)",
        mean="all rows; at a = 0 those that count",
        ignore="−100; its cross entropy is not counted, its penalty is",
        outside="as torch",
        read="0.13.0",
        path="src/torch_uncertainty/losses/classification.py",
        compute=_max_suppression,
        reduce=lambda b, rows: (mean_all if b.alpha else mean_valid)(b, rows),
        defect='where a is not 0, reduction="none" gives every row the mean cross entropy of the batch, an ignored row '
        "keeps its penalty, and class weights multiply the whole loss by their mean",
        options=("alpha",),
        ignore_index=-100,
    ),
)
