"""What a run was made with: versions, machine, and the path that the loss takes."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sfumato.messages import Note
from sfumato.runs.folder import RunError
from sfumato.version import __version__


def versions() -> dict[str, str]:
    """sfumato, Python and the packages whose versions can change a result."""
    packages = {name: version(name) for name in ("torch", "numpy", "scikit-learn", "scipy")}
    return {"sfumato": __version__, "python": platform.python_version(), **packages}


def machine() -> dict[str, Any]:
    """Platform, processor, cores."""
    return {"platform": platform.platform(), "cpu": _cpu(), "cores": os.cpu_count()}


def arithmetic() -> dict[str, str]:
    """What decides the bits of a training run, beside the versions: processor, instruction sets, the loss's path."""
    import torch

    from sfumato.kernel import job

    return {
        "cpu": _cpu(),
        "torch instructions": torch.backends.cpu.get_cpu_capability(),
        "loss": job.status().isa or "torch",
    }


def notes_on_change(start: Mapping[str, Any]) -> list[Note]:
    """Notes for a run, begun as ``start`` says, that goes on with other arithmetic; usually there are none."""
    now, then = versions(), start["versions"]
    for name in ("sfumato", "torch"):
        if then.get(name) != now[name]:
            raise RunError(
                f"the run was begun with {name} {then.get(name)} and this is {now[name]}: its arms would not be "
                "trained alike; go on with the version that began it, or start the run again"
            )
    before, after = {**start["machine"], "numpy": then.get("numpy")}, {**arithmetic(), "numpy": now["numpy"]}
    changed = [f"{name} {before.get(name)}, then {after[name]}" for name in after if before.get(name) != after[name]]
    if not changed:
        return []
    text = (
        f"This run was stopped, and gone on with under other conditions ({'; '.join(changed)}): another run of the "
        "same command may differ in its last digits."
    )
    return [Note(code="other-arithmetic", text=text)]


def _cpu() -> str:
    """The processor's name, where the system tells it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
