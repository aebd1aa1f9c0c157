"""Options of a comparison as keywords: what becomes of values that Python has, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sfumato.from_python.compare import options_of
from sfumato.lab.errors import OptionError
from sfumato.lab.options import Options


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"seeds": np.int64(3)}, {"seeds": 3}),
        ({"eps": np.float32(0.5)}, {"eps": 0.5}),
        ({"learning_rate": 1}, {"learning_rate": 1.0}),
        ({"out": Path("runs/mine")}, {"out": "runs/mine"}),
        ({"ladder": [0, 0.05, 0.1]}, {"ladder": "0,0.05,0.1"}),
        ({"drop": ("a", "b")}, {"drop": "a,b"}),
        ({"model": None}, {}),
    ],
)
def test_a_value_of_python_is_stored_as_the_command_would_store_it(given, stored):
    assert options_of("digits", given) == Options("digits", **stored)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"seeds": "3"}, "seeds must be a whole number, got '3'"),
        ({"seeds": 3.0}, "seeds must be a whole number, got 3.0"),
        ({"seeds": True}, "seeds must be a whole number, got True"),
        ({"eps": "0.1"}, "eps must be a number, got '0.1'"),
        ({"over": "any"}, """over must be "others" or "all", got 'any'"""),
        ({"model": 3}, "model must be text, got 3"),
        ({"weight": [1, 2]}, "weight must be text, got [1, 2]"),
        ({"data": "x"}, 'compare has no option "data".'),
        ({"sedes": 3}, 'compare has no option "sedes". Did you mean "seeds"? All: label, label_probs, '),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(given, text):
    with pytest.raises(OptionError) as refused:
        options_of("digits", given)
    assert str(refused.value).startswith(text)
