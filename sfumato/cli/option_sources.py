"""The options of a comparison on the command line, in a TOML file and in the environment, and where each came from.

They are made from the fields of ``sfumato.lab.options.Options``.
"""

import codecs
import functools
import inspect
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, cast, get_args

from cyclopts import App, ArgumentCollection, Group, Parameter
from cyclopts.config import Env, Toml

from sfumato.cli import common
from sfumato.cli.common import FileName, UsageError, number, whole
from sfumato.lab.options import Option, Options, schema, toml_value
from sfumato.text import did_you_mean

GROUPS = {
    name: Group.create_ordered(name)
    for name in [*dict.fromkeys(each.group for each in schema().values()), "How it starts"]
}
"""The headings of ``--help``, in their order."""

_FILES = ("data", "noise", "pretrained")
_MAX_BYTES = 2**20  # of a file of options


def with_options(*names: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """A decorator that makes of ``command(options, **own)`` a command whose signature begins with the options.

    The options are those of a comparison with these names, or all where no name is given. DATA may be left out; it is
    then "".
    """
    chosen = [option for name, option in schema().items() if name in names or not names]

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        _, *own = inspect.signature(command, eval_str=True).parameters.values()
        signature = inspect.Signature([*map(_parameter, chosen), *own], return_annotation=int)

        @functools.wraps(command)
        def run(*args: Any, **given: Any) -> int:
            values = signature.bind(*args, **given).arguments
            asked: dict[str, Any] = {"data": ""}
            for option in chosen:
                value = values.pop(option.name, None)
                if value is not None:
                    asked[option.name] = ",".join(value) if option.repeated else value
            return command(Options(**asked), **values)

        vars(run)["__signature__"] = signature
        run.__annotations__ = {name: each.annotation for name, each in signature.parameters.items()}
        return run

    return decorate


def _parameter(option: Option) -> inspect.Parameter:
    kind = list[str] if option.repeated else option.kind
    if option.name in _FILES:
        kind = kind | FileName
    kinds = (kind, *get_args(kind))
    converter = whole if int in kinds else number if float in kinds else None
    names = (option.flag, f"--{option.name}") if option.flag else ()  # the second is its key in a file
    return inspect.Parameter(
        option.name,
        inspect.Parameter.POSITIONAL_OR_KEYWORD if option.name == "data" else inspect.Parameter.KEYWORD_ONLY,
        default=option.default,
        annotation=Annotated[
            kind | None if option.default is None else kind,
            Parameter(
                names,
                help=option.words,
                converter=converter,
                negative="",
                group=GROUPS[option.group],
                show_default=False if option.default is False else None,
            ),
        ],
    )


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
            names = [each.field_info.name for each in arguments]
            _check_keys(path, [name.replace("_", "-") for name in names if name not in ("config", "resume")])
            Toml(path, use_commands_as_keys=False, must_exist=True)(app, commands, arguments)


def _content(path: str) -> dict[str, Any]:
    """The keys and values of a TOML file."""
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f'no file "{path}"') from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    if content.startswith(codecs.BOM_UTF8):
        raise UsageError(f"{path} is not TOML: it begins with a byte order mark; save it as UTF-8 without one")
    if len(content) > _MAX_BYTES:
        raise UsageError(f"{path} is longer than {_MAX_BYTES:,} bytes, too long for a file of options")
    try:
        return tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise UsageError(f"{path} cannot be read: it is not UTF-8 text; save it as UTF-8") from None
    except RecursionError:
        raise UsageError(f"{path} is not TOML: brackets in brackets, too deep to read") from None
    except ValueError as error:  # of which TOMLDecodeError is one; a number of 5,000 digits is another
        raise UsageError(f"{path} is not TOML: {error}") from None


def _check_keys(path: str, known: Sequence[str]) -> None:
    """An unknown key is an error that suggests the right one."""
    for key, value in _content(path).items():
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
    words = cast("list[Any]", value) if isinstance(value, list) else []
    if not takes_words or not words or any(isinstance(word, (dict, list)) for word in words):
        return ""
    return f"; write {key} = {toml_value(','.join(map(str, words)))}"


def _note_sources(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    words = {"cli": "command line", "env": "environment"}
    for argument in arguments:
        if argument.tokens:
            source = argument.tokens[0].source
            common.sources[argument.field_info.name] = words.get(source, Path(source).name)
