"""The compiled kernel: find it, and check that it speaks this version. Neither torch nor numpy is imported.

Where the library is missing, of another version, or turned off by ``SFUMATO_NATIVE=0``, everything runs on the torch
path with the same meaning.
"""

import ctypes
import importlib.util
import os
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import NamedTuple

ABI = 6
NO_MEMORY = 3


class Status(NamedTuple):
    """Which path is in force."""

    library: ctypes.CDLL | None  # None for the torch path
    isa: str  # instruction set in force, or ""
    reason: str  # why there is no library, or ""


@cache
def status() -> Status:
    """Load the kernel once, and say what came of it. A kernel that is there and cannot be used is warned of once."""
    if os.environ.get("SFUMATO_NATIVE") == "0":
        return Status(None, "", "turned off by SFUMATO_NATIVE=0")
    found = _find()
    if found is None:
        return Status(None, "", "it was not built: no C++ compiler was found when sfumato was installed")
    try:
        _openmp_of_torch()
        library = ctypes.CDLL(str(found))
        library.sfumato_abi.restype = ctypes.c_int32
        version = int(library.sfumato_abi())
    except (OSError, AttributeError) as error:
        # An OpenMP that torch brings under another name does not count as this one.
        hint = "; on Debian, apt-get install libgomp1 brings it" if "libgomp" in str(error) else ""
        return _without(f"{found.name} cannot be loaded: {error}{hint}")
    if version != ABI:
        return _without(f"{found.name} has ABI version {version}, this sfumato needs {ABI}; install sfumato again")
    library.sfumato_isa.restype = ctypes.c_char_p
    for function in (library.sfumato_run, library.sfumato_measure, library.sfumato_slice, library.sfumato_scan):
        function.argtypes = [ctypes.c_void_p]
        function.restype = ctypes.c_int32
    library.sfumato_sum.argtypes, library.sfumato_sum.restype = [ctypes.c_void_p, ctypes.c_int64], ctypes.c_double
    isa: bytes = library.sfumato_isa()
    return Status(library, isa.decode(), "")


def _without(reason: str) -> Status:
    warnings.warn(f"sfumato uses the slower torch path: {reason}", RuntimeWarning, stacklevel=4)
    return Status(None, "", reason)


def _find() -> Path | None:
    """The library beside this file, or in another folder of the package, where an editable install puts it."""
    for folder in (Path(__file__).parent, *map(Path, sys.modules["sfumato"].__path__)):
        for name in ("_kernel.so", "_kernel.dylib", "_kernel.dll"):
            if (folder / name).is_file():
                return folder / name
    return None


def _openmp_of_torch() -> None:
    """Load the OpenMP runtime that torch brings, unless torch is loaded: one pool for both, whoever comes first."""
    spec = None if "torch" in sys.modules else importlib.util.find_spec("torch")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for file in sorted(Path(folder, "lib").glob("libgomp*.so*")):
            ctypes.CDLL(str(file))
