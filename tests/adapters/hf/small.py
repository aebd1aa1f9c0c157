"""Small models and runs of the trainers, and torch's loss of all logits."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from huggingface_hub import constants
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainingArguments

V = 50_000
SIZES = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def llama(vocabulary: int = V, **options: Any) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **SIZES, **options))


def batch(rows: int = 3, length: int = 9, vocabulary: int = V) -> dict[str, torch.Tensor]:
    ids = torch.randint(3, vocabulary, (rows, length), generator=torch.Generator().manual_seed(1))
    labels = ids.clone()
    for row in range(rows):
        labels[row, : 1 + row % 4] = -100  # no two rows have as many labels, so that means of means would show
    return {"input_ids": ids, "labels": labels}


def torch_loss(logits: torch.Tensor, labels: torch.Tensor, items: Any = None, *, eps: float = 0.1) -> torch.Tensor:
    """By torch, from all logits; labels are of the next position."""
    z, y = logits[:, :-1].reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1)
    total = F.cross_entropy(z, y, label_smoothing=eps, reduction="sum")
    return total / ((y != -100).sum() if items is None else items)


def arguments(folder: Any, accumulate: int = 1, rows: int = 8, cls: Any = TrainingArguments, **more: Any) -> Any:
    """Plain gradient descent, ``rows`` rows a step however many batches they come in."""
    settings = {
        "learning_rate": 0.3, "optim": "sgd", "lr_scheduler_type": "constant", "max_grad_norm": 1e9, "max_steps": 3,
        "per_device_train_batch_size": rows // accumulate, "gradient_accumulation_steps": accumulate,
        "logging_steps": 1, "report_to": [], "use_cpu": True, "disable_tqdm": True, "save_strategy": "no",
        "dataloader_pin_memory": False,
    }  # fmt: skip
    return cls(str(folder), **(settings | more))


def data(rows: int = 24, **how: Any) -> list[dict[str, Any]]:
    found = batch(rows, **how)
    return [{name: values[at] for name, values in found.items()} for at in range(rows)]


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def assert_equal(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], bound: float = 2e-6) -> None:
    """Within a bound, in parts of each tensor's largest entry."""
    assert found.keys() == wanted.keys()
    worst = {
        name: ((found[name] - wanted[name]).abs().max() / wanted[name].abs().max().clamp(min=1e-9)).item()
        for name in wanted
    }
    assert max(worst.values()) <= bound, worst


def logged(trainer: Any, name: str) -> list[float]:
    return [line[name] for line in trainer.state.log_history if name in line]


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def sft(folder: Any, model: Any, accumulate: int = 1, rows: list[dict[str, Any]] | None = None, **more: Any) -> Any:
    """TRL's trainer on rows that are tokens already; it asks nobody on the network."""
    trl = pytest.importorskip("trl")
    peft = {name: more.pop(name) for name in ("peft_config",) if name in more}
    args, rows, tokenizer = sft_parts(folder, accumulate, rows, **more)
    make = quietly(trl.SFTTrainer)
    return make(model, args, train_dataset=rows, eval_dataset=rows, processing_class=tokenizer, **peft)


def sft_parts(folder: Any, accumulate: int, rows: list[dict[str, Any]] | None, **more: Any) -> tuple[Any, Any, Any]:
    """Arguments, data and a tokenizer for TRL's trainer."""
    trl = pytest.importorskip("trl")
    from datasets import Dataset
    from tokenizers import Tokenizer, models

    words = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1}, unk_token="<pad>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")
    listed = [{name: values.tolist() for name, values in row.items()} for row in rows or data()]
    args = quietly(arguments)(folder, accumulate, cls=trl.SFTConfig, bf16=False, **more)
    return args, Dataset.from_list(listed), tokenizer


def quietly(make: Any) -> Any:
    """The same, without telemetry, and without warnings of names that TRL itself gives."""

    def made(*args: Any, **more: Any) -> Any:
        with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
            warnings.simplefilter("ignore", FutureWarning)
            patch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
            return make(*args, **more)

    return made
