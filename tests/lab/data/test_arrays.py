"""Arrays as a table: what X is by its type and axes, labels of every kind, and what is refused with its place."""

import numpy as np
import pytest

from sfumato.lab.data import DataError, Numbers
from sfumato.lab.data.arrays import as_pixels, from_arrays, position
from sfumato.lab.data.images import Images
from sfumato.lab.data.text import Texts

X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1] * 3)
SOFT = np.array([[0.75, 0.25], [0.25, 0.75]] * 3)

NOTES = ({"code": "a", "text": "note"},)


def made(x=X, y=Y, soft=None, tokenizer=None, **extra):
    given = {"file": "f.npz", "name": "f", "kind": "npz", "tokenizer": tokenizer, "notes": NOTES, "soft": soft}
    return from_arrays(np.asarray(x), np.asarray(y), extra, **given)


def refusal(*args, **kwargs):
    with pytest.raises(DataError) as refused:
        made(*args, **kwargs)
    return str(refused.value)


def test_numbers_of_two_axes_are_a_table():
    table = made()
    assert isinstance(table.features, Numbers)
    assert np.array_equal(table.features.values, X)
    assert (table.features.names, table.features.shape, table.features.image) == (("X[0]", "X[1]"), (2,), False)
    assert (table.name, table.kind, table.notes, table.warnings) == ("f", "npz", NOTES, ())
    assert (table.labels.tolist(), table.class_names) == (Y.tolist(), ("0", "1"))
    assert [table.soft, table.weight, table.group, table.part] == [None] * 4


def test_numbers_of_one_axis_are_one_feature_and_of_three_are_a_picture():
    one = made(np.arange(6)).features
    assert (one.values.tolist(), one.names, one.image) == ([[float(i)] for i in range(6)], ("X[0]",), False)
    assert one.shape == (1,)
    three = made(np.arange(36).reshape(6, 2, 3)).features
    assert (three.names[4], three.shape, three.image) == ("X[1,1]", (2, 3), True)
    assert np.array_equal(three.values, np.arange(36).reshape(6, 6))


@pytest.mark.parametrize("kind", [bool, np.int8, np.uint16, np.float16, np.longdouble])
def test_numbers_of_every_type_become_float64_without_negative_zeros(kind):
    values = made(np.array([[0, 1], [1, 0]] * 3).astype(kind)).features.values
    assert (values.dtype, values.flags.c_contiguous) == (np.float64, True)
    assert values.tolist() == [[0, 1], [1, 0]] * 3
    assert not np.signbit(made(-X * 0).features.values).any()


def test_a_given_array_is_not_changed():
    x = np.array([[-0.0, 1.0]] * 6)
    made(x)
    assert np.signbit(x[:, 0]).all()


PICTURES = np.random.default_rng(0).integers(0, 256, (6, 3, 5, 7), np.uint8)


@pytest.mark.parametrize(
    ("x", "pixels"),
    [
        (PICTURES, PICTURES.transpose(0, 2, 3, 1)),
        (PICTURES.transpose(0, 2, 3, 1), PICTURES.transpose(0, 2, 3, 1)),
        (PICTURES[:, 0], PICTURES[:, 0, :, :, None]),
        (PICTURES[:, :1], PICTURES[:, 0, :, :, None]),
        (PICTURES[..., [0, 1, 2]], PICTURES[..., [0, 1, 2]]),  # of two axes that may be, the last one
    ],
)
def test_bytes_of_three_or_four_axes_are_pictures(x, pixels):
    features = made(x).features
    assert isinstance(features, Images)
    assert np.array_equal(features.pixels, pixels)
    assert np.array_equal(as_pixels(x), pixels)
    assert features.pixels.flags.c_contiguous


@pytest.mark.parametrize("shape", [(6, 4), (6, 5, 2, 5), (6, 1, 2, 2, 1)])
def test_bytes_of_other_axes_are_numbers(shape):
    assert isinstance(made(np.zeros(shape, np.uint8)).features, Numbers)


def test_texts_are_texts():
    features = made([f"text {i}" for i in range(6)], tokenizer="folder").features
    assert isinstance(features, Texts)
    assert (list(features.texts), features.tokenizer) == ([f"text {i}" for i in range(6)], "folder")
    assert refusal(np.array([["a", "b"]] * 6)) == "f.npz: X holds text and has shape (6, 2); it needs one text per row"


