"""Other people's losses as oracles over random cases: torch, timm, optax, Keras, and formulas that projects print.

sfumato's own constructors are asked here too, since each oracle has its own way to say a target.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F

import sfumato as sf
from tests.conformance import aim

pytestmark = pytest.mark.skipif(aim.NAME != aim.OURS, reason="asks for sfumato's own arguments")

STRENGTHS = (0.0, 1e-3, 0.1, 0.5, 0.999)
SHAPES = ((1, 2), (7, 3), (32, 10), (5, 257))
DRAWS = range(2 * len(SHAPES))


class Drawn(NamedTuple):
    logits: torch.Tensor
    labels: torch.Tensor
    probs: torch.Tensor
    eps: float


@pytest.fixture(params=DRAWS, ids=lambda number: f"draw {number}")
def case(request, seed) -> Drawn:
    """A batch of any scale and strength, in few shapes: optax compiles its losses for each."""
    generator = torch.Generator().manual_seed(1000 * seed + request.param)
    n, k = SHAPES[request.param % len(SHAPES)]
    scale = (0.1, 1.0, 10.0)[int(torch.randint(3, (), generator=generator))]
    return Drawn(
        scale * torch.randn(n, k, generator=generator, dtype=torch.float64),
        torch.randint(0, k, (n,), generator=generator),
        (3 * torch.randn(n, k, generator=generator, dtype=torch.float64)).softmax(1),
        STRENGTHS[int(torch.randint(len(STRENGTHS), (), generator=generator))],
    )


# Libraries are loaded before a test looks at what it leaves behind: they start threads, set filters and variables.


@pytest.fixture(scope="module")
def timm():
    pytest.importorskip("timm")
    from timm.data import mixup
    from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy

    return SimpleNamespace(
        smoothed=LabelSmoothingCrossEntropy, soft=SoftTargetCrossEntropy(), mixup_target=mixup.mixup_target
    )


@pytest.fixture(scope="module")
def optax():
    return _optax()


@pytest.fixture(scope="module")
def keras(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        if "keras" not in sys.modules:
            patch.setenv("KERAS_BACKEND", "torch")
            patch.setenv(
                "KERAS_HOME", str(tmp_path_factory.mktemp("keras"))
            )  # it writes its settings where it finds none
        return pytest.importorskip("keras")


def ours(logits: torch.Tensor, target, **options) -> tuple[torch.Tensor, torch.Tensor]:
    leaf = logits.clone().requires_grad_()
    loss = sf.cross_entropy(leaf, target, **options)
    return loss.detach(), torch.autograd.grad(loss, leaf)[0]


def theirs(loss, logits: torch.Tensor, *args) -> tuple[torch.Tensor, torch.Tensor]:
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, *args)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


def close(a, b, rtol=1e-12, atol=1e-13) -> None:
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x.double(), y.double(), rtol=rtol, atol=atol)


class TestTorch:
    def test_smoothed_labels(self, case):
        def loss(z):
            return F.cross_entropy(z, case.labels, label_smoothing=case.eps)

        close(
            ours(case.logits, sf.smooth(case.labels, case.logits.shape[1], case.eps, over="all")),
            theirs(loss, case.logits),
        )

    def test_the_divergence_is_the_excess(self, case):
        divergence = F.kl_div(case.logits.log_softmax(1), case.probs, reduction="batchmean")
        excess = sf.loss_parts(case.logits, sf.from_probs(case.probs)).excess
        torch.testing.assert_close(excess, divergence, rtol=1e-10, atol=1e-12)

    def test_the_entropy_is_the_floor(self, case):
        floor = sf.loss_parts(case.logits, sf.from_probs(case.probs), reduction="none").floor
        torch.testing.assert_close(floor, torch.distributions.Categorical(probs=case.probs).entropy())


class TestTimm:
    def test_smoothed_labels(self, case, timm):
        loss = timm.smoothed(case.eps)
        close(ours(case.logits, case.labels, label_smoothing=case.eps), theirs(loss, case.logits, case.labels))

    def test_probabilities(self, case, timm):
        close(ours(case.logits, sf.from_probs(case.probs)), theirs(timm.soft, case.logits, case.probs))

    @pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
    def test_mixed_labels(self, case, lam, timm):
        k = case.logits.shape[1]
        mixed = timm.mixup_target(case.labels, k, lam, case.eps).double()
        pair = (sf.smooth(y, k, case.eps, over="all") for y in (case.labels, case.labels.flip(0)))
        # timm builds its target in float32.
        close(ours(case.logits, sf.mix(*pair, lam)), theirs(timm.soft, case.logits, mixed), 1e-6, 1e-6)


class TestOptax:
    """optax computes in float32, and so does the loss here."""

    @pytest.fixture(autouse=True)
    def losses(self, optax):
        self.optax = optax

    def agrees(self, case, logits, target, name, *args, **options):
        """Mean and gradient of the optax loss of that name are ours, as far as float32 goes."""
        value, grad = self.optax[name](*(_array(x) for x in (logits.float(), *args)))
        theirs = torch.tensor(float(value)), torch.tensor(grad.tolist())
        gap = float(case.logits.max() - case.logits.min())
        close(ours(logits.float(), target, **options), theirs, 2e-6, 1e-6 + 2**-22 * gap)

    def test_labels(self, case):
        self.agrees(case, case.logits, case.labels, "labels", case.labels)

    def test_smoothed_labels(self, case):
        q = F.one_hot(case.labels, case.logits.shape[1]).float()
        self.agrees(case, case.logits, case.labels, "smoothed", q, case.eps, label_smoothing=case.eps)

    def test_probabilities(self, case):
        self.agrees(case, case.logits, sf.from_probs(case.probs.float()), "probabilities", case.probs.float())

    def test_a_masked_class(self, case):
        k = case.logits.shape[1]
        support = torch.ones(k, dtype=torch.bool)
        support[(int(case.labels[0]) + 1) % k] = False
        labels = torch.where(support[case.labels], case.labels, case.labels[0])
        masked = case.logits.masked_fill(~support, -torch.inf)
        target = sf.smooth(labels, k, case.eps, over="all", support=support)
        self.agrees(case, masked, target, "masked", F.one_hot(labels, k).float(), case.eps, support)


def _optax():
    """optax's losses with their gradient in the logits, compiled once a shape."""
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")

    def smoothed(z, q, eps):
        return optax.softmax_cross_entropy(z, optax.smooth_labels(q, eps))

    def masked(z, q, eps, where):
        return optax.safe_softmax_cross_entropy(z, optax.smooth_labels(q, eps, where=where) * where)

    losses = {
        "labels": optax.softmax_cross_entropy_with_integer_labels,
        "smoothed": smoothed,
        "probabilities": optax.safe_softmax_cross_entropy,
        "masked": masked,
    }
    return {
        name: jax.jit(jax.value_and_grad(lambda z, *args, loss=loss: loss(z, *args).mean()))
        for name, loss in losses.items()
    }


