"""One run, from its rows to its files.

A run depends on its task alone and trains on one torch thread, so its bits are the same wherever it is trained.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from sfumato.io.atomic import file_hash, write_arrays, write_bytes, write_sealed
from sfumato.lab.data import Part
from sfumato.lab.errors import TrainingError
from sfumato.lab.execute import Progress, Rows, RunTask
from sfumato.lab.execute.torchrun import ONE_PROCESS, Ranks
from sfumato.lab.models import Classifier, build, features_and_logits, weights_hash
from sfumato.lab.train.augment import Augmentation
from sfumato.lab.train.loop import Epoch, Trained, train
from sfumato.runs.schema import RunRecord, check

_WIDEST = 2048
"""Features beyond this many are inputs as a rule, such as all terms of a vocabulary, and are not kept."""

OnEpoch = Callable[[dict[str, Any]], object]  # called with the fields of an epoch


def run(task: RunTask, parts: dict[str, Part], on_epoch: OnEpoch) -> RunRecord:
    """Train, verify, save."""
    made = TrainingRun(task, parts)
    return made.save(made.train(on_epoch))


def run_by_ranks(tasks: Sequence[RunTask], rows: Rows, progress: Progress, ranks: Ranks) -> list[RunRecord]:
    """Each run in turn, trained by all ranks; the records are the first rank's, which alone writes and reports."""
    torch.set_num_threads(1)
    records: list[RunRecord] = []
    for task in tasks:
        made = TrainingRun(task, rows(task.fold))
        trained = made.train(partial(progress, task.key) if ranks.is_first else None, ranks=ranks)
        if ranks.is_first:
            records.append(made.save(trained))
    return records


class TrainingRun:
    """A run ready to train: the rows of ``parts`` on the device, a model with its initial weights, and a loss."""

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

    def train(self, on_epoch: OnEpoch | None, *, ranks: Ranks = ONE_PROCESS) -> Trained:
        """Train the model."""

        def keep(epoch: Epoch) -> None:
            self.epochs.append(epoch.to_dict())
            if on_epoch is not None:
                on_epoch(self.epochs[-1])

        task, rows = self.task, self._rows["train"]
        kinds = task.plan.augment
        return train(
            self.model,
            self.loss,
            rows,
            self._rows["validation"],
            task.plan,
            seed=task.seed,
            floor=task.arm.floor(task.classes),
            on_epoch=keep,
            weight=self._weight,
            soft=self._soft,
            validation_soft=self._validation_soft,
            ranks=ranks,
            augment=Augmentation(kinds, task.inputs, len(rows[1]), task.seed) if kinds else None,
        )

    def save(self, trained: Trained) -> RunRecord:
        """Verify what was trained, save it, and give its record: hashes, curves, training gap, the implied target."""
        task = self.task
        target = task.arm.verify(self.loss, task.classes)
        for name in task.parts:
            save_logits(task, name, self.model, self.parts[name], self._rows[name][0])
        weights = {name: tensor.cpu().contiguous() for name, tensor in self.model.state_dict().items()}
        write_bytes(task.files["weights"], to_bytes(weights))
        record = {
            **task.key._asdict(),
            "fold": task.fold,
            "weights": self._initial,
            "batches": list(trained.batches),
            "kept_epoch": trained.kept_epoch,
            "target": target,
            "train_gap": trained.train_gap,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "description": self.model.description,
            "epochs": self.epochs,
            "seconds": time.perf_counter() - self._started,
            "files": {name: file_hash(path) for name, path in task.files.items()},
        }
        checked = check(record, RunRecord, task.record)
        write_sealed(task.record, checked)
        return checked


def save_logits(task: RunTask, name: str, model: Classifier, part: Part, features: Tensor) -> None:
    """Evaluate the trained model on one part, whose features are where the model is."""
    pairs = [(f.cpu(), z.cpu()) for f, z in features_and_logits(model, features)]
    penultimate, logits = (torch.cat(chunks) for chunks in zip(*pairs, strict=True))
    if not bool(logits.isfinite().all()):
        raise TrainingError(
            f"the {task.arm.name} model of seed {task.seed} has logits that are not finite after training; "
            f"the learning rate ({task.plan.learning_rate:g}) is too large"
        )
    group = part.index if part.group is None else part.group
    arrays = {"index": part.index, "logits": logits.numpy(), "labels": part.labels, "group": group}
    if part.soft is not None:
        arrays["label_probs"] = part.soft
    # Features are for looking at: one seed of each fold, in half precision, is enough.
    if task.seed == task.fold and penultimate.shape[1] <= _WIDEST:
        arrays["features"] = penultimate.half().numpy()
    write_arrays(task.files[name], arrays)


def trained_model(task: RunTask) -> Classifier:
    """The model of a finished run, with its weights read back."""
    model = build(task.model, task.inputs, task.classes, seed=task.seed, pretrained=task.pretrained)
    model.load_state_dict(load_file(task.files["weights"]))
    return model.to(task.device).eval()
