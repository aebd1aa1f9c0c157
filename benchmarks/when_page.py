"""The tables and the figure of docs/when.md out of benchmarks/when.jsonl; `when.py --write` calls it.

What stands between the markers of the page is replaced. Everything else on the page is written by hand, and most of
it was committed before the first row.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from foretell import LEAST_SETS, OUTCOMES, Foretold, foretell

matplotlib.use("svg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
CARDS = HERE / "data_sets.jsonl"
MARKED = re.compile(r"(<!-- results -->\n).*(<!-- /results -->)", re.DOTALL)

KINDS = {"table": "tables", "image": "images", "text": "texts", "many": "many classes"}
METRICS = {
    "accuracy": "accuracy",
    "nll_after_temperature": "log loss after temperature",
    "eaurc": "ranking of mistakes",
}
ARMS = {"all:0.1": "ε = 0.1", "ladder": "the ladder", "margin:10": "`margin:10`", "online:0.5": "`online:0.5`"}
COUNTED = ("better", "worse", "equivalent", "not worse", "not better", "not settled", "one-hot")
WORDS = {  # of the page, for findings of a verdict
    **dict.fromkeys(("slightly better", "slightly worse"), "equivalent"),
    **dict.fromkeys(("inconclusive", "not tested"), "not settled"),
}
COLOURS = {
    "one-hot": "#33566b",
    "all:0.1": "#c07a1c",
    "ladder": "#7a4a86",
    "margin:10": "#5b8a5a",
    "online:0.5": "#a33b3b",
}

ALL_SETS = (
    "![The difference between ε = 0.1 and one-hot on each data set; the last table has the numbers](when_sets.svg)"
)

Row = Mapping[str, Any]


def write(rows: Sequence[Row], docs: Path = DOCS) -> None:
    """Put what the rows say between the markers, and draw the profile."""
    page, cards = docs / "when.md", [json.loads(line) for line in CARDS.read_text(encoding="utf-8").splitlines()]
    told = results(rows, cards)
    page.write_text(MARKED.sub(lambda found: found[1] + told + found[2], page.read_text(encoding="utf-8")), "utf-8")
    if profiled(rows):
        draw(rows, docs / "when.svg")
    if smoothed := [row for row in rows if row["arm"] == "all:0.1"]:
        draw_sets(smoothed, docs / "when_sets.svg")


def results(rows: Sequence[Row], cards: Sequence[Row]) -> str:
    """Everything between the markers."""
    if not rows:
        return "There are none yet.\n"
    by_arm = {arm: [row for row in rows if row["arm"] == arm] for arm in ARMS}
    parts = [what_was_run(by_arm, cards), ALL_SETS]
    for arm, those in by_arm.items():
        if those:
            parts.append(f"### Against one-hot: {ARMS[arm]}\n\n{table(those, cards)}")
    if profiled(rows):
        parts.append(f"### Performance profile\n\n{alt(rows)}")
    parts.append(f"### All sets together\n\n{synthesis(by_arm)}")
    parts.append(f"### Can one know?\n\n{said_of(by_arm['all:0.1'], len(cards))}")
    parts.append(f"### How far one-hot over-trains\n\n{over_trained(by_arm['all:0.1'])}")
    parts.append(f"### Every data set\n\n{every_set(by_arm, cards)}")
    parts.append(versions(rows))
    return "\n\n".join(parts) + "\n"


def what_was_run(by_arm: Mapping[str, Sequence[Row]], cards: Sequence[Row]) -> str:
    """How many sets each arm has so far."""
    told = [f"{ARMS[arm]} on {len(those)}" for arm, those in by_arm.items() if those]
    absent = [ARMS[arm] for arm, those in by_arm.items() if not those]
    text = f"Of {len(cards)} data sets there are results of " + ", ".join(told) + "."
    text += f" Not yet run: {', '.join(absent)}." if absent else ""
    return text + f"\n\n{in_short(by_arm['all:0.1'])}"


def in_short(rows: Sequence[Row]) -> str:
    """What ε = 0.1 does, in a sentence."""
    counted = {metric: Counter(finding(row, metric) for row in rows) for metric in METRICS}
    parts = [
        f"in {METRICS[metric]} better on {each['better']} and worse on {each['worse']}"
        for metric, each in counted.items()
    ]
    told = f"{', '.join(parts[:-1])}, and {parts[-1]}"
    open_ = sum(each["not settled"] for each in counted.values())
    return (
        f"On {len(rows)} data sets, ε = 0.1 is {told}. Of the {len(METRICS) * len(rows)} answers {open_} are not "
        "settled; the others are equivalent, not worse or not better."
    )


def finding(row: Row, metric: str) -> str:
    """The word of the page for what the verdict found; "one-hot" where the ladder chose ε = 0."""
    if "differences" not in row:
        return "one-hot"
    word = row["differences"][metric]["finding"]
    return str(WORDS.get(word, word))


def table(rows: Sequence[Row], cards: Sequence[Row]) -> str:
    """On how many sets an arm is better, worse, the same, not settled, by kind and metric."""
    kinds = {card["set"]: card["kind"] for card in cards}
    words = COUNTED if any("differences" not in row for row in rows) else COUNTED[:-1]
    heads = {"one-hot": "ε = 0 chosen"}
    lines = [
        "| data | measure | sets | " + " | ".join(heads.get(word, word) for word in words) + " |",
        "| --- | --- | ---: |" + " ---: |" * len(words),
    ]
    for kind, name in {**KINDS, "all": "**all**"}.items():
        those = [row for row in rows if kind in (kinds[row["set"]], "all")]
        if not those:
            continue
        for metric, label in METRICS.items():
            counted = Counter(finding(row, metric) for row in those)
            lines.append(
                f"| {name} | {label} | {len(those)} | " + " | ".join(str(counted[word]) for word in words) + " |"
            )
    return "\n".join(lines)


def relative(row: Row, metric: str) -> tuple[float, float]:
    """A difference and its standard error: accuracy in points, log loss and ranking in per cent of one-hot's."""
    base = {"accuracy": 1.0, "eaurc": row["aurc"][0]}.get(metric, row["metrics"][0][metric]["mean"])
    return (
        100 * row["differences"][metric]["mean"] / max(base, 1e-12),
        100 * row["standard_errors"][metric] / max(base, 1e-12),
    )


