"""A causal model of transformers whose loss is computed from its last hidden states, without the logits.

The model's own forward is kept and runs as it is, so that routers, images and adapters stay what they are. Only what
its output layer and its loss function are differs while a pass with labels is on its way; ``head_loss`` has that pass.
"""

import inspect
import itertools
import types
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.loss.loss_utils import ForCausalLMLoss
from transformers.utils import ModelOutput

from sfumato.adapters.hf.head_loss import HeadLoss, HeadPass
from sfumato.targets.checks import ArgumentError, check_over, check_strength
from sfumato.text import plural
from sfumato.theory import Over

_ROWS = "_fused_rows"  # an argument of forward: the numbers of each row are wanted, as TRL's SFTTrainer wants them
_SOFTCAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
_SCALES = ("logit_scale", "output_multiplier", "lm_head_multiplier")
_MULTIPLIES = ("hyperclovax", "hyperclovax_vl")  # their logits_scaling multiplies; everyone else's divides
_count = itertools.count()


@dataclass
class FusedOutput(ModelOutput):
    """What a fused model gives TRL's ``SFTTrainer``, which reads numbers of rows where others read logits.

    Rows are (B, T−1), or (B, T) with ``shift_labels``; they are 0 where the label is ignored. ``log_probs`` is minus
    the loss of each row, whose negated sum is TRL's loss, and ``entropy`` is in nats.
    """

    loss: Tensor | None = None
    log_probs: Tensor | None = None
    entropy: Tensor | None = None
    is_top1: Tensor | None = None
    label_mask: Tensor | None = None
    aux_loss: Tensor | None = None
    num_valid_tokens: Tensor | None = None
    num_correct_tokens: Tensor | None = None
    entropy_sum: Tensor | None = None
    logits: Tensor | None = None


