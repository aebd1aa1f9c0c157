"""Whether a difference matters: the margin of each headline metric, and the word for what was found against it.

A test says whether there is a difference. A margin says how large a difference has to be before somebody acts on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from sfumato.text import did_you_mean, short

Word = Literal["better", "worse", "better by little", "worse by little", "the same", "not settled"]

_METRICS = {"accuracy": "accuracy", "nll": "nll_after_temperature", "eaurc": "eaurc"}


@dataclass(frozen=True)
class Margins:
    r"""How large a difference has to be to matter, for each headline metric.

    Attributes:
        accuracy: in points: 0.5 is a change of the accuracy by 0.005.
        nll: of the log loss after temperature, in nats; with ``"%"``, of the log loss of the model compared against.
        eaurc: an area; with ``"%"``, of the AURC of the model compared against.

    Raises:
        ValueError: what is no finite number of at least 0, or per cent for the accuracy (names it).

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
    def parse(cls, text: str | None) -> Margins:
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
        return cls(**given)

    def of(self, metric: str) -> tuple[float, float]:
        """The margin of a headline metric as a number and a part of the base: ``number + part·base``.

        Args:
            metric: ``"accuracy"``, ``"nll_after_temperature"`` (base: its log loss) or ``"eaurc"`` (base: its AURC).

        Returns:
            The number, in the metric's own unit, and the part; one of the two is 0.

        Raises:
            KeyError: a metric that has no margin.
        """
        name = next((name for name, full in _METRICS.items() if full == metric), None)
        if name is None:
            raise KeyError(f"{metric} has no margin")
        number, relative = _amount(name, getattr(self, name))
        if name == "accuracy":
            return number / 100, 0.0
        return (0.0, number / 100) if relative else (number, 0.0)


def word_for(difference: float, *, inside: bool, reliable: bool, better: str) -> Word:
    r"""The word for one difference between two models.

    ======================  ========================  =======================
    ..                      inside the margin         not inside
    ======================  ========================  =======================
    reliable                better, worse by little   better, worse
    not reliable            the same                  not settled
    ======================  ========================  =======================

    Args:
        difference: the estimate, this model less the other.
        inside: whether two one-sided tests at 5 % say that the true difference lies within ±margin. Of a margin that is
            a part r of the base b, these are tests of d − r·b < 0 and d + r·b > 0, so that b counts as random too.
        reliable: whether the adjusted test finds a difference.
        better: ``"higher"`` or ``"lower"``, whichever is better.

    >>> word_for(-0.02, inside=False, reliable=True, better="lower")
    'better'
    >>> word_for(0.001, inside=True, reliable=False, better="higher")
    'the same'

    Source: Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15:657 (two one-sided tests).
    """
    if not reliable:
        return "the same" if inside else "not settled"
    if (difference > 0) == (better == "higher"):
        return "better by little" if inside else "better"
    return "worse by little" if inside else "worse"


def _amount(name: str, text: str) -> tuple[float, bool]:
    """The number of a margin, and whether it is per cent of the base's."""
    relative = text.endswith("%")
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = math.nan
    if not (0 <= number < math.inf):
        raise ValueError(f'the margin of {name} must be a number of at least 0, got "{short(text)}"')
    if relative and name == "accuracy":
        raise ValueError(f'the margin of accuracy is in points and has no % (accuracy=0.5), got "{short(text)}"')
    return number, relative
