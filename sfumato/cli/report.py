"""``sfumato report``: the page of a run, made again; or one page of several runs."""

from pathlib import Path

from sfumato.cli.common import OK, UsageError, app
from sfumato.extras import require_lab


@app.command(usage="Usage: sfumato report RUN... [--out FILE]")
def report(*runs: Path, out: Path | None = None) -> int:
    """Make the page of a run again, or one page that compares several runs. Nothing is trained.

    With one run, its report.html and figures are rebuilt. With several, their verdicts, tables and headline
    differences go into one page, comparison.html in the current folder.

    Args:
        runs: Folders that sfumato compare wrote.
        out: Another file for the page.
    """
    require_lab("report")
    from sfumato.report.compare_page import render
    from sfumato.report.several_page import render_merged
    from sfumato.runs.read import ReportError

    if not runs:
        raise UsageError("report needs RUN: the folder of a finished comparison, or several")
    for run in runs:  # what can be seen from the names
        partial = run.with_name(run.name + ".partial")
        if run.name.endswith(".partial") or (not run.exists() and partial.is_dir()):
            raise UsageError(f"{run if run.exists() else partial} is not finished: it has no result to report yet")
        if run.is_file():
            folder = f"; its folder is {run.parent}" if (run.parent / "summary.json").exists() else ""
            raise UsageError(f"{run} is a file, and report takes the folder of a run{folder}")
    try:
        page = render(runs[0], out) if len(runs) == 1 else render_merged(runs, out or Path("comparison.html"))
    except ReportError as error:
        raise UsageError(str(error)) from None
    print(page)
    return OK
