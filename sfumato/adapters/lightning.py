"""Lightning: what smoothing does to held-out rows, epoch by epoch, and scores for ``sfumato judge``.

The loss itself needs no adapter: a ``training_step`` calls ``sf.cross_entropy``. What it then logs is smoothed, so
these callbacks measure held-out rows against their labels.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sfumato.adapters._shared import save_parts
from sfumato.evaluate import fit_temperature, logit_gap
from sfumato.extras import framework_imports
from sfumato.loss import cross_entropy
from sfumato.targets.checks import ArgumentError
from sfumato.text import plural

with framework_imports("sfumato.adapters.lightning", "lightning"):
    from lightning.pytorch import Callback, LightningModule, Trainer

Scores = Callable[[LightningModule, Any], tuple[Tensor, Tensor]]
"""What gives the logits (N, K) or (B, T, K) and the labels (N,) or (B, T) of a batch, from a module and the batch."""


class Watch(Callback):
    """Measure the validation rows against their labels after each epoch: log loss, logit gap and temperature.

    It logs ``hard_nll``, ``logit_gap`` and ``temperature``, so a ``ModelCheckpoint(monitor="hard_nll")`` chooses by the
    log loss, whatever was smoothed in training. Rows are those of the first validation loader, on all devices; the
    check before training is left out. Their logits are kept until the epoch ends, N×K numbers of 4 bytes. ``history``
    has a dictionary per epoch, and is in checkpoints.

    A ``validation_step`` that returns a dictionary with ``"logits"`` and ``"labels"`` gives these. Otherwise a batch
    must be a pair ``(x, labels)``, and the module is called once more. Where neither rule fits, ``scores`` is a
    function of the module and a batch that gives logits and labels.

    >>> Watch()
    Watch(0 epochs)
    """

    def __init__(self, scores: Scores | None = None) -> None:
        self.scores, self.history = scores, list[dict[str, float]]()
        self._kept = list[tuple[Tensor, Tensor]]()

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {value:.4g}" for name, value in self.history[-1].items()) if self.history else ""
        return f"Watch({plural(len(self.history), 'epoch')}{f'; {last}' if last else ''})"

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the rows of an epoch that was cut short; Lightning calls this."""
        self._kept.clear()

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the logits and labels of a batch; Lightning calls this."""
        if trainer.sanity_checking or dataloader_idx:
            return
        if self.scores is None and isinstance(outputs, Mapping) and {"logits", "labels"} <= {*outputs}:
            self._kept.append(_rows(outputs["logits"], outputs["labels"]))
        else:
            self._kept.append(_rows(*(self.scores or _of_pair)(pl_module, batch)))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and log; Lightning calls this."""
        kept, self._kept = _of_all_ranks(self._kept, trainer), []
        if trainer.sanity_checking or not kept:
            return
        logits, labels = (torch.cat(parts) for parts in zip(*kept, strict=True))
        if not len(labels):
            raise ArgumentError("Watch found no validation row that counts: every label is -100")
        metrics = {
            "hard_nll": cross_entropy(logits.double(), labels).item(),
            "logit_gap": float(logit_gap(logits, labels).mean()),
            "temperature": fit_temperature(small=True, logits=logits, labels=labels).value,
        }
        self.history.append({"epoch": trainer.current_epoch, **metrics})
        pl_module.log_dict(metrics, sync_dist=trainer.world_size > 1)  # a mean of equal numbers, or Lightning warns

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the history of a checkpoint."""
        self.history = list(state_dict["history"])


class SaveScores(Callback):
    """Write ``FOLDER/ARM/SEED.npz`` when training ends: logits and labels of test rows, and of validation rows.

    ``sfumato judge FOLDER`` then compares the arms. The weights are those at the end of training. ``folder`` is made
    where it is missing; ``arm`` is what is trained, such as ``"one-hot"``; ``seed`` is which model of it, None for the
    one that ``lightning.seed_everything`` set. ``test`` and ``validation``, on which the temperature is fitted, are
    loaders that must not shuffle; the first process alone reads them, so a loader of which each rank has a part is
    refused. Batches are pairs ``(x, labels)``, unless
    ``scores`` is a function of the module and a batch that gives logits and labels.

    >>> SaveScores("scores", arm="smoothed", seed=0, test=[])
    SaveScores(scores/smoothed)
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        arm: str,
        seed: int | str | None = None,
        test: Iterable[Any],
        validation: Iterable[Any] | None = None,
        scores: Scores | None = None,
    ) -> None:
        for name, rows in (("test", test), ("validation", validation)):
            if getattr(getattr(rows, "sampler", None), "num_replicas", 1) > 1:
                raise ArgumentError(f"the loader of {name} has a part of the rows on each rank: give one of all rows")
        self.folder, self.arm, self.seed = folder, arm, seed
        self.test, self.validation, self.scores = test, validation, scores or _of_pair

    def __repr__(self) -> str:
        return f"SaveScores({os.fspath(self.folder)}/{self.arm})"

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the seed before anything trains; Lightning calls this."""
        if self.seed is None and "PL_GLOBAL_SEED" not in os.environ:
            raise ArgumentError("SaveScores needs seed=, or lightning.seed_everything(…) before training")

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the scores; Lightning calls this."""
        if not trainer.is_global_zero:
            return
        seed = os.environ["PL_GLOBAL_SEED"] if self.seed is None else self.seed
        read = partial(self._read, trainer=trainer, pl_module=pl_module)
        save_parts(self.folder, self.arm, seed, read, self.test, self.validation)

    def _read(self, loader: Iterable[Any], trainer: Trainer, pl_module: LightningModule) -> tuple[Tensor, Tensor]:
        """Logits and labels of all rows that count; the module's mode is put back."""
        training = pl_module.training
        pl_module.eval()
        try:
            with torch.no_grad():
                kept = [
                    _rows(*self.scores(pl_module, trainer.strategy.batch_to_device(batch, pl_module.device)))
                    for batch in loader
                ]
        finally:
            pl_module.train(training)
        if not kept:
            raise ArgumentError("SaveScores was given a loader without batches")
        logits, labels = zip(*kept, strict=True)
        return torch.cat(logits), torch.cat(labels)


def _of_pair(module: LightningModule, batch: Any) -> tuple[Tensor, Tensor]:
    """Logits and labels of a batch (x, labels)."""
    if not isinstance(batch, (tuple, list)) or len(batch) != 2 or not isinstance(batch[1], Tensor):
        raise ArgumentError(
            f"a batch must be a pair (x, labels), got {type(batch).__name__}: return {{'logits': …, 'labels': …}} of "
            "validation_step for Watch, or give scores=, a function of the module and the batch"
        )
    return module(batch[0]), batch[1]


def _rows(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The rows that count, logits (n, K) in float32 and labels (n,), on the CPU."""
    if labels.is_floating_point() or logits.shape[:-1] != labels.shape:
        raise ArgumentError(
            f"logits must be {(*labels.shape, 'K')} for labels {tuple(labels.shape)} of classes, got "
            f"{tuple(logits.shape)} and {labels.dtype}"
        )
    labels = labels.flatten().long()
    counts = labels != -100
    return logits.detach().flatten(0, -2)[counts].float().cpu(), labels[counts].cpu()


def _of_all_ranks(kept: list[tuple[Tensor, Tensor]], trainer: Trainer) -> list[tuple[Tensor, Tensor]]:
    """What the processes of all devices kept, in the order of their ranks."""
    if trainer.world_size == 1:
        return kept
    gathered: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(gathered, kept)
    return [part for each in gathered for part in each]
