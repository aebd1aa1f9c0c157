"""Which classes are taken for which: the pairs that are confused most, arms side by side."""

import numpy as np

from sfumato.report.arms import arm_titles
from sfumato.report.charts.drawing import RULE, Chart, axes, looks, style_with_legend
from sfumato.runs.read import Floats, Run
from sfumato.text import short

PAIRS = 10


def confusion_counts(run: Run, arm: str) -> Floats:
    """Test rows by label and answer (K, K), mean over seeds."""
    k = run.num_classes
    answers = np.concatenate([run.test[arm, seed].logits.argmax(axis=1) for seed in run.seeds])
    counts = np.bincount(run.pooled(run.labels) * k + answers, minlength=k * k)
    return counts.reshape(k, k) / run.times


def plot_confusions(run: Run) -> Chart:
    """How many test rows of one class are taken for another, for the ten pairs where that is most frequent.

    Pairs stand by their largest count in any arm, then by class number. Counts are means over seeds.
    """
    counts, titles = [confusion_counts(run, arm["name"]) for arm in run.arms], arm_titles(run)
    largest = np.max(counts, axis=0)
    np.fill_diagonal(largest, 0)
    k = run.num_classes
    order = np.argsort(-largest, axis=None, kind="stable")[:PAIRS]
    pairs = [(int(i) // k, int(i) % k) for i in order if largest.flat[i] > 0]
    names = [" → ".join(short(run.class_name(label), 14, end="…") for label in pair) for pair in pairs]
    drawn = [np.array([count[pair] for pair in pairs]) for count in counts]
    longest = max(map(len, names), default=0)
    ax = axes(1.25 + 0.24 * max(len(pairs), 2), left=0.42 + 0.075 * longest)
    place = np.arange(len(pairs))
    if pairs:
        ax.hlines(place, np.min(drawn, axis=0), np.max(drawn, axis=0), color=RULE, lw=2.0, zorder=1)
    for title, (colour, mark), count in zip(titles, looks(len(titles)), drawn, strict=True):
        ax.plot(count, place, ls="", marker=mark, ms=5, color=colour, label=title, clip_on=False)
    ax.set(xlabel="test rows per seed (mean)", ylabel="label → answer", xlim=(0, None))
    ax.set_yticks(place, names)
    ax.set_ylim(max(len(pairs), 1) - 0.5, -0.5)
    style_with_legend(ax)
    rows = np.bincount(run.labels, minlength=k)[[label for label, _ in pairs]]
    parts = [
        f"{name} ({', '.join(f'{title} {count[i]:.1f}' for title, count in zip(titles, drawn, strict=True))} "
        f"of {rows[i]} rows)"
        for i, name in enumerate(names)
    ]
    alt = f"The most frequent confusions, in test rows per seed: {'; '.join(parts)}."
    numbers = {"pairs": pairs, "names": names, "counts": drawn, "rows": rows}
    return Chart(ax, numbers, alt if pairs else "No test row is wrong in any arm or seed.")
