"""The probe against losses whose convention, strength and defects are known: see peer_losses.py for what they are."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

import sfumato as sf
from sfumato.probe import Probe, ProbeError, as_text, probe
from tests.probe import peer_losses


@functools.cache
def probed(name: str, classes: int = 10) -> Probe:
    return probe(getattr(peer_losses, name), classes=classes)


def said(found: Probe, level: str) -> str:
    return "\n".join(str(each) for each in found.findings if each.level == level)


# name, convention, ε, reduction, ignored label, and a part of each defect that it must be told to have
KNOWN = [
    ("fairseq", "others", 0.1, "sum", None, ["half precision: float16: inf"]),
    ("fairseq_before_2021", "all", 0.1, "sum", None, []),
    ("ESPnet", "others", 0.1, "mean", -1, []),
    ("tensor2tensor", "others", 0.1, "none", None, []),
    ("classy_vision", "classy", 0.1, "mean", None, ["row of label -100 is trained towards the uniform target"]),
    ("coincheung", "deficit", 0.1, "mean", -100, ["total mass: Σq = 0.99, not 1"]),
    (
        "SegmentationModels",
        "all",
        0.1,
        "mean",
        -100,
        ["by default it cannot be called", "counts ignored rows"],
    ),
    ("hugging_face", "all", 0.1, "mean", -100, ["label -1 is not refused: it silently becomes class 0"]),
    ("speechbrain", "others", 0.1, "sum", 0, ['reduction="mean" is the sum']),
    ("apex", "all", 0.1, "none", 0, []),
    ("megatron_two_ranks", None, None, "none", None, ["Σq = 1.125", "it is not that of the value"]),
    ("transformer_engine", "all", 0.1, "mean", None, ["negative ε: not refused, and the value is not that of the"]),
    ("transformer_engine_two_ranks", "all", 0.1, "mean", None, ["gradient: it is not that of the value"]),
    ("flash_attention", "all", 0.1, "none", -100, ["label 10 of 10 classes is not refused: loss 0, and a gradient"]),
    ("lightgbm", "one-hot", 0.0, "mean", None, ["labels that are not whole are cut", "label -1 is not refused"]),
    ("paddle", "all", 0.1, "mean", None, ["rows of label -100 are ignored at ε = 0, and trained on as soon as ε > 0"]),
    ("VISSL", "all", 0.1, "mean", None, ["weight=… is taken and has no effect", "are ignored at ε = 0"]),
    ("NeMo", "all", 0.1, "mean", -100, []),
    ("Fastai", "all", 0.1, "mean", None, []),
    ("teacher_free", "others", 0.1, "mean", None, []),
    ("overwrites", "all", 0.1, "mean", -100, ["the logits are overwritten"]),
    ("in_numpy", "others", 0.1, "mean", None, ["label -1 is not refused: it silently becomes class 9"]),
    ("unshifted", "one-hot", 0.0, "mean", None, ["a logit of 800 makes the loss inf"]),
    ("no_gradient", "all", 0.1, "mean", -100, ["it returns no gradient"]),
    ("detached", "all", 0.1, "sum", -100, ["it returns no gradient"]),
    ("hardest", "all", 0.1, "other", -100, ["hides rows: 3 of 4 have no gradient in a batch"]),
    ("first_row", "all", 0.1, "other", None, ["hides rows: 3 of 4 have no gradient in a batch (rows 1, 2, 3)"]),
    ("leaks", "all", 0.1, "other", None, ["depends on the other rows", "label -1 gets a gradient from the other rows"]),
    ("from_probabilities", "one-hot", 0.0, "mean", None, []),
    ("forgot_to_divide", None, None, "mean", None, ["total mass: Σq = 1.9, not 1: 1.3 at K = 4"]),
    ("mean_over_classes_too", "others", 0.1, "mean", None, []),
    ("weighted", "all", 0.1, "mean", -100, []),
    ("labels_in_a_column", "all", 0.1, "mean", None, []),
    ("of_images", "all", 0.1, "mean", -100, []),
    ("InFloat32", "all", 0.1, "mean", None, ["label -1 is not refused: it silently becomes class 9"]),
    ("in_a_dictionary", "all", 0.1, "mean", -100, []),
    ("negative", "all", -0.1, "mean", None, ["ε = -0.1: negative smoothing, which has no lower bound"]),
    ("make", "all", 0.1, "mean", -100, ["half precision: float16: inf at N = 32, K = 1000"]),
    ("CRITERION", "all", 0.2, "mean", -100, ["half precision: float16: inf at N = 32, K = 1000"]),
]


@pytest.mark.parametrize("known", KNOWN, ids=[known[0] for known in KNOWN])
def test_a_loss_is_named_with_its_strength_reduction_and_defects(known):
    name, convention, eps, reduction, ignored, defects = known
    found = probed(name)
    assert (found.convention, found.eps, found.reduction, found.ignore_index) == (convention, eps, reduction, ignored)
    for part in defects:
        assert part in said(found, "defect")


@pytest.mark.parametrize("name", ["ESPnet", "NeMo", "Fastai", "teacher_free", "tensor2tensor", "fairseq_before_2021"])
def test_what_has_no_defect_of_its_own_is_told_none(name):
    lines = [line for line in said(probed(name), "defect").splitlines() if "half precision" not in line]
    if name == "Fastai":  # F.nll_loss ignores −100, and the smoothing term does not
        lines = [line for line in lines if "-100" not in line]
    assert lines == []


@pytest.mark.parametrize(
    ("name", "level", "text"),
    [
        ("ESPnet", "note", "value: the entropy of the target, 0.5448, is subtracted"),
        ("apex", "warning", "rows of class 0 have no gradient: ignored"),
        ("NeMo", "note", "evaluation mode: other than in training: one-hot"),
        ("make", "note", "evaluation mode: smooths too"),
        ("make", "warning", "negative ε: not refused: it silently means 0"),
        ("coincheung", "warning", "negative ε: not refused but applied: 1.1 on the label"),
        ("Fastai", "warning", "class weights: weight=… is on the label's term alone"),
        ("with_z_loss", "note", "extra term: z-loss, c·lse², coefficient 0.001"),
        ("focal", "note", "extra term: focal, (1−p)^γ, coefficient 2"),
        ("confidence_penalty", "note", "extra term: confidence penalty, −β·H(p), coefficient 0.1"),
        ("cooled", "note", "extra term: temperature, softmax(z/T), coefficient 2.5"),
        ("from_probabilities", "warning", "large logits: at a gap of −60 the loss is 16.12 where the formula has 60"),
        ("brier", "warning", "target: not a cross entropy of a softmax or sigmoids"),
        ("neighbours", "warning", "target: differs between labels or classes: label 0 has (0.6321, 0.2326"),
        ("weighted", "warning", "class weights: every class's term is weighted (0.4, 0.533, 0.667, 0.8,"),
        ("mean_over_classes_too", "warning", "total mass: Σq = 0.1, not 1: 1/K: the mean is over rows and classes"),
        ("randomly", "warning", "randomness: two calls with the same rows differ"),
        ("make", "note", "ignored rows: a batch of ignored rows only is NaN"),
        ("make", "note", "ε = 1: uniform: 0.1 on the label"),
        ("teacher_free", "note", "−∞ logits: a class at −∞ has mass: the loss is +inf"),
    ],
)
def test_a_peculiarity_is_told(name, level, text):
    assert text in said(probed(name), level)


def test_torchs_class_weights_move_the_optimum():
    found = probe("torch.nn:CrossEntropyLoss(label_smoothing=0.1)")
    assert "class weights: weight=… multiplies every class's term: the optimum moves to p ∝ w·q" in said(
        found, "warning"
    )


def test_weights_on_the_sample_are_told_to_leave_the_optimum():
    def weighted(logits, labels, weight=None, label_smoothing=0.1):
        return sf.cross_entropy(logits, labels, weight, label_smoothing=label_smoothing, weight_on="sample")

    assert "weights rows by their label; the optimum stays" in said(probe(weighted), "note")


def test_sfumatos_own_loss_has_no_defect():
    for over in ("all", "others"):
        found = probe(f'sfumato:CrossEntropyLoss(label_smoothing=0.1, over="{over}")')
        assert (found.convention, found.eps, said(found, "defect")) == (over, 0.1, "")
        assert "negative ε: refused" in said(found, "note")


def test_padding_without_mass_is_seen():
    found = probe("tests.probe.peer_losses:OpenNMT(label_smoothing=0.1)")
    assert (found.convention, found.eps, found.reduction, found.ignore_index) == ("nopad", 0.1, "sum", 0)
    assert found.line == (
        '(parts := sf.loss_parts(logits, sf.smooth(labels, 10, 0.1, over="others", support=torch.arange(10) != 0, '
        'ignore_index=0), reduction="sum")).loss - parts.floor'
    )


def test_one_k_alone_cannot_tell_and_both_readings_are_given():
    found = probed("only_ten_classes")
    assert (found.convention, found.eps) == (None, None)
    assert (found.eps_all, found.eps_others) == (0.1, 0.09)
    assert "one K alone cannot tell: others with 0.09, all with 0.1" in found.why


def test_at_one_k_the_given_strength_decides():
    def ten(logits, labels, label_smoothing=0.09):
        assert logits.shape[1] == 10
        return sf.cross_entropy(logits, labels, label_smoothing=label_smoothing, over="others")

    found = probe(ten)
    assert (found.convention, found.eps) == ("others", 0.09)


@pytest.mark.parametrize("classes", [2, 3, 5, 50])
@pytest.mark.parametrize("over", ["others", "all"])
def test_any_number_of_classes_can_be_asked_for(classes, over):
    found = probe(sf.CrossEntropyLoss(label_smoothing=0.25, over=over), classes=classes)
    assert (found.convention, found.eps, found.classes) == (over, 0.25, classes)
    expected = sf.conventions.CONVENTIONS[over].target(0.25, classes)
    assert found.target == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("spread", ["sigmoid-half", "sigmoid-full", "sigmoid-all"])
def test_sigmoids_are_told_apart(spread):
    def binary(logits, labels, smoothing=0.2):
        true, other = sf.conventions.SPREADS[spread].pair(smoothing, logits.shape[1])
        target = torch.full_like(logits, other).scatter(1, labels[:, None], true)
        return nn.functional.binary_cross_entropy_with_logits(logits, target)

    found = probe(binary)
    assert (found.convention, found.eps, found.line) == (spread, 0.2, None)
    assert "scale: 1/K: the mean is over rows and classes" in said(found, "note")


MADE = {
    "ESPnet": lambda: peer_losses.ESPnet(10),
    "InFloat32": lambda: peer_losses.InFloat32(10),
    "SegmentationModels": lambda: peer_losses.SegmentationModels(smooth_factor=0.1),
    "make": peer_losses.make,
}


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("name", [k[0] for k in KNOWN if k[1] is not None])
def test_the_line_gives_the_same_numbers_or_says_why_there_is_none(name):
    found = probed(name)
    if found.line is None:
        assert str(found.recipe).startswith("there is no line")
        return
    loss = getattr(peer_losses, name)
    function = MADE[name]() if name in MADE else loss() if isinstance(loss, type) else loss
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(6, 10, generator=generator, dtype=torch.float64)
    labels = torch.tensor([1, 3, 5, 9, 2, 4])
    given = logits.log_softmax(1) if "log-prob" in found.called else logits
    given = given.softmax(1) if found.called.startswith("prob") else given
    if name in ("lightgbm", "in_numpy"):
        theirs = torch.tensor(function(logits.numpy(), labels.numpy()))
    elif "[1, N" in found.called:
        theirs = function(given[None], labels[None])
    elif "[N, 1]" in found.called:
        theirs = function(given, labels[:, None])
    elif "K, 1, 1]" in found.called:
        theirs = function(given[..., None, None], labels[..., None, None])
    elif name == "InFloat32":
        theirs = function(given.float(), labels)
    else:
        theirs = function(given.clone(), labels)
    theirs = theirs[0] if isinstance(theirs, tuple) else theirs["loss"] if isinstance(theirs, dict) else theirs
    own = eval(found.line, {"sf": sf, "torch": torch, "logits": logits, "labels": labels})
    torch.testing.assert_close(torch.as_tensor(theirs).double(), own, rtol=1e-5, atol=1e-6)


def test_a_default_of_zero_is_one_hot_and_its_strength_is_told():
    found = probe("torch.nn.functional:cross_entropy")
    assert (found.convention, found.eps, found.eps_all, found.eps_others) == ("one-hot", 0.0, 0.0, 0.0)
    assert "its strength: label_smoothing=0.1 would be all with ε = 0.1: 0.91 on the label" in said(found, "note")


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
    ],
)
def test_what_cannot_be_probed_is_said(loss, message):
    with pytest.raises(ProbeError) as caught:
        probe(loss)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("loss", "ends"),
    [
        ("tests.probe.peer_losses:torchh", 'peer_losses has no "torchh".'),  # a module that it imports is no loss
        ("torch:nnn.CrossEntropyLoss", 'torch has no "nnn". Did you mean "nn"?'),
    ],
)
def test_what_can_be_called_is_suggested_for_a_loss_and_a_module_before_it(loss, ends):
    with pytest.raises(ProbeError) as caught:
        probe(loss)
    assert str(caught.value).endswith(ends)


def test_arguments_are_never_evaluated(tmp_path):
    trace = tmp_path / "trace"
    with pytest.raises(ProbeError, match="must be literals"):
        probe(f"torch.nn:CrossEntropyLoss(label_smoothing=open({str(trace)!r}, 'w'))")
    assert not trace.exists()


def test_evaluation_mode_is_left_as_it_was():
    module = nn.CrossEntropyLoss(label_smoothing=0.1).eval()
    probe(module)
    assert not module.training


def test_a_vocabulary_is_probed_without_arrays_of_its_square_and_its_small_shares_are_shares():
    found = probe(nn.CrossEntropyLoss(label_smoothing=0.1), classes=128_000)
    assert (found.convention, found.eps, found.eps_all) == ("all", 0.1, pytest.approx(0.1))
    assert found.target == pytest.approx((0.9 + 0.1 / 128_000, 0.1 / 128_000))
    assert found.line == 'sf.cross_entropy(logits, labels, label_smoothing=0.1, over="all")'
    assert "−∞ logits: a class at −∞ has mass" in said(found, "note")
    assert "(0.3, 0.7, 0, …) becomes (0.27, 0.63, 7.81e-07, …)" in said(found, "note")
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
        assert f"for class {at} at label" in said(found, "defect")


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
    assert "takes a teacher" in said(found, "warning")
