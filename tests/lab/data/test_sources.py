"""Where data comes from: names, endings, and files that are not there."""

import gzip
import subprocess
import sys
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from sklearn.datasets import load_digits

from sfumato.lab.data import DataError, Roles, load
from sfumato.lab.data.sources import read_frame
from tests.lab.data import refused

READABLE = (
    "Supported: digits, .csv, .tsv, .csv.gz, .parquet, .feather, .npz, a folder of class folders of images, "
    "module:function"
)

refusal = partial(refused, load)


def test_digits_are_those_of_scikit_learn():
    table, bunch = load("digits"), load_digits()
    assert (table.name, table.kind, table.features.image, table.features.shape) == ("digits", "digits", True, (8, 8))
    assert np.array_equal(table.features.values, bunch.data)
    assert np.array_equal(table.labels, bunch.target)
    assert table.class_names == tuple("0123456789")
    assert len(table.features.names) == 64


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("flowrs.csv", 'no file "flowrs.csv"; did you mean "flowers.csv"?'),
        ("sub/mnst.npz", 'no file "sub/mnst.npz"; did you mean "sub/mnist.npz"?'),
        ("zebra", f'no file "zebra". {READABLE}'),
        ("", f'no file "". {READABLE}'),
        ("nowhere/flowers.csv", 'no file "nowhere/flowers.csv": there is no folder "nowhere"'),
        ("sub", "sub holds no folders; it needs one folder of images for each class, or train, val and test with them"),
        ("pictures.zip", f"pictures.zip: unsupported file format. Unpack it first. {READABLE}"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_way_out(tmp_path, monkeypatch, source, message):
    (tmp_path / "sub").mkdir()
    for name in ("flowers.csv", "pictures.zip", "notes", "sub/mnist.npz"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert refusal(source).startswith(message)


@pytest.mark.parametrize(
    "name", ["flowers.csv", "FLOWERS.CSV", "flowers.tsv", "flowers.csv.gz", "flowers.parquet", "f.PQ"]
)
def test_a_table_is_called_by_its_file_without_the_ending(tmp_path, name):
    table = pa.table({"x": [0.5, 1.5, 2.5] * 2, "label": list("ab") * 3})
    lower = name.lower()
    if lower.endswith(("parquet", "pq")):
        parquet.write_table(table, tmp_path / name)
    else:
        tabs = "\t" if "tsv" in lower else ","
        text = table.to_pandas().to_csv(sep=tabs, index=False).encode()
        (tmp_path / name).write_bytes(gzip.compress(text) if lower.endswith("gz") else text)
    stem, kind = name.partition(".")[0], "parquet" if "p" in lower.partition(".")[2] else "csv"
    loaded, frame = load(str(tmp_path / name)), read_frame(str(tmp_path / name))
    assert (loaded.name, loaded.kind, len(loaded.labels)) == (stem, kind, 6)
    assert (frame.name, frame.kind, frame.file, frame.header) == (stem, kind, name, ["x", "label"])


def test_a_folder_is_called_by_its_own_name_however_it_is_given(tmp_path, monkeypatch):
    for i in range(6):
        path = tmp_path / "pets" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), 40 * i, np.uint8)).save(path)
    monkeypatch.chdir(tmp_path / "pets")
    assert load(".").name == load("../pets/").name == load(str(tmp_path / "pets")).name == "pets"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "flowers.csv does not fit in memory; take fewer rows"),
        (OSError(5, "Input/output error"), "flowers.csv cannot be read: Input/output error"),
    ],
)
def test_what_the_system_refuses_is_told_with_the_file(tmp_path, monkeypatch, error, told):
    def fail(*args, **kwargs):
        raise error

    (tmp_path / "flowers.csv").write_text("x,label\n")
    monkeypatch.setattr("sfumato.lab.data.sources.read_table", fail)
    assert refusal(str(tmp_path / "flowers.csv")).startswith(told)
    with pytest.raises(DataError, match=f"^{told}$"):
        read_frame(str(tmp_path / "flowers.csv"))


def test_data_that_were_given_from_python_are_in_no_file():
    assert refusal("(in memory)").startswith("these data were given from Python and are in no file; give")


@pytest.mark.parametrize("name", ["rows.txt", "rows.npz", "folder.csv"])
def test_what_is_no_table_is_refused_as_new_rows(tmp_path, name):
    (tmp_path / "rows.txt").write_text("a,b\n1,2\n")
    (tmp_path / "rows.npz").touch()
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(
        DataError, match=f"^{name} is not a table; new rows are read from .csv, .tsv, .parquet, .feather and .npz"
    ):
        read_frame(str(tmp_path / name))


@pytest.mark.parametrize("role", ["label", "text", "split", "weight", "group"])
def test_a_column_for_data_without_columns_is_refused(role):
    assert refusal("digits", roles=Roles(**{role: "y"})).startswith(f'--{role} "y" names a column of a')


@pytest.mark.parametrize("source", ["digits", "t.csv", "t.npz", "json:loads"])
def test_a_size_of_images_for_what_is_no_folder_is_refused(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("x,label\n" + "1,a\n2,b\n3,a\n4,b\n5,a\n6,b\n")
    np.savez(tmp_path / "t.npz", X=np.arange(6.0), y=[0, 1] * 3)
    assert refusal(source, roles=Roles(image_size=32)).startswith('--image-size "32" is for folders of')


@pytest.mark.slow
def test_preparing_data_imports_no_torch():
    code = "import sys; from sfumato.lab.data import prepare; prepare('digits'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
