"""Columns that give the label away are named, and honest ones are not."""

from __future__ import annotations

import csv
import hashlib

import numpy as np
import pytest
from sklearn import datasets

from sfumato.lab.data import Roles, Table, prepare
from sfumato.lab.data.columns import Column
from sfumato.lab.data.encoding import Columns
from sfumato.lab.data.leaks import leaks

N = 600


def write(path, columns):
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(columns)
        out.writerows(zip(*columns.values(), strict=True))
    return str(path)


def table(planted, *, name="copy", classes=2, order=None):
    """Honest columns with some signal, a label, and one planted column that is made from it."""
    rng = np.random.default_rng(5)
    y = rng.integers(0, classes, N)
    if order == "sorted":
        y = np.sort(y)
    x = rng.normal(size=(N, 3)) + 0.7 * y[:, None]
    columns = {
        "age": [f"{value:.3f}" for value in x[:, 0]],
        "size": [f"{value:.3f}" for value in x[:, 1]],
        "city": [("Oslo", "Rome", "Lima")[k] for k in rng.integers(0, 3, N)],
    }
    if planted is not None:
        columns[name] = planted(y, rng)
    columns["label"] = [f"class {k}" for k in y]
    return columns


def found(path, **roles):
    return [(each.code, each.column) for each in prepare(path, Roles(**roles)).warnings]


def dates(y, rng):
    """A date in January for class 0 and in April for class 1."""
    return [f"2024-0{1 + 3 * k}-{1 + day:02d}" for k, day in zip(y, rng.integers(0, 28, N), strict=True)]


def where(kept, cells):
    """The cells, empty where not kept."""
    return [cell if keep else "" for keep, cell in zip(kept, cells, strict=True)]


def numbers(values):
    return [f"{value:.4f}" for value in values]


PLANTED = {
    "whole column": lambda y, rng: [str(k) for k in y],
    "in other words": lambda y, rng: [("lost", "won", "drew")[k] for k in y],
    "gaps only": lambda y, rng: where(y == 0, numbers(rng.normal(size=N))),
    "noisy copy": lambda y, rng: [str(k) for k in np.where(rng.random(N) > 0.01, y, 1 - y)],
    "hashed label": lambda y, rng: [hashlib.sha256(f"{k}".encode()).hexdigest() for k in y],
    "with some noise": lambda y, rng: numbers(y + rng.normal(size=N) * 0.1),
    "date after the outcome": dates,
    "date of one outcome only": lambda y, rng: where(y == 1, dates(0 * y, rng)),
    "words and gaps": lambda y, rng: [("", "returned")[k] for k in y],
    "mean of the label by group": lambda y, rng: numbers(0.8 * y + 0.1 + rng.random(N) * 0.05),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_column_is_named_and_no_other(name, tmp_path):
    path = write(tmp_path / "data.csv", table(PLANTED[name]))
    assert found(path) == [("leak", "copy")]
    assert found(path, keep=("copy",)) == []
    assert found(path, drop=("copy",)) == []


FLAGS = {
    "one class of three": lambda y, rng: (y == 1).astype(int),
    "all but one class": lambda y, rng: np.where(y == 2, "out", "in"),
    "one of several words": lambda y, rng: np.where(y == 0, "died", rng.choice(["home", "ward", "clinic"], N)),
    "with mistakes": lambda y, rng: ((y == 1) ^ (rng.random(N) < 0.005)).astype(int),
}
NO_FLAGS = {
    "by chance": lambda y, rng: rng.integers(0, 2, N),
    "nine times in ten": lambda y, rng: ((y == 1) ^ (rng.random(N) < 0.1)).astype(int),
    "in a part of the class": lambda y, rng: ((y == 1) & (rng.random(N) < 0.6)).astype(int),
}


@pytest.mark.parametrize("name", [*FLAGS, *NO_FLAGS])
def test_a_value_that_is_there_just_where_the_label_is_one_of_three_classes_is_named(name, tmp_path):
    columns = table({**FLAGS, **NO_FLAGS}[name], classes=3)
    assert found(write(tmp_path / "data.csv", columns)) == ([("leak", "copy")] if name in FLAGS else [])


@pytest.mark.parametrize(
    ("end", "is_leak"),
    [
        (lambda k, rng: "died in hospital" if k == 1 else "went home", True),
        (lambda k, rng: "DIED." if k == 1 else "", True),
        (lambda k, rng: "died" if k == 1 and rng.random() < 0.5 else "", False),
        (lambda k, rng: rng.choice([["goal", "team"], ["vote", "law"], ["star", "moon"]][k]), False),
    ],
)
def test_a_word_that_is_in_the_texts_of_one_class_alone_is_a_leak(end, is_leak, tmp_path):
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, N)
    note = [" ".join([*rng.choice(["pain", "fever", "cough", "rest", "food", "sleep"], 8), end(k, rng)]) for k in y]
    path = write(tmp_path / "data.csv", {"note": note, "label": [f"class {k}" for k in y]})
    assert found(path, text="note") == ([("leak", "note")] if is_leak else [])
    assert found(path, text="note", keep=("note",)) == []


