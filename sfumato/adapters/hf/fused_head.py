"""A causal model of transformers whose loss is computed from its last hidden states, without the logits.

The model's own forward runs as it is, so that routers, images and adapters stay what they are. In a pass with labels
its last layer is a stand-in, which keeps the layer's input and gives one row of known numbers, and its loss function is
ours. What the model does between the two is seen on the known row, so that nothing is trusted that was not looked at.
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

from sfumato.loss.linear import HeadParts, linear_cross_entropy
from sfumato.loss.reduce import checked_numbers
from sfumato.targets.checks import ArgumentError, check_over, check_strength
from sfumato.text import plural
from sfumato.theory import Over

_ROWS = "_fused_rows"  # an argument of forward: the numbers of each row are wanted, as TRL's SFTTrainer wants them
_SOFTCAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
_SCALES = ("logit_scale", "output_multiplier", "lm_head_multiplier")
_MULTIPLIES = ("hyperclovax", "hyperclovax_vl")  # their logits_scaling multiplies; everyone else's divides
_LARGEST = 50.0  # of the known row: past the bend of any soft cap
_count = itertools.count()


@dataclass(frozen=True)
class HeadLoss:
    """What a fused head computes: logits s·z, capped at c, and their loss, as the arguments of ``fuse_head`` say."""

    label_smoothing: float
    over: Over
    softcap: float | None
    logit_scale: float
    z_loss: float
    smooth_evaluation: bool
    evaluation_logits: bool


class HeadPass:
    """One forward pass; ``rows`` keeps the parts of each row, ``check`` looks at the known row (this syncs a GPU)."""

    def __init__(self, model: Any, head: torch.nn.Linear, how: HeadLoss, *, rows: bool, check: bool) -> None:
        self.model, self.head, self.how, self.rows, self.check = model, head, how, rows, check
        self.name = type(model).__name__
        self.keeps_logits = how.evaluation_logits and not model.training
        self.input: Tensor | None = None
        self.output = torch.empty(0)
        self.of_rows: dict[str, Tensor | None] = {}

    def stand_in(self, input: Tensor) -> Tensor:
        """In place of the last layer: its output where logits are kept, and one row of known numbers elsewhere."""
        if self.input is not None:
            raise ValueError(f"{self.name} calls its output layer twice in one pass, and fuse_head knows one call")
        self.input = input
        if self.keeps_logits:
            self.output = torch.nn.functional.linear(input, self.head.weight, self.head.bias)
        else:
            known = torch.linspace(-_LARGEST, _LARGEST, self.head.out_features, device=input.device)
            self.output = known.to(input.dtype).reshape(*(1 for _ in input.shape[:-1]), -1)
        return self.output

    def loss(
        self,
        logits: Tensor,
        labels: Tensor | None = None,
        vocab_size: int | None = None,
        num_items_in_batch: Tensor | int | None = None,
        ignore_index: int = -100,
        shift_labels: Tensor | None = None,
        **rest: Any,
    ) -> Tensor:
        """In place of the model's loss function, with the same arguments."""
        if self.input is None:
            raise ValueError(f"{self.name} computes its loss before it calls its output layer")
        if "label_smoothing" in rest:
            raise ValueError("label_smoothing is no argument of a fused model: give it to fuse_head")
        self._look_at(logits)
        labels = labels if shift_labels is None else shift_labels.view(self.input.shape[:-1])
        if labels is None:
            raise ValueError(f"{self.name} gives its loss neither labels nor shift_labels")
        labels, shift = labels.to(self.head.weight.device), shift_labels is None
        items = num_items_in_batch.to(labels.device) if isinstance(num_items_in_batch, Tensor) else num_items_in_batch
        how, x = self.how, self.input.to(labels.device)
        smoothed, scale = self.model.training or how.smooth_evaluation, how.logit_scale
        bias = dict(self.head.named_parameters(recurse=False)).get("bias")
        loss = linear_cross_entropy(
            x if scale == 1 else x * scale,
            self.head.weight,
            labels,
            linear_bias=bias if bias is None or scale == 1 else bias * scale,
            over=how.over,
            softcap=how.softcap,
            out_dtype=torch.promote_types(x.dtype, torch.float32),
            return_parts=self.rows,
            shift=shift,
            ignore_index=ignore_index,
            reduction="none" if self.rows else "mean",
            num_items=None if self.rows else items,
            label_smoothing=how.label_smoothing if smoothed else 0.0,
            z_loss=how.z_loss if smoothed else 0.0,
        )
        if isinstance(loss, HeadParts):
            parts, valid = loss, (labels[..., 1:] if shift else labels) != ignore_index
            self.of_rows = {
                "log_probs": -parts.loss,
                "entropy": parts.entropy,
                "is_top1": parts.correct,
                "label_mask": valid,
            }
            loss = parts.loss.sum() / (valid.sum().clamp(min=1) if items is None else items)
        self.own = loss.detach()
        if not self.keeps_logits:
            logits.fill_(torch.nan)  # so that whatever else the model computes of them is seen in its loss
        return loss

    def look_at_loss(self, loss: Tensor) -> None:
        """Refuse a model that adds to its loss what it computes of its logits."""
        if self.check and bool(loss.isnan().any() & ~self.own.isnan()):
            raise ValueError(
                f"{self.name} adds something to its loss that it computes of its logits, which fuse_head does not "
                "make: turn that off in its configuration, or train it without fuse_head"
            )

    def _look_at(self, logits: Tensor) -> None:
        """Refuse a model that does something else to its logits than the loss was told."""
        if logits.shape != self.output.shape:
            raise ValueError(
                f"{self.name} cuts or reshapes its logits before its loss ({tuple(self.output.shape)} became "
                f"{tuple(logits.shape)}), which fuse_head does not know: train it without fuse_head"
            )
        if not self.check or self.keeps_logits:
            return
        softcap, scale = self.how.softcap, self.how.logit_scale
        wanted = self.output.double() * scale
        wanted = wanted if softcap is None else softcap * torch.tanh(wanted / softcap)
        allowed = 8 * torch.finfo(self.output.dtype).eps * wanted.abs().max()
        if not bool(((logits.double() - wanted).abs() <= allowed).all()):
            cap = "no softcap" if softcap is None else f"softcap={softcap:g}"
            raise ValueError(
                f"{self.name} does something else to its logits than fuse_head read in its configuration ({cap}, "
                f"logit_scale={scale:g}). Give fuse_head the softcap= and logit_scale= of its forward, or train it "
                "without fuse_head"
            )


