"""What a probe found, one line each."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

Level: TypeAlias = Literal["defect", "warning", "note"]
WORST_FIRST: tuple[Level, ...] = ("defect", "warning", "note")


@dataclass(frozen=True)
class ProbeFinding:
    """One thing found.

    Attributes:
        level: ``"defect"``: the loss trains towards something that nobody asked for, or fails; ``"warning"``: it will
            surprise; ``"note"``: it is good to know.
        about: what was looked at, in a word or two.
        text: what was seen.

    >>> str(ProbeFinding("defect", "total mass", "Σq = 0.99"))
    'defect: total mass: Σq = 0.99'
    """

    level: Level
    about: str
    text: str

    def __str__(self) -> str:
        """The finding as one line."""
        return f"{self.level}: {self.about}: {self.text}"


def in_figures(numbers: Iterable[float], most: int = 6, *, digits: int = 4) -> str:
    """The first numbers of a distribution, without the rounding of a fit.

    >>> in_figures([0.7, 0.3, -1e-17])
    '(0.7, 0.3, 0)'
    >>> in_figures(range(7))
    '(0, 1, 2, 3, 4, 5, …)'
    """
    figures = [f"{round(float(each), 9) + 0.0:.{digits}g}" for each in numbers]
    return f"({', '.join(figures[:most])}{', …' if len(figures) > most else ''})"


defect = partial(ProbeFinding, "defect")
warning = partial(ProbeFinding, "warning")
note = partial(ProbeFinding, "note")
