"""The card of a run: the block on top of its page as a picture of 1,200 × 630, for a README or a chat."""

import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from sfumato.io.atomic import write_bytes, write_text
from sfumato.report.charts.differences import DifferenceRow, difference_panels, draw_panels
from sfumato.report.charts.drawing import DARK, LIGHT, Axes, look, own_letters, to_svg
from sfumato.report.top import STATE_COLOURS, Tile, Top
from sfumato.text import short

WIDTH, HEIGHT, EDGE = 1200, 630, 60  # pixels
TILES, COLUMNS = 770, (985, 1072, 1140)  # the left edge of the tiles, and the right edges of their columns
MAX_ARMS = 3
"""Arms that a card has room for."""


def write_card(top: Top, rows: Sequence[DifferenceRow], folder: Path) -> None:
    """Write ``card.svg``, ``card.png`` and their dark twins into a folder."""
    for name, scheme in (("card", LIGHT), ("card-dark", DARK)):
        ax = draw_card(top, rows, scheme)
        write_text(folder / f"{name}.svg", to_svg(ax, scheme))
        write_bytes(folder / f"{name}.png", _png(ax))


def draw_card(top: Top, rows: Sequence[DifferenceRow], scheme: Mapping[str, str] = LIGHT) -> Axes:
    """The card as an axis in pixels, from the upper left corner."""
    from matplotlib.figure import Figure

    figure = Figure((WIDTH / 72, HEIGHT / 72), dpi=72, facecolor=scheme["paper"])
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0))
    ax.set_axis_off()
    ink, faint = scheme["ink"], scheme["faint"]
    box = {"boxstyle": "round,pad=0.35", "facecolor": "none", "edgecolor": scheme[STATE_COLOURS[top.state]], "lw": 3}
    ax.text(EDGE, 70, short("  ·  ".join(top.about), 88, end="…"), color=faint, fontsize=21)
    ax.text(EDGE + 11, 128, top.chip, color=ink, fontsize=26, fontweight="bold", va="center", bbox=box)
    heading = "\n".join(textwrap.wrap(top.heading, 66, max_lines=3, placeholder=" …"))
    ax.text(EDGE, 174, heading, color=ink, fontsize=28, va="top", linespacing=1.25)
    if rows:
        size = 18 if len(rows) == 1 else 14
        place = ((EDGE + 11 * size) / WIDTH, 40 / HEIGHT, (TILES - EDGE - 26 * size) / WIDTH, 280 / HEIGHT)
        panels = [*difference_panels(rows[:MAX_ARMS]).values()]
        draw_panels(figure.add_axes(place), panels, size=size, scheme=scheme)
    for i, tile in enumerate(top.tiles):
        _draw_tile(ax, tile, 330 + 96 * i, scheme)
    return ax


def _draw_tile(ax: Axes, tile: Tile, y: float, scheme: Mapping[str, str]) -> None:
    """A metric: its name and the heads of its columns, and a line per arm."""
    ink, faint = scheme["ink"], scheme["faint"]
    ax.text(TILES, y, tile.title.partition(" (")[0], color=ink, fontsize=18, fontweight="bold")
    for right, head in zip(COLUMNS[-len(tile.heads) :], tile.heads, strict=True):
        ax.text(right, y, head, color=faint, fontsize=15, ha="right")
    for i, (place, row) in enumerate(tile.rows[:MAX_ARMS], 1):
        ax.plot((TILES, TILES + 20), (y + 24 * i - 6,) * 2, color=look(place, scheme)[0], lw=3)
        ax.text(TILES + 30, y + 24 * i, short(row.label, 14, end="…"), color=ink, fontsize=18)
        for right, cell in zip(COLUMNS[-len(tile.heads) :], row.cells, strict=True):
            ax.text(right, y + 24 * i, cell.text, color=ink, fontsize=18, ha="right")


def _png(ax: Axes) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    with own_letters():
        FigureCanvasAgg(ax.get_figure(root=True)).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()
