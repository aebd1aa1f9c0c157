"""Helpers of the tests of the probe: a smoothed loss of torch, and the findings as codes."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch.nn.functional as F
from torch import Tensor

from sfumato.probe import ProbeFinding

EPS = 0.1


def smoothed(logits: Tensor, labels: Tensor, **options) -> Tensor:
    return F.cross_entropy(logits, labels, label_smoothing=EPS, **options)


def codes(findings: Iterable[ProbeFinding], level: str = "") -> list[str]:
    """The findings as ``"level: code"``."""
    return [f"{each.level}: {each.code}" for each in findings if each.level.startswith(level)]


def text_of(findings: Iterable[ProbeFinding], code: str) -> str:
    """The text of the only finding of a code."""
    (text,) = [each.text for each in findings if each.code == code]
    return text


def assert_frozen(file: Path, name: str, value: dict[str, Any]) -> None:
    """The value of a name in a JSON file, with numbers to 1e-6; ``SFUMATO_RENEW=1`` writes it anew."""
    frozen = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if os.environ.get("SFUMATO_RENEW"):
        rows = {**frozen, name: value}
        lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(rows[key], ensure_ascii=False)}" for key in sorted(rows))
        file.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
        return
    assert {key: _near(frozen[name][key]) for key in value} == value


def _near(value: Any) -> Any:
    numbers = value if isinstance(value, list) else [value]
    is_near = bool(numbers) and all(isinstance(each, float) for each in numbers)
    return pytest.approx(value, rel=1e-6, abs=1e-9) if is_near else value
