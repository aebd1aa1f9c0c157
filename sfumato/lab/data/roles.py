"""What each column of a table is for, by its name: as the options say, or as it is called."""

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from sfumato.io.tables import DataError
from sfumato.text import did_you_mean, listing, short

LABEL_NAMES = ("label", "target", "class", "y")
TABLE_OPTIONS = ("--label", "--label-probs", "--text", "--split", "--weight", "--group", "--drop", "--keep")


@dataclass(frozen=True)
class Roles:
    """Which columns of a table, or arrays of an archive, are for what."""

    label: str | None = None  # None for the first of label, target, class, y that there is
    label_probs: tuple[str, ...] | None = None  # probabilities, one column per class; names or patterns such as p_*
    text: str | None = None  # one column, or several with commas between, to be joined
    split: str | None = None  # says train, validation or test
    weight: str | None = None
    group: str | None = None  # equal values may not be split
    drop: tuple[str, ...] | None = None  # left out; names or patterns
    keep: tuple[str, ...] | None = None  # used even where they name the rows; names or patterns
    drop_unlabelled: bool = False  # whether rows without a label are left out
    image_size: int | None = None  # side in pixels to which a folder's images are brought
    tokenizer: str | None = None  # folder of a language model, whose tokens replace the text

    def asked(self) -> dict[str, str]:
        """The options that were given, as they are typed."""
        given = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "tokenizer"}
        return {
            f"--{name.replace('_', '-')}": ",".join(value) if isinstance(value, tuple) else str(value)
            for name, value in given.items()
            if value not in (None, False)
        }

    def refuse(self, file: str, why: str, *names: str) -> None:
        """Raise a DataError if one of these options was given."""
        for name, value in self.asked().items():
            if name in names:
                raise DataError(f'{name} "{value}" {why.format(file=file)}')

    def refuse_image_size(self, file: str) -> None:
        """Raise a DataError if a size of images was given, for ``file`` is no folder of images."""
        self.refuse(file, "is for folders of images, and {file} is not one; leave it out", "--image-size")


class Assigned(NamedTuple):
    """Positions of columns in the header, by what they are for."""

    target: int | None  # None where labels are soft
    probs: list[int]  # soft labels
    texts: list[int]  # to be joined
    others: dict[str, int]  # split, weight and group, where they were asked for
    dropped: dict[int, str]  # with the reason: --drop, or hard labels beside soft ones
    keep: frozenset[str]
    rest: list[int]


def assign(file: str, header: Sequence[str], roles: Roles) -> Assigned:
    """Find the column of each role."""
    probs = [j for name in roles.label_probs or () for j in _matching(file, header, name)]
    if len(probs) == 1:
        named = f'{file}: --label-probs names one column, "{short(header[probs[0]])}"'
        raise DataError(f"{named}; it needs one per class, with commas between: p_0,p_1,p_2")
    target = None if probs and roles.label is None else _label(file, header, roles.label)
    text = [] if roles.text is None else [roles.text]
    if roles.text is not None and roles.text not in header:
        text = [name.strip() for name in roles.text.split(",")]
    texts = [_find(file, header, name) for name in text]
    single = {"split": roles.split, "weight": roles.weight, "group": roles.group}
    others = {role: _find(file, header, name) for role, name in single.items() if name is not None}
    drop, keep = ([j for n in names or () for j in _matching(file, header, n)] for names in (roles.drop, roles.keep))
    taken = [*probs, *texts, *others.values(), *([] if target is None else [target])]
    for asked in (taken, [*taken, *dict.fromkeys(drop)], [*dict.fromkeys(drop), *dict.fromkeys(keep)]):
        twice = next((j for i, j in enumerate(asked) if j in asked[:i]), None)
        if twice is not None:
            raise DataError(f'{file}: column "{short(header[twice])}" is asked for in two roles; choose one')
    dropped = dict.fromkeys(drop, "left out by --drop")
    if target is None:  # a hard label beside soft ones would give the answer away
        hard = [j for j, name in enumerate(header) if name.lower() in LABEL_NAMES and j not in taken]
        dropped |= dict.fromkeys(hard, "left out: labels come from --label-probs")
    rest = [j for j in range(len(header)) if j not in taken and j not in dropped]
    if not rest and not texts:
        if drop:
            raise DataError(f"{file}: --drop leaves no column to learn from; leave at least one column out of --drop")
        named = listing([f'"{short(header[j])}"' for j in sorted({*taken, *dropped})])
        raise DataError(f"{file} has no column but {named}; add at least one column to learn from")
    return Assigned(target, probs, texts, others, dropped, frozenset(header[j] for j in keep), rest)


def _find(file: str, header: Sequence[str], name: str) -> int:
    if name in header:
        return header.index(name)
    hint = did_you_mean(name, header)
    raise DataError(f'{file} has no column "{name}".{hint} Columns: {listing(header)}')


def _matching(file: str, header: Sequence[str], name: str) -> list[int]:
    """The column of a name, or those of a pattern."""
    if name in header or not any(c in name for c in "*?["):
        return [_find(file, header, name)]
    matching = [j for j, own in enumerate(header) if fnmatch.fnmatchcase(own, name)]
    if not matching:
        raise DataError(f'{file} has no column like "{name}". Columns: {listing(header)}')
    return matching


def _label(file: str, header: Sequence[str], label: str | None) -> int:
    if label is not None:
        return _find(file, header, label)
    for wanted in LABEL_NAMES:
        for j, name in enumerate(header):
            if name.lower() == wanted:
                return j
    if len(header) == 1:
        needed = "it needs a column of labels and at least one to learn from"
        separated = "with commas, semicolons, tabs or | between the cells"
        raise DataError(f'{file} has one column only, "{short(header[0])}"; {needed}, {separated}')
    way_out = f"name the label column with --label. Columns: {listing(header)}"
    raise DataError(f"{file} has no column called label, target, class or y; {way_out}")
