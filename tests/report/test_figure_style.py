"""The inks of the figures, as people see them: with all cones, without one kind, in both schemes."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from sfumato.report.charts import style as figure_style

# Machado, Oliveira and Fernandes 2009, severity 1: linear RGB as seen without long, middle or short cones.
SEEN = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
CSS = (Path(figure_style.__file__).parents[1] / "templates" / "page.css").read_text(encoding="utf-8")


def lab(hexadecimal, seen):
    srgb = np.array([int(hexadecimal[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(np.array(seen) @ linear, 0, 1) / (0.9505, 1.0, 1.089)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def schemes():
    return [[re.findall(rf"--arm-{i}: (#[0-9a-f]{{6}})", CSS)[which] for i in range(5)] for which in (0, 1)]


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("inks", schemes(), ids=["light", "dark"])
def test_the_inks_of_five_arms_keep_apart(inks, seen):
    distances = [np.linalg.norm(lab(a, SEEN[seen]) - lab(b, SEEN[seen])) for a, b in itertools.combinations(inks, 2)]
    assert min(distances) > 20


def test_the_style_sheet_and_the_figures_have_the_same_inks():
    assert tuple(schemes()[0]) == figure_style.ARM_COLOURS
    assert len(set(figure_style.MARKS)) == len(figure_style.ARM_COLOURS)


def plain():
    """An axis of 10 × 100 with a line at 50."""
    ax = figure_style.axes(None)
    ax.set(xlim=(0, 10), ylim=(0, 100))
    ax.axhline(50)
    return ax


def extent(ax, text):
    """Where something is drawn, in the units of the data."""
    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    return text.get_window_extent(canvas.get_renderer()).transformed(ax.transData.inverted())


@pytest.mark.parametrize(
    ("labels", "lines"),
    [(["one-hot"], 1), (["one-hot", "smoothed 0.1"], 1), (["one-hot", "smoothed 0.1", "mixup"], 2),
     (["an arm with a very long name", "another arm with a long name"], 2),
     (["a" * 20, "b" * 20, "c" * 40], 3)],
)  # fmt: skip
def test_a_figure_grows_by_the_lines_of_its_legend_after_the_first(labels, lines):
    ax = plain()
    for label in labels:
        ax.plot([0, 1], [0, 1], label=label)
    figure_style.style_with_legend(ax)
    assert ax.figure.get_figheight() == pytest.approx(figure_style.HEIGHT + figure_style.LINE * (lines - 1))
    legend = ax.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == labels
    assert len({round(extent(ax, text).y0, 3) for text in legend.get_texts()}) == lines
    assert extent(ax, legend).y0 >= 100
    box = legend.get_window_extent()
    assert box.x1 <= ax.figure.bbox.x1
    assert box.y1 <= ax.figure.bbox.y1


def test_a_figure_of_somebody_else_keeps_its_height():
    from matplotlib.figure import Figure

    ax = Figure(figsize=(4, 3)).add_subplot()
    for label in ("a" * 40, "b" * 40):
        ax.plot([0, 1], [0, 1], label=label)
    figure_style.style_with_legend(ax)
    assert ax.figure.get_figheight() == 3


def test_a_mean_over_seeds_leaves_out_what_is_not_there():
    values = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    np.testing.assert_array_equal(figure_style.mean_over_seeds(values), [2.0, 5.0, np.nan])


@pytest.mark.parametrize(
    ("limits", "ticks"),
    [
        ((0.1, 1.0), [0.1, 0.2, 0.5, 1]),
        ((0.5, 6), [0.5, 1, 2, 5]),
        ((0.03, 0.9), [0.05, 0.1, 0.2, 0.5]),
        ((0.001, 3.0), [0.001, 0.01, 0.1, 1]),
    ],
)
def test_a_log_axis_has_a_few_round_numbers(limits, ticks):
    ax = figure_style.axes(None)
    ax.set_xscale("log")
    ax.set_xlim(*limits)
    figure_style.log_ticks(ax.xaxis)
    places = [tick for tick in ax.get_xticks() if limits[0] * 0.999 <= tick <= limits[1] * 1.001]
    assert places == pytest.approx(ticks)
    assert ax.xaxis.get_major_formatter().format_ticks(places) == [f"{tick:g}" for tick in ticks]


@pytest.mark.parametrize(("epochs", "limits"), [([4], (3, 5)), ([1, 2, 3], None)])
def test_epochs_are_whole_numbers_with_room_about_a_single_one(epochs, limits):
    ax = figure_style.axes(None)
    ax.plot(epochs, epochs, "o")
    before = ax.get_xlim()
    figure_style.whole_epochs(ax, np.array(epochs))
    assert ax.get_xlim() == (limits or before)
    assert all(float(tick).is_integer() for tick in ax.get_xticks())
