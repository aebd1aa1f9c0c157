"""Whether torch can use a device here."""

from __future__ import annotations

from sfumato.lab.errors import OptionError
from sfumato.text import did_you_mean

_DEVICES = ("cpu", "cuda", "mps")


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
