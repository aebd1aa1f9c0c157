"""Features of the last layer on the plane of three classes (Müller et al. 2019, figure 1).

The rows w_k of the last layer are the classes' templates. Adding one vector to all of them changes no probability, so
only their differences mean something: the plane is spanned by w_B − w_A and w_C − w_A, made orthonormal in this order.
A then stands left of B and C above both, in every picture alike.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sfumato.report.arms import probabilities
from sfumato.runs.read import Floats, Ints, ReportError, Run

PART_NAMES = ("train", "test")


@dataclass(frozen=True)
class LastLayer:
    """The last layer of one arm and seed: its weights as templates (K, D), and by part its inputs (n, D) and labels."""

    templates: Floats
    features: dict[str, Floats]
    labels: dict[str, Ints]


class NoFeaturesError(Exception):
    """A run has no last layer to show; the message says why, and can stand in the page."""


def load_last_layer(run: Run, arm: str) -> tuple[int, LastLayer]:
    """The first seed that kept the features of one arm, with these and the templates.

    Raises:
        NoFeaturesError: the run kept no features or no weights of a last layer, or these do not give the logits.
        ReportError: a file is broken.
    """
    for seed in run.seeds:
        parts = {part: _features(run.folder / "logits" / f"{arm}-seed{seed}-{part}.npz") for part in PART_NAMES}
        kept = {part: found for part, found in parts.items() if found is not None}
        if len(kept) == len(PART_NAMES):
            break
    else:
        raise NoFeaturesError("The run kept no features of its last layer")
    weight, bias = _head(run.folder / "weights" / f"{arm}-seed{seed}.safetensors")
    features = {part: found[0] for part, found in kept.items()}
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
    return seed, LastLayer(weight, features, {part: found[1] for part, found in kept.items()})


def three_classes(run: Run) -> tuple[int, ...]:
    """Two classes that are taken for each other and one far from both; for K = 2 both classes.

    Similarity of two classes is the mean probability that rows of one give to the other, both ways, over all arms and
    seeds after temperature. The first two are the most similar pair, the lower number first; the third is the class
    whose larger similarity to the two is smallest.
    """
    k = run.num_classes
    if k == 2:
        return 0, 1
    held = np.zeros((k, k))
    for (arm, seed), rows in run.test.items():
        np.add.at(held, rows.labels, probabilities(run, arm, seed))
    count = np.bincount(run.labels, minlength=k) * len(run.test)
    held /= np.maximum(count, 1)[:, None]
    similar = held + held.T
    similar[np.diag_indices(k)] = -1.0
    seen = count > 0  # a class without test rows has nothing to show
    if seen.sum() >= 3:
        similar[~seen, :] = similar[:, ~seen] = -1.0
    a, b = divmod(int(similar.argmax()), k)
    rest = np.maximum(similar[a], similar[b])
    rest[[a, b]] = np.inf
    if seen.sum() >= 3:
        rest[~seen] = np.inf
    return min(a, b), max(a, b), int(rest.argmin())


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
