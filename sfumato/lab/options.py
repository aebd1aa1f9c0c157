"""The options of a comparison: each field of :class:`Options` is the whole description of one option.

The command line, ``sfumato init``, the files of options and the checks are made from it. ``--help`` reads this file,
too, so whatever is heavy is imported by the check that needs it.
"""

from __future__ import annotations

import importlib
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from sfumato.lab.arms import in_words, parse_arm
from sfumato.lab.errors import OptionError
from sfumato.lab.train import Precision, Weights
from sfumato.text import did_you_mean, joined

if TYPE_CHECKING:
    from sfumato.evaluate.statistics.margins import Margins
    from sfumato.lab.data.roles import Roles

AUGMENTATIONS = ("flip", "crop")
"""What ``augment`` may name."""

OWN_MODELS = ("mlp", "linear", "cnn")
"""The built-in models."""

MODEL_LIBRARIES = {"torchvision": "torchvision", "timm": "timm", "hf": "transformers"}
"""Prefixes of models from elsewhere, and the package that each needs."""

MODEL_CHOICES = "mlp, linear, cnn, torchvision:NAME, timm:NAME, hf:FOLDER, module:callable"

_GROUPS = {"data": "Data", "eps": "Targets", "model": "Training", "workers": "Where it runs", "track": "Output"}
"""The headings of ``--help``, each with its first option."""

Rule = Callable[[str, Any], str | None]
"""What is wrong with a value of an option, whose flag is given too; None if nothing is."""


@dataclass(frozen=True)
class Option:
    """All that is said of one option."""

    name: str
    kind: Any  # the type of its value
    default: Any  # None where there is none
    words: str  # what it does, for --help and sfumato init
    rules: tuple[Rule, ...] = ()  # what its value is held to, unless the value is None
    example: str = ""  # a value as TOML has it, where the default is None
    repeated: bool = False  # whether the command line takes it more than once, for a value with commas between
    stored: bool = True  # in config.toml; where a run went, how it was spread and who watched is not
    group: str = ""  # the heading of --help under which it stands
    flag: str = ""  # on the command line, where it is not the name

    def check(self, value: Any) -> None:
        """Refuse a value that cannot be used."""
        if value is None:
            return
        flag, choices = self.flag or f"--{self.name.replace('_', '-')}", get_args(self.kind)
        if get_origin(self.kind) is Literal and value not in choices:
            named = " or ".join(f'"{choice}"' for choice in choices)
            raise OptionError(f'{flag} must be {named}, got "{value}"')
        for rule in self.rules:
            if (wrong := rule(flag, value)) is not None:
                raise OptionError(wrong)


def _option(words: str, *rules: Rule, default: Any = None, **more: Any) -> Any:
    """A field of :class:`Options`; what is said of it is kept as its metadata."""
    return field(default=default, metadata={"words": words, "rules": rules, **more})


_unrecorded = partial(_option, stored=False)


def _in(words: str, holds: Callable[[float], bool], hint: str = "") -> Rule:
    """A range of numbers in words, and what is said after a number that is not in it."""
    return lambda flag, value: None if holds(value) else f"{flag} must be {words}, got {_shown(value)}{hint}"


def _count(most: int, least: int = 1, hint: str = "") -> tuple[Rule, Rule]:
    """From ``least`` to the largest number that makes sense, so that a slip of the finger does not fill the memory."""
    lowest = _in(f"at least {least}", lambda count: count >= least, hint)
    return lowest, _in(f"at most {most:,}", lambda count: count <= most)


def _no_margin(flag: str, text: str) -> str | None:
    from sfumato.evaluate.statistics.margins import Margins

    try:
        Margins.parse(text)
    except ValueError as error:
        return f"{flag}: {error}"
    return None


def _no_aim(flag: str, aim: str) -> str | None:
    from sfumato.verdict.decision import AIMS

    return None if aim in AIMS else f'{flag} takes {joined(list(AIMS), "or")}, got "{aim}"'


