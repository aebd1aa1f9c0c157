"""The glossary: every term of the pages and documents in plain words; those of metrics are in their registry."""

from __future__ import annotations

from typing import NamedTuple

from sfumato.evaluate.metrics.registry import FEATURE_LABELS, METRICS, Explained


class Entry(NamedTuple):
    """A term: how the glossary writes it, what it means, and the words that stand for it in a text.

    ``soft`` are its title and its meaning where labels are soft, if these are other ones.
    """

    title: str
    text: str
    words: tuple[str, ...]
    soft: tuple[str, str] | None = None


def _metric(name: str, explained: Explained) -> Entry:
    defined = METRICS[name]
    words = [defined.label, defined.words, *filter(None, [defined.soft_words]), *explained.also]
    soft = None if explained.soft is None else (defined.soft_words or defined.heading, explained.soft)
    return Entry(defined.heading, explained.text, tuple(dict.fromkeys(words)), soft)


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
        "logits", "The numbers that a model outputs, one per class, before softmax turns them into probabilities.",
        ("logit", "logits"),
    ),
    "parts": Entry(
        "training, validation, test rows",
        "Rows that a model learns from; rows on which temperatures and strengths are chosen; rows that are used once, "
        "at the end, to measure the model.",
        ("training rows", "validation rows", "test rows"),
    ),
    "seed": Entry(
        "seed",
        "One repetition: all arms start from the same weights and see the same batches, which differ between seeds.",
        ("seed", "seeds"),
    ),
    "interval": Entry(
        "95 % interval",
        "A range that holds the true number in 19 of 20 repetitions with other rows and, in a comparison, other seeds.",
        ("95 % interval", "95 % intervals"),
    ),
    "adjusted-p": Entry(
        "adjusted p",
        "How often chance alone would show so large a difference, corrected for the number of tests (Holm); below 0.05 "
        "the difference counts as real.",
        ("adjusted p",),
    ),
    "margin": Entry("margin", "The size up to which a difference does not matter, set by --margin.", ("margin",)),
    "finding": Entry(
        "better, equivalent, not worse, inconclusive",
        "What the tests show of a difference. Better and worse are real differences; slightly better and slightly "
        "worse are real and smaller than the margin. Equivalent lies within the margin. Not worse and not better rule "
        "out a change by the margin in that direction. Inconclusive is none of these, and a ranking of fewer than 30 "
        "mistakes is not tested.",
        ("equivalent", "inconclusive", "not worse", "not better", "not tested"),
    ),
    "nats": Entry("nats", "The unit of logits and of losses, from natural logarithms; 1 nat is 1.44 bits.", ("nats",)),
    "confidence": Entry("confidence", "The largest probability of a row.", ("confidence", "confident")),
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
    **{name: _metric(name, each.explained) for name, each in METRICS.items() if each.explained is not None},
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
    "nc1": Entry(
        FEATURE_LABELS["nc1"],
        "The spread of features within a class over the distance between classes; 0 where each class is a point.",
        (FEATURE_LABELS["nc1"], "NC1"),
    ),
}
# fmt: on
"""Every term by the name of its anchor, in the order in which a glossary lists them."""
