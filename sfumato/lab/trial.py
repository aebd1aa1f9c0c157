"""A short trial on the user's data: what was found in them, whether both arms learn, and what the whole would take."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

from sfumato.lab.compare import estimated, prepared
from sfumato.lab.cost import duration
from sfumato.lab.options import Options

SECONDS = 20.0


def trial(options: Options, *, seconds: float = SECONDS) -> dict[str, Any]:
    """Read the data, train each arm for a few seconds, and count up what a comparison would take.

    Args:
        options: as of a comparison.
        seconds: that both arms together may train.

    Returns:
        ``"data"``, ``"notes"``, ``"whole"`` (an estimate) and ``"arms"``, each with name, epochs, seconds and
        ``"nll"``: hard NLL on validation rows after the first and the last epoch.

    Raises:
        OptionError, DataError: as of a comparison.
        ArmError, TrainingError: an arm cannot be trained.
    """
    import torch

    from sfumato.lab.arms import arms_of
    from sfumato.lab.models import build
    from sfumato.lab.train.loop import train

    options.check()
    data, chosen, budget = prepared(options)
    whole = estimated(options, data, chosen, budget)
    classes = len(data.table.class_names)
    parts = {name: data.part(name) for name in ("train", "validation")}
    x, y, xv, yv = (
        torch.from_numpy(array).to(options.device) for part in parts.values() for array in (part.features, part.labels)
    )
    per_epoch = max(1e-6, whole.seconds_per_step * math.ceil(len(y) / budget.batch_size))
    plan = replace(budget, epochs=max(2, min(budget.epochs, int(seconds / 2 / per_epoch))))
    told: list[dict[str, Any]] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for arm in arms_of(options.eps, options.over):
            started, curve = time.perf_counter(), list[float]()
            model = build(chosen.model, data.inputs, classes, seed=0, pretrained=options.pretrained).to(options.device)
            loss = arm.loss()
            floor = arm.floor(classes)
            keep = curve.append
            train(
                model, loss, (x, y), (xv, yv), plan, seed=0, floor=floor, on_epoch=lambda e, k=keep: k(e.validation_nll)
            )
            arm.verify(loss, classes)
            took = time.perf_counter() - started
            told.append({"name": arm.name, "epochs": plan.epochs, "nll": [curve[0], curve[-1]], "seconds": took})
    finally:
        torch.set_num_threads(threads)
    described = data.describe()
    return {
        "data": {
            "name": data.table.name,
            "classes": classes,
            "inputs": described["inputs"],
            **{part: len(getattr(data.split, part)) for part in ("train", "validation", "test")},
            "duplicates": described["duplicates"],
            "missing": described["missing"],
        },
        "notes": [*data.notes, *chosen.notes],
        "whole": whole.to_json(),
        "arms": told,
    }


def as_text(found: dict[str, Any]) -> str:
    """The same, to read."""
    data, whole = found["data"], found["whole"]
    rows = ", ".join(f"{part} {data[part]:,}" for part in ("train", "validation", "test"))
    lines = [f"data          {data['name']}: {data['inputs']}, {data['classes']} classes; rows: {rows}"]
    if data["duplicates"]:
        lines.append(f"copies        {data['duplicates']:,} rows repeat an earlier one")
    lines += [f"missing       {name}: {count:,}" for name, count in data["missing"].items()]
    lines += [f"note          {note}" for note in found["notes"]]
    for arm in found["arms"]:
        first, last = arm["nll"]
        learnt = "" if last < first else "; it did not fall: look at the data, or at --learning-rate"
        lines.append(
            f"trial         {arm['name']}: validation NLL {first:.3f} to {last:.3f} in {arm['epochs']} epochs "
            f"({duration(arm['seconds'])}){learnt}"
        )
    lines.append(
        f"the whole     {whole['runs']} runs of {whole['epochs']:,} epochs: about {duration(whole['seconds'])}"
    )
    return "\n".join(lines)