def test_a_number_that_never_repeats_is_not_said_to_name_persons(tmp_path):
    columns = table(lambda y, rng: [f"{10 * k + value:.6f}" for k, value in zip(y, rng.random(N), strict=True)])
    (warning,) = prepare(write(tmp_path / "data.csv", columns)).warnings
    assert (warning.code, "--group" in warning.text) == ("leak", False)


@pytest.mark.parametrize(("columns", "copies", "noise", "is_named"), [
    (4, 1.0, 1e-4, True), (3, 0.1, 1e-4, True), (10, 1.0, 1e-3, True), (1, 0.0, 0.0, False), (2, 0.0, 0.0, False),
    (5, 0.0, 0.0, False), (4, 1.0, 0.2, False),
])  # fmt: skip
def test_rows_that_differ_from_another_by_a_little_noise_alone_are_named(columns, copies, noise, is_named, tmp_path):
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, N)
    x = rng.normal(size=(N, columns)) + 0.3 * y[:, None]
    again = x[: int(copies * N)] + noise * rng.normal(size=(int(copies * N), columns))
    made = {f"x{j}": [repr(value) for value in cells.tolist()] for j, cells in enumerate(np.concatenate([x, again]).T)}
    made |= {"label": [f"class {k}" for k in [*y, *y[: len(again)]]], "who": [*range(N), *range(len(again))]}
    path = write(tmp_path / "data.csv", made)
    assert found(path, drop=("who",)) == ([("near-copies", None)] if is_named else [])
    assert found(path, group="who") == []


def moved(way, y, part, x, rng):
    """A column and labels of which the test rows are of another kind."""
    test = part == "test"
    if way == "label":
        y = np.where(rng.random(len(y)) < np.where(test, 0.9, 0.1), 1, 0)
    shift = {"20 deviations": 20 * test, "a little": 0.3 * test, "gaps": np.where(test, np.nan, 0)}.get(way, 0 * test)
    return x + shift, y, np.where(test & (way == "word"), "Kyiv", "Oslo")


@pytest.mark.parametrize(("way", "column"), [
    ("20 deviations", "size"), ("gaps", "size"), ("word", "city"), ("label", "label"), ("a little", None), ("", None),
])  # fmt: skip
def test_given_parts_of_another_kind_than_training_are_named_by_column(way, column, tmp_path):
    rng = np.random.default_rng(3)
    part = rng.choice(["train", "test"], N, p=[0.7, 0.3])
    size, y, city = moved(way, rng.integers(0, 2, N), part, rng.normal(size=N), rng)
    columns = {"size": ["" if np.isnan(value) else f"{value:.4f}" for value in size], "city": city, "part": part}
    columns |= {"day": [f"20{10 + 9 * (each == 'test')}-01-{1 + i % 28:02d}" for i, each in enumerate(part)]}
    path = write(tmp_path / "data.csv", columns | {"label": [f"class {k}" for k in y]})
    others = [each for each in found(path, split="part") if not each[0].startswith("duplicates")]
    assert others == ([] if column is None else [("parts-differ", column)])


def test_a_class_of_three_that_alone_has_gaps_is_named(tmp_path):
    path = write(tmp_path / "data.csv", table(lambda y, rng: where(y != 1, numbers(rng.normal(size=N))), classes=3))
    (warning,) = prepare(path).warnings
    assert warning.text.startswith('"copy" is empty just where the label is "class 1", in 100.0 % of the rows: does it')


def test_a_running_number_in_a_file_sorted_by_label_is_left_out_and_named(tmp_path):
    def count(y, rng):
        return [str(k) for k in range(N)]

    path = write(tmp_path / "data.csv", table(count, name="row", order="sorted"))
    assert found(path) == [("sorted-by-label", "row")]
    assert found(path, keep=("row",)) == []
    shuffled = table(count, name="row")
    assert found(write(tmp_path / "shuffled.csv", shuffled)) == []


def test_persons_with_several_rows_of_one_label_are_told_to_be_a_group(tmp_path):
    path = write(tmp_path / "data.csv", table(lambda y, rng: [f"p{2 * rng.integers(0, 20) + k}" for k in y]))
    (warning,) = prepare(path).warnings
    assert "(where its values name persons or places with several rows each, say --group): does it" in warning.text
    assert found(path, group="copy") == []


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
def test_honest_tables_are_not_warned_of(name, tmp_path):
    data = getattr(datasets, f"load_{name}")()
    columns = {f"x{j}": [repr(value) for value in column.tolist()] for j, column in enumerate(data.data.T)}
    path = write(tmp_path / f"{name}.csv", columns | {"label": [str(k) for k in data.target]})
    assert [each for each in prepare(path).warnings if not each.code.startswith("duplicates")] == []


