"""The code to copy, run: each framework's piece gives the loss of the arm's own target."""

import importlib
import math

import numpy as np
import pytest
import torch

import sfumato as sf
from sfumato import conventions
from sfumato.report.code_to_copy import LONGEST, _call, snippets


def test_lines_are_at_most_this_long():
    assert LONGEST == 48  # they stand in half of the page's width without a bar to scroll


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


def test_a_target_of_no_convention_has_no_code():
    assert snippets(arm(0.1, None), 10) == []


@pytest.mark.parametrize("classes", [2, 1000])
def test_no_line_is_longer_than_half_a_page(classes):
    for snippet in snippets(arm(1 / 3, "others" if classes == 1000 else "all"), classes, "12.34"):
        assert max(map(len, snippet.code.splitlines())) <= LONGEST + 1, snippet.code


@pytest.mark.parametrize(
    ("kind", "strengths", "eps"),
    [
        ("linear", {"start": 0.2, "end": 0.0}, 0.05),
        ("cosine", {"start": 0.2, "end": 0.0}, 0.1 * (1 + math.cos(0.75 * math.pi))),
        ("drop_late", {"eps": 0.1, "after": 0.8}, 0.1),
    ],
)
def test_the_code_of_a_schedule_runs_and_gives_the_loss_of_its_step(kind, strengths, eps):
    scheduled = arm(0.0, "all") | {"name": "any", "schedule": {"kind": kind, "strengths": strengths}}
    (snippet,) = snippets(scheduled, 3, "1.5")
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    found = {"logits": logits, "labels": torch.arange(6) % 3, "step": 3, "steps": 5}
    exec(snippet.code, found)
    assert float(found["loss"]) == pytest.approx(
        loss_of_the_target(logits.numpy(), found["labels"].numpy(), eps, "all"), rel=1e-6
    )
    assert max(map(len, snippet.code.splitlines())) <= LONGEST + 24  # with the words beside it


@pytest.mark.parametrize("over", ["order", "likeness", "tree", "confusions", "own predictions"])
def test_the_code_of_rows_of_a_table_runs_and_gives_the_loss_of_the_rows(over, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tree.json").write_text('{"a": ["x", "y"], "b": ["z"]}', encoding="utf-8")
    (snippet,) = snippets(arm(0.3, over), 3, "1.5")
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    values = torch.tensor([3.0, 1.0, 2.0])
    given = {"torch": torch, "logits": logits, "labels": labels, "values": values, "tau": 0.5, "beta": 4.0}
    given["likeness"] = likeness = torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]])
    given["counts"] = torch.tensor([[8, 2, 0], [1, 9, 0], [0, 0, 9]])
    found = given | {"names": ["x", "y", "z"], "K": 3}
    exec(snippet.code, found)
    rows = {
        "order": lambda: sf.class_tables.ordinal(values, 0.5),
        "likeness": lambda: sf.class_tables.similarity(likeness, 0.5),
        "tree": lambda: sf.class_tables.hierarchy("tree.json", 4.0, classes=["x", "y", "z"]),
        "confusions": lambda: torch.tensor([[0.7, 0.25, 0.05], [0.225, 0.7, 0.075], [0.15, 0.15, 0.7]]),
        "own predictions": lambda: 0.7 * torch.eye(3) + 0.1,
    }[over]()
    expected = -(rows[labels] * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(found["loss"], expected)
    torch.testing.assert_close(found["probabilities"], (logits / 1.5).softmax(1))


@pytest.mark.parametrize(("letters", "lines"), [(37, 1), (38, 3), (44, 3), (45, 4)])
def test_a_call_takes_the_lines_that_it_needs(letters, lines):
    code = _call("some.call", "a" * (letters - 7), "b = 1").splitlines()
    assert "".join(code).replace(" ", "").replace(",)", ")") == f"some.call({'a' * (letters - 7)},b=1)"
    assert len(code) == lines
