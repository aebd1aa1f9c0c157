"""docs/scale.md: its loop runs under torchrun and prints what the page says, and its table is that of the benchmark."""

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
BEGIN, END = "<!-- errors: begin -->\n", "<!-- errors: end -->"


def losses(printed: str) -> list[tuple[float, int]]:
    return [
        (float(loss), int(rows)) for loss, rows in re.findall(r"^step \d: loss (\S+) over (\d+) rows$", printed, re.M)
    ]


@pytest.mark.slow
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


def table() -> str:
    """The errors of the benchmark's rows: a line for each contestant, a column for each question."""
    cells: dict[str, dict[str, str]] = {}
    for row in map(json.loads, (ROOT / "benchmarks" / "parallel.jsonl").read_text(encoding="utf-8").splitlines()):
        errors = "refused" if "refuses" in row else f"{float(row['loss']):.0e}, {float(row['gradient']):.0e}"
        cells.setdefault(row["who"], {})[f"{row['classes']} classes, {row['words']}"] = errors
    questions = list(cells["sfumato"])
    lines = [["loss, gradient", *questions], ["---"] * (1 + len(questions))]
    lines += [[who, *(own[question] for question in questions)] for who, own in cells.items()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def test_the_errors_of_the_page_are_those_of_the_benchmark():
    assert TEXT.split(BEGIN)[1].split(END)[0] == table()


if __name__ == "__main__":
    before, after = TEXT.split(BEGIN)[0], TEXT.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}{table()}{END}{after}", encoding="utf-8")
