"""Classes, soft labels, weights and given parts: what is taken, and where the line is drawn."""

import numpy as np
import pytest

from sfumato.lab.data.labels import (
    check_classes,
    check_soft,
    merge_labels,
    order_classes,
    parts_of,
    refuse_numbers,
    soft_class_names,
    warn_of_classes,
    weights_of,
)
from tests.lab.data import refused


def where(row):
    return f"row {row}"


@pytest.mark.parametrize(
    ("values", "ordered"),
    [
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["10", "9", "b"], ("10", "9", "b")),
        (["1" * 18, "9"], ("9", "1" * 18)),
        (["1" * 19, "9"], ("1" * 19, "9")),  # longer ones are ids, and text
    ],
)
def test_classes_are_sorted_as_numbers_where_all_are_whole_and_as_text_otherwise(values, ordered):
    codes, names = order_classes(np.arange(len(values)), values)
    assert names == ordered
    assert [names[code] for code in codes] == values


def test_a_class_needs_as_many_rows_as_parts_are_cut():
    told = {"where": "y", "way_out": "Add rows"}
    check_classes("f", np.array([0, 0, 0, 1, 1, 1]), ("a", "b"), **told)
    assert refused(check_classes, "f", np.array([0, 0, 0, 1, 1]), ("a", "b"), **told).startswith(
        'f: class "b" of y has 2 rows; each'
    )
    assert refused(check_classes, "f", np.array([1, 1, 1, 2]), ("a", "b", "c"), **told).startswith(
        'f: class "a" of y has 0 rows; each class needs at least 3, '
    )
    assert refused(check_classes, "f", np.array([0, 0, 0]), ("a",), **told).startswith(
        'f: y holds one class only, "a"; at'
    )


@pytest.mark.parametrize(
    ("values", "rows", "is_refused"),
    [
        ([f"{i}.5" for i in range(20)], 3, False),
        ([f"{i}.5" for i in range(21)], 3, True),
        ([f"{i}" for i in range(21)], 3, False),
        ([f"{i}" for i in range(21)], 2, True),
        ([*(f"{i}" for i in range(21)), "x"], 1, False),
    ],
)
def test_more_than_twenty_numbers_are_no_classes_if_they_have_decimals_or_few_rows(values, rows, is_refused):
    given = ("f", "c", np.repeat(np.arange(len(values)), rows), values, 3)
    if not is_refused:
        refuse_numbers(*given)
        return
    assert refused(refuse_numbers, *given).startswith(
        f'f: column "c" looks like a number to predict, with 21 different values from {values[0]} to {values[-1]}; '
    )


def test_a_thousand_classes_are_a_warning_with_the_least_the_most_and_the_median_of_their_rows():
    def told(classes):
        rows = np.concatenate([np.arange(classes), np.zeros(1233, int), np.arange(classes), np.arange(1, classes)])
        return [each.text for each in warn_of_classes(rows, [str(k) for k in range(classes)], "word")]

    assert told(999) == []
    assert told(1000) == [
        "`word` has 1,000 classes with 3 to 1,235 rows each (the median is 3): is it the column of classes? If not, "
        "name that with --label."
    ]


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["no", "yes"], None),
        (["A", "a", "b"], None),  # letters
        (["0", "1", "1.0", "01"], '"1", "1.0" and "01"'),
        (["1,5", "1.5", "15"], '"1,5" and "1.5"'),
        (["9007199254740992", "9007199254740993", "1e5"], None),
        (["-1", "\u22121", "1"], '"-1" and "\\u22121"'),
        (["caf\xe9", "cafe\u0301", "cafe"], '"caf\xe9" and "cafe\\u0301"'),
        (["yes", "yes\u200b", "yes."], '"yes", "yes\\u200b" and "yes."'),
        (["A", "\u0410", "a"], '"A" and "\\u0410"'),
        (["18-25", "18\u201325"], '"18-25" and "18\u201325"'),
        (["<=50K", ">50K", ">50K."], '">50K" and ">50K."'),
        (["A", "A+", "A-", "C", "C++", "C#", "?", "!"], None),
        (["\u0434\u0430", "\u043d\u0435\u0442"], None),
        (["New York", "new-york", "NEW_YORK", "York"], '"New York", "new-york" and "NEW_YORK"'),
        ([f"{x}{k}" for k in range(6) for x in "Aa"],
         '"A0" and "a0"; "A1" and "a1"; "A2" and "a2"; "A3" and "a3"; and 2 more'),
    ],
)  # fmt: skip
def test_classes_that_are_written_alike_are_a_warning(names, told):
    rows = np.repeat(np.arange(len(names)), 3)
    start, end = "Classes of `paid` are written alike: ", ". If these are the same, write them the same way."
    assert [each.text for each in warn_of_classes(rows, names, "paid")] == (
        [] if told is None else [start + told + end]
    )


