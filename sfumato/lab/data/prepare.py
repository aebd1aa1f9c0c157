"""What training sees: a table, split, and encoded by what its training rows alone have shown."""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from sfumato.lab.data.encoding import Columns, Numbers
from sfumato.lab.data.leaks import leaks
from sfumato.lab.data.noise import NOISY_PARTS, LabelNoise, NoisyLabels, noisy_labels
from sfumato.lab.data.roles import Roles
from sfumato.lab.data.sources import load
from sfumato.lab.data.split import SHARES, Split, order_by_content, split_by_content
from sfumato.lab.data.table import PARTS, DataError, DataWarning, Encoder, Inputs, Table
from sfumato.messages import Note
from sfumato.text import nearest, plural

_CHUNK = 2**16  # rows copied at a time


@dataclass(frozen=True)
class Part:
    """The rows of one part, in content order; all arrays of one length n.

    Attributes:
        index: row numbers in the table.
        features: as ``Inputs`` describes them.
        labels: int64.
        group: equal numbers for rows that are one piece of evidence: of equal content, or of one group.
        weight: float32, or None where rows have no weights.
        soft: (n, K) float32, or None where labels are hard.
    """

    index: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    group: np.ndarray | None = None
    weight: np.ndarray | None = None
    soft: np.ndarray | None = None


