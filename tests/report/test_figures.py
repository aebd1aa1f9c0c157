"""What each figure draws: its numbers against torch, sklearn and loops, its inks, and that all of it can be read."""

import itertools
import math
import re

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from sklearn.metrics import confusion_matrix

from sfumato import evaluate
from sfumato.evaluate.metrics.selective import RankedGroups
from sfumato.report.charts import drawing
from sfumato.report.charts.differences import plot_differences
from sfumato.report.compare_page import FIGURES
from sfumato.runs.read import ReportError, load_run
from tests.report.run_folders import ece, log_softmax, write_run

METRICS = {"accuracy": 100, "nll_after_temperature": 1, "eaurc": 1000}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    return load_run(write_run(folder, seeds=3, epochs=5, test=200, ladder=(0.0, 0.05, 0.1)))


@pytest.fixture(scope="module")
def drawn(run):
    """Every figure of the run by name, drawn once."""
    return {name: plot(run) for name, plot in FIGURES.items()}


def differences_of(run, count=1):
    return plot_differences([("smoothed 0.1 (others)", 1, run.summary["differences"])] * count)


def small(folder, **options):
    return load_run(write_run(folder / "run", **{"seeds": 1, "epochs": 1, "test": 50, **options}))


def pooled(run, arm, scaled):
    confidence, right, index = [], [], []
    for seed in run.seeds:
        rows = run.test[arm, seed]
        z = rows.logits.astype(np.float64) / (run.temperature(arm, seed) if scaled else 1)
        confidence += np.exp(log_softmax(z)).max(axis=1).tolist()
        right += (z.argmax(axis=1) == rows.labels).tolist()
        index += rows.index.tolist()
    return np.array(confidence), np.array(right), np.array(index)


def test_reliability_bins_are_counted_as_documented(run, drawn):
    curves, both = drawn["reliability"].numbers["curves"], list(itertools.product((0, 1), (False, True)))
    assert [(c.title, c.place, c.scaled) for c in curves] == [(("one-hot", "smoothed")[i], i, s) for i, s in both]
    for curve, (place, scaled) in zip(curves, both, strict=True):
        confidence, right, index = pooled(run, run.arms[place]["name"], scaled)
        for b in range(15):
            inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
            assert curve.rows[b] == inside.sum()
            assert curve.distinct[b] == len(set(index[inside].tolist()))
            if inside.any():
                assert curve.accuracy[b] == pytest.approx(right[inside].mean(), abs=1e-12)
                assert curve.confidence[b] == pytest.approx(confidence[inside].mean(), abs=1e-12)
            else:
                assert math.isnan(curve.accuracy[b])
        assert curve.ece == pytest.approx(ece(confidence, right), abs=1e-12)
        assert curve.signed_gap == pytest.approx(confidence.mean() - right.mean(), abs=1e-12)


def test_reliability_joins_only_bins_of_ten_distinct_rows_and_draws_every_interval(drawn):
    chart = drawn["reliability"]
    for i, curve in enumerate(chart.numbers["curves"]):
        line, faint = chart.ax.lines[2 * i], chart.ax.lines[2 * i + 1]
        firm = np.isfinite(line.get_xdata())
        assert firm.tolist() == (curve.distinct >= 10).tolist()
        np.testing.assert_array_equal(
            line.get_xydata()[firm], np.column_stack([curve.confidence, curve.accuracy])[firm]
        )
        assert len(faint.get_xdata()) == ((curve.distinct > 0) & (curve.distinct < 10)).sum()
        ends = np.concatenate([c.get_segments() for c in chart.ax.collections[2 * i : 2 * i + 2]])[:, :, 1]
        assert sorted(ends.tolist()) == sorted(np.column_stack([curve.low, curve.high])[curve.rows > 0].tolist())


def test_gap_curves_come_from_the_epochs(run, drawn):
    chart = drawn["gap"]
    for arm, gaps in zip(run.arms, chart.numbers["gaps"], strict=True):
        for seed in run.seeds:
            lines = [e for e in run.epochs if e["arm"] == arm["name"] and e["seed"] == seed]
            assert gaps[seed].tolist() == [e["train_gap"] for e in sorted(lines, key=lambda e: e["epoch"])]
    assert chart.numbers["closed_form"] == [math.inf, pytest.approx(math.log(81))]
    thick = [line for line in chart.ax.lines if line.get_label() == "one-hot"]
    np.testing.assert_allclose(thick[0].get_ydata(), chart.numbers["gaps"][0].mean(axis=0), rtol=1e-14)


