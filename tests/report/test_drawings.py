"""What each figure draws, line by line, is what drawings.txt says.

Other tests ask whether the numbers are right and whether everything can be read. This one sees whatever moves besides:
a width, a marker, a limit of an axis. To take new drawings for right, after a look at them as pictures:

    python -m tests.report.test_drawings
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle, StepPatch
from matplotlib.text import Annotation, Text

from sfumato.report import charts, compare_page
from sfumato.runs.read import load_run
from tests.report.run_folders import write_run

KNOWN = Path(__file__).with_name("drawings.txt")
RUNS = {
    "two arms": {"seeds": 3, "epochs": 5, "test": 200, "ladder": (0.0, 0.05, 0.08, 0.1)},
    "three arms": {
        "seeds": 1,
        "epochs": 1,
        "test": 60,
        "smoothed": (0.05, 0.4),
        "noise": 0.5,
        "class_names": [f"class of kind {k}" for k in range(10)],
    },
}


def differences(run):
    rows = [(arm["name"], [d for d in run.summary["differences"] if d["arm"] == arm["name"]]) for arm in run.arms[1:]]
    return charts.plot_differences(rows * 2)


FIGURES = {**compare_page.FIGURES, "differences": differences}


def some(values) -> str:
    """Numbers to three digits: how many, the first, their mean, and the last."""
    x = np.asarray(values, dtype=float).ravel()
    x = np.where(np.abs(x) < 1e-12, 0.0, x)
    held = x[np.isfinite(x)]
    if len(x) <= 4:
        return " ".join(f"{value:.3g}" for value in x)
    return f"{len(held)} of {len(x)}, {x[0]:.3g} … mean {held.mean() if len(held) else np.nan:.3g} … {x[-1]:.3g}"


def colour(value) -> str:
    return "none" if isinstance(value, str) and value == "none" else to_hex(value)


def said(artist) -> str:
    """One thing on an axis, in the words of matplotlib's properties."""
    z = f"z {artist.get_zorder():g}" + (f" alpha {artist.get_alpha():g}" if artist.get_alpha() is not None else "")
    if isinstance(artist, Line2D):
        style = f"{artist.get_linestyle()} lw {artist.get_linewidth():g} {colour(artist.get_color())} {z}"
        mark = artist.get_marker()
        if mark not in ("", "None"):
            style += f" marker {mark} {artist.get_markersize():g} {colour(artist.get_markerfacecolor())}"
            style += f" {colour(artist.get_markeredgecolor())} {artist.get_markeredgewidth():g}"
        style += "" if artist.get_clip_on() else " not clipped"
        style += "" if artist.get_in_layout() else " not in layout"
        name = "" if artist.get_label().startswith("_") else artist.get_label()  # matplotlib's own begin so
        return f"line {name!r}: {style}; x {some(artist.get_xdata())}; y {some(artist.get_ydata())}"
    if isinstance(artist, LineCollection):
        segments = np.array([segment for segment in artist.get_segments() if len(segment)]).reshape(-1, 2, 2)
        hues = " ".join(sorted({colour(each) for each in artist.get_colors()}))
        ends = "; ".join(some(segments[:, i, j]) for i, j in itertools.product(range(2), range(2)))
        return f"lines: lw {artist.get_linewidths()[0]:g} {hues} {z}; {ends}"
    if isinstance(artist, StepPatch):
        steps = artist.get_data()
        face = colour(artist.get_facecolor()) if artist.get_fill() else "none"
        style = f"{artist.get_linestyle()} lw {artist.get_linewidth():g} {colour(artist.get_edgecolor())} {face} {z}"
        return f"steps {artist.get_label()!r}: {style}; {some(steps.values)}; edges {some(steps.edges)}"
    if isinstance(artist, Rectangle):
        return f"box: {colour(artist.get_facecolor())} {z}; {some(artist.get_bbox().bounds)}"
    assert isinstance(artist, Text), artist
    # other texts stand where texts were measured to fit, which hangs on the version of matplotlib
    where = f"{some(artist.xy)} + {some(artist.xyann)}" if isinstance(artist, Annotation) else "a free place"
    style = f"{artist.get_fontsize():g} {artist.get_fontweight()} {colour(artist.get_color())} {z}"
    return f"text {artist.get_text()!r}: at {where} {artist.get_ha()} {artist.get_va()}; {style}"


