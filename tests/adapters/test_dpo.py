"""The loss of preference pairs beside TRL's DPO: its values where TRL has them, and what TRL does with a strength."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

import sfumato as sf
from tests.adapters.common import run_block

trl = pytest.importorskip("trl")
from tests.adapters.hf.small import PreTrainedTokenizerFast, arguments, llama, quietly  # noqa: E402  it needs TRL's friends

TITLE = "Preference pairs"
ROWS = [{"prompt": "w1 w2 w3", "chosen": "w4 w5", "rejected": "w6 w7 w8"}]


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> Any:
    """A function that gives the loss and the margin that TRL's DPO tells of one pair."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(
        models.WordLevel({"<pad>": 0, "<eos>": 1} | {f"w{i}": i + 2 for i in range(9)}, unk_token="<pad>")
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")
    model, reference, rows = llama(40), llama(40), Dataset.from_list(ROWS)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))

    def tell(kind: str, eps: float) -> tuple[float, torch.Tensor]:
        loss = {"loss_type": [kind], "label_smoothing": eps, "beta": 1.0}
        args = quietly(arguments)(tmp_path_factory.mktemp("dpo"), cls=trl.DPOConfig, bf16=False, **loss)
        how = {"train_dataset": rows, "eval_dataset": rows, "processing_class": tokenizer}
        trainer = quietly(trl.DPOTrainer)(model, reference, args, **how)
        found = quietly(trainer.evaluate)()
        return found["eval_loss"], torch.tensor(found["eval_rewards/margins"], dtype=torch.float64)

    return tell


def test_robust_has_the_value_of_trl(told):
    loss, margin = told("robust", 0.3)
    assert sf.pair_cross_entropy(margin, 0.3, kind="robust").item() == pytest.approx(loss, rel=1e-6)


def test_conservative_has_the_value_of_trl(told):
    loss, margin = told("aot", 0.3)  # it sorts the pairs of a batch, and of one pair nothing
    assert sf.pair_cross_entropy(margin, 0.3).item() == pytest.approx(loss, rel=1e-6)


def test_the_default_loss_of_trl_takes_a_strength_and_does_nothing_with_it(told):
    (bare, margin), (smoothed, _) = told("sigmoid", 0.0), told("sigmoid", 0.3)
    assert smoothed == bare == pytest.approx(sf.pair_cross_entropy(margin, 0.0).item(), rel=1e-6)


def test_the_lines_for_dpo_are_its_loss():
    drawn = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    chosen, rejected, ref_chosen, ref_rejected = drawn
    names = {"chosen": chosen, "rejected": rejected, "ref_chosen": ref_chosen, "ref_rejected": ref_rejected}
    margin = 0.1 * (chosen - ref_chosen - rejected + ref_rejected)
    wanted = (-0.9 * F.logsigmoid(margin) - 0.1 * F.logsigmoid(-margin)).mean()
    torch.testing.assert_close(run_block(TITLE, 0, {**names, "beta": 0.1})["loss"], wanted)


def test_the_lines_for_a_reward_model_end_at_the_closed_form():
    rewards = torch.zeros(2, 3, requires_grad=True)
    for _ in range(400):
        loss = run_block(TITLE, 1, {"reward_chosen": rewards[0], "reward_rejected": rewards[1]})["loss"]
        rewards.data -= 3 * torch.autograd.grad(loss, rewards)[0]
    wanted = torch.full((3,), sf.theory.optimal_margin(0.1))
    torch.testing.assert_close((rewards[0] - rewards[1]).detach(), wanted, rtol=1e-3, atol=0)