def _no_data(flag: str, data: str) -> str | None:
    if data:
        return None
    return "compare needs DATA: digits, a .csv, .tsv, .parquet or .npz file, a folder of images, or module:function"


def _no_noise(flag: str, given: str) -> str | None:
    from sfumato.lab.data.noise import validate

    return validate(given)


def _no_model(flag: str, name: str) -> str | None:
    """What is wrong with the name of a model, as far as that can be seen without loading a library."""
    from sfumato.lab.data.python_objects import is_function

    prefix, colon, rest = name.partition(":")
    if not colon:
        near = did_you_mean(name, OWN_MODELS)
        return None if name in OWN_MODELS else f'no model "{name}".{near} Models: {MODEL_CHOICES}'
    if prefix in MODEL_LIBRARIES:
        package = MODEL_LIBRARIES[prefix]
        if find_spec(package) is None:
            return f"--model {prefix}: needs {package}, which is not installed; install it with pip install {package}"
        if prefix == "hf" and not Path(rest).is_dir():
            return f'no folder "{rest}" for --model {name}; models come from disk: save one with model.save_pretrained'
        return None if rest else f"--model {prefix}: lacks a name: {prefix}:{'FOLDER' if prefix == 'hf' else 'NAME'}"
    near = did_you_mean(prefix, MODEL_LIBRARIES).replace('"?', f':{rest}"?')
    if is_function(name) and (not near or _is_here(prefix.partition(".")[0])):
        return None
    return f'no model "{name}".{near} Models: {MODEL_CHOICES}'


def _is_here(module: str) -> bool:
    try:
        return Path(f"{module}.py").exists() or Path(module).is_dir() or find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _no_augmentation(flag: str, kinds: str) -> str | None:
    words = _names(kinds) or ()
    wrong = next((word for word in words if word not in AUGMENTATIONS), None)
    if wrong is not None:
        return f'{flag} takes {" and ".join(AUGMENTATIONS)}, with a comma between; got "{wrong}"'
    return None if len(set(words)) == len(words) else f'{flag} names one of them twice: "{kinds}"'


def _no_place(flag: str, on: str) -> str | None:
    if on != "ray":
        return f'--on takes ray, got "{on}"; without it, processes on this machine do the work'
    try:
        importlib.import_module("ray")
    except ImportError:
        return "--on ray needs Ray, which is not installed: pip install 'sfumato[ray]'"
    return None


def _no_tracker(flag: str, tool: str) -> str | None:
    from sfumato.lab.trackers import missing

    return missing(tool)


def _no_folder(flag: str, out: str) -> str | None:
    from sfumato.runs.folder import PARTIAL, TakenError, refuse_taken

    if Path(out).name in ("", "..") or out.endswith(PARTIAL):
        return f'--out must name a folder, and not end in {PARTIAL}, got "{out}"'
    try:
        refuse_taken(Path(out))
    except TakenError as error:
        return str(error)
    return None


