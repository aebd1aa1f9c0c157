"""``sfumato probe``: the target that a loss really trains towards."""

import contextlib
import json as jsonlib
import sys

from sfumato.cli.common import FINDING, OK, Flag, UsageError, Whole, app, width


@app.command
def probe(loss: str, *, classes: Whole = 10, strict: Flag = False, json: Flag = False) -> int:
    """Read the target that a loss trains towards off its gradient, and look for what will surprise.

    The loss is called as loss(logits[N, K], labels[N]) at several K: convention and strength, total mass, ignored
    rows, reduction, class weights, strengths at and beyond their range, half precision, masked logits, evaluation
    mode. A loss that takes a teacher's logits too is told as a distillation, with its weights and temperature. The
    output ends with the line of code that gives the same loss in sfumato, run on what the loss itself is called with.

    Args:
        loss: MODULE:CALLABLE, where the current folder is importable: a loss, a class, or a function that makes one;
            with literal arguments if it needs any, as in "torch.nn:CrossEntropyLoss(label_smoothing=0.1)".
        classes: Number of classes K to report.
        strict: Exit with 3 if there is a defect.
        json: Print one JSON object instead of a table.
    """
    from sfumato.probe import ProbeError, as_text
    from sfumato.probe import probe as run

    try:
        with contextlib.redirect_stdout(sys.stderr):  # what the loss itself prints is not a result
            found = run(loss, classes=classes)
    except ProbeError as error:
        raise UsageError(str(error)) from None
    if json:
        finite = jsonlib.loads(jsonlib.dumps(found.to_dict()), parse_constant=lambda name: None)  # no NaN, no infinity
        print(jsonlib.dumps(finite, ensure_ascii=False))
    else:
        print(as_text(found, max(width(120), 60)))
    return FINDING if strict and any(finding.level == "defect" for finding in found.findings) else OK
