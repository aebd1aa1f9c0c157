import dataclasses
import itertools
import math
import re

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sfumato.report import charts
from sfumato.report.charts import calibration, style
from sfumato.report.charts import svg as figure_to_svg
from sfumato.runs.read import load_run
from tests.report.run_folders import ece, log_softmax, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return load_run(
        write_run(tmp_path_factory.mktemp("runs") / "digits", seeds=3, epochs=5, test=200, ladder=(0.0, 0.1))
    )


def test_a_risk_coverage_curve_has_room_for_all_rows_and_no_more(run):
    ax, data = charts.plot_risk_coverage(run)
    assert ax.get_xlim() == (0, 100)
    assert ax.get_ylim() == (0, pytest.approx(108 * max(float(curve.risk.max()) for curve in data.curves)))


@pytest.mark.parametrize("count", [1, 4])
def test_every_panel_of_differences_has_as_much_room_for_a_row(run, count):
    ax, _ = charts.plot_differences([run] * count)
    figure = ax.get_figure()
    panels = [panel.get_position().height * figure.get_figheight() for panel in ax.child_axes]
    assert panels == pytest.approx([0.27 * count] * 3, rel=0.15)  # inches, with the margins


def test_no_two_of_many_arms_look_alike(run):
    many = dataclasses.replace(run, summary={**run.summary, "arms": run.arms[:1] * 25})
    assert len(set(zip(style.colours(many), style.marks(many), strict=True))) == 25


def pooled(run, arm, scaled):
    confidence, right, index = [], [], []
    for seed in run.seeds:
        rows = run.test[arm, seed]
        z = rows.logits.astype(np.float64) / (run.temperature(arm, seed) if scaled else 1)
        confidence += np.exp(log_softmax(z)).max(axis=1).tolist()
        right += (z.argmax(axis=1) == rows.labels).tolist()
        index += rows.index.tolist()
    return np.array(confidence), np.array(right), np.array(index)


@pytest.mark.parametrize("scaled", [False, True])
def test_reliability_bins_are_counted_as_documented(run, scaled):
    _, data = charts.plot_reliability(run, scaled=scaled)
    assert [(c.arm, c.scaled) for c in data.curves] == [("one-hot", scaled), ("smoothed 0.1 (others)", scaled)]
    for curve, arm in zip(data.curves, run.arms, strict=True):
        confidence, right, index = pooled(run, arm["name"], scaled)
        for b in range(15):
            inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
            assert curve.count[b] == inside.sum()
            assert curve.distinct[b] == len(set(index[inside].tolist()))
            if inside.any():
                assert curve.accuracy[b] == pytest.approx(right[inside].mean(), abs=1e-12)
                assert curve.confidence[b] == pytest.approx(confidence[inside].mean(), abs=1e-12)
            else:
                assert math.isnan(curve.accuracy[b])
        assert curve.ece == pytest.approx(ece(confidence, right), abs=1e-12)
        assert curve.signed_gap == pytest.approx(confidence.mean() - right.mean(), abs=1e-12)


def test_reliability_joins_only_bins_of_ten_distinct_rows(run):
    ax, data = charts.plot_reliability(run)
    for i, curve in enumerate(data.curves):
        line, faint = ax.lines[2 * i], ax.lines[2 * i + 1]
        drawn = np.isfinite(line.get_xdata())
        assert drawn.tolist() == (curve.distinct >= 10).tolist()
        np.testing.assert_array_equal(
            line.get_xydata()[drawn], np.column_stack([curve.confidence, curve.accuracy])[drawn]
        )
        assert len(faint.get_xdata()) == ((curve.distinct > 0) & (curve.distinct < 10)).sum()
        assert faint.get_linestyle() == "None"


def test_every_bin_with_rows_has_its_interval(run):
    ax, data = charts.plot_reliability(run)
    for i, curve in enumerate(data.curves):
        ends = np.concatenate([c.get_segments() for c in ax.collections[2 * i : 2 * i + 2]])[:, :, 1]
        seen = curve.count > 0
        assert sorted(ends.tolist()) == sorted(np.column_stack([curve.low, curve.high])[seen].tolist())


