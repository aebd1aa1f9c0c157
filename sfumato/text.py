"""Words and numbers as every message, table and page writes them.

Numbers have few digits and real minus signs. Each form is defined here once.
"""

import math
import os
from collections.abc import Iterable, Sequence

NOT_APPLICABLE = "–"
_WHOLE = 1e7  # the least number that is written with an exponent


def nearest(word: str, names: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The name that a mistyped word is closest to, capitals aside; None where no name is close."""
    import difflib  # not above: every command imports this file, and few mistype

    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[close[0]] if close else None


def did_you_mean(word: str, names: Iterable[str], *, cutoff: float = 0.6) -> str:
    """A question with the nearest name, after a space; nothing where no name is near."""
    found = nearest(word, names, cutoff=cutoff)
    return "" if found is None else f' Did you mean "{found}"?'


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """The count with its noun."""
    more = nouns or f"{noun}{'es' if noun.endswith('s') else 's'}"
    return f"{count:,} {noun if count == 1 else more}"


def short(text: str, most: int = 40, *, end: str = "...") -> str:
    """A name or a cell, cut where it is too long for its place."""
    return text if len(text) <= most else text[: most - len(end)].rstrip() + end


def listing(names: Sequence[str], most: int = 20, *, longest: int = 40) -> str:
    """Names as one line, cut where there are too many to read."""
    shown = ", ".join(short(name, longest) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def wrapped(text: str, width: int, *, first: str = "", rest: str = "") -> str:
    """A paragraph for a terminal of so many columns, at least 40; ``first`` and ``rest`` begin its lines."""
    import textwrap  # not above: every command imports this file, and few need a paragraph

    return textwrap.fill(
        text, max(40, width), initial_indent=first, subsequent_indent=rest, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def joined(names: Sequence[str], word: str = "and") -> str:
    """Names as part of a sentence."""
    *most, last = names
    return f"{', '.join(most)} {word} {last}" if most else last


def typed_line(*words: str) -> str:
    """A command as a person types it in this system's shell; Windows quotes a word by double quotes alone."""
    if os.name == "nt":
        from subprocess import list2cmdline

        return list2cmdline(words)
    from shlex import join

    return join(words)


def one_line(error: BaseException, most: int = 200) -> str:
    """The kind and the text of somebody else's error, in one line."""
    text = short(" ".join(str(error).split()), most)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def duration(seconds: float) -> str:
    """A time for a person."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def number(value: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """A number as tables print it."""
    if value is None or math.isnan(value):
        return NOT_APPLICABLE
    size = abs(value)
    text = "∞" if math.isinf(value) else f"{size:.{digits}f}" if size < _WHOLE else f"{size:.3g}"
    if not text.strip(".0"):  # the number rounds to nothing, and neither sign would be true
        return text
    return ("−" if value < 0 else "+" if sign else "") + text


def percent(value: float | None) -> str:
    """A share as tables print it: ``96.1 %``, or a dash."""
    return NOT_APPLICABLE if value is None or math.isnan(value) else f"{100 * value:.1f} %"


def temperature(value: float | None) -> str:
    """A temperature as tables print it: ``1.62``, ``0.001``."""
    if value is None or math.isnan(value):
        return NOT_APPLICABLE
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def decimal(value: float, *, sign: bool = False) -> str:
    """A number as sentences print it: ``0.069``, ``−0.079``, ``1.31``; small ones get more digits, large ones fewer."""
    if math.isnan(value):
        return "not known"
    size = abs(value)
    digits = 2 if size >= 10 else 3 if size >= 0.01 or size == 0 else 4
    return number(value, digits, sign=sign)


def between(low: float, high: float, *, sign: bool = False) -> str:
    """The ends of an interval: ``0.061 to 0.077``."""
    return f"{decimal(low, sign=sign)} to {decimal(high, sign=sign)}"


def share(value: float) -> str:
    """A share as sentences print it: ``77.4 %``; near 0 and 1 a second digit keeps a difference from vanishing."""
    hundredths = 100 * value
    close = min(hundredths, 100 - hundredths)
    return f"{hundredths:.{1 if close >= 1 or close <= 0 else 2}f} %"


def factor(value: float) -> str:
    """A temperature or another factor: ``1.25``, ``0.581``, ``0.00123``."""
    if value < 0.1:
        return f"{value:.3g}"
    if value >= _WHOLE:
        return f"{value:.3g}"
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"
