"""Where options come from beside the command line: a TOML file and the environment. Each option's source is noted."""

import codecs
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast, get_args

from cyclopts import App, ArgumentCollection
from cyclopts.config import Env, Toml

from sfumato.cli import common
from sfumato.cli.common import UsageError
from sfumato.cli.compare import compare
from sfumato.lab.config_file import toml_value
from sfumato.lab.options import schema
from sfumato.text import did_you_mean

_MOST = 2**20  # bytes of a file of options


def configuration(words: Sequence[str]) -> list[Callable[..., Any]]:
    """Flag > environment > file > default; the last step notes where each value came from."""
    steps: list[Callable[..., Any]] = [Env("SFUMATO_", command=False, show=False)]
    if words[:1] == ["compare"]:
        steps.append(_read_file)
    return [*steps, _note_sources]


def _read_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """The options in the file that ``--config`` names, in whichever form the command line or the environment has it."""
    for argument in arguments:
        if argument.field_info.name == "config" and argument.tokens:
            path = argument.tokens[0].value
            _check_keys(path)
            Toml(path, use_commands_as_keys=False, must_exist=True)(app, commands, arguments)


def _check_keys(path: str) -> None:
    """An unknown key is an error that suggests the right one."""
    content = b""
    try:
        with open(path, "rb") as file:
            content = file.read(_MOST + 1)
        if content.startswith(codecs.BOM_UTF8):
            raise UsageError(
                f"{path} begins with a byte order mark, which TOML does not have; save it as UTF-8 without"
            )
        keys = tomllib.loads(content.decode("utf-8")) if len(content) <= _MOST else None
    except FileNotFoundError:
        raise UsageError(f'no file "{path}"') from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} cannot be read: it is not UTF-8 text; save it as UTF-8") from None
    except RecursionError:
        raise UsageError(f"{path} is not TOML: brackets in brackets, too deep to read") from None
    except ValueError as error:  # of which TOMLDecodeError is one; a number of 5,000 digits is another
        told = "it begins with a byte order mark; save it as UTF-8 without one"
        raise UsageError(f"{path} is not TOML: {told if content.startswith(codecs.BOM_UTF8) else error}") from None
    if keys is None:
        raise UsageError(f"{path} is longer than {_MOST:,} bytes, too long for a file of options")
    known = [name.replace("_", "-") for name in compare.__annotations__ if name not in ("config", "resume")]
    for key, value in keys.items():
        if key.replace("_", "-") not in known:
            hint = did_you_mean(key.replace("_", "-"), known)
            if isinstance(value, dict):
                hint = f" Options stand at the top of the file, without a line [{key}]."
            raise UsageError(f'{path} has an unknown key "{key}".{hint} Keys: {", ".join(known)}')
        if isinstance(value, (dict, list)):
            raise UsageError(f'{path}: "{key}" must be one value, not a table or a list{_with_commas(key, value)}')


def _with_commas(key: str, value: Any) -> str:
    """How to write a list of an option that takes words with commas between; nothing where it takes none."""
    option = schema().get(key.replace("-", "_"))
    takes_words = option is not None and str in (get_args(option.kind) or (option.kind,))
    if not takes_words or not isinstance(value, list):
        return ""
    words = cast("list[Any]", value)
    if not words or any(isinstance(word, (dict, list)) for word in words):
        return ""
    return f"; write {key} = {toml_value(','.join(str(word) for word in words))}"


def _note_sources(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    words = {"cli": "command line", "env": "environment"}
    for argument in arguments:
        if argument.tokens:
            source = argument.tokens[0].source
            name = argument.field_info.name
            common.sources[name] = words.get(source, Path(source).name)
