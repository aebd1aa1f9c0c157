"""A folder of class folders of images, with or without folders train, val and test above them.

Pillow opens every file twice: once for its size, from the header, and once for its pixels. Pictures of one small size
stay as they are. All others are brought to squares of one size: the shorter side is scaled, the longer one is cut to
the middle.
"""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
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
    """Read a folder of images.

    Args:
        path: the folder; in it class folders, or folders train, val and test that hold them. Folders in class folders
            are looked into; names that begin with a dot are not.
        file: what to call it in messages.
        name: name of the table.
        roles: of which a folder knows ``image_size`` alone.

    Returns:
        The table, rows in the order of their paths.

    Raises:
        DataError: no class folders, a class without images, or more than 1 % of the images do not open.
    """
    roles.refuse(file, "names a column of a table, but {file} is a folder of images; leave it out", *TABLE_OPTIONS)
    pictures, ignored = _listed(path, file)
    opened, damaged = _headers(path, pictures)
    side, rule = _side(opened, roles.image_size)
    pixels, kept, late = _decoded(path, opened, side, file)
    damaged = sorted(damaged + late)
    if len(damaged) > MOST_DAMAGED * len(pictures):
        raise DataError(
            f"{file}: {_do_not_open(len(damaged), len(pictures))}, more than 1 %: {listing(damaged, 5)}; "
            "repair or delete them"
        )
    notes = [rule] if rule else []
    if damaged:
        notes.append(f"{_do_not_open(len(damaged), len(pictures))}, left out: {listing(damaged, 5)}.")
    if ignored:
        notes.append(f"Not images, and passed over: {plural(len(ignored), 'file')} ({listing(ignored, 3)}).")
    values = sorted({p.label for p in kept})
    place = {value: k for k, value in enumerate(values)}
    labels, class_names = order_classes(np.array([place[p.label] for p in kept], np.int64), values)
    empty = sorted({p.label for p in pictures} - set(values))
    if empty:
        raise DataError(f'{file}: no image of class "{short(empty[0])}" opens; repair or delete them')
    part = None
    if any(p.part is not None for p in kept):
        part = np.array([p.part for p in kept], np.int64)
    check_classes(
        file,
        labels,
        class_names,
        where="the class folders",
        way_out="Add images, or merge or delete the folder",
        least=3 if part is None else 1,
    )
    found = {"damaged_images": damaged, "files_passed_over": len(ignored)}
    return Table(name, "folder", Images(pixels), labels, class_names, part=part, notes=tuple(notes), found=found)


def _do_not_open(count: int, total: int) -> str:
    return f"{count:,} of {total:,} images {'does' if count == 1 else 'do'} not open"


def _folders(path: str) -> list[str]:
    return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))


def _listed(path: str, file: str) -> tuple[list[_Picture], list[str]]:
    """Every image below the class folders, in the order of paths, and files that are none."""
    top = _folders(path)
    if not top:
        raise DataError(
            f"{file} holds no folders; it needs one folder of images for each class, or train, val and test with them"
        )
    parts = {name: part_number(name) for name in top}
    given = {name: number for name, number in parts.items() if number is not None}
    if given and len(given) == len(top):
        if 0 not in given.values():
            raise DataError(f"{file} has folders {listing(top)} but none called train")
        if len(set(given.values())) < len(given):
            raise DataError(f"{file} has two folders for one part: {listing(top)}; keep one of each")
        roots = [
            (name, label, number) for name, number in given.items() for label in _folders(os.path.join(path, name))
        ]
        roots = [(os.path.join(name, label), label, number) for name, label, number in roots]
        flat = next((name for name in given if not _folders(os.path.join(path, name))), None)
        if flat is not None:
            raise DataError(
                f"{file}: folder {flat} holds no class folders; put its images in one folder for each class"
            )
        if len(given) == 1:
            roots = [(folder, label, None) for folder, label, _ in roots]
    elif 0 in given.values() and len(given) > 1:
        other = next(name for name in top if parts[name] is None)
        raise DataError(
            f'{file} has folders for parts ({listing(sorted(given))}) and also "{short(other)}"; '
            "is it a class or a part? Move it"
        )
    else:
        roots = [(label, label, None) for label in top]
    pictures: list[_Picture] = []
    ignored: list[str] = []
    for root, label, part in roots:
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


def _open(path: str) -> Any:
    from PIL import Image

    return Image.open(path)


# What a damaged file raises: Pillow's own errors, and what its decoders let through.
_FAULTS = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, OverflowError, KeyError)


def _headers(path: str, pictures: Sequence[_Picture]) -> tuple[list[_Picture], list[str]]:
    """Pictures with what their headers say, and the paths of those that do not open."""
    import struct
    import zlib

    from PIL import Image

    opened: list[_Picture] = []
    damaged: list[str] = []
    for picture in pictures:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with _open(os.path.join(path, picture.path)) as image:
                    size = image.size
                    if image.getexif().get(0x0112, 1) in (5, 6, 7, 8):  # stored lying on its side
                        size = size[::-1]
                    opened.append(_Picture(picture.path, picture.label, picture.part, size, image.mode in _GREY))
        except (*_FAULTS, struct.error, zlib.error, Image.DecompressionBombError):
            damaged.append(picture.path)
    return opened, damaged


def _side(pictures: Sequence[_Picture], asked: int | None) -> tuple[int | None, str]:
    """The side to which pictures are brought, or None where they stay as they are, and the rule in words."""
    sizes = {picture.size for picture in pictures}
    if not sizes:
        return None, ""
    only = next(iter(sizes)) if len(sizes) == 1 else None
    if only is not None and (max(only) <= LARGEST_SIDE if asked is None else only == (asked, asked)):
        return None, ""
    shorter = np.array([min(picture.size) for picture in pictures])
    side = asked or (LARGEST_SIDE if np.median(shorter) >= LARGEST_SIDE else LARGEST_SIDE // 2)
    sides = np.array([picture.size for picture in pictures])
    (low_w, low_h), (high_w, high_h) = sides.min(axis=0), sides.max(axis=0)
    seen = f"{low_w} × {low_h}" if only is not None else f"{low_w} × {low_h} to {high_w} × {high_h}"
    return side, (
        f"Images of {seen} pixels were brought to {side} × {side}: the shorter side scaled, the longer one cut to the "
        "middle (--image-size takes another side)."
    )


def _decoded(
    path: str, pictures: Sequence[_Picture], side: int | None, file: str
) -> tuple[np.ndarray, list[_Picture], list[str]]:
    """(n, H, W, C) uint8 of the pictures that can be decoded, those pictures, and the paths of the others."""
    import struct
    import zlib

    from PIL import Image

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
    damaged: list[str] = []
    for picture in pictures:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with _open(os.path.join(path, picture.path)) as image:
                    pixels[len(kept)] = _array(image, side, grey=channels == 1).reshape(height, width, channels)
        except (*_FAULTS, struct.error, zlib.error, Image.DecompressionBombError):
            damaged.append(picture.path)
        else:
            kept.append(picture)
    return pixels[: len(kept)], kept, damaged


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