@dataclass
class FusedOutput(ModelOutput):
    """Numbers of rows (B, T−1), 0 where the label is ignored, which TRL's ``SFTTrainer`` reads in place of logits.

    ``log_probs`` is minus the loss of each row, whose negated sum is TRL's loss, and ``entropy`` is in nats.
    """

    loss: Tensor | None = None
    log_probs: Tensor | None = None
    entropy: Tensor | None = None
    is_top1: Tensor | None = None
    label_mask: Tensor | None = None
    aux_loss: Tensor | None = None
    logits: Tensor | None = None


class FusedHead:
    """What :func:`fuse_head` did to a causal ``model``; ``remove()``, or the end of a ``with`` block, undoes it.

    ``removed`` says whether that was done.
    """

    def __init__(self, model: Any, how: HeadLoss) -> None:
        self.model, self.how = model, how
        self.inner = model.forward
        self._before = vars(model).get("forward")
        self._name = f"_fused_head_{next(_count)}"
        self.removed = self._running = self._looked = False
        self._forward = types.MethodType(_forward_like(type(model).forward, self._name), model)
        model.forward = self._forward
        setattr(model, self._name, self)
        self._hooks = [model.register_forward_pre_hook(self._ask_for_rows, with_kwargs=True)]
        if model.base_model is not model:
            self._hooks.append(model.base_model.register_forward_hook(self._guard))

    def remove(self) -> None:
        """Give the model back its own forward; a second call does nothing."""
        if self.removed:
            return
        self.removed = True
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
        if self.removed:
            return f"FusedHead({name}, removed)"
        unset = {"softcap": None, "logit_scale": 1, "z_loss": 0}
        shown = [f"{each}={getattr(how, each):g}" for each, value in unset.items() if getattr(how, each) != value]
        evaluation = "smoothed" if how.smooth_evaluation else "hard"
        parts = [
            f'label_smoothing={how.label_smoothing:g} over="{how.over}"',
            plural(self.model.get_output_embeddings().out_features, "class"),
            *shown,
            f"evaluation {evaluation}, {'with' if how.evaluation_logits else 'without'} logits",
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

    def forward(self, names: list[str], *args: Any, **kwargs: Any) -> Any:
        """The model's forward; ``names`` are those of its parameters, in order."""
        rows = bool(kwargs.pop(_ROWS, False))  # both are taken out, whatever they hold
        rows = bool(kwargs.pop("fused_lm_head", False)) or rows
        kwargs = dict(zip(names, args, strict=False)) | kwargs
        if rows and kwargs.get("labels") is None:
            kwargs["labels"] = kwargs.get("shift_labels")
        if self.removed or kwargs.get("labels") is None:
            return self.inner(**kwargs)
        as_tuple = (kwargs.pop("return_dict", None) is False) or not self.model.config.return_dict
        one = HeadPass(self.model, _checked_head(self.model), self.how, rows=rows, check=not self._looked)
        outputs = self._run(one, kwargs | {"return_dict": True})
        one.look_at_loss(outputs.loss)
        self._looked = self._looked or not one.keeps_logits
        if rows:
            outputs = FusedOutput(outputs.loss, aux_loss=getattr(outputs, "aux_loss", None), **one.of_rows)
        elif not one.keeps_logits:
            outputs = type(outputs)(**{name: value for name, value in outputs.items() if name != "logits"})
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
    r"""Let a causal model compute its loss, smoothed or not, without its logits, in any trainer; a :class:`FusedHead`.

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

    ``model`` may be a PEFT model around a causal one. ``label_smoothing`` is ε in [0, 1], and ``over`` where it goes:
    ``"all"`` V classes, as in torch, or the V−1 ``"others"``. c (``softcap``) and s (``logit_scale``) are those of the
    model's configuration unless given; its forward must have them too. λ (``z_loss``) is for training only, unless
    ``smooth_evaluation`` gives evaluation mode ε and λ. ``evaluation_logits`` gives it all N×V logits, as
    ``compute_metrics`` and ``Trainer.predict`` need.

    ValueError: a strength outside [0, 1]; a model whose loss is not that of a causal model, whose output layer is not a
    plain :class:`torch.nn.Linear` (quantised, sharded, or with an adapter of PEFT on it), or that is fused already. A
    model that does something else to its logits is refused by its first pass with labels. TypeError: what is no model
    of transformers.

    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> sizes = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=1000, **sizes))
    >>> fuse_head(model, label_smoothing=0.1)
    FusedHead(LlamaForCausalLM, label_smoothing=0.1 over="all", 1,000 classes, evaluation hard, without logits)

    See also :func:`compute_loss`, for models of every kind whose logits are small.
    """
    check_strength(label_smoothing)
    check_over(over)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    _check_model(base)
    _checked_head(base)
    config = base.config.get_text_config()
    how = HeadLoss(
        float(label_smoothing),
        over,
        softcap=_first(config, _SOFTCAPS) if softcap is None else float(softcap),
        logit_scale=_logit_scale(config) if logit_scale is None else float(logit_scale),
        z_loss=float(z_loss),
        smooth_evaluation=smooth_evaluation,
        evaluation_logits=evaluation_logits,
    )
    checked_numbers(how.softcap, how.z_loss)
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


def _first(config: Any, names: tuple[str, ...]) -> float | None:
    values = (getattr(config, name, None) for name in names)
    return next((float(value) for value in values if value is not None), None)


def _logit_scale(config: Any) -> float:
    scale, divisor = _first(config, _SCALES), _first(config, ("logits_scaling",))
    if scale is not None or divisor is None:
        return 1.0 if scale is None else scale
    return divisor if config.model_type in _MULTIPLIES else 1 / divisor


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


def _refuse_gradient(grad: Tensor) -> None:
    raise RuntimeError(
        "this model's head is fused, and a gradient came to it past the fused loss. Either the model was given no "
        "labels (label_smoothing_factor and compute_loss_func of Trainer take them away), or SFTTrainer was made after "
        "fuse_head: call fuse_head(trainer.model) once the trainer is there. To train without the fused loss, call "
        "remove() of what fuse_head gave"
    )
