"""What the figures share: colours, axes, legends above them, the record that each returns, and its form as SVG.

Every property is set on the object that is drawn, and the margins are fixed: to lay a figure out costs more than to
draw it.
"""

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape

from sfumato.runs.read import Floats, Ints

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
else:
    Axes = Any  # matplotlib is loaded when something is drawn

# The style sheet of the pages is the one place that names colours, by day and by night. Umber, lavender and sea green
# keep apart from slate and ochre, and from each other, also without red, green or blue cones and in grey: the least
# distance of two of the five in CIELAB is 27 (tests/report/test_figures.py).
_SHEET = (Path(__file__).parents[1] / "templates" / "page.css").read_text(encoding="utf-8")
LIGHT, DARK = (
    dict(re.findall(r"--([\w-]+): (#\w{6})", scheme))
    for scheme in re.findall(r":root \{(.*?)\}", _SHEET, flags=re.DOTALL)[:2]
)
PAPER, INK, FAINT, RULE, _, *ARM_COLOURS = LIGHT.values()
SLATE, OCHRE = ARM_COLOURS[:2]
CLASS_COLOURS = ARM_COLOURS[2:]  # of the three classes in a projection, where no arm is meant
MARKS = ("o", "s", "^", "D", "v")
WIDTH, HEIGHT = 4.5, 3.2  # inches; text is 9 and 10 points, so that a narrow phone can still read it
LINE = 0.205  # inches a line of a legend
LEFT, RIGHT, BOTTOM, TOP = 0.82, 0.12, 0.55, LINE + 0.1  # inches about the axis, which has a legend of one line above


@dataclass(frozen=True)
class Chart:
    """A figure that was drawn: its axis, the numbers in it by name, and the figure in words."""

    ax: Axes
    numbers: dict[str, Any]
    alt: str


