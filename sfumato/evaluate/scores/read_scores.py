"""Scores and labels from a file or a run folder: the arrays of a file, and which of them are scores and labels."""

from __future__ import annotations

import codecs
import json
import os
import re
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.column_checks import as_numpy, is_tensor
from sfumato.evaluate.scores.score_matrix import SUM_TOLERANCE, ScoreMatrix, plain, widen
from sfumato.evaluate.scores.score_tables import EXTRA_COLUMNS, LABELS, LOGITS, PROBS, Contents, read_score_table
from sfumato.evaluate.scores.soft_labels import SOFT, SoftLabels, in_memory
from sfumato.io.arrays import Array, StoredMatrix, copied, read_npy, read_npz, read_safetensors, read_torch, spool
from sfumato.io.arrays import FileError as FileError
from sfumato.messages import Note
from sfumato.text import did_you_mean

HEAD = ("features", "head_weight", "head_bias")
SCORES = ("logits", *LOGITS, "prediction", "output", "outputs", *PROBS)  # the first that is present counts

_OTHER = (
    *(*LABELS, *SOFT, *HEAD, *EXTRA_COLUMNS),
    *("val_logits", "val_probs", "val_labels", "val_group", "val_features", *(f"val_{each}" for each in SOFT)),
)


@dataclass
class ScoreFile:
    """The scores (N, K) of a file of that name and kind, with labels (N,), soft labels (N, K) or features (N, D)."""

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
    """Scores from a file, a run folder, or ``-`` for standard input; FileError if that cannot be used.

    ``kind`` is ``"logits"``, ``"probs"`` or ``"percent"``, if the file does not say so or is wrong. ``group`` names the
    array or column of rows that vary together, by default ``"group"`` if there is one.
    """
    places, notes = [path], list[Note]()
    if path != "-" and os.path.isdir(path):
        places, notes = files_of_run(Path(path))
    place = places[0]
    rows: Literal["train", "heldout"] | None = None
    if part := re.search(r"-(train|validation|test)\.npz$", place):
        rows = "train" if part[1] == "train" else "heldout"
    name = "standard input" if path == "-" else os.path.basename(place)
    arrays, file_kind, more = contents(place, name, extra=() if group is None else (group,))
    notes += more
    if len(places) > 1:  # the folds of a comparison, each tested by a model of its own
        others = [contents(each, os.path.basename(each))[0] for each in places[1:]]
        arrays = {
            key: np.concatenate([in_memory(each[key]) for each in (arrays, *others)])
            for key in arrays
            if all(each.get(key) is not None for each in (arrays, *others))
        }
    if group is not None and arrays.get(group) is None:
        hint = did_you_mean(group, filter(None, arrays))
        raise FileError(f'{name} has no array or column "{group}", which --group names.{hint}')
    groups = arrays.get(group or "group")
    key, scores = choose(arrays, name)
    kind = kind or file_kind or ("probs" if key in PROBS else "logits")
    labels, soft = labels_of(arrays, name)
    if soft is not None:
        notes += unused_labels(arrays, soft)
    if kind != "logits":
        scores, more = as_probabilities(scores, kind, name)
        kind, notes = "probs", [*notes, *more]
    groups = None if groups is None else as_numpy(groups)
    return ScoreFile(name, kind, scores, labels, arrays.get("features"), rows, notes, groups, soft)


def read_labels(path: str) -> npt.NDArray[Any] | SoftLabels:
    """Labels, hard or soft, from a file of any of the formats of :func:`read_scores`."""
    name = os.path.basename(path)
    arrays, _, _ = contents(path, name)
    labels, soft = labels_of(arrays, name)
    if soft is not None:
        return soft
    if labels is not None:
        return labels
    if len(arrays) == 1:
        only = as_labels(next(iter(arrays.values())))
        if only.ndim == 1:
            return only
        raise FileError(
            f"{name}: labels must be one class index per row, got shape {only.shape}; save soft labels in an npz, as "
            "label_probs or label_counts"
        )
    raise FileError(f"{name} has no labels; arrays: {', '.join(sorted(arrays)) or 'none'}")


def labels_of(arrays: Mapping[str, Any], name: str) -> tuple[npt.NDArray[Any] | None, SoftLabels | None]:
    """Hard or soft labels among the arrays of a file; soft ones win."""
    soft = soft_of(arrays, name)
    key = None if soft is not None else next((key for key in LABELS if key in arrays), None)
    return None if key is None else as_labels(arrays[key]), soft


def soft_of(arrays: Mapping[str, Any], name: str, prefix: str = "") -> SoftLabels | None:
    """The soft labels among the arrays of a file, with ``prefix`` before their names; (B, T, K) become rows."""
    present = [each for each in SOFT if arrays.get(prefix + each) is not None]
    if len(present) > 1:
        raise FileError(f"{name} has {prefix}{present[0]} and {prefix}{present[1]}; keep one of them")
    if not present:
        return None
    values = arrays[prefix + present[0]]
    try:
        return SoftLabels(values.reshape(-1, values.shape[-1]) if len(values.shape) > 2 else values, present[0])
    except (TypeError, ValueError) as error:
        raise FileError(f"{name}: {prefix}{error}") from None


