"""Scores and labels from files: what was read, in what type, and from which arrays or columns.

The first bytes of a file say of which kind it is, not its name. A large matrix stays in its file and is read in blocks.
"""

from __future__ import annotations

import codecs
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.column_checks import as_numpy, is_tensor
from sfumato.evaluate.scores.files.head import HeadScores
from sfumato.evaluate.scores.files.run_folder import first_of_run
from sfumato.evaluate.scores.files.tables import BESIDE, LABELS, LOGITS, Contents, read_csv, read_parquet
from sfumato.evaluate.scores.files.tables import PROBS as PROBS
from sfumato.evaluate.scores.files.written_probs import as_probabilities
from sfumato.evaluate.scores.soft_labels import SOFT, SoftLabels
from sfumato.io.arrays import Array, StoredMatrix, copied, read_npy, read_npz, read_safetensors, read_torch
from sfumato.io.arrays import FileError as FileError
from sfumato.messages import Note
from sfumato.text import did_you_mean

_LOGIT_KEYS = ("logits", *LOGITS, "prediction", "output", "outputs")
HEAD = ("features", "head_weight", "head_bias")
SCORES = (*_LOGIT_KEYS, *PROBS)
"""Names of scores, the first that is there counts."""

_BESIDE = (
    *(*BESIDE, "val_logits", "val_probs", "val_labels", "val_group", "val_features"),
    *(f"val_{each}" for each in SOFT),
)


@dataclass
class ScoreFile:
    """What a file of that name holds: scores (N, K) of its kind, and labels (N,) and features (N, D) or None.

    ``soft`` are soft labels (N, K); labels beside them are not read. ``rows`` is None if the file does not say which
    rows these are. The notes are sentences on what was taken for what.
    """

    name: str
    kind: str
    scores: Any
    labels: npt.NDArray[Any] | None
    features: Any = None
    rows: Literal["train", "heldout"] | None = None
    notes: list[Note] = field(default_factory=list[Note])
    group: npt.NDArray[Any] | None = None
    soft: SoftLabels | None = None

    @property
    def truth(self) -> dict[str, Any]:
        """The labels by the name of the argument that takes them."""
        return {"labels": self.labels} if self.soft is None else {self.soft.name: self.soft}


def read_scores(path: str, *, kind: str | None = None, group: str | None = None) -> ScoreFile:
    """Scores from a file, a run folder, or ``-`` for standard input.

    The file is ``.npz``, ``.npy``, ``.safetensors``, ``.pt``, ``.csv`` or ``.parquet``. ``kind`` is
    ``"logits"``, ``"probs"`` or ``"percent"``, if the file does not say so or is wrong. ``group`` names the array or
    column of rows that vary together; without it, one called ``"group"`` is taken where there is one.

    Raises:
        FileError: the file is not there, empty, cut off, holds objects, or lacks what is needed.
    """
    place, notes = path, list[Note]()
    if path != "-" and os.path.isdir(path):
        first, notes = first_of_run(Path(path))
        place = str(first)
    rows: Literal["train", "heldout"] | None = None
    if part := re.search(r"-(train|validation|test)\.npz$", place):
        rows = "train" if part[1] == "train" else "heldout"
    name = "standard input" if path == "-" else os.path.basename(place)
    arrays, said, more = contents(place, name, beside=() if group is None else (group,))
    if group is not None and arrays.get(group) is None:
        hint = did_you_mean(group, filter(None, arrays))
        raise FileError(f'{name} has no array or column "{group}", which --group names.{hint}')
    together = arrays.get(group or "group")
    key, found = choose(arrays, name)
    kind = kind or said or ("probs" if key in PROBS else "logits")
    soft = soft_of(arrays, name)
    labels = None if soft is not None else next((as_labels(arrays[k]) for k in LABELS if k in arrays), None)
    if soft is not None:
        more = [*more, *beside_soft(arrays, soft)]
    if kind != "logits":
        found, mended = as_probabilities(found, kind, name)
        kind, more = "probs", [*more, *mended]
    return ScoreFile(
        name,
        kind,
        found,
        labels,
        arrays.get("features"),
        rows,
        [*notes, *more],
        None if together is None else as_numpy(together),
        soft,
    )


def read_labels(path: str) -> npt.NDArray[Any] | SoftLabels:
    """Labels, hard or soft, from a file of any of the kinds of :func:`read_scores`."""
    name = os.path.basename(path)
    arrays, _, _ = contents(path, name)
    if (soft := soft_of(arrays, name)) is not None:
        return soft
    for key in LABELS:
        if key in arrays:
            return as_labels(arrays[key])
    if len(arrays) == 1:
        only = as_labels(next(iter(arrays.values())))
        if only.ndim == 1:
            return only
        raise FileError(
            f"{name}: labels must be one class index a row, got shape {only.shape}; save soft labels in an npz, as "
            "label_probs or label_counts"
        )
    raise FileError(f"{name} has no labels; arrays: {', '.join(sorted(arrays)) or 'none'}")


def soft_of(arrays: Mapping[str, Any], name: str, prefix: str = "") -> SoftLabels | None:
    """The soft labels among the arrays of a file of that name, or None where there are none.

    Sequences (B, T, K) become rows. ``prefix`` stands before the names of the arrays.

    Raises:
        FileError: both kinds are there, or one that cannot be used; the message names the first row.
    """
    there = [each for each in SOFT if arrays.get(prefix + each) is not None]
    if len(there) > 1:
        raise FileError(f"{name} has {prefix}{there[0]} and {prefix}{there[1]}; keep one of them")
    if not there:
        return None
    values = arrays[prefix + there[0]]
    try:
        return SoftLabels(values.reshape(-1, values.shape[-1]) if len(values.shape) > 2 else values, there[0])
    except (TypeError, ValueError) as error:
        raise FileError(f"{name}: {prefix}{error}") from None


