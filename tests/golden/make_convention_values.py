"""Values of losses that cannot be installed, computed by their own source: writes convention_values.json.

    python tests/golden/make_convention_values.py FOLDER

FOLDER holds bare git clones of the projects of SOURCES, named ``owner+name`` (with the repository in it, or in its
folder ``repo``). The named functions and classes are cut out of the file at the commit and run as they stand, on torch
(T5X and Flax: jax), with the few names that they expect from elsewhere given below. Nothing of sfumato is imported.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

K, N = 5, 6
GENERATOR = np.random.default_rng(20261)
LOGITS = (2 * GENERATOR.standard_normal((N, K))).round(6)
LABELS = np.array([1, 4, 2, 3, 1, 2])  # without class 0, which is padding for some
PADDED = np.array([1, 0, 2, 3, 0, 2])
IGNORED = np.array([1, -100, 2, 3, -100, 0])
WEIGHT = np.array([0.5, 1.0, 2.0, 1.5, 0.75])
EPS = 0.1

FAIRSEQ = "fairseq/criterions/label_smoothed_cross_entropy.py"
MMPRETRAIN = "mmpretrain/models/losses"
SOURCES: dict[str, tuple[str, str, str, str]] = {
    "fairseq": ("facebookresearch+fairseq", "3d262bb2", FAIRSEQ, "label_smoothed_nll_loss"),
    "fairseq.old": ("facebookresearch+fairseq", "791ab7c2^", FAIRSEQ, "label_smoothed_nll_loss"),
    "onmt2": ("OpenNMT+OpenNMT-py", "8204f5e6", "onmt/utils/loss.py", "LabelSmoothingLoss"),
    "joeynmt": ("joeynmt+joeynmt", "cdc4d03d", "joeynmt/loss.py", "XentLoss"),
    "annotated": ("harvardnlp+annotated-transformer", "debc9fd7", "the_annotated_transformer.py", "LabelSmoothing"),
    "t5x": ("google-research+t5x", "cc342d41", "t5x/losses.py", "*"),
    "flax": ("google+flax", "18f8f311", "examples/wmt/train.py", "compute_weighted_cross_entropy"),
    "megatron": ("NVIDIA+Megatron-LM", "d98e8a64", "megatron/core/tensor_parallel/cross_entropy.py", "*"),
    "nemo.sce": (
        "NVIDIA+NeMo", "8cfedd72", "nemo/collections/common/losses/smoothed_cross_entropy.py",
        "SmoothedCrossEntropyLoss",
    ),
    "wenet": ("wenet-e2e+wenet", "01546996", "wenet/models/transformer/label_smoothing_loss.py", "*"),
    "speechbrain": ("speechbrain+speechbrain", "9c826ef3", "speechbrain/nnet/losses.py", "*"),
    "sockeye": ("awslabs+sockeye", "871d9863", "sockeye/loss.py", "CrossEntropyLoss"),
    "allennlp": ("allenai+allennlp", "80fb6061", "allennlp/nn/util.py", "sequence_cross_entropy_with_logits"),
    "mm": ("open-mmlab+mmpretrain", "ee7f2e88", f"{MMPRETRAIN}/label_smooth_loss.py", "LabelSmoothLoss"),
    "mm.ce": ("open-mmlab+mmpretrain", "ee7f2e88", f"{MMPRETRAIN}/cross_entropy_loss.py", "*"),
    "mm.utils": ("open-mmlab+mmpretrain", "ee7f2e88", f"{MMPRETRAIN}/utils.py", "*"),
    "classy": (
        "facebookresearch+ClassyVision", "08a82e88", "classy_vision/losses/label_smoothing_loss.py", "*",
    ),
    "classy.soft": (
        "facebookresearch+ClassyVision", "08a82e88", "classy_vision/losses/soft_target_cross_entropy_loss.py", "*",
    ),
    "classy.hot": ("facebookresearch+ClassyVision", "08a82e88", "classy_vision/generic/util.py", "convert_to_one_hot"),
    "vissl": (
        "facebookresearch+vissl", "09270ed2", "vissl/losses/cross_entropy_multiple_output_single_target.py",
        "SmoothCrossEntropy CrossEntropyMultipleOutputSingleTargetCriterion",
    ),
    "toolbelt": (
        "BloodAxe+pytorch-toolbelt", "05e07ac7", "pytorch_toolbelt/losses/functional.py", "label_smoothed_nll_loss",
    ),
    "coincheung": ("CoinCheung+pytorch-loss", "67d01584", "pytorch_loss/label_smooth.py", "LabelSmoothSoftmaxCEV1"),
    "tfkd": (
        "yuanli2333+Teacher-free-Knowledge-Distillation", "d000ab37", "my_loss_function.py",
        "loss_label_smoothing loss_kd_regularization",
    ),
    "mbls": ("by-liu+MbLS", "dc865036", "calibrate/losses/logit_margin_l1.py", "LogitMarginL1"),
    "mbls.ls": ("by-liu+MbLS", "dc865036", "calibrate/losses/label_smoothing.py", "LabelSmoothingCrossEntropy"),
    "nls": ("UCSC-REAL+negative-label-smoothing", "05078f67", "loss.py", "loss_gls"),
}  # fmt: skip


class AnyBase(nn.Module):
    """Stands where a source derives from a class of its own framework."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __class_getitem__(cls, _: Any) -> type:
        return cls


