"""Faults as changes of what public functions take and give, made in a running process; and the plugin that makes one.

Such a fault knows nothing of how the package is written inside, and outlives any rewriting of it. ``wrap`` puts a
function around a public one, wherever the package holds it; the wrapper gets the arguments by name, defaults among
them, and the function itself.

``SFUMATO_PLANTED=NAME`` with ``-p tests.meta.planted`` makes the fault of that name before any test is collected.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import pkgutil
import sys
from collections.abc import Callable
from typing import Any

import torch

import sfumato as sf

Arguments = dict[str, Any]
Original = Callable[..., Any]
Wrapper = Callable[[Original, Arguments], Any]


def pytest_configure() -> None:
    from tests.meta.faults import FAULTS

    for package in ("sfumato.targets", "sfumato.loss"):  # nothing that is loaded later may be without the fault
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            importlib.import_module(f"{package}.{module.name}")
    made = FAULTS[os.environ["SFUMATO_PLANTED"]].made
    assert callable(made)
    made()


def wrap(wrapper: Wrapper, *names: str) -> None:
    """Put ``wrapper`` around public functions ("cross_entropy") or methods of public classes ("Target.describe")."""
    for name in names:
        owner, _, attribute = name.rpartition(".")
        if owner:
            for cls in _kinds(getattr(sf, owner)):
                if attribute in vars(cls):
                    setattr(cls, attribute, _faulty(vars(cls)[attribute], wrapper))
            continue
        original = getattr(sf, attribute)
        faulty = _faulty(original, wrapper)
        for module in [value for key, value in sys.modules.items() if key.partition(".")[0] == "sfumato"]:
            for key, value in list(vars(module).items()):
                if value is original:
                    setattr(module, key, faulty)


def _kinds(cls: type) -> list[type]:
    """A class with all that are made from it, any of which may have a method of its own."""
    return [cls, *(each for below in cls.__subclasses__() for each in _kinds(below))]


def _faulty(original: Original, wrapper: Wrapper) -> Original:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def faulty(*args: Any, **given: Any) -> Any:
        bound = signature.bind(*args, **given)
        bound.apply_defaults()
        return wrapper(original, bound.arguments)

    return faulty


def planted(wrapper: Wrapper, *names: str) -> Callable[[], None]:
    """What makes the fault when it is called: in the loss, unless other functions are named."""
    return lambda: wrap(wrapper, *(names or ("cross_entropy",)))


def with_default(owner: str, argument: str, value: Any) -> Callable[[], None]:
    """Another default of an argument of a public class or function."""

    def make() -> None:
        function = getattr(sf, owner)
        function = function.__init__ if inspect.isclass(function) else function
        names = [p.name for p in inspect.signature(function).parameters.values() if p.kind is not p.KEYWORD_ONLY]
        defaults = list(function.__defaults__)
        defaults[names.index(argument) - len(names)] = value
        function.__defaults__ = tuple(defaults)

    return make


def without(name: str) -> Callable[[], None]:
    """A function of the package, wherever it is, that does nothing."""

    def make() -> None:
        found = 0
        for module in [value for key, value in sys.modules.items() if key.partition(".")[0] == "sfumato"]:
            if inspect.isfunction(getattr(module, name, None)):
                setattr(module, name, lambda *args, **given: None)
                found += 1
        assert found, f"no function {name} in the package"

    return make


# The arguments, before the function sees them.


def replaced(argument: str, value: Callable[[Arguments], Any]) -> Wrapper:
    """One argument is made from all of them."""

    def wrapper(original: Original, given: Arguments) -> Any:
        given[argument] = value(given)
        return original(**given)

    return wrapper


def labels_as(change: Callable[[torch.Tensor, Arguments], torch.Tensor]) -> Wrapper:
    """Class indices are others; a target of another kind is as it was."""

    def changed(given: Arguments) -> Any:
        target = given["target"]
        if isinstance(target, torch.Tensor) and not target.is_floating_point():
            return torch.where(target == given["ignore_index"], target, change(target, given))
        return target

    return replaced("target", changed)


def is_target(given: Arguments) -> bool:
    return not isinstance(given["target"], torch.Tensor)


def is_probabilities(given: Arguments) -> bool:
    return isinstance(given["target"], torch.Tensor) and given["target"].is_floating_point()


def class_axis(x: torch.Tensor) -> int:
    return 1 if x.dim() > 1 else 0


# What comes out.


def mass_of_the_label(change: Callable[[torch.Tensor], torch.Tensor]) -> Wrapper:
    """A smoothed target whose label has a mass made from the one that it has; the other classes keep theirs."""

    def wrapper(original: Original, given: Arguments) -> Any:
        q = original(**given).to_dense(torch.float64)
        ignored = given["ignore_index"]
        hard = sf.one_hot(given["labels"], given["num_classes"], ignore_index=ignored).to_dense(torch.float64)
        made = torch.where(hard == 1, change(q), q)
        return sf.from_probs(made, check=False, mask=given["labels"] != ignored)

    return wrapper


def gradient_is(change: Callable[[torch.Tensor, Arguments], torch.Tensor]) -> Wrapper:
    """What arrives from above, on its way into the loss."""

    def wrapper(original: Original, given: Arguments) -> Any:
        loss = original(**given)
        if loss.requires_grad:
            loss.register_hook(lambda upstream: change(upstream, given))
        return loss

    return wrapper


def mean_over_every_row(original: Original, given: Arguments) -> Any:
    if given["reduction"] != "mean":
        return original(**given)
    rows = given["input"].numel() // given["input"].shape[class_axis(given["input"])]
    return original(**{**given, "reduction": "sum"}) / rows


def _dense(given: Arguments, dtype: torch.dtype) -> torch.Tensor:
    k = given["input"].shape[class_axis(given["input"])]
    target = given["target"]
    return (target if target.num_classes else target.with_classes(k)).to_dense(dtype)


def summed_in_the_type_of_the_logits(original: Original, given: Arguments) -> Any:
    z = given["input"]
    if z.dtype not in (torch.float16, torch.bfloat16) or not is_target(given):
        return original(**given)
    q, axis = _dense(given, z.dtype), class_axis(z)
    rows = (q * (z.logsumexp(axis, keepdim=True) - z)).sum(axis)
    counted = (q.sum(axis) != 0).sum()
    return {"none": rows, "sum": rows.sum(), "mean": rows.sum() / counted}[given["reduction"]]


def value_of_another_target(original: Original, given: Arguments) -> Any:
    """The value is the hard loss of the likeliest class, the gradient that of the target."""
    loss = original(**given)
    if not is_target(given):
        return loss
    q = _dense(given, torch.float64)
    axis = class_axis(q)
    hard = original(**{**given, "target": sf.one_hot(q.argmax(axis), q.shape[axis])})
    return loss + (hard - loss).detach()


def ignored_rows_are_uniform(original: Original, given: Arguments) -> Any:
    q = original(**given)
    axis = class_axis(q)
    return torch.where(q.sum(axis, keepdim=True) == 0, 1.0 / q.shape[axis], q)


def changes_the_logits(original: Original, given: Arguments) -> Any:
    given["input"].data.sub_(1.0)
    return original(**given)


def write_over_the_logits(upstream: torch.Tensor, given: Arguments) -> torch.Tensor:
    given["input"].data.zero_()
    return upstream


def the_other_convention(original: Original, given: Arguments) -> Any:
    said = original(**given)
    swapped = {"the others": "all", "all": "the others"}
    for words, other in swapped.items():
        if f"over {words}" in said:
            return said.replace(f"over {words}", f"over {other}", 1)
    return said
