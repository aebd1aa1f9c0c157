"""Every way of dividing, from counts and factors alone; which steps count, and what gradients became; two ranks."""

import json
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sfumato.probe.watching.normaliser import (
    Excess,
    RankPlace,
    Size,
    StepCount,
    exchange,
    normaliser,
    place_among_ranks,
    sizes,
    step_counts,
)
from sfumato.probe.watching.parameters import TrainedParameters, multiplier
from sfumato.probe.watching.targets_seen import PassCount, ReadStep, Record
from tests.conftest import environment
from tests.probe.test_rows import of_each

UNEVEN = ((3, 5, 2), (4, 1, 6))  # rows that count, of each pass of each rank, in passes of 6 rows


def step(factor, counts=((3, 5),), after=None, rows=6, sequences=6):
    """A step in which pass m of rank r has the factor(n, N, A, R, rows of its rank)."""
    ranks, whole, a = len(counts), sum(map(sum, counts)), len(counts[0])
    passes = [
        PassCount(n, rows, sequences, factor(n, whole, a, ranks, sum(own)), r)
        for r, own in enumerate(counts)
        for n in own
    ]
    return StepCount(tuple(passes), after, ranks)


def over_all(n, whole, a, r, own):
    return 1 / whole


ONE = (((3, 5, 2),), ((2, 6, 5),))
TWO = (UNEVEN, ((2, 6, 4), (5, 3, 1)))


@pytest.mark.parametrize(
    ("name", "excess", "factor", "counts", "after"),
    [
        ("rows", Excess.NONE, over_all, ONE, None),
        ("micro-batches", Excess.NONE, lambda n, whole, a, r, own: 1 / (a * n), ONE, None),
        ("sum", Excess.NONE, lambda n, whole, a, r, own: 1.0, ONE, None),
        ("twice", Excess.PASSES, lambda n, whole, a, r, own: 1 / (a * whole), ONE, None),
        ("twice", Excess.MISSING_PASSES, lambda n, whole, a, r, own: 1 / n, ONE, None),
        ("twice", Excess.MISSING_PASSES, lambda n, whole, a, r, own: a / whole, ONE, None),
        ("twice", Excess.PASSES, lambda n, whole, a, r, own: 1 / (a * a * n), ONE, None),
        ("twice", Excess.COUNTED, lambda n, whole, a, r, own: 1 / whole**2, ONE, None),
        ("rows", Excess.NONE, lambda n, whole, a, r, own: r / whole, TWO, 0.5),  # ranks are averaged
        ("rows", Excess.NONE, over_all, TWO, 1.0),  # ranks are added
        ("twice", Excess.RANKS, over_all, TWO, 0.5),
        ("twice", Excess.MISSING_RANKS, lambda n, whole, a, r, own: r / whole, TWO, 1.0),
        ("micro-batches", Excess.NONE, lambda n, whole, a, r, own: 1 / (a * n), TWO, 0.5),
        ("micro-batches", Excess.NONE, lambda n, whole, a, r, own: 1 / own, TWO, 0.5),  # a mean of each rank
        ("twice", Excess.PASSES, over_all, (((3, 5),), ((2, 5),)), 0.5),
        ("rows", Excess.NONE, lambda n, whole, a, r, own: 1 / (a * n), (((4, 4),),), None),
    ],
)  # fmt: skip
def test_each_way_of_dividing_is_told_from_the_others(name, excess, factor, counts, after):
    found = normaliser([step(factor, each, after) for each in counts])
    assert (found.name, found.excess, found.mass) == (name, excess, 1.0)


@pytest.mark.parametrize("scale", [2.0**10, 65536.0])
@pytest.mark.parametrize("clip", [1.0, 0.3, None])
def test_the_scale_of_a_scaler_is_divided_out(scale, clip):
    after = None if clip is None else clip / scale
    found = normaliser([step(lambda n, whole, *_: scale / whole, after=after)])
    assert (found.name, found.mass) == ("rows", 1.0)


