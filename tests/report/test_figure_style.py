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


RIGHT, LEFT = np.linspace(8.2, 9.9, 9), np.linspace(0.1, 1.8, 9)
ABOVE, BELOW = 55.0, 45.0


def cloud(*places):
    return np.array([(x, y) for xs, y in places for x in xs]) if places else np.empty((0, 2))


@pytest.mark.parametrize(
    ("points", "at_the_right", "above"),
    [
        (cloud(), True, True),
        (cloud((RIGHT, ABOVE)), True, False),
        (cloud((RIGHT, ABOVE), (RIGHT, BELOW)), False, True),
        (cloud((RIGHT, ABOVE), (RIGHT, BELOW), (LEFT, ABOVE)), False, False),
        (cloud((RIGHT, 50.9)), True, True),  # the text keeps so far from its line
        (cloud((RIGHT, 62.0), (RIGHT, 38.0)), True, True),  # beyond the text
        (cloud((np.linspace(3, 7, 9), ABOVE)), True, True),  # beside the text
        (cloud((RIGHT, ABOVE), (RIGHT, BELOW), (np.linspace(3, 7, 90), ABOVE)), False, True),
    ],
)
def test_a_line_is_labelled_where_the_fewest_points_are_in_the_way(points, at_the_right, above):
    ax = plain()
    figure_style.label_line(ax, 50.0, "0123456789", points)
    box = extent(ax, ax.texts[0])
    assert (box.x0 > 5) == at_the_right
    assert (box.x1 <= 10) if at_the_right else (box.x0 >= 0)
    assert (box.y0 >= 50) if above else (box.y1 <= 50)
    assert min(abs(box.y0 - 50), abs(box.y1 - 50)) < 5


@pytest.mark.parametrize(("height", "above"), [(97.0, False), (3.0, True)])
def test_a_label_stays_within_its_axis(height, above):
    ax = plain()
    points = cloud((RIGHT, height + (5 if above else -5)), (LEFT, height + (5 if above else -5)))
    figure_style.label_line(ax, height, "0123456789", points)
    box = extent(ax, ax.texts[0])
    assert (box.y0 >= height) if above else (box.y1 <= height)


def test_values_beside_an_axis_stand_at_their_heights_and_a_line_of_text_apart():
    ax = plain()
    figure_style.label_beside(ax, [80.0, 20.0, 21.0, 20.5])
    heights = [text.xy[1] for text in ax.texts]
    assert [text.get_text() for text in ax.texts] == ["20.00", "20.50", "21.00", "80.00"]
    assert heights == pytest.approx([20.0, 25.5, 31.0, 80.0])
    boxes = [extent(ax, text) for text in ax.texts]
    assert all(low.y1 <= high.y0 for low, high in itertools.pairwise(boxes))
    assert min(box.x0 for box in boxes) > 10


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


def test_a_figure_of_somebody_else_keeps_its_layout():
    from matplotlib.figure import Figure

    own, other = figure_style.axes(None).figure, Figure(layout="constrained")
    other.add_subplot()
    for figure, kept in ((own, False), (other, True)):
        layout = figure.get_layout_engine()
        assert figure_style.settle(figure) is layout
        assert (figure.get_layout_engine() is layout) == kept


def test_a_mean_over_seeds_leaves_out_what_is_not_there():
    values = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    np.testing.assert_array_equal(figure_style.mean_over_seeds(values), [2.0, 5.0, np.nan])


@pytest.mark.parametrize(
    ("limits", "ticks", "shown"),
    [
        ((0.2, 0.9), [0.1, 0.2, 0.5, 1], (0.1, 1)),
        ((0.03, 0.9), [0.05, 0.1, 0.2, 0.5], (0.03, 0.9)),
        ((0.5, 6), [0.5, 1, 2, 5], (0.5, 6)),
        ((0.5, 5), [0.5, 1, 2, 5], (0.5, 5)),
        ((0.0005, 0.9), [0.001, 0.01, 0.1], (0.0005, 0.9)),
    ],
)
def test_a_log_axis_of_losses_has_a_decade_and_three_labels(limits, ticks, shown):
    ax = figure_style.axes(None)
    ax.set_yscale("log")
    ax.set_ylim(*limits)
    figure_style.whole_decades(ax)
    low, high = ax.get_ylim()
    assert (low, high) == pytest.approx(shown)
    assert [tick for tick in ax.get_yticks() if low * 0.999 <= tick <= high * 1.001] == pytest.approx(ticks)
    extent(ax, ax.yaxis.label)
    assert {label.get_text() for label in ax.get_yticklabels(minor=True)} <= {""}
    if len(ticks) == 4:  # few decades
        assert [label.get_text() for label in ax.get_yticklabels()] == [f"{tick:g}" for tick in ticks]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.5, 3, [0.5, 1, 2]),
        (0.1, 5, [0.1, 0.2, 0.5, 1, 2, 5]),
        (0.1, 10, [0.1, 1, 10]),
        (0.01, 20, [0.01, 0.1, 1, 10]),
        (0.3, 3, [0.5, 1, 2]),
    ],
)
def test_ticks_of_a_temperature_are_few_and_round(low, high, ticks):
    ax = figure_style.axes(None)
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    figure_style.few_log_ticks(ax, low, high)
    assert list(ax.get_xticks()) == pytest.approx(ticks)
    assert list(ax.get_xticks(minor=True)) == []
    extent(ax, ax.xaxis.label)
    assert [label.get_text() for label in ax.get_xticklabels()] == [f"{tick:g}" for tick in ticks]


@pytest.mark.parametrize(("epochs", "limits"), [([4], (3, 5)), ([1, 2, 3], None)])
def test_epochs_are_whole_numbers_with_room_about_a_single_one(epochs, limits):
    ax = figure_style.axes(None)
    ax.plot(epochs, epochs, "o")
    before = ax.get_xlim()
    figure_style.whole_epochs(ax, np.array(epochs))
    assert ax.get_xlim() == (limits or before)
    assert all(float(tick).is_integer() for tick in ax.get_xticks())


def test_a_style_hides_the_upper_and_the_right_spine():
    ax = figure_style.axes(None)
    figure_style.style(ax)
    assert {side for side, spine in ax.spines.items() if spine.get_visible()} == {"left", "bottom"}


def test_axes_within_axes_are_settled_where_they_are_drawn():
    ax = figure_style.axes(None)
    inner = ax.inset_axes((0.1, 0.2, 0.8, 0.3))
    inner.set_box_aspect(1)
    figure_style.settle(ax.figure)
    settled = inner.get_position().bounds
    assert settled[2] * ax.figure.get_figwidth() == pytest.approx(settled[3] * ax.figure.get_figheight())
    ax.figure.draw_without_rendering()
    assert inner.get_position().bounds == pytest.approx(settled)
