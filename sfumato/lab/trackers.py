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
from typing import TYPE_CHECKING, Any

from sfumato.lab.errors import TrackingError, first_line
from sfumato.messages import Note
from sfumato.text import nearest

if TYPE_CHECKING:
    from sfumato.lab.execute import RunKey

TRACKERS = ("trackio", "wandb", "tensorboard")
"""What ``--track`` takes."""


def missing(tool: str) -> str | None:
    """Why nothing can be tracked with this tool here, and the way out; None if it can."""
    if tool not in TRACKERS:
        close = nearest(tool, TRACKERS)
        hint = f'; did you mean "{close}"?' if close else ""
        return f'--track takes trackio, wandb or tensorboard, got "{tool}"{hint}'
    try:
        module: Any = importlib.import_module(tool)
    except ImportError:
        return f"--track {tool} needs {tool}, which is not installed: pip install {tool}"
    if tool == "wandb" and os.environ.get("WANDB_MODE", "online") == "online":
        # Without an account wandb would ask for one on the terminal, and stop a script.
        with contextlib.suppress(TypeError):  # a version before 0.30 cannot be told not to ask
            if not module.login(prompt=False, verify=False):
                way_out = "run `wandb login`, or set WANDB_MODE=offline to keep curves here"
                return f"--track wandb: nobody is logged in; {way_out}"
    return None


class Tracker:
    """One comparison in a tracker: a run for each arm and seed, in one group, with its options."""

    def __init__(
        self, tool: str | None, name: str, folder: Path, config: Mapping[str, Any], arms: Mapping[str, Any]
    ) -> None:
        self.tool, self.name, self.folder, self.config, self.arms = tool, name, folder, config, arms
        self._runs: dict[RunKey, Any] = {}  # of trackio or wandb, or a _Board
        self._broken = ""

    @property
    def notes(self) -> list[Note]:
        """Where the curves are, for the reader of the comparison."""
        if self.tool is None:
            return []
        if self._broken:
            text = f"Curves went to {self.tool} only until it failed ({self._broken}); metrics.jsonl has all of them."
        elif self.tool == "tensorboard":
            text = "Curves are in the run folder too: tensorboard --logdir RUN/tensorboard."
        else:
            text = f'Curves are in {self.tool} too, in project "{self._project}", group "{self.name}".'
        return [Note(code="tracker", text=text)]

    def begin(self, run: RunKey) -> None:
        """Open a run."""
        if self.tool is None:
            return
        try:
            config = {**self.config, **self.arms[run.arm], **run._asdict()}
            tools = {"trackio": self._trackio, "wandb": self._wandb, "tensorboard": self._tensorboard}
            self._runs[run] = tools[self.tool](run.name, config)
        except Exception as error:
            raise TrackingError(f"--track {self.tool}: {first_line(error)}") from error

    def epoch(self, run: RunKey, fields: Mapping[str, Any]) -> None:
        """Log an epoch, whose fields are those of ``metrics.jsonl``; a tracker that has failed gets no more."""
        if self.tool is None or self._broken:
            return
        try:
            if run not in self._runs:
                self.begin(run)
            numbers = {name: value for name, value in fields.items() if name != "epoch"}
            self._runs[run].log(numbers, step=fields["epoch"])
        except Exception as error:
            self._broken = first_line(error.__cause__ or error)

    def trained(self) -> None:
        """Close what is in the run folder, before the folder gets its name: no epoch will come any more."""
        if self.tool == "tensorboard":
            self.__exit__()

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *error: object) -> None:
        while self._runs:  # and wait until what each holds has arrived
            _, run = self._runs.popitem()
            with contextlib.suppress(Exception):
                _alone(run.finish)

    @property
    def _project(self) -> str:
        return os.environ.get("WANDB_PROJECT", "sfumato") if self.tool == "wandb" else "sfumato"

    def _of_group(self, name: str, config: dict[str, Any]) -> dict[str, Any]:
        return {"project": self._project, "name": f"{self.name}-{name}", "group": self.name, "config": config}

    def _trackio(self, name: str, config: dict[str, Any]) -> Any:
        init = importlib.import_module("trackio").init
        return _alone(init, **self._of_group(name, config), embed=False, auto_log_cpu=False, auto_log_gpu=False)

    def _wandb(self, name: str, config: dict[str, Any]) -> Any:
        wandb: Any = importlib.import_module("wandb")
        quiet = wandb.Settings(silent=True, console="off")
        more = {"job_type": config["arm"], "reinit": "create_new", "settings": quiet}
        return wandb.init(**self._of_group(name, config), **more)

    def _tensorboard(self, name: str, config: dict[str, Any]) -> Any:
        return _Board(self.folder / "tensorboard" / name, config)


class _Board:
    """A run as TensorBoard's event files in a folder; files there of a run that was stopped are removed."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(folder, ignore_errors=True)
        self.writer = SummaryWriter(str(folder), flush_secs=5)
        self.finish = self.writer.close
        rows = "\n".join(f"| {name} | {value} |" for name, value in config.items())
        self.writer.add_text("options", f"| option | value |\n| --- | --- |\n{rows}")

    def log(self, metrics: dict[str, float], step: int) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)


def _alone(call: Callable[..., Any], **arguments: Any) -> Any:
    """Call trackio in a context of its own, where no run is current that it would end, and with nothing on stdout."""
    with contextlib.redirect_stdout(io.StringIO()):
        return contextvars.Context().run(call, **arguments)
