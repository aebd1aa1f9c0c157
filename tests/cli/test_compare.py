"""The main job as a user meets it: what it prints, what it writes, and whether the numbers are true."""

from __future__ import annotations

import json
import math
import re
from typing import get_args

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.metrics import accuracy_score, log_loss

from sfumato import theory
from sfumato.evaluate.statistics.margins import FindingName
from tests.conftest import run_sfumato

pytestmark = pytest.mark.slow

METRICS = {
    "accuracy", "nll", "brier", "ece", "signed_gap", "temperature", "nll_after_temperature", "ece_after_temperature",
    "brier_after_temperature", "signed_gap_after_temperature", "eaurc_after_temperature", "ece_noise_floor", "eaurc",
    "logit_gap", "balanced_accuracy", "roc_auc", "roc_auc_after_temperature", "average_precision",
    "average_precision_after_temperature",
}  # fmt: skip
WORDS = {*get_args(FindingName)}
HEADLINE = {"accuracy", "nll_after_temperature", "eaurc"}


def test_json_has_the_fields_that_others_rely_on(digits):
    summary = digits.json()
    first = ["schema", "run", "data", "paired", "arms", "differences"]
    assert list(summary) == [*first, "warnings", "verdict", "by_class", "columns"]
    assert summary["columns"] == []
    assert summary["schema"] == "sfumato.compare/4"
    rows = {"train": 1077, "validation": 360, "test": 1797, "folds": 5}
    assert summary["data"] == {"name": "digits", "classes": 10, **rows}
    assert [arm["name"] for arm in summary["arms"]] == ["one-hot", "smoothed"]
    for arm in summary["arms"]:
        assert set(arm) == {"name", "eps", "over", "closed_form_gap", "train_gap", "metrics"}
        assert set(arm["metrics"]) == METRICS
        for name, value in arm["metrics"].items():
            assert set(value) == {"mean", "low", "high"}
            assert value["low"] <= value["mean"] <= value["high"], name
    for row in summary["differences"]:
        numbers = {"mean", "low", "high", "se", "p_adjusted", "margin", "inner"}
        assert set(row) == {"metric", "arm", "against", "finding", *numbers}
        headline = row["metric"] in HEADLINE
        assert (row["finding"] in WORDS) == headline
        assert (row["margin"] is not None) == headline
        assert (row["p_adjusted"] is not None) == (headline and row["finding"] != "not tested")
    assert set(summary["verdict"]) == {"state", "choice", "sentences"}
    assert len(summary["verdict"]["sentences"]) >= 2
    assert [each["code"] for each in summary["warnings"]] == ["order-reversed"]
    assert (digits.folder / summary["run"] / "summary.json").read_text() == json.dumps(
        summary, indent=1, ensure_ascii=False
    ) + "\n"


def test_the_arms_are_paired_seed_by_seed(digits):
    paired = digits.json()["paired"]
    assert paired["equal"] is True
    for kind in ("weights", "batches"):
        assert len(paired[kind]) == len(set(paired[kind])) == 5
        assert all(re.fullmatch("[0-9a-f]{64}", each) for each in paired[kind])


def test_the_smoothed_gap_reaches_its_closed_form_and_the_one_hot_gap_leaves_it_behind(digits):
    one_hot, smoothed = digits.json()["arms"]
    closed_form = theory.optimal_gap(0.1, 10, over="all")
    assert smoothed["closed_form_gap"] == closed_form
    assert one_hot["closed_form_gap"] is None
    assert smoothed["train_gap"] == pytest.approx(closed_form, rel=0.1)
    assert one_hot["train_gap"] >= 2 * smoothed["train_gap"]
    assert min(arm["metrics"]["accuracy"]["mean"] for arm in (one_hot, smoothed)) >= 0.94


def rows_of(digits, arm, seed, part):
    with np.load(digits.folder / digits.json()["run"] / "logits" / f"{arm}-seed{seed}-{part}.npz") as file:
        return file["logits"].astype(np.float64), file["labels"]


