"""The interactive page of ``sfumato explain``: one file without network or libraries, readable without scripts.

What the script will say when it has run stands there before, in English. The sentences are in two tables, in English
and in Chinese: ``text``, which stands there, and ``live``, which the script says.
"""

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from sfumato import theory
from sfumato.conventions import FORMULAS, ConversionError, convert
from sfumato.explain.text import as_dict
from sfumato.io.atomic import write_text

LANGUAGES = ("en", "zh")
MAX_CLASSES = 1_000_000

SCRIPTS = ("theory", "words", "state", "chart", "charts", "picture", "sentences", "train", "pull", "controls", "main")
"""The files of ``script/``, in the order in which the page has them."""

SECTIONS = (
    "gradient", "never", "stop", "tell", "weights", "noise", "heat", "calibration", "when", "floor", "words", "sources",
)  # fmt: skip
"""The headings of the page, by their keys in the table of words."""

TRIES = (
    ("onehot", "eps=0 noise=0 weight=1 temperature=1"),
    ("torch", "k=10 eps=0.1 over=all noise=0 weight=1 temperature=1"),
    ("two", "k=2 eps=0.1"),
    ("many", "k=1000 eps=0.1"),
    ("noise", "noise=0.2"),
    ("weight", "eps=0.1 weight=5"),
    ("hot", "eps=0.1 temperature=2"),
)
"""What the buttons beside the controls set."""

FRAMEWORKS = (
    "torch.index", "timm.ls", "keras.cat", "optax", "hf", "sfumato.all", "sfumato.others", "fairseq", "t5x", "megatron",
    "espnet", "wenet", "classy",
)  # fmt: skip
"""Well-known frameworks, torch first, that can express any target of one pair."""


def write(path: str | Path, classes: int, eps: float) -> Path:
    """Write the page, which opens at K ``classes``, 2 to a million, and at ε, into a folder that exists."""
    path = Path(path)
    write_text(path, page(classes, eps))
    return path


def page(classes: int, eps: float) -> str:
    """The page as text; errors as those of :func:`write`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # not above: only the page needs it

    if classes > MAX_CLASSES:
        raise ValueError(f"the page shows up to {MAX_CLASSES} classes, got {classes}")
    told = as_dict(classes, eps)
    here = Path(__file__).parent
    loader = FileSystemLoader([here, here.parents[1] / "report" / "templates"])
    options = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(loader=loader, **options)  # pyright: ignore[reportArgumentType]
    live = table("live")
    return environment.get_template("explain.html.jinja").render(
        text=table("text"),
        live=live,
        words=json.dumps(live, ensure_ascii=False).replace("</", "<\\/"),
        scripts=SCRIPTS,
        sections=SECTIONS,
        tries=TRIES,
        classes=classes,
        eps=f"{eps:.12g}",
        rows=_rows(told),
        said=_said(told),
        after=_after(classes, eps),
        formulas=_formulas(told),
        frameworks=[_framework(key, classes, eps) for key in FRAMEWORKS],
    )


def _rows(told: dict[str, Any]) -> list[tuple[str, str, dict[str, str]]]:
    """The table before any script has run: key, name, and the two conventions' numbers."""
    names = {"true": "q_label", "other": "q_other", "gap": "gap", "floor": "floor"}

    def cells(key: str) -> dict[str, str]:
        return {over: _gap(told, over) if key == "gap" else _number(told[over][key]) for over in ("others", "all")}

    return [(key, name, cells(key)) for key, name in names.items()]


def _said(told: dict[str, Any]) -> str:
    """The sentence below the picture, over the others, as long as nothing is pulled."""
    live, classes, eps, pair = table("live"), told["classes"], told["eps"], told["others"]
    gap = pair["gap"]
    spread = live["others"]["en"].format(n=f"{classes - 1:,}")
    head = live["head_one_hot" if eps == 0 else "head"]["en"].format(
        eps=_number(eps, 4), over=spread, q=_number(pair["true"], 4), r=_number(pair["other"], 4)
    )
    if gap is None:
        return f"{head} {live['never_below' if eps == 1 else 'never']['en']}"
    stops = "stops_even" if abs(gap) < 1e-9 else "stops_below" if gap < 0 else "stops"
    return f"{head} {live[stops]['en'].format(gap=_number(abs(gap), 4), floor=_number(pair['floor'], 4))}"


def _after(classes: int, eps: float) -> str:
    def gap(strength: float, steps: float) -> str:
        return _number(theory.gap_after_time(steps, classes, eps=strength, over="others"), 4)

    spread = table("live")["others"]["en"].format(n=f"{classes - 1:,}")
    early, late = gap(eps, 1e3), gap(eps, 1e4)
    return table("live")["after_same" if early == late else "after"]["en"].format(
        k=f"{classes:,}", eps=_number(eps, 4), over=spread, a=gap(0.0, 1e3), b=gap(0.0, 1e4), c=early, d=late
    )


def _formulas(told: dict[str, Any]) -> dict[str, str]:
    """Both formulas of the optimal gap, with the numbers put in."""
    classes, eps = told["classes"], told["eps"]
    odds = (1 - eps) / eps if eps > 0 else None
    inside = {
        "others": ("(K − 1)(1 − ε)/ε", f"{classes - 1} × ", None if odds is None else (classes - 1) * odds),
        "all": ("1 + K(1 − ε)/ε", f"1 + {classes} × ", None if odds is None else 1 + classes * odds),
    }
    ratio = f"{_number(1 - eps, 4)}/{_number(eps, 4)}"
    return {
        over: f"log({form}) = log({start}{ratio}) = log {_number(value, 4)} = <b>{_gap(told, over)}</b>"
        for over, (form, start, value) in inside.items()
    }


def _gap(told: dict[str, Any], over: str) -> str:
    gap = told[over]["gap"]
    return "−∞" if gap is None and told["eps"] == 1 else _number(gap)


def _framework(key: str, classes: int, eps: float) -> dict[str, str]:
    """A framework, its argument, and its value for ε over the others."""
    formula = FORMULAS[key]
    assert formula.convention is not None
    try:
        value = _number(convert(eps, classes, frm="sfumato.others", to=key).to_eps)
    except ConversionError:
        value = table("live")["no_value"]["en"]
    to, name, argument = formula.convention.name, formula.name, formula.argument
    if key.startswith("sfumato"):
        name, argument = "sfumato", f'{argument}=, over="{to}"'
    return {"key": key, "name": name, "argument": argument, "to": to, "value": value}


def _number(value: float | None, digits: int = 6) -> str:
    if value is None:
        return "∞"
    return f"{0 if abs(value) < 1e-15 else value:.{digits}g}".replace("-", "−")


@cache
def table(name: str) -> dict[str, dict[str, str]]:
    """A table by its name, ``"text"`` or ``"live"``: for each key, the words of each language."""
    return tomllib.loads((Path(__file__).parent / "sentences" / f"{name}.toml").read_text(encoding="utf-8"))
