"""Recall and precision of each class over the models of an arm."""

import numpy as np
import pytest

import sfumato as sf
from sfumato.evaluate import wilson


def test_each_class_has_the_mean_over_the_models_and_few_rows_that_are_alike_have_wilsons_interval():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [200, 60, 5])

    def model(arm):
        z = 2 * np.eye(3)[y] + rng.normal(size=(265, 3))
        z[y == 2, 2] += 20
        if arm == "hard":
            z[:, 2] = -9
        return {"logits": z, "labels": y}

    given = {arm: [model(arm) for _ in range(3)] for arm in ("hard", "smoothed")}
    found = sf.judge(given).summary["by_class"]
    assert [(each["name"], each["rows"]) for each in found] == [("class 0", 200), ("class 1", 60), ("class 2", 5)]
    for k, each in enumerate(found):
        for arm, models in given.items():
            recalls = [np.mean(one["logits"][y == k].argmax(axis=1) == k) for one in models]
            assert each["recall"][arm]["mean"] == pytest.approx(np.mean(recalls))
    rare = found[2]
    assert rare["precision"]["hard"] == {"mean": None, "low": None, "high": None}
    assert rare["recall"]["smoothed"]["mean"] == 1
    low, high = wilson(1.0, 5)
    assert (rare["recall"]["smoothed"]["low"], rare["recall"]["smoothed"]["high"]) == pytest.approx((low, high))
    common = found[0]["precision"]["smoothed"]
    assert 0.7 < common["low"] < common["mean"] < common["high"] < 1
