"""Picture files for a model that was trained: read as compare reads those of a folder, or refused by their paths."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sfumato.lab.data.picture_file import ENDINGS, header, pictures_below, pixels_of, read_picture
from sfumato.lab.data.table import MOST_BYTES, DataError
from sfumato.text import plural

if TYPE_CHECKING:
    from sfumato.runs.encoding import StoredEncoding


def paths_of(x: Any) -> list[str] | None:
    """The paths of picture files: one, those in a list or an array, or all below a folder; None for anything else.

    Raises:
        DataError: a folder without pictures.
    """
    if isinstance(x, (str, os.PathLike)):
        path = os.fspath(cast("str", x))
        if not os.path.isdir(path):
            return [path]
        found, _ = pictures_below(path)
        if not found:
            raise DataError(f'folder "{path}" holds no pictures ({", ".join(ENDINGS)})')
        return found
    if getattr(getattr(x, "dtype", None), "kind", None) in ("O", "U", "T") and hasattr(
        x, "tolist"
    ):  # an array or a series
        x = x.tolist()
    if isinstance(x, (list, tuple)):
        given = cast("list[Any]", x)
        if given and all(isinstance(each, (str, os.PathLike)) for each in given):
            return [os.fspath(each) for each in given]
    return None


def pictures_again(stored: StoredEncoding, paths: list[str]) -> np.ndarray:
    """(n, H, W, C) the bytes of picture files, brought to the size that the training pictures were brought to.

    Raises:
        DataError: a file is missing or damaged, has another size where the training pictures kept theirs, or has
            colours where they had none; names it.
    """
    shape = tuple(stored["inputs"]["shape"])
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise DataError(f"the model reads arrays of (n, {', '.join(map(str, shape))}), and no picture files")
    size = len(paths) * shape[0] * shape[1] * shape[2]
    if size > MOST_BYTES:
        raise DataError(
            f"X: {1e-9 * size:.1f} GB are needed for {plural(len(paths), 'picture')} of {shape[1]} × {shape[0]}; at "
            "most 8 GB are read at a time. Give fewer of them"
        )
    pixels = np.empty((len(paths), *shape), np.uint8)
    for row, path in enumerate(paths):
        pixels[row] = _one(path, shape, stored.get("side"))
    return pixels


def _one(path: str, shape: tuple[int, ...], side: int | None) -> np.ndarray:
    height, width, channels = shape

    def look(image: Any) -> np.ndarray | str:
        (wide, high), grey = header(image)
        if channels == 1 and not grey:
            return f"has colours (mode {image.mode}), and the training pictures were grey; bring it to grey first"
        if side is None and (wide, high) != (width, height):
            return (
                f"has {wide} × {high} pixels, and all training pictures had {width} × {height}, so that none was "
                "scaled; bring it to this size first"
            )
        return pixels_of(image, side, grey=channels == 1).reshape(shape)

    found = read_picture(path, look)
    if isinstance(found, str):
        raise DataError(f"{path} {found}")
    if found is not None:
        return found
    if not os.path.exists(path):
        raise DataError(f'no file "{path}"')
    raise DataError(f"{path} does not open as a picture: repair it, or leave it out")
