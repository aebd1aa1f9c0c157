"""Reading NumPy archives: what is accepted, and the words in which the rest is refused."""

import io
import zipfile

import numpy as np
import pytest

from sfumato.lab.data import DataError, Roles, load

X = np.arange(12.0).reshape(6, 2)
Y = np.array([0, 0, 0, 1, 1, 1])


@pytest.fixture
def save(tmp_path):
    def save(name="things.npz", **arrays):
        path = tmp_path / name
        np.savez_compressed(path, **arrays)
        return str(path)

    return save


def refusal(source, **kwargs):
    with pytest.raises(DataError) as caught:
        load(source, **kwargs)
    return str(caught.value)


def test_images_of_bytes_stay_bytes(save):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 28, 28), np.uint8)
    table = load(save("mnist.npz", X=images, y=np.arange(40) % 10))
    assert (table.name, table.kind, table.class_names) == ("mnist", "npz", tuple("0123456789"))
    assert table.features.pixels.dtype == np.uint8
    assert np.array_equal(table.features.pixels, images[..., None])


@pytest.mark.parametrize("shape", [(40, 8, 9, 3), (40, 3, 8, 9)], ids=["channels last", "channels first"])
def test_images_in_colour_end_with_their_channels(save, shape):
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    pixels = load(save(X=images, y=np.arange(40) % 4)).features.pixels
    assert np.array_equal(pixels, images if shape[-1] == 3 else images.transpose(0, 2, 3, 1))


def test_pictures_in_other_types_than_bytes_keep_their_shape_as_numbers(save):
    images = np.random.default_rng(0).random((40, 28, 28))
    features = load(save(X=images, y=np.arange(40) % 10)).features
    assert (features.image, features.shape, features.names[29]) == (True, (28, 28), "X[1,1]")
    assert np.array_equal(features.values, images.reshape(40, 784))
    assert features.values.dtype == np.float64
    assert features.values.flags.c_contiguous


def test_rows_of_numbers_are_a_table_not_an_image(save):
    features = load(save(X=np.asfortranarray(X), y=Y)).features
    assert (features.image, features.shape, features.names) == (False, (2,), ("X[0]", "X[1]"))
    assert features.values.flags.c_contiguous


