"""Dates as people write them, into days: 2024-01-31, 31.01.2024, 01/31/2024, each with a time of day or without.

Whether 03/04/2024 is in March or in April is decided by the whole column: one day above 12 settles it.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

DAY = 86_400_000_000
"""Microseconds of a day."""

_TIME = (
    r"(?:[T ]+(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?P<fraction>\.[0-9]{1,9})?)?"
    r" ?(?P<half>[AaPp][Mm])?(?:Z|[+-]00:?00)?)?$"
)
_STYLES = (
    ("YYYY-MM-DD", r"^(?P<year>[0-9]{4})[-/](?P<month>[0-9]{1,2})[-/](?P<day>[0-9]{1,2})"),
    ("DD.MM.YYYY", r"^(?P<day>[0-9]{1,2})\.(?P<month>[0-9]{1,2})\.(?P<year>[0-9]{4})"),
    ("MM/DD/YYYY", r"^(?P<month>[0-9]{1,2})[-/](?P<day>[0-9]{1,2})[-/](?P<year>[0-9]{4})"),
)
_NOON = {"": (0, 24), "a": (0, 12), "p": (12, 12)}


@dataclass(frozen=True)
class Dates:
    """Texts as dates.

    Attributes:
        days: since the start of 1970, (n,), NaN where a text is no date of this style, or none of the calendar.
        style: how they are written: ``"YYYY-MM-DD"``, ``"DD.MM.YYYY"``, ``"MM/DD/YYYY"`` or ``"DD/MM/YYYY"``.
        ambiguous: whether days and months could change places.
    """

    days: np.ndarray
    style: str
    ambiguous: bool = False


def is_date(text: str) -> bool:
    """Whether a text is written as dates are.

    >>> is_date("31.1.2024"), is_date("1.5.2")
    (True, False)
    """
    return any(re.match(pattern + _TIME, text) for _, pattern in _STYLES)


def read_dates(texts: Any) -> Dates | None:
    """Different texts as dates of the style that most of them have; None where none of them is a date.

    Args:
        texts: an Arrow array of text without gaps.

    >>> import pyarrow as pa
    >>> read_dates(pa.array(["01/02/2024", "01/31/2024"]))
    Dates(days=array([19724., 19753.]), style='MM/DD/YYYY', ambiguous=False)
    >>> read_dates(pa.array(["01/02/2024", "03/04/2024"])).ambiguous
    True
    """
    found = {style: _count(texts, pattern) for style, pattern in _STYLES}
    style = max(found, key=found.__getitem__)
    if not found[style]:
        return None
    days = days_as(texts, style)
    if style != "MM/DD/YYYY":
        return Dates(days, style)
    swapped = days_as(texts, "DD/MM/YYYY")
    ours, theirs = (int(np.count_nonzero(~np.isnan(each))) for each in (days, swapped))
    same = np.array_equal(days, swapped, equal_nan=True)
    if theirs > ours:
        return Dates(swapped, "DD/MM/YYYY")
    return Dates(days, style, ambiguous=ours == theirs and not same)


def days_as(texts: Any, style: str) -> np.ndarray:
    """(n,) days since the start of 1970 of texts in one style of dates; NaN where a text is none.

    >>> import pyarrow as pa
    >>> days_as(pa.array(["01/02/1970", "1970-01-02"]), "DD/MM/YYYY")
    array([31., nan])
    """
    swapped = style == "DD/MM/YYYY"
    parts = _parts(texts, dict(_STYLES)["MM/DD/YYYY" if swapped else style] + _TIME)
    if swapped:
        parts = {**parts, "month": parts["day"], "day": parts["month"]}
    return _days(parts, len(texts))


def days_of(column: Any) -> np.ndarray:
    """(n,) days since the start of 1970 of an Arrow array of days or moments, NaN for gaps.

    >>> import pyarrow as pa
    >>> days_of(pa.array([0, 1_500, None], pa.timestamp("s"))) * 24 * 60
    array([ 0., 25., nan])
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    moments = pc.cast(pc.cast(column, pa.timestamp("us"), safe=False), pa.int64())
    return pc.cast(moments, pa.float64(), safe=False).to_numpy(zero_copy_only=False) / DAY


def _count(texts: Any, pattern: str) -> int:
    import pyarrow.compute as pc

    return pc.call_function("match_substring_regex", [texts], pc.MatchSubstringOptions(pattern)).true_count


def _parts(texts: Any, pattern: str) -> dict[str, Any]:
    """Year, month, day and the time of the texts that match, each (m,), and which texts these are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.call_function("extract_regex", [texts], pc.ExtractRegexOptions(pattern))
    rows = np.flatnonzero(found.is_valid().to_numpy(zero_copy_only=False))
    found = found.drop_null()

    def numbers(name: str) -> np.ndarray:
        cells = found.field(name)
        empty = pc.call_function("equal", [cells, pa.scalar("")])
        filled = pc.call_function("if_else", [empty, pa.scalar("0"), cells])
        return pc.cast(filled, pa.float64()).to_numpy(zero_copy_only=False)

    made: dict[str, Any] = {"rows": rows}
    made |= {name: numbers(name) for name in ("year", "month", "day", "hour", "minute", "second", "fraction")}
    made["half"] = [each[:1] for each in pc.call_function("utf8_lower", [found.field("half")]).to_pylist()]
    return made


def _days(parts: dict[str, Any], count: int) -> np.ndarray:
    """(count,) days; NaN where the calendar has no such day, or the clock no such time."""
    year, month, day = (parts[name].astype(np.int64) for name in ("year", "month", "day"))
    in_year = (year >= 1) & (month >= 1) & (month <= 12)
    first = ((year - 1970) * 12 + np.where(in_year, month, 1) - 1).astype("datetime64[M]")
    start = first.astype("datetime64[D]").astype(np.int64)
    length = (first + 1).astype("datetime64[D]").astype(np.int64) - start
    add, most = np.array([_NOON[half] for half in parts["half"]], np.int64).reshape(-1, 2).T
    hour = np.where((most == 12) & (parts["hour"] == 12), 0, parts["hour"])
    in_day = (hour < most) & (parts["minute"] < 60) & (parts["second"] < 60)
    seconds = (hour + add) * 3600 + parts["minute"] * 60 + parts["second"]
    moment = (start + day - 1) * DAY + seconds.astype(np.int64) * 1_000_000
    moment = moment + np.rint(parts["fraction"] * 1e6).astype(np.int64)
    days = np.full(count, np.nan)
    good = in_year & (day >= 1) & (day <= length) & in_day
    days[parts["rows"][good]] = moment[good] / DAY
    return days
