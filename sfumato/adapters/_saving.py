"""Saving the scores of test and validation rows, as the callbacks of every framework do when training ends."""

import os
from collections.abc import Callable
from typing import Any

from sfumato.verdict.save_scores import save_scores


def save_parts(
    folder: str | os.PathLike[str],
    arm: str,
    seed: int | str,
    read: Callable[[Any], tuple[Any, Any]],
    test: Any,
    validation: Any,
) -> None:
    """Save the logits and labels that ``read`` gives of the test rows and of the validation rows, if there are any."""
    logits, labels = read(test)
    val_logits, val_labels = (None, None) if validation is None else read(validation)
    save_scores(folder, arm=arm, seed=seed, logits=logits, labels=labels, val_logits=val_logits, val_labels=val_labels)