def test_thousands_of_classes_are_a_warning(save):
    table = load(save(X=np.arange(3600)[:, None] / 2, y=np.arange(3600) // 3))
    assert [(each.code, each.column) for each in table.warnings] == [("many-classes", "y")]


def test_one_number_a_row_is_one_feature(save):
    assert load(save(X=X[:, 0], y=Y)).features.values.tolist() == X[:, :1].tolist()


@pytest.mark.parametrize("dtype", [bool, np.uint8, ">i4", np.int64, np.float16, ">f8", np.longdouble])
def test_features_of_every_real_type_are_read(save, dtype):
    assert load(save(X=X.astype(dtype), y=Y)).features.values.tolist() == X.astype(dtype).astype(float).tolist()


@pytest.mark.parametrize(
    ("y", "names", "labels"),
    [
        (np.array([10, 10, 10, 9, 9, 9], np.uint8), ("9", "10"), [1, 1, 1, 0, 0, 0]),
        (np.array([-1.0, -1, -1, 2, 2, 2]), ("-1", "2"), [0, 0, 0, 1, 1, 1]),
        (np.array([True, True, True, False, False, False]), ("False", "True"), [1, 1, 1, 0, 0, 0]),
        (np.array(["cat", "cat ", "cat", "an owl", "an owl", "an owl"]), ("an owl", "cat"), [1, 1, 1, 0, 0, 0]),
        (np.array([s.encode() for s in ("é", "é", "é", "b", "b", "b")]), ("b", "é"), [1, 1, 1, 0, 0, 0]),
        (np.array(["10", "10", "10", "9", "9", "9"]), ("9", "10"), [1, 1, 1, 0, 0, 0]),
        (Y[:, None], ("0", "1"), [0, 0, 0, 1, 1, 1]),
    ],
    ids=["integers", "whole floats", "booleans", "text", "bytes", "integers as text", "a column"],
)
def test_labels_of_every_kind_are_read(save, y, names, labels):
    table = load(save(X=X, y=y))
    assert (table.class_names, table.labels.tolist(), table.labels.dtype) == (names, labels, np.int64)


@pytest.mark.parametrize("keys", [("X", "y"), ("x", "y"), ("X", "Y"), ("x", "Y")])
def test_keys_are_found_in_upper_and_lower_case(save, keys):
    assert load(save(**dict(zip(keys, (X, Y), strict=True)))).features.values.tolist() == X.tolist()


ODD = "labels are whole numbers, booleans or text"
BAD_ARRAYS = {
    "no X": (
        {"images": X, "y": Y},
        "things.npz has no array X; it needs X (examples) and y (labels). Arrays: images, y",
    ),
    "nothing": ({}, "things.npz has no array X; it needs X (examples) and y (labels). Arrays: none"),
    "lengths that differ": (
        {"X": X, "y": Y[:5]},
        "things.npz: X has 6 rows but y has 5; they must be as many",
    ),
    "complex X": (
        {"X": X + 0j, "y": Y},
        "things.npz: X has type complex128; it must hold numbers, or text of one type",
    ),
    "no rows": (
        {"X": X[:0], "y": Y[:0]},
        "things.npz: X has shape (0, 2); it needs at least one row and one feature",
    ),
    "no features": (
        {"X": X[:, :0], "y": Y},
        "things.npz: X has shape (6, 0); it needs at least one row and one feature",
    ),
    "a single number": (
        {"X": np.array(1.0), "y": Y},
        "things.npz: X has shape (); it needs at least one row and one feature",
    ),
    "NaN": (
        {"X": np.where(X == 5, np.nan, X), "y": Y},
        "things.npz: X[2,1] is nan; replace it, or drop row 2 of X and y",
    ),
    "infinity in an image": (
        {"X": np.where(X == 5, -np.inf, X).reshape(6, 2, 1), "y": Y},
        "things.npz: X[2,1,0] is -inf; replace it, or drop row 2 of X and y",
    ),
    "infinity in a list": (
        {"X": np.where(X == 4, np.inf, X)[:, 0], "y": Y},
        "things.npz: X[2] is inf; replace it, or drop row 2 of X and y",
    ),
    "soft labels that do not sum to 1": (
        {"X": X, "y": np.full((6, 3), 0.3)},
        "things.npz: row 0 of y: soft labels y[:,0] to y[:,2] sum to 0.9, not to 1 (as in 5 more rows); divide each "
        "row by its sum",
    ),
    "votes": (
        {"X": X, "y": np.array([[1, 0], [0, 1], [3, 1], [1, 0], [0, 1], [0, 1]])},
        "things.npz: row 2 of y: soft labels y[:,0] to y[:,1] sum to 4, not to 1; divide votes by their number",
    ),
    "a negative soft label": (
        {"X": X, "y": np.array([[1, 0], [0, 1], [1.5, -0.5], [1, 0], [0, 1], [0, 1]])},
        "things.npz: row 2 of y: soft label y[:,1] is -0.5; probabilities are from 0 to 1",
    ),
    "a soft class that is nowhere the likeliest": (
        {"X": X, "y": np.eye(3)[Y]},
        'things.npz: class "2" of y has 0 rows; each class needs at least 3, one each for training, validation and '
        "test. Add rows, or merge or drop the class",
    ),
    "labels with three axes": (
        {"X": X, "y": np.zeros((6, 2, 2))},
        "things.npz: y has shape (6, 2, 2); it needs one label per row, or K probabilities per row",
    ),
    "fractions": (
        {"X": X, "y": Y / 2},
        f"things.npz: y[3] is 0.5; {ODD}; cut numbers to predict into a few classes first",
    ),
    "NaN among labels": ({"X": X, "y": np.where(Y == 1, np.nan, Y)}, f"things.npz: y[3] is nan; {ODD}"),
    "complex labels": ({"X": X, "y": Y + 0j}, f"things.npz: y has type complex128; {ODD}"),
    "an empty label": (
        {"X": X, "y": np.array(["a", "a", "a", "b", "", "b"])},
        "things.npz: y[4] is empty; give it a label or drop the row",
    ),
    "bytes that are not UTF-8": (
        {"X": X, "y": np.array([b"a", b"a", b"a", b"\xff", b"\xff", b"\xff"])},
        r"things.npz: the label b'\xff' in y is not UTF-8 text; decode it first",
    ),
    "objects": (
        {"X": X, "y": np.array(["a", "a", "a", "b", "b", "b"], object)},
        "things.npz: y holds Python objects, which are not read because they can run code; save plain numbers or text, "
        "for instance y.astype(str) for labels",
    ),
    "one class": (
        {"X": X, "y": np.ones(6)},
        'things.npz: y holds one class only, "1"; at least 2 are needed. Add rows, or merge or drop the class',
    ),
    "a class of two rows": (
        {"X": X, "y": [0, 0, 0, 0, 5, 5]},
        'things.npz: class "5" of y has 2 rows; each class needs at least 3, one each for training, validation and '
        "test. Add rows, or merge or drop the class",
    ),
}


@pytest.mark.parametrize(("arrays", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_bad_arrays_are_refused_in_one_clear_sentence(save, arrays, message):
    assert refusal(save(**arrays)) == message


def test_where_the_parts_are_given_a_class_needs_one_row(save):
    path = save(X=X, y=np.eye(3)[Y], part=np.array(["train"] * 4 + ["test"] * 2))
    assert refusal(path, roles=Roles(split="part")) == (
        'things.npz: class "2" of y has 0 rows; each class needs at least 1. Add rows, or merge or drop the class'
    )


@pytest.mark.parametrize("content", [b"", b"not a zip", b"\x93NUMPY\x01\x00"], ids=["empty", "text", "npy"])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "things.npz"
    path.write_bytes(content)
    assert refusal(str(path)) == "things.npz is not an .npz archive; write one with numpy.savez"


def test_an_archive_with_changed_bytes_is_refused(tmp_path):
    out = io.BytesIO()
    np.savez(out, X=np.zeros((100, 100)), y=np.arange(100) % 2)
    content = bytearray(out.getvalue())
    content[5000] ^= 255
    (tmp_path / "things.npz").write_bytes(content)
    assert refusal(str(tmp_path / "things.npz")).startswith("things.npz: X is damaged (Bad CRC-32")


@pytest.mark.parametrize("cut", range(0, 600, 50))
def test_an_archive_that_was_cut_off_is_refused(tmp_path, cut):
    out = io.BytesIO()
    np.savez(out, X=X, y=Y)
    (tmp_path / "things.npz").write_bytes(out.getvalue()[:cut])
    assert refusal(str(tmp_path / "things.npz")).startswith("things.npz is not an .npz archive")


def test_a_header_that_promises_more_than_the_file_holds_is_refused(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)})
    with zipfile.ZipFile(tmp_path / "things.npz", "w") as archive:
        archive.writestr("X.npy", header.getvalue())
        archive.writestr("y.npy", b"")
    assert refusal(str(tmp_path / "things.npz")).startswith("things.npz: X is damaged (")


def test_an_array_that_unpacks_beyond_the_limit_is_refused_unread(save, monkeypatch):
    monkeypatch.setattr("sfumato.lab.data.arrays.MAX_BYTES", 10**6)
    source = save(X=np.zeros((1000, 1000)), y=np.arange(1000) % 2)
    monkeypatch.setattr(np, "load", None)
    assert refusal(source) == "things.npz: X takes 0.0 GB unpacked; at most 8 GB are read"


def test_two_arrays_of_one_name_are_refused(tmp_path):
    import warnings
    import zipfile

    np.savez(tmp_path / "t.npz", X=np.zeros((9, 2)), y=np.arange(9) % 3)
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "t.npz", "a") as archive:
        archive.writestr("X", b"anything")
    with pytest.raises(DataError, match="t.npz holds two arrays of one name"):
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
    assert refusal(save(X=X, y=Y), roles=Roles(**{option: given})) == told.format("things.npz has arrays")


def test_arrays_have_the_roles_that_name_them(save):
    part, weight, group = np.array(["train", "test"] * 3), np.arange(1.0, 7), np.array(list("uvwxyz"))
    source = save(X=X, y=Y, kind=1 - Y, part=part, w=weight, by=group)
    table = load(source, roles=Roles(label="kind", split="part", weight="w", group="by"))
    assert table.labels.tolist() == [1, 1, 1, 0, 0, 0]
    assert table.part.tolist() == [0, 2] * 3
    assert table.weight.tolist() == weight.tolist()
    assert table.group.tolist() == [0, 1, 2, 3, 4, 5]
    plain = load(source)
    assert (plain.part, plain.weight, plain.group) == (None, None, None)
    assert plain.labels.tolist() == Y.tolist()


@pytest.mark.parametrize("role", ["label", "split", "weight", "group"])
def test_an_array_that_is_not_there_is_refused_with_the_nearest_name(save, role):
    source = save(X=X, y=Y, kinds=Y)
    assert refusal(source, roles=Roles(**{role: "kind"})) == (
        'things.npz has no array "kind". Did you mean "kinds"? Arrays: X, kinds, y'
    )


def test_an_archive_without_labels_is_refused(save):
    assert refusal(save(X=X)) == ("things.npz has no array y; it needs X (examples) and y (labels). Arrays: X")
