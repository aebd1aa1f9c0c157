"""Tables as people have them: how each column is read, and how many rows each part has."""

import datetime
import gzip

import numpy as np
import pytest

from sfumato.lab.data import prepare

ROWS = 60
RNG = np.random.default_rng(7)
SIZE = [round(float(value), 2) for value in RNG.normal(size=ROWS) * 50]
COUNT = [int(value) for value in RNG.integers(0, 9, ROWS)]
CITY = [("Köln", "Rom", "Bern", "")[i] for i in RNG.integers(0, 4, ROWS)]
DAY = [datetime.date(2020, 1, 1) + datetime.timedelta(int(i)) for i in RNG.integers(0, 1500, ROWS)]
COMMA = [str(value).replace(".", ",") for value in SIZE]
THOUSANDS = [f"{1000 + 37 * value:,}" for value in COUNT]
KEPT = "kept as text: "
TABLES = {
    "plain": ({"size": SIZE, "count": COUNT, "city": CITY, "day": DAY}, ["number", "number", "category", "date"], {}),
    "German": (
        {"size": COMMA, "city": CITY, "day": [f"{day:%d.%m.%Y}" for day in DAY]},
        ["number", "category", "date"],
        {"separator": ";", "encoding": "cp1252", "end": "\r\n"},
    ),
    "American": ({"size": SIZE, "day": [f"{day:%m/%d/%Y}" for day in DAY]}, ["number", "date"], {"encoding": "utf-16"}),
    "zipped, from Excel": ({"a": COMMA}, ["number"], {"separator": ";", "head": "sep=;\r\n", "pack": gzip.compress}),
    "two decimal marks": ({"a": COMMA, "b": SIZE}, ["number", "number"], {"separator": ";"}),
    "minus signs": ({"a": [str(value).replace("-", "−") for value in SIZE]}, ["number"], {}),
    "per cent": ({"a": [f"{value} %" for value in COUNT]}, [KEPT + "a per cent"], {}),
    "currency": ({"a": [f"€{value + 100}" for value in COUNT]}, [KEPT + "a per cent or currency"], {}),
    "thousands, commas": ({"a": THOUSANDS}, [KEPT + "thousands"], {}),
    "thousands, points": (
        {"a": [cell.replace(",", ".") for cell in THOUSANDS], "b": COMMA},
        [KEPT + "thousands", "number"],
        {"separator": ";"},
    ),
    "thousands, apostrophes": ({"a": [cell.replace(",", "'") for cell in THOUSANDS]}, [KEPT + "thousands"], {}),
    "thousands, spaces": ({"a": [cell.replace(",", "\xa0") for cell in THOUSANDS]}, [KEPT + "thousands"], {}),
    "dashes": (
        {"a": ["-" if i % 9 == 0 else value for i, value in enumerate(SIZE)], "b": ["x", "–", "y"] * 20},
        ["number", "category"],
        {},
    ),
    "missing values": (
        {"a": ["NA", "n/a", "?", "", "1.5", "2"] * 10, "b": ["null"] * ROWS},
        ["number", "left out"],
        {},
    ),
    "short years": ({"a": [f"{day:%d.%m.%y}" for day in DAY]}, [KEPT + "years of two digits"], {}),
    "ambiguous days": ({"a": [f"0{1 + value}/07/2024" for value in COUNT]}, [KEPT + "day and month"], {}),
    "AM and PM": ({"a": [f"01/{13 + value}/2024 10:30 PM" for value in COUNT]}, [KEPT + "times with AM"], {}),
    "moments": (
        {"a": [f"{day:%d.%m.%Y} {i % 24}:30" for i, day in enumerate(DAY)], "b": [f"{day}T10:00:00Z" for day in DAY]},
        ["date", "date"],
        {},
    ),
    "ids": (
        {"": range(ROWS), "PassengerId": [i**3 for i in range(ROWS)], "code": [f"K{i:04}" for i in range(ROWS)]},
        ["id", "id", "id"],
        {},
    ),
    "scientific": (
        {"a": [f"{value:.3e}" for value in SIZE], "b": [f"+{value}" for value in COUNT]},
        ["number"] * 2,
        {},
    ),
    "mixed": ({"a": ["about 5" if i % 3 == 0 else i % 7 for i in range(ROWS)]}, ["category"], {}),
    "years as names": ({"2019": SIZE, "2020": COUNT}, ["number", "number"], {}),
}


def written(columns, separator=",", encoding="utf-8", end="\n", head="", pack=bytes):
    def cell(value):
        text = str(value)
        return f'"{text}"' if separator in text else text

    rows = zip(*columns.values(), strict=True)
    return pack((head + end.join(separator.join(map(cell, row)) for row in [columns, *rows])).encode(encoding))


@pytest.mark.parametrize(("columns", "kinds", "how"), TABLES.values(), ids=TABLES)
def test_a_table_is_read_as_its_owner_means_it_or_as_text_with_the_reason(tmp_path, columns, kinds, how):
    path = tmp_path / ("made.csv.gz" if "pack" in how else "made.csv")
    path.write_bytes(written({**columns, "x": [i % 13 / 4 for i in range(ROWS)], "label": ["ja", "nein"] * 30}, **how))
    data = prepare(str(path))
    lines = data.table.columns[: len(columns)]
    assert [line.read_as for line in lines] == ["category" if kind.startswith(KEPT) else kind for kind in kinds]
    assert all(line.note.startswith(kind) for line, kind in zip(lines, kinds, strict=True) if kind.startswith(KEPT))
    assert sum(len(getattr(data.split, part)) for part in ("train", "validation", "test")) == ROWS
    assert all(np.isfinite(data.arrays(part)[0]).all() for part in ("train", "validation", "test"))
