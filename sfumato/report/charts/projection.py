"""What smoothing does to the features before the last layer: the plane of three classes, as in Müller et al. 2019."""

from dataclasses import dataclass

import numpy as np

from sfumato.report.arms import arm_title
from sfumato.report.charts.label_places import Text, name_clouds
from sfumato.report.charts.style import CLASS_COLOURS, INK, MARKS, Axes, axes, legend_above, settle, style
from sfumato.report.last_layer import PART_NAMES, load_last_layer, plane, three_classes
from sfumato.runs.read import Floats, Ints, Run
from sfumato.text import short

SIZE = 2.6  # points across a marker
A_CLASS = 100
"""Rows a class that are drawn, as in the paper."""


@dataclass(frozen=True)
class Cloud:
    """One panel: the drawn rows of an arm and a part of the data, about the mean of the class means of training rows.

    ``spread`` is the mean distance of a row from the mean of its class over the mean distance between class means. It
    counts all rows of these classes, also those that are not drawn.
    """

    arm: str
    part: str
    points: Floats
    labels: Ints
    spread: float


@dataclass(frozen=True)
class ProjectionData:
    """What :func:`plot_projection` drew: the classes, the seed, and two panels an arm."""

    classes: tuple[int, ...]
    names: tuple[str, ...]
    seed: int
    clouds: tuple[Cloud, ...]

    @property
    def alt(self) -> str:
        """The figure in words."""
        parts = [f"{c.arm}, {'training' if c.part == 'train' else 'test'}: {c.spread:.2f}" for c in self.clouds]
        return (
            f"Features of classes {', '.join(self.names)} on the plane of their templates, seed {self.seed}. "
            f"Distance of rows from their class mean as a share of that between class means: {'; '.join(parts)}."
        )


def plot_projection(run: Run, ax: Axes | None = None) -> tuple[Axes, ProjectionData]:
    """Features on the plane of three classes' templates, a row of panels an arm: training rows left, test rows right.

    The axis becomes an empty frame for the panels. At most 100 rows a class are drawn, evenly spaced in their stored
    order. Each arm has a plane and a scale of its own, and both panels of an arm share them.

    Raises:
        NoFeaturesError: the run kept nothing to project; the message says what.
        ReportError: a file is broken.
    """
    classes = three_classes(run)
    loaded = [load_last_layer(run, arm["name"]) for arm in run.arms]
    names = tuple(short(run.class_name(label), 12, end="…") for label in classes)
    across = _across(names)
    tall = 2.65 + 0.2 * across.count("\n")  # inches of a row: title, panel, ticks, and one line or two below them
    ax = axes(ax, height=0.2 + tall * len(run.arms))
    ax.set_axis_off()
    share = 1 / len(run.arms)
    clouds: list[Cloud] = []
    drawn: list[Axes] = []
    for row, (arm, (_, layer)) in enumerate(zip(run.arms, loaded, strict=True)):
        basis = plane(layer.templates[list(classes)], layer.features["train"])
        flat = {part: layer.features[part] @ basis for part in PART_NAMES}
        centre = np.nanmean(_means(flat["train"], layer.labels["train"], classes), axis=0)
        panels: list[Axes] = []
        for column, part in enumerate(PART_NAMES):
            points, labels = flat[part] - centre, layer.labels[part]
            means, kept = _means(points, labels, classes), _evenly(labels, classes)
            spread = _spread(points, labels, means, classes)
            clouds.append(Cloud(arm_title(arm), part, points[kept], labels[kept], spread))
            panel = ax.inset_axes((0.55 * column, 1 - (row + 2.23 / tall) * share, 0.45, 1.75 / tall * share))
            _draw(panel, clouds[-1], classes, across)
            panels.append(panel)
        panels[0].set_ylabel(f"towards {names[2]}" if len(names) > 2 else "largest other spread")
        _same_window(panels, clouds[-2:])
        drawn += panels
    _name_classes(ax, drawn, clouds, classes, names)
    return ax, ProjectionData(classes, names, loaded[0][0], tuple(clouds))


def _draw(panel: Axes, cloud: Cloud, classes: tuple[int, ...], across: str) -> None:
    for label, colour, mark in zip(classes, CLASS_COLOURS, MARKS, strict=False):
        points = cloud.points[cloud.labels == label]
        panel.plot(*points.T, ls="", marker=mark, ms=SIZE, mew=0, color=colour, alpha=0.75)
    title = f"{cloud.arm}\ntraining rows" if cloud.part == "train" else "test rows"
    panel.set_title(title, fontsize=9, color=INK, loc="left")
    panel.set_xlabel(across)
    style(panel)


def _across(names: tuple[str, ...]) -> str:
    """What the axis of x shows; in two lines where one would run into that of the panel beside it."""
    return f"{names[0]}{chr(10) if len(names[0]) + len(names[1]) > 18 else ' '}to {names[1]}"


def _name_classes(
    ax: Axes, panels: list[Axes], clouds: list[Cloud], classes: tuple[int, ...], names: tuple[str, ...]
) -> None:
    """Write the name of each class beside its points, once the places of the panels are known.

    Where the points of some panel leave no room for that, a legend above the panels names the classes instead.
    """
    figure = ax.get_figure(root=True)
    assert figure is not None
    layout = settle(figure)
    written: list[Text] = []
    for panel, cloud in zip(panels, clouds, strict=True):
        points = [cloud.points[cloud.labels == label] for label in classes]
        texts = name_clouds(panel, names, points, SIZE, color=INK, fontsize=10, fontweight="bold")
        if texts is None:
            for text in written:
                text.remove()
            figure.set_layout_engine(layout)
            legend_above(ax, panels[0].lines, names, markerscale=2, handletextpad=0.2)
            return
        written += texts


def _same_window(panels: list[Axes], clouds: list[Cloud]) -> None:
    """One square window for both panels of an arm: the same scale in both, and along both axes."""
    from matplotlib.ticker import MaxNLocator

    points = np.concatenate([cloud.points for cloud in clouds])
    low, high = points.min(axis=0), points.max(axis=0)
    middle, half = (low + high) / 2, max(0.55 * float((high - low).max()), 1e-9)
    for panel in panels:
        panel.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half))
        panel.set_box_aspect(1)
        panel.xaxis.set_major_locator(MaxNLocator(4))
        panel.yaxis.set_major_locator(MaxNLocator(4))


def _means(points: Floats, labels: Ints, classes: tuple[int, ...]) -> Floats:
    return np.array([points[labels == k].mean(axis=0) if (labels == k).any() else [np.nan] * 2 for k in classes])


def _evenly(labels: Ints, classes: tuple[int, ...]) -> Ints:
    """At most ``A_CLASS`` rows of each class, evenly spaced: the stored order is that of a hash of the content."""
    kept: list[Ints] = []
    for label in classes:
        rows = np.flatnonzero(labels == label)
        kept.append(rows[np.linspace(0, len(rows) - 1, min(A_CLASS, len(rows))).round().astype(np.int64)])
    return np.concatenate(kept)


def _spread(points: Floats, labels: Ints, means: Floats, classes: tuple[int, ...]) -> float:
    within = [np.linalg.norm(points[labels == k] - mean, axis=1) for k, mean in zip(classes, means, strict=True)]
    between = [float(np.linalg.norm(a - b)) for i, a in enumerate(means) for b in means[:i]]
    return float(np.concatenate(within).mean() / np.nanmean(between))
