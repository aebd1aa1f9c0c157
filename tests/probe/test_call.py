"""Losses that are called in an unusual way, that change or draw, or that cannot be called."""

import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sfumato.probe import ProbeError, probe
from sfumato.probe.call import Style
from sfumato.probe.find_loss import load
from tests.probe.losses import EPS, codes, smoothed


def test_a_list_of_numbers_is_one_a_row():
    def loss(logits, labels):
        return smoothed(logits, labels, reduction="none").tolist()

    found = probe(loss)
    assert (found.convention, found.reduction) == ("all", "none")
    assert "defect: rows-hidden" not in codes(found.findings)


@pytest.mark.skipif(sys.platform == "win32", reason="C: is no name of a folder there")
@pytest.mark.parametrize("file", ["losses.py", "C:/losses.py", "losses (old)/losses.py", "C:/(old)/losses.py"])
@pytest.mark.parametrize("call", ["", "(note='a:b(c)')"])
def test_a_file_may_have_colons_and_parentheses_in_its_path(file, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setitem(sys.modules, "losses", None)  # put back afterwards; a file that is read keeps what is there
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text("def made(note=''):\n    return len\n")
    found = load(f"{file}:made{call}")
    assert (found.target.__name__, found.arguments) == ("made", {"note": "a:b(c)"} if call else {})


class Annealed(nn.Module):
    """Its strength shrinks with every call."""

    def __init__(self):
        super().__init__()
        self.eps = 0.2

    def forward(self, logits, labels):
        self.eps *= 0.5
        return F.cross_entropy(logits, labels, label_smoothing=self.eps)


def test_a_loss_that_changes_with_every_call_is_read_as_it_is_first():
    found = probe(Annealed)
    assert (found.convention, found.eps, found.reduction, found.line) == ("all", 0.1, "mean", None)
    assert "warning: stateful-loss" in codes(found.findings)
    assert not any("leak" in code for code in codes(found.findings))


def counting():
    calls: list[int] = []

    def loss(logits, labels):
        calls.append(1)
        return len(calls) * F.cross_entropy(logits, labels)

    return loss


def seldom_smoothing():
    draws = iter(([1.0] * 14 + [0.0]) * 10_000)  # of fifteen draws one puts a part on the other classes
    return lambda logits, labels: smoothed(logits, labels) if next(draws) < 0.5 else F.cross_entropy(logits, labels)


@pytest.mark.parametrize("make", [counting, seldom_smoothing])
def test_a_loss_that_changes_and_cannot_be_copied_is_refused(make):
    with pytest.raises(ProbeError, match="returns another number in every call, with the same seed too"):
        probe(make())


def test_a_random_target_is_not_named_and_its_rows_are_not_said_to_leak():
    def loss(logits, labels):
        flipped = torch.where(torch.rand(len(labels)) < 0.3, torch.randint(0, logits.size(1), labels.shape), labels)
        return F.cross_entropy(logits, flipped)

    found = probe(loss)
    assert (found.convention, found.eps, found.line) == (None, None, None)
    assert "warning: random-loss" in codes(found.findings)
    assert not any("leak" in code for code in codes(found.findings))


def test_a_loss_for_two_classes_says_with_how_many_it_can_be_called():
    def loss(logits, labels):
        assert logits.size(1) == 2
        return smoothed(logits, labels)

    with pytest.raises(ProbeError, match="with 2 classes it can be: --classes 2"):
        probe(loss)
    assert probe(loss, classes=2).target == pytest.approx((0.95, 0.05))


@pytest.mark.nightly  # a process of its own, in which jax is loaded
def test_a_loss_in_jax_that_takes_arrays_is_differentiated_by_jax():
    optax = pytest.importorskip("optax")

    def loss(logits, labels):
        import jax.numpy as jnp

        hot = jnp.eye(logits.shape[1])[labels]
        return optax.softmax_cross_entropy(jnp.asarray(logits), optax.smooth_labels(hot, EPS)).mean()

    found = probe(loss, classes=4)
    assert (found.convention, found.eps) == ("all", EPS)
    assert "note: finite-differences" not in codes(found.findings)
    assert found.target == pytest.approx((1 - EPS + EPS / 4, EPS / 4), rel=1e-9)  # JAX counts in float64 there


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda logits, labels: sys.exit(3), "it ends the program (exit code 3)"),
        (lambda logits, labels: (logits * float("nan")).sum(), "some of them not finite"),
        (lambda logits, labels: smoothed(logits, labels).to(torch.complex64), "it returns Tensor, not a number"),
    ],
)
def test_a_loss_that_gives_no_number_is_refused(loss, message):
    with pytest.raises(ProbeError) as caught:
        probe(loss)
    assert message in str(caught.value)


