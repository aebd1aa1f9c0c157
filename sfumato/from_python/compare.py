"""``sf.compare`` and ``sf.judge``: what the commands do, on data that are in Python or on a path."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from sfumato.extras import lab_imports
from sfumato.lab.errors import OptionError
from sfumato.lab.options import Option, Options, schema
from sfumato.text import did_you_mean, short

with lab_imports("sf.compare or sf.judge"):
    from sfumato.lab.data.prepare import Data, prepare_table
    from sfumato.lab.data.python_objects import EXTRA_COLUMNS, IN_MEMORY, table_in_memory
    from sfumato.verdict.judge import Judgement
    from sfumato.verdict.judge import judge as without_page
    from sfumato.verdict.result import VerdictResult

_LISTS = ("arm", "ladder", "label_probs", "text", "drop", "keep", "augment")
"""Options with commas between their values, which Python may give as a list."""

_WHERE = ("workers", "on", "track", "seeds", "out")
"""Options that may be given anew when a run goes on."""


@dataclass(repr=False)
class Comparison(VerdictResult):
    """What a comparison found: its folder, differences with intervals, and a verdict in sentences.

    It prints as its sentences, and a notebook shows its page. ``summary`` is the object that ``compare --json`` prints,
    and :func:`sfumato.load_run` gives the model of ``folder`` that the verdict chose.
    """

    folder: Path

    def page(self) -> str | None:
        """The report page of the run as HTML; None where its folder has none."""
        page = self.folder / "report.html"
        return page.read_text(encoding="utf-8") if page.is_file() else None


def compare(
    X: Any = None, y: Any = None, *, resume: str | os.PathLike[str] | None = None, quiet: bool = False, **options: Any
) -> Comparison:
    """Train one-hot and smoothed targets side by side, and say which to use: ``sfumato compare`` from Python.

    Both arms start from the same weights and see the same batches. The run ends in a folder with a report page, as that
    of the command does.

    Args:
        X: (N, …) numbers, pictures as bytes (N, H, W) or (N, H, W, C), or N texts; a data frame of pandas, polars or
            Arrow, whose columns are read as those of a table are; a data set or a loader of torch; or a path or name
            that the command takes, such as ``"flowers.csv"`` or ``"digits"``.
        y: (N,) labels, (N, K) soft labels, or the name of the label column of a data frame. Without ``y``, a data frame
            has a column called label, target, class or y.
        resume: the folder of a stopped run, to continue it to the same bits; or of a finished one with ``seeds`` above
            its own, to judge it again with more models in a new folder (``out``). Data in memory are given again; all
            other options than ``workers``, ``on`` and ``track`` come from the run.
        quiet: show no progress on stderr.
        options: those of the command, by the same names: ``eps=0.05``, ``over="all"``, ``seeds=3``, ``out="run"``. What
            the command takes with commas between may be a list, and ``weight``, ``group`` and ``split`` may be arrays
            with a value a row. ``sfumato compare --help`` tells all of them.

    Returns:
        The result. It prints its sentences, a notebook shows its page, and ``to_frame`` gives the differences.

    Raises:
        OptionError, DataError, RunError: bad input; nothing was written. They are ValueErrors.
        ArmError, TrainingError, WorkerError, WriteError: a run failed; the message says how to go on.

    >>> import os, tempfile
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(120, 3)), np.repeat([0, 1], 60)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     out = os.path.join(folder, "run")
    ...     found = compare(x + y[:, None], y, model="linear", epochs=2, workers=1, out=out, quiet=True)
    >>> [arm["name"] for arm in found.summary["arms"]], found.to_frame().shape[0]
    (['one-hot', 'smoothed'], 18)
    """
    from sfumato.extras import require_lab

    require_lab("compare")
    from sfumato.cli.progress import Watch
    from sfumato.lab import compare as lab
    from sfumato.lab.execute.torchrun import started_by_torchrun

    if started_by_torchrun():
        raise OptionError("sf.compare does not run under torchrun; there, `torchrun … -m sfumato compare DATA` does")
    beside = {name: options.pop(name) for name in EXTRA_COLUMNS if not isinstance(options.get(name), (str, type(None)))}
    with Watch(sys.stderr, quiet=quiet) as watch:
        if resume is not None:
            return _resumed(Path(resume), X, y, beside, options, watch)
        if isinstance(X, (str, os.PathLike)):
            if y is not None and not isinstance(y, str):
                raise OptionError(f'"{X}" is read with its labels; y may only name the column or array that holds them')
            if beside:
                raise OptionError(f'{next(iter(beside))} must name a column of "{X}", not be an array')
            options |= {} if y is None else {"label": y}
            asked, data = options_of(os.fspath(X), options), None
        else:
            if X is None:
                raise OptionError("compare needs data: arrays X and y, a data frame, or a path")
            asked = options_of(IN_MEMORY, options)
            asked.check()
            data = prepare_table(table_in_memory(X, y, asked.roles(), beside))
        sources, command = dict.fromkeys(["data", *options], "Python"), _command(X, y, {**options, **beside})
        made = lab.compare(asked, data=data, sources=sources, command=command, watcher=watch.watcher())
    return _found(Path(made["run"]))


def _resumed(
    run: Path, X: Any, y: Any, beside: Mapping[str, Any], options: Mapping[str, Any], watch: Any
) -> Comparison:
    from sfumato.lab.compare import go_on

    asked = options_of(IN_MEMORY, options)
    more = [name for name in options if name not in _WHERE]
    if more:
        raise OptionError(f"resume takes everything from the run; leave out {more[0]}")
    if isinstance(X, (str, os.PathLike)):
        raise OptionError("resume reads the data where the run says; leave out X")

    def read(options: Options) -> Data:
        return prepare_table(table_in_memory(X, y, options.roles(), beside))

    how: dict[str, Any] = {name: getattr(asked, name) for name in _WHERE} | {"read": None if X is None else read}
    command = f"sf.compare(resume={os.fspath(run)!r}, seeds={asked.seeds})"
    return _found(Path(go_on(os.fspath(run), **how, command=command, watcher=watch.watcher())["run"]))


def _found(folder: Path) -> Comparison:
    from sfumato.runs.read import load_run

    run = load_run(folder)
    return Comparison({**run.summary, "run": str(folder)}, run.env.get("notes", []), folder)


def _command(X: Any, y: Any, options: Mapping[str, Any]) -> str:
    """The call, for whoever wants to repeat it: the folder's name would be taken."""
    shown = [repr(os.fspath(X)) if isinstance(X, (str, os.PathLike)) else "X"]
    if y is not None:
        shown.append(repr(y) if isinstance(y, str) else "y")
    plain = (str, int, float, bool, list, tuple)
    for name, value in options.items():
        if name != "out" and value is not None:
            shown.append(f"{name}={value!r}" if isinstance(value, plain) else f"{name}={name}")
    return f"sf.compare({', '.join(shown)})"


