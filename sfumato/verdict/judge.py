"""The verdict on models that were trained anywhere, from their scores in files: the statistics of a comparison."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sfumato.evaluate.scores.model_file import ModelFile, ScoredRows
from sfumato.evaluate.scores.score_matrix import ScoreMatrix, row_hash
from sfumato.evaluate.scores.soft_labels import SOFT_TRUTH
from sfumato.evaluate.statistics.margins import Margins
from sfumato.extras import lab_imports
from sfumato.messages import Note
from sfumato.text import did_you_mean, joined, plural, short

with lab_imports("judge"):  # the records of a run are checked by msgspec
    from sfumato.runs.read import ReportError, load_run
    from sfumato.runs.schema import ArmSummary, DataSummary, Summary
    from sfumato.verdict.analyse import (
        ArmResult,
        ModelScores,
        SavedPart,
        analyse_arm,
        analyse_models,
        by_validation,
        load_part,
        summarise,
        validation_parts,
    )
    from sfumato.verdict.arms import ComparedArm, compared_arm
    from sfumato.verdict.conclusion import OF_RESULTS, Conclusion, conclude
    from sfumato.verdict.decision import AIMS
    from sfumato.verdict.read_arms import MatchedArm, base_of, find_arms, read_arms
    from sfumato.verdict.result import VerdictResult
    from sfumato.verdict.settling import SeedCost
    from sfumato.verdict.wording import noise_sentences

SCHEMA = "sfumato.judge/3"
_ODD = np.uint64(0x9E3779B97F4A7C15)  # a product with an odd number loses no bit


@dataclass(repr=False)
class Judgement(VerdictResult):
    """What the scores of several arms say: numbers with intervals, differences, and a verdict in sentences.

    It prints as its sentences, and a notebook shows its page, or the sentences and the differences where it has none.

    Attributes:
        summary: the object that ``judge --json`` prints, of schema ``sfumato.judge/3``.
        notes: how the files were taken, each with a code and a sentence.
        arms: as evaluated; the first is the one that the others are compared with.
        to_page: makes the page of a judgement; None where nobody gave a way.
    """

    arms: list[ArmResult]
    to_page: Callable[[Judgement], str] | None = None

    def page(self) -> str | None:
        """The whole page as HTML; None where the judgement was made without a way to make one."""
        return None if self.to_page is None else self.to_page(self)


def judge(
    arms: str | os.PathLike[str] | Mapping[str, Any] | Sequence[str],
    *,
    against: str | None = None,
    paired: bool = False,
    group: str | None = None,
    margins: Margins | Mapping[str, Any] | str | None = None,
    kind: str | None = None,
    aim: str | None = None,
) -> Judgement:
    r"""Which of several arms of trained models is better on the same rows, and whether the difference matters.

    Every difference is a mean over seeds and rows, both of which are random. With seeds of their own, its variance has
    a term for the seeds of each arm and one for the rows that both share,

    .. math:: V = V_{seed} + V'_{seed} + V_{row},

    as :func:`sfumato.evaluate.estimate_unpaired` has them; with ``paired``, it is that of the differences, as of
    :func:`sfumato.evaluate.estimate_interval`. Accuracy, log loss after temperature and E-AURC are tested together.

    Args:
        arms: a folder with a folder of files for each arm; the folder of a comparison; a mapping from the name of an
            arm to its models, each a file or a mapping with ``logits`` (N, K) or ``probs``, ``labels`` (N,) and, where
            there are any, ``val_logits`` (M, K), ``val_labels`` (M,), ``group`` (N,) and ``id`` (N,); or
            ``"NAME=PATTERN"`` words. In the place of labels may stand soft ones, ``label_probs`` or ``label_counts``
            (N, K), and ``val_label_probs`` or ``val_label_counts`` (M, K). Logits (B, T, V) with labels (B, T) are
            rows, and labels of −100 and counts of 0 throughout do not count.
        against: the arm that the others are compared with; by default the one called one-hot, hard or baseline.
        paired: whether models of one name, or place, started from the same weights and batches in all arms.
        group: the array or column whose equal values say that rows vary together; by default ``"group"``, where every
            model has it.
        margins: what is too small to matter, as ``"accuracy=0.5,nll=2%,eaurc=5%"``; these are the defaults, and for
            the folder of a comparison those that it was run with.
        kind: ``"logits"``, ``"probs"`` or ``"percent"`` where the files do not say.
        aim: what the models are for, ``"accuracy"``, ``"probabilities"`` or ``"ranking"``: its metric is then tested
            first and decides, and the others are tested only where it is found to differ. By default all three decide,
            and for the folder of a comparison what it was run for.

    Raises:
        ValueError: files that cannot be used together; names the file and the first row.

    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 3, 400)
    >>> def model(strength):
    ...     return {"logits": strength * np.eye(3)[y] + rng.normal(size=(400, 3)), "labels": y}
    >>> found = judge({"one-hot": [model(1.0) for _ in range(3)], "smoothed": [model(3.0) for _ in range(3)]})
    >>> print(found.verdict["sentences"][0])
    Take the smoothed models: they are better than the one-hot models.

    Source: as :func:`sfumato.evaluate.estimate_interval`.
    """
    if kind not in (None, "logits", "probs", "percent"):
        raise ValueError(f'kind must be "logits", "probs" or "percent", got "{short(str(kind))}"')
    _check_aim(aim)
    if isinstance(margins, Mapping):
        margins = ",".join(f"{name}={size}" for name, size in margins.items())
    if isinstance(arms, (str, os.PathLike)) and (Path(arms) / "summary.json").is_file():
        if group is not None or kind is not None:
            raise ValueError(
                f"{arms} is the folder of a comparison, whose rows have their groups and whose scores are logits; "
                "leave --group and --kind out"
            )
        return _of_run(Path(arms), against, margins, aim)
    margins = margins if isinstance(margins, Margins) else Margins.parse(margins)
    found = find_arms(arms)
    base = base_of([arm.name for arm in found], against)
    found.sort(key=lambda arm: arm.name != base)  # stable: the others keep their order
    if paired:
        found = [arm.sorted() for arm in found]
    matched = read_arms(found, paired=paired, kind=kind, group=group)
    name = Path(arms).resolve().name if isinstance(arms, (str, os.PathLike)) else "-".join(a.name for a in matched)
    return _judged(name, matched, paired, margins, aim)


def _check_aim(aim: Any) -> None:
    if aim not in (None, *AIMS):
        close = did_you_mean(str(aim), AIMS)
        raise ValueError(f'aim must be {joined(list(AIMS), "or")}, got "{short(str(aim))}".{close}')


def _judged(name: str, matched: Sequence[MatchedArm], paired: bool, margins: Margins, aim: str | None) -> Judgement:
    first = matched[0].models[0]
    if len(first.test.labels) < 2:
        raise ValueError(f"{first.name} has 1 row that counts; a judgement needs more, some hundreds to say anything")
    results = [analyse_models(ComparedArm(arm.name), map(_scores, arm.models)) for arm in matched]
    models = {arm.name: arm.models for arm in matched}
    order = by_validation(results, lambda name: [_part(each.validation) for each in models[name] if each.validation])
    groups = None if first.test.group is None else len(np.unique(first.test.group))
    data: DataSummary = {
        "name": name,
        "classes": int(first.test.logits.shape[1]),
        "train": None,
        "validation": None if first.validation is None else len(first.validation.labels),
        "test": len(first.test.labels),
        "groups": groups,
    }
    files = {arm.name: list(arm.files) for arm in matched}
    notes = [*_notes(matched, paired, groups), *_same_models(results)]
    names = [f"class {k}" for k in range(data["classes"])]
    concluded = conclude(
        results, first.test.labels, names, margins, paired=paired, order=order, grouped=groups is not None, aim=aim
    )
    return _judgement(results, data, files, notes, concluded, paired=paired)


def _judgement(
    results: list[ArmResult],
    data: DataSummary,
    files: Mapping[str, list[str]],
    notes: list[Note],
    concluded: Conclusion,
    *,
    paired: bool,
) -> Judgement:
    arms: list[ArmSummary] = [
        {
            "name": result.arm.name,
            "eps": None,
            "over": None,
            "closed_form_gap": None,
            "train_gap": None,
            "metrics": summarise(result),
            "files": files[result.arm.name],
            "seeds": len(result.temperatures),
            "temperature": [fitted.value for fitted in result.temperatures],
        }
        for result in results
    ]
    summary: Summary = {
        "schema": SCHEMA,
        "run": data["name"],
        "data": data,
        "paired": {"weights": [], "batches": [], "equal": paired},
        "arms": arms,
        **concluded,
        "notes": notes,
    }
    return Judgement(summary, notes, results)


def _scores(model: ModelFile) -> ModelScores:
    return ModelScores(_part(model.test), None if model.validation is None else _part(model.validation), model.name)


def _part(rows: ScoredRows) -> SavedPart:
    group = np.arange(len(rows.labels)) if rows.group is None else rows.group
    return SavedPart(rows.logits, rows.labels, group, rows.soft, rows.numbers)


def _notes(matched: Sequence[MatchedArm], paired: bool, groups: int | None) -> list[Note]:
    first = matched[0].models[0]
    counts = [len(arm.models) for arm in matched]
    told = [f"{plural(count, 'model')} of {arm.name}" for arm, count in zip(matched, counts, strict=True)]
    notes = list[Note]()

    def add(code: str, text: str) -> None:
        notes.append(Note(code=code, text=text))

    add("models-read", f"Read {joined(told)}, on {plural(len(first.test.labels), 'test row')}.")
    by = "by their ids" if first.id is not None else "by their order, in which all labels agree"
    add("rows-matched", f"Rows were matched {by}.")
    notes += first.notes
    if first.test.soft is not None:
        add("soft-labels", SOFT_TRUTH)
    if max(counts) > 1:
        add(
            "paired" if paired else "unpaired",
            "Models of one name were taken as a pair that started from the same weights and batches."
            if paired
            else "The seeds of each arm were taken as its own (--paired says that files of one name belong together).",
        )
    if first.validation is None:
        add(
            "no-validation-rows",
            "There are no validation rows (val_logits, val_labels), so the temperature of each test row was fitted on "
            "the rows of four other fifths of the test rows.",
        )
    else:
        fitted = f"Temperatures were fitted on {plural(len(first.validation.labels), 'validation row')}"
        soft, other = first.validation.soft is not None, first.test.soft is not None
        unlike = f", whose labels are {_kind(soft)} where those of the test rows are {_kind(other)}"
        add("validation-rows", f"{fitted}{unlike if soft != other else ''}.")
    if (groups or len(first.test.labels)) < 50:
        few = "test rows" if groups is None else "groups of test rows"
        add("few-test-rows", f"There are few {few}: intervals are wide, and other rows may say otherwise.")
    if groups is not None:
        add("groups", f"Rows of one group vary together: intervals count {plural(groups, 'group')}, not rows.")
    elif copies := _copies([model for arm in matched for model in arm.models]):
        add(
            "copies",
            f"{plural(copies, 'row')} {'has' if copies == 1 else 'have'} the scores of another row in every model. If "
            "these are copies, intervals are too narrow: leave them out, or give each row and its copies one group.",
        )
    return notes


def _same_models(results: Sequence[ArmResult]) -> list[Note]:
    """A note on each arm that has the very models of the first: a file may have been copied to the wrong place."""
    base, nll = results[0].arm.name, results[0].metrics["nll"].values
    return [
        Note(
            code="same-models",
            text=f"The models of {base} and {other.arm.name} are the same ones: their log losses agree in every row.",
        )
        for other in results[1:]
        if np.array_equal(other.metrics["nll"].values, nll)
    ]


def _copies(models: Sequence[ModelFile]) -> int:
    """How many rows have the same scores as an earlier one, to the last bit, in every model."""
    content = np.zeros(len(models[0].test.labels), dtype=np.uint64)
    for model in models:
        source = ScoreMatrix(logits=model.test.logits)
        content = content * _ODD + np.concatenate([row_hash(source.raw(*step)) for step in source.steps()])
    return len(content) - len(np.unique(content))


def _kind(soft: bool) -> str:
    return "soft" if soft else "hard"


def _of_run(folder: Path, against: str | None, margins: Margins | str | None, aim: str | None) -> Judgement:
    """The judgement of a comparison, by the code that gave its verdict, from the logits that it kept.

    What is not asked for otherwise is as in the comparison: margins, and what the model is for.
    """
    run = load_run(folder)
    try:
        options = tomllib.loads(run.config)
        own, own_aim = Margins.parse(str(options.get("margin", ""))), options.get("aim")
        _check_aim(own_aim)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{folder / 'config.toml'}: {error}") from None
    margins, aim = margins if isinstance(margins, Margins) else Margins.parse(margins, own), aim or own_aim
    summary, seeds, folds = run.summary, run.seeds, run.folds
    arms = [compared_arm(arm, run.num_classes) for arm in run.arms]
    base = base_of([arm.name for arm in arms], against or arms[0].name)
    arms.sort(key=lambda arm: arm.name != base)
    results = [analyse_arm(folder, arm, seeds, folds) for arm in arms]
    validation = load_part(folder, arms[0].name, seeds[0], "validation")
    order = by_validation(results, lambda name: validation_parts(folder, name, seeds), folds)
    classes, groups = summary["data"]["classes"], results[0].metrics["nll"].values.shape[1]
    names = [run.class_name(k) for k in range(classes)]
    grouped = run.env["data"].get("groups") is not None
    seconds = run.env.get("seconds_per_seed")
    cost = None if seconds is None else SeedCost(seconds)
    concluded = conclude(
        results,
        run.labels,
        names,
        margins,
        order=order,
        grouped=grouped,
        aim=aim,
        cost=cost,
        looks=summary.get("looks", []),
    )
    concluded["verdict"]["sentences"] += noise_sentences(run.env["data"].get("noise"))
    concluded["warnings"][:0] = [each for each in summary.get("warnings", []) if each["code"] not in OF_RESULTS]
    data: DataSummary = {
        "name": summary["data"]["name"],
        "classes": classes,
        "train": None,
        "validation": len(validation.labels),
        "test": len(run.labels),
        "folds": folds,
        "groups": groups if groups < len(run.labels) else None,
    }
    files = {arm.name: [f"{arm.name}-seed{seed}-test.npz" for seed in seeds] for arm in arms}
    text = f"Read the comparison {summary['run']}: its arms started from the same weights and saw the same batches."
    return _judgement(results, data, files, [Note(code="comparison-read", text=text)], concluded, paired=True)
