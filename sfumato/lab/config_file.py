"""``config.toml`` of a run: its options, written with where each came from, and read again."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any, get_args

from sfumato.lab.errors import OptionError
from sfumato.lab.options import Options, schema


def to_toml(options: Options, sources: Mapping[str, str], resolved: Mapping[str, Any]) -> str:
    """The options as TOML, each value with where it came from; ``sfumato compare -c`` takes it back.

    >>> print(to_toml(Options("digits"), {"data": "command line"}, {"epochs": 59}).splitlines()[2])
    data = "digits"  # command line
    """
    lines = [
        "# The options of this run, and where each came from. `sfumato compare -c` with this file repeats it, from the",
        "# folder in which it was run: the path of the data is as it was given there.",
    ]
    for name, option in schema().items():
        value, source = getattr(options, name), sources.get(name, "default")
        if value is None and name in resolved:
            value, source = resolved[name], f"{source}, by the data"
        if option.stored and value is not None:
            lines.append(f"{name.replace('_', '-')} = {toml_value(value)}  # {source}")
    return "\n".join(lines) + "\n"


def from_toml(text: str) -> Options:
    """The options that :func:`to_toml` wrote.

    >>> from_toml(to_toml(Options("digits", eps=0.2), {}, {})) == Options("digits", eps=0.2)
    True
    """
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # what tomllib raises is a ValueError, and sometimes only that
        raise OptionError(f"not TOML: {error}") from None
    given: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in schema():
            raise OptionError(f'unknown key "{key}"')
        kind = schema()[name].kind
        fits = get_args(kind) or (kind,)
        if value not in fits and type(value) not in fits:
            raise OptionError(f'"{key}" has the value {value!r}')
        given[name] = value
    if "data" not in given:
        raise OptionError('no key "data"')
    options = Options(**given)
    options.check()
    return options


def toml_value(value: Any) -> str:
    """A text, number or truth as TOML writes it.

    >>> toml_value("mlp"), toml_value(0.1)
    ('"mlp"', '0.1')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in escaped) + '"'
    return repr(value)
