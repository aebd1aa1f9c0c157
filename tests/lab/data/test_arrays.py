"""Arrays and archives as a table: what X is by its type and axes, labels of every kind, and what is refused."""

import zipfile
from functools import partial

import numpy as np
import pytest

from sfumato import messages
from sfumato.lab.data import DataError, Numbers, Roles, load, prepare
from sfumato.lab.data.arrays import as_pixels, from_arrays, position, read_npz
from sfumato.lab.data.images import Images
from sfumato.lab.data.text import Texts
from tests.lab.data import refused

X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 1] * 3)
SOFT = np.array([[0.75, 0.25], [0.25, 0.75]] * 3)

NOTES = ({"code": "a", "text": "note"},)


def made(x=X, y=Y, soft=None, tokenizer=None, **extra):
    given = {"file": "f.npz", "name": "f", "kind": "npz", "notes": NOTES, "soft": soft}
    return from_arrays(
        np.asarray(x), None if y is None else np.asarray(y), extra, **given, roles=Roles(tokenizer=tokenizer)
    )


refusal = partial(refused, made)


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
        (PICTURES[..., [0, 1, 2]], PICTURES[..., [0, 1, 2]]),  # of two axes that may be, the last one
    ],
)
def test_bytes_of_three_or_four_axes_are_pictures(x, pixels):
    features = made(x).features
    assert isinstance(features, Images)
    assert np.array_equal(features.pixels, pixels)
    assert np.array_equal(as_pixels(x), pixels)
    assert features.pixels.flags.c_contiguous


def test_texts_are_texts():
    features = made([f"text {i}" for i in range(6)], tokenizer="folder").features
    assert isinstance(features, Texts)
    assert (list(features.texts), features.tokenizer) == ([f"text {i}" for i in range(6)], "folder")
    assert refusal(np.array([["a", "b"]] * 6)) == "f.npz: X holds text and has shape (6, 2); it needs one text per row"


