"""What some tests need of the machine."""

from __future__ import annotations

import os

import pytest

from sfumato.kernel import job
from sfumato.loss import functional

PATHS = ("kernel", "torch")


def kernel() -> job.Status:
    """The compiled kernel; without one the test is skipped, or fails where SFUMATO_REQUIRE_KERNEL=1 asks for one."""
    status = job.status()
    if status.library is None:
        reason = f"no kernel: {status.reason}"
        pytest.fail(reason) if os.environ.get("SFUMATO_REQUIRE_KERNEL") == "1" else pytest.skip(reason)
    return status


def path(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the PATHS, for every loss that it can compute; without the compiled kernel its tests are skipped."""
    if name == "kernel":
        kernel()
        return
    monkeypatch.setattr(functional, "kernel_serves", lambda z, call: False)
