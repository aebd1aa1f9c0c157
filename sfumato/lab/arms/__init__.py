"""Arms: each kind of target or loss that ``compare`` trains is one record of a table, from which all else follows.

Names are resolved on first use, since ``--help`` reads the table of kinds and must not wait for numpy.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "sfumato.lab.arms.arm": ("Arm", "arms_of", "rungs_of"),
    "sfumato.lab.arms.kinds": ("KINDS", "ArmKind", "AskedArm", "TrainingLabels", "arm_of", "asked_arm"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
