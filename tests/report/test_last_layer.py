import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sfumato.report.charts.projection import NoFeaturesError, load_last_layer, plane, plot_projection, three_classes
from sfumato.runs.read import ReportError, load_run
from tests.report.run_folders import log_softmax, weights_of, write_run


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path / "run", seeds=2, epochs=1, test=120)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_plane_has_an_orthonormal_basis(classes):
    rng = np.random.default_rng(0)
    basis = plane(rng.normal(size=(classes, 9)), rng.normal(size=(50, 9)))
    np.testing.assert_allclose(basis.T @ basis, np.eye(2), atol=1e-12)


def test_the_plane_holds_the_three_templates():
    templates = np.random.default_rng(1).normal(size=(3, 9))
    basis = plane(templates, np.zeros((1, 9)))
    centred = templates - templates.mean(axis=0)
    np.testing.assert_allclose(centred @ basis @ basis.T, centred, atol=1e-12)


def test_the_second_class_lies_right_of_the_first_and_the_third_above_both():
    templates = np.random.default_rng(2).normal(size=(3, 9))
    flat = templates @ plane(templates, np.zeros((1, 9)))
    assert flat[1, 0] > flat[0, 0]
    assert flat[0, 1] == pytest.approx(flat[1, 1], abs=1e-12)
    assert flat[2, 1] > flat[0, 1]


def test_a_vector_added_to_all_templates_changes_no_plane():
    rng = np.random.default_rng(3)
    templates, shift = rng.normal(size=(3, 9)), rng.normal(size=9)
    np.testing.assert_allclose(plane(templates + shift, templates), plane(templates, templates), atol=1e-10)


def test_templates_on_a_line_leave_the_second_direction_to_the_features():
    rng = np.random.default_rng(4)
    features = rng.normal(size=(500, 4)) * [1, 1, 9, 1]
    line = np.outer([0.0, 1.0, 3.0], [1, 0, 0, 0])
    assert abs(plane(line, features)[2, 1]) > 0.99
    assert np.isfinite(plane(line, np.zeros((5, 4)))).all()


def test_the_first_two_classes_are_those_most_easily_confused(folder):
    run = load_run(folder)
    k, held, count = 10, np.zeros((10, 10)), np.zeros(10)
    for (arm, seed), rows in run.test.items():
        p = np.exp(log_softmax(rows.logits.astype(float) / run.temperature(arm, seed)))
        for label, row in zip(rows.labels, p, strict=True):
            held[label] += row
            count[label] += 1
    held /= count[:, None]
    similar = {(a, b): held[a, b] + held[b, a] for a in range(k) for b in range(a + 1, k)}
    a, b, c = three_classes(run)
    assert (a, b) == max(similar, key=similar.get)

    def nearest(x):
        return max(similar[min(x, y), max(x, y)] for y in (a, b))

    assert c == min((x for x in range(k) if x not in (a, b)), key=nearest)


def test_a_class_without_test_rows_is_not_shown(tmp_path):
    run = load_run(write_run(tmp_path / "run", classes=4, seeds=1, epochs=1, test=60))
    for rows in run.test.values():
        rows.labels[rows.labels == 2] = 1
        rows.logits[:, 2] += 20  # most of the mass is given to the class that no row has
    assert set(three_classes(run)) == {0, 1, 3}


def test_panels_show_the_rows_of_the_three_classes_projected(folder):
    run = load_run(folder)
    chart = plot_projection(run)
    assert [(c.arm, c.part) for c in chart.numbers["clouds"]][:2] == [("one-hot", "train"), ("one-hot", "test")]
    assert len(chart.ax.child_axes) == 4
    weights = load_file(folder / weights_of("one-hot", 0))["head.weight"].astype(float)
    for cloud in chart.numbers["clouds"][:2]:
        stored = np.load(folder / "logits" / f"one-hot-seed0-{cloud.part}.npz")
        for label in chart.numbers["classes"]:
            mine = cloud.points[cloud.labels == label]
            features = stored["features"][stored["labels"] == label].astype(float)
            along = weights[chart.numbers["classes"][1]] - weights[chart.numbers["classes"][0]]
            known = features @ along / np.linalg.norm(along)
            np.testing.assert_allclose(np.diff(mine[:, 0]), np.diff(known), atol=1e-9)


