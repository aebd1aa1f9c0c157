import json
import shutil

import numpy as np
import pytest

from sfumato.report.compare_page import compose
from sfumato.runs.read import ReportError, load_run
from tests.report.run_folders import write_run

MIXED = dict.fromkeys(
    ("title", "method", "strength", "target", "no_gap", "below", "code", "code_strength", "code_note"), ""
) | {"varies": "mixed rows"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "digits", seeds=2, epochs=3, test=60)


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def test_a_run_is_read_whole(whole):
    run = load_run(whole)
    assert [arm["name"] for arm in run.arms] == ["one-hot", "smoothed"]
    assert (run.num_classes, run.seeds) == (10, (0, 1))
    assert run.test["smoothed", 1].logits.shape == (60, 10)
    epochs, values = run.curve("smoothed", "train_loss")
    assert epochs.tolist() == [1, 2, 3]
    assert values.shape == (2, 3)
    assert run.temperature("one-hot", 0) == run.env["temperatures"]["one-hot"][0]["value"]


@pytest.mark.parametrize(
    "name", ["summary.json", "env.json", "metrics.jsonl", "config.toml", "logits/smoothed-seed1-test.npz"]
)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ReportError, match=rf"{name} is missing"):
        load_run(folder)


@pytest.mark.parametrize("name", ["summary.json", "env.json", "metrics.jsonl", "logits/one-hot-seed0-test.npz"])
def test_a_file_that_is_broken_is_named(folder, name):
    (folder / name).write_text("{")
    with pytest.raises(ReportError, match=rf"{name}.* (is not JSON|is not an .npz archive)"):
        load_run(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("verdict"), r"summary.json lacks 'verdict'"),
        (lambda s: s.update(schema="sfumato.compare/9"), r"has schema 'sfumato.compare/9'; this version reads"),
        (lambda s: s["arms"][1].pop("over"), r"summary.json 'arms'\[1\] lacks 'over'"),
        (lambda s: s["arms"][1].update(eps=None), r"summary.json 'arms'\[1\] 'eps' should be a number, not None"),
        (lambda s: s.update(arms=[]), r"summary\.json has no arms$"),
        (lambda s: s["arms"][1].update(name="../../smoothed"), r"has the name '\.\./\.\./smoothed'"),
        (lambda s: s["arms"][1].update(eps=-1), r"arms\[1\] has the strength -1; it should be in \[0, 1\]"),
        (lambda s: s["arms"][1].update(eps=1.5), r"arms\[1\] has the strength 1\.5; it should be in \[0, 1\]"),
        (lambda s: s["arms"][1].update(eps=-0.1, description=MIXED), r"strength -0\.1; it should be at least 0"),
        (lambda s: s["paired"]["weights"].pop(), r"paired: 1 hashes of weights for 2 seeds"),
    ],
)
def test_a_missing_field_is_named(folder, change, message):
    path = folder / "summary.json"
    summary = json.loads(path.read_text())
    change(summary)
    path.write_text(json.dumps(summary))
    with pytest.raises(ReportError, match=message):
        load_run(folder)


def test_an_arm_without_epochs_is_named(folder):
    path = folder / "metrics.jsonl"
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines() if '"smoothed"' not in line))
    with pytest.raises(ReportError, match=r"metrics.jsonl has no line for smoothed seed 0, smoothed seed 1"):
        load_run(folder)


def test_a_run_of_another_version_may_lack_what_is_not_required_and_know_more(folder):
    path = folder / "env.json"
    env = json.loads(path.read_text(encoding="utf-8"))
    needed = ("sfumato", "command", "started", "seconds", "data", "model", "training", "temperatures", "probe")
    less = {key: env[key] for key in needed} | {"data": {}, "model": {"name": "mlp"}, "later": {"unknown": [None]}}
    less["training"] = {key: env["training"][key] for key in ("epochs", "batch_size", "optimiser", "learning_rate")}
    less["temperatures"] = {
        arm: [{"seed": each["seed"], "value": each["value"]} for each in fitted]
        for arm, fitted in env["temperatures"].items()
    }
    path.write_text(json.dumps(less), encoding="utf-8")
    run = load_run(folder)
    assert run.env["later"] == {"unknown": [None]}
    assert (run.class_name(3), run.ladder) == ("3", ())
    assert "3 epochs of batches of 64 rows, the same in every arm" in compose(run, {})


