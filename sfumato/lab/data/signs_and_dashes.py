"""What people write around numbers and instead of them: a currency or a per cent sign, and a dash for a gap.

A sign is taken off only where it stands at every number of a column, so that 5 and 5 % never count as equal. Whether a
dash is a gap is decided by the rest of its column: among words it may be a word.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from sfumato.text import joined

SIGNS = ("%", "€", "$", "£", "¥", "EUR", "USD", "GBP", "CHF", "JPY")

_LONGEST = 36  # bytes, of a date with a time, its fraction and its zone, or of an amount
_DASH = r"^(?:-{1,3}|–|—)$"
_SPACE = r"[ \x{a0}\x{202f}]*"
_BEFORE, _AFTER = r"^([+-]?)" + _SPACE + "%s" + _SPACE + r"([+-]?[0-9.,])", r"([0-9.,])" + _SPACE + "%s$"
_TWO_DIGIT_YEAR = r"^[0-9]{1,2}([./-])[0-9]{1,2}[./-][0-9]{2}(?:[T ].*)?$"


def brief(texts: Any) -> np.ndarray:
    """(n,) which texts are short enough to be an amount or a date; columns of longer ones need no closer look.

    >>> import pyarrow as pa
    >>> brief(pa.array(["31.01.24 10:00", "a sentence of quite a few words, and more"])).tolist()
    [True, False]
    """
    import pyarrow.compute as pc

    return pc.call_function("binary_length", [texts]).to_numpy() <= _LONGEST


def dashes(texts: Any) -> np.ndarray:
    """(n,) which texts are nothing but a dash.

    >>> import pyarrow as pa
    >>> dashes(pa.array(["-", "–", "-1", "a-b"])).tolist()
    [True, True, False, False]
    """
    return _matching(texts, _DASH)


def without_sign(texts: Any, only: str = "") -> tuple[str, np.ndarray, Any]:
    """The commonest sign, which texts have it before or after a number, and the texts without it; "" where none has.

    Args:
        texts: an Arrow array of text without gaps.
        only: the one sign that is looked for, instead of the commonest.

    >>> import pyarrow as pa
    >>> sign, signed, bare = without_sign(pa.array(["-€5", "€ 1,200", "7"]))
    >>> sign, signed.tolist(), bare.to_pylist()
    ('€', [True, True, False], ['-5', '1,200', '7'])
    """
    import pyarrow.compute as pc

    found = _signed(texts)
    sign = only or max(found, key=lambda each: np.count_nonzero(found[each]), default="")
    if sign not in found or not found[sign].any():
        return "", np.zeros(len(texts), bool), texts
    before, after = _around(sign)
    bare = pc.call_function("replace_substring_regex", [texts], pc.ReplaceSubstringOptions(before, r"\1\2"))
    bare = pc.call_function("replace_substring_regex", [bare], pc.ReplaceSubstringOptions(after, r"\1"))
    return sign, found[sign], bare


def why_words(texts: Any, mostly: Callable[[np.ndarray], bool]) -> str:
    """Why nearly all of a column's texts, which look like amounts or dates, are words all the same; or nothing.

    Args:
        texts: the different words of the column, an Arrow array.
        mostly: whether words, (n,), are all of the column but for a few mistakes.

    >>> import pyarrow as pa
    >>> why_words(pa.array(["€5", "$7"]), all)
    'its amounts have different signs, € and $; write all of them in one unit'
    """
    if not mostly(brief(texts)):
        return ""
    signed = {sign: found for sign, found in _signed(texts).items() if found.any()}
    if len(signed) > 1 and mostly(np.any(list(signed.values()), axis=0)):
        return f"its amounts have different signs, {joined(list(signed))}; write all of them in one unit"
    if mostly(two_digit_years(texts)):
        return "its years of two digits do not tell the century; write 2024-01-31"
    return ""


def two_digit_years(texts: Any) -> np.ndarray:
    """(n,) which texts look like days with a year of two digits, of which nobody can tell the century.

    >>> import pyarrow as pa
    >>> two_digit_years(pa.array(["31.01.24", "1/31/99 10:00", "2024-01-31"])).tolist()
    [True, True, False]
    """
    return _matching(texts, _TWO_DIGIT_YEAR)


def _signed(texts: Any) -> dict[str, np.ndarray]:
    """(n,) for each sign, which texts have it at a number; nothing, and that quickly, where no text holds a sign."""
    if not _matching(texts, "|".join(_literal(sign) for sign in SIGNS)).any():
        return {}
    return {sign: _matching(texts, "|".join(_around(sign))) for sign in SIGNS}


def _around(sign: str) -> tuple[str, str]:
    return _BEFORE % _literal(sign), _AFTER % _literal(sign)


def _literal(sign: str) -> str:
    return rf"\{sign}" if sign in "%$" else sign


def _matching(texts: Any, pattern: str) -> np.ndarray:
    import pyarrow.compute as pc

    found = pc.call_function("match_substring_regex", [texts], pc.MatchSubstringOptions(pattern))
    return found.to_numpy(zero_copy_only=False)
