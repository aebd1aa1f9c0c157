"""Writes mpmath_rows.jsonl: exact losses and gradients of single rows, at 60 digits.

    python tests/golden/make_mpmath_rows.py

Logits are not stored but drawn again by :func:`logits_of` from raw PCG64 words, a stream that NumPy keeps for good, so
that the file stays small at K = 100,000. ``test_reference.py`` fails if the file and this script part ways.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import mpmath
import numpy as np

FILE = Path(__file__).with_name("mpmath_rows.jsonl")
EPS = (0.0, 1e-8, 0.05, 0.1, 0.5, 1.0)
SHAPES = ("plain", "right", "wrong", "flat")


def logits_of(row: dict[str, Any]) -> np.ndarray:
    """The logits of one row: uniform in ±scale around an offset; then the label, or another class, far ahead."""
    words = np.random.PCG64(row["seed"]).random_raw(row["k"])
    unit = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    z = (2 * unit - 1) * row["scale"]
    if row["shape"] == "flat":
        z[:] = z[0]
    z = z + row["offset"]
    winner = {"right": row["label"], "wrong": (row["label"] + 1) % row["k"]}.get(row["shape"])
    if winner is not None:
        z[winner] = z.max() + row["ahead"]
    return z


def specs() -> list[dict[str, Any]]:
    """Every row's description, in a fixed order."""
    rows: list[dict[str, Any]] = []
    small = itertools.product((2, 3, 10, 1000), EPS, ("others", "all"), SHAPES, ((1.0, 0.0), (30.0, 0.0), (1e4, 0.0)))
    large = itertools.product((100_000,), EPS, ("others", "all"), ("plain", "right"), ((5.0, 0.0), (1e4, 0.0)))
    offsets = itertools.product((2, 10, 1000), (0.1, 1.0), ("others", "all"), SHAPES, ((3.0, 9e3), (3.0, -9e3)))
    for number, (k, eps, over, shape, (scale, offset)) in enumerate(itertools.chain(small, large, offsets)):
        label = (number * 7919) % k
        ahead = (0.0, 5.0, 40.0, 800.0)[number % 4]
        rows.append(
            {"k": k, "eps": eps, "over": over, "shape": shape, "scale": scale, "offset": offset,
             "ahead": ahead, "seed": 1000 + number, "label": label}
        )  # fmt: skip
    return rows


def truth(row: dict[str, Any]) -> dict[str, str]:
    """Loss and three entries of the gradient, from the definition, at 60 digits."""
    mpmath.mp.dps = 60
    k, y, e = row["k"], row["label"], mpmath.mpf(row["eps"])
    true, other = (1 - e, e / (k - 1)) if row["over"] == "others" else (1 - e + e / k, e / k)
    z = [mpmath.mpf(float(v)) for v in logits_of(row)]
    top = max(range(k), key=z.__getitem__)
    # Everything relative to the maximum, which stays out of the sum: 60 digits of 1 + 1e-206 would be 1.
    d = [v - z[top] for v in z]
    rest = mpmath.fsum(mpmath.exp(d[i]) for i in range(k) if i != top)
    lse = mpmath.log1p(rest)
    loss = true * (lse - d[y]) + other * ((k - 1) * lse - (mpmath.fsum(d) - d[y]))

    def gradient(i: int) -> mpmath.mpf:
        return mpmath.exp(d[i] - lse) - (true if i == y else other)

    entries = {"grad_label": gradient(y), "grad_top": gradient(top), "grad_next": gradient((y + 1) % k)}
    return {"loss": mpmath.nstr(loss, 25), **{name: mpmath.nstr(value, 25) for name, value in entries.items()}}


if __name__ == "__main__":
    lines = [json.dumps({**row, **truth(row)}, separators=(",", ":")) for row in specs()]
    FILE.write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} rows in {FILE.name}")
