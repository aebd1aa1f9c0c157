"""Saving the scores of a trained model for ``sfumato judge``: one file per model, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sfumato.evaluate.scores.column_checks import as_numpy, is_tensor
from sfumato.evaluate.scores.model_file import model_of
from sfumato.evaluate.scores.score_matrix import ScoreMatrix
from sfumato.io.atomic import WriteError, make_folder, write_arrays
from sfumato.verdict.read_arms import check_name

if TYPE_CHECKING:
    import torch


def save_scores(
    folder: str | os.PathLike[str],
    *,
    arm: str,
    seed: int | str,
    logits: torch.Tensor | npt.ArrayLike | None = None,
    probs: torch.Tensor | npt.ArrayLike | None = None,
    labels: torch.Tensor | npt.ArrayLike | None = None,
    label_probs: torch.Tensor | npt.ArrayLike | None = None,
    label_counts: torch.Tensor | npt.ArrayLike | None = None,
    val_logits: torch.Tensor | npt.ArrayLike | None = None,
    val_probs: torch.Tensor | npt.ArrayLike | None = None,
    val_labels: torch.Tensor | npt.ArrayLike | None = None,
    val_label_probs: torch.Tensor | npt.ArrayLike | None = None,
    val_label_counts: torch.Tensor | npt.ArrayLike | None = None,
    group: npt.ArrayLike | None = None,
    id: npt.ArrayLike | None = None,
) -> Path:
    """Write the scores of one trained model to ``FOLDER/ARM/SEED.npz``, whole or not at all.

    ``sfumato judge FOLDER`` then compares the arms. A file of the same name is written over, as a model that was
    trained again takes the place of the old one.

    Args:
        folder: of all arms; made where it is missing.
        arm: what was trained, such as ``"one-hot"``; it names a folder.
        seed: which model of the arm.
        logits: of the test rows, (N, K) or (B, T, K), torch or numpy; half precision is kept, bfloat16 as float32.
        probs: their probabilities instead, of models that have no logits; rows that sum to 1.
        labels: of the test rows, (N,) or (B, T); −100 marks rows that do not count.
        label_probs: soft labels instead, (N, K) or (B, T, K), rows that sum to 1.
        label_counts: how many annotators gave each row each class, instead; a row without any does not count.
        val_logits: of validation rows, (M, K), on which the temperature is fitted.
        val_probs: probabilities of validation rows instead, (M, K).
        val_labels: of validation rows, (M,).
        val_label_probs: soft labels of validation rows instead, (M, K).
        val_label_counts: counts of annotators of validation rows instead, (M, K).
        group: (N,) numbers or words, equal for rows that vary together: of a patient, a document, a speaker.
        id: (N,) numbers or words, one of its own for each row, by which rows are matched.

    Returns:
        The path of the file.

    Raises:
        TypeError: none or both of ``logits`` and ``probs``; none or several of ``labels``, ``label_probs`` and
            ``label_counts``; or several of validation rows.
        ValueError: arrays that do not fit together, logits that are not finite, or a name that no file can have;
            nothing is written.
        WriteError: a full disk; nothing is left behind.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> path = save_scores(folder, arm="one-hot", seed=0, logits=[[2.0, 0.0], [0.0, 1.0]], labels=[0, 1])
    >>> path.parts[-2:]
    ('one-hot', '0.npz')
    """
    if str(seed) in ("None", "True", "False"):
        raise ValueError(f"seed must be a number or a name, got {seed}")
    for what, name in (("an arm", arm), ("a seed", seed)):
        check_name(what, str(name))
    scores, val_scores = {"logits": logits, "probs": probs}, {"val_logits": val_logits, "val_probs": val_probs}
    own = {"labels": labels, "label_probs": label_probs, "label_counts": label_counts}
    val = {"val_labels": val_labels, "val_label_probs": val_label_probs, "val_label_counts": val_label_counts}
    for least, one in ((1, scores), (1, own), (0, val_scores), (0, val)):
        if not least <= sum(each is not None for each in one.values()) <= 1:
            raise TypeError(f"give {'exactly' if least else 'at most'} one of {', '.join(one)}")
    named = {**scores, **own, **val_scores, **val, "group": group, "id": id}
    arrays = {name: _array(values) for name, values in named.items() if values is not None}
    model = model_of(arrays, f"{arm}/{seed}")
    for part in (model.test, model.validation):
        if part is not None:
            for _ in ScoreMatrix(logits=part.logits):
                pass  # every value is checked as it is read
    if model.id is not None and len(np.unique(model.id)) < len(model.id):
        raise ValueError("id must have a value of its own for each row")
    path = Path(folder) / str(arm) / f"{seed}.npz"
    try:
        make_folder(path.parent)
    except OSError as error:
        raise WriteError(f"cannot make {path.parent}: {error.strerror or error}") from None
    write_arrays(path, arrays)
    return path


def _array(values: Any) -> npt.NDArray[Any]:
    if is_tensor(values) and str(values.dtype) == "torch.bfloat16":
        values = values.float()
    array = as_numpy(values)
    return array.astype(str) if array.dtype == object and all(each is not None for each in array.flat) else array
