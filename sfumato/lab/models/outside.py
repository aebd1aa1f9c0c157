"""Models from elsewhere: torchvision, timm, transformers, or a function of the user's own.

Each model is taken apart into a body and its last linear layer, whose input is the features. Both are tried on two rows
of zeros. If they give other logits than the whole model, the model stays whole and its logits stand for its features.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sfumato.lab.data.python_objects import find_callable, said
from sfumato.lab.data.table import DataError, Inputs
from sfumato.lab.errors import OptionError
from sfumato.lab.models.built_in import Flat, Spread, as_picture
from sfumato.lab.models.classifier import Classifier
from sfumato.messages import Note
from sfumato.text import did_you_mean

_DEFAULT_SIDE = 224


def build_outside(name: str, inputs: Inputs, classes: int) -> Classifier:
    """A model by its full name, ``"timm:resnet18"`` or ``"my.models:make"``."""
    prefix, _, rest = name.partition(":")
    if prefix == "hf":
        return _hf(name, rest, inputs, classes)
    if prefix not in ("torchvision", "timm"):
        return _callable(name, inputs, classes)
    channels = as_picture(inputs, name)[3]
    net, channels, side = (_torchvision if prefix == "torchvision" else _timm)(rest, channels, classes)
    return _fit_size(name, net, inputs, classes, channels, side)


def _torchvision(rest: str, channels: int, classes: int) -> tuple[nn.Module, int, int]:
    models: Any = importlib.import_module("torchvision.models")
    names: list[str] = models.list_models(module=models)
    if rest not in names:
        raise OptionError(f'torchvision has no classifier "{rest}".{did_you_mean(rest, names)}')
    return models.get_model(rest, weights=None, num_classes=classes), 3, _DEFAULT_SIDE


def _timm(rest: str, channels: int, classes: int) -> tuple[nn.Module, int, int]:
    timm: Any = importlib.import_module("timm")
    if not timm.is_model(rest):
        raise OptionError(f'timm has no model "{rest}".{did_you_mean(rest, timm.list_models())}')
    net = timm.create_model(rest, pretrained=False, num_classes=classes, in_chans=channels)
    return net, channels, int(net.default_cfg.get("input_size", (_DEFAULT_SIDE,))[-1])


def _fit_size(name: str, net: nn.Module, inputs: Inputs, classes: int, channels: int, side: int) -> Classifier:
    """The model for pictures of their own size if it can take that size, else of the size that it was made for."""
    prepare, height, width, _ = as_picture(inputs, name, channels=channels)
    try:
        return _taken_apart(name, net, prepare, inputs, classes, f"{name} at {height}×{width}")
    except OptionError as first:
        if (height, width) == (side, side):
            raise
        prepare = as_picture(inputs, name, channels=channels, size=(side, side))[0]
        try:
            model = _taken_apart(name, net, prepare, inputs, classes, f"{name} at {side}×{side}")
        except OptionError:
            raise first from None
        text = f"{name} cannot take images of {height} × {width}: they are scaled to {side} × {side}."
        model.notes += (Note(code="images-scaled-to-model", text=text),)
        return model


class _Logits(nn.Module):
    """A model of transformers, called with tokens or pictures, which gives its logits (n, K)."""

    def __init__(self, net: nn.Module, *, text: bool) -> None:
        super().__init__()
        self.net, self.text = net, text

    def forward(self, x: Tensor) -> Tensor:
        if not self.text:
            return self.net(pixel_values=x).logits
        present = x > 0
        longest = max(1, int(present.sum(1).max()))  # rows are filled up at the end
        x, present = x[:, :longest], present[:, :longest]
        padding = getattr(self.net.config, "pad_token_id", None) or 0
        ids = torch.where(present, x - 1, torch.as_tensor(padding, device=x.device))
        return self.net(input_ids=ids, attention_mask=present.long()).logits


def _hf(name: str, folder: str, inputs: Inputs, classes: int) -> Classifier:
    transformers: Any = importlib.import_module("transformers")
    transformers.logging.set_verbosity_error()
    of_text = inputs.kind == "tokens"
    if not of_text:
        as_picture(inputs, name)
    kind = "AutoModelForSequenceClassification" if of_text else "AutoModelForImageClassification"
    factory = getattr(transformers, kind)
    try:
        config = transformers.AutoConfig.from_pretrained(folder, num_labels=classes, local_files_only=True)
        if any(path.suffix in (".safetensors", ".bin") for path in Path(folder).iterdir()):
            net = factory.from_pretrained(folder, config=config, local_files_only=True, ignore_mismatched_sizes=True)
            text = f"{name} starts from the weights in its folder; a last layer for other classes is drawn anew."
            note = Note(code="model-weights", text=text)
        else:
            net = factory.from_config(config)
            note = Note(
                code="model-without-weights", text=f"{name} has no weights in its folder: they are drawn from the seed."
            )
    except Exception as error:  # the library raises a dozen kinds
        raise OptionError(f"--model {name} cannot be loaded as {kind}: {said(error)}") from error
    if of_text:
        model = _taken_apart(name, _Logits(net, text=True), nn.Identity(), inputs, classes, name)
    else:
        side = getattr(config, "image_size", _DEFAULT_SIDE)
        side = side if isinstance(side, int) else side[0]
        channels = int(getattr(config, "num_channels", 3))
        model = _fit_size(name, _Logits(net, text=False), inputs, classes, channels, side)
    model.notes += (note,)
    return model


def _callable(name: str, inputs: Inputs, classes: int) -> Classifier:
    """A user's model: called with the shape of a row and K, with K alone, or with nothing, as its parameters say."""
    if inputs.kind == "tokens":
        raise OptionError(f"--model {name} cannot read tokens")
    try:
        make = find_callable(name)
    except DataError as error:
        raise OptionError(str(error)) from error
    pictures = inputs.kind == "image" or len(inputs.picture) in (2, 3)
    prepare, shape = Spread(inputs) if inputs.kind == "sparse" else nn.Identity(), (inputs.width,)
    if pictures:
        prepare, *size, channels = as_picture(inputs, name)
        shape = (channels, *size)
    try:
        net = make(*(shape, classes)[2 - _wanted(make) :])
    except Exception as error:
        raise OptionError(f"{name} raised {said(error)}; it is called with {shape} and {classes} classes") from error
    if not isinstance(net, nn.Module):
        raise OptionError(
            f"{name} returned {type(net).__name__}, not a torch.nn.Module; it is called as "
            f"{name.partition(':')[2]}({shape}, {classes}) and must return a model with {classes} logits a row"
        )
    try:
        return _taken_apart(name, net, prepare, inputs, classes, name)
    except OptionError:
        if not pictures:
            raise
    return _taken_apart(name, net, Flat(inputs) if inputs.kind == "image" else nn.Identity(), inputs, classes, name)


