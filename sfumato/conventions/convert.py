"""Look a framework up by any of its names, and convert strengths and loss values between two of them.

Two losses train towards the same target if they have the same optimum. One is then a multiple of the other plus a
constant, and a conversion of values needs no more.
"""

import math
from dataclasses import dataclass

from sfumato.conventions.catalogue import FORMULAS
from sfumato.conventions.formula import Formula
from sfumato.conventions.spread import Convention, ConversionError
from sfumato.text import nearest


@dataclass(frozen=True)
class Conversion:
    """How two frameworks say the same thing at K classes: ``eps`` in ``frm`` is ``to_eps`` in ``to``.

    A row's loss in ``to`` is scale·(its loss in ``frm``) + offset, in the unit of ``to``; gradients differ by scale.
    """

    frm: Formula
    to: Formula
    num_classes: int
    eps: float
    to_eps: float
    scale: float
    offset: float


def find(name: str) -> Formula:
    """The formula of a framework, by its key or any of its names; case, spaces and punctuation do not matter.

    ValueError where no such framework is known; the message suggests the nearest.

    >>> find("FairSeq").key, find("pytorch").key
    ('fairseq', 'torch.index')
    """
    known = {_plain(key): formula for key, formula in FORMULAS.items()}
    for formula in FORMULAS.values():
        for each in formula.names:
            known.setdefault(_plain(each), formula)  # a name never hides a key
    plain = _plain(name)
    if plain in known:
        return known[plain]
    close = nearest(plain, known, cutoff=0.5)
    hint = f' Did you mean "{known[close].key}"?' if close else ""
    raise ValueError(f'no framework "{name}" is known.{hint} Known: {", ".join(FORMULAS)}')


def convert(eps: float, num_classes: int, *, frm: str | Formula, to: str | Formula) -> Conversion:
    r"""The same training target in another framework, and how their loss values are related.

    With :math:`q` the target, :math:`S = \sum q`, :math:`p^* = q/S` the optimum, :math:`s` the framework's scale and
    :math:`c` the entropy it subtracts (0 or :math:`H(q)`), a row's loss is
    :math:`L = s\,(S \cdot \mathrm{CE}(p^*) - c)`. Equal optima make CE(p*) equal, so

    .. math:: L_{to} = \frac{s_{to} S_{to}}{s_{frm} S_{frm}} \, L_{frm} + s_{to}
              \Bigl(\frac{S_{to}}{S_{frm}}\, c_{frm} - c_{to}\Bigr).

    It is exact up to rounding, for rows without class weights. ``frm`` and ``to`` are names as :func:`find` takes them.
    ConversionError where there is no such strength: a target is not one pair, the losses have other classes, or the
    strength is out of the range of ``to``. ValueError for ε or K out of range, or an unknown framework.

    >>> c = convert(0.1, 10, frm="fairseq", to="keras")
    >>> round(c.to_eps, 6), c.scale, c.offset
    (0.111111, 1.0, 0.0)
    >>> c = convert(0.1, 10, frm="coincheung", to="espnet")  # a mass of 0.99, and an entropy subtracted
    >>> round(c.to_eps, 6), round(c.scale, 6), round(c.offset, 6)
    (0.090909, 1.010101, -0.504384)

    Source: equate the optima; the formulas are those of ``docs/conventions.md``.
    """
    a, b = (find(each) if isinstance(each, str) else each for each in (frm, to))
    p, q = (_spread(each) for each in (a, b))
    true, other = p.optimum(eps, num_classes)
    if p.space != q.space and (eps != 0 or "sigmoid" in (p.space, q.space)):
        raise ConversionError(f"{a.name} cannot be converted to {b.name}: {_SPACES[p.space]}, {_SPACES[q.space]}")
    try:
        found = 0.0 if p.space != q.space else eps if p is q else q.strength(true, other, num_classes)
        ratio = 1.0 if p.space == "sigmoid" else q.mass(found, num_classes) / p.mass(eps, num_classes)
    except ValueError as error:  # ε and K are in the range of p, and may be out of that of q
        raise ConversionError(f"ε = {eps:g} in {a.name} cannot be {b.name}'s: {error}") from None
    floor_a = p.floor(eps, num_classes) if a.minus_entropy else 0.0
    floor_b = q.floor(found, num_classes) if b.minus_entropy else 0.0
    scale_a, scale_b = a.factor(num_classes), b.factor(num_classes)
    offset = scale_b * (ratio * floor_a - floor_b) + 0.0
    return Conversion(a, b, num_classes, eps, found, scale_b * ratio / scale_a, offset)


def convert_eps(eps: float, num_classes: int, *, frm: str | Formula, to: str | Formula) -> float:
    """The strength that another framework needs for the same training target; arguments, errors as :func:`convert`.

    >>> round(convert_eps(0.1, 10, frm="torch", to="fairseq"), 6)
    0.09
    >>> convert_eps(0.95, 10, frm="fairseq", to="torch")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    sfumato.conventions.spread.ConversionError: ε = 0.95 in fairseq cannot be torch's: at K = 10 no ...

    Source: as :func:`convert`. See also :func:`sfumato.theory.convert_eps`, for the two conventions and arrays.
    """
    return convert(eps, num_classes, frm=frm, to=to).to_eps


def convert_loss(
    value: float, num_classes: int, *, eps: float, frm: str | Formula, to: str | Formula, to_base: float | None = None
) -> float:
    """The value that another framework would show for the same rows, model and training target.

    ``value`` is the mean loss per row in ``frm``, in its own unit. ``to_base`` is the base of the result's logarithm,
    above 1: e for nats, 2 for bits; None leaves the unit of ``to``, which is nats for all but fairseq's log.

    >>> round(convert_loss(0.6, 10, eps=0.1, frm="fairseq", to="espnet"), 6)  # espnet subtracts the entropy
    0.055195

    Source: as :func:`convert`.
    """
    if to_base is not None and not to_base > 1:
        raise ValueError(f"to_base must be above 1, got {to_base:g}")
    c = convert(eps, num_classes, frm=frm, to=to)
    shown = c.scale * value + c.offset
    return shown if to_base is None else shown * math.log(c.to.base) / math.log(to_base)


_SPACES = {
    "softmax": "one gives every class of a softmax some mass",
    "softmax without padding": "one leaves the padding class without mass",
    "sigmoid": "one has K sigmoids and not one softmax",
}


def _spread(formula: Formula) -> Convention:
    if formula.convention is None:
        raise ConversionError(
            f"{formula.name} cannot be converted: its target is not one strength spread over the classes, "
            f"but {formula.row}"
        )
    return formula.convention


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())
