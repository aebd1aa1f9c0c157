"""``sfumato doctor``: what is in force on this machine, and whether a comparison on some data would work."""

from __future__ import annotations

import json as jsonlib

from sfumato.cli.common import OK, Flag, app
from sfumato.extras import require_lab


@app.command
def doctor(
    data: str | None = None,
    *,
    label: str | None = None,
    text: str | None = None,
    split: str | None = None,
    model: str | None = None,
    device: str = "cpu",
    json: Flag = False,
) -> int:
    """Say what is in force here: versions, threads, whether the loss runs on the kernel, and where runs may go.

    With DATA: what is found in them, and a trial of about 20 seconds in which both arms train. Nothing is written.

    Args:
        data: As of sfumato compare; without it only the environment is looked at.
        label: Label column of a table.
        text: Column of texts.
        split: Column that says train, validation or test.
        model: As of sfumato compare.
        device: Where to train.
        json: Print one JSON object instead of text.
    """
    from sfumato.cli.environment import as_dict, as_text

    found = as_dict()
    lines = as_text(found)
    if data is not None:
        require_lab("doctor with DATA")
        from sfumato.lab import trial
        from sfumato.lab.options import Options

        found["trial"] = trial.trial(Options(data, label=label, text=text, split=split, model=model, device=device))
        lines += "\n\n" + trial.as_text(found["trial"])
    print(jsonlib.dumps(found) if json else lines)
    return OK