def random_effects(differences: np.ndarray, errors: np.ndarray) -> tuple[float, float, float, float, float]:
    """The mean over sets, its 95 % interval, and the interval of a new set.

    The variance between sets is DerSimonian and Laird's, the interval Hartung and Knapp's with Student's t, and that of
    a new set of Higgins, Thompson and Spiegelhalter 2009.

    >>> [round(each, 2) for each in random_effects(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.1, 0.1]))]
    [2.0, -0.48, 4.48, -12.62, 16.62]
    """
    from scipy.stats import t

    n, weights = len(differences), 1 / np.square(errors)
    fixed = (weights @ differences) / weights.sum()
    excess = weights @ np.square(differences - fixed) - (n - 1)
    between = max(0.0, excess / (weights.sum() - np.square(weights).sum() / weights.sum()))
    weights = 1 / (np.square(errors) + between)
    mean = float((weights @ differences) / weights.sum())
    variance = float(weights @ np.square(differences - mean) / (n - 1) / weights.sum())
    half, new = t.ppf(0.975, n - 1) * np.sqrt(variance), t.ppf(0.975, n - 2) * np.sqrt(between + variance)
    return mean, float(mean - half), float(mean + half), float(mean - new), float(mean + new)


def synthesis(by_arm: Mapping[str, Sequence[Row]]) -> str:
    """Random effects over the sets, for each arm and metric."""
    lines = [
        "| arm | measure | sets | mean difference, 95 % interval | a new set, 95 % |",
        "| --- | --- | ---: | --- | --- |",
    ]
    units = {"accuracy": "points", "nll_after_temperature": "% of one-hot's", "eaurc": "% of one-hot's AURC"}
    for arm, rows in by_arm.items():
        for metric, label in METRICS.items():
            pairs = np.array([relative(row, metric) for row in rows if "differences" in row])
            pairs = pairs[(pairs[:, 1] > 0) & np.isfinite(pairs).all(axis=1)] if len(pairs) else pairs
            if len(pairs) < 3:
                continue
            numbers = [f"{each:+.1f}".replace("-", "−") for each in random_effects(*pairs.T)]
            mean, low, high, least, most = numbers
            cells = [ARMS[arm], label, str(len(pairs)), f"{mean} {units[metric]} ({low} to {high})"]
            lines.append("| " + " | ".join([*cells, f"{least} to {most}"]) + " |")
    tail = "Less is better in the last two measures. A set whose difference does not vary at all is left out."
    return "\n".join(lines) + f"\n\n{tail}"


