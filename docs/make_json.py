"""Write docs/json.md from the code: ``python docs/make_json.py``.

The objects of comparisons and judgements have types, whose JSON schema is shown. Those of the other commands are shown
as a small run of the command prints them.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from sfumato.cli import main
from sfumato.runs import schema

HEAD = """\
# Machine-readable output (JSON)

<!-- Written by docs/make_json.py: change that, or the types in the code. -->

With `--json`, every command prints one JSON object. Numbers are not rounded. A number that is not finite is null. Each
object names its schema, and a change of the meaning of a field changes the number at its end. Metrics have the names of
[the metrics page](metrics.md).

Results go to standard output and progress to standard error. Exit codes are 0 for success, 1 for a failure, 2 for a
usage error, 3 for a finding with `--strict`, and 130 after an interrupt.
"""
TYPED = {
    "`compare --json`, `judge --json`, and the `summary.json` and `judgement.json` in their folders": schema.Summary,
    "`env.json` of a run": schema.Environment,
    "A line of `metrics.jsonl` of a run": schema.EpochLine,
}
TRAINING = """\
import torch


def watched():
    model, loss = torch.nn.Linear(5, 3), torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def train():
        for _ in range(3):
            loss(model(torch.randn(8, 5)), torch.arange(8) % 3).backward()
            optimizer.step()
            optimizer.zero_grad()

    return model, train
"""
PRINTED = {
    "`audit --json`, and the JSON file that it writes": (
        "audit smoothed.npz --against other.npz --json",
        """\
- `inferred_smoothing` is null unless `answer` of `smoothing_evidence` is "strength". Its `low` and `high` are those of
  `eps_all`. `eps_of_gap` is the ε over all classes that would fit the median logit gap alone.
- `differences` is there with `--against`. Files with features also have the metric `nc1`.
- For the folder of a comparison, `arms` has what the audits of all seeds of each arm show on the test rows. All other
  fields are those of the first seed of the arm that the verdict chose.""",
    ),
    "`probe --json`": (
        "probe torch.nn:CrossEntropyLoss(label_smoothing=0.1) --json",
        "[Probe](probe.md) explains the fields.",
    ),
    "`probe --trainer --json`": (
        "probe --trainer training:watched --json",
        "The fields are the attributes of `sf.probe.Watched`, which [Watch](watch.md) explains.",
    ),
    "`explain --json`": (
        "explain --in fairseq --to keras --json",
        """\
`conversion` is there with `--in`. Without `--to`, its `to` has the strength that each framework needs for the same
target, or null where a framework cannot express the target, and the fields next to it are absent.""",
    ),
    "`doctor --json`": (
        "doctor --json",
        "With DATA there are also `columns`, `warnings` and `trial`: how the data were read, and a short trial.",
    ),
    "`compare --dry-run --json`": (
        "compare digits --model linear --epochs 1 --dry-run --json",
        "Times are in seconds, memory and disk in bytes.",
    ),
}
BY_NAME = {"metrics": "METRIC", "differences": "METRIC", "to": "FRAMEWORK"}
"""Fields whose keys depend on the data, and what the keys are."""
TYPES = {"string": "text", "number": "number", "integer": "integer", "boolean": "true or false", "null": "null"}


def page() -> str:
    """The page."""
    names, components = msgspec.json.schema_components(TYPED.values(), ref_template="{name}")
    roots = {name["$ref"]: title for name, title in zip(names, TYPED, strict=True)}
    typed = [f"## {title}\n\n{_object(components[name])}" for name, title in roots.items()]
    parts = [f"### {name}\n\n{_object(each)}" for name, each in components.items() if name not in roots]
    printed = [
        f"## {title}\n\n```\n{_shape(value)}\n```\n\n{PRINTED[title][1]}\n" for title, value in _values().items()
    ]
    return "\n".join([HEAD, *typed, "## Parts of these objects\n", *parts, *printed])


def _object(described: dict[str, Any]) -> str:
    """A description, and a line for each field."""
    required = described.get("required", ())
    lines = [f"{_in_markdown(described.get('description', ''))}\n", "| field | value |", "| --- | --- |"]
    for name, kind in described.get("properties", {}).items():
        absent = "" if name in required else ", may be absent"
        lines.append(f"| `{name}` | {_kind(kind)}{absent} |")
    return "\n".join(lines) + "\n"


def _in_markdown(docstring: str) -> str:
    return " ".join(docstring.split()).replace("``", "`")


def _kind(described: dict[str, Any]) -> str:
    """A type in words, with links to other objects."""
    if "$ref" in described:
        return f"[{described['$ref']}](#{described['$ref'].lower()})"
    if "anyOf" in described:
        return " or ".join(map(_kind, described["anyOf"]))
    if "enum" in described:
        return ", ".join(f'"{each}"' for each in described["enum"])
    if described.get("type") == "array":
        return f"list of {_kind(described.get('items') or {})}"
    if "additionalProperties" in described:
        return f"object: name → {_kind(described['additionalProperties'])}"
    return TYPES.get(described.get("type", ""), "any value")


def _values() -> dict[str, Any]:
    """What the commands print on small data."""
    rng, here, path, state = np.random.default_rng(0), os.getcwd(), sys.path[:], torch.get_rng_state()
    labels = rng.integers(0, 3, 300)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            Path("training.py").write_text(TRAINING, encoding="utf-8")
            smoothed = np.log(np.where(np.arange(3) == labels[:, None], 0.9, 0.05)) + rng.normal(size=(300, 3)) / 100
            np.savez("smoothed.npz", logits=smoothed, labels=labels)
            np.savez("other.npz", logits=rng.normal(size=(300, 3)), labels=labels)
            return {title: _printed(command.split()) for title, (command, _) in PRINTED.items()}
        finally:
            os.chdir(here)
            sys.path[:] = path  # the commands add the folder that they run in
            torch.set_rng_state(state)
            sys.modules.pop("training", None)


def _printed(words: list[str]) -> Any:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()):
        assert main(words) == 0, words
    return json.loads(out.getvalue())


def _shape(value: Any, indent: str = "") -> str:
    """The names of all fields, with the types of their values."""
    if isinstance(value, list):
        return f"[{_shape(value[0], indent)}, …]" if value else "[…]"
    if not isinstance(value, dict):
        names = {str: "TEXT", bool: "true | false", type(None): "null", type(...): "…"}
        return names.get(type(value), "NUMBER")
    if not value:
        return "{…}"
    if value.get("schema", "").startswith("sfumato.doctor"):  # its values depend on the machine
        value = {name: each if name == "schema" else ... for name, each in value.items()}
    inner = indent + "  "
    lines = []
    for name, each in value.items():
        if name == "schema":
            lines.append(f'{inner}"schema": {json.dumps(each)}')
        elif name in BY_NAME and isinstance(each, dict):
            one = next(iter(each.values()))
            lines.append(f'{inner}"{name}": {{{BY_NAME[name]}: {_shape(one, inner)}, …}}')
        else:
            lines.append(f'{inner}"{name}": {_shape(each, inner)}')
    return "{\n" + ",\n".join(lines) + "\n" + indent + "}"


if __name__ == "__main__":
    Path(__file__).with_name("json.md").write_text(page(), encoding="utf-8")
