"""Weights from a file on disk: safetensors, or a PyTorch file read without running code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sfumato.lab.errors import OptionError, first_line
from sfumato.messages import Note
from sfumato.text import did_you_mean, listing, plural

if TYPE_CHECKING:
    from sfumato.lab.models.classifier import Classifier

_ENDINGS = (".safetensors", ".pt", ".pth", ".bin")
_WRAPPINGS = ("state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema")
_PREFIXES = ("module.", "_orig_mod.", "model.")


def load_pretrained(model: Classifier, path: str) -> tuple[Note, ...]:
    """Put the weights of a file into a model, and say in a sentence what was loaded and what was not.

    Weights that the file lacks, or has in another shape, stay as they were drawn. The file is ``.safetensors``, or
    ``.pt`` with a state dict, bare or under a usual key.
    """
    found = _plain(_read(path))
    own = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("prepare.")}
    names = {name: model.names.get(name, name) for name in own}
    taken: dict[str, Tensor] = {}
    other_shape: list[str] = []
    for name, tensor in own.items():
        given = found.get(name, found.get(names[name]))
        if given is not None and given.shape != tensor.shape:
            other_shape.append(f"{names[name]} {tuple(given.shape)}")
        elif given is not None:
            taken[name] = given.to(tensor.dtype)
    body = [name for name in own if name.startswith("body.")]
    fitting = sum(name in taken for name in body)
    if 2 * fitting < len(body) or (not body and not taken):
        shown = listing(sorted(names[name] for name in body)[:3])
        raise OptionError(
            f"{path} does not fit the model: {fitting} of its {len(body)} weights are there (the model has {shown}; "
            f"the file {listing(sorted(found)[:3]) or 'none'})"
        )
    model.load_state_dict(taken, strict=False)
    drawn = [names[name] for name in own if name not in taken]
    left = f"; drawn from the seed: {listing(drawn, 4)}" if drawn else ""
    odd = f" (of another shape in the file: {listing(other_shape, 4)})" if other_shape else ""
    text = f"Pretrained weights from {Path(path).name}: {plural(len(taken), 'tensor')}{left}{odd}."
    return (Note(code="pretrained", text=text),)


def _read(path: str) -> Any:
    file = Path(path)
    if not file.is_file():
        folder = file.parent if file.parent.is_dir() else Path()
        near = [each.name for each in folder.iterdir() if each.suffix in _ENDINGS]
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
