"""Devices that torch cannot use here are refused."""

from __future__ import annotations

import pytest
import torch

from sfumato.lab.device import check_device
from sfumato.lab.errors import OptionError


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:0", "cuda:1"])
def test_a_device_that_is_there_is_taken(two_gpus, name):
    check_device(name)


@pytest.mark.parametrize("name", ["cuda:2", "cuda:10"])
def test_a_gpu_beyond_the_last_is_refused(two_gpus, name):
    with pytest.raises(OptionError, match=f"^--device {name} was asked for, but the last GPU here is cuda:1$"):
        check_device(name)


@pytest.mark.parametrize(("name", "maker"), [("cuda", "CUDA"), ("cuda:0", "CUDA"), ("mps", "Apple")])
def test_without_a_gpu_its_maker_is_named(monkeypatch, name, maker):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(OptionError, match=f"^--device {name} was asked for, but torch .* sees no {maker} GPU; leave"):
        check_device(name)


@pytest.mark.parametrize(("name", "hint"), [("cude", ' Did you mean "cuda"?'), ("cuda:first", ""), ("cuda:-1", "")])
def test_what_is_no_device_is_refused(name, hint):
    with pytest.raises(OptionError) as refused:
        check_device(name)
    assert str(refused.value).startswith(f'no device "{name}".{hint}')
    assert str(refused.value).endswith(" Devices: cpu, cuda, cuda:1, mps")
