"""All runs of a comparison as one batched program (``--together``): weights are stacked, a step is taken by all runs.

What it computes is what :func:`sfumato.lab.train.train` does run by run, with the same initial weights, batches and
schedule; matrix products of a stack are summed in another order, so the bits differ. It pays where a step is too small
to fill the device: docs/design.md has what it gains.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sfumato.lab.execute import processes
from sfumato.lab.models import Classifier, build
from sfumato.lab.models.base import CHUNK
from sfumato.lab.options import OptionError
from sfumato.lab.train.loop import Epoch, Trained, TrainingError, hard_scores, optimiser_of
from sfumato.lab.train.objectives import MixLoss, SoftLoss

if TYPE_CHECKING:
    from sfumato.lab.arms import Arm
    from sfumato.lab.data import Data, Part
    from sfumato.lab.options import Options
    from sfumato.lab.train.loop import Plan


class Stack:
    """Models of one form, with initial weights of their own, as one.

    Args:
        models: their weights are copied, and come back with :meth:`unstack`.
        plan: for the optimiser; that of every run.

    Attributes:
        optimiser: of all weights. Adam's steps are element by element, so that it is that of each run.
    """

    def __init__(self, models: Sequence[Classifier], plan: Plan) -> None:
        self.params, self.buffers = torch.func.stack_module_state(list(models))  # pyright: ignore[reportArgumentType]
        self.form = copy.deepcopy(models[0]).to("meta")
        weights: list[Tensor] = list(self.params.values())
        self.optimiser = optimiser_of(weights, plan)
        self._own = torch.vmap(self._one, randomness="different")
        self._shared = torch.vmap(self._one, in_dims=(0, 0, None), randomness="different")

    def _one(self, params: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(self.form, (params, buffers), (x,))

    def training_logits(self, x: Tensor) -> Tensor:
        """(R, n, K), each model's of rows of its own, (R, n, …), in training mode."""
        self.form.train()
        return self._own(self.params, self.buffers, x)

    def logits(self, x: Tensor) -> Tensor:
        """(R, n, K), each model's of the same rows, in evaluation mode and without gradients."""
        self.form.eval()
        with torch.no_grad():
            return torch.cat([self._shared(self.params, self.buffers, rows) for rows in x.split(CHUNK)], dim=1)

    def unstack(self, models: Sequence[Classifier]) -> None:
        """Give each model its weights."""
        stacked = {**self.params, **self.buffers}
        for number, model in enumerate(models):
            model.load_state_dict({name: tensor[number].detach() for name, tensor in stacked.items()})


def refuse(options: Options, plan: Plan, arms: Sequence[Arm], data: Data, model: str) -> None:
    """Refuse what cannot train as one program, before anything is written: the model is tried on a few rows.

    Args:
        options: checked.
        plan: of every run.
        arms: to be trained.
        data: prepared.
        model: its name.

    Raises:
        OptionError: it says what, and the way out.
    """
    for option, is_set in (
        ("--on", options.on is not None),
        ("--early-stop", plan.early_stop is not None),
        ("--accumulate", plan.accumulate > 1),
        ("--precision bf16", plan.precision != "float32"),
    ):
        if is_set:
            raise OptionError(f"--together and {option} cannot be had at once; leave one of them out")
    mixing = [arm.name for arm in arms if isinstance(arm.loss(), MixLoss)]
    if mixing:
        raise OptionError(
            f"--together cannot train {mixing[0]}, which mixes rows within each run; leave --together out"
        )
    built = build(model, data.inputs, len(data.table.class_names), seed=0, pretrained=options.pretrained)
    rows = torch.from_numpy(data.part("train").features[:4])
    try:
        stack = Stack([built, built], plan)
        stack.training_logits(torch.stack([rows, rows])).sum().backward()
        stack.logits(rows)
        stack.unstack([built, built])  # weights that two layers share have one name in the stack
    except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise OptionError(
            f"--together cannot train {model} on {data.inputs.told()} as a stack ({why}); leave --together out"
        ) from None