def test_every_metric_is_what_other_libraries_make_of_the_saved_logits(digits):
    for arm in digits.json()["arms"]:
        by_hand: dict[str, list[float]] = {}
        rows = {"validation": list[int](), "test": list[int]()}
        for seed in range(5):
            validation, test = (rows_of(digits, arm["name"], seed, part) for part in ("validation", "test"))
            rows["validation"].append(len(validation[1]))
            rows["test"].append(len(test[1]))

            def nll_at(log_beta, rows=validation):
                return log_loss(rows[1], np.exp(log_softmax(rows[0] * np.exp(log_beta), axis=1)), labels=range(10))

            best = minimize_scalar(nll_at, bounds=(-6, 6), method="bounded", options={"xatol": 1e-10})
            temperature = math.exp(-best.x)
            by_hand.setdefault("temperature", []).append(temperature)
            by_hand.setdefault("accuracy", []).append(accuracy_score(test[1], test[0].argmax(1)))
            for suffix, scale in (("", 1.0), ("_after_temperature", temperature)):
                p = np.exp(log_softmax(test[0] / scale, axis=1))
                confidence, correct = p.max(1), p.argmax(1) == test[1]
                by_hand.setdefault(f"nll{suffix}", []).append(log_loss(test[1], p, labels=range(10)))
                by_hand.setdefault(f"brier{suffix}", []).append(np.square(p - np.eye(10)[test[1]]).sum(1).mean())
                by_hand.setdefault(f"signed_gap{suffix}", []).append(confidence.mean() - correct.mean())
                edges = np.ceil(confidence * 15)
                by_hand.setdefault(f"ece{suffix}", []).append(
                    sum(abs((confidence - correct)[edges == b].sum()) for b in range(1, 16)) / len(correct)
                )
            true = test[0][np.arange(len(test[1])), test[1]]
            by_hand.setdefault("logit_gap", []).append((true - (test[0].sum(1) - true) / 9).mean())
        for name, values in by_hand.items():
            weights = rows["validation" if name == "temperature" else "test"]
            mean = np.average(values, weights=weights)
            assert arm["metrics"][name]["mean"] == pytest.approx(mean, rel=1e-5, abs=1e-7), name


def test_the_run_folder_is_complete(digits):
    folder = digits.folder / digits.json()["run"]
    assert folder.parent == digits.folder / "runs"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # nothing partial is left
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.toml", "env.json", "metrics.jsonl", "logits", "weights", "summary.json", "examples.json", "report.html",
        "figures", "work", "card.svg", "card.png", "card-dark.svg", "card-dark.png",
        *(f"encoding-fold{fold}.json" for fold in range(5)),
    }  # fmt: skip
    runs = {f"{arm}-seed{seed}" for arm in ("one-hot", "smoothed") for seed in range(5)}
    assert {path.stem for path in (folder / "weights").iterdir()} == runs
    assert {path.stem for path in (folder / "logits").iterdir()} == {
        f"{run}-{part}" for run in runs for part in ("train", "validation", "test")
    }
    env = json.loads((folder / "env.json").read_text())
    epochs = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(epochs) == 2 * 5 * env["training"]["epochs"]
    for line in epochs:
        assert line["train_excess"] == pytest.approx(line["train_loss"] - line["train_floor"])
        assert line["train_excess"] > 0
    assert env["probe"]["smoothed"]["target"] == pytest.approx([0.91, 0.01])
    assert (folder / "report.html").stat().st_size < 400_000


