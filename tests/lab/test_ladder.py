"""A strength chosen on the validation rows: which one, and that nothing saw the test rows before."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from sfumato.evaluate.statistics.differences import Metric
from sfumato.lab import ladder
from sfumato.lab.arms import Arm
from sfumato.lab.compare import compare
from sfumato.lab.options import Options
from sfumato.report.compare_page import render
from sfumato.runs.read import load_run
from tests.conftest import run_sfumato


def candidate(eps, scaled):
    values = np.array(scaled, dtype=np.float64)
    metric = Metric(values, values.mean(1, keepdims=True))
    return ladder.Candidate(Arm(f"smoothed-{eps:g}" if eps else "one-hot", eps, "others"), metric, metric)


def noisy(mean, own=0, rows=300, spread=0.02):
    """Rows that all arms share, and noise of this arm's own."""
    shared = np.random.default_rng(99).normal(size=(3, rows))
    alone = np.random.default_rng(own).normal(size=(3, rows))
    values = shared + spread * alone
    return values - values.mean() + mean


@pytest.mark.parametrize(
    ("means", "best", "chosen", "compared", "words"),
    [
        ((0.5, 0.4, 0.45), 0.1, 0.1, 0.1, "choose 0.1, which is best there"),
        ((0.5, 0.4001, 0.4), 0.2, 0.1, 0.1, "the smallest that cannot be told from the best there (0.2)"),
        ((0.3, 0.5, 0.4), 0, 0, 0.2, "they would keep one-hot; the smoothed arm here is the best of the others, 0.2"),
        ((0.5, 0.45, 0.4), 0.2, 0.2, 0.2, "It is the strongest that was tried"),
    ],
)
def test_the_best_is_chosen_or_a_smaller_strength_within_one_standard_error(means, best, chosen, compared, words):
    choice = ladder.choose([candidate(0.1 * at, noisy(mean, at + 1)) for at, mean in enumerate(means)])
    assert (choice.best.eps, choice.chosen.eps, choice.compared.eps) == (best, chosen, compared)
    assert words in choice.describe()
    assert [entry["chosen"] for entry in choice.to_json()] == [eps == chosen for eps in (0, 0.1, 0.2)]


def test_the_standard_error_is_that_of_the_paired_difference():
    """Rows differ by far more than arms do: with the error of a mean alone, one-hot would be a tie."""
    one_hot, smoothed = candidate(0, noisy(0.42, 1)), candidate(0.1, noisy(0.4, 2))
    assert one_hot.scaled.estimate().se > 0.02
    assert ladder.choose([one_hot, smoothed]).chosen.eps == 0.1


def saved(folder, logits, labels, group=None, seed=0):
    (folder / "logits").mkdir(exist_ok=True)
    np.savez(
        folder / "logits" / f"smoothed-0.1-seed{seed}-validation.npz",
        logits=logits,
        labels=labels,
        group=np.arange(len(labels)) if group is None else group,
    )


def test_temperatures_are_fitted_on_the_other_folds_as_scipy_fits_them(tmp_path):
    generator = np.random.default_rng(0)
    labels = generator.integers(4, size=203)
    logits = 3 * generator.normal(size=(203, 4)) + 2 * np.eye(4)[labels]
    for seed in range(3):
        saved(tmp_path, logits, labels, seed=seed)
    made = ladder.measure(tmp_path, Arm("smoothed-0.1", 0.1, "others"), range(3))
    fold = np.random.default_rng(0).permutation(203) % 5
    expected = np.empty(203)
    for number in range(5):
        there, here = fold != number, fold == number

        def nll(log_t, rows=there):
            return -log_softmax(logits[rows] / np.exp(log_t), 1)[np.arange(rows.sum()), labels[rows]].mean()

        t = np.exp(minimize_scalar(nll, bounds=(-4, 4), method="bounded", options={"xatol": 1e-10}).x)
        expected[here] = -log_softmax(logits[here] / t, 1)[np.arange(here.sum()), labels[here]]
    assert made.scaled.values[0] == pytest.approx(expected, rel=1e-4)
    assert made.nll.by_model[0, 0] == pytest.approx(-log_softmax(logits, 1)[np.arange(203), labels].mean(), rel=1e-12)


