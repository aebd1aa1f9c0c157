"""What smoothing does to the features before the last layer: the plane of three classes, as in Müller et al. 2019.

The rows w_k of the last layer are the classes' templates. Adding one vector to all of them changes no probability, so
only their differences mean something: the plane is spanned by w_B − w_A and w_C − w_A, made orthonormal in this order.
A then stands left of B and C above both, in every panel alike.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from sfumato.report.arms import arm_title, probabilities
from sfumato.report.charts.drawing import CLASS_COLOURS, INK, MARKS, TOP, Axes, Chart, axes, legend_above, style
from sfumato.runs.read import Floats, Ints, ReportError, Run
from sfumato.text import short

PART_NAMES = ("train", "test")
MAX_ROWS = 100
"""Rows per class that are drawn, as in the paper."""


class Cloud(NamedTuple):
    """One panel: the drawn rows of an arm and a part of the data, about the mean of the class means of training rows.

    ``spread`` is the mean distance of a row from the mean of its class over the mean distance between class means. It
    counts all rows of these classes, also those that are not drawn.
    """

    arm: str
    part: str
    points: Floats
    labels: Ints
    spread: float


def plot_projection(run: Run) -> Chart:
    """Features on the plane of three classes' templates, a row of panels per arm: training rows left, test rows right.

    The axis becomes an empty frame for the panels. At most 100 rows per class are drawn, evenly spaced in their stored
    order. Each arm has a plane and a scale of its own, and both panels of an arm share them.
    """
    classes = three_classes(run)
    layers = [load_last_layer(run, arm["name"]) for arm in run.arms]
    names = [short(run.class_name(label), 12, end="…") for label in classes]
    break_line = len(names[0]) + len(names[1]) > 18  # where one label would run into that of the panel beside it
    across = f"{names[0]}{chr(10) if break_line else ' '}to {names[1]}"
    side, above = 1.6, 0.38  # inches of a panel and of the title above it
    tall = above + side + (0.7 if break_line else 0.52)  # of a row, with one line or two below the ticks
    ax = axes(TOP + tall * len(run.arms), bottom=0)
    ax.set_axis_off()
    clouds, panels = list[Cloud](), list[Axes]()
    for row, (arm, (_, layer)) in enumerate(zip(run.arms, layers, strict=True)):
        basis = plane(layer.templates[list(classes)], layer.features["train"])
        flat = {part: layer.features[part] @ basis for part in PART_NAMES}
        centre = np.nanmean(_means(flat["train"], layer.labels["train"], classes), axis=0)
        for part in PART_NAMES:
            points, labels = flat[part] - centre, layer.labels[part]
            drawn, spread = _evenly(labels, classes), _spread(points, labels, classes)
            clouds.append(Cloud(arm_title(arm), part, points[drawn], labels[drawn], spread))
        points = np.concatenate([cloud.points for cloud in clouds[-2:]])  # one square window for both panels
        low, high = points.min(axis=0), points.max(axis=0)
        half = max(0.55 * float((high - low).max()), 1e-9)
        window = (low + high) / 2 + np.array([[-half], [half]])
        for column, cloud in enumerate(clouds[-2:]):
            bottom = 1 - (row * tall + above + side) / (tall * len(run.arms))
            panels.append(ax.inset_axes((0.55 * column, bottom, 0.45, side / (tall * len(run.arms)))))
            _draw(panels[-1], cloud, classes, across, window)
        panels[-2].set_ylabel(f"towards {names[2]}" if len(names) > 2 else "largest other spread")
    full = [short(run.class_name(label), 40, end="…") for label in classes]
    columns = len(full) if sum(map(len, full)) <= 36 else 1
    legend_above(ax, panels[0].lines, full, columns=columns, markerscale=2, handletextpad=0.2)
    parts = [f"{c.arm}, {'training' if c.part == 'train' else 'test'}: {c.spread:.2f}" for c in clouds]
    seed = layers[0][0]
    alt = (
        f"Features of classes {', '.join(names)} on the plane of their templates, seed {seed}. "
        f"Distance of rows from their class mean as a share of that between class means: {'; '.join(parts)}."
    )
    return Chart(ax, {"classes": classes, "names": names, "seed": seed, "clouds": clouds}, alt)


def _draw(panel: Axes, cloud: Cloud, classes: tuple[int, ...], across: str, window: Floats) -> None:
    from matplotlib.ticker import MaxNLocator

    for label, colour, mark in zip(classes, CLASS_COLOURS, MARKS, strict=False):
        points = cloud.points[cloud.labels == label]
        panel.plot(*points.T, ls="", marker=mark, ms=2.6, mew=0, color=colour, alpha=0.75)
    title = f"{cloud.arm}\ntraining rows" if cloud.part == "train" else "test rows"
    panel.set_title(title, fontsize=9, color=INK, loc="left")
    panel.set(xlabel=across, xlim=window[:, 0], ylim=window[:, 1])
    panel.set_box_aspect(1)
    panel.xaxis.set_major_locator(MaxNLocator(4))
    panel.yaxis.set_major_locator(MaxNLocator(4))
    style(panel)


def _means(points: Floats, labels: Ints, classes: tuple[int, ...]) -> Floats:
    return np.array([points[labels == k].mean(axis=0) if (labels == k).any() else [np.nan] * 2 for k in classes])


def _evenly(labels: Ints, classes: tuple[int, ...]) -> Ints:
    """At most ``MAX_ROWS`` rows of each class, evenly spaced: the stored order is that of a hash of the content."""
    rows = [np.flatnonzero(labels == label) for label in classes]
    return np.concatenate([r[np.linspace(0, len(r) - 1, min(MAX_ROWS, len(r))).round().astype(np.int64)] for r in rows])


def _spread(points: Floats, labels: Ints, classes: tuple[int, ...]) -> float:
    means = _means(points, labels, classes)
    within = [np.linalg.norm(points[labels == k] - mean, axis=1) for k, mean in zip(classes, means, strict=True)]
    between = [float(np.linalg.norm(a - b)) for i, a in enumerate(means) for b in means[:i]]
    return float(np.concatenate(within).mean() / np.nanmean(between))


class LastLayer(NamedTuple):
    """The last layer of one arm and seed: its weights as templates (K, D), and by part its inputs (n, D) and labels."""

    templates: Floats
    features: dict[str, Floats]
    labels: dict[str, Ints]


class NoFeaturesError(Exception):
    """A run has no last layer to show; the message says why, and can stand in the page."""


def load_last_layer(run: Run, arm: str) -> tuple[int, LastLayer]:
    """The first seed that kept the features of one arm, with these and the templates."""
    for seed in run.seeds:
        parts = {part: _features(run.folder / "logits" / f"{arm}-seed{seed}-{part}.npz") for part in PART_NAMES}
        if None not in parts.values():
            break
    else:
        raise NoFeaturesError("The run kept no features of its last layer")
    features = {part: arrays[0] for part, arrays in parts.items() if arrays}
    labels = {part: arrays[1] for part, arrays in parts.items() if arrays}
    weight, bias = _head(run.folder / "weights" / f"{arm}-seed{seed}.safetensors")
    width = features["train"].shape[1]
    if weight.shape != (run.num_classes, width):
        raise NoFeaturesError(
            f"The last layer ({weight.shape[0]} × {weight.shape[1]}) does not fit the features ({width})"
        )
    if width < 2:
        raise NoFeaturesError("The last layer has a single input, so there is no plane to show")
    logits = run.test[arm, seed].logits[:64].astype(np.float64)
    made = features["test"][:64] @ weight.T + bias
    if np.abs(made - logits).max() > 0.02 * (1 + np.abs(logits).max()):  # features are stored in half precision
        raise NoFeaturesError("The last layer and the features do not give the logits")
    return seed, LastLayer(weight, features, labels)


def three_classes(run: Run) -> tuple[int, ...]:
    """The two classes that are most easily taken for each other, and the class that is furthest from both, if K > 2.

    Similarity of two classes is the mean probability that rows of one give to the other, both ways, over all arms and
    seeds after temperature.
    """
    k = run.num_classes
    if k == 2:
        return 0, 1
    mass = np.zeros((k, k))
    for (arm, seed), rows in run.test.items():
        np.add.at(mass, rows.labels, probabilities(run, arm, seed))
    count = np.bincount(run.labels, minlength=k) * run.times * len(run.arms)
    mass /= np.maximum(count, 1)[:, None]
    similar = mass + mass.T
    hidden = (count == 0) & ((count > 0).sum() >= 3)  # a class without test rows has nothing to show
    similar[np.diag_indices(k)] = similar[hidden, :] = similar[:, hidden] = -1.0
    a, b = divmod(int(similar.argmax()), k)
    larger = np.maximum(similar[a], similar[b])
    larger[[a, b]] = larger[hidden] = np.inf
    return min(a, b), max(a, b), int(larger.argmin())


def plane(templates: Floats, features: Floats) -> Floats:
    """Orthonormal basis (D, 2) of the plane of two or three templates, (2, D) or (3, D), with D at least 2.

    The first column runs from the first template to the second, the second column towards the third. Where the
    templates span no plane, the second column is the direction in which the features (n, D) vary most beside the first.
    """
    first = templates[1] - templates[0]
    first = first / max(float(np.linalg.norm(first)), np.finfo(float).tiny)
    across = templates[-1] - templates[0]
    second = across - first * (across @ first)
    if len(templates) < 3 or np.linalg.norm(second) <= 1e-9 * np.linalg.norm(across):
        rest = features - features.mean(axis=0)
        spread = rest.T @ rest
        away = np.outer(first, first) * (1 + np.trace(spread))  # puts the first direction last among the eigenvectors
        project = np.eye(len(first)) - np.outer(first, first)
        second = np.linalg.eigh(project @ spread @ project - away)[1][:, -1]
        second = second * np.sign(second[np.abs(second).argmax()])
    return np.column_stack([first, second / np.linalg.norm(second)])


def _features(path: Path) -> tuple[Floats, Ints] | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            if "features" not in file.files:
                return None
            features, labels = file["features"].astype(np.float64), file["labels"].astype(np.int64)
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise ReportError(f"{path} cannot be read: {error}") from error
    return (features, labels) if features.ndim == 2 and len(features) == len(labels) else None


def _head(path: Path) -> tuple[Floats, Floats]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.exists():
        raise NoFeaturesError("The run kept no weights")
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ReportError(f"{path} cannot be read: {error}") from error
    if "head.weight" not in weights:
        raise NoFeaturesError("The weights name no last layer")
    weight = weights["head.weight"].astype(np.float64)
    bias = weights.get("head.bias")
    return weight, np.zeros(len(weight)) if bias is None else bias.astype(np.float64)
