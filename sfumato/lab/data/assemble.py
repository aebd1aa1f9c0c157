"""The one way from columns to a table of examples, whatever file they came from."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from sfumato.io.tables import MISSING, Frame, pa, pc, plain_type, present, trimmed
from sfumato.lab.data import labels as given
from sfumato.lab.data.columns import Column, ColumnLine, Fault, Unused, read_columns
from sfumato.lab.data.encoding import Columns, Numbers
from sfumato.lab.data.roles import Assigned, Roles, assign
from sfumato.lab.data.table import DataError, DataWarning, Features, Table
from sfumato.lab.data.text import Texts, joined_text
from sfumato.messages import Note
from sfumato.text import listing, plural, short

NO_LABEL = ("", "nan", "<na>", "#n/a", "null")
"""What a label is not, in lower case: a class may well be called NA or none."""


def assemble(frame: Frame, roles: Roles) -> Table:
    """A table from columns."""
    assigned = assign(frame.file, frame.header, roles)
    notes, warnings = list[Note](), list[DataWarning]()
    if roles.drop_unlabelled and assigned.target is not None:
        frame, _ = labelled(frame, assigned.target, notes)
    notes += [
        Note(code="label-left-out", text=f'Column "{short(frame.header[j])}" is {why}.')
        for j, why in assigned.dropped.items()
        if "--label-probs" in why
    ]
    lines, used = _lines_of_roles(frame, assigned), roles.tokenizer is None
    columns = _features(frame, assigned, notes, warnings, lines) if used and assigned.rest else None
    if assigned.texts:
        texts = {frame.header[j]: frame.columns[j] for j in assigned.texts}
        features: Features = Texts(joined_text(frame.file, texts), roles.tokenizer, tuple(texts), columns)
        if assigned.rest and not used:
            unused = listing([frame.header[j] for j in assigned.rest], 8)
            text = f"A language model reads the texts alone; other columns are not used: {unused}."
            warnings.append(DataWarning("columns-unused", None, text))
    else:
        assert columns is not None
        features = columns
    soft, classes = None, tuple[str, ...]()
    if assigned.probs:
        names = [frame.header[j] for j in assigned.probs]
        classes = given.soft_class_names(names)
        soft = given.check_soft(np.stack([_number(frame, j) for j in assigned.probs], axis=1), frame.where, names)
    table = table_of(frame, features, assigned.target, assigned.others, soft, classes, notes, warnings)
    if table.part is None:
        warnings += [warning for j in assigned.rest for warning in _parts_unused(frame, j, used)]
    read = tuple(lines[j] for j in range(len(frame.header)))
    return replace(table, kept=assigned.keep, columns=read, warnings=tuple(warnings))


def table_of(
    frame: Frame,
    features: Features,
    target: int | None,
    others: Mapping[str, int],
    soft: np.ndarray | None,
    classes: tuple[str, ...],
    notes: list[Note],
    warnings: list[DataWarning],
) -> Table:
    """The features of N rows, and what a frame has for them: labels next to ``soft`` ones or alone, and ``others``.

    Those are the places of weight, group and split; ``classes`` are the names of the soft labels.
    """
    part = group = weight = None
    if "split" in others:
        part = given.parts_of(*_codes(frame, others["split"], "part"), frame.where, frame.header[others["split"]])
    if "group" in others:
        group = _codes(frame, others["group"], "group")[0]
    if "weight" in others:
        weight = given.weights_of(_number(frame, others["weight"]), frame.where, frame.header[others["weight"]])
    least = 3 if part is None else 1
    where, way_out = "the soft labels", "Add rows, or drop the class and divide the others by their sum"
    if target is None:
        assert soft is not None
        labels = soft.argmax(axis=1)
    else:
        codes, values = _codes(frame, target)
        name = frame.header[target]
        if soft is not None:
            labels = given.merge_labels(codes, values, classes, frame.where, name)
        else:
            given.refuse_numbers(frame.file, name, codes, values, least)
            labels, classes = given.order_classes(codes, values)
            where, way_out = f'column "{short(name)}"', "Add rows, merge or drop the class, or choose other labels"
        warnings += given.warn_of_classes(labels, classes, name)
    given.check_classes(frame.file, labels, classes, where=where, way_out=way_out, least=least)
    if as_missing := [name for name in classes if name.lower() in MISSING]:
        text = f"Taken for a class, and not for a missing label: {listing(as_missing, 8)}."
        notes.append(Note(code="missing-as-class", text=text))
    return Table(
        frame.name, frame.kind, features, labels, classes, soft, weight, group, part, tuple(notes),
        warnings=tuple(warnings), file=frame.file,
    )  # fmt: skip


def _parts_unused(frame: Frame, j: int, used: bool) -> tuple[DataWarning, ...]:
    """A warning where a column of no role holds the names of parts, that of training among them."""
    column, name = plain_type(frame.columns[j].combine_chunks()), frame.header[j]
    if not pa.types.is_string(column.type):
        return ()
    for cells in (column.slice(0, 100), column):  # the first rows of most columns hold other words
        words = pc.unique(trimmed(cells).drop_null()).to_pylist()
        numbers = {given.part_number(each) for each in words}
        if None in numbers:
            return ()
    if not {0} < numbers:
        return ()
    what, way_out = ("is learnt from", f', or --drop "{name}"') if used else ("is not used", "")
    text = f'`{name}` says which rows are for what, and {what}: give --split "{name}" to use its parts{way_out}.'
    return (DataWarning("parts-unused", name, text),)


def labelled(frame: Frame, j: int, notes: list[Note]) -> tuple[Frame, np.ndarray]:
    """The rows that have a label, and (N,) which ones these are."""
    kept = ~_coded(frame, j, "label")[2]
    if kept.all():
        return frame, kept
    if not kept.any():
        raise DataError(f'{frame.file}: column "{short(frame.header[j])}" has no label in any row')
    rows = np.flatnonzero(kept)
    text = f'{plural(len(kept) - len(rows), "row")} without a label in "{short(frame.header[j])}" left out'
    notes.append(Note(code="unlabelled-left-out", text=f"{text} (--drop-unlabelled)."))
    columns = [column.filter(pa.array(kept)) for column in frame.columns]

    def where(row: int) -> str:
        return frame.where(int(rows[row]))

    return replace(frame, columns=columns, where=where), kept


def _codes(frame: Frame, j: int, noun: str = "label") -> tuple[np.ndarray, list[str]]:
    """Codes and distinct values of a column that has no missing, whole numbers as text."""
    codes, values, missing = _coded(frame, j, noun)
    if missing.any():
        row, others = int(np.argmax(missing)), given.more(int(missing.sum()) - 1)
        way_out = f"give it a {noun} or drop the row"
        if noun == "label":
            way_out = "give it a label, or leave out all rows without one with --drop-unlabelled"
        raise DataError(f'{frame.where(row)}: column "{short(frame.header[j])}" is empty{others}; {way_out}')
    return codes, values


def _coded(frame: Frame, j: int, noun: str) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Codes of a column, its distinct values, whole numbers as text, and in which rows it has none."""
    column, name = plain_type(frame.columns[j].combine_chunks()), short(frame.header[j])
    if pa.types.is_boolean(column.type):
        column = pc.if_else(column, "True", "False")
    elif pa.types.is_floating(column.type):
        values = column.to_numpy(zero_copy_only=False)  # a missing value is NaN
        if len(odd := np.flatnonzero(~(np.isnan(values) | (np.abs(values) < 2**63) & (values == np.rint(values))))):
            if noun == "label":
                different, codes = np.unique(values[~np.isnan(values)], return_inverse=True)
                names = [str(value).removesuffix(".0") for value in different]
                given.refuse_numbers(frame.file, frame.header[j], codes, names, 3)
            place = frame.where(int(odd[0]))
            whole = "whole numbers of up to 18 digits" if abs(values[odd[0]]) >= 2**63 else "whole numbers"
            raise DataError(f'{place}: column "{name}" is {values[odd[0]]:g}; it must hold {whole} or text')
        column = pc.cast(pa.array(values, from_pandas=True), pa.int64())
    try:
        column = pc.cast(column, pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        kind = frame.columns[j].type
        raise DataError(
            f'{frame.file}: column "{name}" has type {kind}; it must hold whole numbers, booleans or text'
        ) from error
    encoded = trimmed(column.fill_null("")).dictionary_encode()
    codes, values = encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()
    return codes, values, np.array([value.lower() in NO_LABEL for value in values], bool)[codes]


def _number(frame: Frame, j: int) -> np.ndarray:
    """(N,) finite numbers of a column that has a role."""
    name = frame.header[j]
    column = read_columns({name: frame.columns[j]}, frozenset((name,)), comma=frame.comma)[name]
    if isinstance(column, Fault):
        raise DataError(f'{frame.where(column.row)}: column "{short(name)}" {column.text}')
    if not isinstance(column, Column) or column.kind != "number":
        raise DataError(f'{frame.file}: column "{short(name)}" must hold numbers')
    if column.missing.any():
        place = frame.where(int(np.argmax(column.missing)))
        raise DataError(f'{place}: column "{short(name)}" is missing; fill in the cell, or drop the row')
    return column.values


def _features(
    frame: Frame, assigned: Assigned, notes: list[Note], warnings: list[DataWarning], lines: dict[int, ColumnLine]
) -> Numbers | Columns | None:
    """Numbers where every cell is one, columns of all kinds otherwise; what cannot be used is noted."""
    columns = {frame.header[j]: frame.columns[j] for j in assigned.rest}
    read = read_columns(columns, assigned.keep, comma=frame.comma)
    if faults := {name: each for name, each in read.items() if isinstance(each, Fault)}:
        name, fault = min(faults.items(), key=lambda each: each[1].row)
        place, first = frame.where(fault.row), [each.cell for each in faults.values() if each.row == fault.row]
        if fault.cell == name or (fault.row == 0 and len(first) > 1 and all(first)):
            cells = listing([f'"{cell}"' for cell in first], 4)
            raise DataError(f"{place}: looks like a second header, with {cells} among numbers; delete the line")
        raise DataError(f'{place}: column "{short(name)}" {fault.text}')
    unused = {name: each for name, each in read.items() if isinstance(each, Unused)}
    used = [each for each in read.values() if isinstance(each, Column)]
    if not used and not assigned.texts:
        name, why = next(iter(unused.items()))
        texts = [own for own, each in unused.items() if each.text]
        ids = [own for own, each in unused.items() if each.read_as == "id"]
        way_out = f'; to learn from it all the same, say --keep "{ids[0]}"' if ids else ""
        way_out = f'; to learn from it as text, say --text "{texts[0]}"' if texts else way_out
        raise DataError(f'{frame.file} has no usable feature column: column "{short(name)}" {why.reason}{way_out}')
    for j in assigned.rest:
        name = frame.header[j]
        each = read[name]
        if isinstance(each, Unused):
            way_out = "--text uses a column as text" if each.text else ""
            way_out = "--keep takes it in" if each.read_as == "id" else way_out
            aside = f" ({way_out})" if way_out else ""
            text = f'Column "{short(name)}" {each.reason} and is left out{aside}.'
            notes.append(Note(code="column-left-out", text=text))
            note = "; ".join(filter(None, [f"left out: {each.reason}", each.note, way_out]))
            lines[j] = ColumnLine(name, each.read_as, each.distinct, each.missing, note)
        elif isinstance(each, Column):
            lines[j] = each.line()
        if isinstance(each, (Column, Unused)) and each.code:
            warnings.append(DataWarning(each.code, name, f'Column "{short(name)}": {each.note}.'))
    formats = [*frame.notes]
    if any(each.kind == "number" and each.written in (",", "1.234,5") for each in used):
        formats.append("decimal commas")
    if formats:
        notes.append(Note(code="file-format", text=f"The file was read with {listing(formats)}."))
    if dates := [each for each in used if each.kind == "date"]:
        named = [f'"{short(each.name)}"' + (f" ({each.written})" if each.written else "") for each in dates]
        text = f"Dates count days, and the season where they span more than a year: {listing(named, 8)}."
        notes.append(Note(code="dates", text=text))
    notes += [
        Note(code="column-read-as", text=f'Column "{short(each.name)}": {each.note}.')
        for each in used
        if each.note and not each.code
    ]
    if not used:
        return None
    if all(each.kind == "number" and not each.missing.any() for each in used):
        values = np.ascontiguousarray(np.stack([each.values for each in used], axis=1), np.float64)
        names = tuple(each.name for each in used)
        return Numbers(values, names, (len(used),), written=tuple(each.written for each in used))
    return Columns(tuple(used))


def _lines_of_roles(frame: Frame, assigned: Assigned) -> dict[int, ColumnLine]:
    """The lines of all columns that are not read as features, by position."""
    roles = dict.fromkeys(assigned.probs, "label-probs") | dict.fromkeys(assigned.texts, "text")
    roles |= {j: role for role, j in assigned.others.items()}
    if assigned.target is not None:
        roles[assigned.target] = "label"
    notes = dict.fromkeys(roles, "") | assigned.dropped
    if assigned.texts:
        notes |= dict.fromkeys(assigned.rest, "left out: a language model reads the texts alone")
    lines: dict[int, ColumnLine] = {}
    for j, note in notes.items():
        role = roles.get(j, "left out")
        counted = _counted(frame.columns[j], trimmed if role in ("label", "group", "split") else present)
        lines[j] = ColumnLine(frame.header[j], role, *counted, note)
    return lines


def _counted(column: Any, read: Callable[[Any], Any]) -> tuple[int, int]:
    """Different values of a column, and its cells without one; ``read`` is how its role reads text."""
    column = plain_type(column)
    if pa.types.is_nested(column.type):
        return 0, column.null_count
    counted = pc.value_counts(column)
    values = read(counted.field(0)) if pa.types.is_string(column.type) else counted.field(0)
    missing = counted.field(1).filter(values.is_null()).to_numpy().sum()
    return pc.count_distinct(values).as_py(), int(missing)
