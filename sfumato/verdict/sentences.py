"""The verdict: two sentences that follow from the evidence, whatever it is.

The first says which target to train with and why; the second what to do with the logits, and what was not found.
Nothing here prefers smoothing: where nothing differs reliably, the simpler target is kept and that is the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sfumato.runs.schema import ArmDifference, VerdictSummary
from sfumato.verdict.analyse import HEADLINE, SHOWN, ArmResult
from sfumato.verdict.more_seeds import settle


def verdict(
    results: Sequence[ArmResult],
    differences: Sequence[ArmDifference],
    classes: int,
    *,
    majority: float = 0.0,
    order: Sequence[str] = (),
) -> VerdictSummary:
    """Choose between the first arm, one-hot as a rule, and the others, and say why.

    Args:
        results: of the arms, one-hot first.
        differences: as of :func:`sfumato.verdict.analyse.differences`.
        classes: K, to say ε in both conventions.
        majority: share of test rows in their largest class: an accuracy that needs no model.
        order: names of the arms, best first on the validation rows; for more than two arms.

    Returns:
        ``{"choice": arm, "depends" or "none", "sentences": [first, second]}``; ``"none"`` where neither arm learnt.
    """
    if all(result.metrics["accuracy"].estimate().low <= majority for result in results):
        reached = _join([f"{r.arm.name} {100 * r.metrics['accuracy'].by_seed.mean():.1f} %" for r in results])
        return {
            "choice": "none",
            "sentences": [
                f"No verdict: {'neither' if len(results) == 2 else 'no'} arm is reliably better than always answering "
                "the most frequent class "
                f"({100 * majority:.1f} % of the test rows; {reached}).",
                "Train longer or more gently (--epochs, --learning-rate), or look for features that tell the classes "
                "apart, before you choose a target.",
            ],
        }
    base = results[0]
    found = [_Found.of(base, other, differences) for other in results[1:]]
    # Of several arms that are equally good against the first, the validation rows' favourite speaks for all.
    ranked = sorted(found, key=lambda each: (each.rank, order.index(each.other.arm.name) if order else 0))
    main, rest = ranked[0], ranked[1:]
    other = main.other
    strength = other.arm.told(classes)
    doing = f"{_training(other)}{' with' if _training(other) == 'smoothing' else ''} {strength}"
    plainly = base.arm.eps == 0
    stay = "Keep one-hot labels" if plainly else f"Keep {base.arm.name}"

    def changes(names: Sequence[str]) -> str:
        return _join([_change(name, base, other, main.rows[name]) for name in names])

    if main.better and main.worse:
        choice = "depends"
        first = (
            f"It depends on what the model is for: {doing} makes {changes(main.better)} "
            f"better, but {changes(main.worse)} worse."
        )
    elif main.better:
        choice = other.arm.name
        first = f"{_do(other)} {strength}: {changes(main.better)}."
    elif main.worse:
        choice = base.arm.name
        first = f"{stay}: {doing} makes things worse, {changes(main.worse)}."
    else:
        choice = base.arm.name
        first = (
            f"{stay}: {doing} makes no difference you can rely on in "
            f"{_join([_change(name, base, other, main.rows[name], brief=True) for name in main.same])}."
        )

    chosen = [base, other] if choice == "depends" else [other if choice == other.arm.name else base]
    second = "; ".join(_temperature(result) for result in chosen)
    if (main.better or main.worse) and main.same:
        unchanged = [_change(name, base, other, main.rows[name], brief=True) for name in main.same]
        second += f"; {_join(unchanged)} {'does' if len(main.same) == 1 else 'do'} not differ reliably"
    if not (main.better or main.worse):
        more = settle(base, other, tests=sum(d["p_adjusted"] is not None for d in differences))
        second += f"; {more}" if more else ""
    if rest:
        second += f"; against {base.arm.name}, {'; '.join(each.brief() for each in rest)}"
        rivals = [each.other.arm.name for each in rest if each.rank == main.rank]
        if rivals and main.rank < 2:
            second += f"; between {_join([other.arm.name, *rivals])} the validation rows chose, not a test"
    return {"choice": choice, "sentences": [first, second[0].upper() + second[1:] + "."]}


@dataclass(frozen=True)
class _Found:
    """What was found of one arm against the first: its headline differences by metric, and which way they go."""

    other: ArmResult
    rows: Mapping[str, ArmDifference]

    @classmethod
    def of(cls, base: ArmResult, other: ArmResult, differences: Sequence[ArmDifference]) -> _Found:
        own = [d for d in differences if d["arm"] == other.arm.name and d["against"] == base.arm.name]
        return cls(other, {d["metric"]: d for d in own if d["metric"] in HEADLINE})

    def _with(self, finding: str) -> list[str]:
        return [name for name in HEADLINE if self.rows[name]["finding"] == finding]

    @property
    def better(self) -> list[str]:
        return self._with("better")

    @property
    def worse(self) -> list[str]:
        return self._with("worse")

    @property
    def same(self) -> list[str]:
        return self._with("no difference")

    @property
    def rank(self) -> int:
        """0 better, 1 better in some and worse in others, 2 no difference, 3 worse."""
        return (1 if self.worse else 0) if self.better else (3 if self.worse else 2)

    def brief(self) -> str:
        """``all-0.1 makes accuracy better``."""
        ways = [
            f"{_join([SHOWN[name][0] for name in names])} {way}"
            for way, names in (("better", self.better), ("worse", self.worse))
            if names
        ]
        return f"{self.other.arm.name} makes {' and '.join(ways) or 'no difference you can rely on'}"


def _do(result: ArmResult) -> str:
    return {"smoothing": "Smooth the labels, with", "soft labels": "Train on the soft labels"}.get(
        _training(result), f"Train with {_training(result)}"
    )


def _training(result: ArmResult) -> str:
    """What the arm does, as a noun."""
    over = result.arm.over
    return {"mixup": "mixup", "cutmix": "CutMix", None: "soft labels"}.get(over, "smoothing")


def _change(name: str, base: ArmResult, other: ArmResult, row: ArmDifference, *, brief: bool = False) -> str:
    """One difference in words: from, to, and its 95 % interval."""
    title, factor, digits, unit = SHOWN[name]
    if row["low"] == row["high"] == 0:
        return f"{title} (the same on every test row)"
    low, mean, high = (_signed(factor * row[key], digits) for key in ("low", "mean", "high"))
    interval = f"{low} to {high}{unit}"
    if brief:
        p, adjusted = row["p_adjusted"], ""
        if p is not None and (row["low"] > 0 or row["high"] < 0):  # the interval is of this test, the finding of all
            adjusted = f", but p = {_number(p)} after adjusting for all tests"
        return f"{title} ({mean}{unit}, 95 % interval {interval}{adjusted})"
    before, after = (_number(factor * float(r.metrics[name].by_seed.mean()), digits) for r in (base, other))
    shown = " %" if name == "accuracy" else ""
    verb = "rises" if row["mean"] > 0 else "falls"
    return f"{title} {verb} from {before} to {after}{shown} (95 % interval of the difference {interval})"


def _temperature(result: ArmResult) -> str:
    """What one temperature does for an arm, and how confident the arm is without it."""
    name, gap = result.arm.name, result.metrics["signed_gap"]
    value = float(result.metrics["temperature"].by_seed.mean())
    gain = result.metrics["nll_after_temperature"].minus(result.metrics["nll"]).estimate()
    before, after = (float(result.metrics[m].by_seed.mean()) for m in ("nll", "nll_after_temperature"))
    off = gap.estimate()
    if off.low > 0 or off.high < 0:
        state = f"is {'over' if off.mean > 0 else 'under'}-confident (confidence − accuracy {_signed(off.mean)})"
    else:
        state = f"is not reliably over- or under-confident (confidence − accuracy {_signed(off.mean)})"
    change = f"from {_number(before)} to {_number(after)}"
    interval = f"95 % interval of the difference {_signed(gain.low)} to {_signed(gain.high)}"
    if any(t.at_bound for t in result.temperatures):
        return (
            f"no temperature makes the {name} logits useful as probabilities: on the validation rows of at least one "
            "seed the best is the end of the range searched"
        )
    if gain.high < 0:
        return (
            f"divide the {name} logits by {value:.2f}: hard NLL on test rows falls {change}, "
            f"for without a temperature the {name} model {state}"
        )
    if gain.low > 0:
        return (
            f"leave the {name} logits as they are: dividing them by the validation rows' temperature ({value:.2f}) "
            f"raises hard NLL on test rows {change} ({interval}), and without one the {name} model {state}"
        )
    return (
        f"dividing the {name} logits by a temperature ({value:.2f}) takes hard NLL on test rows {change}, "
        f"no difference you can rely on ({interval}), and without one the {name} model {state}"
    )


def notes(distinct: int, counters: Sequence[str]) -> list[str]:
    """What a reader should know of the data before trusting the verdict; usually nothing.

    Args:
        distinct: test rows that differ in their features.
        counters: names of feature columns that count the rows of the file.
    """
    found: list[str] = []
    if distinct < 50:
        found.append(f"Only {distinct} distinct test rows: expect wide intervals, and another split to say otherwise.")
    found += [
        f'Column "{name}" counts the rows of the file, and was used as a feature: drop it if it is a row number.'
        for name in counters
    ]
    return found


def _number(value: float, digits: int = 3) -> str:
    """Fixed decimals; without the leading zero where there are three of them: .058, 1.204, 0.7."""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if digits > 2 and abs(value) < 1 else text


def _signed(value: float, digits: int = 3) -> str:
    if round(value, digits) == 0:
        return _number(0.0, digits)
    return ("+" if value > 0 else "−" if value < 0 else "±") + _number(abs(value), digits)


def _join(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
