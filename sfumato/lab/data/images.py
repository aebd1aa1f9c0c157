"""Images as bytes: a folder of class folders, with or without train, val and test above them, and single files.

Every file of a folder is opened twice: for its size, from the header, and for its pixels. Images of one small size stay
as they are; all others are brought to squares of one size, and new images to the size of training.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from sfumato.io.arrays import MAX_BYTES
from sfumato.lab.data.columns import Column
from sfumato.lab.data.labels import check_classes, order_classes, part_number
from sfumato.lab.data.roles import TABLE_OPTIONS, Roles
from sfumato.lab.data.table import DataError, Encoder, Inputs, Table, as_hashes
from sfumato.messages import Note
from sfumato.text import listing, plural, short

if TYPE_CHECKING:
    from sfumato.runs.schema import StoredEncoding

MAX_SIDE = 64  # images of one size keep it up to this side; default side of others, half of it for smaller images
MAX_DAMAGED = 0.01
ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_GREY = ("1", "L", "I", "I;16", "I;16L", "I;16B", "I;16N", "F", "LA")


@dataclass(frozen=True)
class Images:
    """N images of one size: a quarter of the memory of float32, scaled by the model that takes them."""

    pixels: np.ndarray  # (N, H, W, C) uint8
    side: int | None = None  # of the squares that the images were brought to; None where they kept their size

    def __len__(self) -> int:
        return len(self.pixels)

    def hashes(self) -> np.ndarray:
        """BLAKE2b of each image's bytes."""
        return as_hashes(self.pixels)

    def raw_columns(self) -> tuple[Column, ...]:
        """None: pixels are not columns."""
        return ()

    def fit(self, rows: np.ndarray, name: str, *, chunk: int = 2**12) -> Encoder:
        """Rows as they are, with mean and standard deviation of each channel over the training rows."""
        shape = self.pixels.shape[1:]
        count = len(rows) * shape[0] * shape[1]
        total, squares = np.zeros(shape[2]), np.zeros(shape[2])
        for start in range(0, len(rows), chunk):
            block = self.pixels[np.sort(rows)[start : start + chunk]].astype(np.float64)
            total += block.sum(axis=(0, 1, 2))
            squares += (block**2).sum(axis=(0, 1, 2))
        mean = total / count
        variance = squares / count - mean**2  # of bytes: sums are exact, and nothing is lost
        scale = np.sqrt(np.where(variance > 0, variance, 1.0))
        form = Inputs("image", shape, int(np.prod(shape)), mean=tuple(mean.tolist()), scale=tuple(scale.tolist()))
        side = {} if self.side is None else {"side": self.side}
        return Encoder(form, lambda rows: self.pixels[rows], (), {"features": "images", **side})


class _File(NamedTuple):
    """One image file: its path from the folder, its class, and its part, if any."""

    path: str
    label: str
    part: int | None


