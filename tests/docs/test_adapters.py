"""docs/adapters.md: each block for Hugging Face runs there, and what it trains is smoothed.

Blocks for other frameworks are run by that framework's tests in tests/adapters, and no block is left out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import Trainer

import sfumato as sf
from tests.adapters.common import sections
from tests.adapters.hf.small import arguments, batch, llama, quietly, sft_parts, torch_loss

HF = "Hugging Face: Trainer and SFTTrainer"
BLOCKS = sections()[HF]
TRAINER, SFT, WITH, COMPUTE, SAVE, SCHEDULE = range(6)
WORDS = 300


@pytest.fixture
def names(tmp_path, monkeypatch) -> dict[str, Any]:
    """What the blocks use: a language model, its data, and one step at rate 0, so that its loss can be told."""
    monkeypatch.chdir(tmp_path)
    rows = batch(8, vocabulary=WORDS)
    data = [{name: values[at] for name, values in rows.items()} for at in range(8)]
    args = arguments(tmp_path / "run", max_steps=1, learning_rate=0.0)
    return {"model": llama(WORDS), "data": data, "args": args, "Trainer": Trainer}


def losses(model: Any) -> tuple[float, float]:
    """Smoothed and hard, by torch."""
    rows = batch(8, vocabulary=WORDS)
    logits = model.eval()(rows["input_ids"]).logits.detach()
    return torch_loss(logits, rows["labels"]).item(), torch_loss(logits, rows["labels"], eps=0.0).item()


def told(trainer: Any) -> tuple[float, float]:
    """The loss of training, and that of evaluation."""
    return trainer.state.log_history[0]["loss"], trainer.evaluate()["eval_loss"]


def test_no_block_is_left_out():
    run = {HF: {TRAINER, SFT, WITH, COMPUTE, SAVE, SCHEDULE}}
    for path in (Path(__file__).parents[1] / "adapters").glob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        if title := re.search(r'^TITLE = "(.*)"$', text, flags=re.MULTILINE):
            run[title[1]] = {int(number) for number in re.findall(r"run_block\(TITLE, (\d+)", text)}
    assert run == {title: set(range(len(blocks))) for title, blocks in sections().items()}


def test_trainer_trains_smoothed_and_evaluates_hard(names):
    exec(BLOCKS[TRAINER], names)
    assert told(names["trainer"]) == pytest.approx(losses(names["model"]), rel=1e-5)


def test_sft_trains_smoothed_and_evaluates_hard(names, tmp_path):
    trl = pytest.importorskip("trl")
    names["args"], names["data"], names["tokenizer"] = sft_parts(
        tmp_path, 1, names["data"], max_steps=1, learning_rate=0.0
    )
    exec(BLOCKS[SFT], names | {"SFTTrainer": quietly(trl.SFTTrainer)}, names)
    assert told(names["trainer"]) == pytest.approx(losses(names["model"]), rel=1e-5)


def test_a_with_block_ends_in_the_model_as_it_was(names, capsys):
    exec(BLOCKS[WITH], names)
    assert capsys.readouterr().out.startswith('FusedHead(LlamaForCausalLM, label_smoothing=0.1 over="others", 300 ')
    assert "forward" not in vars(names["model"])


class Classifier(torch.nn.Module):
    """A linear model with transformers' way of giving outputs."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(4, 3)

    def forward(self, x, labels=None):
        return transformers.modeling_outputs.SequenceClassifierOutput(logits=self.linear(x))


@pytest.fixture
def classified(names) -> dict[str, Any]:
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
    data = [{"x": row, "labels": at % 3} for at, row in enumerate(x)]
    return names | {"model": Classifier(), "new_model": Classifier, "data": data}


def test_compute_loss_trains_smoothed_and_evaluates_hard(classified):
    exec(BLOCKS[COMPUTE], classified)
    x, labels = (torch.stack([torch.as_tensor(row[name]) for row in classified["data"]]) for name in ("x", "labels"))
    p = classified["model"].linear(x).log_softmax(-1).detach()
    own, rest = p.gather(1, labels[:, None]).squeeze(1), p.sum(1)
    smoothed, hard = -(0.9 * own + 0.1 / 2 * (rest - own)).mean().item(), -own.mean().item()
    assert told(classified["trainer"]) == pytest.approx((smoothed, hard), rel=1e-5)


def test_each_arm_has_a_file_of_scores(classified, tmp_path):
    exec(BLOCKS[SAVE], classified)
    found = sorted(path.relative_to(tmp_path / "scores").as_posix() for path in (tmp_path / "scores").rglob("*.npz"))
    assert found == ["one-hot/42.npz", "smoothed/42.npz"]


def test_a_schedule_moves_the_strength_of_a_fused_head(names):
    names["args"].max_steps = 2
    exec(BLOCKS[SCHEDULE], names | {"sf": sf}, names)
    assert names["loss"].label_smoothing == sf.schedules.linear(1, 2, 0.1, 0.0) == 0.0
