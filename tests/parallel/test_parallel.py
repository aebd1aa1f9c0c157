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
from tests.parallel.cases_refused import SAME
from tests.parallel.common import ROWS
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


def test_what_is_wrong_on_one_rank_is_the_same_error_on_all_and_no_rank_waits_for_another(found):
    for rank in found:
        assert rank["errors"] == {}
        assert rank["heads_refused"]["nothing wrong"] == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("features", "rank {last}: input has 4 features and linear_weight 5"),
        ("dense", "rank 0: the target holds a number for every row and class"),
        ("frozen", f"a gradient for the input is wanted on rank 0 and not wanted on rank {{last}}: {SAME}"),
        ("input", "rank 0: input is a DTensor, of which this rank may have a part alone: give"),
        ("unsplit", "linear_weight is a DTensor, of which this rank may have a part alone: give"),
        ("other caps", f"softcap is 4.0 on rank 0 and 3.0 on rank {{last}}: {SAME}"),
    ],
)
def test_a_split_last_layer_refuses_on_every_rank(found_by_several, name, words):
    for rank in found_by_several:
        kind, message = rank["heads_refused"][name]
        assert kind == "ArgumentError"
        assert message.startswith(words.format(last=len(found_by_several) - 1))
