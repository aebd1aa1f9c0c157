"""What training sees: a table, split, and encoded by what its training rows alone have shown."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from sfumato.lab.data.encoding import Columns, Numbers
from sfumato.lab.data.leaks import leaks, near_copies, parts_differ
from sfumato.lab.data.noise import NOISY_PARTS, LabelNoise, NoisyLabels, noisy_labels
from sfumato.lab.data.roles import Roles
from sfumato.lab.data.sources import load
from sfumato.lab.data.split import Split, order_by_content, rotated, split
from sfumato.lab.data.table import PARTS, DataError, DataWarning, Encoder, Inputs, Table
from sfumato.lab.data.text import Texts
from sfumato.messages import Note
from sfumato.text import nearest, plural


@dataclass(frozen=True)
class Part:
    """The rows of one part, in content order; all arrays of one length n."""

    index: np.ndarray  # row numbers in the table
    features: np.ndarray  # as Inputs describes them
    labels: np.ndarray  # int64
    group: np.ndarray | None = None  # equal for rows that are one piece of evidence: of equal content, or of one group
    weight: np.ndarray | None = None  # float32
    soft: np.ndarray | None = None  # (n, K) float32


@dataclass(frozen=True)
class Data:
    """A table ready for training.

    The ``fingerprint`` is SHA-256, in hex, of all that training sees of the table, whatever the order of its rows:
    features, labels before any noise, class names, soft labels, weights, groups and given parts.
    """

    table: Table
    split: Split  # of the first fold, where the rows are rotated through several
    encoder: Encoder  # fitted to the training rows
    fingerprint: str
    noisy: NoisyLabels | None = None  # labels made wrong on purpose
    rotation: tuple[Split, ...] = ()  # a split for each fold; empty where there is one split

    @property
    def folds(self) -> int:
        """How many test parts there are, each tested by models of its own."""
        return max(1, len(self.rotation))

    @property
    def tested(self) -> np.ndarray:
        """Row numbers of all test rows, those of the first fold first."""
        return np.concatenate([each.test for each in self.rotation or (self.split,)])

    @cached_property
    def encoders(self) -> tuple[Encoder, ...]:
        """The encoder of each fold, each fitted to its own training rows."""
        features, name = self.table.features, self.table.called
        return (self.encoder, *(features.fit(each.train, name) for each in self.rotation[1:]))

    def of_fold(self, fold: int) -> Data:
        """The data as the models of a fold see them, whose encoder knows the training rows of this fold alone."""
        return self if fold == 0 else replace(self, split=self.rotation[fold], encoder=self.encoders[fold])

    @property
    def inputs(self) -> Inputs:
        """The form of a row for a model."""
        return self.encoder.inputs

    def arrays(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Features and labels of one part.

        >>> data = prepare("digits")
        >>> features, labels = data.arrays("train")
        >>> features.shape, features.dtype, labels.dtype, data.fingerprint[:8]
        ((1078, 64), dtype('float32'), dtype('int64'), 'fe23471d')
        """
        if part not in PARTS:
            close = nearest(part, PARTS) or PARTS[0]
            raise ValueError(f'no part "{part}"; did you mean "{close}"? Parts: {", ".join(PARTS)}')
        return self.encoder.encode(getattr(self.split, part)), self.labels(part)

    def labels(self, part: str) -> np.ndarray:
        """The labels of one part, (n,) int64, as they are trained on: after the noise, if there is any."""
        labels = self.table.labels if self.noisy is None or part not in NOISY_PARTS else self.noisy.labels
        return labels[getattr(self.split, part)]

    def part(self, part: str) -> Part:
        """All that is known of the rows of one part."""
        features, labels = self.arrays(part)
        rows: np.ndarray = getattr(self.split, part)
        weight, soft = (
            None if each is None else each[rows].astype(np.float32) for each in (self.table.weight, self.table.soft)
        )
        return Part(rows, features, labels, self.split.cluster[rows], weight, soft)

    @cached_property
    def warnings(self) -> tuple[DataWarning, ...]:
        """What may make a result less than it seems: columns that tell the label, copies that do not agree."""
        table, split = self.table, self.split
        rows = np.concatenate([split.train, split.validation, split.test])
        found = [*table.warnings, *leaks(table, rows, split.cluster), *parts_differ(table, split)]
        found += near_copies(table, split.cluster)
        if split.disagreeing:
            have = "has" if split.disagreeing == 1 else "have"
            text = f"{plural(split.disagreeing, 'row')} {have} the content of another row but another label"
            found.append(DataWarning("duplicates-disagree", None, f"{text}: no model can be right on all of them."))
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
            takes = f"one-hot trains on the labels given with them, and accuracy takes the likeliest class{tied}"
            if (table.labels == table.soft.argmax(axis=1)).all():
                takes = f"the likeliest class{tied} is the label that one-hot trains on and accuracy takes"
            others = "--arm soft trains on the probabilities themselves, and all other numbers are against these"
            text = f"Labels are soft: {takes}; {others}."
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
        """What was found, for the record: form, balance, duplicates, gaps."""
        table, split = self.table, self.split
        counts = {p: np.bincount(self.labels(p), minlength=len(table.class_names)) for p in PARTS}
        features = table.features
        others = features.others if isinstance(features, Texts) else features
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
            "missing": others.missing() if isinstance(others, Columns) else {},
            "soft_labels": table.soft is not None,
            "weights": table.weight is not None,
            "groups": None if table.group is None else len(np.unique(table.group)),
            **({} if self.noisy is None else {"noise": self.noisy.describe()}),
            **table.found,
        }


