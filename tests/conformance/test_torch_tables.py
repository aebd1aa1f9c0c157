"""torch's own tables of inputs for its own losses: ModuleInfo (105) and OpInfo (21) in four types, what they say must
be refused, and OpInfo of a last layer, where the torch that is installed has such a loss.

A mean over the tables' random signed weights may divide by next to nothing; half precision is judged against the exact
value, so that says nothing about the loss.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
import torch.nn.functional as F

import sfumato as sf
from tests.conformance import aim


@pytest.fixture(autouse=True, scope="module")
def tables():
    """Loaded before a test looks at what it leaves behind: they set filters and variables."""
    _tables()


@cache
def _tables():
    from torch.testing._internal.common_methods_invocations import op_db
    from torch.testing._internal.common_modules import module_db
    from torch.testing._internal.common_nn import cross_entropy_loss_reference

    (module,) = [info for info in module_db if info.module_cls is torch.nn.CrossEntropyLoss]
    (operator,) = [info for info in op_db if info.name == "nn.functional.cross_entropy"]
    return module, operator, cross_entropy_loss_reference


def module_inputs(dtype: torch.dtype):
    """Name, inputs and options of every entry."""
    info, _, _ = _tables()
    for entry in info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=True):
        inputs = tuple(x.detach() for x in entry.forward_input.args)
        yield entry.desc, inputs, entry.constructor_input.kwargs


def operator_inputs(dtype: torch.dtype):
    _, info, _ = _tables()
    for number, sample in enumerate(info.sample_inputs("cpu", dtype, requires_grad=True)):
        yield f"sample {number}", (sample.input, *sample.args), sample.kwargs


def reference(input, target, **options):
    """The tables' own, whose rows are batches: a single position is one."""
    _, _, definition = _tables()
    if input.dim() > 1:
        return definition(input, target, **options)
    value = definition(input.unsqueeze(0), target.unsqueeze(0), **options)
    return value.squeeze(0) if options.get("reduction") == "none" else value


def strided(x: torch.Tensor) -> torch.Tensor:
    """The same numbers in every other place of a larger block."""
    from torch.testing._internal.common_utils import noncontiguous_like

    return noncontiguous_like(x)


TABLES = {"ModuleInfo": (module_inputs, 105), "OpInfo": (operator_inputs, 21)}


@pytest.mark.parametrize("table", TABLES)
def test_the_table_is_as_long_as_it_is_said_to_be(table):
    inputs, length = TABLES[table]
    assert len(list(inputs(torch.float32))) >= length


@pytest.mark.parametrize("dtype", aim.DTYPES, ids=str)
@pytest.mark.parametrize("table", TABLES)
def test_every_input_gives_the_value_and_the_gradients_of_the_reference(table, dtype, cross_entropy, seed):
    differing = {}
    for name, inputs, options in TABLES[table][0](dtype):
        if said := aim.compare(cross_entropy, reference, F.cross_entropy, inputs, options):
            differing[name] = said
    assert differing == {}


@pytest.mark.parametrize("dtype", aim.DTYPES, ids=str)
@pytest.mark.parametrize("table", TABLES)
def test_every_input_out_of_a_larger_block_gives_the_same(table, dtype, cross_entropy, seed):
    differing = {}
    for name, inputs, options in TABLES[table][0](dtype):
        apart = {k: strided(v) if isinstance(v, torch.Tensor) else v for k, v in options.items()}
        spread = (strided(inputs[0]), *(strided(x) if x.dim() else x for x in inputs[1:]))
        if said := aim.compare(
            lambda *a, apart=apart, **_: cross_entropy(*a, **apart), reference, F.cross_entropy, spread, options
        ):
            differing[name] = said
    assert differing == {}


