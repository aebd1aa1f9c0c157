"""What the JSON files of a run hold: each object is described once, and what is written and read is held to it.

They are plain dictionaries, so JSON holds them as they are, and unknown keys of newer versions are kept. A folder may
come from anyone: :func:`check` refuses a value of another kind and names its place. A new field is one line here.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NotRequired, TypedDict, TypeVar, Union, get_args, get_origin, is_typeddict

import msgspec

from sfumato.messages import Note, RunWarning
from sfumato.text import short

SUMMARY_SCHEMA = "sfumato.compare/4"
ENCODING_SCHEMA = "sfumato.encoding/1"
Kind = TypeVar("Kind")

Number = Annotated[float, msgspec.Meta(gt=-1e300, lt=1e300)]
Whole = Annotated[int, msgspec.Meta(ge=-(2**63) + 1, le=2**63 - 1)]
Text = Annotated[str, msgspec.Meta(pattern="^[^\ud800-\udfff]*$")]  # a lone surrogate cannot be written as UTF-8


class RangeOfMetric(TypedDict):
    """A metric's mean over seeds with the ends of its 95 % interval; None where a run has no number."""

    mean: Number | None
    low: Number | None
    high: Number | None


class StrengthsSummary(TypedDict):
    """A penalty or a schedule: its kind, as ``--arm`` or ``sf.schedules`` calls it, and its strengths by name."""

    kind: Text
    strengths: dict[Text, Number]


class ArmDescription(TypedDict):
    """What readers are shown of an arm that is not plain smoothing, as its kind writes it; some texts may be empty."""

    title: Text  # in tables
    method: Text  # what training with it is called
    strength: Text  # in a sentence
    target: Text  # the strength in a table of targets
    varies: Text  # why the target differs between rows of one class: "mixed rows" or "soft labels"
    no_gap: Text  # why no single gap is best
    below: Text  # why the gap of a network stays below the best one
    code: Text  # lines that compute ``loss`` with sfumato
    code_strength: Text
    code_note: Text


class ArmSummary(TypedDict):
    """One arm: a target of a comparison, or models that were judged, of whose training nothing is known.

    ``closed_form_gap`` is None where the optimum is infinite, or not a single gap. ``files``, ``seeds`` and
    ``temperature`` (of each model) are those of a judgement.
    """

    name: Text
    eps: Number | None  # the last one of a schedule; None for a penalty
    over: Text | None
    penalty: NotRequired[StrengthsSummary]
    schedule: NotRequired[StrengthsSummary]
    description: NotRequired[ArmDescription]
    closed_form_gap: Number | None
    train_gap: Number | None
    metrics: dict[Text, RangeOfMetric]
    files: NotRequired[list[Text]]
    seeds: NotRequired[Whole]
    temperature: NotRequired[list[Number]]


class ArmDifference(TypedDict):
    """``arm`` minus ``against`` in one metric; all from ``p_adjusted`` on is None outside the headline metrics."""

    metric: Text
    arm: Text
    against: Text
    mean: Number
    low: Number
    high: Number
    se: Number
    p_adjusted: Number | None
    finding: Text | None
    margin: NotRequired[Number | None]
    inner: NotRequired[list[Number] | None]  # 90 % interval


class ClassSummary(TypedDict):
    """One class: its test rows, and the recall and precision of each arm; all of up to 20 classes, else the worst 10.

    A precision is None where a model of the arm names the class in no row.
    """

    name: Text
    rows: Whole
    recall: dict[Text, RangeOfMetric]
    precision: dict[Text, RangeOfMetric]


class DataSummary(TypedDict):
    """The name of the data, the number of classes, and the rows of each part; None for a part that there is not.

    Where the rows are rotated through ``folds``, ``train`` and ``validation`` are those of the first fold, and ``test``
    are all rows. ``groups`` is the number of groups of test rows that vary together, None where each row is its own.
    """

    name: Text
    classes: Whole
    train: Whole | None
    validation: Whole | None
    test: Whole
    folds: NotRequired[Whole]
    groups: NotRequired[Whole | None]


class ColumnSummary(TypedDict):
    """How one column of a table was read; ``note`` says how it is written, or why it is left out."""

    name: Text
    read_as: Text
    distinct: Whole
    missing: Whole
    note: Text


class PairedHashes(TypedDict):
    """Hashes of first weights and of batches, one per seed, and whether the seeds of the arms belong together."""

    weights: list[Text]
    batches: list[Text]
    equal: bool


class VerdictSummary(TypedDict):
    """What to do, why, and what else was found: whole sentences, in this order.

    ``state`` is ``smooth``, ``keep-one-hot`` or ``undecided``, and ``switch`` or ``keep`` where the first arm is not
    one-hot or models were trained elsewhere. ``choice`` is an arm, ``depends`` where another is better in one thing and
    worse in another, or ``none``.
    """

    state: Text
    choice: Text | None
    sentences: list[Text]


class Look(TypedDict):
    """A verdict on fewer models of each arm than there are now, with the standard error of each headline difference."""

    models: Whole
    state: Text
    standard_errors: dict[Text, dict[Text, Number]]  # of each arm against the first, in each metric


