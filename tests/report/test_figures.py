import math

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix

from sfumato import evaluate
from sfumato.report import charts
from sfumato.runs.read import ReportError, load_run
from tests.report.run_folders import write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    return load_run(write_run(folder, seeds=2, epochs=3, test=200, ladder=(0.0, 0.05, 0.1)))


def test_risk_is_the_error_rate_among_the_most_confident_rows(run):
    _, data = charts.plot_risk_coverage(run)
    assert [(c.arm, c.scaled) for c in data.curves][:2] == [("one-hot", False), ("one-hot", True)]
    place = np.rint(data.coverage * 200).astype(int)
    for curve, (arm, scaled) in zip(data.curves, [(a["name"], s) for a in run.arms for s in (0, 1)], strict=True):
        expected = []
        for seed in run.seeds:
            t = run.temperature(arm, seed) if scaled else 1.0
            rows = evaluate.per_row(logits=run.test[arm, seed].logits, labels=run.labels, temperature=t)
            expected.append(evaluate.risk_coverage_curve(rows.score, rows.correct).risk[place - 1])
        np.testing.assert_allclose(curve.risk, np.mean(expected, axis=0), rtol=1e-12, atol=1e-15)


def test_risk_curves_end_at_the_error_rate(run):
    ax, data = charts.plot_risk_coverage(run)
    assert data.coverage[-1] == 1
    wrong = np.mean([(run.test["one-hot", s].logits.argmax(1) != run.labels).mean() for s in run.seeds])
    assert data.curves[0].risk[-1] == pytest.approx(wrong, abs=1e-15)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 100 * data.curves[0].risk)


def test_the_temperature_sweep_is_hard_nll_of_divided_logits(run):
    _, data = charts.plot_temperature_sweep(run)
    for nll, arm in zip(data.nll, run.arms, strict=True):
        for i in (0, 20, 40):
            known = np.mean(
                [
                    torch.nn.functional.cross_entropy(
                        torch.from_numpy(run.test[arm["name"], s].logits).double() / data.temperatures[i],
                        torch.from_numpy(run.labels),
                    ).item()
                    for s in run.seeds
                ]
            )
            assert nll[i] == pytest.approx(known, rel=1e-12)


def test_the_sweep_shows_the_fitted_temperature_and_1(run):
    _, data = charts.plot_temperature_sweep(run)
    for fitted, arm in zip(data.fitted, run.arms, strict=True):
        values = [run.temperature(arm["name"], seed) for seed in run.seeds]
        assert fitted == pytest.approx(math.exp(np.mean(np.log(values))), rel=1e-12)
    ends = min(1, *data.fitted) / 2, max(1, *data.fitted) * 2
    assert (data.temperatures[0], data.temperatures[-1]) == pytest.approx(ends, rel=1e-12)


def test_confusions_are_those_of_sklearn(run):
    _, data = charts.plot_confusions(run)
    for arm, counts in zip(run.arms, data.counts, strict=True):
        known = np.mean(
            [
                confusion_matrix(run.labels, run.test[arm["name"], s].logits.argmax(1), labels=range(10))
                for s in run.seeds
            ],
            axis=0,
        )
        assert counts.tolist() == [known[pair] for pair in data.pairs]
        assert data.rows.tolist() == [(run.labels == a).sum() for a, _ in data.pairs]


def test_the_most_frequent_confusions_are_drawn_and_no_right_answer(run):
    _, data = charts.plot_confusions(run)
    largest = np.max(data.counts, axis=0)
    assert (np.diff(largest) <= 0).all()
    assert all(a != b for a, b in data.pairs)
    assert len(data.pairs) == 10


def test_a_confusion_is_a_line_from_the_least_to_the_largest_count_beside_its_name(run):
    ax, data = charts.plot_confusions(run)
    lines = [(left[0], right[0]) for drawn in ax.collections for left, right in drawn.get_segments()]
    assert lines == list(zip(np.min(data.counts, axis=0), np.max(data.counts, axis=0), strict=True))
    assert [label.get_text() for label in ax.get_yticklabels()] == list(data.names)
    assert (ax.get_xlim()[0], ax.get_ylim()) == (0, (9.5, -0.5))


