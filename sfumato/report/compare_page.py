"""The page of a comparison: one file that works offline, written next to its card and its figures in the run folder."""

import contextlib
import statistics
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from sfumato.messages import texts
from sfumato.report.arms import arm_title, torch_strength
from sfumato.report.card import write_card
from sfumato.report.changed_rows import compared, what_changed
from sfumato.report.charts.confidence import arm_curve, arm_risks, plot_reliability, plot_risk_coverage
from sfumato.report.charts.confusions import plot_confusions
from sfumato.report.charts.differences import plot_differences
from sfumato.report.charts.drawing import Chart, inline, to_svg
from sfumato.report.charts.gaps import arm_gaps, plot_gap
from sfumato.report.charts.log_loss import plot_ladder, plot_temperature_sweep
from sfumato.report.code_to_copy import snippets
from sfumato.report.tables import metric
from sfumato.report.template import refuse_other_file, rendered, write
from sfumato.report.top import Top, difference_rows, top_of, verdict_context
from sfumato.runs.read import Run, load_run
from sfumato.runs.schema import ArmSummary, Environment
from sfumato.text import joined, number, plural, temperature

Drawn: TypeAlias = tuple[Chart, str]  # a figure, and the text of its SVG file
MAX_COLUMNS = 100  # of the data that the page has a line for


def _reliability(run: Run) -> Chart:
    pair = compared(run) or run.arms[:1]
    curves = [arm_curve(run, arm, scaled=scaled) for arm in pair for scaled in (False, True)]
    of = f"in {len(curves[0].rows)} bins, {len(run.labels)} test rows pooled over {run.models}"
    return plot_reliability(curves, of=of, soft=run.soft)


def _risk_coverage(run: Run) -> Chart:
    of = f"{len(run.labels)} test rows and {run.models}"
    return plot_risk_coverage(arm_risks(run), of=of, soft=run.soft)


FIGURES: dict[str, Callable[[Run], Chart]] = {
    "differences": lambda run: plot_differences(difference_rows(run.summary)),
    "ladder": plot_ladder,
    "reliability": _reliability,
    "gap": plot_gap,
    "gap-histogram": arm_gaps,
    "risk-coverage": _risk_coverage,
    "temperature-sweep": plot_temperature_sweep,
    "confusions": plot_confusions,
}


def render(folder: str | Path, out: str | Path | None = None, *, figures: Collection[str] | None = None) -> Path:
    """Write the page, its card and ``figures/*.svg`` into the folder of a finished comparison; return the page's path.

    ``out`` is another file for the page; the folder is then left as it is. The same run gives the same bytes. The names
    of its ``figures`` are those of :data:`FIGURES`, by default all.
    """
    if out is not None:
        refuse_other_file(Path(out), "one run")
    run = load_run(folder)
    drawn = draw(run, figures)
    page = compose(run, drawn)
    if out is not None:
        return write(Path(out), page)
    for name, (_, text) in drawn.items():
        write(run.folder / "figures" / f"{name}.svg", text)
    write_card(top(run), difference_rows(run.summary), run.folder)
    return write(run.folder / "report.html", page)


def draw(run: Run, figures: Collection[str] | None = None) -> dict[str, Drawn]:
    """The figures for which the run has data, by name."""
    absent = {"ladder": not run.ladder, "differences": len(run.arms) < 2}
    charts = {name: FIGURES[name](run) for name in (figures or FIGURES) if not absent.get(name)}
    return {name: (chart, to_svg(chart.ax)) for name, chart in charts.items()}


def compose(run: Run, drawn: Mapping[str, Drawn]) -> str:
    """The page as text, from what :func:`draw` gives; a section without its figure keeps its words."""
    figures = {name: inline(text, name, chart.alt) for name, (chart, text) in drawn.items()}
    numbers = {name: chart.numbers for name, (chart, _) in drawn.items()}
    return rendered("compare.html.jinja", **template_context(run, numbers), figures=figures)


def top(run: Run) -> Top:
    """The block on top of the page."""
    data = run.summary["data"]
    rows = sum(data[part] or 0 for part in (("test",) if run.folds > 1 else ("train", "validation", "test")))
    about = [data["name"], plural(rows, "row"), plural(run.num_classes, "class"), run.models, date(run.env["started"])]
    return top_of(run.summary, about)


