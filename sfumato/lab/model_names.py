"""What a model may be called. No torch here: a name with a mistake is refused before anything heavy is loaded."""

from importlib.util import find_spec
from pathlib import Path

from sfumato.lab.data.python_objects import is_function
from sfumato.text import did_you_mean

OWN = ("mlp", "linear", "cnn")
"""The built-in models."""

LIBRARIES = {"torchvision": "torchvision", "timm": "timm", "hf": "transformers"}
"""Prefixes of models from elsewhere, and the package that each needs."""

CHOICES = "mlp, linear, cnn, torchvision:NAME, timm:NAME, hf:FOLDER, module:callable"


def complaint(name: str) -> str | None:
    """What is wrong with the name of a model, as far as that can be told without loading a library.

    >>> print((complaint("mpl") or "").partition(" Models:")[0])
    no model "mpl". Did you mean "mlp"?
    """
    prefix, colon, rest = name.partition(":")
    if not colon:
        return None if name in OWN else f'no model "{name}".{did_you_mean(name, OWN)} Models: {CHOICES}'
    if prefix in LIBRARIES:
        package = LIBRARIES[prefix]
        if find_spec(package) is None:
            return f"--model {prefix}: needs {package}, which is not installed; install it with pip install {package}"
        if prefix == "hf" and not Path(rest).is_dir():
            return f'no folder "{rest}" for --model {name}; models come from disk: save one with model.save_pretrained'
        return None if rest else f"--model {prefix}: lacks a name: {prefix}:{'FOLDER' if prefix == 'hf' else 'NAME'}"
    near = did_you_mean(prefix, LIBRARIES).replace('"?', f':{rest}"?')
    if is_function(name) and (not near or _is_here(prefix.partition(".")[0])):
        return None
    return f'no model "{name}".{near} Models: {CHOICES}'


def _is_here(module: str) -> bool:
    try:
        return Path(f"{module}.py").exists() or Path(module).is_dir() or find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def default_model(kind: str, shape: tuple[int, ...]) -> str:
    """The model for inputs of a kind and shape: a small CNN for images of 16 pixels and more, else an MLP.

    >>> default_model("image", (32, 32, 3)), default_model("dense", (64,))
    ('cnn', 'mlp')
    """
    return "cnn" if kind == "image" and min(shape[:2]) >= 16 else "mlp"
