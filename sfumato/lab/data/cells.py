"""Cells into numbers, dates or words: Arrow converts whole columns, and what it cannot convert is looked at by words.

How a table writes its numbers is decided by the whole table, and how a column writes its dates by the whole column, so
that the order of rows changes nothing. A column of numbers with a few cells that are none holds mistakes: the first one
is named.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sfumato.lab.data.column import Column
from sfumato.lab.data.dates import days_of, read_dates
from sfumato.lab.data.signs_and_dashes import brief, dashes, why_words, without_sign
from sfumato.text import plural, short

MISSING = ("", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "?")
"""Cells that say that there is no value, in lower case."""

LEAST_IDS = 10
"""Rows from which on a column with another word in every row counts nothing but the rows."""

_NUMBER = (
    r"^[+-]?(?:(?:[0-9]+|[1-9][0-9]{0,2}(?:[%s \x{a0}\x{202f}'’][0-9]{3})+)(?:%s[0-9]*)?|%s[0-9]+)(?:[eE][+-]?[0-9]+)?$"
    r"|^[+-]?(?i:inf|infinity)$"
)
POINT, COMMA = _NUMBER % (",", r"\.", r"\."), _NUMBER % (r"\.", ",", ",")
"""What a number looks like with a decimal point, and with a decimal comma."""
_GROUPED = r"[0-9][, \x{a0}\x{202f}'’][0-9]"
_ID_NAME = re.compile(r"(?i:(?:^|[\W_])(?:id|uuid|guid|key|index|idx|nr|rowid|serial)$)|(?<=[a-z])I[Dd]$")


@dataclass(frozen=True)
class Fault:
    """A cell that keeps a column from being used.

    Attributes:
        row: of the cell.
        text: what is wrong with it, and the way out; the place is put before it.
        cell: what it holds.
    """

    row: int
    text: str
    cell: str = ""


@dataclass(frozen=True)
class Unused:
    """A column that is left out.

    Attributes:
        reason: why, as a verb with its object.
        distinct: values that it holds.
        missing: cells without one.
        read_as: ``"id"`` or ``"left out"``.
        words: whether it may be text for ``--text``.
    """

    reason: str
    distinct: int
    missing: int
    read_as: str = "left out"
    words: bool = False


@dataclass(frozen=True)
class _Words:
    """A column that is not of plain numbers: its different words, and which of them each cell holds (−1: none)."""

    levels: Any
    codes: np.ndarray
    counts: np.ndarray
    as_point: np.ndarray
    as_comma: np.ndarray
    cleared: str = ""  # what was taken off the cells before they were looked at
    sign: str = ""  # the sign that was taken off

    @classmethod
    def of(cls, levels: Any, codes: np.ndarray, cleared: str = "", sign: str = "") -> "_Words":
        """From the words and the codes of the cells; which words are numbers is found out."""
        counts = np.bincount(codes + 1)[1:]  # each word is in a cell
        return cls(levels, codes, counts, matching(levels, POINT), matching(levels, COMMA), cleared, sign)

    @property
    def mark(self) -> str:
        """The decimal mark that the words prove; empty where either would do, or none."""
        point, comma = bool(self.as_point.all()), bool(self.as_comma.all())
        return "" if point == comma else "." if point else ","

    def mostly(self, good: np.ndarray) -> bool:
        """Whether all cells but a few mistakes hold good words."""
        right, wrong = int(self.counts[good].sum()), int(self.counts[~good].sum())
        return wrong < right and wrong <= max(3, (right + wrong) / 100)

    def first(self, levels: np.ndarray) -> tuple[int, str]:
        """The first row that holds one of some words, and the word."""
        row = int(np.argmax(np.append(levels, False)[self.codes]))
        return row, short(self.levels[int(self.codes[row])].as_py())


def read_columns(
    columns: Mapping[str, Any], keep: frozenset[str], *, comma: bool = False
) -> dict[str, Column | Fault | Unused]:
    """Columns as numbers, dates or words, or as what keeps them from being either.

    Args:
        columns: Arrow arrays of any type, in one or more chunks, by name.
        keep: names of columns that are not left out for being ids, or of too many words.
        comma: whether a number such as ``1,234``, which nothing else in the table explains, has a decimal comma.

    >>> import pyarrow as pa
    >>> table = {"a": pa.chunked_array([["1", "NA", " 2,5"]]), "b": pa.chunked_array([["red", "", "blue"]])}
    >>> found = read_columns(table, frozenset())
    >>> found["a"].values, found["a"].written, found["b"].levels
    (array([1. , nan, 2.5]), ',', ('red', 'blue'))
    """
    looked = {name: _looked_at(name, column) for name, column in columns.items()}
    marks = {each.mark for each in looked.values() if isinstance(each, _Words)}
    plain = {name: each for name, each in looked.items() if isinstance(each, Column) and each.written == "text"}
    if ("," in marks or comma) and any(_has_decimals(each.values, columns[name]) for name, each in plain.items()):
        marks.add(".")
    mark = "," if "," in marks and "." not in marks else "." if "." in marks else "," if comma else "."
    made: dict[str, Column | Fault | Unused] = {}
    for name, each in looked.items():
        if isinstance(each, _Words):
            words, each = each, _of_words(name, each, mark, name in keep)
            each = replace(each, cleared=words.cleared, sign=words.sign) if isinstance(each, Column) else each
        elif isinstance(each, Column) and mark == "," and each.written == "text":
            each = _with_points(each, columns[name])
        if isinstance(each, Column) and each.kind == "number" and name not in keep and is_id(each.values, name):
            each = Unused("has another whole number in every row", len(each.values), 0, "id")
        made[name] = each
    return made


def trimmed(column: Any) -> Any:
    """A column of Arrow text without the white space around its cells."""
    import pyarrow.compute as pc

    return pc.call_function("utf8_trim_whitespace", [column])


def plain_type(column: Any) -> Any:
    """A column without the dictionary, or the view, that its values may be stored by."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        kind = pa.string()
    return column if kind == column.type else pc.cast(column, kind)