@dataclass(frozen=True)
class Options:
    """The options of ``sfumato compare``; :meth:`check` refuses values outside their range."""

    data: str = _option(
        "digits (embedded); a .csv, .tsv (also .gz) or .parquet table; an .npz with X and y; a folder of class folders "
        "of images, with or without train, val and test above them; or module:function, such as mine.data:load or "
        "mine/data.py:load.",
        _no_data,
        default=MISSING,
    )
    label: str | None = _option(
        "Label column of a table; by default the one called label, target, class or y.", example='"species"'
    )
    label_probs: str | None = _option(
        "Soft labels instead: columns of probabilities, one a class (p_0,p_1,p_2 or p_*).", example='"p_*"'
    )
    text: str | None = _option(
        "Column of texts to learn from, as TF-IDF; several with commas between.", example='"text"'
    )
    split: str | None = _option(
        "Column that says train, validation or test; by default rows are split by content.", example='"split"'
    )
    weight: str | None = _option("Column of row weights, above 0, that count in training.", example='"weight"')
    group: str | None = _option("Column whose equal values, such as one patient, are never split.", example='"patient"')
    drop: str | None = _option(
        "Columns that are not learnt from, names or patterns (notes,x_*).", example='"notes,x_*"'
    )
    keep: str | None = _option(
        "Columns that are learnt from although each row has another value in them, names or patterns.",
        example='"ticket"',
    )
    drop_unlabelled: bool = _option("Leave out the rows of a table that have no label.", default=False)
    image_size: int | None = _option(
        "Side in pixels to which a folder's images are brought.",
        _in("from 8 to 512 pixels", lambda side: 8 <= side <= 512),
        example="32",
    )
    noise: str | None = _option(
        "Make labels of training and validation rows wrong on purpose: with this probability each is replaced by "
        "another class, each other class as likely; or a .csv file with a transition table. Test labels stay.",
        _no_noise,
        example='"0.4"',
    )
    eps: float = _option(
        "Strength of the smoothing.", _in("above 0 and at most 1", lambda eps: 0 < eps <= 1), default=0.1
    )
    over: Literal["others", "all"] = _option(
        "What the strength is spread over: all classes, as in PyTorch, or the others without the label.", default="all"
    )
    ladder: str | None = _option(
        "Strengths to choose from instead of --eps, such as 0,0.02,0.05,0.1,0.2: chosen on the validation rows by "
        "log loss after temperature; the test rows are read once, after that.",
        example='"0,0.02,0.05,0.1,0.2"',
    )
    arm: str | None = _option(
        f"A target to compare, instead of --eps and --over; give it twice or more: {in_words()}. "
        "The first is what the others are compared with.",
        example='"onehot,others:0.1"',
        repeated=True,
    )
    folds: int | None = _option(
        "Parts through which the rows are rotated, so that each row is tested once; 1 is one split. By default 5, and "
        "1 where the data say which rows are for what, or have more than 20,000 rows.",
        _in("1, or from 3 to 20", lambda folds: folds == 1 or 3 <= folds <= 20),
        example="5",
    )
    seeds: int | None = _option(
        "Models per arm and fold; by default 1 with folds, and 5 with one split, where at least 3 are needed.",
        *_count(1000),
        example="3",
    )
    margin: str = _option(
        "The largest differences that do not matter: of accuracy in points or in per cent of the mistakes, of the log "
        "loss after temperature (nll) and of the ranking of mistakes (eaurc) as numbers or in per cent of the base's "
        "log loss and AURC. What is left out keeps its default.",
        _no_margin,
        default="accuracy=0.5,nll=2%,eaurc=5%",
    )
    aim: str | None = _option(
        "What the model is for: accuracy, probabilities or ranking. That metric is tested first and decides; by "
        "default all three decide.",
        _no_aim,
        example='"probabilities"',
        flag="--for",
    )
    model: str | None = _option(
        "mlp (two hidden layers of 256), linear, cnn (three convolutions), torchvision:NAME, timm:NAME, hf:FOLDER, "
        "or module:callable, called with the shape of a row and the number of classes. By default cnn for images "
        "of 16 pixels and more, and mlp for all else.",
        _no_model,
        example='"mlp"',
    )
    pretrained: str | None = _option(
        "Start from the weights in a .safetensors or .pt file.", example='"weights.safetensors"'
    )
    device: str = _option("Where to train: cpu, cuda, cuda:1, mps.", default="cpu")
    epochs: int | None = _option(
        "Passes over the training rows; by default a full budget by the number of rows.",
        *_count(1_000_000),
        example="40",
    )
    batch_size: int | None = _option(
        "Rows a step; by default 64, fewer for small data and 256 for large.", *_count(2**31), example="64"
    )
    learning_rate: float = _option(
        "Adam's at the start; a cosine takes it to 0.",
        _in("a finite number above 0", lambda rate: 0 < rate < math.inf),
        default=1e-3,
    )
    weight_decay: float = _option(
        "AdamW's, on every parameter; at 0 the optimiser is Adam and closed forms can be reached.",
        _in("a finite number, at least 0", lambda decay: 0 <= decay < math.inf, "; 0 leaves it out"),
        default=0.0,
    )
    accumulate: int = _option(
        "Split each batch into so many parts, to save memory; the step is that of the whole batch. A model that "
        "normalises over the batch does so over each part.",
        *_count(2**30),
        default=1,
    )
    precision: Precision = _option(
        "bf16 makes the forward passes of training bfloat16; weights, loss and evaluation stay float32.",
        default="float32",
    )
    augment: str | None = _option(
        "Change the training pictures at random, the same way in every arm: flip (left to right), crop (shifted by up "
        "to an eighth of the side and filled up with zeros), or flip,crop.",
        _no_augmentation,
        example='"flip,crop"',
    )
    early_stop: int | None = _option(
        "Stop a run after so many epochs without a better one, by log loss after temperature on validation rows; by "
        "default the full budget is used.",
        *_count(1_000_000),
        example="5",
    )
    weights: Weights = _option(
        "Which weights of a run are kept and tested: best, of the epoch with the least log loss after temperature on "
        "validation rows, or last. Every arm goes by the same rule.",
        default="best",
    )
    workers: int | None = _unrecorded(
        "Processes; by default one a core, or four on a GPU. The result does not depend on it.",
        *_count(1024),
        example="2",
    )
    on: str | None = _unrecorded(
        "ray: run on Ray, one started for this or the cluster that RAY_ADDRESS names; the result is the same to the "
        "bit. Needs pip install 'sfumato[ray]'.",
        _no_place,
        example='"ray"',
    )
    time_budget: float | None = _unrecorded(
        "Minutes that the training may take: epochs are cut to fit, by a few steps tried first.",
        _in("a number of minutes above 0", lambda minutes: 0 < minutes < math.inf),
        example="30.0",
    )
    track: str | None = _unrecorded(
        "trackio, wandb or tensorboard: show the curves there too, while they are made, a run for each arm and seed.",
        _no_tracker,
        example='"tensorboard"',
    )
    out: str | None = _unrecorded("The run folder; by default runs/DATA-DATE-N.", _no_folder, example='"runs/mine"')

    def check(self) -> None:
        """Refuse the first option that cannot be used."""
        for option in schema().values():
            option.check(getattr(self, option.name))
        self._check_targets()
        if self.learning_rate * self.weight_decay > 1:
            raise OptionError(
                f"--weight-decay {self.weight_decay:g} at --learning-rate {self.learning_rate:g} would turn the sign "
                f"of every weight at each step; use at most {1 / self.learning_rate:g}"
            )

    def margins(self) -> Margins:
        """The margins in force, of options that were checked."""
        from sfumato.evaluate.statistics.margins import Margins

        return Margins.parse(self.margin)

    def _check_targets(self) -> None:
        if self.ladder is not None:
            strengths = self.strengths()
            if self.arm is not None:
                raise OptionError("--ladder and --arm cannot be had together: a ladder chooses one strength")
            wrong = [eps for eps in strengths if not 0 <= eps <= 1]
            if wrong:
                raise OptionError(f"--ladder takes strengths from 0 to 1, got {wrong[0]:g}")
            candidates = {eps for eps in strengths if eps > 0}
            if len(candidates) < 2:
                raise OptionError(
                    f'--ladder needs at least two strengths above 0, got "{self.ladder}"; for one use --eps'
                )
            if (twice := _first_twice([f"{eps:g}" for eps in candidates])) is not None:
                raise OptionError(
                    f'--ladder has two strengths that would both be called {twice}, got "{self.ladder}"; leave one out'
                )
        if self.arm is not None:
            specs = [parse_arm(spec) for spec in self.arms()]
            if len(specs) < 2:
                raise OptionError(f'--arm must be given at least twice, got only "{self.arm}"')
            if len({(spec.kind.name, spec.values) for spec in specs}) < len(specs):
                raise OptionError(f"--arm names the same target twice: {', '.join(self.arms())}")
            if (twice := _first_twice([spec.arm_name for spec in specs])) is not None:
                of_files = any(spec.files for spec in specs if spec.arm_name == twice)
                way_out = "rename one of their files" if of_files else "leave one out"
                raise OptionError(f"--arm has two targets that would both be called {twice}: {way_out}")

    def strengths(self) -> list[float]:
        """The strengths of the ladder."""
        try:
            return [float(word) for word in (self.ladder or "").split(",")]
        except ValueError:
            raise OptionError(
                f'--ladder takes numbers with commas between, such as 0,0.05,0.1; got "{self.ladder}"'
            ) from None

    def arms(self) -> list[str]:
        """The targets of ``arm``, as they were written."""
        return [word.strip() for word in (self.arm or "").split(",")]

    def augmentations(self) -> tuple[str, ...]:
        """The kinds of ``augment``, in one order."""
        asked = _names(self.augment) or ()
        return tuple(kind for kind in AUGMENTATIONS if kind in asked)

    def roles(self) -> Roles:
        """Which column of the data is for what."""
        from sfumato.lab.data.roles import Roles

        alike = {
            name: getattr(self, name)
            for name in ("label", "text", "split", "weight", "group", "drop_unlabelled", "image_size")
        }
        lists: dict[str, Any] = {name: _names(getattr(self, name)) for name in ("label_probs", "drop", "keep")}
        source, _, folder = (self.model or "").partition(":")
        return Roles(**alike, **lists, tokenizer=folder if source == "hf" else None)


