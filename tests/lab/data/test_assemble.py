"""From columns to a table: one table in every spelling, what is left out, and the line that each column gets."""

import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from sfumato import messages
from sfumato.lab.data import DataError, Roles, load, prepare
from sfumato.lab.data.python_objects import table_in_memory
from tests.lab.data import refused
from tests.limits import examples

ROWS = 40
DATES = {"ISO": "%Y-%m-%d", "points": "%d.%m.%Y", "slashes": "%m/%d/%Y"}
WORDS = ("rot", "grün", "naïve", "a b", "x,y", "p;q", 'say "so"', "t|u", "Zoë")


@st.composite
def tables(draw):
    """Columns of numbers, of words and of dates, some with gaps, and labels of two classes."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    words = draw(st.lists(st.sampled_from(WORDS), min_size=2, max_size=4, unique=True))
    scale = 10 ** draw(st.integers(0, 5))
    made = {
        "size": [round(float(value), 2) for value in rng.normal(size=ROWS) * scale],
        "count": [int(value) for value in rng.integers(0, 9, ROWS)],
        "colour": [words[i] for i in rng.integers(0, len(words), ROWS)],
        "day": [datetime.date(2020, 1, 1) + datetime.timedelta(int(i)) for i in rng.integers(0, 1500, ROWS)],
        "label": [("ja", "nein")[i % 2] for i in range(ROWS)],
    }
    made["size"][0], made["day"][0] = 0.25, datetime.date(2024, 2, 29)
    for name in draw(st.lists(st.sampled_from(["size", "count", "colour", "day"]), max_size=2, unique=True)):
        for i in rng.choice(np.arange(1, ROWS), 5, replace=False):
            made[name][i] = None
    return made


def spelt(table, *, separator=",", decimal=".", encoding="utf-8", end="\n", dates="ISO"):
    """The bytes of a table as somebody would write it."""

    def cell(value):
        if value is None:
            return ""
        if isinstance(value, datetime.date):
            text = value.strftime(DATES[dates])
        elif isinstance(value, str):
            text = value
        else:
            text = str(value).replace(".", decimal)
        quoted = '"' in text or separator in text
        return '"' + text.replace('"', '""') + '"' if quoted else text

    lines = [separator.join(table), *(separator.join(map(cell, row)) for row in zip(*table.values(), strict=True))]
    return (end.join(lines) + end).encode(encoding)


@given(
    table=tables(),
    separator=st.sampled_from(",;\t|"),
    decimal=st.sampled_from(".,"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "utf-16"]),
    end=st.sampled_from(["\n", "\r\n"]),
    dates=st.sampled_from(list(DATES)),
)
@examples(150)
def test_every_spelling_of_a_table_gives_the_same_columns_split_and_bits(
    tmp_path_factory, table, separator, decimal, encoding, end, dates
):
    folder = tmp_path_factory.mktemp("made")
    other = spelt(table, separator=separator, decimal=decimal, encoding=encoding, end=end, dates=dates)
    (folder / "plain.csv").write_bytes(spelt(table))
    (folder / "other.csv").write_bytes(other)
    one, two = prepare(str(folder / "plain.csv")), prepare(str(folder / "other.csv"))
    kinds = [[(c.name, c.read_as, c.distinct, c.missing) for c in data.table.columns] for data in (one, two)]
    assert kinds[0] == kinds[1]
    assert [kind for _, kind, _, _ in kinds[0]] == ["number", "number", "category", "date", "label"]
    assert one.fingerprint == two.fingerprint
    for part in ("train", "validation", "test"):
        assert np.array_equal(getattr(one.split, part), getattr(two.split, part))
        assert one.arrays(part)[0].tobytes() == two.arrays(part)[0].tobytes()


@pytest.fixture
def write(tmp_path):
    def write(columns, name="made.csv"):
        path = tmp_path / name
        lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
        path.write_text("\n".join(lines) + "\n")
        return str(path)

    return write


def columns(**more):
    """Forty rows with a number and labels, and other columns before them."""
    return {**more, "size": [i % 7 / 4 for i in range(ROWS)], "label": ["a", "b"] * (ROWS // 2)}


def lines(source, **roles):
    return {each.name: each for each in load(source, Roles(**roles)).columns}


IDS = {
    "a running number": [i + 1 for i in range(ROWS)],
    "a shuffled running number": [(17 * i) % ROWS for i in range(ROWS)],
    "codes": [f"K-{i:04d}" for i in range(ROWS)],
    "uuids": [f"{i:08x}-0000-4000-8000-{7 * i:012x}" for i in range(ROWS)],
}


@pytest.mark.parametrize("cells", IDS.values(), ids=IDS)
def test_a_column_that_names_the_rows_is_left_out_unless_it_is_kept(write, cells):
    source = write(columns(key_of_row=cells))
    table = load(source)
    assert table.features.names == ("size",)
    line = lines(source)["key_of_row"]
    assert (line.read_as, line.distinct, line.missing) == ("id", ROWS, 0)
    assert line.note.endswith("in every row; --keep takes it in")
    assert any(note.startswith('Column "key_of_row" has another ') for note in messages.texts(table.notes))
    kept = load(source, Roles(keep=("key_*",)))
    assert kept.features.names == ("key_of_row", "size")


def test_a_column_of_lists_is_left_out_whether_it_is_dropped_or_not(tmp_path):
    table = {**columns(), "parts": [[i, None] if i % 4 else None for i in range(ROWS)]}
    parquet.write_table(pa.table(table), tmp_path / "made.parquet")
    source = str(tmp_path / "made.parquet")
    assert (lines(source)["parts"].read_as, lines(source)["parts"].missing) == ("left out", 10)
    assert (lines(source, drop=("parts",))["parts"].read_as, lines(source)["parts"].missing) == ("left out", 10)


def test_every_column_has_its_line(write):
    table = columns(
        day=[f"{i % 28 + 1:02d}.03.2024" for i in range(ROWS)],
        when=["03/04/2024", "05/06/2024"] * (ROWS // 2),
        name=[f"Ann Lee {i}" for i in range(ROWS)],
        same=[7] * ROWS,
        gaps=["NA", "", 1.5, 2.5] * (ROWS // 4),
        w=[1 + i % 3 for i in range(ROWS)],
        visit=[i // 4 for i in range(ROWS)],
    )
    told = [
        (line.name, line.read_as, line.distinct, line.missing, line.note)
        for line in load(write(table), Roles(weight="w", group="visit")).columns
    ]
    assert told == [
        ("day", "date", 28, 0, "DD.MM.YYYY, counted in days"),
        ("when", "category", 2, 0, "kept as text: day and month are ambiguous; write 2024-01-31"),
        ("name", "left out", 40, 0, "left out: holds 40 different texts in 40 cells; --text uses a column as text"),
        ("same", "number", 1, 0, "one value only"),
        ("gaps", "number", 2, 20, ""),
        ("w", "weight", 3, 0, ""),
        ("visit", "group", 10, 0, ""),
        ("size", "number", 7, 0, ""),
        ("label", "label", 2, 0, ""),
    ]


def test_how_a_file_is_written_is_said(tmp_path):
    table = columns(day=[datetime.date(2024, 1, 1 + i % 31) for i in range(ROWS)], city=["Köln", "Rom"] * (ROWS // 2))
    text = spelt(table, separator=";", decimal=",", encoding="cp1252", dates="points")
    (tmp_path / "made.csv").write_bytes(text)
    assert messages.texts(load(str(tmp_path / "made.csv")).notes) == (
        "The file was read with Windows text (cp1252), cells separated by semicolons, decimal commas.",
        'Dates count days, and the season where they span more than a year: "day" (DD.MM.YYYY).',
    )


def of_types(path, columns):
    parquet.write_table(pa.table(columns), path / "made.parquet")
    return str(path / "made.parquet")


def refusal(source, **roles):
    return refused(load, source, Roles(**roles))


@pytest.mark.parametrize(
    ("cells", "shown"),
    [
        ([0.5 + i for i in range(ROWS)], "40 different values from 0.5 to 39.5"),
        ([i / 2 for i in range(ROWS)], "40 different values from 0 to 19.5"),
        ([None] + [0.5 + i for i in range(1, ROWS)], "39 different values from 1.5 to 39.5"),
    ],
)
def test_floats_to_predict_are_no_labels_however_often_each_comes(tmp_path, cells, shown):
    source = of_types(tmp_path, {"size": [i % 7 / 4 for i in range(3 * ROWS)], "label": cells * 3})
    assert f'column "label" looks like a number to predict, with {shown}; sfumato' in refusal(source)


@pytest.mark.parametrize("gap", [None, float("nan")])
def test_a_gap_among_floats_is_a_missing_label(tmp_path, gap):
    labels = pa.array([1.0, 2.0, gap] * 3, pa.float64())
    assert refusal(of_types(tmp_path, {"size": list(range(9)), "label": labels})).startswith(
        'made.parquet, row 2: column "label"'
    )


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (["heavy", "light"] * (ROWS // 2), 'made.csv: column "w" must hold numbers'),
        ([""] * ROWS, 'made.csv: column "w" must hold numbers'),
        ([1.5, ""] * (ROWS // 2), 'made.csv, line 3: column "w" is missing; fill in the cell, or drop the row'),
    ],
)
def test_weights_that_are_no_numbers_are_refused(write, cells, says):
    assert refusal(write(columns(w=cells)), weight="w").startswith(says)


def test_one_wrong_cell_in_the_first_row_is_no_second_header(write):
    cells = ["heavy"] + [1.5 + i for i in range(ROWS - 1)]
    assert refusal(write(columns(w=cells))).startswith('made.csv, line 2: column "w" holds "heavy", which')
    assert refusal(write(columns(w=cells, v=cells))).startswith("made.csv, line 2: looks like a second")


@pytest.mark.parametrize(("cell", "shown", "whole"), [(1e19, "1e+19", " of up to 18 digits"), (0.5, "0.5", "")])
def test_floats_that_are_no_classes_are_refused_with_their_row(tmp_path, cell, shown, whole):
    path = tmp_path / "made.parquet"
    parquet.write_table(pa.table({"size": [float(i) for i in range(9)], "label": [1.0, 2.0, cell] * 3}), path)
    with pytest.raises(DataError) as caught:
        load(str(path))
    assert str(caught.value).startswith(f'made.parquet, row 2: column "label" is {shown}; it must hold')


LEARNT = (
    '`fold` says which rows are for what, and is learnt from: give --split "fold" to use its parts, or --drop "fold".'
)


@pytest.mark.parametrize(
    ("fold", "roles", "told"),
    [
        (["Train ", "VAL"] * 20, {}, LEARNT),
        (["train", "dev", "", "test"] * 10, {}, LEARNT),
        (["train"] * 40, {}, None),  # one value says nothing
        (["test", "validation"] * 20, {}, None),
        ([*["train", "test"] * 60, "bus"], {}, None),  # beyond the first hundred rows
        (["train", "test"] * 20, {"split": "fold"}, None),
        (["train", "test"] * 20, {"drop": ("fold",)}, None),
        (
            ["train", "test"] * 20,
            {"text": "words"},
            LEARNT,
        ),
    ],
)
def test_a_column_that_says_which_rows_are_for_what_is_warned_of_unless_it_has_a_role(write, fold, roles, told):
    numbers = range(len(fold))
    table = {"size": [i % 7 for i in numbers], "fold": fold, "label": [("ja", "nein")[i % 2] for i in numbers]}
    read = load(write({**table, "words": [f"rain {i}" for i in numbers]}), Roles(**roles))
    found = [(each.column, each.text) for each in read.warnings if each.code == "parts-unused"]
    assert found == ([("fold", told)] if told else [])


@pytest.mark.parametrize("mark", ["", " ", "nan", "NaN", "<NA>", "null", "#N/A"])
def test_rows_without_a_label_are_left_out_where_that_is_asked_for_and_lines_are_those_of_the_file(tmp_path, mark):
    lines = [f"{i % 5},{mark if i in (0, 7) else 'ab'[i % 2]}" for i in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["x,label", *lines]) + "\n")
    table = load(str(tmp_path / "t.csv"), Roles(drop_unlabelled=True))
    assert (len(table.labels), table.class_names) == (38, ("a", "b"))
    assert [note["code"] for note in table.notes] == ["unlabelled-left-out"]
    assert table.features.values[0].tolist() == [1.0]
    assert refused(load, str(tmp_path / "t.csv")) == (
        't.csv, line 2: column "label" is empty (as in 1 more row); give it a label, or leave out all rows without one '
        "with --drop-unlabelled"
    )
    (tmp_path / "t.csv").write_text("\n".join(["x,label", *lines, "far,a"]) + "\n")
    assert refused(load, str(tmp_path / "t.csv"), Roles(drop_unlabelled=True)).startswith("t.csv, line 42: ")


@pytest.mark.parametrize("y", [[np.nan, *[0.0, 1.0] * 10], ["", *"ab" * 10]])
def test_rows_of_arrays_without_a_label_are_left_out_too(y):
    x = np.arange(21.0)[:, None]
    table = table_in_memory(x, np.array(y), Roles(drop_unlabelled=True), {"weight": x[:, 0] + 1})
    assert (len(table.labels), table.features.values[0, 0], table.weight[0]) == (20, 1, 2)
    assert "--drop-unlabelled" in refused(table_in_memory, x, np.array(y), Roles(), {})