def test_gap_curves_come_from_the_epochs(run):
    ax, data = charts.plot_gap(run)
    for arm, gaps in zip(run.arms, data.gaps, strict=True):
        for seed in run.seeds:
            lines = [e for e in run.epochs if e["arm"] == arm["name"] and e["seed"] == seed]
            assert gaps[seed].tolist() == [e["train_gap"] for e in sorted(lines, key=lambda e: e["epoch"])]
    assert data.closed_form == (math.inf, pytest.approx(math.log(81)))
    assert any("closed form 4.39" in text.get_text() for text in ax.texts)
    thick = [line for line in ax.lines if line.get_label() == "one-hot"]
    np.testing.assert_allclose(thick[0].get_ydata(), data.gaps[0].mean(axis=0), rtol=1e-14)


def test_excess_is_loss_minus_floor(run):
    ax, data = charts.plot_excess(run)
    assert ax.get_yscale() == "log"
    for arm, excess, floor in zip(run.arms, data.excess, data.floors, strict=True):
        losses = np.array(
            [[e["train_loss"] for e in run.epochs if (e["arm"], e["seed"]) == (arm["name"], s)] for s in run.seeds]
        )
        np.testing.assert_allclose(excess, losses - floor, atol=1e-12)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "one-hot, floor 0",
        "smoothed 0.1 (others), floor .545",
    ]


def test_gap_histogram_holds_every_test_row_once(run):
    _, data = charts.plot_gap_histogram(run)
    for arm, shares, mean in zip(run.arms, data.shares, data.means, strict=True):
        gaps = [
            float(row[y]) - np.delete(row, y).astype(np.float64).mean()
            for seed in run.seeds
            for row, y in zip(run.test[arm["name"], seed].logits, run.test[arm["name"], seed].labels, strict=True)
        ]
        assert shares.sum() == pytest.approx(1, abs=1e-12)
        np.testing.assert_allclose(shares * len(gaps), np.histogram(gaps, data.edges)[0], atol=1)
        assert mean == pytest.approx(np.mean(gaps), abs=1e-12)


def plot_differences(run, ax=None):
    return charts.plot_differences([run], ax)


ALL = [
    charts.plot_reliability,
    charts.plot_gap,
    charts.plot_excess,
    charts.plot_gap_histogram,
    charts.plot_projection,
    charts.plot_risk_coverage,
    charts.plot_temperature_sweep,
    charts.plot_confusions,
    charts.plot_ladder,
    plot_differences,
]


@pytest.mark.parametrize("plot", ALL)
def test_a_plot_draws_on_the_axis_it_is_given_and_changes_no_setting(run, plot):
    before = dict(matplotlib.rcParams)
    ax = Figure().add_subplot()
    assert plot(run, ax)[0] is ax
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("plot", ALL)
def test_every_axis_has_a_label(run, plot):
    ax, _ = plot(run)
    shown = [one for one in (ax, *ax.child_axes) if one.axison]
    for one in shown:
        beside = [other for other in shown if np.isclose(other.get_position().y0, one.get_position().y0)]
        below = [other for other in shown if np.isclose(other.get_position().x0, one.get_position().x0)]
        assert any(other.get_xlabel() for other in below)
        assert any(other.get_ylabel() for other in beside) or len(one.get_yticklabels()) <= 2


@pytest.mark.parametrize(
    ("plot", "rows", "labels", "words"),
    [
        (charts.plot_gap, "training", ["epoch", "training logit gap (nats)"], "Mean training logit gap over 5 epochs."),
        (charts.plot_gap_histogram, "test", ["test logit gap (nats)", "rows (%)"], "logit gap of the test rows"),
        (
            charts.plot_excess,
            "training",
            ["epoch", "loss − floor (nats)"],
            "Training loss minus its floor over 5 epochs",
        ),
        (
            charts.plot_ladder,
            "validation",
            [..., "log loss (NLL), validation rows (nats)"],
            "log loss (NLL) of the validation rows",
        ),
        (
            charts.plot_temperature_sweep,
            "test",
            [..., "log loss (NLL), test rows (nats)"],
            "log loss (NLL) of the test rows",
        ),
        (charts.plot_confusions, "test", ["test rows a seed (mean)", "label → answer"], "in test rows a seed"),
        (charts.plot_risk_coverage, "test", [...] * 2, "among the most confident test rows, 200 rows and 3 seeds"),
        (charts.plot_reliability, "test", [...] * 2, "200 test rows pooled over 3 seeds"),
    ],
)
def test_axes_and_words_say_which_rows_are_shown(run, plot, rows, labels, words):
    ax, data = plot(run)
    for found, wanted in zip((ax.get_xlabel(), ax.get_ylabel()), labels, strict=True):
        assert wanted in (..., found)
    assert words in data.alt
    others = {"training", "validation", "test"} - {rows}
    assert not any(other in text.lower() for other in others for text in (data.alt, ax.get_xlabel(), ax.get_ylabel()))


