"""One framework's loss as data and as a function, which computes it in float64 numpy, without its roundings."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from sfumato.conventions.row_losses import Array, Batch, Reduction, RowLoss, excess, mean_all, sigmoid, two_level
from sfumato.conventions.spread import Convention


@dataclass(frozen=True, kw_only=True)
class Formula:
    """One framework's loss, as data and as a function.

    ``key`` finds it, ``names`` are what a person may call it (the first is shown), ``call`` is the function or class
    and ``argument`` its name for ε ("" where it has none). ``convention`` is how ε is spread, None where the target is
    not one pair. ``row`` is the loss of a row as text: n is −log p of the label, S the sum of −log p over the classes,
    V = K. ``mean`` says what rows are divided by unless told otherwise, ``ignore`` what happens to ignored rows
    ("none": no row can be ignored), ``outside`` what happens to ε below 0 or above 1, ``defect`` what is wrong with it.
    ``read`` is the version or commit and ``path`` the file that was read; ``evidence`` is ``"run"`` where it was
    executed and compared with :meth:`loss`.

    ``compute`` gives the loss of each row in nats (None: what ``convention``, ``minus_entropy`` and class weights make
    of it), ``reduce`` the one number. ``minus_entropy``: the target's entropy is subtracted. ``scale`` multiplies a
    row's plain cross entropy; ``base`` is that of its logarithm, 2 for bits. ``options`` are taken apart from logits,
    labels and ε, ``ignore_index`` is the label of ignored rows by default, ``defaults`` are the framework's own for
    options.

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
        """The loss of each row, (N,), in the unit of ``base``, of logits (N, K) and labels (N,) or probabilities (N,
        K).

        Options are those named in ``options``, see :class:`~sfumato.conventions.row_losses.Batch`; another one is a
        TypeError. IndexError: a label that is no class and not ignored. ValueError: shapes that do not fit.
        """
        return self._rows(self._batch(logits, labels, eps, options))

    def loss(self, logits: ArrayLike, labels: ArrayLike, eps: float, **options: Any) -> float:
        """As :meth:`rows`, reduced as the framework does unless told otherwise; "no reduction" is taken as the mean."""
        batch = self._batch(logits, labels, eps, options)
        return float(self.reduce(batch, self._rows(batch)))

    def factor(self, num_classes: int) -> float:
        """What a row's plain cross entropy in nats is multiplied by, in the unit of ``base``."""
        scale = self.scale(num_classes) if callable(self.scale) else self.scale
        return float(scale) / math.log(self.base)

    def _rows(self, batch: Batch) -> Array:
        compute = self.compute
        if compute is None:
            assert self.convention is not None, f"{self.key} has neither a convention nor a loss of its own"
            coins = self.convention.space == "sigmoid"
            compute = (sigmoid if coins else excess if self.minus_entropy else two_level)(self.convention)
        return compute(batch) / math.log(self.base)

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