def _wanted(make: Any) -> int:
    """How many of (shape, K) a callable asks for: its parameters without a default, at most 2."""
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):
        return 2
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return min(2, sum(p.default is p.empty for p in positional))


def _taken_apart(
    name: str, net: nn.Module, prepare: nn.Module, inputs: Inputs, classes: int, description: str
) -> Classifier:
    """Body and head, tried on two rows of zeros."""
    rows = torch.zeros(2, *inputs.shape, dtype={"image": torch.uint8, "tokens": torch.int64}.get(inputs.kind))
    if inputs.kind == "tokens":
        rows[:, 0] = 1
    last: list[str] = []
    hooks = [
        module.register_forward_hook(lambda module, args, out, own=own: last.append(own))
        for own, module in net.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == classes and own
    ]
    try:
        logits = _tried(name, lambda: net(prepare(rows)), net, prepare)
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(logits, Tensor) or logits.shape != (2, classes):
        form = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"type {type(logits).__name__}"
        raise OptionError(
            f"--model {name} gives output of {form} for 2 rows and {classes} classes; expected a tensor of shape "
            f"{(2, classes)}, the logits"
        )
    names = {id(tensor): own for own, tensor in net.state_dict(keep_vars=True).items()}  # when it was whole
    description = f"{description}, {sum(p.numel() for p in net.parameters()):,} parameters"
    note = f"{name} does not end in a linear layer: its logits stand for its features."
    head, notes = nn.Identity(), (Note(code="logits-as-features", text=note),)
    if last:
        linear = net.get_submodule(last[-1])
        parent, _, own = last[-1].rpartition(".")
        setattr(net.get_submodule(parent), own, nn.Identity())
        try:
            features = _tried(name, lambda: net(prepare(rows)), net, prepare)
            if features.dim() == 2 and torch.equal(linear(features), logits):
                head, notes = linear, ()
        except (OptionError, RuntimeError, AttributeError):
            pass
        if head is not linear:
            setattr(net.get_submodule(parent), own, linear)
    model = Classifier(net, head, description, prepare=prepare, notes=notes)
    for own, tensor in model.state_dict(keep_vars=True).items():
        model.names[own] = names.get(id(tensor), own)
    return model


def _tried(name: str, call: Callable[[], Any], *modules: nn.Module) -> Any:
    """The result for rows of zeros, in evaluation mode and without gradients."""
    for module in modules:
        module.eval()
    try:
        with torch.no_grad():
            return call()
    except Exception as error:
        raise OptionError(f"--model {name} fails on these data: {said(error)}") from error
