"""Losses that allow for wrong labels: their expectation over the noise, and the forms that they are equal to."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import sfumato as sf
from sfumato import theory
from tests.loss.properties import path

__all__ = ["path"]  # a fixture: every claim is made of the compiled kernel and of the torch path

K = 5


def table(seed: int = 0) -> torch.Tensor:
    """A transition table with half of the mass on its diagonal, so that it can be inverted."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(K, K, generator=generator, dtype=torch.float64)
    return 0.5 * torch.eye(K, dtype=torch.float64) + 0.5 * noise / noise.sum(1, keepdim=True)


def logits(rows: int = 40) -> torch.Tensor:
    return 3 * torch.randn(rows, K, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def every_label(z: torch.Tensor, transition: torch.Tensor, **options: str) -> torch.Tensor:
    """(N, K): the loss of each row for each label that it might have got."""
    return torch.stack(
        [
            sf.noisy_cross_entropy(z, torch.full((len(z),), k), transition, reduction="none", **options)
            for k in range(K)
        ],
        1,
    )


def test_the_backward_loss_is_on_average_that_of_the_true_label():
    z, transition = logits(), table()
    losses = every_label(z, transition, correction="backward")
    for y in range(K):
        clean = F.cross_entropy(z, torch.full((len(z),), y), reduction="none")
        torch.testing.assert_close(losses @ transition[y], clean, rtol=1e-12, atol=1e-12)


def test_the_backward_gradient_is_on_average_that_of_the_true_label():
    z, transition = logits().requires_grad_(), table()
    losses = every_label(z, transition, correction="backward")
    (grad,) = torch.autograd.grad((losses @ transition[2]).sum(), z)
    expected = z.detach().softmax(1) - F.one_hot(torch.tensor(2), K)
    torch.testing.assert_close(grad, expected, rtol=0, atol=1e-12)


def test_for_symmetric_noise_the_backward_loss_is_smoothing_by_a_negative_strength():
    z, y = logits(), torch.arange(40) % K
    transition = torch.from_numpy(theory.noise_transition(0.3, K, over="all"))
    eps, logp = -0.3 / (1 - 0.3), z.log_softmax(1)
    expected = -(1 - eps) * logp.gather(1, y.unsqueeze(1)).squeeze(1) - eps * logp.mean(1)
    found = sf.noisy_cross_entropy(z, y, transition, correction="backward", reduction="none")
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_of_two_classes_the_backward_loss_is_the_robust_loss_of_pairs():
    margin = torch.linspace(-3, 3, 7, dtype=torch.float64)
    z = torch.stack([margin, torch.zeros(7)], 1)
    transition = torch.from_numpy(theory.noise_transition(0.2, 2, over="others"))
    found = sf.noisy_cross_entropy(z, torch.zeros(7).long(), transition, correction="backward", reduction="none")
    robust = sf.pair_cross_entropy(margin, 0.2, kind="robust", reduction="none")
    torch.testing.assert_close(found, robust, rtol=1e-12, atol=1e-12)


def test_the_backward_loss_has_no_floor():
    transition = torch.from_numpy(theory.noise_transition(0.3, K, over="all"))
    losses = [
        sf.noisy_cross_entropy(torch.eye(K)[:1].double() * gap, torch.tensor([0]), transition, correction="backward")
        for gap in (10.0, 100.0, 1000.0)
    ]
    slope = -0.3 / (1 - 0.3) * (K - 1) / K
    assert float(losses[2] - losses[1]) == pytest.approx(900 * slope, rel=1e-9)


def test_the_forward_loss_is_minus_the_logarithm_of_the_noisy_probability():
    z, transition, y = logits(), table(), torch.arange(40) % K
    noisy = z.softmax(1) @ transition
    expected = -noisy.gather(1, y.unsqueeze(1)).squeeze(1).log()
    torch.testing.assert_close(sf.noisy_cross_entropy(z, y, transition, reduction="none"), expected, rtol=1e-12, atol=0)


def test_the_forward_loss_is_smallest_on_average_at_the_true_posterior():
    posterior, transition = logits(1).softmax(1), table()
    z = posterior.log().requires_grad_()
    mean = (every_label(z, transition) * (posterior @ transition)).sum()
    (grad,) = torch.autograd.grad(mean, z)
    assert grad.abs().max() < 1e-14


def test_without_noise_both_are_the_cross_entropy():
    z, y = logits(), torch.arange(40) % K
    for correction in ("forward", "backward"):
        found = sf.noisy_cross_entropy(z, y, torch.eye(K).double(), correction=correction)
        torch.testing.assert_close(found, F.cross_entropy(z, y), rtol=1e-13, atol=0)


Z, Y = torch.zeros(2, 2), torch.tensor([0, 1])
REFUSED = {  # what is given in place of Z, Y and no noise
    "shape": ({"transition": torch.eye(3)}, ValueError, r"transition must be \(2, 2\) as the logits, got \(3, 3\)"),
    "integers": ({"transition": torch.eye(2).long()}, TypeError, "transition must be floating, got torch.int64"),
    "rows": ({"transition": torch.tensor([[0.5, 0.5], [0.5, 0.6]])}, ValueError, "sum to 1, got 1.1.* in row 1"),
    "singular": ({"transition": torch.full((2, 2), 0.5), "correction": "backward"}, ValueError, "cannot be inverted"),
    "correction": ({"correction": "both"}, ValueError, "correction must be .* got 'both'"),
    "reduction": ({"reduction": "max"}, ValueError, "got 'max'"),
    "one row of logits": ({"input": Z[:1]}, ValueError, r"the target has positions \(2,\), the logits \(1,\)"),
    "no batch axis": ({"input": Z[0]}, ValueError, r"the target has positions \(2,\), the logits \(\)"),
    "more labels": ({"target": torch.tensor([0, 1, 0])}, ValueError, r"positions \(3,\), the logits \(2,\)"),
    "integer logits": ({"input": Z.long()}, ValueError, "logits must be floating, got torch.int64"),
    "a list": ({"input": [[0.0, 1.0]]}, TypeError, "logits must be a torch.Tensor, got list"),
    "a number": ({"input": torch.tensor(0.0)}, ValueError, "logits must have a class axis"),
    "label": ({"target": Y + 1}, IndexError, "label 2 in row 1 is not a class"),
}


@pytest.mark.parametrize(("given", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_said(given, error, message):
    with pytest.raises(error, match=message):
        sf.noisy_cross_entropy(**({"input": Z, "target": Y, "transition": torch.eye(2)} | given))
