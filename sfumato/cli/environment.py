"""What is in force here: versions, threads, and which path the loss takes."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sfumato.extras import missing_of_lab
from sfumato.lab.trackers import TRACKERS

SCHEMA = "sfumato.doctor/1"


def as_dict() -> dict[str, Any]:
    """Versions, threads and the kernel's state."""
    import torch

    from sfumato import __version__
    from sfumato.kernel import job

    status = job.status()
    versions: dict[str, str | None] = {"sfumato": __version__}
    for package in ("torch", "numpy", "scipy", "scikit-learn", "matplotlib"):
        versions[package] = _version(package)
    return {
        "schema": SCHEMA,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "threads": torch.get_num_threads(),
        "loss_path": "torch" if status.library is None else "kernel",
        "torchrun": torch.distributed.is_available() and torch.distributed.is_gloo_available(),
        "lab": not missing_of_lab(),
        "ray": _version("ray"),
        "trackers": {tool: _version(tool) for tool in TRACKERS},
        "gpus": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "kernel": {"isa": status.isa or None, "reason": status.reason or None},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def as_text(found: dict[str, Any]) -> str:
    """The same, to read."""
    kernel = found["kernel"]
    path = (
        f"compiled kernel, instruction set {kernel['isa']}"
        if found["loss_path"] == "kernel"
        else f"torch operations; no compiled kernel: {kernel['reason']}"
    )
    trackers = [f"{tool} {number}" for tool, number in found["trackers"].items() if number]
    lines = [
        ("loss path", path),
        ("threads", f"{found['threads']} (torch.set_num_threads)"),
        ("torchrun", "works here (gloo)" if found["torchrun"] else "torch was built without it"),
        ("lab", "installed" if found["lab"] else "not installed: pip install 'sfumato[lab]'"),
        ("--on ray", f"ray {found['ray']}" if found["ray"] else "ray is not installed: pip install 'sfumato[ray]'"),
        ("--track", ", ".join(trackers) or f"none of {', '.join(TRACKERS)} is installed"),
        ("GPUs", str(found["gpus"]) if found["gpus"] else "none that torch sees"),
        ("python", found["python"]),
        *((name, number or "not installed") for name, number in found["versions"].items()),
        ("platform", found["platform"]),
    ]
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines)
