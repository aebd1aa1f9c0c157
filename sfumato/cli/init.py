"""``sfumato init``: a file of options, each with what it does."""

from __future__ import annotations

import inspect
import re
import textwrap
from pathlib import Path

from sfumato.cli.common import OK, UsageError, app
from sfumato.cli.compare import compare
from sfumato.extras import require_lab

_NOT_OPTIONS = ("resume", "config", "json", "quiet", "dry_run")


@app.command
def init(data: str = "digits", *, out: Path = Path("sfumato.toml")) -> int:
    """Write a TOML file with every option of compare, its default and what it does, ready to be edited.

    Then: sfumato compare -c sfumato.toml

    Args:
        data: What to compare on; as of sfumato compare.
        out: The file; one that is there already is never written over.
    """
    require_lab("init")
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(template(data, str(out)))
    except FileExistsError:
        raise UsageError(f"{out} is there already; give another name with --out, or edit that one") from None
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}") from None
    print(f"{out} written; edit it, then: sfumato compare -c {out}")
    return OK


def template(data: str, name: str) -> str:
    """The text of the file: DATA set, everything else commented out.

    Args:
        data: what to compare on.
        name: of the file, for the command that uses it.

    >>> [line for line in template("flowers.csv", "my.toml").splitlines() if line and not line.startswith("#")]
    ['data = "flowers.csv"']
    """
    from sfumato.lab.options import toml_value

    lines = [
        f"# Options of `sfumato compare -c {name}`. A flag or an environment variable (SFUMATO_EPS) goes before a line"
    ]
    lines += [
        "# here, and a line here before the default. What stands behind # is not read: it shows the default, or an",
        "# example.",
        "",
    ]
    for option, words in explained().items():
        lines += [f"# {line}" for line in textwrap.wrap(words, 110)]
        if option == "data":
            lines += [f"data = {toml_value(data)}", ""]
            continue
        default = inspect.signature(compare).parameters[option].default
        lines += [f"# {option.replace('_', '-')} = {_EXAMPLES[option] if default is None else toml_value(default)}", ""]
    return "\n".join(lines)


def explained() -> dict[str, str]:
    """What compare's docstring says of each option, in its order.

    >>> explained()["eps"]
    'Strength of the smoothing.'
    """
    text = inspect.getdoc(compare) or ""
    found: dict[str, str] = {}
    for entry in re.split(r"\n    (?=\w+: )", text.partition("Args:")[2]):
        name, _, words = entry.strip().partition(": ")
        if name and name not in _NOT_OPTIONS:
            found[name] = " ".join(words.split())
    return found


_EXAMPLES = {
    "label": '"species"',
    "label_probs": '"p_*"',
    "text": '"text"',
    "split": '"split"',
    "weight": '"weight"',
    "group": '"patient"',
    "image_size": "32",
    "ladder": '"0,0.02,0.05,0.1,0.2"',
    "arm": '"onehot,others:0.1"',
    "model": '"mlp"',
    "pretrained": '"weights.safetensors"',
    "epochs": "40",
    "batch_size": "64",
    "early_stop": "5",
    "workers": "2",
    "on": '"ray"',
    "time_budget": "30.0",
    "track": '"tensorboard"',
    "out": '"runs/mine"',
}
