"""``sfumato doctor``: what is in force on this machine."""

from __future__ import annotations

import json as jsonlib

from sfumato.cli._app import OK, Flag, app


@app.command
def doctor(*, json: Flag = False) -> int:
    """Say what is in force here: versions, threads, and whether the loss runs on the compiled kernel.

    Args:
        json: Print one JSON object instead of text.
    """
    from sfumato._doctor import as_dict, as_text

    found = as_dict()
    print(jsonlib.dumps(found) if json else as_text(found))
    return OK
