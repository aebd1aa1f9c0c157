"""``sfumato explain``: the closed forms for one K and one ε, and what one framework's ε is in another."""

import json as jsonlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from sfumato.cli.common import OK, Flag, Number, UsageError, Whole, app, width


@app.command
def explain(
    *,
    classes: Whole = 10,
    eps: Number = 0.1,
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
            from sfumato.explain.page import write

            if page.is_dir():
                raise UsageError(f"{page} is a folder; name a file for the page")
            print(write(page, classes, eps))
            return OK
        from sfumato.explain import text

        frameworks = [name for name in (frm, to) if name is not None]
        forms: list[tuple[Callable[..., Any], Callable[..., str]]] = [
            (text.as_dict, text.as_text),
            (text.conversions_dict, text.conversions_text),
            (text.conversion_dict, text.conversion_text),
        ]
        as_dict, as_text = forms[len(frameworks)]
        told = as_dict(classes, eps, *frameworks) if json else as_text(classes, eps, *frameworks, width=width(120))
    except ValueError as error:
        told = str(error).replace("num_classes must", "--classes must")
        raise UsageError(f"--{told}" if told.startswith("eps must") else told) from None
    print(jsonlib.dumps(told, ensure_ascii=False, allow_nan=False) if json else told)
    return OK
