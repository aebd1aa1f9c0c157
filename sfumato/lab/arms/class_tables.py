"""Arms whose target is a row of a table: of an order, a likeness, a tree or confusions, or learned while training.

A table says nothing of ε, so the ``eps`` of an arm with a fixed table is the mass that leaves the label on average over
the training rows.
"""

from __future__ import annotations

import contextlib
import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.lab.arms.kind import (
    NUMBERS,
    Arm,
    ArmKind,
    ArmSpec,
    MeasuredArm,
    Parameter,
    TrainingLabels,
    Words,
    floor_and_gap,
)
from sfumato.lab.arms.smoothing import STRENGTH
from sfumato.lab.errors import ArmError, OptionError
from sfumato.text import did_you_mean, short

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import Tensor

    from sfumato.lab.train.objectives import OnlineLoss
    from sfumato.targets.base import Target

    Column: TypeAlias = npt.NDArray[np.float64]


def _ordinal(spec: ArmSpec, rows: TrainingLabels) -> Arm:
    """Mass that falls with the distance along an order: that of class names that are numbers, or of a file."""
    import torch

    from sfumato.class_tables import ordinal

    tau, file = spec.named["tau"], spec.named["file"]
    values = _values_of(rows.class_names) if file == NUMBERS else _values_in(Path(file), rows.class_names)
    if (twice := next((value for value in values if values.count(value) > 1), None)) is not None:
        one, other, *_ = (short(name) for name, value in zip(rows.class_names, values, strict=True) if value == twice)
        raise OptionError(
            f'--arm ordinal: "{one}" and "{other}" both have the value {twice:g}, so that nothing tells them apart; '
            "give each class a value of its own in a CSV file: ordinal:0.5:order.csv"
        )
    table = ordinal(torch.tensor(values, dtype=torch.float64), tau).numpy()
    return _rows_arm(spec, "order", table, rows.shares)


