"""Which rank has which classes: what follows from what each rank says, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.parallel.layout import Asked, Layout, RankGroup, agreed_layout
from sfumato.parallel.rank import ClassRange


@given(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(any), padding=st.integers(0, 3))
def test_consecutive_slices_have_every_class_once(sizes, padding):
    classes = max(sum(sizes) - padding, 1)
    layout = agreed_layout([Asked(size, num_classes=classes) for size in sizes])
    ranges = [layout.of(rank) for rank in range(len(sizes))]
    held = [number for start, stop, _ in ranges for number in range(start, stop)]
    assert held == list(range(classes))


@given(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(any), data=st.data())
def test_slices_in_any_order_of_ranks_are_those_that_were_said(sizes, data):
    starts = [sum(sizes[:rank]) for rank in range(len(sizes))]
    order = data.draw(st.permutations(range(len(sizes))))
    layout = agreed_layout([Asked(sizes[rank], start=starts[rank]) for rank in order])
    assert [layout.of(place) for place in range(len(sizes))] == [
        ClassRange(starts[rank], starts[rank] + sizes[rank], sum(sizes)) for rank in order
    ]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ([Asked(0), Asked(0)], "no rank has a class: the 2 ranks have logits of 0 columns"),
        (
            [Asked(4, 0, 8), Asked(4, 3, 8)],
            "class 3 is on rank 0 and on rank 1: the slices overlap; starts are [0, 3], sizes [4, 4]",
        ),
        (
            [Asked(2, 4, 6), Asked(2, 0, 6)],
            "classes 2 to 3 of 6 are on no rank: check start, num_classes and that the group is the one that the "
            "vocabulary is split over",
        ),
        (
            [Asked(3), Asked(3, num_classes=6)],
            "num_classes is given on rank 1 and not on rank 0: give it on all, or none",
        ),
        (
            [Asked(3, num_classes=6), Asked(3, num_classes=5)],
            "num_classes is 6 on rank 0 and 5 on rank 1: it must be the same on all ranks",
        ),
        (
            [Asked(3, alike=(("over", "all"),)), Asked(3, alike=(("over", "others"),))],
            "over is all on rank 0 and others on rank 1: it must be the same on all ranks",
        ),
    ],
)
def test_slices_that_do_not_fit_are_refused(told, words):
    with pytest.raises(ValueError) as raised:  # noqa: PT011  its words are compared
        agreed_layout(told)
    assert str(raised.value) == words


def test_the_first_error_of_a_rank_is_the_one_that_is_told():
    told = [Asked(2), Asked(2, error=("IndexError", "label 7 is not a class")), Asked(0, error=("TypeError", "no"))]
    with pytest.raises(IndexError, match=r"^rank 1: label 7 is not a class$"):
        agreed_layout(told)


def test_an_error_of_a_kind_that_is_not_known_keeps_its_words():
    with pytest.raises(RuntimeError, match=r"^rank 0: the device is lost$"):
        agreed_layout([Asked(2, error=("AcceleratorError", "the device is lost"))])


def test_columns_beyond_all_classes_are_padding():
    layout = agreed_layout([Asked(4, num_classes=5), Asked(4, num_classes=5), Asked(4, num_classes=5)])
    assert layout == Layout((4, 4, 4), (0, 4, 8), 5)
    assert [layout.of(rank) for rank in range(3)] == [ClassRange(0, 4, 5), ClassRange(4, 5, 5), ClassRange(5, 5, 5)]


def test_without_a_process_group_the_message_says_how_to_make_one():
    words = (
        r"^there is no process group: call torch\.distributed\.init_process_group first, in a program that torchrun "
        r"started; in one process use sf\.cross_entropy$"
    )
    with pytest.raises(ValueError, match=words):
        RankGroup(None)
