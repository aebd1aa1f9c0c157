"""How the rows of a batch become one number: mean, sum, none or another way, from rows together and one by one."""

from dataclasses import replace
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from sfumato.probe.call import SEQUENCES, Array, Labels, Loss
from sfumato.probe.find_loss import Spec, attempt, refusing
from sfumato.probe.gradients import Reading
from sfumato.probe.result import ProbeFinding, defect, note, warning

Name: TypeAlias = Literal["mean", "sum", "none", "other"]


class RowReduction(NamedTuple):
    """How the rows of a batch become one number."""

    name: Name
    factors: Array  # gradient of each row in a batch of four, over that of the row alone; NaN if it alone has none
    findings: list[ProbeFinding]  # what is peculiar about it
    why_no_line: str = "its reduction is neither mean, sum nor none"


def reduction_of(spec: Spec, loss: Loss, reading: Reading) -> RowReduction:
    """The reduction, from gradients of four rows together and one by one."""
    z, labels = reading.batch(4, seed=23)
    with refusing(f"{spec.name} cannot be called with four rows"):
        together, alone, factors = loss.in_a_batch(z, labels)
        values = loss.values(z, labels)
        findings = [] if loss.seeded else _gradients_that_mix(loss, z, labels, together, alone, factors)
        if values.ndim >= 1 and values.size in (4, 4 * reading.classes):
            name: Name = "none"
            shown = values.reshape(4, -1).sum(axis=1)
            each = np.array([loss.value(z[i : i + 1], labels[i : i + 1]) for i in range(4)])
            if not loss.seeded and np.abs(shown - each).max() > 1e-3 * np.abs(each).max():
                text = f"the value of a row depends on the other rows: {shown[0]:.4g} among four, {each[0]:.4g} alone"
                findings.append(defect("values-leak", text))
        else:
            name, more = _name_of_factors(loss, z, labels, factors)
            findings += more
    declared = spec.given("reduction") or getattr(loss.function, "reduction", None)
    if declared in ("mean", "sum", "none") and name != "other" and declared != name:
        findings.append(defect("reduction-misnamed", f'reduction="{declared}" is the {name}'))
    return RowReduction(name, factors, findings)


def over_sequences(
    loss: Loss, reading: Reading, reduction: RowReduction, ignored: int | None
) -> tuple[RowReduction, list[ProbeFinding]]:
    """Whether a mean over rows is a mean over sequences of the mean of each: with ignored rows the two differ."""
    if ignored is None or reduction.name != "mean" or loss.style.layout not in SEQUENCES or loss.seeded:
        return reduction, []
    loss = replace(loss, style=replace(loss.style, batch=2))
    z, labels = reading.batch(8, seed=23)
    labels[1:4] = ignored  # one row of the first sequence counts, and four of the second
    gradient, alone = loss.gradient(z, labels), loss.gradient(z, np.where(labels == ignored, labels[0], labels))
    count = np.einsum("nk,nk->n", gradient, alone) / (alone**2).sum(axis=1) / 8
    if not count[0] > 1.01 * count[4]:
        return reduction, []
    text = "the mean over sequences of the mean of each: a row of a sequence in which one row counts is worth "
    text += f"{count[0] / count[4]:.3g} rows of one in which four count"
    why = "it is the mean over sequences of the mean of each"
    return reduction._replace(name="other", why_no_line=why), [warning("mean-of-sequence-means", text)]


def _gradients_that_mix(
    loss: Loss, z: Array, labels: Labels, together: Array, alone: Array, factors: Array
) -> list[ProbeFinding]:
    """Whether the gradient of a row in the batch is another than a multiple of its gradient alone."""
    known = np.isfinite(factors)
    apart = np.abs(together - factors[:, None] * alone)[known].max(initial=0.0)
    close = 1e-3 * np.abs(together).max()
    if apart <= close:
        return []
    others = z.copy()
    others[1:] = others[1:, ::-1]
    if np.abs(loss.gradient(others, labels)[0] - together[0]).max() > close:
        return [defect("rows-leak", "the gradient of a row depends on the other rows: they leak into each other")]
    return [warning("rows-turn", "the gradient of a row in a batch is no multiple of its gradient alone")]


def _name_of_factors(loss: Loss, z: Array, labels: Labels, factors: Array) -> tuple[Name, list[ProbeFinding]]:
    hidden = [i for i in range(4) if abs(factors[i]) < 1e-7]
    if hidden and not loss.seeded:
        text = f"the loss hides rows: {len(hidden)} of 4 have no gradient in a batch (rows "
        return "other", [defect("rows-hidden", f"{text}{', '.join(map(str, hidden))}), and each has one alone")]
    shares: tuple[tuple[Name, int], ...] = (("mean", 4), ("sum", 1))
    for name, share in shares:
        if np.allclose(factors, 1 / share, rtol=1e-4):
            # A mean of the means of each label looks alike where every label is there once.
            uneven = attempt(lambda: loss.in_a_batch(z, labels[[0, 1, 0, 0]])[2])
            if loss.seeded or uneven is None or np.allclose(uneven, 1 / share, rtol=1e-3):
                return name, []
            text = (
                f"{name} over rows where every label is there once; a row of a label that is there three times counts "
            )
            text += f"{uneven[0]:.4g}, and one of a label that is there once {uneven[1]:.4g}"
            return "other", [warning("reduction-unknown", text)]
    if loss.seeded:  # draws may differ with the size of the batch, so nothing can be said
        return "other", []
    shown = ", ".join(f"{f:.4g}" for f in factors)
    _, _, twice = loss.in_a_batch(z, labels[[0, 1, 0, 1]])  # with four labels, places would look like weights of them
    if abs(float(factors.sum()) - 1) < 1e-4 and np.abs(twice[:2] - twice[2:]).max() < 1e-4:
        return "mean", [note("weighted-mean", f"a mean over the labels' weights: four rows count {shown}")]
    text = f"neither mean nor sum: a row in a batch of four counts {shown} of what it does alone"
    return "other", [warning("reduction-unknown", text)]