def test_spread_is_distance_to_the_class_mean_over_distance_between_means(folder):
    chart = plot_projection(load_run(folder))
    cloud = chart.numbers["clouds"][1]  # fewer than 100 rows a class: all are drawn
    means = [cloud.points[cloud.labels == k].mean(axis=0) for k in chart.numbers["classes"]]
    within = np.concatenate(
        [
            np.linalg.norm(cloud.points[cloud.labels == k] - m, axis=1)
            for k, m in zip(chart.numbers["classes"], means, strict=True)
        ]
    )
    between = [np.linalg.norm(means[i] - means[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert cloud.spread == pytest.approx(within.mean() / np.mean(between), rel=1e-12)


@pytest.mark.parametrize("classes", [2, 5])
def test_both_panels_of_an_arm_have_one_window_and_equal_scales(tmp_path, classes):
    chart = plot_projection(load_run(write_run(tmp_path / "run", classes=classes, seeds=1, epochs=1, test=60)))
    assert len(chart.numbers["classes"]) == min(classes, 3)
    left, right = chart.ax.child_axes[:2]
    assert (left.get_xlim(), left.get_ylim()) == (right.get_xlim(), right.get_ylim())
    assert np.ptp(left.get_xlim()) == pytest.approx(np.ptp(left.get_ylim()))
    assert all(np.isfinite(cloud.points).all() for cloud in chart.numbers["clouds"])


def drop_weights(folder):
    (folder / weights_of("smoothed", 0)).unlink()


def drop_features(folder):
    for path in (folder / "logits").glob("*.npz"):
        kept = {name: value for name, value in np.load(path).items() if name != "features"}
        np.savez(path, **kept)


def rename_head(folder):
    path = folder / weights_of("one-hot", 0)
    save_file({f"x.{name}": value for name, value in load_file(path).items()}, path)


def other_head(folder):
    path = folder / weights_of("one-hot", 0)
    save_file({name: -value for name, value in load_file(path).items()}, path)


def narrow_head(folder):
    path = folder / weights_of("one-hot", 0)
    save_file({name: value[..., :4].copy() for name, value in load_file(path).items()}, path)


def other_bias(folder):
    path = folder / weights_of("one-hot", 0)
    save_file({**load_file(path), "head.bias": np.linspace(-9, 9, 10, dtype="f4")}, path)


def test_a_last_layer_without_a_bias_is_taken(folder):
    path = folder / weights_of("one-hot", 0)
    save_file({"head.weight": load_file(path)["head.weight"]}, path)
    assert load_last_layer(load_run(folder), "one-hot")[0] == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (drop_weights, "The run kept no weights"),
        (drop_features, "The run kept no features of its last layer"),
        (rename_head, "The weights name no last layer"),
        (other_head, "The last layer and the features do not give the logits"),
        (other_bias, "The last layer and the features do not give the logits"),
        (narrow_head, r"The last layer \(10 × 4\) does not fit the features \(12\)"),
    ],
)
def test_what_cannot_be_projected_is_said(folder, change, reason):
    change(folder)
    with pytest.raises(NoFeaturesError, match=f"^{reason}$"):
        plot_projection(load_run(folder))


def test_broken_weights_are_named(folder):
    (folder / weights_of("one-hot", 0)).write_bytes(b"no weights")
    with pytest.raises(ReportError, match=r"one-hot-seed0.safetensors cannot be read"):
        load_last_layer(load_run(folder), "one-hot")


def test_features_that_would_run_a_program_are_not_read(folder):
    path = folder / "logits" / "one-hot-seed0-test.npz"
    np.savez(path, **{**np.load(path), "features": np.array([{}], object)})
    with pytest.raises(ReportError, match=r"one-hot-seed0-test.npz.* cannot be (read|loaded)"):
        load_last_layer(load_run(folder), "one-hot")


def test_the_first_seed_with_features_is_taken(folder):
    for part in ("train", "test"):
        path = folder / "logits" / f"one-hot-seed0-{part}.npz"
        kept = dict(np.load(path).items())
        features = kept.pop("features")
        np.savez(path, **kept)
        later = dict(np.load(folder / "logits" / f"one-hot-seed1-{part}.npz").items())
        np.savez(folder / "logits" / f"one-hot-seed1-{part}.npz", **later, features=features)
    head = load_file(folder / weights_of("one-hot", 0))
    save_file(head, folder / weights_of("one-hot", 1))
    path = folder / "logits" / "one-hot-seed1-test.npz"
    kept = dict(np.load(path).items())
    kept["logits"] = (kept["features"].astype(float) @ head["head.weight"].T.astype(float)).astype("f4")
    np.savez(path, **kept)
    assert load_last_layer(load_run(folder), "one-hot")[0] == 1
    assert json.loads((folder / "summary.json").read_text())["arms"][0]["name"] == "one-hot"


def test_two_inputs_of_the_last_layer_are_a_plane(tmp_path):
    run = load_run(write_run(tmp_path / "run", seeds=1, epochs=1, test=60, width=2))
    assert load_last_layer(run, "one-hot")[1].templates.shape == (10, 2)
    one = load_run(write_run(tmp_path / "line", seeds=1, epochs=1, test=60, width=1))
    with pytest.raises(NoFeaturesError, match="has a single input"):
        load_last_layer(one, "one-hot")
