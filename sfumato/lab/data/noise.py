"""Labels made wrong on purpose: how often, by which table, and which rows got another label.

The labels of training and validation rows are drawn once, from a fixed seed and in the order of the rows' content, so
that every arm, seed, worker and machine sees the same ones. Test rows keep their labels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sfumato import theory
from sfumato.lab.data.labels import read_class_table
from sfumato.lab.data.table import DataError
from sfumato.messages import Note
from sfumato.theory.noise import distribution_fault

if TYPE_CHECKING:  # the records of a run need the extra lab, and errors of data are told without it
    from sfumato.runs.schema import NoiseDescription

NOISY_PARTS = ("train", "validation")  # those that a person would only have with wrong labels
_SEED = 2026
_NEAR_1 = 1e-6


@dataclass(frozen=True)
class LabelNoise:
    """A transition table, and what it was made from."""

    given: str  # as --noise has it: a rate, or the name of a file
    rate: float | None  # η of symmetric noise; None for a table
    transition: np.ndarray  # T, (K, K): row y says how often class y gets each label


@dataclass(frozen=True)
class NoisyLabels:
    """The labels of all rows after the noise, and the noise."""

    noise: LabelNoise
    labels: np.ndarray
    replaced: dict[str, int]

    def describe(self) -> NoiseDescription:
        """For ``env.json``."""
        table = None if self.noise.rate is not None else self.noise.transition.tolist()
        return {"given": self.noise.given, "rate": self.noise.rate, "transition": table, "replaced": self.replaced}

    def fingerprint(self) -> str:
        """SHA-256, in hex, of the labels: going on with a run must find the same."""
        return hashlib.sha256(self.labels.astype("<i8").tobytes()).hexdigest()

    def note(self) -> Note:
        """How many labels are others now, and what that does to the numbers."""
        changed = " and ".join(
            f"{self.replaced[part]:,} of the {'training' if part == 'train' else part} rows"
            for part in NOISY_PARTS
            if part in self.replaced
        )
        text = (
            f"By --noise {self.noise.given}, {changed} have another label, the same in every arm and seed. An early "
            "stop and a ladder go by validation rows with such labels, too, as they would where labels are wrong."
        )
        return Note(code="label-noise", text=text)


def rate_of(given: str) -> float | None:
    """The rate that ``--noise`` gives; None where it is no number, and so a file."""
    try:
        return float(given)
    except ValueError:
        return None


def validate(given: str) -> str | None:
    """What is wrong with a rate, whatever the data are; None if nothing is, and for a file."""
    rate = rate_of(given)
    return None if rate is None or 0 < rate < 1 else f"--noise must be a rate above 0 and below 1, got {given}"


def noise_of(given: str, classes: Sequence[str]) -> LabelNoise:
    """The noise that ``--noise`` asks for, of these classes."""
    rate = rate_of(given)
    if rate is None:
        if not Path(given).is_file():
            kinds = "a rate above 0 and below 1, or a CSV file with a transition table"
            raise DataError(f'--noise takes {kinds}; there is no file "{given}"')
        return LabelNoise(Path(given).name, None, read_table(Path(given), classes))
    most = (len(classes) - 1) / len(classes)
    if rate >= most:
        says = f"makes the right label no likelier than any other of {len(classes)} classes, so that labels say nothing"
        raise DataError(f"--noise {given} {says}; choose less than {most:.3g}")
    return LabelNoise(given, rate, theory.noise_transition(rate, len(classes), over="others"))


def noisy_labels(noise: LabelNoise, labels: np.ndarray, rows: Mapping[str, np.ndarray]) -> NoisyLabels:
    """Labels drawn from a noise."""
    draws = np.random.default_rng(_SEED)
    ends = noise.transition.cumsum(1)
    ends /= ends[:, -1:]
    drawn, replaced = labels.copy(), dict[str, int]()
    for part, here in rows.items():
        old = labels[here]
        new = (ends[old] <= draws.random(len(here))[:, None]).sum(1)
        drawn[here] = new
        replaced[part] = int((new != old).sum())
    return NoisyLabels(noise, drawn, replaced)


def read_table(path: Path, classes: Sequence[str]) -> np.ndarray:
    """A transition table from a CSV file: each line has the name of a class, then how often it gets each label."""
    table = read_class_table(path, classes, lambda share: 0 <= share <= 1, "is not a probability from 0 to 1", _shares)
    if (table.diagonal() == 1).all():
        raise DataError(f"{path} leaves every label as it is; leave out --noise")
    return table


def _shares(values: list[float], name: str) -> list[float]:
    """The shares of a line, which sum to 1."""
    if (fault := distribution_fault(np.array(values), _NEAR_1)) is not None:
        raise ValueError(f'the row of "{name}" must sum to 1, got {fault[2]:.9g}')
    total = sum(values)
    return [value / total for value in values]
