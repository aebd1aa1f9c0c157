"""The curves of a comparison in a tracker, while they are made: trackio, wandb or TensorBoard. Off unless asked for.

Nothing is read back from a tracker, a failure in it after the start costs no run, and ``metrics.jsonl`` in the run
folder holds the same numbers.
"""

from __future__ import annotations

import contextlib
import contextvars
import importlib
import io
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sfumato.lab.errors import TrackingError, first_line
from sfumato.messages import Note
from sfumato.text import nearest

TRACKERS = ("trackio", "wandb", "tensorboard")
"""What ``--track`` takes."""


def missing(tool: str) -> str | None:
    """Why nothing can be tracked with this tool here, and the way out; None if it can.

    >>> missing("mlflow")
    '--track takes trackio, wandb or tensorboard, got "mlflow"'
    """
    if tool not in TRACKERS:
        close = nearest(tool, TRACKERS)
        hint = f'; did you mean "{close}"?' if close else ""
        return f'--track takes trackio, wandb or tensorboard, got "{tool}"{hint}'
    try:
        module = importlib.import_module(tool)
    except ImportError:
        return f"--track {tool} needs {tool}, which is not installed: pip install {tool}"
    if tool == "wandb" and os.environ.get("WANDB_MODE", "online") == "online" and not _is_logged_in(module):
        return "--track wandb: nobody is logged in; run `wandb login`, or set WANDB_MODE=offline to keep curves here"
    return None


def _is_logged_in(wandb: Any) -> bool:
    """Without an account wandb would ask for one on the terminal, and stop a script."""
    try:
        return wandb.login(prompt=False, verify=False)
    except TypeError:  # a version before 0.30 cannot be told not to ask
        return True


class Tracker:
    """One comparison in a tracker: a run for each arm and seed, in one group, with its options.

    Used as a context, which closes the tracker when it is left.

    Args:
        tool: one of :data:`TRACKERS`.
        name: of the comparison.
        folder: of its run, for a tracker that writes files.
        config: what every run was given.
        arms: by name, what else is said of a run of that arm.
    """

    def __init__(
        self, tool: str, name: str, folder: Path, config: Mapping[str, Any], arms: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self.tool, self.name, self.folder, self.config, self.arms = tool, name, folder / tool, config, arms
        self._runs: dict[tuple[str, int], Any] = {}  # of trackio or wandb, or a _Board
        self._broken = ""

    @property
    def note(self) -> Note:
        """Where the curves are, for the reader of the comparison."""
        if self._broken:
            text = f"Curves went to {self.tool} only until it failed ({self._broken}); metrics.jsonl has all of them."
        elif self.tool == "tensorboard":
            text = "Curves are in the run folder too: tensorboard --logdir RUN/tensorboard."
        else:
            text = f'Curves are in {self.tool} too, in project "{self._project}", group "{self.name}".'
        return Note(code="tracker", text=text)

    def begin(self, arm: str, seed: int) -> None:
        """Open the run of an arm and a seed."""
        try:
            config = {**self.config, **self.arms[arm], "arm": arm, "seed": seed}
            tools = {"trackio": self._trackio, "wandb": self._wandb, "tensorboard": self._tensorboard}
            self._runs[arm, seed] = tools[self.tool](f"{arm}-seed{seed}", config)
        except Exception as error:
            raise TrackingError(f"--track {self.tool}: {first_line(error)}") from error

    def epoch(self, arm: str, seed: int, fields: Mapping[str, Any]) -> None:
        """Log an epoch, whose fields are those of ``metrics.jsonl``; a tracker that has failed gets no more."""
        if self._broken:
            return
        try:
            if (arm, seed) not in self._runs:
                self.begin(arm, seed)
            numbers = {name: value for name, value in fields.items() if name != "epoch"}
            self._runs[arm, seed].log(numbers, step=fields["epoch"])
        except Exception as error:
            self._broken = first_line(error.__cause__ or error)

    def trained(self) -> None:
        """Close what is in the run folder, before the folder gets its name: no epoch will come any more."""
        if self.tool == "tensorboard":
            self.close()

    def close(self) -> None:
        """End every run that is open, and wait until what it holds has arrived."""
        while self._runs:
            _, run = self._runs.popitem()
            with contextlib.suppress(Exception):
                _alone(run.finish)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def _project(self) -> str:
        return os.environ.get("WANDB_PROJECT", "sfumato") if self.tool == "wandb" else "sfumato"

    def _trackio(self, name: str, config: dict[str, Any]) -> Any:
        trackio: Any = importlib.import_module("trackio")
        given = {"project": self._project, "name": f"{self.name}-{name}", "group": self.name, "config": config}
        return _alone(trackio.init, **given, embed=False, auto_log_cpu=False, auto_log_gpu=False)

    def _wandb(self, name: str, config: dict[str, Any]) -> Any:
        wandb: Any = importlib.import_module("wandb")
        given = {"project": self._project, "name": f"{self.name}-{name}", "group": self.name, "config": config}
        quiet = wandb.Settings(silent=True, console="off")
        return wandb.init(**given, job_type=config["arm"], reinit="create_new", settings=quiet)

    def _tensorboard(self, name: str, config: dict[str, Any]) -> Any:
        return _Board(self.folder / name, config)


class _Board:
    """A run as TensorBoard's event files in a folder; files there of a run that was stopped are removed."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(folder, ignore_errors=True)
        self.writer = SummaryWriter(str(folder), flush_secs=5)
        rows = "\n".join(f"| {name} | {value} |" for name, value in config.items())
        self.writer.add_text("options", f"| option | value |\n| --- | --- |\n{rows}")

    def log(self, metrics: dict[str, float], step: int) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)

    def finish(self) -> None:
        self.writer.close()


def _alone(call: Callable[..., Any], **given: Any) -> Any:
    """Call trackio in a context of its own, where no run is current that it would end, and with nothing on stdout."""
    with contextlib.redirect_stdout(io.StringIO()):
        return contextvars.Context().run(call, **given)
