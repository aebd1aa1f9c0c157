"""The one glossary: every term that a page or a document explains, once, in words that need no paper.

What a metric is called comes from the registry of the metrics. An entry says what the number is, its range and which
way is better.
"""

from __future__ import annotations

from typing import NamedTuple

from sfumato.evaluate.metrics.registry import FEATURE_LABELS, METRICS, SOFT_WORDS


class Entry(NamedTuple):
    """A term: how the glossary writes it, what it means, and the words that stand for it in a text.

    ``soft`` are its title and its meaning where labels are soft, if these are other ones.
    """

    title: str
    text: str
    words: tuple[str, ...]
    soft: tuple[str, str] | None = None


def _metric(name: str, text: str, *also: str, soft: str | None = None) -> Entry:
    """An entry for a metric, found by its name in words and by its term; ``also`` are other words for it."""
    defined, title = METRICS[name], SOFT_WORDS.get(name)
    words: list[str] = [defined.label, defined.words, *filter(None, [title]), *also]
    told = None if soft is None else (title or defined.heading, soft)
    return Entry(defined.heading, text, tuple(dict.fromkeys(words)), told)


# fmt: off
GLOSSARY: dict[str, Entry] = {
    "arm": Entry(
        "arm", "One training target in a comparison, with the models that were trained towards it.", ("arm", "arms"),
    ),
    "target": Entry(
        "target", "The probabilities of the classes that a row is trained towards.", ("target", "targets"),
    ),
    "one-hot": Entry(
        "one-hot", "A target that gives the label everything and the other classes nothing.", ("one-hot",),
    ),
    "smoothed": Entry(
        "smoothed, softened",
        "A target that takes a share ε from the label and spreads it over classes; softened is any target that is not "
        "one-hot.",
        ("smoothed", "softened", "smoothing", "label smoothing"),
    ),
    "strength": Entry("strength ε", "The share that a smoothed target moves, 0 to 1.", ("strength ε", "strength")),
    "over": Entry(
        "over the others, over all",
        "Whether ε is spread over the K − 1 wrong classes or over all K, the label’s included, as torch’s "
        "label_smoothing does. ε over all = ε over the others × K/(K − 1).",
        ("over the others", "over others", "over all"),
    ),
    "logit": Entry(
        "logits", "The numbers that a model gives, one a class, before a softmax makes probabilities of them.",
        ("logit", "logits"),
    ),
    "parts": Entry(
        "training, validation, test rows",
        "Rows that a model learns from; rows that choose temperatures and strengths; rows that are read once, at the "
        "end, and give the numbers.",
        ("training rows", "validation rows", "test rows"),
    ),
    "seed": Entry(
        "seed",
        "One repetition: all arms are trained from the same first weights on the same batches; other seeds on others.",
        ("seed", "seeds"),
    ),
    "interval": Entry(
        "95 % interval",
        "A range that holds the true number in 19 of 20 repetitions with other rows and, in a comparison, other seeds.",
        ("95 % interval", "95 % intervals"),
    ),
    "adjusted-p": Entry(
        "adjusted p",
        "How often chance alone would show so large a difference, corrected for the number of tests (Holm); below .05 "
        "the difference counts as real.",
        ("adjusted p",),
    ),
    "margin": Entry("margin", "The size up to which a difference does not matter, set by --margin.", ("margin",)),
    "nats": Entry("nats", "The unit of logits and of losses, from natural logarithms; 1 nat is 1.44 bits.", ("nats",)),
    "accuracy": _metric(
        "accuracy", "Share of rows whose largest logit is the label’s; 0 to 100 %, more is better.",
        soft="Share of rows whose largest logit is that of the likeliest class of the soft label; 0 to 100 %, more is "
        "better.",
    ),
    "balanced_accuracy": _metric(
        "balanced_accuracy",
        "Mean over the classes of the share of their rows that is right; 0 to 100 %, more is better.",
    ),
    "macro_f1": _metric(
        "macro_f1", "Mean over the classes of 2·right/(labelled + answered); 0 to 1, more is better.", "macro-F1",
    ),
    "top5": _metric("top5", "Share of rows whose label is among the five largest logits; more is better."),
    "agreement": _metric(
        "agreement",
        "With soft labels: the mean share of the annotators, or the mean probability, that a row’s label gives to the "
        "predicted class; 0 to 100 %, more is better.",
        "agreement",
    ),
    "nll": _metric(
        "nll",
        "Mean −log p of the label; in nats, from 0, less is better. It is also called hard NLL, because it is measured "
        "against the label alone, whatever target the model was trained on.", "NLL",
        soft="Mean −Σ q·log p over the classes, where q is the soft label and p what the model says; in nats, from the "
        "entropy of the soft labels, less is better.",
    ),
    "kl": _metric(
        "kl",
        "With soft labels: the log loss less the smallest that any model can reach, which is the entropy of the "
        "labels; in nats, from 0, less is better.", "KL",
    ),
    "brier": _metric(
        "brier",
        "Mean squared distance between the probabilities and the label’s one-hot vector; 0 to 2, less is better.",
        soft="Mean squared distance between the probabilities and the soft label; 0 to 2, less is better.",
    ),
    "confidence": Entry("confidence", "The largest probability of a row.", ("confidence", "confident")),
    "ece": _metric(
        "ece",
        "Mean distance between confidence and accuracy over 15 bins of equal width, weighted by rows; 0 to 1, less is "
        "better, but a value near the calibration error by chance cannot be told from none.",
        "ECE",
        soft="Mean distance between confidence and agreement over 15 bins of equal width, weighted by rows; 0 to 1, "
        "less is better, but a value near the calibration error by chance cannot be told from none.",
    ),
    "ece_noise_floor": _metric(
        "ece_noise_floor",
        "The calibration error that a perfectly calibrated model would show with as many rows; a yardstick and not a "
        "score.",
        "by chance alone",
    ),
    "ece_equal_mass": _metric(
        "ece_equal_mass", "The calibration error over 15 bins that hold as many rows each; 0 to 1, less is better.",
    ),
    "ece_classwise": _metric(
        "ece_classwise",
        "The same for the probability of each class instead of the largest one, averaged over the classes; 0 to 1, "
        "less is better.",
    ),
    "smooth_ece": _metric(
        "smooth_ece", "The calibration error without bins, from a smooth curve; 0 to 1, less is better.",
    ),
    "signed_gap": _metric(
        "signed_gap",
        "Mean confidence minus accuracy; −1 to 1, 0 is best: + is over-confident, − under-confident.",
        "over-confident", "under-confident",
        soft="Mean confidence minus agreement; −1 to 1, 0 is best: + is over-confident, − under-confident.",
    ),
    "temperature": _metric(
        "temperature",
        "The number T that the logits are divided by, so that the log loss of other rows is smallest; neither "
        "direction is better: above 1 the model was over-confident, below 1 under-confident.",
    ),
    "coverage": Entry(
        "risk, coverage",
        "The share of wrong answers among the rows that are answered, the most confident first, and the share of rows "
        "that are answered; both 0 to 100 %.",
        ("risk", "coverage", "rows answered"),
        soft=(
            "risk, coverage",
            "The mean share of the annotators who disagree with the prediction among the rows that are answered, the "
            "most confident first, and the share of rows that are answered; both 0 to 100 %.",
        ),
    ),
    "aurc": _metric(
        "aurc", "The mean risk over all coverages; from 0, less is better. Shown × 1000.", "AURC",
        soft="The mean risk over all coverages, where risk is the share of annotators who disagree; from 0, less "
        "is better. Shown × 1000.",
    ),
    "eaurc": _metric(
        "eaurc",
        "How far the order by confidence is from the best order at the same accuracy, which puts all mistakes last: "
        "the excess area under the curve of risk by coverage; from 0, less is better. Shown × 1000.",
        "ranking", "E-AURC × 1000", "E-AURC",
        soft="How far the order by confidence is from the best order of the same predictions, which puts those last "
        "that most annotators disagree with: the excess area under the curve of risk by coverage; from 0, less is "
        "better. Shown × 1000.",
    ),
    "augrc": _metric(
        "augrc",
        "The part of all rows that is answered and wrong, averaged over coverages; from 0, less is better. "
        "Shown × 1000.",
        "AUGRC",
        soft="The part of all rows that is answered, times the share of the annotators who disagree with it, averaged "
        "over coverages; from 0, less is better. Shown × 1000.",
    ),
    "logit_gap": _metric(
        "logit_gap",
        "Logit of the label minus the mean of the others, averaged over rows; in nats, neither direction is better, to "
        "be read beside the closed form.",
        "gap",
        soft="Logit of the likeliest class of the soft label minus the mean of the others, averaged over rows; in "
        "nats, neither direction is better.",
    ),
    "closed-form": Entry(
        "closed form",
        "The gap at which the training loss is smallest, from ε, the number K of classes and what ε is spread over; in "
        "nats, infinite for one-hot.",
        ("closed form", "closed forms"),
    ),
    "floor": Entry(
        "floor, excess",
        "The smallest value that a training loss can take, and how far above it the loss is; in nats, from 0. A small "
        "excess says that training has converged, not that the model is good.",
        ("floor", "excess"),
    ),
    "logit_norm": _metric("logit_norm", "Mean length of the logits of a row about their mean; in nats.", "logit norm"),
    "gamma": _metric(
        "gamma",
        "The strength over all that a perfectly smoothed model with these probabilities would have been trained with; "
        "0 to 1 in practice.",
        "γ",
    ),
    "nc1": Entry(
        FEATURE_LABELS["nc1"],
        "How far the features of a class lie apart, against how far the classes do; from 0, where a class is a point.",
        (FEATURE_LABELS["nc1"], "NC1"),
    ),
    "nc2": Entry(
        FEATURE_LABELS["nc2"],
        "How far the class means are from equal lengths and equal angles; 0 to 2, 0 where they have them.",
        (FEATURE_LABELS["nc2"], "NC2"),
    ),
    "class_separation": Entry(
        FEATURE_LABELS["class_separation"],
        "How much of the mean cosine distance between rows lies between classes; 1 where each class is one direction.",
        (FEATURE_LABELS["class_separation"], "class separation"),
    ),
}
# fmt: on
"""Every term by the name of its anchor, in the order in which a glossary lists them."""
