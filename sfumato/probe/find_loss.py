"""Find the loss that a person names as ``module:callable``, and make it again for another K or strength.

Arguments are literals: ``module:Class(label_smoothing=0.1)`` is parsed and never evaluated.
"""

import ast
import contextlib
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sfumato.text import did_you_mean, one_line

Result = TypeVar("Result")
BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

STRENGTH_NAMES = (
    "label_smoothing", "smoothing", "epsilon", "eps", "smooth_factor", "lb_smooth", "label_smooth_val",
    "smoothing_param", "label_smoothing_factor", "smooth_rate", "label_smooth", "smooth", "ls_eps", "lsm_weight",
    "alpha", "ls", "e", "ε",
)  # fmt: skip
"""Names of arguments that are the strength, the surest first; :data:`UNSURE_NAMES` are among them."""

UNSURE_NAMES = ("epsilon", "eps", "smooth", "alpha", "ls", "e", "ε")
"""Names that are also used for a guard against log 0, a focal weight or a coefficient."""

CLASSES_NAMES = (
    "num_classes", "n_classes", "classes", "num_class", "n_class", "nb_classes", "size", "vocab_size",
    "tgt_vocab_size", "num_labels", "n_labels", "class_num", "output_dim", "out_features", "num_categories",
    "k", "K", "C", "V",
)  # fmt: skip
WEIGHT_NAMES = ("weight", "weights", "class_weight", "class_weights", "cls_weight")
PAD_NAMES = (
    "ignore_index", "padding_idx", "pad_idx", "pad_index", "pad_id", "pad", "ignore_label", "lb_ignore", "ignore_class",
)  # fmt: skip

_WRITTEN = re.compile(r"(.+?):\s*(\w+(?:\.\w+)*)\s*(\(.*)?", re.DOTALL)
r"""A module or file, a dotted name in it, and perhaps a call. Behind the colon of a drive, C:\losses.py, is no name."""

in_words = partial(one_line, most=300)  # an error of the loss, as a message of ours quotes it


class ProbeError(ValueError):
    """A loss cannot be found, made or called: the message says why, and what to write instead."""


@contextlib.contextmanager
def refusing(text: str) -> Generator[None]:
    """Whatever fails inside is a ProbeError that begins with a text."""
    try:
        yield
    except ProbeError:
        raise
    except (Exception, SystemExit) as error:
        raise ProbeError(f"{text}: {in_words(error)}") from error


def attempt(call: Callable[[], Result]) -> Result | None:
    """What a call gives; None where a strange loss, or a refused argument, fails it."""
    try:
        return call()
    except Exception:
        return None


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a function, or of the method that a module runs; empty where Python knows no signature."""
    inner = getattr(function, "forward", None) or getattr(function, "call", None) or function
    return [each for each in _signature(inner).values() if each.name != "self"]


def required(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters without a default, in their order."""
    lacking = [each for each in parameters_of(function) if each.default is each.empty]
    return [each for each in lacking if each.kind in (*BY_POSITION, each.KEYWORD_ONLY)]


def keywords_of(function: Callable[..., Any]) -> tuple[str, str] | None:
    """The names of logits and labels in a loss that cannot take both by position; None of any other loss."""
    lacking = required(function)
    if len(lacking) != 2 or all(each.kind in BY_POSITION for each in lacking):
        return None
    if any(each.kind is each.POSITIONAL_ONLY for each in lacking):
        return None
    return lacking[0].name, lacking[1].name


def _signature(function: Any) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return {}