def look(arm: int) -> tuple[str, str]:
    """Colour and marker of an arm: arms stay apart without colour. The sixth has the first's colour, another marker."""
    return ARM_COLOURS[arm % len(ARM_COLOURS)], MARKS[(arm + arm // len(ARM_COLOURS)) % len(MARKS)]


def looks(count: int) -> list[tuple[str, str]]:
    """Colour and marker of each arm."""
    return [look(arm) for arm in range(count)]


def axes(
    height: float = HEIGHT, *, left: float = LEFT, right: float = RIGHT, bottom: float = BOTTOM, top: float = TOP
) -> Axes:
    """An axis in a new figure that pyplot does not know, between margins in inches."""
    from matplotlib.figure import Figure
    from matplotlib.transforms import IdentityTransform, blended_transform_factory

    # 72 dots an inch, as SVG has them
    figure = Figure((WIDTH, height), dpi=72, facecolor=PAPER)
    place = (left / WIDTH, bottom / height, 1 - (left + right) / WIDTH, 1 - (bottom + top) / height)
    ax, dots = figure.add_axes(place), IdentityTransform()
    ax.xaxis.set_label_coords(0.5, 17, transform=blended_transform_factory(ax.transAxes, dots))
    ax.yaxis.set_label_coords(17, 0.5, transform=blended_transform_factory(dots, ax.transAxes))
    return ax


def style(ax: Axes) -> None:
    """Two thin spines, small ticks, labels in ink, no background."""
    ax.set_facecolor("none")
    for side, spine in ax.spines.items():
        spine.set(visible=side in ("left", "bottom"), color=FAINT, linewidth=0.8)
    ax.tick_params(which="major", colors=FAINT, labelcolor=INK, labelsize=9, width=0.8, length=3)
    ax.tick_params(which="minor", colors=FAINT, width=0.6, length=2)
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set(color=INK, fontsize=10)


def style_with_legend(ax: Axes, above: float = 0) -> None:
    """:func:`style`, and a legend above the axis, so many inches above it where something stands between."""
    style(ax)
    legend_above(ax, *ax.get_legend_handles_labels(), above=above)


def legend_above(
    ax: Axes, handles: Sequence[Any], labels: Sequence[str], *, columns: int = 0, above: float = 0, **more: Any
) -> None:
    """A legend above the axis, by default in two columns if they fit beside each other; ``more`` is matplotlib's.

    The figure grows by the lines after the first, so that they take nothing from the plot.
    """
    figure: Any = ax.get_figure(root=True)
    place, before = ax.get_position(), figure.get_figheight()
    room, half = 72 * WIDTH * (1 - place.x0), -(-len(labels) // 2)
    letters = sum(max(map(len, column), default=0) for column in (labels[:half], labels[half:]))
    columns = columns or (2 if 5.1 * letters + 68 <= room else 1)
    after = before + LINE * max(0, -(-len(labels) // columns) - 1) + above
    figure.set_figheight(after)
    bottom, tall = place.y0 * before / after, place.height * before / after
    ax.set_position((place.x0, bottom, place.width, tall))
    fits = 5.1 * max(map(len, labels), default=0) + 34 <= room
    corner = (-0.02 if fits else -place.x0 / place.width, 1 + above / (tall * after))
    kind: dict[str, Any] = {
        "frameon": False,
        "fontsize": 9,
        "labelcolor": INK,
        "handlelength": 2.2,
        "loc": "lower left",
    } | more
    ax.legend(handles, labels, ncols=columns, bbox_to_anchor=corner, columnspacing=1.6, **kind)


def seed_lines(ax: Axes, epochs: Ints, values: Floats, colour: str, label: str) -> None:
    """A thin line per seed of values (S, E) and a thick one for their mean."""
    mark = "o" if len(epochs) == 1 else ""
    ax.plot(epochs, values.T, color=colour, lw=0.6, alpha=0.5, marker=mark, ms=2)
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
    """Round numbers on a log axis whose limits are final: 1, 2 and 5, or powers of ten; the rest have small ticks."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axis.set_minor_locator(LogLocator(subs=range(2, 10)))
    axis.set_major_formatter("{x:.3g}")
    axis.set_minor_formatter(NullFormatter())


# Text keeps clear of the lines behind it by an outline in the colour of the paper.
_HALO = f"<style>text{{paint-order:stroke;stroke:{PAPER};stroke-width:2.5px;stroke-linejoin:round}}</style>"


def to_svg(ax: Axes) -> str:
    """The whole figure of an axis as the text of an SVG file: the same bytes for the same figure, text as text."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer, figure = io.StringIO(), ax.get_figure(root=True)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sfumato"}), warnings.catch_warnings():
        # the reader's fonts show the letters that matplotlib's own lacks
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
        FigureCanvasSVG(figure).print_svg(buffer, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", buffer.getvalue())
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1; font-family: system-ui, sans-serif", text)
    return re.sub(r"(<svg [^>]*>)", lambda opening: opening[1] + _HALO, text, count=1)


def inline(svg: str, name: str, alt: str) -> Markup:
    """An SVG file from :func:`to_svg` as one ``<svg role="img">`` element in the colours of the page.

    ``name`` becomes the prefix of its identifiers (letters and hyphens), and ``alt`` tells the figure in words.
    """
    body = svg[svg.index("<svg") :]
    opening = body[: body.index(">") + 1]
    (view,) = re.findall(r'viewBox="([^"]*)"', opening)
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body[len(opening) :], flags=re.DOTALL)
    body = _smaller(body)
    body = re.sub(r'\bid="', f'id="{name}-', body).replace("url(#", f"url(#{name}-")
    body = body.replace('xlink:href="#', f'href="#{name}-').replace(" font-family: system-ui, sans-serif;", "")
    for variable, colour in LIGHT.items():
        body = body.replace(colour, f"var(--{variable})")
    return Markup(f'<svg role="img" aria-label="{escape(alt)}" viewBox="{view}">') + Markup(body.strip())


def figure(chart: Chart, name: str) -> Markup:
    """A chart as an element of a page."""
    return inline(to_svg(chart.ax), name, chart.alt)


def _smaller(body: str) -> str:
    """The same drawing in fewer bytes: coordinates to a hundredth of a point, one style for a run of markers."""

    def shorter(number: re.Match[str]) -> str:
        return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")

    coordinates = re.compile(r' (?:d|x|y)="[^"]*"')
    body = coordinates.sub(lambda text: re.sub(r"-?\d+\.\d{3,}", shorter, text[0]).replace(" \n", " "), body)
    return re.sub(
        r'<use [^>]*? style="([^"]*)"/>(?:\s*<use [^>]*? style="\1"/>)+',
        lambda uses: f'<g style="{uses[1]}">' + uses[0].replace(f' style="{uses[1]}"', "") + "</g>",
        body,
    )
