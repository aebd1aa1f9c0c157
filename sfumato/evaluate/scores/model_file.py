"""One trained model as a verdict takes it: scores of test rows and, if there are any, validation rows, groups, ids.

Probabilities become their logarithms, sequences (B, T, V) become rows, and rows whose label is −100 are left out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.column_checks import as_numpy, is_tensor
from sfumato.evaluate.scores.read_scores import (
    HEAD,
    SCORES,
    HeadScores,
    as_labels,
    as_probabilities,
    choose,
    contents,
    labels_of,
    soft_of,
    unused_labels,
)
from sfumato.evaluate.scores.score_matrix import (
    IGNORED,
    RowError,
    ScoreMatrix,
    Stored,
    check_labels,
    labels_of_classes,
    logarithms,
    refuse_probabilities,
    take_rows,
)
from sfumato.evaluate.scores.score_tables import LABELS, PROBS
from sfumato.evaluate.scores.soft_labels import SOFT, SoftLabels, Truth
from sfumato.io.arrays import FileError
from sfumato.messages import Note
from sfumato.text import listing, plural

VALIDATION = tuple(f"val_{each}" for each in ("logits", "probs", "labels", *SOFT, "group", "features"))


@dataclass(frozen=True)
class ScoredRows:
    """Rows of one part, with soft labels whose modes the labels are, and their numbers in a file with other rows."""

    logits: Any
    labels: npt.NDArray[np.int64]
    group: npt.NDArray[Any] | None = None
    soft: SoftLabels | None = None
    numbers: npt.NDArray[np.int64] | None = None

    def taken(self, rows: npt.NDArray[Any]) -> ScoredRows:
        """Some of the rows, or all in another order."""
        if len(rows) == len(self.labels) and (rows == np.arange(len(rows))).all():
            return self
        group = None if self.group is None else self.group[rows]
        labels, soft = Truth(self.labels, self.soft).part(rows)
        numbers = rows if self.numbers is None else self.numbers[rows]
        return ScoredRows(take_rows(self.logits, rows), labels, group, soft, numbers)

    def number(self, row: int) -> int:
        """What a row is called in its file."""
        return row if self.numbers is None else int(self.numbers[row])


@dataclass(frozen=True)
class ModelFile:
    """One model from one file: test rows to judge on, validation rows for the temperature, ids to match rows by."""

    name: str
    test: ScoredRows
    validation: ScoredRows | None = None
    id: npt.NDArray[Any] | None = None
    ignored: int | None = None  # the first row that does not count
    notes: tuple[Note, ...] = ()
    classes: tuple[str, ...] = ()  # columns of a table that were taken for classes


def read_model(path: str | os.PathLike[str], *, kind: str | None = None, group: str = "group") -> ModelFile:
    """The model of a file of any of the formats of :func:`~sfumato.evaluate.scores.read_scores.read_scores`."""
    name = os.fspath(path)
    arrays, file_kind, notes = contents(name, name, extra=(group,))
    model = model_of(arrays, name, kind=kind or file_kind, group=group)
    return replace(model, notes=(*notes, *model.notes))


def model_of(arrays: Mapping[str, Any], name: str, *, kind: str | None = None, group: str = "group") -> ModelFile:
    """The model of arrays by their names; ``group`` names those whose equal values mark rows that vary together."""
    known = {*SCORES, *LABELS, *SOFT, *HEAD, *VALIDATION, group, "id", "classes", ""}
    unused = sorted(str(key) for key in arrays if str(key) not in known)
    held = {str(key): _array(value, f"{name}: {key}") for key, value in arrays.items() if value is not None}
    key, scores = choose(held, name, sequences=True)
    kind = kind or ("probs" if key in PROBS else "logits")
    labels, soft = labels_of(held, name)
    truth = labels if soft is None else soft
    if truth is None:
        raise FileError(f"{name} has no labels; save them beside the logits: sf.save_scores(…, labels=labels)")
    test, keep, dropped = _part(scores, truth, held.get(group), kind, name, "")
    ids = held.get("id")
    if ids is not None:
        shape = (len(truth),) if isinstance(truth, SoftLabels) else truth.shape
        ids = _one_per_row(as_numpy(ids), shape, "id", name)[keep]
    validation = _validation(held, kind, key in PROBS, name)
    if validation is not None and validation.logits.shape[1] != test.logits.shape[1]:
        raise FileError(
            f"{name}: the validation rows have {validation.logits.shape[1]} classes and the test rows have "
            f"{test.logits.shape[1]}"
        )
    notes = list[Note]()
    if fewer := int(np.prod(scores.shape[:-1])) - len(keep):
        which = f"whose label is −{-IGNORED}" if soft is None else "without annotators"
        text = f"Of {name}, {plural(fewer, 'row')} {which} do{'es' * (fewer == 1)} not count."
        notes.append(Note(code="rows-ignored", text=text))
    if unused:
        notes.append(Note(code="arrays-unused", text=f"Of {name}, these were not used: {listing(unused, 8)}."))
    if soft is not None:
        notes += unused_labels(held, soft, f"In {name}, the")
    classes = () if "classes" not in held else tuple(as_numpy(held["classes"]).astype(str).tolist())
    return ModelFile(name, test, validation, ids, dropped, tuple(notes), classes)


def _array(value: Any, what: str) -> Any:
    """A value as an array; tensors and matrices in files stay what they are."""
    if isinstance(value, (np.ndarray, Stored)) or is_tensor(value):
        return value
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise FileError(f"{what} is not an array ({error})") from None


def _validation(held: Mapping[str, Any], kind: str, from_probs: bool, name: str) -> ScoredRows | None:
    """The validation rows, whose scores are of the kind of the test rows unless their name says otherwise."""
    key = next((each for each in ("val_logits", "val_probs") if each in held), None)
    scores = None if key is None else held[key]
    if scores is None and "val_features" in held and "head_weight" in held:
        key = "val_features"
        scores = HeadScores(held[key], held["head_weight"], held.get("head_bias"), name)
    if scores is None:
        lonely = next((each for each in ("labels", *SOFT) if f"val_{each}" in held), None)
        if lonely is not None:
            raise FileError(f"{name} has val_{lonely} but no val_logits")
        return None
    soft = soft_of(held, name, "val_")
    if soft is None and "val_labels" not in held:
        raise FileError(f"{name} has {key} but no val_labels")
    if key == "val_probs":
        kind = "percent" if kind == "percent" else "probs"
    elif key == "val_features" or from_probs:
        kind = "logits"
    truth = as_labels(held["val_labels"]) if soft is None else soft
    return _part(scores, truth, held.get("val_group"), kind, name, "val_")[0]


def _part(
    scores: Any, truth: npt.NDArray[Any] | SoftLabels, group: Any, kind: str, name: str, prefix: str
) -> tuple[ScoredRows, npt.NDArray[np.int64], int | None]:
    """The rows of one part that count, as logits; which rows of the file these are; and the first that is left out."""
    shape = tuple(int(n) for n in scores.shape)
    if not np.prod(shape):
        raise FileError(f"{name}: the scores of {prefix}logits are empty, {shape}")
    rows = int(np.prod(shape[:-1]))
    soft = truth if isinstance(truth, SoftLabels) else None
    if soft is not None and (len(soft), soft.classes) != (rows, shape[-1]):
        raise FileError(
            f"{name}: {prefix}{soft.name} must have the shape of the scores, {shape}, and have {len(soft):,} rows of "
            f"{plural(soft.classes, 'class', 'classes')}"
        )
    labels = truth if not isinstance(truth, SoftLabels) else np.where(truth.has_any, truth.mode, IGNORED)
    if labels.shape not in (shape[:-1], (rows,)):
        shapes = " or ".join(str(each) for each in dict.fromkeys([shape[:-1], (rows,)]))
        hot = labels_of_classes(labels) if labels.shape == shape else ""
        raise FileError(
            f"{name}: {prefix}labels must be class indices of shape {shapes}, one per row of the scores {shape}, got "
            f"shape {labels.shape}{hot}"
        )
    group = _groups(group, shape, f"{prefix}group", name)
    scores, labels = (scores.reshape(-1, shape[-1]) if len(shape) > 2 else scores), labels.reshape(-1)
    keep = np.flatnonzero(labels != IGNORED)
    if not len(keep):
        raise FileError(f"{name}: every label is {IGNORED}, which marks rows that do not count")
    dropped, numbers = None, None
    if len(keep) < rows:
        dropped, numbers = int((labels == IGNORED).argmax()), keep
        scores, labels = take_rows(scores, keep), labels[keep]
        group = None if group is None else group[keep]
        soft = None if soft is None else soft.take(keep)
    where = "in the validation rows, " if prefix else ""
    try:
        if kind == "logits":
            refuse_probabilities(scores)
        else:
            scores = logarithms(ScoreMatrix(probs=as_probabilities(scores, kind, name)[0]))
        source = ScoreMatrix(logits=scores)
        labels = check_labels(labels, source.rows, source.classes)
    except FileError:
        raise
    except RowError as error:
        raise FileError(f"{name}: {where}{error.numbered(numbers)}") from None
    except (TypeError, ValueError, IndexError) as error:
        raise FileError(f"{name}: {where}{error}") from None
    return ScoredRows(scores, labels, group, soft, numbers), keep, dropped


def _groups(group: Any, shape: tuple[int, ...], what: str, name: str) -> npt.NDArray[Any] | None:
    """The group of each row of scores of this shape; without groups, tokens of one sequence vary together."""
    rows = int(np.prod(shape[:-1]))
    if group is None:
        return np.repeat(np.arange(shape[0]), rows // shape[0]) if len(shape) > 2 and shape[0] > 1 else None
    group = as_numpy(group)
    if len(shape) > 2 and group.shape == shape[:1]:
        group = np.repeat(group, rows // shape[0])
    return _one_per_row(group, (rows,), what, name)


def _one_per_row(values: npt.NDArray[Any], shape: tuple[int, ...], what: str, name: str) -> npt.NDArray[Any]:
    """One value per row, as it is or as text, none of them missing."""
    flat = values.reshape(-1)
    if flat.shape[0] != int(np.prod(shape)):
        raise FileError(f"{name}: {what} must have one value per row, {shape}, got shape {values.shape}")
    missing = [each is None or each != each for each in flat.tolist()]
    if any(missing):
        raise FileError(f"{name}: row {missing.index(True)} has no {what}")
    return flat.astype(str) if flat.dtype == object else flat
