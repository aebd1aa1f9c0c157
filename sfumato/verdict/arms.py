"""What a verdict knows of an arm: its name, what training with it is called, and its strength in words.

Plain smoothing is described here. Every other kind of arm writes its own description into the summary of its run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from sfumato.runs.schema import ArmSummary
    from sfumato.theory import Over

WIDTH = 72  # characters of a line of code


@dataclass(frozen=True)
class ComparedArm:
    """One arm of a comparison, or models that were trained anywhere, of which only the name is known."""

    name: str
    method: str = ""  # "smoothing", "mixup", "the focal loss"; empty where nothing is known of the training
    strength: str = ""  # in words
    one_hot: bool = False  # whether it trains on one-hot labels from the first step to the last
    scheduled: bool = False  # whether its strength moves with the step


def compared_arm(arm: ArmSummary, num_classes: int) -> ComparedArm:
    """An arm of a summary."""
    told = arm.get("description")
    if told is None:
        eps = arm["eps"] or 0.0
        return ComparedArm(arm["name"], "smoothing", smoothing_in_words(eps, arm["over"], num_classes), eps == 0)
    return ComparedArm(arm["name"], told["method"], told["strength"], scheduled="schedule" in arm)


def smoothing_in_words(eps: float, over: str | None, num_classes: int) -> str:
    """The strength of plain smoothing: PyTorch's argument, and what ε is spread over where it is not all classes.

    >>> smoothing_in_words(0.1, "all", 10)
    '(label_smoothing=0.1 in PyTorch)'
    >>> smoothing_in_words(0.1, "others", 10)
    'ε = 0.1 over the other classes (label_smoothing=0.1111 in PyTorch)'
    """
    from sfumato import theory

    if over == "all":
        return f"(label_smoothing={eps:g} in PyTorch)"
    try:
        in_all = theory.convert_eps(eps, num_classes, frm=cast("Over", over), to="all")
        in_torch = f"label_smoothing={in_all:.4g} in PyTorch"
    except ValueError:
        in_torch = "PyTorch's label_smoothing cannot express it"
    others = "the other class" if num_classes == 2 else "the other classes"
    return f"ε = {eps:g} over {others} ({in_torch})"


def call(function: str, *arguments: str) -> str:
    """A call as code: on one line, on three, or with one argument per line, by how much fits.

    >>> call("loss = f", "logits", "labels")
    'loss = f(logits, labels)'
    """
    inside = ", ".join(arguments)
    if len(line := f"{function}({inside})") <= WIDTH:
        return line
    if len(inside) + 4 <= WIDTH:
        return f"{function}(\n    {inside}\n)"
    return f"{function}(\n" + "".join(f"    {argument},\n" for argument in arguments) + ")"
