"""Names of clouds of points: measured where matplotlib draws them, against every point that is drawn."""

import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure

from sfumato.report.charts.label_places import name_clouds

SIZE = 2.6  # points across a marker


def panel(clouds):
    """An axis whose layout is final, with the clouds drawn in it."""
    ax = Figure(figsize=(2.2, 2.2), layout="constrained").add_subplot()
    for cloud in clouds:
        ax.plot(*cloud.T, ls="", marker="o", ms=SIZE)
    ax.set(xlim=(0, 10), ylim=(0, 10))
    ax.figure.draw_without_rendering()
    return ax


def blobs(seed, spread):
    rng = np.random.default_rng(seed)
    return [np.clip(rng.normal(rng.uniform(2, 8, 2), spread, (100, 2)), 0.2, 9.8) for _ in range(3)]


def covered(ax, text, points):
    """How many markers the box of a text touches."""
    box = text.get_window_extent()
    pixels = ax.transData.transform(points)
    off = np.maximum([box.x0, box.y0] - pixels, pixels - [box.x1, box.y1]).clip(0)
    return int((np.linalg.norm(off, axis=1) < SIZE / 2 * ax.figure.dpi / 72).sum())


@pytest.mark.parametrize("spread", [0.2, 0.6, 1.2])
@pytest.mark.parametrize("seed", range(6))
def test_a_name_covers_no_point_and_no_other_name_and_stays_within_the_axis(seed, spread):
    clouds = blobs(seed, spread)
    ax = panel(clouds)
    texts = name_clouds(ax, ["cat", "aeroplane", "7"], clouds, SIZE, fontsize=10)
    assert [text.get_text() for text in texts] == ["cat", "aeroplane", "7"]
    frame = ax.get_window_extent()
    for text in texts:
        box = text.get_window_extent()
        assert covered(ax, text, np.concatenate(clouds)) == 0
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1
    for one, other in itertools.combinations(texts, 2):
        assert not one.get_window_extent().overlaps(other.get_window_extent())


def test_a_name_stands_nearest_to_its_own_cloud():
    clouds = [np.array([[x, y]]) + np.zeros((5, 1)) for x, y in ((2.0, 5.0), (5.0, 5.0), (8.0, 5.0))]
    ax = panel(clouds)
    for i, text in enumerate(name_clouds(ax, ["a", "b", "c"], clouds, SIZE)):
        place = np.array(text.get_position())
        assert np.argmin([np.linalg.norm(place - cloud[0]) for cloud in clouds]) == i


def test_a_crowd_leaves_the_one_hole_to_the_name():
    everywhere = np.stack(np.meshgrid(np.linspace(0, 10, 60), np.linspace(0, 10, 60)), axis=-1).reshape(-1, 2)
    crowd = everywhere[np.abs(everywhere - [7, 3]).max(axis=1) > 1.2]
    ax = panel([crowd])
    (text,) = name_clouds(ax, ["8"], [crowd], SIZE, fontsize=10)
    assert covered(ax, text, crowd) == 0
    np.testing.assert_allclose(text.get_position(), [7, 3], atol=1.2)


def test_where_some_name_has_no_free_place_nothing_is_written():
    everywhere = np.stack(np.meshgrid(np.linspace(0, 10, 60), np.linspace(0, 10, 60)), axis=-1).reshape(-1, 2)
    crowds = [everywhere[np.abs(everywhere - [7, 3]).max(axis=1) > 0.8], everywhere[:1]]
    ax = panel(crowds)
    assert name_clouds(ax, ["88", "99"], crowds, SIZE, fontsize=10) is None
    assert len(ax.texts) == 0


def test_a_cloud_without_points_has_no_name():
    clouds = [np.empty((0, 2)), np.array([[5.0, 5.0]])]
    texts = name_clouds(panel(clouds), ["none", "one"], clouds, SIZE)
    assert [text.get_text() for text in texts] == ["one"]