@cache
def schema() -> dict[str, Option]:
    """Every option by its name, in the order in which they are shown."""
    kinds, group, options = get_type_hints(Options), "", dict[str, Option]()
    for made in fields(Options):
        group = _GROUPS.get(made.name, group)
        default = None if made.default is MISSING else made.default
        options[made.name] = Option(made.name, kinds[made.name], default, group=group, **made.metadata)
    return options


def to_toml(options: Options, sources: Mapping[str, str], resolved: Mapping[str, Any]) -> str:
    """``config.toml``: the options, each with where it came from; ``sfumato compare -c`` takes it back."""
    lines = [
        "# The options of this run, and where each came from. `sfumato compare -c` with this file repeats it, from the",
        "# folder in which it was run: the path of the data is as it was given there.",
    ]
    for name, option in schema().items():
        value, source = getattr(options, name), sources.get(name, "default")
        if value is None and name in resolved:
            value, source = resolved[name], f"{source}, by the data"
        if option.stored and value is not None:
            lines.append(f"{name.replace('_', '-')} = {toml_value(value)}  # {source}")
    return "\n".join(lines) + "\n"


def from_toml(text: str) -> Options:
    """The options that :func:`to_toml` wrote."""
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # what tomllib raises is a ValueError, and sometimes only that
        raise OptionError(f"not TOML: {error}") from None
    named: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in schema():
            raise OptionError(f'unknown key "{key}"')
        kind = schema()[name].kind
        fits = get_args(kind) or (kind,)
        if value not in fits and type(value) not in fits:
            raise OptionError(f'"{key}" has the value {value!r}')
        named[name] = value
    if "data" not in named:
        raise OptionError('no key "data"')
    options = Options(**named)
    options.check()
    return options


def toml_value(value: Any) -> str:
    """A text, number or truth as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in escaped) + '"'
    return repr(value)


def _names(words: str | None) -> tuple[str, ...] | None:
    """Names with commas between."""
    return None if words is None else tuple(name.strip() for name in words.split(","))


def _first_twice(names: list[str]) -> str | None:
    """The first name that stands there more than once: runs and files are kept by it."""
    return next((name for name in names if names.count(name) > 1), None)


def _shown(value: float) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if abs(value) < 10**15 else "a number of more than 15 digits"