def passes(*_: Any, **__: Any) -> Callable[[Any], Any]:
    """Stands where a source registers its loss by a decorator."""
    return lambda thing: thing


class Names(dict):
    """The names of a source; those it does not define and that nobody gave are empty base classes."""

    def __missing__(self, name: str) -> Any:
        if hasattr(__builtins__, name) or name in dir(__import__("builtins")):
            raise KeyError(name)
        return AnyBase


def source(folder: Path, key: str) -> str:
    repo, commit, path, _ = SOURCES[key]
    place = folder / repo / "repo" if (folder / repo / "repo").exists() else folder / repo
    command = ["git", f"--git-dir={place}", "show", f"{commit}:{path}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def taken(folder: Path, key: str, **given: Any) -> types.SimpleNamespace:
    """The functions and classes of one source, without its imports and without its other statements."""
    wanted = SOURCES[key][3].split()
    tree = ast.parse(source(folder, key))
    kept = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Expr | ast.Assign)
        and (isinstance(node, ast.FunctionDef | ast.ClassDef) or wanted == ["*"])
        and (wanted == ["*"] or getattr(node, "name", "") in wanted)
    ]
    names = Names(torch=torch, pt=torch, nn=nn, F=F, np=np, numpy=np, Tensor=torch.Tensor, **given)
    annotations = ast.parse("from __future__ import annotations").body
    exec(compile(ast.Module([*annotations, *kept], []), key, "exec"), names)
    return types.SimpleNamespace(**names)


