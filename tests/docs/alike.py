"""What a page shows and what a run prints: the same words, and numbers that differ by another machine's rounding."""

from __future__ import annotations

import math
import re

NUMBER = re.compile(r"[−+-]?(?:\d[\d,]*)?\.?\d+")


def differences(printed: str, shown: str, *, rel: float = 0.2, abs: float = 0.02) -> list[tuple[str, str]]:
    """Lines whose words differ, or whose numbers differ by more than these tolerances."""

    def alike(one: str, other: str) -> bool:
        numbers = [[float(each.replace(",", "").replace("−", "-")) for each in NUMBER.findall(t)] for t in (one, other)]
        return NUMBER.sub("#", one) == NUMBER.sub("#", other) and all(
            math.isclose(a, b, rel_tol=rel, abs_tol=abs) for a, b in zip(*numbers, strict=True)
        )

    lines = printed.rstrip().split("\n"), shown.rstrip().split("\n")
    if len(lines[0]) != len(lines[1]):
        return [(printed, shown)]
    return [(one, other) for one, other in zip(*lines, strict=True) if not alike(one, other)]
