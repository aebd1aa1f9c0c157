"""What the figures say about arms: colours, closed forms and words for the text that stands for a figure."""

import numpy as np

from sfumato.report.compare.tables import arm_title, closed_form
from sfumato.report.figure_style import ARM_COLOURS, MARKS
from sfumato.runs.read import Run
from sfumato.text import number


def colours(run: Run) -> list[str]:
    """One colour an arm, in the order of the arms."""
    return [ARM_COLOURS[i % len(ARM_COLOURS)] for i in range(len(run.arms))]


def marks(run: Run) -> list[str]:
    """One marker an arm: arms stay apart without colour. The sixth has the first's colour and another marker."""
    return [MARKS[(i + i // len(ARM_COLOURS)) % len(MARKS)] for i in range(len(run.arms))]


def titles(run: Run) -> tuple[str, ...]:
    """The arms as the tables call them."""
    return tuple(arm_title(arm) for arm in run.arms)


def closed_forms(run: Run) -> tuple[float, ...]:
    """The gap at the optimum of each arm, infinite for one-hot, and NaN where no single gap is best."""
    return tuple(closed_form(arm) for arm in run.arms)


def closed_labels(run: Run) -> list[tuple[float, str]]:
    """The finite closed forms with what to write on them."""
    found: dict[float, str] = {}
    gaps = closed_forms(run)
    said = "" if np.isfinite(gaps).sum() > 1 else "closed form "
    for arm, closed in zip(run.arms, gaps, strict=True):
        if np.isfinite(closed):
            told = arm["name"] if arm["eps"] is None else f"ε {arm['eps']:g} ({arm['over']})"
            found.setdefault(closed, f"{said}{closed:.2f}, {told}")
    return list(found.items())


def finite(value: float) -> str:
    """A closed form in words."""
    return "none" if np.isnan(value) else f"{value:.2f}" if np.isfinite(value) else "infinite"


def in_nats(value: float) -> str:
    """A floor of a loss: 0 where it is exactly that, and none where the loss has no floor."""
    if np.isnan(value):
        return "none"
    return "0" if value == 0 else number(value) if abs(value) >= 0.0005 else f"{value:.1g}"
