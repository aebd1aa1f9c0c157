"""The packages of the extra ``lab``, and the message that names the line to type if one is missing.

The loss, the targets and the closed forms need torch and numpy alone. :func:`require_lab` asks before a command begins,
:func:`lab_imports` where a function needs the extra, :func:`framework_imports` for the frameworks of the adapters.
"""

import contextlib
from collections.abc import Generator

from sfumato.text import joined

LAB = {
    "matplotlib": "matplotlib",
    "PIL": "Pillow",
    "msgspec": "msgspec",
    "pyarrow": "pyarrow",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
}
"""The packages of the extra ``lab``: the name that is imported, and the name that is installed."""


class MissingExtraError(ImportError):
    """Something was asked for whose packages are not installed; the message has the line to type."""


def missing_of_lab() -> list[str]:
    """The packages of the extra ``lab`` that are not installed, by the names that are imported."""
    from importlib.util import find_spec  # not above: `sfumato --help` needs none of it

    return [name for name in LAB if find_spec(name) is None]


def require_lab(asker: str) -> None:
    """Refuse what needs the extra ``lab`` where packages of it are missing, and name all of them."""
    missing = missing_of_lab()
    if missing:
        raise MissingExtraError(_sentence(asker, missing))


@contextlib.contextmanager
def lab_imports(asker: str) -> Generator[None]:
    """Around imports of the extra's packages: a missing one becomes the sentence of :func:`require_lab`."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in LAB:
            raise
        raise MissingExtraError(_sentence(asker, [package])) from error


@contextlib.contextmanager
def framework_imports(asker: str, package: str, installed: str | None = None) -> Generator[None]:
    """Around imports of a framework, which is perhaps installed by another name.

    MissingExtraError where it is not installed, or lacks what its known versions have; the message has the line to
    type.
    """
    from importlib.util import find_spec

    name = installed or package
    try:
        yield
    except ImportError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        if find_spec(package) is None:
            raise MissingExtraError(f"{asker} needs {name}; to install it, type: pip install {name}") from error
        raise MissingExtraError(
            f"{asker} does not find all that it needs in the {name} that is installed ({error}); for the newest, type: "
            f"pip install -U {name}"
        ) from error


def _sentence(asker: str, packages: list[str]) -> str:
    needed = joined([LAB[name] for name in packages])
    return f"{asker} needs {needed}; to install what is missing, type: pip install 'sfumato[lab]'"
