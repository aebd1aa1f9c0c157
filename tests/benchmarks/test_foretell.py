"""benchmarks/foretell.py: its regression is scikit-learn's, and it finds a rule where there is one."""

from __future__ import annotations

import math

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def row(name, family, log_ratio, told):
    """A row of the stage "smoothing" whose log loss changes by a factor, and its other metrics not at all."""
    one_hot = {"nll_after_temperature": {"mean": 1.0}, "accuracy": {"mean": 0.8}, "eaurc": {"mean": 0.1}}
    smoothed = one_hot | {"nll_after_temperature": {"mean": math.exp(log_ratio)}}
    return {"set": name, "family": family, "metrics": [one_hot, smoothed], "aurc": [0.2, 0.2], "beforehand": told}


def told(rng, temperature):
    return {
        "log_temperature": temperature,
        "train_gap": float(rng.uniform(5, 20)),
        "train_nll": float(rng.uniform(0, 0.1)),
        "validation_nll": float(rng.uniform(0.2, 2)),
        "validation_nll_after_temperature": float(rng.uniform(0.2, 1)),
        "validation_error": float(rng.uniform(0, 0.5)),
        "noise": float(rng.uniform(0, 0.2)),
        "classes": int(rng.integers(2, 30)),
        "train_rows": int(rng.integers(300, 1800)),
    }


def test_the_ridge_is_that_of_scikit_learn(load):
    foretell = load("foretell")
    rng = np.random.default_rng(0)
    x, y, new = rng.normal(3, 2, size=(30, 8)), rng.normal(size=30), rng.normal(3, 2, size=(5, 8))
    theirs = make_pipeline(StandardScaler(), Ridge(alpha=foretell.STRENGTH)).fit(x, y).predict(new)
    np.testing.assert_allclose(foretell.ridge(x, y, new), theirs, rtol=1e-12)


def test_a_rule_that_is_there_is_found_and_ships(load):
    rng = np.random.default_rng(1)
    temperatures = rng.normal(size=60)
    rows = [row(f"s{n}", f"s{n}", -0.1 * float(t), told(rng, float(t))) for n, t in enumerate(temperatures)]
    found = load("foretell").foretell(rows)
    assert np.mean(np.array(found.smooth) == (temperatures > 0)) > 0.9
    assert found.high < 0
    assert found.ships


def test_no_rule_ships_where_the_outcome_is_chance(load):
    foretell = load("foretell")
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows = [row(f"s{n}", f"s{n}", float(rng.normal(0, 0.1)), told(rng, float(rng.normal()))) for n in range(33)]
        assert not foretell.foretell(rows).ships


def test_a_set_is_not_foretold_by_its_own_family(load):
    rng = np.random.default_rng(2)
    numbers = told(rng, 1.0)
    # Two sets of one family are equal and smooth gains there; every other set says that it costs.
    family = [row(f"f{n}", "f", -0.2, numbers) for n in range(2)]
    others = [row(f"s{n}", f"s{n}", 0.2, told(rng, float(rng.normal()))) for n in range(30)]
    assert load("foretell").foretell(family + others).smooth[:2] == (False, False)


def test_fewer_than_24_sets_ship_nothing(load):
    rng = np.random.default_rng(3)
    temperatures = np.sign(rng.normal(size=23))
    rows = [row(f"s{n}", f"s{n}", -0.1 * float(t), told(rng, float(t))) for n, t in enumerate(temperatures)]
    found = load("foretell").foretell(rows)
    assert found.high < 0
    assert not found.ships


def test_a_set_without_a_mistake_has_no_ranking_to_judge(load):
    numbers = row("s", "s", 0.0, {}) | {"aurc": [0.0, 0.1]}
    assert load("foretell").outcome(numbers, "eaurc") == 0.0
