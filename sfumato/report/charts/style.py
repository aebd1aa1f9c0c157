"""What the figures share: colours, axes, legends above them, labels on lines.

Every property is set on the object that is drawn, none through matplotlib's settings.
"""

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from sfumato.runs.read import Floats, Ints, Run

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


def colours(run: Run) -> list[str]:
    """One colour an arm, in the order of the arms."""
    return [ARM_COLOURS[i % len(ARM_COLOURS)] for i in range(len(run.arms))]


def marks(run: Run) -> list[str]:
    """One marker an arm: arms stay apart without colour. The sixth has the first's colour and another marker."""
    return [MARKS[(i + i // len(ARM_COLOURS)) % len(MARKS)] for i in range(len(run.arms))]


def axes(ax: Axes | None, height: float = HEIGHT) -> Axes:
    """The given axis, or an axis in a new figure that pyplot does not know."""
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    # 72 dots an inch, as SVG has them
    return Figure((WIDTH, height), dpi=72, layout="constrained", facecolor=PAPER, label=OWN).add_subplot()


def settle(figure: Any) -> Any:
    """Put the axes of a figure in their places for good; the layout that did it, for whoever changes it after all.

    Drawing lays out a figure again, and that is most of its work; a figure that was settled is drawn as it is. Another
    figure than those of :func:`axes` keeps its layout.
    """
    layout = figure.get_layout_engine()
    inside = [child for ax in figure.axes for child in ax.child_axes]
    if layout is not None:
        for _ in range(2 if inside else 1):  # the layout sees axes in axes from its second pass on
            layout.execute(figure)
    for child in inside:  # as drawing does it
        child.apply_aspect(child.get_axes_locator()(child, None))
    if layout is not None and figure.get_label() == OWN:
        figure.set_layout_engine("none")
    return layout


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
    """:func:`style`, and a legend above the axis, in two columns if they fit into so many points."""
    style(ax)
    legend_above(ax, *ax.get_legend_handles_labels(), room=room)


def legend_above(ax: Axes, handles: Sequence[Any], labels: Sequence[str], *, room: float = 270, **more: Any) -> None:
    """A legend above the axis, in two columns if they fit into so many points; ``more`` is matplotlib's.

    A figure that :func:`axes` made grows by the lines after the first, so that they take nothing from the plot.
    """
    half = -(-len(labels) // 2)
    letters = sum(max(map(len, column), default=0) for column in (labels[:half], labels[half:]))
    columns = 2 if 5.1 * letters + 68 <= room else 1
    lines = half if columns == 2 else len(labels)
    figure = ax.get_figure(root=True)
    if figure is not None and figure.get_label() == OWN:
        figure.set_figheight(figure.get_figheight() + LINE * max(0, lines - 1))
    ax.legend(
        handles,
        labels,
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=columns,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        **{"handlelength": 2.2, "columnspacing": 1.6, **more},
    )


def seed_lines(ax: Axes, epochs: Ints, values: Floats, colour: str, label: str) -> None:
    """A thin line a seed of values (S, E) and a thick one for their mean."""
    mark = "o" if len(epochs) == 1 else ""
    for line in values:
        ax.plot(epochs, line, color=colour, lw=0.6, alpha=0.5, marker=mark, ms=2)
    ax.plot(epochs, mean_over_seeds(values), color=colour, lw=1.8, marker=mark, ms=4, label=label)


def mean_over_seeds(values: Floats) -> Floats:
    """Mean of (S, E) over the seeds that have a value; NaN where none has."""
    held = np.isfinite(values)
    count = held.sum(axis=0)
    return np.where(count > 0, np.where(held, values, 0).sum(axis=0), np.nan) / np.maximum(count, 1)


def whole_epochs(ax: Axes, epochs: Ints) -> None:
    """Ticks of an axis of epochs at whole numbers, also where there is a single one."""
    from matplotlib.ticker import MaxNLocator

    if len(epochs) == 1:
        ax.set_xlim(epochs[0] - 1, epochs[0] + 1)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))


def whole_decades(ax: Axes) -> None:
    """At least one whole decade on a log axis of y, and at least three labels: at 1, 2, 5 where decades are few."""
    from matplotlib.ticker import FixedLocator, NullFormatter

    bottom, top = ax.get_ylim()
    if top < 10 * bottom:
        bottom, top = 10 ** np.floor(np.log10(bottom)), 10 ** np.ceil(np.log10(top))
        ax.set_ylim(bottom, top)
    if np.floor(np.log10(top)) - np.ceil(np.log10(bottom)) < 2:
        powers = np.arange(np.floor(np.log10(bottom)), np.ceil(np.log10(top)) + 1)
        places = [m * 10.0**e for e in powers for m in (1, 2, 5)]
        ax.yaxis.set_major_locator(FixedLocator([place for place in places if bottom <= place <= top]))
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
    ax.yaxis.set_minor_formatter(NullFormatter())


def few_log_ticks(ax: Axes, low: float, high: float) -> None:
    """Between three and six ticks at round numbers on a log axis of x, whatever its range."""
    from matplotlib.ticker import FixedLocator, NullLocator

    round_numbers = [m * 10.0**e for e in range(-4, 5) for m in (1, 2, 5)]
    inside = [value for value in round_numbers if low <= value <= high]
    if len(inside) > 6:
        inside = [value for value in inside if f"{value:e}"[0] == "1"]
    ax.xaxis.set_major_locator(FixedLocator(inside))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def label_line(ax: Axes, height: float, text: str, points: Floats) -> None:
    """Write on a horizontal line, at whichever end and side of it the fewest points are in the way."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    width, tall = 0.019 * len(text) * (right - left), 0.09 * (top - bottom)

    def in_the_way(corner: tuple[str, str]) -> int:
        start = right - width if corner[0] == "right" else left
        floor = height if corner[1] == "bottom" else height - tall
        low = floor + 0.2 * tall if corner[1] == "bottom" else floor
        inside = (points[:, 0] >= start) & (points[:, 0] <= start + width)
        inside &= (points[:, 1] >= low) & (points[:, 1] <= low + 0.8 * tall)
        return int(inside.sum()) + 1000 * (floor < bottom or floor + tall > top)

    align, side = min(product(("right", "left"), ("bottom", "top")), key=in_the_way)
    shift = (-3 if align == "right" else 4, 2 if side == "bottom" else -3)
    beside(ax, text, (1.0 if align == "right" else 0.0, height), shift, side)


def label_beside(ax: Axes, heights: list[float]) -> None:
    """Write the values of several horizontal lines beside the axis, at least a line of text apart."""
    bottom, top = ax.get_ylim()
    last = -np.inf
    for height in sorted(heights):
        last = max(height, last + 0.055 * (top - bottom))
        beside(ax, f"{height:.2f}", (1.0, last), (4, 0), "center")


def beside(
    ax: Axes,
    text: str,
    place: tuple[float, float],
    shift: tuple[float, float],
    vertical: str,
    *,
    across: str = "axes fraction",
    up: str = "data",
) -> None:
    """Write a text some points to the right of a place, or to the left where the shift is negative.

    ``vertical`` says which part of the text is at that height (top, center or bottom); ``across`` and ``up`` are the
    units of the place.
    """
    ax.annotate(
        text,
        place,
        xycoords=(across, up),
        xytext=shift,
        textcoords="offset points",
        ha="left" if shift[0] > 0 else "right",
        va=vertical,
        color=INK,
        fontsize=9,
    )
