"""timm: one criterion for its training script and its tasks, with labels and with the soft targets of Mixup."""

import torch
from torch import Tensor

from sfumato.extras import framework_imports
from sfumato.loss import cross_entropy
from sfumato.targets.checks import ArgumentError, check_distribution, check_over, check_strength
from sfumato.theory import Over, convert_eps

with framework_imports("sfumato.adapters.timm", "timm"):
    from timm.data.mixup import Mixup


class CrossEntropy(torch.nn.Module):
    r"""Cross entropy for timm: of labels, which it smooths, and of soft targets, which Mixup has smoothed already.

    .. math:: L = \frac{1}{N}\sum_i \sum_k q_{ik}\,(\mathrm{lse}(z_i) - z_{ik})

    It replaces three losses of timm: ``CrossEntropyLoss`` at ε = 0, ``LabelSmoothingCrossEntropy`` for labels, and
    ``SoftTargetCrossEntropy`` for the soft targets (N, K) of Mixup and CutMix. Mixup smooths while it mixes, so soft
    targets are taken as they are. :meth:`mixup` makes one with the same ε. Soft targets with zeros in them were not
    smoothed, and the first batch of them is refused where ε is above 0.

    As part of a ``ClassificationTask``, or after ``eval()``, it is the log loss: nothing is smoothed in evaluation.
    ``label_smoothing`` is ε in [0, 1], and ``over`` where it goes: ``"all"`` K classes, as in timm, or the K−1
    ``"others"``.

    ValueError: a strength outside [0, 1] or an unknown ``over``, at construction; in training soft targets that do not
    sum to 1 (names the first row), or that were not smoothed.

    >>> criterion = CrossEntropy(label_smoothing=0.1, over="others")
    >>> round(criterion(torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0])).item(), 4)
    0.4395
    """

    def __init__(self, label_smoothing: float = 0.0, over: Over = "all") -> None:
        super().__init__()
        check_strength(label_smoothing)
        check_over(over)
        self.label_smoothing = float(label_smoothing)
        self.over: Over = over
        self._looked = False

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The mean loss of a batch of logits (N, K) with labels (N,), or soft targets (N, K)."""
        if not target.is_floating_point():
            eps = self.label_smoothing if self.training else 0.0
            return cross_entropy(input, target, label_smoothing=eps, over=self.over)
        if target.shape != input.shape:
            raise ArgumentError(
                f"soft targets must be shaped as the logits, {tuple(input.shape)}, got {tuple(target.shape)}; labels "
                f"must be torch.int64 and {tuple(input.shape[:1])}"
            )
        check_distribution(target, None, "target")
        if self.label_smoothing and self.training and not self._looked and not torch.compiler.is_compiling():
            if bool((target == 0).any()):
                raise ArgumentError(
                    f"these soft targets are not smoothed, and label_smoothing={self.label_smoothing:g} smooths labels "
                    "only: give Mixup its label_smoothing=, or take the Mixup that this criterion's mixup(…) makes"
                )
            self._looked = True
        return cross_entropy(input, target)

    def mixup(self, num_classes: int, **options: object) -> Mixup:
        """A Mixup of timm that smooths by the same ε: its own argument is over all classes, so this one is converted.

        ``options`` are what else ``timm.data.Mixup`` takes, such as ``mixup_alpha=0.8``. ValueError for a strength over
        the others that is above (K−1)/K, which no Mixup can smooth by.
        """
        eps = convert_eps(self.label_smoothing, num_classes, frm=self.over, to="all")
        return Mixup(label_smoothing=eps, num_classes=num_classes, **options)  # pyright: ignore[reportArgumentType]

    def extra_repr(self) -> str:
        """What was set, the convention always with the strength."""
        return f'label_smoothing={self.label_smoothing:g}, over="{self.over}"'
