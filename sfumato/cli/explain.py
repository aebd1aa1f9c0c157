"""``sfumato explain``: the closed forms for one K and one ε, and what one framework's ε is in another."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from sfumato.cli.common import OK, Flag, UsageError, Whole, app


@app.command
def explain(
    *,
    classes: Whole = 10,
    eps: float = 0.1,
    frm: Annotated[str | None, Parameter(name="--in")] = None,
    to: str | None = None,
    page: Path | None = None,
    json: Flag = False,
) -> int:
    """Say what a strength means: targets, gaps, floors and conversions, in both conventions.

    With --in and --to, say what a strength in one framework is in another: sfumato explain --in fairseq --to keras

    Args:
        classes: Number of classes K, at least 2.
        eps: Strength ε, from 0 to 1.
        frm: The framework that ε is in: fairseq, torch, keras, onmt2 and sixty more; alone, it is told in all of them.
        to: The framework wanted.
        page: Write an interactive page to this file, open at these classes and ε: one file, no network.
        json: Print one JSON object instead of a table.
    """
    try:
        if to is not None and frm is None:
            raise UsageError(f'--to {to} needs --in: which framework is ε = {eps:g} in? "--in sfumato" is over all')
        if page is not None:
            print(_write(page, classes, eps))
            return OK
        told = _dict(classes, eps, frm, to) if json else _text(classes, eps, frm, to)
    except ValueError as error:
        raise UsageError(str(error)) from None
    print(jsonlib.dumps(told, ensure_ascii=False, allow_nan=False) if json else told)
    return OK


def _dict(classes: int, eps: float, frm: str | None, to: str | None) -> dict[str, Any]:
    from sfumato.explain import conversion, text

    if frm is None:
        return text.as_dict(classes, eps)
    if to is None:
        return conversion.conversions_dict(classes, eps, frm)
    return conversion.conversion_dict(classes, eps, frm, to)


def _text(classes: int, eps: float, frm: str | None, to: str | None) -> str:
    from sfumato.explain import conversion, text

    if frm is None:
        return text.as_text(classes, eps)
    if to is None:
        return conversion.conversions_text(classes, eps, frm)
    return conversion.conversion_text(classes, eps, frm, to)


def _write(page: Path, classes: int, eps: float) -> Path:
    from sfumato.explain.page import write

    return write(page, classes, eps)