def over_trained(rows: Sequence[Row]) -> str:
    """Validation log loss of one-hot at the epoch that is kept and at the end, and that of a constant."""
    found = [(*next(iter(row["baseline"]["kept_and_last"].values())), row["baseline"]["constant"]) for row in rows]
    kept, last, constant = np.array(found).T
    return (
        "With the last weights, the log loss of one-hot on validation rows, as trained, is above that of the class "
        f"shares on {(last > constant).sum()} of {len(found)} data sets; with the weights of the best epoch, on "
        f"{(kept > constant).sum()}. In the median set it is {100 * (np.median(last / kept) - 1):.0f} % higher at the "
        "end. Therefore `--weights best` is the default, for every arm by the same rule."
    )


def complete(rows: Sequence[Row]) -> list[str]:
    """The arms that every set of the first arm has."""
    sets = {arm: {row["set"] for row in rows if row["arm"] == arm} for arm in ARMS}
    return [arm for arm, those in sets.items() if those and those >= sets["all:0.1"]]


def profiled(rows: Sequence[Row]) -> dict[str, dict[str, np.ndarray]]:
    """How far behind the best arm each arm is on each set: metric → arm → (sets,); nothing without an arm.

    Accuracy in points, log loss in per cent of the best arm's, E-AURC in per cent of the AURC of one-hot.
    """
    arms = complete(rows)
    if not arms:
        return {}
    by_set = {row["set"]: row for row in rows if row["arm"] == "all:0.1"}
    values: dict[str, dict[str, list[float]]] = {metric: {arm: [] for arm in ("one-hot", *arms)} for metric in METRICS}
    for name, first in by_set.items():
        for metric in METRICS:
            values[metric]["one-hot"].append(first["metrics"][0][metric]["mean"])
            for arm in arms:
                row = next(row for row in rows if row["set"] == name and row["arm"] == arm)
                chosen = row["metrics"][1] if "metrics" in row else first["metrics"][0]
                values[metric][arm].append(chosen[metric]["mean"])
    aurc = np.array([first["aurc"][0] for first in by_set.values()])
    found: dict[str, dict[str, np.ndarray]] = {}
    for metric, each in values.items():
        stacked = np.array(list(each.values()))
        if metric == "accuracy":
            behind = 100 * (stacked.max(axis=0) - stacked)
        elif metric == "eaurc":
            behind = 100 * (stacked - stacked.min(axis=0)) / np.maximum(aurc, 1e-12)
        else:
            behind = 100 * (stacked / stacked.min(axis=0) - 1)
        found[metric] = dict(zip(each, behind, strict=True))
    return found


def draw(rows: Sequence[Row], path: Path) -> None:
    """The share of sets on which an arm is at most so far behind the best, for the three measures."""
    profiles = profiled(rows)
    units = ("points behind the best", "per cent above the best", "per cent of the AURC above the best")
    with plt.rc_context({"svg.hashsalt": "sfumato", "font.size": 9, "svg.fonttype": "none"}):
        figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.1), sharey=True, layout="constrained")
        for ax, (metric, arms), unit in zip(axes, profiles.items(), units, strict=True):
            limit = max(1e-9, float(np.quantile(np.concatenate(list(arms.values())), 0.95)))
            for arm, behind in arms.items():
                x = np.concatenate([[0], np.sort(behind[behind <= limit]), [limit]])
                share = [float((behind <= at).mean()) for at in x]
                label = arm if arm == "one-hot" else ARMS[arm].strip("`")
                ax.step(x, share, where="post", color=COLOURS[arm], label=label, linewidth=1.6)
            ax.set(title=METRICS[metric], xlabel=unit, xlim=(0, limit), ylim=(0, 1.02))
            ax.spines[["top", "right"]].set_visible(False)
        axes[0].set_ylabel("share of data sets")
        axes[0].legend(frameon=False, loc="lower right")
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        plt.close(figure)


