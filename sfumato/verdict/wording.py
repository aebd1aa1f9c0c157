"""What was found of one metric or one temperature, in sentences for someone who has read no paper on it."""

from __future__ import annotations

import math
from typing import NamedTuple

from sfumato.evaluate.metrics.registry import METRICS, SOFT_WORDS
from sfumato.runs.schema import ArmDifference
from sfumato.text import number
from sfumato.text import temperature as two_digits
from sfumato.verdict.analyse import ArmResult


class InSentences(NamedTuple):
    """How sentences show a headline metric: its name, a factor and decimals, units of values and of differences."""

    name: str
    scale: float
    digits: int
    unit: str
    points: str
    better: str
    worse: str

    def value(self, value: float, *, sign: bool = False) -> str:
        """A number with the metric's decimals, without its unit."""
        return number(self.scale * value, self.digits, sign=sign, zero=self.digits < 3)

    def span(self, low: float, high: float) -> str:
        """The ends of an interval of differences, with their unit."""
        return f"{self.value(low, sign=True)} to {self.value(high, sign=True)}{self.points}"

    def amount(self, value: float) -> str:
        """A size in two digits, with its unit."""
        size = self.scale * value
        if size >= 1e7:
            return f"{size:.2g}{self.points}"
        digits = 1 if size == 0 else max(1 - math.floor(math.log10(size)), 0)
        text = f"{size:.{digits}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return text + (self.points.removesuffix("s") if text == "1" else self.points)


SHOWN = {
    "accuracy": InSentences(
        METRICS["accuracy"].label, 100, 1, " %", " points",
        better="is right more often{than}: accuracy {change}",
        worse="is right less often{than}: accuracy {change}",
    ),
    "nll_after_temperature": InSentences(
        METRICS["nll"].words, 1, 3, "", "",
        better="gives probabilities that fit the labels better{than}: log loss {change}, each after temperature "
        "scaling, which divides a model's logits by one number",
        worse="gives probabilities that fit the labels worse{than}: log loss {change}, each after temperature "
        "scaling, which divides a model's logits by one number",
    ),
    "eaurc": InSentences(
        METRICS["eaurc"].heading, 1000, 2, "", "",
        better="is better{than} at being less sure of its mistakes: E-AURC × 1000 {change}",
        worse="is worse{than} at being less sure of its mistakes: E-AURC × 1000 {change}",
    ),
}  # fmt: skip
"""The headline metrics as sentences show them."""


def change(base: ArmResult, other: ArmResult, row: ArmDifference, *, than: bool) -> str:
    """What is better or worse, from which number to which, as the end of a sentence about a model."""
    shown = SHOWN[row["metric"]]
    with_whom = f" than the {base.arm.name} model" + ("'s" if row["metric"] == "nll_after_temperature" else "")
    before, after = (shown.value(float(arm.metrics[row["metric"]].by_seed.mean())) for arm in (base, other))
    clause = shown.worse if row["finding"] == "worse" else shown.better
    told = clause.format(than=with_whom if than else "", change=f"{before} → {after}{shown.unit}")
    return f"{told} (95 % interval of the difference {shown.span(row['low'], row['high'])})"


