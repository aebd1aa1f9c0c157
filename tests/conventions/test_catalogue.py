"""Formulas against values that the projects' own source gave: see tests/golden/make_convention_values.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sfumato import conventions

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "convention_values.json").read_text(encoding="utf-8"))
ARRAYS = {name: np.array(values) for name, values in GOLDEN["arrays"].items()}
CASES = GOLDEN["values"]


def _name(case):
    rest = [f"{k}={v}" for k, v in case.items() if k not in ("formula", "value", "eps")]
    return f"{case['formula']}-{'-'.join(rest)}"


@pytest.mark.parametrize("case", CASES, ids=map(_name, CASES))
def test_the_formula_gives_the_value_of_its_source(case):
    options = {k: ARRAYS.get(v, v) if isinstance(v, str) else v for k, v in case.items()}
    formula, eps, labels = (options.pop(name) for name in ("formula", "eps", "labels"))
    expected = options.pop("value")
    value = conventions.find(formula).loss(ARRAYS["LOGITS"], labels, eps, **options)
    float32 = ("onmt2", "joeynmt", "mm", "classy", "coincheung", "tfkd.ls", "megatron", "vissl")  # their targets are
    assert value == pytest.approx(expected, rel=3e-7 if formula.startswith(float32) else 1e-12)