def test_panels_of_the_projection_say_which_rows_they_show(run):
    ax, data = charts.plot_projection(run)
    for panel, cloud in zip(ax.child_axes, data.clouds, strict=True):
        said = "training rows" if cloud.part == "train" else "test rows"
        assert panel.get_title(loc="left").endswith(said)
    parts = re.findall(r"(one-hot|smoothed 0\.1 \(others\)), (training|test): (\.\d\d|\d\.\d\d)", data.alt)
    known = [(c.arm, {"train": "training"}.get(c.part, c.part), float(f"{c.spread:.2f}")) for c in data.clouds]
    assert [(arm, part, float(spread)) for arm, part, spread in parts] == known


@pytest.mark.parametrize("plot", ALL)
def test_alt_text_holds_numbers_of_each_arm(run, plot):
    _, data = plot(run)
    if plot is not charts.plot_ladder:
        assert "smoothed 0.1 (others)" in data.alt
        assert "one-hot" in data.alt or plot is plot_differences
    assert sum(c.isdigit() for c in data.alt) > 8
    assert "nan" not in data.alt


@pytest.mark.parametrize("plot", ALL)
def test_svg_is_the_same_each_time_and_refers_to_nothing_outside(run, plot):
    first, second = (figure_to_svg.to_svg(plot(run)[0]) for _ in range(2))
    assert first == second
    inline = figure_to_svg.inline(first, "name", 'an "alt" & more')
    assert "http" not in inline
    assert 'aria-label="an &#34;alt&#34; &amp; more"' in inline
    assert inline.count('id="') == inline.count('id="name-')
    assert not re.search("#[0-9a-f]{6}", inline)


def test_labels_of_several_closed_forms_do_not_collide(tmp_path):
    run = load_run(write_run(tmp_path / "run", smoothed=(0.09, 0.1, 0.11), seeds=1, epochs=1))
    ax, data = charts.plot_gap(run)
    heights = sorted(text.xy[1] for text in ax.texts)
    assert len(heights) == 3
    assert min(np.diff(heights)) > 0.05 * np.ptp(ax.get_ylim())
    assert data.epochs.tolist() == [1]


def test_one_epoch_still_shows_a_decade_and_whole_epochs(tmp_path):
    run = load_run(write_run(tmp_path / "run", seeds=1, epochs=1, test=50))
    ax, _ = charts.plot_excess(run)
    bottom, top = ax.get_ylim()
    assert top >= 9.99 * bottom
    assert ax.get_xlim() == (0, 2)
    assert all(float(tick).is_integer() for tick in ax.get_xticks())


def test_the_inline_form_draws_the_same_in_fewer_bytes(run):
    text = figure_to_svg.to_svg(charts.plot_projection(run)[0])
    inline = figure_to_svg.inline(text, "name", "alt")
    assert len(inline) < 0.75 * len(text)
    assert inline.count("<use ") == text.count("<use ")
    assert re.findall(r"<text[^>]*>([^<]*)<", inline) == re.findall(r"<text[^>]*>([^<]*)<", text)


def boxes(ax, texts):
    """Where texts are drawn, in points of the screen."""
    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    return [text.get_window_extent(canvas.get_renderer()) for text in texts]


@pytest.mark.parametrize("few", [0, 10, 10**6])
def test_the_diagram_fills_its_figure_whether_bins_are_faint_or_not(run, monkeypatch, few):
    monkeypatch.setattr(calibration, "FEW", few)
    ax, _ = charts.plot_reliability(run)
    for _ in range(2):  # the layout sees axes beside axes from its second pass on
        ax.figure.draw_without_rendering()
    height = ax.figure.bbox.height
    assert 0 <= ax.get_tightbbox().y0 < 0.03 * height
    assert ax.bbox.height > 0.5 * height


