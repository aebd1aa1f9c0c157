"""Where data comes from: the name ``digits``, a file whose ending says how to read it, a folder, or a function."""

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from sfumato.io.tables import ENDINGS, Frame, read_table
from sfumato.lab.data.arrays import read_npz
from sfumato.lab.data.assemble import assemble
from sfumato.lab.data.encoding import Numbers
from sfumato.lab.data.images import read_folder
from sfumato.lab.data.python_objects import IN_MEMORY, is_function, read_function
from sfumato.lab.data.roles import TABLE_OPTIONS, Roles
from sfumato.lab.data.table import DataError, Table
from sfumato.text import nearest

READABLE = "digits, .csv, .tsv, .csv.gz, .parquet, .feather, .npz, a folder of class folders of images, module:function"
_ENDINGS = (*ENDINGS, ".npz")


def load(source: str, roles: Roles | None = None) -> Table:
    """Read a data set."""
    roles = roles or Roles()
    if source == "digits":
        roles.refuse("digits", "names a column of a table, but {file} has no columns; leave it out", *TABLE_OPTIONS)
        roles.refuse_image_size("digits")
        return _digits()
    if source == IN_MEMORY and not os.path.exists(source):
        raise DataError("these data were given from Python and are in no file; give them to sf.compare again")
    if is_function(source) and not os.path.exists(source):
        roles.refuse_image_size(source)
        return read_function(source, roles=roles)
    file = _name_of(source)
    with _readable(file):
        if os.path.isdir(source):
            name = os.path.basename(os.path.abspath(source)) or "data"
            return read_folder(source, file=file, name=name, roles=roles)
        ending = next((e for e in _ENDINGS if file.lower().endswith(e)), None)
        if ending is None:
            way_out = " Unpack it first." if file.lower().endswith((".zip", ".tar", ".tgz", ".tar.gz")) else ""
            raise DataError(f"{file}: unsupported file format.{way_out} Supported: {READABLE}")
        roles.refuse_image_size(file)
        if ending == ".npz":
            return read_npz(source, file=file, name=file[: -len(ending)] or file, roles=roles)
        return assemble(read_table(source), roles)


def read_frame(source: str) -> Frame:
    """The columns of a file with a table, as they are in it."""
    file = _name_of(source)
    if not file.lower().endswith(ENDINGS) or os.path.isdir(source):
        raise DataError(f"{file} is not a table; new rows are read from .csv, .tsv, .parquet, .feather and .npz files")
    with _readable(file):
        return read_table(source)


@contextmanager
def _readable(file: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
    except MemoryError as error:
        raise DataError(f"{file} does not fit in memory; take fewer rows") from error


def _digits() -> Table:
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    values = np.ascontiguousarray(bunch.data, np.float64)
    classes = tuple(str(k) for k in bunch.target_names)
    numbers = Numbers(values, tuple(bunch.feature_names), (8, 8), image=True)
    return Table("digits", "digits", numbers, np.asarray(bunch.target, np.int64), classes)


def _name_of(source: str) -> str:
    """What messages call a file or folder, which must be there."""
    if os.path.exists(source):
        return os.path.basename(os.path.normpath(source))
    folder, file = os.path.split(source)
    if folder and not os.path.isdir(folder):
        raise DataError(f'no file "{source}": there is no folder "{folder}"')
    names: list[str] = []
    with suppress(OSError):
        found = os.scandir(folder or ".")
        names = [each.name for each in found if each.name.lower().endswith(_ENDINGS) or each.is_dir()]
    if not folder:
        names.append("digits")
    if (close := nearest(file, sorted(names))) is not None:
        raise DataError(f'no file "{source}"; did you mean "{os.path.join(folder, close)}"?')
    raise DataError(f'no file "{source}". Supported: {READABLE}')
