"""CSV and Parquet as pandas and timm's inference.py write them: a column a class, or a list of scores a row."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.soft_labels import SOFT
from sfumato.io.arrays import FileError, spool
from sfumato.messages import Note

LABELS = ("label", "labels", "label_ids", "target", "targets", "class", "y", "y_true")
PROBS = ("prob", "probs", "probability", "probabilities", "proba", "y_prob", "y_proba")
LOGITS = ("logit", "logits", "predictions", "scores")
BESIDE = ("id", "group")  # columns that are read beside the scores, by whoever asks for them
SEPARATORS = (",", ";", "\t", "|")
_SAMPLE = 1 << 16  # characters in which the separator is looked for
_COMMA = re.compile(r"^(\s*[+-]?\d*),(\d+(?:[eE][+-]?\d+)?\s*)$")
_BATCH = 4096
_MOST = 2.0**53  # every whole number below has a float of its own
_LABELS_ARE = "labels are column numbers from 0"
_WAY_OUT = "run timm's inference.py with --topk 0, or with --topk K --include-index for all K classes"


Contents: TypeAlias = tuple[dict[str, Any], str | None, list[Note]]
"""Arrays of a file by their names, ``"logits"`` or ``"probs"`` if the file says which, and notes on what was read."""


def read_csv(file: IO[bytes], name: str, beside: Sequence[str] = (), encoding: str = "utf-8-sig") -> Contents:
    """A CSV or TSV file, with or without a header, in UTF-8, UTF-16 with a mark, or else in Windows' cp1252."""
    file.seek(0)
    if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        encoding = "utf-16"
    file.seek(0)
    text = io.TextIOWrapper(file, encoding=encoding, newline="")
    try:
        sample = text.read(_SAMPLE)
        if not sample.strip():
            raise FileError(f"{name} is empty")
        line = sample.lstrip().partition("\n")[0].strip()
        spaces = " " in line and not set(line) & set(SEPARATORS)
        delimiter = " " if spaces else separator_of(sample, cut=len(sample) == _SAMPLE)
        text.seek(0)
        lines = filter(None, csv.reader(text, delimiter=delimiter, skipinitialspace=delimiter != "\t"))
        if delimiter == ";":  # as in tables that compare reads, the comma in a number is then a decimal one
            lines = ([_COMMA.sub(r"\1.\2", cell) for cell in row] for row in lines)
        first = next(lines)
        header = None if all(_number(cell) is not None for cell in first) else [cell.strip() for cell in first]
        rows = lines if header else chain([first], lines)
        arrays, kind, notes = _table(
            header or [str(i) for i in range(len(first))], _cells(rows, name, len(first)), name, header, beside
        )
        told = {"utf-16": "UTF-16", "cp1252": "Windows text (cp1252)"}.get(encoding)
        return (
            arrays,
            kind,
            notes if told is None else [*notes, Note(code="file-format", text=f"The file was read with {told}.")],
        )
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise FileError(f"{name} is not text in columns ({error}); save it as UTF-8") from None
    except csv.Error as error:
        raise FileError(f"{name} is not text in columns ({error})") from None
    finally:
        text.detach()
    return read_csv(file, name, beside, "cp1252")


def separator_of(sample: str, *, cut: bool, usual: str = ",") -> str:
    """The separator that gives most of the first rows as many cells as the header, and more than one.

    Args:
        sample: the first rows.
        cut: whether the last of them may be part of a row.
        usual: what is taken where none or several do.
    """

    def fit(separator: str) -> tuple[bool, float, int, bool]:
        try:
            rows = [row for row in csv.reader(io.StringIO(sample, newline=""), delimiter=separator) if row]
        except csv.Error:
            return False, 0.0, 0, False
        rows = rows[:-1] if cut and len(rows) > 1 else rows
        width = len(rows[0]) if rows else 0
        same = sum(len(row) == width for row in rows) / max(len(rows), 1)
        return width > 1, same, width if width > 1 else 0, separator == usual

    return max(SEPARATORS, key=fit)


