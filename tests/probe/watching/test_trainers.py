"""Watching real trainers: Hugging Face's, TRL's, Lightning's and Keras's."""

import os
from typing import Any

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, Trainer

from sfumato.adapters.hf import compute_loss, fuse_head
from sfumato.probe import Watched, watch
from tests.adapters.hf.small import arguments, data, llama, logged, sft, torch_loss
from tests.probe.losses import text_of
from tests.probe.watching.loops import alarms, classifier, table

V = 500


def watched(
    folder: Any, accumulate: int = 1, *, loss: Any = None, evaluate: bool = False, model: Any = None, **how: Any
) -> Watched:
    """A few steps of Trainer on uneven batches."""
    model = llama(V) if model is None else model
    rows = data(vocabulary=V)
    trainer = Trainer(
        model, arguments(folder, accumulate, **how), train_dataset=rows, eval_dataset=rows[:6], compute_loss_func=loss
    )
    with watch(model) as seen:
        trainer.train()
        if evaluate:
            trainer.evaluate()
    return seen


def mean_of_each(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> torch.Tensor:
    return torch_loss(outputs.logits, labels)


EPS = pytest.approx(0.1, abs=1e-3)


SMOOTHED_EVALUATION = ["warning: evaluation-smoothed"]


@pytest.mark.parametrize(
    ("accumulate", "own", "loss", "evaluate", "eps", "evaluation_eps", "told"),
    [
        *((accumulate, 0.1, None, False, EPS, None, []) for accumulate in (1, 2, 8)),
        *((accumulate, 0.0, compute_loss(0.1), True, EPS, 0.0, []) for accumulate in (1, 8)),
        (1, 0.1, None, True, EPS, EPS, SMOOTHED_EVALUATION),
        (1, 0.0, None, True, 0.0, 0.0, []),
    ],
)
def test_trainers_own_smoothing_and_ours_are_a_mean_over_all_rows_and_ours_is_hard_in_evaluation(
    accumulate, own, loss, evaluate, eps, evaluation_eps, told, tmp_path
):
    seen = watched(tmp_path, accumulate, loss=loss, evaluate=evaluate, label_smoothing_factor=own)
    assert (seen.eps, seen.normaliser, seen.steps, seen.micro_batches) == (eps, "rows", 3, accumulate)
    assert (seen.evaluation_eps, alarms(seen)) == (evaluation_eps, told)


def test_a_loss_that_trainer_scales_no_more_is_too_large_by_the_accumulation(tmp_path):
    seen = watched(tmp_path, 4, loss=mean_of_each)
    assert seen.normaliser == "twice"
    assert alarms(seen) == ["defect: not-divided"]
    assert "the 4 micro-batches of a step" in text_of(seen.findings, "not-divided")


def test_a_model_whose_own_loss_does_not_count_items_is_too_large_by_the_accumulation(tmp_path):
    # A fault of Trainer in transformers 5.24. Where this fails, a newer one may have mended it: see docs/watch.md.
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    plain = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    rows = [{"input_ids": row["input_ids"], "labels": torch.tensor(i % 5)} for i, row in enumerate(data(vocabulary=V))]
    norms: list[float] = []
    for accumulate, normaliser in ((1, "rows"), (4, "twice")):
        torch.manual_seed(0)
        model = BertForSequenceClassification(BertConfig(vocab_size=V, num_labels=5, **sizes, **plain))
        trainer = Trainer(model, arguments(tmp_path, accumulate), train_dataset=rows)
        with watch(model) as seen:
            trainer.train()
        assert seen.normaliser == normaliser
        norms.append(logged(trainer, "grad_norm")[0])
    assert norms[1] == pytest.approx(4 * norms[0], rel=1e-4)  # what was seen is so


def test_an_argument_that_another_loss_makes_idle_is_named(tmp_path):
    seen = watched(tmp_path, loss=compute_loss(0.0), label_smoothing_factor=0.1)
    assert (seen.eps, alarms(seen)) == (0.0, ["defect: argument-without-effect"])
    assert "label_smoothing_factor is 0.1" in text_of(seen.findings, "argument-without-effect")


def test_an_argument_of_the_model_that_nobody_reads_is_named():
    model, batch = llama(V), {name: value[None] for name, value in data(vocabulary=V)[0].items()}
    with watch(model) as seen:
        model(**batch, label_smoothing=0.1).loss.backward()
    assert seen.eps == 0
    assert "LlamaForCausalLM(…, label_smoothing=…) is 0.1" in text_of(seen.findings, "argument-without-effect")


def test_in_bfloat16_the_logits_behind_trainers_copy_are_read(tmp_path):
    seen = watched(tmp_path, 2, bf16=True)
    assert (seen.eps, seen.normaliser, alarms(seen)) == (0.0, "rows", [])


def test_a_fused_head_makes_no_logits_and_that_is_said(tmp_path):
    model = llama(V)
    fuse_head(model, label_smoothing=0.1)
    seen = watched(tmp_path, model=model)
    assert (seen.eps, alarms(seen)) == (None, [])
    assert seen.findings[0].code == "no-logits"


@pytest.mark.parametrize("smoothing", [0.1, pytest.param(0.0, marks=pytest.mark.nightly)])
def test_trl_is_read_where_it_makes_logits(tmp_path, smoothing):
    model = llama(V)
    trainer = sft(tmp_path, model, 2, data(vocabulary=V), label_smoothing_factor=smoothing)
    with watch(model) as seen:
        trainer.train()
    if smoothing:
        assert (seen.eps, seen.normaliser) == (EPS, "rows")
    else:
        assert seen.findings[0].code == "no-logits"
    assert alarms(seen) == []


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning", "ignore:.*num_workers")  # Lightning's own
@pytest.mark.parametrize(
    ("accumulate", "ignored", "validation", "normaliser"),
    [
        (2, True, 0.1, "micro-batches"),
        pytest.param(1, False, 0.0, "rows", marks=pytest.mark.nightly),
        pytest.param(2, False, 0.0, "rows", marks=pytest.mark.nightly),
    ],
)
def test_lightning_takes_a_mean_of_means(accumulate, ignored, validation, normaliser):
    lightning = pytest.importorskip("lightning")

    class Lit(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = classifier()
            self.loss = nn.CrossEntropyLoss(label_smoothing=0.1)
            self.validation_loss = nn.CrossEntropyLoss(label_smoothing=validation)

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, number):
            return self.loss(self(batch[0]), batch[1])

        def validation_step(self, batch, number):
            self.log("loss", self.validation_loss(self(batch[0]), batch[1]))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    batches = [batch for step in table(3, accumulate, ignored=ignored) for batch in step]
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = lightning.Trainer(max_epochs=1, accumulate_grad_batches=accumulate, accelerator="cpu", **quiet)
    load = torch.utils.data.DataLoader
    model = Lit()
    with watch(model) as seen:
        trainer.fit(model, load(batches, batch_size=None), load(batches[:2], batch_size=None))
    assert (seen.eps, seen.normaliser, seen.evaluation_eps) == (EPS, normaliser, pytest.approx(validation, abs=1e-3))
    assert len(alarms(seen)) == (normaliser != "rows") + (validation > 0)


@pytest.mark.parametrize(
    ("last", "from_logits", "accumulate"), [(None, True, 2), ("softmax", False, None), ("softmax", True, None)]
)
def test_keras_on_torch_smooths_evaluation_too(last, from_logits, accumulate):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "torch":
        pytest.skip("Keras runs on another backend in this process")
    layers = [keras.Input((5,)), keras.layers.Dense(8), keras.layers.Dense(7, activation=last)]
    model = keras.Sequential(layers)
    loss = keras.losses.CategoricalCrossentropy(from_logits=from_logits, label_smoothing=0.1)
    model.compile(optimizer=keras.optimizers.SGD(0.1, gradient_accumulation_steps=accumulate), loss=loss)
    x = torch.randn(24, 5).numpy()
    y = keras.utils.to_categorical(range(24), 24)[:, :7]
    y[:, 0] += y.sum(1) == 0
    with watch(model) as seen:
        model.fit(x, y, batch_size=6, epochs=1, verbose=0, validation_data=(x[:6], y[:6]))
    assert (seen.eps, seen.normaliser, seen.evaluation_eps) == (EPS, "rows", EPS)
    assert (seen.steps, seen.micro_batches) == ((2, 2) if accumulate else (4, 1))
    twice = "defect: softmax-twice" in alarms(seen)
    assert twice == (last == "softmax" and from_logits)
    assert "__call__" not in vars(type(model))
