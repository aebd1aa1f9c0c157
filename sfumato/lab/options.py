"""What a comparison is asked for: every option with its default and its legal range, in one place."""

from __future__ import annotations

import dataclasses
import math
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from sfumato.lab.arms import complaint as arm_complaint
from sfumato.lab.data.column_roles import Roles
from sfumato.lab.model_names import complaint
from sfumato.lab.trackers import missing
from sfumato.runs.folder import PARTIAL, TakenError, refuse_taken
from sfumato.theory import Over

Precision = Literal["float32", "bf16"]

MOST = {
    "seeds": 1000,
    "epochs": 1_000_000,
    "batch_size": 2**31,
    "accumulate": 2**30,
    "early_stop": 1_000_000,
    "workers": 1024,
}
"""The largest whole numbers that make sense, so that a slip of the finger does not fill the memory."""


class OptionError(ValueError):
    """An option with a value that cannot be used; the message names both and the way out."""


@dataclass(frozen=True)
class Options:
    """The options of ``sfumato compare``; :meth:`check` refuses values outside their range.

    Attributes:
        data: ``"digits"``, a CSV, TSV, Parquet or npz file, a folder of class folders, or ``"module:function"``.
        label: label column of a table.
        label_probs: columns of soft labels, with commas between.
        text: text column of a table, or several with commas between.
        split: column that says train, validation or test.
        weight: column of row weights.
        group: column whose equal values may not be split.
        image_size: side to which a folder's images are brought; None for their own, or 32 or 64.
        eps: strength of the smoothed arm.
        over: what it is spread over.
        ladder: strengths to choose from on the validation rows, with commas between, instead of ``eps``.
        arm: the targets to compare, with commas between, instead of ``eps`` and ``over``; the first is the one that the
            others are compared with.
        seeds: runs per arm, each with its own initial weights and order of rows.
        model: a built-in model, or one from elsewhere; None for one that suits the data.
        pretrained: file of weights to start from.
        device: where to train, such as ``"cuda"``.
        epochs: passes over the training rows; None for a full budget by the number of rows.
        batch_size: rows a step; None for 64, fewer for small data and 256 for large.
        learning_rate: Adam's at the start, a cosine takes it to 0.
        weight_decay: AdamW's, on every parameter; 0 for Adam.
        accumulate: parts into which each batch is split, to save memory; the step stays that of the whole batch.
        precision: ``"float32"``, or ``"bf16"`` for a forward pass in bfloat16 while training.
        early_stop: epochs without a better one, by hard NLL after temperature on validation rows, after which a run
            stops and keeps the best; None for the full budget.
        workers: processes; None for one a core, or four on a GPU. The results do not depend on it.
        together: train all runs as one batched program; last digits differ from those of separate runs.
        on: ``"ray"`` to run on Ray; None for processes here. The results do not depend on it.
        time_budget: minutes that the training may take; epochs are cut to fit. None for the full budget.
        track: ``"trackio"``, ``"wandb"`` or ``"tensorboard"``, to see the curves there while they are made.
        out: the run folder; None for ``runs/<data>-<date>-<n>``.
    """

    data: str
    label: str | None = None
    label_probs: str | None = None
    text: str | None = None
    split: str | None = None
    weight: str | None = None
    group: str | None = None
    image_size: int | None = None
    eps: float = 0.1
    over: Over = "others"
    ladder: str | None = None
    arm: str | None = None
    seeds: int = 5
    model: str | None = None
    pretrained: str | None = None
    device: str = "cpu"
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    accumulate: int = 1
    precision: Precision = "float32"
    early_stop: int | None = None
    workers: int | None = None
    together: bool = False
    on: str | None = None
    time_budget: float | None = None
    track: str | None = None
    out: str | None = None

    def check(self) -> None:
        """Refuse the first option outside its range.

        Raises:
            OptionError: it names the option, the value and the range.

        >>> Options("digits", eps=1.5).check()
        Traceback (most recent call last):
        ...
        sfumato.lab.options.OptionError: --eps must be above 0 and at most 1, got 1.5
        """
        if not 0 < self.eps <= 1:
            raise OptionError(f"--eps must be above 0 and at most 1, got {self.eps:g}")
        if self.over not in get_args(Over):
            raise OptionError(f'--over must be "others" or "all", got "{self.over}"')
        self._check_targets()
        if self.seeds < 3:
            raise OptionError(f"--seeds must be at least 3, got {self.seeds}: fewer cannot tell an effect from luck")
        if self.model is not None and (wrong := complaint(self.model)) is not None:
            raise OptionError(wrong)
        if self.image_size is not None and not 8 <= self.image_size <= 512:
            raise OptionError(f"--image-size must be from 8 to 512 pixels, got {_shown(self.image_size)}")
        for name, most in MOST.items():
            value = getattr(self, name)
            if value is not None and value < 1:
                raise OptionError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
            if value is not None and value > most:
                raise OptionError(f"--{name.replace('_', '-')} must be at most {most:,}, got {_shown(value)}")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise OptionError(f"--learning-rate must be a finite number above 0, got {self.learning_rate:g}")
        if not (self.weight_decay >= 0 and math.isfinite(self.weight_decay)):
            raise OptionError(
                f"--weight-decay must be a finite number, at least 0, got {self.weight_decay:g}; 0 leaves it out"
            )
        if self.learning_rate * self.weight_decay > 1:
            raise OptionError(
                f"--weight-decay {self.weight_decay:g} at --learning-rate {self.learning_rate:g} would turn the sign "
                f"of every weight at each step; use at most {1 / self.learning_rate:g}"
            )
        if self.precision not in get_args(Precision):
            raise OptionError(f'--precision must be "float32" or "bf16", got "{self.precision}"')
        check_on(self.on)
        check_track(self.track)
        if self.time_budget is not None and not (self.time_budget > 0 and math.isfinite(self.time_budget)):
            raise OptionError(f"--time-budget must be a number of minutes above 0, got {self.time_budget:g}")
        if self.out is not None:
            if Path(self.out).name in ("", "..") or self.out.endswith(PARTIAL):
                raise OptionError(f'--out must name a folder, and not end in {PARTIAL}, got "{self.out}"')
            try:
                refuse_taken(Path(self.out))
            except TakenError as error:
                raise OptionError(str(error)) from None

    def _check_targets(self) -> None:
        if self.ladder is not None:
            strengths = self.strengths()
            if self.arm is not None:
                raise OptionError("--ladder and --arm cannot be had together: a ladder chooses one strength")
            wrong = [eps for eps in strengths if not 0 <= eps <= 1]
            if wrong:
                raise OptionError(f"--ladder takes strengths from 0 to 1, got {wrong[0]:g}")
            if len({eps for eps in strengths if eps > 0}) < 2:
                raise OptionError(
                    f'--ladder needs at least two strengths above 0, got "{self.ladder}"; for one use --eps'
                )
        if self.arm is not None:
            specs = self.arms()
            for spec in specs:
                if (wrong_arm := arm_complaint(spec)) is not None:
                    raise OptionError(wrong_arm)
            same = {(kind, float(strength or 0)) for kind, _, strength in (spec.partition(":") for spec in specs)}
            if len(specs) < 2:
                raise OptionError(f'--arm must be given at least twice, got only "{self.arm}"')
            if len(same) < len(specs):
                raise OptionError(f"--arm names the same target twice: {', '.join(specs)}")

    def strengths(self) -> list[float]:
        """Those of the ladder.

        Raises:
            OptionError: they are no numbers.
        """
        try:
            return [float(word) for word in (self.ladder or "").split(",")]
        except ValueError:
            raise OptionError(
                f'--ladder takes numbers with commas between, such as 0,0.05,0.1; got "{self.ladder}"'
            ) from None

    def arms(self) -> list[str]:
        """Those of ``arm``, as they were written."""
        return [word.strip() for word in (self.arm or "").split(",")]

    def roles(self) -> Roles:
        """Which column of the data is for what.

        >>> Options("votes.csv", label_probs="p_0, p_1").roles().label_probs
        ('p_0', 'p_1')
        """
        probs = self.label_probs
        source, _, folder = (self.model or "").partition(":")
        return Roles(
            label=self.label,
            label_probs=None if probs is None else tuple(name.strip() for name in probs.split(",")),
            text=self.text,
            split=self.split,
            weight=self.weight,
            group=self.group,
            image_size=self.image_size,
            tokenizer=folder if source == "hf" else None,
        )


