"""The shapes of the JSON files of a run, and the check that a file has its shape.

A run folder may come from anyone. What is there must be of its kind, so that whatever reads it later finds numbers
where it expects numbers. Of what is missing, only the ends of an interval are asked for here; the rest is found by who
needs it.
"""

import json
import math
from pathlib import Path
from typing import Any, cast


class ShapeError(ValueError):
    """A value of another kind than its place in the file asks for; the message says where."""


NUMBER, WHOLE, TEXT, FLAG, ANY = "a number", "a whole number", "text", "true or false", "anything"
MAYBE_NUMBER, MAYBE_TEXT = "a number or null", "text or null"
EACH, ALL = "*", "!"  # for keys: every one, or every other one; and those that must be there

_INTERVAL: dict[str, Any] = {
    ALL: ("mean", "low", "high"),
    "mean": MAYBE_NUMBER,
    "low": MAYBE_NUMBER,
    "high": MAYBE_NUMBER,
}

SUMMARY: dict[str, Any] = {
    "schema": TEXT,
    "run": TEXT,
    "data": {"name": TEXT, "classes": WHOLE, "train": WHOLE, "validation": WHOLE, "test": WHOLE},
    "paired": {"weights": [TEXT], "batches": [TEXT], "equal": FLAG},
    "arms": [
        {
            "name": TEXT,
            "eps": MAYBE_NUMBER,
            "over": MAYBE_TEXT,
            "closed_form_gap": MAYBE_NUMBER,
            "train_gap": MAYBE_NUMBER,
            "metrics": {EACH: _INTERVAL},
        }
    ],
    "differences": [
        {
            "metric": TEXT,
            "arm": TEXT,
            "against": TEXT,
            "mean": NUMBER,
            "low": NUMBER,
            "high": NUMBER,
            "p_adjusted": MAYBE_NUMBER,
            "finding": MAYBE_TEXT,
        }
    ],
    "verdict": {"choice": MAYBE_TEXT, "sentences": [TEXT]},
}

ENV: dict[str, Any] = {
    "sfumato": TEXT,
    "command": TEXT,
    "started": TEXT,
    "seconds": NUMBER,
    "cores": ANY,
    "workers": WHOLE,
    "data": {"class_names": [TEXT], "features": WHOLE, "shape": [WHOLE], "duplicates": WHOLE},
    "model": {"name": TEXT, "parameters": WHOLE, "description": TEXT},
    "training": {
        "epochs": WHOLE,
        "batch_size": WHOLE,
        "steps": WHOLE,
        "learning_rate": NUMBER,
        "optimiser": TEXT,
        "early_stop": MAYBE_NUMBER,
    },
    "temperatures": {EACH: [{"seed": WHOLE, "value": NUMBER, "at_bound": FLAG, "pseudo_row": FLAG}]},
    "temperature_gain": {EACH: {ALL: ("high",), "mean": NUMBER, "low": NUMBER, "high": NUMBER}},
    "probe": {EACH: {"eps": MAYBE_NUMBER, "target": [NUMBER]}},
    "notes": [TEXT],
}

EPOCH: dict[str, Any] = {"arm": TEXT, "seed": WHOLE, "epoch": WHOLE, EACH: MAYBE_NUMBER}


def parse(text: str) -> Any:
    """JSON, as its standard has it: without NaN and infinity.

    Raises:
        ValueError: it is none, or goes deeper than can be read; the message says where.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("brackets in brackets, too deep to read") from None


def check(value: Any, shape: Any, where: str | Path) -> None:
    """Refuse a value of another kind than its shape; keys that the shape does not name are passed over.

    Args:
        value: as it was parsed.
        shape: a kind, a list of one shape, or a dictionary of shapes.
        where: the file, and the place in it.

    Raises:
        ShapeError: it names the place, the kind and the value.
    """
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            raise ShapeError(f"{where} should be an object, not {_shown(value)}")
        shapes, values = cast("dict[str, Any]", shape), cast("dict[str, Any]", value)
        for key in shapes.get(ALL, ()):
            if key not in values:
                raise ShapeError(f"{where} lacks {key!r}")
        for key, each in values.items():
            if key != ALL and (key in shapes or EACH in shapes):
                check(each, shapes.get(key, shapes.get(EACH)), f"{where} {_shown(key)}")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise ShapeError(f"{where} should be a list, not {_shown(value)}")
        for number, each in enumerate(cast("list[Any]", value)):
            check(each, shape[0], f"{where}[{number}]")
    elif not _fits(value, shape):
        raise ShapeError(f"{where} should be {shape}, not {_shown(value)}")


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _fits(value: Any, kind: str) -> bool:
    if kind in (MAYBE_NUMBER, MAYBE_TEXT) and value is None:
        return True
    if kind in (TEXT, MAYBE_TEXT):
        return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)
    if kind == FLAG:
        return isinstance(value, bool)
    if isinstance(value, bool):
        return kind == ANY
    if kind == WHOLE:
        return isinstance(value, int) and abs(value) < 2**63
    if kind in (NUMBER, MAYBE_NUMBER):
        return isinstance(value, (int, float)) and abs(value) < 1e300 and math.isfinite(value)
    return True


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else text[:37] + "..."