@pytest.mark.parametrize(
    ("y", "names", "labels"),
    [
        ([10, 9, -1] * 3, ("-1", "9", "10"), [2, 1, 0]),
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
    assert refusal(y=np.array(["b", "a", "b", None, "b", None], kind)).startswith(
        'f.npz, row 3: column "y" is empty (as in 1 more row); give it a label'
    )


def test_soft_labels_are_kept_and_the_likeliest_class_is_the_label():
    for table in (made(y=SOFT), made(y=SOFT.astype(np.float32)), made(y=None, soft=SOFT)):
        assert np.array_equal(table.soft, SOFT)
        assert (table.labels.tolist(), table.class_names) == ([0, 1] * 3, ("0", "1"))
    votes = made(y=np.array([[1, 0], [0, 1]] * 3))
    assert (votes.labels.tolist(), votes.soft.tolist()) == ([0, 1] * 3, [[1, 0], [0, 1]] * 3)


def test_weights_groups_and_parts_come_beside():
    split = np.array(["train", "val", "test", "train", "train", "train"])
    table = made(weight=np.arange(1, 7), group=np.array(list("bbaacc")), split=split)
    assert (table.weight.tolist(), table.weight.dtype) == ([1, 2, 3, 4, 5, 6], np.float64)
    assert table.group.tolist() == [0, 0, 1, 1, 2, 2]
    assert table.part.tolist() == [0, 1, 2, 0, 0, 0]
    assert made(group=np.array([[7], [7], [5], [5], [9], [9]])).group.tolist() == [0, 0, 1, 1, 2, 2]


BIG = np.array([["1e400", "0"]] * 6).astype(np.longdouble)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"x": np.zeros((6, 2), complex)}, "X has type complex128; it must hold numbers, or text of one type"),
        ({"x": np.float64(1)}, "X has shape (); it needs at least one row and one feature"),
        ({"x": np.zeros((0, 2))}, "X has shape (0, 2); it needs at least one row and one feature"),
        ({"x": X[:5]}, "X has 5 rows but y (6,); they must be as many"),
        ({"soft": SOFT[:5]}, "X has 6 rows but the soft labels (5, 2); they must be as many"),
        ({"y": Y[:5], "soft": SOFT}, "X has 6 rows but y (5,); they must be as many"),
        ({"weight": np.ones(4)}, "X has 6 rows but weight (4,); they must be as many"),
        ({"group": np.array(3)}, "X has 6 rows but group (); they must be as many"),
        ({"y": [0, 1, 1, -1, 0, 2], "soft": SOFT},
         'row 3: label "-1" of column "y" is none of the classes of the soft labels: 0, 1'),
        ({"y": np.zeros((6, 2, 2))}, "y has shape (6, 2, 2); it needs one value per row"),
        ({"y": np.array([["a", "b"]] * 6)}, "y has shape (6, 2); it needs one value per row"),
        ({"y": [0, 1, 0.5, 1, 1.5, 1]}, 'row 2: column "y" is 0.5; it must hold whole numbers or text'),
        ({"y": [0, np.nan, 0, 1, 0, 1]}, 'row 1: column "y" is empty; give it a label, or leave out all rows without'),
        ({"y": np.array(["a", "b", " ", "a", "", "b"])}, 'row 2: column "y" is empty (as in 1 more row); give it a'),
        ({"y": np.zeros(6, complex)}, "y has type complex128; it must hold numbers, booleans or text"),
        ({"y": np.array([b"a", b"\xff"] * 3)},
         'column "y" has type binary; it must hold whole numbers, booleans or text'),
        ({"y": np.array([[0.5, 0.5], [0.5, 0.4]] * 3)},
         "row 1: soft labels y[:,0] to y[:,1] sum to 0.9, not to 1 (as"),
        ({"weight": np.ones((6, 2))}, "weight has shape (6, 2); it needs one value per row"),
        ({"weight": np.array(list("uvwxyz"))}, 'column "weight" must hold numbers'),
        ({"weight": np.array([1, 1, 0, 1, 1, 1])},
         'row 2: weight "weight" is 0; weights are above 0: drop a row that is to count for nothing'),
        ({"split": np.array(["train", "test", "other"] * 2)},
         'row 2: column "split" holds "other"; it must say train, validation or test'),
        ({"x": np.array([[0, 1], [2, np.nan]] * 3)}, "X[1,1] is nan; replace it, or drop row 1 of X and y"),
        ({"x": np.where(np.arange(36) == 22, -np.inf, 0).reshape(6, 2, 3)},
         "X[3,1,1] is -inf; replace it, or drop row 3 of X and y"),
        ({"x": BIG}, "X[0,0] is inf; replace it, or drop row 0 of X and y"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_arrays_that_are_no_table_are_refused_with_the_place(given, told):
    given = {name: np.asarray(value) for name, value in given.items()}
    assert refusal(**given).startswith((f"f.npz: {told}", f"f.npz, {told}"))


def test_a_place_in_an_array_is_written_as_numpy_writes_it():
    assert position((2, 3, 4), 23, "X") == "X[1,2,3]"
    assert position((5,), 4, "y") == "y[4]"


@pytest.fixture
def save(tmp_path):
    def save(name="things.npz", **arrays):
        path = tmp_path / name
        np.savez_compressed(path, **arrays)
        return str(path)

    return save


archive_refusal = partial(refused, load)
BAD_ARRAYS = {
    "no X": (
        {"images": X, "y": Y},
        "things.npz has no array X; it needs X (examples) and y (labels). Arrays: images, y",
    ),
    "nothing": ({}, "things.npz has no array X; it needs X (examples) and y (labels). Arrays: none"),
    "no y": ({"X": X}, "things.npz has no array y; it needs X (examples) and y (labels). Arrays: X"),
    "objects": (
        {"X": X, "y": np.array(["a", "a", "a", "b", "b", "b"], object)},
        "things.npz: y holds Python objects, which are not read because they",
    ),
}


@pytest.mark.parametrize(("arrays", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_bad_arrays_are_refused_in_one_clear_sentence(save, arrays, message):
    assert archive_refusal(save(**arrays)).startswith(message)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"\x93NUMPY\x01\x00"], ids=["empty", "text", "npy"])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "things.npz"
    path.write_bytes(content)
    assert archive_refusal(str(path)).startswith("things.npz is not an .npz archive")


def test_an_array_that_unpacks_beyond_the_limit_is_refused_unread(save):
    source = save(X=np.zeros((1000, 1000)), y=np.arange(1000) % 2)
    with pytest.raises(DataError, match=r"^things.npz: X takes 0\.0 GB unpacked; at most 8 GB are read"):
        read_npz(source, file="things.npz", name="things", roles=Roles(), max_bytes=10**6)


def test_two_arrays_of_one_name_are_refused(tmp_path):
    import warnings

    np.savez(tmp_path / "t.npz", X=np.zeros((9, 2)), y=np.arange(9) % 3)
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "t.npz", "a") as archive:
        archive.writestr("X", b"anything")
    with pytest.raises(DataError, match="t.npz is not an .npz archive, .*two arrays of one name"):
        load(str(tmp_path / "t.npz"))


