"""One trained model as a verdict takes it: scores of test rows and, where there are any, validation rows, groups, ids.

Whatever a file holds becomes logits (N, K) with labels (N,): probabilities become their logarithms, sequences (B, T, V)
become rows, and rows whose label is −100 are left out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.column_checks import as_numpy, is_tensor
from sfumato.evaluate.scores.files import PROBS, choose, contents
from sfumato.evaluate.scores.files.arrays import as_labels
from sfumato.evaluate.scores.files.matrix import FileError, spool
from sfumato.evaluate.scores.files.tables import LABELS
from sfumato.evaluate.scores.files.written_probs import as_probabilities
from sfumato.evaluate.scores.score_matrix import ScoreMatrix, Stored, check_labels

IGNORED = -100
"""The label of rows that do not count, as torch and Transformers have it."""


@dataclass(frozen=True)
class ScoredRows:
    """Rows of one part: ``logits`` (N, K), ``labels`` (N,), and ``group`` (N,) or None where each row is its own."""

    logits: Any
    labels: npt.NDArray[np.int64]
    group: npt.NDArray[Any] | None = None

    def taken(self, rows: npt.NDArray[Any]) -> ScoredRows:
        """Some of the rows, or all in another order."""
        if len(rows) == len(self.labels) and (rows == np.arange(len(rows))).all():
            return self
        group = None if self.group is None else self.group[rows]
        return ScoredRows(_taken(self.logits, rows), self.labels[rows], group)


@dataclass(frozen=True)
class ModelFile:
    """What one file says of one model.

    Attributes:
        name: of the file, for messages.
        test: the rows to judge on.
        validation: rows for the temperature, or None.
        id: what rows are matched by, (N,), or None.
    """

    name: str
    test: ScoredRows
    validation: ScoredRows | None = None
    id: npt.NDArray[Any] | None = None


def read_model(path: str | os.PathLike[str], *, kind: str | None = None, group: str = "group") -> ModelFile:
    """The model of a file of any of the kinds of :func:`~sfumato.evaluate.scores.files.read_scores`.

    Args:
        path: of the file.
        kind: ``"logits"``, ``"probs"`` or ``"percent"`` where the file does not say so or is wrong.
        group: the array or column whose equal values say that rows vary together.

    Raises:
        FileError: the file is not there, damaged, or lacks what is needed; the message names it.
    """
    name = os.path.basename(os.fspath(path))
    arrays, said, _ = contents(os.fspath(path), name, beside=(group,))
    return model_of(arrays, name, kind=kind or said, group=group)


def model_of(arrays: Mapping[str, Any], name: str, *, kind: str | None = None, group: str = "group") -> ModelFile:
    """The model of arrays by their names: logits (or probs), labels, and what :func:`read_model` takes beside them.

    Raises:
        FileError: something is missing or does not fit; the message starts with ``name``.
    """
    held = {key: value for key, value in arrays.items() if value is not None}
    key, scores = choose(held, name, sequences=True)
    kind = kind or ("probs" if key in PROBS else "logits")
    labels = next((as_labels(held[each]) for each in LABELS if each in held), None)
    if labels is None:
        raise FileError(f"{name} has no labels; save them beside the logits: sf.save_scores(…, labels=labels)")
    groups, ids = (None if held.get(each) is None else as_numpy(held[each]) for each in (group, "id"))
    test, keep = _part(scores, labels, groups, kind, name, "")
    if ids is not None:
        ids = _one_a_row(ids, labels.shape, keep, "id", name)
    validation, key = None, next((each for each in ("val_logits", "val_probs") if each in held), None)
    if key is not None:
        if "val_labels" not in held:
            raise FileError(f"{name} has {key} but no val_labels")
        between = None if held.get("val_group") is None else as_numpy(held["val_group"])
        own = kind if key == "val_logits" else "probs"
        validation, _ = _part(held[key], as_labels(held["val_labels"]), between, own, name, "val_")
        if validation.logits.shape[1] != test.logits.shape[1]:
            raise FileError(f"{name}: {key} have {validation.logits.shape[1]} classes and the test rows have "
                            f"{test.logits.shape[1]}")  # fmt: skip
    elif "val_labels" in held:
        raise FileError(f"{name} has val_labels but no val_logits")
    return ModelFile(name, test, validation, ids)


def _part(
    scores: Any, labels: npt.NDArray[Any], group: npt.NDArray[Any] | None, kind: str, name: str, prefix: str
) -> tuple[ScoredRows, npt.NDArray[np.int64]]:
    """The rows of one part that count, as logits, and which rows of the file these are."""
    shape = tuple(int(n) for n in scores.shape)
    if labels.shape != shape[:-1]:
        asked = " or ".join(str(each) for each in dict.fromkeys([shape[:-1], (int(np.prod(shape[:-1])),)]))
        raise FileError(
            f"{name}: {prefix}labels must be class indices of shape {asked}, one a row of the scores {shape}, got "
            f"shape {labels.shape}"
        )
    if len(shape) > 2:  # tokens of sequences: those of one sequence vary together
        if group is None:
            group = np.repeat(np.arange(shape[0]), int(np.prod(shape[1:-1])))
        scores = scores.reshape(-1, shape[-1])
        labels = labels.reshape(-1)
        if group.shape == shape[:1]:
            group = np.repeat(group, int(np.prod(shape[1:-1])))
    keep = np.flatnonzero(labels != IGNORED)
    if not len(keep):
        raise FileError(f"{name}: every label is {IGNORED}, which marks rows that do not count")
    if group is not None:
        group = _one_a_row(group, labels.shape, keep, f"{prefix}group", name)
    if len(keep) < len(labels):
        scores, labels = _taken(scores, keep), labels[keep]
    try:
        if kind != "logits":
            scores, _ = as_probabilities(scores, kind, name)
            scores = _logarithms(ScoreMatrix(probs=scores))
        source = ScoreMatrix(logits=scores)
        found = check_labels(labels, source.rows, source.classes)
    except FileError:
        raise
    except (TypeError, ValueError, IndexError) as error:
        raise FileError(f"{name}: {prefix}{error}" if prefix else f"{name}: {error}") from None
    return ScoredRows(scores, found, group), keep


def _one_a_row(
    values: npt.NDArray[Any], shape: tuple[int, ...], keep: npt.NDArray[Any], what: str, name: str
) -> npt.NDArray[Any]:
    flat = values.reshape(-1)
    if flat.shape[0] != int(np.prod(shape)):
        raise FileError(f"{name}: {what} must have one value a row, {shape}, got shape {values.shape}")
    return flat[keep]


def _taken(scores: Any, rows: npt.NDArray[Any]) -> Any:
    """Rows of scores; a matrix in a file stays in one."""
    if isinstance(scores, Stored):
        return _spooled(ScoreMatrix(logits=scores), lambda source, start, stop: source.raw(start, stop), rows)
    if is_tensor(scores):
        import torch

        return scores[torch.from_numpy(rows)]
    return scores[rows]


def _spooled(
    source: ScoreMatrix, read: Callable[[ScoreMatrix, int, int], npt.NDArray[Any]], rows: npt.NDArray[Any]
) -> Any:
    """Rows of a matrix in a file, in a temporary file; in the order of the source they are read in blocks."""

    def blocks() -> Iterator[npt.NDArray[Any]]:
        if (np.diff(rows) > 0).all():
            for start, stop in source.steps():
                first, last = np.searchsorted(rows, (start, stop))
                if first < last:
                    yield read(source, start, stop)[rows[first:last] - start]
        else:
            for start in range(0, len(rows), 1024):
                yield np.concatenate([read(source, int(row), int(row) + 1) for row in rows[start : start + 1024]])

    return spool(blocks(), source.type_name)


def _logarithms(source: ScoreMatrix) -> Any:
    def blocks() -> Iterator[npt.NDArray[Any]]:
        for start, stop in source.steps():
            with np.errstate(divide="ignore"):
                yield np.log(source.block(start, stop))

    return spool(blocks(), "float64") if isinstance(source.values, Stored) else np.concatenate(list(blocks()))
