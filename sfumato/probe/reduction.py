"""How the rows of a batch become one number: mean, sum, none or another way, from rows together and one by one."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from sfumato.probe.call import Array, Labels, Loss
from sfumato.probe.find_loss import ProbeError, Spec, in_words
from sfumato.probe.gradients import Reading
from sfumato.probe.result import ProbeFinding, defect, note, warning


@dataclass(frozen=True)
class RowReduction:
    """How the rows of a batch become one number."""

    name: Literal["mean", "sum", "none", "other"]
    factors: Array  # gradient of each row in a batch of four, over that of the row alone; NaN if it alone has none


def reduction_of(spec: Spec, loss: Loss, reading: Reading) -> tuple[RowReduction, list[ProbeFinding]]:
    """The reduction, from gradients of four rows together and one by one, and what is peculiar about it."""
    z, labels = reading.batch(4, seed=23)
    try:
        together, alone, factors = loss.in_a_batch(z, labels)
        values = loss.values(z, labels)
        findings = [] if loss.seeded else _gradients_that_mix(loss, z, labels, together, alone, factors)
        if values.ndim >= 1 and values.size in (4, 4 * reading.classes):
            findings += [] if loss.seeded else _values_that_mix(loss, z, labels, values)
            reduction = RowReduction("none", factors)
        else:
            reduction, more = _reduction_of_factors(loss, z, labels, factors)
            findings += more
    except Exception as error:
        raise ProbeError(f"{spec.name} cannot be called with four rows: {in_words(error)}") from error
    declared, name = spec.given("reduction") or getattr(loss.function, "reduction", None), reduction.name
    if declared in ("mean", "sum", "none") and name != "other" and declared != name:
        findings.append(defect("reduction-misnamed", f'reduction="{declared}" is the {name}'))
    return reduction, findings


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


def _values_that_mix(loss: Loss, z: Array, labels: Labels, values: Array) -> list[ProbeFinding]:
    shown = values.reshape(4, -1).sum(axis=1)
    alone = np.array([loss.value(z[i : i + 1], labels[i : i + 1]) for i in range(4)])
    if np.abs(shown - alone).max() <= 1e-3 * np.abs(alone).max():
        return []
    text = f"the value of a row depends on the other rows: {shown[0]:.4g} among four, {alone[0]:.4g} alone"
    return [defect("values-leak", text)]


def _reduction_of_factors(
    loss: Loss, z: Array, labels: Labels, factors: Array
) -> tuple[RowReduction, list[ProbeFinding]]:
    hidden = [i for i in range(4) if abs(factors[i]) < 1e-7]
    if hidden and not loss.seeded:
        text = f"the loss hides rows: {len(hidden)} of 4 have no gradient in a batch (rows "
        text += f"{', '.join(map(str, hidden))}), and each has one alone"
        return RowReduction("other", factors), [defect("rows-hidden", text)]
    if np.allclose(factors, 0.25, rtol=1e-4):
        return RowReduction("mean", factors), []
    if np.allclose(factors, 1.0, rtol=1e-4):
        return RowReduction("sum", factors), []
    if loss.seeded:  # draws may differ with the size of the batch, so nothing can be said
        return RowReduction("other", factors), []
    shown = ", ".join(f"{f:.4g}" for f in factors)
    _, _, twice = loss.in_a_batch(z, labels[[0, 1, 0, 1]])  # with four labels, places would look like weights of them
    if abs(float(factors.sum()) - 1) < 1e-4 and np.abs(twice[:2] - twice[2:]).max() < 1e-4:
        text = f"a mean over the labels' weights: four rows count {shown}"
        return RowReduction("mean", factors), [note("weighted-mean", text)]
    text = f"neither mean nor sum: a row in a batch of four counts {shown} of what it does alone"
    return RowReduction("other", factors), [warning("reduction-unknown", text)]
