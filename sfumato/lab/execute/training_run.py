"""One run of one arm and seed, from its rows to its files.

A run depends on its task alone and trains on one torch thread, so its bits are the same wherever it is trained.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from sfumato.io.atomic import file_hash, write_arrays, write_bytes, write_sealed
from sfumato.lab.data import Part
from sfumato.lab.errors import TrainingError
from sfumato.lab.execute.task import RunTask
from sfumato.lab.execute.torchrun import Ranks
from sfumato.lab.models import Classifier, build, features_and_logits, weights_hash
from sfumato.lab.train.augment import Augmentation
from sfumato.lab.train.loop import Epoch, Trained, mean_gap, train
from sfumato.runs.schema import RunRecord, check

_WIDEST = 2048
"""Features beyond this many are inputs as a rule, such as all terms of a vocabulary, and are not kept."""

OnEpoch = Callable[[dict[str, Any]], object]  # called with the fields of an epoch


def run(task: RunTask, parts: dict[str, Part], on_epoch: OnEpoch) -> RunRecord:
    """Train, verify, save; errors and result are those of :meth:`TrainingRun.train` and :meth:`TrainingRun.save`."""
    made = TrainingRun(task, parts)
    return made.save(made.train(on_epoch))


class TrainingRun:
    """A run ready to train: its rows on the device, a model with its initial weights, and a loss.

    Args:
        task: what to run.
        parts: the rows of ``"train"``, ``"validation"`` and ``"test"``.
    """

    def __init__(self, task: RunTask, parts: dict[str, Part]) -> None:
        self._started = time.perf_counter()
        self.task, self.parts = task, parts

        def there(array: Any) -> Any:
            return None if array is None else torch.from_numpy(array).to(task.device)

        self._rows = {name: (there(part.features), there(part.labels)) for name, part in parts.items()}
        self._weight, self._soft = there(parts["train"].weight), there(parts["train"].soft)
        self._validation_soft = there(parts["validation"].soft)
        model = build(task.model, task.inputs, task.classes, seed=task.seed, pretrained=task.pretrained)
        self.model = model.to(task.device)
        torch.manual_seed(task.seed)  # for layers that draw numbers, such as dropout: a run depends on its task alone
        self.loss = task.arm.loss()
        self._initial = weights_hash(self.model)
        self.epochs: list[dict[str, Any]] = []  # the fields of each epoch so far

    def train(self, on_epoch: OnEpoch | None, *, ranks: Ranks | None = None) -> Trained:
        """Train the model; errors and ``ranks`` are those of :func:`sfumato.lab.train.loop.train`."""

        def keep(epoch: Epoch) -> None:
            self.epochs.append(epoch.to_dict())
            if on_epoch is not None:
                on_epoch(self.epochs[-1])

        plan, inputs, rows = self.task.plan, self.task.inputs, len(self._rows["train"][1])
        augment = Augmentation(plan.augment, inputs, rows, self.task.seed) if plan.augment else None
        return train(
            self.model,
            self.loss,
            self._rows["train"],
            self._rows["validation"],
            self.task.plan,
            seed=self.task.seed,
            floor=self.task.arm.floor(self.task.classes),
            on_epoch=keep,
            weight=self._weight,
            soft=self._soft,
            validation_soft=self._validation_soft,
            ranks=ranks,
            augment=augment,
        )

    def save(self, trained: Trained) -> RunRecord:
        """Verify what was trained, save it, and give its record: hashes, curves, training gap, the implied target."""
        task = self.task
        target = task.arm.verify(self.loss, task.classes)
        train_gap = 0.0
        for name in task.parts:
            features, labels = self._rows[name]
            logits = save_logits(task, name, self.model, self.parts[name], features)
            if name == "train":
                train_gap = mean_gap(logits.double(), labels.cpu())
        weights = {name: tensor.cpu().contiguous() for name, tensor in self.model.state_dict().items()}
        write_bytes(task.files["weights"], to_bytes(weights))
        record: RunRecord = {
            "arm": task.arm.name,
            "seed": task.seed,
            "weights": self._initial,
            "batches": list(trained.batches),
            "kept_epoch": trained.kept_epoch,
            "target": target,
            "train_gap": train_gap,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "description": self.model.description,
            "epochs": self.epochs,
            "seconds": time.perf_counter() - self._started,
            "files": {name: file_hash(path) for name, path in task.files.items()},
        }
        write_sealed(task.record, check(record, RunRecord, task.record))
        return record


def save_logits(task: RunTask, name: str, model: Classifier, part: Part, features: Tensor) -> Tensor:
    """Evaluate the trained model of a task on one part, save what it says, and give the logits (n, K), on the CPU.

    The features are those of the part, where the model is.
    """
    pairs = [(f.cpu(), z.cpu()) for f, z in features_and_logits(model, features)]
    penultimate, logits = (torch.cat(each) for each in zip(*pairs, strict=True))
    if not bool(logits.isfinite().all()):
        raise TrainingError(
            f"the {task.arm.name} model of seed {task.seed} has logits that are not finite after training; "
            f"the learning rate ({task.plan.learning_rate:g}) is too large"
        )
    group = part.index if part.group is None else part.group
    arrays = {"index": part.index, "logits": logits.numpy(), "labels": part.labels, "group": group}
    if part.soft is not None:
        arrays["label_probs"] = part.soft
    # Features are for looking at: one seed of them, in half precision, is enough.
    if task.seed == 0 and penultimate.shape[1] <= _WIDEST:
        arrays["features"] = penultimate.half().numpy()
    write_arrays(task.files[name], arrays)
    return logits


def trained_model(task: RunTask) -> Classifier:
    """The model of a finished run, with its weights read back."""
    model = build(task.model, task.inputs, task.classes, seed=task.seed, pretrained=task.pretrained)
    model.load_state_dict(load_file(task.files["weights"]))
    return model.to(task.device).eval()