NO_COLUMNS = {
    "label_probs": (("a", "b"), '--label-probs "a,b" names columns, but {}: save soft labels as y (N, K)'),
    "text": ("a", '--text "a" names a column, but {}: save texts as X (N,)'),
    "drop": (("a",), '--drop "a" names columns, but {}; leave it out'),
    "keep": (("a",), '--keep "a" names columns, but {}; leave it out'),
}


@pytest.mark.parametrize("option", NO_COLUMNS)
def test_options_that_name_columns_are_refused_with_what_to_save(save, option):
    given, told = NO_COLUMNS[option]
    assert archive_refusal(save(X=X, y=Y), roles=Roles(**{option: given})) == told.format("things.npz has arrays")


def test_arrays_have_the_roles_that_name_them(save):
    part, weight, group = np.array(["train", "test"] * 3), np.arange(1.0, 7), np.array(list("uvwxyz"))
    source = save(X=X, y=Y, kind=1 - Y, part=part, w=weight, by=group)
    table = load(source, roles=Roles(label="kind", split="part", weight="w", group="by"))
    assert table.labels.tolist() == (1 - Y).tolist()
    assert table.part.tolist() == [0, 2] * 3
    assert table.weight.tolist() == weight.tolist()
    assert table.group.tolist() == [0, 1, 2, 3, 4, 5]
    plain = load(source)
    assert (plain.part, plain.weight, plain.group) == (None, None, None)
    assert plain.labels.tolist() == Y.tolist()


VOTES = np.random.default_rng(1).multinomial(7, [0.4, 0.35, 0.25], size=60)


def table_of(folder, label=None, **arrays):
    np.savez(folder / "things.npz", X=np.random.default_rng(0).normal(size=(60, 2)), **arrays)
    return prepare(str(folder / "things.npz"), Roles(label=label))


@pytest.mark.parametrize(("name", "values"), [("label_counts", VOTES), ("label_probs", VOTES / 7)])
def test_soft_labels_alone_give_the_labels_too(name, values, tmp_path):
    data = table_of(tmp_path, **{name: values})
    assert data.table.soft == pytest.approx(VOTES / 7, abs=1e-15)
    assert data.table.labels.tolist() == VOTES.argmax(axis=1).tolist()
    assert "is the label that one-hot trains on and accuracy takes" in " ".join(messages.texts(data.notes))


@pytest.mark.parametrize(("name", "label"), [("y", None), ("Y", None), ("kind", "kind")])
def test_class_indices_beside_them_are_what_one_hot_trains_on(tmp_path, name, label):
    y = np.arange(60) % 3
    data = table_of(tmp_path, label=label, label_counts=VOTES, **{name: y})
    assert data.table.labels.tolist() == y.tolist()
    assert data.table.soft == pytest.approx(VOTES / 7, abs=1e-15)
    assert "one-hot trains on the labels given with them, and accuracy takes the likeliest class" in " ".join(
        messages.texts(data.notes)
    )


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"label_counts": VOTES, "label_probs": VOTES / 7}, "things.npz has label_probs and label_counts; keep one"),
        (
            {"label_counts": np.where(np.arange(60)[:, None] == 4, 0, VOTES)},
            "label_counts in row 4 are all 0; leave out",
        ),
        ({"label_counts": -VOTES}, "things.npz: label_counts in row 0 have -"),
        ({"y": np.arange(60) % 4, "label_counts": VOTES}, "row 3: label .3. of column .y. is none of the"),
    ],
)
def test_soft_labels_that_cannot_be_used_are_refused(arrays, message, tmp_path):
    with pytest.raises(DataError, match=message):
        table_of(tmp_path, **arrays)