def test_clipping_does_not_count_as_dividing_and_a_division_after_the_backward_passes_does():
    assert normaliser([step(over_all, after=after) for after in (0.31, 0.47)]).name == "rows"
    sums = [step(lambda *_: 1.0, counts, 1 / sum(counts[0])) for counts in (((3, 5),), ((2, 4),))]
    assert normaliser(sums).name == "rows"


@pytest.mark.parametrize(
    ("made", "name", "size"),
    [
        (step(lambda *_: 1 / 12, ((3, 5),)), "rows", Size.ALL),
        (step(lambda *_: 1 / 12, ((6, 1),)), "rows", Size.ALL),
        (step(lambda *_: 1 / 4, rows=24, sequences=2), "sum", Size.SEQUENCES),
        (step(lambda n, whole, a, r, own: 1 / own, UNEVEN, 0.5), "micro-batches", Size.COUNTED_OF_RANK),
    ],
)
def test_ignored_rows_sequences_and_ranks_are_known_by_their_size(made, name, size):
    assert (normaliser([made]).name, normaliser([made]).size) == (name, size)


def test_a_mass_beside_one_is_left_where_nothing_else_explains_the_factor():
    found = normaliser([step(lambda n, whole, *_: 0.99 / whole, counts) for counts in (((3, 5),), ((2, 5),))])
    assert (found.name, found.mass) == ("rows", pytest.approx(0.99))


def test_an_incomplete_last_step_is_told_from_the_others():
    found = normaliser([*[step(lambda n, *_: 1 / (2 * n), ((3, 3),))] * 3, step(lambda *_: 1 / 6, ((3,),))])
    assert (found.name, found.steps, found.of) == ("rows", 3, 4)


def test_the_sizes_name_rows_before_all_others_and_no_step_has_no_normaliser():
    assert next(iter(sizes(step(lambda *_: 1.0)))) is Size.COUNTED
    assert normaliser([]) is None


def read(**how) -> ReadStep:
    return ReadStep([of_each([0.1] * 24)], **how)


TAKEN, SKIPPED = read(stepped=True), read()
BEGUN = read(stepped=True, began_with_gradients=True)


@pytest.mark.parametrize(
    ("steps", "complete"),
    [
        ([TAKEN, SKIPPED], [TAKEN]),
        ([SKIPPED], [SKIPPED]),  # the optimiser took none
        ([BEGUN, TAKEN], [TAKEN]),
        ([BEGUN, BEGUN], [BEGUN, BEGUN]),  # gradients are never cleared
        ([BEGUN], [BEGUN]),
    ],
)
def test_steps_are_complete_that_were_taken_and_seen_from_their_beginning(steps, complete):
    assert Record(steps).complete_steps() == complete


def test_a_step_of_one_process_has_its_rows_factor_and_multiplier():
    made = read(stepped=True, arrived=[1.0, -2.0], at_the_optimiser=[0.5, -1.0], divided_by=4)
    (found,), apart = step_counts(Record([made]), 0.1)
    assert (found.after, found.ranks, apart) == (0.5, 1, False)
    assert found.passes[0].factor == pytest.approx(1 / 96)  # an optimiser that averages passes divides by 4


@pytest.fixture
def small():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    watched = TrainedParameters(model)

    def backward():
        model(torch.randn(5, 3)).square().sum().backward()

    yield watched, model, backward
    watched.remove()


@pytest.mark.parametrize("factor", [1.0, 0.5, 1 / 65536])
def test_the_multiplier_of_accumulated_gradients_is_read_unless_they_point_elsewhere(small, factor):
    watched, model, backward = small
    backward()
    backward()
    for parameter in model.parameters():
        parameter.grad *= factor
    assert multiplier(*watched.entries()) == pytest.approx(factor, rel=1e-5)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    assert multiplier(*watched.entries()) is None


def test_gradients_that_were_cleared_and_parameters_that_moved_are_seen(small):
    watched, model, backward = small
    assert not watched.cleared()  # none had arrived
    backward()
    assert not watched.cleared()
    model.zero_grad()
    assert watched.cleared()
    watched.remember()
    assert not watched.moved()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    assert watched.moved()


