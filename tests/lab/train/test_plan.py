"""The budget of a run."""

from __future__ import annotations

import pytest

from sfumato.lab.choose_model import choose_model
from sfumato.lab.compare import compare
from sfumato.lab.data import prepare
from sfumato.lab.errors import OptionError
from sfumato.lab.options import Options
from sfumato.lab.train import Plan, default_plan, without_a_batch_of_one


def test_a_plan_of_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match='^precision must be "float32" or "bf16", got "fp8"$'):
        Plan(1, 64, 1e-3, precision="fp8")


def test_more_parts_than_pairs_of_rows_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError) as caught:
        compare(Options("digits", accumulate=33))
    assert str(caught.value) == (
        "--accumulate 33 would split a batch of 64 rows into parts of less than two; use at most 32, or a larger "
        "--batch-size"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_batch_of_one_row_is_avoided_where_a_model_normalises_over_the_batch():
    data = prepare("digits")
    chosen = choose_model(Options("digits", model="cnn"), data)
    assert chosen.batch_norm
    assert without_a_batch_of_one(Plan(1, 64, 1e-3), 129, "cnn", asked=False) == Plan(1, 63, 1e-3)
    assert without_a_batch_of_one(Plan(1, 64, 1e-3), 130, "cnn", asked=False) == Plan(1, 64, 1e-3)
    with pytest.raises(OptionError) as caught:
        without_a_batch_of_one(Plan(1, 64, 1e-3), 129, chosen.name, asked=True)
    assert str(caught.value) == (
        "--batch-size 64 leaves a batch of one of the 129 training rows, and cnn normalises over the batch; 63 "
        "leaves none"
    )


@pytest.mark.parametrize(("rows", "size", "instead"), [(57, 8, 6), (4033, 64, 62), (3, 2, 3), (7, 3, 4), (7, 2, 4)])
def test_the_size_that_is_taken_instead_leaves_no_batch_of_one_row_either(rows, size, instead):
    assert rows % size == 1
    taken = without_a_batch_of_one(Plan(1, size, 1e-3), rows, "cnn", asked=False).batch_size
    assert (taken, rows % taken != 1) == (instead, True)


def test_batches_of_one_row_are_refused_where_a_model_normalises_over_the_batch():
    with pytest.raises(OptionError) as caught:
        without_a_batch_of_one(Plan(1, 1, 1e-3), 1078, "cnn", asked=True)
    assert str(caught.value) == (
        "--batch-size 1 leaves a batch of one of the 1,078 training rows, and cnn normalises over the batch; 2 "
        "leaves none"
    )


@pytest.mark.parametrize(
    ("rows", "epochs", "batch"), [(20, 300, 8), (1078, 59, 64), (4199, 40, 64), (100_000, 40, 256), (10**6, 5, 256)]
)
def test_the_default_budget_is_full_for_small_data_and_bounded_for_large(rows, epochs, batch):
    plan = default_plan(rows, epochs=None, batch_size=None, learning_rate=1e-3, least_epochs=40)
    assert (plan.epochs, plan.batch_size) == (epochs, batch)
