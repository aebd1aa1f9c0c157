"""The code to copy, run: each framework's piece gives the loss of the arm's own target."""

import importlib

import numpy as np
import pytest
import torch

from sfumato import conventions
from sfumato.report.code_to_copy import snippets
from sfumato.verdict.arms import WIDTH


def arm(eps, over="others"):
    name = "one-hot" if eps == 0 else "smoothed"
    return {"name": name, "eps": eps, "over": over, "closed_form_gap": None, "train_gap": None, "metrics": {}}


def code(framework, eps, over, classes, temperature=None):
    return next(s for s in snippets(arm(eps, over), classes, temperature) if s.framework == framework)


def loss_of_the_target(logits, labels, eps, over):
    """Mean cross entropy towards the target as its convention defines it, in float64."""
    true, other = conventions.CONVENTIONS[over].target(eps, logits.shape[1])
    z = logits.astype(np.float64)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    q = np.full(z.shape, other)
    q[np.arange(len(z)), labels] = true
    return float(-(q * log_p).sum(axis=1).mean())


ARRAYS = {
    "PyTorch": torch.from_numpy,
    "timm": torch.from_numpy,
    "sfumato": torch.from_numpy,
    "optax": lambda x: x,
    "Keras": torch.from_numpy,
}
NEEDS = {"PyTorch": "torch", "timm": "timm", "sfumato": "sfumato", "optax": "optax", "Keras": "keras"}


@pytest.mark.parametrize(
    ("eps", "over", "classes"), [(0.1, "others", 10), (0.1, "all", 10), (0.3, "others", 3), (0.0, "others", 4)]
)
@pytest.mark.parametrize("framework", ARRAYS)
def test_the_code_computes_the_loss_of_the_target(framework, eps, over, classes, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    pytest.importorskip(NEEDS[framework])
    rng = np.random.default_rng(7)
    logits = rng.normal(scale=2, size=(32, classes)).astype(np.float32)
    labels = rng.integers(classes, size=32)
    names = {"logits": ARRAYS[framework](logits), "labels": ARRAYS[framework](labels)}
    exec(code(framework, eps, over, classes, "0.41").code, names)
    assert float(names["loss"]) == pytest.approx(loss_of_the_target(logits, labels, eps, over), rel=2e-6)
    scaled = np.exp(logits.astype(float) / 0.41)
    np.testing.assert_allclose(names["probabilities"], scaled / scaled.sum(axis=1, keepdims=True), rtol=1e-4, atol=1e-7)


def test_the_trainer_smooths_over_all():
    transformers = pytest.importorskip("transformers")
    smoother = importlib.import_module("transformers.trainer_pt_utils").LabelSmoother(epsilon=0.1 * 10 / 9)
    logits, labels = torch.randn(8, 10, generator=torch.Generator().manual_seed(0)), torch.arange(8)
    found = smoother(transformers.modeling_outputs.SequenceClassifierOutput(logits=logits), labels).item()
    assert found == pytest.approx(loss_of_the_target(logits.numpy(), labels.numpy(), 0.1, "others"), rel=1e-5)


def test_frameworks_that_spread_over_all_get_the_converted_strength():
    found = {s.framework: s.strength for s in snippets(arm(0.1), 10)}
    assert found == {
        **dict.fromkeys(["PyTorch", "timm", "Hugging Face Trainer", "Keras", "optax"], "0.111111 over all"),
        "fairseq": "0.1 over the others",
        "sfumato": "0.1 over the others",
    }


def test_a_strength_over_all_is_converted_for_fairseq():
    found = {s.framework: s for s in snippets(arm(0.1, "all"), 10)}
    assert found["fairseq"].strength == "0.09 over the others"
    assert "--label-smoothing 0.09" in found["fairseq"].code
    assert found["PyTorch"].strength == "0.1 over all"


def test_one_hot_smooths_nowhere():
    for snippet in snippets(arm(0.0), 10, "1.62"):
        assert "smoothing=0." not in snippet.code
        assert snippet.strength == ""
        assert "1.62" in snippet.code
    assert "fairseq" not in [s.framework for s in snippets(arm(0.0), 10)]


def test_without_a_temperature_nothing_is_divided():
    assert not any("probabilities" in s.code for s in snippets(arm(0.1), 10))


def test_what_torch_cannot_express_is_left_to_those_who_can():
    assert [s.framework for s in snippets(arm(0.95), 10)] == ["fairseq", "sfumato"]


@pytest.mark.parametrize("classes", [2, 1000])
def test_no_line_is_longer_than_half_a_page(classes):
    for snippet in snippets(arm(1 / 3, "others" if classes == 1000 else "all"), classes, "12.34"):
        assert max(map(len, snippet.code.splitlines())) <= WIDTH + 1, snippet.code
