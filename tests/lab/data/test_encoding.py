"""Tables as arrays for training: numbers, dates, categories and missing values, learned from the training rows."""

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from sfumato import messages
from sfumato.lab.data import DataError, Numbers, Roles, prepare
from sfumato.lab.data.columns import Column
from sfumato.lab.data.encoding import Columns, standardise, transform
from tests.lab.data import refused

RNG = np.random.default_rng(0)


def columns(rows=60):
    """A mapping of columns that can be learnt from: numbers with gaps, words with gaps, and labels."""
    labels = [("a", "b")[i % 2] for i in range(rows)]
    return {
        "age": [None if i % 7 == 0 else float(i) for i in range(rows)],
        "city": [None if i % 11 == 0 else ("Oslo", "Rome", "Bern")[i % 3] for i in range(rows)],
        "size": [float(i % 5) for i in range(rows)],
        "label": labels,
    }


@pytest.fixture
def csv(tmp_path):
    def write(table, name="made.csv"):
        header = list(table)
        lines = [
            ",".join("" if cell is None else str(cell) for cell in row) for row in zip(*table.values(), strict=True)
        ]
        path = tmp_path / name
        path.write_text("\n".join([",".join(header), *lines]) + "\n")
        return str(path)

    return write


@pytest.fixture
def pq(tmp_path):
    def write(table, name="made.parquet"):
        path = tmp_path / name
        parquet.write_table(pa.table(table), path)
        return str(path)

    return write


def refusal(source, **roles):
    return refused(prepare, source, Roles(**roles))


def test_a_gap_becomes_the_median_of_the_training_rows_with_a_column_that_says_so(csv):
    table = columns()
    data = prepare(csv(table))
    age = np.array([np.nan if cell is None else cell for cell in table["age"]])
    train = age[data.split.train]
    filled = np.where(np.isnan(train), np.nanmedian(train), train)
    for part in ("train", "validation", "test"):
        rows = getattr(data.split, part)
        features, _ = data.arrays(part)
        expected = (np.where(np.isnan(age[rows]), np.nanmedian(train), age[rows]) - filled.mean()) / filled.std()
        assert np.allclose(features[:, 0], expected, atol=1e-6)
        assert np.array_equal(features[:, 1], np.isnan(age[rows]))
    assert data.inputs.width == 2 + (3 + 2) + 1  # age and its flag; three cities, missing, other; size


def test_levels_beyond_the_commonest_share_a_column_whatever_the_order_of_rows(csv):
    rows = 1200
    order = RNG.permutation(rows)
    words = [f"w{i % 300}" for i in range(rows)]
    table = {"word": words, "label": [str(i % 2) for i in range(rows)], "x": [i / 2 for i in range(rows)]}
    data = prepare(csv(table))
    assert data.inputs.width <= 256 + 2 + 1
    assert "Rare levels" in " ".join(messages.texts(data.notes))
    shuffled = {name: [cells[i] for i in order] for name, cells in table.items()}
    again = prepare(csv(shuffled))
    assert data.fingerprint == again.fingerprint
    assert all(data.arrays(part)[0].tobytes() == again.arrays(part)[0].tobytes() for part in ("train", "test"))


def test_gaps_are_counted_and_said(csv):
    data = prepare(csv(columns()))
    assert data.describe()["missing"] == {"age": 9, "city": 6}
    assert messages.texts(data.notes) == (
        'Missing cells: "age" (9), "city" (6). A missing number is the training rows\' median with a column that says '
        "so; a missing word is a level of its own.",
    )