def read_parquet(file: IO[bytes], name: str, beside: Sequence[str] = ()) -> Contents:
    """A Parquet file: a column a class, or one column of lists."""
    import pyarrow.parquet as pq

    file.seek(0)
    try:
        parquet = pq.ParquetFile(file)
        names = [field.name for field in parquet.schema_arrow]
        blocks = ([_arrow(column) for column in batch.columns] for batch in parquet.iter_batches(_BATCH))
        return _table(names, blocks, name, names, beside)
    except FileError:
        raise
    except Exception as error:  # damage shows up as any of a dozen types
        said = str(error).splitlines() or [type(error).__name__]
        raise FileError(f"{name} is cut off or damaged ({said[0]}); write it again") from None


def _table(
    names: list[str], blocks: Iterator[list[Any]], name: str, header: list[str] | None, asked: Sequence[str]
) -> Contents:
    """Scores and labels of a table, and the columns beside them."""
    first = next(blocks, None)
    if first is None:
        raise FileError(f"{name} has no rows")
    blocks = chain([first], blocks)
    roles = _Roles(names, name, header is not None, first, {*BESIDE, *(each.lower() for each in asked)})
    labels: list[npt.NDArray[Any]] = []
    soft: list[npt.NDArray[Any]] = []
    beside: dict[str, list[Any]] = {key: [] for key in roles.beside}

    def scores() -> Iterator[npt.NDArray[Any]]:
        start = 0
        for block in blocks:
            matrix = roles.scores(block, start)
            if matrix is not None:
                yield matrix.astype(np.float64, copy=False)
            if roles.label is not None:
                labels.append(roles.labels(block, start))
            if roles.soft is not None:
                soft.append(roles.soft_labels(block, start))
            for key, place in roles.beside.items():
                beside[key].extend(block[place])
            start += len(block[0])

    stored = spool(scores(), "float64")
    if not stored.shape[0] and not labels and not soft:
        raise FileError(f"{name} has no rows")
    if roles.sorted_rows and stored.shape[1] > 2 and not roles.index:
        raise FileError(
            f"{name}: the scores of every row fall from left to right, so they are the best classes first and not in "
            f"the order of the classes; {_WAY_OUT}"
        )
    arrays: dict[str, Any] = {"probs" if roles.kind == "probs" else "logits": stored} if roles.has_scores else {}
    arrays |= {key: np.asarray(cells) for key, cells in beside.items()}
    arrays |= {"classes": np.asarray(roles.classes)} if roles.classes else {}
    if labels:
        arrays["labels"] = np.concatenate(labels)
    if roles.soft is not None:
        arrays[roles.soft[0]] = np.concatenate(soft)
    return arrays, roles.kind, roles.notes


