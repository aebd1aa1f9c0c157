"""What a comparison says while it runs: before it trains, after each epoch, and in the live table of a terminal."""

from __future__ import annotations

import io
import itertools
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest

from sfumato.cli import progress
from sfumato.cli.progress import Watch
from sfumato.lab.arms import Arm, arm_of

MIXUP = arm_of("mixup:0.2", np.arange(3), 3)
ONE_HOT, SMOOTHED, MORE = (Arm("one-hot", 0.0, "others"), Arm("smoothed", 0.1, "others"), Arm("all-0.2", 0.2, "all"))


def setup(arms=(ONE_HOT, SMOOTHED), *, epochs=2, seeds=3, workers=2, finished=(), early_stop=None, duplicates=0,
          given=False, train=1078, batch_size=64):  # fmt: skip
    table = SimpleNamespace(name="digits", class_names=tuple("0123456789"), columns=())
    split = SimpleNamespace(
        train=range(train), validation=range(1000), test=range(359), duplicates=duplicates, given=given
    )
    inputs = SimpleNamespace(describe=lambda: "64 features")
    data = SimpleNamespace(table=table, split=split, inputs=inputs, warnings=(), folds=1)
    plan = SimpleNamespace(epochs=epochs, batch_size=batch_size, early_stop=early_stop)
    tasks = len(arms) * seeds
    return SimpleNamespace(data=data, arms=arms, plan=plan, tasks=tasks, workers=workers, finished=finished)


def epoch(number, nll=0.25, accuracy=0.875, gap=4.5):
    return {"epoch": number, "validation_nll": nll, "validation_accuracy": accuracy, "train_gap": gap}


@pytest.fixture
def told():
    """A watch on a file that is no terminal, and its lines."""
    stream = io.StringIO()
    with Watch(stream) as watch:
        yield watch, lambda: stream.getvalue().splitlines()


def test_before_it_trains_it_says_what_it_has_read_and_what_it_will_do(told):
    watch, lines = told
    watch.setup(setup())
    assert lines() == [
        "data   digits: 2,437 rows, 64 features, 10 classes "
        "(train 1,078, validation 1,000, test 359; split by content)",
        f"arms   one-hot; smoothed, {SMOOTHED.describe(10)}",
        "plan   2 arms × 3 seeds × 2 epochs of 17 steps, 2 processes",
    ]


@pytest.mark.parametrize(("train", "steps"), [(64, 1), (65, 2), (128, 2), (64_064, "1,001")])
def test_the_last_batch_of_an_epoch_may_be_short(train, steps, told):
    watch, lines = told
    watch.setup(setup(train=train, workers=1))
    assert lines()[-1] == f"plan   2 arms × 3 seeds × 2 epochs of {steps} steps, 1 process"


@pytest.mark.parametrize(
    ("arms", "options", "data"),
    [
        ((ONE_HOT, SMOOTHED, MORE), {}, "2,437 rows, 64 features, "),
        ((SMOOTHED, MORE), {"duplicates": 1200}, "2,437 rows, of which 1,200 repeat an earlier one, 64 features, "),
        ((ONE_HOT, MIXUP, SMOOTHED), {"duplicates": 1, "given": True}, "of which 1 repeats an earlier one, "),
    ],
)
def test_other_arms_than_the_two_have_a_line_each(arms, options, data, told):
    watch, lines = told
    watch.setup(setup(arms, **options))
    assert data in lines()[0]
    assert lines()[0].endswith("; parts as given)" if options.get("given") else "; split by content)")
    words = [(arm.name, arm.describe(10)) for arm in arms]
    joined = [name if name == "one-hot" else f"{name}{' ' if text[0] == '(' else ', '}{text}" for name, text in words]
    assert lines()[1:-1] == [f"arm    {text}" for text in joined]


