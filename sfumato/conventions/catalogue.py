"""The formulas of frameworks as one table: what each one's loss is, and what its code was seen to do.

A record is laid out as it is read: what it is called and how, the loss of a row, how rows are reduced and which are
ignored, the source that was read, and what is wrong with it. Records that share most of their fields start from one
that is common to them. See :class:`~sfumato.conventions.formula.Formula` for the fields.
"""

from dataclasses import replace
from functools import partial

from sfumato.conventions import spread
from sfumato.conventions.formula import Formula
from sfumato.conventions.row_losses import (
    binary,
    dense,
    divergence_or_plain,
    divided_twice,
    excess,
    fastai_mean,
    first_shard,
    gaussian,
    guarded_mean,
    keras_focal,
    label_term_weighted,
    learned_table,
    liger_mean,
    margin_penalty,
    max_suppression,
    mean_all,
    mean_entries,
    mean_valid,
    mean_weight,
    mixed,
    negatives_as_class_0,
    of_pairs,
    off_below_zero,
    sigmoid,
    sum_or_plain_mean,
    total,
    two_level,
    virtual_teacher,
    with_z_loss,
)

# fmt: off
SFUMATO = Formula(
    key="sfumato.all", names=("sfumato over all", "sfumato", "all", "szegedy"),
    call='sf.cross_entropy(…, label_smoothing=ε), over="all" by default',
    convention=spread.all, row="(1−ε)·n + (ε/K)·S", compute=mixed(spread.all),
    reduce=mean_weight, options=("weight", "ignore_index"), ignore_index=-100,
    mean="rows that count, or their weights", ignore="inert, not counted; −100 by default", outside="refused",
    read="this version", path="sfumato/loss/functional.py")

_torch = partial(Formula,
    convention=spread.all, compute=off_below_zero(dense),
    outside="below 0 and NaN mean 0 without a word; above 1 raises",
    read="2.13.0", path="aten/src/ATen/native/LossNLL.cpp")

_keras = partial(Formula,
    outside="applied",
    read="3.15.1", path="keras/src/losses/losses.py")

_tensorflow = partial(Formula,
    ignore="by weights", outside="below 0 means 0 without a word",
    read="version not noted", path="tensorflow/python/ops/losses/losses_impl.py", evidence="read")

SOCKEYE = Formula(
    key="sockeye.mxnet", names=("Sockeye",), call='CrossEntropyLoss(label_smoothing=ε, label_smoothing_impl="mxnet")',
    convention=spread.all, row="(1−ε)·n + (ε/K)·S",
    reduce=mean_valid, options=("ignore_index",), ignore_index=0, mean="rows that count, times a scalar weight",
    ignore="padding, 0; not counted", outside="below 0 raises",
    read="871d9863, 2024-10-24", path="sockeye/loss.py")

_fairseq = partial(Formula,
    options=("ignore_index",), ignore="not counted; the padding index", outside="applied",
    path="fairseq/criterions/label_smoothed_cross_entropy.py")

_without_padding = partial(Formula,
    convention=spread.nopad, row="Σ q_k(log q_k − log p_k), padding without mass",
    reduce=total, minus_entropy=True, options=("pad",), ignore_index=0, mean="sum")

_t2t = partial(Formula,
    reduce=mean_valid, minus_entropy=True, options=("ignore_index",), mean="sum of weights (label 0 is padding)",
    ignore="label 0, by weights",
    read="bafdc1b6", path="tensor2tensor/layers/common_layers.py", evidence="read")

_excess = partial(Formula,
    convention=spread.others,
    reduce=total, minus_entropy=True, ignore="by weights", outside="NaN at 1 (0·log 0)")

_megatron = partial(Formula,
    mean="no reduction", ignore="none: the caller masks",
    outside="below 0 means 0 without a word; from 1 an assertion",
    read="d98e8a64, 2026-08-22", path="megatron/core/tensor_parallel/cross_entropy.py")

_of_sequences = partial(Formula,
    argument="lsm_weight",
    convention=spread.others, row="Σ q_k(log q_k − log p_k)",
    reduce=mean_valid, minus_entropy=True, options=("ignore_index",), mean="sequences, or tokens if normalize_length")

