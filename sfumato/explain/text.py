"""What a strength means, alone and from one framework to another, as numbers and as text: arithmetic, without torch."""

import math
from typing import Any

from sfumato import theory
from sfumato.conventions import CONVENTIONS, FORMULAS, Convention, Conversion, ConversionError, Formula, convert, find
from sfumato.text import wrapped
from sfumato.theory import Over

SCHEMA = "sfumato.explain/1"

IDEALISED = (
    "These steps are idealised: gradient flow on the logits themselves, without a network, from equal logits and with "
    "step size 1."
)


def as_dict(classes: int, eps: float) -> dict[str, Any]:
    """The closed forms of both conventions, for K ``classes`` and a strength ε in [0, 1]; an infinite gap is None."""
    return {"schema": SCHEMA, "classes": classes, "eps": eps, **{c: _numbers(classes, eps, c) for c in CONVENTIONS}}


def as_text(classes: int, eps: float, width: int = 200) -> str:
    """The same, with formulas, conversions and times, as a table for a terminal of so many columns."""
    columns = [_column(classes, eps, over) for over in CONVENTIONS]
    growth = ", ".join(
        f"{gap:g} nats after {_count(theory.time_to_gap(gap, classes, eps=0.0, over='all'))}"
        for gap in (6.0, 8.0, 10.0)
    )
    in_torch = _over_all(classes, eps, "{:.6g}", "(no value up to 1)")
    below = (
        f"its gap reaches {growth}.",
        IDEALISED,
        f"In torch: label_smoothing={in_torch} for {as_given(eps)} over the others.",
    )
    head = [f"K = {classes} classes, strength ε = {as_given(eps)}", ""]
    one_hot = ["", "One-hot (ε = 0) has no finite optimum:"]
    return "\n".join([*head, *_table(columns, width), *one_hot, *(wrapped(each, width) for each in below)])


def as_given(eps: float) -> str:
    """A strength as a person wrote it: 0.99999999995 is not 1, nor 0.1234567 six digits of it."""
    text = f"{eps:g}"
    return text if float(text) == eps else repr(float(eps))


def conversion_dict(classes: int, eps: float, frm: str, to: str) -> dict[str, Any]:
    """The closed forms, and ε and target in ``to``, where a row's loss is scale · (its loss in ``frm``) + offset."""
    c = convert(eps, classes, frm=frm, to=to)
    target, loss = list(_spread(c.to).target(c.to_eps, classes)), {"scale": c.scale, "offset": c.offset}
    told = {"in": c.frm.key, "to": c.to.key, "eps": c.to_eps, "target": target, "loss": loss}
    return {**as_dict(classes, eps), "conversion": told}


def conversion_text(classes: int, eps: float, frm: str, to: str, *, width: int = 200) -> str:
    """How two frameworks say the same target, as text for a terminal of so many columns."""
    c = convert(eps, classes, frm=frm, to=to)
    name = max(len(c.frm.name), len(c.to.name), len("in sfumato"))
    lines = [f"{as_given(eps)} in {c.frm.name} is {c.to_eps:.6g} in {c.to.name}, at K = {classes} classes", ""]
    told = list[tuple[str, str]]()
    for formula, strength in ((c.frm, eps), (c.to, c.to_eps)):
        spread = _spread(formula)
        true, other = (f"{q:.6g}" for q in spread.target(strength, classes))
        on = f"{spread.formula_true} = {true} on the label, {spread.formula_other} = {other} on each other class"
        told.append((formula.name, on))
    told += [("loss", _relation(c)), ("in sfumato", _in_sfumato(c))]
    told += [("mind", f"{f.name}: {f.defect}") for f in (c.frm, c.to) if f.defect]
    lines += [wrapped(text, width, first=f"{what:<{name}}  ", rest=" " * (name + 2)) for what, text in told]
    return "\n".join(lines)


