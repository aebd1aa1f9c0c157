"""What pyproject.toml promises, each part in a place of its own: versions of torch, each framework alone, the wheel.

    python tests/meta/floor.py [oldest newest wheel timm …]

``oldest`` has the least version of everything that is promised, ``newest`` the last torch and numpy that install. Both
run the tests of the targets, the loss, the kernel and torch's conformance, and ``oldest`` those of the commands and the
lab too. ``wheel`` has the wheel of this machine, away from the sources. Every other place has sfumato, what its lab
needs, and one framework or extra, and runs the tests of that. The places are made with plain pip under build/floor.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TOOLS = ("pytest", "pytest-xdist", "filelock", "hypothesis", "mpmath", "expecttest")
BUILD = "build>=1.2"
PROMISED = ("torch", "numpy")
LAB = PROJECT["optional-dependencies"]["lab"]
NUMERICS = "tests/targets tests/loss tests/kernel tests/conformance tests/test_reference.py tests/test_arguments.py"
OF_A_USER = """tests/evaluate tests/verdict tests/runs tests/report tests/cli
    tests/lab/data tests/lab/train tests/lab/arms tests/lab/test_compare.py"""


OF_THE_WHEEL = "tests/kernel tests/test_arguments.py tests/explain tests/report"
# What pip is asked for next to sfumato's lab, in the ranges of the extra `test`, or `[extra]`; and the tests of it.
ALONE = {
    "lab": ("torchmetrics pandas", "tests/evaluate tests/verdict tests/runs tests/lab/data"),
    "ray": ("[ray]", "tests/lab/execute/test_ray.py"),
    "track": ("[track] wandb tensorboard", "tests/lab/test_trackers.py"),
    "transformers": ("transformers accelerate", "tests/adapters/hf"),
    "trl": ("trl peft", "tests/adapters/hf tests/adapters/test_dpo.py"),
    "skorch": ("skorch pandas", "tests/adapters/test_sklearn.py"),
    "boosting": ("lightgbm xgboost-cpu", "tests/adapters/test_boosting.py"),
    "lightning": ("lightning", "tests/adapters/test_lightning.py"),
    "timm": ("timm", "tests/adapters/test_timm.py"),
    "jax": ("jax optax", "tests/adapters/test_jax.py"),
    "keras": ("keras", "tests/adapters/test_keras.py"),
    "other-loops": ("sentence-transformers accelerate torchmetrics", "tests/adapters/test_other_loops.py"),
}


def requirement(name: str) -> str:
    """A package with its range, or with that of the extra ``test``; a bracket asks for an extra of the project."""
    if name.startswith("["):
        return f"{ROOT}{name}"
    tested = PROJECT["optional-dependencies"]["test"]
    return next(each for each in tested if re.match(rf"{re.escape(name)}\b(?!-)", each))


def promised(which: str) -> list[str]:
    """What pip is asked for: the least version of each package of pyproject.toml, or whatever is newest of two."""
    if which == "newest":
        return list(PROMISED)
    return [re.sub(r">=([\d.]+)", r"==\1", each) for each in (*PROJECT["dependencies"], *LAB)]


def place(name: str) -> Path:
    """The Python of a virtual environment of that name, which is made if it is not there."""
    python = ROOT / "build" / "floor" / name / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
    return python


def install(python: Path, *words: str) -> None:
    """pip's install of what is named, in that place."""
    subprocess.run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *words], check=True)


def made(which: str) -> tuple[Path, str, list[str]]:
    """The Python of one place with everything in it, the tests that it runs, and packages whose versions are shown."""
    if which in ("oldest", "newest"):
        python = place(which)
        asked, tests, shown = promised(which), NUMERICS, list(PROMISED)
        if which == "oldest":
            shown = [each.partition("==")[0] for each in asked]
            asked += map(requirement, ALONE["lab"][0].split())
            tests = f"{tests} {OF_A_USER}"
        install(python, "--upgrade", *asked, *TOOLS)
        install(python, "--no-deps", "--editable", str(ROOT))
        return python, tests, shown
    base, python, (names, tests) = base_of_all(), place(which), ALONE.get(which, ("", OF_THE_WHEEL))
    # A framework's place sees the base's packages, which are the bulk of it, and has its own beside them.
    packages = [next((each / "lib").glob("python*/site-packages")) for each in (base.parents[1], python.parents[1])]
    # A path alone leaves out the base's sfumato, which is the editable one: the wheel's is to be found.
    seen = str(packages[0]) if which == "wheel" else f"import site; site.addsitedir({str(packages[0])!r})"
    (packages[1] / "base.pth").write_text(f"{seen}\n", encoding="utf-8")
    if which == "wheel":
        away(python)
    if names:
        install(python, *map(requirement, names.split()))
    return python, tests, [name for name in names.split() if not name.startswith("[")]


@cache
def base_of_all() -> Path:
    """The Python of the place that all frameworks' places see: sfumato as it stands here, its lab, and the tools."""
    python = place("base")
    install(python, *TOOLS, "--editable", f"{ROOT}[lab]")
    return python


def away(python: Path) -> None:
    """Install this machine's wheel, built from the sdist, and lay the tests beside it, away from the sources."""
    folder = python.parents[1] / "away"
    shutil.rmtree(folder, ignore_errors=True)
    for each in ("tests", "docs", "benchmarks"):
        shutil.copytree(ROOT / each, folder / each, ignore=shutil.ignore_patterns("__pycache__"))
    for each in ("conftest.py", "pyproject.toml", "README.md"):
        shutil.copy2(ROOT / each, folder)
    install(python, BUILD)
    subprocess.run([str(python), "-m", "build", "--quiet", "--outdir", str(folder), str(ROOT)], check=True)
    install(python, "--no-deps", "--force-reinstall", *map(str, folder.glob("*.whl")))


def run(which: str) -> int:
    """Make the environment, say what is in it, and run its tests there."""
    python, tests, shown = made(which)
    versions = "import sys, importlib.metadata as m; print(*[f'{name} {m.version(name)}' for name in sys.argv[1:]])"
    subprocess.run([str(python), "-c", versions, "torch", *shown], check=True)
    # Another torch leaves other settings behind; that its tests clean up is asked of the torch that is developed with.
    env = {**os.environ, "OMP_NUM_THREADS": "1", "SFUMATO_LEAKS": "0", "SFUMATO_REQUIRE_KERNEL": "1"}
    words = ["-n", str(os.cpu_count() or 1), "-q", "-m", "not nightly", "-W", "default", *tests.split()]
    where = python.parents[1] / "away" if which == "wheel" else ROOT
    return subprocess.run([str(python), "-m", "pytest", *words], cwd=where, env=env, check=False).returncode


if __name__ == "__main__":
    failed = [which for which in sys.argv[1:] or ("oldest", "newest", "wheel", *ALONE) if run(which)]
    print("failed in: " + ", ".join(failed) if failed else "all passed")
    sys.exit(bool(failed))