def template_context(run: Run, drawn: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of one run; ``drawn`` is what the figures returned, by their names."""
    summary, env, chosen, count = run.summary, run.env, run.chosen, len(run.seeds)
    equal = summary["paired"]["equal"]
    few, notes = (
        texts(note for note in env.get("notes", []) if (note["code"] == "few-test-rows") == first)
        for first in (True, False)
    )
    return {
        **verdict_context(summary, top(run), few),
        "title": f"{summary['data']['name']}: training targets compared",
        "uses": [_use(run, arm) for arm in ([chosen] if chosen else run.arms)],
        "soft": run.soft,
        "notes": list(_odd(run)),
        "ladder": drawn.get("ladder"),
        "confusions": drawn.get("confusions"),
        "changed": what_changed(run),
        "paired": f"The arms had the same weights and batches in {count} of {plural(count, 'run')}." if equal else "",
        "trained": [*_training(run), *((f"Target of {arm_title(arm)}", _target(run, arm)) for arm in run.arms)],
        "cautions": notes,
        "columns": summary.get("columns", [])[:MAX_COLUMNS],
        "more_columns": max(0, len(summary.get("columns", [])) - MAX_COLUMNS),
        "command": env["command"],
        "config": run.config,
        "machine": _machine(env),
    }


def date(started: str) -> str:
    """The date as ``24 November 2024``; a text that is no date is returned as it is."""
    with contextlib.suppress(ValueError):
        day = datetime.fromisoformat(started)
        return f"{day.day} {day:%B %Y}"
    return started


def _odd(run: Run) -> Iterator[str]:
    """What is unusual of an arm: a temperature at the end of its range, and why no gap is best, or the best not met."""
    for arm in run.arms:
        title, told = arm_title(arm), arm.get("description", {})
        if stuck := [f"{each['seed']}" for each in run.env["temperatures"][arm["name"]] if each.get("at_bound")]:
            yield f"The temperature of {title} stopped at the end of its search range in seed {joined(stuck)}."
        if why := told.get("no_gap"):
            yield f"For {title} no single logit gap is best: {why}."
        if why := told.get("below"):
            yield f"The logit gap of {title} may stay below its closed form: {why}."


AUGMENTED = {
    "flip": "flipped left to right every other time",
    "crop": "shifted by up to an eighth of the shorter side and padded with zeros",
}
"""What each kind of augmentation does to an image."""


def _training(run: Run) -> list[tuple[str, str]]:
    """How every model was trained, and on what."""
    env, rows = run.env, run.summary["data"]
    training, model, data = env["training"], env["model"], env["data"]
    steps, early, schedule = (training.get(name) for name in ("steps", "early_stop", "schedule"))
    description, parameters = model.get("description"), model.get("parameters")
    budget = f"{plural(training['epochs'], 'epoch')} of batches of {training['batch_size']:,} rows"
    budget += f", {steps:,} steps" if steps else ""
    if early:
        budget = f"at most {budget}; training stops after {plural(int(early), 'epoch')} without a better one"
    optimiser = f"{training['optimiser']}, learning rate {training['learning_rate']:g}"
    built = model["name"] + (f": {description}" if description else "")
    built += f", {parameters:,} parameters" if parameters else ""
    names = data.get("class_names") or []
    classes = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    parts = ", ".join(f"{rows[part]:,} {name}" for part, name in PARTS.items() if rows[part])
    result = [
        ("Rows", parts + (", of the first of the folds" if run.folds > 1 else "")),
        ("Classes", f"{run.num_classes}" + (f": {classes}" if classes else "")),
        ("Models", f"{run.models}, each with every arm"),
        ("Budget", f"{budget}, the same in every arm"),
        ("Optimizer", optimiser + (f", {schedule}" if schedule else "")),
        ("Model", built),
    ]
    if kinds := training.get("augment"):
        how = joined([AUGMENTED.get(kind, kind) for kind in kinds])
        result.append(("Augmentation", f"training images {how}; the same draws in every arm"))
    if noise := data.get("noise"):
        rate = noise["rate"]
        how = f"with probability {rate:g} by another class" if rate is not None else f"by {noise['given']}"
        counts = joined([f"{count:,} of the {PARTS.get(p, p)} rows" for p, count in noise["replaced"].items()])
        result.append(("Label noise", f"labels replaced on purpose, {how}: {counts}; test labels are unchanged"))
    if copies := data.get("duplicates"):
        verb = "duplicates an earlier one and counts" if copies == 1 else "duplicate an earlier one and count"
        result.append(("Duplicates", f"{plural(copies, 'row')} {verb} with it as one"))
    return result


PARTS = {"train": "training", "validation": "validation", "test": "test"}


def _target(run: Run, arm: ArmSummary) -> str:
    """The target that the loss of an arm trains towards, recovered from the gradient of the loss."""
    if "penalty" in arm:
        return "none with fixed shares; at random logits the gradient of the loss is that of its formula"
    if (told := arm.get("description")) is not None and told["varies"]:
        return f"differs from row to row ({told['varies']}); its gradient was checked on a row made for that"
    true, other = run.env["probe"].get(arm["name"], {}).get("target") or (None, None)
    last = "; this is the last step, and three other steps were checked" if "schedule" in arm else ""
    strength = torch_strength(arm, run.num_classes)
    torch = "" if strength is None else f" (label_smoothing={strength:.4g} in PyTorch)"
    others = "0" if other == 0 else "–" if other is None else f"{other:.4g}"
    return f"{number(true, 4)} on the label, {others} on each other class{torch}{last}"


def _use(run: Run, arm: ArmSummary) -> dict[str, Any]:
    """The code for an arm, with its temperature where that lowers the log loss of test rows reliably."""
    fitted = run.env["temperatures"][arm["name"]]
    mean = metric(arm, "temperature")["mean"]
    if mean is None:
        mean = statistics.fmean(entry["value"] for entry in fitted)
    # a run that does not say whether the temperature lowered the log loss of test rows reliably counts as if it did
    gain = run.env.get("temperature_gain", {}).get(arm["name"])
    stuck = any(entry.get("at_bound") for entry in fitted)
    divisor = temperature(mean) if not stuck and (gain is None or gain["high"] < 0) else None
    return {"title": arm_title(arm), "snippets": snippets(arm, run.num_classes, divisor)}


def _machine(env: Environment) -> list[tuple[str, str]]:
    versions = {name: env.get(name.lower()) for name in ("sfumato", "torch", "numpy", "Python")}
    cores, workers = env.get("cores"), env.get("workers")
    machine = [env.get("cpu"), env.get("platform"), f"{cores} cores" if cores else None]
    return [
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items() if version)),
        ("Machine", ", ".join(filter(None, machine)) + (f"; {plural(workers, 'worker')}" if workers else "")),
        ("Time", f"started {env['started']}, took {env['seconds']:.1f} seconds"),
        (
            "Data",
            joined(list(filter(None, map(env["data"].get, ("source", "fingerprint")))) or ["–"], "with fingerprint"),
        ),
    ]
