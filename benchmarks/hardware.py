"""Hardware, versions and commit, for every row that a benchmark writes."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch


def environment(packages: Sequence[str]) -> dict[str, Any]:
    """What a row's numbers depend on; packages that are not installed are left out."""
    versions: dict[str, str] = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    cpu = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")] or [platform.processor()]
    return {
        "cpu": cpu[0],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        **versions,
        "commit": commit.stdout.strip(),
    }
