"""Models: built in, from a library, or the user's own, each as a body that makes features and a head that makes logits.

Nothing is downloaded: weights are drawn from the seed, or come from a file of safetensors or of PyTorch, which is read
without running code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sfumato.lab.data.table import Inputs
from sfumato.lab.errors import OptionError, first_line
from sfumato.lab.models.built_in import cnn, stack
from sfumato.lab.models.classifier import Classifier, features_and_logits, logits_of, weights_hash
from sfumato.lab.models.outside import build_outside
from sfumato.messages import Note
from sfumato.text import did_you_mean, listing, plural

__all__ = [
    "Classifier",
    "build",
    "features_and_logits",
    "logits_of",
    "normalises_over_the_batch",
    "stack",
    "weights_hash",
]

_HIDDEN = {"mlp": [256, 256], "linear": []}  # the widths of the layers before the last
_ENDINGS = (".safetensors", ".pt", ".pth", ".bin")
_WRAPPINGS = ("state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema")
_PREFIXES = ("module.", "_orig_mod.", "model.")


def build(name: str, inputs: Inputs | int, classes: int, *, seed: int, pretrained: str | None = None) -> Classifier:
    """A model with weights drawn from ``seed`` alone; the caller's random state is left as it was."""
    if isinstance(inputs, int):
        inputs = Inputs.dense(inputs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if ":" in name:
            model = build_outside(name, inputs, classes)
        elif inputs.kind == "tokens":
            raise OptionError(f"--model {name} cannot read tokens")
        elif name == "cnn":
            model = cnn(inputs, classes)
        else:
            model = stack([inputs.width, *_HIDDEN[name]], classes, inputs=inputs)
    if pretrained is not None:
        model.notes += (_load_pretrained(model, pretrained),)
    return model


def normalises_over_the_batch(model: nn.Module) -> bool:
    """Whether a batch of one row cannot be trained on."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())  # pyright: ignore[reportPrivateUsage]


def _load_pretrained(model: Classifier, path: str) -> Note:
    """Put the weights of a file into a model; those that it lacks, or has in another shape, stay as they were drawn."""
    stored = _plain(_read(path))
    own = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("prepare.")}
    names = {name: model.names.get(name, name) for name in own}
    taken: dict[str, Tensor] = {}
    other_shape: list[str] = []
    for name, tensor in own.items():
        weight = stored.get(name, stored.get(names[name]))
        if weight is not None and weight.shape != tensor.shape:
            other_shape.append(f"{names[name]} {tuple(weight.shape)}")
        elif weight is not None:
            taken[name] = weight.to(tensor.dtype)
    body = [name for name in own if name.startswith("body.")]
    fitting = sum(name in taken for name in body)
    if 2 * fitting < len(body) or (not body and not taken):
        shown = listing(sorted(names[name] for name in body)[:3])
        raise OptionError(
            f"{path} does not fit the model: {fitting} of its {len(body)} weights are there (the model has {shown}; "
            f"the file {listing(sorted(stored)[:3]) or 'none'})"
        )
    model.load_state_dict(taken, strict=False)
    drawn = [names[name] for name in own if name not in taken]
    left = f"; drawn from the seed: {listing(drawn, 4)}" if drawn else ""
    odd = f" (of another shape in the file: {listing(other_shape, 4)})" if other_shape else ""
    text = f"Pretrained weights from {Path(path).name}: {plural(len(taken), 'tensor')}{left}{odd}."
    return Note(code="pretrained", text=text)


def _read(path: str) -> Any:
    file = Path(path)
    if not file.is_file():
        folder = file.parent if file.parent.is_dir() else Path()
        near = [other.name for other in folder.iterdir() if other.suffix in _ENDINGS]
        raise OptionError(f'no file "{path}" for --pretrained.{did_you_mean(file.name, near)}')
    if file.suffix not in _ENDINGS:
        raise OptionError(f"{path}: weights are read from .safetensors, or from .pt with a state dict")
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises a dozen kinds
        reason = first_line(error)
        if "weights only" in reason.lower():  # what follows is advice to load it all the same
            reason = "it is no file of PyTorch, or a damaged one"
        if "GLOBAL" in str(error):
            raise OptionError(
                f"{path} holds more than weights, which is not read because it can run code; save model.state_dict()"
            ) from error
        raise OptionError(f"{path} cannot be read as weights: {reason}") from error


def _plain(value: Any) -> dict[str, Tensor]:
    """Tensors by name, without the usual wrappings and prefixes."""
    for key in _WRAPPINGS:
        if isinstance(value, dict) and isinstance(value.get(key), dict):
            value = value[key]
            break
    tensors = {str(k): v for k, v in value.items() if isinstance(v, Tensor)} if isinstance(value, dict) else {}
    for prefix in _PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors
