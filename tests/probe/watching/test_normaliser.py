"""Every way of dividing, from counts and factors alone."""

from __future__ import annotations

import pytest

from sfumato.probe.watching.normaliser import Excess, Size, StepCount, normaliser, sizes
from sfumato.probe.watching.targets_seen import PassCount

UNEVEN = ((3, 5, 2), (4, 1, 6))  # rows that count, of each pass of each rank, in passes of 6 rows


def step(factor, counts=((3, 5),), after=None, rows=6, sequences=6):
    """A step in which pass m of rank r has the factor(n, N, A, R)."""
    ranks, whole, a = len(counts), sum(map(sum, counts)), len(counts[0])
    passes = [PassCount(n, rows, sequences, factor(n, whole, a, ranks), r) for r, own in enumerate(counts) for n in own]
    return StepCount(tuple(passes), after, ranks)


ONE = [
    ("rows", Excess.NONE, lambda n, whole, a, r: 1 / whole),
    ("micro-batches", Excess.NONE, lambda n, whole, a, r: 1 / (a * n)),
    ("sum", Excess.NONE, lambda n, whole, a, r: 1.0),
    ("twice", Excess.PASSES, lambda n, whole, a, r: 1 / (a * whole)),
    ("twice", Excess.MISSING_PASSES, lambda n, whole, a, r: 1 / n),
    ("twice", Excess.MISSING_PASSES, lambda n, whole, a, r: a / whole),
    ("twice", Excess.PASSES, lambda n, whole, a, r: 1 / (a * a * n)),
    ("twice", Excess.COUNTED, lambda n, whole, a, r: 1 / whole**2),
]


@pytest.mark.parametrize(("name", "excess", "factor"), ONE)
def test_on_one_rank_each_way_of_dividing_is_told_from_the_others(name, excess, factor):
    found = normaliser([step(factor, UNEVEN[:1]), step(factor, ((2, 6, 5),))])
    assert (found.name, found.excess, found.mass) == (name, excess, 1.0)


SEVERAL = [
    ("rows", Excess.NONE, lambda n, whole, a, r: r / whole, 0.5),  # ranks are averaged
    ("rows", Excess.NONE, lambda n, whole, a, r: 1 / whole, 1.0),  # ranks are added
    ("twice", Excess.RANKS, lambda n, whole, a, r: 1 / whole, 0.5),
    ("twice", Excess.MISSING_RANKS, lambda n, whole, a, r: r / whole, 1.0),
    ("micro-batches", Excess.NONE, lambda n, whole, a, r: 1 / (a * n), 0.5),
]


@pytest.mark.parametrize(("name", "excess", "factor", "after"), SEVERAL)
def test_on_two_ranks_what_comes_after_the_backward_pass_counts(name, excess, factor, after):
    found = normaliser([step(factor, UNEVEN, after), step(factor, ((2, 6, 4), (5, 3, 1)), after)])
    assert (found.name, found.excess) == (name, excess)


def test_a_mean_of_each_rank_is_a_mean_of_means():
    made = [
        StepCount(tuple(PassCount(n, 6, 6, 1 / sum(own), r) for r, own in enumerate(counts) for n in own), 0.5, 2)
        for counts in (UNEVEN, ((2, 6, 1), (5, 5, 3)))
    ]
    assert (normaliser(made).name, normaliser(made).size) == ("micro-batches", Size.COUNTED_OF_RANK)


@pytest.mark.parametrize("scale", [2.0**10, 65536.0])
def test_the_scale_of_a_scaler_is_divided_out(scale):
    measured = normaliser([step(lambda n, whole, a, r: scale / whole, after=1 / scale)])
    clipped = normaliser([step(lambda n, whole, a, r: scale / whole, after=0.3 / scale)])
    unseen = normaliser([step(lambda n, whole, a, r: scale / whole, after=None)])
    assert [(each.name, each.mass) for each in (measured, clipped, unseen)] == [("rows", 1.0)] * 3


def test_clipping_does_not_count_as_dividing():
    assert normaliser([step(lambda n, whole, a, r: 1 / whole, after=after) for after in (0.31, 0.47)]).name == "rows"


def test_a_division_after_the_backward_passes_counts():
    steps = [step(lambda n, whole, a, r: 1.0, counts, 1 / sum(counts[0])) for counts in (((3, 5),), ((2, 4),))]
    assert normaliser(steps).name == "rows"
    again = [
        step(lambda n, whole, a, r: 1 / whole, ((3, 5),), 0.5),
        step(lambda n, whole, a, r: 1 / whole, ((2, 5),), 0.5),
    ]
    assert (normaliser(again).name, normaliser(again).excess) == ("twice", Excess.PASSES)


def test_equal_micro_batches_are_a_mean_over_rows():
    assert normaliser([step(lambda n, whole, a, r: 1 / (a * n), ((4, 4),))]).name == "rows"


@pytest.mark.parametrize("counts", [((3, 5),), ((6, 1),)])
def test_a_mean_that_counts_ignored_rows_is_known_by_its_size(counts):
    found = normaliser([step(lambda n, whole, a, r: 1 / 12, counts)])
    assert (found.name, found.size) == ("rows", Size.ALL)


def test_a_mass_beside_one_is_left_where_nothing_else_explains_the_factor():
    found = normaliser(
        [step(lambda n, whole, a, r: 0.99 / whole), step(lambda n, whole, a, r: 0.99 / whole, ((2, 5),))]
    )
    assert (found.name, found.mass) == ("rows", pytest.approx(0.99))


def test_an_incomplete_last_step_is_told_from_the_others():
    found = normaliser(
        [*[step(lambda n, whole, a, r: 1 / (2 * n), ((3, 3),))] * 3, step(lambda n, whole, a, r: 1 / 6, ((3,),))]
    )
    assert (found.name, found.steps, found.of) == ("rows", 3, 4)


def test_a_sum_over_the_positions_of_sequences_is_a_sum():
    one = step(lambda n, whole, a, r: 1 / 4, rows=24, sequences=2)
    assert (normaliser([one]).name, normaliser([one]).size) == ("sum", Size.SEQUENCES)


def test_the_sizes_name_rows_before_all_others():
    assert next(iter(sizes(step(lambda *_: 1.0)))) is Size.COUNTED


def test_no_step_has_no_normaliser():
    assert normaliser([]) is None
