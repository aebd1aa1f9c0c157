"""The formulas behind the one word "label smoothing": what each framework's ε means, as data, and how to convert.

A convention is one pair (q_true, q_other). Who uses which was read from each project's source; the two below are the
ones whose targets sum to 1 over all classes and differ by more than a name.
"""

from __future__ import annotations

from dataclasses import dataclass

from sfumato import theory
from sfumato.theory import Over


@dataclass(frozen=True)
class Convention:
    """One way to spread a strength ε.

    Attributes:
        over: the name that every sfumato function takes, ``"others"`` or ``"all"``.
        formula_true: q_true as a formula in ε and K.
        formula_other: q_other as a formula in ε and K.
        formula_gap: the gap at the optimum as a formula.
        used_by: the frameworks whose argument means this.
        source: where it was first written down.

    >>> others.used_by[0], [round(q, 4) for q in others.target(0.1, 10)]
    ('fairseq', [0.9, 0.0111])
    """

    over: Over
    formula_true: str
    formula_other: str
    formula_gap: str
    used_by: tuple[str, ...]
    source: str

    def target(self, eps: float, num_classes: int) -> tuple[float, float]:
        """The target as numbers, ``(q_true, q_other)``.

        Args:
            eps: strength ε in [0, 1].
            num_classes: K, at least 2.

        Raises:
            ValueError: ε outside [0, 1] or NaN, or K below 2.

        >>> all.target(0.5, 2)
        (0.75, 0.25)
        """
        theory.loss_floor(eps, num_classes, over=self.over)  # the checks of range, with their messages
        share = eps / (num_classes - 1 if self.over == "others" else num_classes)
        return (1 - eps if self.over == "others" else 1 - eps + share), share


others = Convention(
    over="others",
    formula_true="1 − ε",
    formula_other="ε/(K−1)",
    formula_gap="log((K−1)(1−ε)/ε)",
    used_by=("fairseq", "Tensor2Tensor", "T5X", "Megatron-Core", "ESPnet", "WeNet"),
    source="the note, eq. 4",
)
"""ε over the K−1 wrong classes: the true class keeps exactly 1 − ε."""

all = Convention(
    over="all",
    formula_true="1 − ε + ε/K",
    formula_other="ε/K",
    formula_gap="log(1 + K(1−ε)/ε)",
    used_by=("torch", "timm", "Keras", "optax", "Hugging Face Trainer", "flash-attention", "Liger"),
    source="Szegedy et al. 2016, section 7",
)
"""ε over all K classes, the true one included: the uniform mixture."""

CONVENTIONS: dict[Over, Convention] = {"others": others, "all": all}
"""Every convention by the name that ``over=`` takes."""