def draw_sets(rows: Sequence[Row], path: Path) -> None:
    """Each set with its difference and 95 % interval in accuracy and log loss, sorted by the latter."""
    ordered = sorted(rows, key=lambda row: relative(row, "nll_after_temperature")[0], reverse=True)
    panels = (("accuracy", "accuracy, points", 1), ("nll_after_temperature", "log loss after temperature, %", -1))
    colours = {1: COLOURS["all:0.1"], -1: COLOURS["one-hot"], 0: "#9a9a9a"}
    with plt.rc_context({"svg.hashsalt": "sfumato", "font.size": 8, "svg.fonttype": "none"}):
        figure, axes = plt.subplots(1, 2, figsize=(7.6, 5.4), sharey=True, layout="constrained")
        for ax, (metric, label, good) in zip(axes, panels, strict=True):
            for place, row in enumerate(ordered):
                value, error = relative(row, metric)
                side = {"better": 1, "worse": -1}.get(finding(row, metric), 0)
                ax.errorbar(value, place, xerr=2 * error, fmt="o", markersize=3.5, linewidth=1, color=colours[side])
            ax.axvline(0, color="#555555", linewidth=0.8)
            limit = 4.0 if good > 0 else 30.0
            ax.set(xlabel=f"{label} (better {'→' if good > 0 else '←'})", xlim=(-limit, limit))
            ax.spines[["top", "right", "left"]].set_visible(False)
            ax.tick_params(axis="y", length=0)
        axes[0].set_yticks(range(len(ordered)), [row["set"] for row in ordered])
        axes[0].set_ylim(-0.7, len(ordered) - 0.3)
        figure.suptitle(
            "ε = 0.1 minus one-hot on each data set; ochre: better, slate: worse, grey: neither", fontsize=9
        )
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        plt.close(figure)


def alt(rows: Sequence[Row]) -> str:
    """The figure with its words: for each arm the share of sets on which it is best, and its mean distance."""
    profiles, arms = profiled(rows), ["one-hot", *complete(rows)]
    sets = len(next(iter(profiles["accuracy"].values())))
    lines = [
        "| arm | " + " | ".join(f"{label}: best, mean behind" for label in METRICS.values()) + " |",
        "| --- |" + " ---: |" * len(METRICS),
    ]
    unit = {"accuracy": " points", "nll_after_temperature": " %", "eaurc": " %"}
    for arm in arms:
        cells = [
            f"{np.mean(each[arm] <= 0):.0%}, {each[arm].mean():.2f}{unit[metric]}".replace("%,", " %,")
            for metric, each in profiles.items()
        ]
        lines.append(f"| {ARMS.get(arm, arm)} | " + " | ".join(cells) + " |")
    told = "; ".join(
        f"{label}: " + ", ".join(f"{ARMS.get(arm, arm).strip('`')} {each[arm].mean():.2f}" for arm in arms)
        for label, each in zip(METRICS.values(), profiles.values(), strict=True)
    )
    return (
        f"The share of {sets} data sets on which an arm is at most so far behind the best arm of the set, for each "
        "measure. A higher line is better; at 0 it shows how often the arm is the best one.\n\n"
        f"![Performance profile. Mean distance from the best arm, {told}](when.svg)\n\n" + "\n".join(lines)
    )


def said_of(rows: Sequence[Row], listed: int) -> str:
    """What came of the experiment that was written down; a decision only when every set of the list was run."""
    if len(rows) < LEAST_SETS:
        return f"There are {len(rows)} data sets so far. Nothing is concluded from fewer than {LEAST_SETS}."
    found = foretell(rows)
    if len(rows) < listed:
        head = f"This is a look at {len(rows)} of {listed} data sets, and no decision."
        tail = "The sets that are missing were not left out by chance: they take longest to train."
        return f"{regrets(found)}\n\n{head} {by_how_much(found)} {tail}"
    return f"{regrets(found)}\n\n{by_how_much(found)} {decision(found)}"


