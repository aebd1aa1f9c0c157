"""What a mean over micro-batches and ranks divides by, in one process; several ranks are in ``test_parallel.py``."""

from __future__ import annotations

import pytest
import torch

import sfumato as sf
from tests.targets.registry import EXAMPLES, example

LABELS = torch.tensor([2, -1, 0, 4, -1])


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_rows_of_every_target_that_count_are_counted(name):
    target = example(name, LABELS, 5).build()
    valid = target.valid
    assert sf.parallel.count_items(target).item() == (5 if valid is None else valid.sum().item())


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_sum_divided_by_the_weights_of_all_rows_is_the_mean(name):
    weight = torch.linspace(0.5, 2, 5, dtype=torch.float64)
    target = example(name, LABELS, 5).build()
    z = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    total = sf.cross_entropy(z, target, weight, reduction="sum")
    mean = sf.cross_entropy(z, target, weight)
    torch.testing.assert_close(total / sf.parallel.count_items(target, weight=weight), mean, rtol=1e-14, atol=0)


def test_labels_probabilities_and_targets_are_counted_together():
    batches = [LABELS, torch.full((3, 5), 0.2), sf.one_hot(torch.tensor([[1, -100]]), 5), torch.full((5,), 0.2)]
    assert sf.parallel.count_items(batches, ignore_index=-1).item() == 3 + 3 + 1 + 1


def test_labels_are_weighed_by_their_classes():
    weight = torch.tensor([1.0, 10, 100, 1000, 10000])
    assert sf.parallel.count_items(LABELS, weight=weight, ignore_index=-1).item() == 100 + 1 + 10000


def test_without_a_group_the_rows_of_all_ranks_are_counted(monkeypatch):
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda group: 0)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda group: 3)
    monkeypatch.setattr("torch.distributed.all_reduce", lambda values, operation, group: values.mul_(3))
    assert sf.parallel.count_items(LABELS, ignore_index=-1).item() == 3 * 3


def test_compiled_code_counts_without_a_graph_break():  # torch 2.4 does not look into a union of types
    compiled = torch.compile(lambda y: sf.parallel.count_items(y), backend="aot_eager", fullgraph=True)
    assert compiled(torch.tensor([0, -100, 2])).item() == 2


def test_no_micro_batch_at_all_counts_nothing():
    assert sf.parallel.count_items([]).item() == 0.0


def test_label_156_of_uint8_counts():  # which is −100 there
    assert sf.parallel.count_items(torch.tensor([156, 3], dtype=torch.uint8)).item() == 2


def test_a_label_without_a_weight_is_named():
    with pytest.raises(IndexError, match=r"^label 4 in row 3 is not a class: weight has 3 classes \(0 to 2\)$"):
        sf.parallel.count_items(LABELS, weight=torch.ones(3), ignore_index=-1)


def test_what_is_no_target_is_refused():
    with pytest.raises(TypeError, match=r"^targets must be class indices, probabilities or Targets, got torch\.bool$"):
        sf.parallel.count_items(LABELS > 0)
    with pytest.raises(TypeError, match=r"^targets must be a torch\.Tensor, got list; torch\.as_tensor makes one$"):
        sf.parallel.count_items([[1, 2]])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"^weight must be one number a class, \(K,\), got \(2, 2\)$"):
        sf.parallel.count_items(LABELS, weight=torch.ones(2, 2))
