"""The audit as a letter for the terminal and as one page: findings first, then the numbers they rest on.

Both are made from the object that ``audit --json`` prints and, for the page, from the columns of its three figures, so
no torch and no matplotlib is loaded: the figures are a few lines of SVG in the template.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sfumato.evaluate.metrics.registry import FEATURE_LABELS, METRICS, SOFT_WORDS
from sfumato.messages import texts
from sfumato.report.tables import Cell, ResultsTable, Row, Show, as_text, between, in_columns, shown
from sfumato.report.template import rendered, with_units_held, write
from sfumato.text import NOT_APPLICABLE, joined, number, percent, plural, wrapped

_WIDTH, _HEIGHT = 300, 210  # of a figure's axes, in units of its own


def as_letter(told: Mapping[str, Any], read: Sequence[str], width: int = 100) -> str:
    """The audit in paragraphs: how things stand and what to do, what was read, findings, notes, tables of numbers.

    ``told`` is what ``audit --json`` prints, ``read`` are sentences on what was read, and ``width`` is in columns.
    """
    found: list[dict[str, str]] = told["findings"]
    parts = [_paragraph(" ".join(told["summary"]), width), _paragraph(" ".join(read), width)]
    if not found:
        parts.append(_paragraph("There is no finding: nothing here asks to be acted on.", width))
    for place, finding in enumerate(found, 1):
        mark = f"{place}. "
        says = _paragraph(finding["text"], width, first=mark, rest=" " * len(mark))
        advice = _paragraph(finding["advice"], width, first=" " * len(mark) + "→ ", rest=" " * (len(mark) + 2))
        parts.append(f"{says}\n{advice}")
    if told["notes"]:
        parts.append("\n".join(_paragraph(note, width, first="· ", rest="  ") for note in texts(told["notes"])))
    parts.append(as_text(numbers_table(told), width).rstrip())
    if told.get("differences"):
        parts.append(as_text(differences_table(told), width).rstrip())
    if told.get("arms"):
        parts.append(_paragraph(OVER_SEEDS, width))
        parts.append(as_text(seeds_table(told), width).rstrip())
        parts.append("\n".join(_paragraph(text, width, first="· ", rest="  ") for text in what_seeds_say(told)))
    return "\n\n".join(parts)


def numbers_table(told: Mapping[str, Any]) -> ResultsTable:
    """Every metric with its 95 % interval, as the scores are and after temperature."""
    metrics: Mapping[str, Mapping[str, float | None]] = told["metrics"]
    columns = 4 if any(name.endswith("_after_temperature") for name in metrics) else 2
    rows: list[Row] = []
    for name, label, show in _SHOWN:
        raw, scaled = metrics.get(name), metrics.get(f"{name}_after_temperature")
        if raw or scaled:
            label = SOFT_WORDS.get(name, label) if "agreement" in metrics else label
            rows.append(Row(label, (*_cells(raw, show), *_cells(scaled, show))[:columns]))
    return ResultsTable(("as it is", "95 % interval", "with T", "95 % interval")[:columns], tuple(rows))


def differences_table(told: Mapping[str, Any]) -> ResultsTable:
    """This model less the other, paired by rows, as ``audit --against`` measured them."""
    differences: Mapping[str, Mapping[str, float | None]] = told["differences"]
    shows = {name: (label, show) for name, label, show in _SHOWN}
    rows: list[Row] = []
    for name, entry in differences.items():
        plain = name.removesuffix("_after_temperature")
        label, show = shows[plain]
        label = SOFT_WORDS.get(plain, label) if "agreement" in differences else label
        label += (" with T" if plain != name else "") + (", points" if show is percent else "")
        finding = Cell(str(entry.get("finding") or NOT_APPLICABLE))
        rows.append(Row(label, (*_cells(entry, _signed(show)), finding)))
    return ResultsTable(("this − other", "95 % interval, paired", "finding"), tuple(rows))


OVER_SEEDS = (
    "Over the seeds of the run, each arm on the test rows: the mean, and after ± the standard deviation between seeds, "
    "which is how far another training of the same arm moves a number. What stands above is of one seed."
)
_OVER_SEEDS = (
    *("accuracy", "balanced_accuracy", "agreement", "nll", "nll_after_temperature", "kl", "kl_after_temperature"),
    *("brier", "ece", "ece_after_temperature"),
    *("signed_gap", "eaurc", "temperature", "logit_gap"),
)


def seeds_table(told: Mapping[str, Any]) -> ResultsTable:
    """Mean and standard deviation over the seeds of each arm, as ``audit`` of a run folder measures them."""
    arms: Sequence[Mapping[str, Any]] = told["arms"]
    rows: list[Row] = []
    for name in _OVER_SEEDS:
        numbers = [arm["metrics"].get(name) for arm in arms]
        if any(numbers):
            show = shown(name)
            cells = (cell for number in numbers for cell in _mean_and_sd(number, show))
            label = SOFT_WORDS.get(name, _label(name)) if "agreement" in told["metrics"] else _label(name)
            rows.append(Row(label, tuple(cells)))
    heads = [head for arm in arms for head in (arm["name"], "±")]
    return ResultsTable(tuple(heads), tuple(rows))


def what_seeds_say(told: Mapping[str, Any]) -> list[str]:
    """In how many seeds of an arm each finding and each answer on smoothing stands, a sentence an arm."""
    sentences: list[str] = []
    for arm in told["arms"]:
        seeds = f"In the {plural(len(arm['seeds']), 'seed')} of {arm['name']}"
        found = [f"the finding “{name}” in {count}" for name, count in arm["findings"].items()]
        answers = [f"“{answer}” in {count}" for answer, count in arm["smoothing_answers"].items()]
        stand = f"there is {joined(found)}" if found else "there is no finding"
        sentences.append(f"{seeds}, {stand}, and the answer on smoothing is {joined(answers)}.")
    return sentences


def render_audit(told: Mapping[str, Any], figures: Mapping[str, Any], read: Sequence[str], path: Path) -> Path:
    """Write the page to ``path``, and return that; the same audit gives the same bytes.

    ``figures`` are those of :class:`sfumato.evaluate.Audit`; ``told`` and ``read`` are as for :func:`as_letter`.
    """
    from markupsafe import Markup

    text = rendered(
        "audit.html.jinja",
        told=told,
        read=read,
        numbers=numbers_table(told),
        differences=differences_table(told) if told.get("differences") else None,
        over_seeds=in_columns(seeds_table(told)) if told.get("arms") else [],
        how_over_seeds=OVER_SEEDS,
        seeds_say=what_seeds_say(told) if told.get("arms") else [],
        reliability=_reliability(figures, "agreed" if "agreement" in told["metrics"] else "right"),
        risk=_risk(figures, told),
        gap=_gap(figures, told),
        right="agreement" if "agreement" in told["metrics"] else "accuracy",
        soft="agreement" in told["metrics"],
        width=_WIDTH,
        height=_HEIGHT,
        told_json=Markup(json.dumps(told, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")),
    )
    return write(path, text)


def _paragraph(text: str, width: int, **begins: str) -> str:
    """A paragraph whose numbers stay with their units at the end of a line; in the end all spaces are plain."""
    lines = wrapped(with_units_held(text), width, **begins)
    return lines.replace("\N{NO-BREAK SPACE}", " ").replace("\N{NON-BREAKING HYPHEN}", "-")


def _label(name: str) -> str:
    """The label of a metric in a table that has no column of units."""
    defined = METRICS[name]
    if name == "ece_noise_floor":  # which stands below the ECE
        return "  by chance alone"
    return f"{defined.heading}, {defined.shown.unit}" if defined.shown.unit in ("nats", "0 to 2") else defined.heading


_SHOWN: tuple[tuple[str, str, Show], ...] = (
    *((name, _label(name), shown(name)) for name in METRICS if not name.endswith("_after_temperature")),
    *((name, label, number) for name, label in FEATURE_LABELS.items()),
)


def _cells(entry: Mapping[str, float | None] | None, show: Show) -> tuple[Cell, Cell]:
    if entry is None:
        return Cell(NOT_APPLICABLE), Cell("")
    return Cell(show(entry["value"]), value=entry["value"]), Cell(between(entry, show))


def _mean_and_sd(number: Mapping[str, Any] | None, show: Show) -> tuple[Cell, Cell]:
    if number is None:
        return Cell(NOT_APPLICABLE), Cell("")
    sd = number["sd"]
    spread = "" if sd is None else show(sd).lstrip("+").removesuffix(" %")
    return Cell(show(number["mean"]), value=number["mean"]), Cell(spread, value=sd)


def _signed(show: Show) -> Show:
    def signed(value: float | None) -> str:
        if value is None:
            return NOT_APPLICABLE
        text = show(abs(value)).lstrip("+").removesuffix(" %")
        return text if not text.strip(".0 %") else ("−" if value < 0 else "+") + text

    return signed


def _reliability(figures: Mapping[str, Any], right: str) -> dict[str, Any]:
    table, scaled = figures["reliability"], figures.get("reliability_after")
    most, bar = max(table["count"]), _WIDTH / 15
    points = [
        {"x": x * _WIDTH, "y": (1 - y) * _HEIGHT, "low": (1 - low) * _HEIGHT, "high": (1 - high) * _HEIGHT}
        for x, y, low, high in _filled(table, "confidence", "accuracy", "low", "high")
    ]
    told = ", ".join(f"{x:.2f} claimed {y:.2f} {right}" for x, y in _filled(table, "confidence", "accuracy"))
    return {
        "points": points,
        "line": _line((p["x"], p["y"]) for p in points),
        "bars": [{"x": b / 15 * _WIDTH, "h": n / most * 34, "w": bar - 1} for b, n in enumerate(table["count"])],
        "after": scaled
        and _line((x * _WIDTH, (1 - y) * _HEIGHT) for x, y in _filled(scaled, "confidence", "accuracy")),
        "alt": f"Reliability: {told}.",
    }


def _risk(figures: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    coverage, risk = figures["risk"]["coverage"], figures["risk"]["risk"]
    top, whole = max([*risk, 1e-9]) * 1.08, risk[-1]
    places = [i / 100 for i in range(1, 101)]
    wrong = "the annotators disagree with all answers" if "agreement" in told["metrics"] else "all rows are wrong"
    best = figures["risk"].get("best") or [max(0.0, (c - 1 + whole) / c) for c in places]
    return {
        "line": _line((c * _WIDTH, (1 - r / top) * _HEIGHT) for c, r in zip(coverage, risk, strict=True)),
        "best": _line((c * _WIDTH, (1 - r / top) * _HEIGHT) for c, r in zip(places, best, strict=True)),
        "ticks": [{"y": (1 - v / top) * _HEIGHT, "text": percent(v)} for v in (0.0, top / 2.16, top / 1.08)],
        "alt": f"Risk against coverage: {percent(whole)} of {wrong}; the area under the curve is "
        f"{number(told['metrics']['aurc']['value'], 4)}.",
    }


def _gap(figures: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any] | None:
    if figures.get("gap") is None:
        return None
    edges, counts = figures["gap"]["edges"], figures["gap"]["count"]
    low, high, most = edges[0], edges[-1], max([*counts, 1])

    def place(gap: float) -> float:
        return (gap - low) / (high - low) * _WIDTH

    closed = None
    if told["inferred_smoothing"] is not None:
        classes, eps = told["classes"], told["inferred_smoothing"]["eps_all"]
        closed = {"x": place(math.log(1 + classes * (1 - eps) / eps)), "eps": f"{eps:.2g}"}
    step = _step((high - low) / 5)
    ticks = [t * step for t in range(math.ceil(low / step), math.floor(high / step) + 1)]
    mean = number(told["metrics"]["logit_gap"]["value"], 2)
    return {
        "bars": [
            {"x": place(a), "w": max(place(b) - place(a) - 0.5, 0.5), "h": count / most * _HEIGHT}
            for a, b, count in zip(edges, edges[1:], counts, strict=False)
        ],
        "ticks": [{"x": place(t), "text": f"{t:g}".replace("-", "−")} for t in ticks],
        "closed": closed,
        "smoothing": _what_the_gap_says(told["smoothing_evidence"]),
        "most": f"{most:,}",
        "alt": f"Histogram of the logit gap, from {number(low, 1, zero=True)} to {number(high, 1, zero=True)} nats; "
        f"its mean is {mean}.",
    }


def _what_the_gap_says(evidence: Mapping[str, Any]) -> str:
    """The answer on smoothing, as a sentence below the gaps."""
    if evidence["answer"] == "strength":
        return "The line is the gap at the optimum of the smoothing inferred."
    if evidence["answer"] == "no sign":
        return "The gaps show no sign of smoothing."
    if evidence["eps_of_gap"] is None:
        return f"These rows cannot tell whether the model was smoothed. {evidence['reason']}"
    return (
        "These rows cannot tell whether the model was smoothed; if every row had reached its optimum, ε would be about "
        f"{evidence['eps_of_gap']:.2g} over all."
    )


def _step(rough: float) -> float:
    """1, 2 or 5 times a power of ten, at least ``rough``."""
    power = 10.0 ** math.floor(math.log10(max(rough, 1e-12)))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)


def _filled(table: Mapping[str, list[float | None]], *names: str) -> Iterator[tuple[float, ...]]:
    columns = zip(*(table[name] for name in names), strict=True)
    return (known for values in columns if len(known := tuple(v for v in values if v is not None)) == len(names))


def _line(points: Iterator[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
