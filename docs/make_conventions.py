"""Write docs/conventions.md from sfumato.conventions: ``python docs/make_conventions.py``."""

from __future__ import annotations

from pathlib import Path

from sfumato import theory
from sfumato.conventions import FORMULAS, SPREADS, Convention, ConversionError, Formula, convert
from sfumato.text import wrapped

PAGE = Path(__file__).with_name("conventions.md")

TEXT = """\
<!-- Written by docs/make_conventions.py from sfumato.conventions: change those. -->

# What ε means, and to whom

"Label smoothing of 0.1" is not one target. Frameworks agree on the word and differ in the formula: some spread ε over
the K−1 wrong classes, most over all K, the true one included, and a few do something in between. This page says who
means what, how far apart the optima are, and how to convert. Every line is data in `sf.conventions`, and was read from
the project's source.

The conventions found. sfumato takes the first two by name, as `over="others"` and `over="all"`:

{spreads}

The gap is z_true − z_other where the loss is smallest, in nats; for sigmoids it is the optimal logit of the label.
`all` was first written by Szegedy et al. 2016, section 7; `others` is eq. 4 of [the note](note.md).

## Who means what

{who}

\\* also subtracts the entropy of its target, so that its smallest value is 0 (a KL divergence, or the loss less its
floor). The gradient is the same; the printed number is not. `sf.loss_parts` gives both.

## How far apart the optima are

At ε = 0.1:

{gaps}

With two classes the convention matters as much as the strength. With a thousand it does not, until numbers are
compared to four digits.

```python
>>> import sfumato as sf
>>> for k in (2, 10, 1000):
...     gaps = [sf.theory.optimal_gap(0.1, k, over=over) for over in ("others", "all")]
...     same = sf.theory.convert_eps(0.1, k, frm="others", to="all")
...     print(k, *(f"{{gap:.3f}}" for gap in gaps), f"{{same:.6g}}")
2 2.197 2.944 0.2
10 4.394 4.511 0.111111
1000 9.104 9.105 0.1001

```

## Converting

Two losses are the same training target if their optima are. Over the others and over all, that is where
ε_others = ε_all · (K−1)/K. `sfumato explain --eps 0.1 --in fairseq --to keras` says so for any two frameworks, and
`sf.conventions` is the same as a library:

```python
>>> c = sf.conventions.convert(0.1, 10, frm="fairseq", to="keras")
>>> round(c.to_eps, 6), c.scale, c.offset
(0.111111, 1.0, 0.0)
>>> import torch
>>> labels = torch.tensor([3])
>>> a = sf.smooth(labels, 10, c.to_eps, over="all").to_dense(torch.float64)
>>> b = sf.smooth(labels, 10, 0.1, over="others").to_dense(torch.float64)
>>> torch.allclose(a, b, rtol=0, atol=1e-15)
True

```

A row's loss in the second framework is scale · (its loss in the first) + offset: other masses scale, subtracted
entropies shift, bits are 1/ln 2 of nats. ESPnet prints fairseq's loss less its floor, 0.545:

```python
>>> round(sf.conventions.convert_loss(0.6, 10, eps=0.1, frm="fairseq", to="espnet"), 3)
0.055

```

What 0.1 in one convention is in the others, at K = 10:

{matrix}

An ε over the others above (K−1)/K puts less on the label than on each other class. No strength over all does that, so
the conversion is refused, as is every other one that cannot be: to another set of classes (a padding class without
mass), from one softmax to K sigmoids, from a target that is not one strength.

```python
>>> sf.conventions.convert_eps(0.6, 2, frm="fairseq", to="torch")
Traceback (most recent call last):
...
sfumato.conventions.spread.ConversionError: ε = 0.6 in fairseq cannot be torch's: at K = 2 no strength of "all" has \
0.4 on the label and 0.6 on each other class

```

A padding class that gets no mass is a class outside the support (here class 0 of 5):

```python
>>> support = torch.tensor([False, True, True, True, True])
>>> sf.smooth(torch.tensor([2]), 5, 0.3, over="others", support=support).probs()
tensor([[0.0000, 0.1000, 0.7000, 0.1000, 0.1000]])

```

Its logit still goes to minus infinity; the gap to each class with mass is log((K−2)(1−ε)/ε).

`sfumato explain --classes K --eps E` prints the two named conventions for any K and ε, and `sfumato probe
module:callable` reads the target off the gradient of any loss, whatever its documentation says.

## The formulas

n is −log p of the label, S the sum of −log p over the classes, V the same as K. "Executed" formulas were compared with
the framework itself or with values that its source gave (`tests/conventions/test_live.py`,
`tests/conventions/test_formula.py`); the others were read. `sf.conventions.find(KEY).loss(logits, labels, eps)`
computes each.

{formulas}

## Defects found

{defects}
"""


