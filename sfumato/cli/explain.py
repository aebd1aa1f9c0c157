"""``sfumato explain``: the closed forms for one K and one ε."""

from __future__ import annotations

import json as jsonlib

from sfumato.cli._app import OK, Flag, UsageError, Whole, app


@app.command
def explain(
    *,
    classes: Whole = 10,
    eps: float = 0.1,
    json: Flag = False,
) -> int:
    """Say what a strength means: targets, gaps, floors and conversions, in both conventions.

    Args:
        classes: Number of classes K, at least 2.
        eps: Strength ε, from 0 to 1.
        json: Print one JSON object instead of a table.
    """
    from sfumato.report.explain import as_dict, as_text

    try:
        told = jsonlib.dumps(as_dict(classes, eps), allow_nan=False) if json else as_text(classes, eps)
    except ValueError as error:
        raise UsageError(str(error)) from None
    print(told)
    return OK