class Summary(TypedDict):
    """The object that ``compare`` and ``judge`` print with ``--json``; ``run`` is the folder, or the models' name."""

    schema: Text
    run: Text
    data: DataSummary
    paired: PairedHashes
    arms: list[ArmSummary]
    differences: list[ArmDifference]
    warnings: NotRequired[list[RunWarning]]
    verdict: VerdictSummary
    by_class: NotRequired[list[ClassSummary]]
    looks: NotRequired[list[Look]]  # before this one, after each of which models were added
    columns: NotRequired[list[ColumnSummary]]
    notes: NotRequired[list[Note]]


class NoiseDescription(TypedDict):
    """Labels made wrong on purpose: a rate or a transition table, and how many rows of each part have another label."""

    given: Text
    rate: Number | None
    transition: list[list[Number]] | None
    replaced: dict[Text, Whole]


class DataDescription(TypedDict, total=False):
    """What was found in the data; a reader of tables adds keys of its own."""

    source: Text
    kind: Text
    fingerprint: Text
    class_names: list[Text]
    features: Whole
    shape: list[Whole]
    duplicates: Whole
    groups: Whole | None
    noise: NoiseDescription


class ModelDescription(TypedDict):
    """The model that every run trained."""

    name: Text
    parameters: NotRequired[Whole]
    description: NotRequired[Text]


class TrainingDescription(TypedDict):
    """The budget of every run; ``kept_epochs``, by arm and seed, is there after an early stop."""

    epochs: Whole
    batch_size: Whole
    optimiser: Text
    learning_rate: Number
    weight_decay: NotRequired[Number]
    schedule: NotRequired[Text]
    accumulate: NotRequired[Whole]
    precision: NotRequired[Text]
    steps: NotRequired[Whole]
    early_stop: NotRequired[Number | None]
    augment: NotRequired[list[Text]]
    kept_epochs: NotRequired[dict[Text, list[Whole]]]


class FittedTemperature(TypedDict):
    """The temperature of one arm and seed, fitted on validation rows."""

    seed: Whole
    value: Number
    at_bound: NotRequired[bool]
    pseudo_row: NotRequired[bool]


class TemperatureGain(TypedDict):
    """Log loss on test rows with the temperature less without: mean over seeds and 95 % interval."""

    mean: NotRequired[Number]
    low: NotRequired[Number]
    high: Number


class ProbedTarget(TypedDict, total=False):
    """The target that an arm's loss trains towards: mass of the label, and of each other class."""

    eps: Number | None
    target: list[Number]


class MeanWithError(TypedDict):
    """A mean over seeds and its standard error."""

    mean: Number
    se: Number


class LadderRung(TypedDict):
    """One strength that a ladder tried, with log loss of the validation rows in nats; the chosen one was compared."""

    eps: Number
    arm: Text
    nll: MeanWithError
    nll_after_temperature: MeanWithError
    chosen: bool


class Environment(TypedDict):
    """What the numbers of a run depend on; keys that are not required are missing where an older version wrote."""

    sfumato: Text
    python: NotRequired[Text]
    torch: NotRequired[Text]
    numpy: NotRequired[Text]
    platform: NotRequired[Text]
    cpu: NotRequired[Text]
    cores: NotRequired[Whole | None]
    workers: NotRequired[Whole]
    device: NotRequired[Text]
    command: Text
    data: DataDescription
    model: ModelDescription
    training: TrainingDescription
    probe: dict[Text, ProbedTarget]
    temperatures: dict[Text, list[FittedTemperature]]
    temperature_gain: NotRequired[dict[Text, TemperatureGain]]
    notes: NotRequired[list[Note]]
    ladder: NotRequired[list[LadderRung] | None]
    started: Text
    seconds: Number
    seconds_per_seed: NotRequired[Number]  # of one more model of every arm, on this machine
    resumed: NotRequired[list[Text]]


class EpochLine(TypedDict):
    """What one epoch of one arm and seed showed; losses and gaps in nats."""

    arm: Text
    seed: Whole
    epoch: Whole
    train_loss: NotRequired[Number | None]
    train_floor: NotRequired[Number | None]
    train_excess: NotRequired[Number | None]
    train_gap: NotRequired[Number | None]
    validation_nll: NotRequired[Number | None]
    validation_accuracy: NotRequired[Number | None]
    validation_nll_after_temperature: NotRequired[Number | None]


class RunRecord(TypedDict):
    """``work/ARM-seedN.sealed``: what one whole run showed while it was trained, and the hashes of what it left."""

    arm: Text
    seed: Whole
    fold: Whole
    weights: Text
    batches: list[Text]
    kept_epoch: Whole
    target: list[Number]
    train_gap: Number
    parameters: Whole
    description: Text
    epochs: list[dict[Text, Any]]  # lines of metrics.jsonl without arm and seed
    seconds: Number
    files: dict[Text, Text]