class _Roles:
    """Which columns are scores, labels, or indices of classes."""

    def __init__(self, names: list[str], name: str, header: bool, first: list[Any], beside: AbstractSet[str]) -> None:
        self._name, self._names, self.notes = name, names, list[Note]()
        self.kind: str | None = None
        self.sorted_rows = True  # so far
        lower = [each.lower() for each in names]
        if lower == ["index", "prediction"]:
            raise FileError(
                f"{name} holds predicted classes alone, as the Transformers examples write them; save what predict "
                "returns instead: numpy.savez(file, logits=output.predictions, labels=output.label_ids)"
            )
        self.label = next((lower.index(key) for key in LABELS if key in lower), None) if header else None
        self.beside = {names[lower.index(key)]: lower.index(key) for key in sorted(beside) if header and key in lower}
        self.soft = self._soft_columns(lower) if header else None
        lower = [each if not self.soft or place not in self.soft[1] else "" for place, each in enumerate(lower)]
        numbered: dict[str, list[tuple[int, int]]] = {}  # number and place of each column, by what is before the number
        for place, each in enumerate(lower):
            if found := re.fullmatch(r"(.*?)_?(\d+)", each):
                numbered.setdefault(found[1], []).append((int(found[2]), place))
        lists = [place for place, each in enumerate(lower) if each in PROBS + LOGITS]
        for each in (*(lower[place] for place in lists), *(key for key in (*PROBS, *LOGITS) if key in numbered)):
            self.kind = "probs" if each in PROBS else "logits"
            numbered[""] = numbered.get(each, numbered.get("", []))
        self.classes = list[str]()  # where columns are named after them
        self._columns, self.index = lists[-1:], list[int]()  # a single column holds a list a row
        if lists:
            self.index = [lower.index("index")] if "index" in lower else []
        else:
            self._find_columns(lower, numbered, header)
        self._words = self._has_words(first)
        if self.label is not None and self._words and self.kind is not None:
            text = f'The column "{names[self.label]}" holds names, as of predictions, and is not read.'
            self.notes.append(Note(code="column-unused", text=text))
            self.label = None
        self.has_scores = bool(lists) or len(self._columns) > 1
        known = self.label is not None or self.soft is not None
        self._two = known and len(self._columns) == 1 and _is_numbers(first[self._columns[0]])
        if self._two:
            self._take_one_column(first[self._columns[0]])
        elif header and not lists and self.kind is None and len(self._columns) > 1:
            self._refuse_what_is_no_class(first)
        if not self.has_scores and self.label is None and self.soft is None:
            if len(self._columns) != 1:
                raise FileError(f"{name} has no column of scores; columns: {', '.join(names)}")
            self.label = self._columns[0]
            self._words = self._has_words(first)

    def _soft_columns(self, lower: list[str]) -> tuple[str, list[int]] | None:
        """What the soft labels are called and their columns: one of lists, or one a class, numbered from 0 on."""
        for name in SOFT:
            if name in lower:
                return name, [lower.index(name)]
            found = {int(m[1]): i for i, each in enumerate(lower) if (m := re.fullmatch(rf"{name}?_(\d+)", each))}
            if found:
                missing = next((k for k in range(len(found)) if k not in found), None)
                if missing is not None or len(found) < 2:
                    raise FileError(f"{self._name}: the columns of {name} leave out class {missing or 1}")
                return name, [found[k] for k in range(len(found))]
        return None

    def _take_one_column(self, cells: Any) -> None:
        """One score a row is that of class 1, the other class has the rest."""
        column = self._names[self._columns[0]]
        values = _floats(cells, column, self._name, 0)
        self.has_scores, self.kind = True, "probs" if ((values >= 0) & (values <= 1)).all() else "logits"
        what = "probability of class 1" if self.kind == "probs" else "logit of class 1 against class 0"
        self.notes.append(Note(code="column-taken-for", text=f'The column "{column}" was taken for the {what}.'))

    def _refuse_what_is_no_class(self, first: list[Any]) -> None:
        """Columns without numbers in their names are taken for classes, but for those that plainly are none."""
        labels = None if self.label is None else self.labels(first, 0)
        whole = {
            place for place in self._columns if _is_whole(_floats(first[place], self._names[place], self._name, 0))
        }
        for place in self._columns:
            column = self._names[place]
            values = _floats(first[place], column, self._name, 0)
            way_out = "leave the column out, or number the columns of the classes (prob_0, prob_1, …)"
            if len(values) >= 20 and (values == np.rint(values)).all() and len(np.unique(values)) == len(values):
                raise FileError(f'{self._name}: column "{column}" numbers the rows and is no class; {way_out}')
            if labels is not None and len(values) >= 20 and (values == labels).all():
                raise FileError(f'{self._name}: column "{column}" is the label again and no class; {way_out}')
            if place in whole and len(whole) < len(self._columns) and len(values) >= 20:
                raise FileError(
                    f'{self._name}: column "{column}" has whole numbers, where those of the classes have not; if it is '
                    f"no class, {way_out}"
                )
        self.classes = [self._names[place] for place in self._columns]
        taken = ", ".join(self._names[place] for place in self._columns[:12])
        more = f" and {len(self._columns) - 12} more" if len(self._columns) > 12 else ""
        self.notes.append(Note(code="class-columns", text=f"The classes, from 0 on, are the columns {taken}{more}."))
        if self.label is not None and self._words:
            text = f'The words in the column "{self._names[self.label]}" are names of these columns.'
            self.notes.append(Note(code="labels-by-name", text=text))

    def _find_columns(self, lower: list[str], numbered: dict[str, list[tuple[int, int]]], header: bool) -> None:
        """One column a class: those that are numbered, or else all that are not known to be something else."""
        classes = sorted(numbered.get("", []) or max(numbered.values(), key=len, default=[]))
        if not header or len(classes) < 2:
            other = {"filename", "id", "index", "image", "path", "name"}
            places = {self.label, *self.beside.values(), *(self.soft[1] if self.soft else ())}
            self._columns = [i for i, each in enumerate(lower) if i not in places and each not in other]
            return
        missing = next((i for i, (number, _) in enumerate(classes) if number != i), None)
        if missing is not None:
            raise FileError(f"{self._name}: the columns of the classes leave out class {missing}")
        self._columns = [place for _, place in classes]
        if self.kind is not None:
            self.index = [place for _, place in sorted(numbered.get("index", []))]

    def scores(self, block: list[Any], start: int) -> npt.NDArray[Any] | None:
        if not self.has_scores or not len(block[0]):
            return None
        matrix = self._matrix(block, self._columns, start)
        if not self.index:
            self.sorted_rows = self.sorted_rows and bool((np.diff(matrix, axis=1) <= 0).all())
            return matrix
        places, classes = self._matrix(block, self.index, start), matrix.shape[1]
        if places.shape != matrix.shape or (np.sort(places, axis=1) != np.arange(classes)).any():
            raise FileError(f"{self._name} holds the best {classes} classes of each row only; {_WAY_OUT}")
        ordered = np.empty_like(matrix)
        np.put_along_axis(ordered, places.astype(np.int64), matrix, axis=1)
        return ordered

    def _matrix(self, block: list[Any], columns: list[int], start: int) -> npt.NDArray[Any]:
        """One column of lists, or several columns of numbers, as (n, K)."""
        if self._two and columns == self._columns:
            one = _floats(block[columns[0]], self._names[columns[0]], self._name, start)
            return np.stack([1 - one if self.kind == "probs" else 0 * one, one], axis=1)
        if len(columns) == 1:
            return _stacked(block[columns[0]], self._name, start)
        return np.stack([_floats(block[i], self._names[i], self._name, start) for i in columns], axis=1)

    def soft_labels(self, block: list[Any], start: int) -> npt.NDArray[Any]:
        assert self.soft is not None
        return self._matrix(block, self.soft[1], start)

    def labels(self, block: list[Any], start: int) -> npt.NDArray[Any]:
        assert self.label is not None
        if self._words:
            return self._named_labels(block[self.label], start)
        try:
            column = _floats(block[self.label], self._names[self.label], self._name, start)
        except FileError as error:
            raise FileError(f"{error}; {_LABELS_ARE}") from None
        odd = np.flatnonzero(~((column == np.rint(column)) & (np.abs(column) < _MOST)))
        if len(odd):
            row = int(odd[0])
            raise FileError(f"{self._name}: the label in row {start + row} is {column[row]:g}, not a class index")
        return column.astype(np.int64)

    def _has_words(self, first: list[Any]) -> bool:
        """Whether the column of the labels begins with what is no number."""
        return self.label is not None and len(first[self.label]) > 0 and _number(first[self.label][0]) is None

    def _named_labels(self, cells: Any, start: int) -> npt.NDArray[Any]:
        """Labels that are names of columns of scores."""
        assert self.label is not None
        names = {self._names[place]: k for k, place in enumerate(self._columns) if place != self.label}
        shared = _shared(names)
        known = {name[shared:]: k for name, k in names.items()} | names
        found = [known.get(str(cell).strip(), -1) for cell in cells]
        if -1 in found:
            row = found.index(-1)
            what = "no number" if _number(cells[row]) is None else "a number, where others are words"
            where = f'{self._name}: "{cells[row]}" in row {start + row}, column {self._names[self.label]}'
            words = ", or all of them are names of columns of scores" if len(names) > 1 else ""
            raise FileError(f"{where}, is {what}; {_LABELS_ARE}{words}")
        return np.asarray(found, dtype=np.int64)


