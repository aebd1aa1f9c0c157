"""A folder of class folders of images, with or without folders train, val and test above them.

Every file is opened twice: once for its size, from the header, and once for its pixels. Pictures of one small size stay
as they are. All others are brought to squares of one size.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sfumato.lab.data.column_roles import TABLE_OPTIONS, Roles
from sfumato.lab.data.images import Images
from sfumato.lab.data.labels import check_classes, order_classes, part_number
from sfumato.lab.data.picture_file import ENDINGS, header, pictures_below, pixels_of, read_picture
from sfumato.lab.data.table import MOST_BYTES, DataError, Table
from sfumato.text import listing, plural, short

LARGEST_SIDE = 64
"""A picture of one common size keeps it up to this side; default side of others, half of it for smaller pictures."""

MOST_DAMAGED = 0.01


@dataclass(frozen=True)
class _Picture:
    """One file: its path from the folder, its class, and the part that it stands in, if any."""

    path: str
    label: str
    part: int | None


def read_folder(path: str, *, file: str, name: str, roles: Roles) -> Table:
    """Read a folder of images, rows in the order of their paths.

    In the folder are class folders, or folders train, val and test that hold them. Folders in class folders are looked
    into; names that begin with a dot are not.

    Raises:
        DataError: no class folders, a class without images, or more than 1 % of the images do not open.
    """
    roles.refuse(file, "names a column of a table, but {file} is a folder of images; leave it out", *TABLE_OPTIONS)
    pictures, ignored = _listed(path, file)
    headed = [(picture, read_picture(os.path.join(path, picture.path), header)) for picture in pictures]
    opened = [picture for picture, head in headed if head is not None]
    heads = [head for _, head in headed if head is not None]
    sizes, channels = [size for size, _ in heads], 1 if all(grey for _, grey in heads) else 3
    side, rule = _side(sizes, roles.image_size)
    width, height = (side, side) if side is not None else next(iter(sizes), (1, 1))
    pixels, kept = _decoded(path, opened, (height, width, channels), side, file)
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
    images = Images(pixels, side)
    return Table(name, "folder", images, labels, class_names, part=part, notes=tuple(notes), found=found, file=file)


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
        found, others = pictures_below(os.path.join(path, root))
        pictures += [_Picture(os.path.relpath(each, path), label, part) for each in found]
        ignored += [os.path.relpath(each, path) for each in others]
        if not found:
            raise DataError(
                f'{file}: folder "{short(root)}" holds no images ({", ".join(ENDINGS[:3])} and others); '
                "add some, or delete it"
            )
    return pictures, ignored


def _side(sizes: Sequence[tuple[int, int]], asked: int | None) -> tuple[int | None, str]:
    """The side to which pictures are brought, or None where they stay as they are, and the rule in words."""
    if not sizes:
        return None, ""
    sides = np.array(sizes)
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


def _decoded(
    path: str, pictures: Sequence[_Picture], shape: tuple[int, int, int], side: int | None, file: str
) -> tuple[np.ndarray, list[_Picture]]:
    """(n, H, W, C) uint8 of the pictures that can be decoded, and those pictures."""
    height, width, channels = shape
    if len(pictures) * width * height * channels > MOST_BYTES:
        raise DataError(
            f"{file}: {len(pictures):,} images of {width} × {height} take "
            f"{1e-9 * len(pictures) * width * height * channels:.1f} GB; at most 8 GB are used. "
            f"Take a smaller --image-size than {width}"
        )
    pixels = np.empty((len(pictures), *shape), np.uint8)
    kept: list[_Picture] = []
    for picture in pictures:
        found = read_picture(
            os.path.join(path, picture.path),
            lambda image: pixels_of(image, side, grey=channels == 1).reshape(shape),
        )
        if found is not None:
            pixels[len(kept)] = found
            kept.append(picture)
    return pixels[: len(kept)], kept
