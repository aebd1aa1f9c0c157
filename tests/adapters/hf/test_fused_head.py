"""What a model with a fused head gives, what it leaves as it was, and which models are refused."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM, Trainer
from transformers.modeling_outputs import CausalLMOutput

import sfumato as sf
from sfumato.adapters.hf import fuse_head
from tests.adapters.hf.small import (
    SIZES,
    V,
    arguments,
    assert_equal,
    batch,
    data,
    gradients,
    llama,
    quietly,
    torch_loss,
)


class Largest(TorchDispatchMode):
    """The largest tensor that any operation gives."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(each, torch.Tensor) and each.untyped_storage().nbytes() >= each.numel() * each.itemsize:
                self.numel = max(self.numel, each.numel())
        return out


@pytest.mark.parametrize("asked", [{}, {"fused_lm_head": True}], ids=["mean", "rows"])
def test_nothing_of_the_size_of_all_logits_is_made_in_training_or_evaluation(asked):
    model, rows = llama(), batch(4, 24)
    fuse_head(model, label_smoothing=0.1)
    with Largest() as largest:
        trained = model(**rows, **asked)
        trained.loss.backward()
        with torch.no_grad():
            told = model.eval()(**rows, **asked)
    assert (trained.logits, told.logits) == (None, None)
    assert V * SIZES["hidden_size"] <= largest.numel <= rows["labels"].numel() * V / 2


def test_evaluation_is_smoothed_where_that_is_asked_for():
    model, rows = llama(), batch()
    fuse_head(model, label_smoothing=0.1, smooth_evaluation=True)
    logits = model.eval()(rows["input_ids"]).logits
    assert model(**rows).loss.item() == pytest.approx(torch_loss(logits, rows["labels"]).item(), rel=1e-6)


@pytest.mark.parametrize("over", ["all", "others"])
def test_loss_and_gradients_are_those_of_all_logits(over):
    model, rows = llama(), batch()
    logits = model(rows["input_ids"]).logits[:, :-1].transpose(1, 2)
    truth = sf.cross_entropy(logits, rows["labels"][:, 1:], label_smoothing=0.3, over=over, reduction="sum") / 11
    wanted = gradients(model, truth)
    fuse_head(model, label_smoothing=0.3, over=over)
    loss = model(**rows, num_items_in_batch=torch.tensor(11)).loss
    assert loss.item() == pytest.approx(truth.item(), rel=1e-6)
    assert_equal(gradients(model, loss), wanted, 1e-5)


def test_z_loss_is_added_in_training_only():
    model, rows = llama(500), batch(vocabulary=500)
    hard = model(**rows).loss.item()
    lse = model(rows["input_ids"]).logits[:, :-1].logsumexp(-1)[rows["labels"][:, 1:] != -100]
    fuse_head(model, z_loss=0.1)
    assert model(**rows).loss.item() == pytest.approx(hard + 0.1 * (lse**2).mean().item(), rel=1e-6)
    assert model.eval()(**rows).loss.item() == pytest.approx(hard, rel=1e-6)


def test_labels_that_are_shifted_already_are_not_shifted_again():
    model, rows = llama(500), batch(vocabulary=500)
    shifted = F.pad(rows["labels"][:, 1:], (0, 1), value=-100)
    fuse_head(model, label_smoothing=0.1)
    assert model(**rows, shift_labels=shifted).loss.item() == model(**rows).loss.item()


def test_a_bfloat16_model_has_its_loss_in_float32():
    model, rows = llama(500).bfloat16(), batch(vocabulary=500)
    wanted = torch_loss(model(rows["input_ids"]).logits.float(), rows["labels"]).item()
    fuse_head(model, label_smoothing=0.1)
    loss = model(**rows).loss
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(wanted, rel=1e-2)


def test_without_labels_the_model_is_as_before():
    model, ids = llama(500).eval(), batch(vocabulary=500)["input_ids"]
    logits, written = model(ids).logits, model.generate(ids, max_new_tokens=4, do_sample=False)
    fuse_head(model, label_smoothing=0.1)
    assert (model(ids).logits == logits).all()
    assert (model.generate(ids, max_new_tokens=4, do_sample=False) == written).all()


def test_remove_leaves_nothing_and_the_model_has_its_own_loss():
    model, rows = llama(500), batch(vocabulary=500)
    before, own = dict(vars(model)), model(**rows)
    with fuse_head(model, label_smoothing=0.1) as fused:
        assert model(**rows).logits is None
    assert vars(model) == before
    assert not model.model._forward_hooks
    assert (model(**rows).logits == own.logits).all()
    assert model(**rows).loss.item() == own.loss.item()
    assert (fused.removed, repr(fused)) == (True, "FusedHead(LlamaForCausalLM, removed)")
    fused.remove()  # a second time does nothing


