from collections import Counter

import numpy as np
import pytest

from sfumato.report.changed_rows import changes, compared, rows_to_show
from sfumato.runs.read import load_run
from tests.report.run_folders import log_softmax, write_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run", seeds=3, epochs=1, test=300)


@pytest.fixture(scope="module")
def run(folder):
    return load_run(folder)


def votes(run, arm):
    """Row by row: the answers of the seeds, counted, and the mean probabilities after temperature."""
    seen = [run.test[arm, s].logits.argmax(axis=1) for s in run.seeds]
    p = np.mean(
        [np.exp(log_softmax(run.test[arm, s].logits.astype(float) / run.temperature(arm, s))) for s in run.seeds],
        axis=0,
    )
    return [Counter(int(each[i]) for each in seen) for i in range(len(run.labels))], p


def test_an_answer_is_that_of_most_seeds(run):
    found = changes(run, *compared(run), most=300)
    for side, arm in enumerate(("one-hot", "smoothed")):
        counted, p = votes(run, arm)
        place = {int(row): i for i, row in enumerate(run.index)}
        for row in (*found.gained, *found.lost, *found.swapped, *found.shifted):
            i = place[row.row]
            most = max(counted[i].values())
            assert row.votes[side] == most == counted[i][row.answers[side]]
            tied = [answer for answer, count in counted[i].items() if count == most]
            assert row.answers[side] == max(tied, key=lambda k, i=i: p[i, k])
            assert row.probability[side] == pytest.approx(p[i, row.label], abs=1e-12)


def test_every_row_is_in_the_list_where_it_belongs(run):
    found = changes(run, *compared(run), most=300)
    assert all(r.answers[1] == r.label != r.answers[0] for r in found.gained)
    assert all(r.answers[0] == r.label != r.answers[1] for r in found.lost)
    assert all(len({*r.answers, r.label}) == 3 for r in found.swapped)
    assert all(r.answers[0] == r.answers[1] for r in found.shifted)
    assert found.counts == (len(found.gained), len(found.lost), len(found.swapped))
    assert sum(found.counts) + len(found.shifted) == 300


def test_the_largest_changes_stand_first(run):
    found = changes(run, *compared(run), most=300)
    for rows in (found.gained, found.lost, found.swapped, found.shifted):
        moves = [abs(row.probability[1] - row.probability[0]) for row in rows]
        assert moves == sorted(moves, reverse=True)


def test_a_list_is_cut_but_its_rows_are_counted(run):
    short, long = changes(run, *compared(run), most=2), changes(run, *compared(run), most=300)
    assert short.swapped == long.swapped[:2]
    assert short.counts == long.counts
    assert len(changes(run, *compared(run)).shifted) == 8 < len(long.shifted)


def test_rows_to_show_are_those_of_the_lists(folder, run):
    found = changes(run, *compared(run))
    lists = (found.gained, found.lost, found.swapped, found.shifted)
    assert rows_to_show(folder) == sorted(row.row for rows in lists for row in rows)
    assert set(rows_to_show(folder)) <= set(run.index.tolist())


@pytest.mark.parametrize(("choice", "other"), [("smoothed-0.2", "smoothed-0.2"), ("one-hot", "smoothed-0.05")])
def test_the_chosen_arm_is_compared_or_else_the_first_other(tmp_path, choice, other):
    run = load_run(write_run(tmp_path / "run", smoothed=(0.05, 0.2), choice=choice, seeds=1, epochs=1, test=60))
    assert [arm["name"] for arm in compared(run)] == ["one-hot", other]


def test_a_run_of_one_arm_has_nothing_to_show(tmp_path):
    folder = write_run(tmp_path / "run", smoothed=(), choice="one-hot", seeds=1, epochs=1, test=60)
    assert rows_to_show(folder) == []
