"""docs/adapters.md: each block for Hugging Face runs there; the tests of the other frameworks run theirs.

That the losses are right is asked of the adapters, in tests/adapters.
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
from tests.adapters.hf.small import arguments, batch, llama, quietly, sft_parts

HF = "Hugging Face: Trainer and SFTTrainer"
BLOCKS = sections()[HF]
TRAINER, SFT, WITH, COMPUTE, SAVE, SCHEDULE = range(6)
WORDS = 300


@pytest.fixture
def names(tmp_path, monkeypatch) -> dict[str, Any]:
    """What the blocks use: a language model and its data."""
    monkeypatch.chdir(tmp_path)
    rows = batch(8, vocabulary=WORDS)
    data = [{name: values[at] for name, values in rows.items()} for at in range(8)]
    args = arguments(tmp_path / "run", max_steps=2)
    return {"sf": sf, "model": llama(WORDS), "data": data, "args": args, "Trainer": Trainer}


def test_no_block_is_left_out():
    run = {HF: {TRAINER, SFT, WITH, COMPUTE, SAVE, SCHEDULE}}
    for path in (Path(__file__).parents[1] / "adapters").glob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        if title := re.search(r'^TITLE = "(.*)"$', text, flags=re.MULTILINE):
            run[title[1]] = {int(number) for number in re.findall(r"run_block\(TITLE, (\d+)", text)}
    assert run == {title: set(range(len(blocks))) for title, blocks in sections().items()}


@pytest.mark.parametrize("number", [TRAINER, WITH])
def test_a_block_for_a_language_model_runs(names, number):
    exec(BLOCKS[number], names)


def test_the_block_of_sft_runs(names, tmp_path):
    trl = pytest.importorskip("trl")
    names["args"], names["data"], names["tokenizer"] = sft_parts(tmp_path, 1, names["data"], max_steps=1)
    exec(BLOCKS[SFT], names | {"SFTTrainer": quietly(trl.SFTTrainer)})


def test_a_schedule_moves_the_strength_of_a_fused_head(names):
    exec(BLOCKS[SCHEDULE], names)
    assert names["loss"].label_smoothing == sf.schedules.linear(1, 2, 0.1, 0.0) == 0.0


class Classifier(torch.nn.Module):
    """A linear model with transformers' way of giving outputs."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 3)

    def forward(self, x, labels=None):
        return transformers.modeling_outputs.SequenceClassifierOutput(logits=self.linear(x))


def test_the_blocks_for_a_classifier_run_and_save_a_file_of_scores_for_each_arm(names, tmp_path):
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
    data = [{"x": row, "labels": at % 3} for at, row in enumerate(x)]
    names |= {"model": Classifier(), "new_model": Classifier, "data": data}
    exec(BLOCKS[COMPUTE], names)
    exec(BLOCKS[SAVE], names)
    found = sorted(path.relative_to(tmp_path / "scores").as_posix() for path in (tmp_path / "scores").rglob("*.npz"))
    assert found == ["one-hot/42.npz", "smoothed/42.npz"]
