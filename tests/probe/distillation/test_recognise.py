"""Distillations are recognised by their gradients, with the weights of their authors; other losses are not."""

from __future__ import annotations

import functools

import pytest
import torch

import sfumato as sf
from sfumato.probe import Probe, ProbeError, probe
from tests.probe.distillation import teacher_losses as losses


@functools.cache
def probed(name: str) -> Probe:
    return probe(getattr(losses, name))


def said(found: Probe, level: str = "") -> str:
    return "\n".join(str(each) for each in found.findings if each.level.startswith(level))


K = 10
# name, divergence, T, weight of the labels, weight of the teacher, share, whether T² is there, K or 1, reduction
KNOWN = [
    ("hinton", "forward", 4.0, 0.3, 0.7 * 16, 0.7, True, 1, "mean"),
    ("knowledge_distillation_pytorch", "forward", 20.0, 0.1, 0.9 * 400 / K, 0.9, True, K, "mean"),
    ("distilbert", "forward", 2.0, 2.0, 5.0 * 4, None, True, 1, "mean"),
    ("tinybert", "forward", 1.0, 0.0, 1 / K, 1.0, None, K, "mean"),
    ("DeiT", "forward", 3.0, 0.5, 0.5 * 9 / K, 0.5, True, K, "mean"),
    ("reverse", "reverse", 2.0, 0.0, 1.0, 1.0, False, 1, "mean"),
    ("without_t_squared", "forward", 2.0, 0.75, 0.25, 0.25, False, 1, "mean"),
    ("squared", "squared", 1.0, 1.0, 0.5 * 2 / K, None, None, K, "mean"),
    ("language_model", "forward", 1.0, 0.0, 1.0, 1.0, None, 1, "mean"),
    ("sequences", "forward", 2.0, 0.3, 0.7 * 4, 0.7, True, 1, "mean"),
    ("by_name_only", "forward", 3.0, 1.0, 9.0, None, True, 1, "sum"),
    ("a_row_each", "forward", 2.0, 0.0, 4.0, 1.0, True, 1, "none"),
]


@pytest.mark.parametrize("known", KNOWN, ids=[known[0] for known in KNOWN])
def test_the_terms_are_those_that_the_loss_was_written_with(known):
    name, divergence, temperature, label, teacher, alpha, squared, over, reduction = known
    terms = probed(name).distillation
    assert terms is not None
    assert (terms.divergence, terms.times_t_squared, terms.over_classes) == (divergence, squared, over)
    assert (terms.temperature, terms.label_weight, terms.teacher_weight) == pytest.approx((temperature, label, teacher))
    assert terms.alpha == (None if alpha is None else pytest.approx(alpha))
    assert probed(name).reduction == reduction


def test_hard_labels_of_a_teacher_are_told():
    found = probe(functools.partial(losses.DeiT, "hard"))
    assert found.distillation is not None
    assert (found.distillation.divergence, found.distillation.alpha) == ("hard", 0.5)
    assert found.distillation.formula == "0.5·CE(labels) + 0.5·CE(the teacher's likeliest class)"
    assert not found.distillation.teacher_gets_gradients


@pytest.mark.parametrize(
    ("name", "level", "text"),
    [
        ("hinton", "note", "teacher: its logits get no gradient from the loss"),
        ("distilbert", "note", "teacher: its logits get gradients from the loss, which would train it too"),
        ("hinton", "note", "arguments: alpha is the teacher's share, and 1 − alpha that of the labels"),
        ("sequences", "note", "arguments: alpha is the labels' share, and 1 − alpha the teacher's"),
        ("without_t_squared", "note", "arguments: the loss has no default for them: probed with T=2, alpha=0.25"),
        (
            "without_t_squared",
            "warning",
            "distillation: T² is missing: at T = 2 the teacher's gradient is about 4 times",
        ),
        (
            "with_t_for_t_squared",
            "warning",
            "distillation: T stands where T² belongs: the teacher's weight is 2.8 = 0.7·T",
        ),
        (
            "a_sum_without_t_squared",
            "warning",
            "distillation: T² is missing: at T = 4 the teacher's gradient is about 16",
        ),
        (
            "of_unknown_shares",
            "note",
            "distillation: the teacher's weight is 3 = 0.1875·T²: whether T² is meant to be in it is not known",
        ),
        ("reverse", "warning", "distillation: the divergence is KL(student ‖ teacher), not KL(teacher ‖ student)"),
        ("DeiT", "warning", "distillation: the teacher's term is divided by the number of classes K"),
        ("hinton", "warning", "ignored rows: a row of label -100 still learns from the teacher"),
        ("by_name_only", "note", "labels: their term is smoothed with ε = 0.1 over all classes"),
        ("tinybert", "note", "value: the teacher's entropy is not subtracted"),
        ("hinton", "note", "is enough: sf.distillation_loss(student_logits, labels, teacher_logits, 0.7, 4)"),
    ],
)
def test_a_peculiarity_is_told(name, level, text):
    assert text in said(probed(name), level)


