"""What a run says of the machine that it ran on."""

import platform
import sys
from pathlib import Path

from sfumato.lab.versions_and_machine import machine


def test_the_processor_is_the_one_that_linux_names(monkeypatch):
    told = "processor : 0\nvendor_id : An Abacus\nmodel : 7\nmodel name\t: Abacus 9000 @ 1 Hz: new\nflags : wood\n"
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(Path, "read_text", lambda path, **kwargs: told)
    assert machine()["cpu"] == "Abacus 9000 @ 1 Hz: new"


def test_elsewhere_it_is_the_one_that_python_names(monkeypatch):
    monkeypatch.setattr(sys, "platform", "else")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "abacus")
    assert machine()["cpu"] == "abacus"