def unused_labels(arrays: Mapping[str, Any], soft: SoftLabels, start: str = "The") -> list[Note]:
    """A note if a file has hard labels besides soft ones."""
    hard = next((key for key in LABELS if arrays.get(key) is not None), None)
    text = f'{start} labels are those of "{soft.name}", and "{hard}" beside them is not read.'
    return [] if hard is None else [Note(code="hard-labels-unused", text=text)]


def as_labels(values: Array) -> npt.NDArray[Any]:
    """An array or tensor as numpy, whole floats as integers."""
    labels = as_numpy(values)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    whole = labels.dtype.kind == "f" and labels.ndim == 1 and np.isfinite(labels).all()
    return labels.astype(np.int64) if whole and (labels == np.rint(labels)).all() else labels


def contents(path: str, name: str, extra: Sequence[str] = ()) -> Contents:
    """The arrays of a file by name, the kind of its scores if it says so, and notes; ``extra`` are no classes."""
    try:
        file: IO[bytes] = copied(sys.stdin.buffer) if path == "-" else open(path, "rb")  # noqa: SIM115
    except FileNotFoundError:
        raise FileError(f'there is no file "{path}"') from None
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from None
    with file:
        return _by_first_bytes(file, path, name, extra)


def _by_first_bytes(file: IO[bytes], path: str, name: str, extra: Sequence[str]) -> Contents:
    """What a file holds, whose format its first bytes show, and not its name."""
    size = os.fstat(file.fileno()).st_size
    wanted = (*SCORES, *_OTHER, *extra)
    head = file.read(8)
    if not head:
        raise FileError(f"{name} is empty")
    if head.startswith(b"\x93NUMPY"):
        return {"": read_npy(file, name, size)}, None, []
    if head.startswith(b"PK\x03\x04"):
        if _is_torch(file):
            return read_torch(path if path != "-" else file, name), None, []
        return read_npz(file, name, wanted), None, []
    feather = head.startswith(b"ARROW1") and path.lower().endswith((".feather", ".arrow"))
    arrow = feather or head.startswith(b"PAR1")
    if not arrow and len(head) == 8 and file.read(1) == b"{" and not head.lstrip().startswith((b"{", b"[")):
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
    utf_16 = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if not arrow and b"\0" in head and not utf_16 and not path.endswith(".gz"):
        raise FileError(
            f"{name}: unsupported file format; scores are npz, npy, safetensors, pt, CSV, Parquet or Feather"
        )
    if path != "-":
        return read_score_table(path, name, extra, arrow=arrow)
    with tempfile.TemporaryDirectory() as folder:  # tables are read by path
        table = Path(folder) / "standard_input"
        file.seek(0)
        table.write_bytes(file.read())
        return read_score_table(str(table), name, extra, arrow=arrow)


def choose(arrays: dict[str, Array], name: str, *, sequences: bool = False) -> tuple[str, Array]:
    """The name and the scores among the arrays of a file; ``sequences`` may have more dimensions than two."""
    for key in (*SCORES, ""):
        if key in arrays and (key or len(arrays) == 1):
            scores = arrays[key]
            shape = tuple(int(n) for n in scores.shape)
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
            if isinstance(scores, (np.ndarray, StoredMatrix)) or is_tensor(scores):
                return key, scores
    if "features" in arrays and "head_weight" in arrays:
        return "logits", HeadScores(arrays["features"], arrays["head_weight"], arrays.get("head_bias"), name)
    raise FileError(
        f"{name} has no logits; it needs an array called logits (or probs), and labels. "
        f"Arrays: {', '.join(sorted(key for key in arrays if key)) or 'none'}"
    )


def seeds_of_run(folder: Path) -> dict[str, dict[int, Path]]:
    """The test rows of each arm and seed of a run folder: arms in the order of the summary, seeds in rising order."""
    files: dict[str, dict[int, Path]] = {}
    for path in sorted((folder / "logits").glob("*-seed*-test.npz")):
        if named := re.fullmatch(r"(.+)-seed(\d+)-test\.npz", path.name):
            files.setdefault(named[1], {})[int(named[2])] = path
    if not files:
        raise FileError(f"{folder} is not the folder of a comparison: it has no logits/*-test.npz")
    order = [arm["name"] for arm in _summary(folder).get("arms", ())]
    names = sorted(files, key=lambda arm: (order.index(arm) if arm in order else len(order), arm))
    return {arm: dict(sorted(files[arm].items())) for arm in names}


