"""A finished comparison, read back from its folder.

:func:`load_run` reads and checks all that a report needs, so that what is missing is named before anything is drawn.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.soft_labels import SOFT, SoftLabels
from sfumato.io.arrays import Archive, FileError
from sfumato.runs import schema
from sfumato.runs.schema import ArmSummary, Environment, EpochLine, LadderRung, StoredEncoding, Summary
from sfumato.text import plural

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Kind = TypeVar("Kind")


class ReportError(Exception):
    """A run folder that cannot be reported on; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class SavedRows:
    """Test rows of one arm and seed."""

    index: Ints  # (n,)
    logits: npt.NDArray[np.floating[Any]]  # (n, K) as stored
    labels: Ints  # (n,)
    soft: SoftLabels | None = None  # (n, K), whose modes the labels then are


@dataclass(frozen=True)
class Run:
    """Everything the report uses of a folder."""

    folder: Path
    summary: Summary
    env: Environment
    epochs: tuple[EpochLine, ...]
    config: str  # the text of config.toml
    test: Mapping[tuple[str, int], SavedRows]  # of each arm and seed, the same rows in the same order in every arm
    ladder: tuple[LadderRung, ...] = ()  # the strengths that were tried on the validation rows, by rising ε

    @property
    def arms(self) -> list[ArmSummary]:
        """The arms, one-hot first."""
        return self.summary["arms"]

    @property
    def num_classes(self) -> int:
        """K."""
        return int(self.summary["data"]["classes"])

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds in rising order."""
        return tuple(sorted({seed for _, seed in self.test}))

    @property
    def folds(self) -> int:
        """Test parts, each of which is tested by models of its own: seed r by those of fold r mod F."""
        return self.summary["data"].get("folds", 1)

    def rows(self, seed: int) -> SavedRows:
        """The test rows of a seed, with the logits of the first arm."""
        return self.test[self.arms[0]["name"], seed]

    @property
    def index(self) -> Ints:
        """Number of each test row in the data (n,), those of the first fold first."""
        return np.concatenate([self.rows(seed).index for seed in self.seeds[: self.folds]])

    @property
    def times(self) -> int:
        """How many models of each arm have tested each row."""
        return len(self.seeds) // self.folds

    @property
    def models(self) -> str:
        """In words: ``5 seeds``, ``5 folds``, ``5 folds × 2 seeds``."""
        if self.folds == 1:
            return plural(len(self.seeds), "seed")
        return plural(self.folds, "fold") + (f" × {plural(self.times, 'seed')}" if self.times > 1 else "")

    def tested(self, seed: int) -> slice:
        """Which of the test rows, in the order of ``index``, a seed has tested."""
        fold = self.seeds.index(seed) % self.folds
        before = sum(len(self.rows(earlier).index) for earlier in self.seeds[:fold])
        return slice(before, before + len(self.rows(seed).index))

    def pooled(self, per_row: Ints) -> Ints:
        """What each test row has, as often as the row was tested: seed after seed."""
        return np.concatenate([per_row[self.tested(seed)] for seed in self.seeds])

    @property
    def soft(self) -> bool:
        """Whether the test rows have soft labels."""
        return self.rows(self.seeds[0]).soft is not None

    @property
    def labels(self) -> Ints:
        """Label of each test row (n,)."""
        return np.concatenate([self.rows(seed).labels for seed in self.seeds[: self.folds]])

    @property
    def chosen(self) -> ArmSummary | None:
        """As :func:`chosen_of`."""
        return chosen_of(self.summary)

    def class_name(self, label: int) -> str:
        """What the data call a class; its number where they do not say."""
        names = self.env["data"].get("class_names") or ()
        return str(names[label]) if label < len(names) else str(label)

    def temperature(self, arm: str, seed: int) -> float:
        """Temperature fitted on the validation rows of one arm and seed."""
        return next(float(t["value"]) for t in self.env["temperatures"][arm] if t["seed"] == seed)

    def curve(self, arm: str, field: str) -> tuple[Ints, Floats]:
        """One field of ``metrics.jsonl`` for one arm: epochs (E,) and values (S, E), NaN for those that are missing."""
        values: dict[tuple[int, int], Any] = {
            (line["seed"], line["epoch"]): line.get(field) for line in self.epochs if line["arm"] == arm
        }
        epochs = sorted({epoch for _, epoch in values})
        table = [[values.get((seed, epoch)) for epoch in epochs] for seed in self.seeds]
        return np.array(epochs, dtype=np.int64), np.array(table, dtype=np.float64)  # numpy makes NaN of None


def chosen_of(summary: Summary) -> ArmSummary | None:
    """The arm that a verdict's choice names, with or without words after it; None where it names none."""
    choice = summary["verdict"]["choice"] or ""
    named = [arm for arm in summary["arms"] if re.match(re.escape(arm["name"]) + r"(?![\w.-])", choice)]
    return max(named, key=lambda arm: len(arm["name"]), default=None)


