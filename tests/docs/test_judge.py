"""The examples of docs/judge.md run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "judge.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize(("number", "arms"), [(0, ["one-hot", "smoothed"]), (1, ["baseline", "forest"])])
def test_an_example_ends_in_a_judgement(number, arms, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    space = {}
    exec(EXAMPLES[number], space)
    found = space["found"]
    assert [result.arm.name for result in found.arms] == arms
    assert capsys.readouterr().out.splitlines()[-1] == found.verdict["sentences"][-1]
    assert all(result.metrics["accuracy"].by_seed.mean() > 0.85 for result in found.arms)
    assert found.groups == (None if number == 0 else 23)
