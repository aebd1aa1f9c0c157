"""The verdict: sentences that follow from the evidence, whatever the evidence is.

The first sentence is the decision, the second the reason, or what would decide it. The others report what else was
found, and what to do with the logits. Nothing here prefers smoothing: where nothing is better by as much as matters,
the simpler target is kept, and where the rows cannot show it, the verdict is undecided.
"""

from __future__ import annotations

from collections.abc import Sequence

from sfumato.evaluate.metrics.registry import HEADLINE
from sfumato.messages import Note
from sfumato.runs.schema import ArmDifference, Summary, VerdictSummary
from sfumato.text import joined, number, plural
from sfumato.verdict.analyse import ArmResult
from sfumato.verdict.broken_models import Broken
from sfumato.verdict.decision import AIMS, STATES, Decision
from sfumato.verdict.settling import SeedCost, settle
from sfumato.verdict.wording import SHOWN, divisor, finding, temperature

REVERSED = "as trained, the order in log loss is the other way round"
"""The end of a first sentence on two arms whose order temperature scaling reverses."""


def unsaid_warnings(summary: Summary, *, shorter: bool = False) -> list[str]:
    """The warnings that the sentences of the verdict do not repeat; ``shorter`` without one that ends the first."""
    sentences, warnings = summary["verdict"]["sentences"], summary.get("warnings", [])
    is_said = shorter and len(summary["arms"]) == 2 and REVERSED in sentences[0]
    said = {"order-reversed"} if is_said else set[str]()
    return [each["text"] for each in warnings if each["code"] not in said and each["text"] not in sentences]


def verdict(
    results: Sequence[ArmResult],
    differences: Sequence[ArmDifference],
    *,
    order: Sequence[str] = (),
    paired: bool = True,
    grouped: bool = False,
    first: str | None = None,
    cost: SeedCost | None = None,
    broken: Sequence[Broken] = (),
) -> VerdictSummary:
    """Choose between the first arm, one-hot as a rule, and the others, and say why.

    ``order`` has the favourite of the validation rows first, ``first`` is the metric that matters most, and ``cost``
    that of training more models; ``grouped`` says that test rows vary together in groups.
    """
    look_first = ["Undecided: look at the models first, because some of them look broken.", *(b.text for b in broken)]
    nothing = look_first if any(each.cause != "unknown" for each in broken) else nothing_to_decide(results)
    if nothing:
        return {"state": "undecided", "choice": "none", "sentences": look_first if broken else nothing}
    base = results[0]
    decisions = [Decision.of(base, other, differences, paired=paired, first=first) for other in results[1:]]
    rank = {"other": 0, "undecided": 1, "base": 2}

    def place(decision: Decision) -> tuple[int, bool, int]:
        """By state; then those that are worse in nothing; then by the validation rows."""
        favour = order.index(decision.other.arm.name) if order else 0
        return rank[decision.verdict], bool(decision.called("worse")), favour

    main, *rest = sorted(decisions, key=place)
    sentences, settling = [_action(main)], list[str]()
    mixed = bool(main.called("better") and main.called("worse"))
    if main.verdict == "undecided" and broken:
        return {"state": "undecided", "choice": "none", "sentences": look_first}
    if reversal(base, main.other, differences):
        sentences[0] = f"{sentences[0].removesuffix('.')}; {REVERSED}."
    if main.verdict == "undecided" and not mixed:
        tests = sum(each["p_adjusted"] is not None and first in (None, each["metric"]) for each in differences)
        settling = settle(main, tests, grouped=grouped, cost=cost)
        sentences += [*_undecided(main), *settling[:1]]
    unlike = {name: main.rows[name]["finding"] not in ("better", "worse") for name in HEADLINE}
    for name in sorted(HEADLINE, key=lambda name: (name != first, unlike[name])):
        sentences.append(finding(base, main.other, main.rows[name]))
    taken = {"other": [main.other], "base": [base]}.get(main.verdict, [base, main.other])
    for result in taken:
        sentences += temperature(result, advised=main.verdict == "other")
    sentences += [*settling[1:], *_one_model(results)]
    if rest:
        sentences.append(f"Against {base.arm.name}: {'; '.join(map(_brief, rest))}.")
        rivals = [each.other.arm.name for each in rest if each.verdict == "other"]
        if rivals:  # an arm that is taken comes first
            rows = "by the log loss of these rows" if main.other.cross_fitted else "on the validation rows"
            names = joined([main.other.arm.name, *rivals])
            sentences.append(f"The choice between {names} was made {rows}, not by a test.")
    choice = {"other": main.other.arm.name, "base": base.arm.name}.get(main.verdict, "depends" if mixed else "none")
    return {"state": main.state, "choice": choice, "sentences": sentences}