def of_axes(ax: Axes, name: str) -> Iterator[str]:
    """The lines of one axis and of the axes in it."""
    yield f"{name}{'' if ax.axison else ', hidden'}{f', aspect {ratio:g}' if (ratio := ax.get_box_aspect()) else ''}"
    if ax.axison:
        for side, axis in (("x", ax.xaxis), ("y", ax.yaxis)):
            low, high = axis.get_view_interval()
            least, most = np.array(sorted((low, high))) + np.array([-1e-9, 1e-9]) * abs(high - low)
            places = [tick for tick in axis.get_majorticklocs() if least <= tick <= most]
            ticks = axis.get_major_formatter().format_ticks(places)
            label, how = axis.label, axis.get_tick_params()
            named = how.get("labelbottom", how.get("labelleft", True))
            yield (
                f"  {side}: {axis.get_scale()} {low:.3g} to {high:.3g}; {label.get_text()!r} {label.get_fontsize():g} "
                f"{colour(label.get_color())} {label.get_ha()}; ticks {' '.join(ticks)!r}, "
                f"{how['labelsize']:g}{'' if named else ' without labels'}"
            )
        spines = [f"{side} {spine.get_linewidth():g}" for side, spine in ax.spines.items() if spine.get_visible()]
        yield f"  spines: {', '.join(spines)}; face {to_hex(ax.get_facecolor(), keep_alpha=True)}"
        if title := ax.get_title(loc="left"):
            yield f"  title {title!r} {ax.title.get_fontsize():g}"
    if isinstance(legend := ax.get_legend(), Legend):
        words = [text.get_text() for text in legend.get_texts()]
        at = legend.get_bbox_to_anchor().transformed(ax.transAxes.inverted()).min
        yield f"  legend: {words} in {legend._ncols}, {some(at)}, {legend.get_texts()[0].get_fontsize():g}"
    for artist in (*ax.collections, *ax.patches, *ax.lines, *ax.texts):
        yield f"  {said(artist)}"
    for count, child in enumerate(ax.child_axes):
        asked = child.get_axes_locator()._bounds  # the place within the axis that inset_axes was given
        yield from of_axes(child, f"{name}.{count} at {some(asked)}")


def drawing(chart: charts.Chart) -> list[str]:
    """What a figure draws, in lines of text."""
    ax, figure = chart.ax, chart.ax.get_figure(root=True)
    width, height = figure.get_size_inches()
    return [
        f"figure: {width:g} by {height:.4g} inches, {colour(figure.get_facecolor())}",
        *of_axes(ax, "axis"),
        chart.alt,
    ]


def drawings(folder: Path) -> dict[str, list[str]]:
    """Every figure of every run."""
    found: dict[str, list[str]] = {}
    for name, how in RUNS.items():
        run = load_run(write_run(folder / name, **how))
        for figure, plot in FIGURES.items():
            if figure != "ladder" or run.ladder:
                found[f"{figure}, {name}"] = drawing(plot(run))
    return found


def known() -> dict[str, list[str]]:
    blocks = KNOWN.read_text(encoding="utf-8").strip().split("\n\n")
    return {block.splitlines()[0]: block.splitlines()[1:] for block in blocks}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return drawings(tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("name", known())
def test_a_figure_draws_what_it_drew(drawn, name):
    assert drawn[name] == known()[name]


def test_every_figure_is_known(drawn):
    assert drawn.keys() == known().keys()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        blocks = ["\n".join([name, *lines]) for name, lines in drawings(Path(made)).items()]
    KNOWN.write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
