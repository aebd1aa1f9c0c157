"""The commands, thin: read options, let the lab fill a run folder and the report render into it, print what came of it.

Results go to stdout, progress to stderr. Nothing heavy is imported before a command needs it, so that ``--help`` and
``explain`` answer at once.
"""

from __future__ import annotations

import difflib
import json as jsonlib
import os
import shlex
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from cyclopts import App, ArgumentCollection, Parameter, Token
from cyclopts.config import Env, Toml
from cyclopts.exceptions import CycloptsError, MissingArgumentError

from sfumato import __version__

if TYPE_CHECKING:
    from sfumato.report.run import Summary

OK, FAILURE, USAGE = 0, 1, 2

app = App(
    name="sfumato",
    help="""Label smoothing and softened training targets: decide, train and check.

Start with: sfumato compare digits""",
    version=__version__,
    help_format="markdown",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)


class UsageError(ValueError):
    """A command line or configuration that cannot be used."""


def _whole(kind: Any, tokens: Sequence[Token]) -> int:
    """A whole number as it was written: 1.5 is refused, not rounded."""
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        raise ValueError(f'"{text}" is not a whole number') from None


Whole = Annotated[int, Parameter(converter=_whole)]


@app.command
def compare(
    data: str,
    *,
    label: str | None = None,
    eps: float = 0.1,
    over: Literal["others", "all"] = "others",
    seeds: Whole = 5,
    model: str = "mlp",
    epochs: Whole | None = None,
    batch_size: Whole | None = None,
    learning_rate: float = 1e-3,
    workers: Whole | None = None,
    out: str | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative="")] = False,
    config: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
) -> int:
    """Train one-hot and smoothed targets side by side and say which to use.

    Both arms start from the same weights and see the same batches. The run ends in a verdict, a table and a report
    page in a run folder. Every option can also be set in a TOML file (-c) or in the environment,
    as SFUMATO_EPS and so on.

    Args:
        data: digits (embedded), or a .csv, .tsv or .npz file (also .csv.gz): numbers, and one label a row.
        label: Label column of a table; by default the one called label, target, class or y.
        eps: Strength of the smoothing.
        over: What the strength is spread over: the wrong classes (others), or all as torch does.
        seeds: Runs per arm, at least 3.
        model: mlp (two hidden layers of 256) or linear.
        epochs: Passes over the training rows; by default a full budget by the number of rows.
        batch_size: Rows a step; by default 64, fewer for small data and 256 for large.
        learning_rate: Adam's at the start; a cosine takes it to 0.
        workers: Processes; by default one a core. The result does not depend on it.
        out: The run folder; by default runs/DATA-DATE-N.
        json: Print one JSON object instead of text.
        quiet: No progress.
        config: A TOML file with any of these options.
    """
    from sfumato._progress import Watch
    from sfumato.lab.compare import compare as run
    from sfumato.lab.options import Options

    options = Options(
        data=data,
        label=label,
        eps=eps,
        over=over,
        seeds=seeds,
        model=model,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        workers=workers,
        out=out,
    )
    with Watch(sys.stderr, quiet=quiet) as watch:
        summary = run(
            options,
            sources=_sources,
            command=shlex.join(["sfumato", *_repeatable(_arguments)]),
            on_setup=watch.setup,
            progress=watch.epoch,
            render=_render(watch.say),
        )
    if json:
        print(jsonlib.dumps(summary, ensure_ascii=False, allow_nan=False))
        return OK
    notes = jsonlib.loads((Path(summary["run"]) / "env.json").read_text(encoding="utf-8"))["notes"]
    print(_told(cast("Summary", summary), notes))
    return OK