def page() -> str:
    """The whole page."""
    return TEXT.format(
        spreads=_spreads(),
        who=_who(),
        gaps=_gaps(),
        matrix=_matrix(),
        formulas=_formulas(),
        defects=_defects(),
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _spreads() -> str:
    head = ["convention", "of the label", "of each other class", "sum", "gap at the optimum", "at ε = 1", "written in"]
    rows = [
        [
            f"`{c.name}`",
            c.formula_true,
            c.formula_other,
            c.formula_mass,
            c.formula_gap,
            c.at_one,
            c.source,
        ]
        for c in SPREADS.values()
    ]
    return _table(head, rows)


def _who() -> str:
    rows: list[list[str]] = []
    for f in FORMULAS.values():
        if f.convention is not None and not f.key.startswith("sfumato"):
            name = f"{f.name} `{f.argument}`" if f.argument else f.name
            rows.append([name + (" \\*" if f.minus_entropy else ""), f"`{f.convention.name}`", _in_sfumato(f)])
    return _table(["project", "its ε", "in sfumato"], rows)


def _in_sfumato(formula: Formula) -> str:
    convention = formula.convention
    assert convention is not None
    return {
        "others": '`over="others"`',
        "all": '`over="all"`',
        "nopad": '`over="others"`, padding outside the `support`',
        "classy": '`over="all"` with ε/(1+ε)',
        "deficit": '`over="all"` with ε/(1−ε/K), times 1−ε/K',
    }.get(convention.name, "no: K sigmoids")


def _gaps() -> str:
    rows = [
        [
            str(k),
            f"{theory.optimal_gap(0.1, k, over='others'):.3f}",
            f"{theory.optimal_gap(0.1, k, over='all'):.3f}",
            f"{theory.convert_eps(0.1, k, frm='others', to='all'):.6g}",
        ]
        for k in (2, 10, 1000)
    ]
    return _table(["K", "gap, others", "gap, all", "ε over all that equals 0.1 over the others"], rows)


def _matrix() -> str:
    shown = {
        "others": "fairseq",
        "all": "torch",
        "classy": "classy",
        "deficit": "coincheung",
        "sigmoid-half": "keras.bin",
        "sigmoid-full": "smp.bce",
    }

    def cell(a: str, b: str) -> str:
        try:
            return f"{convert(0.1, 10, frm=a, to=b).to_eps:.6g}"
        except ConversionError:
            return "–"

    head = ["0.1 in ↓ is in →", *(f"`{name}`" for name in shown)]
    return _table(head, [[f"`{n}`", *(cell(a, b) for b in shown.values())] for n, a in shown.items()])


def _formulas() -> str:
    head = [
        "key",
        "project, as read",
        "convention",
        "loss of a row",
        "divided by",
        "ignored rows",
        "ε out of range",
        "",
    ]
    rows = [
        [
            f"`{f.key}`",
            f"{f.name}, {f.read}: {f.path}",
            _named(f.convention),
            f.row,
            f.mean,
            f.ignore,
            f.outside,
            "executed" if f.evidence == "run" else "read",
        ]
        for f in FORMULAS.values()
    ]
    return _table(head, rows)


def _named(convention: Convention | None) -> str:
    return "" if convention is None else f"`{convention.name}`"


def _defects() -> str:
    told = (f"**{f.name}** ({f.read}): {f.defect}." for f in FORMULAS.values() if f.defect)
    return "\n".join(wrapped(line, 120, first="- ", rest="  ") for line in told)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
