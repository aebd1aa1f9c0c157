"""The saved logits of a comparison: which arm and seed is audited first, and the files of every seed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from sfumato.io.arrays import FileError
from sfumato.messages import Note


def seeds_of_run(folder: Path) -> dict[str, dict[int, Path]]:
    """The test rows of each arm and seed of a run folder: arms in the order of the summary, seeds in rising order."""
    found: dict[str, dict[int, Path]] = {}
    for path in sorted((folder / "logits").glob("*-seed*-test.npz")):
        if named := re.fullmatch(r"(.+)-seed(\d+)-test\.npz", path.name):
            found.setdefault(named[1], {})[int(named[2])] = path
    if not found:
        raise FileError(f"{folder} is not the folder of a comparison: it has no logits/*-test.npz")
    order = [arm["name"] for arm in _summary(folder).get("arms", ())]
    named = sorted(found, key=lambda arm: (order.index(arm) if arm in order else len(order), arm))
    return {arm: dict(sorted(found[arm].items())) for arm in named}


def first_of_run(folder: Path) -> tuple[Path, list[Note]]:
    """The logits of a comparison to audit, and a note on which: the first seed of the arm that its verdict chose."""
    seeds = seeds_of_run(folder)
    choice = _summary(folder).get("verdict", {}).get("choice")
    arm = choice if choice in seeds else min(seeds)
    chosen = next(iter(seeds[arm].values()))
    rest = ", ".join(sorted(each for each in seeds if each != arm))
    more = f"; name a file of its logits folder for {rest} or other rows" if rest else ""
    text = f"Of the run, the arm {arm} on test rows was read ({chosen.name}){more}."
    return chosen, [Note(code="arm-of-run", text=text)]


def _summary(folder: Path) -> dict[str, Any]:
    path = folder / "summary.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
