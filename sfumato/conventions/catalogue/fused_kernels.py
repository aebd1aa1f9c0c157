"""Formulas of fused GPU kernels, as read: none of these was executed."""

from dataclasses import replace

from sfumato.conventions import spread
from sfumato.conventions.batch import Array, Batch
from sfumato.conventions.building_blocks import mean_valid, mean_weight, off_below_zero, two_level, with_z_loss
from sfumato.conventions.formula import Formula


def _liger_mean(b: Batch, rows: Array) -> float:
    """Two normalisers in one mean: the labels' weights for the cross entropy, rows for lse²."""
    squares = b.z_loss * b.lse**2 * b.valid
    return mean_weight(b, rows - squares) + mean_valid(b, squares)


FLASH = Formula(
    key="flash",
    names=("flash-attention", "flash_attn"),
    call="flash_attn.losses.cross_entropy.CrossEntropyLoss(label_smoothing=ε)",
    convention=spread.all,
    row="lse − (1−ε)z_y − ε·mean(z) + c·lse²",
    mean="rows that count",
    ignore="−100 by default; not counted",
    outside="below 0 means 0 without a word",
    read="0251105a, 2026-08-15",
    path="flash_attn/ops/triton/cross_entropy.py",
    evidence="read",
    compute=off_below_zero(with_z_loss(two_level(spread.all))),
    reduce=mean_valid,
    defect="a label out of range has loss 0 (or the smoothing alone) and a gradient that is not 0",
    options=("z_loss", "ignore_index"),
    ignore_index=-100,
)

LIGER_PARALLEL = Formula(
    key="liger.vp",
    names=("Liger vocab parallel",),
    call='LigerVocabParallelCrossEntropy(label_smoothing_formula="pytorch")',
    convention=spread.all,
    row="(1−ε)·n + (ε/K)·S, K global or the shard's by label_smoothing_mode",
    mean="no reduction",
    ignore="−100; not counted",
    outside="refused",
    read="ead96b61, 2026-08-21",
    path="src/liger_kernel/ops/vocab_parallel_cross_entropy.py",
    evidence="read",
    reduce=mean_valid,
    options=("ignore_index",),
    ignore_index=-100,
)

FORMULAS = (
    Formula(
        key="apex",
        names=("Apex", "NVIDIA Apex"),
        call="apex.contrib.xentropy.SoftmaxCrossEntropyLoss.apply(logits, labels, ε)",
        argument="smoothing",
        convention=spread.all,
        row="ε(lse − mean z) + (1−ε)n",
        mean="no reduction",
        ignore="padding_idx, 0 by default",
        read="6424da3b, 2026-07-08",
        path="apex/contrib/xentropy/softmax_xentropy.py",
        evidence="read",
        defect="rows of class 0 are ignored by default",
        options=("ignore_index",),
        ignore_index=0,
    ),
    Formula(
        key="te",
        names=("TransformerEngine",),
        call="transformer_engine.pytorch.parallel_cross_entropy(input, target, ε)",
        convention=spread.all,
        row="(1−ε)·n + (ε/V)·S",
        mean="no reduction; rows that count if reduce_loss",
        ignore="−100; not counted",
        outside="below 0 the loss is plain and the gradient smoothed",
        read="d0067d0d, 2026-08-22",
        path="transformer_engine/common/triton/cross_entropy.py",
        evidence="read",
        compute=off_below_zero(two_level(spread.all)),
        reduce=mean_valid,
        defect="with several ranks the value uses the local sum of logits, the gradient the global one",
        options=("ignore_index",),
        ignore_index=-100,
    ),
    FLASH,
    replace(
        FLASH,
        key="fla",
        names=("flash-linear-attention",),
        call="fla.modules.FusedCrossEntropyLoss(label_smoothing=ε)",
        read="bc3b101d, 2026-08-22",
        path="fla/modules/fused_cross_entropy.py",
        defect="fused with the linear layer, ε below 0 gives a plain loss and a smoothed gradient",
    ),
    Formula(
        key="liger",
        names=("Liger", "liger_kernel"),
        call="LigerCrossEntropyLoss(label_smoothing=ε, lse_square_scale=c)",
        convention=spread.all,
        row="(1−ε)·w_y·n + (ε/K)·Σ w_k(−log p_k) + c·lse²",
        mean="Σ w_y over rows that count; lse² over rows",
        ignore="−100 by default; not counted",
        outside="the module refuses; the functions give a plain loss and a smoothed gradient below 0",
        read="ead96b61, 2026-08-21",
        path="src/liger_kernel/ops/cross_entropy.py",
        evidence="read",
        compute=off_below_zero(with_z_loss(two_level(spread.all))),
        reduce=_liger_mean,
        defect="the gradient overwrites the logits in the forward pass",
        options=("weight", "z_loss", "ignore_index"),
        ignore_index=-100,
    ),
    LIGER_PARALLEL,
    replace(
        LIGER_PARALLEL,
        key="liger.vp.megatron",
        names=('Liger vocab parallel, formula "megatron"',),
        call='LigerVocabParallelCrossEntropy(label_smoothing_formula="megatron")',
        convention=spread.others,
        row="(1−s)·n + s·S/K, s = εK/(K−1), K global or the shard's by label_smoothing_mode",
    ),
)