def small_or_open(row: ArmDifference, inner: tuple[float, float], *, whose: bool = False) -> str:
    """One sentence on a difference that decides nothing: the same, too small to matter, or not settled."""
    shown, margin = SHOWN[row["metric"]], row.get("margin") or 0.0
    name, mean = shown.name, shown.value(row["mean"], sign=True)
    mean = f"{row['arm']} less {row['against']}: {mean}" if whose else mean
    if row["finding"] == "the same":
        if row["low"] == row["high"] == 0:
            return f"The {name} is the same on every test row."
        return f"The {name} is the same within {shown.amount(margin)} ({mean}, 90 % interval {shown.span(*inner)})."
    if row["finding"] == "not settled":
        if row["low"] == row["high"]:
            return f"Whether the {name} differs is not settled ({mean}; the rows are too few for an interval)."
        p, adjusted = row["p_adjusted"], ""
        if p is not None and (row["low"] > 0 or row["high"] < 0):  # the interval is of this test, the finding of all
            adjusted = f", but p = {number(p)} after adjusting for all tests"
        return (
            f"Whether the {name} differs is not settled ({mean}, 95 % interval {shown.span(row['low'], row['high'])}"
            f"{adjusted})."
        )
    way = "better" if row["finding"] == "better by little" else "worse"
    return (
        f"The {name} of the {row['arm']} model is reliably {way}, but by less than the {shown.amount(margin)} that "
        f"would matter ({mean}, 95 % interval {shown.span(row['low'], row['high'])})."
    )


def divisor(result: ArmResult) -> str | None:
    """The temperature that an arm's logits should be divided by; None where that does not help reliably."""
    gain = result.metrics["nll_after_temperature"].minus(result.metrics["nll"]).estimate()
    if gain.high >= 0 or any(fitted.at_bound for fitted in result.temperatures):
        return None
    return two_digits(float(result.metrics["temperature"].by_seed.mean()))


def temperature(result: ArmResult, *, advised: bool) -> list[str]:
    """What one temperature does for an arm, and how confident the arm is without it."""
    name, value = result.arm.name, two_digits(float(result.metrics["temperature"].by_seed.mean()))
    gain = result.metrics["nll_after_temperature"].minus(result.metrics["nll"]).estimate()
    rows = "test" if result.cross_fitted else "validation"
    ends = [fitted.value for fitted in result.temperatures if fitted.at_bound]
    if ends and max(ends) < 1 and float(result.metrics["accuracy"].by_seed.max()) == 1:
        return [
            f"No temperature is the best one for the logits of the {name} model: where every row is right, each "
            "smaller one fits better. Rows on which the model errs could tell.",
            _confidence(result),
        ]
    if ends:
        return [
            f"No temperature makes the logits of the {name} model useful as probabilities: on the {rows} rows of "
            "at least one seed the best temperature is the end of the range that was searched."
        ]
    before, after = (number(float(result.metrics[m].by_seed.mean())) for m in ("nll", "nll_after_temperature"))
    if (by := divisor(result)) is not None:
        falls = f"Divide the logits of the {name} model by {by}: its log loss then falls from {before} to {after}."
        lowers = f"Dividing the logits of the {name} model by {by} lowers its log loss from {before} to {after}."
        return [lowers if advised else falls, _confidence(result)]
    interval = f"95 % interval of the difference {number(gain.low, sign=True)} to {number(gain.high, sign=True)}"
    if gain.low > 0:
        does = (
            f"Leave the logits of the {name} model as they are: dividing them by {value}, the best number for the "
            f"{rows} rows, raises its log loss from {before} to {after} ({interval})."
        )
    else:
        does = (
            f"Dividing the logits of the {name} model by {value} takes its log loss from {before} to {after}, "
            f"which is no difference to rely on ({interval})."
        )
    return [does, _confidence(result)]


def _confidence(result: ArmResult) -> str:
    """Whether the model as trained is as often right as it says."""
    off = result.metrics["signed_gap"].estimate()
    soft = "agreement" in result.metrics
    name = SOFT_WORDS["signed_gap"] if soft else METRICS["signed_gap"].words
    told = f"({name} {number(off.mean, sign=True)})"
    if off.low > 0:
        says = "fewer annotators agree with it than it says" if soft else "it is right less often than it says"
        return f"As trained, that model is over-confident: {says} {told}."
    if off.high < 0:
        says = "more annotators agree with it than it says" if soft else "it is right more often than it says"
        return f"As trained, that model is under-confident: {says} {told}."
    return f"As trained, that model is neither over- nor under-confident as far as these rows can tell {told}."