def files_of_run(folder: Path) -> tuple[list[str], list[Note]]:
    """The logits of a comparison to audit, and a note on which: of the arm that its verdict chose, each row once."""
    seeds, summary = seeds_of_run(folder), _summary(folder)
    choice, folds = summary.get("verdict", {}).get("choice"), summary.get("data", {}).get("folds", 1)
    arm = choice if choice in seeds else min(seeds)
    chosen = list(seeds[arm].values())[:folds]
    rest = ", ".join(sorted(each for each in seeds if each != arm))
    more = f"; name a file of its logits folder for {rest} or other rows" if rest else ""
    which = chosen[0].name if folds == 1 else f"{folds} models, each on the rows of its own fold"
    text = f"Of the run, the arm {arm} on test rows was read ({which}){more}."
    return [str(path) for path in chosen], [Note(code="arm-of-run", text=text)]


def _summary(folder: Path) -> dict[str, Any]:
    path = folder / "summary.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _is_torch(file: IO[bytes]) -> bool:
    """Whether a zip archive is from torch: it then holds a pickle that says how its members fit together."""
    try:
        return any(each.endswith("data.pkl") for each in zipfile.ZipFile(file).namelist())
    except Exception:  # damage shows up as any of a dozen types; the reader of the archive will say what it is
        return False


def as_probabilities(scores: Any, kind: str, name: str) -> tuple[Any, list[Note]]:
    """Probabilities, or numbers of kind ``"percent"``, whose rows are divided by their sums where these are rounded.

    FileError if percentages are called probabilities, or the other way round. Other faults are left to the audit.
    """
    try:
        source = ScoreMatrix(probs=scores)
    except (TypeError, ValueError):
        return scores, []  # of a type or shape that the audit refuses
    head = source.block(*next(source.steps()))
    sums, whole = head.sum(axis=1), 100.0 if kind == "percent" else 1.0
    if not np.isfinite(sums).all() or (head < 0).any():
        return scores, []  # the audit names the row
    decimals = next((d for d in range(7) if (np.abs(head * 10**d - np.rint(head * 10**d)) < 1e-6).all()), None)
    rounding = 0.0 if decimals is None else 0.501 * source.classes * 10.0**-decimals
    slack = max(SUM_TOLERANCE * whole, rounding)
    if kind == "probs" and (np.abs(sums - 100) <= max(slack, 1.0)).all():
        raise FileError(f"{name}: the scores of each row sum to about 100, so they are percentages; say --kind percent")
    off = float(np.abs(sums - whole).max())
    if kind == "probs" and (off <= SUM_TOLERANCE or off > slack):
        return scores, []
    what = "percentages" if kind == "percent" else f"probabilities rounded to {decimals} decimals"

    def divided() -> Iterator[npt.NDArray[Any]]:
        for start, stop in source.steps():
            block = source.block(start, stop)
            sums = block.sum(axis=1)
            if not (near := np.abs(sums - whole) <= slack).all():
                row = int(near.argmin())
                raise FileError(
                    f"{name}: the scores of row {start + row} sum to {sums[row]:.6g}, and "
                    f"{what.partition(' ')[0]} sum to {whole:g}"
                )
            yield block / sums[:, None]

    note = Note(code="divided-by-sum", text=f"These are {what}, and each row was divided by its sum.")
    return spool(divided(), "float64"), [note]


class HeadScores:
    """The logits ``features @ head_weight.T + head_bias`` of a linear last layer, multiplied in blocks of rows.

    They are float32, or float64 where the weight is. ``features`` (N, D) may stay in their file; the weight is (K, D),
    as ``torch.nn.Linear`` has it, and the bias (K,) or None.
    """

    def __init__(self, features: Any, weight: Any, bias: Any, name: str) -> None:
        weight = widen(_plain(weight))
        self._weight = weight if weight.dtype == np.float64 else weight.astype(np.float32)
        self._bias = None if bias is None else widen(_plain(bias)).astype(self._weight.dtype)
        self._features = features
        shape = tuple(int(n) for n in features.shape)
        if len(shape) != 2 or weight.ndim != 2 or shape[1] != weight.shape[1]:
            raise FileError(
                f"{name}: features {shape} and head_weight {weight.shape} do not fit; they are (N, D) and (K, D), as "
                "torch.nn.Linear has its weight"
            )
        if self._bias is not None and self._bias.shape != (len(weight),):
            raise FileError(f"{name}: head_bias must be ({len(weight)},), one number per class, got {self._bias.shape}")
        self.shape, self.type_name = (len(features), len(weight)), self._weight.dtype.name

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, start: int, stop: int, out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Rows from ``start`` to ``stop``, into ``out`` if given."""
        block = widen(_plain(self._features, slice(start, stop))).astype(self._weight.dtype)
        product = np.matmul(block, self._weight.T, out=None if out is None else out[: stop - start])
        if self._bias is not None:
            product += self._bias
        return product


def _plain(values: Any, rows: slice = slice(None)) -> npt.NDArray[Any]:
    if isinstance(values, StoredMatrix):
        return values.read(*rows.indices(len(values))[:2])
    return plain(values[rows]) if is_tensor(values) else np.asarray(values[rows])
