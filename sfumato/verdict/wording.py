"""What was found of one metric or one temperature, in sentences for someone who has not read a paper on it."""

from __future__ import annotations

import math
from typing import NamedTuple

from sfumato.evaluate.metrics.registry import METRICS, SOFT_WORDS
from sfumato.evaluate.statistics.differences import MIN_MISTAKES
from sfumato.runs.schema import ArmDifference, NoiseDescription
from sfumato.text import number, plural
from sfumato.text import temperature as two_digits
from sfumato.verdict.analyse import ArmResult


class InSentences(NamedTuple):
    """How sentences show a headline metric: its name, a factor and decimals, units of values and of differences."""

    name: str
    scale: float
    digits: int
    unit: str
    points: str

    @property
    def plain(self) -> str:
        """The name within a sentence, without what its numbers are."""
        name = self.name.partition(" (")[0]
        return f"the {name}" if name.startswith("ranking") else name

    def value(self, value: float, *, sign: bool = False) -> str:
        """A number with the metric's decimals, without its unit."""
        return number(self.scale * value, self.digits, sign=sign)

    def interval(self, row: ArmDifference) -> str:
        """The difference with its 95 % interval, or the 90 % one by which it lies within a margin."""
        inner = row.get("inner") if row["finding"] in ("equivalent", "not worse", "not better") else None
        low, high = (self.value(end, sign=True) for end in inner or (row["low"], row["high"]))
        level = 90 if inner else 95
        return f"{self.value(row['mean'], sign=True)}{self.points}, {level} % interval {low} to {high}"

    def amount(self, value: float) -> str:
        """A size in two digits, with its unit."""
        size = self.scale * value
        size = 0.0 if size < 10 ** -(self.digits + 2) else size
        if size >= 1e7:
            return f"{size:.2g}{self.points}"
        digits = 1 if size == 0 else max(1 - math.floor(math.log10(size)), 0)
        text = f"{size:.{digits}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
        return text + (self.points.removesuffix("s") if text == "1" else self.points)


SHOWN = {
    "accuracy": InSentences("accuracy", 100, 1, " %", " points"),
    "nll_after_temperature": InSentences("log loss after temperature scaling", 1, 3, "", ""),
    "eaurc": InSentences("ranking of mistakes (E-AURC × 1000)", 1000, 2, "", ""),
}
"""The headline metrics as sentences show them."""


def finding(base: ArmResult, other: ArmResult, row: ArmDifference) -> str:
    """One sentence on one headline metric: what was found, and the numbers behind it."""
    shown = SHOWN[row["metric"]]
    name = shown.name[0].upper() + shown.name[1:]
    if row["low"] == row["high"] == 0:
        return f"{name}: equal on every test row."
    if row["low"] == row["high"]:
        return f"{name}: {row['finding']} ({shown.value(row['mean'], sign=True)}; too few rows for an interval)."
    if row["finding"] == "not tested":
        fewer = int(min(base.mistakes, other.mistakes))
        return (
            f"{name}: not tested, because one arm makes only {plural(fewer, 'mistake')} on these rows, and the test "
            f"needs {MIN_MISTAKES} (difference {shown.value(row['mean'], sign=True)})."
        )
    before, after = (shown.value(arm.metrics[row["metric"]].mean) for arm in (base, other))
    margin, p, inner = shown.amount(row.get("margin") or 0.0), row["p_adjusted"], row.get("inner")
    more = {
        "slightly better": f"; less than the {margin} that would matter",
        "slightly worse": f"; less than the {margin} that would matter",
        "equivalent": f"; within {margin}",
        "not worse": f"; a worsening by {margin} is ruled out",
        "not better": f"; an improvement by {margin} is ruled out",
    }.get(row["finding"] or "", "")
    open_ended = row["finding"] in ("equivalent", "not worse", "not better", "inconclusive")
    if open_ended and p is not None and (row["low"] > 0 or row["high"] < 0):  # the interval is of this test alone
        more = f", but p = {number(p)} after adjusting for all tests{more}"
    if row["finding"] == "inconclusive" and inner:
        more += f"; the smallest margin that these rows support is {shown.amount(max(map(abs, inner)))}"
    return f"{name}: {row['finding']} ({before} → {after}{shown.unit}; {shown.interval(row)}{more})."


def divisor(result: ArmResult) -> str | None:
    """The temperature that an arm's logits should be divided by; None where that does not help reliably."""
    gain = result.metrics["nll_after_temperature"].minus(result.metrics["nll"]).estimate()
    if gain.high >= 0 or any(fitted.at_bound for fitted in result.temperatures):
        return None
    return two_digits(result.metrics["temperature"].mean)


def temperature(result: ArmResult, *, advised: bool) -> list[str]:
    """What one temperature does for an arm, and how confident the arm is without it; nothing where nothing is found."""
    name, value = result.arm.name, two_digits(result.metrics["temperature"].mean)
    gain = result.metrics["nll_after_temperature"].minus(result.metrics["nll"]).estimate()
    rows = "test" if result.cross_fitted else "validation"
    ends = [fitted.value for fitted in result.temperatures if fitted.at_bound]
    if ends and max(ends) < 1 and float(result.metrics["accuracy"].by_model.max()) == 1:
        return [
            f"The {name} logits have no optimal temperature: where every row is right, a smaller one always fits "
            "better. Rows on which the model errs could determine it.",
            *_confidence(result),
        ]
    if ends:
        return [
            f"No temperature makes the {name} logits useful as probabilities: on the {rows} rows of at least one "
            "model, the best temperature is an end of the range that was searched."
        ]
    before, after = (number(result.metrics[metric].mean) for metric in ("nll", "nll_after_temperature"))
    if (by := divisor(result)) is not None:
        start = "Dividing" if advised else "Temperature scaling helps: dividing"
        return [
            f"{start} the {name} logits by {by} lowers their log loss from {before} to {after}.",
            *_confidence(result),
        ]
    if gain.low > 0:
        low, high = number(gain.low, sign=True), number(gain.high, sign=True)
        return [
            f"Leave the {name} logits as they are: dividing them by {value}, the best number for the {rows} rows, "
            f"raises their log loss from {before} to {after} (95 % interval of the difference {low} to {high}).",
            *_confidence(result),
        ]
    return _confidence(result)


def _confidence(result: ArmResult) -> list[str]:
    """Whether the model as trained is right more or less often than it is confident; nothing where neither shows."""
    off = result.metrics["signed_gap"].estimate()
    soft = "agreement" in result.metrics
    name = SOFT_WORDS["signed_gap"] if soft else METRICS["signed_gap"].words
    if off.low <= 0 <= off.high:
        return []
    way = "over-confident" if off.low > 0 else "under-confident"
    return [f"As trained, the {result.arm.name} model is {way} ({name} {number(off.mean, sign=True)})."]


CAUTION = (
    "Temperatures were fitted on validation rows with such labels, which leaves every model less sure than is right on "
    "the test rows. Numbers after temperature say which model fits wrong labels; for right ones look at the accuracy, "
    "the ranking, and the log loss as trained."
)


def noise_sentences(noise: NoiseDescription | None) -> list[str]:
    """What was done to labels that were made wrong on purpose, and :data:`CAUTION`; nothing where labels are right."""
    if noise is None:
        return []
    how = f"each was drawn from the row of its class in {noise['given']}"
    if noise["rate"] is not None:
        how = f"each was replaced with probability {noise['rate']:g} by another class, each other class as likely"
    done = f"Labels of training and validation rows were made wrong on purpose: {how}. Test labels are as they were."
    return [done, CAUTION]