def is_id(values: np.ndarray, name: str) -> bool:
    """Whether a column of numbers counts or names its rows: whole numbers that never repeat, where chance would.

    Of n whole numbers from a range of R, some are equal but for a chance of e^(−n²/2R); from n² > 10·R on, a column
    without equal numbers was numbered, not measured. A name such as ``customer_id`` is reason enough.

    >>> is_id(np.arange(100.0), "x"), is_id(np.arange(6.0), "x"), is_id(np.arange(100.0) ** 3, "x")
    (True, False, False)
    """
    if len(values) < LEAST_IDS or not _whole(values) or np.isnan(values).any():
        return False
    ordered = np.sort(values)
    if (ordered[1:] == ordered[:-1]).any():
        return False
    return len(values) ** 2 > 10 * float(ordered[-1] - ordered[0] + 1) or _ID_NAME.search(name) is not None


def _whole(values: np.ndarray) -> bool:
    """Whether all numbers but gaps are whole; of most columns that are not, the first thousand tell it."""
    return all(bool(((part == np.rint(part)) | np.isnan(part)).all()) for part in (values[:1000], values))


def _has_decimals(values: np.ndarray, cells: Any) -> bool:
    """Whether numbers that were read with decimal points cannot be whole thousands with points between."""
    return not _whole(values) and not matching(present(plain_type(cells)).drop_null(), COMMA).all()


def _looked_at(name: str, column: Any) -> Column | _Words | Fault | Unused:
    """What Arrow makes of a column by itself; words are left for the whole table to explain."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = plain_type(column)
    kind = column.type
    if pa.types.is_string(kind):
        return _from_text(name, column)
    if column.null_count == len(column):
        return Unused("holds no value", 0, len(column))
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return Column(name, "date", days_of(column))
    if pa.types.is_boolean(kind):
        column = pc.cast(column, pa.uint8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return Unused(f"holds values of type {kind}", 0, column.null_count)
    values = pc.cast(column, pa.float64(), safe=False).to_numpy().astype(np.float64)
    return _finite(name, values, lambda row: f"{values[row]:g}")


def present(column: Any) -> Any:
    """Arrow text without white space around it, and null where a cell says that there is no value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # By call_function, for type checkers do not know the functions that Arrow makes at run time.
    column = trimmed(column)
    lower = pc.call_function("utf8_lower", [column])
    gaps = pc.call_function("is_in", [lower], pc.SetLookupOptions(pa.array(MISSING)))
    return pc.call_function("if_else", [gaps, pa.scalar(None, pa.string()), column])