@pytest.mark.parametrize(
    ("y", "names", "labels"),
    [
        ([10, 9, -1] * 3, ("-1", "9", "10"), [2, 1, 0]),
        ([10.0, 9.0, -1.0] * 3, ("-1", "9", "10"), [2, 1, 0]),
        ([[10], [9], [-1]] * 3, ("-1", "9", "10"), [2, 1, 0]),
        ([True, False, True] * 3, ("False", "True"), [1, 0, 1]),
        ([" b", "a ", "a"] * 3, ("a", "b"), [1, 0, 0]),
        ([b"b", b"a", b"a"] * 3, ("a", "b"), [1, 0, 0]),
        (["10", "9", "x"] * 3, ("10", "9", "x"), [0, 1, 2]),
    ],
)
def test_labels_may_be_whole_numbers_truths_or_texts(y, names, labels):
    table = made(np.arange(9.0)[:, None], y)
    assert (table.class_names, table.labels.tolist()) == (names, labels * 3)
    assert table.labels.dtype == np.int64


def test_texts_of_any_length_are_labels_and_a_gap_among_them_is_none():
    kind = np.dtypes.StringDType(na_object=None)
    assert made(y=np.array(["b", "a"] * 3, kind)).class_names == ("a", "b")
    assert refusal(y=np.array(["b", "a", "b", None, "b", None], kind)) == (
        "f.npz: y[3] is empty; give it a label or drop the row"
    )


def test_soft_labels_are_kept_and_the_likeliest_class_is_the_label():
    for table in (made(y=SOFT), made(y=SOFT.astype(np.float32)), made(y=SOFT, soft=SOFT)):
        assert np.array_equal(table.soft, SOFT)
        assert (table.labels.tolist(), table.class_names) == ([0, 1] * 3, ("0", "1"))
    votes = made(y=np.array([[1, 0], [0, 1]] * 3))
    assert (votes.labels.tolist(), votes.soft.tolist()) == ([0, 1] * 3, [[1, 0], [0, 1]] * 3)


def test_class_indices_beside_soft_labels_are_the_labels():
    table = made(y=np.array([1, 0] * 3, np.uint8), soft=SOFT)
    assert (table.labels.tolist(), table.labels.dtype, table.class_names) == ([1, 0] * 3, np.int64, ("0", "1"))
    assert np.array_equal(table.soft, SOFT)


def test_weights_groups_and_parts_come_beside():
    split = np.array(["train", "val", "test", "train", "train", "train"])
    table = made(weight=np.arange(1, 7), group=np.array(list("bbaacc")), split=split)
    assert (table.weight.tolist(), table.weight.dtype) == ([1, 2, 3, 4, 5, 6], np.float64)
    assert table.group.tolist() == [1, 1, 0, 0, 2, 2]
    assert table.part.tolist() == [0, 1, 2, 0, 0, 0]
    assert made(group=np.array([[7], [7], [5], [5], [9], [9]])).group.tolist() == [1, 1, 0, 0, 2, 2]


def test_a_class_needs_three_rows_unless_parts_are_given():
    y = np.array([0, 0, 0, 0, 1, 1])
    assert refusal(y=y) == (
        'f.npz: class "1" of y has 2 rows; each class needs at least 3, one each for training, validation and test. '
        "Add rows, or merge or drop the class"
    )
    for y in ([0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 1]):
        assert made(y=y, split=np.array(["train", "test"] * 3)).class_names == ("0", "1")


def test_many_classes_are_warned_of_unless_labels_are_soft():
    many = np.repeat(np.arange(1000), 3)
    x = np.arange(3000.0)[:, None]
    assert [warning.column for warning in made(x, many).warnings] == ["y"]
    assert made(x, many, soft=np.full((3000, 1000), 1e-3)).warnings == ()
    assert made(x[:2997], many[:2997]).warnings == ()


