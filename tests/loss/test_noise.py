"""Losses that allow for wrong labels: their expectation over the noise, and the forms that they are equal to."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import sfumato as sf
from sfumato import theory
from tests import needs

K = 5


@pytest.fixture(params=needs.PATHS)
def path(request, monkeypatch):
    needs.path(request.param, monkeypatch)


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


def test_the_backward_loss_is_on_average_that_of_the_true_label(path):
    z, transition = logits(), table()
    losses = every_label(z, transition, correction="backward")
    for y in range(K):
        clean = F.cross_entropy(z, torch.full((len(z),), y), reduction="none")
        torch.testing.assert_close(losses @ transition[y], clean, rtol=1e-12, atol=1e-12)


def test_the_backward_gradient_is_on_average_that_of_the_true_label(path):
    z, transition = logits().requires_grad_(), table()
    losses = every_label(z, transition, correction="backward")
    (grad,) = torch.autograd.grad((losses @ transition[2]).sum(), z)
    expected = z.detach().softmax(1) - F.one_hot(torch.tensor(2), K)
    torch.testing.assert_close(grad, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("over", ["others", "all"])
def test_for_symmetric_noise_the_backward_loss_is_smoothing_by_a_negative_strength(over, path):
    z, y = logits(), torch.arange(40) % K
    transition = torch.from_numpy(theory.noise_transition(0.3, K, over=over))
    eps = theory.correction_eps(0.3, K, over=over)
    logp = z.log_softmax(1)
    true = logp.gather(1, y.unsqueeze(1)).squeeze(1)
    spread = logp.mean(1) if over == "all" else (logp.sum(1) - true) / (K - 1)
    expected = -(1 - eps) * true - eps * spread
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
    slope = theory.correction_eps(0.3, K, over="all") * (K - 1) / K
    assert float(losses[2] - losses[1]) == pytest.approx(900 * slope, rel=1e-9)
    assert slope < 0


def test_the_forward_loss_is_minus_the_logarithm_of_the_noisy_probability():
    z, transition, y = logits(), table(), torch.arange(40) % K
    noisy = z.softmax(1) @ transition
    expected = -noisy.gather(1, y.unsqueeze(1)).squeeze(1).log()
    torch.testing.assert_close(sf.noisy_cross_entropy(z, y, transition, reduction="none"), expected, rtol=1e-12, atol=0)


def test_the_forward_loss_is_smallest_on_average_at_the_true_posterior():
    posterior, transition = logits(1).softmax(1), table()
    z = posterior.log().requires_grad_()
    labels = torch.from_numpy(theory.noisy_posterior(posterior.numpy(), transition.numpy()))
    mean = (every_label(z, transition) * labels).sum()
    (grad,) = torch.autograd.grad(mean, z)
    assert grad.abs().max() < 1e-14


def test_without_noise_both_are_the_cross_entropy(path):
    z, y = logits(), torch.arange(40) % K
    for correction in ("forward", "backward"):
        found = sf.noisy_cross_entropy(z, y, torch.eye(K).double(), correction=correction)
        torch.testing.assert_close(found, F.cross_entropy(z, y), rtol=1e-13, atol=0)


@pytest.mark.parametrize("correction", ["forward", "backward"])
def test_ignored_rows_are_inert(correction, path):
    z, y = logits(6), torch.arange(6) % K
    y[2], z[2] = -100, torch.nan
    z.requires_grad_()
    found = sf.noisy_cross_entropy(z, y, table(), correction=correction)
    (grad,) = torch.autograd.grad(found, z)
    kept = [0, 1, 3, 4, 5]
    torch.testing.assert_close(found, sf.noisy_cross_entropy(z[kept], y[kept], table(), correction=correction))
    assert bool((grad[2] == 0).all())


@pytest.mark.parametrize("correction", ["forward", "backward"])
def test_pixels_are_positions(correction, path):
    z, y = logits(24), torch.arange(24) % K
    found = sf.noisy_cross_entropy(
        z.reshape(2, 3, 4, K).movedim(-1, 1), y.reshape(2, 3, 4), table(), correction=correction, reduction="none"
    )
    flat = sf.noisy_cross_entropy(z, y, table(), correction=correction, reduction="none")
    torch.testing.assert_close(found.reshape(-1), flat, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("correction", ["forward", "backward"])
def test_half_precision_is_the_float32_value_rounded_once(correction, dtype):
    z, y = logits().to(dtype), torch.arange(40) % K
    found = sf.noisy_cross_entropy(z, y, table(), correction=correction, reduction="none")
    wide = sf.noisy_cross_entropy(z.float(), y, table(), correction=correction, reduction="none")
    assert torch.equal(found, wide.to(dtype))


@pytest.mark.parametrize("correction", ["forward", "backward"])
def test_one_row_without_a_batch_axis_is_its_row(correction, path):
    z, transition = logits(3), table()
    rows = sf.noisy_cross_entropy(z, torch.tensor([2, 0, 1]), transition, correction=correction, reduction="none")
    for reduction in ("none", "mean", "sum"):
        alone = sf.noisy_cross_entropy(z[0], torch.tensor(2), transition, correction=correction, reduction=reduction)
        torch.testing.assert_close(alone, rows[0])


@pytest.mark.parametrize("correction", ["forward", "backward"])
def test_an_empty_batch_has_no_rows_the_sum_0_and_no_mean(correction, path):
    given = (torch.zeros(0, K), torch.zeros(0, dtype=torch.int64), torch.eye(K))
    none, total, mean = (
        sf.noisy_cross_entropy(*given, correction=correction, reduction=reduction)
        for reduction in ("none", "sum", "mean")
    )
    assert (none.shape, total.item()) == ((0,), 0.0)
    assert mean.isnan()


@pytest.mark.parametrize("correction", ["forward", "backward"])
def test_under_autocast_half_precision_is_float32(correction, path):
    with torch.autocast("cpu", torch.bfloat16):
        found = sf.noisy_cross_entropy(logits().bfloat16(), torch.arange(40) % K, table(), correction=correction)
    assert found.dtype == torch.float32


Z, Y = torch.zeros(2, 2), torch.tensor([0, 1])
REFUSED = {
    "shape": (
        lambda: sf.noisy_cross_entropy(Z, Y, torch.eye(3)),
        ValueError,
        r"transition must be \(2, 2\) as the logits, got \(3, 3\)",
    ),
    "integers": (
        lambda: sf.noisy_cross_entropy(Z, Y, torch.eye(2).long()),
        TypeError,
        "transition must be floating, got torch.int64",
    ),
    "rows": (
        lambda: sf.noisy_cross_entropy(Z, Y, torch.tensor([[0.5, 0.5], [0.5, 0.6]])),
        ValueError,
        "transition must sum to 1, got 1.1.* in row 1",
    ),
    "singular": (
        lambda: sf.noisy_cross_entropy(Z, Y, torch.full((2, 2), 0.5), correction="backward"),
        ValueError,
        "transition cannot be inverted",
    ),
    "correction": (
        lambda: sf.noisy_cross_entropy(Z, Y, torch.eye(2), correction="both"),
        ValueError,
        "correction must be .* got 'both'",
    ),
    "reduction": (lambda: sf.noisy_cross_entropy(Z, Y, torch.eye(2), reduction="max"), ValueError, "got 'max'"),
    "one row of logits": (
        lambda: sf.noisy_cross_entropy(Z[:1], torch.tensor([0, 1, 0]), torch.eye(2)),
        ValueError,
        r"the target has positions \(3,\), the logits \(1,\)",
    ),
    "no batch axis": (
        lambda: sf.noisy_cross_entropy(Z[0], Y, torch.eye(2)),
        ValueError,
        r"the target has positions \(2,\), the logits \(\)",
    ),
    "more labels": (
        lambda: sf.noisy_cross_entropy(Z, torch.tensor([0, 1, 0]), torch.eye(2)),
        ValueError,
        r"the target has positions \(3,\), the logits \(2,\)",
    ),
    "integer logits": (
        lambda: sf.noisy_cross_entropy(Z.long(), Y, torch.eye(2)),
        ValueError,
        "logits must be floating, got torch.int64",
    ),
    "a list": (
        lambda: sf.noisy_cross_entropy([[0.0, 1.0]], Y[:1], torch.eye(2)),
        TypeError,
        "logits must be a torch.Tensor, got list",
    ),
    "a number": (
        lambda: sf.noisy_cross_entropy(torch.tensor(0.0), Y[0], torch.eye(2)),
        ValueError,
        "logits must have a class axis",
    ),
    "label": (lambda: sf.noisy_cross_entropy(Z, Y + 1, torch.eye(2)), IndexError, "label 2 in row 1 is not a class"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_wrong_is_said(what):
    act, error, message = REFUSED[what]
    with pytest.raises(error, match=message):
        act()
