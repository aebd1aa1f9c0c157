"""Numbers as the audit's sentences write them: few digits, real minus signs, no zero before the point of a share."""

from __future__ import annotations

import math


def share(value: float) -> str:
    """``77.4 %``; more digits close to 0 and 1, where one digit would round a difference away."""
    percent = 100 * value
    close = min(percent, 100 - percent)
    digits = 1 if close >= 1 or close <= 0 else 2
    return f"{percent:.{digits}f} %"


def decimal(value: float, *, sign: bool = False) -> str:
    """``.069``, ``−.079``, ``1.31``, with three digits that matter below 0.1 and two from 10 on."""
    if math.isnan(value):
        return "not known"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    digits = 2 if size >= 10 else 3 if size >= 0.01 or size == 0 else 4
    text = f"{size:.{digits}f}"
    if text.startswith("0."):
        text = text[1:]
    if not text.strip(".0"):
        return ".000" if digits == 3 else text
    return ("−" if value < 0 else "+" if sign else "") + text


def between(low: float, high: float, *, sign: bool = False) -> str:
    """``.061 to .077``."""
    return f"{decimal(low, sign=sign)} to {decimal(high, sign=sign)}"


def factor(value: float) -> str:
    """A temperature or another factor: ``1.25``, ``0.581``, ``0.00123``."""
    if value < 0.1:
        return f"{value:.3g}"
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def count(number: int) -> str:
    """``10,000``."""
    return f"{number:,}"


def many(number: int, one: str, more: str | None = None) -> str:
    """``1 row``, ``10,000 rows``."""
    return f"{count(number)} {one if number == 1 else more or one + 's'}"
