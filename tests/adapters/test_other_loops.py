"""The lines of docs/adapters.md for what needs no adapter: torchmetrics, sentence-transformers and Accelerate."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

import sfumato as sf
from tests.adapters.common import run_block

TITLE = "torchmetrics, sentence-transformers and Accelerate"
K = 4


def batches(rows: int = 10) -> list[tuple[torch.Tensor, torch.Tensor]]:
    drawn = 2 * torch.randn(rows, K, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(rows) % K
    return [(drawn[:4], labels[:4]), (drawn[4:], labels[4:])]  # uneven, so that a mean of means would show


def test_torchmetrics_tells_the_log_loss_and_the_gap_of_all_rows():
    pytest.importorskip("torchmetrics")
    made = run_block(TITLE, 0, {"batches": batches()})
    logits, labels = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    assert made["log_loss"].compute().item() == pytest.approx(F.cross_entropy(logits, labels).item(), rel=1e-6)
    gap = sf.evaluate.logit_gap(logits, labels).mean()
    assert made["gap"].compute().item() == pytest.approx(gap, rel=1e-6)


@pytest.fixture
def cross_encoder(tmp_path) -> Any:
    """A small one of random weights, with words for tokens."""
    library = pytest.importorskip("sentence_transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<pad>": 0, "one": 1, "two": 2, "three": 3}, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>").save_pretrained(tmp_path)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig(vocab_size=4, num_labels=3, **sizes)).save_pretrained(tmp_path)
    return library.CrossEncoder(str(tmp_path), device="cpu").eval()


def test_sentence_transformers_takes_the_loss(cross_encoder):
    loss = run_block(TITLE, 1, {"model": cross_encoder})["loss"]
    labels = torch.tensor([0, 2])
    found = loss([["one", "two"], ["three", "one"]], labels)
    logits = torch.tensor(cross_encoder.predict([("one", "three"), ("two", "one")], apply_softmax=False))
    wanted = F.cross_entropy(logits, labels, label_smoothing=0.1 * 3 / 2)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_accelerate_steps_as_one_batch_of_all_rows_would():
    library = pytest.importorskip("accelerate")
    torch.manual_seed(0)
    model, one = torch.nn.Linear(K, K), torch.nn.Linear(K, K)
    one.load_state_dict(model.state_dict())
    x, labels = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    labels[2] = -100
    parts = [(x[:4], labels[:4]), (x[4:], labels[4:])]
    F.cross_entropy(one(x), labels, label_smoothing=0.1).backward()
    torch.optim.SGD(one.parameters(), 0.5).step()
    names = {"Accelerator": lambda **how: library.Accelerator(cpu=True, **how), "model": model, "batches": parts}
    run_block(TITLE, 2, {**names, "optimizer": torch.optim.SGD(model.parameters(), 0.5)})
    torch.testing.assert_close(model.weight, one.weight)
    torch.testing.assert_close(model.bias, one.bias)