def test_every_closed_form_is_a_line_whose_value_stands_at_its_end(tmp_path):
    run = small(tmp_path, smoothed=(0.09, 0.1, 0.4))
    for name, axis in (("gap", 1), ("gap-histogram", 0)):
        chart = FIGURES[name](run)
        known = sorted(form for form in chart.numbers["closed_form"] if form < math.inf)
        lines = [line.get_xydata()[0][axis] for line in chart.ax.lines if line.get_color() == drawing.INK]
        assert sorted(lines) == pytest.approx(known)
        ends = {text.xy[axis]: text.get_text() for text in chart.ax.texts if "closed" in text.get_text()}
        assert {round(end, 9): name for end, name in ends.items()} == {
            round(form, 9): f"closed form {form:.2f}" for form in known
        }
        apart = [Text.get_window_extent(text) for text in chart.ax.texts if boxes(chart.ax, []) == []]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(apart, 2)), name


def test_gap_histogram_holds_every_test_row_once(run, drawn):
    numbers = drawn["gap-histogram"].numbers
    for arm, shares, mean in zip(run.arms, numbers["shares"], numbers["means"], strict=True):
        gaps = [
            float(row[y]) - np.delete(row, y).astype(np.float64).mean()
            for seed in run.seeds
            for row, y in zip(run.test[arm["name"], seed].logits, run.test[arm["name"], seed].labels, strict=True)
        ]
        assert shares.sum() == pytest.approx(1, abs=1e-12)
        np.testing.assert_allclose(shares * len(gaps), np.histogram(gaps, numbers["edges"])[0], atol=1)
        assert mean == pytest.approx(np.mean(gaps), abs=1e-12)


def test_risk_is_the_error_rate_among_the_most_confident_rows(run, drawn):
    chart = drawn["risk-coverage"]
    for curve, (arm, scaled) in zip(
        chart.numbers["curves"], [(a["name"], s) for a in run.arms for s in (False, True)], strict=True
    ):
        assert curve.scaled == scaled
        place, expected = np.rint(curve.coverage * 200).astype(int), []
        for seed in run.seeds:
            t = run.temperature(arm, seed) if scaled else 1.0
            rows = evaluate.per_row(logits=run.test[arm, seed].logits, labels=run.labels, temperature=t)
            groups = RankedGroups(rows.score, rows.correct)
            expected.append((groups.errors / groups.place)[place - 1])
        np.testing.assert_allclose(curve.risk, np.mean(expected, axis=0), rtol=1e-12, atol=1e-15)
    first = chart.numbers["curves"][0]
    wrong = np.mean([(run.test["one-hot", s].logits.argmax(1) != run.labels).mean() for s in run.seeds])
    assert (first.coverage[-1], first.risk[-1]) == (1, pytest.approx(wrong, abs=1e-15))
    np.testing.assert_allclose(chart.ax.lines[0].get_ydata(), 100 * first.risk)
    top = max(float(curve.risk.max()) for curve in chart.numbers["curves"])
    assert (chart.ax.get_xlim(), chart.ax.get_ylim()) == ((0, 100), (0, pytest.approx(108 * top)))


def test_the_temperature_sweep_is_hard_nll_of_divided_logits(run, drawn):
    numbers = drawn["temperature-sweep"].numbers
    for nll, fitted, arm in zip(numbers["nll"], numbers["fitted"], run.arms, strict=True):
        for i in (0, 20, 40):
            known = [
                torch.nn.functional.cross_entropy(
                    torch.from_numpy(run.test[arm["name"], s].logits).double() / numbers["temperatures"][i],
                    torch.from_numpy(run.labels),
                ).item()
                for s in run.seeds
            ]
            assert nll[i] == pytest.approx(np.mean(known), rel=1e-12)
        values = [run.temperature(arm["name"], seed) for seed in run.seeds]
        assert fitted == pytest.approx(math.exp(np.mean(np.log(values))), rel=1e-12)
    ends = min(1, *numbers["fitted"]) / 2, max(1, *numbers["fitted"]) * 2
    assert tuple(numbers["temperatures"][[0, -1]]) == pytest.approx(ends, rel=1e-12)


def test_confusions_are_those_of_sklearn_the_most_frequent_first(run, drawn):
    chart = drawn["confusions"]
    pairs, all_counts = chart.numbers["pairs"], chart.numbers["counts"]
    for arm, counts in zip(run.arms, all_counts, strict=True):
        answers = [run.test[arm["name"], s].logits.argmax(1) for s in run.seeds]
        known = np.mean([confusion_matrix(run.labels, each, labels=range(10)) for each in answers], axis=0)
        assert counts.tolist() == [known[pair] for pair in pairs]
    assert chart.numbers["rows"].tolist() == [(run.labels == label).sum() for label, _ in pairs]
    assert (np.diff(np.max(all_counts, axis=0)) <= 0).all()
    assert len(pairs) == 10
    assert all(label != answer for label, answer in pairs)
    lines = [(left[0], right[0]) for group in chart.ax.collections for left, right in group.get_segments()]
    assert lines == list(zip(np.min(all_counts, axis=0), np.max(all_counts, axis=0), strict=True))
    assert [label.get_text() for label in chart.ax.get_yticklabels()] == chart.numbers["names"]


