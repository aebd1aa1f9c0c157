"""The line of a recipe, run, against the same loss written out in torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sfumato.probe import Recipe
from sfumato.probe.read.extra_terms import CONFIDENCE, DECAY, SUPPRESSION, Z_LOSS, ExtraTerm

K = 4
Z = torch.randn(6, K, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
Y = torch.tensor([0, 1, 2, 3, 1, 2])
W = (0.5, 1.0, 2.0, 3.0)
PRIOR = (0.4, 0.3, 0.2, 0.1)
w, prior = torch.tensor(W, dtype=torch.float64), torch.tensor(PRIOR, dtype=torch.float64)


def dense(q, z=Z, reduce=torch.mean):
    return reduce(-(q * z.log_softmax(1)).sum(1))


HOT = F.one_hot(Y, K).double()
OTHERS = 0.8 * HOT + 0.2 / 3 * (1 - HOT)
CE = F.cross_entropy

CASES = [
    (Recipe(0.2, "all", K), CE(Z, Y, label_smoothing=0.2)),
    (Recipe(0.2, "others", K, factor=3.0, reduction="sum"), 3 * dense(OTHERS, reduce=torch.sum)),
    (Recipe(0.2, "others", K, excess=True), dense(OTHERS) + (OTHERS * OTHERS.log()).sum(1).mean()),
    (Recipe(0.0, "all", K, ignore_index=1, reduction="none"), CE(Z, Y, ignore_index=1, reduction="none")),
    (Recipe(0.0, "all", K, ignore_index=1, over_all_rows=True), CE(Z, Y, ignore_index=1, reduction="sum") / 6),
    (Recipe(0.1, "all", K, temperature=2.5), CE(Z / 2.5, Y, label_smoothing=0.1)),
    (Recipe(0.1, "all", K, temperature=1 / 30), CE(30 * Z, Y, label_smoothing=0.1)),
    (Recipe(0.1, "all", K, weight=W), CE(Z, Y, w, label_smoothing=0.1)),
    (Recipe(0.1, "all", K, weight=W, weight_on="sample"),
     (w[Y] * CE(Z, Y, label_smoothing=0.1, reduction="none")).sum() / w[Y].sum()),
    (Recipe(0.3, "all", K, prior=PRIOR), dense(0.7 * HOT + 0.3 * prior)),
    (Recipe(0.0, "all", K, extra=ExtraTerm(Z_LOSS, -0.5)), CE(Z, Y) - 0.5 * Z.logsumexp(1).square().mean()),
    (Recipe(0.0, "all", K, extra=ExtraTerm(DECAY, 0.5), reduction="sum"),
     CE(Z, Y, reduction="sum") + 0.25 * Z.square().sum()),
    (Recipe(0.0, "all", K, extra=ExtraTerm(CONFIDENCE, 0.5)),
     CE(Z, Y) + 0.5 * (Z.softmax(1) * Z.log_softmax(1)).sum(1).mean()),
    (Recipe(0.0, "all", K, extra=ExtraTerm(SUPPRESSION, 0.5), reduction="none"),
     CE(Z, Y, reduction="none") + 0.5 * (Z.amax(1) - Z.mean(1))),
]  # fmt: skip


@pytest.mark.parametrize(("recipe", "expected"), CASES, ids=[recipe.code for recipe, _ in CASES])
def test_the_line_gives_the_loss(recipe, expected):
    torch.testing.assert_close(recipe(Z, Y), expected, rtol=1e-12, atol=1e-14)


def test_a_padding_class_has_no_mass():
    labels = torch.tensor([1, 2, 3, 1, 1, 2])
    q = (0.1 + 0.7 * F.one_hot(labels, K).double()) * (torch.arange(K) != 0)
    torch.testing.assert_close(Recipe(0.2, "others", K, pad=0)(Z, labels), dense(q), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("recipe", "code"),
    [
        (Recipe(0.0, "all", 3), "sf.cross_entropy(logits, labels)"),
        (Recipe(0.0, "all", 3, ignore_index=-100), "sf.cross_entropy(logits, labels)"),
        (Recipe(0.0, "all", 3, temperature=0.05), "sf.cross_entropy(20 * logits, labels)"),
        (Recipe(0.0, "all", 3, temperature=2.0), "sf.cross_entropy(logits / 2, labels)"),
    ],
)
def test_a_line_says_no_more_than_it_must(recipe, code):
    assert recipe.code == code
