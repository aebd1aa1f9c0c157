"""``sfumato probe``: the target that a loss really trains towards, and what a trainer really does."""

import contextlib
import json as jsonlib
import sys

from sfumato.cli.common import FINDING, OK, Flag, UsageError, Whole, app, width


@app.command
def probe(
    loss: str | None = None,
    *,
    trainer: str | None = None,
    classes: Whole = 10,
    strict: Flag = False,
    json: Flag = False,
) -> int:
    """Recover the target that a loss trains towards from its gradient, and look for what will surprise.

    The loss is called as loss(logits[N, K], labels[N]) at several K: convention and strength, total mass, ignored
    rows, reduction, class weights, strengths at and beyond their range, half precision, masked logits, evaluation
    mode. The output ends with the line of code that gives the same loss in sfumato, run on what the loss itself is
    called with.

    With --trainer no loss is called. A few steps of real training are watched instead, and the gradients at the model's
    output show what the trainer did: the strength that arrived, what it divides by, ignored rows, padding, evaluation.
    Write a function that makes the trainer and returns the model and what starts it:

        def watched():
            trainer = Trainer(model, args, train_dataset=data, eval_dataset=data)
            return model, trainer.train

    Then type: sfumato probe --trainer my_training:watched

    Args:
        loss: MODULE:CALLABLE, where the current folder is importable: a loss, a class, or a function that makes one;
            with literal arguments if it needs any, as in "torch.nn:CrossEntropyLoss(label_smoothing=0.1)".
        trainer: MODULE:FUNCTION in place of a loss: a function that returns (model, run), or (model, run, logits)
            where logits says where they are in the model's output. One to ten steps are enough.
        classes: Number of classes K to report for a loss.
        strict: Exit with 3 if there is a defect.
        json: Print one JSON object instead of a table.
    """
    from sfumato.probe import ProbeError, as_text
    from sfumato.probe import probe as run
    from sfumato.probe.watching.watch import watch_named

    if loss is None and trainer is None:
        raise UsageError(
            "probe needs MODULE:CALLABLE, as in torch.nn:CrossEntropyLoss or my_losses.py:smoothed, or "
            "--trainer MODULE:FUNCTION"
        )
    if loss is not None and trainer is not None:
        raise UsageError(f'probe takes a loss or --trainer, and not both: leave out "{loss}" or --trainer')
    wide = max(width(120), 60)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what the loss or the trainer itself prints is not a result
            if loss is not None:
                found = run(loss, classes=classes)
                text = as_text(found, wide)
            else:
                found = watch_named(str(trainer))
                text = found.as_text(wide)
            told = found.to_dict()
    except ProbeError as error:
        raise UsageError(str(error)) from None
    if json:
        told = jsonlib.loads(jsonlib.dumps(told), parse_constant=lambda name: None)  # no NaN, no infinity
        text = jsonlib.dumps(told, ensure_ascii=False)
    print(text)
    return FINDING if strict and any(each.level == "defect" for each in found.findings) else OK
