"""The loss under the oldest torch and numpy that pyproject.toml promises, and under the newest that install.

    python tests/meta/floor.py [oldest newest]

Each has a virtual environment of its own under build/floor, made with plain pip, and runs the tests of the targets, the
loss, the kernel and torch's own conformance there.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = ("pytest", "pytest-xdist", "hypothesis", "mpmath")
TESTS = (
    "tests/targets",
    "tests/loss",
    "tests/kernel",
    "tests/conformance",
    "tests/test_reference.py",
    "tests/test_arguments.py",
)
PROMISED = ("torch", "numpy")


def requirements(which: str) -> list[str]:
    """What pip is asked for: the least versions of pyproject.toml, or whatever is newest."""
    if which == "newest":
        return list(PROMISED)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    least = dict(re.findall(r"^(\w+)>=([\d.]+)", "\n".join(project["dependencies"]), flags=re.M))
    return [f"{name}=={least[name]}" for name in PROMISED]


def run(which: str) -> int:
    """Make the environment if it is not there, and run the tests in it."""
    folder = ROOT / "build" / "floor" / which
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--upgrade", *requirements(which), *TOOLS], check=True)
    subprocess.run([*pip, "--no-deps", "--editable", str(ROOT)], check=True)
    versions = "import torch, numpy; print('torch', torch.__version__, 'numpy', numpy.__version__)"
    subprocess.run([str(python), "-c", versions], check=True)
    # Another torch leaves other settings behind; that its tests clean up is asked of the torch that is developed with.
    env = {**os.environ, "OMP_NUM_THREADS": "1", "SFUMATO_LEAKS": "0", "SFUMATO_REQUIRE_KERNEL": "1"}
    words = ["-n", str(os.cpu_count() or 1), "-q", "-m", "not nightly", "-W", "default", *TESTS]
    return subprocess.run([str(python), "-m", "pytest", *words], cwd=ROOT, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(max([run(which) for which in sys.argv[1:] or ("oldest", "newest")]))
