"""Which classes are taken for which: the pairs that are confused most, arms side by side."""

import numpy as np

from sfumato.report.arms import arm_titles, line_names, places
from sfumato.report.charts.drawing import INK, RULE, Chart, axes, look, style
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
    """Test rows of one class taken for another, mean over seeds, for the ten pairs most frequent in any arm."""
    counts, titles = [confusion_counts(run, arm["name"]) for arm in run.arms], arm_titles(run)
    largest = np.max(counts, axis=0)
    np.fill_diagonal(largest, 0)
    k = run.num_classes
    order = np.argsort(-largest, axis=None, kind="stable")[:PAIRS]
    pairs = [(int(i) // k, int(i) % k) for i in order if largest.flat[i] > 0]
    names = [" → ".join(short(run.class_name(label), 14, end="…") for label in pair) for pair in pairs]
    drawn = [np.array([count[pair] for pair in pairs]) for count in counts]
    longest = max(map(len, names), default=0)
    above = 0.1 + 0.2 * -(-len(titles) // 2)  # inches of names, two a line
    ax = axes(0.6 + above + 0.24 * max(len(pairs), 2), left=0.42 + 0.075 * longest, top=above)
    place = np.arange(len(pairs))
    if pairs:
        ax.hlines(place, np.min(drawn, axis=0), np.max(drawn, axis=0), color=RULE, lw=2.0, zorder=1)
    for arm, count in zip(places(run.arms), drawn, strict=True):
        colour, mark = look(arm)
        ax.plot(count, place, ls="", marker=mark, ms=5, color=colour, clip_on=False)
    ax.set(xlabel="test rows per seed (mean)", ylabel="label → answer", xlim=(0, None))
    ax.set_yticks(place, names)
    ax.set_ylim(max(len(pairs), 1) - 0.5, -0.5)
    style(ax)
    corner = (-ax.get_position().x0 / ax.get_position().width, 1)
    ax.legend(ax.lines, line_names(run), ncols=2, loc="lower left", bbox_to_anchor=corner, frameon=False, fontsize=9,
              labelcolor=INK, handlelength=1, columnspacing=1.4, borderaxespad=0, handletextpad=0.4)  # fmt: skip
    rows = np.bincount(run.labels, minlength=k)[[label for label, _ in pairs]]
    parts = [
        f"{name} ({', '.join(f'{title} {count[i]:.1f}' for title, count in zip(titles, drawn, strict=True))} "
        f"of {rows[i]} rows)"
        for i, name in enumerate(names)
    ]
    alt = f"The most frequent confusions, in test rows per seed: {'; '.join(parts)}."
    numbers = {"pairs": pairs, "names": names, "counts": drawn, "rows": rows}
    return Chart(ax, numbers, alt if pairs else "No test row is wrong in any arm or seed.")
