"""Data from Python: a table in any form, with its labels within or beside it, is the same table."""

from __future__ import annotations

import numpy as np
import pandas
import pyarrow as pa
import pytest
import torch

from sfumato.lab.data import DataError, Roles
from sfumato.lab.data.prepare import prepare_table
from sfumato.lab.data.python_objects import table_in_memory
from tests.from_python.test_compare import table


class OfArrow:
    """A frame of a library that hands over Arrow's stream and nothing else."""

    def __init__(self, made):
        self.__arrow_c_stream__ = made.__arrow_c_stream__


class Converted:
    """A frame of a library that converts itself, as polars does."""

    def __init__(self, made):
        self.to_arrow = lambda: made


def fingerprint(x, y=None, **beside):
    return prepare_table(table_in_memory(x, y, Roles(), beside)).fingerprint


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(lambda: (pa.Table.from_pandas(table()), "kind"), id="arrow"),
        pytest.param(lambda: (OfArrow(pa.Table.from_pandas(table())), "kind"), id="stream"),
        pytest.param(lambda: (Converted(pa.Table.from_pandas(table())), "kind"), id="to_arrow"),
        pytest.param(lambda: (table().astype({"city": "category"}), "kind"), id="categories"),
        pytest.param(lambda: (table().drop(columns="kind"), table()["kind"]), id="series"),
        pytest.param(lambda: (table().drop(columns="kind"), table()["kind"].to_numpy(str)), id="array"),
        pytest.param(lambda: (table().drop(columns="kind"), list(table()["kind"])), id="list"),
        pytest.param(lambda: (table().rename(columns={"kind": "label"}),), id="by its name"),
    ],
)
def test_a_table_in_any_form_is_the_same_table(given):
    assert fingerprint(*given()) == fingerprint(table(), "kind")


@pytest.mark.parametrize(
    "given",
    [
        lambda x, y: (x.tolist(), y.tolist()),
        lambda x, y: (torch.tensor(x), torch.tensor(y)),
        lambda x, y: (torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y)),),
        lambda x, y: ({"X": x, "y": y},),
    ],
)
def test_arrays_in_any_form_are_the_same_table(given):
    x, y = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 2
    assert fingerprint(*given(x, y)) == fingerprint(x, y)


def test_a_column_keeps_its_name_and_its_kind():
    read = table_in_memory(table(), "kind", Roles(), {}).columns
    assert [(column.name, column.read_as) for column in read] == [
        ("size", "number"),
        ("city", "category"),
        ("seen", "date"),
        ("kind", "label"),
    ]


def test_labels_beside_a_frame_take_no_columns_name():
    frame = table().rename(columns={"city": "label"}).drop(columns="kind")
    read = table_in_memory(frame, list(table()["kind"]), Roles(), {}).columns
    assert [(column.name, column.read_as) for column in read][-2:] == [("seen", "date"), ("label (2)", "label")]


@pytest.mark.parametrize("frame", [True, False])
def test_weights_groups_and_parts_may_stand_beside_the_rows(frame):
    x, y = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 2
    part, group, weight = ["train", "val", "test"] * 20, np.arange(60) // 3, np.linspace(1, 2, 60)
    x = pandas.DataFrame(x, columns=["a", "b"]) if frame else x
    read = table_in_memory(x, y, Roles(), {"split": part, "group": group, "weight": weight})
    assert read.part.tolist() == [0, 1, 2] * 20
    assert len(np.unique(read.group)) == 20
    assert np.array_equal(read.weight, weight)


def test_a_size_of_images_is_refused():
    with pytest.raises(DataError, match='^--image-size "32" is for folders of images, and X is none; leave it out$'):
        table_in_memory(np.eye(6), ["a", "b"] * 3, Roles(image_size=32), {})


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="NumPy 1 has no texts of any length")
@pytest.mark.parametrize("x", [np.eye(6), torch.eye(6), np.array(["a", "b"])])
def test_an_array_without_labels_is_refused_with_the_way_to_give_them(x):
    with pytest.raises(DataError, match="^X is an array and has no labels; give them as y, one per row of X$"):
        table_in_memory(x, None, Roles(), {})


def test_labels_may_be_texts_of_any_length():
    kind = np.dtypes.StringDType(na_object=None)
    assert table_in_memory(frame(), np.array(LABELS, kind), Roles(), {}).class_names == ("a", "b")
    assert table_in_memory(np.eye(6), np.array(["a", "b "] * 3, kind), Roles(), {}).class_names == ("a", "b")
    with pytest.raises(DataError, match=r"^the data given: y\[1\] is empty; give it a label or drop the row$"):
        table_in_memory(np.eye(6), np.array(["a", None] * 3, kind), Roles(), {})


