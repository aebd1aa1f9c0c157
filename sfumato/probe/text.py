"""A probe as text for a terminal: what the loss is, the table of findings, the line of code."""

import textwrap

from sfumato.conventions import SPREADS
from sfumato.probe.result import Probe


def as_text(found: Probe, width: int = 100) -> str:
    """What :func:`~sfumato.probe.probing.probe` found, for a person, in lines of ``width`` columns.

    >>> import torch
    >>> from sfumato.probe import probe
    >>> print(as_text(probe(torch.nn.CrossEntropyLoss(label_smoothing=0.1))).splitlines()[0])
    CrossEntropyLoss is label smoothing with ε = 0.1 over all classes
    """
    rows = _facts(found)
    left = max(len(name) for name, _ in rows)
    lines = [_headline(found), ""]
    for name, text in rows:
        lines += _wrapped(f"{name:<{left}}  ", text, width)
    if found.findings:
        left = max(len(f.about) for f in found.findings)
        lines += ["", f"{'':7}  {'findings':<{left}}"]
        for finding in found.findings:
            lines += _wrapped(f"{finding.level:<7}  {finding.about:<{left}}  ", finding.text, width)
    lines += ["", "The same loss in sfumato (import sfumato as sf):" if found.line else "In sfumato"]
    lines.append(f"  {found.line or found.recipe}")
    return "\n".join(lines)


def _headline(found: Probe) -> str:
    name = found.name.rpartition(":")[2]
    if found.convention is None:
        return f"{name}: {found.why}"
    if found.convention in ("one-hot", "sigmoid-hard"):
        return f"{name} is not smoothed: {found.why}"
    assert found.eps is not None
    proper = found.mass is None or abs(found.mass - 1) < 1e-5
    turned = "minus " if found.mass is not None and found.mass < 0 else ""
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
    }[found.convention]
    return f"{name} is {turned}label smoothing with ε = {found.eps:g} {where}"


def _facts(found: Probe) -> list[tuple[str, str]]:
    """What is known of the loss: the name of each fact, and the fact."""
    rows = [("called", f"loss({found.called})")]
    if found.convention in SPREADS:
        spread = SPREADS[found.convention]
        target = f"{spread.formula_true} and {spread.formula_other}"
        rows.append(("convention", f"{found.convention}: {target}; {found.why}"))
    if found.target is not None:
        true, other = found.target
        rows.append(("target", f"{true:.6g} on the label, {other:.6g} on each other class, at K = {found.classes}"))
        if found.mass is not None:
            rows.append(("total mass", f"{found.mass:.6g}"))
    both = ((found.eps_all, "over all"), (found.eps_others, "over the others"))
    readings = [f"{eps:.6g} {where}" for eps, where in both if eps is not None]
    if readings:
        rows.append(("same optimum", " or ".join(readings)))
    rows.append(("reduction", found.reduction))
    rows.append(("ignored label", "none found" if found.ignore_index is None else str(found.ignore_index)))
    return rows


def _wrapped(lead: str, text: str, width: int) -> list[str]:
    room, beside = max(width, len(lead) + 30), " " * len(lead)
    return textwrap.wrap(text, room, initial_indent=lead, subsequent_indent=beside, break_long_words=False)
