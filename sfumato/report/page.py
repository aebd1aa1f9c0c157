"""The report page: one file that works offline, written beside its figures into the run folder.

The template holds the words that are true of every comparison; whatever depends on the run is computed here.
"""

import json
import os
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sfumato.report import plots, svg
from sfumato.report.run import Arm, Run, load_run
from sfumato.report.tables import arm_title, differences_table, four_columns, number, temperature, torch_strength

FIGURES = {
    "reliability": plots.plot_reliability,
    "gap": plots.plot_gap,
    "gap-histogram": plots.plot_gap_histogram,
    "excess": plots.plot_excess,
}
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def render(folder: str | Path) -> Path:
    """Write ``figures/*.svg`` and ``report.html`` into the folder of a finished comparison.

    Args:
        folder: what ``sfumato compare`` wrote.

    Returns:
        The path of ``report.html``. The same run gives the same bytes.

    Raises:
        ReportError: a file of the run is missing or broken.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    run = load_run(folder)
    inline: dict[str, Markup] = {}
    for name, plot in FIGURES.items():
        ax, data = plot(run)
        text = svg.to_svg(ax)
        _write(run.folder / "figures" / f"{name}.svg", text)
        inline[name] = svg.inline(text, name, data.alt)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.jinja").render(_words(run), figures=inline)
    return _write(run.folder / "report.html", page)


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    os.replace(partial, path)
    return path


def _words(run: Run) -> dict[str, Any]:
    summary, env = run.summary, run.env
    chosen = _chosen(run)
    return {
        "summary": summary,
        "env": env,
        "config": run.config,
        "classes": run.num_classes,
        "seed_words": "1 seed" if len(run.seeds) == 1 else f"{len(run.seeds)} seeds",
        "hashes": [
            (seed, str(weights)[:8], str(batches)[:8])
            for seed, weights, batches in zip(
                run.seeds, summary["paired"]["weights"], summary["paired"]["batches"], strict=True
            )
        ],
        "date": _date(env["started"]),
        "table": four_columns(summary),
        "differences": differences_table(summary),
        "notes": _temperature_notes(run),
        "cautions": [str(note) for note in run.env.get("notes", [])],
        "probes": [_probe(run, arm) for arm in run.arms],
        "closed_forms": [_closed_form(run, arm) for arm in run.arms],
        "floors": [_floor(run, arm) for arm in run.arms],
        "chosen": chosen and arm_title(chosen),
        "uses": [_use(run, arm) for arm in ([chosen] if chosen else run.arms)],
        "class_names": _class_names(env["data"]),
        "machine": _machine(env),
        "summary_json": Markup(json.dumps(summary, ensure_ascii=False).replace("<", "\\u003c")),
    }


def _chosen(run: Run) -> Arm | None:
    """The arm that the verdict's choice names, with or without words after it."""
    choice = run.summary["verdict"]["choice"] or ""
    named = [arm for arm in run.arms if re.match(re.escape(arm["name"]) + r"(?![\w.-])", choice)]
    return max(named, key=lambda arm: len(arm["name"]), default=None)


def _date(started: str) -> str:
    try:
        day = datetime.fromisoformat(started)
    except ValueError:
        return started
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def _temperature_notes(run: Run) -> list[str]:
    """Whatever was odd about a fitted temperature; usually nothing."""
    notes: list[str] = []
    for field, words in (
        ("at_bound", "Here the temperature stopped at the end of its search range"),
        ("pseudo_row", "Here the validation rows alone set no finite temperature, so one made-up row joined the fit"),
    ):
        found: list[str] = []
        for arm in run.arms:
            fitted: list[dict[str, Any]] = run.env["temperatures"][arm["name"]]
            seeds = [str(entry["seed"]) for entry in fitted if entry.get(field)]
            if seeds:
                found.append(f"{arm_title(arm)} (seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)})")
        if found:
            notes.append(f"{words}: {'; '.join(found)}.")
    return notes


def _probe(run: Run, arm: Arm) -> dict[str, str]:
    probe: dict[str, Any] = run.env["probe"].get(arm["name"], {})
    true, other = probe.get("target", (None, None))
    strength = torch_strength(arm, run.num_classes)
    return {
        "arm": arm["name"],
        "eps": f"{arm['eps']:g}" + (f" over {arm['over']}" if arm["eps"] and arm["over"] else ""),
        "torch": "none" if strength is None else f"{strength:.4g}",
        "true": number(true, 4, zero=True),
        "other": "0" if other == 0 else "–" if other is None else f"{other:.4g}",
    }


def _closed_form(run: Run, arm: Arm) -> dict[str, Any]:
    from sfumato import theory

    gap, over = arm["closed_form_gap"], arm["over"]
    words: dict[str, Any] = {"title": arm_title(arm), "eps": f"{arm['eps']:g}", "over": over, "gap": None}
    words["trained"] = number(arm["train_gap"], 2, zero=True)
    if gap is None:
        return words
    words["gap"] = number(gap, 2, zero=True)
    words["other_over"] = None
    if over in ("others", "all"):
        other: theory.Over = "all" if over == "others" else "others"
        words["other_over"] = other
        words["other_gap"] = number(float(theory.optimal_gap(arm["eps"], run.num_classes, over=other)), 2, zero=True)
    return words


def _floor(run: Run, arm: Arm) -> dict[str, str]:
    _, floors = run.curve(arm["name"], "train_floor")
    floor = float(floors[0, -1])
    return {"title": arm_title(arm), "floor": "0" if floor == 0 else number(floor)}


def _use(run: Run, arm: Arm) -> dict[str, Any]:
    strength = torch_strength(arm, run.num_classes)
    fitted: list[dict[str, Any]] = run.env["temperatures"][arm["name"]]
    mean = (arm["metrics"].get("temperature") or {}).get("mean")
    mean = sum(float(t["value"]) for t in fitted) / len(fitted) if mean is None else mean
    return {
        "title": arm_title(arm),
        "eps": f"{arm['eps']:g}",
        "over": arm["over"],
        "smoothed": arm["eps"] > 0,
        "torch": None if strength is None else f"{strength:.6g}",
        "temperature": temperature(mean) if _helps(run, arm) else None,
    }


def _helps(run: Run, arm: Arm) -> bool:
    """Whether the temperature lowered hard NLL on test rows reliably; runs that do not say are taken to."""
    gain = run.env.get("temperature_gain", {}).get(arm["name"])
    stuck = any(t.get("at_bound") for t in run.env["temperatures"][arm["name"]])
    return not stuck and (gain is None or gain["high"] < 0)


def _class_names(data: Mapping[str, Any]) -> str:
    names = [str(name) for name in data.get("class_names") or []]
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more


def _machine(env: Mapping[str, Any]) -> list[tuple[str, str]]:
    data: dict[str, Any] = env["data"]
    versions = ", ".join(f"{name} {env[name]}" for name in ("sfumato", "torch", "numpy") if env.get(name))
    python = f", Python {env['python']}" if env.get("python") else ""
    cores = f", {env['cores']} cores" if env.get("cores") else ""
    workers = f"; {env['workers']} worker{'s' if env['workers'] != 1 else ''}" if env.get("workers") else ""
    rows = [
        ("Versions", versions + python),
        ("Machine", ", ".join(str(env[k]) for k in ("cpu", "platform") if env.get(k)) + cores + workers),
        ("Time", f"started {env['started']}, took {env['seconds']:.1f} seconds"),
        ("Data", str(data.get("source", ""))),
        ("Fingerprint", str(data.get("fingerprint", ""))),
    ]
    return [(name, value) for name, value in rows if value]
