"""What the figures share: colours, axes, names at the ends of lines, the record that each returns, its form as SVG.

Every property is set on the object that is drawn, and the margins are fixed: to lay a figure out costs more than to
draw it.
"""

import contextlib
import io
import re
import warnings
from collections.abc import Generator, Mapping, Sequence
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
MARKS = ("o", "s", "^", "D", "v")
WIDTH, HEIGHT = 4.5, 3.2  # inches; text is 9 and 10 points, so that a narrow phone can still read it
LEFT, RIGHT, BOTTOM, TOP = 0.78, 0.12, 0.55, 0.12  # inches about the axis
APART = 11.5  # points from one name at the end of a line to the next


@dataclass(frozen=True)
class Chart:
    """A figure that was drawn: its axis, the numbers in it by name, and the figure in words."""

    ax: Axes
    numbers: dict[str, Any]
    alt: str


def look(arm: int, scheme: Mapping[str, str] = LIGHT) -> tuple[str, str]:
    """Colour and marker of an arm: arms stay apart without colour. The sixth has the first's colour, another marker."""
    return scheme[f"arm-{arm % len(ARM_COLOURS)}"], MARKS[(arm + arm // len(ARM_COLOURS)) % len(MARKS)]


def axes(
    height: float = HEIGHT, *, width: float = WIDTH, left: float = LEFT, right: float = RIGHT, bottom: float = BOTTOM,
    top: float = TOP,
) -> Axes:  # fmt: skip
    """An axis in a new figure that pyplot does not know, between margins in inches."""
    from matplotlib.figure import Figure
    from matplotlib.transforms import IdentityTransform, blended_transform_factory

    # 72 dots an inch, as SVG has them
    figure = Figure((width, height), dpi=72, facecolor=PAPER)
    place = (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
    ax, dots = figure.add_axes(place), IdentityTransform()
    ax.xaxis.set_label_coords(0.5, 17, transform=blended_transform_factory(ax.transAxes, dots))
    ax.yaxis.set_label_coords(17, 0.5, transform=blended_transform_factory(dots, ax.transAxes))
    return ax


def style(ax: Axes, scheme: Mapping[str, str] = LIGHT) -> None:
    """Two thin spines, small ticks, labels in ink, no background."""
    ink, faint = scheme["ink"], scheme["faint"]
    ax.set_facecolor("none")
    for side, spine in ax.spines.items():
        spine.set(visible=side in ("left", "bottom"), color=faint, linewidth=0.8)
    ax.tick_params(which="major", colors=faint, labelcolor=ink, labelsize=9, width=0.8, length=3)
    ax.tick_params(which="minor", colors=faint, width=0.6, length=2)
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set(color=ink, fontsize=10)


def room_for(names: Sequence[str]) -> float:
    """Inches right of an axis for names of 9 points, beside what :func:`label_ends` leaves between."""
    return 0.14 + 0.075 * max(map(len, names), default=0)


def label_ends(ax: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write the name of each line (x, y, name, colour) right of where it ends; call it when the limits are final."""
    (right, low), (_, high) = ax.transAxes.transform(((1, 0), (1, 1)))
    ends = sorted(ends, key=lambda end: end[1])
    places = [min(max(float(ax.transData.transform(end[:2])[1]), low), high) for end in ends]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + APART)
    for i in reversed(range(len(places))):
        places[i] = min(places[i], high if i + 1 == len(places) else places[i + 1] - APART)
    for (x, y, name, colour), place in zip(ends, places, strict=True):
        arrow = {"arrowstyle": "-", "color": colour, "lw": 0.6, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5)}
        ax.annotate(
            name, (x, y), (right + 9, place), textcoords="figure points", va="center", color=INK, fontsize=9,
            arrowprops=arrow, annotation_clip=False,
        )  # fmt: skip


def seed_lines(ax: Axes, epochs: Ints, values: Floats, colour: str, name: str) -> list[tuple[float, float, str, str]]:
    """A thin line per seed of values (S, E) and a thick one for their mean, whose end is returned, if it has one."""
    mark, mean = "o" if len(epochs) == 1 else "", mean_over_seeds(values)
    ax.plot(epochs, values.T, color=colour, lw=0.6, alpha=0.5, marker=mark, ms=2)
    ax.plot(epochs, mean, color=colour, lw=1.8, marker=mark, ms=4, label=name)
    known = np.flatnonzero(np.isfinite(mean))[-1:]
    return [(float(epochs[last]), float(mean[last]), name, colour) for last in known]


def mean_over_seeds(values: Floats) -> Floats:
    """Mean of (S, E) over the seeds that have a value; NaN where none has."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, values, 0).sum(axis=0), np.nan) / np.maximum(count, 1)


def log_ticks(axis: Any) -> None:
    """Round numbers on a log axis whose limits are final: 1, 2 and 5, or powers of ten; the rest have small ticks."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axis.set_minor_locator(LogLocator(subs=range(2, 10)))
    axis.set_major_formatter("{x:.3g}")
    axis.set_minor_formatter(NullFormatter())


@contextlib.contextmanager
def own_letters() -> Generator[None]:
    """No warning of letters that matplotlib's own font lacks: in an SVG file, the fonts of the reader show them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
        yield


def to_svg(ax: Axes, scheme: Mapping[str, str] = LIGHT) -> str:
    """The whole figure of an axis as the text of an SVG file: the same bytes for the same figure, text as text."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer, figure = io.StringIO(), ax.get_figure(root=True)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sfumato"}), own_letters():
        FigureCanvasSVG(figure).print_svg(buffer, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", buffer.getvalue())
    sizes = r"font-weight: \1; font-size: \2; font-family: system-ui, sans-serif"
    text = re.sub(r"font: (?:(\d+) )?([\d.]+px) [^;\"]*", sizes, text).replace("font-weight: ; ", "")
    # text keeps clear of the lines behind it by an outline in the colour of the paper
    outline = f"paint-order:stroke;stroke:{scheme['paper']};stroke-width:2.5px;stroke-linejoin:round"
    return re.sub(r"(<svg [^>]*>)", rf"\1<style>text{{{outline}}}</style>", text, count=1)


def inline(svg: str, name: str, alt: str) -> Markup:
    """An SVG file from :func:`to_svg` as one element in the colours of the page; ``name`` prefixes its identifiers."""
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
