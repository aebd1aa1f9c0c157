"""One arm of a comparison over its seeds: the mean and the spread of every metric, and what each seed's audit says.

Intervals of an audit take the rows as random and the model as it is. How far another training of the same arm would
move a number is what the spread over seeds shows.
"""

from __future__ import annotations

import collections
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfumato.evaluate.auditing.audit import Audit, audit
from sfumato.evaluate.scores.read_scores import FileError, read_scores, seeds_of_run


@dataclass(frozen=True)
class OverSeeds:
    """A number over seeds.

    Attributes:
        mean: its mean.
        sd: its standard deviation, with n − 1; None for one seed.
        values: its value for each seed.
    """

    mean: float
    sd: float | None
    values: tuple[float, ...]


@dataclass(frozen=True)
class ArmOverSeeds:
    """What the audits of the seeds of one arm say.

    Attributes:
        name: the arm.
        seeds: its seeds, in rising order.
        metrics: every metric that all seeds have.
        findings: each finding by its code, with the number of seeds that have it.
        answers: each answer on smoothing, with the number of seeds that give it.
    """

    name: str
    seeds: tuple[int, ...]
    metrics: dict[str, OverSeeds]
    findings: dict[str, int]
    answers: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """One JSON object; what is not finite is None."""
        return {
            "name": self.name,
            "seeds": list(self.seeds),
            "metrics": {
                name: {
                    "mean": _finite(number.mean),
                    "sd": _finite(number.sd),
                    "values": [_finite(value) for value in number.values],
                }
                for name, number in self.metrics.items()
            },
            "findings": dict(self.findings),
            "smoothing_answers": dict(self.answers),
        }


def audit_run(folder: Path) -> list[ArmOverSeeds]:
    """The audits of every arm and seed of the folder of a comparison, on its test rows."""
    arms: list[ArmOverSeeds] = []
    for arm, paths in seeds_of_run(folder).items():
        arms.append(over_seeds(arm, {seed: _audit_file(path) for seed, path in paths.items()}))
    return arms


def over_seeds(name: str, audits: Mapping[int, Audit]) -> ArmOverSeeds:
    """Gather the audits of one arm, by seed.

    >>> import numpy as np
    >>> from sfumato.evaluate import audit
    >>> labels = np.arange(40) % 2
    >>> logits = [np.eye(2)[labels ^ (np.arange(40) < wrong)] for wrong in (4, 8)]
    >>> arm = over_seeds("one-hot", {seed: audit(logits=z * 3, labels=labels) for seed, z in enumerate(logits)})
    >>> accuracy = arm.metrics["accuracy"]
    >>> round(accuracy.mean, 3), round(accuracy.sd, 3), accuracy.values
    (0.85, 0.071, (0.9, 0.8))
    """
    found = [audits[seed] for seed in sorted(audits)]
    shared = [metric for metric in found[0].metrics if all(metric in each.metrics for each in found)]
    return ArmOverSeeds(
        name,
        tuple(sorted(audits)),
        {metric: _over([each.metrics[metric].value for each in found]) for metric in shared},
        dict(collections.Counter(finding.code for each in found for finding in each.findings)),
        dict(collections.Counter(each.evidence.answer for each in found)),
    )


def _audit_file(path: Path) -> Audit:
    file = read_scores(str(path))
    if file.soft is None and file.labels is None:
        raise FileError(f"{path} has no labels")
    return audit(logits=file.scores, **file.truth)


def _over(values: list[float]) -> OverSeeds:
    if not all(map(math.isfinite, values)):
        return OverSeeds(math.nan, None, tuple(values))
    return OverSeeds(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, tuple(values))


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