def _from_text(name: str, column: Any) -> Column | _Words | Fault | Unused:
    import pyarrow as pa
    import pyarrow.compute as pc

    for look in (lambda: column, lambda: present(column)):  # most columns of numbers need no second look
        try:
            values = np.asarray(pc.cast(look(), pa.float64()).to_numpy(), np.float64)
            return _finite(name, values, lambda row: column[row].as_py().strip(), "text")
        except pa.ArrowInvalid:
            continue
    encoded = present(column).combine_chunks().dictionary_encode()
    return _cleared(_Words.of(encoded.dictionary, encoded.indices.fill_null(-1).to_numpy().astype(np.int64)))


def _cleared(words: _Words) -> _Words | Fault:
    """The words without dashes for gaps and without one sign at all numbers, where that leaves numbers or dates."""
    if not words.mostly(brief(words.levels)):
        return words
    dash = dashes(words.levels)
    codes, levels, cleared = words.codes, words.levels, list[str]()
    if dash.any() and not dash.all():
        place = np.append(np.where(dash, -1, np.cumsum(~dash) - 1), -1)  # the last entry is that of code −1, a gap
        cleared.append(f'"{levels[int(np.argmax(dash))].as_py()}" is a gap')
        codes, levels = place[codes], levels.take(np.flatnonzero(~dash))
    sign, signed, bare = without_sign(levels)
    if sign:
        cleared.append(f'without "{sign}"')
    if not cleared:
        return words
    made = _Words.of(bare, codes, "; ".join(cleared), sign)
    if not made.mostly(made.as_point | made.as_comma):
        dates = None if sign else read_dates(levels)
        return words if dates is None or not made.mostly(~np.isnan(dates.days)) else made
    alone = ~signed & (made.as_point | made.as_comma)
    if sign and alone.any():
        row, cell = made.first(alone)
        with_sign = levels[int(np.argmax(signed))].as_py()
        return Fault(row, f'holds "{cell}" beside "{short(with_sign)}"; write "{sign}" in every cell or in none', cell)
    return made


def matching(texts: Any, pattern: str) -> np.ndarray:
    """(n,) which of some Arrow texts a pattern is found in."""
    import pyarrow.compute as pc

    found = pc.call_function("match_substring_regex", [texts], pc.MatchSubstringOptions(pattern))
    return found.to_numpy(zero_copy_only=False)


def _finite(name: str, values: np.ndarray, cell: Callable[[int], str], written: str = "") -> Column | Fault | Unused:
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        return _infinite(int(infinite[0]), cell(int(infinite[0])))
    if len(values) and np.isnan(values).all():
        return Unused("holds no value", 0, len(values))
    return Column(name, "number", values + 0.0, written=written, note=_rounded(name, values))


def _rounded(name: str, values: np.ndarray) -> str:
    """What is said of numbers of up to 64 bits that float64 does not tell apart."""
    largest = np.fmax.reduce(np.abs(values), initial=np.nan)  # NaN is a gap
    # At the limits too, which 2^53 + 1 and 2^64 − 1 are rounded to.
    if not 2**53 <= largest <= 2**64 or np.nanmax(values % 1) > 0:
        return ""
    return f'whole numbers beyond 2^53 lose their last digits; if it is an id, leave it out with --drop "{name}"'


def _infinite(row: int, cell: str) -> Fault:
    return Fault(row, f'is infinite ("{cell}"); replace the value or drop the row')


def _with_points(column: Column, cells: Any) -> Column | Fault | Unused:
    """A column that was read as plain numbers, in a table of decimal commas: its points may be between thousands."""
    texts = present(plain_type(cells)).combine_chunks()
    held = texts.drop_null()
    if not matching(held, r"\.").any() or not matching(held, COMMA).all():
        return column
    return _finite(column.name, as_numbers(texts, ","), lambda row: texts[row].as_py(), ",")