def test_rows_that_contradict_each_other_are_a_warning(tmp_path):
    columns = table(None)
    for values in columns.values():
        values.append(values[0])
    columns["label"][-1] = "class 1" if columns["label"][0] == "class 0" else "class 0"
    (warning,) = prepare(write(tmp_path / "data.csv", columns)).warnings
    assert (warning.code, warning.column) == ("duplicates-disagree", None)
    assert warning.text.startswith("2 rows have the content of another row but another label")


def test_the_order_of_rows_does_not_matter(tmp_path):
    columns = table(PLANTED["noisy copy"])
    order = np.random.default_rng(0).permutation(N)
    shuffled = {name: [values[k] for k in order] for name, values in columns.items()}
    texts = [
        [each.text for each in prepare(write(tmp_path / name, made)).warnings]
        for name, made in (("one.csv", columns), ("two.csv", shuffled))
    ]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 1


def warned(labels, *columns, **changes):
    """The texts of the warnings of columns that were read, on all rows in their order."""
    names = tuple(f"class {k}" for k in range(max(labels) + 1))
    made = Table("made", "csv", Columns(columns), np.array(labels), names, **changes)
    every = np.arange(len(labels))
    return [each.text for each in leaks(made, every, every)]


@pytest.mark.parametrize("rare", [4, 5])
@pytest.mark.parametrize("way", ["empty", "filled in"])
def test_of_gaps_something_is_said_from_five_on(rare, way):
    labels = [1] * rare + [0] * (100 - rare)
    cells = np.random.default_rng(0).permutation(100) / 8
    missing = np.array(labels) == (1 if way == "empty" else 0)
    told = warned(labels, Column("left", "number", np.where(missing, np.nan, cells)))
    one = f'"left" is {"empty" if way == "filled in" else "filled in"} just where the label is "class 0", in 100.0 % of'
    assert [text.startswith(one) for text in told] == ([True] if rare == 5 else [False] * len(told))


def test_of_many_leaks_eight_have_a_warning_of_their_own_and_the_others_are_listed():
    labels = [0, 1] * 50
    copies = [Column(f"c{i}", "number", np.array(labels) + i / 4) for i in range(30)]
    told = warned(labels, *copies[:8])
    assert told == [
        f'"c{i}" alone tells the label in 100.0 % of the rows that were tried: does it exist before the outcome?'
        for i in range(8)
    ]
    assert warned(labels, *copies[:9]) == [*told, 'These columns alone tell the label too: "c8".']
    others = ", ".join(f'"c{i}"' for i in range(8, 28))
    assert warned(labels, *copies)[8] == f"These columns alone tell the label too: {others} and 2 more."


@pytest.mark.parametrize(("rows", "wrong", "share"), [(100, 2, "98.0 %"), (40, 1, "97.5 %"), (100, 3, None)])
def test_a_column_is_a_leak_that_closes_all_but_a_twentieth_of_the_way_to_certainty(rows, wrong, share):
    labels = np.array([0, 1] * (rows // 2))  # from a share of a half, 97.5 % of the rows close 95 % of the way
    words = labels.copy()
    words[10 : 10 + wrong] = 1 - words[10 : 10 + wrong]
    told = warned(labels, Column("word", "category", words, ("u", "v")))
    text = f'"word" alone tells the label in {share} of the rows that were tried: does it exist before the outcome?'
    assert told == ([] if share is None else [text])


@pytest.mark.parametrize("classes", [2, 5, 10, 40])
def test_a_number_that_tells_each_of_many_equal_classes_is_found(classes):
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(60 * classes) % classes)
    told = warned(labels.tolist(), Column("copy", "number", labels + rng.uniform(-0.2, 0.2, len(labels))))
    assert [text[:28] for text in told] == ['"copy" alone tells the label']


def test_labels_of_one_class_cannot_be_told():
    assert warned([0] * 40, Column("size", "number", np.arange(40) / 8)) == []
    assert warned([1] * 40, Column("size", "number", np.where(np.arange(40) < 20, np.nan, 1.0))) == []


@pytest.mark.parametrize("grouped", [False, True])
def test_a_column_whose_values_only_copies_or_rows_of_a_group_share_is_no_leak(tmp_path, grouped):
    columns = {name: [cell for cell in cells for _ in range(4)] for name, cells in table(None).items()}
    columns["visit"] = [str(k % 4) if grouped else "1" for k in range(4 * N)]
    columns["patient"] = [f"{k // 4 + 0.5}" for k in range(4 * N)]
    roles = {"group": "patient"} if grouped else {}
    assert found(write(tmp_path / "data.csv", columns), **roles) == []


def test_equal_values_of_the_only_column_are_no_copies(tmp_path):
    columns = {"size": [f"{k % 14 / 4}" for k in range(N)], "label": [f"class {k % 2}" for k in range(N)]}
    assert found(write(tmp_path / "data.csv", columns)) == [("leak", "size")]