def test_parquet_columns_of_every_kind_are_read_or_left_out_with_a_note(pq):
    rows = 30
    data = prepare(
        pq(
            {
                "whole": pa.array([i // 2 for i in range(rows)], pa.int16()),
                "flag": pa.array([i % 3 == 0 for i in range(rows)]),
                "price": pa.array([decimal.Decimal(i) / 4 for i in range(rows)]),
                "colour": pa.array(["red", "blue", "red"] * 10).dictionary_encode(),
                "day": pa.array([datetime.date(2024, 1, 1)] * rows),
                "span": pa.array([datetime.timedelta(days=i) for i in range(rows)]),
                "nothing": pa.nulls(rows),
                "label": pa.array([i % 2 for i in range(rows)], pa.uint8()),
            }
        )
    )
    assert data.table.features.names == ("whole", "flag", "price", "colour", "day")
    assert data.table.class_names == ("0", "1")
    assert 'Column "span" holds values of type duration[us] and is left out.' in messages.texts(data.notes)
    assert 'Column "nothing" holds no value and is left out.' in messages.texts(data.notes)


def test_a_column_of_names_is_left_out_and_the_text_option_is_named(csv):
    table = {"name": [f"person {i}" for i in range(300)], "x": [i / 2 for i in range(300)], "label": ["a", "b"] * 150}
    data = prepare(csv(table))
    assert data.table.features.names == ("x",)
    assert messages.texts(data.notes)[0].startswith('Column "name" holds 300 different texts in 300 cells')
    del table["x"]
    assert refusal(csv(table)).startswith('made.csv has no usable feature column: column "name" holds 300')


def soft_columns(rows=60):
    probs = RNG.dirichlet(np.ones(3), rows).round(3)
    probs[:, 2] = 1 - probs[:, 0] - probs[:, 1]
    return {
        "x": [i / 2 for i in range(rows)],
        **{f"p_{name}": probs[:, k].tolist() for k, name in enumerate("abc")},
    }, probs


def test_soft_labels_are_kept_and_the_likeliest_class_is_the_label(csv):
    table, probs = soft_columns()
    data = prepare(csv(table), Roles(label_probs=("p_a", "p_b", "p_c")))
    assert data.table.class_names == ("a", "b", "c")
    assert np.array_equal(data.table.labels, probs.argmax(axis=1))
    part = data.part("train")
    assert part.soft.dtype == np.float32
    assert np.allclose(part.soft, probs[data.split.train])
    assert data.table.features.names == ("x",)
    pattern = prepare(csv(table), Roles(label_probs=("p_*",)))
    assert pattern.fingerprint == data.fingerprint


def test_of_equally_likely_classes_the_first_is_the_label_and_ties_are_counted(csv):
    table, _ = soft_columns(30)
    for name, cells in {"p_a": [0.0, 0.5], "p_b": [0.5, 0.5], "p_c": [0.5, 0.0]}.items():
        table[name] = cells * 5 + table[name][10:]
    data = prepare(csv(table), Roles(label_probs=("p_a", "p_b", "p_c")))
    assert data.table.labels[:10].tolist() == [1, 0] * 5
    assert "the likeliest class (of 10 ties, the first class) is the label" in " ".join(messages.texts(data.notes))


def test_weights_go_with_their_rows_and_are_no_feature(csv):
    table = columns()
    table["w"] = [1 + i / 10 for i in range(60)]
    data = prepare(csv(table), Roles(weight="w"))
    assert np.allclose(data.part("test").weight, np.array(table["w"])[data.split.test])
    assert "w" not in data.table.features.names
    assert "Row weights (1 to 6.9) count in training; metrics count every row once." in messages.texts(data.notes)


def test_groups_are_never_split_and_are_one_piece_of_evidence(csv):
    table = columns(300)
    table["patient"] = [f"p{i // 6}" for i in range(300)]
    table["size"] = RNG.normal(size=300).tolist()
    data = prepare(csv(table), Roles(group="patient"))
    seen = [{table["patient"][i] for i in getattr(data.split, part)} for part in ("train", "validation", "test")]
    assert not seen[0] & seen[1] | seen[0] & seen[2] | seen[1] & seen[2]
    assert len(np.unique(data.part("test").group)) == len(seen[2])
    assert "50 groups stay whole, and count as one piece of evidence each in intervals." in messages.texts(data.notes)


def test_test_rows_of_one_group_are_refused_before_anything_is_trained(csv):
    table = columns(300)
    table["size"] = [i / 2 for i in range(300)]
    table["patient"] = [i // 100 for i in range(300)]
    assert refusal(csv(table), group="patient").startswith("made.csv: all test rows are of one group, so")


def test_test_rows_that_are_all_equal_are_refused(csv):
    table = columns()
    table["split"] = ["test" if i < 3 else "train" for i in range(60)]
    for name in ("age", "city", "size", "label"):
        table[name][:3] = table[name][:1] * 3
    assert refusal(csv(table), split="split").startswith("made.csv: all test rows are equal, so nothing")


def test_a_class_in_too_few_groups_is_refused(csv):
    table = columns(60)
    table["patient"] = ["x" if label == "a" else f"p{i}" for i, label in enumerate(table["label"])]
    assert refusal(csv(table), group="patient").startswith('made.csv: class "a" has 30 rows in 1 group;')


def given(parts, rows=60):
    table = columns(rows)
    table["size"] = [i / 2 for i in range(rows)]
    return {**table, "split": [parts[i % len(parts)] for i in range(rows)]}


def test_a_class_without_training_rows_is_refused(csv):
    table = given(["train", "val", "test"])
    table["label"] = ["c" if i in (2, 5) else label for i, label in enumerate(table["label"])]
    assert refusal(csv(table), split="split").startswith('made.csv: class "c" has 2 rows and none of them')


def test_what_is_kept_of_the_training_rows_encodes_every_row_as_they_are_encoded():
    rows = np.arange(40)
    table = Columns(
        (
            Column("age", "number", np.where(rows % 7 == 0, np.nan, rows * 1.5)),
            Column("size", "number", rows % 5 / 4),
            Column("near", "date", 19000.0 + rows),
            Column("far", "date", np.where(rows % 9 == 0, np.nan, 19000.0 + 30 * rows)),
            Column("city", "category", np.where(rows % 11 == 0, -1, rows % 3), ("Oslo", "Rome", "Bern")),
            Column("rare", "category", np.where(rows < 2, 0, rows % 2 + 1), ("Kyiv", "Rome", "Bern")),
        )
    )
    encoder = table.fit(rows[:30], "made")
    assert encoder.inputs.width == (1 + 1) + 1 + 1 + (1 + 2 + 1) + (3 + 2) + (2 + 2)
    assert messages.texts(encoder.notes)[1].startswith("Rare levels (fewer than 3 training rows, or beyond")
    again = transform(table.columns, encoder.learned["columns"])
    assert again.tobytes() == encoder.encode(rows).tobytes()


@pytest.mark.parametrize(("kind", "width"), [("number", 2), ("date", 2)])
def test_a_column_without_a_value_in_training_is_a_flag_and_the_values_of_other_rows_as_they_are(kind, width):
    values = np.where(np.arange(12) < 8, np.nan, np.arange(12.0))
    encoder = Columns((Column("seen", kind, values),)).fit(np.arange(8), "made")
    assert encoder.inputs.width == width
    assert encoder.encode(np.arange(8)).tolist() == [[0, 1]] * 8
    assert encoder.encode(np.arange(8, 12)).tolist() == [[8, 0], [9, 0], [10, 0], [11, 0]]  # as they are


@pytest.mark.parametrize(("days", "width"), [(365, 1), (366, 3)])
def test_dates_have_a_season_where_training_spans_more_than_a_year(days, width):
    values = 19000.0 + np.array([0, days, 1, 2, 5000])
    encoder = Columns((Column("day", "date", values),)).fit(np.arange(4), "made")
    assert encoder.inputs.width == width


def test_a_season_is_an_angle_of_the_year():
    encoder = Columns((Column("day", "date", np.array([0, 365.2425, 2 * 365.2425, 365.2425 / 4])),)).fit(
        np.arange(4), "made"
    )
    assert np.allclose(encoder.encode(np.arange(4))[:, 1:], [[0, 1], [0, 1], [0, 1], [1, 0]], atol=1e-6)


def test_as_many_levels_as_a_category_may_have_have_their_own_column():
    cells = np.array([0] * 3 + [1] * 5 + [2] * 3 + [3] * 2)
    words = Columns((Column("word", "category", cells, ("b", "c", "a", "d")),))
    encoder = words.fit(np.arange(len(cells)), "made", max_levels=2)
    assert encoder.learned["columns"][0]["levels"] == ["c", "a"]  # of b and a, which are as common, the first as text
    assert encoder.encode(np.array([0, 3, 8, 11])).tolist() == [[0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]


def test_as_much_memory_as_may_be_used_is_used_and_not_more():
    table = Columns((Column("word", "category", np.arange(10) % 2, ("a", "b")),))  # 10 rows of 2 levels, a gap, others
    assert table.fit(np.arange(10), "made", max_bytes=4 * 10 * 4).inputs.width == 4
    with pytest.raises(DataError, match=r"^made: 10 rows of 4 columns, categories spread out, take 0\.0 GB;"):
        table.fit(np.arange(10), "made", max_bytes=4 * 10 * 4 - 1)


LARGEST = float(np.finfo(np.float32).max)


def made(values, **how):
    values = np.array(values, np.float64)
    return Numbers(values, tuple(f"c{j}" for j in range(values.shape[1])), (values.shape[1],), **how)


def test_mean_and_scale_are_those_of_the_training_rows_and_all_rows_are_encoded_by_them():
    values = np.random.default_rng(0).normal([5, -1e3], [2, 1e-3], (13, 2))
    train, rows = np.array([7, 0, 3, 12, 5]), np.array([12, 1, 1, 6, 2, 9, 0])
    expected = ((values[rows] - values[train].mean(0)) / values[train].std(0)).astype(np.float32)
    for most in (1, 3, 7, 2**16):
        found = made(values).fit(train, "made", chunk=most).encode(rows)
        assert found.dtype == np.float32
        assert np.array_equal(found, expected)


def test_a_column_that_is_constant_in_training_is_only_moved():
    encoder = made([[0.1, 1], [0.1, 3], [0.1, 5], [7.1, 3]]).fit(np.arange(3), "made")
    assert encoder.encode(np.arange(4))[:, 0].tolist() == [0, 0, 0, 7]


def test_numbers_of_a_picture_are_standardised_by_all_pixels():
    values = np.arange(24.0).reshape(4, 6)
    features = Numbers(values, tuple("abcdef"), (2, 3), image=True)
    encoder = features.fit(np.arange(2), "made")
    pixels = values[:2]
    assert np.array_equal(encoder.encode(np.arange(4)), ((values - pixels.mean()) / pixels.std()).astype(np.float32))
    assert (encoder.inputs.shape, encoder.inputs.picture) == ((6,), (2, 3))
    assert encoder.learned == {"features": "numbers", "shape": [2, 3], "mean": [pixels.mean()], "scale": [pixels.std()]}
    assert features.raw_columns() == ()


def test_columns_are_given_as_they_were_read_and_kept_with_how_they_were_written():
    features = made([[1, 2], [3, 6], [5, 7]], written=(",", ""))
    assert [(column.name, column.kind, column.values.tolist()) for column in features.raw_columns()] == [
        ("c0", "number", [1, 3, 5]),
        ("c1", "number", [2, 6, 7]),
    ]
    encoder = features.fit(np.array([0, 1]), "made")
    assert (encoder.inputs.shape, encoder.inputs.picture) == ((2,), ())
    fixed = {"kind": "number", "median": None, "flagged": False, "seasons": False}
    assert encoder.learned == {
        "features": "columns",
        "columns": [
            {"name": "c0", "written": ",", "mean": 2, "scale": 1, **fixed},
            {"name": "c1", "written": "", "mean": 4, "scale": 2, **fixed},
        ],
    }


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("image", [False, True])
def test_a_row_may_lie_as_far_from_training_as_float32_reaches_and_no_further(sign, image):
    names = ("c0",)
    fits = np.array([[-1.0], [1.0], [sign * LARGEST]])  # mean 0 and scale 1
    mean, scale = standardise("made", fits, np.arange(2), names, image=image)
    assert (mean.tolist(), scale.tolist()) == ([0], [1])
    assert np.isfinite((fits / scale).astype(np.float32)).all()
    beyond = np.array([[-1.0], [1.0], [sign * np.nextafter(LARGEST, np.inf)]])
    with pytest.raises(DataError, match="cannot be standardised"):
        standardise("made", beyond, np.arange(2), names, image=image)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([[0, 0], [1, 1e200], [2, -1e200]], 'column "c1" cannot be standardised, with values from -1e+200 to 1e+200'),
        ([[0, 0], [1, 1.7e308], [2, 1.7e308]], 'column "c1" cannot be standardised, with values from 0 to 1.7e+308'),
        ([[0, 0], [0, 5e-324], [1, 0]], 'column "c1" cannot be standardised, with values from 0 to 4.94e-324'),
    ],
)
@pytest.mark.filterwarnings("error")
def test_the_column_whose_spread_is_no_number_is_named(values, told):
    with pytest.raises(DataError) as refused:
        made(values).fit(np.arange(3), "made")
    assert str(refused.value) == f"made: {told}; look for outliers, or rescale"
