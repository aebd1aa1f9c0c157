"""``sfumato compare``: the main job."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from cyclopts import Parameter

from sfumato.cli.common import OK, Flag, UsageError, app, columns_in_short, line_a_column, sources, typed, width
from sfumato.cli.option_sources import GROUPS, with_options
from sfumato.extras import require_lab
from sfumato.lab.options import Options
from sfumato.messages import Note, texts
from sfumato.text import typed_line, wrapped

if TYPE_CHECKING:
    from sfumato.lab.compare import Watcher
    from sfumato.runs.schema import Summary

START, OUTPUT = GROUPS["How it starts"], GROUPS["Output"]
FEW = 12
"""Columns of the data up to which each has a line."""


@app.command(usage="Usage: sfumato compare DATA [OPTIONS]")
@with_options()
def compare(
    options: Options,
    *,
    dry_run: Annotated[Flag, Parameter(group=START)] = False,
    resume: Annotated[str | None, Parameter(group=START)] = None,
    config: Annotated[Path | None, Parameter(name=["--config", "-c"], group=START)] = None,
    json: Annotated[Flag, Parameter(group=OUTPUT)] = False,
    quiet: Annotated[Flag, Parameter(name=["--quiet", "-q"], group=OUTPUT)] = False,
) -> int:
    """Train one-hot and smoothed targets side by side and say which to use.

    Both arms start from the same weights and see the same batches. The run ends in a verdict, a table and a report
    page in a run folder. Every option can also be set in a TOML file (-c) or in the environment,
    as SFUMATO_EPS and so on.

    Examples: `sfumato compare digits`; `sfumato compare churn.csv --label churned --drop closed_on`; and, with
    strengths to choose from, `sfumato compare images.npz --ladder 0,0.02,0.05,0.1,0.2`.

    Args:
        options: Those of the comparison.
        dry_run: Say what would run, and about how much time, memory and disk it takes; write nothing.
        resume: Continue a stopped run, to the same result. Of a finished run: print the result, or with --seeds S
            train more seeds per fold and judge again, in a new folder (--out), with the error of all looks kept at
            5 %. Everything else but --workers, --on, --track, --json and --quiet comes from the run.
        config: A TOML file with any of these options.
        json: Print one JSON object instead of text.
        quiet: No progress.
    """
    require_lab("compare")
    from sfumato.cli.progress import Watch
    from sfumato.lab import compare as lab
    from sfumato.lab.cost_estimate import dry_run as estimate
    from sfumato.lab.execute.torchrun import is_first

    with Watch(sys.stderr, quiet=quiet or not is_first()) as watch:
        if resume is not None:
            result = _resumed(resume, options, watch.watcher())
        elif dry_run:
            expected = estimate(options)
            if is_first():
                print(jsonlib.dumps(expected.to_json()) if json else expected.describe())
            return OK
        else:
            command = typed_line("sfumato", *_repeatable())
            result = lab.compare(options, sources=sources, command=command, watcher=watch.watcher())
            if not is_first():
                return OK
    if json:
        print(jsonlib.dumps(result, ensure_ascii=False, allow_nan=False))
    else:
        env = jsonlib.loads((Path(result["run"]) / "env.json").read_text(encoding="utf-8"))
        print(_told(cast("Summary", result), env.get("notes", [])))
    return OK


def _resumed(run: str, options: Options, watcher: Watcher) -> dict[str, Any]:
    """The result of a run that was stopped, or of one that is whole."""
    from sfumato.lab.compare import go_on

    asked = [name for name, source in sources.items() if source == "command line"]
    alone = {"resume", "workers", "on", "track", "json", "quiet", "seeds", "out"}
    more = [name for name in asked if name not in alone]
    if more:
        what = "DATA" if more == ["data"] else "--" + next(n for n in more if n != "data").replace("_", "-")
        raise UsageError(f"--resume takes everything from the run; leave out {what}")
    # seeds of the environment or a file are for new comparisons
    given = {name: getattr(options, name) for name in ("seeds", "out") if name in asked}
    given |= {name: getattr(options, name) for name in ("workers", "on", "track")}
    return go_on(run, **given, command=typed_line("sfumato", *_repeatable()), watcher=watcher)


def _repeatable() -> list[str]:
    """The words typed without the name of the run folder, which would be taken when they are typed again."""
    return [
        word
        for before, word in zip(["", *typed], typed, strict=False)
        if "--out" not in (before, word) and not word.startswith("--out=")
    ]


_REST = " " * 8  # before what stands below the first line of a paragraph with a name


def _told(summary: Summary, notes: list[Note]) -> str:
    """The result for a person: verdict first, then the numbers, then where the rest is."""
    from sfumato.report.tables import as_text, differences_table, four_columns
    from sfumato.verdict.sentences import unsaid_warnings

    paired, sentences, columns = summary["paired"], summary["verdict"]["sentences"], summary.get("columns", [])
    hashes = " ".join(f"{w[:6]}/{b[:6]}" for w, b in zip(paired["weights"], paired["batches"], strict=True))
    told = [
        *(f"Warning: {text}" for text in unsaid_warnings(summary, shorter=True)),
        *sentences,
        *(f"Note: {text}" for text in texts(notes)),
    ]
    shown: list[str] = []
    if columns:
        few = len(columns) <= FEW
        in_short = wrapped(columns_in_short(columns), width(), first="columns ", rest=_REST)
        wide = width(160) if sys.stdout.isatty() else None
        shown = [line_a_column(columns, wide), ""] if few else [in_short]
    equal = f"weights/batches equal in all arms, seed by seed: {hashes}"
    return "\n".join(
        [
            *(wrapped(sentence, width(), rest="  ") for sentence in told),
            "",
            as_text(four_columns(summary), width(160)).rstrip(),
            "",
            as_text(differences_table(summary), width(160)).rstrip(),
            "",
            *shown,
            wrapped(equal, width(), first="paired  ", rest=_REST),
            f"report  {Path(summary['run']) / 'report.html'}",
        ]
    )
