"""Keras 3: the loss on any backend, for class indices and for soft labels, and scores for ``sfumato judge``."""

import os
from typing import Any

import numpy as np

from sfumato.adapters._shared import check_smoothing, masses, save_parts, scale_and_floor
from sfumato.extras import framework_imports
from sfumato.theory import Over
from sfumato.theory.noise import distribution_fault

with framework_imports("sfumato.adapters.keras", "keras"):
    import keras
    from keras.src.backend import get_keras_mask
    from keras.src.losses.loss import reduce_weighted_values

ops: Any = keras.ops  # its annotations say None of what gives a tensor


@keras.saving.register_keras_serializable(package="sfumato")
class CrossEntropy(keras.losses.Loss):
    r"""Cross entropy for ``model.compile(loss=…)``: of class indices or of soft labels, smoothed.

    .. math:: L = \sum_k q_k\,(\mathrm{lse}(z) - z_k)
              = (q_y - r)\,(\mathrm{lse}(z) - z_y) + r \sum_k (\mathrm{lse}(z) - z_k)

    with q_y the mass of the label and r that of each other class. The classes are on the last axis. Labels are class
    indices (…) or (…, 1), or probabilities (…, K). Class indices stay integers: the losses of Keras turn labels into
    float32, which has no room for all from 16,777,216 on.

    Keras gives evaluation the same loss, which is then smoothed and no log loss: add
    ``keras.metrics.SparseCategoricalCrossentropy(from_logits=True)`` as a metric.

    ``label_smoothing`` is ε in [0, 1], and ``over`` where it goes: ``"all"`` K classes, as in Keras, or the K−1
    ``"others"``. ``from_logits=False`` takes the logarithm of outputs that are probabilities, above Keras's epsilon;
    Keras's own losses do so by default. Rows of ``ignore_index`` have a gradient of 0, whatever they hold, and the mean
    is over the others. ``reduction``, ``name`` and ``dtype`` are those of every loss of Keras.

    ValueError: a strength outside [0, 1] or an unknown ``over``, at construction; shapes that do not fit. A class index
    that is no class makes the loss NaN, because no backend can look at it in compiled code.

    >>> loss = CrossEntropy(label_smoothing=0.1, over="others")
    >>> round(float(loss(np.array([0]), np.array([[2.0, 0.0, 0.0]]))), 4)
    0.4395
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        over: Over = "all",
        from_logits: bool = True,
        *,
        ignore_index: int = -100,
        reduction: str | None = "sum_over_batch_size",
        name: str = "cross_entropy",
        dtype: Any = None,
    ) -> None:
        check_smoothing(label_smoothing, over)
        super().__init__(name=name, reduction=reduction, dtype=dtype)  # pyright: ignore[reportArgumentType] - or None
        self.label_smoothing, self.from_logits = float(label_smoothing), from_logits
        self.over: Over = over
        self.ignore_index = ignore_index

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The reduced loss."""
        mask = get_keras_mask(y_pred)
        y_pred = ops.convert_to_tensor(y_pred, dtype=self.dtype)
        y_true = ops.convert_to_tensor(y_true)
        if self._hard(y_true, y_pred):
            counts = self._indices(y_true, y_pred) != self.ignore_index
            mask = counts if mask is None else ops.logical_and(ops.cast(mask, "bool"), counts)
        losses = self.call(y_true, y_pred)
        return reduce_weighted_values(losses, sample_weight, mask, self.reduction, self.dtype)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each row, (…); 0 where it is ignored."""
        z, classes = y_pred, y_pred.shape[-1]
        if not self.from_logits:
            z = ops.log(ops.clip(z, keras.config.epsilon(), 1.0))
        if not self._hard(y_true, y_pred):
            scale, floor = scale_and_floor(self.label_smoothing, classes, self.over)
            below, log_total = _shifted(z)
            q = scale * ops.cast(y_true, z.dtype) + floor
            surprisal = log_total - below
            free = ops.logical_and(q == 0, ops.isinf(surprisal))  # a probability of 0 keeps its derivative elsewhere
            return ops.sum(q * ops.where(free, ops.zeros_like(surprisal), surprisal), axis=-1)
        y = self._indices(y_true, y_pred)
        counts, known = y != self.ignore_index, ops.logical_and(y >= 0, y < classes)
        z = ops.where(counts[..., None], z, ops.zeros_like(z))  # what an ignored row holds reaches no gradient
        below, log_total = _shifted(z)
        index = ops.where(known, y, ops.zeros_like(y))[..., None]
        nll = (log_total - ops.take_along_axis(below, index, axis=-1))[..., 0]
        nll = ops.where(ops.logical_or(known, ops.logical_not(counts)), nll, ops.full_like(nll, float("nan")))
        loss = nll
        if self.label_smoothing:
            true, other = masses(self.label_smoothing, classes, self.over)
            lead = true - other
            own = lead * nll if lead else ops.where(ops.isnan(nll), nll, ops.zeros_like(nll))  # 0 times inf is NaN
            loss = own + other * ops.sum(log_total - below, axis=-1)
        return ops.where(counts, loss, ops.zeros_like(loss))

    def get_config(self) -> dict[str, Any]:
        """What a saved model keeps of this loss."""
        own = {"label_smoothing": self.label_smoothing, "over": self.over, "from_logits": self.from_logits}
        return {**super().get_config(), **own, "ignore_index": self.ignore_index}

    def _hard(self, y_true: Any, y_pred: Any) -> bool:
        """Whether labels are class indices, (…) or (…, 1); probabilities have the shape of the outputs."""
        true, pred = tuple(y_true.shape), tuple(y_pred.shape)
        if len(pred) < 1 or (pred[-1] or 2) < 2:
            raise ValueError(f"outputs must be (…, K) with at least 2 classes, got {pred}")
        if len(true) == len(pred) and true[-1] == pred[-1]:
            return False
        if len(true) == len(pred) - 1 or (len(true) == len(pred) and true[-1] == 1):
            return True
        raise ValueError(
            f"labels must be class indices {pred[:-1]} or {(*pred[:-1], 1)}, or probabilities {pred}, got {true}"
        )

    def _indices(self, y_true: Any, y_pred: Any) -> Any:
        """Class indices (…), as integers of at least 32 bits."""
        y = ops.squeeze(y_true, axis=-1) if len(y_true.shape) == len(y_pred.shape) else y_true
        kind = keras.backend.standardize_dtype(y.dtype)
        return y if kind in ("int32", "int64") else ops.cast(y, "int32")


class SaveScores(keras.callbacks.Callback):
    """Write ``FOLDER/ARM/SEED.npz`` when training ends: logits and labels of test rows, and of validation rows.

    ``sfumato judge FOLDER`` then compares the arms. The weights are those at the end of training, or the best ones
    where ``EarlyStopping(restore_best_weights=True)`` stands before this callback. ``folder`` is made where it is
    missing; ``arm`` is what is trained, such as ``"one-hot"``, and ``seed`` which model of it. ``test`` and
    ``validation``, on which the temperature is fitted, are pairs of inputs and labels (N,). Of outputs that are
    probabilities (``from_logits=False``) the logarithm is saved.

    >>> SaveScores("scores", arm="smoothed", seed=0, test=(np.zeros((2, 3)), np.zeros(2, int))).arm
    'smoothed'
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        arm: str,
        seed: int | str,
        test: tuple[Any, Any],
        validation: tuple[Any, Any] | None = None,
        from_logits: bool = True,
    ) -> None:
        super().__init__()
        for name, pair in (("test", test), ("validation", validation)):
            if pair is None:
                continue
            if len(pair) != 2:
                raise ValueError(f"{name} must be a pair of inputs and labels, got {len(pair)} things")
            labels = np.asarray(pair[1])
            if labels.ndim > 1 and labels.shape[-1] > 1 and distribution_fault(labels, 1e-5) is None:
                raise ValueError(
                    f"the labels of {name} must be class indices (N,), got probabilities {labels.shape}: give their "
                    "argmax(-1)"
                )
        self.folder, self.arm, self.seed = folder, arm, seed
        self.test, self.validation, self.from_logits = test, validation, from_logits

    def on_train_end(self, logs: Any = None) -> None:
        """Save the scores; Keras calls this."""
        save_parts(self.folder, self.arm, self.seed, self._read, self.test, self.validation)

    def _read(self, rows: tuple[Any, Any]) -> tuple[Any, Any]:
        model: Any = self.model
        outputs = np.asarray(model.predict(rows[0], verbose=0), dtype=np.float32)
        logits = outputs if self.from_logits else np.log(np.maximum(outputs, np.finfo(np.float32).tiny))
        return logits, np.asarray(rows[1]).reshape(logits.shape[:-1])


def _shifted(z: Any) -> tuple[Any, Any]:
    """Z − max z, (…, K), and lse(z) − max z, (…, 1), whose sum leaves the 1 of the largest out.

    The largest is in the sum as expm1(0), which is 0 and has the derivative 1.
    """
    top = ops.stop_gradient(ops.max(z, axis=-1, keepdims=True))
    below, at_top = z - top, z == top
    rest = ops.sum(ops.where(at_top, ops.expm1(below), ops.exp(below)), axis=-1, keepdims=True)
    ties = ops.sum(ops.cast(at_top, z.dtype), axis=-1, keepdims=True)
    return below, ops.log1p(rest + (ties - 1))
