"""The files that the examples of the kinds of arms name, and the arm of a spec where they are."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sfumato.lab.arms import arm_of

LABELS = np.repeat([0, 1, 2], [5, 3, 2])
SOFT = 0.7 * np.eye(3)[LABELS] + 0.1
LIKENESS = [[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]
COUNTS = [[8, 2, 0], [1, 9, 0], [0, 0, 9]]


def table(rows, names):
    """A table with the names of the classes in its first line and in its first column."""
    lines = [f"{name},{','.join(map(str, row))}" for name, row in zip(names, rows, strict=True)]
    return "\n".join([",".join(["", *names]), *lines]) + "\n"


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A function that makes the arm of a spec, where the files of the examples are."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tree.json").write_text(json.dumps({"few": ["0"], "many": ["1", "2"]}))
    (tmp_path / "likeness.csv").write_text(table(LIKENESS, "012"))
    (tmp_path / "counts.csv").write_text(table(COUNTS, "012"))
    return lambda spec: arm_of(spec, LABELS, 3, SOFT, ("0", "1", "2"))
