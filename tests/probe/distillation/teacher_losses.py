"""Losses of a student and a teacher as other projects write them, and losses of as many tensors without a teacher."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def hinton(student_logits, teacher_logits, labels, T=4.0, alpha=0.7):
    """Hinton et al. 2015, section 2."""
    soft = F.kl_div(
        F.log_softmax(student_logits / T, 1), F.softmax(teacher_logits.detach() / T, 1), reduction="batchmean"
    )
    return alpha * T * T * soft + (1 - alpha) * F.cross_entropy(student_logits, labels)


def knowledge_distillation_pytorch(outputs, labels, teacher_outputs, alpha=0.9, T=20):
    """A mean over rows and classes, which kl_div has by default."""
    soft = nn.KLDivLoss()(F.log_softmax(outputs / T, dim=1), F.softmax(teacher_outputs / T, dim=1))
    return soft * (alpha * T * T) + F.cross_entropy(outputs, labels) * (1.0 - alpha)


def distilbert(s_logits, t_logits, labels, temperature=2.0, alpha_ce=5.0, alpha_clm=2.0):
    """Hugging Face's example: weights that do not sum to 1."""
    soft = nn.KLDivLoss(reduction="batchmean")(
        F.log_softmax(s_logits / temperature, -1), F.softmax(t_logits / temperature, -1)
    )
    return alpha_ce * soft * temperature**2 + alpha_clm * F.cross_entropy(s_logits, labels)


def tinybert(predicts, targets):
    """A cross entropy of two models' logits, of which no name says that one is a teacher's."""
    return (-F.softmax(targets, dim=-1) * F.log_softmax(predicts, dim=-1)).mean()


class DeiT(nn.Module):
    """Soft and hard, without the tokens; the teacher is called before."""

    def __init__(self, distillation_type="soft", alpha=0.5, tau=3.0):
        super().__init__()
        self.distillation_type, self.alpha, self.tau = distillation_type, alpha, tau

    def forward(self, outputs, teacher_outputs, labels):
        if self.distillation_type == "soft":
            logs = [F.log_softmax(each / self.tau, dim=1) for each in (outputs, teacher_outputs)]
            soft = F.kl_div(*logs, reduction="sum", log_target=True) * self.tau**2 / outputs.numel()
        else:
            soft = F.cross_entropy(outputs, teacher_outputs.argmax(dim=1))
        return F.cross_entropy(outputs, labels) * (1 - self.alpha) + soft * self.alpha


def reverse(student, teacher, T=2.0):
    """KL(student ‖ teacher)."""
    logs = [(each / T).log_softmax(-1) for each in (teacher, student)]
    return F.kl_div(*logs, log_target=True, reduction="batchmean")


def without_t_squared(student, teacher, y, T, alpha):
    """Neither the temperature nor the share has a default."""
    soft = F.kl_div((student / T).log_softmax(1), (teacher / T).softmax(1), reduction="batchmean")
    return (1 - alpha) * F.cross_entropy(student, y) + alpha * soft


def squared(student_logits, teacher_logits, labels, beta=0.5):
    return F.cross_entropy(student_logits, labels) + beta * F.mse_loss(student_logits, teacher_logits)


def language_model(student_logits, teacher_logits, labels):
    """Rows of padding are left out of the teacher's term too."""
    counts = labels[..., 1:] != -100
    student, teacher = student_logits[..., :-1, :][counts], teacher_logits[..., :-1, :][counts]
    return F.kl_div(student.log_softmax(-1), teacher.softmax(-1), reduction="batchmean")


def sequences(student_logits, teacher_logits, labels, temperature=2.0, alpha=0.3):
    """The share is that of the labels."""
    assert student_logits.dim() == 3
    student, teacher = student_logits.flatten(0, 1), teacher_logits.flatten(0, 1)
    soft = F.kl_div((student / temperature).log_softmax(-1), (teacher / temperature).softmax(-1), reduction="batchmean")
    return alpha * F.cross_entropy(student, labels.flatten()) + (1 - alpha) * temperature**2 * soft