def run_all(
    tasks: Sequence[processes.Task], parts: dict[str, Part], *, workers: int, progress: processes.Progress
) -> list[dict[str, Any]]:
    """Every task at once, in this process on so many threads; as :func:`.processes.run_all`, but for the bits.

    Raises:
        ArmError, WriteError: from a run.
        TrainingError: a loss was not finite; it names the run.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(workers)
    try:
        runs = [processes.Run(tasks[0], parts)]
        runs += [processes.Run(task, parts, beside=runs[0]) for task in tasks[1:]]
        torch.manual_seed(min(task.seed for task in tasks))  # layers that draw numbers draw for all runs at once
        trained = _train(runs, progress)
        return [run.keep(each, share=len(runs)) for run, each in zip(runs, trained, strict=True)]
    finally:
        torch.set_num_threads(threads)


def _train(runs: Sequence[processes.Run], progress: processes.Progress) -> list[Trained]:
    """The loop of :func:`sfumato.lab.train.train`, with every run in each step."""
    tasks, plan = [run.task for run in runs], runs[0].task.plan
    (x, y), (x_validation, y_validation) = runs[0].tensors["train"], runs[0].tensors["validation"]
    stack = Stack([run.model for run in runs], plan)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(stack.optimiser, T_max=plan.steps(len(y)))
    orders = {task.seed: torch.Generator().manual_seed(task.seed) for task in tasks}
    batches, hashes = {seed: hashlib.sha256() for seed in orders}, {seed: list[str]() for seed in orders}
    losses = [_loss_of(run) for run in runs]
    floors = [task.arm.floor(task.classes) for task in tasks]
    weight = runs[0].weight
    whole = float(len(y)) if weight is None else weight.sum().item()

    for epoch in range(1, plan.epochs + 1):
        shuffled = {seed: torch.randperm(len(y), generator=order) for seed, order in orders.items()}
        total, gaps = torch.zeros(len(runs), device=x.device), torch.zeros(len(runs), device=x.device)
        for batch in zip(*(shuffled[task.seed].split(plan.batch_size) for task in tasks), strict=True):
            stack.optimiser.zero_grad()
            rows = torch.stack(batch).to(x.device)
            logits, labels = stack.training_logits(x[rows]), y[rows]
            values = torch.stack([loss(*each) for loss, *each in zip(losses, logits, labels, rows, strict=True)])
            for task, value in zip(tasks, values.tolist(), strict=True):
                if not abs(value) < float("inf"):
                    raise TrainingError(
                        f"the loss of {task.name} is {value:g} in epoch {epoch}; the features or the learning rate "
                        f"({plan.learning_rate:g}) are too large"
                    )
            values.sum().backward()  # runs share no weight: each gets the gradient of its own loss
            stack.optimiser.step()
            schedule.step()
            mass = rows.shape[1] if weight is None else weight[rows].sum(dim=1)
            total += values.detach().to(total.dtype) * mass
            gaps += _gaps(logits.detach(), labels)

        for seed, order in shuffled.items():
            batches[seed].update(order.numpy().tobytes())
            hashes[seed].append(batches[seed].hexdigest())
        seen = stack.logits(x_validation)
        for run, loss, gap, logits, floor in zip(runs, total / whole, gaps / len(y), seen, floors, strict=True):
            nll, accuracy = hard_scores(logits, y_validation)
            found = Epoch(epoch, loss.item(), floor, loss.item() - floor, gap.item(), nll, accuracy)
            run.epochs.append(found.to_dict())
            progress(run.task.arm.name, run.task.seed, run.epochs[-1])
    stack.unstack([run.model for run in runs])
    return [Trained(tuple(hashes[task.seed]), plan.epochs) for task in tasks]


def _gaps(logits: Tensor, labels: Tensor) -> Tensor:
    """(R,) sums over rows of z_true − mean of the other logits, of (R, n, K) logits."""
    true = logits.gather(2, labels.unsqueeze(2)).squeeze(2)
    return (true - (logits.sum(2) - true) / (logits.shape[2] - 1)).sum(1)


def _loss_of(run: processes.Run) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The run's loss of logits, labels and the numbers of their rows."""
    loss, weight, soft = run.loss, run.weight, run.soft

    def value(logits: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        own = {} if weight is None else {"sample_weight": weight[rows]}
        if isinstance(loss, SoftLoss):
            assert soft is not None
            return loss.of(logits, soft[rows], own.get("sample_weight"))
        return loss(logits, labels, **own)

    return value
