"""Formulas of speech toolkits: NeMo, ESPnet, WeNet, SpeechBrain."""

from dataclasses import replace
from functools import partial

from sfumato.conventions import spread
from sfumato.conventions.batch import Array, Batch
from sfumato.conventions.building_blocks import Reduction, excess, label_term_weighted, mean_all, mean_valid, total
from sfumato.conventions.formula import Formula


def _guarded_mean(guard: float) -> Reduction:
    """Over the rows that count, and a small number that keeps the divisor above 0."""
    return lambda b, rows: float(rows.sum() / (b.valid.sum() + guard))


def _divergence(b: Batch) -> Array:
    return excess(spread.others)(b if b.eps > 0 else replace(b, eps=0.0, ignore_index=-100))


def _divergence_mean(b: Batch, rows: Array) -> float:
    return total(b, rows) if b.eps > 0 else mean_all(b, rows)


_of_sequences = partial(
    Formula,
    argument="lsm_weight",
    convention=spread.others,
    row="Σ q_k(log q_k − log p_k)",
    mean="sequences, or tokens if normalize_length",
    reduce=mean_valid,
    minus_entropy=True,
    options=("ignore_index",),
)

FORMULAS = (
    Formula(
        key="nemo.sce",
        names=("NeMo SmoothedCrossEntropyLoss", "nemo"),
        call="SmoothedCrossEntropyLoss(label_smoothing=ε)",
        convention=spread.others,
        row="(1−s)·n + s·S/K, s = εK/(K−1)",
        mean="rows that count + 1e-6",
        ignore="pad_id or a mask; not counted",
        read="8cfedd72, 2025-09-20",
        path="nemo/collections/common/losses/smoothed_cross_entropy.py",
        reduce=_guarded_mean(1e-6),
        options=("ignore_index",),
    ),
    Formula(
        key="nemo.snll",
        names=("NeMo SmoothedNLLLoss",),
        call="SmoothedNLLLoss(label_smoothing=ε)",
        convention=spread.all,
        row="(1−ε)·w_y·n + ε·S/K",
        mean="rows of the mask + 1e-8",
        ignore="a mask",
        read="8cfedd72, 2025-09-20",
        path="nemo/collections/common/losses/smoothed_cross_entropy.py",
        evidence="read",
        compute=label_term_weighted,
        reduce=_guarded_mean(1e-8),
        defect="class weights are on the label's term alone, so that the strength depends on the label",
        options=("weight", "ignore_index"),
    ),
    _of_sequences(
        key="espnet",
        names=("ESPnet",),
        call="LabelSmoothingLoss(size, padding_idx, smoothing=ε)",
        ignore="padding_idx",
        read="version not noted, possibly old",
        path="espnet/nets/pytorch_backend/transformer/label_smoothing_loss.py",
        evidence="read",
    ),
    _of_sequences(
        key="wenet",
        names=("WeNet",),
        call="LabelSmoothingLoss(size, padding_idx, smoothing=ε, normalize_length=True)",
        ignore="padding_idx; not counted",
        outside="below 0 and above 1 NaN",
        read="01546996, 2025-12-19",
        path="wenet/models/transformer/label_smoothing_loss.py",
    ),
    Formula(
        key="speechbrain.nll",
        names=("SpeechBrain nll_loss", "speechbrain"),
        call="speechbrain.nnet.losses.nll_loss(log_probabilities, targets, label_smoothing=ε)",
        convention=spread.all,
        row="(1−ε)·w_y·n + ε·S/K",
        mean="rows of the length mask",
        ignore="a length mask",
        read="9c826ef3, 2026-04-03",
        path="speechbrain/nnet/losses.py",
        compute=label_term_weighted,
        defect="class weights are on the label's term alone, so that the strength depends on the label",
        options=("weight",),
    ),
    Formula(
        key="speechbrain.kldiv",
        names=("SpeechBrain kldiv_loss",),
        call="speechbrain.nnet.losses.kldiv_loss(log_probabilities, targets, label_smoothing=ε)",
        convention=spread.others,
        row="Σ q_k(log q_k − log p_k)",
        mean='"mean" is the sum',
        ignore="pad_idx, 0 by default",
        outside="up to 0 plain: its nll_loss, which ignores no class and takes the mean",
        read="9c826ef3, 2026-04-03",
        path="speechbrain/nnet/losses.py",
        compute=_divergence,
        reduce=_divergence_mean,
        minus_entropy=True,
        defect='reduction="mean" returns the sum; class 0 is ignored by default',
        options=("ignore_index",),
        ignore_index=0,
    ),
)
