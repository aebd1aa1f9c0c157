"""The example of docs/python.md runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

TEXT = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")


def test_the_example_ends_in_probabilities(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    space = {}
    exec(example, space)
    assert capsys.readouterr().out.startswith(str(space["found"]))
    assert space["model"].classes_.tolist() == ["iris", "lily", "rose"]
    assert space["probabilities"].shape == (2, 3)
    assert np.allclose(space["probabilities"].sum(axis=1), 1)
