"""docs/scale.md: its loop runs under torchrun and prints what the page says, and its tables are those of benchmarks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.warm import environment

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "scale.md"
TEXT = PAGE.read_text(encoding="utf-8")
LOOP = next(block for block in re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL) if "torchrun" in block)
PRINTED = TEXT.split("It prints\n\n```\n")[1].split("```")[0]


def losses(printed: str) -> list[tuple[float, int]]:
    return [
        (float(loss), int(rows)) for loss, rows in re.findall(r"^step \d: loss (\S+) over (\d+) rows$", printed, re.M)
    ]


@pytest.mark.nightly  # four processes; its losses are those of one process by day
def test_the_loop_prints_what_the_page_says(tmp_path):
    (tmp_path / "train.py").write_text(LOOP, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "4", "train.py"]
    env = {**environment(), "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found, told = losses(done.stdout), losses(PRINTED)
    assert len(told) == 3
    assert [rows for _, rows in found] == [rows for _, rows in told]
    assert [loss for loss, _ in found] == pytest.approx([loss for loss, _ in told], abs=2e-4)


def test_the_losses_of_the_page_are_those_of_one_process():
    space = {}
    exec(LOOP[LOOP.index("def micro_batches") : LOOP.index("distributed.init_process_group")], {"torch": torch}, space)
    torch.manual_seed(0)
    body, head = nn.Sequential(nn.Linear(16, 32), nn.Tanh()), nn.Linear(32, 1001)
    optimizer = torch.optim.SGD([*body.parameters(), *head.parameters()], lr=0.5)
    found = []
    for step in range(3):
        batches = [batch for pair in range(2) for batch in space["micro_batches"](step, pair)]
        features, labels = (torch.cat(each) for each in zip(*batches, strict=True))
        loss = F.cross_entropy(head(body(features)), labels, label_smoothing=0.1)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append((loss.item(), int((labels != -100).sum())))
    told = losses(PRINTED)
    assert [rows for _, rows in found] == [rows for _, rows in told]
    assert [loss for loss, _ in found] == pytest.approx([loss for loss, _ in told], abs=2e-4)


def lines_of(name: str) -> list[dict]:
    return list(map(json.loads, (ROOT / "benchmarks" / name).read_text(encoding="utf-8").splitlines()))


def as_table(lines: list[list[str]]) -> str:
    lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def errors() -> str:
    """The errors of the benchmark's rows: a line for each contestant, a column for each question."""
    cells: dict[str, dict[str, str]] = {}
    for row in lines_of("parallel.jsonl"):
        told = "refused" if "refuses" in row else f"{float(row['loss']):.0e}, {float(row['gradient']):.0e}"
        cells.setdefault(row["who"], {})[f"{row['classes']} classes, {row['words']}"] = told
    questions = list(cells["sfumato"])
    return as_table(
        [["loss, gradient", *questions]]
        + [[who, *(own[question] for question in questions)] for who, own in cells.items()]
    )


def costs() -> str:
    """Time and memory of the last layer's loss, of the rows with a smoothed target: a line for each shape and type."""
    fused, unfused = "fused, smoothed", "layer and sf.cross_entropy"
    lines = [["rows", "features", "classes", "dtype", "times as long", "MB", "MB with all logits"]]
    for row in lines_of("head.jsonl"):
        if fused in row["seconds"]:
            memory = (f"{row['peak_mb'][way]:,.0f}" for way in (fused, unfused))
            lines.append([*row["shape"].split("x"), row["dtype"], f"{row['against_unfused'][fused]:.2f}", *memory])
    return as_table(lines)


TABLES = {"errors": errors, "costs": costs}


def parts(name: str) -> list[str]:
    """The page before, in and behind a table."""
    before, rest = TEXT.split(f"<!-- {name}: begin -->\n")
    return [before, *rest.split(f"<!-- {name}: end -->")]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_the_page_is_that_of_the_benchmark(name):
    assert parts(name)[1] == TABLES[name]()


if __name__ == "__main__":
    for name, table in TABLES.items():
        before, _, after = parts(name)
        TEXT = f"{before}<!-- {name}: begin -->\n{table()}<!-- {name}: end -->{after}"
    PAGE.write_text(TEXT, encoding="utf-8")