BIG = np.array([["1e400", "0"]] * 6).astype(np.longdouble)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"x": np.zeros((6, 2), complex)}, "X has type complex128; it must hold numbers, or text of one type"),
        ({"x": np.array([None] * 6)}, "X has type object; it must hold numbers, or text of one type"),
        ({"x": np.float64(1)}, "X has shape (); it needs at least one row and one feature"),
        ({"x": np.zeros((0, 2))}, "X has shape (0, 2); it needs at least one row and one feature"),
        ({"x": np.zeros((6, 0))}, "X has shape (6, 0); it needs at least one row and one feature"),
        ({"x": X[:5]}, "X has 5 rows but y has 6; they must be as many"),
        ({"soft": SOFT[:5]}, "X has 6 rows but the soft labels have 5; they must be as many"),
        ({"y": Y[:5], "soft": SOFT}, "X has 6 rows but y has 5; they must be as many"),
        ({"weight": np.ones(4)}, "X has 6 rows but weight has 4; they must be as many"),
        ({"group": np.array(3)}, "X has 6 rows but group has 1; they must be as many"),
        ({"y": Y.astype(float), "soft": SOFT},
         "y has shape (6,) and type float64; next to soft labels it must be class indices"),
        ({"y": Y[:, None], "soft": SOFT},
         "y has shape (6, 1) and type int64; next to soft labels it must be class indices"),
        ({"y": [0, 1, 1, -1, 0, 2], "soft": SOFT}, "y[3] is -1, and the soft labels have the classes 0 to 1"),
        ({"y": [0, 1, 1, 0, 2, -1], "soft": SOFT}, "y[4] is 2, and the soft labels have the classes 0 to 1"),
        ({"y": np.zeros((6, 2, 2))}, "y has shape (6, 2, 2); it needs one label per row, or K probabilities per row"),
        ({"y": np.array([["a", "b"]] * 6)},
         "y has shape (6, 2); it needs one label per row, or K probabilities per row"),
        ({"y": [0, 1, 0.5, 1, 1.5, 1]}, "y[2] is 0.5; labels are whole numbers, booleans or text; cut "
         "numbers to predict into a few classes first"),
        ({"y": [0, 1, 0, np.inf, 0, 1]}, "y[3] is inf; labels are whole numbers, booleans or text"),
        ({"y": [0, np.nan, 0, 1, 0, 1]}, "y[1] is nan; labels are whole numbers, booleans or text"),
        ({"y": np.array(["a", "b", " ", "a", "", "b"])}, "y[2] is empty; give it a label or drop the row"),
        ({"y": np.zeros(6, complex)}, "y has type complex128; labels are whole numbers, booleans or text"),
        ({"y": np.array([b"a", b"\xff"] * 3)}, "the label b'\\xff' in y is not UTF-8 text; decode it first"),
        ({"y": np.array([[0.5, 0.5], [0.5, 0.4]] * 3)},
         "row 1 of y: soft labels y[:,0] to y[:,1] sum to 0.9, not to 1 (as in 2 more rows); divide each row by its "
         "sum"),
        ({"weight": np.ones((6, 1))}, "weight has type float64 and shape (6, 1); it needs one number above 0 per row"),
        ({"weight": np.array(list("123456"))},
         "weight has type <U1 and shape (6,); it needs one number above 0 per row"),
        ({"weight": np.array([1, 1, 0, 1, 1, 1])},
         'row 2: weight "weight" is 0; weights are above 0: drop a row that is to count for nothing'),
        ({"group": np.array([0, 1, 2, 0.5, 1, 1])}, "group[3] is 0.5; labels are whole numbers, booleans or text"),
        ({"split": np.array(["train", "test", "other"] * 2)},
         'row 2: column "split" holds "other"; it must say train, validation or test'),
        ({"x": np.array([[0, 1], [2, np.nan]] * 3)}, "X[1,1] is nan; replace it, or drop row 1 of X and y"),
        ({"x": np.array([0, 1, np.inf] * 2)}, "X[2] is inf; replace it, or drop row 2 of X and y"),
        ({"x": np.where(np.arange(36) == 22, -np.inf, 0).reshape(6, 2, 3)},
         "X[3,1,1] is -inf; replace it, or drop row 3 of X and y"),
        ({"x": BIG}, "X[0,0] is inf; replace it, or drop row 0 of X and y"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_arrays_that_are_no_table_are_refused_with_the_place(given, told):
    given = {name: np.asarray(value) for name, value in given.items()}
    assert refusal(**given) == f"f.npz: {told}"


def test_a_place_in_an_array_is_written_as_numpy_writes_it():
    assert position((2, 3, 4), 23, "X") == "X[1,2,3]"
    assert position((5,), 4, "y") == "y[4]"
