"""How a strength ε becomes a target: each way to spread ε, as one pair (q_true, q_other) of ε and K.

sfumato takes two of the eight ways by name, ``others`` and ``all``. The rest differ by a padding class, by a mass that
is not 1, or by being targets of K sigmoids and not of one softmax.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Literal, TypeAlias, cast

from sfumato import theory
from sfumato.theory import Over

Space: TypeAlias = Literal["softmax", "softmax without padding", "sigmoid"]
"""What a target is a target of: every class of a softmax, every class but one, or K sigmoids."""


class ConversionError(ValueError):
    """No strength of the wanted convention has the target asked for: the message says why."""


@dataclass(frozen=True, kw_only=True)
class Convention:
    """One way to spread a strength ε.

    ``pair`` is (q_true, q_other) of ε and K, whatever the range of ε, and exact where ε is a Fraction; ``inverse`` is ε
    of K and the probability of each other class at the optimum; ``limit`` is the largest strength with a meaning.
    ``formula_true``, ``formula_other``, ``formula_mass`` (Σq) and ``formula_gap`` say the same as text, ``at_one`` says
    what ε = 1 means. ``over`` is the name that every sfumato function takes, or None; ``used_by`` are the frameworks
    whose argument means this, and ``source`` is where it was first written down.

    >>> others.used_by[0], [round(q, 4) for q in others.target(0.1, 10)]
    ('fairseq', [0.9, 0.0111])
    """

    name: str
    over: Over | None = None
    formula_true: str
    formula_other: str
    formula_mass: str = "1"
    formula_gap: str
    at_one: str
    used_by: tuple[str, ...]
    source: str
    space: Space = "softmax"
    limit: float = 1.0
    pair: Callable[[float, int], tuple[float, float]] = field(repr=False)
    inverse: Callable[[float, int], float] = field(repr=False)

    def target(self, eps: float, num_classes: int) -> tuple[float, float]:
        """The target as numbers, ``(q_true, q_other)``.

        ValueError for ε outside [0, ``limit``] or NaN, and for K below 2, or 3 where one class is padding.
        """
        if self.limit > 1 and not (eps >= 0 and math.isfinite(eps)):
            raise ValueError(f'eps must be at least 0 and finite for "{self.name}", got {eps:g}')
        # theory checks the ranges of ε and K, with their messages
        theory.loss_floor(min(eps, 1.0) if self.limit > 1 else eps, num_classes, over="all")
        if self._others(num_classes) < 1:
            raise ValueError(f'num_classes must be at least 3 for "{self.name}", the padding class counted, got 2')
        return self.pair(eps, num_classes)

    def mass(self, eps: float, num_classes: int) -> float:
        """Σq over the classes that have mass: 1 for a proper target; for sigmoids the sum of K targets."""
        true, other = self.target(eps, num_classes)
        return 1.0 if self.formula_mass == "1" else true + self._others(num_classes) * other

    def optimum(self, eps: float, num_classes: int) -> tuple[float, float]:
        """The probabilities at which the loss is smallest, ``(p_true, p_other)``: q/Σq, or q itself for sigmoids."""
        true, other = self.target(eps, num_classes)
        total = 1.0 if self.space == "sigmoid" else self.mass(eps, num_classes)
        return true / total, other / total

    def gap(self, eps: float, num_classes: int) -> float:
        """The gap at the optimum in nats: z_true − z_other, or for sigmoids the optimal logit of the label."""
        true, other = self._exact(eps, num_classes)
        if self.over is not None:
            return theory.optimal_gap(eps, num_classes, over=self.over)
        base = 1 - true if self.space == "sigmoid" else other
        return math.inf if base == 0 else -math.inf if true == 0 else _log(true / base)

    def floor(self, eps: float, num_classes: int) -> float:
        """The smallest value that the plain cross entropy takes, in nats; for sigmoids summed over the K classes."""
        true, other = self._exact(eps, num_classes)
        if self.over is not None:
            return theory.loss_floor(eps, num_classes, over=self.over)
        n = self._others(num_classes)
        if self.space == "sigmoid":
            return _entropy(true) + _entropy(1 - true) + n * (_entropy(other) + _entropy(1 - other))
        total = true + n * other
        return float(total) * (_entropy(true / total) + n * _entropy(other / total))

    def strength(self, true: float, other: float, num_classes: int) -> float:
        """The ε whose optimum is the given probabilities, the inverse of :meth:`optimum`; ConversionError for none."""
        eps = self.inverse(other, num_classes) + 0.0
        close = 1e-9 + 1e-9 * abs(eps)
        if math.isfinite(eps) and -close <= eps <= self.limit + close:
            eps = min(max(eps, 0.0), self.limit)
            back = self.optimum(eps, num_classes)
            if math.isclose(back[0], true, rel_tol=1e-7, abs_tol=1e-9):
                return eps
        raise ConversionError(
            f'at K = {num_classes} no strength of "{self.name}" has {true:.6g} on the label and {other:.6g} on each '
            "other class"
        )

    def _others(self, num_classes: int) -> int:
        return num_classes - (2 if self.space == "softmax without padding" else 1)

    def _exact(self, eps: float, num_classes: int) -> tuple[Fraction, Fraction]:
        """The target without a rounding, so that 1 − q_true has the digits of a small ε."""
        self.target(eps, num_classes)
        pair = cast("Callable[[Fraction, int], tuple[Fraction, Fraction]]", self.pair)
        return pair(Fraction(float(eps)), int(num_classes))


def _entropy(q: Fraction) -> float:
    return -float(q) * _log(q) if q > 0 else 0.0


def _log(q: Fraction) -> float:
    """The logarithm of q to a unit or two of float64, near 1 and where q itself is no float too."""
    twos = 0 if 0.5 < q < 2 else q.numerator.bit_length() - q.denominator.bit_length()
    return twos * math.log(2) + math.log1p(float(q / Fraction(2) ** twos - 1))


# fmt: off
others = Convention(
    name="others", over="others", formula_true="1 − ε", formula_other="ε/(K−1)", formula_gap="log((K−1)(1−ε)/ε)",
    at_one="nothing on the label", source="the note, eq. 4",
    used_by=("fairseq", "Tensor2Tensor", "T5X", "Megatron-Core", "ESPnet", "WeNet"),
    pair=lambda e, k: (1 - e, e / (k - 1)), inverse=lambda q, k: q * (k - 1))
"""ε over the K−1 wrong classes: the true class keeps exactly 1 − ε."""

all = Convention(
    name="all", over="all", formula_true="1 − ε + ε/K", formula_other="ε/K", formula_gap="log(1 + K(1−ε)/ε)",
    at_one="uniform", source="Szegedy et al. 2016, section 7",
    used_by=("torch", "timm", "Keras", "optax", "Hugging Face Trainer", "flash-attention", "Liger"),
    pair=lambda e, k: (1 - e + e / k, e / k), inverse=lambda q, k: q * k)
"""ε over all K classes, the true one included: the uniform mixture."""

nopad = Convention(
    name="nopad", formula_true="1 − ε", formula_other="ε/(K−2), padding 0", formula_gap="log((K−2)(1−ε)/ε)",
    at_one="nothing on the label", source="OpenNMT-py, onmt/utils/loss.py", space="softmax without padding",
    used_by=("OpenNMT-py 1 and 2", "JoeyNMT", "The Annotated Transformer"),
    pair=lambda e, k: (1 - e, e / (k - 2)), inverse=lambda q, k: q * (k - 2))
"""ε over the classes that are neither the label nor padding; padding, one of the K, gets nothing."""

classy = Convention(
    name="classy", formula_true="(1 + ε/K)/(1 + ε)", formula_other="(ε/K)/(1 + ε)", formula_gap="log(1 + K/ε)",
    at_one="half one-hot, half uniform", source="ClassyVision, losses/label_smoothing_loss.py", limit=math.inf,
    used_by=("ClassyVision", 'mmpretrain mode="classy_vision"'),
    pair=lambda e, k: ((1 + e / k) / (1 + e), e / k / (1 + e)),
    inverse=lambda q, k: q * k / (1 - q * k) if q * k < 1 - 1e-12 else math.inf)  # the q of uniform is rounded
"""ε/K added to every class, then divided by the sum: over all with ε/(1+ε)."""

deficit = Convention(
    name="deficit", formula_true="1 − ε", formula_other="ε/K", formula_mass="1 − ε/K", formula_gap="log(K(1−ε)/ε)",
    at_one="nothing on the label, Σq = 1 − 1/K", source="CoinCheung pytorch-loss, pytorch_loss/label_smooth.py",
    used_by=("CoinCheung pytorch-loss",),
    pair=lambda e, k: (1 - e, e / k), inverse=lambda q, k: q * k / (1 + q))  # q is p_other = (ε/K)/(1 − ε/K)
"""1−ε and ε/K, which do not sum to 1: the ε/K of the label was left out."""

_sigmoids = partial(Convention, formula_mass="a target a class", space="sigmoid")

sigmoid_half = _sigmoids(
    name="sigmoid-half", formula_true="1 − ε/2", formula_other="ε/2", at_one="one half everywhere",
    formula_gap="log((2−ε)/ε), the logit of the label", source="TensorFlow 1, losses_impl.py",
    used_by=("Keras BinaryCrossentropy", "TensorFlow 1 sigmoid_cross_entropy", "torch-uncertainty"),
    pair=lambda e, k: (1 - e / 2, e / 2), inverse=lambda q, k: 2 * q)
"""Each class is a coin of its own, drawn towards one half."""

sigmoid_full = _sigmoids(
    name="sigmoid-full", formula_true="1 − ε", formula_other="ε", formula_gap="log((1−ε)/ε), the logit of the label",
    at_one="labels swapped", source="segmentation_models_pytorch, losses/soft_bce.py",
    used_by=("segmentation_models_pytorch SoftBCE", "pytorch-toolbelt SoftBCE", 'mmpretrain mode="multi_label"'),
    pair=lambda e, k: (1 - e, e), inverse=lambda q, k: q)
"""``sigmoid_half`` with twice the strength: ε is the chance that the label of a class is wrong."""

sigmoid_all = _sigmoids(
    name="sigmoid-all", formula_true=all.formula_true, formula_other=all.formula_other,
    formula_gap="log((1 − ε + ε/K)/(ε − ε/K)), the logit of the label", at_one="1/K everywhere",
    used_by=("timm BinaryCrossEntropy",), source="timm, loss/binary_cross_entropy.py",
    pair=all.pair, inverse=all.inverse)
"""The softmax's target ``all``, given to K sigmoids."""
# fmt: on

CONVENTIONS: dict[Over, Convention] = {"others": others, "all": all}
"""The two by the name that ``over=`` takes."""

SPREADS: dict[str, Convention] = {
    each.name: each for each in (others, all, nopad, classy, deficit, sigmoid_half, sigmoid_full, sigmoid_all)
}
"""Every convention by its name."""