def saved(folder, name, **changes):
    """Change arrays of a saved file; None drops one."""
    path = folder / "logits" / f"{name}-test.npz"
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files} | changes
    np.savez(path, **{key: array for key, array in arrays.items() if array is not None})
    return arrays


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": None}, r"smoothed-seed1-test\.npz lacks labels$"),
        ({"logits": np.where(np.arange(600).reshape(60, 10) == 72, np.nan, 0)}, "logits of row 7 are not all finite$"),
        ({"labels": np.array([-1] + [3] * 59)}, "labels must be 0 to 9, got -1 to 3$"),
        ({"labels": np.array([10] + [3] * 59)}, "labels must be 0 to 9, got 3 to 10$"),
        ({"logits": np.zeros((60, 10), int)}, "logits are int64, not floating point$"),
        ({"logits": np.zeros((60, 9), "f4")}, r"logits \(60, 9\), labels \(60,\) and index \(60,\) do not fit 10"),
        ({"index": np.arange(59)}, r"index \(59,\) do not fit 10 classes$"),
        ({"index": np.arange(0), "labels": np.arange(0), "logits": np.zeros((0, 10))}, r"labels \(0,\) and index "),
        ({"index": np.arange(60) + 10**6}, "the test rows of smoothed seed 1 are not those of one-hot seed 0, so"),
        ({"labels": np.zeros(60, int)}, "the test rows of smoothed seed 1 are not those of one-hot seed 0, so"),
    ],
)  # fmt: skip
def test_saved_rows_that_mean_nothing_are_named(folder, change, message):
    saved(folder, "smoothed-seed1", **change)
    with pytest.raises(ReportError, match=message):
        load_run(folder)


def test_labels_may_be_the_first_and_the_last_class(folder):
    labels = np.array([0, 9] * 30)
    for name in ("one-hot-seed0", "one-hot-seed1", "smoothed-seed0", "smoothed-seed1"):
        saved(folder, name, labels=labels)
    assert load_run(folder).labels.tolist() == labels.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("smoothed"), r"env\.json temperatures has no seed of arm 'smoothed'$"),
        (lambda t: t["smoothed"].clear(), r"env\.json temperatures has no seed of arm 'smoothed'$"),
        (lambda t: t["smoothed"].pop(), r"arm 'smoothed' has seeds \[0\], but 'one-hot' has \[0, 1\]$"),
    ],
)
def test_arms_without_the_seeds_of_the_others_are_named(folder, change, message):
    env = json.loads((folder / "env.json").read_text())
    change(env["temperatures"])
    (folder / "env.json").write_text(json.dumps(env))
    with pytest.raises(ReportError, match=message):
        load_run(folder)


def test_an_epoch_of_an_unknown_seed_is_named_with_its_line(folder):
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text(
        "\n".join([lines[0], "", lines[1].replace('"seed": 0', '"seed": 7').replace('"seed":0', '"seed":7')])
    )
    with pytest.raises(ReportError, match=r"metrics\.jsonl line 3: env\.json knows no arm 'one-hot' with seed 7$"):
        load_run(folder)


def test_a_value_that_an_epoch_does_not_have_is_nan(folder):
    path = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if (line["arm"], line["seed"], line["epoch"]) == ("smoothed", 1, 2):
            line["train_gap"] = None
    path.write_text("".join(json.dumps(line) + "\n" for line in reversed(lines)))
    epochs, values = load_run(folder).curve("smoothed", "train_gap")
    assert epochs.tolist() == [1, 2, 3]
    known = {(line["seed"], line["epoch"]): line["train_gap"] for line in lines if line["arm"] == "smoothed"}
    expected = [[known[seed, epoch] for epoch in (1, 2, 3)] for seed in (0, 1)]
    np.testing.assert_array_equal(values, np.array(expected, dtype=float))


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [("smoothed", "smoothed"), ("one-hot", "one-hot"), ("smoothed, by far", "smoothed"), ("depends", None), ("", None),
     ("smoothed-0.1", None), (None, None)],
)  # fmt: skip
def test_the_arm_that_a_verdict_names(whole, choice, chosen):
    run = load_run(whole)
    run.summary["verdict"]["choice"] = choice
    assert (run.chosen and run.chosen["name"]) == chosen


def test_a_class_is_called_by_its_number_where_the_data_do_not_name_it(whole):
    run = load_run(whole)
    run.env["data"]["class_names"] = ["zero", "one"]
    assert [run.class_name(label) for label in (0, 1, 2)] == ["zero", "one", "2"]


def test_the_folder_of_a_judgement_is_called_so(tmp_path):
    (tmp_path / "judgement.json").write_text("{}")
    with pytest.raises(ReportError, match="this is the folder of a judgement, whose page `sfumato judge` makes$"):
        load_run(tmp_path)
    with pytest.raises(ReportError, match=r"nowhere is not a folder; give the run folder"):
        load_run(tmp_path / "nowhere")
