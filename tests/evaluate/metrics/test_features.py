"""Clusters of features: the trace written out, and neural collapse made by hand."""

import numpy as np
import pytest
import torch

import sfumato.evaluate as ev


def sample(n=90, d=6, k=4, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    return rng.normal(size=(n, d)) + rng.normal(size=(k, d))[y] * 2, y


def simplex(k):
    """k points of a simplex equiangular tight frame."""
    return np.eye(k) - 1 / k


def test_nc1_is_the_trace_written_out():
    h, y = sample()
    means = np.stack([h[y == k].mean(axis=0) for k in range(4)])
    within = sum(np.outer(row - means[c], row - means[c]) for row, c in zip(h, y, strict=True)) / len(h)
    between = sum(np.outer(m - means.mean(axis=0), m - means.mean(axis=0)) for m in means) / 4
    assert ev.nc1(h, y) == pytest.approx(np.trace(within @ np.linalg.pinv(between)) / 4, rel=1e-9)


def test_nc1_of_collapsed_features_is_0_and_scales_with_their_spread():
    y = np.arange(40) % 4
    points = simplex(4)[y]
    assert ev.nc1(points, y) == pytest.approx(0, abs=1e-12)
    noise = np.random.default_rng(0).normal(size=points.shape)
    small, large = (ev.nc1(points + s * noise, y) for s in (1e-3, 1e-2))
    assert large == pytest.approx(100 * small, rel=0.05)


def test_torch_and_numpy_features_give_the_same_numbers():
    h, y = sample()
    half = h.astype(np.float32)
    assert ev.nc1(torch.from_numpy(half), torch.from_numpy(y)) == ev.nc1(half, y)


def test_many_rows_in_blocks_give_the_same_number(monkeypatch):
    h, y = sample()
    truth = ev.nc1(h, y)
    monkeypatch.setattr("sfumato.evaluate.metrics.features._BLOCK", 7)
    assert ev.nc1(h, y) == pytest.approx(truth, rel=1e-12)


@pytest.mark.parametrize(
    ("h", "y", "message"),
    [
        (np.ones((3, 2)), np.array([0, 0, 0]), "at least 2 classes are needed, got 1"),
        (np.ones((3, 2)), np.array([0, 1]), r"labels must be \(3,\), one a row of features, got shape \(2,\)"),
        (np.ones(3), np.array([0, 1, 0]), r"features must be \(N, D\) and not empty, got shape \(3,\)"),
        (np.array([[1.0], [np.nan]]), np.array([0, 1]), "features are not finite in row 1"),
    ],
)
def test_features_that_cannot_be_used_are_named(h, y, message):
    with pytest.raises(ValueError, match=message):
        ev.nc1(h, y)
