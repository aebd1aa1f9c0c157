"""From the name of a model to a model with weights drawn from a seed."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import nn

from sfumato.lab.data.inputs import Inputs
from sfumato.lab.model_names import OWN
from sfumato.lab.models.base import Classifier, Flat, Picture, Pixels, SparseLinear, channel_axis
from sfumato.lab.options import OptionError

_HIDDEN = 256
_CHANNELS = (32, 64, 128)
_LARGE = 48
"""Pictures whose shorter side is beyond this are halved by the first convolution."""


def build(name: str, inputs: Inputs | int, classes: int, *, seed: int, pretrained: str | None = None) -> Classifier:
    """A model with weights drawn from ``seed`` alone; the caller's random state is left as it was.

    Args:
        name: ``"mlp"`` (two hidden layers of 256, ReLU), ``"linear"``, ``"cnn"`` (three convolutions), or one from
            elsewhere: ``"torchvision:NAME"``, ``"timm:NAME"``, ``"hf:FOLDER"``, ``"module:callable"``.
        inputs: what a row looks like; a whole number for that many dense features.
        classes: K.
        seed: of the initial weights.
        pretrained: a file of weights to start from.

    Raises:
        OptionError: a model that does not fit the data, is not there, or is no model.

    >>> build("mlp", 64, 10, seed=0).description
    '64-256-256-10, ReLU'
    """
    if isinstance(inputs, int):
        inputs = Inputs.dense(inputs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name not in OWN:
            from sfumato.lab.models.outside import build_outside

            model = build_outside(name, inputs, classes)
        elif inputs.kind == "tokens":
            raise OptionError(f"--model {name} cannot read tokens")
        else:
            own: dict[str, Callable[[Inputs, int], Classifier]] = {"mlp": _mlp, "linear": _linear, "cnn": _cnn}
            model = own[name](inputs, classes)
    if pretrained is not None:
        from sfumato.lab.models.pretrained import load_pretrained

        model.notes += load_pretrained(model, pretrained)
    return model


def normalises_over_the_batch(model: nn.Module) -> bool:
    """Whether a batch of one row cannot be trained on.

    >>> normalises_over_the_batch(build("mlp", 4, 2, seed=0))
    False
    """
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())  # pyright: ignore[reportPrivateUsage]


def _mlp(inputs: Inputs, classes: int) -> Classifier:
    return stack([inputs.width, _HIDDEN, _HIDDEN], classes, inputs=inputs)


def _linear(inputs: Inputs, classes: int) -> Classifier:
    return stack([inputs.width], classes, inputs=inputs)


def stack(widths: list[int], classes: int, *, inputs: Inputs | None = None) -> Classifier:
    """Linear layers of these widths with ReLU between them, and a head for K classes; weights from torch's own state.

    >>> stack([6, 64, 64], 3).description
    '6-64-64-3, ReLU'
    """
    inputs = inputs or Inputs.dense(widths[0])

    def layer(number: int, a: int, b: int) -> nn.Module:
        return SparseLinear(a, b) if number == 0 and inputs.kind == "sparse" else nn.Linear(a, b)

    made = [layer(number, a, b) for number, (a, b) in enumerate(itertools.pairwise([*widths, classes]))]
    body = nn.Sequential(*itertools.chain.from_iterable((each, nn.ReLU()) for each in made[:-1]))
    told = "-".join(str(width) for width in [*widths, classes]) + (", ReLU" if len(made) > 1 else "")
    return Classifier(body, made[-1], told, prepare=Flat(inputs) if inputs.kind == "image" else None)


def _cnn(inputs: Inputs, classes: int) -> Classifier:
    prepare, height, width, channels = as_picture(inputs, "cnn")
    layers: list[nn.Module] = []
    stride = 2 if min(height, width) > _LARGE else 1
    for number, (a, b) in enumerate(itertools.pairwise([channels, *_CHANNELS])):
        # The maximum first: normalising and rectifying a quarter of the values takes half of the time.
        layers += [
            nn.Conv2d(a, b, 3, stride=stride if number == 0 else 1, padding=1, bias=False),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.BatchNorm2d(b),
            nn.ReLU(),
        ]
    body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    body = body.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  # its stub lacks this form
    told = (
        f"{height}×{width}×{channels}, convolutions 3×3 of {', '.join(map(str, _CHANNELS))}, each with maximum over "
        f"2×2, batch norm and ReLU; mean; {_CHANNELS[-1]}-{classes}"
    )
    note = "Images are trained on as they are: no crops, flips or other augmentation."
    return Classifier(body, nn.Linear(_CHANNELS[-1], classes), told, prepare=prepare, notes=(note,))


def as_picture(
    inputs: Inputs, name: str, *, channels: int | None = None, size: tuple[int, int] | None = None
) -> tuple[nn.Module, int, int, int]:
    """What turns rows into pictures (n, C, H, W), with H, W and C.

    Raises:
        OptionError: the rows are no pictures.
    """
    if inputs.kind == "image":
        height, width, own = inputs.shape
        return Pixels(inputs, channels=channels, size=size), height, width, channels or own
    shape = inputs.picture
    if inputs.kind == "dense" and len(shape) == 2:
        return Picture(inputs, channels=channels, size=size), *shape, channels or 1
    if inputs.kind == "dense" and len(shape) == 3 and (axis := channel_axis(shape)) is not None:
        own, height, width = (shape[0], *shape[1:]) if axis == 0 else (shape[2], *shape[:2])
        return Picture(inputs, channels=channels, size=size), height, width, channels or own
    raise OptionError(
        f"--model {name} takes pictures, but these data are {inputs.told()}; use --model mlp or --model linear"
    )
