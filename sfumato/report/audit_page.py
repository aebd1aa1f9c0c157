"""The audit as a letter for the terminal and as a page, from what ``audit --json`` prints: the state, then numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sfumato.evaluate.auditing.summary import SHOWN_BY_ENOUGH_ROWS
from sfumato.evaluate.metrics.registry import FEATURE_LABELS, METRICS, SOFT_WORDS
from sfumato.messages import texts
from sfumato.report.charts.confidence import Curve, RiskCurve, plot_reliability, plot_risk_coverage
from sfumato.report.charts.differences import Panel, in_words, plot_differences, plot_panels
from sfumato.report.charts.drawing import Chart, figure
from sfumato.report.charts.gaps import plot_gap_histogram
from sfumato.report.code_to_copy import divided
from sfumato.report.tables import Cell, ResultsTable, Row, Show, as_text, between, classes_table, in_columns, shown
from sfumato.report.template import as_script, rendered, with_units_held, write
from sfumato.report.top import Top, tiles
from sfumato.runs.read import Floats
from sfumato.text import NOT_APPLICABLE, factor, joined, number, percent, plural, wrapped
from sfumato.theory import optimal_gap


def as_letter(told: Mapping[str, Any], read: Sequence[str], width: int = 100) -> str:
    """The audit in paragraphs, from what ``audit --json`` prints and sentences on what was read."""
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
    for name in (*(name for name in METRICS if not name.endswith("_after_temperature")), *FEATURE_LABELS):
        raw, scaled = metrics.get(name), metrics.get(f"{name}_after_temperature")
        if raw or scaled:
            label, show = _how_shown(name, soft="agreement" in metrics)
            rows.append(Row(label, (*_cells(raw, show), *_cells(scaled, show))[:columns]))
    return ResultsTable(("as it is", "95 % interval", "with T", "95 % interval")[:columns], tuple(rows))


def differences_table(told: Mapping[str, Any]) -> ResultsTable:
    """This model less the other, paired by rows, as ``audit --against`` measured them."""
    differences: Mapping[str, Mapping[str, float | None]] = told["differences"]
    rows: list[Row] = []
    for name, entry in differences.items():
        plain = name.removesuffix("_after_temperature")
        label, show = _how_shown(plain, soft="agreement" in differences)
        label += (" with T" if plain != name else "") + (", points" if show is percent else "")
        finding = Cell(str(entry.get("finding") or NOT_APPLICABLE))
        rows.append(Row(label, (*_cells(entry, _signed(show)), finding)))
    return ResultsTable(("this − other", "95 % interval, paired", "finding"), tuple(rows))


OVER_SEEDS = (
    "Over the seeds of the run, each arm on the test rows: the mean, and after ± the standard deviation between seeds, "
    "which is how far another training of the same arm moves a number. The numbers above are of one model per row."
)


def seeds_table(told: Mapping[str, Any]) -> ResultsTable:
    """Mean and standard deviation over the seeds of each arm, as ``audit`` of a run folder measures them."""
    arms: Sequence[Mapping[str, Any]] = told["arms"]
    rows: list[Row] = []
    for name in (name for name, defined in METRICS.items() if defined.over_seeds):
        numbers = [arm["metrics"].get(name) for arm in arms]
        if any(numbers):
            label, show = _how_shown(name, soft="agreement" in told["metrics"])
            rows.append(Row(label, tuple(cell for number in numbers for cell in _mean_and_sd(number, show))))
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
    """Write the page to ``path``, and return that; ``figures`` are those of :class:`sfumato.evaluate.Audit`."""
    soft, colour = "agreement" in told["metrics"], int(told["smoothing_evidence"]["answer"] == "strength")
    charts = {
        "confidence": _confidence(told, colour),
        **({"differences": _differences(told, colour)} if told.get("differences") else {}),
        "reliability": _reliability(figures, soft, colour),
        "risk-coverage": _risk_coverage(figures, soft, colour),
        **({"gap-histogram": _gaps(figures["gap"], told, colour)} if figures.get("gap") else {}),
    }
    top = _top(told, colour)
    temperature = told["metrics"].get("temperature")
    by = "" if temperature is None else factor(temperature["value"])
    page = rendered(
        "audit.html.jinja",
        top=top,
        told=told,
        read=read,
        uses=[{"title": "this model", "snippets": divided(by)}] if by and f"by {by}" in " ".join(top.more) else [],
        findings=[finding for finding in told["findings"] if finding["code"] != top.state],
        columns=["1fr", "2fr", "1fr", "2fr"],
        numbers=numbers_table(told),
        by_class=[classes_table([_in_words(each) for each in told.get("by_class", ())], {"": ""})],
        differences=differences_table(told) if told.get("differences") else None,
        over_seeds=in_columns(seeds_table(told)) if told.get("arms") else [],
        how_over_seeds=OVER_SEEDS,
        seeds_say=what_seeds_say(told) if told.get("arms") else [],
        figures={name: figure(chart, name) for name, chart in charts.items()},
        right="agreement" if soft else "accuracy",
        soft=soft,
        json=as_script(told),
    )
    return write(path, page)


STATES = {
    "over-confident": "Over-confident",
    "under-confident": "Under-confident",
    "well-calibrated": "Well calibrated",
    "look-first": "Look first",
}
"""What an audit finds of the confidence of a model, and the word for it."""
LOOK_FIRST = frozenset({"no-better-than-commonest", "infinite-loss", "miscalibrated", "poor-ranking"})
"""Findings by which the probabilities cannot be used as they are, whatever the mean confidence is."""


def state_of(told: Mapping[str, Any]) -> str:
    """The state of an audit, by its findings, and by whether its rows could have shown a difference."""
    codes, gap = {finding["code"] for finding in told["findings"]}, told["metrics"]["signed_gap"]
    if codes & {"no-better-than-commonest", "infinite-loss"} or told["metrics"]["accuracy"]["value"] == 1:
        return "look-first"
    shown = gap["high"] is not None and gap["high"] - gap["low"] <= 2 * SHOWN_BY_ENOUGH_ROWS and not codes & LOOK_FIRST
    calibrated = "well-calibrated" if shown else "look-first"
    return next((state for state in ("over-confident", "under-confident") if state in codes), calibrated)


def _top(told: Mapping[str, Any], colour: int) -> Top:
    """The block on top of the page; its small line has the part of the rows, if they were those of training."""
    state, metrics = state_of(told), {name: {"mean": each["value"]} for name, each in told["metrics"].items()}
    training = "training row" if told.get("assumed_rows") == "train" else "row"
    groups = [plural(told["groups"], "group")] if told.get("groups") else []
    about = ["Audit", plural(told["rows"], training), *groups, plural(told["classes"], "class")]
    heading, *more = [text for text in told["summary"] if not text.startswith("Below stand ")]
    shown = tiles([("this model", {"metrics": metrics})], [colour], "as it is")
    return Top(about, state, STATES[state], heading, more, shown)


def _confidence(told: Mapping[str, Any], colour: int) -> Chart:
    """Mean confidence minus accuracy, as it is and with a temperature, with intervals."""
    named = {"as it is": "signed_gap", "with T": "signed_gap_after_temperature"}
    gaps = {name: told["metrics"][key] for name, key in named.items() if key in told["metrics"]}
    keys = {"mean": "value", "low": "low", "high": "high", "margin": "margin"}
    ends = {end: 100 * np.array([gap.get(key) for gap in gaps.values()], np.float64) for end, key in keys.items()}
    label = SOFT_WORDS["signed_gap"] if "agreement" in told["metrics"] else METRICS["signed_gap"].label
    rows = [(name, colour) for name in gaps]
    panel = Panel(f"{label}, points", 1, rows, ends, [""] * len(gaps), hint="over-confident →")
    return Chart(plot_panels([panel]), {"ends": ends}, f"{in_words([panel])}, with 95 % intervals.")


def _differences(told: Mapping[str, Any], colour: int) -> Chart:
    entries: list[Any] = [{"metric": name, "mean": each["value"], **each} for name, each in told["differences"].items()]
    return plot_differences([("this − other", colour, entries)])


def _in_words(each: Mapping[str, Any]) -> dict[str, Any]:
    """A class of an audit as those of a comparison are."""
    rates = {rate: {"": {**each[rate], "mean": each[rate]["value"]}} for rate in ("recall", "precision")}
    return {"name": str(each["class"]), "rows": each["rows"], **rates}


def _reliability(figures: Mapping[str, Any], soft: bool, colour: int = 0) -> Chart:
    curves = list[Curve]()
    for name in (name for name in ("reliability", "reliability_after") if name in figures):
        rows = np.array(figures[name]["count"], dtype=np.int64)  # of one model, so each row is distinct
        columns = (_column(figures[name], key) for key in ("confidence", "accuracy", "low", "high"))
        curves.append(Curve("this model", colour, rows, rows, *columns, scaled=name != "reliability"))
    of = f"of {plural(int(curves[0].rows.sum()), 'row')} in {len(curves[0].rows)} bins"
    return plot_reliability(curves, of=of, soft=soft)


def _risk_coverage(figures: Mapping[str, Any], soft: bool, colour: int = 0) -> Chart:
    coverage, risk = (_column(figures["risk"], name) for name in ("coverage", "risk"))
    places = np.arange(1, 101) / 100
    best = figures["risk"].get("best")  # of risks that are 0 or 1 it follows from their mean
    best = np.maximum(0.0, (places - 1 + risk[-1]) / places) if best is None else np.array(best)
    curve = RiskCurve("this model", colour, coverage, risk)
    return plot_risk_coverage([curve], of="rows", best=(places, best), soft=soft)


def _gaps(gap: Mapping[str, Any], told: Mapping[str, Any], colour: int = 0) -> Chart:
    closed = math.inf
    if told["inferred_smoothing"] is not None:
        closed = float(optimal_gap(told["inferred_smoothing"]["eps_all"], told["classes"], over="all"))
    counts, edges = np.array(gap["count"]), np.array(gap["edges"])
    mean = told["metrics"]["logit_gap"]["value"]
    return plot_gap_histogram(["this model"], [colour], [counts], edges, [mean], [closed], of="rows")


def _column(table: Mapping[str, Any], name: str) -> Floats:
    return np.array(table[name], dtype=np.float64)  # numpy makes NaN of None


def _paragraph(text: str, width: int, **begins: str) -> str:
    """A paragraph whose numbers stay with their units at the end of a line; in the end all spaces are plain."""
    lines = wrapped(with_units_held(text), width, **begins)
    return lines.replace("\N{NO-BREAK SPACE}", " ").replace("\N{NON-BREAKING HYPHEN}", "-")


def _how_shown(name: str, *, soft: bool) -> tuple[str, Show]:
    """The label of a number in a table that has no column of units, and how it is printed."""
    if name in FEATURE_LABELS:
        return FEATURE_LABELS[name], number
    heading, unit = METRICS[name].heading, METRICS[name].shown.unit
    if soft and name in SOFT_WORDS:
        return SOFT_WORDS[name], shown(name)
    if name == "ece_noise_floor":  # which stands below the ECE
        return "  by chance alone", shown(name)
    return (f"{heading}, {unit}" if unit in ("nats", "0 to 2") else heading), shown(name)


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
