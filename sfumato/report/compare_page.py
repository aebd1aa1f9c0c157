"""The page of a comparison: one file that works offline, written beside its figures into the run folder.

The templates hold the words that are true of every comparison; whatever depends on the run is computed here.
"""

import statistics
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from sfumato import theory
from sfumato.messages import texts
from sfumato.report.arms import arm_title, arm_titles, in_nats, torch_strength
from sfumato.report.changed_rows import what_changed
from sfumato.report.charts.confidence import arm_curve, arm_risks, plot_reliability, plot_risk_coverage
from sfumato.report.charts.confusions import plot_confusions
from sfumato.report.charts.drawing import Chart, inline, to_svg
from sfumato.report.charts.gaps import arm_gaps, plot_excess, plot_gap
from sfumato.report.charts.log_loss import plot_ladder, plot_temperature_sweep
from sfumato.report.charts.projection import NoFeaturesError, plot_projection
from sfumato.report.code_to_copy import snippets
from sfumato.report.tables import class_tables, differences_table, four_columns, in_columns, metric, unsaid_warnings
from sfumato.report.template import as_script, refuse_other_file, rendered, write
from sfumato.runs.read import Run, load_run
from sfumato.runs.schema import ArmSummary, Environment
from sfumato.text import joined, number, percent, plural, temperature

Drawn: TypeAlias = tuple[Chart, str]
"""A figure, and the text of its SVG file."""
MAX_COLUMNS = 100
"""Columns of the data that the page has a line for."""


def _reliability(run: Run, *, scaled: bool) -> Chart:
    curves = [arm_curve(run, arm, scaled=scaled) for arm in run.arms]
    how, rows = "with temperature" if scaled else "as trained", f"{len(run.labels)} test rows"
    of = f"{how} in {len(curves[0].rows)} bins, {rows} pooled over {run.models}"
    return plot_reliability(curves, of=of, soft=run.soft)


def _risk_coverage(run: Run) -> Chart:
    of = f"{len(run.labels)} test rows and {run.models}"
    return plot_risk_coverage(arm_risks(run), of=of, soft=run.soft)


FIGURES: dict[str, Callable[[Run], Chart]] = {
    "reliability": partial(_reliability, scaled=False),
    "reliability-temperature": partial(_reliability, scaled=True),
    "gap": plot_gap,
    "gap-histogram": arm_gaps,
    "projection": plot_projection,
    "excess": plot_excess,
    "ladder": plot_ladder,
    "risk-coverage": _risk_coverage,
    "temperature-sweep": plot_temperature_sweep,
    "confusions": plot_confusions,
}


def render(folder: str | Path, out: str | Path | None = None, *, figures: Collection[str] | None = None) -> Path:
    """Write ``figures/*.svg`` and ``report.html`` into the folder of a finished comparison, and return the page's path.

    ``out`` is another file for the page; the folder is then left as it is. The same run gives the same bytes. The names
    of its ``figures`` are those of :data:`FIGURES`, by default all.
    """
    if out is not None:
        refuse_other_file(Path(out), "one run")
    run = load_run(folder)
    drawn, absent = draw(run, figures)
    page = compose(run, drawn, absent)
    if out is not None:
        return write(Path(out), page)
    for name, (_, text) in drawn.items():
        write(run.folder / "figures" / f"{name}.svg", text)
    return write(run.folder / "report.html", page)


def draw(run: Run, figures: Collection[str] | None = None) -> tuple[dict[str, Drawn], dict[str, str]]:
    """The figures for which the run has data, by name; and by name why another is left out."""
    drawn, absent = dict[str, Drawn](), dict[str, str]()
    for name in FIGURES if figures is None else figures:
        if name == "ladder" and not run.ladder:
            continue
        try:
            chart = FIGURES[name](run)
        except NoFeaturesError as reason:
            absent[name] = str(reason)
        else:
            drawn[name] = chart, to_svg(chart.ax)
    return drawn, absent


