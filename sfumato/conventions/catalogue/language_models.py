"""Formulas of toolkits that train language models: T5X, Flax, Hugging Face, Megatron, AllenNLP."""

from dataclasses import replace
from functools import partial

import numpy as np

from sfumato.conventions import spread
from sfumato.conventions.batch import Array, Batch
from sfumato.conventions.building_blocks import excess, mean_valid, off_below_zero, total, two_level, with_z_loss
from sfumato.conventions.formula import Formula


def _clamped(b: Batch) -> Array:
    """The Trainer's: a negative label that is not ignored becomes class 0."""
    return two_level(spread.all)(replace(b, labels=np.where(b.valid, np.maximum(b.safe, 0), b.labels)))


def _first_shard(b: Batch) -> Array:
    """What rank 0 of a tensor-parallel group computes: K and the mean of log p are those of its own shard."""
    own = b.classes // b.shards
    s = b.eps * own / (own - 1)
    return ((1 - s) * b.nll + s * b.losses[:, :own].mean(axis=1)) * b.valid


_excess = partial(
    Formula,
    convention=spread.others,
    ignore="by weights",
    outside="NaN at 1 (0·log 0)",
    reduce=total,
    minus_entropy=True,
)

_megatron = partial(
    Formula,
    mean="no reduction",
    ignore="none: the caller masks",
    outside="below 0 means 0 without a word; from 1 an assertion",
    read="d98e8a64, 2026-08-22",
    path="megatron/core/tensor_parallel/cross_entropy.py",
)

FORMULAS = (
    _excess(
        key="t5x",
        names=("T5X",),
        call="compute_weighted_cross_entropy(logits, targets, label_smoothing=ε, z_loss=c)",
        row="(1−ε)·n + ε/(V−1)·(S−n), less the entropy of its target, + c·lse²",
        mean="sum, or over a given factor",
        read="cc342d4, 2026-04-21",
        path="t5x/losses.py",
        compute=with_z_loss(excess(spread.others)),
        options=("z_loss", "ignore_index"),
    ),
    _excess(
        key="flax",
        names=("Flax examples",),
        call="compute_weighted_cross_entropy(logits, targets, label_smoothing=ε)",
        row="(1−ε)·n + ε/(V−1)·(S−n), less the entropy of its target",
        mean="sum, and the number of rows beside it",
        read="18f8f311, 2026-07-02",
        path="examples/wmt/train.py",
        options=("ignore_index",),
    ),
    Formula(
        key="hf",
        names=("Hugging Face Trainer", "transformers", "huggingface", "LabelSmoother"),
        call="transformers.trainer_pt_utils.LabelSmoother(epsilon=ε)",
        argument="label_smoothing_factor",
        convention=spread.all,
        row="(1−ε)·n + (ε/V)·S",
        mean="rows that count, or num_items_in_batch",
        ignore="−100 alone; not counted",
        outside="applied",
        read="5.24.0",
        path="transformers/trainer_pt_utils.py",
        compute=_clamped,
        reduce=mean_valid,
        defect="a negative label other than −100 becomes class 0",
        options=("ignore_index",),
        ignore_index=-100,
    ),
    _megatron(
        key="megatron",
        names=("Megatron-Core", "Megatron-LM"),
        call="vocab_parallel_cross_entropy(logits, target, label_smoothing=ε), one rank",
        convention=spread.others,
        row="(1−s)·n + s·S/K, s = εK/(K−1)",
        compute=off_below_zero(two_level(spread.others)),
        defect="float32 logits are overwritten in the forward pass",
    ),
    _megatron(
        key="megatron.partition",
        names=("Megatron-Core, several ranks",),
        call="vocab_parallel_cross_entropy(logits, target, label_smoothing=ε), rank 0 of several",
        row="(1−s)·n + s·(mean of −log p over the rank's classes), s = εK'/(K'−1), K' the rank's classes",
        evidence="read",
        compute=off_below_zero(_first_shard),
        defect="each rank has another loss, and the target sums to (1−s) + ranks·s",
        options=("shards",),
    ),
    Formula(
        key="allennlp",
        names=("AllenNLP",),
        call="sequence_cross_entropy_with_logits(logits, targets, weights, label_smoothing=ε)",
        convention=spread.all,
        row="Σ q_k(−log p_k), q over all, times the token's weight",
        mean="tokens of each sequence, then sequences",
        ignore="by weights",
        outside="below 0 means 0 without a word",
        read="80fb6061",
        path="allennlp/nn/util.py",
        compute=off_below_zero(two_level(spread.all)),
        reduce=mean_valid,
        options=("ignore_index",),
    ),
)
