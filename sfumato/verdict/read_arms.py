"""From files or arrays of models that were trained anywhere to arms on the same rows.

An arm is a name and its models, one a file. Rows are matched by ``id`` where every model has it, and else by their
order, in which the labels must then agree.
"""

from __future__ import annotations

import filecmp
import glob
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.model_file import ModelFile, ScoredRows, model_of, read_model
from sfumato.io.arrays import FileError
from sfumato.text import did_you_mean, listing, plural, short

BASES = ("one-hot", "onehot", "hard", "baseline")
"""Names of the arm that others are compared with where nobody names one."""

SUFFIXES = (".npz", ".npy", ".safetensors", ".pt", ".pth", ".csv", ".tsv", ".parquet")
"""Ends of names of the files that a folder is searched for."""

RESULT = "judgement.json"
"""The file that tells the folder of a judgement."""

Model: TypeAlias = "str | os.PathLike[str] | Mapping[str, Any]"


@dataclass(frozen=True)
class ArmFiles:
    """The models of one arm, paths of files or arrays by their names, and what each is called in pairs."""

    name: str
    models: tuple[Model, ...]
    labels: tuple[str, ...]

    def sorted(self) -> ArmFiles:
        """The models by what they are called, so that those of one name have one place in all arms."""
        order = sorted(range(len(self.labels)), key=lambda place: _natural(self.labels[place]))
        return ArmFiles(
            self.name, tuple(self.models[place] for place in order), tuple(self.labels[place] for place in order)
        )


@dataclass(frozen=True)
class MatchedArm:
    """One arm whose models are all on the rows of the first model of the first arm, in their order."""

    name: str
    models: tuple[ModelFile, ...]
    files: tuple[str, ...]


def find_arms(arms: Any) -> list[ArmFiles]:
    """The arms of a folder with a folder for each, of ``NAME=PATTERN`` words, or of a mapping from names to models."""
    if isinstance(arms, Mapping):
        files = [_of_models(str(name), models) for name, models in cast("Mapping[Any, Any]", arms).items()]
    elif isinstance(arms, (str, os.PathLike)):
        files = _in_folder(Path(cast("str", arms)))
    elif isinstance(arms, Sequence) and all(isinstance(word, str) for word in cast("Sequence[Any]", arms)):
        files = _of_words(cast("Sequence[str]", arms))
    else:
        raise FileError(
            "arms must be a folder, NAME=PATTERN words, or a mapping from the name of each arm to its models, got "
            f"{type(cast('object', arms)).__name__}"
        )
    if len(files) < 2:
        have = f"there is only {files[0].name}" if files else "there is none"
        raise FileError(
            f"a judgement needs two arms, and {have}; an arm is a folder of files in the folder that is judged, or "
            "NAME=PATTERN as in one-hot='a_*.npz' smoothed='b_*.npz'"
        )
    for arm in files:
        check_name("an arm", arm.name)
        if arm.name in ("none", "depends"):
            raise FileError(f'an arm cannot be called "{arm.name}", the word for a verdict that names no arm')
    _refuse_copies(files)
    return files


def check_name(what: str, name: str) -> None:
    """Refuse a name that no file can have, or that would break a line."""
    if not name or name != name.strip() or not name.isprintable() or name.startswith(".") or set(name) & set("/\\"):
        raise FileError(f'"{short(ascii(name)[1:-1])}" is not a name for {what}: it must be printable, without / or \\')
    if len(name.encode()) > 200:
        raise FileError(f'"{short(name)}" is too long a name for {what}; at most 200 bytes are taken')


def _of_models(name: str, models: Any) -> ArmFiles:
    """An arm from Python: a model, several, a folder, or a pattern."""
    if isinstance(models, (str, os.PathLike)):
        return _of_pattern(name, os.fspath(models))
    several = isinstance(models, Iterable) and not isinstance(models, Mapping) and not hasattr(models, "shape")
    listed: list[Any] = list(models) if several else [models]
    if not listed:
        raise FileError(f"the arm {name} has no models")
    for each in listed:
        if not isinstance(each, (str, os.PathLike, Mapping)):
            raise FileError(
                f"a model of the arm {name} must be the path of a file or a mapping with logits and labels, got "
                f"{type(each).__name__}"
            )
    called = (
        str(number) if isinstance(each, Mapping) else Path(os.fspath(each)).stem for number, each in enumerate(listed)
    )
    return ArmFiles(name, tuple(listed), tuple(called))


