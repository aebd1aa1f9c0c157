"""The processes that torchrun started: each takes a share of every batch, and gradients are added up.

Every rank starts from the same weights and makes the same steps, so weights are never sent. What is looked at between
epochs, and all that is saved, is the first rank's. A process that is alone is the case of one rank.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from sfumato.lab.errors import OptionError
from sfumato.lab.options import Options
from sfumato.lab.train import Plan, batch_for_norm
from sfumato.messages import Note

if TYPE_CHECKING:
    from torch import Tensor, nn

Made = TypeVar("Made")


def started_by_torchrun() -> bool:
    """Whether this process is one of several that torchrun started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ and "MASTER_ADDR" in os.environ


def is_first() -> bool:
    """Whether this process speaks for all: it is the first rank, or alone."""
    return not started_by_torchrun() or os.environ["RANK"] == "0"


@dataclass(frozen=True)
class Ranks:
    """The processes that share each run; by itself, one process that is alone and has nobody to ask."""

    rank: int = 0
    world: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process speaks for all: it alone looks at validation rows, saves and reports."""
        return self.rank == 0

    def accept(self, options: Options, plan: Plan, *, rows: int, batch_norm: bool) -> list[Note]:
        """What a reader should know of numbers that these processes made; an OptionError if they cannot make them."""
        return []

    def rows(self, batch: Tensor) -> Tensor:
        """This rank's share of a batch; the batch itself if there is one rank alone."""
        return batch

    def add_gradients(self, model: nn.Module, lost: float) -> float:
        """Give every rank the sum of all gradients, after the backward pass; a rank without rows has none.

        ``lost`` is 0, or a loss of this rank that was not finite; every rank is then given NaN or infinity back.
        """
        return lost

    def means(self, loss: float, gap: float, rows: int) -> tuple[float, float]:
        """The loss of all ranks, to which each adds its own part, and the mean gap over the rows of all."""
        return loss, gap

    def agree(self, value: Any) -> Any:
        """What the first rank has, on every rank."""
        return value

    def on_first(self, make: Callable[[], Made]) -> Made | None:
        """What ``make`` gives on the first rank, where alone it is called; None on the others."""
        return make()


ONE_PROCESS = Ranks()


class TorchrunRanks(Ranks):
    """Several processes, of which this is one."""

    def accept(self, options: Options, plan: Plan, *, rows: int, batch_norm: bool) -> list[Note]:
        """Refuse options without a meaning here, and batches of which a rank would have too few rows."""
        world = self.world
        if options.on is not None or options.time_budget is not None:
            raise OptionError("under torchrun leave out --on and --time-budget: its ranks share out each run in turn")
        if plan.batch_size < world:
            raise OptionError(f"--batch-size {plan.batch_size} cannot be shared out between {world} ranks")
        if batch_norm and (size := batch_for_norm(plan.batch_size, rows, world)) != plan.batch_size:
            raise OptionError(
                f"--batch-size {plan.batch_size} leaves one of {world} ranks one row of a batch of the {rows:,} "
                "training rows, and the model normalises over the rows of a rank; "
                f"{f'--batch-size {size} leaves none' if size else 'use fewer ranks'}"
            )
        differ, code = "last digits differ from", "torchrun"
        if batch_norm:
            code += "-batch-norm"
            differ = "the model normalises over the rows that each has of a batch, so its numbers differ from"
        text = f"Trained by {world} processes under torchrun that share every batch: {differ} those of one process."
        return [Note(code=code, text=text)]

    def rows(self, batch: Tensor) -> Tensor:
        """Shares differ by one row at most, and may be empty."""
        return batch[self.rank :: self.world]

    def add_gradients(self, model: nn.Module, lost: float) -> float:
        """All gradients and ``lost`` in one exchange."""
        import torch
        from torch import distributed

        parameters = [p for p in model.parameters() if p.requires_grad]
        flat = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        sign = torch.tensor([lost], dtype=flat[0].dtype, device=flat[0].device)
        summed = torch.cat([*(g.reshape(-1) for g in flat), sign])
        distributed.all_reduce(summed)
        for p, part in zip(parameters, summed[:-1].split([p.numel() for p in parameters]), strict=True):
            p.grad = part.view_as(p)
        return summed[-1].item()

    def means(self, loss: float, gap: float, rows: int) -> tuple[float, float]:
        """From sums over the ranks."""
        loss, gaps, count = self.sums([loss, gap * rows, rows])
        return loss, gaps / count

    def sums(self, values: Sequence[float]) -> list[float]:
        """Each number added up over the ranks."""
        import torch
        from torch import distributed

        numbers = torch.tensor(list(values), dtype=torch.float64)
        if distributed.get_backend() == "nccl":
            numbers = numbers.cuda()
        distributed.all_reduce(numbers)
        return numbers.tolist()

    def agree(self, value: Any) -> Any:
        """A broadcast from the first rank."""
        from torch import distributed

        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    def on_first(self, make: Callable[[], Made]) -> Made | None:
        """An error on the first rank is raised on every rank."""
        made, error = None, None
        if self.is_first:
            try:
                made = make()
            except Exception as raised:
                error = raised
        if (error := self.agree(error)) is not None:
            raise error
        return made


@contextlib.contextmanager
def joined(device: str) -> Generator[Ranks]:
    """The group of processes, for as long as a comparison takes.

    The other ranks stay until the first has finished. One that left right after its last exchange could end its
    interpreter under a thread of torch's that still lets go of that exchange's tensors, which aborts the process.
    """
    if not started_by_torchrun():
        yield ONE_PROCESS
        return

    import torch
    from torch import distributed
    from torch.distributed import distributed_c10d

    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        ranks = TorchrunRanks(distributed.get_rank(), distributed.get_world_size())
        yield ranks
        store: Any = distributed_c10d._get_default_store()  # pyright: ignore[reportPrivateUsage]
        if ranks.is_first:
            store.set("sfumato finished", "")
        else:
            store.wait(["sfumato finished"], timedelta(days=30))
    finally:
        distributed.destroy_process_group()
