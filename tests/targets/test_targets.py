"""Targets as values: their numbers, their checks, indexing and moving; against the formulas of the registry."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sfumato as sf
from sfumato import conventions, theory
from sfumato.targets import Target
from tests.targets.registry import EXAMPLES, example, to_torch

K = 4
LABELS = [torch.tensor(2), torch.tensor([0, 3, -100, 1]), torch.tensor([[0, 1], [-100, 3]])]
PRIOR = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)


@pytest.mark.parametrize("labels", LABELS, ids=lambda y: f"{y.dim()}-d")
@pytest.mark.parametrize("name", EXAMPLES)
def test_probs_are_the_formula_with_classes_on_axis_1(name, labels):
    case = example(name, labels, K)
    target, q = case.build(), to_torch(case.q())
    assert target.shape == labels.shape
    torch.testing.assert_close(target.to_dense(torch.float64), q, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(target.probs().double(), q, rtol=1e-6, atol=1e-7)
    axis = 1 if labels.dim() else 0
    torch.testing.assert_close(target.entropy(), -torch.special.xlogy(q, q).sum(axis), rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(target.total().double(), q.sum(axis), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", Target.__subclasses__(), ids=lambda kind: kind.__name__)
def test_a_kind_of_target_says_of_every_field_what_it_runs_over(kind):
    assert [name for name, _ in kind.FIELDS] == [field.name for field in dataclasses.fields(kind)]
    for name, axes in kind.FIELDS:
        annotation = next(field.type for field in dataclasses.fields(kind) if field.name == name)
        assert ("Tensor" in annotation) == (axes != "nothing"), name


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("form", ["others", "all", "prior"])
def test_mass_stays_within_a_support_of_its_own_position(form, dims):
    torch.manual_seed(0)
    shape = (5, 4)[:dims]  # with as many places as classes: an axis taken for the other would not raise
    labels = torch.randint(0, K, shape)
    support = torch.rand(shape[0], K, *shape[1:]) < 0.5
    support.scatter_(1, labels.unsqueeze(1), True)
    support.scatter_(1, ((labels + 1) % K).unsqueeze(1), True)
    if form == "prior":
        target = sf.smooth_prior(labels, PRIOR, 0.2, support=support)
    else:
        target = sf.smooth(labels, K, 0.2, over=form, support=support)
    q = target.to_dense(torch.float64).movedim(1, -1).reshape(-1, K)
    allowed = support.movedim(1, -1).reshape(-1, K)
    for row, mask, y in zip(q, allowed, labels.reshape(-1), strict=True):
        own = torch.zeros(K).double()
        own[y] = 1.0
        spread = PRIOR * mask if form == "prior" else mask.double()
        if form == "others":
            spread[y] = 0.0
        torch.testing.assert_close(row, 0.8 * own + 0.2 * spread / spread.sum())


def test_one_support_for_all_positions_makes_k_the_number_supported():
    support = torch.tensor([True, True, False, True])
    target = sf.smooth(torch.tensor([0]), K, 0.2, over="others", support=support)
    torch.testing.assert_close(target.to_dense(torch.float64), torch.tensor([[0.8, 0.1, 0.0, 0.1]]).double())
    assert target.entropy().item() == pytest.approx(theory.loss_floor(0.2, 3, over="others"))


@given(st.floats(0, 1), st.integers(2, 50), st.sampled_from(["others", "all"]))
def test_sparse_numbers_are_those_of_the_convention(eps, k, over):
    masses = sf.smooth(torch.tensor([1]), k, eps, over=over).masses(torch.float64)
    assert (masses.true, masses.rest) == pytest.approx(conventions.CONVENTIONS[over].target(eps, k))


def test_a_strength_per_row_broadcasts_from_the_left():
    labels = torch.tensor([[0, 1], [2, 3]])
    target = sf.smooth(labels, K, torch.tensor([0.0, 0.3]), over="others")
    torch.testing.assert_close(target.probs()[0].T, torch.eye(K)[:2])
    torch.testing.assert_close(target.probs()[1, 2, 0], torch.tensor(0.7))


def test_label_156_of_uint8_has_its_strength():  # it is −100 there
    target = sf.smooth(torch.tensor([156, 3], dtype=torch.uint8), 200, torch.tensor([0.1, 0.2]), over="others")
    assert target.probs()[0, 156].item() == pytest.approx(0.9)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize(
    "index",
    [1, -1, slice(1, 3), [0, 2], torch.tensor([2, 0]), torch.tensor([True, False, True]), (0, 1), (slice(None), 1),
     (..., 0), ..., torch.tensor([[0, 1], [1, 2]])],
    ids=str,
)  # fmt: skip
def test_an_index_picks_positions_as_it_picks_labels(name, index):
    labels = torch.tensor([[0, 1, 2, 3], [3, 3, -100, 0], [1, 2, 0, 1]])
    target = example(name, labels, K).build()
    picked = target[index]
    expected = target.to_dense(torch.float64).movedim(1, -1)[(*index, slice(None)) if index == (..., 0) else index]
    assert picked.shape == labels[index].shape
    torch.testing.assert_close(
        picked.to_dense(torch.float64), expected.movedim(-1, 1) if expected.dim() > 1 else expected
    )


def test_entropy_depends_on_no_global_setting():
    target = sf.smooth(torch.tensor([3]), 1000, 0.1, over="all")
    expected = target.entropy()
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert torch.equal(target.entropy(), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_target_is_described_in_both_conventions():
    y = torch.tensor([3])
    assert sf.one_hot(y, 10).describe() == "one-hot over 10 classes"
    assert "0.1 over all 10 (0.09 over the others): 0.91 on the label" in sf.smooth(y, 10, 0.1, over="all").describe()
    assert "no strength over all is the same" in sf.smooth(y, 10, 0.95, over="others").describe()
    assert "prior over 4 classes" in sf.smooth_prior(y, PRIOR, 0.1).describe()
    assert repr(sf.one_hot(y, 10)) == "Target((1,): one-hot over 10 classes)"


def test_an_ignored_row_is_inert_in_its_strength_and_its_support():
    labels = torch.tensor([-100, 1])
    target = sf.smooth(labels, 3, torch.tensor([float("nan"), 0.1]), over="all")
    assert torch.equal(target.probs()[0], torch.zeros(3))
    eps = torch.tensor(0.1, requires_grad=True)
    support = torch.tensor([[False] * 3, [True] * 3])
    target = sf.smooth(labels, 3, eps, over="others", support=support)
    sf.cross_entropy(torch.randn(2, 3), target).backward()
    assert eps.grad.isfinite()


def test_an_ignored_row_needs_no_mass_of_a_prior_within_its_support():
    support = torch.tensor([[True, True, False], [False] * 3])
    target = sf.smooth_prior(torch.tensor([0, -100]), torch.tensor([0.5, 0.25, 0.25]), 0.3, support=support)
    torch.testing.assert_close(target.probs(), torch.tensor([[0.9, 0.1, 0.0], [0.0] * 3]))


def test_half_precision_rows_of_many_classes_sum_to_one():
    sf.from_probs(torch.full((1, 256_000), 1 / 256_000).half())
    sf.from_probs(torch.randn(3, 50_000).softmax(1).bfloat16())


def test_labels_built_inside_vmap_and_compiled_code():
    eps = torch.tensor([0.1, 0.2, 0.3])
    prior = torch.tensor([0.5, 0.25, 0.25])
    makers = {
        "by class": lambda y: sf.smooth_by_class(y, eps, over="all"),
        "prior": lambda y: sf.smooth_prior(y, prior, 0.2),
        "others": lambda y: sf.smooth(y, 3, 0.2, over="others"),
    }
    z, labels = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    for make in makers.values():

        def one(z, y, make=make):
            return sf.cross_entropy(z, make(y), reduction="sum")

        leaf = z.clone().requires_grad_()
        sf.cross_entropy(leaf, make(labels), reduction="sum").backward()
        torch.testing.assert_close(torch.vmap(torch.func.grad(one))(z, labels), leaf.grad)
        compiled = torch.compile(one, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(z[0], labels[0]), one(z[0], labels[0]))


@pytest.mark.parametrize("name", EXAMPLES)
def test_targets_are_copied_pickled_and_moved_whole(name):
    target = example(name, torch.tensor([0, -100]), 3).build()
    for other in (copy.deepcopy(target), pickle.loads(pickle.dumps(target)), target.to("cpu")):
        assert torch.equal(other.probs(), target.probs())
    assert {array.device.type for array in target.to("meta").tensors()} == {"meta"}


def test_unchecked_probabilities_are_taken_as_they_are():
    target = sf.from_probs(torch.tensor([[0.6, 0.6]]), check=False)
    assert target.total().item() == pytest.approx(1.2)
    target = sf.from_probs(torch.tensor([[0.5, 0.5], [9.0, float("nan")]]), mask=torch.tensor([True, False]))
    assert target.probs()[1].tolist() == [0, 0]
