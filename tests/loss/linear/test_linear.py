"""The loss of a last layer in pieces is the loss of all its logits: value, gradients, parts, memory and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode

import sfumato as sf
from sfumato import reference
from sfumato.loss import slices
from sfumato.loss.linear import pieces
from tests import needs
from tests.loss.properties import few
from tests.targets.drawn import cases
from tests.targets.registry import EXAMPLES, example

POSITIONS, FEATURES = 41, 12


@pytest.fixture(autouse=True, scope="module", params=["kernel", "torch"])
def path(request):
    """Everything is asked of the compiled kernel and of torch, in several pieces both ways."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "torch":
            patch.setattr(slices, "on_kernel", lambda z, call: False)
        else:
            needs.kernel()
        patch.setattr(pieces, "piece_bytes", lambda x, call: 0)
        patch.setattr(pieces, "_ROWS", 7)
        patch.setattr(pieces, "_MIN_CLASSES", 64)
        yield request.param


class Layer:
    """A layer whose logits are exact in every dtype: small integers, so that any order of sums gives the same."""

    def __init__(self, classes: int, dtype: torch.dtype, *, seed: int = 0, bias: bool = True, rows: int = POSITIONS):
        generator = torch.Generator().manual_seed(seed)
        self.x = torch.randint(-1, 2, (rows, FEATURES), generator=generator).to(dtype).requires_grad_()
        self.weight = torch.randint(-2, 3, (classes, FEATURES), generator=generator).to(dtype).requires_grad_()
        self.bias = torch.randint(-3, 4, (classes,), generator=generator).to(dtype).requires_grad_() if bias else None
        self.labels = torch.randint(0, classes, (rows,), generator=generator)
        self.labels[::6] = -100

    def leaves(self):
        return [each for each in (self.x, self.weight, self.bias) if each is not None]

    def logits(self) -> torch.Tensor:
        return F.linear(self.x, self.weight, self.bias)

    def fused(self, target, **options):
        return sf.linear_cross_entropy(self.x, self.weight, target, linear_bias=self.bias, **options)

    def gradients(self, loss: torch.Tensor, upstream: torch.Tensor | None = None):
        return torch.autograd.grad(loss, self.leaves(), upstream, retain_graph=True)


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """The largest error, in parts of the largest entry."""
    return ((found.double() - wanted.double()).abs().max() / wanted.double().abs().max().clamp(min=1e-30)).item()


# In parts of the largest entry. Halves are rounded where they are stored: a gradient of logits, and then the product.
NEAR = {torch.float64: 1e-13, torch.float32: 2e-6, torch.bfloat16: 2e-2, torch.float16: 3e-3}
each_dtype = pytest.mark.parametrize("dtype", NEAR, ids=str)


def assert_as_unfused(layer: Layer, target, upstream: float | torch.Tensor = 1.0, **options):
    dtype = layer.x.dtype
    fused = layer.fused(target, out_dtype=torch.promote_types(dtype, torch.float32), **options)
    logits = layer.logits()
    wanted = sf.cross_entropy(logits, target, out_dtype=torch.promote_types(dtype, torch.float32), **options)
    assert relative(fused, wanted) <= min(NEAR[dtype], 1e-6)
    up = torch.as_tensor(upstream, dtype=fused.dtype).expand(fused.shape)
    for name, mine, theirs in zip(
        ["x", "weight", "bias"], layer.gradients(fused, up), layer.gradients(wanted, up), strict=False
    ):
        assert relative(mine, theirs) <= NEAR[dtype], name
        assert mine.dtype == theirs.dtype
        assert mine.shape == theirs.shape


def sparse(name: str, classes: int) -> bool:
    terms = example(name, np.array([1, 2]), classes).build().terms(torch.float64)
    return terms.dense is None and all(back.support is None for back in terms.backs)


SPARSE = [name for name in EXAMPLES if sparse(name, 9)]
assert len({EXAMPLES[name] for name in SPARSE}) >= 7


