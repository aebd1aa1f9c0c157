"""What a target is called in a sentence, by what its strength is spread over."""

from __future__ import annotations

import pytest

from sfumato.verdict.arm_words import strength_in_words


@pytest.mark.parametrize(
    ("over", "told"),
    [
        (None, "(which leave 0.12 of the mass off the label on average)"),
        ("mixup", "(λ from Beta(0.12, 0.12), one a batch)"),
        ("prior", "ε = 0.12 over the classes by their share of the training rows (sf.smooth_prior; torch's "),
        (
            "order",
            "targets that fall with distance in the order of the classes (sf.class_tables.ordinal; 0.12 of the mass",
        ),
        (
            "likeness",
            "targets that rise with the likeness of the classes (sf.class_tables.similarity; 0.12 of the mass",
        ),
        (
            "tree",
            "targets that fall with distance in the tree of the classes (sf.class_tables.hierarchy; 0.12 of the mass",
        ),
        ("own predictions", "ε = 0.12 to the model's own right predictions of the class (sf.OnlineSmoothing)"),
        ("others", "ε = 0.12 over the other classes (label_smoothing=0.16 in torch)"),
        ("all", "ε = 0.12 over all 4 classes (label_smoothing=0.12 in torch)"),
    ],
)
def test_a_target_is_told_by_what_its_strength_is_spread_over(over, told):
    assert strength_in_words(0.12, over, 4).startswith(told)
