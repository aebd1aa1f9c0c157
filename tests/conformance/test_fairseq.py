"""What fairseq asks of its smoothed loss (tests/test_label_smoothing.py), re-expressed on its two sentences.

fairseq smooths over the others; what it asks holds of every convention.
"""

from __future__ import annotations

import pytest
import torch

PAD, EOS, WORD = 1, 2, 4
# Both sentences see these probabilities of the seven words; the first one's last token is padding.
LOGITS = (
    torch.tensor(
        [
            [0.05, 0.05, 0.1, 0.05, 0.3, 0.4, 0.05],
            [0.05, 0.10, 0.2, 0.05, 0.2, 0.3, 0.10],
            [0.05, 0.15, 0.3, 0.05, 0.1, 0.2, 0.15],
        ],
        dtype=torch.float64,
    )
    .log()
    .repeat(2, 1)
)
LABELS = torch.tensor([WORD, EOS, PAD, WORD, WORD, EOS])
NLL = -torch.tensor([0.3, 0.2, 0.0, 0.3, 0.2, 0.3], dtype=torch.float64).log()
NLL[2] = 0.0


def test_the_hard_part_of_a_smoothed_loss_is_the_hard_loss(cross_entropy):
    # The loss is linear in ε, so two strengths give the hard one.
    half, whole = (
        cross_entropy(LOGITS, LABELS, ignore_index=PAD, reduction="sum", label_smoothing=eps) for eps in (0.05, 0.1)
    )
    torch.testing.assert_close(2 * half - whole, NLL.sum())


@pytest.mark.parametrize("eps", [0.0, 0.1, 1.0])
def test_padding_adds_nothing(eps, cross_entropy):
    options = {"ignore_index": PAD, "reduction": "sum", "label_smoothing": eps}
    both = cross_entropy(LOGITS, LABELS, **options)
    apart = cross_entropy(LOGITS[:2], LABELS[:2], **options) + cross_entropy(LOGITS[3:], LABELS[3:], **options)
    torch.testing.assert_close(both, apart)


@pytest.mark.parametrize("eps", [0.0, 0.1, 1.0])
def test_the_sum_is_the_sum_of_the_rows(eps, cross_entropy):
    options = {"ignore_index": PAD, "label_smoothing": eps}
    rows = cross_entropy(LOGITS, LABELS, **options, reduction="none")
    torch.testing.assert_close(cross_entropy(LOGITS, LABELS, **options, reduction="sum"), rows.sum())


def test_a_strength_of_zero_is_the_hard_loss(cross_entropy):
    rows = cross_entropy(LOGITS, LABELS, ignore_index=PAD, reduction="none", label_smoothing=0.0)
    torch.testing.assert_close(rows, NLL)
