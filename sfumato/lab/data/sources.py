"""Where data comes from: the name ``digits``, or a file whose ending says how to read it."""

import difflib
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from sfumato.lab.data.archive import read_npz
from sfumato.lab.data.csv_table import read_csv
from sfumato.lab.data.table import DataError, Table

READABLE = "digits, .csv, .tsv, .csv.gz, .npz"
_CSV_ENDINGS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")


def load(source: str, *, label: str | None = None) -> Table:
    """Read a data set.

    Args:
        source: ``"digits"``, the 1,797 handwritten digits that come with scikit-learn (always the embedded set, even
            where the current folder holds something called digits; ``./digits`` means that), or the path of a file:
            ``.csv`` or ``.tsv``, plain or ``.gz``, with a header, numbers in every column and one column of labels;
            or ``.npz`` with arrays ``X`` (N, …) and ``y`` (N,).
        label: the label column of a CSV file; by default the first of label, target, class, y that it has, in
            upper or lower case.

    Returns:
        The table, checked: finite numbers, at least two classes, at least three rows of each.

    Raises:
        DataError: no such file, or one that cannot be read; says where and why, and the way out.

    >>> digits = load("digits")
    >>> digits.features.shape, digits.shape, digits.class_names[:3]
    ((1797, 64), (8, 8), ('0', '1', '2'))
    """
    if source == "digits":
        _no_label_column(label, "digits")
        return _digits()
    file = os.path.basename(source)
    if not os.path.exists(source):
        raise DataError(_missing(source))
    if os.path.isdir(source):
        raise DataError(f'"{source}" is a folder, which is not read yet. What can be read: {READABLE}')
    ending = next((e for e in (*_CSV_ENDINGS, ".npz") if file.lower().endswith(e)), None)
    if ending is None:
        raise DataError(f"{file}: files of this kind are not read yet. What can be read: {READABLE}")
    name = file[: -len(ending)] or file
    if ending != ".npz":
        return _readable(file, lambda: read_csv(source, file=file, name=name, label=label))
    _no_label_column(label, file)
    return _readable(file, lambda: read_npz(source, file=file, name=name))


def _no_label_column(label: str | None, file: str) -> None:
    if label is not None:
        raise DataError(f'--label "{label}" names a column of a CSV file, but {file} has no columns; leave it out')


def _readable(file: str, read: Callable[[], Table]) -> Table:
    try:
        return read()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise DataError(f"{file} does not fit in memory; take fewer rows") from error


def _digits() -> Table:
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    return Table(
        name="digits",
        kind="digits",
        features=np.ascontiguousarray(bunch.data, np.float64),
        labels=np.asarray(bunch.target, np.int64),
        class_names=tuple(str(k) for k in bunch.target_names),
        feature_names=tuple(bunch.feature_names),
        shape=(8, 8),
        image=True,
    )


def _missing(source: str) -> str:
    folder, file = os.path.split(source)
    if folder and not os.path.isdir(folder):
        return f'no file "{source}": there is no folder "{folder}"'
    try:
        names = [n for n in os.listdir(folder or ".") if n.lower().endswith((*_CSV_ENDINGS, ".npz"))]
    except OSError:
        names = []
    if not folder:
        names.append("digits")
    by_lower = {n.lower(): n for n in sorted(names)}
    close = difflib.get_close_matches(file.lower(), by_lower, n=1)
    if close:
        return f'no file "{source}"; did you mean "{os.path.join(folder, by_lower[close[0]])}"?'
    return f'no file "{source}". What can be read: {READABLE}'