def beside_soft(arrays: Mapping[str, Any], soft: SoftLabels, start: str = "The") -> list[Note]:
    """A note where a file has hard labels beside soft ones."""
    hard = next((key for key in LABELS if arrays.get(key) is not None), None)
    text = f'{start} labels are those of "{soft.name}", and "{hard}" beside them is not read.'
    return [] if hard is None else [Note(code="hard-labels-unused", text=text)]


def contents(path: str, name: str, beside: Sequence[str] = ()) -> Contents:
    """What a file holds: its arrays by name, the kind of its scores if it says so, and notes on what was read.

    ``beside`` names columns of a table, or arrays, that are none of the classes and are read as they are.

    Raises:
        FileError: as :func:`read_scores`.
    """
    try:
        file: IO[bytes] = copied(sys.stdin.buffer) if path == "-" else open(path, "rb")  # noqa: SIM115
    except FileNotFoundError:
        raise FileError(f'there is no file "{path}"') from None
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from None
    with file:
        return _by_head(file, path, name, beside)


def _by_head(file: IO[bytes], path: str, name: str, beside: Sequence[str]) -> Contents:
    size = os.fstat(file.fileno()).st_size
    wanted = (*SCORES, *LABELS, *SOFT, *HEAD, *_BESIDE, *beside)
    head = file.read(8)
    if not head:
        raise FileError(f"{name} is empty")
    if head.startswith(b"\x93NUMPY"):
        return {"": read_npy(file, name, size)}, None, []
    if head.startswith(b"PK\x03\x04"):
        if _is_torch(file):
            return read_torch(path if path != "-" else file, name), None, []
        return read_npz(file, name, wanted), None, []
    if head.startswith(b"PAR1"):
        return read_parquet(file, name, beside)
    if len(head) == 8 and file.read(1) == b"{" and not head.lstrip().startswith((b"{", b"[")):
        return read_safetensors(file, name, size, wanted), None, []
    if head.startswith(b"\x80") or path.endswith((".pkl", ".pickle", ".joblib")):
        raise FileError(
            f"{name} is a pickle, which is not read because it can run code; save plain numbers: "
            "numpy.savez(file, logits=logits, labels=labels)"
        )
    if head.startswith(b"PK"):
        raise FileError(f"{name} is an empty or damaged archive; write it again with numpy.savez")
    if head.lstrip().startswith((b"{", b"[{")):
        raise FileError(f"{name} is JSON, which is not read; save the table as CSV or Parquet")
    if b"\0" in head and not head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise FileError(f"{name} is of no kind that is read: npz, npy, safetensors, pt, CSV or Parquet")
    return read_csv(file, name, beside)


def choose(arrays: dict[str, Array], name: str, *, sequences: bool = False) -> tuple[str, Array]:
    """The scores among the arrays of a file, and what they are called.

    ``features`` and ``head_weight`` stand for the logits that they give, which are multiplied in blocks of rows.

    Args:
        arrays: by name.
        name: of the file, for messages.
        sequences: whether scores may have more dimensions than two.

    Raises:
        FileError: there are none, or they have another shape.
    """
    for key in (*SCORES, ""):
        if key in arrays and (key or len(arrays) == 1):
            found = arrays[key]
            shape = tuple(int(n) for n in found.shape)
            if len(shape) < 2 or (len(shape) > 2 and not sequences):
                way_out = ""
                if len(shape) == 1:
                    both = "[1 - p, p]" if key in PROBS else "[0 * z, z]"
                    way_out = f"; of two classes give both, np.column_stack({both})"
                elif shape:
                    way_out = f"; give each as rows, {key or 'scores'}.reshape(-1, {shape[-1]}) and labels.reshape(-1)"
                raise FileError(
                    f"{name}: {key or 'the array'} must be (N, K), one row of scores each, got shape {shape}{way_out}"
                )
            if shape[0] == 0:
                raise FileError(f"{name} has no rows")
            if isinstance(found, (np.ndarray, StoredMatrix)) or is_tensor(found):
                return key, found
    if "features" in arrays and "head_weight" in arrays:
        return "logits", HeadScores.of(arrays["features"], arrays["head_weight"], arrays.get("head_bias"), name)
    raise FileError(
        f"{name} has no logits; it needs an array called logits (or probs), and labels. "
        f"Arrays: {', '.join(sorted(key for key in arrays if key)) or 'none'}"
    )


def as_labels(values: Array) -> npt.NDArray[Any]:
    """An array or tensor as numpy, whole floats as integers."""
    found = as_numpy(values)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.dtype.kind == "f" and found.ndim == 1 and np.isfinite(found).all() and (found == np.rint(found)).all():
        return found.astype(np.int64)
    return found


def _is_torch(file: IO[bytes]) -> bool:
    """Whether a zip archive is from torch: it then holds a pickle that says how its members fit together."""
    import zipfile

    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except Exception:  # damage shows up as any of a dozen types; the reader of the archive will say what it is
        return False
    return any(each.endswith("data.pkl") for each in names)