def _array(value):
    import jax.numpy as jnp

    return jnp.asarray(value.numpy() if isinstance(value, torch.Tensor) else value)


class TestKeras:
    """Keras on torch, in float64."""

    def smoothed(self, keras, q, eps):
        # The function: the mean of the class is float32, whatever dtype it is given.
        return lambda z: keras.losses.categorical_crossentropy(q, z, from_logits=True, label_smoothing=eps).mean()

    def test_smoothed_labels(self, case, keras):
        q = F.one_hot(case.labels, case.logits.shape[1]).double()
        loss = self.smoothed(keras, q, case.eps)
        close(ours(case.logits, case.labels, label_smoothing=case.eps), theirs(loss, case.logits))

    def test_smoothed_probabilities(self, case, keras):
        loss = self.smoothed(keras, case.probs, case.eps)
        close(ours(case.logits, case.probs, label_smoothing=case.eps), theirs(loss, case.logits))

    def test_weights_a_row(self, case, keras):
        loss = keras.losses.CategoricalCrossentropy(from_logits=True, reduction="sum", dtype="float64")
        weights = torch.linspace(0.1, 2, len(case.labels), dtype=torch.float64)
        q = F.one_hot(case.labels, case.logits.shape[1]).double()
        close(
            ours(case.logits, case.labels, sample_weight=weights, reduction="sum"),
            theirs(lambda z: loss(q, z, sample_weight=weights), case.logits),
        )

    @pytest.mark.parametrize("ignored", [0, 1])
    def test_an_ignored_class(self, case, keras, ignored):
        loss = keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, ignore_class=ignored, reduction="sum", dtype="float64"
        )
        close(
            ours(case.logits, case.labels, ignore_index=ignored, reduction="sum"),
            theirs(lambda z: loss(case.labels, z), case.logits),
        )


def fairseq(log_p: torch.Tensor, labels: torch.Tensor, eps: float) -> torch.Tensor:
    """fairseq since 2021, criterions/label_smoothed_cross_entropy.py."""
    share = eps / (log_p.shape[1] - 1)
    return (1 - eps - share) * -log_p.gather(1, labels[:, None])[:, 0] - share * log_p.sum(1)


def megatron(log_p: torch.Tensor, labels: torch.Tensor, eps: float) -> torch.Tensor:
    """Megatron-Core, core/tensor_parallel/cross_entropy.py, on one rank."""
    k = log_p.shape[1]
    share = eps * k / (k - 1)
    return (1 - share) * -log_p.gather(1, labels[:, None])[:, 0] - share * log_p.mean(1)


def tensor2tensor(log_p: torch.Tensor, labels: torch.Tensor, eps: float) -> torch.Tensor:
    """Tensor2Tensor, layers/common_layers.py; what it takes off again, its entropy, put back."""
    k = log_p.shape[1]
    low = eps / (k - 1)
    q = torch.full_like(log_p, low).scatter(1, labels[:, None], 1 - eps)
    return -(q * log_p).sum(1)


@pytest.mark.parametrize("formula", [fairseq, megatron, tensor2tensor])
def test_over_the_others_is_the_formula_of_others(case, formula):
    def loss(z):
        return formula(z.log_softmax(1), case.labels, case.eps).mean()

    target = sf.smooth(case.labels, case.logits.shape[1], case.eps, over="others")
    close(ours(case.logits, target), theirs(loss, case.logits))
    close(ours(case.logits, case.labels, label_smoothing=case.eps, over="others"), theirs(loss, case.logits))


def test_the_hugging_face_formula_is_over_all(case):
    # transformers, trainer_pt_utils.py: LabelSmoother.
    def loss(z):
        log_p = -z.log_softmax(1)
        kept = case.labels != -100
        hard, smooth = log_p.gather(1, case.labels[:, None])[:, 0], log_p.sum(1)
        return ((1 - case.eps) * hard[kept].sum() + case.eps * smooth[kept].sum() / log_p.shape[1]) / kept.sum()

    target = sf.smooth(case.labels, case.logits.shape[1], case.eps, over="all")
    close(ours(case.logits, target), theirs(loss, case.logits))
