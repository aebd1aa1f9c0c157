"""``sfumato doctor``: versions and the kernel on this machine, and whether a comparison on some data would work."""

import json as jsonlib
import sys
from typing import Annotated, Any

from cyclopts import Parameter

from sfumato.cli.common import OK, Flag, app, line_a_column, width
from sfumato.cli.option_sources import GROUPS, with_options
from sfumato.extras import missing_of_lab, require_lab
from sfumato.lab.options import Options
from sfumato.text import wrapped

SCHEMA = "sfumato.doctor/1"


@app.command(usage="Usage: sfumato doctor [DATA] [OPTIONS]")
@with_options("data", "label", "text", "split", "drop", "keep", "drop_unlabelled", "model", "device")
def doctor(options: Options, *, json: Annotated[Flag, Parameter(group=GROUPS["Output"])] = False) -> int:
    """Show versions, threads and which kernel is used, and where runs may go.

    With DATA: how each column was read, and a trial of about 20 seconds in which both arms train. Nothing is written.
    Without DATA only the environment is looked at.

    Args:
        options: Those of a comparison that say how to read the data, and what to train.
        json: Print one JSON object instead of text.
    """
    found = _found()
    if options.data:
        require_lab("doctor with DATA")
        from sfumato.lab.cost_estimate import trial, trial_as_text
        from sfumato.lab.prepared import prepared
        from sfumato.lab.summary import columns_of, warnings_in

        options.check()
        ready = prepared(options)
        found |= {"columns": columns_of(ready.data), "warnings": warnings_in(ready.data)}
        if not json:  # before anything trains
            columns = found["columns"]
            wide = width(160) if sys.stdout.isatty() else None
            print(_as_text(found), *([line_a_column(columns, wide)] if columns else []), sep="\n\n")
            for warning in found["warnings"]:
                print("", wrapped(f"warning       {warning['text']}", width(), rest=" " * 14), sep="\n")
            print(flush=True)
        found["trial"] = trial(ready)
        if not json:
            print(trial_as_text(found["trial"], width()))
            return OK
    print(jsonlib.dumps(found) if json else _as_text(found))
    return OK


def _found() -> dict[str, Any]:
    """Versions, threads, and which path the loss takes."""
    import platform

    import torch

    from sfumato.kernel import job
    from sfumato.lab.trackers import TRACKERS
    from sfumato.version import __version__

    status = job.status()
    packages = ("torch", "numpy", "scipy", "scikit-learn", "matplotlib")
    return {
        "schema": SCHEMA,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {"sfumato": __version__, **{package: _version(package) for package in packages}},
        "threads": torch.get_num_threads(),
        "loss_path": "torch" if status.library is None else "kernel",
        "torchrun": torch.distributed.is_available() and torch.distributed.is_gloo_available(),
        "lab": not missing_of_lab(),
        "ray": _version("ray"),
        "trackers": {tool: _version(tool) for tool in TRACKERS},
        "gpus": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "kernel": {"isa": status.isa or None, "reason": status.reason or None},
    }


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _as_text(found: dict[str, Any]) -> str:
    kernel, ray = found["kernel"], found["ray"]
    paths = {
        "kernel": f"compiled kernel, instruction set {kernel['isa']}",
        "torch": f"torch operations; no compiled kernel: {kernel['reason']}",
    }
    trackers = [f"{tool} {number}" for tool, number in found["trackers"].items() if number]
    lines = {
        "loss path": paths[found["loss_path"]],
        "threads": f"{found['threads']} (torch.set_num_threads)",
        "torchrun": "works here (gloo)" if found["torchrun"] else "torch was built without it",
        "lab": "installed" if found["lab"] else "not installed: pip install 'sfumato[lab]'",
        "--on ray": f"ray {ray}" if ray else "ray is not installed: pip install 'sfumato[ray]'",
        "--track": ", ".join(trackers) or f"none of {', '.join(found['trackers'])} is installed",
        "GPUs": str(found["gpus"]) if found["gpus"] else "none that torch sees",
        "python": found["python"],
        **{name: number or "not installed" for name, number in found["versions"].items()},
        "platform": found["platform"],
    }
    width = max(map(len, lines))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines.items())
