"""What each column of a table is for, and the one way from columns to a table, whatever file they came from."""

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sfumato.lab.data.cells import Fault, Unused, read_column, trimmed
from sfumato.lab.data.columns import Category, Columns
from sfumato.lab.data.inputs import Features
from sfumato.lab.data.labels import check_soft, merge_labels, parts_of, soft_class_names, weights_of
from sfumato.lab.data.numbers import Numbers
from sfumato.lab.data.table import DataError, Table, check_classes, order_classes
from sfumato.lab.data.texts import Texts
from sfumato.text import did_you_mean, listing, short

LABEL_NAMES = ("label", "target", "class", "y")


@dataclass(frozen=True)
class Roles:
    """Which columns of a table, or arrays of an archive, are for what.

    Attributes:
        label: the label column; None for the first of label, target, class, y that there is.
        label_probs: columns of probabilities, one a class; a name may be a pattern such as ``p_*``.
        text: the column of texts, or several with commas between, to be joined.
        split: the column that says train, validation or test.
        weight: the column of row weights.
        group: the column whose equal values may not be split.
        image_size: side in pixels to which a folder's images are brought.
        tokenizer: folder of a language model, whose tokens stand for texts.

    >>> Roles(label="kind").asked()
    {'--label': 'kind'}
    """

    label: str | None = None
    label_probs: tuple[str, ...] | None = None
    text: str | None = None
    split: str | None = None
    weight: str | None = None
    group: str | None = None
    image_size: int | None = None
    tokenizer: str | None = None

    def asked(self) -> dict[str, str]:
        """The options that were given, as they are typed."""
        probs = None if self.label_probs is None else ",".join(self.label_probs)
        size = None if self.image_size is None else str(self.image_size)
        options = {
            "--label": self.label,
            "--label-probs": probs,
            "--text": self.text,
            "--split": self.split,
            "--weight": self.weight,
            "--group": self.group,
            "--image-size": size,
        }
        return {name: value for name, value in options.items() if value is not None}

    def refuse(self, file: str, why: str, *names: str) -> None:
        """Raise a DataError if one of these options was given."""
        for name, value in self.asked().items():
            if name in names:
                raise DataError(f'{name} "{value}" {why.format(file=file)}')


class Frame(Protocol):
    """Columns of one length, and where their rows stand in the file.

    Attributes:
        file: what to call it in messages.
        name: of the table.
        kind: ``"csv"``, ``"parquet"`` or ``"function"``.
        header: names of the columns, each given once.
    """

    file: str
    name: str
    kind: str
    header: list[str]

    @property
    def columns(self) -> Sequence[Any]:
        """As many Arrow arrays as names."""
        ...

    def where(self, row: int) -> str:
        """The place of a row, with the file: ``"flowers.csv, line 7"``."""
        ...