def _in_folder(folder: Path) -> list[ArmFiles]:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "is not there"
        raise FileError(f"{folder} {what}; judge takes a folder with a folder for each arm, or NAME=PATTERN")
    arms: list[ArmFiles] = []
    for each in sorted(folder.iterdir()):
        ours = each.is_dir() and not each.name.startswith(".") and not (each / RESULT).exists()
        if files := _scores_in(each) if ours else []:
            arms.append(ArmFiles(each.name, tuple(files), tuple(file.stem for file in files)))
    if not arms:
        loose = [each.name for each in sorted(folder.iterdir()) if _is_scores(each)]
        way_out = f"; it has {listing(loose, 4)}: put the files of each arm into a folder of its own" if loose else ""
        raise FileError(f"{folder} has no folder with files of scores ({', '.join(SUFFIXES)}){way_out}")
    return arms


def _of_words(words: Sequence[str]) -> list[ArmFiles]:
    arms: dict[str, ArmFiles] = {}
    for word in words:
        name, equals, pattern = word.partition("=")
        if not equals or not name or not pattern:
            raise FileError(f"\"{word}\" is neither one folder nor NAME=PATTERN, as in smoothed='b_*.npz'")
        more, own = _of_pattern(name, pattern), arms.get(name, ArmFiles(name, (), ()))
        arms[name] = ArmFiles(name, own.models + more.models, own.labels + more.labels)
    return list(arms.values())


def _of_pattern(name: str, pattern: str) -> ArmFiles:
    """The files that a pattern matches; each is called by what stands for the pattern's star."""
    matches = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern, recursive=True), key=_natural)
    before, star, after = pattern.partition("*")
    single = bool(star) and not set(after) & set("*?[") and not set(before) & set("?[")
    paths, called = list[Path](), list[str]()
    for match in matches:
        path = Path(match)
        files = _scores_in(path) if path.is_dir() else [path]
        paths += files
        called += [
            _without_ending(match[len(before) : len(match) - len(after)])  # a path has no ./ of its pattern
            if single and file == path
            else file.stem
            for file in files
        ]
    if not paths:
        what = f"{pattern} has no files of scores ({', '.join(SUFFIXES)})" if matches else f"no file matches {pattern}"
        raise FileError(f"{what}, for the arm {name}")
    return ArmFiles(name, tuple(paths), tuple(called))


def _without_ending(name: str) -> str:
    return next((name.removesuffix(end) for end in SUFFIXES if name.endswith(end)), name)


def _scores_in(folder: Path) -> list[Path]:
    return sorted((file for file in folder.iterdir() if _is_scores(file)), key=lambda file: _natural(file.name))