@pytest.mark.parametrize("table", TABLES)
def test_probabilities_without_a_gradient_of_their_own_give_the_same(table, cross_entropy, seed):
    differing = {}
    for name, (logits, target), options in TABLES[table][0](torch.float32):
        if target.is_floating_point():
            fixed = [
                aim.value_and_gradients(lambda z, f=f, t=target, o=options: f(z, t.detach(), **o), (logits,), {})
                for f in (cross_entropy, reference)
            ]
            if said := "".join(aim.difference(a, b) for a, b in zip(*fixed, strict=True)):
                differing[name] = said
    assert differing == {}


@pytest.mark.parametrize("table", TABLES)
def test_first_and_second_derivatives_are_those_of_the_values(table, cross_entropy, seed):
    """By one random projection for each input; `make nightly` compares the whole Jacobians of the smaller ones."""
    for name, (logits, target), options in TABLES[table][0](torch.float64):
        ignored = options.get("ignore_index", -100)
        if not target.is_floating_point() and bool((target == ignored).all()):
            continue  # a mean over no row has no derivative
        leaves = [x.detach().requires_grad_() for x in (logits, target) if x.is_floating_point()]

        def loss(z, q=target, options=options):
            return cross_entropy(z, q, **options)

        assert torch.autograd.gradcheck(loss, leaves, fast_mode=True), name
        assert torch.autograd.gradgradcheck(loss, leaves, fast_mode=True), name


@pytest.mark.nightly
@pytest.mark.parametrize("table", TABLES)
def test_whole_jacobians_are_those_of_the_values(table, cross_entropy, seed):
    for name, (logits, target), options in TABLES[table][0](torch.float64):
        ignored = options.get("ignore_index", -100)
        if logits.numel() > 40 or (not target.is_floating_point() and bool((target == ignored).all())):
            continue
        leaves = [x.detach().requires_grad_() for x in (logits, target) if x.is_floating_point()]

        def loss(z, q=target, options=options):
            return cross_entropy(z, q, **options)

        assert torch.autograd.gradcheck(loss, leaves), name
        assert torch.autograd.gradgradcheck(loss, leaves), name


def test_what_torch_says_must_be_refused_is_refused_by_the_same_kind_of_error(cross_entropy):
    info, _, _ = _tables()
    for entry in info.module_error_inputs_func(
        info, device="cpu", dtype=torch.float32, requires_grad=False, training=True
    ):
        given = entry.module_error_input
        with pytest.raises(entry.error_type):
            cross_entropy(*given.forward_input.args, **given.constructor_input.kwargs)


def of_layers() -> list:
    """OpInfo of losses of a last layer; torch has them from 2.13 on."""
    from torch.testing._internal.common_methods_invocations import op_db

    return [info for info in op_db if info.name == "nn.functional.linear_cross_entropy"]


@pytest.mark.parametrize("dtype", aim.EXACT, ids=str)
def test_every_layer_gives_the_value_and_the_gradients_of_its_logits_or_is_refused(dtype, seed):
    """A weight of more than two axes, and probabilities for every row and class, are none that the loss takes."""
    compared = 0
    for info in of_layers():
        for sample in info.sample_inputs("cpu", dtype, requires_grad=False):
            x, (weight, target), options = sample.input, sample.args, {**sample.kwargs}
            options.pop("options", None)
            if weight.dim() != 2 or target.is_floating_point():
                with pytest.raises(RuntimeError):
                    sf.linear_cross_entropy(x, weight, target, **options)
                continue
            bias = options.pop("linear_bias", None)
            leaves = (x, weight, target) if bias is None else (x, weight, target, bias)

            def ours(x, w, y, b=None, **o):
                return sf.linear_cross_entropy(x, w, y, linear_bias=b, **o)

            def theirs(x, w, y, b=None, **o):
                return F.cross_entropy(F.linear(x, w, b), y, **o)

            assert aim.compare(ours, theirs, theirs, leaves, options) == "", sample
            compared += 1
    assert compared >= 50 * (of_layers() != [])


def test_what_no_layer_may_be_given_is_refused():
    for info in of_layers():
        for entry in info.error_inputs("cpu"):
            given = entry.sample_input
            with pytest.raises(RuntimeError):
                sf.linear_cross_entropy(given.input, *given.args, **given.kwargs)