def options_of(data: str, given: Mapping[str, Any]) -> Options:
    """Options from keywords, held to the types of those of the command; those that are None keep their defaults."""
    known = [name for name in schema() if name != "data"]
    for name in given:
        if name not in known:
            raise OptionError(f'compare has no option "{name}".{did_you_mean(name, known)} All: {", ".join(known)}')
    values = {name: _value(schema()[name], value) for name, value in given.items() if value is not None}
    return Options(data, **values)


def _value(option: Option, value: Any) -> Any:
    """A value as the option takes it: numbers of NumPy, paths and lists are made plain."""
    kinds = get_args(option.kind) or (option.kind,)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if option.name in _LISTS and isinstance(value, (list, tuple)):
        value = ",".join(str(each) for each in value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if option.name == "noise" and type(value) in (int, float):
        value = repr(float(value))  # a rate; a file is text
    if float in kinds and type(value) is int:
        value = float(value)
    if value in kinds or type(value) in kinds:
        return value
    wanted = {str: "text", int: "a whole number", float: "a number"}
    named = " or ".join(wanted.get(kind, f'"{kind}"') for kind in kinds if kind is not type(None))
    raise OptionError(f"{option.name} must be {named}, got {short(repr(value))}")


@functools.wraps(without_page)
def judge(*args: Any, **given: Any) -> Judgement:  # noqa: D103  it is told by the function that it wraps
    from sfumato.report.judge_page import page_of

    found = without_page(*args, **given)
    found.to_page = page_of
    return found