def test_a_pass_that_fails_leaves_nothing():
    model, rows = llama(500), batch(vocabulary=500)
    fuse_head(model)
    with pytest.raises(IndexError, match="^label 500 in "):
        model(rows["input_ids"], labels=torch.full_like(rows["labels"], 500))
    assert "forward" not in vars(model.lm_head)
    assert model(rows["input_ids"]).logits.shape == (3, 9, 500)


def test_a_copy_of_a_fused_model_is_fused_by_itself():
    model, rows = llama(500), batch(vocabulary=500)
    fused = fuse_head(model, label_smoothing=0.1)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.lm_head.weight.zero_()
    fused.remove()
    assert other(**rows).loss.item() == pytest.approx(torch.tensor(500.0).log().item(), rel=1e-6)
    assert other(**rows).logits is None
    assert model(**rows).logits is not None


def test_the_forward_keeps_the_signature_that_trainer_reads():
    model = llama(500)
    own = inspect.signature(model.forward)
    fuse_head(model)
    assert inspect.signature(model.forward) == own


def test_repr_says_what_is_there():
    assert repr(fuse_head(llama(), label_smoothing=0.1)) == (
        'FusedHead(LlamaForCausalLM, label_smoothing=0.1 over="all", 50,000 classes, evaluation hard, without logits)'
    )
    gemma = fuse_head(capped("Gemma2"), label_smoothing=0.1, over="others", z_loss=1e-4, evaluation_logits=True)
    assert repr(gemma) == (
        'FusedHead(Gemma2ForCausalLM, label_smoothing=0.1 over="others", 90 classes, softcap=3, z_loss=0.0001, '
        "evaluation hard, with logits)"
    )


def test_a_tuple_is_given_where_a_tuple_is_asked_for():
    model, rows = llama(500), batch(vocabulary=500)
    fuse_head(model)
    found = model(**rows, return_dict=False, use_cache=False)
    assert isinstance(found, tuple)
    assert [each.item() for each in found] == [model(**rows).loss.item()]


def capped(name: str, **options: Any) -> Any:
    """A small model whose logits are scaled, capped or both; large weights, so that this shows."""
    own = {
        "Gemma2": {"final_logit_softcapping": 3.0, "head_dim": 8},
        "Cohere": {"logit_scale": 0.3},
        "Granite": {"logits_scaling": 3.0},
        "HyperCLOVAX": {"logits_scaling": 3.0},
    }.get(name, {})
    small = {"vocab_size": 90, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = getattr(transformers, f"{name}Config")(**(SIZES | small | own | options))
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}ForCausalLM")(config)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)
    return model


KINDS = {
    "Gemma2": {}, "Cohere": {}, "Granite": {}, "HyperCLOVAX": {}, "Phi": {}, "Qwen2": {"tie_word_embeddings": True},
    "Mixtral": {"num_local_experts": 4, "output_router_logits": True, "router_aux_loss_coef": 1.0},
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_model_keeps_its_own_loss_and_gradients(name):
    """Soft caps, scales, a bias, tied weights, and what a router adds."""
    model, rows = capped(name, **KINDS[name]).eval(), batch(vocabulary=90)
    own = model(**rows).loss
    wanted = gradients(model, own)
    fuse_head(model)
    loss = model(**rows).loss
    assert loss.item() == pytest.approx(own.item(), rel=1e-6)
    assert_equal(gradients(model, loss), wanted, 2e-5)


def test_a_soft_cap_that_the_forward_lacks_is_refused():
    model = llama(500)
    fuse_head(model, softcap=30)
    with pytest.raises(ValueError, match=r"^LlamaForCausalLM does something else .* \(softcap=30, logit_scale=1\)"):
        model(**batch(vocabulary=500))


def cut(model: Any, hidden: Any) -> Any:
    """A model with classes that are padding, as some have; the others are odd in other ways."""
    logits = model.lm_head(hidden)[..., :-4]
    return lambda labels: model.loss_function(logits, labels, logits.shape[-1])


def added(model: Any, hidden: Any) -> Any:
    logits = model.lm_head(hidden)
    return lambda labels: model.loss_function(logits, labels, 500) + logits.logsumexp(-1).mean()


def twice(model: Any, hidden: Any) -> Any:
    logits = model.lm_head(hidden) + model.lm_head(2 * hidden)
    return lambda labels: model.loss_function(logits, labels, 500)


def elsewhere(model: Any, hidden: Any) -> Any:
    logits = hidden @ model.lm_head.weight.T
    return lambda labels: model.loss_function(logits, labels, 500)


class Strange(LlamaForCausalLM):
    """A model whose forward does what its ``does`` says."""

    def forward(self, input_ids=None, labels=None, **kwargs):
        assert self.loss_function  # whose name fuse_head looks for
        return CausalLMOutput(self.does(self, self.model(input_ids)[0])(labels))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (cut, r"cuts or reshapes its logits before its loss \(\(1, 1, 500\) became \(1, 1, 496\)\)"),
        (added, "adds something to its loss that it computes of its logits"),
        (twice, "calls its output layer twice in one pass"),
        (elsewhere, "computes its loss before it calls its output layer"),
    ],
)
def test_a_forward_that_does_more_is_refused_by_its_first_pass(kind, message):
    model = Strange(LlamaConfig(vocab_size=500, **SIZES))
    model.does = kind
    fuse_head(model, label_smoothing=0.1)
    with pytest.raises(ValueError, match=f"^Strange {message}"):
        model(**batch(vocabulary=500))


