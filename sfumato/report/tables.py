"""The numbers of a comparison as tables, whose cells hold a number and its text, alike in the terminal and on pages."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from sfumato.evaluate.metrics.registry import HEADLINE, METRICS, SOFT_WORDS
from sfumato.report.arms import arm_title, closed_form, torch_strength
from sfumato.runs.schema import ArmDifference, ArmSummary, RangeOfMetric, Summary
from sfumato.text import NOT_APPLICABLE, number, percent, plural, temperature

Show: TypeAlias = Callable[[float | None], str]


class Cell(NamedTuple):
    """One number: ``text`` as printed, ``interval`` as printed or empty, ``value`` unrounded or None."""

    text: str
    interval: str = ""
    value: float | None = None


class Row(NamedTuple):
    """A label, one cell a column and the unit of the numbers; a row without cells heads the rows below it."""

    label: str
    cells: tuple[Cell, ...] = ()
    unit: str = ""


class ResultsTable(NamedTuple):
    """Column heads (without the label column) and rows."""

    heads: tuple[str, ...]
    rows: tuple[Row, ...]


def shown(name: str) -> Show:
    """How the tables print a metric: a part of the rows in per cent, others with their own factor and digits."""
    how = METRICS[name].shown
    if how.scale == 100:
        return percent
    if name == "temperature":
        return temperature
    return lambda v: number(None if v is None else how.scale * v, how.digits, sign=how.signed)


def between(ends: Mapping[str, Any], show: Callable[[float | None], str]) -> str:
    """The ends of an interval, ``low`` and ``high``, as ``95.1 to 97.1 %``; empty where there is none."""
    low, high = show(ends["low"]), show(ends["high"])
    return "" if NOT_APPLICABLE in (low, high) else f"{low.removesuffix(' %')} to {high}"


def four_columns(summary: Summary) -> ResultsTable:
    """The comparison: two columns an arm, as it is and with its temperature; below, what is known of the training."""
    arms, classes = summary["arms"], int(summary["data"]["classes"])
    heads: list[str] = []
    for arm in arms:
        divisor = temperature(metric(arm, "temperature")["mean"])
        heads += [arm_title(arm), f"{arm_title(arm, strength=False)}, T={divisor}"]

    def row(name: str, raw: str | None, scaled: str | None, *, more: str = "") -> Row:
        show = _thousandths(ranking) if name == "eaurc" else shown(name)
        cells = (_estimate(arm, each, show) for arm in arms for each in (raw, scaled))
        heading = SOFT_WORDS.get(name, METRICS[name].heading) if soft else METRICS[name].heading
        return Row(heading + more, tuple(cells), METRICS[name].shown.unit)

    def plain(label: str, unit: str, values: Iterable[float | None], show: Show) -> Row:
        cells = (cell for value in values for cell in (Cell(show(value), value=value), Cell(NOT_APPLICABLE)))
        return Row(label, tuple(cells), unit)

    closed = (closed_form(arm) for arm in arms)
    strengths = (torch_strength(arm, classes) for arm in arms)
    ranking = [metric(arm, name)["mean"] for arm in arms for name in ("eaurc", "eaurc_after_temperature")]
    soft = any("agreement" in arm["metrics"] for arm in arms)
    trained = (
        plain("logit gap, training", "nats", (arm["train_gap"] for arm in arms), partial(number, digits=2)),
        plain("closed form of the gap", "nats", closed, partial(number, digits=2)),
        plain("label_smoothing in torch", "ε over all", strengths, lambda v: "none" if v is None else f"{v:.4g}"),
    )
    return ResultsTable(
        tuple(heads),
        (
            *(row(name, name, scaled) for name, scaled in _compared(arms)),
            row("temperature", None, "temperature"),
            row("logit_gap", "logit_gap", None, more=", test"),
            *(trained if any(arm["train_gap"] is not None for arm in arms) else ()),
        ),
    )


def _compared(arms: Sequence[ArmSummary]) -> list[tuple[str, str | None]]:
    """The metrics that the arms have, each with its name after temperature: its own where no temperature changes it."""
    present = {name for arm in arms for name in arm["metrics"]}
    rows: list[tuple[str, str | None]] = []
    for name, defined in METRICS.items():
        # the temperature and the logit gap stand below, beside what is known of the training
        if name in present and not defined.scaled and name not in ("temperature", "logit_gap"):
            after = f"{name}_after_temperature"
            rows.append((name, after if after in METRICS else name if defined.family == "Right or wrong" else None))
    return rows


def in_columns(table: ResultsTable, columns: int = 4) -> list[ResultsTable]:
    """A table cut into tables of so many columns, each with all its rows: four are two arms, which fit a page."""
    return [
        ResultsTable(
            table.heads[start : start + columns],
            tuple(Row(row.label, row.cells[start : start + columns], row.unit) for row in table.rows),
        )
        for start in range(0, len(table.heads), columns)
    ]


def differences_table(summary: Summary) -> ResultsTable:
    """The headline differences between arms, with intervals, adjusted p-values and findings, under their two names."""
    titles = {arm["name"]: arm_title(arm) for arm in summary["arms"]}
    by_pair: dict[tuple[str, str], dict[str, ArmDifference]] = {}
    for each in summary["differences"]:
        by_pair.setdefault((each["arm"], each["against"]), {})[each["metric"]] = each
    ranking = [each["eaurc"]["mean"] for each in by_pair.values() if "eaurc" in each]
    shows: dict[str, tuple[str, Show]] = {
        "accuracy": (", points", lambda v: number(None if v is None else 100 * v, 1, sign=True)),
        "nll_after_temperature": ("", lambda v: number(v, sign=True)),
        "eaurc": ("", _thousandths(ranking, sign=True)),
    }
    rows: list[Row] = []
    for pair, differences in by_pair.items():
        rows += [Row(" − ".join(titles.get(name, name) for name in pair))] if {*HEADLINE} & {*differences} else []
        for metric_name in (name for name in HEADLINE if name in differences):
            each, defined, (more, show) = differences[metric_name], METRICS[metric_name], shows[metric_name]
            p, margin = each["p_adjusted"], each.get("margin")
            cells = (
                Cell(show(each["mean"]), value=each["mean"]),
                Cell(between(each, show)),
                Cell(p_value(p), value=p),
                Cell(each["finding"] or NOT_APPLICABLE),
                Cell(NOT_APPLICABLE if margin is None else f"± {show(margin).lstrip('+')}", value=margin),
            )
            rows.append(Row(defined.heading + more, cells, defined.shown.unit))
    return ResultsTable(("difference", "95 % interval", "adjusted p", "finding", "margin"), tuple(rows))


def classes_table(by_class: Sequence[Mapping[str, Any]], arms: Mapping[str, str]) -> ResultsTable:
    """Recall and precision of each class in two columns an arm; ``arms`` has the title of each by its name."""
    rows: list[Row] = []
    for each in by_class:
        ranges = [each[rate][arm] for arm in arms for rate in ("recall", "precision")]
        cells = tuple(Cell(percent(one["mean"]), between(one, percent), one["mean"]) for one in ranges)
        rows.append(Row(each["name"], cells, plural(each["rows"], "row")))
    heads = (f"{title}, {rate}".lstrip(", ") for title in arms.values() for rate in ("recall", "precision"))
    return ResultsTable(tuple(heads), tuple(rows))


def class_tables(summary: Summary) -> list[ResultsTable]:
    """The tables of recall and precision of a comparison or judgement, each of two arms."""
    titles = {arm["name"]: arm_title(arm) for arm in summary["arms"]}
    return in_columns(classes_table(summary.get("by_class", ()), titles))


def p_value(p: float | None) -> str:
    """A p-value as ``0.031``, ``< 0.001`` or a dash."""
    if p is None or math.isnan(p):
        return NOT_APPLICABLE
    if p < 0.001:
        return "< 0.001"
    return "1" if p >= 0.9995 else number(p)


def as_text(table: ResultsTable, width: int = 100) -> str:
    """A table as text, numbers right-aligned under a line of column heads.

    Columns that do not fit into the ``width`` of the terminal go into further blocks below. The brackets of a label go
    into a line of their own where all columns fit thanks to that, and where a label takes nearly half of the width.
    """
    filled = [row for row in table.rows if row.cells]
    columns = list(zip(table.heads, *([cell.text for cell in row.cells] for row in filled), strict=True))
    widths, blocks, start = [max(map(len, column)) for column in columns], list[str](), 0
    labels = _labels([row.label for row in filled], width, sum(2 + w for w in widths))
    label = max((len(line) for lines in labels for line in lines), default=0)
    while start < len(widths):
        stop = start + 1
        while stop < len(widths) and label + sum(2 + w for w in widths[start : stop + 1]) <= width:
            stop += 1
        if stop < len(widths) and (stop - start) % 2 and stop - start > 1:
            stop -= 1  # an arm and its temperature stay together
        room = (width - label - sum(widths[start:stop])) // (stop - start)
        space = " " * max(2, min(4, room))
        padded = ([space + text.rjust(widths[i]) for text in columns[i]] for i in range(start, stop))
        head, *cells = map("".join, zip(*padded, strict=True))
        rest = (
            "\n".join([first.ljust(label) + numbers, *more])
            for (first, *more), numbers in zip(labels, cells, strict=True)
        )
        lines = [next(rest) if row.cells else row.label for row in table.rows]
        blocks.append("\n".join([" " * label + head, *lines]))
        start = stop
    return "\n\n".join(blocks)


def _labels(labels: Sequence[str], width: int, columns: int) -> list[list[str]]:
    """The lines of each label, beside columns that are so wide together: one line, or two for a label with brackets."""

    def within(room: int) -> list[list[str]]:
        return [[label] if len(label) <= room else label.replace(" (", "\n  (", 1).split("\n") for label in labels]

    lines = within(width - columns)
    fit = all(len(line) <= width - columns for each in lines for line in each)
    return lines if fit else within(int(0.45 * width))


def metric(arm: ArmSummary, name: str) -> RangeOfMetric:
    """A metric of an arm; None throughout where the summary lacks it."""
    return arm["metrics"].get(name) or RangeOfMetric(mean=None, low=None, high=None)


def _estimate(arm: ArmSummary, name: str | None, show: Callable[[float | None], str]) -> Cell:
    if name is None:
        return Cell(NOT_APPLICABLE)
    value = metric(arm, name)
    return Cell(show(value["mean"]), between(value, show), value["mean"])


def _thousandths(values: Sequence[float | None], *, sign: bool = False) -> Callable[[float | None], str]:
    largest = max((abs(1000 * v) for v in values if v is not None and not math.isnan(v)), default=0.0)
    digits = 2 if largest < 10 else 1
    return lambda v: number(None if v is None else 1000 * v, digits, sign=sign)