SMP = Formula(
    key="smp", names=("segmentation_models_pytorch", "smp SoftCrossEntropyLoss"), argument="smooth_factor",
    call="SoftCrossEntropyLoss(smooth_factor=ε)",
    convention=spread.all, row="(1−ε)·n + (ε/K)·S",
    options=("ignore_index",), ignore_index=-100, mean="all positions, the ignored included",
    ignore="−100 by default; inert, but counted in the mean", outside="applied",
    read="0.6.0", path="segmentation_models_pytorch/losses/soft_ce.py",
    defect="the mean counts ignored positions; the docstring shows the others; the default ε=None cannot be called")

_mmpretrain = partial(Formula,
    argument="label_smooth_val",
    outside="an assertion outside [0, 1)",
    read="ee7f2e88, 2024-11-01", path="mmpretrain/models/losses/label_smooth_loss.py")

FLASH = Formula(
    key="flash", names=("flash-attention", "flash_attn"),
    call="flash_attn.losses.cross_entropy.CrossEntropyLoss(label_smoothing=ε)",
    convention=spread.all, row="lse − (1−ε)z_y − ε·mean(z) + c·lse²",
    compute=off_below_zero(with_z_loss(two_level(spread.all))),
    reduce=mean_valid, options=("z_loss", "ignore_index"), ignore_index=-100, mean="rows that count",
    ignore="−100 by default; not counted", outside="below 0 means 0 without a word",
    read="0251105a, 2026-08-15", path="flash_attn/ops/triton/cross_entropy.py", evidence="read",
    defect="a label out of range has loss 0 (or the smoothing alone) and a gradient that is not 0")

LIGER_PARALLEL = Formula(
    key="liger.vp", names=("Liger vocab parallel",),
    call='LigerVocabParallelCrossEntropy(label_smoothing_formula="pytorch")',
    convention=spread.all, row="(1−ε)·n + (ε/K)·S, K global or the shard's by label_smoothing_mode",
    reduce=mean_valid, options=("ignore_index",), ignore_index=-100, mean="no reduction", ignore="−100; not counted",
    outside="refused",
    read="ead96b61, 2026-08-21", path="src/liger_kernel/ops/vocab_parallel_cross_entropy.py", evidence="read")

