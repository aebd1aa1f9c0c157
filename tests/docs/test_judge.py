"""The examples of docs/judge.md run as they stand, and the first gives the sentences that the page begins with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "judge.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


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
    if number == 0:
        quoted = TEXT.split("$ sfumato judge scores --paired\n")[1].split("…")[0]
        assert words(" ".join(found.verdict["sentences"])).startswith(words(quoted))


def test_the_example_with_annotators_shows_the_divergence_of_each_arm(capsys):
    space = {}
    exec(EXAMPLES[2], space)
    divergence = {result.arm.name: result.metrics["kl"].by_seed.mean() for result in space["found"].arms}
    assert set(divergence) == {"one-hot", "soft"}
    assert divergence["one-hot"] > 4 * divergence["soft"]
    assert capsys.readouterr().out.splitlines()[-1].startswith("{'one-hot': ")


def words(text):
    """The text as one line without its numbers, whose last digits depend on the machine."""
    return re.sub(r"[−+]?\d*\.?\d+", "#", " ".join(text.split()))