@pytest.mark.parametrize(("second", "total"), [(0.501, 1.001), (0.499, 0.999), (0.5, 1.0)])
def test_soft_labels_a_thousandth_from_1_are_divided_by_their_sum(second, total):
    assert np.allclose(check_soft(np.array([[0.5, second]]), where, "ab"), [[0.5 / total, second / total]], rtol=1e-15)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ([0.5, 0.5011], "sum to 1.0011, not to 1; divide each row by its sum"),
        ([0.5, 0.4989], "sum to 0.9989, not to 1; divide each row by its sum"),
        ([2, 1], "sum to 3, not to 1; divide votes by their number"),
        ([0, 0], "sum to 0, not to 1; drop the row"),
    ],
)
def test_soft_labels_further_from_1_are_refused_with_the_way_out(row, says):
    assert refused(check_soft, np.array([[0.5, 0.5], row]), where, "ab") == f"row 1: soft labels a to b {says}"


@pytest.mark.parametrize(("value", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (-1e-9, "-1e-09")])
def test_the_first_soft_label_that_is_no_probability_is_named(value, shown):
    given = np.array([[0.0, 1.0], [0.5, value], [value, 1.0]])
    assert refused(check_soft, given, where, "ab") == (f"row 1: soft label b is {shown}; probabilities are from 0 to 1")


@pytest.mark.parametrize(("value", "shown"), [(0.0, "0"), (-1.0, "-1"), (np.inf, "inf"), (np.nan, "nan")])
def test_the_first_weight_that_is_not_finite_and_above_0_is_named(value, shown):
    assert refused(weights_of, np.array([0.5, 1.0, value, value]), where, "w").startswith(
        f'row 2: weight "w" is {shown};'
    )


def test_parts_are_known_by_their_usual_names():
    names = ["Train", "training", "validation", "val", "VALID", "dev", "test", "testing"]
    assert parts_of(np.arange(8), names, where, "s").tolist() == [0, 0, 1, 1, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["train", "holdout"], 'row 1: column "s" holds "holdout"; it must say train, validation or test'),
        (["val", "test"], 'column "s" marks no row as train; it holds "val", "test"'),
        (["train", "training"], 'column "s" marks every row as train; mark some as test, or leave'),
    ],
)
def test_parts_that_leave_nothing_to_train_or_test_on_are_refused(names, says):
    assert refused(parts_of, np.array([0, 1]), names, where, "s").startswith(says)


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (["p_cat", "p_dog"], ("cat", "dog")),
        (["p_a", "p_ab"], ("a", "ab")),
        (["p.x_1", "p.x_2"], ("1", "2")),
        (["cat", "car"], ("cat", "car")),
        (["p_", "p_b"], ("p_", "p_b")),  # a class needs a name
        (["_a", "_b"], ("a", "b")),
    ],
)
def test_classes_of_soft_labels_are_called_as_their_columns_without_what_all_begin_with(columns, names):
    assert soft_class_names(columns) == names


def test_hard_labels_beside_soft_ones_are_numbered_as_these():
    assert merge_labels(np.array([1, 0, 1]), ["cat", "dog"], ("dog", "cow", "cat"), where, "c").tolist() == [0, 2, 0]
    assert refused(merge_labels, np.array([0, 1, 1]), ["cat", "cod"], ("dog", "cat"), where, "c").startswith(
        'row 1: label "cod" of column "c" is'
    )