@each_dtype
@pytest.mark.parametrize("classes", [2, 9, 64, 65, 200])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_smoothed_labels_have_the_loss_and_the_gradients_of_the_unfused(dtype, classes, reduction):
    layer = Layer(classes, dtype)
    upstream = torch.linspace(0.5, 2, POSITIONS) if reduction == "none" else 1.0
    for over in ("all", "others"):
        assert_as_unfused(layer, layer.labels, upstream, reduction=reduction, label_smoothing=0.1, over=over)


@each_dtype
@pytest.mark.parametrize("name", SPARSE)
def test_every_sparse_target_has_the_loss_and_the_gradients_of_the_unfused(dtype, name):
    layer = Layer(130, dtype)
    assert_as_unfused(layer, example(name, layer.labels, 130).build())


@each_dtype
def test_class_weights_multiply_terms_and_divide_the_mean(dtype):
    layer = Layer(90, dtype)
    weight = torch.linspace(0, 2, 90).to(dtype)
    for options in ({}, {"label_smoothing": 0.2}, {"label_smoothing": 0.2, "over": "others", "reduction": "sum"}):
        assert_as_unfused(layer, layer.labels, weight=weight, **options)
    assert_as_unfused(layer, example("pair of tables", layer.labels, 90).build(), weight=weight)


@given(st.data())
@few
def test_drawn_targets_are_as_the_reference_has_them(data):
    name = data.draw(st.sampled_from(sorted({EXAMPLES[name] for name in SPARSE})))
    case = data.draw(cases(name, batched=True))
    target = case.build()
    terms = target.terms(torch.float64)
    if terms.dense is not None or any(back.support is not None for back in terms.backs):
        return
    shape = case.labels.shape
    grid = st.integers(-3, 3)
    x = torch.tensor(data.draw(st.lists(grid, min_size=4, max_size=4)), dtype=torch.float64)
    x = (x * torch.arange(1, 1 + int(np.prod(shape)), dtype=torch.float64).reshape(*shape, 1)).requires_grad_()
    w = torch.tensor(
        [data.draw(st.lists(grid, min_size=4, max_size=4)) for _ in range(case.num_classes)], dtype=torch.float64
    ).requires_grad_()
    z = (x @ w.t()).movedim(-1, 1).detach()
    loss = sf.linear_cross_entropy(x, w, target, reduction="sum")
    exact = reference.cross_entropy(z, target, reduction="sum")
    assert abs(loss.item() - exact.item()) <= 1e-13 * abs(exact.item()) + 1e-13 * z.abs().max().item()
    of_x, of_w = torch.autograd.grad(loss, (x, w))
    g = reference.gradient(z, target, reduction="sum").movedim(1, -1).reshape(-1, case.num_classes)
    size = 1e-13 * (1 + g.abs().max()) * 4
    assert ((of_x.reshape(-1, 4) - g @ w).abs() <= size * (1 + w.abs().sum())).all()
    assert ((of_w - g.t() @ x.reshape(-1, 4)).abs() <= size * (1 + x.abs().sum())).all()


def test_the_loss_of_a_confident_row_keeps_its_digits():
    x = torch.tensor([[40.0]], dtype=torch.float32, requires_grad=True)
    w = torch.tensor([[1.0], [0.0], [-1.0]], requires_grad=True)
    loss = sf.linear_cross_entropy(x, w, torch.tensor([0]))
    assert loss.item() == pytest.approx(float(np.exp(-40.0)), rel=1e-6)
    _, of_w = torch.autograd.grad(loss, (x, w))
    assert of_w[0].item() == pytest.approx(-40 * float(np.exp(-40.0)), rel=1e-6)


