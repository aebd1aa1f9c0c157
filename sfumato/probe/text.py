"""A probe as text for a terminal: what the loss is, the table of findings, the line of code."""

import textwrap
from collections.abc import Sequence

from sfumato.conventions import SPREADS
from sfumato.probe.read.levels import least_share
from sfumato.probe.result import Probe, ProbeFinding


def as_text(result: Probe, width: int = 100) -> str:
    """What :func:`~sfumato.probe.probing.probe` found, for a person, in lines of ``width`` columns.

    >>> import torch
    >>> from sfumato.probe import probe
    >>> print(as_text(probe(torch.nn.CrossEntropyLoss(label_smoothing=0.1))).splitlines()[0])
    CrossEntropyLoss is label smoothing with ε = 0.1 over all classes
    """
    lines = [*wrapped("", _headline(result), width), *wrapped("", _in_plain_words(result), width), ""]
    lines += lines_of_facts(_facts(result), width)
    if result.findings:
        lines += ["", "findings", *lines_of_findings(result.findings, width)]
    if result.line is None:
        return "\n".join([*lines, "", "In sfumato", *wrapped("  ", str(result.recipe), width)])
    where = [] if result.where is None else wrapped("  ", f"Here {result.where}.", width)
    return "\n".join([*lines, "", "The same loss in sfumato (import sfumato as sf):", *where, f"  {result.line}"])


def _in_plain_words(result: Probe) -> str:
    """What training with the loss aims at, for a reader who knows none of the terms."""
    if result.convention == "prior":
        return "It trains a model to give a part of its probability to the right class, and the rest as π says."
    if result.target is None:
        return "It trains a model towards no fixed probabilities that could be recovered from its gradient."
    if result.moved_by is not None:
        return f"It does not train a model to give the probabilities of this target: {result.moved_by}."
    total = 1.0 if (result.convention or "").startswith("sigmoid") or not result.mass else result.mass
    true, other = (share / total for share in result.target)
    if abs(other) <= least_share(result.classes):
        return "It trains a model to give all probability to the right class, and none to any other."
    if (result.convention or "").startswith("sigmoid"):
        shares = f"right class with chance {true:.4g}, and to each other with {other:.4g}"
        return f"It trains a model to say yes to the {shares}."
    shares = f"{100 * true:.4g} % of its probability to the right class and {100 * other:.4g} % to each other class"
    return f"It trains a model to give {shares} (of {result.classes}), instead of everything to the right one."


def _headline(result: Probe) -> str:
    name = result.name.rpartition(":")[2]
    if result.convention is None:
        return f"{name}: {result.why}"
    if result.convention in ("one-hot", "sigmoid-hard"):
        return f"{name} {'is not smoothed' if result.moved_by is None else 'has hard labels'}: {result.why}"
    assert result.eps is not None
    proper = result.mass is None or abs(result.mass - 1) < 1e-5
    turned = "minus " if result.mass is not None and result.mass < 0 else ""
    where = {
        "others": "over the other classes",
        "all": "over all classes",
        "nopad": "over the other classes, padding left out",
        "classy": "added over all classes" + (", then normalised (ClassyVision's)" if proper else ", not normalised"),
        "prior": "over a prior",
        "deficit": "over the other classes, but a share short",
        "sigmoid-half": "of each class towards one half",
        "sigmoid-full": "as the chance of a wrong label a class",
        "sigmoid-all": "over all classes, given to sigmoids",
    }[result.convention]
    return f"{name} is {turned}label smoothing with ε = {result.eps:g} {where}"


def _facts(result: Probe) -> list[tuple[str, str]]:
    """What is known of the loss: the name of each fact, and the fact."""
    rows = [("called", f"loss({result.called})")]
    if result.convention in SPREADS:
        spread = SPREADS[result.convention]
        target = f"{spread.formula_true} and {spread.formula_other}"
        rows.append(("convention", f"{result.convention}: {target}; {result.why}"))
    if result.target is not None:
        true, other = result.target
        rows.append(("target", f"{true:.6g} on the label, {other:.6g} on each other class, at K = {result.classes}"))
        if result.mass is not None:
            rows.append(("total mass", f"{result.mass:.6g}"))
    both = ((result.eps_all, "over all"), (result.eps_others, "over the others"))
    readings = [f"{eps:.6g} {where}" for eps, where in both if eps is not None]
    if readings:
        rows.append(("same optimum", " or ".join(readings)))
    rows.append(("reduction", result.reduction))
    rows.append(("ignored label", "none found" if result.ignore_index is None else str(result.ignore_index)))
    return rows


def lines_of_facts(facts: Sequence[tuple[str, str]], width: int) -> list[str]:
    """Names and what they say, the names side by side."""
    left = max(len(name) for name, _ in facts)
    return [line for name, text in facts for line in wrapped(f"{name:<{left}}  ", text, width)]


def lines_of_findings(findings: Sequence[ProbeFinding], width: int) -> list[str]:
    """Findings with their level and code; the text is below where the codes leave no room for 40 columns."""
    left = max(len(each.code) for each in findings)
    if width < left + 51:
        below = [[f"{each.level:<7}  {each.code}", *wrapped(" " * 9, each.text, width)] for each in findings]
        return [line for lines in below for line in lines]
    return [line for each in findings for line in wrapped(f"{each.level:<7}  {each.code:<{left}}  ", each.text, width)]


def wrapped(lead: str, text: str, width: int) -> list[str]:
    """A text in lines of ``width`` columns, the first behind ``lead`` and the others below its end."""
    room, beside = max(width, len(lead) + 30), " " * len(lead)
    return textwrap.wrap(
        text, room, initial_indent=lead, subsequent_indent=beside, break_long_words=False, break_on_hyphens=False
    )
