"""What tokens, masks and labels among a model's arguments say of the labels in use."""

from __future__ import annotations

import numpy as np
import torch

from sfumato.probe.watching.tensors import ModelInputs, inputs_of

IDS = torch.tensor([[3, 4, 5, 6, 0, 0], [7, 8, 9, 3, 4, 5]])
MASK = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])


def compared(labels: torch.Tensor, inputs: ModelInputs, pad: int | None = None):
    live = (labels >= 0).numpy().ravel()
    return inputs.compare(np.where(live, labels.numpy().ravel(), -1), live, (2, 6), pad)


def shifted(by: int, ids: torch.Tensor = IDS) -> torch.Tensor:
    out = torch.full_like(ids, -1)
    out[:, : 6 - by] = ids[:, by:]
    return out


def test_labels_of_the_next_and_of_the_token_after_it_are_told_apart():
    for by, name in ((0, "same"), (1, "next"), (2, "second")):
        found = compared(shifted(by), ModelInputs(IDS))
        assert found[name] == found["live"] == 2 * (6 - by)


def test_masked_tokens_as_labels_are_padding():
    assert compared(shifted(1), ModelInputs(IDS, MASK))["padding"] == 2
    assert compared(shifted(1).masked_fill(shifted(1) == 0, -1), ModelInputs(IDS, MASK))["padding"] == 0


def test_without_a_mask_the_second_padding_token_in_a_row_is_padding():
    assert compared(shifted(1), ModelInputs(IDS), pad=0)["padding"] == 1
    assert compared(shifted(1), ModelInputs(IDS))["padding"] == 0


def test_rows_whose_given_label_is_ignored_are_counted_at_the_shift_in_use():
    given = IDS.masked_fill(MASK == 0, -100)
    assert compared(shifted(1), ModelInputs(IDS, MASK, given))["ignored"] == 2
    assert compared(shifted(1).masked_fill(shifted(1) == 0, -1), ModelInputs(IDS, MASK, given))["ignored"] == 0


def test_tensors_are_found_by_name_in_a_batch_and_by_place():
    batch = {"input_ids": IDS, "attention_mask": MASK, "labels": IDS, "pixel_values": torch.zeros(2, 3)}
    assert inputs_of((), batch) == inputs_of((batch,), {}) == ModelInputs(IDS, MASK, IDS)
    assert inputs_of((IDS, torch.zeros(2, 3)), {}).ids is IDS
    assert inputs_of((torch.zeros(2, 3),), {}) == ModelInputs()
