"""One framework's loss as data and as a function.

A formula is the loss of a row, how rows are reduced, and what the code was seen to do with the cases that nobody
writes down: an ignored row, a strength out of range, a class weight. ``rows`` and ``loss`` compute it in float64 numpy,
as its framework would without rounding.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from sfumato.conventions.batch import Array, Batch
from sfumato.conventions.row_losses import Reduction, RowLoss, excess, mean_all, sigmoid, two_level
from sfumato.conventions.spread import Convention


@dataclass(frozen=True, kw_only=True)
class Formula:
    """One framework's loss.

    Attributes:
        key: short name, as in ``"torch.index"``.
        names: what a person may call it; the first is how it is shown.
        call: the function or class.
        argument: its name for ε; "" where it has none.
        convention: how ε is spread; None where the target is not one pair.
        row: the loss of a row as a formula. n is −log p of the label, S the sum of −log p over the classes, V = K.
        read: the version or commit that was read.
        path: the file, in the repository of the framework.
        mean: what the rows are divided by, unless told otherwise.
        ignore: what happens to ignored rows; "none" where no row can be ignored.
        outside: what happens to ε below 0 or above 1.
        evidence: ``"run"``: executed and compared with :meth:`loss`; ``"read"``: read only.
        compute: the loss of each row in nats; by default what the convention, ``minus_entropy`` and class weights make
            of it.
        reduce: how rows become one number; by default the mean over all of them.
        minus_entropy: whether the target's entropy is subtracted, so that the smallest value is 0.
        scale: what a row's plain cross entropy is multiplied by (1, or a function of K).
        base: base of the logarithm of its values: e for nats, 2 for bits.
        defect: what is wrong with it, if anything was found.
        options: the options beside logits, labels and ε.
        ignore_index: the label of ignored rows by default; None where no row is ignored.
        defaults: what the framework itself takes for an option that is not given, by name.

    >>> import sfumato as sf
    >>> fairseq = sf.conventions.find("fairseq")
    >>> round(fairseq.loss([[2.0, 0.0, 0.0]], [0], 0.1), 6)
    0.439545
    """

    key: str
    names: tuple[str, ...]
    call: str
    argument: str = "label_smoothing"
    convention: Convention | None = None
    row: str
    read: str
    path: str
    mean: str = "all rows"
    ignore: str = "none"
    outside: str = "unknown"
    evidence: Literal["run", "read"] = "run"
    compute: RowLoss | None = field(default=None, repr=False)
    reduce: Reduction = field(default=mean_all, repr=False)
    minus_entropy: bool = False
    scale: float | Callable[[int], float] = 1.0
    base: float = math.e
    defect: str = ""
    options: tuple[str, ...] = ()
    ignore_index: int | None = None
    defaults: tuple[tuple[str, float], ...] = ()

    @property
    def name(self) -> str:
        """How it is shown."""
        return self.names[0]

    def rows(self, logits: ArrayLike, labels: ArrayLike, eps: float, **options: Any) -> Array:
        """The loss of each row, (N,), in the unit of ``base``.

        Args:
            logits: z, (N, K).
            labels: y, (N,); or probabilities (N, K), where the framework takes them.
            eps: strength ε.
            options: those named in ``options``; see :class:`~sfumato.conventions.batch.Batch`.

        Raises:
            TypeError: an option that this formula has not.
            IndexError: a label that is no class, and not ignored.
            ValueError: shapes that do not fit.
        """
        return self._rows(self._batch(logits, labels, eps, options))

    def loss(self, logits: ArrayLike, labels: ArrayLike, eps: float, **options: Any) -> float:
        """The loss as the framework reduces it unless told otherwise; "no reduction" is taken as the mean.

        Args and errors: as :meth:`rows`.
        """
        batch = self._batch(logits, labels, eps, options)
        return float(self.reduce(batch, self._rows(batch)))

    def factor(self, num_classes: int) -> float:
        """What a row's plain cross entropy in nats is multiplied by: ``scale`` as a number, in the unit of ``base``."""
        scale = self.scale(num_classes) if callable(self.scale) else self.scale
        return float(scale) / math.log(self.base)

    def _rows(self, batch: Batch) -> Array:
        return self._nats(batch) / math.log(self.base)

    def _nats(self, batch: Batch) -> Array:
        if self.compute is not None:
            return self.compute(batch)
        assert self.convention is not None, f"{self.key} has neither a convention nor a loss of its own"
        if self.convention.space == "sigmoid":
            return sigmoid(self.convention)(batch)
        return (excess if self.minus_entropy else two_level)(self.convention)(batch)

    def _batch(self, logits: ArrayLike, labels: ArrayLike, eps: float, options: dict[str, Any]) -> Batch:
        unknown = [name for name in options if name not in self.options]
        if unknown:
            known = f"its options are {', '.join(self.options)}" if self.options else "it has no options"
            raise TypeError(f"{self.name} has no option {unknown[0]!r}; {known}")
        z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels)
        if z.ndim != 2 or y.shape not in (z.shape[:1], z.shape):
            raise ValueError(
                f"logits must be (N, K) and labels (N,) or (N, K), got {z.shape} and {y.shape}; classes are on axis 1"
            )
        given: dict[str, Any] = {"ignore_index": self.ignore_index, **dict(self.defaults), **options}
        for name in {"weight", "prior", "rows_table"} & options.keys():
            given[name] = np.asarray(options[name], dtype=np.float64)
        if self.convention is not None and self.convention.space == "softmax without padding":
            given["pad"] = given["ignore_index"] = given.get("pad", self.ignore_index)
        batch = Batch(z, y, eps, **given)
        if y.ndim == 2:
            return batch
        bad = batch.valid & ((y < 0) | (y >= batch.classes))
        if self.key == "hf":  # negative labels become class 0 there; see its defect
            bad &= y >= 0
        if bad.any():
            row = int(bad.argmax())
            classes = f"{batch.classes} classes (0 to {batch.classes - 1})"
            raise IndexError(f"label {y[row]} in row {row} is not a class: logits have {classes}")
        return batch
