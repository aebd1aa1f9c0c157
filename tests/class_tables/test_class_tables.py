"""Tables of rows: limits that give targets known otherwise, and what is refused. The formulas are in the registry."""

from __future__ import annotations

import math

import pytest
import torch

import sfumato as sf

EYE = torch.eye(3, dtype=torch.float64)


def test_an_order_of_equal_steps_over_two_classes_is_smoothing():
    rows = sf.class_tables.ordinal(torch.tensor([3.0, 5.0], dtype=torch.float64), 0.5)
    eps = 1 / (1 + math.exp(2 / 0.5))
    torch.testing.assert_close(rows, sf.smooth(torch.arange(2), 2, eps, over="others").to_dense(torch.float64))


def test_the_order_is_that_of_the_values_and_not_of_the_numbers_of_the_classes():
    rows = sf.class_tables.ordinal(torch.tensor([0.0, 2.0, 1.0]), 1.0)
    assert rows[0, 2] > rows[0, 1]


@pytest.mark.parametrize("over", ["others", "all"])
def test_confusions_that_count_nothing_are_plain_smoothing(over):
    rows = sf.class_tables.confusion(torch.zeros(4, 4, dtype=torch.float64), 0.2, over=over, shrinkage=1.0)
    even = sf.smooth(torch.arange(4), 4, 0.2, over=over).to_dense(torch.float64)
    torch.testing.assert_close(rows, even, rtol=1e-14, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_rows_have_the_type_of_what_they_are_made_from_and_whole_numbers_the_default(dtype):
    square = EYE.to(dtype)
    for rows in (
        sf.class_tables.ordinal(torch.arange(3).to(dtype), 1.0),
        sf.class_tables.similarity(square, 1.0),
        sf.class_tables.confusion(square, 0.1, over="all", shrinkage=1),
        sf.class_tables.hierarchy([0, 1, 2], 1.0, dtype=dtype),
    ):
        assert rows.dtype == dtype
    assert (
        sf.class_tables.ordinal(torch.arange(3), 1.0).dtype
        == sf.class_tables.hierarchy([0, 1, 2], 1.0).dtype
        == torch.float32
    )


TABLES = sf.class_tables
TWO, NAN = torch.eye(2), math.nan
REFUSED = [
    (lambda: TABLES.ordinal(torch.tensor([1.0]), 1.0), "one real number a class"),
    (lambda: TABLES.ordinal(torch.tensor([0.0, 1.0, NAN]), 1.0), "values must be finite, got nan for class 2"),
    (lambda: TABLES.ordinal(torch.arange(3), 0.0), "tau must be above 0 and finite, got 0"),
    (lambda: TABLES.ordinal(torch.arange(3), 1.0, power=math.inf), "power must be above 0 and finite"),
    (lambda: TABLES.hierarchy([0, 1], -1.0), "beta must be above 0 and finite, got -1"),
    (lambda: TABLES.similarity(torch.ones(2, 3), 1.0), r"similarities must be \(K, K\), .*float32 \(2, 3\)"),
    (
        lambda: TABLES.similarity(2 - 2 * TWO, 1.0),
        "class 0 resembles class 1 more than itself: 2 against 0; .* negated",
    ),
    (lambda: TABLES.similarity(TWO * math.inf, 1.0), "similarities must be finite, got inf for class 0 in row 0"),
    (lambda: TABLES.confusion(-TWO, 0.1, over="all", shrinkage=1), "counts must .* got -1 for class 0 in row 0"),
    (lambda: TABLES.confusion(EYE, 0.1, over="all", shrinkage=-1.0), "shrinkage must be at least 0 and finite, got -1"),
    (lambda: TABLES.confusion(EYE, 0.1, over="others", shrinkage=0), "class 0 was never taken for another class"),
    (lambda: TABLES.confusion(EYE, 1.1, over="all", shrinkage=1), r"eps must be in \[0, 1\], got 1.1"),
    (lambda: TABLES.confusion(EYE, 0.1, over="rest", shrinkage=1), "over must be .* got 'rest'"),
]


@pytest.mark.parametrize(("act", "message"), REFUSED)
def test_what_is_wrong_is_said(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_what_is_no_tensor_is_refused_by_type():
    for act in (lambda: TABLES.ordinal([0, 1], 1.0), lambda: TABLES.similarity([[1, 0], [0, 1]], 1.0)):
        with pytest.raises(TypeError, match=r"torch\.Tensor"):
            act()