class FusedHead:
    """What :func:`fuse_head` did to a model; ``remove()``, or the end of a ``with`` block, undoes it.

    ``model`` is the causal model; of one that PEFT wrapped, the model inside.
    """

    def __init__(self, model: Any, how: HeadLoss) -> None:
        self.model, self.how = model, how
        self.inner, self.always_rows = _below_trl(model.forward)
        self._before = vars(model).get("forward")
        self._name = f"_fused_head_{next(_count)}"
        self._running = self._removed = self._looked = False
        self._forward = types.MethodType(_forward_like(type(model).forward, self._name), model)
        model.forward = self._forward
        setattr(model, self._name, self)
        self._hooks = [model.register_forward_pre_hook(self._ask_for_rows, with_kwargs=True)]
        if model.base_model is not model:
            self._hooks.append(model.base_model.register_forward_hook(self._guard))

    def remove(self) -> None:
        """Give the model back its own forward; a second call does nothing."""
        if self._removed:
            return
        self._removed = True
        for hook in self._hooks:
            hook.remove()
        if vars(self.model).get("forward") is not self._forward:
            return  # somebody's patch lies over this one, which passes everything on from now
        if self._before is None:
            del self.model.forward
        else:
            self.model.forward = self._before
        delattr(self.model, self._name)

    def __enter__(self) -> "FusedHead":
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def __repr__(self) -> str:
        name, how = type(self.model).__name__, self.how
        if self._removed:
            return f"FusedHead({name}, removed)"
        head = self.model.get_output_embeddings()
        parts = [
            f'label_smoothing={how.label_smoothing:g} over="{how.over}"',
            plural(head.out_features, "class"),
            *([] if how.softcap is None else [f"softcap={how.softcap:g}"]),
            *([] if how.logit_scale == 1 else [f"logit_scale={how.logit_scale:g}"]),
            *([f"z_loss={how.z_loss:g}"] if how.z_loss else []),
            f"evaluation {'smoothed' if how.smooth_evaluation else 'hard'}, "
            f"{'with' if how.evaluation_logits else 'without'} logits",
        ]
        return f"FusedHead({name}, {', '.join(parts)})"

    @property
    def label_smoothing(self) -> float:
        """Strength ε in training; it may be set, as :class:`ScheduleSmoothing` does before each step."""
        return self.how.label_smoothing

    @label_smoothing.setter
    def label_smoothing(self, eps: float) -> None:
        check_strength(eps)
        self.how = replace(self.how, label_smoothing=float(eps))

    @property
    def removed(self) -> bool:
        """Whether the model has its own forward again."""
        return self._removed

    def forward(self, names: list[str], *args: Any, **kwargs: Any) -> Any:
        """The model's forward; ``names`` are those of its parameters, in order."""
        rows = bool(kwargs.pop(_ROWS, False))  # both are taken out, whatever they hold
        rows = bool(kwargs.pop("fused_lm_head", False)) or rows or self.always_rows
        kwargs = dict(zip(names, args, strict=False)) | kwargs
        if rows and kwargs.get("labels") is None:
            kwargs["labels"] = kwargs.get("shift_labels")
        if self._removed or kwargs.get("labels") is None:
            return self.inner(**kwargs)
        as_tuple = (kwargs.pop("return_dict", None) is False) or not self.model.config.return_dict
        one = HeadPass(self.model, _checked_head(self.model), self.how, rows=rows, check=not self._looked)
        outputs = self._run(one, kwargs | {"return_dict": True})
        one.look_at_loss(outputs.loss)
        self._looked = self._looked or not one.keeps_logits
        outputs = _rows_of(one, outputs) if rows else outputs if one.keeps_logits else _without_logits(outputs)
        return outputs.to_tuple() if as_tuple else outputs

    def _run(self, one: HeadPass, kwargs: dict[str, Any]) -> Any:
        """The model's own forward, between whose last layer and loss stands the pass."""
        model, head = vars(self.model), vars(one.head)
        before, loss_before = head.get("forward"), model.get("_loss_function")
        head["forward"], model["_loss_function"], self._running = one.stand_in, one.loss, True
        try:
            outputs = self.inner(**kwargs)
        finally:
            self._running = False
            for where, name, value in ((head, "forward", before), (model, "_loss_function", loss_before)):
                if value is None:
                    del where[name]
                else:
                    where[name] = value
        if one.input is None:
            raise ValueError(
                f"the forward of {one.name} came to its end without its output layer: another patch of it is in the way"
            )
        return outputs

    def _ask_for_rows(self, module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Lead a call of TRL's SFTTrainer past its own patch, which may lie over this one."""
        if kwargs.pop("fused_lm_head", False):
            kwargs[_ROWS] = True
        return args, kwargs

    def _guard(self, module: Any, args: Any, output: Any) -> None:
        """See to it that no training goes past the fused loss without a word."""
        if self._running or not (module.training and torch.is_grad_enabled()):
            return
        hidden = output[0]
        if isinstance(hidden, Tensor) and hidden.requires_grad:
            hidden.register_hook(_refuse_gradient)


def fuse_head(
    model: Any,
    *,
    label_smoothing: float = 0.0,
    over: Over = "all",
    softcap: float | None = None,
    logit_scale: float | None = None,
    z_loss: float = 0.0,
    smooth_evaluation: bool = False,
    evaluation_logits: bool = False,
) -> FusedHead:
    r"""Let a causal model compute its loss, smoothed or not, without its logits, in any trainer.

    .. math:: L = \frac{1}{M}\sum_t \sum_k q_{t+1,k}\,(\mathrm{lse}(z_t) - z_{t,k}) + \lambda\,\mathrm{lse}(z_t)^2,
              \qquad z = c \tanh(s\,(W h + b)/c)

    This one model is patched, not its class. Where it is given labels, the loss of its last hidden states h comes from
    :func:`sfumato.linear_cross_entropy` with the weight W and the bias b of its output layer; M is
    ``num_items_in_batch``, or the labels that count. ``outputs.logits`` is then None. Without labels the model is as it
    was, so it generates as before.

    While ``model.eval()`` is in force, the loss is the hard one: a smoothed loss on held-out rows is no log loss, and
    would choose another checkpoint. Call this after ``SFTTrainer`` is made, with ``trainer.model``.

    A gradient that comes to the model from elsewhere than this loss raises an error. ``label_smoothing_factor`` and
    ``compute_loss_func`` of Trainer take the labels away before the model sees them, and that would go unnoticed.

    Args:
        model: a causal model of transformers, or a PEFT model around one.
        label_smoothing: strength ε in [0, 1].
        over: where ε goes: ``"all"`` V classes, as in torch, or the V−1 ``"others"``.
        softcap: c; None for what the model's configuration says. The model's forward must have it too.
        logit_scale: s; None for what the model's configuration says. The model's forward must have it too.
        z_loss: λ, in training only.
        smooth_evaluation: whether evaluation mode has ε and λ too.
        evaluation_logits: whether evaluation mode gives the logits, all N×V of them, as ``compute_metrics`` and
            ``Trainer.predict`` need.

    Returns:
        A :class:`FusedHead`, whose ``remove()`` undoes all this; in a ``with`` statement the end of the block does.

    Raises:
        ValueError: a strength outside [0, 1]; a model whose loss is not that of a causal model, whose output layer is
            not a plain :class:`torch.nn.Linear` (quantised, sharded, or with an adapter of PEFT on it), or that is
            fused already. A model that does something else to its logits is refused by its first pass with labels.
        TypeError: what is no model of transformers.

    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> sizes = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=1000, **sizes))
    >>> fuse_head(model, label_smoothing=0.1)
    FusedHead(LlamaForCausalLM, label_smoothing=0.1 over="all", 1,000 classes, evaluation hard, without logits)

    See also :func:`compute_loss`, for models of every kind whose logits are small.
    """
    check_strength(label_smoothing)
    check_over(over)
    if not 0 <= z_loss < float("inf"):
        raise ArgumentError(f"z_loss must be at least 0 and finite, got {z_loss:g}")
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    _check_model(base)
    _checked_head(base)
    config = base.config.get_text_config()
    how = HeadLoss(
        float(label_smoothing),
        over,
        softcap=_softcap(config) if softcap is None else float(softcap),
        logit_scale=_logit_scale(config) if logit_scale is None else float(logit_scale),
        z_loss=float(z_loss),
        smooth_evaluation=smooth_evaluation,
        evaluation_logits=evaluation_logits,
    )
    if how.softcap is not None and not 0 < how.softcap < float("inf"):
        raise ArgumentError(f"softcap must be above 0 and finite, got {how.softcap:g}")
    return FusedHead(base, how)


def _check_model(model: Any) -> None:
    """Refuse what is not a causal model of transformers, or is fused already."""
    name = type(model).__name__
    if not isinstance(model, PreTrainedModel):
        raise TypeError(f"fuse_head takes a model of transformers, got {name}; of a wrapped one, give what is inside")
    if any(isinstance(each, FusedHead) and not each.removed for each in vars(model).values()):
        raise ArgumentError(f"this {name} is fused already: call remove() of what fuse_head gave the first time")
    loss: Any = model.loss_function
    if loss is not ForCausalLMLoss or model.config.is_encoder_decoder:
        raise ArgumentError(
            f"fuse_head knows the loss of causal models, and {name} has another ({getattr(loss, '__name__', loss)}). "
            "Use compute_loss with Trainer(compute_loss_func=…)"
        )
    own = inspect.unwrap(type(model).forward)
    if "loss_function" not in own.__code__.co_names:
        raise ArgumentError(
            f"the forward of {name} has a loss of its own in place of its loss_function. Use compute_loss with "
            "Trainer(compute_loss_func=…)"
        )


def _checked_head(model: Any) -> torch.nn.Linear:
    """The output layer, which must be a plain one with its whole weight in memory."""
    head, name = model.get_output_embeddings(), type(model).__name__
    if hasattr(head, "base_layer") or type(head).__module__.startswith("peft."):
        raise ArgumentError(
            f"the output layer of {name} has an adapter of PEFT ({type(head).__name__}), which the fused loss would "
            "not train. Leave the output layer out of target_modules and modules_to_save, and where it is tied to the "
            "embedding, leave out trainable_token_indices"
        )
    if type(head) is not torch.nn.Linear:
        raise ArgumentError(f"the output layer of {name} must be a torch.nn.Linear, got {type(head).__name__}")
    weight = head.weight
    whole = type(weight) in (Tensor, torch.nn.Parameter) and weight.shape == (head.out_features, head.in_features)
    if not whole or weight.device.type == "meta":
        raise ArgumentError(
            f"the weight of {name}'s output layer is not in memory as a whole: it is {type(weight).__name__} "
            f"{tuple(weight.shape)} on {weight.device}, sharded or offloaded. Leave this layer whole"
        )
    return head


def _softcap(config: Any) -> float | None:
    caps = (getattr(config, name, None) for name in _SOFTCAPS)
    return next((float(cap) for cap in caps if cap is not None), None)


def _logit_scale(config: Any) -> float:
    for scale in (getattr(config, name, None) for name in _SCALES):
        if scale is not None:
            return float(scale)
    scaling = getattr(config, "logits_scaling", None)
    if scaling is None:
        return 1.0
    return float(scaling) if config.model_type in _MULTIPLIES else 1 / float(scaling)


def _forward_like(own: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A forward with the signature of the model's own, which Trainer reads; the fused head is found by its name.

    It has no ``__wrapped__``, since those who take wrappers off would take this one off too.
    """
    signature = inspect.signature(own)
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [each.name for each in signature.parameters.values() if each.kind in plain][1:]

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(self, name).forward(names, *args, **kwargs)

    forward.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    forward.__doc__ = own.__doc__
    return forward


def _below_trl(forward: Callable[..., Any]) -> tuple[Callable[..., Any], bool]:
    """The forward below TRL's chunked loss, which calls no output layer, and whether that loss was there."""
    function = getattr(forward, "__func__", forward)
    if getattr(function, "__name__", "") != "_chunked_ce_forward":
        return forward, False
    return inspect.getclosurevars(function).nonlocals["original_forward"], True


def _without_logits(outputs: Any) -> Any:
    return type(outputs)(**{name: value for name, value in outputs.items() if name != "logits"})


def _rows_of(one: HeadPass, outputs: Any) -> FusedOutput:
    parts, valid = one.parts, one.valid
    assert parts is not None, "rows were asked for"
    assert parts.correct is not None, "there are labels"
    assert valid is not None, "it is set with the parts"
    return FusedOutput(
        loss=outputs.loss,
        log_probs=-parts.loss,
        entropy=parts.entropy,
        is_top1=parts.correct,
        label_mask=valid,
        aux_loss=getattr(outputs, "aux_loss", None),
        num_valid_tokens=valid.sum(),
        num_correct_tokens=parts.correct.sum(),
        entropy_sum=parts.entropy.sum(),
    )


def _refuse_gradient(grad: Tensor) -> None:
    raise RuntimeError(
        "this model's head is fused, and a gradient came to it past the fused loss. Either the model was given no "
        "labels (label_smoothing_factor and compute_loss_func of Trainer take them away), or SFTTrainer was made after "
        "fuse_head: call fuse_head(trainer.model) once the trainer is there. To train without the fused loss, call "
        "remove() of what fuse_head gave"
    )
