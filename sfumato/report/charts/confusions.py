"""Which classes are taken for which: the pairs that are confused most, arms side by side."""

from dataclasses import dataclass

import numpy as np

from sfumato.report.arms import titles
from sfumato.report.charts.style import RULE, Axes, axes, colours, marks, style_with_legend
from sfumato.runs.read import Floats, Ints, Run
from sfumato.text import short

PAIRS = 10


@dataclass(frozen=True)
class ConfusionData:
    """What :func:`plot_confusions` drew: pairs of label and answer, the most frequent first.

    ``counts`` are the test rows of each pair, mean over seeds, (P,) an arm; ``rows`` those of the label of each pair.
    """

    pairs: tuple[tuple[int, int], ...]
    names: tuple[str, ...]
    arms: tuple[str, ...]
    counts: tuple[Floats, ...]
    rows: Ints

    @property
    def alt(self) -> str:
        """The figure in words."""
        if not self.pairs:
            return "No test row is wrong in any arm or seed."
        parts = [
            f"{name} ({', '.join(f'{arm} {count[i]:.1f}' for arm, count in zip(self.arms, self.counts, strict=True))} "
            f"of {self.rows[i]} rows)"
            for i, name in enumerate(self.names)
        ]
        return f"The confusions that occur most, in test rows a seed: {'; '.join(parts)}."


def confusion_counts(run: Run, arm: str) -> Floats:
    """Test rows by label and answer (K, K), mean over seeds."""
    k = run.num_classes
    answers = np.concatenate([run.test[arm, seed].logits.argmax(axis=1) for seed in run.seeds])
    counts = np.bincount(np.tile(run.labels, len(run.seeds)) * k + answers, minlength=k * k)
    return counts.reshape(k, k) / len(run.seeds)


def plot_confusions(run: Run, ax: Axes | None = None) -> tuple[Axes, ConfusionData]:
    """How many test rows of one class are taken for another, for the ten pairs where that is most frequent.

    Pairs stand by their largest count in any arm, then by class number. Counts are means over seeds.
    """
    counts = [confusion_counts(run, arm["name"]) for arm in run.arms]
    largest = np.max(counts, axis=0)
    np.fill_diagonal(largest, 0)
    k = run.num_classes
    order = np.argsort(-largest, axis=None, kind="stable")[:PAIRS]
    pairs = tuple((int(i) // k, int(i) % k) for i in order if largest.flat[i] > 0)
    names = tuple(" → ".join(short(run.class_name(each), 14, end="…") for each in pair) for pair in pairs)
    drawn = tuple(np.array([count[pair] for pair in pairs]) for count in counts)
    ax = axes(ax, height=1.25 + 0.24 * max(len(pairs), 2))
    place = np.arange(len(pairs))
    if pairs:
        ax.hlines(place, np.min(drawn, axis=0), np.max(drawn, axis=0), color=RULE, lw=2.0, zorder=1)
    for title, colour, mark, count in zip(titles(run), colours(run), marks(run), drawn, strict=True):
        ax.plot(count, place, ls="", marker=mark, ms=5, color=colour, label=title, clip_on=False)
    ax.set(xlabel="test rows a seed (mean)", ylabel="label → answer", xlim=(0, None))
    ax.set_yticks(place, names)
    ax.set_ylim(max(len(pairs), 1) - 0.5, -0.5)
    style_with_legend(ax, 280 - 5 * max(map(len, names), default=0))
    rows = np.bincount(run.labels, minlength=k)[[a for a, _ in pairs]].astype(np.int64)
    return ax, ConfusionData(pairs, names, titles(run), drawn, rows)
