"""From files or arrays of models that were trained anywhere to arms on the same rows.

An arm is a name and its models, one a file. Rows are matched by ``id`` where every model has it, and else by their
order, in which the labels must then agree.
"""

from __future__ import annotations

import filecmp
import glob
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.files.matrix import FileError
from sfumato.evaluate.scores.files.model import ModelFile, ScoredRows, model_of, read_model
from sfumato.text import did_you_mean, listing, plural

BASES = ("one-hot", "onehot", "hard", "baseline")
"""Names of the arm that others are compared with where nobody names one."""

SUFFIXES = (".npz", ".npy", ".safetensors", ".pt", ".pth", ".csv", ".tsv", ".parquet", ".json", ".jsonl")
"""Ends of names of the files that a folder is searched for."""

Model: TypeAlias = "str | os.PathLike[str] | Mapping[str, Any]"


@dataclass(frozen=True)
class ArmFiles:
    """The models of one arm as they were named: paths of files, or arrays by their names."""

    name: str
    models: tuple[Model, ...]

    @property
    def labels(self) -> list[str]:
        """What to call each model: its file without its ending, or a number."""
        return [
            str(number) if isinstance(each, Mapping) else Path(os.fspath(each)).name.split(".")[0]
            for number, each in enumerate(self.models)
        ]


@dataclass(frozen=True)
class MatchedArm:
    """One arm whose models are all on the rows of the first model of the first arm, in their order."""

    name: str
    models: tuple[ModelFile, ...]
    files: tuple[str, ...]


def find_arms(arms: str | os.PathLike[str] | Mapping[str, Any] | Sequence[str]) -> list[ArmFiles]:
    """The arms of a folder with a folder for each, of ``NAME=PATTERN`` words, or of a mapping from names to models.

    Raises:
        FileError: no arms or one alone, an arm without files, or a file that an arm has twice.
    """
    if isinstance(arms, Mapping):
        found = [ArmFiles(str(name), _models(name, models)) for name, models in arms.items()]
    elif isinstance(arms, (str, os.PathLike)):
        found = _in_folder(Path(arms))
    else:
        found = _of_patterns(arms)
    if len(found) < 2:
        have = f"there is only {found[0].name}" if found else "there is none"
        raise FileError(
            f"a judgement needs two arms, and {have}; an arm is a folder of files in the folder that is judged, or "
            "NAME=PATTERN as in one-hot='a_*.npz' smoothed='b_*.npz'"
        )
    for arm in found:
        if not re.fullmatch(r"[\w.,+ -]+", arm.name):
            raise FileError(f'"{arm.name}" is no name for an arm; letters, digits and . , + - are taken')
        _refuse_copies(arm)
    return found


def _models(name: Any, models: Any) -> tuple[Model, ...]:
    single = isinstance(models, (str, os.PathLike, Mapping))
    made: tuple[Model, ...] = (models,) if single else tuple(models)
    if not made:
        raise FileError(f"the arm {name} has no models")
    return made


def _in_folder(folder: Path) -> list[ArmFiles]:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "is not there"
        raise FileError(f"{folder} {what}; judge takes a folder with a folder for each arm, or NAME=PATTERN")
    arms: list[ArmFiles] = []
    for each in sorted(folder.iterdir()):
        if each.is_dir() and not each.name.startswith("."):
            files = sorted((f for f in each.iterdir() if _is_scores(f)), key=lambda f: _natural(f.name))
            if files:
                arms.append(ArmFiles(each.name, tuple(files)))
    if not arms:
        loose = [each.name for each in sorted(folder.iterdir()) if _is_scores(each)]
        way_out = f"; it has {listing(loose, 4)}: put the files of each arm into a folder of its own" if loose else ""
        raise FileError(f"{folder} has no folder with files of scores ({', '.join(SUFFIXES)}){way_out}")
    return arms


def _of_patterns(words: Sequence[str]) -> list[ArmFiles]:
    arms: dict[str, list[Path]] = {}
    for word in words:
        name, equals, pattern = word.partition("=")
        if not equals or not name or not pattern:
            raise FileError(f"\"{word}\" is neither one folder nor NAME=PATTERN, as in smoothed='b_*.npz'")
        found = sorted(glob.glob(pattern, recursive=True), key=_natural) or [pattern]
        paths = [Path(each) for each in found]
        folders = [each for each in paths if each.is_dir()]
        for folder in folders:
            paths.remove(folder)
            paths += sorted((f for f in folder.iterdir() if _is_scores(f)), key=lambda f: _natural(f.name))
        for path in paths:
            if not path.exists():
                raise FileError(f"no file matches {word}")
        if not paths:
            raise FileError(f"{word} has no files of scores ({', '.join(SUFFIXES)})")
        arms.setdefault(name, []).extend(paths)
    return [ArmFiles(name, tuple(paths)) for name, paths in arms.items()]


