"""The rows of benchmarks/verdict.py as the tables and the figure of docs/statistics.md.

python benchmarks/verdict_figures.py [--rows benchmarks/verdict.jsonl] [--out docs/statistics.svg] [--png]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sfumato.report.charts.drawing import FAINT, INK, PAPER, style, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREEN, PLUM = "#2f7d6d", "#7a4a86"  # of tests; slate and ochre are those of arms
OURS, SQUARED = "seeds × rows", "seeds × rows, squared shares"
NAMES = {"accuracy": "accuracy", "nll_after_temperature": "log loss after T", "eaurc": "E-AURC"}
Rows = Sequence[dict[str, Any]]


def rates(
    rows: Iterable[dict[str, Any]], by: Callable[[dict[str, Any]], Any], count: str
) -> dict[Any, tuple[int, int]]:
    """Counted and compared, summed over the rows with one key, in order of appearance."""
    found: dict[Any, tuple[int, int]] = {}
    for row in rows:
        counted, compared = found.get(by(row), (0, 0))
        found[by(row)] = counted + row[count], compared + row["comparisons"]
    return found


def markdown(rows: Rows) -> str:
    """Every table that the rows are enough for."""
    parts = {
        name: [row for row in rows if row["experiment"] == name]
        for name in ("aa", "own", "unpaired", "groups", "known", "tables", "pilots", "margins", "looks")
    }
    made: list[str] = []
    if parts["aa"]:
        made += [_aa_by_method(parts["aa"]), _aa_by_set(parts["aa"])]
    if parts["own"]:
        made.append(_own(parts["own"]))
    if parts["unpaired"]:
        made.append(_unpaired(parts["unpaired"]))
    if parts["groups"]:
        made.append(_groups(parts["groups"]))
    if parts["known"]:
        made += [_coverage(parts["known"]), _power(parts["known"])]
    if parts["tables"]:
        made += [_tables(parts["tables"]), _pilots(parts["pilots"])]
    if parts["margins"]:
        made += [_margins(parts["margins"])]
    if parts["looks"]:
        made.append(_looks(parts["looks"]))
    return "\n\n".join(made)


def _looks(rows: Rows) -> str:
    """What rules declare at the first look, and at any of four."""
    names = {"equal": "equal arms", "different": "different arms"}
    heads = [f"{names[row['arms']]}, {row['set']}" for row in rows]
    body = [
        [rule, *(f"{100 * row['first'][rule]:.1f} / {100 * row['ever'][rule]:.1f}" for row in rows)]
        for rule in rows[0]["first"]
    ]
    return _table(["rule", *heads], body)


def _own(rows: Rows) -> str:
    """Equal arms of trained models whose seeds are not taken as pairs."""
    found = rates(rows, lambda r: r["method"].rpartition(", ")[2], "declared")
    body = [[name, str(pair[1]), f"{pair[0]} ({_percent(pair)})"] for name, pair in found.items()]
    return _table(["seeds", "comparisons", "any difference declared"], body)


def _unpaired(rows: Rows) -> str:
    """Tables of two arms with seeds of their own: errors, claims on the margin, and the rivals."""
    counts = ("ours", "ours_first_of_three", "inside", "welch", "rows")
    body = [
        [
            f"{row['sds'][0]:g}, {row['sds'][1]:g}",
            f"{row['seeds'][0]} and {row['seeds'][1]}",
            *(
                "–" if each == "welch" and min(row["seeds"]) == 1 else _percent((row[each], row["comparisons"]))
                for each in counts
            ),
        ]
        for row in rows
    ]
    head = [
        "seed, rest",
        "seeds",
        "ours, 5 %",
        "ours, 1.7 %",
        "inside, on the margin",
        "Welch over seeds",
        "t over rows",
    ]
    return _table(head, body, words=2)


def _groups(rows: Rows) -> str:
    """Coverage where rows of one group vary together."""
    body = [
        [
            str(row["groups"]),
            row["sizes"],
            row["kind"],
            _percent((row["covered"], row["comparisons"])),
            _percent((row["rows_covered"], row["comparisons"])),
        ]
        for row in rows
    ]
    return _table(["groups", "rows of a group", "differences", "groups counted", "rows as independent"], body, words=3)


def _margins(rows: Rows) -> str:
    """Claims that a difference on the margin lies inside: of tables by their components, of models by their metric."""
    source = {"tables": "components", "models": "metric"}
    found = rates(rows, lambda r: (r["of"], r[source[r["of"]]], r["seeds"], r["test_rows"]), "inside")
    sizes = sorted({key[2:] for key in found})
    body = [
        [of, name, *(_percent(found[of, name, *size]) if (of, name, *size) in found else "" for size in sizes)]
        for of, name in dict.fromkeys(key[:2] for key in found)
    ]
    return _table(["of", "what varies, or metric", *(f"{s} × {n}" for s, n in sizes)], body, words=2)


def _table(head: Sequence[str], body: Iterable[Sequence[str]], words: int = 1) -> str:
    lines = [head, ["---"] * words + ["---:"] * (len(head) - words), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _percent(pair: tuple[int, int]) -> str:
    return f"{100 * pair[0] / pair[1]:.1f} %"


def _aa_by_method(rows: Rows) -> str:
    any_, metrics = rates(rows, lambda r: (r["method"], r["seeds"]), "declared"), {}
    for metric in NAMES:
        metrics[metric] = rates(rows, lambda r: (r["method"], r["seeds"]), metric)
    methods, seeds = dict.fromkeys(m for m, _ in any_), sorted({s for _, s in any_})
    head = ["method"] + [f"{s} seeds: any of {any_[OURS, s][1]}" for s in seeds] + [f"of 300, {s} seeds" for s in seeds]
    body = []
    for method in methods:
        pairs = [any_[method, s] for s in seeds]
        body.append(
            [method]
            + [f"{pair[0]} ({_percent(pair)})" for pair in pairs]
            + [f"{300 * pair[0] / pair[1]:.0f}" for pair in pairs]
        )
    return _table(head, body)


def _aa_by_set(rows: Rows) -> str:
    ours = [row for row in rows if row["method"] == OURS]
    found = rates(ours, lambda r: (r["set"], r["test_rows"], r["target"], r["seeds"]), "declared")
    seeds = sorted({key[3] for key in found})
    body = [
        [
            name,
            target,
            str(test),
            *(f"{found[name, test, target, s][0]} of {found[name, test, target, s][1]}" for s in seeds),
        ]
        for name, test, target in dict.fromkeys(key[:3] for key in found)
    ]
    return _table(["data", "target", "test rows", *(f"declared, {s} seeds" for s in seeds)], body, words=2)


def _coverage(rows: Rows) -> str:
    found = rates(rows, lambda r: (r["method"], r["seeds"], r["test_rows"]), "covered")
    cells = list(dict.fromkeys(key[1:] for key in found))
    methods = dict.fromkeys(key[0] for key in found)
    head = ["method", *(f"{s} seeds, {n} rows" for s, n in cells)]
    return _table(head, ([method, *(_percent(found[method, *cell]) for cell in cells)] for method in methods))


def _power(rows: Rows) -> str:
    ours = [row for row in rows if row["method"] == OURS]
    body = []
    for seeds, test in dict.fromkeys((row["seeds"], row["test_rows"]) for row in ours):
        cell = [row for row in ours if (row["seeds"], row["test_rows"]) == (seeds, test)]
        line = [f"{seeds} seeds, {test} rows"]
        for metric in NAMES:
            each = [row for row in cell if row["metric"] == metric]
            line.append(", ".join(f"{row['stated_power']:.2f}/{row['found'] / row['comparisons']:.2f}" for row in each))
        body.append(line)
    return _table(["stated / found, one pair a strength", *NAMES.values()], body)


def _tables(rows: Rows) -> str:
    body = []
    for name, seeds, test in dict.fromkeys((r["components"], r["seeds"], r["test_rows"]) for r in rows):
        each = {r["method"]: r for r in rows if (r["components"], r["seeds"], r["test_rows"]) == (name, seeds, test)}
        line = [name, f"{seeds} × {test}"]
        for method in (each[name] for name in (OURS, SQUARED, "t test, seeds", "percentiles, seeds and rows")):
            line += [" / ".join(_percent((method[level], method["comparisons"])) for level in _LEVELS)]
        line.append(f"{each[OURS]['found'] / each[OURS]['comparisons']:.2f}")
        body.append(line)
    head = [
        "what varies",
        "seeds × rows",
        OURS,
        "squared shares",
        "t test, seeds",
        "percentiles, both",
        "found where .80 is stated",
    ]
    return _table(head, body)


_LEVELS = ("declared", "declared_at_a_third")


def _pilots(rows: Rows) -> str:
    body = []
    for row in rows:
        chance, stated = row["true_chance_quartiles"], row["seeds_stated_quartiles"]
        body.append(
            [
                row["components"],
                f"{row['seeds']} × {row['test_rows']}",
                " ".join(f"{c:.2f}" for c in chance),
                str(row["seeds_needed"]),
                " ".join("none" if s is None else f"{s:.0f}" for s in stated),
            ]
        )
    head = ["what varies", "first run", "chance that .80 is, quartiles", "seeds needed", "seeds stated, quartiles"]
    return _table(head, body)


@dataclass(frozen=True)
class FigureData:
    """What :func:`plot` drew: shares by method and number of seeds, and pairs of stated and found power."""

    errors: dict[str, dict[int, float]]
    missed: dict[str, dict[int, float]]
    power: list[tuple[float, float]]

    @property
    def alt(self) -> str:
        """The figure in words."""
        apart = max((abs(stated - found) for stated, found in self.power), default=0.0)
        return (
            f"Left, how often two equal procedures are declared different: {_told(self.errors)}. Middle, how often "
            f"95 % intervals miss a known difference: {_told(self.missed)}. Right, power found against power stated "
            f"for {len(self.power)} known effects: on the diagonal, never further apart than {apart:.2f}."
        )


def _told(shares: dict[str, dict[int, float]]) -> str:
    return "; ".join(
        f"{method}: " + ", ".join(f"{100 * share:.1f} % with {seeds} seeds" for seeds, share in by_seeds.items())
        for method, by_seeds in shares.items()
    )


def plot(rows: Rows, axes: tuple[Axes, Axes, Axes] | None = None) -> tuple[tuple[Axes, Axes, Axes], FigureData]:
    """Errors between equal arms and known differences missed, by method; power found against power stated."""
    if axes is None:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9.6, 3.6), layout="constrained", facecolor=PAPER)
        made = figure.subplots(1, 3, width_ratios=(1, 1, 1.15))
        axes = made[0], made[1], made[2]
    left, middle, right = axes
    aa = [row for row in rows if row["experiment"] == "aa"]
    known = [row for row in rows if row["experiment"] == "known"]
    errors = _by_method(rates(aa, lambda r: (r["method"], r["seeds"]), "declared"))
    covered = _by_method(rates(known, lambda r: (r["method"], r["seeds"]), "covered"))
    missed = {method: {s: 1 - covered[method][s] for s in by_seeds} for method, by_seeds in errors.items()}
    _dots(left, errors, "equal arms declared\ndifferent (% of comparisons)")
    _dots(middle, missed, "known difference missed\n(% of intervals)")
    left.set_yticks(range(len(errors)), labels=list(errors))
    middle.set_yticks(range(len(errors)), labels=[])
    for seeds, face in zip(next(iter(errors.values())), (PAPER, FAINT), strict=False):
        left.plot([], [], "o", color=FAINT, mfc=face, ms=5.5, label=f"{seeds} seeds")
    ours = [row for row in known if row["method"] == OURS]
    power = [(row["stated_power"], row["found"] / row["comparisons"]) for row in ours]
    right.plot([0, 1], [0, 1], color=INK, lw=0.8)
    for metric, mark in zip(NAMES, "os^", strict=True):
        some = [p for row, p in zip(ours, power, strict=True) if row["metric"] == metric]
        x, y = np.array(some).reshape(-1, 2).T
        right.plot(x, y, mark, color=GREEN, mfc="none", ms=4.5, mew=0.9, label=NAMES[metric])
    right.set(xlabel="power stated (chance)", ylabel="power found (share)", xlim=(0, 1.02), ylim=(0, 1.02))
    for ax in axes:
        style(ax)
    for ax in (left, right):
        ax.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, frameon=False, fontsize=9,
                  labelcolor=INK, handlelength=1.2, columnspacing=1.0, handletextpad=0.4)  # fmt: skip
    return axes, FigureData(errors, missed, power)


def _by_method(found: dict[Any, tuple[int, int]]) -> dict[str, dict[int, float]]:
    shares: dict[str, dict[int, float]] = {}
    for (method, seeds), (count, compared) in found.items():
        shares.setdefault(method, {})[seeds] = count / compared
    return shares


def _dots(ax: Axes, shares: dict[str, dict[int, float]], label: str) -> None:
    """One line a method, an open dot for the fewest seeds and a full one for the most; 5 % is what was promised."""
    for place, (method, by_seeds) in enumerate(shares.items()):
        colour = GREEN if method == OURS else PLUM
        ax.plot([100 * share for share in by_seeds.values()], [place] * len(by_seeds), color=colour, lw=0.8, zorder=2)
        for seeds, share in by_seeds.items():
            face = colour if seeds == max(by_seeds) else PAPER
            ax.plot(100 * share, place, "o", color=colour, mfc=face, ms=5.5, zorder=3)
    ax.axvline(5, color=INK, lw=0.8, zorder=1)
    ax.annotate("5 %", (5, 1), xycoords=("data", "axes fraction"), xytext=(3, -2), textcoords="offset points",
                va="top", color=INK, fontsize=9)  # fmt: skip
    ax.invert_yaxis()
    ax.set(xlabel=label, xlim=(0, None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).parents[1]
    parser.add_argument("--rows", type=Path, default=root / "benchmarks" / "verdict.jsonl")
    parser.add_argument("--out", type=Path, default=root / "docs" / "statistics.svg")
    parser.add_argument("--png", action="store_true", help="write PNG as well, to look at")
    given = parser.parse_args()
    rows = [json.loads(line) for line in given.rows.read_text(encoding="utf-8").splitlines()]
    print(markdown(rows))
    (left, *_), data = plot(rows)
    given.out.write_text(to_svg(left), encoding="utf-8")
    print(f"\n{given.out.name}: {data.alt}")
    if given.png:
        figure = left.get_figure(root=True)
        assert figure is not None
        figure.savefig(given.out.with_suffix(".png"), dpi=150)


if __name__ == "__main__":
    main()