def test_a_run_without_an_error_has_no_confusions(tmp_path):
    run = load_run(write_run(tmp_path / "run", seeds=1, epochs=1, test=30))
    for rows in run.test.values():
        rows.logits[:] = 0
        rows.logits[np.arange(30), rows.labels] = 5
    _, data = charts.plot_confusions(run)
    assert data.pairs == ()
    assert data.alt == "No test row is wrong in any arm or seed."


def test_the_ladder_draws_both_curves_with_their_intervals(run):
    ax, data = charts.plot_ladder(run)
    assert data.eps.tolist() == [0, 0.05, 0.1]
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), np.column_stack([data.eps, data.nll]))
    np.testing.assert_array_equal(ax.lines[1].get_xydata(), np.column_stack([data.eps, data.scaled]))
    ends = ax.collections[1].get_segments()[2][:, 1]
    assert np.ptp(ends) == pytest.approx(2 * 1.959964 * data.scaled_se[2], rel=1e-6)
    assert "over the others" in ax.get_xlabel()


def test_the_chosen_strength_is_ringed(run):
    ax, data = charts.plot_ladder(run)
    assert data.chosen == 0.1
    assert ax.lines[2].get_xydata().tolist() == [[0.1, data.scaled[2]]]
    assert "0.1 chosen" in data.alt


def test_strengths_that_stand_close_share_a_label(tmp_path):
    run = load_run(write_run(tmp_path / "run", seeds=1, epochs=1, test=30, ladder=(0.0, 0.005, 0.01, 0.2, 0.21, 0.4)))
    ax, _ = charts.plot_ladder(run)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "", "", "0.2", "", "0.4"]
    assert ax.get_xticks().tolist() == [0, 0.005, 0.01, 0.2, 0.21, 0.4]


def test_a_run_without_a_ladder_says_so(tmp_path):
    run = load_run(write_run(tmp_path / "run", seeds=1, epochs=1, test=30))
    with pytest.raises(ReportError, match=r"env.json holds no ladder: only one strength was tried"):
        charts.plot_ladder(run)


def test_lines_of_strengths_that_the_ladder_left_behind_are_no_error(tmp_path):
    folder = write_run(tmp_path / "run", seeds=1, epochs=1, test=30, ladder=(0.0, 0.05, 0.1))
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"arm": "smoothed-0.05", "seed": 0, "epoch": 1, "train_loss": 0.5}\n')
    assert [rung["eps"] for rung in load_run(folder).ladder] == [0, 0.05, 0.1]


def test_differences_are_those_of_the_summary(run):
    ax, data = charts.plot_differences([run, run], names=["first", "second"])
    assert data.rows == ("first: smoothed 0.1 (others)", "second: smoothed 0.1 (others)")
    for metric, factor in (("accuracy", 100), ("nll_after_temperature", 1), ("eaurc", 1000)):
        known = next(d for d in run.summary["differences"] if d["metric"] == metric)
        assert data.mean[metric].tolist() == [factor * known["mean"]] * 2
        assert data.low[metric].tolist() == [factor * known["low"]] * 2
        assert data.high[metric].tolist() == [factor * known["high"]] * 2
        assert data.reliable[metric] == ((known["finding"] != "not settled"),) * 2
    assert len(ax.child_axes) == 3
    metrics = ("accuracy", "nll_after_temperature", "eaurc")
    labels = (
        *("accuracy, points", "log loss after temperature (NLL), nats"),
        "ranking of mistakes (E-AURC × 1000), area",
    )
    for panel, metric, label in zip(ax.child_axes, metrics, labels, strict=True):
        assert panel.get_xlabel().startswith(f"difference in {label}")
        assert [line.get_xdata()[0] for line in panel.lines[1:]] == data.mean[metric].tolist()
        filled = [line.get_markerfacecolor() == line.get_color() for line in panel.lines[1:]]
        assert filled == list(data.reliable[metric])
