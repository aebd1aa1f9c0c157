"""The options of a comparison on the command line, made from the fields of ``sfumato.lab.options.Options``."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_args

from cyclopts import Group, Parameter

from sfumato.cli.common import FileName, number, whole
from sfumato.lab.options import Option, Options, schema

GROUPS = {
    name: Group.create_ordered(name)
    for name in [*dict.fromkeys(each.group for each in schema().values()), "How it starts"]
}
"""The headings of ``--help``, in their order."""


_FILES = ("data", "noise", "pretrained")


def with_options(*names: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """A decorator that makes of ``command(options, **own)`` a command whose signature begins with the options.

    The options are those of a comparison with these names, or all where no name is given. DATA may be left out; it is
    then "".
    """
    chosen = [option for name, option in schema().items() if name in names or not names]

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        _, *own = inspect.signature(command, eval_str=True).parameters.values()
        signature = inspect.Signature([*(_parameter(option) for option in chosen), *own], return_annotation=int)

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
    """The option as a parameter of a command."""
    kind = list[str] if option.repeated else option.kind
    if option.name in _FILES:
        kind = kind | FileName
    kinds = (kind, *get_args(kind))
    converter = whole if int in kinds else number if float in kinds else None
    return inspect.Parameter(
        option.name,
        inspect.Parameter.POSITIONAL_OR_KEYWORD if option.name == "data" else inspect.Parameter.KEYWORD_ONLY,
        default=option.default,
        annotation=Annotated[
            kind | None if option.default is None else kind,
            Parameter(help=option.words, converter=converter, negative="", group=GROUPS[option.group]),
        ],
    )
