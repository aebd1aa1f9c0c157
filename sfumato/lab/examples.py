"""Images, texts or values of a few rows, written into the run folder for the page to show.

The page knows logits and row numbers only. What the rows look like is known here, where the data are.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sfumato.io.atomic import write_text
from sfumato.lab.data.encoding import Numbers
from sfumato.lab.data.images import Images
from sfumato.lab.data.text import Texts

if TYPE_CHECKING:
    from sfumato.lab.data.table import Features

SIDE = 64  # the longest side of a thumbnail, in pixels; smaller images keep their size
LETTERS = 240  # of the longest text
COLUMNS = 6  # values of one row, at most


def show(folder: Path, rows: Sequence[int], features: Features) -> None:
    """Write what :func:`examples` gives to ``examples.json``, if the features are of a kind that can be looked at."""
    if isinstance(features, Numbers):
        shape = features.shape if features.image else ()
        content = examples(rows, features=features.values, shape=shape, names=features.names)
    elif isinstance(features, Images):
        content = examples(rows, features=features.pixels, shape=features.pixels.shape[1:])
    elif isinstance(features, Texts):
        content = examples(rows, texts=features.texts)
    else:
        return
    write_text(folder / "examples.json", json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n")


def examples(
    rows: Sequence[int],
    *,
    features: np.ndarray | None = None,
    texts: Sequence[str] | None = None,
    shape: Sequence[int] = (),
    names: Sequence[str] = (),
) -> dict[str, Any]:
    """What some rows of the data look like: ``{"kind": …, "rows": {ROW: {"thumbnail"} | {"text"} | {"values"}}}``."""
    if (features is None) == (texts is None):
        raise ValueError("give features or texts, and one of them only")
    if texts is not None:
        return {"kind": "text", "rows": {str(int(row)): {"text": _excerpt(texts[row])} for row in rows}}
    assert features is not None
    first = len(shape) == 3 and shape[2] not in (1, 3)  # where the channels are
    height, width, channels = (*shape[1:], shape[0]) if first else (*shape, 1, 1, 1)[:3]
    if len(shape) not in (2, 3) or channels not in (1, 3) or min(height, width) < 4:
        return {"kind": "table", "rows": _values(rows, np.asarray(features).reshape(len(features), -1), names)}
    pictures = np.asarray(features[list(rows)], np.float64).reshape(len(rows), *shape)
    pictures = np.moveaxis(pictures, 1, -1) if first else pictures
    uris = _thumbnails(pictures if channels == 3 else pictures.reshape(len(rows), height, width))
    return {"kind": "image", "rows": {str(int(row)): {"thumbnail": uri} for row, uri in zip(rows, uris, strict=True)}}


def _thumbnails(pictures: np.ndarray) -> list[str]:
    """Pictures (n, H, W) or (n, H, W, 3) as PNG in data URIs."""
    from PIL import Image

    if not len(pictures):
        return []
    low, high = float(pictures.min()), float(pictures.max())
    if low >= 0 and 128 < high <= 255:
        low, high = 0.0, 255.0  # bytes: dark pictures stay dark
    uris: list[str] = []
    for pixels in np.round(255 * (pictures - low) / (high - low if high > low else 1.0)).astype(np.uint8):
        image = Image.fromarray(pixels)
        if max(image.size) > SIDE:
            image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        if image.mode == "RGB" and max(image.size) > 32:
            image = image.quantize(64)  # a third of the bytes
        buffer = io.BytesIO()
        image.save(buffer, "PNG", optimize=True)
        uris.append("data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode())
    return uris


def _excerpt(text: str) -> str:
    """The text on one line, cut at a word."""
    line = " ".join(text.split())
    if len(line) <= LETTERS:
        return line
    cut = line[:LETTERS].rsplit(" ", 1)[0]
    return f"{cut if len(cut) > LETTERS // 2 else line[:LETTERS]} …"


def _values(rows: Sequence[int], features: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    mean, scale = features.mean(axis=0), features.std(axis=0)
    shown: dict[str, Any] = {}
    for row in rows:
        far = np.abs(features[row] - mean) / np.where(scale > 0, scale, np.inf)
        columns = np.sort(np.argsort(-far, kind="stable")[:COLUMNS])
        values = {names[j] if j < len(names) else f"column {j}": float(features[row, j]) for j in columns}
        shown[str(int(row))] = {"values": values}
    return shown
