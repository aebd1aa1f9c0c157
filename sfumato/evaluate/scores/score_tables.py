"""Scores and labels from a table, as pandas or timm's inference.py write them: which of its columns are what."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.soft_labels import SOFT
from sfumato.io.arrays import FileError, spool
from sfumato.io.tables import NUMBER, DataError, Frame, as_numbers, matching, plain_type, read_arrow, read_csv, trimmed
from sfumato.messages import Note

LABELS = ("label", "labels", "label_ids", "target", "targets", "class", "y", "y_true")
PROBS = ("prob", "probs", "probability", "probabilities", "proba", "y_prob", "y_proba")
LOGITS = ("logit", "logits", "predictions", "scores")
EXTRA_COLUMNS = ("id", "group")  # read as they are, for callers that ask for them
_NOT_CLASSES = {"filename", "id", "index", "image", "path", "name"}
_BLOCK = 4096  # rows that are put into the matrix at a time
_SAMPLE = 20  # with so many rows, a column of whole numbers is looked at twice
_MAX_WHOLE = 2.0**53  # every whole number below has a float of its own
_LABELS_ARE = "labels are column numbers from 0"
_ALL_CLASSES = "run timm's inference.py with --topk 0, or with --topk K --include-index for all K classes"
_LEAVE_OUT = "leave the column out, or number the columns of the classes (prob_0, prob_1, …)"

Contents: TypeAlias = tuple[dict[str, Any], str | None, list[Note]]
"""Arrays of a file by their names, ``"logits"`` or ``"probs"`` if the file says which, and notes on what was read."""


def read_score_table(path: str, name: str, extra: Sequence[str] = (), *, arrow: bool = False) -> Contents:
    """Scores and labels of a CSV table, or of an ``arrow`` one (Parquet, Feather), and the ``extra`` columns."""
    try:
        frame = (read_arrow if arrow else read_csv)(path, file=name, name=Path(name).stem, header=False)
    except DataError as error:
        raise FileError(str(error)) from None
    return _ScoreTable(frame, {*EXTRA_COLUMNS, *(each.lower() for each in extra)}).contents()


class _ScoreTable:
    """A table whose columns are told apart; places are numbers of columns."""

    def __init__(self, frame: Frame, extra: Iterable[str]) -> None:
        self.frame, self.names, self.rows = frame, frame.header, len(frame.columns[0])
        encoding = [each for each in frame.notes if not each.startswith("cells")]
        self.notes = [Note(code="file-format", text=f"The file was read with {each}.") for each in encoding]
        self.kind: str | None = None
        self.classes = list[str]()  # where columns are named after them
        self.header = self.names != [str(place) for place in range(len(self.names))]
        lower = [each.lower() for each in self.names]
        if lower == ["index", "prediction"]:
            raise FileError(
                f"{frame.file} holds predicted classes alone, as the Transformers examples write them; save what "
                "predict returns instead: numpy.savez(file, logits=output.predictions, labels=output.label_ids)"
            )
        self.label = next((lower.index(key) for key in LABELS if key in lower), None)
        self.extra = {self.names[lower.index(key)]: lower.index(key) for key in sorted(extra) if key in lower}
        self.soft = self._soft_columns(lower)
        lists = [place for place, each in enumerate(lower) if each in PROBS + LOGITS]
        self.scores, self.index = self._score_columns(lower, lists)
        self.named_labels = self.label is not None and not self._is_numbers(self.label, slice(0, 1))
        if self.label is not None and self.named_labels and self.kind is not None:
            text = f'The column "{self.names[self.label]}" holds names, as of predictions, and is not read.'
            self.notes.append(Note(code="column-unused", text=text))
            self.label = None
        self.has_scores = bool(lists) or len(self.scores) > 1
        labelled = self.label is not None or self.soft is not None
        self.one_column = labelled and len(self.scores) == 1 and self._is_numbers(self.scores[0], slice(0, self.rows))
        if self.one_column:
            values = self._numbers(self.scores[0], slice(0, self.rows))  # of class 1; the other class has the rest
            self.has_scores, self.kind = True, "probs" if ((values >= 0) & (values <= 1)).all() else "logits"
            what = "probability of class 1" if self.kind == "probs" else "logit of class 1 against class 0"
            text = f'The column "{self.names[self.scores[0]]}" was taken for the {what}.'
            self.notes.append(Note(code="column-taken-for", text=text))
        elif self.header and not lists and self.kind is None and len(self.scores) > 1:
            self._take_named_columns()
        if not self.has_scores and not labelled:
            if len(self.scores) != 1:
                raise FileError(f"{frame.file} has no column of scores; columns: {', '.join(self.names)}")
            self.label = self.scores[0]
            self.named_labels = not self._is_numbers(self.label, slice(0, 1))

    def contents(self) -> Contents:
        """The arrays of the table by name."""
        arrays: dict[str, Any] = {}
        if self.has_scores:
            arrays["probs" if self.kind == "probs" else "logits"] = spool(self._score_blocks(), "float64")
        arrays |= {key: np.asarray(self.frame.columns[place].to_pylist()) for key, place in self.extra.items()}
        if self.classes:
            arrays["classes"] = np.asarray(self.classes)
        if self.label is not None:
            arrays["labels"] = self._labels(self.label, slice(0, self.rows))
        if self.soft is not None:
            arrays[self.soft[0]] = self._matrix(self.soft[1], slice(0, self.rows))
        return arrays, self.kind, self.notes

    def _soft_columns(self, lower: list[str]) -> tuple[str, list[int]] | None:
        """The name of the soft labels and their columns: one of lists, or one per class, numbered from 0."""
        for name in SOFT:
            if name in lower:
                return name, [lower.index(name)]
            places = {int(m[1]): i for i, each in enumerate(lower) if (m := re.fullmatch(rf"{name}?_(\d+)", each))}
            if places:
                missing = next((k for k in range(len(places)) if k not in places), None)
                if missing is not None or len(places) < 2:
                    raise FileError(f"{self.frame.file}: the columns of {name} leave out class {missing or 1}")
                return name, [places[k] for k in range(len(places))]
        return None

    def _score_columns(self, lower: list[str], lists: list[int]) -> tuple[list[int], list[int]]:
        """The columns of scores and of class indices: one of lists, numbered ones, or all that are nothing else."""
        soft = self.soft[1] if self.soft else []
        numbered: dict[str, list[tuple[int, int]]] = {}  # number and place, by what is before the number
        for place, each in enumerate(lower):
            if place not in soft and (m := re.fullmatch(r"(.*?)_?(\d+)", each)):
                numbered.setdefault(m[1], []).append((int(m[2]), place))
        for each in (*(lower[place] for place in lists), *(key for key in (*PROBS, *LOGITS) if key in numbered)):
            self.kind = "probs" if each in PROBS else "logits"
            numbered[""] = numbered.get(each, numbered.get("", []))
        if lists:
            return lists[-1:], [lower.index("index")] if "index" in lower else []
        classes = sorted(numbered.get("", []) or max(numbered.values(), key=len, default=[]))
        if not self.header or len(classes) < 2:
            known = {self.label, *self.extra.values(), *soft}
            return [i for i, each in enumerate(lower) if i not in known and each not in _NOT_CLASSES], []
        missing = next((i for i, (number, _) in enumerate(classes) if number != i), None)
        if missing is not None:
            raise FileError(f"{self.frame.file}: the columns of the classes leave out class {missing}")
        index = [] if self.kind is None else [place for _, place in sorted(numbered.get("index", []))]
        return [place for _, place in classes], index

    def _take_named_columns(self) -> None:
        """Columns without numbers in their names are taken for classes, but for those that plainly are not."""
        at = slice(0, min(_BLOCK, self.rows))
        columns = {place: self._numbers(place, at) for place in self.scores}
        labels = None if self.label is None else self._labels(self.label, at)
        # only whole numbers, some of them other than 0 and 1, which probabilities can be
        whole = {place for place, x in columns.items() if (x == np.rint(x)).all() and (np.abs(x) > 1).any()}
        for place, values in columns.items() if at.stop >= _SAMPLE else ():
            column = f'{self.frame.file}: column "{self.names[place]}"'
            if (values == np.rint(values)).all() and len(np.unique(values)) == len(values):
                raise FileError(f"{column} looks like a row index, not a class; {_LEAVE_OUT}")
            if labels is not None and (values == labels).all():
                raise FileError(f"{column} repeats the label and is not a class; {_LEAVE_OUT}")
            if place in whole and len(whole) < len(self.scores):
                raise FileError(
                    f"{column} has whole numbers, unlike the other columns of classes; if it is not a class, "
                    f"{_LEAVE_OUT}"
                )
        self.classes = [self.names[place] for place in self.scores]
        more = f" and {len(self.classes) - 12} more" if len(self.classes) > 12 else ""
        text = f"The classes, from 0 on, are the columns {', '.join(self.classes[:12])}{more}."
        self.notes.append(Note(code="class-columns", text=text))
        if self.label is not None and self.named_labels:
            text = f'The words in the column "{self.names[self.label]}" are names of these columns.'
            self.notes.append(Note(code="labels-by-name", text=text))

    def _score_blocks(self) -> Iterator[npt.NDArray[Any]]:
        """The scores in the order of the classes; the best classes first, without their indices, are refused."""
        falling, width = True, 0
        for start in range(0, self.rows, _BLOCK):
            at = slice(start, min(start + _BLOCK, self.rows))
            matrix = self._matrix(self.scores, at)
            width = matrix.shape[1]
            if self.index:
                places = self._matrix(self.index, at)
                if places.shape != matrix.shape or (np.sort(places, axis=1) != np.arange(width)).any():
                    raise FileError(
                        f"{self.frame.file} holds only the best {width} classes of each row; {_ALL_CLASSES}"
                    )
                matrix, best = np.empty_like(matrix), matrix
                np.put_along_axis(matrix, places.astype(np.int64), best, axis=1)
            falling = falling and not self.index and bool((np.diff(matrix, axis=1) <= 0).all())
            yield matrix
        if falling and width > 2:
            raise FileError(
                f"{self.frame.file}: the scores of every row fall from left to right, so they are the best classes "
                f"first and not in the order of the classes; {_ALL_CLASSES}"
            )

    def _matrix(self, places: list[int], at: slice) -> npt.NDArray[Any]:
        """One column of lists, or several columns of numbers, as (n, K)."""
        if self.one_column and places == self.scores:
            score = self._numbers(places[0], at)
            return np.stack([1 - score if self.kind == "probs" else 0 * score, score], axis=1)
        if len(places) == 1:
            return self._lists(places[0], at)
        return np.stack([self._numbers(place, at) for place in places], axis=1)

    def _cells(self, place: int, at: slice) -> Any:
        return plain_type(self.frame.columns[place].slice(at.start, at.stop - at.start))

    def _is_numbers(self, place: int, at: slice) -> bool:
        try:
            return bool(len(self._numbers(place, at)))
        except FileError:
            return False

    def _numbers(self, place: int, at: slice) -> npt.NDArray[np.float64]:
        """One number per row; FileError names the first cell that is not a number."""
        import pyarrow as pa

        cells = self._cells(place, at)
        if pa.types.is_floating(cells.type) or pa.types.is_integer(cells.type):
            with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet NaN, which a later check names
                return cells.to_numpy().astype(np.float64, copy=False)
        if not pa.types.is_string(cells.type):
            values = cells.to_pylist()
            good = [isinstance(each, (bool, float)) or hasattr(each, "as_integer_ratio") for each in values]
            if not all(good):
                self._refuse_cell(place, at.start + good.index(False), values[good.index(False)])
            return np.asarray(values, dtype=np.float64)
        texts = trimmed(cells)
        decimals = ".," if self.frame.comma else "."
        good = matching(texts, "|".join(f"(?:{NUMBER[each]})" for each in decimals) + r"|^(?i:nan)$")
        odd = np.flatnonzero(good != np.True_)  # an empty cell is None
        if len(odd):
            self._refuse_cell(place, at.start + int(odd[0]), cells[int(odd[0])].as_py() or "")
        return as_numbers(texts, decimals[-1])

    def _refuse_cell(self, place: int, row: int, cell: Any) -> None:
        where = f'{self.frame.where(row)}, column "{self.names[place]}"'
        raise FileError(f'{where}: "{cell}" is not a number{f"; {_LABELS_ARE}" if place == self.label else ""}')

    def _lists(self, place: int, at: slice) -> npt.NDArray[Any]:
        """A column of lists as (n, K), or of text as numpy prints arrays: ``[0.1 0.9]``, on one line or several."""
        import pyarrow as pa

        cells = self._cells(place, at)
        if not pa.types.is_string(cells.type) and hasattr(cells.type, "value_type"):
            cells = cells.combine_chunks()
            width, rest = divmod(len(cells.flatten()), max(len(cells), 1))
            if not rest and (cells.value_lengths().to_numpy(zero_copy_only=False) == width).all():
                return cells.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
        rows: list[npt.NDArray[Any]] = []
        for row, cell in enumerate(cells.to_pylist(), at.start):
            if isinstance(cell, str) and "..." in cell:
                raise FileError(
                    f"{self.frame.where(row)}: the list was abbreviated with … when it was written; use Parquet, or "
                    "timm's --results-separate-col"
                )
            numbers = cell.strip("[] \n").replace(",", " ").split() if isinstance(cell, str) else cell
            try:
                rows.append(np.atleast_1d(np.asarray(numbers, dtype=np.float64)))
            except (TypeError, ValueError, OverflowError):
                raise FileError(f"{self.frame.where(row)}: the scores are not numbers") from None
            if len(rows[-1]) != len(rows[0]):
                raise FileError(
                    f"{self.frame.where(row)}: {len(rows[-1])} scores, but the first row has {len(rows[0])}"
                )
        return np.stack(rows)

    def _labels(self, place: int, at: slice) -> npt.NDArray[np.int64]:
        """Class indices, or names of columns of scores as their places."""
        if self.named_labels:
            return self._named_labels(place, at)
        labels = self._numbers(place, at)
        odd = np.flatnonzero(~((labels == np.rint(labels)) & (np.abs(labels) < _MAX_WHOLE)))
        if len(odd):
            where = self.frame.where(at.start + int(odd[0]))
            raise FileError(f"{where}: the label is {labels[odd[0]]:g}, not a class index")
        return labels.astype(np.int64)

    def _named_labels(self, place: int, at: slice) -> npt.NDArray[np.int64]:
        names = {self.names[each]: k for k, each in enumerate(self.scores) if each != place}
        prefix = _shared_prefix(names) if names else 0
        known = {name[prefix:]: k for name, k in names.items()} | names
        cells = self._cells(place, at).to_pylist()
        labels = [known.get(str(cell).strip(), -1) for cell in cells]
        if -1 in labels:
            row = labels.index(-1)
            number = self._is_numbers(place, slice(at.start + row, at.start + row + 1))
            where = f'{self.frame.where(at.start + row)}, column "{self.names[place]}"'
            what = "a number, where others are words" if number else "not a number"
            also = ", or all of them are names of columns of scores" if len(names) > 1 else ""
            raise FileError(f'{where}: "{cells[row]}" is {what}; {_LABELS_ARE}{also}')
        return np.asarray(labels, dtype=np.int64)


def _shared_prefix(names: Iterable[str]) -> int:
    """The length of the start that all names share, up to a mark: 5 for prob_cat and prob_car."""
    low, high = min(names), max(names)  # what these two share at the start, all share
    same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    return max(low.rfind(mark, 0, same) for mark in "_-. ") + 1
