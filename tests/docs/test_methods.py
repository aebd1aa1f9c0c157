"""The example of docs/methods.md counts confusions in the form that ``compare --arm confusion`` reads."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from sfumato.lab.data.class_table import read_class_table

TEXT = (Path(__file__).parents[2] / "docs" / "methods.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_confusions_are_counted_on_the_validation_rows_of_a_run(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = digits.folder / digits.json()["run"]
    (tmp_path / "first").symlink_to(run)
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    seeds = len(list((run / "logits").glob("one-hot-seed*-validation.npz")))
    exec(example.replace("range(5)", f"range({seeds})"), {})
    counts = read_class_table(tmp_path / "counts.csv", [str(k) for k in range(10)], math.isfinite, "is no number")
    expected = np.zeros((10, 10))
    for path in (run / "logits").glob("one-hot-seed*-validation.npz"):
        with np.load(path) as rows:
            for label, predicted in zip(rows["labels"], rows["logits"].argmax(1), strict=True):
                expected[label, predicted] += 1
    assert counts.sum() == seeds * 360
    np.testing.assert_array_equal(counts, expected)