def cases(folder: Path) -> Iterator[tuple[str, dict[str, Any], float]]:
    """Key of the formula, its arguments beside the logits, and the value."""
    z = torch.tensor(LOGITS)
    y, padded, ignored = (torch.tensor(each) for each in (LABELS, PADDED, IGNORED))
    logp = z.log_softmax(1)
    mean = {"labels": "LABELS"}

    for key in ("fairseq", "fairseq.old"):
        loss = taken(folder, key).label_smoothed_nll_loss
        yield key, mean, loss(logp, y, EPS)[0]
        yield key, {"labels": "PADDED", "ignore_index": 0}, loss(logp, padded, EPS, ignore_index=0)[0]

    onmt = taken(folder, "onmt2").LabelSmoothingLoss(EPS, K, ignore_index=0)
    joey = taken(folder, "joeynmt", _Loss=nn.Module, Variable=lambda t, requires_grad: t)
    annotated = taken(folder, "annotated").LabelSmoothing(K, 0, EPS)
    for name, labels in (("LABELS", y), ("PADDED", padded)):
        yield "onmt2", {"labels": name, "pad": 0}, onmt.double()(logp, labels)
        yield "joeynmt", {"labels": name, "pad": 0}, joey.XentLoss(0, EPS)(logp, trg=labels)
        yield "annotated", {"labels": name, "pad": 0}, annotated(logp, labels)

    yield from jax_cases(folder)

    group = types.SimpleNamespace(MAX=0, SUM=0)
    alone = types.SimpleNamespace(all_reduce=lambda *_, **__: None, ReduceOp=group)
    fake = types.ModuleType("torch_of_one_rank")
    fake.__dict__.update({name: getattr(torch, name) for name in dir(torch)}, distributed=alone)
    megatron = taken(
        folder, "megatron", get_pg_rank=lambda _: 0, get_pg_size=lambda _: 1, get_tensor_model_parallel_group=lambda: 0,
        VocabUtility=types.SimpleNamespace(vocab_range_from_per_partition_vocab_size=lambda size, *_: (0, size)),
    )  # fmt: skip
    megatron.vocab_parallel_cross_entropy.__globals__["torch"] = fake
    yield "megatron", mean, megatron.vocab_parallel_cross_entropy(z[:, None].clone(), y[:, None], EPS).mean()

    nemo = taken(folder, "nemo.sce", Loss=AnyBase, typecheck=passes, Optional=types.SimpleNamespace)
    loss = nemo.SmoothedCrossEntropyLoss(pad_id=0, label_smoothing=EPS)
    yield "nemo.sce", {"labels": "PADDED", "ignore_index": 0}, loss.forward(logp[None], padded[None])

    wenet = taken(folder, "wenet").LabelSmoothingLoss(K, 0, EPS, normalize_length=True)
    yield "wenet", {"labels": "PADDED", "ignore_index": 0}, wenet(z[None], padded[None])

    import functools
    import math

    speech = taken(folder, "speechbrain", functools=functools, math=math, length_to_mask=None)
    yield "speechbrain.kldiv", {"labels": "PADDED"}, speech.kldiv_loss(logp, padded, label_smoothing=EPS)
    yield "speechbrain.nll", mean, speech.nll_loss(logp, y, label_smoothing=EPS)
    weighted = speech.nll_loss(logp, y, label_smoothing=EPS, weight=torch.tensor(WEIGHT), reduction="mean")
    yield "speechbrain.nll", {"labels": "LABELS", "weight": "WEIGHT"}, weighted

    words = types.SimpleNamespace(
        CROSS_ENTROPY="", DTYPE_FP32="", LOGITS_NAME="", TARGET_LABEL_NAME="", PAD_ID=0
    )  # fmt: skip
    sockeye = taken(folder, "sockeye", C=words)
    for impl in ("mxnet", "fairseq", "torch"):
        loss = sockeye.CrossEntropyLoss(label_smoothing=EPS, label_smoothing_impl=impl)
        loss.ignore_label, loss._weight = 0, 1.0
        type(loss).weight = 1.0
        yield f"sockeye.{impl}", {"labels": "PADDED", "ignore_index": 0}, loss.forward(z[None], padded[None])[0]

    allen = taken(folder, "allennlp", tiny_value_of_dtype=lambda _: 1e-13)
    loss = allen.sequence_cross_entropy_with_logits
    value = loss(z[None], padded[None], (padded != 0)[None].double(), label_smoothing=EPS)
    yield "allennlp", {"labels": "PADDED", "ignore_index": 0}, value

    registry = types.SimpleNamespace(register_module=passes)
    utils = vars(taken(folder, "mm.utils"))
    helpers = {name: utils[name] for name in ("weight_reduce_loss", "reduce_loss", "convert_to_one_hot")}
    ce = vars(taken(folder, "mm.ce", MODELS=registry, **helpers))["CrossEntropyLoss"]
    mm = taken(folder, "mm", MODELS=registry, CrossEntropyLoss=ce, **helpers).LabelSmoothLoss
    yield "mm.original", mean, mm(EPS, K)(z, y)
    weight = {"labels": "LABELS", "weight": "WEIGHT"}
    yield "mm.original", weight, mm(EPS, K, class_weight=list(WEIGHT))(z, y)
    yield "mm.classy", mean, mm(EPS, K, mode="classy_vision")(z, y)
    yield "mm.multi", mean, mm(EPS, K, mode="multi_label", use_sigmoid=True)(z, y)

    hot = vars(taken(folder, "classy.hot"))["convert_to_one_hot"]
    soft = vars(taken(folder, "classy.soft", ClassyLoss=nn.Module, register_loss=passes, convert_to_one_hot=hot))
    classy = taken(
        folder, "classy", ClassyLoss=nn.Module, register_loss=passes, convert_to_one_hot=hot,
        SoftTargetCrossEntropyLoss=soft["SoftTargetCrossEntropyLoss"],
    ).LabelSmoothingCrossEntropyLoss  # fmt: skip
    yield "classy", mean, classy(smoothing_param=EPS)(z, y)
    yield "classy", {"labels": "IGNORED"}, classy(smoothing_param=EPS)(z, ignored)

    vissl = vars(taken(folder, "vissl", Optional=dict, Union=dict, List=dict))
    loss = vissl["CrossEntropyMultipleOutputSingleTargetCriterion"](label_smoothing=EPS)
    yield "vissl", mean, loss([z], y)

    loss = taken(folder, "toolbelt").label_smoothed_nll_loss
    yield "toolbelt", {"labels": "IGNORED"}, loss(logp, ignored, EPS, ignore_index=-100, dim=1)

    coin = taken(folder, "coincheung").LabelSmoothSoftmaxCEV1(EPS)
    yield "coincheung", {"labels": "IGNORED"}, coin(z, ignored)

    class Params:
        reg_alpha, reg_temperature, multiplier = 0.3, 20, 50.0

    tfkd = taken(folder, "tfkd")
    torch.Tensor.cuda = lambda self: self  # type: ignore[method-assign]
    yield "tfkd.ls", mean, tfkd.loss_label_smoothing(z, y)
    options = {"labels": "LABELS", "alpha": 0.3, "temperature": 20.0, "multiplier": 50.0}
    yield "tfkd.reg", options, tfkd.loss_kd_regularization(z, y, Params)

    margin = taken(folder, "mbls").LogitMarginL1(margin=1.5, alpha=0.2)
    yield "mbls", {"labels": "LABELS", "alpha": 0.2, "margin": 1.5}, margin(z, y)[0]
    yield "mbls.ls", mean, taken(folder, "mbls.ls").LabelSmoothingCrossEntropy(EPS)(z, y)

    gls = taken(folder, "nls").loss_gls
    yield "nls", mean, gls(0, z, y, EPS)
    yield "nls", {"labels": "LABELS", "eps": -2.0}, gls(0, z, y, -2.0)
    yield "nls", {"labels": "LABELS", "wa": 0.5, "wb": 2.0}, gls(0, z, y, EPS, wa=0.5, wb=2.0)