def by_name_only(*, labels, teacher_logits, student_logits, T=3.0):
    """Smoothed labels, and a sum."""
    soft = F.kl_div((student_logits / T).log_softmax(1), (teacher_logits / T).softmax(1), reduction="sum")
    return F.cross_entropy(student_logits, labels, label_smoothing=0.1, reduction="sum") + soft * T**2


def a_row_each(student_logits, teacher_logits):
    return F.kl_div((student_logits / 2).log_softmax(1), (teacher_logits / 2).softmax(1), reduction="none").sum(1) * 4


def soft_targets(logits, targets):
    return F.cross_entropy(logits, targets)


def divergence_from_probabilities(log_probs, probs):
    return F.kl_div(log_probs, probs, reduction="batchmean")


def smoothed_soft_targets(logits, targets, eps=0.1):
    return -((targets * (1 - eps) + eps / logits.size(1)) * logits.log_softmax(1)).sum(1).mean()


def probabilities_of_a_teacher(student_logits, teacher_probs):
    """Soft targets, although the name speaks of a teacher."""
    return -(teacher_probs * student_logits.log_softmax(1)).sum(1).mean()


def regression(pred, target):
    return F.mse_loss(pred, target)


def sigmoids(pred, target):
    return F.binary_cross_entropy_with_logits(pred, target)


def output_of_a_step(output_logits, y_t):
    """Names that hold the letters of a teacher by chance."""
    return F.cross_entropy(output_logits, y_t)


def mixup(logits, y_a, y_b):
    return 0.3 * F.cross_entropy(logits, y_a) + 0.7 * F.cross_entropy(logits, y_b)


def masked(logits, labels, mask):
    return (F.cross_entropy(logits, labels, reduction="none") * mask).mean()


def r_drop(first, second, labels):
    """Two passes of one model, which is nobody's teacher."""
    a, b = first.log_softmax(1), second.log_softmax(1)
    both = F.kl_div(a, b, log_target=True, reduction="batchmean") + F.kl_div(
        b, a, log_target=True, reduction="batchmean"
    )
    return F.cross_entropy(first, labels) + F.cross_entropy(second, labels) + both / 2


def cosine(a, b):
    return (1 - F.cosine_similarity(a, b)).mean()


def triplet(anchor, positive, negative):
    return F.triplet_margin_loss(anchor, positive, negative)


def with_t_for_t_squared(student_logits, teacher_logits, labels, T=4.0, alpha=0.7):
    soft = F.kl_div((student_logits / T).log_softmax(1), (teacher_logits / T).softmax(1), reduction="batchmean")
    return alpha * T * soft + (1 - alpha) * F.cross_entropy(student_logits, labels)


def a_sum_without_t_squared(student_logits, teacher_logits, labels, T=4.0):
    soft = F.kl_div((student_logits / T).log_softmax(1), (teacher_logits / T).softmax(1), reduction="batchmean")
    return soft + F.cross_entropy(student_logits, labels)


def of_unknown_shares(student_logits, teacher_logits, labels, T=4.0):
    soft = F.kl_div((student_logits / T).log_softmax(1), (teacher_logits / T).softmax(1), reduction="batchmean")
    return 3 * soft + F.cross_entropy(student_logits, labels)


def labels_at_the_temperature(student_logits, teacher_logits, labels, T=4.0, alpha=0.7):
    """The temperature divides the logits in the labels' term too, which is then no cross entropy of the logits."""
    soft = F.kl_div((student_logits / T).log_softmax(1), (teacher_logits / T).softmax(1), reduction="batchmean")
    return alpha * T**2 * soft + (1 - alpha) * F.cross_entropy(student_logits / T, labels)


def two_temperatures(student, teacher):
    """DINO's: the temperatures differ."""
    return torch.sum(-(teacher / 0.04).softmax(1) * (student / 0.1).log_softmax(1), dim=1).mean()
