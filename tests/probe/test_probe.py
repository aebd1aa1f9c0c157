"""The probe against losses whose convention, strength and defects are known: see peer_losses.py for what they are."""

import functools
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import sfumato as sf
from sfumato.probe import Probe, ProbeError, as_text, probe
from tests.probe import peer_losses
from tests.probe.losses import assert_frozen, codes, text_of


@functools.cache
def probed(name: str, classes: int = 10) -> Probe:
    return probe(getattr(peer_losses, name), classes=classes)


# name, convention, ε, reduction, ignored label; the codes of their findings are in frozen.json
KNOWN = [
    ("fairseq", "others", 0.1, "sum", None),
    ("fairseq_before_2021", "all", 0.1, "sum", None),
    ("ESPnet", "others", 0.1, "mean", -1),
    ("tensor2tensor", "others", 0.1, "none", None),
    ("classy_vision", "classy", 0.1, "mean", None),
    ("coincheung", "deficit", 0.1, "mean", -100),
    ("SegmentationModels", "all", 0.1, "mean", -100),
    ("hugging_face", "all", 0.1, "mean", -100),
    ("speechbrain", "others", 0.1, "sum", 0),
    ("apex", "all", 0.1, "none", 0),
    ("megatron_two_ranks", None, None, "none", None),
    ("transformer_engine", "all", 0.1, "mean", None),
    ("transformer_engine_two_ranks", "all", 0.1, "mean", None),
    ("flash_attention", "all", 0.1, "none", -100),
    ("lightgbm", "one-hot", 0.0, "mean", None),
    ("paddle", "all", 0.1, "mean", None),
    ("VISSL", "all", 0.1, "mean", None),
    ("NeMo", "all", 0.1, "mean", -100),
    ("Fastai", "all", 0.1, "mean", None),
    ("teacher_free", "others", 0.1, "mean", None),
    ("overwrites", "all", 0.1, "mean", -100),
    ("in_numpy", "others", 0.1, "mean", None),
    ("unshifted", "one-hot", 0.0, "mean", None),
    ("no_gradient", "all", 0.1, "mean", -100),
    ("detached", "all", 0.1, "sum", -100),
    ("hardest", "all", 0.1, "other", -100),
    ("first_row", "all", 0.1, "other", None),
    ("leaks", "all", 0.1, "other", None),
    ("from_probabilities", "one-hot", 0.0, "mean", None),
    ("forgot_to_divide", None, None, "mean", None),
    ("mean_over_classes_too", "others", 0.1, "mean", None),
    ("weighted", "all", 0.1, "mean", -100),
    ("labels_in_a_column", "all", 0.1, "mean", None),
    ("of_images", "all", 0.1, "mean", -100),
    ("InFloat32", "all", 0.1, "mean", None),
    ("in_a_dictionary", "all", 0.1, "mean", -100),
    ("negative", "all", -0.1, "mean", None),
    ("make", "all", 0.1, "mean", -100),
    ("CRITERION", "all", 0.2, "mean", -100),
]
OTHERS = ["with_z_loss", "focal", "confidence_penalty", "cooled", "brier", "neighbours", "randomly", "only_ten_classes"]


@pytest.mark.parametrize("known", KNOWN, ids=[known[0] for known in KNOWN])
def test_a_loss_is_named_with_its_strength_and_reduction(known):
    found = probed(known[0])
    assert (known[0], found.convention, found.eps, found.reduction, found.ignore_index) == known


FROZEN = Path(__file__).with_name("frozen.json")


@pytest.mark.parametrize("name", [*(known[0] for known in KNOWN), *OTHERS])
def test_target_line_and_codes_of_findings_are_as_frozen(name):
    found = probed(name)
    told = found.to_dict()
    shown = {key: told[key] for key in ("eps_all", "eps_others", "target", "mass", "line")}
    assert_frozen(FROZEN, name, {**shown, "codes": codes(found.findings)})


