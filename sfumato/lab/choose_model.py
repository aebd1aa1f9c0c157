"""Which model a comparison trains, chosen before anything is written.

A model from elsewhere is built once here and tried on rows of the right form.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sfumato.lab.arms import parse_arm
from sfumato.lab.device import check_device
from sfumato.lab.errors import OptionError
from sfumato.lab.model_names import OWN, default_model
from sfumato.lab.options import Options
from sfumato.messages import Note

if TYPE_CHECKING:
    from sfumato.lab.data import Data, Inputs


@dataclass(frozen=True)
class ChosenModel:
    """The model that trains."""

    name: str  # as of --model
    least_epochs: int  # of a full budget; fewer for a model whose epochs take long
    batch_norm: bool  # whether the model normalises over the batch, and so cannot train on a batch of one row
    workers: int  # processes, unless --workers says how many
    notes: tuple[Note, ...]  # what a reader should know of the model and the device


def choose_model(options: Options, data: Data) -> ChosenModel:
    """Choose the model, and refuse a device that is not there.

    >>> from sfumato.lab.data import prepare
    >>> chosen = choose_model(Options("digits"), prepare("digits"))
    >>> chosen.name, chosen.least_epochs
    ('mlp', 40)
    """
    inputs = data.inputs
    name = options.model or default_model(inputs.kind, inputs.shape)
    refuse_arms(options.arms() if options.arm else [], data, name)
    if options.augment is not None:
        refuse_augmentation(options.augment, data.inputs)
    check_device(options.device)
    workers = os.cpu_count() or 1
    notes: tuple[Note, ...] = ()
    if options.device != "cpu":
        workers = min(4, workers)  # each has the data on the GPU
        text = f"Trained on {options.device}: bits may differ from run to run."
        notes += (Note(code="device", text=text),)
    if name in ("mlp", "linear") and options.pretrained is None:
        return ChosenModel(name, 15 if inputs.kind == "sparse" else 40, False, workers, notes)

    from sfumato.lab.models import build, normalises_over_the_batch

    model = build(name, inputs, len(data.table.class_names), seed=0, pretrained=options.pretrained)
    if name == "cnn" and options.augment is None:
        text = "Images are trained on as they are: no crops, flips or other augmentation (--augment)."
        notes += (Note(code="no-augmentation", text=text),)
    least = 40 if name in OWN and name != "cnn" else 15
    return ChosenModel(name, least, normalises_over_the_batch(model), workers, notes + model.notes)


def refuse_augmentation(kinds: str, inputs: Inputs) -> None:
    """Refuse to flip or shift what is no picture."""
    from sfumato.lab.models.pictures import channel_axis

    shape = inputs.shape if inputs.kind == "image" else inputs.picture
    if len(shape) not in (2, 3) or (len(shape) == 3 and inputs.kind == "dense" and channel_axis(shape) is None):
        raise OptionError(f"--augment {kinds} changes pictures, but these data are {inputs.describe()}; leave it out")


def refuse_arms(arms: Sequence[str], data: Data, model: str) -> None:
    """Refuse arms that these data, or this model, cannot have."""
    pictures = model not in ("mlp", "linear") and bool(data.inputs.kind == "image" or data.inputs.picture)
    for arm in arms:
        needs = parse_arm(arm).kind.needs
        if needs == "soft labels" and data.table.soft is None:
            raise OptionError(
                f"--arm {arm} needs soft labels: --label-probs names columns of probabilities, and an npz has y (N, K)"
            )
        if needs in ("rows that can be mixed", "pictures") and data.inputs.kind in ("sparse", "tokens"):
            raise OptionError(f"--arm {arm} mixes rows of numbers or pictures; texts cannot be mixed")
        if needs == "pictures" and not pictures:
            raise OptionError(
                f"--arm {arm} pastes pieces of pictures: it needs pictures, and a model of them such as cnn"
            )
