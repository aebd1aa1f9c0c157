"""What the figures share: colours, axes, legends above them, and the record that each returns.

Every property is set on the object that is drawn, none through matplotlib's settings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sfumato.runs.read import Floats, Ints

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
else:
    Axes = Any  # matplotlib is loaded when something is drawn

PAPER, INK, FAINT, RULE = "#fbfaf7", "#22211f", "#6c6a66", "#d9d6cf"
SLATE, OCHRE = "#33566b", "#c07a1c"
# Umber, lavender and sea green keep apart from the first two, and from each other, also without red, green or blue
# cones and in grey: the least distance of two of the five in CIELAB is 27 (tests/report/test_figure_style.py).
ARM_COLOURS = (SLATE, OCHRE, "#543c18", "#9c78e4", "#489c78")
CLASS_COLOURS = ARM_COLOURS[2:]  # of the three classes in a projection, where no arm is meant
MARKS = ("o", "s", "^", "D", "v")
OWN = "sfumato"  # label of the figures made here: only their size may be changed by a legend
LINE = 0.17  # inches a line of a legend
WIDTH, HEIGHT = 4.5, 3.2  # inches; text is 9 and 10 points, so that a narrow phone can still read it


@dataclass(frozen=True)
class Chart:
    """A figure that was drawn: its axis, the numbers in it by name, and the figure in words."""

    ax: Axes
    numbers: dict[str, Any]
    alt: str


def colours(count: int) -> list[str]:
    """One colour per arm, in the order of the arms."""
    return [ARM_COLOURS[i % len(ARM_COLOURS)] for i in range(count)]


def marks(count: int) -> list[str]:
    """One marker per arm: arms stay apart without colour. The sixth has the first's colour and another marker."""
    return [MARKS[(i + i // len(ARM_COLOURS)) % len(MARKS)] for i in range(count)]


def axes(ax: Axes | None, height: float = HEIGHT) -> Axes:
    """The given axis, or an axis in a new figure that pyplot does not know."""
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    # 72 dots an inch, as SVG has them
    return Figure((WIDTH, height), dpi=72, layout="constrained", facecolor=PAPER, label=OWN).add_subplot()


def style(ax: Axes) -> None:
    """Two thin spines, small ticks, labels in ink, no background."""
    ax.set_facecolor("none")
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)
        spine.set_linewidth(0.8)
    ax.tick_params(which="major", colors=FAINT, labelcolor=INK, labelsize=9, width=0.8, length=3)
    ax.tick_params(which="minor", colors=FAINT, width=0.6, length=2)
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set_color(INK)
        label.set_fontsize(10)


def style_with_legend(ax: Axes, room: float = 270) -> None:
    """:func:`style`, and a legend above the axis."""
    style(ax)
    legend_above(ax, *ax.get_legend_handles_labels(), room=room)


def legend_above(
    ax: Axes, handles: Sequence[Any], labels: Sequence[str], *, columns: int = 0, room: float = 270, **more: Any
) -> None:
    """A legend above the axis, by default in two columns if they fit into ``room`` points; ``more`` is matplotlib's.

    A figure that :func:`axes` made grows by the lines after the first, so that they take nothing from the plot.
    """
    half = -(-len(labels) // 2)
    letters = sum(max(map(len, column), default=0) for column in (labels[:half], labels[half:]))
    columns = columns or (2 if 5.1 * letters + 68 <= room else 1)
    figure = ax.get_figure(root=True)
    if figure is not None and figure.get_label() == OWN:
        lines = -(-len(labels) // columns)
        figure.set_figheight(figure.get_figheight() + LINE * max(0, lines - 1))
    look: dict[str, Any] = {"frameon": False, "fontsize": 9, "labelcolor": INK, "handlelength": 2.2}
    look |= {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "columnspacing": 1.6, **more}
    ax.legend(handles, labels, ncols=columns, **look)


def seed_lines(ax: Axes, epochs: Ints, values: Floats, colour: str, label: str) -> None:
    """A thin line per seed of values (S, E) and a thick one for their mean."""
    mark = "o" if len(epochs) == 1 else ""
    for line in values:
        ax.plot(epochs, line, color=colour, lw=0.6, alpha=0.5, marker=mark, ms=2)
    ax.plot(epochs, mean_over_seeds(values), color=colour, lw=1.8, marker=mark, ms=4, label=label)


def mean_over_seeds(values: Floats) -> Floats:
    """Mean of (S, E) over the seeds that have a value; NaN where none has."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, values, 0).sum(axis=0), np.nan) / np.maximum(count, 1)


def whole_epochs(ax: Axes, epochs: Ints) -> None:
    """Ticks of an axis of epochs at whole numbers, also where there is a single one."""
    from matplotlib.ticker import MaxNLocator

    if len(epochs) == 1:
        ax.set_xlim(epochs[0] - 1, epochs[0] + 1)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))


def log_ticks(axis: Any) -> None:
    """Round numbers on a log axis whose limits are final: 1, 2 and 5, or powers of ten where these are many."""
    from matplotlib.ticker import LogLocator, NullLocator

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:.3g}")
