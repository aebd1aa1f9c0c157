"""``sfumato judge``: the verdict on models that were trained anywhere."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from sfumato.cli.common import OK, Flag, UsageError, app, close_stdout, width
from sfumato.extras import require_lab
from sfumato.lab.options import schema


@app.command
def judge(
    *arms: str,
    against: str | None = None,
    paired: Flag = False,
    group: str | None = None,
    margin: str | None = None,
    aim: Annotated[Literal["accuracy", "probabilities", "ranking"] | None, Parameter("--for")] = None,
    kind: Literal["logits", "probs", "percent"] | None = None,
    out: Path | None = None,
    json: Flag = False,
) -> int:
    """Compare models that were trained anywhere, from their saved scores, and say which to take.

    Give one folder with a folder of files for each arm (sf.save_scores writes them), the folder of a comparison, or
    NAME=PATTERN for each arm:

        sfumato judge scores

        sfumato judge one-hot='a_*.npz' smoothed='b_*.npz'

    A file is one trained model: logits (or probs) and labels of the test rows and, if there are any, val_logits and
    val_labels for the temperature, group for rows that vary together, and id to match rows by.

    Args:
        arms: A folder, or NAME=PATTERN for each arm; any file that audit reads is taken.
        against: The arm that the others are compared with; by default the one called one-hot, hard or baseline.
        paired: Files of one name started from the same weights and batches in every arm.
        group: The array or column of rows that vary together (a patient, a document); by default one called group.
        margin: The largest differences that do not matter: accuracy=0.5 (points; 10% is of the mistakes), nll=2%,
            eaurc=5%. For the folder of a comparison the default is what it was run with, and likewise --for.
        aim: What the models are for: accuracy, probabilities or ranking. That metric is tested first and decides.
        kind: What the scores are, where the files do not say; by default logits.
        out: A new folder for the page and the JSON file; by default named after what was judged.
        json: Print one JSON object instead of the verdict.
    """
    require_lab("judge")
    from sfumato.evaluate.scores.read_scores import FileError
    from sfumato.report import judge_page as page
    from sfumato.report.judge_page import as_terminal
    from sfumato.verdict.judge import judge as run

    schema()["margin"].check(margin)
    if not arms:
        raise UsageError("judge needs a FOLDER with a folder for each arm, or NAME=PATTERN words, one for each arm")
    page.refuse_taken(out)
    single = len(arms) == 1 and ("=" not in arms[0] or Path(arms[0]).is_dir())
    try:
        found = run(
            arms[0] if single else arms,
            against=against,
            paired=paired,
            group=group,
            margins=margin,
            kind=kind,
            aim=aim,
        )
    except FileError:
        raise
    except ValueError as error:
        raise UsageError(str(error)) from None
    folder = page.write(found, out)
    try:
        print(
            jsonlib.dumps(found.to_dict(), ensure_ascii=False, allow_nan=False) if json else as_terminal(found, width())
        )
        print(f"wrote {folder / 'report.html'}", file=sys.stderr if json else sys.stdout, flush=True)
    except BrokenPipeError:
        close_stdout()
    return OK
