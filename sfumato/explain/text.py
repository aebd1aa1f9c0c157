"""What a strength means, as numbers and as a table: pure arithmetic, no torch."""

import math
from typing import Any

from sfumato import conventions, theory
from sfumato.text import wrapped
from sfumato.theory import Over

SCHEMA = "sfumato.explain/1"

IDEALISED = (
    "These steps are idealised: gradient flow on the logits themselves, without a network, from equal logits and with "
    "step size 1."
)


def as_dict(classes: int, eps: float) -> dict[str, Any]:
    """The closed forms of both conventions, for K ``classes`` and a strength ε in [0, 1]; an infinite gap is None.

    >>> round(as_dict(10, 0.1)["all"]["gap"], 6)
    4.51086
    """
    return {"schema": SCHEMA, "classes": classes, "eps": eps, **{c: _numbers(classes, eps, c) for c in _OVERS}}


def as_text(classes: int, eps: float, width: int = 200) -> str:
    """The same, with formulas, conversions and times, as a table for a terminal of so many columns.

    >>> print(as_text(10, 0.1).splitlines()[0])
    K = 10 classes, strength ε = 0.1
    """
    columns = [_column(classes, eps, over) for over in _OVERS]
    labels = [
        "",
        "used by",
        "q of the label",
        "q of each other class",
        "gap at the optimum, nats",
        "floor of the loss, nats",
        "target also said as",
        "steps to 90 % of that gap",
        "steps to 99 % of that gap",
    ]
    growth = ", ".join(
        f"{gap:g} nats after {_count(theory.time_to_gap(gap, classes, eps=0.0, over='all'))}"
        for gap in (6.0, 8.0, 10.0)
    )
    in_torch = _over_all(classes, eps, "{:.6g}", "(no value up to 1)")
    return "\n".join(
        [
            f"K = {classes} classes, strength ε = {as_given(eps)}",
            "",
            *_table(labels, columns, width),
            "",
            "One-hot (ε = 0) has no finite optimum:",
            wrapped(f"its gap reaches {growth}.", width),
            wrapped(IDEALISED, width),
            wrapped(f"In torch: label_smoothing={in_torch} for {as_given(eps)} over the others.", width),
        ]
    )


def as_given(eps: float) -> str:
    """A strength as a person wrote it: 0.99999999995 is not 1, nor 0.1234567 six digits of it.

    >>> as_given(0.1), as_given(1.0), as_given(0.99999999995)
    ('0.1', '1', '0.99999999995')
    """
    text = f"{eps:g}"
    return text if float(text) == eps else repr(float(eps))


_OVERS: tuple[Over, ...] = ("others", "all")


def _table(labels: list[str], columns: list[list[str]], width: int) -> list[str]:
    """The columns side by side, or one below the other where they do not fit."""
    left, middle = max(map(len, labels)), max(map(len, columns[0]))
    lines = [
        f"{label:<{left}}  {first:<{middle}}  {second}".rstrip()
        for label, first, second in zip(labels, *columns, strict=True)
    ]
    if max(map(len, lines)) <= width:
        return lines
    below = [
        [wrapped(cell, width, first=f"{label:<{left}}  ", rest=" " * (left + 2)) for label, cell in rows]
        for rows in (zip(labels, column, strict=True) for column in columns)
    ]
    return [*below[0], "", *below[1]]


def _numbers(classes: int, eps: float, over: Over) -> dict[str, float | None]:
    true, other = conventions.CONVENTIONS[over].target(eps, classes)
    gap = theory.optimal_gap(eps, classes, over=over)
    floor = theory.loss_floor(eps, classes, over=over)
    return {"true": true, "other": other, "gap": gap if math.isfinite(gap) else None, "floor": floor}


def _column(classes: int, eps: float, over: Over) -> list[str]:
    convention = conventions.CONVENTIONS[over]
    true, other = convention.target(eps, classes)
    gap = theory.optimal_gap(eps, classes, over=over)
    floor = theory.loss_floor(eps, classes, over=over)
    if over == "others":
        same = _over_all(classes, eps, "ε = {:.6g} over all", "none over all")
    else:
        same = f"ε = {theory.convert_eps(eps, classes, frm='all', to='others'):.6g} over the others"
    return [
        f"over {'the others' if over == 'others' else 'all'}",
        ", ".join(convention.used_by[:4]),
        f"{convention.formula_true} = {true:.6g}",
        f"{convention.formula_other} = {other:.6g}",
        f"{convention.formula_gap} = {_finite(gap)}",
        f"{floor:.6g}",
        same,
        *(_steps(classes, eps, over, share * gap) for share in (0.9, 0.99)),
    ]


def _steps(classes: int, eps: float, over: Over, gap: float) -> str:
    # The optimum may be where descent begins: over the others at (K−1)/K, where the gap is 0 up to rounding.
    if gap == 0 or (over == "others" and abs(gap) < 1e-9):
        return "0.0"
    if not math.isfinite(gap):
        return "never: there is no optimum"
    return _count(theory.time_to_gap(gap, classes, eps=eps, over=over), unit="")


def _over_all(classes: int, eps: float, words: str, none: str) -> str:
    """In some words, the strength over all that is the same as one over the others; or that there is none."""
    try:
        return words.format(theory.convert_eps(eps, classes, frm="others", to="all"))
    except ValueError:
        return none


def _finite(value: float) -> str:
    if not math.isfinite(value):
        return "∞" if value > 0 else "−∞"
    return f"{round(value, 6) + 0.0:.6f}".replace("-", "−")


def _count(steps: float, unit: str = " steps") -> str:
    return f"{steps:,.1f}{unit}" if steps < 1e6 else f"{steps:.2e}{unit}"