def reversal(base: ArmResult, other: ArmResult, differences: Sequence[ArmDifference]) -> str:
    """That two arms are in one order as trained and in the other after temperature; empty where this is not shown."""
    found = {each["metric"]: each for each in differences if each["arm"] == other.arm.name}
    before, after = (found.get(name) for name in ("nll", "nll_after_temperature"))
    if before is None or after is None or not (before["low"] > 0 > after["high"] or before["high"] < 0 < after["low"]):
        return ""
    raw, scaled = (
        "{} is better than {} ({} against {})".format(
            *(each.arm.name for each in order), *(number(each.metrics[row["metric"]].mean) for each in order)
        )
        for row in (before, after)
        for order in [(other, base) if row["mean"] < 0 else (base, other)]
    )
    return (
        f"Temperature scaling reverses the order of {base.arm.name} and {other.arm.name} in log loss: as trained, "
        f"{raw}; after temperature scaling, {scaled}. The verdict is about models whose logits are divided by their "
        "temperature."
    )


def nothing_to_decide(results: Sequence[ArmResult]) -> list[str]:
    """Two sentences where no arm is better than chance or every arm is always right; nothing elsewhere."""
    which = "neither" if len(results) == 2 else "no"
    if all(map(_is_blind, results)):
        majority = results[0].majority.mean if results[0].majority else 0.0
        reached = joined([f"{r.arm.name} {100 * r.metrics['accuracy'].mean:.1f} %" for r in results])
        options = "" if not results[0].arm.method else " (--epochs, --learning-rate)"
        ahead = any(result.metrics["accuracy"].mean > majority for result in results)
        rows = "use more test rows, for these are too few to tell, " if ahead else ""
        return [
            f"Undecided: {which} model is reliably better than always answering the most frequent class "
            f"({100 * majority:.1f} % of the test rows; {reached}), in accuracy, log loss or ROC-AUC.",
            "All test rows are of one class: use test rows of every class."
            if majority == 1
            else f"Before you choose how to train, {rows}train longer or with a lower learning rate{options}, look for "
            "features that tell the classes apart, or add rows of the rarer classes.",
        ]
    if all(float(result.metrics["accuracy"].by_model.min()) == 1 for result in results):
        rows = results[0].metrics["accuracy"].values.shape[1]
        whose = "both arms" if len(results) == 2 else "every arm"
        base = results[0].arm
        kept = "one-hot labels, which are the simplest" if base.one_hot else base.name
        if not base.method:
            kept = f"the {base.name} models"
        return [
            f"Undecided: every model of {whose} is right on all {plural(rows, 'test row')}.",
            "Look first for something in the data that gives the label away, such as a column that is filled in after "
            f"the outcome. If there is nothing, keep {kept}; a harder test set, on which models err, could show more.",
        ]
    return []


def _is_blind(result: ArmResult) -> bool:
    """Whether nothing shows that an arm is better than an answer without a model, on the same rows."""
    if result.majority is None or result.shares is None:
        return False
    accuracy = result.metrics["accuracy"].minus(result.majority).estimate()
    log_loss = result.metrics["nll_after_temperature"].minus(result.shares).estimate()
    ranked = result.metrics.get("roc_auc")
    at_random = ranked is None or ranked.estimate().interval(0.99)[0] <= 0.5
    return accuracy.low <= 0 and log_loss.high >= -1e-12 and at_random


def _names(metrics: Sequence[str]) -> str:
    """``accuracy and ranking of mistakes``."""
    return joined([SHOWN[name].plain for name in metrics])


def _brief(decision: Decision) -> str:
    """``all-0.1 makes accuracy better``."""
    ways = [f"{_names(names)} {way}" for way in ("better", "worse") if (names := decision.called(way))]
    return f"{decision.other.arm.name} makes {' and '.join(ways) or 'no difference to rely on'}"