def test_saved_weights_make_the_saved_logits(digits):
    from sfumato.lab.data import prepare
    from sfumato.lab.data.prepare import rotate
    from sfumato.lab.models import build

    folder = digits.folder / digits.json()["run"]
    model = build("mlp", 64, 10, seed=99)
    weights = load_file(folder / "weights" / "smoothed-seed3.safetensors")
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    x, y = rotate(prepare("digits"), None)[0].of_fold(3).arrays("test")
    with torch.no_grad():
        logits = model(torch.from_numpy(x)).double().numpy()
    saved, labels = rows_of(digits, "smoothed", 3, "test")
    np.testing.assert_allclose(logits, saved, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(labels, y)


def test_progress_is_one_line_a_run_with_both_arms_on_stderr(digits):
    lines = [line for line in digits.err.splitlines() if line.startswith("seed ")]
    ends = [re.match(r"seed (\d)  epoch  59/59 ", line) for line in lines]
    assert sorted(end[1] for end in ends if end) == list("01234")
    assert len(lines) < 5 * 59 / 4  # the first of all, and one each half minute on a busy machine
    assert all(re.search(r"one-hot  log loss .* gap .*smoothed  log loss .* gap ", line) for line in lines)
    assert "arms   one-hot; smoothed (label_smoothing=0.1 in PyTorch)\n" in digits.err


def test_copies_of_a_row_are_one_piece_of_evidence(tmp_path):
    rng = np.random.default_rng(3)
    y = np.repeat(["a", "b"], 60)
    x = rng.normal(size=(120, 3)) + 0.7 * (y == "b")[:, None]
    results = []
    for copies in (1, 20):
        folder = tmp_path / str(copies)
        folder.mkdir()
        rows = "".join(",".join(map(repr, map(float, each))) + f",{label}\n" for each, label in zip(x, y, strict=True))
        (folder / "t.csv").write_text("p,q,r,label\n" + rows * copies)
        # one step an epoch on all rows, so that copies change neither weights nor batches but by rounding
        words = ["compare", "t.csv", "--batch-size", str(120 * copies), "--model", "linear", "--epochs", "30"]
        words += ["--folds", "1", "--seeds", "3", "--out", "run", "--json", "--quiet"]
        ran = run_sfumato(*words, folder=folder)
        assert ran.code == 0, ran.err
        results.append(ran.json())
    once, copied = results
    assert copied["data"]["test"] == 20 * once["data"]["test"]
    for name in ("accuracy", "nll", "brier"):
        a, b = (result["arms"][0]["metrics"][name] for result in results)
        assert b["mean"] == pytest.approx(a["mean"], abs=0.02)
        assert b["high"] - b["low"] == pytest.approx(a["high"] - a["low"], rel=0.15)


def test_where_nothing_was_learnt_there_is_no_verdict(tmp_path):
    rng = np.random.default_rng(0)
    rows = "".join(f"{a!r},{b!r},{rng.choice(['u', 'v', 'w'])}\n" for a, b in rng.normal(size=(300, 2)).tolist())
    (tmp_path / "noise.csv").write_text("a,b,label\n" + rows)
    ran = run_sfumato(
        "compare", "noise.csv", "--folds", "1", "--seeds", "3", "--epochs", "20", "--quiet", folder=tmp_path
    )
    assert ran.code == 0, ran.err
    told = " ".join(ran.out.split())
    start = "Undecided: neither model is reliably better than always answering the most frequent class ("
    assert start in told
    assert told.count(start) == 1
    summary = json.loads(next(tmp_path.glob("runs/*/summary.json")).read_text())
    assert summary["verdict"]["choice"] == "none"
    assert [each["code"] for each in summary["warnings"]][:1] == ["nothing-to-decide"]
    assert summary["arms"][0]["metrics"]["temperature"]["low"] > 0


def test_a_run_that_diverges_is_a_failure_that_names_the_learning_rate(tmp_path):
    ran = run_sfumato(
        "compare",
        "digits",
        "--learning-rate",
        "1e30",
        "--epochs",
        "2",
        "--folds",
        "1",
        "--seeds",
        "3",
        "-q",
        folder=tmp_path,
    )
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("sfumato: ")
    assert "Traceback" not in ran.err
    assert "1e+30" in ran.err


def test_few_rows_and_a_row_number_are_noted(tmp_path):
    rng = np.random.default_rng(1)
    rows = "".join(f"{i},{rng.normal() + (i % 2):.5f},{'xy'[i % 2]}\n" for i in range(60))
    (tmp_path / "t.csv").write_text("id,a,label\n" + rows)
    words = ("--model", "linear", "--folds", "1", "--seeds", "3", "--keep", "id", "--out", "run", "-q")
    ran = run_sfumato("compare", "t.csv", *words, folder=tmp_path)
    assert ran.code == 0, ran.err
    assert "Note: There are only 12 distinct test rows: " in ran.out
    assert 'Note: Column "id" counts the rows of the file' in ran.out
    assert "counts the rows of the file" in (tmp_path / "run" / "report.html").read_text()


def test_how_the_columns_were_read_is_printed_stored_and_shown(tmp_path):
    rng = np.random.default_rng(1)
    rows = "".join(f"{i};{rng.normal() + (i % 2):.5f};n{i % 3};{'xy'[i % 2]}\n".replace(".", ",") for i in range(60))
    (tmp_path / "t.csv").write_text("id;a;note;label\n" + rows)
    words = ("--model", "linear", "--epochs", "2", "--folds", "1", "--seeds", "3", "--drop", "note", "--out", "run")
    ran = run_sfumato("compare", "t.csv", *words, folder=tmp_path)
    assert ran.code == 0, ran.err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert [(each["name"], each["read_as"], each["distinct"]) for each in summary["columns"]] == [
        ("id", "id", 60), ("a", "number", 60), ("note", "left out", 3), ("label", "label", 2),
    ]  # fmt: skip
    assert "a       number          60        0  decimal comma\n" in ran.out
    assert (
        "read   1 number, 1 label; left out: id (has another whole number in every row; --keep takes it in), "
        in ran.err
    )
    page = (tmp_path / "run" / "report.html").read_text()
    assert '<tr><th scope="row">note</th><td>left out</td><td>3</td><td>0</td><td>left out by --drop</td></tr>' in page


QUICK = ("--model", "linear", "--epochs", "3", "--folds", "1", "--seeds", "3", "--quiet")


def test_text_begins_with_the_verdict_and_ends_with_the_report(tmp_path):
    ran = run_sfumato("compare", "digits", *QUICK, "--out", "here", folder=tmp_path)
    assert ran.code == 0, ran.err
    assert ran.err == "writing the report\n" or ran.err == ""
    lines = ran.out.splitlines()
    summary = json.loads((tmp_path / "here" / "summary.json").read_text())
    told = " ".join(" ".join(line.split()) for line in lines)
    assert told.startswith(f"Warning: {summary['warnings'][0]['text']} {' '.join(summary['verdict']['sentences'])}")
    assert summary["warnings"][0]["code"] == "not-trained-to-the-end"
    assert max(map(len, lines)) <= 100
    assert lines[-1] == "report  here/report.html"
    for word in (
        "one-hot",
        "smoothed 0.1",
        "log loss (NLL)",
        "calibration error by chance",
        "closed form of the gap",
    ):
        assert word in ran.out


def test_the_same_bits_for_any_number_of_workers_and_any_order_of_rows(tmp_path):
    rng = np.random.default_rng(0)
    y = np.repeat(["ant", "bee", "cat"], 60)
    x = rng.normal(size=(180, 4)) + np.repeat(np.eye(3, 4), 60, axis=0)
    summaries = []
    for number, (workers, order) in enumerate([("1", np.arange(180)), ("2", rng.permutation(180))]):
        folder = tmp_path / str(number)
        folder.mkdir()
        rows = "".join(",".join(map(repr, map(float, x[i]))) + f",{y[i]}\n" for i in order)
        (folder / "pets.csv").write_text("a,b,c,d,pet\n" + rows)
        words = ("compare", "pets.csv", "--label", "pet", *QUICK, "--workers", workers, "--out", "run", "--json")
        ran = run_sfumato(*words, folder=folder)
        assert ran.code == 0, ran.err
        summaries.append(ran.json())
    assert summaries[0] == summaries[1]


def test_a_config_file_sets_options_below_environment_and_flags(tmp_path):
    (tmp_path / "c.toml").write_text('data = "digits"\neps = 0.3\nseeds = 4\nmodel = "linear"\nepochs = 1\n')
    ran = run_sfumato(
        "compare",
        "-c",
        "c.toml",
        "--folds",
        "1",
        "--seeds",
        "3",
        "--json",
        "--out",
        "run",
        folder=tmp_path,
        env={"SFUMATO_EPS": "0.2"},
    )
    assert ran.code == 0, ran.err
    assert ran.json()["arms"][1]["eps"] == 0.2
    config = (tmp_path / "run" / "config.toml").read_text().splitlines()
    assert 'data = "digits"  # c.toml' in config
    assert "eps = 0.2  # environment" in config
    assert "seeds = 3  # command line" in config
    assert 'over = "all"  # default' in config
    again = run_sfumato("compare", "-c", "run/config.toml", "--json", "--out", "again", folder=tmp_path)
    assert again.code == 0, again.err
    assert {**again.json(), "run": ""} == {**ran.json(), "run": ""}


TABLE = "a,b,kind\n" + "".join(f"{i},{i % 7},{'yes' if i % 2 else 'no'}\n" for i in range(40))

BAD = {
    "a missing file": (("tabel.csv",), {"table.csv": TABLE}, 'no file "tabel.csv"; did you mean "table.csv"'),
    "a label column that is not there": (
        ("table.csv", "--label", "kinds"), {"table.csv": TABLE},
        'table.csv has no column "kinds". Did you mean "kind"?',
    ),
    "one class": (("t.csv", "--label", "k"), {"t.csv": "a,k\n" + "1,x\n2,x\n3,x\n" * 5}, "class"),
    "a small class": (
        ("t.csv", "--label", "k"), {"t.csv": "a,k\n" + "".join(f"{i},x\n" for i in range(9)) + "91,y\n92,y\n"}, '"y"',
    ),
    "a number that is not finite": (("t.csv", "--label", "kind"), {"t.csv": TABLE + "inf,3,yes\n"}, "inf"),
    "a word among numbers": (("t.csv", "--label", "kind"), {"t.csv": TABLE + "seven,3,yes\n"}, "seven"),
    "one column": (("t.csv",), {"t.csv": "a\n1\n2\n"}, 't.csv has one column only, "a"; it needs'),
    "no header": (("t.csv",), {"t.csv": "1.5,2,x\n2.5,3,y\n" * 9}, "t.csv has no header: its first line holds values"),
    "two headers": (
        ("t.csv", "--label", "kind"), {"t.csv": TABLE.replace("kind\n", "kind\ncm,mm,name\n")}, "a second header, with",
    ),
    "a number to predict": (("t.csv", "--label", "a"), {"t.csv": TABLE}, 'column "a" looks like a number to predict'),
    "all columns dropped": (("t.csv", "--label", "kind", "--drop", "a,b"), {"t.csv": TABLE}, "--drop leaves no column"),
    "missing labels": (("t.csv", "--label", "kind"), {"t.csv": TABLE + "7,3,\n8,4,\n"}, "is empty (as in 1 more row)"),
    "a misspelt command": ((), {}, 'Unknown command "comparee". Did you mean "compare"?'),
    "a strength out of range": (("digits", "--eps", "1.5"), {}, "--eps must be above 0 and at most 1, got 1.5"),
    "too few seeds": (("digits", "--folds", "1", "--seeds", "2"), {}, "--seeds must be at least 3 where"),
    "a model with a typo": (("digits", "--model", "mpl"), {}, 'no model "mpl". Did you mean "mlp"?'),
    "an unknown convention": (("digits", "--over", "some"), {}, 'Choose from: "others", "all"'),
    "a folder that exists": (("digits", "--out", "there"), {"there/x": ""}, "there exists already"),
    "no data": ((), {}, "compare needs DATA: digits, a .csv, .tsv, .parquet or .npz file, a folder of images, or"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_nothing_is_written(case, tmp_path):
    words, files, message = BAD[case]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    before = sorted(tmp_path.rglob("*"))
    ran = run_sfumato("comparee" if case == "a misspelt command" else "compare", *words, folder=tmp_path)
    assert ran.code == 2, ran.err
    assert ran.out == ""
    assert "Traceback" not in ran.err
    assert ran.err.startswith("sfumato: ")
    assert ran.err.count("\n") == 1
    assert message in ran.err
    assert sorted(tmp_path.rglob("*")) == before


def test_nan_in_an_npz_is_named(tmp_path):
    x = np.zeros((30, 2, 2))
    x[7, 1, 0] = np.nan
    np.savez(tmp_path / "t.npz", X=x + np.arange(30)[:, None, None], y=np.arange(30) % 3)
    ran = run_sfumato("compare", "t.npz", folder=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert re.search(r"t\.npz.*row 7", ran.err)
    assert [path.name for path in tmp_path.iterdir()] == ["t.npz"]
