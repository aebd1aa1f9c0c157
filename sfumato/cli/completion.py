"""``sfumato --install-completion`` and ``--show-completion``: Tab completes commands, options, values and files.

The scripts are cyclopts'. They complete no file for an option that takes text, and most files here are named as text,
since a run folder or "digits" may stand in their place; :func:`script` adds that.
"""

import re
from typing import Literal, TypeAlias

from sfumato.cli.common import OK, UsageError, app

Shell: TypeAlias = Literal["bash", "zsh", "fish"]


@app.command(name="--install-completion")
def install_completion(*, shell: Shell | None = None) -> int:
    """Let the Tab key complete commands, options and values in bash, zsh or fish.

    Writes a script into the home folder, and a line that loads it into ~/.bashrc or ~/.zshrc.

    Args:
        shell: The shell to do this for; by default the one that sfumato was called from.
    """
    which = shell or _own_shell()
    path = app.install_completion(shell=which)
    path.write_text(script(which), encoding="utf-8")
    print(f"The Tab key completes sfumato in every {which} that starts from now on: {path} is written.")
    return OK


@app.command(name="--show-completion")
def show_completion(*, shell: Shell | None = None) -> int:
    """Print the script with which the Tab key completes commands, options and values, and write nothing.

    Args:
        shell: The shell that the script is for; by default the one that sfumato was called from.
    """
    print(script(shell or _own_shell()))
    return OK


def script(shell: Shell) -> str:
    """The script for a shell, with the names of files wherever nothing better is known.

    >>> script("bash").splitlines()[-1]
    'complete -o bashdefault -o default -F _sfumato sfumato'
    """
    text = app.generate_completion(shell=shell).rstrip()
    if shell == "bash":
        # Where the script has nothing, readline completes files, with a slash behind folders; compgen leaves that out.
        text = text.replace('COMPREPLY=( $(compgen -f -- "${cur}") )', "COMPREPLY=()")
        return text.replace("\ncomplete -F ", "\ncomplete -o bashdefault -o default -F ")
    if shell == "zsh":
        # 'NAME[HELP]:WORD' is an option, and 'NUMBER:HELP' an argument; both end here where no action is given.
        text = re.sub(r"^( +'\*?-[^\n]*\]:[\w-]+)' \\$", r"\1:_files' \\", text, flags=re.MULTILINE)
        return re.sub(r"^( +'[*\d]+:(?:\\:|[^:\n])+)' \\$", r"\1:_files' \\", text, flags=re.MULTILINE)
    return text


def _own_shell() -> Shell:
    """The shell that called.

    Raises:
        UsageError: no shell called, or another than these three.
    """
    from cyclopts.completion.detect import ShellDetectionError, detect_shell

    try:
        found = detect_shell()
    except ShellDetectionError:
        found = ""
    if found == "bash" or found == "zsh" or found == "fish":
        return found
    raise UsageError("the shell cannot be told; name it: --shell bash, --shell zsh or --shell fish")