def check_on(on: str | None) -> None:
    """Refuse a place to run on that is none, or is not there.

    Raises:
        OptionError: it says what to do.

    >>> check_on("slurm")
    Traceback (most recent call last):
    ...
    sfumato.lab.options.OptionError: --on takes ray, got "slurm"; without it, processes on this machine do the work
    """
    if on is None:
        return
    if on != "ray":
        raise OptionError(f'--on takes ray, got "{on}"; without it, processes on this machine do the work')
    from sfumato.lab.execute.ray import missing

    if (why := missing()) is not None:
        raise OptionError(why)


def check_track(track: str | None) -> None:
    """Refuse a tracker that is none, or cannot be used here.

    Raises:
        OptionError: it says what to do.
    """
    if track is not None and (why := missing(track)) is not None:
        raise OptionError(why)


def _shown(number: int) -> str:
    return f"{number:,}" if number < 10**15 else "a number of more than 15 digits"


def to_toml(options: Options, sources: Mapping[str, str], resolved: Mapping[str, Any]) -> str:
    """The options as TOML, each value with where it came from; ``sfumato compare -c`` takes it back.

    Args:
        options: as given.
        sources: where each option came from; ``"default"`` if it is not named.
        resolved: values that were found where an option said None.

    >>> print(to_toml(Options("digits"), {"data": "command line"}, {"epochs": 59}).splitlines()[2])
    data = "digits"  # command line
    """
    lines = [
        "# The options of this run, and where each came from. `sfumato compare -c` with this file repeats it, from the",
        "# folder in which it was run: the path of the data is as it was given there.",
    ]
    for field in dataclasses.fields(options):
        value, source = getattr(options, field.name), sources.get(field.name, "default")
        if value is None and field.name in resolved:
            value, source = resolved[field.name], f"{source}, by the data"
        if field.name in ("out", "workers", "on", "time_budget", "track") or value is None:
            continue  # where a run went, how it was spread and who watched do not belong to what it was
        lines.append(f"{field.name.replace('_', '-')} = {toml_value(value)}  # {source}")
    return "\n".join(lines) + "\n"


def from_toml(text: str) -> Options:
    """The options that :func:`to_toml` wrote.

    Raises:
        OptionError: the text is no such file; it says why.

    >>> from_toml(to_toml(Options("digits", eps=0.2), {}, {})) == Options("digits", eps=0.2)
    True
    """
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # what tomllib raises is a ValueError, and sometimes only that
        raise OptionError(f"not TOML: {error}") from None
    kinds = typing.get_type_hints(Options)
    given: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in kinds:
            raise OptionError(f'unknown key "{key}"')
        fits = get_args(kinds[name]) or (kinds[name],)
        if value not in fits and type(value) not in fits:
            raise OptionError(f'"{key}" has the value {value!r}')
        given[name] = value
    if "data" not in given:
        raise OptionError('no key "data"')
    options = Options(**given)
    options.check()
    return options


def toml_value(value: Any) -> str:
    """A text, number or truth as TOML writes it.

    >>> toml_value("mlp"), toml_value(0.1)
    ('"mlp"', '0.1')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04X}" for c in escaped) + '"'
    return repr(value)