def frame(**more):
    return pandas.DataFrame({**more, "size": [i % 7 / 4 for i in range(30)], "city": ["Oslo", "Rome", "Bern"] * 10})


LABELS = ["a", "b"] * 15
REFUSED = {
    "a column of arrays": (
        (np.eye(6), "kind"),
        {},
        'y = "kind" names a column, but X has no columns; give the labels themselves',
    ),
    "the label of arrays": (
        (np.eye(6), [0, 1] * 3),
        {"label": "kind"},
        '--label "kind" names a column of a table, but X has no columns; leave it out',
    ),
    "two columns of labels": (
        (frame(kind=LABELS), "kind"),
        {"label": "city"},
        'y = "kind" and label = "city" name two columns of labels; give one of them',
    ),
    "labels and a column of labels": (
        (frame(kind=LABELS), LABELS),
        {"label": "kind"},
        'label = "kind" names a column of labels, and y gives labels too; give one of them',
    ),
    "soft labels beside a frame": (
        (frame(), np.full((30, 2), 0.5)),
        {},
        "y has shape (30, 2); next to a data frame it needs one value per row. Soft labels are columns of the frame, "
        "named by label_probs",
    ),
    "one label": (
        (frame(), np.array(1)),
        {},
        "y has shape (); next to a data frame it needs one value per row. Soft labels are columns of the frame, named "
        "by label_probs",
    ),
    "labels of other rows": (
        (frame(), LABELS * 100),
        {},
        "X has 30 rows but y has 3,000; they must be as many",
    ),
    "a series of other rows": (
        (frame(), pandas.Series(LABELS[:29])),
        {},
        "X has 30 rows but y has 29; they must be as many",
    ),
    "labels of other types": (
        (frame(), [1, None] * 15),
        {},
        "the data given: y holds Python objects (an int, None); make it an array of numbers or of texts",
    ),
}


@pytest.mark.parametrize(("given", "roles", "message"), REFUSED.values(), ids=REFUSED)
def test_what_fits_no_table_is_refused(given, roles, message):
    with pytest.raises(DataError) as caught:
        table_in_memory(*given, Roles(**roles), {})
    assert str(caught.value) == message


@pytest.mark.parametrize("label", ["kind", None])
def test_the_column_of_labels_may_be_said_twice(label):
    assert table_in_memory(frame(kind=LABELS), "kind", Roles(label=label), {}).class_names == ("a", "b")
    assert table_in_memory(frame(kind=LABELS), None, Roles(label="kind"), {}).class_names == ("a", "b")


@pytest.mark.parametrize(
    "y",
    [
        np.array(LABELS)[:, None],
        np.array(LABELS, object),
        pandas.Series(LABELS, name="size"),
        pandas.Series(LABELS, pandas.RangeIndex(100, 130), dtype="category"),
        torch.arange(30) % 2,
        np.arange(30)[:, None] % 2,
    ],
    ids=["a column", "objects", "a series called as a column", "categories", "a tensor", "a column of numbers"],
)
def test_labels_beside_a_frame_come_in_any_form(y):
    read = table_in_memory(frame(), y, Roles(), {})
    assert read.labels.tolist() == [0, 1] * 15
    assert read.features.names == ("size", "city")


def test_what_stands_beside_a_frame_gets_the_first_name_that_is_free():
    series = pandas.Series(LABELS, name="size")
    made = frame(**{"size (2)": [i % 3 / 8 for i in range(30)]})
    assert [each.name for each in table_in_memory(made, series, Roles(), {}).columns] == [
        "size (2)", "size", "city", "size (3)",
    ]  # fmt: skip


def test_groups_may_be_the_largest_whole_numbers():
    group = 2**64 - 1 - np.arange(30, dtype=np.uint64) // 2
    assert len(np.unique(table_in_memory(frame(), LABELS, Roles(), {"group": group}).group)) == 15


def test_a_gap_in_a_series_of_labels_is_a_missing_label():
    labels = pandas.Series([*LABELS[:29], None])
    with pytest.raises(DataError) as caught:
        table_in_memory(frame(), labels, Roles(), {})
    assert str(caught.value) == 'X, row 29: column "label" is empty; give it a label or drop the row'


def test_a_table_of_arrays_is_called_data():
    read = table_in_memory(np.eye(6), [0, 1] * 3, Roles(), {})
    assert (read.name, read.kind) == ("data", "memory")
