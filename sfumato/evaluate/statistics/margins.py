"""Whether a difference matters: the margin of each headline metric, and what was found against it.

A test says whether there is a difference. A margin says how large a difference has to be before somebody acts on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from sfumato.text import did_you_mean, short

FindingName = Literal[
    "better", "slightly better", "equivalent", "slightly worse", "worse",
    "not worse", "not better", "inconclusive", "not tested",
]  # fmt: skip

RELIABLE = frozenset({"better", "slightly better", "slightly worse", "worse"})
"""The findings that are a difference to rely on."""

_METRICS = {"accuracy": "accuracy", "nll": "nll_after_temperature", "eaurc": "eaurc"}


@dataclass(frozen=True)
class Margins:
    r"""How large a difference has to be to matter, for each headline metric.

    Attributes:
        accuracy: in points: 0.5 is a change of the accuracy by 0.005; with ``"%"``, of the mistakes of the model that
            it is compared with.
        nll: of the log loss after temperature, in nats; with ``"%"``, of the log loss of the model compared against.
        eaurc: an area; with ``"%"``, of the AURC of the model compared against.

    Raises:
        ValueError: anything but a finite number of at least 0, with or without ``"%"`` (names it).

    >>> Margins.parse("nll=0.01,accuracy=1")
    Margins(accuracy='1', nll='0.01', eaurc='5%')
    >>> Margins().of("nll_after_temperature"), Margins().of("accuracy")
    ((0.0, 0.02), (0.005, 0.0))
    """

    accuracy: str = "0.5"
    nll: str = "2%"
    eaurc: str = "5%"

    def __post_init__(self) -> None:
        for name in _METRICS:
            _amount(name, getattr(self, name))

    @classmethod
    def parse(cls, text: str | None, default: Margins | None = None) -> Margins:
        """Read margins as the command line has them, ``accuracy=0.5,nll=2%,eaurc=5%``; those left out keep defaults.

        Raises:
            ValueError: an unknown name, a name given twice, or no margin (names it).
        """
        given: dict[str, str] = {}
        for part in filter(None, (part.strip() for part in (text or "").split(","))):
            name, equals, value = (word.strip() for word in part.partition("="))
            if not equals:
                raise ValueError(f'a margin is a name and a number, such as nll=2%, got "{short(part)}"')
            if name not in _METRICS:
                raise ValueError(
                    f'"{short(name)}" has no margin: accuracy, nll and eaurc have one.{did_you_mean(name, _METRICS)}'
                )
            if name in given:
                raise ValueError(f"the margin of {name} is given twice")
            given[name] = value.replace(" ", "")
        return replace(default or cls(), **given)

    def of(self, metric: str) -> tuple[float, float]:
        """The margin of a headline metric as a number and a part of the base: ``number + part·base``.

        Args:
            metric: ``"accuracy"`` (base: the share of mistakes), ``"nll_after_temperature"`` (its log loss) or
                ``"eaurc"`` (its AURC).

        Returns:
            The number, in the metric's own unit, and the part; one of the two is 0.

        Raises:
            KeyError: a metric that has no margin.
        """
        name = next((name for name, full in _METRICS.items() if full == metric), None)
        if name is None:
            raise KeyError(f"{metric} has no margin")
        number, relative = _amount(name, getattr(self, name))
        if relative:
            return 0.0, number / 100
        return (number / 100 if name == "accuracy" else number), 0.0


def finding_of(
    difference: float, *, below_margin: bool, above_margin: bool, reliable: bool, better: str
) -> FindingName:
    r"""What was found of one difference between two models.

    ============================  ==========================  ============
    the true difference is shown  reliable                    not reliable
    ============================  ==========================  ============
    to lie within ±margin         slightly better or worse    equivalent
    not to be worse by a margin   better                      not worse
    not to be better by a margin  worse                       not better
    to be neither of these        better or worse             inconclusive
    ============================  ==========================  ============

    ``below_margin`` says that a one-sided test at 5 % shows the true difference to lie below +margin, and
    ``above_margin`` above −margin; ``reliable`` that the adjusted test finds a difference.

    >>> finding_of(-0.02, below_margin=True, above_margin=False, reliable=True, better="lower")
    'better'
    >>> finding_of(0.001, below_margin=True, above_margin=True, reliable=False, better="higher")
    'equivalent'
    >>> finding_of(0.01, below_margin=False, above_margin=True, reliable=False, better="higher")
    'not worse'

    Source: Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15:657 (two one-sided tests).
    """
    inside, higher = below_margin and above_margin, better == "higher"
    if reliable:
        if (difference > 0) == higher:
            return "slightly better" if inside else "better"
        return "slightly worse" if inside else "worse"
    if inside:
        return "equivalent"
    if below_margin or above_margin:
        return "not worse" if above_margin == higher else "not better"
    return "inconclusive"


def _amount(name: str, text: str) -> tuple[float, bool]:
    """The number of a margin, and whether it is per cent of the base's."""
    relative = text.endswith("%")
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = math.nan
    if not (0 <= number < math.inf):
        raise ValueError(f'the margin of {name} must be a number of at least 0, got "{short(text)}"')
    return number, relative