def read_folder(path: str, *, file: str, name: str, roles: Roles, max_bytes: int = MAX_BYTES) -> Table:
    """Read a folder of images, rows in the order of their paths; names that begin with a dot are ignored."""
    roles.refuse(file, "names a column of a table, but {file} is a folder of images; leave it out", *TABLE_OPTIONS)
    files, ignored = _listed(path, file)
    headed = [(each, read_image(os.path.join(path, each.path), header)) for each in files]
    opened = [each for each, head in headed if head is not None]
    heads = [head for _, head in headed if head is not None]
    sizes, channels = [size for size, _ in heads], 1 if all(grey for _, grey in heads) else 3
    side, rule = _side(sizes, roles.image_size)
    width, height = (side, side) if side is not None else next(iter(sizes), (1, 1))
    if (size := len(opened) * width * height * channels) > max_bytes:
        held = f"{len(opened):,} images of {width} × {height} take {1e-9 * size:.1f} GB"
        raise DataError(f"{file}: {held}; at most 8 GB are used. Take a smaller --image-size than {width}")
    pixels, kept = np.empty((len(opened), height, width, channels), np.uint8), list[_File]()
    for each in opened:
        image = read_image(os.path.join(path, each.path), lambda it: pixels_of(it, side, grey=channels == 1))
        if image is not None:
            pixels[len(kept)] = image.reshape(pixels.shape[1:])
            kept.append(each)
    damaged = sorted({each.path for each in files} - {each.path for each in kept})
    count = f"{len(damaged):,} of {len(files):,} images {'does' if len(damaged) == 1 else 'do'} not open"
    if len(damaged) > MAX_DAMAGED * len(files):
        raise DataError(f"{file}: {count}, more than 1 %: {listing(damaged, 5)}; repair or delete them")
    notes = [Note(code="images-scaled", text=rule)] if rule else []
    if damaged:
        notes.append(Note(code="damaged-images", text=f"{count}, left out: {listing(damaged, 5)}."))
    if ignored:
        text = f"Not images, and ignored: {plural(len(ignored), 'file')} ({listing(ignored, 3)})."
        notes.append(Note(code="files-ignored", text=text))
    values = sorted({each.label for each in kept})
    if empty := sorted({each.label for each in files} - set(values)):
        raise DataError(f'{file}: no image of class "{short(empty[0])}" opens; repair or delete them')
    labels, class_names = order_classes(np.array([values.index(each.label) for each in kept], np.int64), values)
    part = None if kept[0].part is None else np.array([each.part for each in kept], np.int64)
    least, way_out = 3 if part is None else 1, "Add images, or merge or delete the folder"
    check_classes(file, labels, class_names, where="the class folders", way_out=way_out, least=least)
    found = {"damaged_images": damaged, "files_passed_over": len(ignored)}
    images = Images(pixels[: len(kept)], side)
    return Table(name, "folder", images, labels, class_names, part=part, notes=tuple(notes), found=found, file=file)


def images_below(folder: str) -> tuple[list[str], list[str]]:
    """The paths of all images below a folder, and of all other files; the files of a folder come before its folders."""
    images, others = list[str](), list[str]()
    for inner, subfolders, files in os.walk(folder):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(name for name in files if not name.startswith(".")):
            (images if name.lower().endswith(ENDINGS) else others).append(os.path.join(inner, name))
    return images, others


def read_image(path: str, look: Callable[[Any], Any]) -> Any:
    """What ``look`` gives of an opened image, or None where the file is damaged."""
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
    """The size of an image, upright, and whether it is grey."""
    lying = image.getexif().get(0x0112) in (5, 6, 7, 8)
    return image.size[::-1] if lying else image.size, image.mode in _GREY


def pixels_of(image: Any, side: int | None, *, grey: bool) -> np.ndarray:
    """The (height, width) or (height, width, 3) bytes of an image, upright; ``side`` is that of a square."""
    from PIL import Image, ImageOps

    if side is not None:
        image.draft(None, (2 * side, 2 * side))  # a JPEG is decoded at an eighth, a quarter or half of its size
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        low, high = float(values.min()), float(values.max())
        if image.mode.startswith("I") and low >= 0 and high <= 65535:  # 16 bits are scaled by 1/257
            low, high = 0.0, 65535.0
        scaled = (values - low) * (255.0 / (high - low) if high > low else 0.0)
        image = Image.fromarray(np.rint(scaled).astype(np.uint8))
    image = image.convert("L" if grey else "RGB")
    if side is not None:
        image = ImageOps.fit(image, (side, side), Image.Resampling.BILINEAR)
    return np.asarray(image)


def image_paths(x: Any) -> list[str] | None:
    """The paths of image files: one, those in a list or an array, or all below a folder; None for anything else."""
    if _is_path(x):
        path = os.fspath(x)
        if not os.path.isdir(path):
            return [path]
        found, _ = images_below(path)
        if not found:
            raise DataError(f'folder "{path}" holds no images ({", ".join(ENDINGS)})')
        return found
    kind = getattr(getattr(x, "dtype", None), "kind", None)
    if kind in ("O", "U", "T") and hasattr(x, "tolist"):  # an array or a series
        x = x.tolist()
    paths = cast("list[Any]", x) if isinstance(x, (list, tuple)) else []
    return [os.fspath(each) for each in paths] if paths and all(map(_is_path, paths)) else None


def _is_path(x: Any) -> bool:
    return isinstance(x, (str, os.PathLike))


