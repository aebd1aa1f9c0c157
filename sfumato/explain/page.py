"""The interactive page of ``sfumato explain``: one file, no network, no library, and numbers without script too."""

from pathlib import Path
from typing import Any

from sfumato.arrays.atomic import write_text
from sfumato.conventions import FORMULAS
from sfumato.explain.text import as_dict

MAX_CLASSES = 1_000_000


def write(path: str | Path, classes: int, eps: float) -> Path:
    """Write the page.

    Args:
        path: the file; its folder must exist.
        classes: K that the page opens at, 2 to a million.
        eps: ε that the page opens at, in [0, 1].

    Raises:
        ValueError: ε or K out of range.
        WriteError: the file cannot be written.
    """
    path = Path(path)
    write_text(path, page(classes, eps))
    return path


def page(classes: int, eps: float) -> str:
    """The page as text; errors as those of :func:`write`.

    >>> "ε = 0.25" in page(4, 0.25)
    True
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from sfumato.pages.links import finished  # not above: the text of `explain` has no use for it

    if classes > MAX_CLASSES:
        raise ValueError(f"the page shows up to {MAX_CLASSES} classes, got {classes}")
    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader([here, here.parent / "report"]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    told = as_dict(classes, eps)
    template = environment.get_template("explain.html.jinja")
    users = {over: [FORMULAS[key].name for key in keys] for over, keys in _USERS.items()}
    return finished(template.render(told=told, classes=classes, eps=f"{eps:.12g}", users=users, rows=_rows(told)))


_USERS = {
    "others": ("fairseq", "t2t", "t5x", "megatron", "espnet", "wenet"),
    "all": ("torch.index", "timm.ls", "keras.cat", "optax", "hf", "flash", "liger"),
}
"""Some well-known frameworks of each convention."""


def _rows(told: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    """The table before any script has run: key, name, and the two conventions' numbers."""
    names = {
        "true": "target of the label",
        "other": "target of each other class",
        "gap": "gap at the optimum, nats",
        "floor": "floor of the loss, nats",
    }
    return [(key, name, [_number(told[over][key]) for over in ("others", "all")]) for key, name in names.items()]


def _number(value: float | None) -> str:
    return "∞" if value is None else f"{value:.6g}".replace("-", "−")