def test_a_run_without_an_error_has_no_confusions(tmp_path):
    run = small(tmp_path)
    for rows in run.test.values():
        rows.logits[:] = 0
        rows.logits[np.arange(len(rows.labels)), rows.labels] = 5
    chart = FIGURES["confusions"](run)
    assert (chart.numbers["pairs"], chart.alt) == ([], "No test row is wrong in any arm or seed.")


def test_the_ladder_draws_both_curves_with_their_intervals_and_rings_the_chosen_strength(drawn):
    ax, numbers = drawn["ladder"].ax, drawn["ladder"].numbers
    assert (numbers["eps"].tolist(), numbers["chosen"]) == ([0, 0.05, 0.1], 0.1)
    for line, values in zip(ax.lines, (numbers["nll"], numbers["scaled"]), strict=False):
        np.testing.assert_array_equal(line.get_xydata(), np.column_stack([numbers["eps"], values[:, 0]]))
    ends = ax.collections[1].get_segments()[2][:, 1]
    assert np.ptp(ends) == pytest.approx(2 * 1.959964 * numbers["scaled"][2, 1], rel=1e-6)
    assert ax.lines[2].get_xydata().tolist() == [[0.1, numbers["scaled"][2, 0]]]
    assert "over the others" in ax.get_xlabel()


def test_strengths_that_stand_close_share_a_label(tmp_path):
    ax = FIGURES["ladder"](small(tmp_path, ladder=(0.0, 0.005, 0.01, 0.2, 0.21, 0.4))).ax
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "", "", "0.2", "", "0.4"]


def test_a_run_without_a_ladder_is_refused(tmp_path):
    with pytest.raises(ReportError, match=r"env.json holds no ladder: only one strength was tried"):
        FIGURES["ladder"](small(tmp_path))


def test_differences_are_those_of_the_summary(run):
    chart = differences_of(run, 2)
    panels = chart.ax.child_axes
    assert len(panels) == 3
    for panel, (metric, factor) in zip(panels, METRICS.items(), strict=True):
        known = next(d for d in run.summary["differences"] if d["metric"] == metric)
        reliable = known["finding"] in ("better", "slightly better", "slightly worse", "worse")
        assert chart.numbers[metric]["findings"] == [known["finding"]] * 2
        for end in ("mean", "low", "high", "margin"):
            assert chart.numbers[metric][end].tolist() == [factor * known[end]] * 2
        assert [line.get_xdata()[0] for line in panel.lines[1:]] == [factor * known["mean"]] * 2
        assert panel.xaxis_inverted() == (metric != "accuracy")  # better is to the right
        assert {line.get_color() for line in panel.lines[1:]} == {drawing.OCHRE}  # the second arm's
        filled = [line.get_markerfacecolor() == line.get_color() for line in panel.lines[1:]]
        assert filled == [reliable] * 2
        beside = [text.get_text() for text in panel.texts[:-1:2]]
        assert [text.rpartition(" ")[0] for text in beside] == [known["finding"]] * 2
        bands = [tuple(bar.get_bbox().intervalx) for bar in panel.patches]
        assert bands == [pytest.approx((-factor * known["margin"], factor * known["margin"]))] * 2
        left, right = sorted(panel.get_xlim())  # the axis reaches both the interval and the margin
        assert left <= factor * min(known["low"], -known["margin"])
        assert right >= factor * max(known["high"], known["margin"])


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_its_numbers_in_words(drawn, name):
    chart = drawn[name]
    assert sum(letter.isdigit() for letter in chart.alt) > 8
    assert "nan" not in chart.alt
    assert "smoothed" in chart.alt or name == "ladder"


@pytest.mark.parametrize("name", FIGURES)
def test_svg_is_the_same_each_time_and_refers_to_nothing_outside(run, name):
    first, second = (drawing.to_svg(FIGURES[name](run).ax) for _ in range(2))
    assert first == second
    inline = drawing.inline(first, "name", 'an "alt" & more')
    assert "http" not in inline
    assert 'aria-label="an &#34;alt&#34; &amp; more"' in inline
    assert inline.count('id="') == inline.count('id="name-')
    assert not re.search("#[0-9a-f]{6}", inline)
    assert inline.count("<use ") == first.count("<use ")
    assert re.findall(r"<text[^>]*>([^<]*)<", inline) == re.findall(r"<text[^>]*>([^<]*)<", first)


def boxes(ax, texts):
    """Where texts are drawn, in points of the screen."""
    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    return [text.get_window_extent(canvas.get_renderer()) for text in texts]