@dataclass(frozen=True)
class Spec:
    """A loss that can be made again with other arguments."""

    name: str  # how the person named the loss
    target: Any  # the loss itself, the class, or the function that makes the loss
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])  # literal keyword arguments
    positional: tuple[Any, ...] = ()  # literal positional arguments
    kind: str = "loss"  # which of the three target is: "loss", "class" or "factory"
    notes: tuple[str, ...] = ()  # what had to be done to load the module

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The parameters beside logits and labels."""
        parameters = _signature(self.target)
        if self.kind == "loss":
            for name in keywords_of(self.target) or list(parameters)[:2]:
                del parameters[name]
        return parameters

    def parameter(self, names: tuple[str, ...]) -> str | None:
        """The first of some names that is a parameter; parameters with an argument come first."""
        return next((name for known in (self.arguments, self.parameters) for name in names if name in known), None)

    @property
    def strength(self) -> str | None:
        """The name of the parameter that looks like the strength; None if no parameter does."""
        name = self.parameter(STRENGTH_NAMES)
        value = None if name is None else self.given(name)
        return name if value is None or isinstance(value, (int, float)) else None

    def given(self, name: str) -> Any:
        """The value of a parameter: its argument, or its default; None where it has neither."""
        if name in self.arguments:
            return self.arguments[name]
        parameter = self.parameters.get(name)
        return None if parameter is None or parameter.default is parameter.empty else parameter.default

    def made(self, classes: int, **changes: Any) -> Callable[..., Any]:
        """The loss for K classes, with some arguments changed."""
        arguments = {**self.arguments, **changes}
        for name, parameter in self.parameters.items():
            must = name in self.arguments or parameter.default is parameter.empty
            if name in CLASSES_NAMES and must and name not in changes:
                arguments[name] = classes
        if self.kind == "loss":
            return partial(self.target, **arguments) if arguments else self.target
        try:
            made = self.target(*self.positional, **arguments)
        except (Exception, SystemExit) as error:
            raise ProbeError(f"{self.name} cannot be made: {in_words(error)}{self._missing(arguments)}") from error
        if not callable(made):
            raise ProbeError(f"{self.name} made a {type(made).__name__}, which cannot be called with logits and labels")
        return made

    def _missing(self, arguments: Mapping[str, Any]) -> str:
        free = [p for p in list(self.parameters.values())[len(self.positional) :] if p.name not in arguments]
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        lacking = [f"{p.name}=…" for p in free if p.default is p.empty and p.kind in kinds]
        return f"; write {self.name.partition('(')[0]}({', '.join(lacking)})" if lacking else ""


def load(text: str) -> Spec:
    """The loss that ``module:callable`` or ``module:callable(name=value)`` names; the current folder is importable.

    A file can stand for the module, as in ``"my_losses.py:smooth_loss"``.

    Raises:
        ProbeError: the text is not of this form, there is no such module or name, or an argument is no literal.

    >>> load("torch.nn:CrossEntropyLoss(label_smoothing=0.1)").arguments
    {'label_smoothing': 0.1}
    """
    written = _WRITTEN.fullmatch(text)
    if text.endswith(".py") or written is None:
        raise ProbeError(f'"{text}" is not MODULE:CALLABLE, as in torch.nn:CrossEntropyLoss or my_losses.py:smoothed')
    module_name, path, call = written.groups()
    positional, arguments = _literals(text, call) if call else ((), {})
    notes: list[str] = []
    target: Any = _module(module_name, notes)
    *_, last = parts = path.split(".")
    for part in parts:
        if not hasattr(target, part):
            names = [name for name in dir(target) if not name.startswith("_")]
            if part == last:  # a loss is called, which a module such as np is not
                names = [name for name in names if callable(getattr(target, name, None))]
            raise ProbeError(f'{module_name} has no "{part}".{did_you_mean(part, names)}')
        target = getattr(target, part)
    return replace(of(target, text, arguments, positional, called=bool(call)), notes=tuple(notes))


def of(
    target: Any,
    name: str = "",
    arguments: Mapping[str, Any] | None = None,
    positional: tuple[Any, ...] = (),
    *,
    called: bool = False,
) -> Spec:
    """A :class:`Spec` of a loss, of a class of losses, or of a function that makes one."""
    name = name or getattr(target, "__qualname__", type(target).__name__)
    given = dict(arguments or {})
    if not callable(target):
        raise ProbeError(f"{name} is a {type(target).__name__}, which cannot be called with logits and labels")
    if inspect.isclass(target):
        return Spec(name, target, given, positional, "class")
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):
        return Spec(name, target, given, positional, "loss")
    lacking = [p for p in parameters[len(positional) :] if p.default is p.empty and p.name not in given]
    needed = [p for p in lacking if p.kind in BY_POSITION]
    by_name = [p for p in lacking if p.kind is p.KEYWORD_ONLY]
    takes_any = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    known = len(needed) == 0 or (len(needed) == 1 and needed[0].name in CLASSES_NAMES)
    if known and not takes_any and len(by_name) < 2 and (called or not hasattr(target, "forward")):
        return Spec(name, target, given, positional, "factory")
    if positional:
        raise ProbeError(f"{name}: give arguments by name; the first two are the logits and the labels")
    return Spec(name, target, given, (), "loss")


def _literals(text: str, call: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    try:
        node = ast.parse(f"f{call}", mode="eval").body
        if not isinstance(node, ast.Call) or any(keyword.arg is None for keyword in node.keywords):
            raise SyntaxError
        positional = tuple(ast.literal_eval(each) for each in node.args)
        return positional, {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise ProbeError(
            f'the arguments of "{text}" must be literals, as in (label_smoothing=0.1, reduction="sum"); '
            "for others, write a function without arguments that makes the loss, and name that"
        ) from None


def _module(name: str, notes: list[str]) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    of_keras = name.partition(".")[0] == "keras" and "KERAS_BACKEND" not in os.environ
    if of_keras and importlib.util.find_spec("tensorflow") is None:
        os.environ["KERAS_BACKEND"] = "torch"
        notes.append("Keras runs on torch here: KERAS_BACKEND was not set, and TensorFlow is not installed")
    if name.endswith(".py") and not Path(name).is_file():
        raise ProbeError(f'no file "{name}"')
    with refusing(f"{name} cannot be imported"):
        if not name.endswith(".py"):
            try:
                return importlib.import_module(name)
            except ModuleNotFoundError as error:
                if error.name and f"{name}.".startswith(f"{error.name}."):
                    text = f'no module "{name}" here or among the installed ones ({sys.executable})'
                    raise ProbeError(text) from None
                raise
        spec = importlib.util.spec_from_file_location(Path(name).stem, name)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(module.__name__, module)
        spec.loader.exec_module(module)
        return module
