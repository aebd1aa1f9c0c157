"""Whether torch can use a device here, and how many threads it takes."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from sfumato.lab.errors import OptionError
from sfumato.text import did_you_mean

_DEVICES = ("cpu", "cuda", "mps")


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
