"""Where the name of a cloud of points can stand: near its points, on no point and on no other name.

Every place is tried that the axis has, on a grid of a few pixels, once the layout of the figure is known. Of the free
places, those win that are nearer to a point of this cloud than to any other point, and of those the nearest.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sfumato.report.charts.style import Axes
from sfumato.runs.read import Floats

if TYPE_CHECKING:
    from matplotlib.text import Text
else:
    Text = Any

CLEAR = 2.0
"""Points (1/72 inch) that a name keeps from the edge of a marker if it can, of another name, and of the axis."""

STEP = 2.0  # points between two places that are tried
_COVERS, _TOUCHES, _ASTRAY = 1e9, 1e6, 1e6  # costs above every distance: of each point covered, nearly, or nearer


def name_clouds(
    ax: Axes, names: Sequence[str], clouds: Sequence[Floats], size: float, **style: Any
) -> list[Text] | None:
    """Write the name of each cloud of points (N, 2), in data, where it covers no point; an empty cloud has none.

    Args:
        ax: the axis, whose limits and whose figure's layout are final.
        names: one a cloud.
        clouds: the points of each name.
        size: the diameter of the markers, in points.
        style: of the text, as matplotlib has it.

    Returns:
        The texts; None, and nothing is written, where some name has no place that is free.
    """
    figure = ax.get_figure(root=True)
    assert figure is not None
    unit, frame = figure.dpi / 72, ax.get_window_extent()
    drawn = [ax.transData.transform(cloud) for cloud in clouds]
    written: list[Text] = []
    taken: list[Floats] = []  # middle and half size of each name
    for i, name in enumerate(names):
        if not len(drawn[i]):
            continue
        text = ax.text(0, 0, name, ha="center", va="center", clip_on=False, **style)
        text.set_in_layout(False)
        extent = text.get_window_extent()
        half = np.array([extent.width, extent.height]) / 2
        centres = _grid(frame, half + CLEAR * unit, STEP * unit)
        others = np.concatenate([np.empty((0, 2)), *(each for j, each in enumerate(drawn) if j != i)])
        cost = _costs(centres, half, drawn[i], others, size / 2 * unit, (size / 2 + CLEAR) * unit)
        for middle in taken:
            apart = np.abs(centres - middle[:2]) - half - middle[2:] - CLEAR * unit
            cost += _COVERS * (apart < 0).all(axis=1)
        written.append(text)
        best = int(np.argmin(cost))
        if cost[best] >= _COVERS:
            for each in written:
                each.remove()
            return None
        taken.append(np.concatenate([centres[best], half]))
        text.set_position(tuple(ax.transData.inverted().transform(centres[best])))
    return written


def _grid(frame: Any, margin: Floats, step: float) -> Floats:
    """Centres of a box that lies within the frame, row by row."""
    sides = [
        np.arange(low + gap, max(high - gap, low + gap) + step / 2, step)
        for low, high, gap in zip((frame.x0, frame.y0), (frame.x1, frame.y1), margin, strict=True)
    ]
    across, up = np.meshgrid(*sides)
    return np.column_stack([across.ravel(), up.ravel()])


def _costs(centres: Floats, half: Floats, own: Floats, others: Floats, radius: float, clear: float) -> Floats:
    """How bad each centre is: its distance from the middle of the cloud, and far more for a point that it covers."""
    cost = np.linalg.norm(centres - own.mean(axis=0), axis=1)
    nearest = list[Floats]()
    for points in (own, others):
        least = np.full(len(centres), np.inf)
        for start in range(0, len(points), 64):  # places by points by 2 stay small
            off = np.abs(centres[:, None] - points[None, start : start + 64]) - half
            gap = np.linalg.norm(np.maximum(off, 0), axis=2)
            cost += _COVERS * (gap < radius).sum(axis=1) + _TOUCHES * (gap < clear).sum(axis=1)
            least = np.minimum(least, gap.min(axis=1))
        nearest.append(least)
    return cost + _ASTRAY * (nearest[1] < nearest[0])
