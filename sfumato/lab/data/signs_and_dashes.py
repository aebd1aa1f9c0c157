"""What people write around numbers and instead of them: a currency or a per cent sign, and a dash for a gap.

A sign is taken off only where it stands at every number of a column, so that 5 and 5 % never count as equal. Whether a
dash is a gap is decided by the rest of its column: among words it may be a word.
"""

from typing import Any

import numpy as np

SIGNS = ("%", "€", "$", "£", "¥", "EUR", "USD", "GBP", "CHF", "JPY")

_DASH = r"^(?:-{1,3}|–|—)$"
_SPACE = r"[ \x{a0}\x{202f}]*"
_BEFORE, _AFTER = r"^([+-]?)" + _SPACE + "%s" + _SPACE + r"([+-]?[0-9.,])", r"([0-9.,])" + _SPACE + "%s$"
_TWO_DIGIT_YEAR = r"^[0-9]{1,2}([./-])[0-9]{1,2}[./-][0-9]{2}(?:[T ].*)?$"


def dashes(texts: Any) -> np.ndarray:
    """(n,) which texts are nothing but a dash.

    >>> import pyarrow as pa
    >>> dashes(pa.array(["-", "–", "-1", "a-b"])).tolist()
    [True, True, False, False]
    """
    return _matching(texts, _DASH)


def without_sign(texts: Any) -> tuple[str, np.ndarray, Any]:
    """The commonest sign, which texts have it before or after a number, and the texts without it; "" where none has.

    >>> import pyarrow as pa
    >>> sign, signed, bare = without_sign(pa.array(["-€5", "€ 1,200", "7"]))
    >>> sign, signed.tolist(), bare.to_pylist()
    ('€', [True, True, False], ['-5', '1,200', '7'])
    """
    import pyarrow.compute as pc

    nothing = "", np.zeros(len(texts), bool), texts
    if not _matching(texts, "|".join(_literal(sign) for sign in SIGNS)).any():
        return nothing
    found = {sign: _matching(texts, "|".join(_around(sign))) for sign in SIGNS}
    sign = max(found, key=lambda each: np.count_nonzero(found[each]))
    if not found[sign].any():
        return nothing
    before, after = _around(sign)
    bare = pc.call_function("replace_substring_regex", [texts], pc.ReplaceSubstringOptions(before, r"\1\2"))
    bare = pc.call_function("replace_substring_regex", [bare], pc.ReplaceSubstringOptions(after, r"\1"))
    return sign, found[sign], bare


def two_digit_years(texts: Any) -> np.ndarray:
    """(n,) which texts look like days with a year of two digits, of which nobody can tell the century.

    >>> import pyarrow as pa
    >>> two_digit_years(pa.array(["31.01.24", "1/31/99 10:00", "2024-01-31"])).tolist()
    [True, True, False]
    """
    return _matching(texts, _TWO_DIGIT_YEAR)


def _around(sign: str) -> tuple[str, str]:
    return _BEFORE % _literal(sign), _AFTER % _literal(sign)


def _literal(sign: str) -> str:
    return rf"\{sign}" if sign in "%$" else sign


def _matching(texts: Any, pattern: str) -> np.ndarray:
    import pyarrow.compute as pc

    found = pc.call_function("match_substring_regex", [texts], pc.MatchSubstringOptions(pattern))
    return found.to_numpy(zero_copy_only=False)
