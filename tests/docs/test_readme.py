"""README.md: the verdict that it quotes is that of the digits, its lines of the loss run, and it stays short."""

from __future__ import annotations

import re
from pathlib import Path

import torch

import sfumato as sf
from tests.docs.alike import NUMBER

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
K = 3
X = torch.randn(24, K, generator=torch.Generator().manual_seed(0))
LABELS = (X[:, 0] > 0).long() + (X[:, 1] > 0).long()


def test_the_lines_of_the_loss_run_and_the_first_is_that_of_torch():
    (code,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    given = {"logits": X, "labels": LABELS, "K": K, "a": LABELS, "b": LABELS.flip(0), "lam": 0.3}
    space = given | {"prior": torch.tensor([0.5, 0.3, 0.2])}
    first, *_ = re.findall(r"^loss = .*$", code, re.MULTILINE)
    exec(f"import sfumato as sf\n{first}", space)
    torch.testing.assert_close(space["loss"], torch.nn.functional.cross_entropy(X, LABELS, label_smoothing=0.1))
    exec(code, space)
    assert space["loss"].isfinite()


def test_it_can_be_read_in_a_minute():
    assert len(TEXT.splitlines()) <= 110
    assert len(TEXT.split()) <= 900


def test_the_gaps_of_the_two_conventions_are_the_closed_forms():
    shown = re.search(r"With 10 classes and ε = 0.1, the gaps are (\d\.\d+) and (\d\.\d+)", TEXT)
    assert shown is not None
    assert [f"{sf.theory.optimal_gap(0.1, 10, over=over):.3f}" for over in ("all", "others")] == list(shown.groups())


def test_the_verdict_that_it_quotes_is_that_of_the_digits(digits):
    quoted = TEXT.split("begins with the verdict:")[1].split("```")[1].strip("\n")
    printed = " ".join(digits.json()["verdict"]["sentences"][:2])
    one, other = (NUMBER.sub("#", text) for text in (" ".join(quoted.split()), printed))
    assert one == other  # last digits depend on the machine