def test_a_loss_with_named_arguments_only_is_called_by_name_and_not_taken_for_a_factory():
    def loss(*, weight=None, target, input):
        return F.cross_entropy(input, target, weight, label_smoothing=EPS)

    found = probe(loss)
    assert (found.called, found.convention, found.eps) == ("target=labels[N], input=logits[N, K]", "all", EPS)
    assert "warning: weights-on-classes" in codes(found.findings)


@pytest.mark.parametrize(
    ("style", "shapes", "words"),
    [
        (Style(), ((6, 4), (6,)), "logits[N, K], labels[N]"),
        (Style(layout="column"), ((6, 4), (6, 1)), "logits[N, K], labels[N, 1]"),
        (Style(layout="sequence"), ((1, 6, 4), (1, 6)), "logits[1, N, K], labels[1, N]"),
        (Style(layout="sequence", batch=3), ((3, 2, 4), (3, 2)), "logits[1, N, K], labels[1, N]"),
        (Style(layout="image"), ((6, 4, 1, 1), (6, 1, 1)), "logits[N, K, 1, 1], labels[N, 1, 1]"),
        (Style(layout="image", batch=1), ((1, 4, 2, 3), (1, 2, 3)), "logits[N, K, 1, 1], labels[N, 1, 1]"),
        (Style(layout="classes second", batch=2), ((2, 4, 3), (2, 3)), "logits[B, K, T], labels[B, T]"),
        (Style(layout="next token", batch=2), ((2, 4, 4), (2, 4)),
         "logits[B, T, K], labels[B, T], each label one position after its logits"),
        (Style(keywords=("y", "x"), labels_first=True), ((6, 4), (6,)), "y=labels[N], x=logits[N, K]"),
    ],
)  # fmt: skip
def test_a_style_arranges_rows_as_it_says(style, shapes, words):
    inputs, labels = style.arrange(torch.zeros(6, 4), torch.zeros(6))
    assert (tuple(inputs.shape), tuple(labels.shape)) == shapes
    assert style.describe() == words


def test_class_weights_in_float32_are_called_with_whole_labels_and_not_with_one_hot_ones():
    found = probe(nn.CrossEntropyLoss(torch.arange(1.0, 11.0), label_smoothing=EPS))
    assert (found.called, found.ignore_index) == ("logits[N, K], labels[N]", -100)


def test_next_tokens_pair_each_row_with_the_label_after_it():
    logits, labels = torch.arange(8.0).reshape(4, 2), torch.arange(4)
    inputs, given = Style(layout="next token", batch=2).arrange(logits, labels)
    assert torch.equal(inputs[:, :-1].flatten(0, 1), logits)
    assert torch.equal(given[:, 1:].flatten(), labels)


@pytest.mark.parametrize("name", ["script:loss", "script.py:loss"])
def test_a_module_that_exits_on_import_is_a_usage_error_and_not_a_finding(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setitem(sys.modules, "script", None)
    del sys.modules["script"]
    (tmp_path / "script.py").write_text("import sys\nsys.exit(3)\n", encoding="utf-8")
    with pytest.raises(ProbeError, match="cannot be imported: SystemExit: 3"):
        probe(name)
