"""Which model a comparison trains, on which device: chosen, and tried, before anything is written."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sfumato.lab.arms import parse_arm
from sfumato.lab.errors import OptionError
from sfumato.lab.options import OWN_MODELS, Options
from sfumato.messages import Note
from sfumato.text import did_you_mean

if TYPE_CHECKING:
    from sfumato.lab.data import Data, Inputs

_DEVICES = ("cpu", "cuda", "mps")


@dataclass(frozen=True)
class ChosenModel:
    """The model that trains."""

    name: str  # as of --model
    least_epochs: int  # of a full budget; fewer for a model whose epochs take long
    batch_norm: bool  # whether the model normalises over the batch, and so cannot train on a batch of one row
    workers: int  # processes, unless --workers says how many
    notes: tuple[Note, ...]  # what a reader should know of the model and the device


def choose_model(options: Options, data: Data) -> ChosenModel:
    """Choose the model, and refuse a device that is not there. A model from elsewhere is built once and tried."""
    inputs = data.inputs
    large = inputs.kind == "image" and min(inputs.shape[:2]) >= 16
    name = options.model or ("cnn" if large else "mlp")
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
    least = 40 if name in OWN_MODELS and name != "cnn" else 15
    return ChosenModel(name, least, normalises_over_the_batch(model), workers, notes + model.notes)


def refuse_augmentation(kinds: str, inputs: Inputs) -> None:
    """Refuse to flip or shift what is not an image."""
    from sfumato.lab.models.built_in import channel_axis

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


def check_device(name: str) -> None:
    """Refuse a device that torch cannot use here."""
    if name == "cpu":
        return
    kind, _, number = name.partition(":")
    if kind not in _DEVICES or (number and not number.isdecimal()):
        raise OptionError(f'no device "{name}".{did_you_mean(kind, _DEVICES)} Devices: cpu, cuda, cuda:1, mps')
    import torch

    if kind == "cuda":
        count, maker = torch.cuda.device_count() if torch.cuda.is_available() else 0, "CUDA"
    else:
        count, maker = int(kind == "cpu" or torch.backends.mps.is_available()), "Apple"
    if count == 0:
        raise OptionError(
            f"--device {name} was asked for, but torch {torch.__version__} sees no {maker} GPU; leave --device out to "
            "train on the CPU"
        )
    if kind == "cuda" and int(number or 0) >= count:
        raise OptionError(f"--device {name} was asked for, but the last GPU here is cuda:{count - 1}")


@contextlib.contextmanager
def one_thread() -> Generator[None]:
    """Let torch take one thread, as each process that trains does: another number gives other last digits."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
