"""Write docs/metrics.md from the registry of metrics: ``python docs/make_metrics.py``."""

from __future__ import annotations

import math
import re
from pathlib import Path

from sfumato.evaluate import METRICS, Definition

HEAD = """\
# Metrics: what is measured, and how to read it

<!-- Written by docs/make_metrics.py from the registry of metrics: change those. -->

`compare`, `judge` and `audit` tell the same metrics, by one definition each. This page has all of them, with the name
that each has in JSON and in Python, its formula, and where its interval comes from. [The glossary](glossary.md)
explains them in words.

## Where to look first

- **Is the model right?** Accuracy says how often. Where classes are uneven, read balanced accuracy beside it.
- **Do the probabilities fit the labels?** Log loss says so in one number. Compare models by log loss *after
  temperature*: one divisor of the logits mends what smoothing or over-training did to all probabilities alike.
- **Can a probability be taken at its word?** Confidence − accuracy gives the direction, and the calibration error the
  size. Read the calibration error beside that by chance, which a perfect model would show on as many rows.
- **Do the mistakes come last?** If doubtful rows go to a person, read the ranking of mistakes (E-AURC).
- **Is a rare class found?** Read the precision over all recalls (average precision) and the ROC-AUC. Of more than two
  classes they are measured up to 8 million scores (rows × classes). Where a class has few rows, their intervals are
  somewhat narrow: in 1500 simulated sets with 30 rows of it among 1000 they held the truth in 92 %, with 100 among 2000
  in 94 to 95 %. The pages show the recall and precision of each class, and `by_class` has them in JSON.

The verdict is made of three metrics, which were fixed in advance: accuracy, log loss after temperature, and the ranking
of mistakes. [Statistics](statistics.md#how-a-verdict-is-computed) explains how they are tested, and reports how often
that errs. All others describe.

In the formulas i is one of N rows, y the label, p the probabilities, z the logits, and K the number of classes. *conf*
is the largest probability of a row, and *right* is 1 where its class is the label and else 0. Areas are shown
multiplied by 1000, and JSON has them as they are. Metrics of soft labels are told only where labels are soft.
"""

TAIL = """\
## From Python

`sf.evaluate.evaluate` gives all of them, and `sf.evaluate.metric` gives one with its interval:

```pycon
>>> import numpy as np
>>> import sfumato as sf
>>> logits = np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0], [0.0, 4.0]])
>>> found = sf.evaluate.metric("accuracy", logits=logits, labels=np.array([0, 1, 0, 1]))
>>> print(f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})")
0.75 (0.30 to 0.95)
>>> sf.evaluate.METRICS["eaurc"].words
'ranking of mistakes'

```
"""


def _number(value: float) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:g}".replace("-", "−")


def _range(metric: Definition) -> str:
    return f"{_number(metric.lowest)} to {_number(metric.highest)}"


def table(names: list[str]) -> str:
    """A row for each metric: its two names, its formula, which way is better, its interval."""
    lines = ["| name | is | better, range | interval |", "| --- | --- | --- | --- |"]
    for name in names:
        metric = METRICS[name]
        text = re.sub(r"^(\w+) likewise$", r"`\1` of softmax(z/T_f), as for log loss", metric.text).replace("|", "\\|")
        shown = "**" if metric.headline else ""
        better = {None: "neither", "higher": "higher", "lower": "lower"}[metric.better]
        called = f"{shown}{metric.heading}{shown}<br>`{name}`"
        lines.append(f"| {called} | {text} | {better}; {_range(metric)} | {metric.interval} |")
    return "\n".join(lines)


def page() -> str:
    """The metrics as a page of the docs, in families; those that decide a verdict are in bold."""
    families: dict[str, list[str]] = {}
    for name, metric in METRICS.items():
        families.setdefault(metric.family, []).append(name)
    parts = "\n".join(f"## {title}\n\n{table(names)}\n" for title, names in families.items())
    return f"{HEAD}\n{parts}\n{TAIL}"


if __name__ == "__main__":
    Path(__file__).with_name("metrics.md").write_text(page(), encoding="utf-8")
