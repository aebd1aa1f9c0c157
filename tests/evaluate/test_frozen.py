"""Results of the metrics are those that were written down: a change is meant, and told in the changelog, or a mistake.

Values hold to a millionth: their last digits may differ between processors. The samples are in ``evaluate_samples``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import scipy.optimize  # noqa: F401  loading it changes the filters of warnings

from tests.evaluate.samples import everything, flat

SAID = json.loads((Path(__file__).parents[1] / "golden" / "evaluate_values.json").read_text(encoding="utf-8"))
NOW = everything()


def differences(was: Any, now: Any, where: str = "") -> list[str]:
    """Where two values differ."""
    if isinstance(was, dict) and isinstance(now, dict) and was.keys() == now.keys():
        return [text for key in was for text in differences(was[key], now[key], f"{where}/{key}")]
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        return [
            text for at, pair in enumerate(zip(was, now, strict=True)) for text in differences(*pair, f"{where}/{at}")
        ]
    numbers = isinstance(was, (int, float)) and isinstance(now, (int, float))
    same = now == pytest.approx(was, rel=1e-6, abs=1e-9) if numbers else was == now
    return [] if same else [f"{where}: was {was}, is {now}"]


def test_the_same_things_are_said():
    assert list(SAID) == list(NOW)


@pytest.mark.parametrize("name", SAID)
def test_what_is_said_is_as_it_was(name):
    assert differences(SAID[name], flat(NOW[name]())) == []