_TABLE = (
    # General frameworks, and sfumato's own
    SFUMATO,
    replace(SFUMATO,
        key="sfumato.others", names=("sfumato over the others", "others", "the note"),
        call='sf.cross_entropy(…, label_smoothing=ε, over="others")',
        convention=spread.others, row="(1−ε−ε/(K−1))·n + ε/(K−1)·S", compute=mixed(spread.others)),
    _torch(
        key="torch.index", names=("torch", "pytorch", "torch.nn.CrossEntropyLoss", "F.cross_entropy"),
        call="F.cross_entropy(input, labels, label_smoothing=ε)",
        row="(1−ε)·w_y·n + (ε/K)·Σ w_k(−log p_k)",
        reduce=mean_weight, options=("weight", "ignore_index"), ignore_index=-100, mean="Σ w_y over rows that count",
        ignore="not counted; −100 by default",
        defect="in float16 the mean is inf where −log p, summed over rows and classes, passes 65504, as it does with "
               "10 rows at K = 1000 and equal logits; class weights move the optimum"),
    _torch(
        key="torch.prob", names=("torch with probabilities",),
        call="F.cross_entropy(input, probabilities, label_smoothing=ε)",
        row="Σ w_k q'_k(−log p_k), q' = (1−ε)q + ε/K",
        options=("weight",), mean="all rows, whatever their weights", ignore="none: an ignore_index from 0 raises",
        defect="probabilities are not checked: negative, unnormalised and NaN ones are taken"),
    Formula(
        key="timm.ls", names=("timm", "timm LabelSmoothingCrossEntropy"), argument="smoothing",
        call="timm.loss.LabelSmoothingCrossEntropy(smoothing=ε)",
        convention=spread.all, row="(1−ε)·n + ε·S/K",
        outside="below 0 applied; from 1 an assertion",
        read="1.0.31", path="timm/loss/cross_entropy.py"),
    Formula(
        key="timm.soft", names=("timm SoftTargetCrossEntropy",), argument="",
        call="timm.loss.SoftTargetCrossEntropy()",
        row="Σ q_k(−log p_k)", compute=lambda b: (b.given * b.losses).sum(axis=1),
        outside="has no ε",
        read="1.0.31", path="timm/loss/cross_entropy.py"),
    Formula(
        key="timm.mixup", names=("timm Mixup",), call="timm.data.Mixup(label_smoothing=ε)",
        convention=spread.all, row="λ·L(y) + (1−λ)·L(y reversed), L over all", compute=of_pairs,
        options=("partner", "lam"), outside="applied",
        read="1.0.31", path="timm/data/mixup.py",
        defect="smooths by 0.1 unless told not to"),
    Formula(
        key="timm.bce", names=("timm BinaryCrossEntropy",), argument="smoothing",
        call="timm.loss.BinaryCrossEntropy(smoothing=ε)",
        convention=spread.sigmoid_all,
        row="Σ BCE(z_k, q_k), q over all; dense targets not smoothed unless smooth_dense",
        compute=lambda b: binary(b.logits, b.given) if b.labels.ndim == 2 else sigmoid(spread.sigmoid_all)(b),
        reduce=mean_entries, scale=lambda k: 1 / k, mean="rows × classes", outside="an assertion outside [0, 1)",
        read="1.0.31", path="timm/loss/binary_cross_entropy.py"),
    Formula(
        key="optax", names=("optax", "optax.smooth_labels"), argument="alpha",
        call="optax.softmax_cross_entropy(logits, optax.smooth_labels(one_hot, ε))",
        convention=spread.all, row="Σ q'_k(−log p_k), q' = (1−ε)q + ε/K", compute=dense,
        mean="no reduction", ignore="by where=", outside="applied",
        read="0.2.8", path="optax/losses/_smoothing.py"),
    _keras(
        key="keras.cat", names=("Keras", "keras.losses.CategoricalCrossentropy", "tf.keras"),
        call="keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=ε)",
        convention=spread.all, row="Σ q'_k(−log p_k), q' = (1−ε)q + ε/K", compute=dense,
        ignore="none (the sparse loss has one, and no ε)",
        defect="with from_logits=False, the default, probabilities are clipped to [1e-7, 1 − 1e-7]"),
    _keras(
        key="keras.bin", names=("Keras BinaryCrossentropy",),
        call="keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=ε)",
        convention=spread.sigmoid_half, row="mean over k of BCE(z_k, y_k(1−ε) + ε/2)",
        compute=lambda b: binary(b.logits, b.given * (1 - b.eps) + b.eps / 2),
        reduce=mean_entries, scale=lambda k: 1 / k, mean="rows × classes"),
    _keras(
        key="keras.focal", names=("Keras CategoricalFocalCrossentropy",),
        call="keras.losses.CategoricalFocalCrossentropy(from_logits=True, label_smoothing=ε)",
        row="Σ α(1−p_k)^γ q'_k(−log p_k), q' over all, α = 0.25 and γ = 2 by default", compute=keras_focal,
        options=("alpha", "gamma"), defaults=(("alpha", 0.25), ("gamma", 2.0)),
        defect="probabilities are clipped to [1e-7, 1 − 1e-7], those of logits too"),
    _tensorflow(
        key="tf1.softmax", names=("TensorFlow 1", "tf.losses.softmax_cross_entropy"),
        call="tf.losses.softmax_cross_entropy(onehot, logits, label_smoothing=ε)",
        convention=spread.all, row="Σ q'_k(−log p_k), q' = (1−ε)q + ε/K", compute=off_below_zero(dense),
        reduce=mean_valid, mean="rows of weight other than 0",
        defect="K is read from axis 1 of the labels, which is wrong beyond two axes"),
    _tensorflow(
        key="tf1.sigmoid", names=("TensorFlow 1 sigmoid", "tf.losses.sigmoid_cross_entropy"),
        call="tf.losses.sigmoid_cross_entropy(labels, logits, label_smoothing=ε)",
        convention=spread.sigmoid_half, row="BCE(z_k, y_k(1−ε) + ε/2)",
        compute=off_below_zero(sigmoid(spread.sigmoid_half)),
        reduce=mean_entries, scale=lambda k: 1 / k, mean="rows × classes"),
    Formula(
        key="paddle", names=("Paddle", "paddle.nn.functional.label_smooth"), argument="epsilon",
        call="F.cross_entropy(logits, F.label_smooth(onehot, prior_dist, ε), soft_label=True)",
        convention=spread.all, row="Σ q'_k(−log p_k), q' = (1−ε)q + ε·π, π uniform by default", compute=dense,
        options=("prior",), ignore="lost: smoothing makes labels soft, and ignore_index is for hard ones",
        outside="label_smooth raises; cross_entropy ignores below 0",
        read="version not noted", path="python/paddle/nn/functional/common.py", evidence="read",
        defect="cross_entropy(label_smoothing=) drops ignore_index and the tensor-parallel kernel"),
    # Translation
    _fairseq(
        key="fairseq", names=("fairseq", "fairseq label_smoothed_cross_entropy"),
        call="label_smoothed_nll_loss(lprobs, target, epsilon=ε, ignore_index)",
        convention=spread.others, row="(1−ε−ε')·n + ε'·S, ε' = ε/(V−1)",
        reduce=total, mean="sum; the trainer divides by tokens or sentences",
        read="3d262bb2, 2025-09-30"),
    _fairseq(
        key="fairseq.logged", names=("fairseq's log",), call="the value that fairseq logs",
        convention=spread.others, row="((1−ε−ε')·n + ε'·S)/ln 2, ε' = ε/(V−1): in bits",
        reduce=mean_valid, base=2.0, mean="rows that count",
        read="3d262bb2, 2025-09-30", evidence="read"),
    _fairseq(
        key="fairseq.old", names=("fairseq before 2021-02",),
        call="label_smoothed_nll_loss(lprobs, target, epsilon=ε, ignore_index)",
        convention=spread.all, row="(1−ε)·n + (ε/V)·S",
        reduce=total, mean="sum; the trainer divides by tokens or sentences",
        read="the parent of 791ab7c2, 2021-02-03",
        defect="the same name means the others since 2021-02; copies made before still mean all"),
    _without_padding(
        key="onmt2", names=("OpenNMT-py 2", "OpenNMT-py 1", "onmt"),
        call="onmt.utils.loss.LabelSmoothingLoss(ε, V, ignore_index)",
        ignore="the padding class, which must be one of the V", outside="an assertion outside (0, 1]",
        read="8204f5e6, 2022-11-22", path="onmt/utils/loss.py",
        defect="ignore_index=−100, the default, gives class V−100 no mass"),
    _without_padding(
        key="joeynmt", names=("JoeyNMT", "joeynmt XentLoss"), call="joeynmt.loss.XentLoss(pad_index, smoothing=ε)",
        compute=off_below_zero(excess(spread.nopad)),
        ignore="the padding class", outside="up to 0 plain",
        read="cdc4d03, 2024-01-25", path="joeynmt/loss.py"),
    _without_padding(
        key="annotated", names=("The Annotated Transformer", "annotated transformer"), argument="smoothing",
        call="LabelSmoothing(size, padding_idx, smoothing=ε)",
        ignore="the padding class", outside="below 0 and above 1 NaN",
        read="debc9fd", path="the_annotated_transformer.py"),
    Formula(
        key="onmt3", names=("OpenNMT-py 3",), call="nn.CrossEntropyLoss(label_smoothing=ε, reduction='sum')",
        convention=spread.all, row="(1−ε)·n + (ε/K)·S", compute=off_below_zero(two_level(spread.all)),
        reduce=total, options=("ignore_index",), mean="sum", ignore="the padding index", outside="as torch",
        read="97111d97, 2024-06-27", path="onmt/utils/loss.py", evidence="read",
        defect="the same option was another loss before version 3"),
    _t2t(
        key="t2t", names=("Tensor2Tensor",), call="smoothing_cross_entropy(logits, labels, V, confidence=1−ε)",
        convention=spread.others, row="(1−ε)·n + ε/(V−1)·(S−n), less the entropy of its target"),
    _t2t(
        key="t2t.gaussian", names=("Tensor2Tensor gaussian",),
        call="smoothing_cross_entropy(logits, labels, V, confidence=σ, gaussian=True)",
        row="Σ Normal(k; y, σ)(−log p_k) less a constant, σ = 1 − ε", compute=gaussian,
        defect="densities are not normalised over the classes, and the constant is that of the uniform case"),
    Formula(
        key="t2t.mtf", names=("Tensor2Tensor mtf_transformer",), call="mtf_transformer, label_smoothing=ε",
        convention=spread.all, row="Σ q_k(−log p_k), q over all",
        mean="unknown", ignore="unknown",
        read="bafdc1b6", path="tensor2tensor/models/mtf_transformer.py", evidence="read"),
    SOCKEYE,
    replace(SOCKEYE,
        key="sockeye.fairseq", names=('Sockeye, label_smoothing_impl="fairseq"',),
        call='CrossEntropyLoss(label_smoothing=ε, label_smoothing_impl="fairseq")',
        convention=spread.others, row="(1−ε−ε')·n + ε'·S, ε' = ε/(K−1)"),
    replace(SOCKEYE,
        key="sockeye.torch", names=('Sockeye, label_smoothing_impl="torch"',),
        call='CrossEntropyLoss(label_smoothing=ε, label_smoothing_impl="torch")',
        compute=off_below_zero(two_level(spread.all)),
        outside="as torch"),
    # Language models
    _excess(
        key="t5x", names=("T5X",), call="compute_weighted_cross_entropy(logits, targets, label_smoothing=ε, z_loss=c)",
        row="(1−ε)·n + ε/(V−1)·(S−n), less the entropy of its target, + c·lse²",
        compute=with_z_loss(excess(spread.others)),
        options=("z_loss", "ignore_index"), mean="sum, or over a given factor",
        read="cc342d4, 2026-04-21", path="t5x/losses.py"),
    _excess(
        key="flax", names=("Flax examples",),
        call="compute_weighted_cross_entropy(logits, targets, label_smoothing=ε)",
        row="(1−ε)·n + ε/(V−1)·(S−n), less the entropy of its target",
        options=("ignore_index",), mean="sum, and the number of rows beside it",
        read="18f8f311, 2026-07-02", path="examples/wmt/train.py"),
    Formula(
        key="hf", names=("Hugging Face Trainer", "transformers", "huggingface", "LabelSmoother"),
        argument="label_smoothing_factor", call="transformers.trainer_pt_utils.LabelSmoother(epsilon=ε)",
        convention=spread.all, row="(1−ε)·n + (ε/V)·S", compute=negatives_as_class_0,
        reduce=mean_valid, options=("ignore_index",), ignore_index=-100, mean="rows that count, or num_items_in_batch",
        ignore="−100 alone; not counted", outside="applied",
        read="5.24.0", path="transformers/trainer_pt_utils.py",
        defect="a negative label other than −100 becomes class 0"),
    _megatron(
        key="megatron", names=("Megatron-Core", "Megatron-LM"),
        call="vocab_parallel_cross_entropy(logits, target, label_smoothing=ε), one rank",
        convention=spread.others, row="(1−s)·n + s·S/K, s = εK/(K−1)",
        compute=off_below_zero(two_level(spread.others)),
        defect="float32 logits are overwritten in the forward pass"),
    _megatron(
        key="megatron.partition", names=("Megatron-Core, several ranks",),
        call="vocab_parallel_cross_entropy(logits, target, label_smoothing=ε), rank 0 of several",
        row="(1−s)·n + s·(mean of −log p over the rank's classes), s = εK'/(K'−1), K' the rank's classes",
        compute=off_below_zero(first_shard),
        options=("shards",),
        evidence="read",
        defect="each rank has another loss, and the target sums to (1−s) + ranks·s"),
    Formula(
        key="allennlp", names=("AllenNLP",),
        call="sequence_cross_entropy_with_logits(logits, targets, weights, label_smoothing=ε)",
        convention=spread.all, row="Σ q_k(−log p_k), q over all, times the token's weight",
        compute=off_below_zero(two_level(spread.all)),
        reduce=mean_valid, options=("ignore_index",), mean="tokens of each sequence, then sequences",
        ignore="by weights", outside="below 0 means 0 without a word",
        read="80fb6061", path="allennlp/nn/util.py"),
    # Speech
    Formula(
        key="nemo.sce", names=("NeMo SmoothedCrossEntropyLoss", "nemo"),
        call="SmoothedCrossEntropyLoss(label_smoothing=ε)",
        convention=spread.others, row="(1−s)·n + s·S/K, s = εK/(K−1)",
        reduce=guarded_mean(1e-6), options=("ignore_index",), mean="rows that count + 1e-6",
        ignore="pad_id or a mask; not counted",
        read="8cfedd72, 2025-09-20", path="nemo/collections/common/losses/smoothed_cross_entropy.py"),
    Formula(
        key="nemo.snll", names=("NeMo SmoothedNLLLoss",), call="SmoothedNLLLoss(label_smoothing=ε)",
        convention=spread.all, row="(1−ε)·w_y·n + ε·S/K", compute=label_term_weighted,
        reduce=guarded_mean(1e-8), options=("weight", "ignore_index"), mean="rows of the mask + 1e-8",
        ignore="a mask",
        read="8cfedd72, 2025-09-20", path="nemo/collections/common/losses/smoothed_cross_entropy.py", evidence="read",
        defect="class weights are on the label's term alone, so that the strength depends on the label"),
    _of_sequences(
        key="espnet", names=("ESPnet",), call="LabelSmoothingLoss(size, padding_idx, smoothing=ε)",
        ignore="padding_idx",
        read="version not noted, possibly old", path="espnet/nets/pytorch_backend/transformer/label_smoothing_loss.py",
        evidence="read"),
    _of_sequences(
        key="wenet", names=("WeNet",),
        call="LabelSmoothingLoss(size, padding_idx, smoothing=ε, normalize_length=True)",
        ignore="padding_idx; not counted", outside="below 0 and above 1 NaN",
        read="01546996, 2025-12-19", path="wenet/models/transformer/label_smoothing_loss.py"),
    Formula(
        key="speechbrain.nll", names=("SpeechBrain nll_loss", "speechbrain"),
        call="speechbrain.nnet.losses.nll_loss(log_probabilities, targets, label_smoothing=ε)",
        convention=spread.all, row="(1−ε)·w_y·n + ε·S/K", compute=label_term_weighted,
        options=("weight",), mean="rows of the length mask", ignore="a length mask",
        read="9c826ef3, 2026-04-03", path="speechbrain/nnet/losses.py",
        defect="class weights are on the label's term alone, so that the strength depends on the label"),
    Formula(
        key="speechbrain.kldiv", names=("SpeechBrain kldiv_loss",),
        call="speechbrain.nnet.losses.kldiv_loss(log_probabilities, targets, label_smoothing=ε)",
        convention=spread.others, row="Σ q_k(log q_k − log p_k)", compute=divergence_or_plain,
        reduce=sum_or_plain_mean, minus_entropy=True, options=("ignore_index",), ignore_index=0,
        mean='"mean" is the sum', ignore="pad_idx, 0 by default",
        outside="up to 0 plain: its nll_loss, which ignores no class and takes the mean",
        read="9c826ef3, 2026-04-03", path="speechbrain/nnet/losses.py",
        defect='reduction="mean" returns the sum; class 0 is ignored by default'),
    # Vision and segmentation, and collections of utilities
    _mmpretrain(
        key="mm.original", names=("mmpretrain", "mmpretrain LabelSmoothLoss", "mmcls"),
        call='LabelSmoothLoss(label_smooth_val=ε, mode="original")',
        convention=spread.all, row="Σ w_k q'_k(−log p_k), q' = (1−ε)q + ε/K", compute=dense,
        options=("weight",), mean="all rows, or avg_factor",
        defect="K is taken from the first batch and kept"),
    _mmpretrain(
        key="mm.classy", names=('mmpretrain, mode="classy_vision"',),
        call='LabelSmoothLoss(label_smooth_val=ε, mode="classy_vision")',
        convention=spread.classy, row="Σ q_k(−log p_k), q over all with ε/(1+ε)", compute=mixed(spread.classy),
        mean="all rows, or avg_factor"),
    _mmpretrain(
        key="mm.multi", names=('mmpretrain, mode="multi_label"',),
        call='LabelSmoothLoss(label_smooth_val=ε, mode="multi_label")',
        convention=spread.sigmoid_full, row="Σ BCE(z_k, y_k(1−ε) + (1−y_k)ε)",
        reduce=mean_entries, scale=lambda k: 1 / k, mean="rows × classes"),
    Formula(
        key="classy", names=("ClassyVision",), argument="smoothing_param",
        call="LabelSmoothingCrossEntropyLoss(smoothing_param=ε)",
        convention=spread.classy, row="Σ q_k(−log p_k), q = (onehot + ε/K) over its sum", compute=divided_twice,
        options=("ignore_index",), ignore_index=-100, mean="all rows, the ignored included",
        ignore="trained towards uniform",
        read="08a82e88, 2023-03-23", path="classy_vision/losses/label_smoothing_loss.py",
        defect="an ignored row is trained towards the uniform target"),
    Formula(
        key="vissl", names=("VISSL",), call="CrossEntropyMultipleOutputSingleTargetCriterion(label_smoothing=ε)",
        convention=spread.all, row="Σ q_k(−log p_k), q over all",
        ignore="lost with smoothing", outside="an assertion",
        read="09270ed2, 2024-03-02", path="vissl/losses/cross_entropy_multiple_output_single_target.py",
        defect="weight and ignore_index are dropped as soon as ε > 0"),
    Formula(
        key="fastai", names=("fastai", "fastai LabelSmoothingCrossEntropy"), argument="eps",
        call="LabelSmoothingCrossEntropy(eps=ε, weight)",
        convention=spread.all, row="(1−ε)·w_y·n + ε·S/K", compute=label_term_weighted,
        reduce=fastai_mean, options=("weight",), mean="rows for the smoothing term, Σ w_y for the label's",
        outside="applied",
        read="version not noted, possibly old", path="fastai/losses.py", evidence="read",
        defect="with class weights its mean mixes two normalisers"),
    SMP,
    replace(SMP,
        key="toolbelt", names=("pytorch-toolbelt",),
        read="05e07ac7, 2024-11-21", path="pytorch_toolbelt/losses/functional.py",
        defect="the mean counts ignored positions; its bi-tempered loss means the others by the same word"),
    Formula(
        key="smp.bce", names=("segmentation_models_pytorch SoftBCEWithLogitsLoss", "toolbelt.bce"),
        argument="smooth_factor", call="SoftBCEWithLogitsLoss(smooth_factor=ε)",
        convention=spread.sigmoid_full, row="Σ BCE(z_k, y_k(1−ε) + (1−y_k)ε)",
        reduce=mean_entries, scale=lambda k: 1 / k, mean="rows × classes, the ignored included",
        ignore="entries, −100 by default; inert, but counted in the mean", outside="applied",
        read="0.6.0", path="segmentation_models_pytorch/losses/soft_bce.py",
        defect="the mean counts ignored entries"),
    Formula(
        key="coincheung", names=("CoinCheung pytorch-loss", "pytorch-loss"), argument="lb_smooth",
        call="LabelSmoothSoftmaxCEV1(lb_smooth=ε)",
        convention=spread.deficit, row="(1−ε)·n + (ε/K)·(S−n)",
        reduce=mean_valid, options=("ignore_index",), ignore_index=-100, mean="rows that count",
        ignore="−100 by default; not counted", outside="applied",
        read="67d01584, 2024-10-17", path="pytorch_loss/label_smooth.py",
        defect="the target sums to 1 − ε/K"),
    Formula(
        key="torch-uncertainty.bce", names=("torch-uncertainty", "torch_uncertainty BCEWithLogitsLSLoss"),
        call="BCEWithLogitsLSLoss(label_smoothing=ε)",
        convention=spread.sigmoid_half, row="Σ BCE(z_k, y_k(1−ε) + ε/2)",
        reduce=mean_entries, scale=lambda k: 1 / k, mean="rows × classes", outside="below 0 raises",
        read="0.13.0", path="src/torch_uncertainty/losses/classification.py"),
    # Fused GPU kernels, as read: none of these was executed
    Formula(
        key="apex", names=("Apex", "NVIDIA Apex"), argument="smoothing",
        call="apex.contrib.xentropy.SoftmaxCrossEntropyLoss.apply(logits, labels, ε)",
        convention=spread.all, row="ε(lse − mean z) + (1−ε)n",
        options=("ignore_index",), ignore_index=0, mean="no reduction", ignore="padding_idx, 0 by default",
        read="6424da3b, 2026-07-08", path="apex/contrib/xentropy/softmax_xentropy.py", evidence="read",
        defect="rows of class 0 are ignored by default"),
    Formula(
        key="te", names=("TransformerEngine",),
        call="transformer_engine.pytorch.parallel_cross_entropy(input, target, ε)",
        convention=spread.all, row="(1−ε)·n + (ε/V)·S", compute=off_below_zero(two_level(spread.all)),
        reduce=mean_valid, options=("ignore_index",), ignore_index=-100,
        mean="no reduction; rows that count if reduce_loss", ignore="−100; not counted",
        outside="below 0 the loss is plain and the gradient smoothed",
        read="d0067d0d, 2026-08-22", path="transformer_engine/common/triton/cross_entropy.py", evidence="read",
        defect="with several ranks the value uses the local sum of logits, the gradient the global one"),
    FLASH,
    replace(FLASH,
        key="fla", names=("flash-linear-attention",), call="fla.modules.FusedCrossEntropyLoss(label_smoothing=ε)",
        read="bc3b101d, 2026-08-22", path="fla/modules/fused_cross_entropy.py",
        defect="fused with the linear layer, ε below 0 gives a plain loss and a smoothed gradient"),
    Formula(
        key="liger", names=("Liger", "liger_kernel"),
        call="LigerCrossEntropyLoss(label_smoothing=ε, lse_square_scale=c)",
        convention=spread.all, row="(1−ε)·w_y·n + (ε/K)·Σ w_k(−log p_k) + c·lse²",
        compute=off_below_zero(with_z_loss(two_level(spread.all))),
        reduce=liger_mean, options=("weight", "z_loss", "ignore_index"), ignore_index=-100,
        mean="Σ w_y over rows that count; lse² over rows", ignore="−100 by default; not counted",
        outside="the module refuses; the functions give a plain loss and a smoothed gradient below 0",
        read="ead96b61, 2026-08-21", path="src/liger_kernel/ops/cross_entropy.py", evidence="read",
        defect="the gradient overwrites the logits in the forward pass"),
    LIGER_PARALLEL,
    replace(LIGER_PARALLEL,
        key="liger.vp.megatron", names=('Liger vocab parallel, formula "megatron"',),
        call='LigerVocabParallelCrossEntropy(label_smoothing_formula="megatron")',
        convention=spread.others, row="(1−s)·n + s·S/K, s = εK/(K−1), K global or the shard's by label_smoothing_mode"),
    # Papers' own repositories: smoothed targets, and penalties that take their place
    Formula(
        key="tfkd.ls", names=("Teacher-free KD, label smoothing", "tf-kd"), argument="",
        call="loss_label_smoothing(outputs, labels), ε = 0.1",
        convention=spread.others, row="(1−ε)·n + ε/(K−1)·(S−n)",
        outside="fixed at 0.1",
        read="d000ab37, 2022-02-11", path="my_loss_function.py"),
    Formula(
        key="tfkd.reg", names=("Teacher-free KD, virtual teacher",), argument="",
        call="loss_kd_regularization(outputs, labels, params)",
        row="(1−a)·n + a·m·mean_k KL(softmax(d/T)‖p), d = 0.99 on the label, 0.01/(K−1) elsewhere",
        compute=virtual_teacher,
        options=("alpha", "temperature", "multiplier"), outside="has no ε",
        read="d000ab37, 2022-02-11", path="my_loss_function.py",
        defect="at T = 20 the teacher is all but uniform; the divergence is divided by K, which m makes up for"),
    Formula(
        key="ols", names=("Online label smoothing",), argument="",
        call="soft cross entropy with a learned K × K table + cross entropy",
        row="n + Σ L[y, k](−log p_k)", compute=learned_table,
        options=("rows_table",), outside="has no ε",
        read="7eaf70c", path="fine-grained/solver.py", evidence="read"),
    Formula(
        key="mbls", names=("Margin-based label smoothing",), argument="", call="LogitMarginL1(margin=m, alpha=a)",
        row="n + a·mean_k max(max z − z_k − m, 0)", compute=margin_penalty,
        options=("alpha", "margin"), ignore="only an ignore_index from 0", outside="has no ε",
        read="dc865036, 2022-06-16", path="calibrate/losses/logit_margin_l1.py"),
    Formula(
        key="mbls.ls", names=("MbLS LabelSmoothingCrossEntropy",), argument="alpha",
        call="LabelSmoothingCrossEntropy(alpha=ε)",
        convention=spread.all, row="(1−ε)·n + ε·S/K",
        mean="rows that count", ignore="only an ignore_index from 0", outside="applied",
        read="dc865036, 2022-06-16", path="calibrate/losses/label_smoothing.py",
        defect="an ignore_index below 0, the default included, is not looked at"),
    Formula(
        key="nls", names=("Negative label smoothing", "GLS"), argument="smooth_rate",
        call="loss_gls(epoch, y, t, smooth_rate=ε, wa, wb)",
        convention=spread.all, row="(wa + wb(1−ε))·n + wb·ε·S/K",
        compute=lambda b: (b.wa + b.wb * (1 - b.eps)) * b.nll + b.wb * b.eps * b.losses.mean(axis=1),
        options=("wa", "wb"), outside="any sign, by design; unbounded below for ε < 0",
        read="05078f67, 2022-09-12", path="loss.py"),
    Formula(
        key="maxsup", names=("MaxSup", "torch_uncertainty CrossEntropyMaxSupLoss"),
        call="CrossEntropyMaxSupLoss(label_smoothing=ε, max_sup=a)",
        row="mean(smoothed over all) + a·(max z − mean z)", compute=max_suppression,
        reduce=lambda b, rows: (mean_all if b.alpha else mean_valid)(b, rows), options=("alpha",), ignore_index=-100,
        mean="all rows; at a = 0 those that count", ignore="−100; its cross entropy is not counted, its penalty is",
        outside="as torch",
        read="0.13.0", path="src/torch_uncertainty/losses/classification.py",
        defect='where a is not 0, reduction="none" gives every row the mean cross entropy of the batch, an ignored '
               "row keeps its penalty, and class weights multiply the whole loss by their mean"),
)
# fmt: on

FORMULAS: dict[str, Formula] = {formula.key: formula for formula in _TABLE}
"""Every formula by its key."""
