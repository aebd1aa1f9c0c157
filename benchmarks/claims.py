"""Eighteen published claims about label smoothing, each with a condition that was written down before it was run.

    python benchmarks/claims.py --packages build/packages           # goes on where it was stopped
    python benchmarks/claims.py --only gap,teacher --again          # measure these once more
    python benchmarks/claims.py --write                             # the page, out of the rows

A claim is a function that measures numbers, and a predicate that says from these numbers alone whether the claim held.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch are loaded

import argparse
import datetime
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claims_data import KINDS, SEEDS, Trained
from claims_own_training import (
    bounded_gap_of_the_confidence_penalty,
    label_relaxation,
    labels_with_noise,
    maxsup,
    negative_smoothing,
    online_smoothing,
    students,
)
from claims_trained import (
    accuracy,
    calibration,
    calibration_after_temperature,
    calibration_by_strength,
    clusters,
    gap,
    logit_norm,
    ranking,
    steps_to_a_gap,
    temperatures,
)
from data_sets import MissingError, Places, add_places
from hardware import environment
from when import CACHE, ENVIRONMENT

from sfumato.io.atomic import write_lines

ROWS = Path(__file__).parent / "claims.jsonl"

Numbers = Mapping[str, Any]


@dataclass(frozen=True)
class Claim:
    """A published claim, and when it counts as reproduced here."""

    name: str
    says: str
    source: str
    data: str
    condition: str  # what holds, in words
    holds: Callable[[Numbers], bool]  # and in numbers
    measure: Callable[[Trained], dict[str, Any]]
    by_kind: Callable[[Numbers], bool] | None = None  # whether it is so on one kind of data, where that can be said
    opposite: Callable[[Numbers], bool] | None = None  # whether the opposite is reliable on one kind of data

    def outcome(self, row: Mapping[str, Any]) -> str:
        """``holds``; ``contradicted``, where the opposite is reliable on more kinds of data; else ``not shown``."""
        if row["holds"]:
            return "holds"
        kinds = row["measured"].values()
        if self.opposite is None or self.by_kind is None:
            return "not shown"
        against, so = (sum(map(each, kinds)) for each in (self.opposite, self.by_kind))
        return "contradicted" if against > so else "not shown"


def on(numbers: Numbers, what: Callable[[Numbers], bool]) -> int:
    """On how many of the four kinds of data something is so."""
    return sum(bool(what(numbers[kind])) for kind in KINDS)


def tighter(kind: Numbers) -> bool:
    """NC1 is below 0.8 of that of one-hot in every seed."""
    return all(mine < 0.8 * theirs for theirs, mine in zip(kind["one_hot"], kind["smoothed"], strict=True))


def in_the_middle(kind: Numbers) -> bool:
    """The smallest error is at neither end of the strengths."""
    return min(kind, key=lambda eps: kind[eps]) not in ("0", "0.4")


def on_two_sides(kind: Numbers) -> bool:
    """All temperatures of one-hot are above 1, and all others below."""
    return min(kind["one_hot"]) > 1 > max(kind["smoothed"])


def helped(kind: Numbers) -> bool:
    """The second ranking is better than the first for smoothed models and worse for one-hot ones."""
    return kind["smoothed"][1] < kind["smoothed"][0] and kind["one_hot"][1] > kind["one_hot"][0]


def above(kind: Numbers) -> bool:
    """The mean difference is above 0."""
    return kind["mean"] > 0


def not_below(kind: Numbers) -> bool:
    """The mean difference is not below 0."""
    return kind["mean"] >= 0


def surely_below(kind: Numbers) -> bool:
    """The interval of the difference lies below 0."""
    return kind["high"] < 0


def surely_above(kind: Numbers) -> bool:
    """The interval of the difference lies above 0."""
    return kind["low"] > 0


def looser(kind: Numbers) -> bool:
    """NC1 is above that of one-hot in every seed."""
    return all(mine > theirs for theirs, mine in zip(kind["one_hot"], kind["smoothed"], strict=True))


def on_other_sides(kind: Numbers) -> bool:
    """All temperatures of one-hot are below 1, or all others above."""
    return max(kind["one_hot"]) < 1 or min(kind["smoothed"]) > 1


FOUR = "digits, mixture, pictures, texts"

CLAIMS = (
    Claim(
        "gap",
        "A network that is trained long enough ends at the gap of the closed form, log(1 + K(1−ε)/ε).",
        "the note, eq. 7; Müller, Kornblith and Hinton 2019 (equidistant logits)",
        "digits and pictures, ε = 0.05, 0.1, 0.2 and 0.4",
        "The mean training gap is within 3 % of the closed form at every strength, on both.",
        lambda n: all(abs(row["gap"] / row["closed_form"] - 1) < 0.03 for rows in n.values() for row in rows.values()),
        gap,
    ),
    Claim(
        "runaway",
        "One-hot labels let the gap grow like the logarithm of time. Smoothed labels let it converge geometrically.",
        "the note, eq. 3; derived in docs/note.md",
        "free logits by gradient descent of step 1, K = 3, 5, 10, 20 and 100",
        "Counted steps are within 10 % of `sf.theory.time_to_gap`: to gaps of 6 and 8 (one-hot), and to 90 and 99 % of "
        "the gap (ε = 0.1).",
        lambda n: all(abs(row["counted"] / row["formula"] - 1) < 0.1 for rows in n.values() for row in rows.values()),
        steps_to_a_gap,
    ),
    Claim(
        "clusters",
        "Smoothing pulls the features of a class together.",
        "Müller et al. 2019; Guo et al. 2024 (NC1)",
        FOUR,
        "NC1 of the training features at ε = 0.1 is below 0.8 of that of one-hot in every seed, on all four.",
        lambda n: on(n, tighter) == 4,
        clusters,
        tighter,
        looser,
    ),
    Claim(
        "accuracy",
        "Smoothing raises the accuracy a little.",
        "Szegedy et al. 2016 (0.2 points on ImageNet); Müller et al. 2019",
        FOUR,
        "The mean difference at ε = 0.1 is above 0 on all four.",
        lambda n: on(n, above) == 4,
        accuracy,
        above,
        surely_below,
    ),
    Claim(
        "calibration",
        "Smoothing improves the calibration of a model as trained.",
        "Müller et al. 2019, table 3 (CIFAR-100, ImageNet, translation)",
        FOUR,
        "The interval of the difference in calibration error (ECE) at ε = 0.1 lies below 0 on at least three of four.",
        lambda n: on(n, surely_below) >= 3,
        calibration,
        surely_below,
        surely_above,
    ),
    Claim(
        "valley",
        "Some strength between none and much is best for the calibration as trained.",
        "Müller et al. 2019; Mukhoti et al. 2020 (tuned ε)",
        FOUR,
        "Of ε = 0, 0.05, 0.1, 0.2 and 0.4, the mean ECE is smallest at one that is neither the first nor the last, on "
        "at least three of four.",
        lambda n: on(n, in_the_middle) >= 3,
        calibration_by_strength,
        in_the_middle,
    ),
    Claim(
        "temperature",
        "One-hot models are over-confident and smoothed ones under-confident: temperatures lie on two sides of 1.",
        "Guo et al. 2017; Mukhoti et al. 2020, tables of temperatures",
        FOUR,
        "The fitted temperature is above 1 for one-hot and below 1 at ε = 0.1 in every seed, on all four.",
        lambda n: on(n, on_two_sides) == 4,
        temperatures,
        on_two_sides,
        on_other_sides,
    ),
    Claim(
        "calibratable",
        "After temperature scaling a smoothed model is calibrated no better than a one-hot model.",
        "Wang, Feng and Zhang 2021",
        FOUR,
        "On at least three of four the mean ECE after temperature at ε = 0.1 is at least that of one-hot, and on none "
        "does the interval of the difference lie below 0.",
        lambda n: on(n, not_below) >= 3 and on(n, surely_below) == 0,
        calibration_after_temperature,
        not_below,
        surely_below,
    ),
    Claim(
        "ranking",
        "Smoothing consistently makes a model worse at being less sure of its mistakes.",
        "Xia et al. 2025 (ICLR)",
        FOUR,
        "The interval of the difference in E-AURC at ε = 0.1 lies above 0 on at least three of four.",
        lambda n: on(n, surely_above) >= 3,
        ranking,
        surely_above,
        surely_below,
    ),
    Claim(
        "logit norm",
        "To rank by the largest logit over the norm of the centred logits helps smoothed models, and not one-hot ones.",
        "Xia et al. 2025; Cattelan and Silva 2024 (p = 2)",
        FOUR,
        "The mean E-AURC falls at ε = 0.1 and rises for one-hot, on at least three of four.",
        lambda n: on(n, helped) >= 3,
        logit_norm,
        helped,
    ),
    Claim(
        "maxsup",
        "Penalising the largest logit (MaxSup) is better than penalising that of the label, as smoothing does.",
        "Zhou et al. 2025 (NeurIPS)",
        "pictures, 0.1 each",
        "The mean accuracy of MaxSup is above that of smoothing by more than 0.5 points.",
        lambda n: n["maxsup"]["accuracy"] - n["smoothed"]["accuracy"] > 0.5,
        maxsup,
    ),
    Claim(
        "teacher",
        "A smoothed model is a worse teacher.",
        "Müller et al. 2019, section 4",
        "mixture, students of a quarter of the width, distilled at temperature 1",
        "The mean accuracy of students of smoothed teachers (ε = 0.1 and 0.6) is below that of students of one-hot "
        "teachers by more than 0.5 points, for both.",
        lambda n: all(n[eps]["1"] < n["0"]["1"] - 0.5 for eps in ("0.1", "0.6")),
        students,
    ),
    Claim(
        "hot teacher",
        "A smoothed teacher is bad at a raised temperature.",
        "Chandrasegaran et al. 2022",
        "mixture, students of a quarter of the width, temperatures 1, 2, 4 and 8",
        "Students of the teacher with ε = 0.6 lose at least 1.5 points from temperature 1 to 8, and those of the "
        "one-hot teacher do not lose 0.5.",
        lambda n: n["0.6"]["8"] <= n["0.6"]["1"] - 1.5 and n["0"]["8"] > n["0"]["1"] - 0.5,
        students,
    ),
    Claim(
        "noise",
        "Smoothing helps where labels are wrong.",
        "Lukasik et al. 2020",
        "pictures, of whose training labels 20 and 40 % are moved to any other class",
        "The mean accuracy at ε = 0.6 is above that of one-hot by more than 3 points, at both rates.",
        lambda n: all(n[rate]["0.6"] > n[rate]["0"] + 3 for rate in ("0.2", "0.4")),
        labels_with_noise,
    ),
    Claim(
        "negative",
        "The more labels are wrong, the more negative is the best strength.",
        "Wei et al. 2022 (ICML)",
        "pictures with 60 % wrong labels; ε = −2 after 14 epochs of one-hot, as the authors warm up",
        "The mean accuracy at ε = −2 is above those of one-hot and of ε = 0.6.",
        lambda n: n["-2"] > max(n["0"], n["0.6"]),
        negative_smoothing,
    ),
    Claim(
        "confidence penalty",
        "To penalise confident predictions acts as smoothing does.",
        "Pereyra et al. 2017",
        "digits and mixture, β = 0.5",
        "On digits the training gap is within 5 % of its fixed point (β·p·d = 1). On both, temperatures are below 1 in "
        "every seed.",
        lambda n: (
            abs(n["digits"]["gap"] / n["digits"]["fixed_point"] - 1) < 0.05
            and all(max(kind["temperatures"]) < 1 for kind in n.values())
        ),
        bounded_gap_of_the_confidence_penalty,
    ),
    Claim(
        "online",
        "Targets that follow the model's own mean predictions (online smoothing) beat even ones.",
        "Zhang et al. 2021",
        "mixture, half of each target online",
        "The mean log loss after temperature is below those of one-hot and of ε = 0.1.",
        lambda n: n["online"]["nll"] < min(n["one_hot"]["nll"], n["smoothed"]["nll"]),
        online_smoothing,
    ),
    Claim(
        "relaxation",
        "Label relaxation, which stops pushing at the target, is better calibrated as trained than smoothing.",
        "Lienen and Hüllermeier 2021 (AAAI)",
        "digits and mixture, 0.1 each",
        "The mean ECE is below that of smoothing, and not above that of one-hot by more than 0.01, on both.",
        lambda n: all(
            kind["relaxed"] < kind["smoothed"] and kind["relaxed"] <= kind["one_hot"] + 0.01 for kind in n.values()
        ),
        label_relaxation,
    ),
)


def read_rows(path: Path = ROWS) -> list[dict[str, Any]]:
    """All rows so far."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def row_of(claim: Claim, trained: Trained) -> dict[str, Any]:
    """Measure a claim, and say whether it held."""
    started = time.time()
    measured = json.loads(json.dumps(claim.measure(trained)))  # as the page will read it
    return {
        "experiment": "claims",
        "claim": claim.name,
        "seeds": len(SEEDS),
        "measured": measured,
        "holds": bool(claim.holds(measured)),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started, 1),
        **environment(ENVIRONMENT),
    }


def main() -> None:
    """Go on with the claims, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_places(parser)
    parser.add_argument("--only", help="names of claims with commas between; by default all")
    parser.add_argument("--again", action="store_true", help="measure claims that have a row, too")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where trained models are kept")
    parser.add_argument("--write", action="store_true", help="write docs/claims.md out of the rows")
    asked = parser.parse_args()
    if asked.write:
        from claims_page import write

        write(CLAIMS, read_rows())
        return
    names = [claim.name for claim in CLAIMS]
    only = asked.only.split(",") if asked.only else names
    for name in only:
        if name not in names:
            parser.error(f'no claim "{name}". Claims: {", ".join(names)}')
    trained = Trained(Places(asked.packages, asked.debian, asked.data_folder), asked.cache)
    for claim in CLAIMS:
        there = any(row["claim"] == claim.name for row in read_rows())
        if claim.name not in only or (there and not asked.again):
            continue
        try:
            row = row_of(claim, trained)
        except MissingError as error:
            print(f"{claim.name}: {error}", file=sys.stderr)
            continue
        others = [each for each in read_rows() if each["claim"] != claim.name]  # as they are now: two may run at once
        write_lines(ROWS, [*others, row])
        print(f"{claim.name}: {claim.outcome(row)}, {row['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
