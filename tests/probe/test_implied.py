"""The implied target of losses whose target is known, our own and other people's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import sfumato as sf
from sfumato.probe import implied_target


@pytest.mark.parametrize("label", [0, 2])
@pytest.mark.parametrize(
    ("loss", "true", "other"),
    [
        (lambda z, y: F.cross_entropy(z, y, label_smoothing=0.2), 0.85, 0.05),
        (lambda z, y: sf.cross_entropy(z, y, label_smoothing=0.3, over="others"), 0.7, 0.1),
        (torch.nn.CrossEntropyLoss(), 1.0, 0.0),
        (lambda z, y: -z.log_softmax(1).gather(1, y[:, None]) * 0.7 - 0.1 * z.log_softmax(1).sum(1) + 0.1 *
         z.log_softmax(1).gather(1, y[:, None]), 0.7, 0.1),
    ],
)  # fmt: skip
def test_the_gradient_tells_the_target(loss, true, other, label):
    implied = implied_target(loss, 4, label=label)
    expected = torch.full((4,), other, dtype=torch.float64)
    expected[label] = true
    torch.testing.assert_close(implied.target, expected, rtol=1e-12, atol=1e-14)
    assert implied.mass == pytest.approx(1.0)


def test_a_mass_that_is_not_one_is_seen():
    implied = implied_target(lambda z, y: 0.5 * F.cross_entropy(z, y), 3)
    assert implied.mass == pytest.approx(0.5)
    torch.testing.assert_close(implied.target, torch.tensor([0.5, 0.0, 0.0]).double())


def test_it_works_where_gradients_are_off():
    with torch.no_grad():
        assert implied_target(F.cross_entropy, 3).mass == pytest.approx(1.0)


def test_what_cannot_be_probed_is_said():
    with pytest.raises(ValueError, match="does not depend on its logits through torch"):
        implied_target(lambda z, y: torch.tensor(1.0), 3)
    with pytest.raises(ValueError, match="num_classes must be at least 2"):
        implied_target(F.cross_entropy, 1)
