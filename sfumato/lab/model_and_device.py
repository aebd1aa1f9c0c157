"""The model and the device of a comparison, settled before anything is written.

A model from elsewhere is tried once, on rows of the right form.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sfumato.lab.data.table import did_you_mean
from sfumato.lab.model_names import OWN, default_model
from sfumato.lab.options import OptionError, Options

if TYPE_CHECKING:
    from sfumato.lab.data import Data
    from sfumato.lab.train.loop import Plan

_DEVICES = ("cpu", "cuda", "mps")


@dataclass(frozen=True)
class Choice:
    """What trains.

    Attributes:
        model: its name.
        least_epochs: passes that a full budget has at least; fewer where one is dear.
        batch_norm: whether a batch of one row cannot be trained on.
        workers: processes unless the number is given.
        notes: what a reader should know of it.
    """

    model: str
    least_epochs: int
    batch_norm: bool
    workers: int
    notes: tuple[str, ...]

    def fit(self, plan: Plan, options: Options, rows: int) -> Plan:
        """The plan, with batches of which none has a single row where the model cannot train on that.

        Raises:
            OptionError: the batch size that was asked for leaves one row.
        """
        if not self.batch_norm or rows % plan.batch_size != 1:
            return plan
        size = plan.batch_size - 1
        if options.batch_size is not None:
            raise OptionError(
                f"--batch-size {plan.batch_size} leaves a last batch of one of the {rows:,} training rows, and "
                f"{self.model} normalises over the batch; {max(2, size)} leaves none"
            )
        return replace(plan, batch_size=size)


def choose(options: Options, data: Data) -> Choice:
    """Settle model and device; a model from elsewhere is built once, so that it fails here or not at all.

    Args:
        options: checked.
        data: prepared.

    Raises:
        OptionError: no such device; a model that is not there, does not fit the data, or is none.

    >>> from sfumato.lab.data import prepare
    >>> chosen = choose(Options("digits"), prepare("digits"))
    >>> chosen.model, chosen.least_epochs
    ('mlp', 40)
    """
    inputs = data.inputs
    name = options.model or default_model(inputs.kind, inputs.shape)
    refuse_arms(options.arms() if options.arm else [], data, name)
    check_device(options.device)
    workers = os.cpu_count() or 1
    notes: tuple[str, ...] = ()
    if options.device != "cpu":
        workers = min(4, workers)  # each has the data on the GPU
        notes += (f"Trained on {options.device}: bits may differ from run to run.",)
    if name in ("mlp", "linear") and options.pretrained is None:
        return Choice(name, 15 if inputs.kind == "sparse" else 40, False, workers, notes)

    from sfumato.lab.models import build, normalises_over_the_batch

    model = build(name, inputs, len(data.table.class_names), seed=0, pretrained=options.pretrained)
    least = 40 if name in OWN and name != "cnn" else 15
    return Choice(name, least, normalises_over_the_batch(model), workers, notes + model.notes)


def refuse_arms(arms: Sequence[str], data: Data, model: str) -> None:
    """Refuse arms that these data, or this model, cannot have.

    Raises:
        OptionError: it says why.
    """
    for arm in arms:
        kind = arm.partition(":")[0]
        if kind == "soft" and data.table.soft is None:
            raise OptionError(
                "--arm soft needs soft labels: --label-probs names columns of probabilities, and an npz has y (N, K)"
            )
        if kind in ("mixup", "cutmix") and data.inputs.kind in ("sparse", "tokens"):
            raise OptionError(f"--arm {arm} mixes rows of numbers or pictures; texts cannot be mixed")
        if kind == "cutmix" and (
            model in ("mlp", "linear") or not (data.inputs.kind == "image" or data.inputs.picture)
        ):
            raise OptionError(
                f"--arm {arm} pastes pieces of pictures: it needs pictures, and a model of them such as cnn"
            )


def check_device(name: str) -> None:
    """Refuse a device that torch cannot use here.

    Raises:
        OptionError: it is no device, or there is none of that kind.
    """
    if name == "cpu":
        return
    kind, _, number = name.partition(":")
    if kind not in _DEVICES or (number and not number.isdecimal()):
        raise OptionError(f'no device "{name}".{did_you_mean(kind, _DEVICES)} Devices: cpu, cuda, cuda:1, mps')
    import torch

    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise OptionError(
                f"--device {name} was asked for, but torch {torch.__version__} sees no CUDA GPU; leave --device out to "
                "train on the CPU"
            )
        if int(number or 0) >= count:
            raise OptionError(f"--device {name} was asked for, but the last GPU here is cuda:{count - 1}")
    elif kind == "mps" and not torch.backends.mps.is_available():
        raise OptionError(
            f"--device {name} was asked for, but torch {torch.__version__} sees no Apple GPU; leave --device out to "
            "train on the CPU"
        )
