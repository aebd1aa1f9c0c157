"""What tests of several adapters share: a few digits, the closed form to be reached, and the page's blocks."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sfumato as sf

PAGE = Path(__file__).parents[2] / "docs" / "adapters.md"
CLASSES = 10


def sections() -> dict[str, list[str]]:
    """The blocks of code of docs/adapters.md, in order, by the title of their section."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {
        title: re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
        for title, text in zip(parts[::2], parts[1::2], strict=True)
    }


def run_block(title: str, number: int, names: dict[str, Any]) -> dict[str, Any]:
    """Run one block of a section of the page, after the imports of those before it; the names that it leaves."""
    space, blocks = {"sf": sf, "np": np, **names}, sections()[title]
    exec("".join(re.findall(r"^from sfumato.*\n", "".join(blocks[:number]), flags=re.MULTILINE)), space)
    exec(blocks[number], space)
    return space


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """600 pictures of digits as numbers from 0 to 1, (600, 64) float32, and their labels, int64."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return (X[:600] / 16).astype(np.float32), y[:600].astype(np.int64)


def assert_at_closed_form(logits: Any, labels: Any, over: str, *, eps: float = 0.1, rel: float = 0.1) -> None:
    """The mean gap of rows that were trained on is the closed form's, to within 10 %."""
    logits = np.asarray(logits)
    wanted = sf.theory.optimal_gap(eps, logits.shape[1], over=over)
    assert sf.evaluate.logit_gap(logits, np.asarray(labels)).mean() == pytest.approx(wanted, rel=rel)


def assert_both_arms(folder: Path, validation: int | None = None) -> None:
    """That judge reads what a block of the page saved: both arms, and as many validation rows."""
    found = sf.judge(folder / "scores").to_dict()
    assert ([arm["name"] for arm in found["arms"]], found["data"]["validation"]) == (
        ["one-hot", "smoothed"],
        validation,
    )
