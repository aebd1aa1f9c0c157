"""Choosing a strength on the validation rows, so that the test rows are read once, after the choice.

Every candidate is ranked by its log loss after a temperature that is cross-fitted: a row's temperature comes from the
rows of the other folds. No process that trains a candidate is given a test row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.evaluate.statistics.differences import Metric
from sfumato.io.atomic import link
from sfumato.lab.arms import Arm
from sfumato.lab.choose_model import one_thread
from sfumato.messages import Note
from sfumato.runs.schema import LadderRung, MeanWithError, RunRecord
from sfumato.verdict.analyse import on_validation, validation_parts

if TYPE_CHECKING:
    from sfumato.lab.data import Part
    from sfumato.lab.execute import Rows, RunTask


@dataclass(frozen=True)
class Candidate:
    """One arm on the validation rows: log loss of each seed and row, in nats, and after a cross-fitted temperature."""

    arm: Arm
    nll: Metric
    scaled: Metric


@dataclass(frozen=True)
class LadderChoice:
    """What the validation rows choose."""

    candidates: tuple[Candidate, ...]  # one-hot first, by rising strength
    chosen: Arm  # by the validation rows; it may be one-hot
    compared: Arm  # the softened arm that the test rows are read for: the chosen one, or the best of those above 0
    best: Arm  # with the smallest mean; a smaller strength is chosen if the two cannot be told apart

    def to_json(self) -> list[LadderRung]:
        """The candidates as ``env.json`` holds them, by the names under which they were trained."""
        return [
            {
                "eps": candidate.arm.strength,
                "arm": candidate.arm.name,
                "nll": _mean(candidate.nll),
                "nll_after_temperature": _mean(candidate.scaled),
                "chosen": candidate.arm == self.chosen,
            }
            for candidate in self.candidates
        ]

    def describe(self) -> str:
        """The choice in a sentence or two."""
        tried = ", ".join(f"{candidate.arm.strength:g}" for candidate in self.candidates)
        where = " over the other classes" if self.compared.over == "others" else ""
        why = "which is best there"
        if self.chosen != self.best:
            why = f"the smallest that cannot be told from the best there ({self.best.strength:g}) by one standard error"
        text = (
            f"Of ε = {tried}{where}, the validation rows choose {self.chosen.strength:g}, {why}, by log loss "
            "after a cross-fitted temperature; the test rows were read after that."
        )
        if self.chosen == self.candidates[-1].arm:
            text += " It is the strongest that was tried: a longer ladder may find a better one."
        if self.chosen != self.compared:
            text += " So they would keep one-hot; the smoothed arm here is the best of the others, "
            text += f"{self.compared.strength:g}."
        return text


def select_strength(
    folder: Path, arms: Sequence[Arm], tasks: Sequence[RunTask], records: Sequence[RunRecord], test: Rows
) -> tuple[tuple[Arm, Arm], list[LadderRung], Note]:
    """Choose a strength on the validation rows; only then let one-hot and the chosen arm read the test rows.

    With folds, each fold chooses on its own validation rows, since those of the others are its test rows: what is
    compared with one-hot is then to choose a strength. The strength that is named is the choice of all rows.
    """
    folds = sorted({task.fold for task in tasks})
    seeds = {fold: sorted({task.seed for task in tasks if task.fold == fold}) for fold in folds}
    every = sorted(seed for each in seeds.values() for seed in each)
    choice = choose([measure(folder, arm, every, len(folds)) for arm in arms])
    own = {fold: choose([measure(folder, arm, seeds[fold]) for arm in arms]).compared for fold in folds}
    compared = replace(choice.compared, name="smoothed")
    with one_thread():
        for task in tasks:
            if task.arm in (arms[0], own[task.fold]):
                _read_test_rows(task, arms[0] if task.arm == arms[0] else compared, test(task.fold)["test"])
    for record in records:
        record["arm"] = compared.name if record["arm"] == own[record["fold"]].name else record["arm"]
    text = choice.describe()
    if len(folds) > 1:
        text += (
            " Each fold chose by its own validation rows, for its test: "
            f"{', '.join(f'{own[fold].strength:g}' for fold in folds)}."
        )
    return (arms[0], compared), choice.to_json(), Note(code="ladder", text=text)


def _read_test_rows(task: RunTask, arm: Arm, test: Part) -> None:
    """Make a trained run whole, as one of the arm: link its files, and let its model read the test rows."""
    import torch

    from sfumato.lab.data.table import PARTS
    from sfumato.lab.execute.training_run import save_logits, trained_model

    whole = replace(task, arm=arm, parts=PARTS)
    for what, path in task.files.items():
        if whole.files[what] != path and not whole.files[what].exists():
            link(path, whole.files[what])
    save_logits(whole, "test", trained_model(whole), test, torch.from_numpy(test.features).to(task.device))


def measure(folder: Path, arm: Arm, seeds: Sequence[int], folds: int = 1) -> Candidate:
    """One arm on the validation rows, from its saved logits; of several folds, the r-th seed is of fold r mod F."""
    return Candidate(arm, *on_validation(validation_parts(folder, arm.name, seeds), folds))


def choose(candidates: Sequence[Candidate]) -> LadderChoice:
    """The strength that the validation rows choose, and the softened arm that is compared on the test rows."""
    best, chosen = _best(candidates)
    compared = (
        chosen
        if chosen.strength > 0
        else _best([candidate for candidate in candidates if candidate.arm.strength > 0])[1]
    )
    return LadderChoice(tuple(candidates), chosen, compared, best)


def _best(candidates: Sequence[Candidate]) -> tuple[Arm, Arm]:
    """The arm with the smallest mean, and the one with the smallest ε within a standard error of it.

    The standard error is that of their paired difference.
    """
    rising = sorted(candidates, key=lambda candidate: candidate.arm.strength)
    best = min(rising, key=lambda candidate: candidate.scaled.mean)
    excess = ((candidate, candidate.scaled.minus(best.scaled).estimate()) for candidate in rising)
    return best.arm, next(candidate.arm for candidate, over in excess if candidate is best or over.mean <= over.se)


def _mean(metric: Metric) -> MeanWithError:
    estimate = metric.estimate()
    return {"mean": estimate.mean, "se": estimate.se}
