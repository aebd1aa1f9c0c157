"""Which strengths a trainer was given: by name in the functions that are running, and in the objects that they hold."""

import functools
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

NAMES = (
    "label_smoothing", "label_smoothing_factor", "label_smoothing_eps", "label_smooth", "label_smooth_val", "lb_smooth",
    "smoothing_param", "lsm_weight",
)  # fmt: skip
"""Names that mean the strength wherever they stand."""

HOLDERS = (
    "args", "config", "cfg", "hparams", "opt", "options", "criterion", "loss", "loss_fn", "loss_func",
    "compute_loss_func", "train_loss_fn", "label_smoother", "task", "trainer", "lightning_module", "pl_module",
    "_compile_loss", "_loss", "self",
)  # fmt: skip
"""Names of variables and attributes whose object is searched too."""

HERE = str(Path(__file__).parent)

DEEP = 60
"""Functions that are searched, from the model outwards."""


@dataclass(frozen=True)
class GivenStrength:
    """A strength that stands in a program."""

    where: str  # its name, as in "args.label_smoothing_factor"
    value: float  # the number
    over: str = ""  # what its owner says that it is spread over; "" where the owner says nothing


def given_strengths(model: Any, kwargs: Mapping[str, Any]) -> list[GivenStrength]:
    """Strengths other than 0 in the arguments of a model's call, and in the functions that called it."""
    values = {f"{type(model).__name__}(…, {name}=…)": (kwargs[name], "") for name in NAMES if name in kwargs}
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    for _ in range(DEEP):
        if frame is None:
            break
        if not _is_ours(frame):
            for where, value, over in _in_variables(frame.f_locals):
                values.setdefault(where, (value, over))
        frame = frame.f_back
    first: dict[tuple[float, str], GivenStrength] = {}
    for where, (value, over) in values.items():  # one object may have several names
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < abs(value) <= 1:
            first.setdefault((value, over), GivenStrength(where, float(value), over))
    return list(first.values())


def _is_ours(frame: FrameType) -> bool:
    name = str(frame.f_globals.get("__name__", ""))
    return frame.f_code.co_filename.startswith(HERE) or name.partition(".")[0] in ("torch", "_pytest", "pluggy")


def _in_variables(variables: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    for name, value in list(variables.items()):
        if name in NAMES:
            yield name, value, str(variables.get("over", ""))
        elif name in HOLDERS or _is_loss(name, value):
            yield from _in_object(name, value, deeper=True)


def _in_object(path: str, value: Any, *, deeper: bool) -> Iterator[tuple[str, Any, str]]:
    """The strengths that an object holds itself, and those of the objects that it is known to keep them in."""
    if isinstance(value, functools.partial):
        yield from ((f"{path}({name}=…)", value.keywords[name], str(value.keywords.get("over", ""))) for name in NAMES
                    if name in value.keywords)  # fmt: skip
        return
    fields = _fields(value)
    path = type(value).__name__ if path == "self" else path
    over = str(fields.get("over", ""))
    unsure = ("smoothing", "epsilon") if _is_loss(path, value) else ("smoothing",) if path in HOLDERS[:6] else ()
    names = NAMES + unsure
    yield from ((f"{path}.{name}", fields[name], over) for name in names if name in fields)
    if deeper:
        for name in (*HOLDERS, *(name for name, each in fields.items() if _is_loss(name, each))):
            if fields.get(name) is not None and name != "self":
                yield from _in_object(f"{path}.{name}", fields[name], deeper=path.count(".") < 1)


def _fields(value: Any) -> dict[str, Any]:
    """The attributes of an object, without running any code of its own; the submodules of a module among them."""
    if isinstance(value, dict):
        return {name: each for name, each in value.items() if isinstance(name, str)}
    fields = dict(getattr(value, "__dict__", {})) if not isinstance(value, type) else {}
    modules = fields.get("_modules")
    return {**modules, **fields} if isinstance(modules, dict) else fields


def _is_loss(name: str, value: Any) -> bool:
    """Whether an object is a loss, by its class or by its name."""
    if value is None or isinstance(value, (int, float, str, tuple, list, type)) or hasattr(value, "shape"):
        return False
    names = f"{name.rpartition('.')[2]} {type(value).__name__}".lower()
    return any(word in names for word in ("loss", "criterion", "crossentropy", "cross_entropy", "labelsmooth"))
