"""Write the tables and the plot of docs/speed.md from the rows of ``benchmarks/loss.jsonl``.

python docs/make_speed.py

The text between the tables is written by hand; only what stands between the markers is replaced.
"""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

HERE = Path(__file__).parent
MEASURED = HERE.parent / "benchmarks" / "loss.jsonl"
PEERS = ("torch eager", "torch.compile", "timm", "optax, jit")
COLOURS = {"sfumato": "#2f7d6d", "torch eager": "#7a4a86", "torch.compile": "#b58bbd"}  # of software, not of arms


def rows(path: Path) -> list[dict[str, Any]]:
    """One object a line."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def name(shape: str) -> str:
    """With signs of multiplication."""
    return re.sub(r"(?<=\d)x(?=\d)", "×", shape)


def table_of_shapes(measured: list[dict[str, Any]]) -> str:
    """Multiples of one copy, and how many times slower than sfumato."""
    lines = [
        "| logits | dtype | sfumato | " + " | ".join(PEERS) + " |",
        "| --- | --- | ---" + " | ---" * len(PEERS) + " |",
    ]
    for row in measured:
        cells = [f"{row['copies'][who]:.1f} ({row['against_sfumato'][who]:.1f})" for who in PEERS]
        lines.append(
            f"| {name(row['shape'])} | {row['dtype']} | {row['copies']['sfumato']:.1f} | " + " | ".join(cells) + " |"
        )
    told = [row for row in measured if row["dtype"] != "float16"]
    means = [f"({geometric_mean(row['against_sfumato'][who] for row in told):.1f})" for who in PEERS]
    lines.append("| geometric mean, float32 and bfloat16 | | | " + " | ".join(means) + " |")
    return "\n".join(lines)


def table_of_targets(row: dict[str, Any]) -> str:
    """The time of each target that is not one strength for all, as a multiple of the plain smoothed one's."""
    sys.path.insert(0, str(HERE.parent))
    from tests.targets.registry import EXAMPLES

    lines = ["| towards | time | the slowest |", "| --- | --- | --- |"]
    ratios = {who: ratio for who, ratio in row["ratios"].items() if who != row["against"]}
    of_function: dict[str, dict[str, float]] = {}
    for who, ratio in ratios.items():
        if who in EXAMPLES:
            of_function.setdefault(EXAMPLES[who], {})[who] = ratio
    for function, found in of_function.items():
        slowest = max(found, key=found.__getitem__)
        least, most = f"{min(found.values()):.2f}", f"{found[slowest]:.2f}"
        lines.append(
            f"| `sf.{function}` | {most} × | |"
            if least == most
            else f"| `sf.{function}` | {least} to {most} × | {slowest} |"
        )
    lines += [f"| {who} | {ratio:.2f} × | |" for who, ratio in ratios.items() if who not in EXAMPLES]
    return "\n".join(lines)


def table_of_questions(measured: list[dict[str, Any]]) -> str:
    """Each contestant's time as a multiple of the first one's."""
    lines = ["| what | who | against | time |", "| --- | --- | --- | --- |"]
    for row in measured:
        for who, ratio in row["ratios"].items():
            if who != row["against"]:
                lines.append(f"| {name(row['question'])} | {who} | {row['against']} | {ratio:.2f} × |")
    return "\n".join(lines)


def plot(measured: list[dict[str, Any]], to: Path) -> None:
    """Copies of the logits that a loss and its gradient take, a group of bars a shape."""
    told = [row for row in measured if row["dtype"] != "float16"]
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.subplots()
    for i, (who, colour) in enumerate(COLOURS.items()):
        at = [n + (i - 1) * 0.27 for n in range(len(told))]
        axes.bar(at, [row["copies"][who] for row in told], width=0.25, color=colour, label=who)
    axes.set_yscale("log")
    axes.axhline(1, color="black", linewidth=0.8)
    short = {"float32": "f32", "bfloat16": "bf16"}
    axes.set_xticks(range(len(told)), [f"{name(row['shape'])}\n{short[row['dtype']]}" for row in told], fontsize=7)
    axes.set_ylabel("copies of the logits (log scale)")
    ceiling = max(row["copies"]["torch eager"] for row in told)
    axes.set_ylim(0.8, 10 ** math.ceil(math.log10(ceiling)))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, ncols=3, loc="upper left", fontsize=8)
    with rc_context({"svg.hashsalt": "sfumato"}):
        figure.savefig(to, metadata={"Date": None})


def shapes_of(measured: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that time a shape, for two threads or one."""
    return [row for row in measured if "shape" in row]


def page() -> str:
    """The page as it is, with its tables from the measured rows."""
    measured = rows(MEASURED)
    shapes = shapes_of(measured)
    two, one = ([row for row in shapes if row["threads"] == threads] for threads in (2, 1))
    targets, *questions = (row for row in measured if "question" in row)
    text = (HERE / "speed.md").read_text(encoding="utf-8")
    made = {
        "two": table_of_shapes(two),
        "one": table_of_shapes(one),
        "targets": table_of_targets(targets),
        "questions": table_of_questions(questions),
    }
    for mark, table in made.items():
        pattern = rf"(<!-- {mark} -->\n).*?(\n<!-- end -->)"
        text, count = re.subn(pattern, lambda m, table=table: m[1] + table + m[2], text, flags=re.DOTALL)
        assert count == 1, mark
    return text


if __name__ == "__main__":
    (HERE / "speed.md").write_text(page(), encoding="utf-8")
    plot([row for row in shapes_of(rows(MEASURED)) if row["threads"] == 2], HERE / "speed.svg")