def _is_scores(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and path.suffix.lower() in SUFFIXES


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that puts seed 10 after seed 9."""
    return [(int(part), "") if re.fullmatch("[0-9]+", part) else (-1, part) for part in re.split("([0-9]+)", name)]


def _refuse_copies(arms: Sequence[ArmFiles]) -> None:
    """Refuse a file that is given twice, and files of one arm that are equal to the byte: they would be two seeds."""
    paths: list[tuple[str, Path]] = []
    for arm in arms:
        for model in arm.models:
            if isinstance(model, Mapping):
                if sum(model is other for other in arm.models) > 1:
                    raise FileError(f"the arm {arm.name} has one model twice; a model counts once")
                continue
            path = Path(model)
            try:
                for name, other in paths:
                    if os.path.samefile(path, other):
                        raise FileError(f"{path} is given twice, for {name} and for {arm.name}; a model counts once")
                    if name == arm.name and filecmp.cmp(path, other, shallow=False):
                        raise FileError(
                            f"in the arm {arm.name}, {path.name} and {other.name} are equal to the byte, so they are "
                            "one model; remove one of them"
                        )
                path.stat()
            except OSError as error:
                raise FileError(f"{path} cannot be read: {error.strerror}") from None
            paths.append((arm.name, path))


def base_of(names: Sequence[str], against: str | None) -> str:
    """The arm that the others are compared with: ``against``, or the only one whose name is in :data:`BASES`."""
    if against is not None:
        against = str(against)
        if against not in names:
            raise FileError(f'there is no arm "{against}"; arms: {", ".join(names)}.{did_you_mean(against, names)}')
        return against
    usual = [name for name in names if name.lower().replace("_", "-") in BASES]
    if len(usual) != 1:
        which = f"{len(usual)} arms could be" if usual else "no arm is called one-hot, hard or baseline, so none is"
        raise FileError(f"{which} the one to compare with; say --against ARM. Arms: {', '.join(names)}")
    return usual[0]


def read_arms(
    arms: Sequence[ArmFiles], *, paired: bool, kind: str | None = None, group: str | None = None
) -> list[MatchedArm]:
    """Read every model and put all on the rows of the first model of the first arm, the base.

    ``paired`` models of one name belong together. ``kind`` is that of the scores where files do not say, ``group`` the
    array of rows that vary together. FileError names the first file, and its first row, that does not fit.
    """
    if paired:
        _refuse_other_names(arms)
    read = [
        [_read(arm.name, model, label, kind, group) for model, label in zip(arm.models, arm.labels, strict=True)]
        for arm in arms
    ]
    models = _alike([model for own in read for model in own])
    _refuse_other_parts(models, group)
    first = models[0]
    ids = None if first.id is None else _distinct_ids(first)
    matched = iter([_matched(model, first, ids) for model in models])
    if first.test.group is not None and len(np.unique(first.test.group)) == 1 and len(first.test.labels) > 1:
        raise FileError(
            f"{first.name}: all rows are of one group, so nothing says how far groups differ; leave "
            f'"{group or "group"}" out, or give rows of more groups'
        )
    return [
        MatchedArm(
            arm.name,
            tuple(next(matched) for _ in own),
            tuple(
                label if isinstance(model, Mapping) else str(model)
                for model, label in zip(arm.models, arm.labels, strict=True)
            ),
        )
        for arm, own in zip(arms, read, strict=True)
    ]


def _alike(models: list[ModelFile]) -> list[ModelFile]:
    """Ids and groups of all models as text, where some have text and others numbers."""
    for what in ("id", "group"):
        columns = [model.id if what == "id" else model.test.group for model in models]
        kinds = {column.dtype.kind in "US" for column in columns if column is not None}
        if len(kinds) > 1:
            texts = [None if column is None else column.astype(str) for column in columns]
            models = [
                replace(model, id=text) if what == "id" else replace(model, test=replace(model.test, group=text))
                for model, text in zip(models, texts, strict=True)
            ]
    return models


def _read(arm: str, model: Model, label: str, kind: str | None, group: str | None) -> ModelFile:
    if isinstance(model, Mapping):
        return model_of(model, f"model {label} of the arm {arm}", kind=kind, group=group or "group")
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
                f'--paired matches files by name, and {has} has "{lacking[0]}" but {lacks} has not; leave --paired out '
                "where the models of the arms did not start from the same weights and batches"
            )


def _refuse_other_parts(models: Sequence[ModelFile], group: str | None) -> None:
    """All models have the same classes, and validation rows, groups and ids are in all of them or in none."""
    first = models[0]
    classes = int(first.test.logits.shape[1])
    for each in models:
        if (own := int(each.test.logits.shape[1])) != classes:
            raise FileError(f"{each.name} has {own} classes and {first.name} has {classes}")
        if each.classes and first.classes and each.classes != first.classes:
            raise FileError(
                f"{each.name} has the classes {', '.join(each.classes[:12])} and {first.name} has "
                f"{', '.join(first.classes[:12])}; write the columns in one order, in which the labels count them"
            )
        if group is not None and each.test.group is None:
            raise FileError(f'{each.name} has no array or column "{group}", which --group names')
    parts = {
        "validation rows (val_logits)": [each.validation is not None for each in models],
        f'an array "{group or "group"}"': [each.test.group is not None for each in models],
        'an array "id"': [each.id is not None for each in models],
        "soft labels": [each.test.soft is not None for each in models],
        "soft labels of validation rows": [
            each.validation is not None and each.validation.soft is not None for each in models
        ],
    }
    for what, has in parts.items():
        if any(has) and not all(has):
            raise FileError(
                f"{models[has.index(True)].name} has {what} and {models[has.index(False)].name} has none; add them to "
                "all models, or leave them out of all"
            )


def _distinct_ids(model: ModelFile) -> npt.NDArray[Any]:
    """The ids of a model in rising order, each once."""
    assert model.id is not None
    ids, counts = np.unique(model.id, return_counts=True)
    if len(ids) < len(model.id):
        raise FileError(f"{model.name}: id {ids[counts.argmax()]} occurs {plural(int(counts.max()), 'time')}")
    return ids


def _matched(model: ModelFile, first: ModelFile, ids: npt.NDArray[Any] | None) -> ModelFile:
    """The model on the rows of the first, in their order."""
    test, apart = model.test, f"{model.name} is not on the same rows as {first.name}"
    if ids is not None and model is not first:
        assert model.id is not None
        assert first.id is not None
        own = _distinct_ids(model)
        if len(own) != len(ids) or (own != ids).any():
            odd = np.setxor1d(own, ids)[0]
            has, lacks = (first, model) if odd in ids else (model, first)
            raise FileError(
                f"{apart}: {has.name} has id {odd}, and {lacks.name} has no row of that id{_ignoring(lacks)}"
            )
        place = np.empty(len(ids), dtype=np.int64)
        place[np.searchsorted(ids, first.id)] = np.arange(len(ids))
        order = np.argsort(place[np.searchsorted(ids, model.id)], kind="stable")
        test = test.taken(order)
    rows, wanted = len(test.labels), len(first.test.labels)
    if rows != wanted:
        raise FileError(
            f"{model.name} has {rows:,} rows and {first.name} has {wanted:,}; all models must be judged on the same "
            f"rows, in the same order or with an array id{_ignoring(model) or _ignoring(first)}"
        )
    if test.soft is not None and first.test.soft is not None:
        unlike = test.soft.first_unlike(first.test.soft)
        if unlike is not None:
            raise FileError(
                f"{apart}: the soft labels of {_called(test, first, unlike)} are "
                f"{test.soft.describe(unlike)} in the one and {first.test.soft.describe(unlike)} in the other"
            )
    for what, mine, theirs in (("label", test.labels, first.test.labels), ("group", test.group, first.test.group)):
        if mine is not None and theirs is not None and (differ := mine != theirs).any():
            row = int(differ.argmax())
            raise FileError(
                f"{apart}: the {what} of {_called(test, first, row)} is {mine[row]} in the one and {theirs[row]} in "
                "the other"
            )
    _refuse_other_validation(model, first)
    return replace(model, test=test, id=first.id)


def _called(test: ScoredRows, first: ModelFile, row: int) -> str:
    """A row by its id, or by its number in the file of a model and, where that differs, in that of the first."""
    if first.id is not None:
        return f"id {first.id[row]}"
    mine, theirs = test.number(row), first.test.number(row)
    return f"row {mine}" if mine == theirs else f"row {mine} or {theirs}"


def _ignoring(model: ModelFile) -> str:
    """What may have gone wrong where rows are missing."""
    if model.ignored is None:
        return ""
    has = "the label −100" if model.test.soft is None else "no annotators"
    return f" (of {model.name}, row {model.ignored} has {has} and does not count)"


def _refuse_other_validation(model: ModelFile, first: ModelFile) -> None:
    """All models have the same validation rows; where rows have ids, their order is free."""
    if model.validation is None or first.validation is None:
        return
    mine, theirs = model.validation.labels, first.validation.labels
    mine_soft, theirs_soft = model.validation.soft, first.validation.soft
    if mine_soft is not None and theirs_soft is not None and len(mine) == len(theirs):
        unlike = mine_soft.first_unlike(theirs_soft) if first.id is None else None
        if unlike is not None:
            raise FileError(
                f"{model.name} has other validation rows than {first.name}: the soft labels of row "
                f"{model.validation.number(unlike)} are "
                f"{mine_soft.describe(unlike)} in the one and {theirs_soft.describe(unlike)} in the other"
            )
    if first.id is not None:
        mine, theirs = np.sort(mine), np.sort(theirs)
    if len(mine) != len(theirs) or (mine != theirs).any():
        shorter = min(len(mine), len(theirs))
        differ = np.flatnonzero(mine[:shorter] != theirs[:shorter])
        at = f", from row {model.validation.number(int(differ[0]))} on" if len(differ) and first.id is None else ""
        raise FileError(
            f"{model.name} has other validation rows than {first.name}{at} ({len(mine):,} and {len(theirs):,}); all "
            "models must have the same"
        )