def _cells(rows: Iterator[list[str]], name: str, width: int) -> Iterator[list[Any]]:
    batch: list[list[str]] = []
    for number, row in enumerate(rows):  # the first line with data is row 0
        if len(row) != width:
            raise FileError(f"{name}: row {number} has {len(row)} cells and the first line {width}")
        batch.append(row)
        if len(batch) == _BATCH:
            yield list(zip(*batch, strict=True))
            batch = []
    if batch:
        yield list(zip(*batch, strict=True))


def _arrow(column: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type):
        width, rest = divmod(len(column.flatten()), max(len(column), 1))
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        if rest or (lengths != width).any():
            return column.to_pylist()
        return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        return column.to_numpy(zero_copy_only=False)
    return column.to_pylist()


def _stacked(cells: Any, name: str, start: int) -> npt.NDArray[Any]:
    """One column of lists as (n, K); a text is read as numpy prints arrays, ``[0.1 0.9]``, on one line or several."""
    if isinstance(cells, np.ndarray) and cells.ndim == 2:
        return cells
    rows: list[npt.NDArray[Any]] = []
    for number, cell in enumerate(cells):
        if isinstance(cell, str) and "..." in cell:
            raise FileError(
                f"{name}: row {start + number} was abbreviated with … when it was written; use Parquet, or "
                "timm's --results-separate-col"
            )
        numbers = cell.strip("[] \n").replace(",", " ").split() if isinstance(cell, str) else cell
        try:
            rows.append(np.atleast_1d(np.asarray(numbers, dtype=np.float64)))
        except (TypeError, ValueError, OverflowError):
            raise FileError(f"{name}: the scores of row {start + number} are no numbers") from None
        if len(rows[-1]) != len(rows[0]):
            raise FileError(
                f"{name}: row {start + number} has {len(rows[-1])} scores and row {start} has {len(rows[0])}"
            )
    return np.stack(rows)


def _floats(cells: Any, column: str, name: str, start: int) -> npt.NDArray[np.float64]:
    try:
        with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet NaN, which a later check names
            return np.asarray(cells, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        for number, cell in enumerate(cells):
            if _number(cell) is None:
                raise FileError(f'{name}: "{cell}" in row {start + number}, column {column}, is no number') from None
        raise


def _shared(names: Iterable[str]) -> int:
    """How long the start is that all names share, up to a mark: 5 of prob_cat and prob_car."""
    low, high = min(names), max(names)  # what these two share at the start, all share
    same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    return max(low.rfind(mark, 0, same) for mark in "_-. ") + 1


def _is_whole(values: npt.NDArray[np.float64]) -> bool:
    """Whether a column has whole numbers alone, and others than 0 and 1, which probabilities can be."""
    return bool((values == np.rint(values)).all() and (np.abs(values) > 1).any())


def _is_numbers(cells: Any) -> bool:
    """Whether a column has one number a row."""
    return getattr(cells, "ndim", 1) == 1 and all(_number(cell) is not None for cell in cells)


def _number(cell: Any) -> float | None:
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return None
