"""What is known of a table once it is split and encoded: its parts, its notes, its record, its fingerprint."""

import re

import numpy as np
import pytest

from sfumato import messages
from sfumato.lab.data import Numbers, Table
from sfumato.lab.data.noise import noise_of
from sfumato.lab.data.prepare import prepare_table, with_noise

X = np.random.default_rng(0).normal(size=(60, 4))
Y = np.arange(60) % 3
TABLE = Table("made", "npz", Numbers(X, ("a", "b", "c", "d"), (2, 2)), Y, ("x", "y", "z"))
PLAIN = prepare_table(TABLE)


def test_noise_is_noted_last():
    noisy = with_noise(PLAIN, noise_of("0.4", TABLE.class_names))
    assert messages.texts(noisy.notes) == (*messages.texts(PLAIN.notes), noisy.noisy.note()["text"])


@pytest.mark.parametrize(("asked", "close"), [("tests", "test"), ("quux", "train")])
def test_a_part_that_there_is_not_is_refused_with_the_nearest_or_the_first(asked, close):
    told = f'no part "{asked}"; did you mean "{close}"? Parts: train, validation, test'
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        PLAIN.arrays(asked)