@dataclass(frozen=True)
class Data:
    """A table ready for training.

    Attributes:
        table: what was read.
        split: which rows are for what.
        encoder: fitted to the training rows.
        fingerprint: SHA-256, in hex, of all that training sees of the table: features, labels before any noise, class
            names, and where there are any, soft labels, weights, groups and given parts. The order of rows in the file
            does not change it.
        noisy: labels made wrong on purpose; None where they are as they were.
    """

    table: Table
    split: Split
    encoder: Encoder
    fingerprint: str
    noisy: NoisyLabels | None = None

    @property
    def inputs(self) -> Inputs:
        """The form of a row for a model."""
        return self.encoder.inputs

    def arrays(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Features and labels of one part.

        >>> features, labels = prepare("digits").arrays("train")
        >>> features.shape, features.dtype, labels.dtype
        ((1078, 64), dtype('float32'), dtype('int64'))
        """
        if part not in PARTS:
            close = nearest(part, PARTS) or PARTS[0]
            raise ValueError(f'no part "{part}"; did you mean "{close}"? Parts: {", ".join(PARTS)}')
        rows: np.ndarray = getattr(self.split, part)
        return self.encoder.encode(rows), self.labels(part)

    def labels(self, part: str) -> np.ndarray:
        """The labels of one part, (n,) int64, as they are trained on: after the noise, if there is any."""
        labels = self.table.labels if self.noisy is None or part not in NOISY_PARTS else self.noisy.labels
        return labels[getattr(self.split, part)]

    def part(self, part: str) -> Part:
        """All that is known of the rows of one part."""
        features, labels = self.arrays(part)
        rows: np.ndarray = getattr(self.split, part)
        weight, soft = self.table.weight, self.table.soft
        return Part(
            rows,
            features,
            labels,
            self.split.cluster[rows],
            None if weight is None else weight[rows].astype(np.float32),
            None if soft is None else soft[rows].astype(np.float32),
        )

    @cached_property
    def warnings(self) -> tuple[DataWarning, ...]:
        """What may make a result less than it seems: columns that tell the label, copies that do not agree."""
        table, split = self.table, self.split
        rows = np.concatenate([split.train, split.validation, split.test])
        found = [*table.warnings, *leaks(table, rows, split.cluster)]
        if disagreeing := split.disagreeing:
            found.append(
                DataWarning(
                    "duplicates-disagree",
                    None,
                    f"{plural(disagreeing, 'row')} {'has' if disagreeing == 1 else 'have'} the content of another row "
                    "but another label: no model can be right on all of them.",
                )
            )
        found += [DataWarning("duplicates-across-parts", None, text) for text in split.across]
        return tuple(found)

    @cached_property
    def notes(self) -> tuple[Note, ...]:
        """What a reader should know of the data: read, split, encoded."""
        found = [*self.table.notes, *self.split.notes, *self.encoder.notes]
        table = self.table
        if table.soft is not None:
            top = table.soft.max(axis=1, keepdims=True)
            ties = int(((table.soft == top).sum(axis=1) > 1).sum())
            tied = f" (of {plural(ties, 'tie')}, the first class)" if ties else ""
            own = (table.labels == table.soft.argmax(axis=1)).all()
            takes = (
                f"the likeliest class{tied} is the label that one-hot trains on and accuracy takes"
                if own
                else f"one-hot trains on the labels given with them, and accuracy takes the likeliest class{tied}"
            )
            text = (
                f"Labels are soft: {takes}; --arm soft trains on the probabilities themselves, and all other numbers "
                "are against these."
            )
            found.append(Note(code="soft-labels", text=text))
        if table.weight is not None:
            low, high = float(table.weight.min()), float(table.weight.max())
            text = f"Row weights ({low:g} to {high:g}) count in training; metrics count every row once."
            found.append(Note(code="row-weights", text=text))
        if table.group is not None:
            groups = len(np.unique(table.group))
            text = f"{plural(groups, 'group')} stay whole, and count as one piece of evidence each in intervals."
            found.append(Note(code="groups", text=text))
        if self.noisy is not None:
            found.append(self.noisy.note())
        return tuple(found)

    def describe(self) -> dict[str, Any]:
        """What was found, for the record: form, balance, duplicates, gaps.

        >>> prepare("digits").describe()["balance"]["0"]
        {'train': 107, 'validation': 36, 'test': 35}
        """
        table, split = self.table, self.split
        counts = {p: np.bincount(self.labels(p), minlength=len(table.class_names)) for p in PARTS}
        features = table.features
        shape = features.shape if isinstance(features, Numbers) else self.inputs.shape
        return {
            "kind": table.kind,
            "fingerprint": self.fingerprint,
            "class_names": list(table.class_names),
            "balance": {name: {p: int(counts[p][k]) for p in PARTS} for k, name in enumerate(table.class_names)},
            "inputs": self.inputs.describe(),
            "features": self.inputs.width,
            "shape": list(shape),
            "duplicates": split.duplicates,
            "disagreeing": split.disagreeing,
            "shared_with_training": split.shared,
            "given_parts": list(split.given),
            "missing": features.missing() if isinstance(features, Columns) else {},
            "soft_labels": table.soft is not None,
            "weights": table.weight is not None,
            "groups": None if table.group is None else len(np.unique(table.group)),
            **({} if self.noisy is None else {"noise": self.noisy.describe()}),
            **table.found,
        }


def prepare(source: str, roles: Roles | None = None) -> Data:
    """Read, split (60 : 20 : 20 unless the data say otherwise) and encode a data set.

    >>> data = prepare("digits")
    >>> data.inputs.describe(), data.fingerprint[:8]
    ('64 features (8 × 8)', 'fe23471d')
    """
    return prepare_table(load(source, roles))


def prepare_table(table: Table) -> Data:
    """:func:`prepare` for a table that has been read."""
    hashes = table.features.hashes()
    parts = split_by_content(table, hashes, *SHARES[1:])
    if len(np.unique(parts.cluster[parts.test])) < 2:
        if table.group is None:
            raise DataError(
                f"{table.called}: all test rows are equal, so nothing says how far rows differ; give others"
            )
        raise DataError(
            f"{table.called}: all test rows are of one group, so nothing says how far groups differ; give rows of more "
            "groups, or leave --group out if rows of one do not vary together"
        )
    encoder = table.features.fit(parts.train, table.called)
    return Data(table, parts, encoder, _fingerprint(table, hashes, parts.cluster))


def with_noise(data: Data, noise: LabelNoise) -> Data:
    """The data with the labels of training and validation rows drawn from a noise."""
    if data.table.soft is not None:
        raise DataError("--noise replaces classes by others, and these data have soft labels; leave one of them out")
    rows = {part: getattr(data.split, part) for part in NOISY_PARTS}
    return replace(data, noisy=noisy_labels(noise, data.table.labels, rows))


def _fingerprint(table: Table, hashes: np.ndarray, cluster: np.ndarray) -> str:
    features, order = table.features, order_by_content(hashes, table.labels)
    shape = features.shape if isinstance(features, Numbers) else type(features).__name__
    digest = hashlib.sha256(json.dumps([shape, table.class_names]).encode())
    if isinstance(features, Numbers):
        for start in range(0, len(order), _CHUNK):
            digest.update((features.values[order[start : start + _CHUNK]] + 0.0).astype("<f8").tobytes())
    else:
        digest.update(hashes[order].astype("<u8").tobytes())
    digest.update(table.labels[order].astype("<i8").tobytes())
    for extra in (table.soft, table.weight):
        if extra is not None:
            digest.update(extra[order].astype("<f8").tobytes())
    if table.group is not None:  # clusters are numbered by content, and groups as they come in the file
        digest.update(cluster[order].astype("<i8").tobytes())
    if table.part is not None:  # copies of a row may be in several parts
        by_part = np.lexsort((table.part, table.labels, hashes[:, 1], hashes[:, 0]))
        digest.update(table.part[by_part].astype("<i8").tobytes())
    return digest.hexdigest()
