"""Targets from counts: the estimate of the concentration against its model, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import sfumato as sf


def test_the_posterior_mean_is_that_of_a_dirichlet_integrated_by_hand():
    """K = 2: the mean of θ under θ^(a−1)·(1−θ)^(b−1)·θ^n₁·(1−θ)^n₂, by a quadrature."""
    kappa, prior, n = 3.0, 0.7, (2, 1)
    theta = (np.arange(200_000) + 0.5) / 200_000
    density = theta ** (kappa * prior - 1 + n[0]) * (1 - theta) ** (kappa * (1 - prior) - 1 + n[1])
    mean = (theta * density).sum() / density.sum()
    q = sf.from_counts(torch.tensor([n]).double(), kappa, prior=torch.tensor([prior, 1 - prior]).double())
    assert q.to_dense(torch.float64)[0, 0].item() == pytest.approx(mean, rel=1e-5)


def test_a_large_sample_of_the_model_gives_back_its_concentration():
    generator = np.random.default_rng(0)
    pi, kappa = np.array([0.5, 0.3, 0.2]), 4.0
    theta = generator.dirichlet(kappa * pi, 40_000)
    counts = np.stack([generator.multinomial(5, each) for each in theta])
    # The standard error of this estimate is about 0.04, found by repeating it with 20 seeds.
    assert sf.fit_concentration(torch.from_numpy(counts)) == pytest.approx(kappa, abs=0.15)


def test_the_estimate_is_exact_where_pairs_agree_as_often_as_the_model_says():
    """All pairs of answers to rows, each as often as its chance: (1 + κC)/(1 + κ) of them agree."""
    pi = torch.tensor([0.75, 0.25], dtype=torch.float64)
    kappa, agree = 3.0, (torch.tensor([0.75, 0.25]) * (3 * torch.tensor([0.75, 0.25]) + 1) / 4).double()
    rows = torch.tensor([[2, 0]] * int(64 * agree[0]) + [[0, 2]] * int(64 * agree[1]))
    rows = torch.cat([rows, torch.tensor([[1, 1]] * (64 - len(rows)))])
    assert sf.fit_concentration(rows, prior=pi) == pytest.approx(kappa, rel=1e-12)


def test_it_is_one_over_the_kappa_of_fleiss_less_one():
    """Fleiss 1971, table 1: 30 patients, 6 psychiatrists, 5 categories, κ = 0.430."""
    counts = torch.tensor(
        [[0, 0, 0, 6, 0], [0, 3, 0, 0, 3], [0, 1, 4, 0, 1], [0, 0, 0, 0, 6], [0, 3, 0, 3, 0], [2, 0, 4, 0, 0],
         [0, 0, 4, 0, 2], [2, 0, 3, 1, 0], [2, 0, 0, 4, 0], [0, 0, 0, 0, 6], [1, 0, 0, 5, 0], [1, 1, 0, 4, 0],
         [0, 3, 3, 0, 0], [1, 0, 0, 5, 0], [0, 2, 0, 3, 1], [0, 0, 5, 0, 1], [3, 0, 0, 1, 2], [5, 1, 0, 0, 0],
         [0, 2, 0, 4, 0], [1, 0, 2, 0, 3], [0, 0, 0, 0, 6], [0, 1, 0, 5, 0], [0, 2, 0, 1, 3], [2, 0, 0, 4, 0],
         [1, 0, 0, 4, 1], [0, 5, 0, 1, 0], [4, 0, 0, 0, 2], [0, 2, 0, 4, 0], [1, 0, 5, 0, 0], [0, 0, 0, 0, 6]]
    )  # fmt: skip
    assert 1 / (1 + sf.fit_concentration(counts)) == pytest.approx(0.430, abs=0.0005)


def test_annotators_who_always_agree_need_no_prior_and_those_who_never_do_give_the_prior_alone():
    assert sf.fit_concentration(torch.tensor([[3, 0], [0, 2]])) == 0.0
    assert sf.fit_concentration(torch.tensor([[1, 1], [1, 1]])) == math.inf


def test_rows_with_one_answer_change_only_the_prior():
    counts = torch.tensor([[3, 0], [0, 2], [1, 1]])
    prior = torch.tensor([0.5, 0.5])
    more = torch.cat([counts, torch.tensor([[1, 0], [0, 1]])])
    assert sf.fit_concentration(more, prior=prior) == sf.fit_concentration(counts, prior=prior)


def test_masked_rows_may_hold_anything():
    counts = torch.tensor([[1.0, 3.0], [math.nan, -1.0]])
    target = sf.from_counts(counts, 0.0, mask=torch.tensor([True, False]))
    assert target.probs().tolist() == [[0.25, 0.75], [0.0, 0.0]]
