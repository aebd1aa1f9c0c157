"""The verdict: two sentences that follow from the evidence, whatever it is.

The first says which target to train with and why; the second what to do with the logits, and what was not found.
Nothing here prefers smoothing: where nothing differs reliably, the simpler target is kept and that is the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sfumato import theory
from sfumato.lab.analyse import HEADLINE, ArmResult
from sfumato.lab.settle import settle

NAMES = {"accuracy": "accuracy", "nll_after_temperature": "hard NLL after temperature", "eaurc": "E-AURC × 1000"}


def verdict(
    results: Sequence[ArmResult], differences: Sequence[Mapping[str, Any]], classes: int, *, majority: float = 0.0
) -> dict[str, Any]:
    """Choose between one-hot (first) and the other arm, and say why.

    Args:
        results: of the arms, one-hot first.
        differences: as of :func:`sfumato.lab.analyse.differences`.
        classes: K, to say ε in both conventions.
        majority: share of test rows in their largest class: an accuracy that needs no model.

    Returns:
        ``{"choice": arm, "depends" or "none", "sentences": [first, second]}``; ``"none"`` where neither arm learnt.
    """
    if all(result.metrics["accuracy"].estimate().low <= majority for result in results):
        reached = _join([f"{r.arm.name} {100 * r.metrics['accuracy'].by_seed.mean():.1f} %" for r in results])
        return {
            "choice": "none",
            "sentences": [
                "No verdict: neither arm is reliably better than always answering the most frequent class "
                f"({100 * majority:.1f} % of the test rows; {reached}).",
                "Train longer or more gently (--epochs, --learning-rate), or look for features that tell the classes "
                "apart, before you choose a target.",
            ],
        }
    base, other = results[0], results[1]
    headline = {d["metric"]: d for d in differences if d["arm"] == other.arm.name and d["metric"] in HEADLINE}
    better = [name for name in HEADLINE if headline[name]["finding"] == "better"]
    worse = [name for name in HEADLINE if headline[name]["finding"] == "worse"]
    same = [name for name in HEADLINE if headline[name]["finding"] == "no difference"]
    strength = _strength(other, classes)

    def changes(names: Sequence[str]) -> str:
        return _join([_change(name, base, other, headline[name]) for name in names])

    if better and worse:
        choice = "depends"
        first = (
            f"It depends on what the model is for: smoothing with {strength} makes {changes(better)} better, "
            f"but {changes(worse)} worse."
        )
    elif better:
        choice = other.arm.name
        first = f"Smooth the labels, with {strength}: {changes(better)}."
    elif worse:
        choice = base.arm.name
        first = f"Keep one-hot labels: smoothing with {strength} makes things worse, {changes(worse)}."
    else:
        choice = base.arm.name
        first = (
            f"Keep one-hot labels: smoothing with {strength} makes no difference you can rely on in "
            f"{_join([_change(name, base, other, headline[name], brief=True) for name in same])}."
        )

    chosen = [base, other] if choice == "depends" else [other if choice == other.arm.name else base]
    second = "; ".join(_temperature(result) for result in chosen)
    if (better or worse) and same:
        unchanged = [_change(name, base, other, headline[name], brief=True) for name in same]
        second += f"; {_join(unchanged)} {'does' if len(same) == 1 else 'do'} not differ reliably"
    if not (better or worse):
        more = settle(base, other, tests=sum(d["p_adjusted"] is not None for d in differences))
        second += f"; {more}" if more else ""
    return {"choice": choice, "sentences": [first, second[0].upper() + second[1:] + "."]}


def _strength(result: ArmResult, classes: int) -> str:
    arm = result.arm
    try:
        in_torch = f"label_smoothing={theory.convert_eps(arm.eps, classes, frm=arm.over, to='all'):.4g} in torch"
    except ValueError:
        in_torch = "torch's label_smoothing cannot express it"
    where = "the others" if arm.over == "others" else f"all {classes} classes"
    return f"ε = {arm.eps:g} over {where} ({in_torch})"


def _change(name: str, base: ArmResult, other: ArmResult, row: Mapping[str, Any], *, brief: bool = False) -> str:
    """One difference in words: from, to, and its 95 % interval."""
    if row["low"] == row["high"] == 0:
        return f"{NAMES[name]} (the same on every test row)"
    factor, digits, unit = {"accuracy": (100, 1, " points"), "eaurc": (1000, 2, "")}.get(name, (1, 3, ""))
    low, mean, high = (_signed(factor * row[key], digits) for key in ("low", "mean", "high"))
    interval = f"{low} to {high}{unit}"
    if brief:
        held = row["low"] > 0 or row["high"] < 0  # the interval speaks of this test alone, the finding of all three
        adjusted = f", but p = {_number(row['p_adjusted'])} after adjusting for all tests" if held else ""
        return f"{NAMES[name]} ({mean}{unit}, 95 % interval {interval}{adjusted})"
    before, after = (_number(factor * float(r.metrics[name].by_seed.mean()), digits) for r in (base, other))
    shown = " %" if name == "accuracy" else ""
    verb = "rises" if row["mean"] > 0 else "falls"
    return f"{NAMES[name]} {verb} from {before} to {after}{shown} (95 % interval of the difference {interval})"


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


def notes(
    results: Sequence[ArmResult], gaps: Mapping[str, float], classes: int, distinct: int, counters: Sequence[str]
) -> list[str]:
    """What a reader should know before trusting the verdict; usually nothing.

    Args:
        results: of the arms.
        gaps: mean training gap of each arm, nats.
        classes: K.
        distinct: test rows that differ in their features.
        counters: names of feature columns that count the rows of the file.
    """
    found: list[str] = []
    if distinct < 50:
        found.append(f"Only {distinct} distinct test rows: expect wide intervals, and another split to say otherwise.")
    for result in results:
        goal, reached = result.arm.gap(classes), gaps[result.arm.name]
        if 0 < goal < float("inf") and reached < 0.5 * goal:
            found.append(
                f"The {result.arm.name} model's training gap ({reached:.2f}) is far from its closed form ({goal:.2f}): "
                "it is not trained to its optimum, or cannot reach it; more --epochs may change the verdict."
            )
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
