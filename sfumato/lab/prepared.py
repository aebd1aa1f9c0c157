"""What a comparison is about to run: the data, the model, the budget of each run, and the arms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from sfumato.lab.arms import Arm, arm_of, candidates_of, default_arms
from sfumato.lab.choose_model import ChosenModel, choose_model
from sfumato.lab.data import Data, Part, prepare
from sfumato.lab.data.noise import noise_of
from sfumato.lab.data.prepare import rotate, with_noise
from sfumato.lab.data.table import PARTS
from sfumato.lab.errors import OptionError
from sfumato.lab.execute import Rows, RunTask
from sfumato.lab.options import Options
from sfumato.lab.train import Plan, default_plan, refuse_small_parts, without_a_batch_of_one
from sfumato.messages import Note

DEFAULT_SEEDS, MIN_SEEDS = 5, 3  # of one split; with folds, one seed each is the default and enough


@dataclass(frozen=True)
class Prepared:
    """A comparison before its first step; the other arms are compared with the first."""

    options: Options
    data: Data
    model: ChosenModel
    plan: Plan
    arms: tuple[Arm, ...]
    design: Note  # how the rows are used

    @property
    def seeds(self) -> int:
        """Models of each arm and fold."""
        return self.options.seeds or (DEFAULT_SEEDS if self.data.folds == 1 else 1)

    @property
    def models(self) -> int:
        """Models of each arm: seed r is tested on fold r mod F, so that more seeds leave the first ones as they are."""
        return self.seeds * self.data.folds

    def __post_init__(self) -> None:
        for arm in self.arms:
            arm.refuse_steps(self.plan.steps(len(self.data.split.train)))

    @property
    def classes(self) -> int:
        """K."""
        return len(self.data.table.class_names)

    @property
    def resolved(self) -> dict[str, Any]:
        """What ``config.toml`` has for the options that were left to this comparison."""
        budget = {"epochs": self.plan.epochs, "batch_size": self.plan.batch_size, "model": self.model.name}
        return budget | {"folds": self.data.folds, "seeds": self.seeds}

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the data that a run reads; with a ladder the test rows wait until a strength is chosen."""
        return PARTS[:2] if self.options.ladder else PARTS

    def rows(self, *parts: str) -> Rows:
        """What gives the rows of some parts of a fold, by name; those of the last fold asked for are kept."""

        @lru_cache(maxsize=1)
        def of_fold(fold: int) -> dict[str, Part]:
            data = self.data.of_fold(fold)
            return {part: data.part(part) for part in parts}

        return of_fold

    def workers(self, runs: int) -> int:
        """How many processes share so many runs."""
        return max(1, min(self.options.workers or self.model.workers, runs))

    def tasks(self, folder: Path) -> list[RunTask]:
        """Every run, seed by seed, so that the arms of one seed train at one time and can be watched side by side."""
        folds = [self.data.of_fold(fold).inputs for fold in range(self.data.folds)]
        common = (self.model.name, self.classes, self.plan, folder)
        more = (self.options.pretrained, self.options.device, self.parts)
        return [
            RunTask(arm, seed, *common, folds[seed % len(folds)], *more, fold=seed % len(folds))
            for seed in range(self.models)
            for arm in self.arms
        ]


def prepared(options: Options, data: Data | None = None) -> Prepared:
    """Read the data if they are not given, choose the model, and set the budget."""
    data, design = rotate(prepare(options.data, options.roles()) if data is None else data, options.folds)
    if data.folds == 1 and (options.seeds or DEFAULT_SEEDS) < MIN_SEEDS:
        raise OptionError(
            f"--seeds must be at least {MIN_SEEDS} where there is one split, got {options.seeds}: fewer cannot tell an "
            "effect from luck"
        )
    if options.noise is not None:
        data = with_noise(data, noise_of(options.noise, data.table.class_names))
    model = choose_model(options, data)
    arms = _arms(options, data)
    _refuse_no_label(arms, len(data.table.class_names))
    return Prepared(options, data, model, _plan(options, model, len(data.split.train)), arms, design)


def _refuse_no_label(arms: Sequence[Arm], classes: int) -> None:
    """Refuse a strength that gives the label no more than each other class: nothing could be learnt from it."""
    for arm in arms:
        most = {"others": (classes - 1) / classes, "all": 1.0}.get(arm.over or "")
        if most is not None and arm.eps is not None and arm.eps >= most:
            raise OptionError(
                f"ε = {arm.eps:g} over {'the others' if arm.over == 'others' else 'all'} gives the label of {classes} "
                f"classes no more than every other class, so that nothing can be learnt; choose less than {most:.3g}"
            )


def _plan(options: Options, model: ChosenModel, rows: int) -> Plan:
    budget = {name: getattr(options, name) for name in ("epochs", "batch_size", "learning_rate")}
    more = {
        name: getattr(options, name) for name in ("weight_decay", "accumulate", "precision", "early_stop", "weights")
    }
    plan = default_plan(rows, **budget, least_epochs=model.least_epochs)
    plan = replace(plan, **more, augment=options.augmentations())
    if model.batch_norm:
        plan = without_a_batch_of_one(plan, rows, model.name, asked=options.batch_size is not None)
    refuse_small_parts(plan)
    return plan


def _arms(options: Options, data: Data) -> tuple[Arm, ...]:
    """What is trained; the first is one-hot unless --arm says otherwise."""
    if options.ladder:
        return candidates_of(options.strengths(), options.over)
    if options.arm:
        table = data.table
        soft, names = None if table.soft is None else table.soft[data.split.train], tuple(table.class_names)
        return tuple(arm_of(spec, data.labels("train"), len(names), soft, names) for spec in options.arms())
    return default_arms(options.eps, options.over)
