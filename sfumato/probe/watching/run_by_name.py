"""Watch a trainer that a person names as ``module:function``."""

from typing import Any

from sfumato.probe.call.find import ProbeError, in_words, load
from sfumato.probe.watching.watch import watch
from sfumato.probe.watching.watched import Watched

HOW = "it must return (model, run): the model that is trained, and what starts the training, such as trainer.train"


def watch_named(name: str) -> Watched:
    """What a trainer does that ``module:function`` makes; the current folder is importable.

    Raises:
        ProbeError: there is no such function, it returns something else, or it or the training fails.

    >>> watch_named("math:floor")
    Traceback (most recent call last):
        ...
    sfumato.probe.call.find.ProbeError: math:floor failed: TypeError: math.floor() takes exactly one argument (0 given)
    """
    spec = load(name)
    try:
        made = spec.target(*spec.positional, **spec.arguments)
    except (Exception, SystemExit) as error:
        raise ProbeError(f"{name} failed: {in_words(error)}") from error
    model, run, logits = _parts(name, made)
    with watch(model, logits) as seen:
        try:
            run()
        except ProbeError:
            raise
        except (Exception, SystemExit) as error:
            raise ProbeError(f"the training of {name} failed: {in_words(error)}") from error
    return seen


def _parts(name: str, made: Any) -> tuple[Any, Any, Any]:
    if not isinstance(made, (tuple, list)) or len(made) not in (2, 3):
        raise ProbeError(f"{name} returned a {type(made).__name__}; {HOW}")
    model, run, *rest = made
    if not callable(run):
        raise ProbeError(f"{name} returned a {type(run).__name__} in the second place, which cannot be called; {HOW}")
    return model, run, rest[0] if rest else None