def regrets(found: Foretold) -> str:
    """Mean regrets by rule and metric."""
    units = {
        "nll_after_temperature": ("log loss after temperature", 100, " %"),
        "accuracy": ("accuracy", 1, " points"),
        "eaurc": ("ranking of mistakes", 100, " % of the AURC"),
    }
    lines = ["| mean regret | the rule | always smooth | never smooth |", "| --- | ---: | ---: | ---: |"]
    for metric in OUTCOMES:
        label, times, unit = units[metric]
        cells = (f"{times * found.regrets[metric][rule]:.2f}{unit}" for rule in ("foretold", "always", "never"))
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def by_how_much(found: Foretold) -> str:
    """The difference that decides, with its interval."""
    first = found.regrets[OUTCOMES[0]]
    rival = min(("always", "never"), key=lambda rule: first[rule])
    numbers = (100 * each for each in (first["foretold"] - first[rival], found.low, found.high))
    mean, low, high = (f"{each:+.2f}".replace("-", "−") for each in numbers)
    return (
        f'The rule says "smooth" for {sum(found.smooth)} of {len(found.sets)} data sets. In log loss its regret less '
        f'that of "{rival}", the better of the two, is {mean} % (95 % interval {low} to {high} %).'
    )


def decision(found: Foretold) -> str:
    """Whether anything ships."""
    if found.ships:
        return "By the rule above it beats both, and in accuracy and ranking it is no worse: it ships."
    return "By what was written down beforehand, nothing ships: from the one-hot run alone one cannot tell."


def every_set(by_arm: Mapping[str, Sequence[Row]], cards: Sequence[Row]) -> str:
    """The list of the sets, with what 0.1 did and which strength the ladder chose."""
    smoothed = {row["set"]: row for row in by_arm["all:0.1"]}
    ladder = {row["set"]: row for row in by_arm["ladder"]}
    lines = [
        "| data | kind | source | rows | K | what | accuracy of one-hot | accuracy | log loss | ranking | ladder |",
        "| --- | --- | --- | ---: | ---: | --- | ---: | --- | --- | --- | ---: |",
    ]
    for card in cards:
        name, row = card["set"], smoothed.get(card["set"])
        seen = f" (seen before: {card['seen']})" if card["seen"] else ""
        cells = [
            name,
            KINDS[card["kind"]],
            card["source"],
            f"{card['rows_used']:,}",
            str(card["classes"]),
            card["target"] + seen,
        ]
        if row is None:
            cells += ["", "not yet run", "", "", ""]
        else:
            cells.append(f"{100 * row['metrics'][0]['accuracy']['mean']:.1f} %")
            cells += [shown(row, metric) for metric in METRICS]
            chosen = Counter(ladder[name]["chosen_eps"]) if name in ladder else {}
            cells.append(", ".join(f"{eps:g}" + f" (×{n})" * (n > 1) for eps, n in sorted(chosen.items())))
        lines.append("| " + " | ".join(cells) + " |")
    head = (
        "Differences are those of ε = 0.1 less one-hot: accuracy in points; log loss after temperature in per cent of "
        "that of one-hot; ranking of mistakes in per cent of its AURC. Less is better for the last two. A finding "
        'other than "not settled" stands beside its number. The last column has the ε that the ladder chose in the '
        "five folds."
    )
    return head + "\n\n" + "\n".join(lines)


def shown(row: Row, metric: str) -> str:
    """A difference in its unit, and the verdict's own word for it."""
    each = row["differences"][metric]
    value = f"{relative(row, metric)[0]:+.1f}" if each["mean"] else "0"
    found = WORDS.get(each["finding"], each["finding"])
    word = "" if found == "not settled" else f" {each['finding']}"
    return value.replace("-", "−") + word


def versions(rows: Sequence[Row]) -> str:
    """When, where and with what the rows were measured."""
    first, last = min(row["date"] for row in rows)[:10], max(row["date"] for row in rows)[:10]
    when = first if first == last else f"{first} to {last}"
    cpus = " and ".join(sorted({row["cpu"] for row in rows}))
    torch = " and ".join(sorted({row["torch"] for row in rows}))
    return f"Measured {when} on {cpus}, one thread a model; torch {torch}, Python {rows[-1]['python']}."
