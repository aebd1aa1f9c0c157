"""``compute_loss`` as Trainer calls it: shift, divisor, evaluation, and what it refuses."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from transformers import Trainer
from transformers.modeling_outputs import CausalLMOutput, SequenceClassifierOutput, TokenClassifierOutput

import sfumato as sf
from sfumato.adapters.hf import compute_loss
from tests.adapters.hf.small import arguments, assert_equal, batch, data, llama, logged, torch_loss, weights


def logits_of(positions: tuple[int, ...], classes: int = 5, *, gradient: bool = True) -> torch.Tensor:
    made = torch.randn(*positions, classes, generator=torch.Generator().manual_seed(2))
    return made.requires_grad_(gradient)


@pytest.mark.parametrize("accumulate", [1, 2, 8])
def test_gradient_norms_do_not_hang_on_accumulation(unfused, tmp_path, accumulate):
    args = arguments(tmp_path, accumulate)
    trainer = Trainer(llama(), args, train_dataset=data(), compute_loss_func=compute_loss(0.1))
    trainer.train()
    assert logged(trainer, "grad_norm") == pytest.approx(logged(unfused, "grad_norm"), rel=1e-5)
    assert_equal(weights(trainer.model), weights(unfused.model))


def test_a_causal_output_is_shifted_and_another_is_not():
    logits, labels = logits_of((2, 4)), torch.tensor([[1, 2, 3, 4], [0, -100, 2, 1]])
    loss = compute_loss(0.1)
    assert loss(CausalLMOutput(logits=logits), labels).item() == pytest.approx(torch_loss(logits, labels).item())
    flat = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=0.1).item()
    assert loss(TokenClassifierOutput(logits=logits), labels).item() == pytest.approx(flat)
    assert compute_loss(0.1, shift=False)({"logits": logits}, labels).item() == pytest.approx(flat)
    assert compute_loss(0.1, shift=True)((logits,), labels).item() == pytest.approx(torch_loss(logits, labels).item())


@pytest.mark.parametrize("over", ["all", "others"])
def test_rows_of_a_classifier_are_divided_by_what_trainer_counted(over):
    logits, labels = logits_of((6,)), torch.arange(6) % 5
    total = sf.cross_entropy(logits, labels, label_smoothing=0.2, over=over, reduction="sum").item()
    found = compute_loss(0.2, over)(SequenceClassifierOutput(logits=logits), labels, num_items_in_batch=torch.tensor(9))
    assert found.item() == pytest.approx(total / 9)


def test_label_156_of_uint8_counts():  # which is −100 there
    logits, labels = torch.linspace(-1, 1, 400).reshape(2, 200), torch.tensor([156, 3])
    found = compute_loss()(SequenceClassifierOutput(logits=logits), labels.to(torch.uint8))
    assert found.item() == pytest.approx(F.cross_entropy(logits, labels).item())


def test_probabilities_are_divided_by_rows_where_trainer_counts_entries():
    logits, labels = logits_of((6,)), logits_of((6,)).detach().softmax(-1)
    found = compute_loss(0.2)(SequenceClassifierOutput(logits=logits), labels, num_items_in_batch=torch.tensor(12 * 5))
    wanted = F.cross_entropy(logits, labels, label_smoothing=0.2, reduction="sum") / 12
    assert found.item() == pytest.approx(wanted.item())


def test_evaluation_by_compute_loss_is_hard(tmp_path):
    model, rows = llama(500), batch(6, vocabulary=500)
    args = arguments(tmp_path)
    told = Trainer(model, args, eval_dataset=data(6, vocabulary=500), compute_loss_func=compute_loss(0.1)).evaluate()
    logits = model(rows["input_ids"]).logits
    assert told["eval_loss"] == pytest.approx(torch_loss(logits, rows["labels"], eps=0.0).item(), rel=1e-6)


@pytest.mark.parametrize(
    ("outputs", "labels", "message"),
    [
        (
            {"logits": logits_of((2, 4))},
            torch.zeros(2, 4, dtype=torch.int64),
            r"these outputs are a dict with logits \(2, 4, 5\), and its class does not tell whether position t "
            r"predicts label t or t\+1: say compute_loss\(shift=False\) or compute_loss\(shift=True\)",
        ),
        ({"logits": logits_of((2,))}, None, "compute_loss needs labels, and Trainer gave none"),
        ({"scores": logits_of((2,))}, torch.tensor([0, 1]), "the model's outputs have no logits, only scores"),
        (
            {"logits": logits_of((2,))},
            torch.tensor([0, 1, 2]),
            r"labels must be class indices \(2,\) or probabilities \(2, 5\), got torch.int64 \(3,\)",
        ),
        (
            {"logits": logits_of((2, 2, 2))},
            torch.tensor([0]),
            r"compute_loss takes logits \(N, K\) or \(B, T, K\), got",
        ),
        ({"logits": logits_of((1,))}, torch.ones(1, 5), "labels must sum to 1, got 5 in row 0"),
    ],
)
def test_outputs_that_have_no_such_loss_are_refused(outputs, labels, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        compute_loss(0.1)(outputs, labels)


def test_a_strength_out_of_range_is_refused_before_training():
    with pytest.raises(ValueError, match=r"^label_smoothing must be in \[0, 1\], got 2$"):
        compute_loss(2)