def written_out(z, labels, weight=None, sample_weight=None, *, reduction, softcap=None, z_loss=0.0, **options):
    """The definition of capped logits, and λ·lse² of each row that counts, which class weights leave as it is."""
    z = z if softcap is None else softcap * torch.tanh(z / softcap)
    loss = reference.cross_entropy(z, labels, weight, sample_weight=sample_weight, reduction=reduction, **options)
    of_rows = (labels != -100) * (1.0 if sample_weight is None else sample_weight)
    more = z_loss * z.logsumexp(1) ** 2 * of_rows
    return loss + (more if reduction == "none" else more.sum() / (of_rows.sum() if reduction == "mean" else 1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weights", ["", "classes", "rows", "classes, rows"])
@pytest.mark.parametrize(("softcap", "z_loss"), [(5.0, 0.0), (None, 0.3), (9.0, 0.1)])
def test_caps_z_losses_and_weights_are_in_both_losses_and_in_the_gradients(dtype, reduction, weights, softcap, z_loss):
    layer = Layer(100, dtype)
    options = {"label_smoothing": 0.1, "softcap": softcap, "z_loss": z_loss, "reduction": reduction}
    if "classes" in weights:
        options["weight"] = torch.linspace(0.25, 2, 100)
    if "rows" in weights:
        options["sample_weight"] = torch.arange(POSITIONS) % 3 / 2.0
    exact = [each.detach().double().requires_grad_() for each in layer.leaves()]
    wanted = written_out(F.linear(*exact), layer.labels, **options)
    upstream = torch.linspace(0.5, 2, POSITIONS, dtype=torch.float64) if reduction == "none" else None
    gradients = torch.autograd.grad(wanted, exact, upstream)
    for loss in (layer.fused, lambda y, **o: sf.cross_entropy(F.linear(*layer.leaves()), y, **o)):
        found = loss(layer.labels, out_dtype=torch.float64, **options)
        assert relative(found, wanted) <= min(NEAR[dtype], 2e-6)
        for mine, theirs in zip(layer.gradients(found, upstream), gradients, strict=True):
            assert relative(mine, theirs) <= 2 * NEAR[dtype]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("softcap", [None, 20.0])
@pytest.mark.parametrize("bias", [False, True])
def test_half_inputs_have_the_loss_of_their_exact_logits(dtype, softcap, bias):
    """The layer of Cut Cross-Entropy's own suite, whose bars, 1e-3 and 1e-2 a row, rounded logits do not keep to."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(252, 123, generator=generator) / 123**0.5).to(dtype)
    weight = torch.randn(507, 123, generator=generator).to(dtype)
    weight[:126] = x[:126]
    of_bias = (0.01 * torch.randn(507, generator=generator)).to(dtype) if bias else None
    labels = torch.randint(0, 507, (252,), generator=generator)
    options = {"softcap": softcap, "reduction": "none"}
    found = sf.linear_cross_entropy(x, weight, labels, linear_bias=of_bias, out_dtype=torch.float32, **options)
    z = F.linear(x.double(), weight.double(), None if of_bias is None else of_bias.double())
    near = 1e-6 if dtype == torch.float16 else 2**-17 * z.abs().max().item()  # the sum of two halves has 16 bits
    torch.testing.assert_close(found.double(), written_out(z, labels, **options), rtol=1e-6, atol=near)


def test_weights_of_rows_get_a_gradient_and_move_with_the_shift():
    layer = Layer(70, torch.float64, rows=24)
    x, labels = layer.x.detach().reshape(4, 6, FEATURES), layer.labels.reshape(4, 6)
    weight = torch.linspace(0, 2, 24, dtype=torch.float64).reshape(4, 6).requires_grad_()
    options = {"shift": True, "sample_weight": weight, "reduction": "sum"}
    (found,) = torch.autograd.grad(sf.linear_cross_entropy(x, layer.weight, labels, **options), weight)
    z = F.linear(x[:, :-1], layer.weight).movedim(-1, 1)
    rows = F.cross_entropy(z, labels[:, 1:], reduction="none")
    torch.testing.assert_close(found, F.pad(rows.detach(), (1, 0)), rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match=r"sample_weight must be one number a row, \(4, 6\), got \(24,\)"):
        sf.linear_cross_entropy(x, layer.weight, labels, sample_weight=weight.flatten())


def test_positions_may_have_several_axes_and_a_shift():
    layer = Layer(70, torch.float64, rows=24)
    x, labels = layer.x.detach().reshape(2, 3, 4, FEATURES).requires_grad_(), layer.labels.reshape(2, 3, 4)
    fused = sf.linear_cross_entropy(x, layer.weight, labels, shift=True, label_smoothing=0.1)
    z = F.linear(x[..., :-1, :], layer.weight).movedim(-1, 1)
    wanted = sf.cross_entropy(z, labels[..., 1:], label_smoothing=0.1)
    assert relative(fused, wanted) <= 1e-14
    (mine,), (theirs,) = torch.autograd.grad(fused, x), torch.autograd.grad(wanted, x)
    assert relative(mine, theirs) <= 1e-13
    assert not mine[..., -1, :].any()
    target = sf.smooth(labels, 70, 0.1, over="all")
    assert sf.linear_cross_entropy(x, layer.weight, target, shift=True).item() == fused.item()


def test_a_sum_is_divided_by_the_items_that_are_counted_elsewhere():
    layer = Layer(70, torch.float64)
    whole = layer.fused(layer.labels, label_smoothing=0.1)
    count = (layer.labels != -100).sum()
    wanted = layer.gradients(whole)
    for parts in (1, 2, 8):
        total = [torch.zeros_like(each) for each in layer.leaves()]
        for rows in torch.arange(POSITIONS).chunk(parts):
            loss = sf.linear_cross_entropy(
                layer.x[rows],
                layer.weight,
                layer.labels[rows],
                linear_bias=layer.bias,
                label_smoothing=0.1,
                num_items=count,
            )
            for sums, part in zip(total, torch.autograd.grad(loss, layer.leaves()), strict=True):
                sums += part
        for sums, each in zip(total, wanted, strict=True):
            assert sums.norm().item() == pytest.approx(each.norm().item(), rel=1e-12)


def test_parts_are_what_the_logits_say():
    layer = Layer(70, torch.float64)
    parts = layer.fused(layer.labels, label_smoothing=0.1, return_parts=True)
    z, counted = layer.logits(), layer.labels != -100
    log_p = z.log_softmax(1)
    assert parts.loss.item() == layer.fused(layer.labels, label_smoothing=0.1).item()
    torch.testing.assert_close(parts.nll, F.cross_entropy(z, layer.labels, reduction="none"), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(parts.entropy, -(log_p.exp() * log_p).sum(1) * counted, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(parts.lse, z.logsumexp(1) * counted, rtol=1e-13, atol=1e-13)
    assert torch.equal(parts.correct, (z.argmax(1) == layer.labels) & counted)
    assert parts.loss.requires_grad
    assert not parts.nll.requires_grad
    mixed = layer.fused(example("pair", layer.labels, 70).build(), return_parts=True)
    assert mixed.nll is None
    assert mixed.correct is None
    none = sf.linear_cross_entropy(layer.x, layer.weight, torch.full((POSITIONS,), -100), return_parts=True)
    assert not none.entropy.any()
    assert none.entropy.shape == (POSITIONS,)


def test_only_what_asks_for_a_gradient_gets_one_and_the_products_for_others_are_saved(monkeypatch):
    layer = Layer(70, torch.float32)
    wanted = layer.gradients(layer.fused(layer.labels))
    made, gradients = [], pieces.gradients
    monkeypatch.setattr(pieces, "gradients", lambda *a: made.append(gradients(*a)) or made[-1])
    layer.weight.requires_grad_(False), layer.bias.requires_grad_(False)
    (of_x,) = torch.autograd.grad(layer.fused(layer.labels), layer.x)
    assert torch.equal(of_x, wanted[0])
    layer.x.requires_grad_(False), layer.bias.requires_grad_(True)
    (of_bias,) = torch.autograd.grad(layer.fused(layer.labels), layer.bias)
    assert torch.equal(of_bias, wanted[2])
    assert [[each is not None for each in one] for one in made] == [[True, False, False], [False, False, True]]


@each_dtype
def test_a_second_backward_and_another_upstream_give_the_same_gradients(dtype):
    layer = Layer(70, dtype)
    loss = layer.fused(layer.labels, label_smoothing=0.1)
    first = [each.clone() for each in layer.gradients(loss)]
    assert all(torch.equal(a, b) for a, b in zip(first, layer.gradients(loss), strict=True))
    loss = layer.fused(layer.labels, label_smoothing=0.1)
    quadruple = layer.gradients(loss, torch.tensor(4.0, dtype=dtype))
    for a, b in zip(quadruple, first, strict=True):
        assert relative(a / 4, b) <= NEAR[dtype]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_parts_of_a_half_precision_gradient_are_added_up_in_float32(dtype):
    """In the type of the layer, 32 parts would have some five times the error of one product."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(POSITIONS, FEATURES, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(32 * 64, FEATURES, generator=generator).to(dtype).requires_grad_()
    labels = torch.randint(0, len(weight), (POSITIONS,), generator=generator)
    exact_leaves = [each.detach().double().requires_grad_() for each in (x, weight)]

    def gradients(loss, leaves):
        return torch.autograd.grad(1024 * loss, leaves)

    options = {"label_smoothing": 0.1, "out_dtype": torch.float32}
    exact = gradients(sf.cross_entropy(F.linear(*exact_leaves), labels, label_smoothing=0.1), exact_leaves)
    unfused = gradients(sf.cross_entropy(F.linear(x, weight), labels, **options), (x, weight))
    for mine, theirs, truth in zip(
        gradients(sf.linear_cross_entropy(x, weight, labels, **options), (x, weight)), unfused, exact, strict=True
    ):
        assert (mine.double() - truth).norm() <= 1.5 * (theirs.double() - truth).norm()


def test_a_float16_gradient_is_not_divided_by_the_rows_before_the_scaler_is_in_it():
    """Also where the loss is float32, as under autocast: 1e-4 of a row, divided by 8,192 rows, is 0 in float16."""
    x = torch.ones(8192, 1, dtype=torch.float16, requires_grad=True)
    weight = torch.tensor([[9.0], [0.0]], dtype=torch.float16, requires_grad=True)
    loss = sf.linear_cross_entropy(x, weight, torch.zeros(8192, dtype=torch.int64), out_dtype=torch.float32)
    of_x, _ = torch.autograd.grad(loss, (x, weight), torch.tensor(65536.0))
    exact = -9 * 65536 / 8192 / (1 + np.exp(9.0))
    assert of_x.double() == pytest.approx(exact, rel=NEAR[torch.float16])


def test_gradients_add_up_in_the_leaves_and_inputs_stay_as_they_were():
    layer = Layer(70, torch.float32)
    before = [each.detach().clone() for each in layer.leaves()]
    once = layer.gradients(layer.fused(layer.labels))
    for _ in range(2):
        layer.fused(layer.labels).backward()
    for leaf, each in zip(layer.leaves(), once, strict=True):
        torch.testing.assert_close(leaf.grad, 2 * each)
    assert all(torch.equal(a, b) for a, b in zip(before, layer.leaves(), strict=True))


@pytest.mark.parametrize("of", [lambda labels: labels, lambda labels: sf.smooth(labels, 70, 0.1, over="all")])
def test_labels_that_change_between_forward_and_backward_are_an_error_and_no_wrong_gradient(of):
    layer = Layer(70, torch.float32)
    labels = torch.where(layer.labels == -100, 0, layer.labels)  # where all rows count, nobody has a copy of them
    loss = layer.fused(of(labels))
    labels.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_labels_of_inference_mode_are_taken():
    layer = Layer(70, torch.float32)
    with torch.inference_mode():
        labels = torch.arange(len(layer.labels)) % 70
    found, wanted = (layer.gradients(layer.fused(each)) for each in (labels, torch.arange(len(labels)) % 70))
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_autocast_makes_the_layer_in_its_dtype():
    layer = Layer(70, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused = layer.fused(layer.labels, label_smoothing=0.1)
    assert fused.dtype == torch.float32
    low = Layer(70, torch.bfloat16)
    assert fused.item() == low.fused(low.labels, label_smoothing=0.1, out_dtype=torch.float32).item()
    assert all(each.dtype == torch.float32 for each in layer.gradients(fused))


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch looks for one at what passes from graph to graph
def test_compiled_code_calls_it_between_two_graphs():
    layer = Layer(70, torch.float32)
    compiled = torch.compile(lambda x: sf.linear_cross_entropy(x * 2, layer.weight, layer.labels) + 1, backend="eager")
    eager = sf.linear_cross_entropy(layer.x * 2, layer.weight, layer.labels) + 1
    assert compiled(layer.x).item() == eager.item()


class Largest(TorchDispatchMode):
    """The largest tensor that any operation gives."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(each, torch.Tensor) and each.untyped_storage().nbytes() >= each.numel() * each.itemsize:
                self.numel = max(self.numel, each.numel())
        return out


@pytest.mark.parametrize("name", ["labels", *SPARSE])
def test_nothing_of_the_size_of_all_logits_is_ever_made(name):
    rows, classes = 32, 480
    layer = Layer(classes, torch.float32, rows=rows)
    target = layer.labels if name == "labels" else example(name, layer.labels, classes).build()
    with Largest() as largest:
        layer.gradients(layer.fused(target, return_parts=True).loss)
    made_of_rows = "table" in name or EXAMPLES.get(name, "").startswith("class_tables.")
    table = classes * classes if made_of_rows else 0  # the target's own, copied into float64 or cut in slices
    assert largest.numel <= max(rows * 64, classes * FEATURES, classes * 7, table)


def test_logits_of_another_order_of_sums_may_lie_above_the_largest():
    """What the slices are made of may differ by a rounding from what the rows were made of."""
    layer = Layer(300, torch.float32)
    with torch.no_grad():
        layer.x.mul_(0.1237), layer.weight.mul_(0.771)
    assert_as_unfused(layer, layer.labels, label_smoothing=0.1)


LAYER = Layer(70, torch.float32)
X, W, Y = LAYER.x, LAYER.weight, LAYER.labels
REFUSED = {  # what is given in place of X, W and Y, or beside them
    "features": ({"linear_weight": W[:, :3]}, "12 features and linear_weight 3"),
    "weight": ({"linear_weight": W[0]}, r"must be \(V, D\), got \(12,\)"),
    "bias": ({"linear_bias": W[:3, 0]}, r"must be \(70,\).*got \(3,\)"),
    "dtype": ({"linear_weight": W.double()}, "float32 on cpu and linear_weight torch.float64"),
    "integers": ({"input": X.long()}, "input must be floating"),
    "positions": ({"target": Y[1:]}, "batch_size"),
    "probabilities": ({"target": torch.zeros(41, 70)}, "sf.distil_top"),
    "dense": (
        {"target": sf.from_probs(torch.full((41, 70), 1 / 70))},
        "a number for every row and class .probabilities.*sf.distil_top",
    ),
    "classes": ({"target": sf.one_hot(Y, 71)}, "71 classes, the logits have 70"),
    "softcap": ({"softcap": 0.0}, "softcap must be above 0"),
    "z_loss": ({"z_loss": -1.0}, "z_loss must be at least 0"),
    "items": ({"num_items": 3, "reduction": "sum"}, "num_items"),
    "items below 0": ({"num_items": -3}, "num_items must be at least 0"),
    "shift": ({"input": X[None], "shift": True}, r"needs a target of \(1, 41\)"),
    "eps": ({"label_smoothing": 1.5}, "1.5"),
    **{
        f"{name} of another type": ({name: value}, rf"^{name} must be a (torch\.Tensor|number), got ")
        for name, value in (("linear_bias", [0.0] * 70), ("num_items", "3"), ("softcap", "30"), ("z_loss", "small"))
    },
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_by_name(name):
    given, message = REFUSED[name]
    with pytest.raises(TypeError if "another type" in name else ValueError, match=message):
        sf.linear_cross_entropy(**({"input": X, "linear_weight": W, "target": Y} | given))


def test_a_second_derivative_is_refused_with_the_way_out():
    with pytest.raises(RuntimeError, match="no second derivatives.*sf.cross_entropy"):
        torch.autograd.grad(LAYER.fused(LAYER.labels), LAYER.x, create_graph=True)


CLASSES = 5
GENERATOR = torch.Generator().manual_seed(0)
EXACT, OF_CLASSES = (torch.randn(n, 3, generator=GENERATOR, dtype=torch.float64) for n in (4, CLASSES))
LABELS = torch.tensor([0, 1, 4, 2])
ROWS = torch.full((CLASSES, CLASSES), 1 / CLASSES, dtype=torch.float64)
# Of each tensor that takes part as a number: its values, and the loss as a function of it.
CONSTANT = {
    "class weights": (ROWS[0], lambda w: sf.linear_cross_entropy(EXACT, OF_CLASSES, LABELS, weight=w)),
    "strengths": (
        torch.full((4,), 0.1),
        lambda eps: sf.linear_cross_entropy(EXACT, OF_CLASSES, sf.smooth(LABELS, CLASSES, eps, over="all")),
    ),
    "a table": (
        ROWS,
        lambda rows: sf.linear_cross_entropy(EXACT, OF_CLASSES, sf.smooth_rows(LABELS, rows), reduction="sum"),
    ),
}
MESSAGE = "^targets and class weights get no gradient: pass them detached, or use sf.cross_entropy"


@pytest.mark.parametrize("what", CONSTANT)
def test_what_would_get_a_derivative_beside_the_layer_is_refused(what):
    values, loss = CONSTANT[what]
    with pytest.raises(ValueError, match=MESSAGE):
        loss(values.clone().requires_grad_())
    with forward_ad.dual_level(), pytest.raises(ValueError, match=MESSAGE):
        loss(forward_ad.make_dual(values.clone(), torch.ones_like(values)))
    with torch.no_grad():
        assert loss(values.clone().requires_grad_()) == loss(values)


def test_transforms_and_forward_mode_are_refused_with_the_way_out():
    def loss(x):
        return sf.linear_cross_entropy(x, OF_CLASSES, LABELS)

    told = r"^a layer whose logits are never all there has gradients by backward\(\) alone.* use sf\.cross_entropy"
    with pytest.raises(NotImplementedError, match=told):
        torch.func.grad(loss)(EXACT)
    with pytest.raises(NotImplementedError, match=told):
        torch.func.vmap(loss)(EXACT[None])
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match=told):
        loss(forward_ad.make_dual(EXACT, torch.ones_like(EXACT)))


def test_autocast_leaves_float64_as_it_is():
    with torch.autocast("cpu", torch.bfloat16):
        found = sf.linear_cross_entropy(EXACT, OF_CLASSES, LABELS)
    assert found.dtype == torch.float64
    assert torch.equal(found, sf.linear_cross_entropy(EXACT, OF_CLASSES, LABELS))


def test_under_autocast_float64_beside_float32_is_refused_as_torch_refuses_it():
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(RuntimeError):
            torch.nn.functional.linear(EXACT.float(), OF_CLASSES)
        with pytest.raises(ValueError, match="input is torch.bfloat16 on cpu and linear_weight torch.float64"):
            sf.linear_cross_entropy(EXACT.float(), OF_CLASSES, LABELS)
