"""What each of two ranks does in the tests of watching; rank 0 writes what it saw to FOLDER/seen.json.

    python -m torch.distributed.run --nproc-per-node 2 -m tests.probe.watching.two_ranks FOLDER [hf]
    python -m tests.probe.watching.two_ranks FOLDER

The second line makes the ranks itself, from one process that has everything loaded.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.multiprocessing.spawn import start_processes
from torch.nn.parallel import DistributedDataParallel

from sfumato.probe import watch
from tests.probe.watching.loops import classifier, counted, smoothed, table


def run(
    loss: Any, *, accumulate: int = 1, parallel: bool = True, after: Any = None, outer: bool = False
) -> dict[str, Any]:
    """Train on uneven batches, every second of which is this rank's own."""
    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    model = classifier()
    called = DistributedDataParallel(model) if parallel else model
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(called if outer else model) as seen:
        for step in table(2, accumulate * ranks):
            mine = step[rank::ranks]
            for x, y in mine:
                loss(called(x), y, counted(step), counted(mine)).backward()
            if after is not None:
                after(model)
            optimiser.step()
            optimiser.zero_grad()
    return seen.to_dict()


def add_up(model: nn.Module) -> None:
    for parameter in model.parameters():
        distributed.all_reduce(parameter.grad)


def clip(model: nn.Module) -> None:
    nn.utils.clip_grad_norm_(model.parameters(), 0.05)


def of_all(z: Any, y: Any, whole: int, mine: int) -> Any:
    return smoothed(z, y, reduction="sum") * distributed.get_world_size() / whole


def of_the_whole(z: Any, y: Any, whole: int, mine: int) -> Any:
    return smoothed(z, y, reduction="sum") / whole


def of_mine(z: Any, y: Any, whole: int, mine: int) -> Any:
    return smoothed(z, y, reduction="sum") / mine


def plain_loops() -> dict[str, Any]:
    return {
        "right": run(of_all),
        "right, accumulated, outer": run(of_all, accumulate=3, outer=True),
        "right, clipped": run(of_all, after=clip),
        "right, added by hand": run(of_the_whole, parallel=False, after=add_up),
        "mean of each rank": run(of_mine, accumulate=3),
        "wrong rank count": run(of_the_whole),
        "ranks are multiplied and added": run(of_all, parallel=False, after=add_up),
        "apart": run(of_mine, parallel=False),
    }


def trainers(folder: Path) -> dict[str, Any]:
    """Hugging Face's Trainer, with its own smoothing and with ours."""
    from transformers import Trainer

    from sfumato.adapters.hf import compute_loss
    from tests.adapters.hf.small import arguments, data, llama

    found: dict[str, Any] = {}
    for name, how, loss in (
        ("its own", {"label_smoothing_factor": 0.1}, None),
        (
            "its own, each rank its tokens",
            {"label_smoothing_factor": 0.1, "average_tokens_across_devices": False},
            None,
        ),
        ("ours", {"accumulate": 1, "rows": 4}, compute_loss(0.1)),  # 4 rows a rank and step, so 8 together
        ("ours, accumulated", {"accumulate": 2, "rows": 4}, compute_loss(0.1)),
    ):
        model = llama(500)
        args = arguments(folder / name.replace(" ", "-"), **({"accumulate": 1} | how), ddp_backend="gloo")
        trainer = Trainer(model, args, train_dataset=data(vocabulary=500), compute_loss_func=loss)
        with watch(model) as seen:
            trainer.train()
        norms = [line["grad_norm"] for line in trainer.state.log_history if "grad_norm" in line]
        found[name] = {**seen.to_dict(), "grad_norm": norms}
    return found


def made_rank(rank: int, folder: Path) -> None:
    """One of two ranks that :func:`main` made."""
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank))
    main_of_rank(folder, init_method=f"file://{folder}/store")


def main_of_rank(folder: Path, *what: str, **how: str) -> None:
    distributed.init_process_group("gloo", **how, rank=int(os.environ["RANK"]), world_size=2)
    found = trainers(folder) if "hf" in what else plain_loops()
    if distributed.get_rank() == 0:
        (folder / "seen.json").write_text(json.dumps(found))
    distributed.destroy_process_group()


def main(folder: Path, *what: str) -> None:
    if "RANK" in os.environ:
        main_of_rank(folder, *what)
    else:
        start_processes(made_rank, (folder,), nprocs=2, start_method="fork" if sys.platform == "linux" else "spawn")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
