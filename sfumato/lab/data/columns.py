"""What each column of a table holds: numbers, dates or categories, or why it is left out.

A column decides by all of its cells, so the order of rows changes nothing. Only a number such as 1,234, which may have
a decimal comma or a thousands separator, is decided by the rest of the table. A few cells among numbers are mistakes.
What is read in a way that may surprise, or is not read as what it looks like, has a warning with a code.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple

import numpy as np

from sfumato.io.tables import GROUPED, NUMBER, as_numbers, matching, pa, pc, plain_type, plainly, present
from sfumato.text import plural, short

MIN_IDS = 10  # rows from which on a column with another value in every row is taken for an id
_ID_NAME = re.compile(r"(?i:(?:^|[\W_])(?:id|uuid|guid|key|index|idx|nr|rowid|serial)$)|(?<=[a-z])I[Dd]$")
_GROUPS = {",": r"^[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+$", ".": r"^[+-]?[1-9][0-9]{0,2}(?:\.[0-9]{3})+$"}
_SIGN = r"(?:%|[€$£¥]|EUR|USD|GBP|CHF|JPY)"
_DATE = r"^[0-9]{1,4}[-./][0-9]{1,2}[-./][0-9]{1,4}"
_KEPT_AS_TEXT = (
    (rf"^[+-]?{_SIGN}\s*[+-]?[0-9.,]|[0-9.,]\s*{_SIGN}$", "a per cent or currency sign; write plain numbers"),
    (_DATE + r"[T ].*[AaPp][Mm]$", "times with AM and PM; write 2024-01-31 22:30"),
    (r"^[0-9]{1,2}([./-])[0-9]{1,2}[./-][0-9]{2}(?:[T ].*)?$", "years of two digits; write 2024-01-31"),
)
"""Amounts and dates that are not read, and why."""
_MARKS = {".": "point", ",": "comma"}
_UNIT = r"^([+-]?[0-9][0-9.,]*)\s*([^\s0-9]{1,6})$"
_LONGEST = 36  # bytes of an amount or a date
_CODE = r"^\s*0[0-9]{2,}\s*$"  # 00501, but not the hours of a day
_DAY = 86_400_000_000  # microseconds
_ZONE = r"(?: ?(?:Z|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?))?"
_TIME = rf"(?:[T ]+[0-9]{{1,2}}:[0-9]{{2}}(?::[0-9]{{2}}(?:\.[0-9]{{1,9}})?)?{_ZONE})?$"
_TO_UTC = (
    (r"([-T ])([0-9])\b", r"\10\2"),  # 2024-1-5 9:30
    (r"(?:UTC|GMT)$", "Z"),
    (r"(\.[0-9]{6})[0-9]+", r"\1"),
    (r"^(.{10})[T ]+", r"\1 "),
    (r" (Z|[+-].*)$", r"\1"),
    (r"^(.{10})$", r"\1 00:00"),
    (r"^(.{10} [0-9:.]+)$", r"\1Z"),
)
"""How a time with an ISO date is rewritten as ISO with a zone, which is UTC where none is given."""
_FORMATS = {
    "YYYY-MM-DD": (r"^([0-9]{4})[-/]([0-9]{1,2})[-/]([0-9]{1,2})", r"\1-\2-\3"),
    "DD.MM.YYYY": (r"^([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{4})", r"\3-\2-\1"),
    "MM/DD/YYYY": (r"^([0-9]{1,2})[-/]([0-9]{1,2})[-/]([0-9]{4})", r"\3-\1-\2"),
    "DD/MM/YYYY": (r"^([0-9]{1,2})[-/]([0-9]{1,2})[-/]([0-9]{4})", r"\3-\2-\1"),
}
"""Each form of a date, and how it is rewritten as ISO, which Arrow parses."""


@dataclass(frozen=True, eq=False)
class Column:
    """One column of N rows.

    ``values`` are (N,) float64, NaN where a number is missing, and dates are days since the start of 1970. Those of a
    category are (N,) int64, indices into ``levels``, −1 where the cell is missing.
    """

    name: str
    kind: Literal["number", "category", "date"]
    values: np.ndarray
    levels: tuple[str, ...] = ()  # the different texts of a category
    written: str = ""  # the form of dates; of numbers ",", "1,234.5" or "1.234,5" where they are not as Python's
    note: str = ""  # what a reader should know of the column
    code: str = ""  # of a warning, where the note is one

    def __len__(self) -> int:
        return len(self.values)

    @property
    def missing(self) -> np.ndarray:
        """(N,) whether a cell is missing."""
        return self.values < 0 if self.kind == "category" else np.isnan(self.values)

    @property
    def distinct(self) -> int:
        """Different values, missing ones aside."""
        if self.kind == "category":
            return len(self.levels)
        ordered = np.sort(self.values)
        return int(np.count_nonzero(ordered[1:] > ordered[:-1])) + int(not np.isnan(ordered[0]))

    def content(self) -> np.ndarray:
        """(N,) uint64: numbers by their bits, categories by their letters."""
        if self.kind == "category":
            digests = [hashlib.blake2b(level.encode(), digest_size=8).digest() for level in self.levels]
            return np.frombuffer(b"\0" * 8 + b"".join(digests), "<u8")[self.values + 1]
        return np.where(np.isnan(self.values), np.nan, self.values + 0.0).astype("<f8").view("<u8")

    def line(self) -> ColumnLine:
        """The line of a column that is used as a feature."""
        form = {",": "decimal comma", "1,234.5": "commas in groups of digits", "1.234,5": "points in groups of digits"}
        form = form.get(self.written, "")
        if self.kind == "date":
            form = f"{self.written}, counted in days" if self.written else "counted in days"
        notes = [form, self.note, "one value only" if self.distinct == 1 else ""]
        missing = int(np.count_nonzero(self.missing))
        return ColumnLine(self.name, self.kind, self.distinct, missing, "; ".join(note for note in notes if note))


@dataclass(frozen=True)
class ColumnLine:
    """How one column was read, for a person."""

    name: str
    read_as: str  # a kind, "text", "id", "label", "left out", or the option that gave it another role, as "weight"
    distinct: int  # different values, missing ones aside
    missing: int
    note: str = ""  # how it is written, or why it is left out


class Fault(NamedTuple):
    """A cell that keeps a column from being used: its row, what is wrong with the way out, and what it holds."""

    row: int
    text: str
    cell: str = ""


@dataclass(frozen=True)
class Unused:
    """A column that is left out."""

    reason: str  # a verb with its object
    distinct: int
    missing: int
    read_as: str = "left out"  # or "id"
    text: bool = False  # whether it may be text for --text
    note: str = ""  # what it looks like
    code: str = ""  # of a warning, where the note is one


class _Texts:
    """A column of text that is not of plain numbers."""

    def __init__(self, column: Any) -> None:
        encoded = present(plain_type(column)).combine_chunks().dictionary_encode()
        self.levels = encoded.dictionary  # its different texts
        self.codes = encoded.indices.fill_null(-1).to_numpy().astype(np.int64)  # which one each cell holds; −1: none
        self.counts = np.bincount(self.codes + 1)[1:]
        self.plain = plainly(self.levels)
        self.numeric = {mark: matching(self.plain, NUMBER[mark]) for mark in ".,"}  # by decimal mark
        self.grouped = {mark: matching(self.plain, GROUPED[mark]) for mark in ".,"}

    def proves_comma(self) -> bool:
        """Whether all cells are numbers with decimal commas that cannot be thousands separators."""
        return bool(self.numeric[","].all() and not self.numeric["."].all() and not self.in_groups(","))

    def in_groups(self, mark: str) -> bool:
        """Whether every mark may separate thousands."""
        return bool((matching(self.plain, _GROUPS[mark]) | ~matching(self.plain, re.escape(mark))).all())

    def numbers(self, own: str) -> tuple[str, bool, np.ndarray, str]:
        """The decimal mark, whether the other mark separates thousands, which levels are numbers, and a doubt.

        Thousands are proved by two groups of digits, by a group before decimals, and by other decimals in the column;
        else a mark that may be either is decimal if it is the table's ``own``.
        """
        good, proved = dict(self.numeric), dict[str, bool]()
        for mark, other in (".,", ",."):
            decimal = self.numeric[mark].any() and not self.in_groups(mark)
            groups = self.grouped[mark] & (matching(self.plain, rf"[{other}][0-9]{{3}}[{other}{mark}]") | decimal)
            proved[mark] = bool(groups.any())
            good[mark] = good[mark] | self.grouped[mark] & proved[mark]
        points, commas = (self.counts[good[mark]].sum() for mark in ".,")
        mark = "," if commas > points else "."
        marked = matching(self.plain, re.escape(mark))
        if proved[mark] or not marked.any() or not self.in_groups(mark):
            return mark, proved[mark], good[mark], ""
        if mark != own:
            return own, True, self.numeric[own] & ~marked | self.grouped[own], ""
        small = matching(self.plain, r"^[+-]?[1-9][0-9]{0,2}$")
        doubt = small.any() and (small | marked | matching(self.plain, "^0$") | ~good[mark]).all()
        return mark, False, good[mark], self.first(marked)[1] if doubt else ""

    def mostly(self, good: np.ndarray) -> bool:
        """Whether all cells but a few mistakes hold good levels."""
        right, wrong = int(self.counts[good].sum()), int(self.counts[~good].sum())
        return wrong < right and wrong <= max(3, (right + wrong) / 100)

    def first(self, levels: np.ndarray) -> tuple[int, str]:
        """The first row that holds one of some levels, and the level."""
        row = int(np.argmax(np.append(levels, False)[self.codes]))
        return row, short(self.levels[int(self.codes[row])].as_py())


def read_columns(
    columns: Mapping[str, Any], keep: frozenset[str], *, comma: bool = False
) -> dict[str, Column | Fault | Unused]:
    """Columns as numbers, dates or categories, or as what keeps them from being either."""
    looked = {name: _typed(name, column) for name, column in columns.items()}
    comma = comma or any(isinstance(each, _Texts) and each.proves_comma() for each in looked.values())
    read: dict[str, Column | Fault | Unused] = {}
    for name, each in looked.items():
        if isinstance(each, Column) and _may_hold_thousands(columns[name]):
            each = _Texts(columns[name])
        if isinstance(each, _Texts):
            each = _from_levels(name, each, comma, name in keep)
        if isinstance(each, Column) and each.kind == "number" and name not in keep and is_id(each.values, name):
            each = Unused("has another whole number in every row", len(each.values), 0, "id")
        read[name] = each
    return read


def values_of(column: Any) -> tuple[str, np.ndarray] | None:
    """``"date"`` or ``"number"`` (``""`` for nulls alone) and (n,) float64 of a column with a type; None for others."""
    kind = column.type
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return "date", days_of(column)
    if pa.types.is_boolean(kind):
        column = pc.cast(column, pa.uint8())
    elif not any(of(kind) for of in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_null)):
        return None
    values = pc.cast(column, pa.float64(), safe=False)
    values = values.to_numpy(zero_copy_only=False) if isinstance(values, pa.Array) else values.to_numpy()
    return "" if pa.types.is_null(kind) else "number", values.astype(np.float64)


def is_id(values: np.ndarray, name: str) -> bool:
    """Whether a column of numbers counts or names its rows: whole numbers that never repeat, where chance would.

    Of n whole numbers from a range of R, some are equal but for a chance of e^(−n²/2R); from n² > 10·R on, a column
    without equal numbers was numbered, not measured. A name such as ``customer_id`` is reason enough.
    """
    if len(values) < MIN_IDS or any(not (part == np.rint(part)).all() for part in (values[:1000], values)):
        return False
    ordered = np.sort(values)
    if (ordered[1:] == ordered[:-1]).any():
        return False
    return len(values) ** 2 > 10 * float(ordered[-1] - ordered[0] + 1) or _ID_NAME.search(name) is not None


def _typed(name: str, column: Any) -> Column | _Texts | Fault | Unused:
    """What a column is by itself; texts are left for the whole table to explain."""
    column = plain_type(column)
    kind = column.type
    if pa.types.is_string(kind):
        for look in (lambda: column, lambda: present(column)):  # most columns of numbers need no second look
            try:
                values = np.asarray(pc.cast(look(), pa.float64()).to_numpy(), np.float64)
                return _without_zeros(_finite(name, values, lambda row: column[row].as_py().strip()), column)
            except pa.ArrowInvalid:
                continue
        return _Texts(column)
    if column.null_count == len(column):
        return Unused("holds no value", 0, len(column))
    if (found := values_of(column)) is None:
        return Unused(f"holds values of type {kind}", 0, column.null_count)
    read_as, values = found
    return Column(name, "date", values) if read_as == "date" else _finite(name, values, lambda row: f"{values[row]:g}")


def _may_hold_thousands(column: Any) -> bool:
    """Whether plain numbers have points that may separate thousands: 1.234 in a table of decimal commas."""
    column = plain_type(column)
    if not pa.types.is_string(column.type) or not _Texts(column.slice(0, 1000)).in_groups("."):
        return False  # of most columns, the first thousand cells decide
    return bool(matching(column, r"\.").any()) and _Texts(column).in_groups(".")


def _without_zeros(read: Column | Fault | Unused, column: Any) -> Column | Fault | Unused:
    """A column that was read, with a warning where text such as 00501 lost its zeros."""
    if not isinstance(read, Column) or read.note or np.nanmax(read.values % 1) > 0:
        return read
    codes = matching(column, _CODE)
    if not codes.any():
        return read
    row = int(np.argmax(codes))
    cell = column[row].as_py().strip()
    note = (
        f'"{short(cell)}" is read as the number {read.values[row]:g}, without its zeros; if it is a code, put a letter '
        f'before each, or leave the column out with --drop "{read.name}"'
    )
    return replace(read, note=note, code="leading-zeros")


def _finite(name: str, values: np.ndarray, cell: Callable[[int], str], written: str = "") -> Column | Fault | Unused:
    if len(infinite := np.flatnonzero(np.isinf(values))):
        row = int(infinite[0])
        return Fault(row, f'is infinite ("{cell(row)}"); replace the value or drop the row')
    if len(values) and np.isnan(values).all():
        return Unused("holds no value", 0, len(values))
    note, largest = "", np.fmax.reduce(np.abs(values), initial=np.nan)  # NaN is a missing value
    if 2**53 <= largest <= 2**64 and not np.nanmax(values % 1) > 0:  # 2^53 + 1 and 2^64 − 1 are rounded to the limits
        note = f'whole numbers beyond 2^53 lose their last digits; if it is an id, leave it out with --drop "{name}"'
    return Column(name, "number", values + 0.0, written=written, note=note, code="digits-lost" if note else "")


def _from_levels(name: str, texts: _Texts, comma: bool, kept: bool) -> Column | Fault | Unused:
    """Texts as numbers or dates where all of them are, a mistake where nearly all are, and else as a category."""
    mark, grouped, numeric, doubt = texts.numbers("," if comma else ".")
    if numeric.all():
        values = np.append(as_numbers(texts.plain, mark, grouped=grouped), np.nan)[texts.codes]
        written = ("1,234.5" if mark == "." else "1.234,5") if grouped else mark.strip(".")
        read = _finite(name, values, lambda row: texts.levels[int(texts.codes[row])].as_py(), written)
        if doubt and isinstance(read, Column):
            whole = re.sub("[.,]", "", doubt)
            note = f'"{doubt}" is read with a decimal {_MARKS[mark]}; if {whole} is meant, write it without a separator'
            return replace(read, note=note, code="thousands-or-decimals")
        return read
    if texts.mostly(numeric):
        row, cell = texts.first(~numeric)
        other = (texts.numeric["," if mark == "." else "."] & ~numeric).any()
        decimal = f" with a decimal {_MARKS[mark]}, as others are" if other else ""
        way_out = "correct the cell, or drop the row or the column"
        return Fault(row, f'holds "{cell}", which is not a number{decimal}; {way_out}', cell)
    form, ambiguous = date_format(texts.levels)
    days = days_in(texts.levels, form) if form else np.full(len(texts.levels), np.nan)
    good = np.isfinite(days)
    if form and not ambiguous and texts.mostly(good):
        if good.all():
            return Column(name, "date", np.append(days, np.nan)[texts.codes], written=form)
        row, cell = texts.first(~good)
        return Fault(row, f'holds "{cell}", which is not a date; correct the cell, or drop the row or the column', cell)
    reason = "day and month are ambiguous; write 2024-01-31" if ambiguous else _reason_kept_as_text(texts, numeric)
    filled, missing = int(texts.counts.sum()), int(np.count_nonzero(texts.codes < 0))
    note, code = f"kept as text: {reason}" if reason else "", "kept-as-text" if reason else ""
    for kind, right in (("numbers", numeric), ("dates", good)):
        count = int(texts.counts[right].sum())
        if not note and 2 * count > filled:
            others = f'others are not, such as "{texts.first(~right)[1]}"'
            note, code = f"{plural(count, 'cell')} are {kind}, and {others}", "mixed-values"
    distinct = len(texts.levels)
    alone = distinct == filled >= MIN_IDS
    if not kept and alone and not matching(texts.levels, r"\s").any() and not reason:
        return Unused("has another code in every row", distinct, missing, "id")
    if not kept and (alone or distinct > max(100, filled / 2)):
        held = f"holds {distinct:,} different texts in {plural(filled, 'cell')}"
        return Unused(held, distinct, missing, text=not note, note=note, code=code)
    return Column(name, "category", texts.codes, tuple(texts.levels.to_pylist()), note=note, code=code)


def _reason_kept_as_text(texts: _Texts, numeric: np.ndarray) -> str:
    """Why texts that look like amounts or dates are not read as such; ``""`` where they do not."""
    if not texts.mostly(pc.binary_length(texts.levels).to_numpy() <= _LONGEST):
        return ""
    for pattern, reason in _KEPT_AS_TEXT:
        found = matching(texts.levels, pattern)
        if found.any() and texts.mostly(found | numeric):
            return reason
    found = matching(texts.levels, _UNIT)
    if len(texts.levels) >= MIN_IDS and texts.mostly(found | numeric):
        units = pc.unique(pc.replace_substring_regex(texts.levels.filter(pa.array(found & ~numeric)), _UNIT, r"\2"))
        if len(units) == 1:
            return f'the unit "{units[0].as_py()}"; write plain numbers'
    return ""


def date_format(texts: Any) -> tuple[str, bool]:
    """The form that most of the texts have, ``""`` if none is a date, and whether day and month could be exchanged.

    Whether 03/04/2024 is in March or in April is decided by the whole column: one day above 12 settles it.
    """
    counts = {name: int(matching(texts, pattern).sum()) for name, (pattern, _) in _FORMATS.items()}
    best = max(counts, key=counts.__getitem__)
    if not counts[best] or best != "MM/DD/YYYY":
        return best if counts[best] else "", False
    ours, theirs = (days_in(texts, name) for name in ("MM/DD/YYYY", "DD/MM/YYYY"))
    left, right = (int(np.isfinite(days).sum()) for days in (ours, theirs))
    return (best if left >= right else "DD/MM/YYYY"), left == right and not np.array_equal(ours, theirs, equal_nan=True)


def days_in(texts: Any, name: str) -> np.ndarray:
    """(n,) days since the start of 1970 of texts in one form; NaN where a text is not such a date."""
    pattern, order = _FORMATS[name]
    for zone in (None, "UTC") if name == "YYYY-MM-DD" else ():
        with suppress(pa.ArrowInvalid):  # a slash, a missing zero, or not a date
            return days_of(pc.cast(texts, pa.timestamp("us", zone)))
    good = matching(texts, pattern + _TIME)
    iso = texts.filter(pa.array(good))
    for old, new in ((pattern, order), *_TO_UTC):
        iso = pc.replace_substring_regex(iso, old, new)
    try:
        days = days_of(pc.cast(iso, pa.timestamp("us", "UTC")))
    except pa.ArrowInvalid:  # the calendar has no such day, or the clock no such time
        held = [_is_moment(text) for text in iso.to_pylist()]
        good[good] = held
        days = days_of(pc.cast(iso.filter(pa.array(held, pa.bool_())), pa.timestamp("us", "UTC")))
    found = np.full(len(texts), np.nan)
    found[good] = days
    return found


def days_of(column: Any) -> np.ndarray:
    """(n,) days since the start of 1970 of an Arrow array of days or moments, NaN for missing values."""
    moments = pc.cast(pc.cast(column, pa.timestamp("us"), safe=False), pa.int64())
    return pc.cast(moments, pa.float64(), safe=False).to_numpy(zero_copy_only=False) / _DAY


def _is_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
