"""The options of a comparison as keywords of Python: by the same names, of the same types, held to the same ranges."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, get_args

from sfumato.lab.errors import OptionError
from sfumato.lab.options import Option, Options, schema
from sfumato.text import did_you_mean, short

_LISTS = ("arm", "ladder", "label_probs", "text", "drop", "keep", "augment")
"""Options with commas between their values, which Python may give as a list."""


def options_of(data: str, given: Mapping[str, Any]) -> Options:
    """The options, of which those that are None keep their defaults.

    Raises:
        OptionError: there is no such option, or a value is of another type; it names both.

    >>> options_of("digits", {"seeds": 3, "arm": ["onehot", "all:0.1"]}).arm
    'onehot,all:0.1'
    """
    known = [name for name in schema() if name != "data"]
    for name in given:
        if name not in known:
            raise OptionError(f'compare has no option "{name}".{did_you_mean(name, known)} All: {", ".join(known)}')
    values = {name: _value(schema()[name], value) for name, value in given.items() if value is not None}
    return Options(data, **values)


def _value(option: Option, value: Any) -> Any:
    """A value as the option takes it: numbers of NumPy, paths and lists are made plain."""
    kinds = get_args(option.kind) or (option.kind,)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if option.name in _LISTS and isinstance(value, (list, tuple)):
        value = ",".join(str(each) for each in value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    if option.name == "noise" and type(value) in (int, float):
        value = repr(float(value))  # a rate; a file is text
    if float in kinds and type(value) is int:
        value = float(value)
    if value in kinds or type(value) in kinds:
        return value
    wanted = {str: "text", int: "a whole number", float: "a number"}
    named = " or ".join(wanted.get(kind, f'"{kind}"') for kind in kinds if kind is not type(None))
    raise OptionError(f"{option.name} must be {named}, got {short(repr(value))}")