def test_copies_of_a_row_are_never_on_both_sides(tmp_path):
    """Every row is there twice: were its copy in another fold, the temperature would have seen it."""
    generator = np.random.default_rng(1)
    labels = generator.integers(3, size=40)
    logits = generator.normal(size=(40, 3)) + np.eye(3)[labels]
    for seed in range(3):
        saved(tmp_path, np.tile(logits, (2, 1)), np.tile(labels, 2), np.tile(np.arange(40), 2), seed=seed)
    twice = ladder.measure(tmp_path, Arm("smoothed-0.1", 0.1, "others"), range(3))
    for seed in range(3):
        saved(tmp_path, logits, labels, seed=seed)
    once = ladder.measure(tmp_path, Arm("smoothed-0.1", 0.1, "others"), range(3))
    assert twice.scaled.values.shape == (3, 40)
    assert twice.scaled.by_model == pytest.approx(once.scaled.by_model, rel=1e-6)


@pytest.fixture(scope="module")
def selected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ladder")
    words = (
        "compare",
        "digits",
        "--folds",
        "1",
        "--seeds",
        "3",
        "--epochs",
        "6",
        "--ladder",
        "0.2,0,0.05",
        "--json",
        "-q",
    )
    ran = run_sfumato(*words, "--out", "run", folder=folder)
    assert ran.code == 0, ran.err
    return folder / "run"


@pytest.mark.slow
def test_only_the_two_arms_that_are_compared_have_read_the_test_rows(selected):
    names = {path.name for path in (selected / "logits").iterdir()}
    assert {name.split("-seed")[0] for name in names if name.endswith("-test.npz")} == {"one-hot", "smoothed"}
    assert {name.split("-seed")[0] for name in names if name.endswith("-validation.npz")} == {
        *("one-hot", "smoothed", "smoothed-0.05", "smoothed-0.2")
    }


@pytest.mark.slow
def test_no_process_that_trains_a_candidate_is_given_a_test_row(tmp_path, monkeypatch):
    seen = []

    def look(tasks, rows, **options):
        seen.append((set(rows(0)), {part for task in tasks for part in task.parts}))
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sfumato.lab.execute.processes.run_all", look)
    with pytest.raises(KeyboardInterrupt):
        compare(Options("digits", folds=1, seeds=3, epochs=1, ladder="0,0.1,0.2"))
    assert seen == [({"train", "validation"}, {"train", "validation"})]


@pytest.mark.slow
@pytest.mark.nightly  # by day the summary is held to what validation rows chose
def test_the_chosen_arm_has_the_bits_of_a_run_with_that_strength_alone(selected, tmp_path):
    run = load_run(selected)
    smoothed = run.arms[1]
    words = (
        "compare",
        "digits",
        "--folds",
        "1",
        "--seeds",
        "3",
        "--epochs",
        "6",
        "--eps",
        f"{smoothed['eps']:g}",
        "-q",
    )
    ran = run_sfumato(*words, "--out", "run", folder=tmp_path)
    assert ran.code == 0, ran.err
    alone = load_run(tmp_path / "run")
    assert alone.summary["arms"] == run.summary["arms"]
    assert alone.summary["verdict"]["sentences"] == run.summary["verdict"]["sentences"]
    for key, rows in alone.test.items():
        assert np.array_equal(rows.logits, run.test[key].logits)


@pytest.mark.slow
def test_the_report_shows_every_candidate_and_which_was_chosen(selected):
    run = load_run(selected)
    assert [entry["eps"] for entry in run.ladder] == [0, 0.05, 0.2]
    assert sum(entry["chosen"] for entry in run.ladder) == 1
    assert any("the validation rows choose" in note["text"] for note in run.env["notes"])
    page = (selected / "report.html").read_text(encoding="utf-8")
    assert "ringed, was chosen" in page
    assert "and the strength were chosen on" in re.sub(r"<[^>]*>", "", page)
    render(selected)


@pytest.mark.nightly  # that a run which was stopped goes on to its bits is asked each day without a ladder
def test_a_ladder_that_was_stopped_goes_on_to_the_same_summary(selected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = Options("digits", folds=1, seeds=3, epochs=6, ladder="0.2,0,0.05", out="run", workers=2)
    with monkeypatch.context() as patch:
        patch.setattr("sfumato.lab.ladder.choose", lambda candidates: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            compare(options)
    ran = run_sfumato("compare", "--resume", "run", "--json", "-q", folder=tmp_path)
    assert ran.code == 0, ran.err
    stored = json.loads((selected / "summary.json").read_text(encoding="utf-8"))
    assert {**ran.json(), "run": ""} == {**stored, "run": ""}
