"""Several runs on one page: a chip for each, their differences on common axes, and what else differs between them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sfumato.messages import texts
from sfumato.report.arms import arm_title
from sfumato.report.charts.differences import plot_differences
from sfumato.report.charts.drawing import figure
from sfumato.report.compare_page import date, top
from sfumato.report.template import refuse_other_file, rendered, write
from sfumato.report.top import difference_rows, verdict_context
from sfumato.runs.read import ReportError, Run, load_run
from sfumato.text import plural


def render_merged(folders: Sequence[str | Path], out: str | Path) -> Path:
    """Write a page that sets several finished comparisons side by side, over one of an earlier call alone."""
    out = Path(out)
    paths = [Path(folder) for folder in folders]
    if len(paths) < 2:
        raise ReportError(f"a merged page needs at least two runs, got {len(paths)}")
    for i, path in enumerate(paths):
        if path.resolve() in [other.resolve() for other in paths[:i]]:
            raise ReportError(f"{path} is named twice; name each run once")
    refuse_other_file(out, "several runs")
    if not out.parent.is_dir():
        raise ReportError(f"there is no folder {out.parent} for {out.name}")
    runs = [load_run(path) for path in paths]
    names = distinct_names(runs)
    days = sorted(run.env["started"] for run in runs)
    rows = [row for name, run in zip(names, runs, strict=True) for row in difference_rows(run.summary, name)]
    page = rendered(
        "several.html.jinja",
        runs=[_words(run, name, out) for run, name in zip(runs, names, strict=True)],
        about=[plural(len(runs), "run"), " to ".join(dict.fromkeys((date(days[0]), date(days[-1]))))],
        settings=_settings(runs, names),
        figures={"differences": figure(plot_differences(rows), "differences")} if rows else {},
    )
    return write(out, page)


def distinct_names(runs: Sequence[Run]) -> list[str]:
    """What to call each run: its data, with its folder where several have the same, and a number if these agree too."""
    data = [str(run.summary["data"]["name"]) for run in runs]
    names = [
        name if data.count(name) == 1 else f"{name}, {run.folder.resolve().name}"
        for name, run in zip(data, runs, strict=True)
    ]
    return [n if names.count(n) == 1 else f"{n} ({names[: i + 1].count(n)})" for i, n in enumerate(names)]


def _words(run: Run, name: str, out: Path) -> dict[str, Any]:
    page = run.folder / "report.html"
    return {
        **verdict_context(run.summary, top(run)),
        "name": name,
        "folder": str(run.folder),
        "page": Path(os.path.relpath(page, out.resolve().parent)).as_posix() if page.exists() else None,
        "date": date(run.env["started"]),
        "cautions": texts(run.env.get("notes", [])),
        "equal": run.summary["paired"]["equal"],
        "command": run.env["command"],
    }


def _settings(runs: Sequence[Run], names: Sequence[str]) -> dict[str, Any]:
    """What the runs were made with: what all share, and a column a run for what differs."""
    rows: dict[str, list[str]] = {}
    for run in runs:
        env, data = run.env, run.summary["data"]
        training = env["training"]
        told = {
            "data": f"{data['name']}, {str(env['data'].get('fingerprint', ''))[:8]}".rstrip(", "),
            "classes": f"{run.num_classes}",
            "rows: training, validation, test": f"{data['train']:,}, {data['validation']:,}, {data['test']:,}",
            "arms": ", ".join(arm_title(arm) for arm in run.arms),
            "models of each arm": run.models,
            "model": str(env["model"]["name"]),
            "epochs": f"{int(training['epochs']):,}",
            "batch, rows": f"{int(training['batch_size']):,}",
            "optimiser": str(training["optimiser"]),
            "learning rate": f"{training['learning_rate']:g}",
            "sfumato": str(env["sfumato"]),
            "torch": str(env.get("torch", "")),
        }
        for label, value in told.items():
            rows.setdefault(label, []).append(value)
    shared = {label: values[0] for label, values in rows.items() if len(set(values)) == 1}
    differing = {label: values for label, values in rows.items() if label not in shared}
    return {
        "names": names,
        "differing": differing,
        "shared": {label: value for label, value in shared.items() if value},
    }