def jax_cases(folder: Path) -> Iterator[tuple[str, dict[str, Any], float]]:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def onehot(labels: Any, size: int, on_value: float, off_value: float) -> Any:
        return jnp.where(labels[..., None] == jnp.arange(size), on_value, off_value)

    common = types.SimpleNamespace(onehot=onehot)
    names = {"jax": jax, "jnp": jnp, "common_utils": common, "nn": jax.nn, "enum": __import__("enum")}
    z, y = jnp.asarray(LOGITS), jnp.asarray(LABELS)
    for key in ("t5x", "flax"):
        tree = taken_jax(folder, key, names)
        yield key, {"labels": "LABELS"}, tree["compute_weighted_cross_entropy"](z, y, label_smoothing=EPS)[0]
        if key == "t5x":
            value = tree["compute_weighted_cross_entropy"](z, y, label_smoothing=EPS, z_loss=1e-2)[0]
            yield key, {"labels": "LABELS", "z_loss": 1e-2}, value


def taken_jax(folder: Path, key: str, names: dict[str, Any]) -> dict[str, Any]:
    wanted = ("cross_entropy_with_logits", "_cross_entropy_with_logits_fwd", "_cross_entropy_with_logits_bwd",
              "compute_weighted_cross_entropy")  # fmt: skip
    tree = ast.parse(source(folder, key))
    kept = [
        node
        for node in tree.body
        if (isinstance(node, ast.FunctionDef) and node.name in wanted)
        or (isinstance(node, ast.Expr) and "defvjp" in ast.unparse(node))
    ]
    space: dict[str, Any] = {"np": np, **names}
    annotations = ast.parse("from __future__ import annotations").body
    exec(compile(ast.Module([*annotations, *kept], []), key, "exec"), space)
    return space


def main(folder: Path) -> None:
    found = [
        {"formula": key, "eps": EPS, **options, "value": float(value)} for key, options, value in cases(folder)
    ]  # fmt: skip
    origins = {key: dict(zip(("repository", "commit", "path"), where, strict=False)) for key, where in SOURCES.items()}
    arrays = {"LOGITS": LOGITS, "LABELS": LABELS, "PADDED": PADDED, "IGNORED": IGNORED, "WEIGHT": WEIGHT}
    told = {"origins": origins, "arrays": {n: a.tolist() for n, a in arrays.items()}, "values": found}
    path = Path(__file__).with_name("convention_values.json")
    path.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(f"{len(found)} values of {len({each['formula'] for each in found})} formulas in {path.name}")


if __name__ == "__main__":
    torch.manual_seed(0)
    main(Path(sys.argv[1]))