@pytest.mark.parametrize("columns", [60, 80])
def test_lines_on_a_terminal_are_wrapped_to_its_width(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")
    stream, file = Terminal(), io.StringIO()
    for to in (stream, file):
        with Watch(to) as watch:
            watch.setup(setup(duplicates=1200))
            watch.epoch("one-hot", 0, epoch(1))
            watch.epoch("smoothed", 0, epoch(1))
    assert max(map(len, stream.getvalue().splitlines())) <= columns
    assert stream.getvalue().split() == file.getvalue().split()
    assert "\x1b" not in stream.getvalue()  # a terminal that cannot move its cursor gets lines


def test_a_run_is_told_when_every_arm_of_its_seed_has_ended(told):
    watch, lines = told
    watch.setup(setup())
    before = len(lines())
    for number in (1, 2):
        watch.epoch("smoothed", 0, epoch(number))
        watch.epoch("smoothed", 1, epoch(number))
    assert len(lines()) == before
    watch.epoch("one-hot", 0, epoch(1))
    assert lines()[before:] == [
        "seed 0  epoch   1/2   one-hot  log loss 0.250  acc  87.5 %  gap  4.50   "
        "smoothed  log loss 0.250  acc  87.5 %  gap  4.50, about 1 s to go"
    ]  # the first of all: training has begun
    before += 1
    watch.epoch("one-hot", 0, epoch(2, 0.5, 0.05, 12.25))
    (line,) = lines()[before:]
    assert line.startswith(
        "seed 0  epoch   2/2   one-hot  log loss 0.500  acc   5.0 %  gap 12.25   "
        "smoothed  log loss 0.250  acc  87.5 %  gap  4.50"
    )
    assert line.endswith(", about 1 s to go")
    watch.epoch("one-hot", 1, epoch(1))
    assert len(lines()) == before + 1


def test_a_long_run_has_a_line_now_and_then(told, monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.now)
    watch, lines = told
    watch.setup(setup(epochs=100))
    before = len(lines())
    for number in range(1, 100):
        clock.now += 8.0
        for arm in ("one-hot", "smoothed"):
            watch.epoch(arm, 0, epoch(number))
    told_epochs = [int(re.search(r"epoch +(\d+)/100", line)[1]) for line in lines()[before:]]
    assert told_epochs == list(range(1, 100, 4))  # every 32 seconds
    assert lines()[-1].endswith(", about 27 min to go")


def test_where_arms_may_stop_early_none_waits_for_another(told):
    watch, lines = told
    watch.setup(setup(early_stop=5))
    watch.epoch("smoothed", 1, epoch(1))
    assert lines()[-1].startswith("seed 1  epoch   1/2   smoothed")  # the first of all
    before = len(lines())
    watch.epoch("one-hot", 1, epoch(1))
    assert len(lines()) == before
    watch.epoch("smoothed", 2, epoch(1))  # its run of seed 1 is over
    assert lines()[before].startswith("seed 1  epoch   1/2   smoothed  log loss 0.250  acc  87.5 %  gap  4.50")
    watch.say("writing the report")
    assert [line[:28] for line in lines()[before + 1 :]] == [
        "seed 2  epoch   1/2   smooth", "seed 1  epoch   1/2   one-ho", "writing the report"
    ]  # fmt: skip


def test_what_an_earlier_session_finished_is_said_and_completes_the_lines(told):
    watch, lines = told
    watch.setup(setup(finished=({"seed": 0, "arm": "one-hot", "epochs": [epoch(1), epoch(2)]},)))
    assert lines()[-1] == "kept   1 of 6 runs, finished before"
    watch.epoch("smoothed", 0, epoch(2, 0.75))
    assert lines()[-1].startswith(
        "seed 0  epoch   2/2   one-hot  log loss 0.250  acc  87.5 %  gap  4.50   smoothed  log loss 0.750"
    )


def test_quiet_says_nothing():
    stream = io.StringIO()
    with Watch(stream, quiet=True) as watch:
        watch.setup(setup())
        for arm in ("one-hot", "smoothed"):
            watch.epoch(arm, 0, epoch(1))
        watch.say("writing the report")
    assert stream.getvalue() == ""


def test_a_reader_that_has_left_stops_no_run():
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    with Watch(Closed()) as watch:
        watch.setup(setup())
        watch.say("writing the report")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def table(monkeypatch):
    """The last live table that a terminal was shown, as rows of cells; the clock stands until it is moved."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.now)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")

    def table(plan, epochs=(), seconds=0.0):
        shown = []
        monkeypatch.setattr("rich.live.Live", lambda first, **_: live(shown, first))
        with Watch(Terminal()) as watch:
            watch.setup(plan)
            for number, words in enumerate(epochs):
                clock.now += seconds if number == 1 else 0.0  # the first only starts the clock
                watch.epoch(*words)
            assert watch.live is not None
            watch.say("writing the report")
            assert watch.live is None
        clock.now = 100.0
        columns = [[column.header, *column.cells] for column in shown[-1].columns]
        assert shown.count("stopped") == 0
        return [list(row) for row in itertools.zip_longest(*columns)]

    def live(shown, first):
        shown.append(first)
        return SimpleNamespace(start=lambda: None, stop=lambda: None, update=shown.append)

    return table


NAMES = ["seed, epoch", "log loss (NLL), validation", "accuracy, validation", "logit gap, training"]


def test_a_terminal_is_shown_the_arms_side_by_side(table):
    rows = table(setup(epochs=4), [("one-hot", 0, epoch(1, 0.5, 0.25, 2.0)), ("smoothed", 1, epoch(3))])
    assert [row[0] for row in rows[1:]] == NAMES
    assert rows[0][1:] == ["one-hot", "smoothed"]
    assert [row[1] for row in table(setup(), [("smoothed", 0, epoch(1))])[1:]] == ["–"] * 4  # it has not begun
    assert [row[1] for row in rows[1:]] == ["0, 1/4", "0.500", "25.0 %", "2.00 → ∞"]
    assert [row[2] for row in rows[1:]] == ["1, 3/4", "0.250", "87.5 %", f"4.50 → {math.log(9 * 0.9 / 0.1):.2f}"]


@pytest.mark.parametrize(("columns", "side_by_side"), [(70, True), (69, False)])
def test_arms_that_do_not_fit_side_by_side_have_a_line_each(columns, side_by_side, table, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    rows = table(setup((ONE_HOT, SMOOTHED, MORE), epochs=4), [("smoothed", 1, epoch(3))])
    if side_by_side:
        assert rows[0][1:] == ["one-hot", "smoothed", "all-0.2"]
    else:
        assert rows[0][1:] == [name.replace(", ", "\n") for name in NAMES]
        assert [row[0] for row in rows[1:]] == ["one-hot", "smoothed", "all-0.2"]
        assert rows[2][1:] == ["1, 3/4", "0.250", "87.5 %", f"4.50 → {math.log(9 * 0.9 / 0.1):.2f}"]


RUNS = [(arm, seed, epoch(number)) for seed in range(3) for arm in ("one-hot", "smoothed") for number in (1, 2)]


@pytest.mark.parametrize(
    ("done", "finished", "early_stop", "head"),
    [
        (0, (), None, "  0 %"),
        (1, (), None, "  8 %"),
        (4, (), None, " 33 %, about 80 s to go"),
        (4, (), 5, " 33 %, at most 80 s to go"),
        (12, (), None, "100 %"),
        (3, ({"seed": 0, "arm": "one-hot", "epochs": [epoch(1), epoch(2)]},), None, " 42 %, about 2 min to go"),
        (0, ({"seed": 0, "arm": "one-hot", "epochs": [epoch(1), epoch(2)]},), None, " 17 %"),
    ],
)
def test_the_head_says_how_much_is_done_and_how_long_the_rest_takes(done, finished, early_stop, head, table):
    rows = table(setup(finished=finished, early_stop=early_stop), RUNS[:done], seconds=30.0)
    assert rows[0][0] == head


def test_before_a_fiftieth_is_done_nothing_is_said_of_the_rest(table):
    plan = setup(epochs=100, seeds=1)
    runs = [("smoothed", 0, epoch(number)) for number in range(1, 7)]
    assert re.fullmatch(r"  2 %", table(plan, runs[:5], seconds=30.0)[0][0])
    assert re.fullmatch(r"  3 %, about 19 min to go", table(plan, runs, seconds=30.0)[0][0])