def assemble(frame: Frame, roles: Roles) -> Table:
    """A table from columns.

    Raises:
        DataError: a column that is not there or cannot be used; says which, where, and the way out.
    """
    probs = _probs_columns(frame, roles)
    target = None if probs and roles.label is None else _label_column(frame, roles.label)
    texts = _text_columns(frame, roles.text)
    others = {name: _find(frame, value) for name, value in _single(roles).items() if value is not None}
    taken = {*probs, *texts, *others.values(), *([] if target is None else [target])}
    _refuse_twice(frame, [*probs, *texts, *others.values(), *([] if target is None else [target])])
    notes: list[str] = []
    if target is None:  # a hard label beside soft ones would give the answer away
        hard = [j for j, name in enumerate(frame.header) if name.lower() in LABEL_NAMES and j not in taken]
        taken.update(hard)
        notes += [f'Column "{short(frame.header[j])}" is left out: labels come from --label-probs.' for j in hard]
    rest = [j for j in range(len(frame.header)) if j not in taken]
    if not rest and not texts:
        named = listing([f'"{short(frame.header[j])}"' for j in sorted(taken)])
        raise DataError(f"{frame.file} has no column but {named}; add at least one column of numbers")

    group = _words(frame, others["group"], "group") if "group" in others else None
    part = (
        parts_of(*_words(frame, others["split"], "part"), frame.where, roles.split or "") if "split" in others else None
    )
    weight = None
    if "weight" in others:
        weight = weights_of(_number(frame, others["weight"]), frame.where, roles.weight or "")
    features = _texts(frame, texts, roles) if texts else _features(frame, rest, notes)
    if texts and rest:
        notes.append(f"With --text, other columns are not used: {listing([frame.header[j] for j in rest], 8)}.")

    soft = None
    if probs:
        names = soft_class_names([frame.header[j] for j in probs])
        soft = check_soft(
            np.stack([_number(frame, j) for j in probs], axis=1), frame.where, [frame.header[j] for j in probs]
        )
        labels, where = soft.argmax(axis=1), "the columns of --label-probs"
        way_out = "Add rows, or drop the column and divide the others by their sum"
        if target is not None:
            labels = merge_labels(*_words(frame, target), names, frame.where, frame.header[target])
    else:
        assert target is not None
        labels, names = order_classes(*_words(frame, target))
        where = f'column "{short(frame.header[target])}"'
        way_out = "Add rows, merge or drop the class, or choose another column with --label"
    check_classes(frame.file, labels, names, where=where, way_out=way_out, least=3 if part is None else 1)
    codes = None if group is None else group[0]
    return Table(frame.name, frame.kind, features, labels, names, soft, weight, codes, part, tuple(notes))


def _single(roles: Roles) -> dict[str, str | None]:
    return {"split": roles.split, "weight": roles.weight, "group": roles.group}


def _find(frame: Frame, name: str) -> int:
    if name in frame.header:
        return frame.header.index(name)
    hint = did_you_mean(name, frame.header)
    raise DataError(f'{frame.file} has no column "{name}".{hint} Columns: {listing(frame.header)}')


def _refuse_twice(frame: Frame, columns: Sequence[int]) -> None:
    twice = next((j for i, j in enumerate(columns) if j in columns[:i]), None)
    if twice is not None:
        raise DataError(f'{frame.file}: column "{short(frame.header[twice])}" is asked for in two roles; choose one')


def _probs_columns(frame: Frame, roles: Roles) -> list[int]:
    found: list[int] = []
    for name in roles.label_probs or ():
        if name not in frame.header and any(c in name for c in "*?["):
            matching = [j for j, own in enumerate(frame.header) if fnmatch.fnmatchcase(own, name)]
            if not matching:
                raise DataError(f'{frame.file} has no column like "{name}". Columns: {listing(frame.header)}')
            found += matching
        else:
            found.append(_find(frame, name))
    if len(found) == 1:
        raise DataError(
            f'{frame.file}: --label-probs names one column, "{short(frame.header[found[0]])}"; it needs one a class, '
            "with commas between: p_0,p_1,p_2"
        )
    return found


def _text_columns(frame: Frame, text: str | None) -> list[int]:
    if text is None:
        return []
    return [_find(frame, name) for name in ([text] if text in frame.header else text.split(","))]


def _label_column(frame: Frame, label: str | None) -> int:
    if label is not None:
        return _find(frame, label)
    for wanted in LABEL_NAMES:
        for j, name in enumerate(frame.header):
            if name.lower() == wanted:
                return j
    header, file = frame.header, frame.file
    other = next((c for c in ";\t|," if len(header) == 1 and c in header[0]), None)
    if other is not None:
        raise DataError(
            f'{file} has one column, "{short(header[0])}"; separate its cells by commas or tabs (.csv or .tsv)'
        )
    hint = " (Is its first line a header?)" if any(is_decimal(name) for name in header) else ""
    raise DataError(
        f"{file} has no column called label, target, class or y; name the label column with --label.{hint} "
        f"Columns: {listing(header)}"
    )


def is_decimal(name: str) -> bool:
    """Whether a column name is a number with decimals, as in a file without a header (0, 1, 2 are fair names)."""
    return "." in name and name.replace(".", "", 1).lstrip("+-").isdigit()


