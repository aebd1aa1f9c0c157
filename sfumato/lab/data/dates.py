"""Dates as numbers of days: 2024-01-31, 31.01.2024, 01/31/2024, each with a time of day or without.

Each form is rewritten as ISO, which Arrow parses. Whether 03/04/2024 is in March or in April is decided by the whole
column: one day above 12 settles it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np

from sfumato.io.tables import matching

_DAY = 86_400_000_000  # microseconds
_TIME = r"(?:[T ]+[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:Z|[+-]00:?00)?)?$"
_FORMATS = {
    "YYYY-MM-DD": (r"^([0-9]{4})[-/]([0-9]{1,2})[-/]([0-9]{1,2})", r"\1-\2-\3"),
    "DD.MM.YYYY": (r"^([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{4})", r"\3-\2-\1"),
    "MM/DD/YYYY": (r"^([0-9]{1,2})[-/]([0-9]{1,2})[-/]([0-9]{4})", r"\3-\1-\2"),
    "DD/MM/YYYY": (r"^([0-9]{1,2})[-/]([0-9]{1,2})[-/]([0-9]{4})", r"\3-\2-\1"),
}
"""Each form of a date, and how it is rewritten as ISO."""


def date_format(texts: Any) -> tuple[str, bool]:
    """The form that most of the texts have, ``""`` if none is a date, and whether day and month could be exchanged.

    >>> import pyarrow as pa
    >>> date_format(pa.array(["01/02/2024", "01/31/2024"])), date_format(pa.array(["01/02/2024", "03/04/2024"]))
    (('MM/DD/YYYY', False), ('MM/DD/YYYY', True))
    """
    counts = {name: int(matching(texts, pattern).sum()) for name, (pattern, _) in _FORMATS.items()}
    best = max(counts, key=counts.__getitem__)
    if not counts[best]:
        return "", False
    if best != "MM/DD/YYYY":
        return best, False
    ours, theirs = (days_in(texts, name) for name in ("MM/DD/YYYY", "DD/MM/YYYY"))
    left, right = (int(np.isfinite(days).sum()) for days in (ours, theirs))
    return (best if left >= right else "DD/MM/YYYY"), left == right and not np.array_equal(ours, theirs, equal_nan=True)


def days_in(texts: Any, name: str) -> np.ndarray:
    """(n,) days since the start of 1970 of texts in one form; NaN where a text is not such a date.

    >>> import pyarrow as pa
    >>> days_in(pa.array(["01/02/1970", "1970-01-02", "31/2/1970"]), "DD/MM/YYYY")
    array([31., nan, nan])
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    pattern, order = _FORMATS[name]
    if name == "YYYY-MM-DD":
        try:
            return days_of(pc.cast(texts, pa.timestamp("us")))
        except pa.ArrowInvalid:  # a zone, a slash, a missing zero, or not a date
            pass
    good = matching(texts, pattern + _TIME)
    iso = texts.filter(pa.array(good))
    # The last two rewrite 2024-1-5 9:30 as 2024-01-05 09:30, and leave out the zone, which is UTC.
    for old, new in ((pattern, order), (r"([-T ])([0-9])\b", r"\10\2"), (r"(?:Z|[+-]00:?00)$", ""), ("[T ]+", " ")):
        iso = pc.call_function("replace_substring_regex", [iso], pc.ReplaceSubstringOptions(old, new))
    try:
        days = days_of(pc.cast(iso, pa.timestamp("us")))
    except pa.ArrowInvalid:  # the calendar has no such day, or the clock no such time
        held = [_is_moment(text) for text in iso.to_pylist()]
        good[good] = held
        days = days_of(pc.cast(iso.filter(pa.array(held, pa.bool_())), pa.timestamp("us")))
    found = np.full(len(texts), np.nan)
    found[good] = days
    return found


def days_of(column: Any) -> np.ndarray:
    """(n,) days since the start of 1970 of an Arrow array of days or moments, NaN for missing values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    moments = pc.cast(pc.cast(column, pa.timestamp("us"), safe=False), pa.int64())
    return pc.cast(moments, pa.float64(), safe=False).to_numpy(zero_copy_only=False) / _DAY


def _is_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