def test_a_model_of_large_or_frozen_parameters_alone_is_borne():
    frozen = TrainedParameters(nn.Linear(2, 2).requires_grad_(False))
    assert (frozen.entries(), frozen.cleared(), frozen.has_gradients()) == (([], []), False, False)
    large = TrainedParameters(nn.Embedding(10_000, 10))
    assert large.entries() == ([], [])
    large.remove()


def seen_by_two_ranks(folder: Path, *what: str, torchrun: bool = False) -> dict[str, Any]:
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2") if torchrun else ()
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "tests.probe.watching.two_ranks", str(folder), *what],
        cwd=Path(__file__).parents[3],
        env={**environment(), "TMPDIR": str(folder), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "seen.json").read_text())


@pytest.fixture(scope="module", params=["forked", pytest.param("torchrun", marks=pytest.mark.nightly)])
def loops(request, tmp_path_factory) -> dict[str, Any]:
    return seen_by_two_ranks(tmp_path_factory.mktemp("ranks"), torchrun=request.param == "torchrun")


def test_two_ranks_that_train_rightly_raise_no_alarm(loops):
    right = {name: told for name, told in loops.items() if name.startswith("right")}
    found = {name: (told["eps"], told["normaliser"], told["ranks"]) for name, told in right.items()}
    assert found == dict.fromkeys(right, (0.1, "rows", 2))
    assert [each for told in right.values() for each in told["findings"] if each["level"] != "note"] == []


@pytest.mark.parametrize(
    ("name", "normaliser", "code", "words"),
    [
        ("mean of each rank", "micro-batches", "mean-of-means", "ranks of"),
        ("wrong rank count", "twice", "divided-twice", "by the 2 ranks"),
        ("ranks are multiplied and added", "twice", "not-divided", "by the 2 ranks"),
        ("apart", "micro-batches", "ranks-apart", "each of the 2 ranks"),
    ],
)
def test_a_fault_between_ranks_is_named(loops, name, normaliser, code, words):
    assert loops[name]["normaliser"] == normaliser
    assert any(each["code"] == code and words in each["text"] for each in loops[name]["findings"])


@pytest.mark.nightly  # two processes that load transformers: half a minute
def test_trainer_on_two_ranks_divides_by_the_rows_of_both_and_has_the_gradient_norms_of_one(tmp_path):
    from transformers import Trainer

    from sfumato.adapters.hf import compute_loss
    from tests.adapters.hf.small import arguments, data, llama, logged

    found = seen_by_two_ranks(tmp_path, "hf", torchrun=True)
    normalisers = {name: told["normaliser"] for name, told in found.items()}
    rows = dict.fromkeys(("its own", "ours", "ours, accumulated"), "rows")
    assert normalisers == {**rows, "its own, each rank its tokens": "micro-batches"}
    assert [told["eps"] for told in found.values()] == [pytest.approx(0.1, abs=1e-3)] * 4
    options, rows = arguments(tmp_path / "alone"), data(vocabulary=500)
    alone = Trainer(llama(500), options, train_dataset=rows, compute_loss_func=compute_loss(0.1))
    alone.train()
    for name in ("ours", "ours, accumulated"):
        assert found[name]["grad_norm"] == pytest.approx(logged(alone, "grad_norm"), rel=1e-5)


def test_notes_are_exchanged_through_the_store_and_a_silent_rank_is_absent():
    store, found = torch.distributed.HashStore(), {}
    wait = timedelta(milliseconds=200)

    def leave(rank):
        found[rank] = exchange([rank], RankPlace(store, rank, 3), 0, wait=wait)

    both = [threading.Thread(target=leave, args=(rank,)) for rank in (0, 1)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert found == {0: {0: [0], 1: [1]}, 1: {0: [0], 1: [1]}}


def test_one_process_has_no_place_among_ranks():
    assert place_among_ranks() is None
