"""The verdict: sentences that follow from the evidence, whatever the evidence is.

The first sentence says which target to train with, the second why, or what would settle it. The others say what does
not differ, what is not settled, and what to do with the logits. Nothing here prefers smoothing: where nothing is
better, the simpler target is kept, and that is the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sfumato.messages import Note
from sfumato.runs.schema import ArmDifference, VerdictSummary
from sfumato.text import joined, plural
from sfumato.verdict.analyse import HEADLINE, ArmResult, belong_together, difference
from sfumato.verdict.more_seeds import settle
from sfumato.verdict.wording import SHOWN, change, divisor, small_or_open, temperature


def verdict(
    results: Sequence[ArmResult],
    differences: Sequence[ArmDifference],
    *,
    majority: float = 0.0,
    order: Sequence[str] = (),
    paired: bool = True,
    grouped: bool = False,
) -> VerdictSummary:
    """Choose between the first arm, one-hot as a rule, and the others, and say why.

    Only differences that are better or worse choose; those that are too small to matter are told and decide nothing.
    """
    nothing = nothing_to_decide(results, majority)
    if nothing:
        return {"choice": "none", "sentences": nothing}
    base = results[0]
    found = [_Found.of(base, other, differences, paired) for other in results[1:]]
    # Of several arms that are equally good against the first, the validation rows' favourite speaks for all.
    ranked = sorted(found, key=lambda each: (each.rank, order.index(each.other.arm.name) if order else 0))
    main, rest = ranked[0], ranked[1:]
    choice = {0: main.other.arm.name, 1: "depends"}.get(main.rank, base.arm.name)
    said, sees = [_action(main, base), *_reasons(main, base)], list[str]()
    if main.rank == 2:
        tests = sum(difference["p_adjusted"] is not None for difference in differences)
        open_ = main.called("not settled")
        do, *sees = settle(base, main.other, tests, open_, paired=main.paired, grouped=grouped) or [
            "More test rows, or more models of each arm, would settle it." if open_ else _all_small(main)
        ]
        said.append(do)
    others = [name for name in HEADLINE if main.words[name] in _OTHERS]
    said += [small_or_open(main.rows[name], main.inner(base, name), whose=name == others[0]) for name in others]
    for result in [base, main.other] if choice == "depends" else [main.other if main.rank == 0 else base]:
        said += temperature(result, advised=main.rank == 0)
    said += [*sees, *_one_model(results)]
    if rest:
        said.append(f"Against {base.arm.name}, {'; '.join(each.brief() for each in rest)}.")
        rivals = [each.other.arm.name for each in rest if each.rank == main.rank]
        if rivals and main.rank < 2:
            rows = "log loss of these rows" if main.other.cross_fitted else "validation rows"
            said.append(f"Between {joined([main.other.arm.name, *rivals])} the {rows} chose, not a test.")
    return {"choice": choice, "sentences": said}


def nothing_to_decide(results: Sequence[ArmResult], majority: float) -> list[str]:
    """Two sentences where no arm is better than chance or every arm is always right; nothing elsewhere."""
    which = "neither" if len(results) == 2 else "no"
    if all(result.metrics["accuracy"].estimate().low <= majority for result in results):
        reached = joined([f"{r.arm.name} {100 * r.metrics['accuracy'].by_seed.mean():.1f} %" for r in results])
        options = "" if not results[0].arm.method else " (--epochs, --learning-rate)"
        ahead = any(result.metrics["accuracy"].by_seed.mean() > majority for result in results)
        rows = "use more test rows, for these are too few to tell, " if ahead else ""
        return [
            f"No verdict: {which} model is reliably better than always answering the most frequent class "
            f"({100 * majority:.1f} % of the test rows; {reached}).",
            "All test rows are of one class: use test rows of every class."
            if majority == 1
            else f"Before you choose how to train, {rows}train longer or with a lower learning rate{options}, look for "
            "features that tell the classes apart, or add rows of the rarer classes.",
        ]
    if all(float(result.metrics["accuracy"].by_seed.min()) == 1 for result in results):
        rows = results[0].metrics["accuracy"].values.shape[1]
        whose = "both arms" if len(results) == 2 else "every arm"
        base = results[0].arm
        kept = "one-hot labels, which are the simplest" if base.one_hot else base.name
        if not base.method:
            kept = f"the {base.name} models"
        return [
            f"There is nothing to decide: every model of {whose} is right on all {plural(rows, 'test row')}.",
            "Look first whether something in the data gives the label away, such as a column that is filled in after "
            f"the outcome. If nothing does, keep {kept}; a harder test set, on which models err, could tell more.",
        ]
    return []


_OTHERS = ("the same", "not settled", "better by little", "worse by little")


@dataclass(frozen=True)
class _Found:
    """What was found of one arm against the first: its headline differences by metric, and which way they go."""

    other: ArmResult
    rows: Mapping[str, ArmDifference]
    paired: bool

    @classmethod
    def of(cls, base: ArmResult, other: ArmResult, differences: Sequence[ArmDifference], paired: bool) -> _Found:
        own = [d for d in differences if d["arm"] == other.arm.name and d["against"] == base.arm.name]
        return cls(
            other, {d["metric"]: d for d in own if d["metric"] in HEADLINE}, belong_together(other, base, paired=paired)
        )

    @property
    def words(self) -> dict[str, str]:
        """The word for each headline metric."""
        return {name: self.rows[name]["finding"] or "" for name in HEADLINE}

    def called(self, *words: str) -> list[str]:
        """The headline metrics that have one of these words."""
        return [name for name, word in self.words.items() if word in words]

    def inner(self, base: ArmResult, name: str) -> tuple[float, float]:
        """The 90 % interval of one difference."""
        return difference(self.other.metrics[name], base.metrics[name], paired=self.paired).interval(0.9)

    @property
    def rank(self) -> int:
        """0 better, 1 better in some and worse in others, 2 neither, 3 worse."""
        better, worse = self.called("better"), self.called("worse")
        return (1 if worse else 0) if better else (3 if worse else 2)

    def brief(self) -> str:
        """``all-0.1 makes accuracy better``."""
        ways = [
            f"{joined([SHOWN[name].name for name in names])} {way}"
            for way in ("better", "worse")
            if (names := self.called(way))
        ]
        return f"{self.other.arm.name} makes {' and '.join(ways) or 'no difference that would decide'}"


def _action(found: _Found, base: ArmResult) -> str:
    """The first sentence: what to train with, or which models to take."""
    if not found.other.arm.method:
        return _of_judged(found, base)
    strength, training = found.other.arm.strength, found.other.arm.method
    doing = f"{training}{' with' if training == 'smoothing' else ''} {strength}"
    stay = "Keep one-hot labels" if base.arm.one_hot else f"Keep {base.arm.name}"
    at_this = " at this strength" if training == "smoothing" and not found.other.arm.scheduled else ""
    if found.rank == 0:
        start = {"smoothing": "Smooth the labels with", "soft labels": "Train on the soft labels"}
        by = divisor(found.other)
        then = "" if by is None else f", and divide the logits by one number, fitted on validation rows (here {by})"
        return f"{start.get(training, f'Train with {training}')} {strength}{then}."
    if found.rank == 1:
        return (
            f"It depends on what the model is for: {doing} makes one thing better and another worse, so choose by the "
            "one that you need more."
        )
    if found.rank == 3:
        return f"{stay}: {doing} makes the model worse{at_this}."
    if found.called("not settled"):
        return f"{stay} for now: {doing} makes no difference that this comparison can rely on."
    return f"{stay}: {doing} makes no difference that matters."


def _of_judged(found: _Found, base: ArmResult) -> str:
    """The first sentence on models that were trained elsewhere."""
    many = len(found.other.temperatures) > 1
    mine, theirs = (f"the {each.arm.name} model{'s' * (len(each.temperatures) > 1)}" for each in (found.other, base))
    are = "are" if many else "is"
    if found.rank == 0:
        return f"Take {mine}: {'they are' if many else 'it is'} better than {theirs}."
    if found.rank == 1:
        return f"It depends on what you need: {mine} {are} better than {theirs} in one thing and worse in another."
    if found.rank == 3:
        return f"Keep {theirs}: {mine} {are} worse."
    if found.called("not settled"):
        return f"Keep {theirs} for now: these rows show no difference from {mine} that can be relied on."
    return f"Keep {theirs}: nothing in which {mine} {'differ' if many else 'differs'} matters."


def _one_model(results: Sequence[ArmResult]) -> list[str]:
    """What a single model of an arm cannot say."""
    single = [result.arm.name for result in results if len(result.temperatures) == 1]
    if not single:
        return []
    if len(single) == len(results):
        return ["There is one model of each arm, so this is about these models: another seed of either may differ."]
    return [f"There is one model of {joined(single)}, so this is about that model: another seed may differ."]


def _all_small(found: _Found) -> str:
    """The reason where every difference is settled and too small to matter."""
    names = found.called(*_OTHERS)
    margins = joined([SHOWN[name].amount(found.rows[name].get("margin") or 0.0) for name in names])
    told = joined([f"the {SHOWN[name].name}" for name in names])
    return (
        f"On rows that the models have not seen, {told} differ by less than would matter ({margins}; --margin sets it)."
    )


def _reasons(found: _Found, base: ArmResult) -> list[str]:
    """Why: what is better and what is worse on rows that the models have not seen."""
    name, sentences = found.other.arm.name, list[str]()
    for way in ("better", "worse"):
        for metric in found.called(way):
            clause = change(base, found.other, found.rows[metric], than=not sentences)
            if not sentences:
                sentences.append(f"On rows it has not seen, the {name} model {clause}.")
            elif way == "worse" and found.called("better"):
                sentences.append(f"But it {clause}.")
            else:
                also = f"is also {clause[3:]}" if clause.startswith("is ") else f"also {clause}"
                sentences.append(f"It {also}.")
    return sentences


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
