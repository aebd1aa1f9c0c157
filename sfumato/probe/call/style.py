"""How one loss wants its arguments: a :class:`Style` names the way, and arranges rows of logits and labels in that way.

Every check of the probe thinks in rows, logits (N, K) and labels (N,). A style makes of them what the loss takes, such
as sequences, images or a dictionary, and says the same in words.
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch

Library: TypeAlias = Literal["torch", "numpy", "jax", "keras"]
Inputs: TypeAlias = Literal["logits", "log-probabilities", "probabilities"]
Layout: TypeAlias = Literal[
    "rows", "dictionary", "sequence", "column", "image", "classes second", "next token", "next token in a dictionary"
]

SEQUENCES = ("sequence", "image", "classes second", "next token", "next token in a dictionary")
"""Layouts with more than one axis of positions."""


@dataclass(frozen=True)
class Style:
    """How a loss is called.

    Attributes:
        library: the library whose arrays the loss takes.
        inputs: what the loss takes for the scores of a row.
        one_hot: whether labels are rows of zeros and a one.
        labels_first: whether the loss is called as ``loss(labels, logits)``.
        layout: rows; rows of sequences; images; labels in a column; a dictionary with ``"logits"``; sequences with the
            classes on axis 1; or sequences in which the logits at one position meet the label at the next.
        single: whether numbers are float32, because the loss refuses float64.
        keywords: the names by which the two arguments are passed; None where they are passed by position.
        batch: into how many sequences or images the rows are cut; 0 for one sequence, or for images of one pixel.
    """

    library: Library = "torch"
    inputs: Inputs = "logits"
    one_hot: bool = False
    labels_first: bool = False
    layout: Layout = "rows"
    single: bool = False
    keywords: tuple[str, str] | None = None
    batch: int = 0

    @property
    def is_shifted(self) -> bool:
        """Whether the logits at one position meet the label at the next."""
        return self.layout.startswith("next token")

    def describe(self) -> str:
        """In words, as in ``"logits[N, K], labels[N]"``."""
        batch, pixel = ("[B, T" if self.is_shifted else "[1, N" if self.layout == "sequence" else "[N"), ""
        classes = ", K"
        if self.layout == "image":
            pixel = ", 1, 1"
        elif self.layout == "classes second":
            batch, pixel = "[B", ", T"
        inputs = f"{self.inputs}{batch}{classes}{pixel}]"
        if self.layout.endswith("dictionary"):
            inputs = f'{{"logits": {inputs}}}'
        column = ", 1" if self.layout == "column" else pixel
        labels = f"one-hot labels{batch}{classes}{pixel}]" if self.one_hot else f"labels{batch}{column}]"
        both = [labels, inputs] if self.labels_first else [inputs, labels]
        if self.keywords is not None:
            both = [f"{name}={each}" for name, each in zip(self.keywords, both, strict=True)]
        return ", ".join(both) + (", each label one position after its logits" if self.is_shifted else "")

    def arrange(self, inputs: Any, labels: Any) -> tuple[Any, Any]:
        """The inputs (N, K) and the labels (N,) or (N, K), each in the layout that the loss wants.

        >>> inputs, labels = Style(layout="classes second", batch=2).arrange(torch.zeros(6, 4), torch.zeros(6))
        >>> tuple(inputs.shape), tuple(labels.shape)
        ((2, 4, 3), (2, 3))
        """
        if self.layout == "column":
            return inputs, labels[:, None]
        if self.layout == "image" and not self.batch:
            return inputs[..., None, None], labels[..., None, None]
        if self.layout in SEQUENCES:
            inputs, labels = (each.reshape(self.batch or 1, -1, *each.shape[1:]) for each in (inputs, labels))
        if self.layout in ("image", "classes second"):
            inputs, labels = (each.swapaxes(1, 2) if each.ndim == 3 else each for each in (inputs, labels))
        if self.layout == "image":
            inputs, labels = (each.reshape(*each.shape[:-1], 2, -1) for each in (inputs, labels))
        if self.is_shifted:  # neither the last logits nor the first label belong to a pair
            inputs = torch.cat([inputs, torch.zeros_like(inputs[:, :1])], 1)
            labels = torch.cat([torch.zeros_like(labels[:, :1]), labels], 1)
        return ({"logits": inputs} if self.layout.endswith("dictionary") else inputs), labels

    def call(self, function: Any, inputs: Any, labels: Any) -> Any:
        """What a loss returns for rows in this style, by position or by name, in its order."""
        inputs, labels = self.arrange(inputs, labels)
        given = (labels, inputs) if self.labels_first else (inputs, labels)
        return function(*given) if self.keywords is None else function(**dict(zip(self.keywords, given, strict=True)))