def transform_images(stored: StoredEncoding, paths: list[str], *, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """(n, H, W, C) the bytes of image files, brought to the size that the training images were brought to."""
    shape = tuple(stored["inputs"]["shape"])
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise DataError(f"the model reads arrays of (n, {', '.join(map(str, shape))}), not image files")
    size = len(paths) * shape[0] * shape[1] * shape[2]
    if size > max_bytes:
        held = f"{1e-9 * size:.1f} GB are needed for {plural(len(paths), 'image')} of {shape[1]} × {shape[0]}"
        raise DataError(f"X: {held}; at most 8 GB are read at a time. Give fewer of them")
    height, width, channels = shape
    side, pixels = stored.get("side"), np.empty((len(paths), *shape), np.uint8)

    def look(image: Any) -> np.ndarray | str:
        (wide, high), grey = header(image)
        if channels == 1 and not grey:
            return f"has colours (mode {image.mode}), and the training images were grey; convert it to grey first"
        if side is None and (wide, high) != (width, height):
            return (
                f"has {wide} × {high} pixels, and all training images had {width} × {height}, so that none was scaled; "
                "bring it to this size first"
            )
        return pixels_of(image, side, grey=channels == 1).reshape(shape)

    for row, path in enumerate(paths):
        found = read_image(path, look)
        if isinstance(found, str):
            raise DataError(f"{path} {found}")
        if found is None:
            there = os.path.exists(path)
            raise DataError(
                f"{path} does not open as an image: repair it, or leave it out" if there else f'no file "{path}"'
            )
        pixels[row] = found
    return pixels


def _roots(path: str, file: str) -> list[tuple[str, str, int | None]]:
    """Each class folder, its class, and its part."""

    def folders(path: str) -> list[str]:
        return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))

    top = folders(path)
    if not top:
        needed = "one folder of images for each class, or train, val and test with them"
        raise DataError(f"{file} holds no folders; it needs {needed}")
    given = {name: number for name in top if (number := part_number(name)) is not None}
    if len(given) < len(top):
        if 0 in given.values() and len(given) > 1:
            other = next(name for name in top if name not in given)
            held = f'{file} has folders for parts ({listing(sorted(given))}) and also "{short(other)}"'
            raise DataError(f"{held}; is it a class or a part? Move it")
        return [(label, label, None) for label in top]
    if 0 not in given.values():
        raise DataError(f"{file} has folders {listing(top)} but none called train")
    if len(set(given.values())) < len(given):
        raise DataError(f"{file} has two folders for one part: {listing(top)}; keep one of each")
    inside = {name: folders(os.path.join(path, name)) for name in given}
    flat = next((name for name, labels in inside.items() if not labels), None)
    if flat is not None:
        raise DataError(f"{file}: folder {flat} holds no class folders; put its images in one folder for each class")
    parts: dict[str, int | None] = {**given} if len(given) > 1 else dict.fromkeys(given)
    return [(os.path.join(name, label), label, parts[name]) for name in given for label in inside[name]]


def _listed(path: str, file: str) -> tuple[list[_File], list[str]]:
    """Every image below the class folders, in the order of paths, and the other files."""
    files, ignored = list[_File](), list[str]()
    for root, label, part in _roots(path, file):
        found, others = images_below(os.path.join(path, root))
        files += [_File(os.path.relpath(each, path), label, part) for each in found]
        ignored += [os.path.relpath(each, path) for each in others]
        if not found:
            kinds = f"({', '.join(ENDINGS[:3])} and others)"
            raise DataError(f'{file}: folder "{short(root)}" holds no images {kinds}; add some, or delete it')
    return files, ignored


def _side(sizes: Sequence[tuple[int, int]], asked: int | None) -> tuple[int | None, str]:
    """The side to which images are brought, or None where they stay as they are, and the rule in words."""
    if not sizes:
        return None, ""
    sides = np.array(sizes)
    low, high = sides.min(axis=0), sides.max(axis=0)
    same = bool((low == high).all())
    if same and (high.max() <= MAX_SIDE if asked is None else bool((high == asked).all())):
        return None, ""
    side = asked or (MAX_SIDE if np.median(sides.min(axis=1)) >= MAX_SIDE else MAX_SIDE // 2)
    seen = f"{low[0]} × {low[1]}" + ("" if same else f" to {high[0]} × {high[1]}")
    return side, (
        f"Images of {seen} pixels were brought to {side} × {side}: the shorter side scaled, the longer one cut to the "
        "middle (--image-size takes another side)."
    )
