"""One run by torch's loss of all logits, which several files compare with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import Trainer

from tests.adapters.hf.small import arguments, data, llama, torch_loss


@pytest.fixture(scope="package")
def unfused(tmp_path_factory) -> Trainer:
    """Trained by torch's loss of all logits, ε = 0.1."""

    def of_logits(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any) -> torch.Tensor:
        return torch_loss(outputs.logits, labels, num_items_in_batch)

    args = arguments(tmp_path_factory.mktemp("unfused"))
    trainer = Trainer(llama(), args, train_dataset=data(), compute_loss_func=of_logits)
    trainer.train()
    return trainer