@pytest.mark.parametrize("eps", [0.05, 0.3])
@pytest.mark.parametrize("spread", [each for each in sf.conventions.SPREADS.values() if each.name != "nopad"])
def test_each_convention_is_read_from_its_own_formula(spread, eps):
    def loss(logits, labels, smoothing=eps):
        true, other = spread.pair(smoothing, logits.shape[1])
        target = torch.full_like(logits, other).scatter(1, labels[:, None], true)
        if spread.space == "sigmoid":
            return nn.functional.binary_cross_entropy_with_logits(logits, target)
        return -(target * logits.log_softmax(1)).sum(1).mean()

    found = probe(loss)
    assert (found.convention, found.eps) == (spread.name, eps)
    assert found.target == pytest.approx(spread.pair(eps, 10))
    assert_frozen(FROZEN, f"{spread.name} {eps}", {"line": found.line, "codes": codes(found.findings)})


@pytest.mark.parametrize("over", ["all", "others"])
def test_sfumatos_own_loss_has_no_defect(over):
    found = probe(f'sfumato:CrossEntropyLoss(label_smoothing=0.1, over="{over}")')
    assert (found.convention, found.eps, codes(found.findings, "defect")) == (over, 0.1, [])
    assert "note: strength-negative-refused" in codes(found.findings)


def test_padding_without_mass_is_seen():
    found = probe("tests.probe.peer_losses:OpenNMT(label_smoothing=0.1)")
    assert (found.convention, found.eps, found.reduction, found.ignore_index) == ("nopad", 0.1, "sum", 0)
    assert found.line == (
        '(parts := sf.loss_parts(logits, sf.smooth(labels, 10, 0.1, over="others", support=torch.arange(10) != 0, '
        'ignore_index=0), reduction="sum")).loss - parts.floor'
    )


def test_one_k_alone_cannot_tell_unless_the_strength_was_given_and_both_readings_are_told():
    found = probed("only_ten_classes")
    assert (found.convention, found.eps, found.eps_all, found.eps_others) == (None, None, 0.1, 0.09)
    assert "one K alone cannot tell: others with 0.09, all with 0.1" in found.why

    def ten(logits, labels, label_smoothing=0.09):
        assert logits.shape[1] == 10
        return sf.cross_entropy(logits, labels, label_smoothing=label_smoothing, over="others")

    assert (probe(ten).convention, probe(ten).eps) == ("others", 0.09)


@pytest.mark.parametrize("classes", [2, 3, 5, 50])
@pytest.mark.parametrize("over", ["others", "all"])
def test_any_number_of_classes_can_be_asked_for(classes, over):
    found = probe(sf.CrossEntropyLoss(label_smoothing=0.25, over=over), classes=classes)
    assert (found.convention, found.eps, found.classes) == (over, 0.25, classes)
    expected = sf.conventions.CONVENTIONS[over].target(0.25, classes)
    assert found.target == pytest.approx(expected, rel=1e-9)


