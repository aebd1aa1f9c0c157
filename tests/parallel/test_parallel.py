"""Split losses on real ranks: the loss and the gradients of one process, and what is sent.

Every case of ``ranks.py`` is run on two and on four ranks, which one process makes, so that torch is loaded once; at
night also on one and on three, which torchrun starts. The tests say what must have been found.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.limits import SECONDS
from tests.parallel.common import CLASSES, ROWS, cuts
from tests.warm import environment

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
MADE = [2, 4]
ALONE, SEVERAL = pytest.param(1, marks=pytest.mark.nightly), [2, pytest.param(3, marks=pytest.mark.nightly), 4]

Found = list[dict[str, Any]]


@pytest.fixture(scope="session")
def found_by(tmp_path_factory) -> Callable[[int], Found]:
    """What each of so many ranks found, in rank order: run once, whatever the number of xdist's workers."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent

    def run(world: int) -> Found:
        folder, together = shared / f"ranks-{world}", MADE if world in MADE else [world]
        with FileLock(shared / f"ranks-{together[0]}.lock", timeout=SECONDS):
            if not folder.exists():
                for each in together:
                    (shared / f"ranks-{each}").mkdir()
                torchrun = ["torch.distributed.run", "--nproc-per-node", str(world), "-m"]
                words = [*([] if world in MADE else torchrun), "tests.parallel.ranks", str(shared)]
                command = [sys.executable, "-m", *words, *(map(str, MADE) if world in MADE else ())]
                env = {**environment(), "TMPDIR": str(folder), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
                done = subprocess.run(
                    command, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False
                )
                assert done.returncode == 0, done.stderr
        return [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(world)]

    return run


@pytest.fixture(params=[ALONE, *SEVERAL], ids=lambda world: f"{world} ranks")
def found(request, found_by) -> Found:
    return found_by(request.param)


@pytest.fixture(params=SEVERAL, ids=lambda world: f"{world} ranks")
def found_by_several(request, found_by) -> Found:
    return found_by(request.param)


# How far a case may be from one process: all of its numbers, and each kind of number where they differ.
BOUNDS: dict[str, float | dict[str, float]] = {
    "targets": 1e-12,
    "conventions": 1e-12,
    "weights": 1e-12,
    "plain_probabilities": 1e-12,
    # as near as both are promised to be to the truth
    "dtypes": {"torch.float64": 1e-14, "torch.float32": 1e-6, "torch.bfloat16": 1e-6, "torch.float16": 1e-6},
    "padding": 1e-14,
    "given_places": 1e-14,
    "dtensors": 1e-13,
    "one_row_without_a_batch": 1e-14,
    "another_vocabulary": 1e-13,
    "places_in_turn": 1e-13,
    "gradient_norms": 1e-13,
    "split_both_ways": 1e-13,
    "dtensor_of_rows_and_classes": 1e-13,
    "compiled": 1e-13,
    "heads": 1e-12,
    "heads_beyond": 1e-12,
}
ONLY = {
    "split_both_ways": 4,
    "dtensor_of_rows_and_classes": 4,
    "compiled": 2,
}  # on so many ranks, else nothing is found


def numbers(found: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every number that a case found, by its place."""
    if isinstance(found, dict | list):
        for key, value in found.items() if isinstance(found, dict) else enumerate(found):
            yield from numbers(value, f"{name}/{key}")
    else:
        yield name, found


@pytest.mark.parametrize("case", BOUNDS)
def test_ranks_have_the_loss_and_the_gradients_of_one_process(found, case):
    bounds = BOUNDS[case]
    for rank in found:
        each = dict(numbers(rank[case]))
        assert each or len(found) != ONLY.get(case, len(found))
        for name, off in each.items():
            bound = bounds if isinstance(bounds, float) else bounds[name.split("/")[1]]
            assert off <= (0 if name.endswith("exactly 0") else bound), name


def test_all_ranks_get_the_same_bits(found):
    assert [rank["bits"] for rank in found] == [found[0]["bits"]] * len(found)


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("float64", 8)])
def test_five_numbers_a_row_are_sent_and_none_for_the_gradient(found, dtype, size):
    for rank in found:
        sent = rank["sent_bytes"]
        assert sent[f"torch.{dtype} later"] == {"all_reduce": [32, 512 * size, 4 * 512 * 8]}
        assert sent[f"torch.{dtype} backward"] == {}


def test_the_first_call_has_one_more_message_and_asks_who_has_what(found):
    first = found[0]["sent_bytes"]["torch.float32 first"]
    assert first == {"all_reduce": [32, 32, 512 * 4, 4 * 512 * 8], "all_gather_object": [0]}


def test_a_group_may_be_some_of_the_ranks_and_others_are_refused(found):
    assert found[0]["outside_the_group"] == ["0.0"]
    for number, rank in enumerate(found[1:], 1):
        assert rank["outside_the_group"] == ["ValueError", f"rank {number} is not in the group that was given"]


def test_autograd_keeps_nothing_larger_than_the_logits(found):
    for rank in found:
        assert rank["kept_for_backward"]["largest"] <= max(rank["kept_for_backward"]["logits"], ROWS)


def test_a_second_derivative_is_refused(found):
    for rank in found:
        words = "a split loss is differentiable once: leave out create_graph=True"
        assert rank["kept_for_backward"]["twice"] == ["NotImplementedError", words]


# Each is wrong on the last rank, or on all of them: its class, and its words with {last} for the last rank.
HERE = "it must be the same on all ranks"
CHECK = "check start, num_classes and that the group is the one that the vocabulary is split over"
REFUSED_ALIKE = {
    "a label outside": ("IndexError", "rank 0: label 23 in row 4 is not a class: logits have 23 classes (0 to 22)"),
    "labels that are a list": (
        "TypeError",
        "rank {last}: target must be a torch.Tensor, got list; torch.as_tensor makes one",
    ),
    "logits that are a list": (
        "TypeError",
        "rank {last}: logits must be a torch.Tensor, got list; torch.as_tensor makes one",
    ),
    "too few classes": (
        "ArgumentError",
        f"classes 23 to 25 of 26 are on no rank: {CHECK}",
    ),
    "a negative start": ("ArgumentError", "rank 0: start must be at least 0, got -1"),
    "a gradient for the target": (
        "ArgumentError",
        "rank 0: with split logits, targets and weights get no gradient: pass them detached",
    ),
    "a weight of the slice": (
        "ArgumentError",
        "rank 0: weight tensor should be defined either for all 23 classes or no classes but got weight tensor of "
        "shape: [{weight}]",
    ),
    "items of a sum": ("ArgumentError", 'rank 0: num_items is what a mean divides by, and reduction is "sum"'),
    "negative items": ("ArgumentError", "rank 0: num_items must be at least 0, got -1"),
    "items that are no number": ("TypeError", "rank 0: num_items must be a number, got '3'"),
    "an option that there is not": (
        "TypeError",
        'rank {last}: smoothing is no option of this loss. Did you mean "label_smoothing"? It has ignore_index, '
        "reduction, label_smoothing, over, weight_on, sample_weight, out_dtype",
    ),
    "a start between two classes": ("TypeError", "rank 0: start must be an int, got 0.5"),
    "a layer's weight that is none": (
        "TypeError",
        "rank {last}: linear_weight must be a torch.Tensor, got NoneType; torch.as_tensor makes one",
    ),
    "a layer's weight of three axes": ("ArgumentError", "rank {last}: linear_weight must be (V, D), got (1, {own}, 2)"),
    "a cap in words": ("TypeError", "rank {last}: softcap must be a number, got '30'"),
    "no reduction": ("ArgumentError", 'rank 0: reduction must be "mean", "sum" or "none", got \'average\''),
}
REFUSED_TOGETHER = {  # what only several ranks can get wrong
    "a label outside on one rank": (
        "IndexError",
        "rank {last}: label 23 in row 4 is not a class: logits have 23 classes (0 to 22)",
    ),
    "other labels": (
        "ArgumentError",
        "rank {last} has other labels than rank 0: all ranks of a group need the same rows",
    ),
    "fewer rows": ("ArgumentError", f"the shape of the rows is [7] on rank 0 and [6] on rank {{last}}: {HERE}"),
    "another strength": ("ArgumentError", f"label_smoothing is 0.1 on rank 0 and 0.2 on rank {{last}}: {HERE}"),
    "other items": ("ArgumentError", f"num_items is 3 on rank 0 and 4 on rank {{last}}: {HERE}"),
    "other weights": (
        "ArgumentError",
        "weight is a tensor (23,) with the sum 23 on rank 0 and a tensor (23,) with the sum 46 on rank {last}: " + HERE,
    ),
    "another dtype": (
        "ArgumentError",
        f"the dtype of the logits is torch.float64 on rank 0 and torch.float32 on rank {{last}}: {HERE}",
    ),
    "a start on some": ("ArgumentError", "start is given on rank {last} and not on rank 0: give it on all, or none"),
    **dict.fromkeys(
        ("all probabilities", "a dense target of all classes"),
        (
            "ArgumentError",
            "rank 0: probabilities are split as the logits are: expected (7, 9), got (7, 23); pass this rank's "
            "classes, probs[:, 0:9], or a target that needs no array of all rows and classes",
        ),
    ),
}


def as_told(found: Found, words: str) -> str:
    first_slice = 9 if len(found) > 1 else CLASSES
    last_slice = CLASSES - cuts(len(found))[-2]
    return words.format(last=len(found) - 1, weight=first_slice + 1, own=last_slice)


@pytest.mark.parametrize("name", REFUSED_ALIKE)
def test_what_is_wrong_on_one_rank_is_the_same_error_on_all(found, name):
    kind, words = REFUSED_ALIKE[name]
    for rank in found:
        assert rank["errors"][name] == [kind, as_told(found, words)]


@pytest.mark.parametrize("name", REFUSED_TOGETHER)
def test_ranks_that_do_not_fit_together_are_the_same_error_on_all(found_by_several, name):
    kind, words = REFUSED_TOGETHER[name]
    for rank in found_by_several:
        assert rank["errors"][name] == [kind, as_told(found_by_several, words)]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("an overlap", "class 8 is on rank 0 and on rank 1: the slices overlap; starts are [0, 8], sizes [9, 14]"),
        ("a hole", f"class 9 of 24 is on no rank: {CHECK}"),
    ],
)
def test_slices_that_do_not_tile_the_classes_name_the_class(found_by, name, words):
    assert [rank["errors"][name] for rank in found_by(2)] == [["ArgumentError", words]] * 2


def test_after_all_these_errors_no_rank_waits_for_another(found):
    for rank in found:
        assert rank["errors"]["nothing wrong"] == rank["heads_refused"]["nothing wrong"] == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("features", "rank {last}: input has 4 features and linear_weight 5"),
        ("dense", "rank 0: the target holds a number for every row and class"),
        ("frozen", f"a gradient for the input is wanted on rank 0 and not wanted on rank {{last}}: {HERE}"),
        ("input", "rank 0: input is a DTensor, of which this rank may have a part alone: give"),
        ("unsplit", "linear_weight is a DTensor, of which this rank may have a part alone: give"),
        ("other caps", f"softcap is 4.0 on rank 0 and 3.0 on rank {{last}}: {HERE}"),
    ],
)
def test_a_split_last_layer_refuses_on_every_rank(found_by_several, name, words):
    for rank in found_by_several:
        kind, message = rank["heads_refused"][name]
        assert kind == "ArgumentError"
        assert message.startswith(words.format(last=len(found_by_several) - 1))