def _is_scores(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and path.suffix.lower() in SUFFIXES


def _natural(name: str) -> list[Any]:
    """A key that puts seed 10 after seed 9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _refuse_copies(arm: ArmFiles) -> None:
    """Refuse a model that an arm has twice: it would count as two seeds."""
    seen: dict[Any, list[Path]] = {}
    for model in arm.models:
        if isinstance(model, Mapping):
            if sum(model is other for other in arm.models) > 1:
                raise FileError(f"the arm {arm.name} has one model twice; a model counts once")
            continue
        path = Path(model)
        try:
            size = path.stat().st_size
            with open(path, "rb") as file:
                head = file.read(1 << 16)
                file.seek(max(size - (1 << 16), 0))
                key = (size, head, file.read())
        except OSError as error:
            raise FileError(f"{path} cannot be read: {error.strerror}") from None
        for other in seen.setdefault(key, []):
            if os.path.samefile(path, other):
                raise FileError(f"the arm {arm.name} has {path} twice; a model counts once")
            if filecmp.cmp(path, other, shallow=False):
                raise FileError(
                    f"in the arm {arm.name}, {path.name} and {other.name} are equal to the byte, so they are one "
                    "model; remove one of them"
                )
        seen[key].append(path)


def base_of(names: Sequence[str], against: str | None) -> str:
    """The arm that the others are compared with.

    Raises:
        FileError: ``against`` is none of them, or nobody says which it is.
    """
    if against is not None:
        if against not in names:
            raise FileError(f'there is no arm "{against}"; arms: {", ".join(names)}{did_you_mean(against, names)}')
        return against
    usual = [name for name in names if name.lower().replace("_", "-") in BASES]
    if len(usual) != 1:
        which = f"{len(usual)} arms could be" if usual else "no arm is called one-hot, hard or baseline, so none is"
        raise FileError(f"{which} the one to compare with; say --against ARM. Arms: {', '.join(names)}")
    return usual[0]


def read_arms(
    arms: Sequence[ArmFiles], *, paired: bool, kind: str | None = None, group: str | None = None
) -> list[MatchedArm]:
    """Read every model and put all on the same rows.

    Args:
        arms: the first is the one that others are compared with.
        paired: whether models of one name belong together.
        kind: what the scores are, where the files do not say.
        group: the array or column of rows that vary together; None for ``"group"`` where every model has it.

    Raises:
        FileError: a file that cannot be used, or that is not on the same rows; names it and the first row.
    """
    if paired:
        _refuse_other_names(arms)
    read = [[_read(model, label, kind, group) for model, label in zip(arm.models, arm.labels, strict=True)]
            for arm in arms]  # fmt: skip
    models = [(arm.name, model) for arm, own in zip(arms, read, strict=True) for model in own]
    _refuse_other_parts(models, group)
    by_id = all(model.id is not None for _, model in models)
    first = models[0][1]
    ids = _distinct_ids(models[0][0], first) if by_id else None
    grouped = all(model.test.group is not None for _, model in models)
    matched = [
        tuple(_matched(arm.name, model, first, ids, grouped) for model in own)
        for arm, own in zip(arms, read, strict=True)
    ]
    if grouped and len(np.unique(np.asarray(first.test.group))) == 1 and len(first.test.labels) > 1:
        raise FileError(
            f"{_named(*models[0])}: all rows are of one group, so nothing says how far groups differ; leave "
            f'"{group or "group"}" out, or give rows of more groups'
        )
    return [
        MatchedArm(arm.name, own, tuple(str(m) if not isinstance(m, Mapping) else label for m, label
                                        in zip(arm.models, arm.labels, strict=True)))
        for arm, own in zip(arms, matched, strict=True)
    ]  # fmt: skip


def _read(model: Model, label: str, kind: str | None, group: str | None) -> ModelFile:
    if isinstance(model, Mapping):
        return model_of(model, f"model {label}", kind=kind, group=group or "group")
    return read_model(model, kind=kind, group=group or "group")


def _refuse_other_names(arms: Sequence[ArmFiles]) -> None:
    first = arms[0]
    for arm in arms:
        if len(set(arm.labels)) < len(arm.labels):
            raise FileError(f"--paired matches files by name, and the arm {arm.name} has two of one name")
        lacking = sorted(set(first.labels) ^ set(arm.labels), key=_natural)
        if lacking:
            has, lacks = (first.name, arm.name) if lacking[0] in first.labels else (arm.name, first.name)
            raise FileError(
                f"--paired matches files by name, and {has} has {lacking[0]} but {lacks} has not; leave --paired out "
                "where the models of the arms did not start from the same weights and batches"
            )


def _refuse_other_parts(models: Sequence[tuple[str, ModelFile]], group: str | None) -> None:
    """All models have the same classes, and all or none have validation rows."""
    arm, first = models[0]
    classes = int(first.test.logits.shape[1])
    for each in models:
        if (found := int(each[1].test.logits.shape[1])) != classes:
            raise FileError(f"{_named(*each)} has {found} classes and {_named(arm, first)} has {classes}")
        if group is not None and each[1].test.group is None:
            raise FileError(f'{_named(*each)} has no array or column "{group}", which --group names')
    having = [each for each in models if each[1].validation is not None]
    if having and len(having) < len(models):
        lacking = next(each for each in models if each[1].validation is None)
        raise FileError(
            f"{_named(*having[0])} has validation rows (val_logits) and {_named(*lacking)} has none; temperatures must "
            "be fitted in the same way in all: add them, or leave them out of all"
        )


def _distinct_ids(arm: str, model: ModelFile) -> npt.NDArray[Any]:
    """The ids of a model in rising order, each once."""
    assert model.id is not None
    ids, counts = np.unique(model.id, return_counts=True)
    if len(ids) < len(model.id):
        raise FileError(f"{_named(arm, model)}: id {ids[counts.argmax()]} occurs {plural(int(counts.max()), 'time')}")
    return ids


def _matched(arm: str, model: ModelFile, first: ModelFile, ids: npt.NDArray[Any] | None, grouped: bool) -> ModelFile:
    """The model on the rows of the first, in their order."""
    test = model.test
    if ids is not None and model is not first:
        assert model.id is not None
        assert first.id is not None
        own = _distinct_ids(arm, model)
        if len(own) != len(ids) or (own != ids).any():
            odd = np.setxor1d(own, ids)[0]
            has, lacks = (first, model) if odd in ids else (model, first)
            raise FileError(f"{_named(arm, model)} is not on the same rows: {has.name} has id {odd}, and {lacks.name} "
                            "has not")  # fmt: skip
        place = np.empty(len(ids), dtype=np.int64)
        place[np.searchsorted(ids, first.id)] = np.arange(len(ids))
        order = np.argsort(place[np.searchsorted(ids, model.id)], kind="stable")
        test = test.taken(order)
    rows, wanted = len(test.labels), len(first.test.labels)
    if rows != wanted:
        raise FileError(
            f"{_named(arm, model)} has {rows:,} rows and {first.name} has {wanted:,}; all models must be judged on the "
            "same rows, in the same order or with an array id"
        )
    for what, mine, theirs in (("label", test.labels, first.test.labels), ("group", test.group, first.test.group)):
        if what == "group" and not grouped:
            continue
        differ = np.asarray(mine) != np.asarray(theirs)
        if differ.any():
            row = int(differ.argmax())
            at = f"row {row}" if ids is None or first.id is None else f"id {first.id[row]}"
            raise FileError(
                f"{_named(arm, model)} is not on the same rows as {first.name}: the {what} of {at} is "
                f"{np.asarray(mine)[row]} there and {np.asarray(theirs)[row]} here"
            )
    if not grouped:
        test = ScoredRows(test.logits, test.labels)
    _refuse_other_validation(arm, model, first)
    return ModelFile(model.name, test, model.validation, None if first.id is None or ids is None else first.id)


def _refuse_other_validation(arm: str, model: ModelFile, first: ModelFile) -> None:
    mine, theirs = model.validation, first.validation
    if mine is None or theirs is None:
        return
    if len(mine.labels) != len(theirs.labels) or (mine.labels != theirs.labels).any():
        differ = np.flatnonzero(mine.labels[: len(theirs.labels)] != theirs.labels[: len(mine.labels)])
        at = f", from row {int(differ[0])} on" if len(differ) else ""
        raise FileError(
            f"{_named(arm, model)} has other validation rows than {first.name}{at} ({len(mine.labels):,} and "
            f"{len(theirs.labels):,}); all models must have the same"
        )


def _named(arm: str, model: ModelFile) -> str:
    return f"{model.name} of the arm {arm}"
