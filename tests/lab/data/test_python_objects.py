"""Data from Python: everything that a person or a function may give, as a table, and the words for all else."""

from __future__ import annotations

import itertools
import random
import sys
from pathlib import Path

import numpy as np
import pandas
import pyarrow as pa
import pytest
import torch

from sfumato import messages
from sfumato.lab.data import DataError, Roles, load, prepare
from sfumato.lab.data.prepare import prepare_table
from sfumato.lab.data.python_objects import table_in_memory
from tests.from_python.test_compare import table
from tests.lab.data import refused

NUMBERS = itertools.count()

HEAD = """
import numpy as np, torch
from torch.utils.data import DataLoader, Dataset, TensorDataset
rng = np.random.default_rng(0)
X, y = rng.normal(size=(60, 4)), np.arange(60) % 3
P = np.full((60, 3), 0.1); P[np.arange(60), y] = 0.8
T = TensorDataset(torch.tensor(X), torch.tensor(y))
class Pictures(Dataset):
    def __init__(self, rows=60): self.rows = rows
    def __len__(self): return self.rows
    def __getitem__(self, i): return torch.full((3, 8, 8), i / 60.0), i % 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module with a name of its own, for Python imports each name once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(body):
        name = f"made_{next(NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(HEAD + body)
        return f"{name}:load"

    return write


def returning(what):
    return f"def load(): return {what}\n"


def refusal(source, **roles):
    return refused(prepare, source, Roles(**roles))


@pytest.mark.parametrize(
    "what",
    [
        "X, y",
        "torch.tensor(X), torch.tensor(y)",
        '{"X": X, "y": y}',
        '{"train": (X, y)}',
        "T",
        "DataLoader(T, batch_size=7)",
        "DataLoader(T, batch_size=None)",
        "DataLoader(T, batch_size=16, shuffle=True)",
        "((x, k) for x, k in zip(X, y))",
    ],
)
def test_the_same_rows_give_the_same_data_in_whatever_form_they_come(module, what):
    plain = prepare(module(returning("X, y")))
    data = prepare(module(returning(what)))
    assert (data.table.kind, data.table.name) == ("function", "load")
    assert data.fingerprint == plain.fingerprint
    assert messages.texts(data.notes) == messages.texts(plain.notes)
    assert all(np.array_equal(data.arrays(p)[0], plain.arrays(p)[0]) for p in ("train", "validation", "test"))


@pytest.mark.parametrize(
    ("what", "given"),
    [
        ('{"train": (X[:30], y[:30]), "val": (X[30:45], y[30:45]), "test": (X[45:], y[45:])}', 3),
        ("(X[:30], y[:30]), (X[30:45], y[30:45]), (X[45:], y[45:])", 3),
        ("DataLoader(T, batch_size=60), T, (X, y)", 3),
        ("(X[:45], y[:45]), (X[45:], y[45:])", 2),
    ],
)
def test_parts_are_taken_as_they_are_given(module, what, given):
    data = prepare(module(returning(what)))
    assert len(data.split.given) == given
    assert ("Validation was cut" in " ".join(messages.texts(data.notes))) == (given == 2)


def test_soft_labels_weights_and_groups_go_with_the_rows(module):
    data = prepare(module(returning('{"X": X, "y": P, "weight": y + 1.0, "group": np.arange(60) // 2}')))
    assert data.part("train").soft.shape == (data.split.train.size, 3)
    assert np.array_equal(data.part("test").weight, data.split.test % 3 + 1)
    assert len(np.unique(data.split.cluster)) == 30


@pytest.mark.parametrize("key", ["weight", "group"])
def test_weights_or_groups_that_some_parts_lack_are_refused(module, key):
    what = f'{{"train": {{"X": X[:40], "y": y[:40], "{key}": np.arange(1, 41)}}, "test": {{"X": X[40:], "y": y[40:]}}}}'
    source = module(returning(what))
    assert refusal(source) == f"{source}: train has a {key} and test has none; give it to every part or to none"


def test_a_data_set_that_draws_its_rows_is_said_to(module):
    body = "class R(Pictures):\n    def __getitem__(self, i): return torch.rand(4), i % 3\ndef load(): return R()\n"
    assert "The data set gives another x each time it is asked (random transforms?): each row was drawn once." in (
        messages.texts(prepare(module(body)).notes)
    )


EXPECTED = (
    "expected (X, y), a data frame, a Dataset or DataLoader of (x, y), a dict of these by part "
    '("train", "validation", "test"), or a tuple of two or three of them'
)
WRONG = {
    "None": ("None", f"returned None; {EXPECTED}"),
    "X alone": ("X", f"returned a ndarray; {EXPECTED}"),
    "four arrays": ("X, y, X, y", f"returned a tuple; {EXPECTED}"),
    "a dict of other keys": ('{"a": 1}', f'returned a dict with keys "a"; {EXPECTED}, or keys "X" and "y"'),
    "X and y of other lengths": ("X, y[:5]", ": X has 60 rows but y has 5; they must be as many"),
    "an empty data set": ("Pictures(0)", ": the data set is empty"),
    "a data set for y": ("X, Pictures(60)", ": y holds a Pictures; expected numbers or texts"),
    "one number for X": ("3.5, [1, 2]", f" returned X of shape () and y of shape (2,); {EXPECTED}"),
    "None among rows": ("[None] * 60, y", ": X holds None; expected numbers or texts"),
    "numbers among texts": (
        'np.array(["a", 2, 2.5, None] * 15, object), y',
        ": X holds Python objects (a str, an int, a float and 1 more); make it an array of numbers or of texts",
    ),
    "no rows": (
        "np.array([], object), np.array([], object)",
        ": X has shape (0,); it needs at least one row and one feature",
    ),
    "parts of bytes and of numbers": (
        "(np.zeros((60, 4), np.uint8), y), (X, y)",
        ": some parts hold bytes (uint8) and others do not; return one type",
    ),
    "a loader of x alone": (
        "DataLoader(torch.zeros(9, 2), batch_size=3)",
        ": the DataLoader gives a Tensor at 0; expected a pair (x, y)",
    ),
    "rows of several shapes": (
        "(x for x in [(np.zeros(2), 0), (np.zeros(3), 1)])",
        ": x of item 1 has shape (3,), but the first has (2,); bring all rows to one shape",
    ),
    "parts of several shapes": (
        "(X, y), (X[:, :2], y)",
        ": rows of train have shape (4,) and labels (), but those of test (2,) and ()",
    ),
    "soft labels that do not sum to 1": (
        "X, P * 2",
        ", row 0: soft labels y[:,0] to y[:,2] sum to 2, not to 1 (as",
    ),
    "a division by zero": ("1 / 0", " raised ZeroDivisionError: division by zero (line 12 of made.py)"),
}


@pytest.mark.parametrize(("what", "message"), WRONG.values(), ids=WRONG)
def test_another_kind_of_result_is_refused_with_what_was_expected(module, what, message):
    source = module(returning(what))
    expected = (f"{source}{message}" if message.startswith((":", ",")) else f"{source} {message.strip()}").replace(
        "made.py", source.partition(":")[0] + ".py"
    )
    assert refusal(source).startswith(expected)


def test_a_module_or_function_that_is_not_there_is_refused_with_the_nearest_name(module):
    source = module(returning("X, y"))
    name = source.partition(":")[0]
    assert refusal(f"{name}:laod") == f'{name} has no "laod". Did you mean "load"?'
    assert refusal(f"{name}x:load").startswith(f'no module "{name}x" here or among the installed packages.')
    assert refusal(f"{name}:X") == f"{name}:X is a ndarray, not a function; it is called without arguments"


def test_a_module_in_the_current_folder_is_found_though_python_does_not_look_there(module, monkeypatch, tmp_path):
    source = module(returning("X, y"))
    monkeypatch.setattr("sys.path", [each for each in sys.path if each not in ("", str(tmp_path))])
    assert load(source).name == "load"


@pytest.mark.parametrize("here", [True, False], ids=["python looks here", "python does not look here"])
def test_a_module_can_be_given_by_its_file(module, monkeypatch, here):
    name, _, function = module(returning("X, y")).partition(":")
    monkeypatch.setattr("sys.path", [*[""] * here, *(each for each in sys.path if each)])
    Path("elsewhere").mkdir()
    elsewhere = Path(f"{name}.py").rename(f"elsewhere/{name}_there.py")
    table = load(f"{elsewhere}:{function}")
    assert table.name == function
    assert refusal(f"elsewhere/{name}.py:load").startswith(f'no module "elsewhere/{name}.py" here')


def test_a_file_whose_name_another_module_has_is_refused(module, tmp_path):
    name, _, function = module(returning("X, y")).partition(":")
    load(f"{name}.py:{function}")
    Path("elsewhere").mkdir()
    for other, taken_by in (
        (name, str(tmp_path / f"{name}.py")),
        ("sys", "a part of Python"),
        ("random", random.__file__),
    ):
        Path(f"elsewhere/{other}.py").write_text(HEAD + returning("X, y"))
        told = f'elsewhere/{other}.py:load: another module is called "{other}" already, {taken_by};'
        assert refusal(f"elsewhere/{other}.py:load").startswith(told)


def test_a_module_that_fails_is_said_to_with_its_error(module):
    source = module("import no_such_package_here\n")
    name = source.partition(":")[0]
    assert refusal(source).startswith(
        f"{name} cannot be imported: ModuleNotFoundError: No module named 'no_such_package_here' (line 12 of {name}.py)"
    )


@pytest.mark.parametrize("what", ["T", "DataLoader(T, 8)", "(scipy.sparse.csr_matrix(X), y)"])
def test_as_many_bytes_as_may_be_read_are_read_and_not_one_more(module, monkeypatch, what):
    source = module("import scipy.sparse\n" + returning(what))
    monkeypatch.setattr("sfumato.lab.data.python_objects.MAX_BYTES", 60 * 4 * 8)
    assert len(load(source).labels) == 60
    monkeypatch.setattr("sfumato.lab.data.python_objects.MAX_BYTES", 60 * 4 * 8 - 1)
    assert "more than 8 GB" in refusal(source)


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
        pytest.param(lambda: (table().astype({"city": "category"}), "kind"), id="categories"),
        pytest.param(lambda: (table().drop(columns="kind"), table()["kind"]), id="series"),
        pytest.param(lambda: (table().rename(columns={"kind": "label"}),), id="by its name"),
    ],
)
def test_a_table_in_any_form_is_the_same_table(given):
    assert fingerprint(*given()) == fingerprint(table(), "kind")


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


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="NumPy 1 has no texts of any length")
@pytest.mark.parametrize("x", [np.eye(6), torch.eye(6), np.array(["a", "b"])])
def test_an_array_without_labels_is_refused_with_the_way_to_give_them(x):
    with pytest.raises(DataError, match="^X is an array and has no labels; give them as y, one per row of X$"):
        table_in_memory(x, None, Roles(), {})


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
    "soft labels beside a frame": (
        (frame(), np.full((30, 2), 0.5)),
        {},
        "the data given: y has shape (30, 2); it needs one value per row (next",
    ),
    "labels of other rows": ((frame(), LABELS * 100), {}, "X has 30 rows but y has 3,000; they must be as many"),
    "a series of other rows": (
        (frame(), pandas.Series(LABELS[:29])),
        {},
        "X has 30 rows but y has 29; they must be as many",
    ),
}


@pytest.mark.parametrize(("given", "roles", "message"), REFUSED.values(), ids=REFUSED)
def test_what_fits_no_table_is_refused(given, roles, message):
    with pytest.raises(DataError) as caught:
        table_in_memory(*given, Roles(**roles), {})
    assert str(caught.value).startswith(message)


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
