"""How the files of benchmarks/data_sets.py are read: into numbers, words, pictures or texts, and labels beside them.

A reader takes paths and gives every row of the set. Tables are columns by name, because a column of words is read as
categories and one of numbers as numbers; pictures are bytes; texts are a list.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

Raw = tuple[Any, list[str]]
"""Features (an Arrow table, pictures (N, H, W) or (N, H, W, C) as bytes, or a list of texts), and a label a row."""

csv.field_size_limit(1 << 30)

CHARACTERS = 4000  # at most so many of a text


def parts_of(path: Path) -> list[Path]:
    """The files that a path stands for: itself, or those of a folder, by name."""
    return [path] if path.is_file() else sorted(each for each in path.iterdir() if each.is_file() and not each.suffix)


def columns_of(features: Any) -> str:
    """The shape of a row in words."""
    if isinstance(features, pa.Table):
        words = sum(pa.types.is_string(each.type) for each in features.schema)
        return f"{features.num_columns - words} numbers, {words} categories"
    return "text" if isinstance(features, list) else "×".join(str(side) for side in features.shape[1:])


def distinct(features: Any) -> int:
    """How many rows differ from each other."""
    if isinstance(features, pa.Table):
        return len(set(zip(*(column.to_pylist() for column in features.columns), strict=True)))
    return len(set(features)) if isinstance(features, list) else len({row.tobytes() for row in features})


def pick(features: Any, rows: Sequence[int]) -> Any:
    """Some of the rows."""
    if isinstance(features, pa.Table):
        return features.take(pa.array(rows))
    return [features[row] for row in rows] if isinstance(features, list) else features[list(rows)]


def _opened(path: Path) -> io.TextIOBase:
    opener: Callable[..., Any] = {".gz": gzip.open, ".bz2": bz2.open}.get(path.suffix, open)
    return opener(path, "rt", encoding="utf-8", newline="")


def _lines(path: Path, delimiter: str = ",") -> list[list[str]]:
    """The cells of every line that is not empty."""
    with _opened(path) as file:
        return [row for row in csv.reader(file, delimiter=delimiter) if row]


def _records(path: Path, delimiter: str = ",") -> list[dict[str, str]]:
    """The rows of a file with a head, by the names of their columns."""
    with _opened(path) as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:
    """Columns by name; one whose every cell is a number is of numbers."""
    columns: dict[str, pa.Array] = {}
    for name, cells in zip(names, zip(*rows, strict=True), strict=True):
        try:
            columns[name] = pa.array([float(cell) for cell in cells], pa.float64())
        except ValueError:
            columns[name] = pa.array(cells, pa.string())
    return pa.table(columns)


def _cut(text: str) -> str:
    return text.strip()[:CHARACTERS]


def comma_rows(path: Path) -> Raw:
    """Rows without a head, cells between commas, the label last (KEEL).

    Raises:
        ValueError: a row of another length; names it.
    """
    rows = [[cell.strip() for cell in row] for row in _lines(path) if not row[0].startswith("@")]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            raise ValueError(f"{path.name}: row {number} has {len(row)} cells, and the first has {len(rows[0])}")
    width = len(rows[0]) - 1
    return _table([f"x{place}" for place in range(1, width + 1)], [row[:-1] for row in rows]), [row[-1] for row in rows]


def named_table(path: Path, *, label: str, delimiter: str = ",", of: Callable[[str], str] = str) -> Raw:
    """A table whose first line names the columns; ``of`` makes the label of its cell.

    Raises:
        ValueError: no such column; names those that there are.
    """
    rows = [[cell.strip().strip("'") for cell in row] for row in _lines(path, delimiter)]
    names = rows.pop(0)
    if label not in names:
        raise ValueError(f'{path.name} has no column "{label}". Columns: {", ".join(names)}')
    at = names.index(label)
    table = _table([*names[:at], *names[at + 1 :]], [[*row[:at], *row[at + 1 :]] for row in rows])
    return table, [of(row[at]) for row in rows]


def named_texts(path: Path, *, text: str, label: str) -> Raw:
    """Texts and labels out of two columns of a file with a head; rows without a text are left out."""
    rows = [row for row in _records(path) if row[text].strip()]
    return [_cut(row[text]) for row in rows], [row[label] for row in rows]


def orange_texts(*paths: Path, text: str, label: str, at_most: int | None = None) -> Raw:
    """Texts of Orange's own tables, whose second and third lines are no rows; the commonest classes, if so asked."""
    rows: list[dict[str, str]] = []
    for path in paths:
        rows += [row for row in _records(path, "\t")[2:] if (row[text] or "").strip() and row[label]]
    common = {name for name, _ in Counter(row[label] for row in rows).most_common(at_most)}
    rows = [row for row in rows if row[label] in common]
    return [_cut(row[text]) for row in rows], [row[label] for row in rows]


def halved(pictures: np.ndarray) -> np.ndarray:
    """Pictures of half the side, each pixel the mean of four.

    >>> halved(np.array([[[0, 4, 8, 8], [8, 4, 8, 8]]], dtype=np.uint8)).tolist()
    [[[4, 8]]]
    """
    n, height, width, *channels = pictures.shape
    blocks = pictures.reshape(n, height // 2, 2, width // 2, 2, *channels).astype(np.float64)
    return np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8)


def square_pictures(path: Path, *, side: int, scale: int = 1) -> Raw:
    """Grey pictures, a row a line, pixels between commas and the label last; those of 16 pixels or more are halved."""
    with _opened(path) as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.int64, ndmin=2)
    pictures = (rows[:, :-1] * scale).astype(np.uint8).reshape(-1, side, side)
    return (halved(pictures) if side >= 16 else pictures), [str(label) for label in rows[:, -1]]


def archived_pictures(path: Path) -> Raw:
    """Pictures ``X`` and labels ``y`` of an npz, halved."""
    with np.load(path, allow_pickle=False) as archive:
        return halved(archive["X"]), [str(label) for label in archive["y"]]


def zipped_pictures(path: Path) -> Raw:
    """Pictures in folders named after their class, in a zip, halved."""
    from PIL import Image

    pictures, labels = [], []
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if not name.endswith((".jpg", ".jpeg", ".png")):
                continue
            with Image.open(io.BytesIO(archive.read(name))) as picture:
                pictures.append(np.asarray(picture.convert("RGB")))
            labels.append(name.split("/")[-2])
    return halved(np.stack(pictures)), labels


def fortunes(folder: Path) -> Raw:
    """Sayings out of the files of fortune, parted by lines of a per cent sign; the name of the file is the label."""
    texts, labels = [], []
    for path in parts_of(folder):
        for text in path.read_text(encoding="utf-8", errors="replace").split("\n%\n"):
            if text.strip(" %\n"):
                texts.append(_cut(text))
                labels.append(path.name)
    return texts, labels


def definitions(*paths: Path) -> Raw:
    """Definitions of WordNet's synsets; the label is the number of the lexicographer's file, a field of meaning."""
    texts, labels = [], []
    for path in paths:
        for line in _synsets(path):
            head, _, gloss = line.partition(" | ")
            texts.append(_cut(gloss))
            labels.append(head.split(" ", 2)[1])
    return texts, labels


def _synsets(path: Path) -> Iterator[str]:
    """The lines of a data file after its licence, whose lines begin with spaces."""
    with _opened(path) as file:
        yield from (line for line in file if not line.startswith("  "))
