"""How long the training loop of `sfumato compare` takes, against the same loop written by hand.

    python benchmarks/train.py [--data digits,news.npz] [--models mlp,linear] [--rounds 15] [--epochs 6] [--out FILE]

Both train the same model from the same weights on the same batches with the same loss, in one process on one thread, in
turns, so that a machine whose speed drifts slows both alike; the ratio is the median over rounds. Times are of the
processor, which on one thread are those of an idle machine. Before anything is timed, the weights that all end with are
compared bit by bit.

The loop by hand looks at the validation rows once an epoch (log loss and accuracy), as any would that is watched. It
keeps no mean training loss, no training gap and no hash of its batches, and does not look whether the loss is finite.
"bare" is the loop by hand without even the validation rows. Each row of the output file names hardware, versions and
commit.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from hardware import environment
from torch import Tensor, nn

from sfumato.lab.arms import Arm
from sfumato.lab.data import prepare
from sfumato.lab.models import Classifier, build, weights_hash
from sfumato.lab.train import Plan
from sfumato.lab.train.loop import train

Rows = tuple[Tensor, Tensor]
ARM = Arm("smoothed", 0.1, "others")
SEED = 0


def by_hand(model: Classifier, loss: nn.Module, rows: Rows, validation: Rows | None, plan: Plan) -> None:
    x, y = rows
    optimiser = torch.optim.Adam(model.parameters(), lr=plan.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=plan.steps(len(y)))
    shuffle = torch.Generator().manual_seed(SEED)
    for _ in range(plan.epochs):
        model.train()
        for batch in torch.randperm(len(y), generator=shuffle).split(plan.batch_size):
            optimiser.zero_grad()
            loss(model(x[batch]), y[batch]).backward()
            optimiser.step()
            schedule.step()
        if validation is not None:
            model.eval()
            with torch.no_grad():
                logits = model(validation[0])
                F.cross_entropy(logits, validation[1]).item()
                (logits.argmax(1) == validation[1]).float().mean().item()


def contestants(name: str, model: str, epochs: int) -> dict[str, Callable[[], str]]:
    """Trainings from the start to the hash of the last weights."""
    data = prepare(name)
    tensors = [tuple(map(torch.from_numpy, data.arrays(part))) for part in ("train", "validation")]
    rows, validation = ((x, y) for x, y in tensors)
    plan = Plan(epochs, 64, 1e-3)

    def fresh() -> Classifier:
        return build(model, data.inputs, len(data.table.class_names), seed=SEED)

    def ours() -> str:
        made = fresh()
        train(made, ARM.loss(), rows, validation, plan, seed=SEED, floor=0.0, on_epoch=lambda epoch: None)
        return weights_hash(made)

    def theirs(watched: bool) -> str:
        made = fresh()
        by_hand(made, ARM.loss(), rows, validation if watched else None, plan)
        return weights_hash(made)

    return {"by hand": lambda: theirs(True), "sfumato": ours, "bare": lambda: theirs(False)}


def measure(runs: dict[str, Callable[[], str]], rounds: int) -> dict[str, list[float]]:
    """Processor seconds a training, one number a round; who begins changes from round to round."""
    ends = {run() for run in runs.values()}
    assert len(ends) == 1, "the loops do not end with the same weights"
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        names = list(runs)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = time.process_time()
            runs[name]()
            times[name].append(time.process_time() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--models", default="mlp,linear")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--out", type=Path, default=None, help="append one JSON object a row to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    about = {**environment(("torch", "numpy")), "load": round(os.getloadavg()[0], 1)}
    print(json.dumps(about))
    for name in options.data.split(","):
        for model in options.models.split(","):
            times = measure(contestants(name, model, options.epochs), options.rounds)
            ratios = {
                who: statistics.median(t / b for t, b in zip(each, times["by hand"], strict=True))
                for who, each in times.items()
            }
            seconds = {who: statistics.median(each) for who, each in times.items()}
            told = ", ".join(f"{who} {ratio:.3f}×" for who, ratio in ratios.items() if who != "by hand")
            print(f"{name}, {model}: by hand {seconds['by hand']:.3f} s, {told}", flush=True)
            if options.out is not None:
                with options.out.open("a") as file:
                    row = {"data": Path(name).name, "model": model, "epochs": options.epochs, "rounds": options.rounds}
                    file.write(json.dumps({**row, "ratios": ratios, "seconds": seconds, **about}) + "\n")


if __name__ == "__main__":
    main()