def test_a_default_of_zero_is_one_hot_and_its_strength_is_told():
    found = probe("torch.nn.functional:cross_entropy")
    assert (found.convention, found.eps, found.eps_all, found.eps_others) == ("one-hot", 0.0, 0.0, 0.0)
    assert "all with ε = 0.1: 0.91 on the label" in text_of(found.findings, "strength-would-mean")


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (peer_losses.constant, "its value does not depend on the logits"),
        (lambda logits, labels: "no number", "the loss cannot be called with logits[3, 10] and labels[3]"),
        (3, "is a int, which cannot be called"),
        ("torch.nn", '"torch.nn" is not MODULE:CALLABLE, as in torch.nn:CrossEntropyLoss'),
        ("no_such_module:loss", 'no module "no_such_module" here or among the installed ones'),
        ("torch.nn:CrossEntropyLos", 'torch.nn has no "CrossEntropyLos". Did you mean "CrossEntropyLoss"?'),
        ("torch.nn:CrossEntropyLoss(label_smoothing=print)", "must be literals"),
        ("torch.nn:CrossEntropyLoss(label_smoothing=0.1", "must be literals"),
        ("torch.nn:CrossEntropyLoss(nonsense=1)", "cannot be made: TypeError"),
        ("tests.probe.peer_losses:OpenNMT", "write tests.probe.peer_losses:OpenNMT(label_smoothing=…)"),
        ("missing_file.py:loss", 'no file "missing_file.py"'),
        (r"C:\x\losses.py:smoothed(eps=0.1)", r'no file "C:\x\losses.py"'),
        ("torch.nn:CrossEntropyLoss(label_smoothing=open('trace', 'w'))", "must be literals"),
        ("tests.probe.peer_losses:torchh", 'peer_losses has no "torchh".'),  # a module that it imports is no loss
        ("torch:nnn.CrossEntropyLoss", 'torch has no "nnn". Did you mean "nn"?'),
    ],
)
def test_what_cannot_be_probed_is_said(loss, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    with pytest.raises(ProbeError) as caught:
        probe(loss)
    assert message in str(caught.value)
    assert "torchh" not in message or str(caught.value).endswith(message)
    assert list(tmp_path.iterdir()) == []  # arguments are never evaluated


def test_evaluation_mode_is_left_as_it_was():
    module = nn.CrossEntropyLoss(label_smoothing=0.1).eval()
    probe(module)
    assert not module.training


def test_a_vocabulary_is_probed_without_arrays_of_its_square_and_its_small_shares_are_shares():
    found = probe(nn.CrossEntropyLoss(label_smoothing=0.1), classes=128_000)
    assert (found.convention, found.eps, found.eps_all) == ("all", 0.1, pytest.approx(0.1))
    assert found.target == pytest.approx((0.9 + 0.1 / 128_000, 0.1 / 128_000))
    assert found.line == 'sf.cross_entropy(logits, labels, label_smoothing=0.1, over="all")'
    assert "note: masked-class-with-mass" in codes(found.findings)
    assert "becomes (0.27, 0.63, 7.81e-07, …)" in text_of(found.findings, "probabilities-smoothed")
    assert "to give 90 % of its probability to the right class and " in as_text(found, 200)


def test_a_wrong_gradient_is_seen_at_the_label_and_at_the_first_of_many_classes():
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z, at):
            ctx.at = at
            return z.clone()

        @staticmethod
        def backward(ctx, upstream):
            upstream = upstream.clone()
            upstream[:, ctx.at] += 0.5
            return upstream, None

    for at in (0, 2000):
        found = probe(lambda z, y, at=at: nn.functional.cross_entropy(Wrong.apply(z, at), y), classes=10_000)
        assert f"for class {at} at label" in text_of(found.findings, "gradient-wrong")


def test_a_loss_without_gradients_is_refused_where_differences_of_it_would_take_hours():
    def detached(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(z, y).detach()

    def of_detached(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(z.detach(), y)

    for loss in (detached, of_detached):  # of the second, one-hot labels in the place of logits have a gradient
        told = "gives no gradient.* too many beyond 2000 classes: give --classes 2000 or fewer, or .* is not detached$"
        with pytest.raises(ProbeError, match=told):
            probe(loss, classes=2001)
    with pytest.raises(ProbeError, match="its value does not depend on the logits"):  # of however many classes
        probe(peer_losses.constant, classes=2001)


def hinton(student_logits, teacher_logits, labels, t=4.0):
    soft = nn.functional.kl_div((student_logits / t).log_softmax(1), (teacher_logits / t).softmax(1))
    return soft + nn.functional.cross_entropy(student_logits, labels)


class Taught(nn.Module):
    def forward(self, logits, teacher):
        return nn.functional.mse_loss(logits, teacher)


@pytest.mark.parametrize(
    "loss",
    [hinton, Taught, lambda z, t: nn.functional.kl_div((z / 2).log_softmax(1), (t / 2).softmax(1)).sum()],
    ids=["named", "module", "unnamed"],
)
def test_a_loss_that_takes_a_teacher_is_not_read(loss):
    found = probe(loss)
    assert (found.convention, found.eps, found.target, found.line) == (None, None, None, None)
    assert codes(found.findings) == ["warning: takes-a-teacher"]