class Session(TypedDict):
    """When a process began to work on a comparison, and how long it did; None while it does."""

    started: Text
    seconds: Number | None


class WorkStart(TypedDict):
    """``work/start.sealed``: how a comparison was begun, and what going on with it must find unchanged."""

    schema: Text
    command: Text
    folder: str  # a path need not be text
    fingerprint: Text
    versions: dict[Text, Text]
    machine: dict[Text, Text]
    notes: NotRequired[list[Note]]
    ranks: NotRequired[Whole | None]
    noise: NotRequired[Text | None]
    files: NotRequired[dict[Text, Text]]  # SHA-256 of each file that an arm names
    looks: NotRequired[list[Look]]
    config: Text
    sessions: list[Session]


class StoredInputs(TypedDict):
    """The form of one row as the model takes it; see :class:`sfumato.lab.data.Inputs`."""

    kind: Literal["dense", "image", "sparse", "tokens"]
    shape: list[Whole]
    width: Whole
    picture: list[Whole]
    mean: list[float]
    scale: list[float]


class StoredColumn(TypedDict):
    """How one column is read and encoded; the keys from ``median`` on are those of numbers and dates."""

    name: Text
    kind: Literal["number", "category", "date"]
    written: Text  # "," for numbers with decimal commas, or the form of dates
    levels: NotRequired[list[Text]]  # of a category: those with a place of their own
    median: NotRequired[float | None]
    mean: NotRequired[float]
    scale: NotRequired[float]
    flagged: NotRequired[bool]
    seasons: NotRequired[bool]


class StoredEncoding(TypedDict):
    """``encoding.json``: how rows became numbers, by what the training rows alone taught; data, and not code."""

    schema: Text
    features: Literal["numbers", "columns", "images", "texts", "tokens"]
    inputs: StoredInputs
    columns: NotRequired[list[StoredColumn]]
    shape: NotRequired[list[Whole]]
    mean: NotRequired[list[float]]
    scale: NotRequired[list[float]]
    text_columns: NotRequired[list[Text]]
    terms: NotRequired[list[Text]]
    weights: NotRequired[list[float]]
    tokenizer: NotRequired[str]
    side: NotRequired[Whole]  # of the squares that images of a folder were brought to; missing where they kept theirs


class ShapeError(ValueError):
    """A value of another kind than its place in the file asks for; the message says where."""


def encoding_file(fold: int, folds: int) -> str:
    """The file that says how rows became numbers for the models of a fold."""
    return "encoding.json" if folds == 1 else f"encoding-fold{fold}.json"


def parse(text: str) -> Any:
    """JSON as its standard has it, without NaN and infinity; ValueError says where the text is no such JSON."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("brackets in brackets, too deep to read") from None
    if "\\ud" in text.lower():  # escapes of surrogates, which json takes one by one
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{short(ascii(error.object[error.start]))} is half of a character") from None
    return value


def check(value: Any, kind: type[Kind], where: str | Path) -> Kind:
    """The value itself, known to be of a kind, one of the classes above; keys that it does not name are ignored."""
    if _fits(value, kind):
        return value
    raise ShapeError(next(_faults(value, kind, str(where))))


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except (msgspec.ValidationError, UnicodeEncodeError):  # the latter of a lone surrogate where no text is expected
        return False
    return True


def _faults(value: Any, kind: Any, where: str) -> Iterator[str]:
    """What is wrong with a value that does not fit, the innermost place first.

    The messages of msgspec name neither the value nor the key of a dictionary, so each part is judged by itself.
    """
    kinds = [each for each in get_args(kind) if each is not NoneType] if get_origin(kind) in _UNIONS else [kind]
    own, maybe = kinds[0], "" if kinds == [kind] else " or null"
    if isinstance(value, dict) and (is_typeddict(own) or get_origin(own) is dict):
        values: dict[Any, Any] = value
        named = own.__annotations__ if is_typeddict(own) else dict.fromkeys(values, get_args(own)[1])
        hints = {key: get_args(hint)[0] if get_origin(hint) is NotRequired else hint for key, hint in named.items()}
        for key in values:
            if not _fits(key, Text):
                yield f"{where} has a key that is no text: {short(ascii(key))}"
            if key in hints and not _fits(values[key], hints[key]):
                yield from _faults(values[key], hints[key], f"{where} {short(ascii(key))}")
        missing = [key for key in hints if key not in values and key in own.__required_keys__]
        yield f"{where} lacks {', '.join(map(repr, missing))}"
    elif isinstance(value, list) and get_origin(own) is list:
        items: list[Any] = value
        for number, each in enumerate(items):
            if not _fits(each, get_args(own)[0]):
                yield from _faults(each, get_args(own)[0], f"{where}[{number}]")
    name = {dict: "an object", list: "a list"}.get(get_origin(own)) or _NAMES.get(own, "an object")
    yield f"{where} should be {name}{maybe}, not {short(ascii(value))}"


_UNIONS = (Union, UnionType)
_NAMES: dict[Any, str] = {Number: "a number", Whole: "a whole number", Text: "text", bool: "true or false"}