@app.command
def explain(
    *,
    classes: Whole = 10,
    eps: float = 0.1,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Say what a strength means: targets, gaps, floors and conversions, in both conventions.

    Args:
        classes: Number of classes K, at least 2.
        eps: Strength ε, from 0 to 1.
        json: Print one JSON object instead of a table.
    """
    from sfumato.report.explain import as_dict, as_text

    try:
        told = jsonlib.dumps(as_dict(classes, eps), allow_nan=False) if json else as_text(classes, eps)
    except ValueError as error:
        raise UsageError(str(error)) from None
    print(told)
    return OK


@app.command
def doctor(*, json: Annotated[bool, Parameter(negative="")] = False) -> int:
    """Say what is in force here: versions, threads, and whether the loss runs on the compiled kernel.

    Args:
        json: Print one JSON object instead of text.
    """
    from sfumato._doctor import as_dict, as_text

    found = as_dict()
    print(jsonlib.dumps(found) if json else as_text(found))
    return OK


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: words after the program's name; those of the process if None.

    Returns:
        Exit code: 0 ok, 1 failure, 2 usage.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    _arguments[:] = words
    _sources.clear()
    try:
        app.config = _configuration(words)
        result = app(words, exit_on_error=False, print_error=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else OK
    except MissingArgumentError as error:
        lacks_data = error.argument is not None and error.argument.field_info.name == "data"
        hint = (
            "compare needs DATA: digits, or a .csv, .tsv or .npz file" if lacks_data else " ".join(str(error).split())
        )
        return _fail(hint, USAGE)
    except CycloptsError as error:
        return _fail(" ".join(str(error).split()), USAGE)
    except BrokenPipeError:
        # The reader of our output has left (`| head`): that is its right. Python must not flush into it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return _fail("stopped; a folder named ….partial holds what was done, and may be deleted", FAILURE)
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        return _fail(str(error), code)


_arguments: list[str] = []
_sources: dict[str, str] = {}


def _exit_code(error: Exception) -> int | None:
    """2 for bad input, 1 for a run that failed, None for what is a bug and deserves its traceback."""
    from sfumato.lab.arms import ArmError
    from sfumato.lab.data import DataError
    from sfumato.lab.options import OptionError
    from sfumato.lab.runs import RunError
    from sfumato.lab.work import WorkerError
    from sfumato.report import ReportError

    if isinstance(error, (UsageError, DataError, OptionError, RunError)):
        return USAGE
    training = sys.modules.get("sfumato.lab.train")
    failures: tuple[type[Exception], ...] = (ArmError, WorkerError, ReportError, OSError)
    if training is not None:
        failures += (training.TrainingError,)
    return FAILURE if isinstance(error, failures) else None


def _fail(message: str, code: int) -> int:
    print(f"sfumato: {message}", file=sys.stderr)
    return code


def _configuration(words: Sequence[str]) -> list[Callable[..., Any]]:
    """Flag > environment > file > default; the last step notes where each value came from."""
    steps: list[Callable[..., Any]] = [Env("SFUMATO_", command=False, show=False)]
    path = _config_path(words)
    if path is not None:
        _check_keys(path)
        steps.append(Toml(path, use_commands_as_keys=False, must_exist=True))
    return [*steps, _note_sources]


def _config_path(words: Sequence[str]) -> str | None:
    for number, word in enumerate(words):
        if word == "--":
            break
        if word in ("-c", "--config"):
            return words[number + 1] if number + 1 < len(words) else None
        if word.startswith("--config="):
            return word.removeprefix("--config=")
    return os.environ.get("SFUMATO_CONFIG")


def _repeatable(words: Sequence[str]) -> list[str]:
    """The command without the name of its run folder, which would be taken when it is typed again."""
    kept: list[str] = []
    skip = False
    for word in words:
        if not skip and word != "--out" and not word.startswith("--out="):
            kept.append(word)
        skip = word == "--out"
    return kept


def _check_keys(path: str) -> None:
    """An unknown key is an error that suggests the right one."""
    try:
        with open(path, "rb") as file:
            keys = tomllib.load(file)
    except FileNotFoundError:
        raise UsageError(f'no file "{path}"') from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}") from None
    known = [name.lstrip("-") for name in _option_names(compare)]
    for key, value in keys.items():
        if key.replace("_", "-") not in known:
            close = difflib.get_close_matches(key.replace("_", "-"), known, n=1)
            hint = f' Did you mean "{close[0]}"?' if close else ""
            raise UsageError(f'{path} has an unknown key "{key}".{hint} Keys: {", ".join(known)}')
        if isinstance(value, (dict, list)):
            raise UsageError(f'{path}: "{key}" must be one value, not a table or a list')


def _option_names(command: Callable[..., Any]) -> list[str]:
    return ["--" + name.replace("_", "-") for name in command.__annotations__ if name not in ("config", "return")]


def _note_sources(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    words = {"cli": "command line", "env": "environment"}
    for argument in arguments:
        if argument.tokens:
            source = argument.tokens[0].source
            name = argument.field_info.name
            _sources[name] = words.get(source, Path(source).name)


def _render(say: Callable[[str], None]) -> Callable[[Path], object]:
    def render(folder: Path) -> object:
        from sfumato.report import render as to_page

        say("writing the report")
        return to_page(folder)

    return render


def _told(summary: Summary, notes: Sequence[str]) -> str:
    """The result for a person: verdict first, then the numbers, then where the rest is."""
    from sfumato.report import as_text, differences_table, four_columns

    paired = summary["paired"]
    hashes = " ".join(f"{w[:6]}/{b[:6]}" for w, b in zip(paired["weights"], paired["batches"], strict=True))
    return "\n".join(
        [
            *summary["verdict"]["sentences"],
            *(f"Note: {note}" for note in notes),
            "",
            as_text(four_columns(summary), 100).rstrip(),
            "",
            as_text(differences_table(summary), 100).rstrip(),
            "",
            f"paired  weights/batches equal in all arms, seed by seed: {hashes}",
            f"report  {Path(summary['run']) / 'report.html'}",
        ]
    )