def test_names_stand_clear_of_each_other(tmp_path):
    """In the crowded figures, no text touches another, and none stands within a panel, where the points are."""
    names = [f"rec.sport.of-kind-{k}" for k in range(10)]
    run = small(tmp_path, smoothed=(0.05, 0.4), test=400, class_names=names, noise=0.7)
    for name in (
        "differences",
        "confusions",
        "gap",
        "gap-histogram",
        "risk-coverage",
        "temperature-sweep",
        "reliability",
    ):
        ax = FIGURES[name](run).ax
        panels = [ax, *ax.child_axes] if name == "reliability" else ax.child_axes or [ax]
        around = [each for p in panels for each in (p.xaxis.label, p.yaxis.label, *p.texts)]
        ticks = [each for p in panels for each in p.get_yticklabels() if name in ("differences", "confusions")]
        found = [Text.get_window_extent(each) for each in (*around, *ticks) if each.get_text() and boxes(ax, []) == []]
        found = [box for box in found if box.width > 1]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(found, 2)), name
        inside = ax.figure.bbox.padded(1)
        assert all(box.x0 >= inside.x0 and box.y0 >= inside.y0 and box.y1 <= inside.y1 for box in found), name


def test_the_histogram_of_confidence_stands_clear_below_the_diagram(drawn):
    ax = drawn["reliability"].ax
    (below,) = ax.child_axes
    boxes(ax, [])
    assert ax.figure.bbox.y0 < below.bbox.y0 < below.bbox.y1 < ax.bbox.y0
    assert (below.bbox.x0, below.bbox.x1) == pytest.approx((ax.bbox.x0, ax.bbox.x1))


# Machado, Oliveira and Fernandes 2009, severity 1: linear RGB as seen without long, middle or short cones.
SEEN = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(hexadecimal, seen):
    srgb = np.array([int(hexadecimal[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(np.array(seen) @ linear, 0, 1) / (0.9505, 1.0, 1.089)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("inks", [drawing.LIGHT, drawing.DARK], ids=["light", "dark"])
def test_the_inks_of_five_arms_keep_apart(inks, seen):
    arms = [lab(ink, SEEN[seen]) for name, ink in inks.items() if name.startswith("arm-")]
    assert len(arms) == len(set(drawing.MARKS)) == 5
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(arms, 2)) > 20


def test_no_two_of_many_arms_look_alike():
    assert len({drawing.look(place) for place in range(25)}) == 25


@pytest.mark.parametrize("ys", [[0.5, 0.5, 0.51], [0, 0, 0], [1, 1, 1, 0.99], [0.1, 0.9]])
def test_names_at_the_ends_of_lines_keep_a_line_apart_and_within_the_axis(ys):
    ax = drawing.axes(right=1)
    drawing.label_ends(ax, [(1.0, y, f"line {i}", drawing.SLATE) for i, y in enumerate(ys)])
    middles = sorted((box.y0 + box.y1) / 2 for box in (Text.get_window_extent(text) for text in ax.texts))
    assert all(b - a >= drawing.APART - 1e-9 for a, b in itertools.pairwise(middles))
    assert ax.bbox.y0 - 2 <= middles[0]
    assert middles[-1] <= ax.bbox.y1 + 2
    in_order = sorted(ax.texts, key=lambda text: text.get_position()[1])
    assert [text.xy[1] for text in in_order] == sorted(ys)


def test_a_mean_over_seeds_leaves_out_what_is_not_there():
    values = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    np.testing.assert_array_equal(drawing.mean_over_seeds(values), [2.0, 5.0, np.nan])


@pytest.mark.parametrize(
    ("limits", "ticks", "small"),
    [
        ((0.1, 1.0), [0.1, 0.2, 0.5, 1], 6),
        ((0.5, 6), [0.5, 1, 2, 5], 7),
        ((0.03, 0.9), [0.05, 0.1, 0.2, 0.5], 12),
        ((0.001, 3.0), [0.001, 0.01, 0.1, 1], 26),
    ],
)
def test_a_log_axis_has_a_few_round_numbers_and_small_ticks_between(limits, ticks, small):
    ax = drawing.axes()
    ax.set_xscale("log")
    ax.set_xlim(*limits)
    drawing.log_ticks(ax.xaxis)
    places, between = (
        [tick for tick in ax.get_xticks(minor=minor) if limits[0] * 0.999 <= tick <= limits[1] * 1.001]
        for minor in (False, True)
    )
    assert places == pytest.approx(ticks)
    assert len(between) == small
    assert ax.xaxis.get_major_formatter().format_ticks(places) == [f"{tick:g}" for tick in ticks]


def test_a_single_epoch_has_room_about_it_and_epochs_are_whole_numbers(tmp_path, drawn):
    one = FIGURES["gap"](small(tmp_path)).ax
    assert one.get_xlim() == (0, 2)
    for ax in (one, drawn["gap"].ax):
        assert all(float(tick).is_integer() for tick in ax.get_xticks())