def test_what_is_not_there_is_not_told():
    assert "ignored rows" not in said(probed("language_model"))
    assert "T² is missing" not in said(probed("hinton"))
    assert "number of classes" not in said(probed("hinton"))


def test_a_distillation_has_no_target_of_its_own():
    found = probed("hinton")
    one_target = (found.convention, found.eps, found.eps_all, found.eps_others, found.target, found.mass)
    assert one_target == (None,) * 6
    assert found.why == ("this is a distillation loss: 0.3·CE(labels) + 0.7·T²·KL(teacher_T ‖ student_T) with T = 4")
    assert found.to_dict()["distillation"] == {
        "divergence": "forward", "temperature": 4.0, "label_weight": 0.3, "teacher_weight": 11.2, "alpha": 0.7,
        "times_t_squared": True, "over_classes": 1, "label_eps": 0.0, "teacher_gets_gradients": False,
    }  # fmt: skip


NO_TEACHER = [
    "soft_targets", "divergence_from_probabilities", "smoothed_soft_targets", "regression", "sigmoids",
    "output_of_a_step", "cosine", "probabilities_of_a_teacher",
]  # fmt: skip


@pytest.mark.parametrize("name", NO_TEACHER)
def test_a_loss_of_two_tensors_without_a_teacher_is_no_distillation(name):
    assert probed(name).distillation is None


def test_soft_targets_named_after_a_teacher_are_read_as_any_soft_targets():
    found = probed("probabilities_of_a_teacher")
    assert (found.convention, found.line) == ("one-hot", "sf.cross_entropy(logits, labels)")


@pytest.mark.parametrize("name", ["mixup", "masked", "r_drop", "triplet"])
def test_a_loss_of_three_tensors_without_a_teacher_is_refused_as_before(name):
    with pytest.raises(ProbeError, match="missing 1 required positional argument"):
        probed(name)


def test_a_teacher_in_a_loss_that_is_no_known_distillation_is_said():
    with pytest.raises(ProbeError, match="two_temperatures takes a teacher, but its gradients are not those of labels"):
        probed("two_temperatures")


def test_a_student_and_a_teacher_with_these_names_are_not_taken_for_each_other():
    with pytest.raises(ProbeError, match="labels_at_the_temperature takes a teacher, but its gradients are not those"):
        probed("labels_at_the_temperature")


def rows(name: str):
    generator = torch.Generator().manual_seed(5)
    shape = (3, 5, K) if name in ("sequences", "language_model") else (7, K)
    student = torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(shape, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, K, shape[:-1], generator=generator)
    labels[0] = -100
    return student, teacher, labels


NAMES = {
    "hinton": ("student_logits", "teacher_logits", "labels"),
    "knowledge_distillation_pytorch": ("outputs", "teacher_outputs", "labels"),
    "distilbert": ("s_logits", "t_logits", "labels"),
    "tinybert": ("predicts", "targets", None),
    "DeiT": ("outputs", "teacher_outputs", "labels"),
    "language_model": ("student_logits", "teacher_logits", "labels"),
    "sequences": ("student_logits", "teacher_logits", "labels"),
    "by_name_only": ("student_logits", "teacher_logits", "labels"),
    "a_row_each": ("student_logits", "teacher_logits", None),
}


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("name", NAMES)
def test_the_line_has_value_and_gradient_of_the_loss_with_ignored_rows_too(name):
    student, teacher, labels = rows(name)
    loss = getattr(losses, name)
    loss = loss() if isinstance(loss, type) else loss
    given = dict(zip(NAMES[name], (student, teacher, labels), strict=True))
    given.pop(None, None)
    theirs = loss(**given)
    line = probed(name).line
    assert line is not None
    arguments = {"student_logits": student, "teacher_logits": teacher, "labels": labels}
    own = eval(line, {"sf": sf, "torch": torch, **arguments})
    torch.testing.assert_close(own, theirs, rtol=1e-5, atol=1e-9)
    gradients = [torch.autograd.grad(each.sum(), student)[0] for each in (own, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "kind"), [("reverse", "KL(student ‖ teacher)"), ("squared", "squared distance of logi")]
)
def test_a_divergence_that_sfumato_has_not_has_no_line(name, kind):
    assert probed(name).line is None
    assert f"there is no line: sfumato has no {kind}" in str(probed(name).recipe)