def _action(decision: Decision) -> str:
    """The first sentence: what to train with, or which models to take."""
    base, other = decision.base.arm, decision.other.arm
    if not other.method:
        return _of_judged(decision)
    bare = other.method != "smoothing" or other.strength.startswith("(")
    doing = f"{other.method}{'' if bare else ' with'} {other.strength}"
    state = STATES[decision.state]
    if decision.verdict == "base" and not base.one_hot:
        state = f"Keep {base.name}"
    state += decision.aim
    if decision.verdict == "other":
        start = {"smoothing": f"use label smoothing{'' if bare else ','}", "soft labels": "train on the soft labels"}
        by = divisor(decision.other)
        then = "" if by is None else f", and temperature-scale the logits (T = {by}, fitted on validation rows)"
        return f"{state}: {start.get(other.method, f'train with {other.method}')} {other.strength}{then}."
    better, worse = (decision.called(each) for each in ("better", "worse"))
    if decision.verdict == "base":
        if worse:
            at_this = " at this strength" if other.method == "smoothing" and not other.scheduled else ""
            return f"{state}: {doing} makes {_names(worse)} worse{at_this}."
        what = "the model" if decision.first is None else _names([decision.first])
        return f"{state}: {doing} does not make {what} better by as much as would matter."
    if better:
        return f"{state}: {doing} makes {_names(better)} better{_against(decision, of_training=True)}."
    if decision.called("not tested") and decision.first is not None:
        return f"{state}: the models make too few mistakes to compare {_names([decision.first])}."
    return f"{state}: this comparison cannot show whether {doing} helps."


def _against(decision: Decision, *, of_training: bool) -> str:
    """What speaks against an arm that is better in something: what is worse, or may be."""
    if worse := decision.called("worse"):
        counted = decision.called("better", "worse")
        aims = joined([f"--for {aim}" for aim, metric in AIMS.items() if metric in counted], "or")
        how = f"{_names(worse)} worse" if of_training else f"worse in {_names(worse)}"
        return f" and {how}; choose by what matters more to you ({aims})"
    open_names = _names(decision.called("inconclusive", "not better"))
    how = f"may make {open_names} worse" if of_training else f"may be worse in {open_names}"
    return f", and {how} by more than would matter"


def _of_judged(decision: Decision) -> str:
    """The first sentence on models that were trained elsewhere."""
    mine, theirs = (
        f"the {each.arm.name} model{'s' * (len(each.temperatures) > 1)}" for each in (decision.other, decision.base)
    )
    they, are = ("they", "are") if len(decision.other.temperatures) > 1 else ("it", "is")
    better, worse = (decision.called(each) for each in ("better", "worse"))
    if decision.verdict == "other":
        return f"Take {mine}{decision.aim}: {they} {are} better than {theirs}."
    if decision.verdict == "base":
        how = f"worse in {_names(worse)}" if worse else "not better by as much as would matter"
        return f"Keep {theirs}{decision.aim}: {mine} {are} {how}."
    state = STATES["undecided"] + decision.aim
    if better:
        return f"{state}: {mine} {are} better than {theirs} in {_names(better)}{_against(decision, of_training=False)}."
    if decision.called("not tested") and decision.first is not None:
        return f"{state}: the models make too few mistakes to compare {_names([decision.first])}."
    return f"{state}: these rows cannot show whether {mine} {are} better than {theirs}."


def _undecided(decision: Decision) -> list[str]:
    """Which choice risks less, for those who have to choose now; nothing where both risk about the same."""
    low, high = sorted((decision.risk(of_other=is_other), is_other) for is_other in (False, True))
    if low[0][0] >= 0.8 * high[0][0]:
        return []
    less, more = ((decision.other if is_other else decision.base).arm.name for _, is_other in (low, high))
    its, others = (f"{SHOWN[metric].amount(amount)} in {SHOWN[metric].name}" for (_, metric, amount), _ in (low, high))
    may = f"it may be worse than {more} by up to {its}" if low[0][0] > 0 else f"it is not worse than {more}"
    return [
        f"If you have to choose now, {less} risks less: by the 95 % intervals, {may}, and {more} may be worse than "
        f"{less} by up to {others}."
    ]


def _one_model(results: Sequence[ArmResult]) -> list[str]:
    """What a single model of an arm cannot show."""
    single = [result.arm.name for result in results if len(result.temperatures) == 1]
    if not single:
        return []
    if len(single) == len(results):
        return ["There is one model of each arm, so this is about these models: models of other seeds may differ."]
    return [f"There is one model of {joined(single)}, so this is about that model: one of another seed may differ."]


def notes(distinct: int, counters: Sequence[str], *, grouped: bool = False) -> list[Note]:
    """What a reader should know of the data before trusting the verdict; usually nothing."""
    result: list[Note] = []
    if distinct < 50:
        rows = "groups of test rows" if grouped else "distinct test rows"
        text = f"There are only {distinct} {rows}: intervals are wide, and another split may say otherwise."
        result.append(Note(code="few-test-rows", text=text))
    for name in counters:
        text = f'Column "{name}" counts the rows of the file, and was used as a feature: drop it if it is a row number.'
        result.append(Note(code="row-counter", text=text))
    return result
