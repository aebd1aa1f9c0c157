"""The curves of a comparison in a tracker, while they are made: trackio, wandb or TensorBoard. Off unless asked for.

A tracker is a window and no more: nothing is read back from it, what fails in it after the start costs no run, and
``metrics.jsonl`` in the run folder holds the same numbers.
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
from types import TracebackType
from typing import Any, Protocol

from sfumato.lab.errors import TrackingError
from sfumato.text import nearest

TRACKERS = ("trackio", "wandb", "tensorboard")
"""What ``--track`` takes."""

_PROJECT = "sfumato"


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


class _Run(Protocol):
    """One run of a tracker: trackio's and wandb's own, and :class:`_Board`."""

    def log(self, metrics: dict[str, float], step: int) -> object: ...

    def finish(self) -> object: ...


class Tracker:
    """One comparison in a tracker: a run for each arm and seed, in one group, with its options.

    A context: it ends what is open when it is left, after an error too.

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
        self._open: Callable[[str, dict[str, Any]], _Run] = {
            "trackio": self._trackio,
            "wandb": self._wandb,
            "tensorboard": self._tensorboard,
        }[tool]
        self._runs: dict[tuple[str, int], _Run] = {}
        self._broken = ""

    @property
    def note(self) -> str:
        """Where the curves are, for the reader of the comparison."""
        if self._broken:
            return f"Curves went to {self.tool} only until it failed ({self._broken}); metrics.jsonl has all of them."
        if self.tool == "tensorboard":
            return "Curves are in the run folder too: tensorboard --logdir RUN/tensorboard."
        return f'Curves are in {self.tool} too, in project "{_project(self.tool)}", group "{self.name}".'

    def begin(self, arm: str, seed: int) -> None:
        """Open the run of an arm and a seed.

        Raises:
            TrackingError: the tracker does not answer.
        """
        try:
            config = {**self.config, **self.arms[arm], "arm": arm, "seed": seed}
            self._runs[arm, seed] = self._open(f"{arm}-seed{seed}", config)
        except Exception as error:
            raise TrackingError(f"--track {self.tool}: {_first_line(error)}") from error

    def epoch(self, arm: str, seed: int, fields: Mapping[str, Any]) -> None:
        """Log an epoch; a tracker that has failed is left alone from then on.

        Args:
            arm: of the run.
            seed: of the run.
            fields: of the epoch, as a line of ``metrics.jsonl``; the run is opened if it is not.
        """
        if self._broken:
            return
        try:
            if (arm, seed) not in self._runs:
                self.begin(arm, seed)
            numbers = {name: value for name, value in fields.items() if name != "epoch"}
            self._runs[arm, seed].log(numbers, step=fields["epoch"])
        except Exception as error:
            self._broken = _first_line(error.__cause__ or error)

    def trained(self) -> None:
        """Say that no epoch will come any more: files in the run folder are closed before it gets its name."""
        if self.tool == "tensorboard":
            self.close()

    def close(self) -> None:
        """End every run that is open, and wait until what it holds has arrived."""
        while self._runs:
            _, run = self._runs.popitem()
            with contextlib.suppress(Exception), _silent():
                contextvars.Context().run(run.finish)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _trackio(self, name: str, config: dict[str, Any]) -> _Run:
        trackio: Any = importlib.import_module("trackio")
        # Its init ends the run that is current; in a context of its own there is none, and runs live side by side.
        with _silent():
            return contextvars.Context().run(
                trackio.init,
                project=_project("trackio"),
                name=f"{self.name}-{name}",
                group=self.name,
                config=config,
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )

    def _wandb(self, name: str, config: dict[str, Any]) -> _Run:
        wandb: Any = importlib.import_module("wandb")
        return wandb.init(
            project=_project("wandb"),
            name=f"{self.name}-{name}",
            group=self.name,
            job_type=config["arm"],
            config=config,
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off"),
        )

    def _tensorboard(self, name: str, config: dict[str, Any]) -> _Run:
        return _Board(self.folder / name, config)


class _Board:
    """A run as TensorBoard's event files in a folder, whose earlier ones, of a run that was stopped, go."""

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


def _project(tool: str) -> str:
    return os.environ.get("WANDB_PROJECT", _PROJECT) if tool == "wandb" else _PROJECT


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _silent() -> contextlib.redirect_stdout[io.StringIO]:
    """Nothing on stdout, where a result may be read by a machine."""
    return contextlib.redirect_stdout(io.StringIO())