def _hierarchy(spec: ArmSpec, rows: TrainingLabels) -> Arm:
    """Mass that falls with the height of the branch that two classes share in a tree."""
    import torch

    from sfumato.class_tables import hierarchy

    file, beta = spec.named["file"], spec.named["beta"]
    try:
        table = hierarchy(file, beta, classes=rows.class_names, dtype=torch.float64)
    except OSError as error:
        raise OptionError(f"--arm hierarchy:{file}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise OptionError(f"--arm hierarchy: {error}") from None
    return _rows_arm(spec, "tree", table.numpy(), rows.shares)


def _similarity(spec: ArmSpec, rows: TrainingLabels) -> Arm:
    """Mass that grows with the likeness of two classes, which the user gives for each two."""
    import torch

    from sfumato.class_tables import similarity
    from sfumato.class_tables.tables import more_like_another

    file, tau = spec.named["file"], spec.named["tau"]
    likeness = _class_table(
        spec, rows.class_names, "how much it resembles each class, itself most", math.isfinite, "is not a number"
    )
    if (pair := more_like_another(torch.from_numpy(likeness))) is not None:
        y, k = pair
        one, other = (short(rows.class_names[place]) for place in pair)
        raise OptionError(
            f'--arm similarity:{file}: "{one}" resembles "{other}" more than itself, {likeness[y, k]:g} against '
            f"{likeness[y, y]:g}. Give distances as negative numbers"
        )
    table = similarity(torch.from_numpy(likeness), tau).numpy()
    return _rows_arm(spec, "likeness", table, rows.shares)


def _confusion(spec: ArmSpec, rows: TrainingLabels) -> Arm:
    """A share ε to the classes that each class is taken for, counted by the user on rows of neither part."""
    import torch

    from sfumato.class_tables import confusion

    file, eps = spec.named["file"], spec.named["eps"]
    where = f"--arm confusion:{file}"
    counts = _class_table(
        spec,
        rows.class_names,
        "how many of its rows were predicted as each class",
        lambda count: 0 <= count < math.inf,
        "is not a count, which is a number from 0",
    )
    if counts.sum() == counts.trace():
        raise OptionError(
            f"{where}: no class was ever taken for another one, so that this is plain smoothing: use others:{eps:g}"
        )
    table = confusion(torch.from_numpy(counts), eps, over="others", shrinkage=_SHRINKAGE).numpy()
    _refuse_wrong_answers(f"{where}:{eps:g}", table, eps, rows.class_names)
    return replace(_rows_arm(spec, "confusions", table, rows.shares), eps=eps)


def _online(spec: ArmSpec, rows: TrainingLabels) -> Arm:
    """Online smoothing: a share ε to what the model itself says of rows of the class that it gets right."""
    from sfumato import theory

    (eps,) = spec.numbers
    even = theory.loss_floor(eps, rows.num_classes, over="all")  # of the first epoch
    return _OnlineArm(spec.arm_name, eps, "own predictions", even, math.inf, words=spec.kind.words)


def _rows_arm(spec: ArmSpec, over: str, table: Column, shares: Column) -> RowsArm:
    floor, gap = floor_and_gap(table, shares)
    off = float((1 - table.diagonal()) @ shares)
    rows = tuple(tuple(row) for row in table.tolist())
    return RowsArm(spec.arm_name, off, over, floor, gap, rows, words=spec.kind.words)


@dataclass(frozen=True)
class RowsArm(MeasuredArm):
    """The whole target of each class is a row of a table."""

    rows: tuple[tuple[float, ...], ...]

    def loss(self) -> torch.nn.Module:
        import torch

        from sfumato.lab.train.objectives import TargetLoss
        from sfumato.targets.labelled import smooth_rows

        table = torch.tensor(self.rows, dtype=torch.float64)

        def make_target(logits: Tensor, labels: Tensor) -> Target:
            return smooth_rows(labels, table.to(logits.device, torch.promote_types(logits.dtype, torch.float32)))

        return TargetLoss(make_target)

    def target(self, label: int, num_classes: int) -> list[float]:
        return list(self.rows[label])


@dataclass(frozen=True)
class _OnlineArm(MeasuredArm):
    """(1−ε)·e_y + ε·S_y, where S is learned; the floor moves with it, and the loop asks the loss for it.

    The gap is infinite: S rests only where it is what the model says, p = (1−ε)·e_y + ε·p, and then p = e_y.
    """

    def loss(self) -> torch.nn.Module:
        from sfumato.lab.train.objectives import OnlineLoss

        return OnlineLoss(self.strength)

    def target(self, label: int, num_classes: int) -> list[float]:
        """That of the first epoch, in which S is even."""
        return Arm(self.name, self.strength, "all").target(label, num_classes)

    def verify(self, loss: Any, num_classes: int) -> list[float]:
        """Probe the loss against the S that it learned, mixed with this arm's strength."""
        import numpy as np

        from sfumato.lab.train.objectives import OnlineLoss

        table = loss.table(num_classes) if isinstance(loss, OnlineLoss) else None
        if table is None or not (table >= 0).all() or np.abs(table.sum(1) - 1).max() > 1e-9:
            raise ArmError(f'arm "{self.name}" should have learned a table of targets, and its loss has none')
        mixed = (1 - self.strength) * np.eye(num_classes) + self.strength * table
        own = RowsArm(self.name, self.strength, self.over, 0.0, 0.0, tuple(tuple(row) for row in mixed.tolist()))
        online: OnlineLoss = loss
        online.eval()  # a probe must not teach it anything
        return own.verify(online, num_classes)


_SHRINKAGE = 1.0
"""Rows that are added to the confusions of each class, evenly, so that no class has a target of 0."""


def _class_table(
    spec: ArmSpec, names: Sequence[str], cells: str, allowed: Callable[[float], bool], wrong: str
) -> Column:
    """The user's table of numbers for each two classes, refused with what it must be; ``cells`` says what it holds."""
    from sfumato.lab.data.labels import read_class_table
    from sfumato.lab.data.table import DataError

    (file,), kind = spec.files, spec.kind.name
    must = (
        "It must be a CSV file with the names of the classes in its first line, and a line for each class with its "
        f"name and {cells}"
    )
    if not Path(file).is_file():
        raise OptionError(f"--arm {kind}:{file}: there is no such file. {must}")
    try:
        return read_class_table(Path(file), names, allowed, wrong)
    except DataError as error:
        raise OptionError(f"--arm {kind}: {error}. {must}") from None


def _refuse_wrong_answers(where: str, table: Column, eps: float, names: Sequence[str]) -> None:
    """Refuse a strength at which another class would get as much as the label: the model would learn wrong answers."""
    import numpy as np

    off = table - np.diag(table.diagonal())
    y, k = (int(place) for place in np.unravel_index(int(off.argmax()), off.shape))
    if off[y, k] >= table[y, y]:
        most = 1 / (1 + float(off[y, k]) / eps)
        raise OptionError(
            f'{where} gives the class "{short(names[k])}" {off[y, k]:.3g} in the target of "{short(names[y])}", whose '
            f"own share is {table[y, y]:.3g}: the model would learn a wrong answer; choose less than {most:.3g}"
        )


def _values_of(names: Sequence[str]) -> list[float]:
    """The numbers that the classes are called, as their order."""
    values = [_finite(name) for name in names]
    if None in values:
        raise OptionError(
            f'--arm ordinal needs an order of the classes, and "{short(names[values.index(None)])}" is no number. Give '
            "a CSV file with a line for each class, its name and its value: ordinal:0.5:order.csv"
        )
    return [value for value in values if value is not None]


def _finite(text: str) -> float | None:
    """The number that a text is, if it is a finite one."""
    with contextlib.suppress(ValueError):
        return number if math.isfinite(number := float(text)) else None


def _values_in(path: Path, names: Sequence[str]) -> list[float]:
    """The value of each class in a CSV file of names and values, one class per line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [(number, row) for number, row in enumerate(csv.reader(file), 1) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise OptionError(f"--arm ordinal: {path} cannot be read as CSV: {error}") from None
    values: dict[str, float] = {}
    for number, row in lines:
        where = f"--arm ordinal: {path}, line {number}"
        if len(row) != 2:
            raise OptionError(f"{where} must have the name of a class and its value, got {len(row)} cells")
        name = row[0].strip()
        if name not in names:
            raise OptionError(f'{where}: "{short(name)}" is not a class.{did_you_mean(name, names)}')
        if name in values:
            raise OptionError(f'{where}: the class "{short(name)}" has a value already')
        value = _finite(row[1])
        if value is None:
            raise OptionError(f'{where}: "{short(row[1].strip())}" is not a number')
        values[name] = value
    if (missing := next((name for name in names if name not in values), None)) is not None:
        raise OptionError(f'--arm ordinal: {path} has no value for the class "{short(missing)}"')
    return [values[name] for name in names]


def _table_words(strength: str, code: str) -> Words:
    """The words of a fixed table, whose strength is the mass off the label, from what it follows and how it is made."""
    return Words(
        strength=f"targets that {strength}; {{eps:.2g}} of the mass is off the label on average)",
        code=f"rows = {code}  # once, as this arm was told\ntarget = sf.smooth_rows(labels, rows)\n"
        "loss = sf.cross_entropy(logits, target)",
        code_strength="{eps:g} of the mass off the label on average",
    )


_TAU = Parameter("tau", "its scale τ", "above 0 and at most 1000", lambda tau: 0 < tau <= 1000)
_TREE_BETA = Parameter("beta", "its sharpness β", "above 0 and at most 1000", lambda beta: 0 < beta <= 1000)

CLASS_TABLES = (
    ArmKind(
        "ordinal",
        "ordinal:0.5",
        "the row R_y, R_yk ∝ exp(−abs(r_k − r_y)/τ), r the classes' numbers, or their values in a file",
        _ordinal,
        (_TAU, Parameter("file", "its file of classes and values", "a CSV file", default=NUMBERS)),
        note="τ, for classes that are numbers; else add a file of their values: ordinal:0.5:order.csv",
        words=_table_words(
            "fall with distance in the order of the classes (sf.class_tables.ordinal",
            "sf.class_tables.ordinal(values, tau)",
        ),
    ),
    ArmKind(
        "similarity",
        "similarity:likeness.csv:0.25",
        "the row R_y, R_yk ∝ exp(s_yk/τ), s the likeness of two classes in a file",
        _similarity,
        (Parameter("file", "its file of likenesses", "a CSV file"), _TAU),
        note="a table of how much the classes resemble each other, and τ",
        words=_table_words(
            "rise with the likeness of the classes (sf.class_tables.similarity",
            "sf.class_tables.similarity(likeness, tau)",
        ),
    ),
    ArmKind(
        "hierarchy",
        "hierarchy:tree.json:5",
        "the row R_y, R_yk ∝ exp(−β·d(k, y)/d_max), d the height of the lowest node above both in a tree",
        _hierarchy,
        (Parameter("file", "its tree", "a JSON file"), _TREE_BETA),
        note="a tree of the classes, and β",
        words=_table_words(
            "fall with distance in the tree of the classes (sf.class_tables.hierarchy",
            'sf.class_tables.hierarchy("tree.json", beta, classes=names)',
        ),
    ),
    ArmKind(
        "confusion",
        "confusion:counts.csv:0.1",
        "(1−ε)·e_y + ε·π_y, π_yk = (C_yk + 1/(K−1))/(Σ_j C_yj + 1), j and k among the others, C counts in a file",
        _confusion,
        (Parameter("file", "its file of counts", "a CSV file"), replace(STRENGTH, default=0.1)),
        note="spread by a table of confusions that you counted on other rows",
        words=Words(
            strength="ε = {eps:g} over the other classes by how often each class is taken for them "
            "(sf.class_tables.confusion; torch's label_smoothing cannot express it)",
            code="rows = sf.class_tables.confusion(  # counts (K, K), once\n"
            '    counts, {eps:g}, over="others", shrinkage=1\n)\n'
            "target = sf.smooth_rows(labels, rows)\nloss = sf.cross_entropy(logits, target)",
            code_strength="{eps:g} over the confusions",
        ),
    ),
    ArmKind(
        "online",
        "online:0.5",
        "(1−ε)·e_y + ε·S_y, S the mean of the model's own right predictions in the last epoch",
        _online,
        (STRENGTH,),
        note="online smoothing",
        words=Words(
            strength="ε = {eps:g} to the model's own right predictions of the class (sf.OnlineSmoothing)",
            title="{name} (own predictions)",
            code="criterion = sf.OnlineSmoothing(K, {eps:g})  # criterion.end_epoch() after each epoch\n"
            "loss = criterion(logits, labels)",
            code_strength="{eps:g} to its own right predictions",
        ),
    ),
)
