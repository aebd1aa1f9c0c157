"""Clusters of features: against every pair of rows, scikit-learn's distances, and neural collapse made by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_distances

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


@pytest.mark.parametrize("k", [2, 3, 10])
def test_nc2_of_a_simplex_is_0_whatever_its_size_and_place(k):
    y = np.arange(3 * k) % k
    assert ev.nc2(5 * simplex(k)[y] + 7, y) == pytest.approx(0, abs=1e-12)


def test_nc2_is_the_distance_written_out():
    h, y = sample()
    means = np.stack([h[y == k].mean(axis=0) for k in range(4)])
    gram = (means - means.mean(axis=0)) @ (means - means.mean(axis=0)).T
    frame = (np.eye(4) - 0.25) / np.sqrt(3)
    assert ev.nc2(h, y) == pytest.approx(np.linalg.norm(gram / np.linalg.norm(gram) - frame), rel=1e-12)


def test_class_separation_is_that_of_scikit_learns_distances():
    h, y = sample(70)
    y[:20] = 0  # classes of unequal size
    distance = cosine_distances(h)
    blocks = np.array([[distance[np.ix_(y == a, y == b)].mean() for b in range(4)] for a in range(4)])
    assert ev.class_separation(h, y) == pytest.approx(1 - np.diag(blocks).mean() / blocks.mean(), rel=1e-12)


def test_rows_of_one_direction_are_not_apart_and_of_opposite_ones_wholly():
    y = np.array([0, 0, 1, 1])
    assert ev.class_separation(np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [1.0, 0.0]]), y) == 0.0
    assert ev.class_separation(np.array([[1.0, 0.0], [2.0, 0.0], [-3.0, 0.0], [-1.0, 0.0]]), y) == 1.0
    # within a class as far as between classes: means of 0, and a distance of 1 on average
    assert ev.class_separation(np.array([[1.0, 0.0], [-2.0, 0.0], [0.0, 3.0], [0.0, -1.0]]), y) == 0.0


def test_torch_and_numpy_features_give_the_same_numbers():
    h, y = sample()
    half = h.astype(np.float32)
    for measure in (ev.nc1, ev.nc2, ev.class_separation):
        assert measure(torch.from_numpy(half), torch.from_numpy(y)) == measure(half, y)


def test_many_rows_in_blocks_give_the_same_number(monkeypatch):
    h, y = sample()
    truth = [ev.nc1(h, y), ev.class_separation(h, y)]
    monkeypatch.setattr("sfumato.evaluate.metrics.features._BLOCK", 7)
    assert [ev.nc1(h, y), ev.class_separation(h, y)] == pytest.approx(truth, rel=1e-12)


@pytest.mark.parametrize(
    ("metric", "h", "y", "message"),
    [
        (ev.nc1, np.ones((3, 2)), np.array([0, 0, 0]), "at least 2 classes are needed, got 1"),
        (ev.nc1, np.ones((3, 2)), np.array([0, 1]), r"labels must be \(3,\), one a row of features, got shape \(2,\)"),
        (ev.nc1, np.ones(3), np.array([0, 1, 0]), r"features must be \(N, D\) and not empty, got shape \(3,\)"),
        (ev.nc1, np.array([[1.0], [np.nan]]), np.array([0, 1]), "features are not finite in row 1"),
        (ev.class_separation, np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([0, 1]), "features are all 0 in row 1"),
        (ev.nc2, np.ones((4, 2)), np.array([0, 1, 0, 1]), "means of all classes are equal"),
    ],
)
def test_features_that_cannot_be_used_are_named(metric, h, y, message):
    with pytest.raises(ValueError, match=message):
        metric(h, y)
