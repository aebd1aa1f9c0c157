"""One picture in a file: what its header says, and its pixels as bytes, brought to the side that a data set has."""

import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_GREY = ("1", "L", "I", "I;16", "I;16L", "I;16B", "I;16N", "F", "LA")


def pictures_below(folder: str) -> tuple[list[str], list[str]]:
    """The paths of all pictures in a folder and in the folders in it, and those of all other files, both in order.

    The files of a folder come before those of the folders in it. Names that begin with a dot are passed over.
    """
    pictures: list[str] = []
    others: list[str] = []
    for inner, subfolders, files in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(name for name in files if not name.startswith(".")):
            (pictures if name.lower().endswith(ENDINGS) else others).append(os.path.join(inner, name))
    return pictures, others


def read_picture(path: str, look: Callable[[Any], Any]) -> Any:
    """What ``look`` finds in a picture, or None where the file is damaged."""
    import struct
    import zlib

    from PIL import Image

    # Pillow's own errors, and what its decoders let through.
    faults = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, OverflowError, KeyError)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                return look(image)
    except (*faults, struct.error, zlib.error, Image.DecompressionBombError):
        return None


def header(image: Any) -> tuple[tuple[int, int], bool]:
    """The size of a picture that stands upright, and whether it is grey."""
    lying = image.getexif().get(0x0112) in (5, 6, 7, 8)
    return image.size[::-1] if lying else image.size, image.mode in _GREY


def pixels_of(image: Any, side: int | None, *, grey: bool) -> np.ndarray:
    """The (height, width) or (height, width, 3) bytes of a picture that stands upright.

    Args:
        image: of Pillow.
        side: of the square that the picture is brought to: its shorter side is scaled, and its longer one is cut to the
            middle. None leaves its size as it is.
        grey: whether one channel is wanted.
    """
    from PIL import Image, ImageOps

    if side is not None:
        image.draft(None, (2 * side, 2 * side))  # a JPEG is decoded at an eighth, a quarter or half of its size
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_bytes(image)
    image = image.convert("L" if grey else "RGB")
    if side is not None:
        image = ImageOps.fit(image, (side, side), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _to_bytes(image: Any) -> Any:
    """Grey values beyond a byte, scaled: whole numbers of 16 bits by 1/257, all others by their own range."""
    from PIL import Image

    values = np.asarray(image).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("I") and low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    scaled = (values - low) * (255.0 / (high - low) if high > low else 0.0)
    return Image.fromarray(np.rint(scaled).astype(np.uint8))
