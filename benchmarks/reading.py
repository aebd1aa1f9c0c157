"""Arrow or polars: how long each takes to read a table, in how much memory, and what each recognises by itself.

    python benchmarks/reading.py [--rows 300000] [--rounds 3] [--polars FOLDER] [--before FOLDER] [--only NAME;…]

A table of 41 columns (numbers with and without gaps, whole numbers, categories, dates, a running number, codes) is
written as CSV and as Parquet. Every reader is a process of its own, which imports, reads, and leaves numbers as float64
and categories as codes; its peak of memory is the system's ``ru_maxrss``. "typed" lets the library guess the types,
"text" reads every cell as text and casts what can be cast. "sfumato" is ``sfumato.lab.data.load``, whole, and
"sfumato prepared" splits and encodes too; with ``--before`` the same of an earlier tree. The last rows say what the two
libraries make of small files as people have them, with no option set but those that are named. ``--polars`` is a folder
with polars in it, where the environment has none. The rows are added to ``reading.jsonl``;
``processor`` is the time to compare where ``load`` says that others worked too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
WORDS = ("red", "green", "blue", "dark blue", "Oslo", "Rome", "Bern", "none of these", "yes", "no")
SMALL = {
    "plain": (b"a,b,c\n1,2.5,x\n2,3.5,y\n", {}),
    "semicolons": (b"a;b;c\n1;2.5;x\n2;3.5;y\n", {}),
    "tabs": (b"a\tb\tc\n1\t2.5\tx\n2\t3.5\ty\n", {}),
    "decimal commas": (b"a;b;c\n1;2,5;x\n2;3,5;y\n", {"separator": ";", "decimal": ","}),
    "thousands": (b'a,b,c\n1,"1,002.5",x\n2,"3,003.5",y\n', {}),
    "ISO dates": (b"a,b,c\n1,2024-01-31,x\n2,2024-02-29,y\n", {}),
    "dates with points": (b"a,b,c\n1,31.01.2024,x\n2,29.02.2024,y\n", {}),
    "dates with slashes": (b"a,b,c\n1,01/31/2024,x\n2,02/29/2024,y\n", {}),
    "BOM": (b"\xef\xbb\xbfa,b,c\n1,2.5,x\n2,3.5,y\n", {}),
    "cp1252": ("a,b,c\n1,2.5,für\n2,3.5,y\n".encode("cp1252"), {}),
    "CRLF": (b"a,b,c\r\n1,2.5,x\r\n2,3.5,y\r\n", {}),
    "old Mac line ends": (b"a,b,c\r1,2.5,x\r2,3.5,y\r", {}),
    "separator in quotes": (b'a,b,c\n1,2.5,"x,z"\n2,3.5,y\n', {}),
    "line end in quotes": (b'a,b,c\n1,2.5,"x\nz"\n2,3.5,y\n', {}),
    "spaces round cells": (b"a , b , c\n1 , 2.5 , x\n2 , 3.5 , y\n", {}),
    "a gap, and NA": (b"a,b,c\n1,,x\nNA,3.5,y\n", {}),
    "a short row": (b"a,b,c\n1,2.5,x\n2,3.5\n", {}),
    "a long row": (b"a,b,c\n1,2.5,x\n2,3.5,y,z\n", {}),
    "a word among numbers": (b"a,b,c\n" + b"1,2.5,x\n" * 2000 + b"one,3.5,y\n", {}),
    "a quote never closed": (b'a,b,c\n1,2.5,"x\n2,3.5,y\n', {}),
}
"""Small files, each with the options that it needs to be told."""


def write(path: Path, rows: int) -> None:
    """41 columns: numbers, whole numbers, words, dates, a running number, codes and labels."""
    rng = np.random.default_rng(0)
    label = rng.integers(4, size=rows)
    codes = rng.bytes(8 * rows).hex()
    columns: dict[str, list[str]] = {
        "row_id": [str(i) for i in range(1, rows + 1)],
        "code": [codes[16 * i : 16 * i + 16] for i in range(rows)],
    }
    for name in ("day", "until"):
        columns[name] = (np.datetime64("2015-01-01") + rng.integers(3000, size=rows)).astype(str).tolist()
    when = np.datetime64("2015-01-01T00:00:00") + rng.integers(3000 * 86400, size=rows)
    columns["when"] = np.char.replace(when.astype(str), "T", " ").tolist()
    for j in range(22):
        values = rng.normal(size=rows) * 10 ** rng.integers(0, 4) + 0.3 * label
        columns[f"x{j}"] = _with_gaps([f"{value:.4f}" for value in values], 0.05 if j % 3 == 0 else 0, "", rng)
    for j in range(6):
        columns[f"n{j}"] = [str(value) for value in rng.integers(10 ** rng.integers(1, 6), size=rows)]
    for j, count in enumerate((3, 5, 10, 40, 120, 2, 8)):
        levels = [f"{WORDS[i % 10]} {i // 10}" for i in range(count)]
        cells = [levels[i] for i in rng.integers(count, size=rows)]
        columns[f"c{j}"] = _with_gaps(cells, 0.03 * (j % 2), "NA", rng)
    columns["label"] = [f"class {k}" for k in label]
    with open(path, "w", encoding="utf-8") as file:
        file.write(",".join(columns) + "\n")
        file.writelines(",".join(row) + "\n" for row in zip(*columns.values(), strict=True))


def _with_gaps(cells: list[str], share: float, gap: str, rng: np.random.Generator) -> list[str]:
    for i in np.flatnonzero(rng.random(len(cells)) < share):
        cells[i] = gap
    return cells


# Each reader returns its columns: float64 arrays, or codes of words.


def arrow_typed(path: str) -> list[Any]:
    from pyarrow import csv

    options = csv.ConvertOptions(null_values=["", "NA"], strings_can_be_null=True)
    return _from_arrow(csv.read_csv(path, convert_options=options))


def arrow_text(path: str) -> list[Any]:
    import pyarrow as pa
    from pyarrow import csv

    with open(path, encoding="utf-8") as file:
        names = file.readline().strip().split(",")
    table = csv.read_csv(path, convert_options=csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())))
    return _from_arrow(table, cast=True)


def arrow_parquet(path: str) -> list[Any]:
    from pyarrow import parquet

    return _from_arrow(parquet.read_table(path))


def _from_arrow(table: Any, *, cast: bool = False) -> list[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    made: list[Any] = []
    for column in table.columns:
        if cast:
            gaps = pc.call_function("is_in", [column], pc.SetLookupOptions(pa.array(["", "NA"])))
            column = pc.call_function("if_else", [gaps, pa.scalar(None, pa.string()), column])
            for kind in (pa.float64(), pa.timestamp("s")):
                try:
                    column = pc.cast(column, kind)
                    break
                except pa.ArrowInvalid:
                    continue
        if pa.types.is_string(column.type):
            made.append(column.combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy())
        elif pa.types.is_temporal(column.type):
            made.append(pc.cast(pc.cast(column, pa.timestamp("s")), pa.int64()).to_numpy().astype(np.float64))
        else:
            made.append(pc.cast(column, pa.float64(), safe=False).to_numpy())
    return made


def polars_typed(path: str) -> list[Any]:
    import polars as pl

    return _from_polars(pl.read_csv(path, infer_schema_length=None, try_parse_dates=True, null_values=["", "NA"]))


def polars_text(path: str) -> list[Any]:
    import polars as pl

    frame = pl.read_csv(path, infer_schema=False, null_values=["", "NA"])
    made: list[Any] = []
    for name in frame.columns:
        column = frame[name]
        for cast in (
            lambda own: own.cast(pl.Float64),
            lambda own: own.str.to_datetime("%Y-%m-%d %H:%M:%S"),
            lambda own: own.str.to_date("%Y-%m-%d"),
        ):
            try:
                column = cast(column)
                break
            except pl.exceptions.PolarsError:
                continue
        made.append(column)
    return _from_polars(pl.DataFrame(made))


def polars_parquet(path: str) -> list[Any]:
    import polars as pl

    return _from_polars(pl.read_parquet(path))


def _from_polars(frame: Any) -> list[Any]:
    import polars as pl

    made: list[Any] = []
    for column in frame.get_columns():
        if column.dtype == pl.String:
            made.append(column.rank("dense").fill_null(0).to_numpy())
        else:
            made.append(
                column.cast(pl.Int64 if column.dtype.is_temporal() else column.dtype).cast(pl.Float64).to_numpy()
            )
    return made


def sfumato(path: str) -> list[Any]:
    from sfumato.lab.data import load

    return list(getattr(load(path).features, "columns", ()))


def sfumato_prepared(path: str) -> list[Any]:
    from sfumato.lab.data import prepare

    data = prepare(path)
    return [*data.arrays("train"), *data.arrays("validation"), *data.arrays("test")]


READERS = {
    "arrow, typed": (arrow_typed, "csv"),
    "arrow, text": (arrow_text, "csv"),
    "polars, typed": (polars_typed, "csv"),
    "polars, text": (polars_text, "csv"),
    "sfumato": (sfumato, "csv"),
    "sfumato prepared": (sfumato_prepared, "csv"),
    "sfumato before": (sfumato, "csv"),
    "sfumato before, prepared": (sfumato_prepared, "csv"),
    "arrow, parquet": (arrow_parquet, "parquet"),
    "polars, parquet": (polars_parquet, "parquet"),
    "sfumato, parquet": (sfumato, "parquet"),
}


def child(name: str, path: str, tree: str | None) -> None:
    """Read, in this process, and say how many columns came of it."""
    if tree:
        sys.meta_path[:] = [each for each in sys.meta_path if "editable" not in type(each).__module__]
        sys.path.insert(0, tree)
    start = time.perf_counter()
    columns = READERS[name][0](path)
    print(json.dumps({"columns": len(columns), "read": time.perf_counter() - start}))


def run(*words: str, polars: Path | None = None) -> dict[str, Any]:
    """This script in a process of its own: what it prints, its seconds, and the most memory that it held.

    A process begins with the peak of the one that starts it, so the one that starts all others must stay small.
    """
    places = [*([str(polars)] if polars else []), os.environ.get("PYTHONPATH", "")]
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, __file__, *words],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        raise SystemExit(f"{' '.join(words)} failed")
    wall, processor = time.perf_counter() - start, used.ru_utime + used.ru_stime
    return {"wall": wall, "processor": processor, "resident_mb": used.ru_maxrss / 1024, **json.loads(said)}


def recognised(library: str) -> dict[str, Any]:
    """What a library makes of each small file: the types of its columns, or its error."""
    import io

    told: dict[str, str] = {}
    for name, (text, options) in SMALL.items():
        try:
            if library == "arrow":
                import pyarrow as pa
                from pyarrow import csv

                table = csv.read_csv(
                    pa.BufferReader(text),
                    parse_options=csv.ParseOptions(delimiter=options.get("separator", ","), newlines_in_values=True),
                    convert_options=csv.ConvertOptions(decimal_point=options.get("decimal", ".")),
                )
                told[name] = ", ".join(f"{each.name}: {each.type}" for each in table.schema)
            else:
                import polars as pl

                frame = pl.read_csv(
                    io.BytesIO(text),
                    try_parse_dates=True,
                    infer_schema_length=None,
                    separator=options.get("separator", ","),
                    decimal_comma="decimal" in options,
                )
                told[name] = ", ".join(f"{own}: {kind}" for own, kind in frame.schema.items())
        except Exception as error:
            told[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    package = "pyarrow" if library == "arrow" else library
    return {"library": library, "installed_mb": megabytes(package, sys.path), "small": told}


def megabytes(package: str, places: list[str]) -> float | None:
    """The size of an installed package, its own libraries included."""
    found = [Path(place) / name for place in places for name in (package, f"_{package}_runtime_32")]
    files = [each for folder in found if folder.is_dir() for each in folder.rglob("*") if each.is_file()]
    return round(sum(each.stat().st_size for each in files) / 1e6, 1) if files else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--polars", type=Path)
    parser.add_argument("--only", help="readers, with semicolons between; by default all, and the small files")
    parser.add_argument("--before", type=Path, help="the tree of an earlier version")
    parser.add_argument("--child")
    parser.add_argument("--path")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".jsonl"))
    options = parser.parse_args()
    if options.child == "write":
        write_both(Path(options.path), options.rows)
    elif options.child == "small":
        print(json.dumps(recognised(options.path) | machine()))
    elif options.child:
        child(options.child, options.path, str(options.before) if options.before else None)
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """Every reader in turn, and the small files."""
    names = (
        options.only.split(";")
        if options.only
        else [each for each in READERS if options.before or "before" not in each]
    )
    with tempfile.TemporaryDirectory() as folder, open(options.out, "a", encoding="utf-8") as out:
        here = run("--child", "small", "--path", "arrow", polars=options.polars)["machine"]

        def tell(row: dict[str, Any]) -> None:
            print(json.dumps(row), flush=True)
            out.write(json.dumps(row | here) + "\n")

        files = {ending: Path(folder) / f"table.{ending}" for ending in ("csv", "parquet")}
        run("--child", "write", "--path", folder, "--rows", str(options.rows))
        for _ in range(options.rounds):
            for name in names:
                path = files[READERS[name][1]]
                tree = ["--before", str(options.before)] if "before" in name else []
                row = run("--child", name, "--path", str(path), *tree, polars=options.polars)
                size = round(path.stat().st_size / 1e6, 1)
                tell({"reader": name, "rows": options.rows, "file_mb": size, **row, "load": os.getloadavg()[0]})
        for library in () if options.only else ("arrow", "polars"):
            found = run("--child", "small", "--path", library, polars=options.polars)
            tell({key: found[key] for key in ("library", "installed_mb", "small")})


def write_both(folder: Path, rows: int) -> None:
    from pyarrow import csv, parquet

    write(folder / "table.csv", rows)
    parquet.write_table(csv.read_csv(folder / "table.csv"), folder / "table.parquet")
    print("{}")


def machine() -> dict[str, Any]:
    from hardware import environment

    return {"machine": environment(("pyarrow", "polars", "numpy"))}


if __name__ == "__main__":
    main()
