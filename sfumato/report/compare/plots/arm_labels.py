"""What the figures say about arms: colours, closed forms and words for the text that stands for a figure."""

import numpy as np

from sfumato.report.compare.tables import arm_title
from sfumato.report.figure_style import ARM_COLOURS, MARKS
from sfumato.runs.read import Run
from sfumato.text import number


def colours(run: Run) -> list[str]:
    """One colour an arm, in the order of the arms."""
    return [ARM_COLOURS[i % len(ARM_COLOURS)] for i in range(len(run.arms))]


def marks(run: Run) -> list[str]:
    """One marker an arm, so that arms stay apart without colour."""
    return [MARKS[i % len(MARKS)] for i in range(len(run.arms))]


def titles(run: Run) -> tuple[str, ...]:
    """The arms as the tables call them."""
    return tuple(arm_title(arm) for arm in run.arms)


def closed_forms(run: Run) -> tuple[float, ...]:
    """The gap at the optimum of each arm, infinite for one-hot."""
    gaps = [arm["closed_form_gap"] for arm in run.arms]
    return tuple(np.inf if gap is None else float(gap) for gap in gaps)


def closed_labels(run: Run) -> list[tuple[float, str]]:
    """The finite closed forms with what to write on them."""
    found: dict[float, str] = {}
    gaps = closed_forms(run)
    said = "" if np.isfinite(gaps).sum() > 1 else "closed form "
    for arm, closed in zip(run.arms, gaps, strict=True):
        if np.isfinite(closed):
            found.setdefault(closed, f"{said}{closed:.2f}, ε {arm['eps']:g} ({arm['over']})")
    return list(found.items())


def finite(value: float) -> str:
    """A closed form in words."""
    return f"{value:.2f}" if np.isfinite(value) else "infinite"


def in_nats(value: float) -> str:
    """A floor of a loss: 0 where it is exactly that."""
    return "0" if value == 0 else number(value)