def with_head(head: Any) -> LlamaForCausalLM:
    model = llama(500)
    model.lm_head = head
    return model


class Odd(torch.nn.Linear):
    """A layer that may do anything."""


def encoder_decoder() -> Any:
    small = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
    return transformers.T5ForConditionalGeneration(transformers.T5Config(vocab_size=50, **small))


def bart() -> Any:
    small = {"d_model": 8, "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 8}
    return transformers.BartForCausalLM(transformers.BartConfig(vocab_size=50, **small))


def masked() -> Any:
    return transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=50, **SIZES))


def fused_already() -> Any:
    model = llama(500)
    fuse_head(model)
    return model


REFUSED = [
    (lambda: torch.nn.Linear(2, 2), TypeError, "fuse_head takes a model of transformers, got Linear"),
    (lambda: with_head(Odd(32, 500)), ValueError, r"the output layer of .* must be a torch\.nn\.Linear, got Odd"),
    (lambda: with_head(torch.nn.Linear(32, 500, device="meta")), ValueError, "the weight of .* is not in memory"),
    (encoder_decoder, ValueError, "fuse_head knows the loss of causal models, and T5ForConditionalGeneration has"),
    (masked, ValueError, r"fuse_head knows .* and BertForMaskedLM has another \(ForMaskedLMLoss\)"),
    (bart, ValueError, "the forward of BartForCausalLM has a loss of its own in place of its loss_function"),
    (fused_already, ValueError, r"this LlamaForCausalLM is fused already: call remove\(\)"),
]


@pytest.mark.parametrize(("made", "error", "message"), REFUSED)
def test_a_model_that_cannot_be_fused_is_refused_by_name(made, error, message):
    with pytest.raises(error, match=f"^{message}"):
        fuse_head(made())


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ({"target_modules": ["lm_head"]}, "Linear"),
        ({"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}, "ModulesToSaveWrapper"),
        ({"target_modules": ["q_proj"], "trainable_token_indices": [1]}, "TrainableTokensWrapper"),
    ],
)
def test_an_adapter_of_peft_on_the_output_layer_is_refused(how, kind):
    peft = pytest.importorskip("peft")
    tied = llama(500, tie_word_embeddings=kind == "TrainableTokensWrapper")
    model = quietly(peft.get_peft_model)(tied, peft.LoraConfig(r=2, **how))
    told = rf"^the output layer of LlamaForCausalLM has an adapter of PEFT \({kind}\), which the fused loss"
    with pytest.raises(ValueError, match=told):
        fuse_head(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_smoothing": 1.5}, r"label_smoothing must be in \[0, 1\], got 1\.5"),
        ({"over": "some"}, 'over must be "others"'),
        ({"softcap": 0}, "softcap must be above 0 and finite, got 0"),
        ({"z_loss": -1}, "z_loss must be at least 0 and finite, got -1"),
    ],
)
def test_an_argument_out_of_range_is_refused_and_the_model_is_not_touched(options, message):
    model = llama(500)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=f"^{message}"):
        fuse_head(model, **options)
    assert vars(model) == before


def test_a_gradient_past_the_fused_loss_is_an_error():
    model, rows = llama(500), batch(vocabulary=500)
    fuse_head(model, label_smoothing=0.1)
    with pytest.raises(RuntimeError, match="^this model's head is fused, and a gradient came to it past"):
        torch_loss(model(rows["input_ids"]).logits, rows["labels"]).backward()


def test_the_own_smoothing_of_trainer_beside_a_fused_head_is_an_error(tmp_path):
    model = llama(500)
    fuse_head(model, label_smoothing=0.1)
    args = arguments(tmp_path, label_smoothing_factor=0.1)
    with pytest.raises(RuntimeError, match=r"label_smoothing_factor and compute_loss_func of Trainer take them away"):
        Trainer(model, args, train_dataset=data(8, vocabulary=500)).train()


def test_smoothing_as_an_argument_of_the_model_is_refused():
    model = llama(500)
    fuse_head(model)
    with pytest.raises(ValueError, match=r"^label_smoothing is no argument of a fused model: give it to fuse_head$"):
        model(**batch(vocabulary=500), label_smoothing=0.1)