def compose(run: Run, drawn: Mapping[str, Drawn], absent: Mapping[str, str]) -> str:
    """The page as text, from what :func:`draw` gives; a section without its figure keeps its words."""
    figures = {name: inline(text, name, chart.alt) for name, (chart, text) in drawn.items()}
    data = {name: chart.numbers for name, (chart, _) in drawn.items()}
    return rendered("compare.html.jinja", **template_context(run, data), figures=figures, absent=absent)


def template_context(run: Run, data: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the page says of one run; ``data`` is what the figures returned, by their names.

    Sentences about a figure that is not there are left out.
    """
    summary, env, chosen, soft = run.summary, run.env, run.chosen, "agreement" in run.arms[0]["metrics"]

    def wrong(arm: ArmSummary) -> str:
        accuracy = metric(arm, "accuracy")["mean"]
        return number(None if accuracy is None else (1 - accuracy) * len(run.labels), 1, zero=True)

    names = env["data"].get("class_names") or []
    hashes = zip(run.seeds, summary["paired"]["weights"], summary["paired"]["batches"], strict=True)
    return {
        "summary": summary,
        "env": env,
        "config": run.config,
        "classes": run.num_classes,
        "rows": {part: f"{summary['data'][part]:,}" for part in ("train", "validation", "test")},
        "seed_words": run.models,
        "hashes": [(seed, weights[:8], batches[:8]) for seed, weights, batches in hashes],
        "date": date(env["started"]),
        "tables": in_columns(four_columns(summary)),
        "differences": differences_table(summary),
        "notes": _temperature_notes(run),
        "cautions": texts(env.get("notes", [])),
        "arm_titles": [arm_title(arm) for arm in run.arms],
        "by_class": class_tables(summary),
        "budget": _budget(env),
        "early_stop": bool(env["training"].get("early_stop")),
        "probes": [_probe(run, arm) for arm in run.arms],
        "penalties": [f"{arm_title(arm)} {_told(arm, 'strength')}" for arm in run.arms if "penalty" in arm],
        "own_targets": [arm_title(arm) for arm in run.arms if _told(arm, "varies")],
        "closed_forms": [_closed_form(run, arm) for arm in run.arms],
        "floors": [
            {"title": arm_title(arm), "floor": in_nats(float(run.curve(arm["name"], "train_floor")[1][0, -1]))}
            for arm in run.arms
        ],
        "right": "agreement" if soft else "accuracy",
        "soft": soft,
        "calibration": [_calibration(arm) for arm in run.arms],
        "mixing": [arm_title(arm) for arm in run.arms if _told(arm, "varies") == "mixed rows"],
        "projection": data.get("projection"),
        "clouds": _clouds(data.get("projection")),
        "answered": _answered(data.get("risk-coverage")),
        "sweep": _sweep(run, data.get("temperature-sweep")),
        "wrong": [(arm_title(arm), wrong(arm)) for arm in run.arms],
        "confusions": data.get("confusions"),
        "ladder": data.get("ladder"),
        "changed": what_changed(run),
        "chosen": chosen and arm_title(chosen),
        "penalty_chosen": chosen is not None and "penalty" in chosen,
        "scheduled": [arm_title(arm) for arm in run.arms if "schedule" in arm],
        "schedule_chosen": chosen is not None and "schedule" in chosen,
        "keep": chosen is not None and chosen["eps"] == 0 and "description" not in chosen,
        "uses": [_use(run, arm) for arm in ([chosen] if chosen else run.arms)],
        "class_names": ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else ""),
        "columns": summary.get("columns", [])[:MAX_COLUMNS],
        "warnings": unsaid_warnings(summary),
        "more_columns": max(0, len(summary.get("columns", [])) - MAX_COLUMNS),
        "machine": _machine(env),
        "summary_json": as_script(summary),
    }


def date(started: str) -> str:
    """The date as ``24 November 2024``; a text that is no date is returned as it is."""
    try:
        day = datetime.fromisoformat(started)
    except ValueError:
        return started
    return f"{day.day} {day:%B %Y}"


def _temperature_notes(run: Run) -> list[str]:
    """A sentence for each kind of odd temperature, with the arms and seeds that have it; usually none."""
    notes: list[str] = []
    for field, text in (
        ("at_bound", "Here the temperature stopped at the end of its search range"),
        ("pseudo_row", "Here the validation rows alone set no finite temperature, so one made-up row joined the fit"),
    ):
        found: list[str] = []
        for arm in run.arms:
            seeds = [str(entry["seed"]) for entry in run.env["temperatures"][arm["name"]] if entry.get(field)]
            if seeds:
                found.append(f"{arm_title(arm)} (seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)})")
        notes += [f"{text}: {'; '.join(found)}."] if found else []
    return notes


AUGMENTED = {
    "flip": "flipped left to right every other time",
    "crop": "shifted by up to an eighth of the shorter side and filled up with zeros",
}
"""What each kind of augmentation does to a picture."""


def _budget(env: Environment) -> list[tuple[str, str]]:
    training, model, data = env["training"], env["model"], env["data"]
    steps, early, schedule = (training.get(name) for name in ("steps", "early_stop", "schedule"))
    description, parameters = model.get("description"), model.get("parameters")
    budget = f"{plural(training['epochs'], 'epoch')} of batches of {training['batch_size']:,} rows"
    budget += f", {steps:,} steps" if steps else ""
    if early:
        pause = plural(int(early), "epoch")
        budget = f"at most {budget}; a run stops when {pause} brought nothing better on validation rows"
    optimiser = f"{training['optimiser']}, learning rate {training['learning_rate']:g}"
    built = model["name"] + (f": {description}" if description else "")
    built += f", {parameters:,} parameters" if parameters else ""
    rows = [("Budget", f"{budget}, the same in every arm")]
    rows += [("Optimiser", optimiser + (f", {schedule}" if schedule else ""))]
    if kinds := training.get("augment"):
        told = joined([AUGMENTED.get(kind, kind) for kind in kinds])
        rows.append(("Augmentation", f"training pictures {told}; the same draws in every arm"))
    rows.append(("Model", built))
    if noise := data.get("noise"):
        rate, names = noise["rate"], {"train": "training"}
        how = f"with probability {rate:g} by another class" if rate is not None else f"by {noise['given']}"
        counts = joined([f"{count:,} of the {names.get(p, p)} rows" for p, count in noise["replaced"].items()])
        told = f"replaced on purpose, {how}: {counts} have another label; test labels are as they were"
        rows.append(("Labels", told))
    if copies := data.get("duplicates"):
        verb = "repeats" if copies == 1 else "repeat"
        rows.append(("Copies", f"{plural(copies, 'row')} {verb} an earlier one, and count with it as one"))
    return rows


def _probe(run: Run, arm: ArmSummary) -> dict[str, str]:
    known = None if _told(arm, "varies") else run.env["probe"].get(arm["name"], {}).get("target")
    true, other = known or (None, None)
    strength, eps, over = torch_strength(arm, run.num_classes), arm["eps"] or 0, arm["over"]
    return {
        "arm": arm["name"],
        "eps": _told(arm, "target") or f"{eps:g}" + (f" over {over}" if eps and over else ""),
        "torch": "none" if strength is None else f"{strength:.4g}",
        "true": number(true, 4, zero=True),
        "other": "0" if other == 0 else "–" if other is None else f"{other:.4g}",
    }


def _told(arm: ArmSummary, field: str) -> str:
    """A text of the description of an arm; empty for plain smoothing."""
    return arm.get("description", {}).get(field, "")


def _closed_form(run: Run, arm: ArmSummary) -> dict[str, Any]:
    gap, over, eps = arm["closed_form_gap"], arm["over"], arm["eps"]
    found: dict[str, Any] = {
        "title": arm_title(arm),
        "eps": f"{eps or 0:g}",
        "over": over,
        "penalty": "penalty" in arm,
        "scheduled": "schedule" in arm,
        "no_gap": _told(arm, "no_gap"),
        "below": _told(arm, "below"),
        "trained": number(arm["train_gap"], 2, zero=True),
        "gap": None if gap is None else number(gap, 2, zero=True),
        "other_over": None,
    }
    if gap is not None and over in ("others", "all") and eps is not None:
        other: theory.Over = "all" if over == "others" else "others"
        in_other = number(float(theory.optimal_gap(eps, run.num_classes, over=other)), 2, zero=True)
        found |= {"other_over": other, "other_gap": in_other}
    return found


def _calibration(arm: ArmSummary) -> str:
    """How far confidence is from accuracy, in points, as trained and after temperature."""
    gaps = (metric(arm, f"signed_gap{end}")["mean"] for end in ("", "_after_temperature"))
    points = [number(None if v is None else 100 * v, 1, sign=True, zero=True) for v in gaps]
    return f"{arm_title(arm)} {points[0]} points, with its temperature {points[1]}"


def _clouds(projection: Any) -> list[str]:
    """How wide the classes are on the plane, one sentence part per arm."""
    by_arm: dict[str, list[str]] = {}
    for cloud in projection["clouds"] if projection else ():
        part = "training" if cloud.part == "train" else "test"
        by_arm.setdefault(cloud.arm, []).append(f"{number(cloud.spread, 2)} on {part} rows")
    return [f"{arm} {' and '.join(parts)}" for arm, parts in by_arm.items()]


def _answered(data: Any) -> dict[str, Any] | None:
    """Share of wrong answers when 20 % of the rows stay unanswered; fewer stay so where no arm would then be wrong."""
    if data is None:
        return None
    curves = data["curves"]
    coverage = curves[0].coverage
    places = [int(abs(coverage - share).argmin()) for share in (0.8, 0.9, 0.95, 1.0)]
    place = next((i for i in places if any(curve.risk[i] > 0 for curve in curves)), -1)
    parts = [
        f"{a.title} {percent(float(a.risk[place]))}, with its temperature {percent(float(b.risk[place]))}"
        for a, b in zip(curves[::2], curves[1::2], strict=True)
    ]
    return {"coverage": f"{100 * coverage[place]:.0f}", "parts": parts}


def _sweep(run: Run, data: Any) -> list[str]:
    if data is None:
        return []
    return [
        f"{title} {number(one)} as trained, {number(best)} at T = {temperature(t)}"
        for title, one, best, t in zip(
            arm_titles(run), data["as_trained"], data["at_fitted"], data["fitted"], strict=True
        )
    ]


def _use(run: Run, arm: ArmSummary) -> dict[str, Any]:
    fitted = run.env["temperatures"][arm["name"]]
    mean = metric(arm, "temperature")["mean"]
    if mean is None:
        mean = statistics.fmean(entry["value"] for entry in fitted)
    # a run that does not say whether the temperature lowered the log loss of test rows reliably counts as if it did
    gain = run.env.get("temperature_gain", {}).get(arm["name"])
    stuck = any(entry.get("at_bound") for entry in fitted)
    divisor = temperature(mean) if not stuck and (gain is None or gain["high"] < 0) else None
    return {
        "title": arm_title(arm),
        "beyond": "description" not in arm and torch_strength(arm, run.num_classes) is None,
        "temperature": divisor,
        "snippets": snippets(arm, run.num_classes, divisor),
    }


def _machine(env: Environment) -> list[tuple[str, str]]:
    versions = {name: env.get(name.lower()) for name in ("sfumato", "torch", "numpy", "Python")}
    cores, workers = env.get("cores"), env.get("workers")
    machine = [env.get("cpu"), env.get("platform"), f"{cores} cores" if cores else None]
    rows = [
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items() if version)),
        ("Machine", ", ".join(filter(None, machine)) + (f"; {plural(workers, 'worker')}" if workers else "")),
        ("Time", f"started {env['started']}, took {env['seconds']:.1f} seconds"),
        ("Data", env["data"].get("source", "")),
        ("Fingerprint", env["data"].get("fingerprint", "")),
    ]
    return [(name, value) for name, value in rows if value]