def as_numbers(texts: Any, mark: str) -> np.ndarray:
    """(n,) float64 of Arrow texts that match ``POINT`` or ``COMMA``, as the decimal mark says."""
    import pyarrow as pa
    import pyarrow.compute as pc

    groups = pc.ReplaceSubstringOptions(r"[ \x{a0}\x{202f}'’%s]" % ("." if mark == "," else ","), "")
    bare = pc.call_function("replace_substring_regex", [texts], groups)
    if mark == ",":
        bare = pc.call_function("replace_substring", [bare], pc.ReplaceSubstringOptions(",", "."))
    return np.asarray(pc.cast(bare, pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _of_words(name: str, words: _Words, mark: str, kept: bool) -> Column | Fault | Unused:
    """Words that are numbers or dates all the same, and words that are words."""
    point, comma = words.as_point, words.as_comma
    if (point | comma).all() and not point.all() and not comma.all():
        row, cell = words.first(~point)
        return Fault(
            row,
            f'holds "{cell}" beside "{words.first(~comma)[1]}": decimal points and decimal commas in one column; write '
            "all of them one way",
        )
    points, commas = words.counts[point].sum(), words.counts[comma].sum()
    # Its own cells decide, though there may be mistakes among them.
    mark = "," if commas > points else "." if points > commas else mark
    numeric = comma if mark == "," else point
    if numeric.all():
        values = np.append(as_numbers(words.levels, mark), np.nan)[words.codes]
        written = mark if mark == "," or matching(words.levels, _GROUPED).any() else "text"
        return _finite(name, values, lambda row: words.levels[int(words.codes[row])].as_py(), written)
    if words.mostly(numeric):
        return _mistake(words, numeric, "a number", mark)
    dates = read_dates(words.levels)
    if dates is None:
        return _category(name, words, kept, why_words(words.levels, words.mostly), _in_part_numbers(words, numeric))
    if words.mostly(good := ~np.isnan(dates.days)):
        if not good.all():
            return _mistake(words, good, "a date")
        if not dates.ambiguous:
            return Column(name, "date", np.append(dates.days, np.nan)[words.codes], written=dates.style)
    told = "day and month cannot be told apart; write 2024-01-31" if dates.ambiguous else ""
    return _category(name, words, kept, told)


def _mistake(words: _Words, good: np.ndarray, kind: str, mark: str = "") -> Fault:
    """The first of a few cells that are not what all others are."""
    import pyarrow as pa

    infinite = np.zeros(len(good), bool)
    if mark:
        infinite[good] = np.isinf(as_numbers(words.levels.filter(pa.array(good)), mark))
    row, cell = words.first(~good | infinite)
    if infinite[words.codes[row]]:
        return _infinite(row, cell)
    return Fault(row, f'holds "{cell}", which is not {kind}; correct the cell, or drop the row or the column', cell)


def _in_part_numbers(words: _Words, numeric: np.ndarray) -> str:
    """That most cells are numbers, with the first that is none; nothing where most are not."""
    right = int(words.counts[numeric].sum())
    if 2 * right <= int(words.counts.sum()):
        return ""
    return f'{plural(right, "cell")} are numbers, and others are not, such as "{words.first(~numeric)[1]}"'


def _category(name: str, words: _Words, kept: bool, note: str, numbers: str = "") -> Column | Unused:
    filled, missing = int(words.counts.sum()), int(np.count_nonzero(words.codes < 0))
    distinct = len(words.levels)
    alone = distinct == filled >= LEAST_IDS
    if not kept and alone and not matching(words.levels, r"\s").any() and not note:
        return Unused("has another code in every row", distinct, missing, "id")
    note = note or numbers
    if not kept and (alone or distinct > max(100, filled / 2)):
        reason = f"holds {distinct:,} different texts in {plural(filled, 'cell')}"
        return Unused(reason + (f" ({note})" if note else ""), distinct, missing, words=not note)
    return Column(name, "category", words.codes, tuple(words.levels.to_pylist()), note=note)
