"""Whether labels belong to their rows: they are compared with the predictions of a model that has learned its rows
already, and with the labels that the same inputs had before.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sfumato.probe.result import ProbeFinding, note, warning
from sfumato.probe.rows import Array, ReadRows

MAX_NUMBERS = 1 << 22  # of a batch of inputs that are looked at
SURE = 0.8  # the mean of the largest probabilities from which a model has learned its rows
FEWEST = 32  # rows from which labels are compared with predictions


@dataclass(frozen=True)
class LabelledRows:
    """The rows of one pass, each of which is one example; (R,)."""

    label: Array
    predicted: Array
    surest: Array  # the largest probability
    inputs: Array  # a number for each input, the same for the same input; empty where the inputs are not known


def labelled_rows(z: Tensor, rows: ReadRows, inputs: Tensor | None) -> LabelledRows:
    """The rows with one label, of logits (R, K)."""
    largest, predicted = z.detach().float().softmax(1).max(1)
    keys = np.zeros(0)
    if inputs is not None and inputs.layout is torch.strided and inputs.dim() > 1 and len(inputs) == len(z):
        flat = inputs.detach().reshape(len(z), -1)
        flat = flat[:, :: max(1, flat.numel() // MAX_NUMBERS)].double()
        keys = (
            (flat @ torch.arange(1.0, flat.shape[1] + 1, dtype=torch.float64, device=flat.device).cos()).cpu().numpy()
        )
    known = rows.live & (rows.others == 0) & (rows.misfit < (3e-2 if rows.coarse else 1e-3))
    keys = keys[known] if len(keys) else keys
    return LabelledRows(rows.label[known], predicted.cpu().numpy()[known], largest.cpu().numpy()[known], keys)


def label_findings(passes: Sequence[LabelledRows], classes: int) -> Iterator[ProbeFinding]:
    """Labels that are in another order than their rows, or that differ for the same inputs."""
    before: dict[float, int] = {}
    again = differ = 0
    for one in passes:
        keys = one.inputs.round(9).tolist() if len(set(one.inputs.round(9))) == len(one.inputs) else []
        labels = dict(zip(keys, one.label.tolist(), strict=False))
        again += len(labels.keys() & before.keys())
        differ += sum(before.get(key, label) != label for key, label in labels.items())
        before |= labels
    if again >= 8 and differ > again / 2:
        text = f"{differ} of {again} rows that came again had another label than before: labels are shuffled against "
        yield warning("labels-differ", f"{text}their rows")
    rows = sum(len(one.label) for one in passes)
    if rows < FEWEST or np.mean(np.concatenate([one.surest for one in passes])) < SURE:
        return
    agreed = sum(int((one.label == one.predicted).sum()) for one in passes)
    shares = np.bincount(np.concatenate([one.label for one in passes]), minlength=classes) / rows
    predicted = np.bincount(np.concatenate([one.predicted for one in passes]), minlength=classes) / rows
    chance = float(shares @ predicted)
    if chance > 0.6 or agreed > rows * chance + 3 * np.sqrt(rows * chance * (1 - chance)):
        return
    text = (
        f"the model is sure of its predictions, and {agreed} of {rows} labels agree with them, no more than by chance"
    )
    if _same_labels(passes, shares):
        text += (
            ", though each batch has the labels that it predicts, in another order: labels are shuffled against rows"
        )
        yield warning("labels-in-another-order", text)
    else:
        text += ": labels are shuffled against their rows, they are of other classes, or the rows are adversarial"
        yield note("labels-at-chance", text)


def _same_labels(passes: Sequence[LabelledRows], shares: Array) -> bool:
    """Whether the labels of each batch are the predicted ones, more nearly than labels drawn by their shares."""
    draw = np.random.default_rng(0)

    def shared(label_counts: Array, one: LabelledRows) -> Array:
        return np.minimum(label_counts, np.bincount(one.predicted, minlength=len(shares))).sum(-1)

    seen = sum(shared(np.bincount(one.label, minlength=len(shares)), one) for one in passes)
    drawn = np.sum([shared(draw.multinomial(len(one.label), shares, 400), one) for one in passes], axis=0)
    return bool(seen > drawn.mean() + 4 * drawn.std())
