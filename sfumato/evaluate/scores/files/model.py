"""One trained model as a verdict takes it: scores of test rows and, where there are any, validation rows, groups, ids.

Whatever a file holds becomes logits (N, K) with labels (N,): probabilities become their logarithms, sequences (B, T, V)
become rows, and rows whose label is −100 are left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.column_checks import as_numpy, is_tensor
from sfumato.evaluate.scores.files import HEAD, PROBS, SCORES, as_labels, beside_soft, choose, contents, soft_of
from sfumato.evaluate.scores.files.head import HeadScores
from sfumato.evaluate.scores.files.tables import LABELS
from sfumato.evaluate.scores.files.written_probs import as_probabilities
from sfumato.evaluate.scores.score_matrix import (
    IGNORED,
    RowError,
    ScoreMatrix,
    Stored,
    check_labels,
    refuse_probabilities,
    take_rows,
)
from sfumato.evaluate.scores.soft_labels import SOFT, SoftLabels, Truth
from sfumato.io.arrays import FileError, spool
from sfumato.messages import Note
from sfumato.text import listing, plural

PARTS = ("logits", "probs", "labels", *SOFT, "group", "features")
"""What validation rows have, with ``val_`` before each name."""


@dataclass(frozen=True)
class ScoredRows:
    """Rows of one part: ``logits`` (N, K), ``labels`` (N,), and ``group`` (N,) or None where each row is its own.

    ``soft`` are soft labels (N, K), whose modes the labels are, or None. ``numbers`` are those of the rows in their
    file, or None where the file has these rows alone and in this order.
    """

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
    """What one file says of one model.

    Attributes:
        name: of the file, for messages.
        test: the rows to judge on.
        validation: rows for the temperature, or None.
        id: what rows are matched by, (N,), or None.
        ignored: the first row that does not count, by its number in the file, or None.
        notes: what was taken for what, and what was not used, in sentences.
        classes: names of the columns of a table that were taken for classes; empty where these are numbered.
    """

    name: str
    test: ScoredRows
    validation: ScoredRows | None = None
    id: npt.NDArray[Any] | None = None
    ignored: int | None = None
    notes: tuple[Note, ...] = ()
    classes: tuple[str, ...] = ()


def read_model(path: str | os.PathLike[str], *, kind: str | None = None, group: str = "group") -> ModelFile:
    """The model of a file of any of the kinds of :func:`~sfumato.evaluate.scores.files.read_scores`.

    Args:
        path: of the file.
        kind: ``"logits"``, ``"probs"`` or ``"percent"`` where the file does not say so or is wrong.
        group: the array or column whose equal values say that rows vary together.

    Raises:
        FileError: the file is not there, damaged, or lacks what is needed; the message names it.
    """
    name = os.fspath(path)
    arrays, said, notes = contents(name, name, beside=(group,))
    made = model_of(arrays, name, kind=kind, said=said, group=group)
    return replace(made, notes=(*notes, *made.notes))


def model_of(
    arrays: Mapping[str, Any], name: str, *, kind: str | None = None, said: str | None = None, group: str = "group"
) -> ModelFile:
    """The model of arrays by their names: logits (or probs), labels, and what :func:`read_model` takes beside them.

    Args:
        arrays: numpy arrays, tensors, or lists.
        name: of the model, for messages, which begin with it.
        kind: of the scores, where somebody says it.
        said: of the scores, as the file itself says.
        group: as for :func:`read_model`.

    Raises:
        FileError: something is missing or does not fit.
    """
    known = {*SCORES, *LABELS, *SOFT, *HEAD, *(f"val_{each}" for each in PARTS), group, "id", "classes", ""}
    unused = sorted(str(key) for key in arrays if str(key) not in known)
    held = {str(key): _array(value, f"{name}: {key}") for key, value in arrays.items() if value is not None}
    key, scores = choose(held, name, sequences=True)
    own = kind or said or ("probs" if key in PROBS else "logits")
    soft = soft_of(held, name)
    labels = None if soft is not None else next((as_labels(held[each]) for each in LABELS if each in held), None)
    truth = labels if soft is None else soft
    if truth is None:
        raise FileError(f"{name} has no labels; save them beside the logits: sf.save_scores(…, labels=labels)")
    test, keep, dropped = _part(scores, truth, held.get(group), own, name, "")
    ids = held.get("id")
    if ids is not None:
        ids = _one_a_row(as_numpy(ids), (len(truth),) if isinstance(truth, SoftLabels) else truth.shape, "id", name)[
            keep
        ]
    validation = _validation(held, own, key in PROBS, name)
    if validation is not None and validation.logits.shape[1] != test.logits.shape[1]:
        raise FileError(
            f"{name}: the validation rows have {validation.logits.shape[1]} classes and the test rows have "
            f"{test.logits.shape[1]}"
        )
    fewer = int(np.prod(scores.shape[:-1])) - len(keep)
    which = f"whose label is −{-IGNORED}" if soft is None else "without annotators"
    notes = list[Note]()
    if fewer:
        text = f"Of {name}, {plural(fewer, 'row')} {which} do{'es' * (fewer == 1)} not count."
        notes.append(Note(code="rows-ignored", text=text))
    if unused:
        notes.append(Note(code="arrays-unused", text=f"Of {name}, these were not used: {listing(unused, 8)}."))
    if soft is not None:
        notes += beside_soft(held, soft, f"In {name}, the")
    named = () if "classes" not in held else tuple(as_numpy(held["classes"]).astype(str).tolist())
    return ModelFile(name, test, validation, ids, dropped, tuple(notes), named)


def _array(value: Any, what: str) -> Any:
    """A value as an array; tensors and matrices in files stay what they are."""
    if isinstance(value, (np.ndarray, Stored)) or is_tensor(value):
        return value
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise FileError(f"{what} is no array ({error})") from None


def _validation(held: Mapping[str, Any], own: str, from_probs: bool, name: str) -> ScoredRows | None:
    """The validation rows, whose scores are of the kind of the test rows unless their name says otherwise."""
    key = next((each for each in ("val_logits", "val_probs") if each in held), None)
    scores = None if key is None else held[key]
    if scores is None and "val_features" in held and "head_weight" in held:
        key, scores = (
            "val_features",
            HeadScores.of(held["val_features"], held["head_weight"], held.get("head_bias"), name),
        )
    if scores is None:
        lonely = next((each for each in ("labels", *SOFT) if f"val_{each}" in held), None)
        if lonely is not None:
            raise FileError(f"{name} has val_{lonely} but no val_logits")
        return None
    soft = soft_of(held, name, "val_")
    if soft is None and "val_labels" not in held:
        raise FileError(f"{name} has {key} but no val_labels")
    kind = own
    if key == "val_probs":
        kind = "percent" if own == "percent" else "probs"
    elif key == "val_features" or from_probs:
        kind = "logits"
    return _part(
        scores, soft if soft is not None else as_labels(held["val_labels"]), held.get("val_group"), kind, name, "val_"
    )[0]


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
        asked = " or ".join(str(each) for each in dict.fromkeys([shape[:-1], (rows,)]))
        hot = "; give labels.argmax(axis=-1)" if labels.shape == shape else ""
        raise FileError(
            f"{name}: {prefix}labels must be class indices of shape {asked}, one a row of the scores {shape}, got "
            f"shape {labels.shape}{hot}"
        )
    if group is not None:
        group = as_numpy(group)
        if len(shape) > 2 and group.shape == shape[:1]:
            group = np.repeat(group, rows // shape[0])
        group = _one_a_row(group, (rows,), f"{prefix}group", name)
    elif len(shape) > 2 and shape[0] > 1:  # tokens of sequences: those of one sequence vary together
        group = np.repeat(np.arange(shape[0]), rows // shape[0])
    scores, labels = (scores.reshape(-1, shape[-1]) if len(shape) > 2 else scores), labels.reshape(-1)
    keep = np.flatnonzero(labels != IGNORED)
    if not len(keep):
        raise FileError(f"{name}: every label is {IGNORED}, which marks rows that do not count")
    dropped = None if len(keep) == rows else int((labels == IGNORED).argmax())
    where, numbers = "in the validation rows, " if prefix else "", None if dropped is None else keep
    if dropped is not None:
        scores, labels = take_rows(scores, keep), labels[keep]
        group = None if group is None else group[keep]
        soft = None if soft is None else soft.take(keep)
    try:
        if kind == "logits":
            refuse_probabilities(scores)
        else:
            scores, _ = as_probabilities(scores, kind, name)
            scores = _logarithms(ScoreMatrix(probs=scores))
        source = ScoreMatrix(logits=scores)
        found = check_labels(labels, source.rows, source.classes)
    except FileError:
        raise
    except RowError as error:
        raise FileError(f"{name}: {where}{error.numbered(numbers)}") from None
    except (TypeError, ValueError, IndexError) as error:
        raise FileError(f"{name}: {where}{error}") from None
    return ScoredRows(scores, found, group, soft, numbers), keep, dropped


def _one_a_row(values: npt.NDArray[Any], shape: tuple[int, ...], what: str, name: str) -> npt.NDArray[Any]:
    """Values one a row, as they are or as text, none of them missing."""
    flat = values.reshape(-1)
    if flat.shape[0] != int(np.prod(shape)):
        raise FileError(f"{name}: {what} must have one value a row, {shape}, got shape {values.shape}")
    missing = [each is None or each != each for each in flat.tolist()]
    if any(missing):
        raise FileError(f"{name}: row {missing.index(True)} has no {what}")
    return flat.astype(str) if flat.dtype == object else flat


def _logarithms(source: ScoreMatrix) -> Any:
    """Probabilities as logits, each row of which is checked."""

    def blocks() -> Iterator[npt.NDArray[Any]]:
        for start, stop in source.steps():
            yield source.chunk(start, source.raw(start, stop)).shifted

    return spool(blocks(), "float64") if isinstance(source.values, Stored) else np.concatenate(list(blocks()))