def test_names_of_classes_cover_no_point_of_the_projection(run):
    ax, data = charts.plot_projection(run)
    for panel, cloud in zip(ax.child_axes, data.clouds, strict=True):
        found = boxes(ax, panel.texts)
        assert [text.get_text() for text in panel.texts] == list(data.names)
        pixels = panel.transData.transform(cloud.points)
        for box in found:
            assert not ((pixels > [box.x0, box.y0]) & (pixels < [box.x1, box.y1])).all(axis=1).any()
            assert panel.bbox.x0 <= box.x0 < box.x1 <= panel.bbox.x1
            assert panel.bbox.y0 <= box.y0 < box.y1 <= panel.bbox.y1


def test_long_names_of_crowded_classes_stand_in_a_legend_and_run_into_nothing(tmp_path):
    names = [f"rec.sport.of-kind-{k}" for k in range(10)]
    run = load_run(write_run(tmp_path / "run", seeds=1, epochs=1, test=400, class_names=names, noise=0.7))
    ax, data = charts.plot_projection(run)
    assert all(len(panel.texts) == 0 for panel in ax.child_axes)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(data.names)
    assert ax.figure.get_layout_engine() is not None, "the legend takes room, so the panels are to be placed again"
    around = [each for panel in ax.child_axes for each in (panel.xaxis.label, panel.yaxis.label, panel._left_title)]
    found = [box for box in boxes(ax, [*around, ax.get_legend()]) if box.width > 1]
    assert len(found) > 8
    assert not any(one.overlaps(other) for one, other in itertools.combinations(found, 2))


def test_names_of_confusions_stand_clear_of_each_other(run):
    ax, data = charts.plot_confusions(run)
    assert len(data.pairs) == 10
    found = boxes(ax, ax.get_yticklabels())
    assert all(above.y0 > below.y1 for above, below in itertools.pairwise(found))


@pytest.mark.parametrize("smoothed", [(0.1,), (0.05, 0.1, 0.4), (0.9,)])
def test_closed_forms_are_named_above_the_bars_and_crossed_by_no_line(tmp_path, smoothed):
    run = load_run(write_run(tmp_path / "run", smoothed=smoothed, seeds=1, epochs=1, test=100))
    ax, data = charts.plot_gap_histogram(run)
    found = boxes(ax, ax.texts)
    lines = [segment for drawn in ax.collections for segment in drawn.get_segments()]
    assert sorted(line[0][0] for line in lines) == pytest.approx(sorted(c for c in data.closed_form if c < math.inf))
    bars = ax.transData.transform((0, 100 * max(share.max() for share in data.shares)))[1]
    for box in found:
        assert box.y0 > bars
        assert ax.bbox.x0 <= box.x0 < box.x1 <= ax.bbox.x1
        assert box.y1 <= ax.bbox.y1 + 1
        for (x, _), (_, top) in lines:
            x, top = ax.transData.transform((x, top))
            assert not (box.x0 < x < box.x1 and top > box.y0)


@pytest.mark.parametrize("scale", [1.0, 0.2, 5.0])
def test_the_line_of_what_was_trained_is_named_where_the_next_curve_is_further_away(tmp_path, scale):
    run = load_run(write_run(tmp_path / "run", seeds=1, epochs=1, test=100))
    for (arm, seed), rows in run.test.items():  # all models less sure, or surer, by one factor
        rows.logits[:] *= scale
        run.env["temperatures"][arm][seed]["value"] *= scale
    ax, data = charts.plot_temperature_sweep(run)
    (text,) = ax.texts
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    high = []  # where a curve runs through the upper part of the figure, as a factor of 1
    for nll in data.nll:
        fine = np.geomspace(left, right, 4001)
        curve = np.interp(np.log(fine), np.log(data.temperatures), nll)
        high += fine[(curve > bottom + 0.88 * (top - bottom)) & (curve < top)].tolist()
    after = min([t for t in high if t > 1], default=right)
    before = max([t for t in high if t < 1], default=left)
    (box,) = boxes(ax, [text])
    at_one = ax.transData.transform((1.0, bottom))[0]
    assert (box.x0 > at_one) == (after >= 1 / before)
    assert box.y1 <= ax.bbox.y1


def test_the_histogram_of_confidence_stands_clear_below_the_diagram(run):
    ax, _ = charts.plot_reliability(run)
    (below,) = ax.child_axes
    boxes(ax, [])
    assert below.bbox.y1 < ax.bbox.y0
    assert below.bbox.y0 > ax.figure.bbox.y0
    assert (below.bbox.x0, below.bbox.x1) == pytest.approx((ax.bbox.x0, ax.bbox.x1))
