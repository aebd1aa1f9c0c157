"""``sfumato init``: a file of options, each with what it does."""

import textwrap
from pathlib import Path

from sfumato.cli.common import OK, UsageError, app
from sfumato.extras import require_lab
from sfumato.lab.options import schema


@app.command(usage="Usage: sfumato init [DATA] [--out FILE.toml]")
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


def template(data: str, file: str) -> str:
    """The text of the file, whose name is told with the command that uses it: DATA set, everything else commented out.

    >>> [line for line in template("flowers.csv", "my.toml").splitlines() if line and not line.startswith("#")]
    ['data = "flowers.csv"']
    """
    from sfumato.lab.options import toml_value

    lines = [
        f"# Options of `sfumato compare -c {file}`. A flag or an environment variable (SFUMATO_EPS) goes before a line",
        "# here, and a line here before the default. What stands behind # is not read: it shows the default, or an",
        "# example.",
        "",
    ]
    for name, option in schema().items():
        lines += [f"# {line}" for line in textwrap.wrap(option.words, 110)]
        shown = option.example if option.default is None else toml_value(option.default)
        lines += [f"data = {toml_value(data)}" if name == "data" else f"# {name.replace('_', '-')} = {shown}", ""]
    return "\n".join(lines)