def read_description(folder: Path) -> tuple[Summary, Environment]:
    """What ``summary.json`` and ``env.json`` of a finished comparison hold."""
    if not folder.is_dir():
        raise ReportError(f"{folder} is not a folder; give the run folder that `sfumato compare` wrote")
    summary = _summary(folder / "summary.json")
    return summary, _env(folder / "env.json", [arm["name"] for arm in summary["arms"]])


def load_run(folder: str | Path) -> Run:
    """Read the folder of a finished comparison, with the test logits in memory."""
    folder = Path(folder)
    summary, env = read_description(folder)
    runs = [(arm["name"], t["seed"]) for arm in summary["arms"] for t in env["temperatures"][arm["name"]]]
    seeds = len(env["temperatures"][runs[0][0]])
    for name in ("weights", "batches"):
        if (count := len(summary["paired"][name])) != seeds:
            raise ReportError(f"{folder / 'summary.json'} paired: {count} hashes of {name} for {seeds} seeds")
    epochs, config = _epochs(folder / "metrics.jsonl", env), _text(folder / "config.toml")
    logits, classes = folder / "logits", summary["data"]["classes"]
    test = {(arm, seed): _rows(logits / f"{arm}-seed{seed}-test.npz", classes) for arm, seed in runs}
    folds, in_order = summary["data"].get("folds", 1), sorted({seed for _, seed in test})
    if seeds % folds:
        raise ReportError(f"{folder / 'summary.json'} has {folds} folds, and {seeds} seeds are no multiple of that")
    of_fold = {seed: in_order[place % folds] for place, seed in enumerate(in_order)}
    for (arm, seed), rows in test.items():
        first = test[runs[0][0], of_fold[seed]]
        if not (np.array_equal(rows.index, first.index) and np.array_equal(rows.labels, first.labels)):
            raise ReportError(
                f"{logits}: the test rows of {arm} seed {seed} are not those of {runs[0][0]} seed {of_fold[seed]}, so "
                "the arms cannot be compared row by row"
            )
    ladder = sorted(env.get("ladder") or (), key=lambda rung: rung["eps"])
    return Run(folder, summary, env, epochs, config, test, tuple(ladder))


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; ReportError where the file is missing, cannot be read or holds something else."""
    return _object(_text(path), str(path))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        why = "the run is incomplete or this is not a run folder"
        if (path.parent / "judgement.json").is_file():
            why = "this is the folder of a judgement, whose page `sfumato judge` makes"
        raise ReportError(f"{path} is missing: {why}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"{path} cannot be read: {error}") from error


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        value = schema.parse(text)
    except ValueError as error:
        raise ReportError(f"{where} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ReportError(f"{where} should hold one object, not {type(value).__name__}")
    return cast(dict[str, Any], value)


def _checked(value: Any, kind: type[Kind], where: str) -> Kind:
    try:
        return schema.check(value, kind, where)
    except ValueError as error:
        raise ReportError(str(error)) from None


def _summary(path: Path) -> Summary:
    value = read_object(path)
    if value.get("schema") != schema.SUMMARY_SCHEMA:
        found = value.get("schema")
        raise ReportError(
            f"{path} has schema {found!r}; this version reads {schema.SUMMARY_SCHEMA}: run the comparison again"
        )
    summary = _checked(value, Summary, str(path))
    if not summary["arms"]:
        raise ReportError(f"{path} has no arms")
    for i, arm in enumerate(summary["arms"]):
        if not re.fullmatch(r"[\w.,+ -]+", arm["name"]):  # it becomes part of a file name
            raise ReportError(f"{path} arms[{i}] has the name {arm['name']!r}; letters, digits and . , + - are taken")
        mixes = arm.get("description", {}).get("varies") == "mixed rows"  # its strength is α of a Beta distribution
        if arm["eps"] is None and "penalty" not in arm:
            raise ReportError(f"{path} 'arms'[{i}] 'eps' should be a number, not None, for it has no penalty")
        if arm["eps"] is not None and not 0 <= arm["eps"] <= (np.inf if mixes else 1):
            asked = "at least 0" if mixes else "in [0, 1]"
            raise ReportError(f"{path} arms[{i}] has the strength {arm['eps']}; it should be {asked}")
    return summary


def _env(path: Path, arms: Sequence[str]) -> Environment:
    env = _checked(read_object(path), Environment, str(path))
    seeds = {arm: sorted(entry["seed"] for entry in env["temperatures"].get(arm, ())) for arm in arms}
    for arm, own in seeds.items():
        if not own:
            raise ReportError(f"{path} temperatures has no seed of arm {arm!r}")
        if own != seeds[arms[0]]:
            raise ReportError(f"{path}: arm {arm!r} has seeds {own}, but {arms[0]!r} has {seeds[arms[0]]}")
    return env


def _epochs(path: Path, env: Environment) -> tuple[EpochLine, ...]:
    seeds = {(arm, t["seed"]) for arm, entries in env["temperatures"].items() for t in entries}
    tried = {rung["arm"] for rung in env.get("ladder") or ()} - set(env["temperatures"])
    lines: list[EpochLine] = []
    for number, text in enumerate(_text(path).splitlines(), start=1):
        if not text.strip():
            continue
        where = f"{path} line {number}"
        line = _checked(_object(text, where), EpochLine, where)
        if line["arm"] in tried:
            continue  # a strength that the ladder left behind
        if (line["arm"], line["seed"]) not in seeds:
            raise ReportError(f"{where}: env.json knows no arm {line['arm']!r} with seed {line['seed']}")
        lines.append(line)
    missing = [f"{arm} seed {seed}" for arm, seed in sorted(seeds - {(line["arm"], line["seed"]) for line in lines})]
    if missing:
        raise ReportError(f"{path} has no line for {', '.join(missing)}")
    return tuple(lines)


def _rows(path: Path, classes: int) -> SavedRows:
    try:
        with Archive(path, str(path)) as file:
            soft = SoftLabels(file.read(SOFT[0]), SOFT[0]) if SOFT[0] in file.arrays else None
            rows = SavedRows(
                index=file.read("index").astype(np.int64),
                logits=file.read("logits"),
                labels=file.read("labels").astype(np.int64) if soft is None else soft.mode,
                soft=soft,
            )
    except FileNotFoundError:
        raise ReportError(f"{path} is missing: the run is incomplete") from None
    except FileError as error:
        raise ReportError(str(error)) from error
    except (OSError, ValueError) as error:
        raise ReportError(f"{path} cannot be read: {error}") from error
    n = len(rows.labels)
    if n == 0 or rows.index.shape != (n,) or rows.logits.shape != (n, classes):
        raise ReportError(
            f"{path}: logits {rows.logits.shape}, labels {rows.labels.shape} and index {rows.index.shape} "
            f"do not fit {classes} classes"
        )
    if rows.soft is not None and rows.soft.classes != classes:
        raise ReportError(f"{path}: {rows.soft.name} have {rows.soft.classes} classes and not {classes}")
    if not np.issubdtype(rows.logits.dtype, np.floating):
        raise ReportError(f"{path}: logits are {rows.logits.dtype}, not floating point")
    if not (finite := np.isfinite(rows.logits).all(axis=1)).all():
        raise ReportError(f"{path}: the logits of row {int(finite.argmin())} are not all finite")
    if rows.labels.min() < 0 or rows.labels.max() >= classes:
        raise ReportError(f"{path}: labels must be 0 to {classes - 1}, got {rows.labels.min()} to {rows.labels.max()}")
    return rows


_NEEDED = {
    "numbers": ("shape", "mean", "scale"),
    "columns": ("columns",),
    "images": (),
    "texts": ("text_columns", "terms", "weights"),
    "tokens": ("text_columns", "tokenizer"),
}


def read_encoding(folder: Path, fold: int = 0, folds: int = 1) -> StoredEncoding:
    """How the rows of a finished run were encoded for the models of a fold."""
    path = folder / schema.encoding_file(fold, folds)
    if not path.exists():
        raise ReportError(
            f"{path} is missing, so the models cannot read new rows; `sfumato compare -c {folder / 'config.toml'}` "
            "makes the run again"
        )
    found = _checked(read_object(path), StoredEncoding, str(path))
    if found["schema"] != schema.ENCODING_SCHEMA:
        raise ReportError(
            f"{path} has the schema {found['schema']!r}, and this sfumato reads {schema.ENCODING_SCHEMA!r}"
        )
    if missing := [key for key in _NEEDED[found["features"]] if key not in found]:
        raise ReportError(f"{path} lacks {', '.join(missing)}")
    if contradiction := _contradiction(found):
        raise ReportError(f"{path}: {contradiction}")
    return found


def _contradiction(found: StoredEncoding) -> str:
    """Sizes that do not fit each other, or a column without what its kind needs; ``""`` where all fits."""
    inputs, features = found["inputs"], found["features"]
    shape, width = inputs["shape"], inputs["width"]
    if width < 1 or min(shape, default=0) < 1:
        return f"rows of shape {shape} and width {width} hold nothing"
    if features in ("columns", "texts"):
        made = len(found.get("terms", ()))
        for column in found.get("columns", ()):
            needed = ("levels",) if column["kind"] == "category" else ("median", "mean", "scale", "flagged", "seasons")
            if missing := next((key for key in needed if key not in column), None):
                return f"column {column['name']!r} lacks {missing}"
            own = 1 + 2 * column.get("seasons", False) + column.get("flagged", False)
            made += len(column.get("levels", ())) + 2 if column["kind"] == "category" else own
        if len(found.get("weights", ())) != len(found.get("terms", ())):
            return "terms and weights are not as many"
        return f"the columns make {made} features, not {width}" if made != width else ""
    if features == "images":
        if len(shape) != 3 or inputs["kind"] != "image":
            return f"images have height, width and channels, not {shape}"
        side = found.get("side", shape[0])
        return (
            f"images of {shape} are not squares of side {side}" if "side" in found and shape[:2] != [side] * 2 else ""
        )
    lengths = {key: len(found.get(key, ())) for key in ("mean", "scale")}
    if features == "numbers" and not (
        math.prod(found.get("shape", ())) == width and {lengths["mean"], lengths["scale"]} in ({1}, {width})
    ):
        return f"shape, mean and scale do not fit {width} features"
    return ""
