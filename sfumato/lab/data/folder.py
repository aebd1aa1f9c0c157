"""A folder of class folders of images, with or without folders train, val and test above them.

Pillow opens every file twice: once for its size, from the header, and once for its pixels. Pictures of one small size
stay as they are. All others are brought to squares of one size: the shorter side is scaled, the longer one is cut to
the middle.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sfumato.lab.data.column_roles import TABLE_OPTIONS, Roles
from sfumato.lab.data.images import Images
from sfumato.lab.data.labels import check_classes, order_classes, part_number
from sfumato.lab.data.table import DataError, Table
from sfumato.text import listing, plural, short

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
LARGEST_SIDE = 64
"""A picture of one common size keeps it up to this side; default side of others, half of it for smaller pictures."""

MOST_DAMAGED = 0.01
MOST_BYTES = 8 * 10**9
_GREY = ("1", "L", "I", "I;16", "I;16L", "I;16B", "I;16N", "F", "LA")


@dataclass(frozen=True)
class _Picture:
    """One file: its path from the folder, its class, the part that it stands in, if any, and what its header says."""

    path: str
    label: str
    part: int | None
    size: tuple[int, int] = (0, 0)
    grey: bool = True


def read_folder(path: str, *, file: str, name: str, roles: Roles) -> Table:
    """Read a folder of images, rows in the order of their paths.

    In the folder are class folders, or folders train, val and test that hold them. Folders in class folders are looked
    into; names that begin with a dot are not.

    Raises:
        DataError: no class folders, a class without images, or more than 1 % of the images do not open.
    """
    roles.refuse(file, "names a column of a table, but {file} is a folder of images; leave it out", *TABLE_OPTIONS)
    pictures, ignored = _listed(path, file)
    headed = [(picture, _read(os.path.join(path, picture.path), _header)) for picture in pictures]
    opened = [replace(picture, size=head[0], grey=head[1]) for picture, head in headed if head is not None]
    side, rule = _side(opened, roles.image_size)
    pixels, kept = _decoded(path, opened, side, file)
    damaged = sorted({picture.path for picture in pictures} - {picture.path for picture in kept})
    told = f"{len(damaged):,} of {len(pictures):,} images {'does' if len(damaged) == 1 else 'do'} not open"
    if len(damaged) > MOST_DAMAGED * len(pictures):
        raise DataError(f"{file}: {told}, more than 1 %: {listing(damaged, 5)}; repair or delete them")
    notes = [rule] if rule else []
    if damaged:
        notes.append(f"{told}, left out: {listing(damaged, 5)}.")
    if ignored:
        notes.append(f"Not images, and passed over: {plural(len(ignored), 'file')} ({listing(ignored, 3)}).")
    values = sorted({picture.label for picture in kept})
    empty = sorted({picture.label for picture in pictures} - set(values))
    if empty:
        raise DataError(f'{file}: no image of class "{short(empty[0])}" opens; repair or delete them')
    place = {value: k for k, value in enumerate(values)}
    labels, class_names = order_classes(np.array([place[picture.label] for picture in kept], np.int64), values)
    part = None if kept[0].part is None else np.array([picture.part for picture in kept], np.int64)
    way_out = "Add images, or merge or delete the folder"
    least = 3 if part is None else 1
    check_classes(file, labels, class_names, where="the class folders", way_out=way_out, least=least)
    found = {"damaged_images": damaged, "files_passed_over": len(ignored)}
    return Table(name, "folder", Images(pixels), labels, class_names, part=part, notes=tuple(notes), found=found)


def _folders(path: str) -> list[str]:
    return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))


def _roots(path: str, file: str) -> list[tuple[str, str, int | None]]:
    """Each class folder, its class, and the part that it stands in."""
    top = _folders(path)
    if not top:
        raise DataError(
            f"{file} holds no folders; it needs one folder of images for each class, or train, val and test with them"
        )
    given = {name: number for name in top if (number := part_number(name)) is not None}
    if len(given) < len(top):
        if 0 in given.values() and len(given) > 1:
            other = next(name for name in top if name not in given)
            raise DataError(
                f'{file} has folders for parts ({listing(sorted(given))}) and also "{short(other)}"; '
                "is it a class or a part? Move it"
            )
        return [(label, label, None) for label in top]
    if 0 not in given.values():
        raise DataError(f"{file} has folders {listing(top)} but none called train")
    if len(set(given.values())) < len(given):
        raise DataError(f"{file} has two folders for one part: {listing(top)}; keep one of each")
    inside = {name: _folders(os.path.join(path, name)) for name in given}
    flat = next((name for name, labels in inside.items() if not labels), None)
    if flat is not None:
        raise DataError(f"{file}: folder {flat} holds no class folders; put its images in one folder for each class")
    parts: dict[str, int | None] = {**given} if len(given) > 1 else dict.fromkeys(given)
    return [(os.path.join(name, label), label, parts[name]) for name in given for label in inside[name]]


def _listed(path: str, file: str) -> tuple[list[_Picture], list[str]]:
    """Every image below the class folders, in the order of paths, and files that are none."""
    pictures: list[_Picture] = []
    ignored: list[str] = []
    for root, label, part in _roots(path, file):
        before = len(pictures)
        for folder, subfolders, files in os.walk(os.path.join(path, root)):
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            for each in sorted(name for name in files if not name.startswith(".")):
                own = os.path.relpath(os.path.join(folder, each), path)
                if each.lower().endswith(ENDINGS):
                    pictures.append(_Picture(own, label, part))
                else:
                    ignored.append(own)
        if len(pictures) == before:
            raise DataError(
                f'{file}: folder "{short(root)}" holds no images ({", ".join(ENDINGS[:3])} and others); '
                "add some, or delete it"
            )
    return pictures, ignored


def _read(path: str, look: Callable[[Any], Any]) -> Any:
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


def _header(image: Any) -> tuple[tuple[int, int], bool]:
    """The size of a picture that stands upright, and whether it is grey."""
    lying = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    return image.size[::-1] if lying else image.size, image.mode in _GREY


def _side(pictures: Sequence[_Picture], asked: int | None) -> tuple[int | None, str]:
    """The side to which pictures are brought, or None where they stay as they are, and the rule in words."""
    if not pictures:
        return None, ""
    sides = np.array([picture.size for picture in pictures])
    low, high = sides.min(axis=0), sides.max(axis=0)
    same = bool((low == high).all())
    if same and (high.max() <= LARGEST_SIDE if asked is None else bool((high == asked).all())):
        return None, ""
    side = asked or (LARGEST_SIDE if np.median(sides.min(axis=1)) >= LARGEST_SIDE else LARGEST_SIDE // 2)
    seen = f"{low[0]} × {low[1]}" + ("" if same else f" to {high[0]} × {high[1]}")
    return side, (
        f"Images of {seen} pixels were brought to {side} × {side}: the shorter side scaled, the longer one cut to the "
        "middle (--image-size takes another side)."
    )


def _decoded(path: str, pictures: Sequence[_Picture], side: int | None, file: str) -> tuple[np.ndarray, list[_Picture]]:
    """(n, H, W, C) uint8 of the pictures that can be decoded, and those pictures."""
    channels = 1 if all(picture.grey for picture in pictures) else 3
    width, height = (side, side) if side is not None else (pictures[0].size if pictures else (1, 1))
    if len(pictures) * width * height * channels > MOST_BYTES:
        raise DataError(
            f"{file}: {len(pictures):,} images of {width} × {height} take "
            f"{1e-9 * len(pictures) * width * height * channels:.1f} GB; at most 8 GB are used. "
            f"Take a smaller --image-size than {width}"
        )
    pixels = np.empty((len(pictures), height, width, channels), np.uint8)
    kept: list[_Picture] = []
    for picture in pictures:
        found = _read(
            os.path.join(path, picture.path),
            lambda image: _array(image, side, grey=channels == 1).reshape(height, width, channels),
        )
        if found is not None:
            pixels[len(kept)] = found
            kept.append(picture)
    return pixels[: len(kept)], kept


def _array(image: Any, side: int | None, *, grey: bool) -> np.ndarray:
    from PIL import Image, ImageOps

    if side is not None:
        image.draft(None, (2 * side, 2 * side))  # a JPEG is decoded at an eighth, a quarter or half of its size
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_bytes(image)
    if image.mode in ("P", "LA", "PA") and "transparency" in image.info:
        image = image.convert("RGBA")
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
