"""The parts of the lab: the loop when it must stop, the proof of an arm, the verdict, the run folder."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import sfumato as sf
from sfumato.arrays.atomic import WriteError, write_arrays, write_lines, write_text
from sfumato.evaluate import Temperature
from sfumato.lab.arms import Arm, arms_of
from sfumato.lab.compare import compare
from sfumato.lab.data import Part
from sfumato.lab.errors import ArmError, TrainingError
from sfumato.lab.execute.task import RunTask
from sfumato.lab.execute.training_run import run
from sfumato.lab.models import build, weights_hash
from sfumato.lab.options import Options
from sfumato.lab.train.loop import train
from sfumato.lab.train.plan import Plan, default_plan
from sfumato.runs.folder import RunError, RunFolder, find
from sfumato.verdict import analyse
from sfumato.verdict.sentences import verdict


def toy(rows=100, features=6, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, classes, (rows,), generator=generator)
    return torch.randn(rows, features, generator=generator) + 2 * torch.eye(classes, features)[y], y


def test_a_loss_that_is_not_finite_stops_training_before_the_weights_move():
    x, y = toy()
    x[0, 0] = 1e38
    model = build("linear", 6, 3, seed=0)
    with torch.no_grad():
        model.head.weight.fill_(1e5)
    before = weights_hash(model)
    with pytest.raises(TrainingError, match="the loss is .* in epoch 1; the features or the learning rate"):
        train(model, arms_of(0.1, "all")[1].loss(), (x, y), (x, y), Plan(1, 100, 1e-3), seed=0, floor=0, on_epoch=print)
    assert weights_hash(model) == before


def test_a_seed_alone_makes_the_weights_and_leaves_the_callers_random_state():
    torch.manual_seed(7)
    state = torch.get_rng_state()
    assert weights_hash(build("mlp", 4, 3, seed=1)) == weights_hash(build("mlp", 4, 3, seed=1))
    assert weights_hash(build("mlp", 4, 3, seed=1)) != weights_hash(build("mlp", 4, 3, seed=2))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("over", ["others", "all"])
@pytest.mark.parametrize("classes", [2, 3, 100])
def test_an_arm_proves_its_own_loss_and_refuses_another(over, classes):
    arm = Arm("smoothed", 0.1, over)
    assert arm.verify(arm.loss(), classes) == pytest.approx(
        [0.9, 0.1 / (classes - 1)] if over == "others" else [0.9 + 0.1 / classes, 0.1 / classes]
    )
    for wrong in (
        sf.CrossEntropyLoss(),  # the knob that does nothing
        sf.CrossEntropyLoss(label_smoothing=0.1, over="all" if over == "others" else "others"),
        torch.nn.CrossEntropyLoss(label_smoothing=0.0999),
        sf.CrossEntropyLoss(weight=torch.full((classes,), 2.0), label_smoothing=0.1, over=over, reduction="sum"),
    ):
        with pytest.raises(ArmError, match='arm "smoothed" .* should train towards .* but its loss implies'):
            arm.verify(wrong, classes)


def test_a_run_whose_loss_is_not_its_arms_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(Arm, "loss", lambda self: sf.CrossEntropyLoss())
    for part in ("logits", "weights", "work"):
        (tmp_path / part).mkdir()
    x, y = (tensor.numpy() for tensor in toy())
    task = RunTask(Arm("smoothed", 0.1, "others"), 0, "linear", 3, Plan(1, 32, 1e-3), tmp_path)
    with pytest.raises(ArmError):
        run(task, dict.fromkeys(("train", "validation", "test"), Part(np.arange(100), x, y)), lambda epoch: None)
    assert not task.record.exists()


def test_arms_that_differ_in_more_than_their_loss_are_refused(tmp_path, monkeypatch):
    def unpaired(tasks, parts, *, workers, progress):
        records = [run(task, parts, lambda epoch: None) for task in tasks]
        records[1]["batches"] = ["another order"]
        return records

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sfumato.lab.execute.processes.run_all", unpaired)
    with pytest.raises(ArmError, match="did not start from the same weights or see the same batches"):
        compare(Options("digits", seeds=3, epochs=1, model="linear"))
    assert [path.suffix for path in (tmp_path / "runs").iterdir()] == [".partial"]


@pytest.mark.parametrize(
    ("rows", "epochs", "batch"), [(20, 300, 8), (1078, 59, 64), (4199, 40, 64), (100_000, 40, 256), (10**6, 5, 256)]
)
def test_the_default_budget_is_full_for_small_data_and_bounded_for_large(rows, epochs, batch):
    plan = default_plan(rows, epochs=None, batch_size=None, learning_rate=1e-3)
    assert (plan.epochs, plan.batch_size) == (epochs, batch)


def result(name, eps, **means):
    """An arm whose every metric is its mean plus noise that is the same in all arms."""
    noise = np.random.default_rng(0).normal(size=(5, 400)) * 0.1
    made = analyse.ArmResult(Arm(name, eps, "others"), temperatures=[Temperature(1.0, False)] * 5)
    defaults = {"accuracy": 0.9, "nll": 0.4, "signed_gap": 0.0, "temperature": 1.5, "nll_after_temperature": 0.3,
                "eaurc": 0.004}  # fmt: skip
    for metric, mean in {**defaults, **means}.items():
        own = np.random.default_rng(abs(hash((name, metric))) % 2**32).normal(size=(5, 400)) * 0.01
        values = noise + own - (noise + own).mean() + mean
        made.metrics[metric] = analyse.Metric(values, values.mean(1))
    return made


def judged(base=None, **means):
    results = [result("one-hot", 0.0, **(base or {})), result("smoothed", 0.1, **means)]
    found = analyse.differences(results)
    return verdict(results, found, 10), {d["metric"]: d["finding"] for d in found}


def test_verdict_smooth_where_something_is_better_and_nothing_worse():
    said, findings = judged(nll_after_temperature=0.25, nll=0.5, signed_gap=-0.1, temperature=0.6)
    assert findings["nll_after_temperature"] == "better"
    assert said["choice"] == "smoothed"
    assert said["sentences"][0].startswith(
        "Smooth the labels, with ε = 0.1 over the others (label_smoothing=0.1111 in torch): hard NLL after temperature "
        "falls from .300 to .250 (95 % interval of the difference −.05"
    )
    assert said["sentences"][1].startswith("Divide the smoothed logits by 0.60: hard NLL on test rows falls from .500")
    assert "under-confident (confidence − accuracy −.100)" in said["sentences"][1]
    assert said["sentences"][1].endswith("do not differ reliably.")


def test_verdict_keep_one_hot_where_something_is_worse_and_nothing_better():
    said, findings = judged(eaurc=0.008, accuracy=0.88)
    assert (findings["eaurc"], findings["accuracy"]) == ("worse", "worse")
    assert said["choice"] == "one-hot"
    assert "makes things worse, accuracy falls from 90.0 to 88.0 %" in said["sentences"][0]
    assert "E-AURC × 1000 rises from 4.00 to 8.00" in said["sentences"][0]


def test_verdict_no_difference_is_a_result():
    said, findings = judged()
    assert {findings[name] for name in analyse.HEADLINE} == {"no difference"}
    assert said["choice"] == "one-hot"
    assert "makes no difference you can rely on in accuracy (" in said["sentences"][0]
    assert len(said["sentences"]) == 2


def test_verdict_says_so_where_evidence_points_both_ways():
    said, _ = judged(accuracy=0.93, eaurc=0.008)
    assert said["choice"] == "depends"
    assert said["sentences"][0].startswith("It depends on what the model is for: ")
    assert "accuracy rises from 90.0 to 93.0 %" in said["sentences"][0]
    assert "but E-AURC × 1000 rises from 4.00 to 8.00" in said["sentences"][0]


def test_verdict_recommends_no_temperature_that_does_not_help():
    said, _ = judged(base={"nll": 0.3, "nll_after_temperature": 0.3})
    assert (
        "takes hard NLL on test rows from .300 to .300, no difference you can rely on (95 % interval"
        in (said["sentences"][1])
    )
    said, _ = judged(base={"nll": 0.2, "nll_after_temperature": 0.3})
    assert said["sentences"][1].startswith("Leave the one-hot logits as they are: dividing them by")
    results = [result("one-hot", 0.0), result("smoothed", 0.1)]
    results[0].temperatures = [Temperature(1000.0, True)] * 5
    said = verdict(results, analyse.differences(results), 10)
    assert said["sentences"][1].startswith("No temperature makes the one-hot logits useful as probabilities")


def test_verdict_is_none_where_no_arm_beats_the_largest_class():
    results = [result("one-hot", 0.0), result("smoothed", 0.1)]
    assert verdict(results, analyse.differences(results), 10, majority=0.5)["choice"] != "none"
    said = verdict(results, analyse.differences(results), 10, majority=0.95)
    assert said["choice"] == "none"
    assert "95.0 % of the test rows; one-hot 90.0 % and smoothed 90.0 %" in said["sentences"][0]


def test_a_headline_finding_needs_its_adjusted_p_value():
    results = [result("one-hot", 0.0), result("smoothed", 0.1)]
    rng = np.random.default_rng(1)
    for metric in analyse.HEADLINE:
        base = results[0].metrics[metric].values
        noise = rng.normal(size=base.shape) * 0.01

        def shifted(shift, base=base, noise=noise):
            values = base + noise - noise.mean() + shift
            return analyse.Metric(values, values.mean(1))

        found = [
            s
            for s in np.linspace(0, 0.005, 501)
            if 0.02 < shifted(s).minus(results[0].metrics[metric]).estimate().p < 0.04
        ]
        results[1].metrics[metric] = shifted(found[0])  # alone it would be a finding; three times its p is none
    for row in analyse.differences(results):
        if row["metric"] in analyse.HEADLINE:
            alone = results[1].metrics[row["metric"]].minus(results[0].metrics[row["metric"]]).estimate()
            assert alone.p < 0.05 < row["p_adjusted"]
            assert row["finding"] == "no difference"
    said = verdict(results, analyse.differences(results), 10)["sentences"][0]
    assert "points, but p = " in said
    assert "after adjusting for all tests" in said


START = {"command": "", "folder": "", "fingerprint": "", "versions": {}, "machine": {}}


def begin(out, data="digits"):
    """A run folder that is being worked on, and no longer locked."""
    folder = RunFolder.create(out, data, config='data = "digits"\n', start=START)
    folder.close()
    return folder


def test_a_run_folder_takes_its_name_in_one_step_and_is_never_overwritten(tmp_path):
    folder = begin(str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    with pytest.raises(RunError, match=r"run\.partial exists already: a run is at work there, or was stopped; `"):
        begin(str(tmp_path / "run"))
    write_text(folder.path / "a.txt", "whole")
    assert folder.finish() == tmp_path / "run"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["a.txt", "config.toml", "logits", "weights"]
    with pytest.raises(RunError, match="run exists already and a run folder is never overwritten"):
        begin(str(tmp_path / "run"))


def test_run_names_count_up_and_are_safe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [begin(None, name) for name in ("digits", "digits", "../x y", "…")]
    names = [folder.final.name for folder in folders]
    day = time.strftime("%Y-%m-%d")
    assert names == [f"digits-{day}-1", f"digits-{day}-2", f"x-y-{day}-1", f"data-{day}-1"]


def test_a_file_is_whole_or_absent(tmp_path):
    write_text(tmp_path / "a.txt", "first")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.txt", "second \ud800")
    assert (tmp_path / "a.txt").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(RunError, match="cannot write to"):
        begin(str(tmp_path / "run"))


def test_a_name_under_a_file_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write to .*file: "):
        begin(str(tmp_path / "file" / "run"))


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    code = "from sfumato.__main__ import main; raise SystemExit(main())"
    words = [sys.executable, "-c", code, "compare", "digits", "--epochs", "100000", "--out", "run"]
    parent = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert parent.stderr is not None
    while "seed 0  epoch" not in (line := parent.stderr.readline()):
        assert parent.poll() is None, line
    children = [int(pid) for pid in children_of(parent.pid)]
    assert len(children) >= 2
    parent.kill()
    parent.wait()
    parent.stderr.close()
    assert wait_until(lambda: not any(alive(pid) for pid in children))
    assert not (tmp_path / "run").exists()
    assert (tmp_path / "run.partial").is_dir()


@pytest.mark.slow
def test_an_interrupt_from_the_terminal_reaches_only_the_parent(tmp_path):
    import pty

    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "sfumato", "compare", "digits", "--epochs", "100000", "--out", "run"]
    parent = subprocess.Popen(words, cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown = b""
    while b"seed, epoch" not in shown or shown.count(b"NLL") < 5:
        shown += os.read(ours, 4096)
    os.killpg(parent.pid, signal.SIGINT)  # what a terminal does: every process of the group gets it
    try:
        while block := os.read(ours, 4096):
            shown += block
    except OSError:  # the last process has closed its end
        pass
    os.close(ours)
    assert parent.wait() == 1
    assert b"Traceback" not in shown
    assert b"sfumato: stopped" in shown


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["plan ", "seed 0  epoch"], ids=["while workers start", "while they train"])
def test_an_interrupt_ends_the_run_with_a_sentence(moment, tmp_path):
    words = [sys.executable, "-m", "sfumato", "compare", "digits", "--epochs", "100000", "--out", "run"]
    parent = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert parent.stderr is not None
    while not (line := parent.stderr.readline()).startswith(moment):
        assert parent.poll() is None, line
    children = [int(pid) for pid in children_of(parent.pid)]
    parent.send_signal(signal.SIGINT)
    out, err = parent.communicate(timeout=60)
    assert parent.returncode == 1
    assert out == ""
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "sfumato: stopped; `sfumato compare --resume run` goes on from here"
    assert wait_until(lambda: not any(alive(pid) for pid in children))
    assert not (tmp_path / "run").exists()


def children_of(pid: int) -> list[str]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True)
    return listed.stdout.split()


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds: float = 30.0) -> bool:
    """Poll a condition that another process fulfils; False if it never does."""
    event = multiprocessing.Event()
    for _ in range(int(seconds / 0.05)):
        if condition():
            return True
        event.wait(0.05)
    return False


def test_arrays_are_written_as_numpy_writes_them_and_objects_are_not(tmp_path):
    arrays = {"index": np.arange(7), "logits": np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)}
    write_arrays(tmp_path / "ours.npz", arrays)
    np.savez(tmp_path / "theirs.npz", **arrays)
    assert (tmp_path / "ours.npz").read_bytes() == (tmp_path / "theirs.npz").read_bytes()
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        write_arrays(tmp_path / "objects.npz", {"x": np.array([{}], dtype=object)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours.npz", "theirs.npz"]


def test_a_file_that_cannot_be_written_is_named_with_the_reason(tmp_path):
    with pytest.raises(WriteError, match=r"^cannot write .*/gone/a\.txt: No such file or directory$"):
        write_text(tmp_path / "gone" / "a.txt", "text")


def test_a_run_that_wants_nothing_but_its_name_gets_it(tmp_path):
    folder = begin(str(tmp_path / "run"))
    write_text(folder.path / "summary.json", "{}")
    (folder.path / "work" / "start.sealed").unlink()  # the first that goes when a run is finished
    write_text(folder.path / ".summary.json.123", "cut of")
    assert find(str(folder.path)) == (tmp_path / "run", True)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "config.toml",
        "logits",
        "summary.json",
        "weights",
    ]


def test_what_a_kill_left_of_a_run_being_begun_is_removed_a_minute_later(tmp_path):
    left = [tmp_path / f".run.{16 * digit}" for digit in "ab"]
    for path in left:
        path.mkdir()
    os.utime(left[0], (time.time() - 100,) * 2)
    begin(str(tmp_path / "run"))
    assert [path.exists() for path in left] == [False, True]


def test_metrics_lines_are_json_without_nan(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_lines(path, [{"train_loss": float("nan")}])
    assert not path.exists()
    write_lines(path, [{"epoch": 1}, {"epoch": 2}])
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"epoch": 1},
        {"epoch": 2},
    ]