def _words(frame: Frame, j: int, noun: str = "label") -> tuple[np.ndarray, list[str]]:
    """Codes and distinct values of a column that has no gaps, whole numbers as text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column, name = frame.columns[j].combine_chunks(), short(frame.header[j])
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    if pa.types.is_boolean(column.type):
        column = pc.call_function("if_else", [column, pa.scalar("True"), pa.scalar("False")])
    elif pa.types.is_floating(column.type):
        values = column.fill_null(0).to_numpy()
        odd = np.flatnonzero(~(np.isfinite(values) & (values == np.rint(values))))
        if len(odd):
            place = frame.where(int(odd[0]))
            raise DataError(f'{place}: column "{name}" is {values[odd[0]]:g}; it must hold whole numbers or text')
        column = pc.cast(column, pa.int64())
    try:
        column = pc.cast(column, pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        kind = frame.columns[j].type
        raise DataError(
            f'{frame.file}: column "{name}" has type {kind}; it must hold whole numbers, booleans or text'
        ) from error
    encoded = trimmed(column.fill_null("")).dictionary_encode()
    codes, values = encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()
    if "" in values:
        row = int(np.argmax(codes == values.index("")))
        raise DataError(f'{frame.where(row)}: column "{name}" is empty; give it a {noun} or drop the row')
    return codes, values


def _number(frame: Frame, j: int) -> np.ndarray:
    """(N,) finite numbers of a column that has a role."""
    name, column = short(frame.header[j]), read_column(frame.columns[j])
    if isinstance(column, Fault):
        raise DataError(f'{frame.where(column.row)}: column "{name}" {column.text}')
    if not isinstance(column, np.ndarray):
        raise DataError(f'{frame.file}: column "{name}" must hold numbers')
    gaps = np.flatnonzero(np.isnan(column))
    if len(gaps):
        raise DataError(f'{frame.where(int(gaps[0]))}: column "{name}" is missing; fill in the cell, or drop the row')
    return column


def _texts(frame: Frame, columns: Sequence[int], roles: Roles) -> Texts:
    import pyarrow as pa
    import pyarrow.compute as pc

    made: list[list[str]] = []
    for j in columns:
        try:
            made.append(pc.cast(frame.columns[j], pa.string()).fill_null("").to_pylist())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(
                f'{frame.file}: column "{short(frame.header[j])}" has type {frame.columns[j].type}, not text'
            ) from error
    texts = made[0] if len(made) == 1 else ["\n".join(cells) for cells in zip(*made, strict=True)]
    return Texts(texts, roles.tokenizer)


def _features(frame: Frame, columns: Sequence[int], notes: list[str]) -> Features:
    """Numbers where every cell is one, columns of both kinds otherwise; what cannot be used is noted."""
    read = {j: read_column(frame.columns[j]) for j in columns}
    faults = [(column.row, j, column.text) for j, column in read.items() if isinstance(column, Fault)]
    if faults:
        row, j, text = min(faults)
        raise DataError(f'{frame.where(row)}: column "{short(frame.header[j])}" {text}')
    unused = {j: column for j, column in read.items() if isinstance(column, Unused)}
    used = [(frame.header[j], c) for j, c in read.items() if isinstance(c, (np.ndarray, Category))]
    if not used:
        j, why = next(iter(unused.items()))
        words = next((frame.header[j] for j, column in unused.items() if column.words), None)
        way_out = f'; to learn from it as text, say --text "{words}"' if words else ""
        raise DataError(
            f'{frame.file} has no column to learn from: column "{short(frame.header[j])}" {why.reason}{way_out}'
        )
    for j, column in unused.items():
        way_out = " (--text uses a column as text)" if column.words else ""
        notes.append(f'Column "{short(frame.header[j])}" {column.reason} and is left out{way_out}.')
    names = tuple(name for name, _ in used)
    dense = [column for _, column in used if not isinstance(column, Category) and not np.isnan(column).any()]
    if len(dense) == len(used):
        values = np.ascontiguousarray(np.stack(dense, axis=1), np.float64)
        return Numbers(values, names, (len(names),))
    return Columns(names, tuple(column for _, column in used))