def conversions_text(classes: int, eps: float, frm: str, *, width: int = 100) -> str:
    """What every framework needs for the target that ``frm`` has at ε, a paragraph per strength, in so many columns."""
    source, found = find(frm), _in_each(classes, eps, frm)
    same: dict[float, list[str]] = {}
    for key, strength in found.items():
        if strength is not None and key != source.key:
            same.setdefault(round(strength, 12), []).append(key)
    none = [key for key, strength in found.items() if strength is None]
    lines = [f"{as_given(eps)} in {source.name}, at K = {classes} classes, is the same target as", ""]
    told = [(f"{strength:.6g}", same[strength]) for strength in sorted(same)]
    told += [("cannot be", none)] if none else []
    lines += [wrapped(", ".join(keys), width, first=f"  {what:<10}  ", rest=" " * 14) for what, keys in told]
    way_on = "Add --to with one of these for how the losses relate, or why it cannot be."
    return "\n".join([*lines, "", wrapped(way_on, width)])


def conversions_dict(classes: int, eps: float, frm: str) -> dict[str, Any]:
    """The same as data: ``"conversion": {"in", "to": {KEY: ε or None}}``; None where it cannot be."""
    return {**as_dict(classes, eps), "conversion": {"in": find(frm).key, "to": _in_each(classes, eps, frm)}}


_LABELS = (
    "", "used by", "q of the label", "q of each other class", "gap at the optimum, nats", "floor of the loss, nats",
    "target also said as", "steps to 90 % of that gap", "steps to 99 % of that gap",
)  # fmt: skip


def _table(columns: list[list[str]], width: int) -> list[str]:
    """The columns side by side, or one below the other where they do not fit."""
    labels = _LABELS
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
    true, other = CONVENTIONS[over].target(eps, classes)
    gap = theory.optimal_gap(eps, classes, over=over)
    floor = theory.loss_floor(eps, classes, over=over)
    return {"true": true, "other": other, "gap": gap if math.isfinite(gap) else None, "floor": floor}


def _column(classes: int, eps: float, over: Over) -> list[str]:
    convention = CONVENTIONS[over]
    true, other = convention.target(eps, classes)
    gap = theory.optimal_gap(eps, classes, over=over)
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
        f"{theory.loss_floor(eps, classes, over=over):.6g}",
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


def _in_each(classes: int, eps: float, frm: str) -> dict[str, float | None]:
    """The strength that each framework needs for the same target; None where a framework cannot express it."""
    source = find(frm)
    # This refuses ε and K out of range, and a target that no single strength describes.
    convert(eps, classes, frm=source, to=source)
    found: dict[str, float | None] = {}
    for key, formula in FORMULAS.items():
        try:
            found[key] = convert(eps, classes, frm=source, to=formula).to_eps
        except ConversionError:
            found[key] = None
    return found


def _spread(formula: Formula) -> Convention:
    assert formula.convention is not None, "it was converted"
    return formula.convention


def _relation(c: Conversion) -> str:
    scale = "" if abs(c.scale - 1) < 1e-12 else f"{c.scale:.6g} × "
    offset = "" if abs(c.offset) < 1e-12 else f" {'+' if c.offset > 0 else '−'} {abs(c.offset):.6g}"
    if not scale and not offset:
        return "a row's loss is the same number in both"
    return f"a row's loss in {c.to.name} is {scale}that in {c.frm.name}{offset}"


def _in_sfumato(c: Conversion) -> str:
    spread = _spread(c.frm)
    if spread.space == "sigmoid":
        return "none: K sigmoids, and sfumato's loss is of one softmax"
    if spread.space == "softmax without padding":
        return f'sf.smooth(labels, {c.num_classes}, {as_given(c.eps)}, over="others", support=every class but padding)'
    true, other = spread.optimum(c.eps, c.num_classes)
    for over in (CONVENTIONS["all"], CONVENTIONS["others"]):
        if spread is over or spread.name not in ("all", "others"):
            try:
                strength = over.strength(true, other, c.num_classes)
            except ConversionError:
                continue
            mass = spread.mass(c.eps, c.num_classes)
            times = "" if mass == 1 else f", times {mass:.6g}"
            return f'label_smoothing={strength:.6g}, over="{over.name}"{times}'
    raise AssertionError(spread.name)