def prepare(source: str, roles: Roles | None = None) -> Data:
    """Read, split (60 : 20 : 20 unless the data say otherwise) and encode a data set."""
    return prepare_table(load(source, roles))


def prepare_table(table: Table) -> Data:
    """:func:`prepare` for a table that has been read."""
    hashes = table.features.hashes()
    parts = split(table, hashes=hashes)
    if len(np.unique(parts.cluster[parts.test])) < 2:
        way_out = "all test rows are equal, so nothing says how far rows differ; give others"
        if table.group is not None:
            way_out = (
                "all test rows are of one group, so nothing says how far groups differ; give rows of more groups, or "
                "leave --group out if rows of one do not vary together"
            )
        raise DataError(f"{table.called}: {way_out}")
    encoder = table.features.fit(parts.train, table.called)
    return Data(table, parts, encoder, _fingerprint(table, hashes, parts.cluster))


def with_noise(data: Data, noise: LabelNoise) -> Data:
    """The data with the labels of training and validation rows drawn from a noise."""
    if data.table.soft is not None:
        raise DataError("--noise replaces classes by others, and these data have soft labels; leave one of them out")
    rows = {part: getattr(data.split, part) for part in NOISY_PARTS}
    if data.rotation:  # every row trains in some fold
        rows = {"train": np.concatenate([data.split.train, data.split.validation, data.split.test])}
    return replace(data, noisy=noisy_labels(noise, data.table.labels, rows))


MAX_ROTATED = 20_000
"""Rows up to which folds are rotated by default: beyond, one test part is large enough, and folds take memory."""

FOLDS = 5
"""Folds by default."""


def rotate(data: Data, folds: int | None) -> tuple[Data, Note]:
    """The data in so many folds, and a note on how the rows are used; None for as many as serve these data."""
    table, rows = data.table, len(data.table.labels)
    why = ""
    if table.part is not None:
        why = f"the data say which rows are for what ({', '.join(data.split.given)})"
        if folds not in (None, 1):
            raise DataError(f"--folds {folds} would deal the rows anew, but {why}; leave one of them out")
    elif folds is None and rows > MAX_ROTATED:
        why = f"there are more than {MAX_ROTATED:,} rows"
    elif folds == 1:
        why = "--folds 1 asks for it"
    else:
        try:
            rotation = rotated(table, folds or FOLDS)
        except DataError as error:
            if folds is not None:
                raise
            why = str(error).removeprefix(f"{table.called}: ")
        else:
            first = replace(data, split=rotation[0], rotation=rotation)
            text = (
                f"The rows are rotated through {len(rotation)} folds: each model trains on "
                f"{len(rotation) - 2} of {len(rotation)} parts, its temperature is fitted on another, and the last "
                "tests it, so that every row is tested once."
            )
            encoder = table.features.fit(rotation[0].train, table.called)
            return replace(first, encoder=encoder), Note(code="folds", text=text)
    share = len(data.split.test) / rows
    return data, Note(code="one-split", text=f"One split, of which {share:.0%} of the rows test every model: {why}.")


def _fingerprint(table: Table, hashes: np.ndarray, cluster: np.ndarray, chunk: int = 2**16) -> str:
    features, order = table.features, order_by_content(hashes, table.labels)
    shape = features.shape if isinstance(features, Numbers) else type(features).__name__
    digest = hashlib.sha256(json.dumps([shape, table.class_names]).encode())
    if isinstance(features, Numbers):
        for start in range(0, len(order), chunk):
            digest.update((features.values[order[start : start + chunk]] + 0.0).astype("<f8").tobytes())
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
