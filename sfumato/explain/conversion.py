"""One framework's strength in another's words, as numbers and as text: pure arithmetic, no torch."""

from typing import Any

from sfumato.conventions import FORMULAS, Conversion, ConversionError, Formula, convert, find
from sfumato.conventions import all as over_all
from sfumato.conventions import others as over_others
from sfumato.explain.text import as_dict, as_given
from sfumato.text import wrapped


def conversion_dict(classes: int, eps: float, frm: str, to: str) -> dict[str, Any]:
    """The closed forms, and ε and target in ``to``, where a row's loss is scale · (its loss in ``frm``) + offset.

    >>> told = conversion_dict(10, 0.1, "fairseq", "keras")["conversion"]
    >>> told["in"], told["to"], round(told["eps"], 6), told["loss"]
    ('fairseq', 'keras.cat', 0.111111, {'scale': 1.0, 'offset': 0.0})
    """
    c = convert(eps, classes, frm=frm, to=to)
    told = {
        "in": c.frm.key,
        "to": c.to.key,
        "eps": c.to_eps,
        "target": list(_target(c.to, c.to_eps, classes)),
        "loss": {"scale": c.scale, "offset": c.offset},
    }
    return {**as_dict(classes, eps), "conversion": told}


def conversion_text(classes: int, eps: float, frm: str, to: str, *, width: int = 200) -> str:
    """How two frameworks say the same target, as text for a terminal of so many columns.

    >>> print(conversion_text(10, 0.1, "fairseq", "keras").splitlines()[0])
    0.1 in fairseq is 0.111111 in Keras, at K = 10 classes
    """
    c = convert(eps, classes, frm=frm, to=to)
    name = max(len(c.frm.name), len(c.to.name), len("in sfumato"))
    lines = [f"{as_given(eps)} in {c.frm.name} is {c.to_eps:.6g} in {c.to.name}, at K = {classes} classes", ""]
    told = list[tuple[str, str]]()
    for formula, strength in ((c.frm, eps), (c.to, c.to_eps)):
        true, other = _target(formula, strength, classes)
        spread = formula.convention
        assert spread is not None
        on = (
            f"{spread.formula_true} = {true:.6g} on the label, {spread.formula_other} = {other:.6g} on each other class"
        )
        told.append((formula.name, on))
    told += [("loss", _relation(c)), ("in sfumato", _in_sfumato(c))]
    told += [("mind", f"{f.name}: {f.defect}") for f in (c.frm, c.to) if f.defect]
    lines += [wrapped(text, width, first=f"{what:<{name}}  ", rest=" " * (name + 2)) for what, text in told]
    return "\n".join(lines)


def conversions_text(classes: int, eps: float, frm: str, *, width: int = 100) -> str:
    """What every framework needs for the target that ``frm`` has at ε, a paragraph a strength, within so many columns.

    >>> print(conversions_text(10, 0.1, "fairseq").splitlines()[0])
    0.1 in fairseq, at K = 10 classes, is the same target as
    """
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
    """The same as data: ``"conversion": {"in", "to": {KEY: ε or None}}``; None where it cannot be.

    >>> conversions_dict(2, 0.1, "fairseq")["conversion"]["to"]["torch.index"]
    0.2
    """
    return {**as_dict(classes, eps), "conversion": {"in": find(frm).key, "to": _in_each(classes, eps, frm)}}


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


def _target(formula: Formula, eps: float, classes: int) -> tuple[float, float]:
    assert formula.convention is not None
    return formula.convention.target(eps, classes)


def _relation(c: Conversion) -> str:
    scale = "" if abs(c.scale - 1) < 1e-12 else f"{c.scale:.6g} × "
    offset = "" if abs(c.offset) < 1e-12 else f" {'+' if c.offset > 0 else '−'} {abs(c.offset):.6g}"
    if not scale and not offset:
        return "a row's loss is the same number in both"
    return f"a row's loss in {c.to.name} is {scale}that in {c.frm.name}{offset}"


def _in_sfumato(c: Conversion) -> str:
    spread = c.frm.convention
    assert spread is not None
    if spread.space == "sigmoid":
        return "none: K sigmoids, and sfumato's loss is of one softmax"
    if spread.space == "softmax without padding":
        return f'sf.smooth(labels, {c.num_classes}, {as_given(c.eps)}, over="others", support=every class but padding)'
    true, other = spread.optimum(c.eps, c.num_classes)
    for over in (over_all, over_others):
        if spread is over or spread.name not in ("all", "others"):
            try:
                strength = over.strength(true, other, c.num_classes)
            except ConversionError:
                continue
            mass = spread.mass(c.eps, c.num_classes)
            times = "" if mass == 1 else f", times {mass:.6g}"
            return f'label_smoothing={strength:.6g}, over="{over.name}"{times}'
    raise AssertionError(spread.name)
