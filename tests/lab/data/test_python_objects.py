"""Data from a user's function: everything that it may return, and the words for everything else."""

import itertools
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from sfumato import messages
from sfumato.lab.data import DataError, Roles, load, prepare

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
    with pytest.raises(DataError) as caught:
        prepare(source, Roles(**roles))
    return str(caught.value)


@pytest.mark.parametrize(
    "what",
    [
        "X, y",
        "[X, y]",
        "torch.tensor(X), torch.tensor(y)",
        "X.tolist(), y.tolist()",
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


def test_parts_may_have_soft_labels(module):
    data = prepare(module(returning("(X[:45], P[:45]), (X[45:], P[45:])")))
    assert data.part("test").soft.shape == (15, 3)


@pytest.mark.parametrize("kind", ["object", "str"])
def test_texts_are_the_same_as_objects_and_as_text(module, kind):
    texts = f'np.array(["red fox", "dog", "red dog"] * 20, {kind}), np.array(["a", "b", "c"] * 20, {kind})'
    table = load(module(returning(texts)))
    assert (table.features.texts[:3], table.class_names) == (["red fox", "dog", "red dog"], ("a", "b", "c"))


def test_a_data_frame_is_a_table_with_columns(module):
    source = module(
        "import pyarrow as pa\ndef load(): return pa.table({'a': X[:, 0], 'w': ['u', 'v'] * 30, 'kind': y.tolist()})\n"
    )
    data = prepare(source, Roles(label="kind"))
    assert data.table.features.names == ("a", "w")


STREAM = """
import pyarrow as pa
class Frame:
    def __init__(self, table): self.table = table
    def __arrow_c_stream__(self, requested_schema=None): return self.table.__arrow_c_stream__(requested_schema)
class Polars(Frame):
    def to_arrow(self): return Frame(self.table)
table = pa.table({"a": X[:, 0], "w": ["u", "v"] * 30, "kind": y.tolist()})
"""


@pytest.mark.parametrize("what", ["Frame(table)", "Polars(table)", "table.to_batches()[0]"])
def test_whatever_arrow_takes_is_a_table_with_columns(module, what):
    plain = prepare(module(STREAM + returning("table")), Roles(label="kind"))
    data = prepare(module(STREAM + returning(what)), Roles(label="kind"))
    assert data.fingerprint == plain.fingerprint
    assert data.table.columns == plain.table.columns


def test_soft_labels_weights_and_groups_go_with_the_rows(module):
    data = prepare(module(returning('{"X": X, "y": P, "weight": y + 1.0, "group": np.arange(60) // 2}')))
    assert data.part("train").soft.shape == (data.split.train.size, 3)
    assert np.array_equal(data.part("test").weight, data.split.test % 3 + 1)
    assert len(np.unique(data.split.cluster)) == 30


def test_weights_and_groups_of_parts_go_with_their_rows(module):
    parts = [
        f'"{name}": {{"X": X[{rows}], "y": y[{rows}], "weight": y[{rows}] + 1.0, "group": np.arange(60)[{rows}]}}'
        for name, rows in (("train", ":40"), ("test", "40:"))
    ]
    data = prepare(module(returning("{" + ", ".join(parts) + "}")))
    assert np.array_equal(data.table.weight, data.table.labels + 1)
    assert data.table.group is not None


@pytest.mark.parametrize("key", ["weight", "group"])
def test_weights_or_groups_that_some_parts_lack_are_refused(module, key):
    what = f'{{"train": {{"X": X[:40], "y": y[:40], "{key}": np.arange(1, 41)}}, "test": {{"X": X[40:], "y": y[40:]}}}}'
    source = module(returning(what))
    assert refusal(source) == f"{source}: train has a {key} and test has none; give it to every part or to none"


def test_pictures_from_a_data_set_keep_their_shape(module):
    data = prepare(module(returning("Pictures()")))
    assert data.inputs.picture == (3, 8, 8)


def test_a_data_set_that_draws_its_rows_is_said_to(module):
    body = "class R(Pictures):\n    def __getitem__(self, i): return torch.rand(4), i % 3\ndef load(): return R()\n"
    assert "The data set gives another x each time it is asked (random transforms?): each row was drawn once." in (
        messages.texts(prepare(module(body)).notes)
    )


@pytest.mark.parametrize("method", ["__len__", "__getitem__"])
def test_half_a_data_set_is_none(module, method):
    source = module(f"class Half:\n    def {method}(self, *at): return 3\n" + returning("Half()"))
    assert refusal(source) == f"{source} returned a Half; {EXPECTED}"


EXPECTED = (
    "expected (X, y), a data frame, a Dataset or DataLoader of (x, y), a dict of these by part "
    '("train", "validation", "test"), or a tuple of two or three of them'
)
WRONG = {
    "None": ("None", f"returned None; {EXPECTED}"),
    "a number": ("7", f"returned an int; {EXPECTED}"),
    "a text": ('"data.csv"', f"returned a str; {EXPECTED}"),
    "X alone": ("X", f"returned a ndarray; {EXPECTED}"),
    "four arrays": ("X, y, X, y", f"returned a tuple; {EXPECTED}"),
    "a dict of other keys": ('{"a": 1}', f'returned a dict with keys "a"; {EXPECTED}, or keys "X" and "y"'),
    "a dict without training": (
        '{"test": (X, y)}',
        f'returned a dict with keys "test"; {EXPECTED}, or keys "X" and "y"',
    ),
    "X and y of other lengths": ("X, y[:5]", ": X has 60 rows but y has 5; they must be as many"),
    "an empty data set": ("Pictures(0)", ": the data set is empty"),
    "a data set for y": ("X, Pictures(60)", ": y holds a Pictures; expected numbers or texts"),
    "one number for X": (
        "3.5, [1, 2]",
        f" returned X of shape () and y of shape (2,); {EXPECTED}",
    ),
    "None among rows": ("[None] * 60, y", ": X holds None; expected numbers or texts"),
    "None after a number": (
        "[1.5, None] * 30, y",
        ": X holds Python objects (a float, None); make it an array of numbers or of texts",
    ),
    "numbers among texts": (
        'np.array(["a", 2, 2.5, None] * 15, object), y',
        ": X holds Python objects (a str, an int, a float and 1 more); make it an array of numbers or of texts",
    ),
    "no objects": (
        "np.zeros((0, 2), object), y",
        ": X holds Python objects (none); make it an array of numbers or of texts",
    ),
    "no rows": (
        "np.array([], object), np.array([], object)",
        ": X has shape (0,); it needs at least one row and one feature",
    ),
    "a part with X and y of other lengths": (
        '{"train": (X, y[:5]), "test": (X, y)}',
        ": X for train has 60 rows but y has 5; they must be as many",
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
    "ragged lists": ("[[1], [2, 3]], [0, 1]", ": X has rows of different lengths; bring all rows to one shape"),
    "parts of several shapes": (
        "(X, y), (X[:, :2], y)",
        ": rows of train have shape (4,) and labels (), but those of test (2,) and ()",
    ),
    "soft labels that do not sum to 1": (
        "X, P * 2",
        ": row 0 of y: soft labels y[:,0] to y[:,2] sum to 2, not to 1 (as in 59 more rows); divide each row by its "
        "sum",
    ),
    "a division by zero": ("1 / 0", " raised ZeroDivisionError: division by zero (line 12 of made.py)"),
}


@pytest.mark.parametrize(("what", "message"), WRONG.values(), ids=WRONG)
def test_another_kind_of_result_is_refused_with_what_was_expected(module, what, message):
    source = module(returning(what))
    expected = (f"{source}{message}" if message.startswith(":") else f"{source} {message.strip()}").replace(
        "made.py", source.partition(":")[0] + ".py"
    )
    assert refusal(source) == expected


def test_a_module_or_function_that_is_not_there_is_refused_with_the_nearest_name(module):
    source = module(returning("X, y"))
    name = source.partition(":")[0]
    assert refusal(f"{name}:laod") == f'{name} has no "laod". Did you mean "load"?'
    assert refusal(f"{name}x:load") == (
        f'no module "{name}x" here or among the installed packages. Did you mean "{name}"?'
    )
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
        assert refusal(f"elsewhere/{other}.py:load") == (
            f'elsewhere/{other}.py:load: another module is called "{other}" already, {taken_by}; rename the file'
        )


def test_a_file_goes_before_another_module_of_its_name(module, monkeypatch, tmp_path):
    name, _, function = module(returning("X, y")).partition(":")
    Path("elsewhere").mkdir()
    Path(f"elsewhere/{name}.py").write_text(HEAD + returning("X[:30], y[:30]"))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert len(load(f"elsewhere/{name}.py:{function}").labels) == 30


def test_a_module_that_fails_is_said_to_with_its_error(module):
    source = module("import no_such_package_here\n")
    name = source.partition(":")[0]
    assert refusal(source).startswith(
        f"{name} cannot be imported: ModuleNotFoundError: No module named 'no_such_package_here' (line 12 of {name}.py)"
    )


def test_a_column_is_no_option_for_arrays(module):
    source = module(returning("X, y"))
    assert refusal(source, weight="w") == (
        f'--weight "w" names a column of a table, but {source} returns arrays; leave it out'
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def load(): return T\n", "the data set holds more than 8 GB; return fewer or smaller rows"),
        (
            "import scipy.sparse\ndef load(): return scipy.sparse.csr_matrix(X), y\n",
            "X is sparse and takes more than 8 GB spread out; keep fewer columns",
        ),
        ("def load(): return DataLoader(T, 8)\n", "the DataLoader holds more than 8 GB; return fewer or smaller rows"),
    ],
)
def test_more_rows_than_are_read_are_refused_while_they_come(module, monkeypatch, body, message):
    monkeypatch.setattr("sfumato.lab.data.python_objects.MAX_BYTES", 1000)
    source = module(body)
    assert refusal(source) == f"{source}: {message}"


@pytest.mark.parametrize("what", ["T", "DataLoader(T, 8)", "(scipy.sparse.csr_matrix(X), y)"])
def test_as_many_bytes_as_may_be_read_are_read_and_not_one_more(module, monkeypatch, what):
    source = module("import scipy.sparse\n" + returning(what))
    monkeypatch.setattr("sfumato.lab.data.python_objects.MAX_BYTES", 60 * 4 * 8)
    assert len(load(source).labels) == 60
    monkeypatch.setattr("sfumato.lab.data.python_objects.MAX_BYTES", 60 * 4 * 8 - 1)
    assert "more than 8 GB" in refusal(source)
