"""Arms whose target is a row of a table: its order or tree, the proof that it trained, and a table that is learned."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import sfumato as sf
from sfumato.lab import compare as lab
from sfumato.lab.arms import Arm, arm_of
from sfumato.lab.errors import ArmError, OptionError
from sfumato.lab.options import Options
from sfumato.lab.train.objectives import OnlineLoss
from tests.conftest import run_sfumato

LABELS = np.repeat([0, 1, 2], [5, 3, 2])


def order(*names: str, spec: str = "ordinal:0.5") -> Arm:
    return arm_of(spec, LABELS, 3, class_names=names)


def test_the_order_is_that_of_the_numbers_that_classes_are_called():
    arm = order("10", "2", "3")
    rows = sf.class_tables.ordinal(torch.tensor([10.0, 2.0, 3.0], dtype=torch.float64), 0.5)
    assert np.array(arm.rows) == pytest.approx(rows.numpy())
    assert (arm.name, arm.over) == ("ordinal-0.5", "order")
    assert arm.eps == pytest.approx(float(np.array([0.5, 0.3, 0.2]) @ (1 - np.diag(arm.rows))))


def test_a_file_gives_classes_an_order_by_their_names(tmp_path: Path):
    file = tmp_path / "grades.csv"
    file.write_text("high,3\nlow,1\nmid,2.5\n", encoding="utf-8")
    arm = order("low", "mid", "high", spec=f"ordinal:0.5:{file}")
    rows = sf.class_tables.ordinal(torch.tensor([1.0, 2.5, 3.0], dtype=torch.float64), 0.5)
    assert np.array(arm.rows) == pytest.approx(rows.numpy())
    assert arm.name == "ordinal-0.5-grades"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("high,3\nlow,1\n", 'order.csv has no value for the class "mid"'),
        ("high,3\nhgih,1\n", 'line 2: "hgih" is not a class. Did you mean "high"?'),
        ("high,3\nhigh,1\n", 'line 2: the class "high" has a value already'),
        ("high,much\n", 'line 1: "much" is not a number'),
        ("high,inf\n", 'line 1: "inf" is not a number'),
        ("high\n", "line 1 must have the name of a class and its value, got 1 cells"),
        (None, "order.csv cannot be read as CSV"),
    ],
)
def test_an_order_that_is_none_is_refused_with_its_line(text: str | None, message: str, tmp_path: Path):
    file = tmp_path / "order.csv"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(OptionError) as error:
        order("low", "mid", "high", spec=f"ordinal:0.5:{file}")
    assert str(error.value).startswith(f"--arm ordinal: {file}")
    assert message in str(error.value)


def test_classes_without_an_order_are_refused_with_the_way_out():
    with pytest.raises(OptionError, match='needs an order of the classes, and "mid" is no number. Give a CSV file'):
        order("1", "mid", "3")


@pytest.mark.parametrize("name", ["inf", "-Infinity", "1e999"])
def test_a_class_that_is_called_an_infinite_number_has_no_place_in_an_order(name: str):
    with pytest.raises(OptionError, match=f'needs an order of the classes, and "{name}" is no number. Give a CSV file'):
        order("1", name, "3")


@pytest.mark.parametrize(
    ("names", "file", "first", "second", "value"),
    [
        (("low", "mid", "high"), "low,1\nmid,1\nhigh,2\n", "low", "mid", "1"),
        (("01", "1", "2.5"), "", "01", "1", "1"),
        (("0", "2.5", "2.50"), "", "2.5", "2.50", "2.5"),
    ],
)
def test_classes_of_one_value_are_refused(
    names: tuple[str, ...], file: str, first: str, second: str, value: str, tmp_path: Path
):
    (tmp_path / "grades.csv").write_text(file, encoding="utf-8")
    with pytest.raises(OptionError) as error:
        order(*names, spec=f"ordinal:0.5:{tmp_path}/grades.csv" if file else "ordinal:0.5")
    assert str(error.value) == (
        f'--arm ordinal: "{first}" and "{second}" both have the value {value}, so that nothing tells them apart; give '
        "each class a value of its own in a CSV file: ordinal:0.5:order.csv"
    )


def test_a_tree_gives_the_rows_of_sf_rows(tmp_path: Path):
    file = tmp_path / "my tree.json"
    file.write_text('{"pets": ["cat", "dog"], "rest": ["car"]}', encoding="utf-8")
    arm = arm_of(f"hierarchy:{file}:4", LABELS, 3, class_names=("car", "cat", "dog"))
    rows = sf.class_tables.hierarchy(file, 4.0, classes=["car", "cat", "dog"], dtype=torch.float64)
    assert np.array(arm.rows) == pytest.approx(rows.numpy())
    assert (arm.name, arm.over) == ("hierarchy-my-tree-4", "tree")


def test_a_tree_that_is_none_is_refused(tmp_path: Path):
    file = tmp_path / "tree.json"
    with pytest.raises(OptionError, match="tree.json: cannot be read: No such file or directory"):
        arm_of(f"hierarchy:{file}:4", LABELS, 3, class_names=("car", "cat", "dog"))
    file.write_text('{"pets": ["cat", "dog"]}', encoding="utf-8")
    with pytest.raises(OptionError, match='has no leaf for class 0, "car"'):
        arm_of(f"hierarchy:{file}:4", LABELS, 3, class_names=("car", "cat", "dog"))


LIKENESS = """,cat,dog,car
car,0.1,0,1
cat,1,0.5,0.1
dog,0.5,1,0
"""


def alike(tmp_path: Path, text: str = LIKENESS) -> Arm:
    file = tmp_path / "likeness.csv"
    file.write_text(text, encoding="utf-8")
    return arm_of(f"similarity:{file}:0.25", LABELS, 3, class_names=("car", "cat", "dog"))


def test_a_table_of_likenesses_gives_the_rows_of_sf_rows(tmp_path: Path):
    arm = alike(tmp_path)
    table = torch.tensor([[1, 0.1, 0], [0.1, 1, 0.5], [0, 0.5, 1]], dtype=torch.float64)  # in the order of the classes
    assert np.array(arm.rows) == pytest.approx(sf.class_tables.similarity(table, 0.25).numpy())
    assert (arm.name, arm.over) == ("similarity-likeness-0.25", "likeness")
    assert arm.verify(arm.loss(), 3) == pytest.approx([arm.rows[2][2], arm.rows[2][0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LIKENESS.replace("0.5,1,0", "0.5,most,0"), 'likeness.csv, line 4, column "dog": "most" is not a number'),
        (LIKENESS.replace("0.5,1,0", "0.5,inf,0"), 'line 4, column "dog": "inf" is not a number'),
        (LIKENESS.replace("dog,0.5,1,0\n", ""), 'has no line for the class "dog". It must be a CSV file'),
        (LIKENESS.replace("0.5,1,0", "0.5,0.4,0"), '"dog" resembles "cat" more than itself, 0.5 against 0.4. Give'),
    ],
)
def test_a_table_of_likenesses_that_is_none_is_refused(text: str, message: str, tmp_path: Path):
    with pytest.raises(OptionError) as error:
        alike(tmp_path, text)
    assert str(error.value).startswith("--arm similarity:")
    assert message in str(error.value)


COUNTS = """,cat,dog,car
car,3,0,20
cat,30,6,2
dog,0,25,0
"""


def confused(tmp_path: Path, text: str = COUNTS, eps: str = ":0.2") -> Arm:
    file = tmp_path / "counts.csv"
    file.write_text(text, encoding="utf-8")
    return arm_of(f"confusion:{file}{eps}", LABELS, 3, class_names=("car", "cat", "dog"))


def test_a_table_of_confusions_gives_the_rows_of_sf_rows(tmp_path: Path):
    arm = confused(tmp_path)
    counts = torch.tensor([[20.0, 3, 0], [2, 30, 6], [0, 0, 25]], dtype=torch.float64)  # in the order of the classes
    rows = sf.class_tables.confusion(counts, 0.2, over="others", shrinkage=1)
    assert np.array(arm.rows) == pytest.approx(rows.numpy())
    assert arm.rows[1] == pytest.approx([0.2 * 2.5 / 9, 0.8, 0.2 * 6.5 / 9])
    assert (arm.name, arm.eps, arm.over) == ("confusion-counts-0.2", 0.2, "confusions")
    assert arm.verify(arm.loss(), 3) == pytest.approx([0.8, 0.1])


def test_the_strength_of_confusions_is_a_tenth_where_none_is_given(tmp_path: Path):
    assert confused(tmp_path, eps="") == confused(tmp_path, eps=":0.1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            COUNTS.replace("25", "-25"),
            'counts.csv, line 4, column "dog": "-25" is not a count, which is a number from 0',
        ),
        (COUNTS.replace("25", "inf"), 'line 4, column "dog": "inf" is not a count'),
        (COUNTS.replace("25", "some"), 'line 4, column "dog": "some" is not a count'),
        (COUNTS.replace("\ndog", "\ndgo"), 'line 4: "dgo" is not a class. Did you mean "dog"?'),
        (COUNTS.replace("dog,0,25,0\n", ""), 'has no line for the class "dog". It must be a CSV file with the names'),
        (COUNTS.replace("0,25,0", "0,25"), "line 4: 3 cells, but the header has 4"),
        (",cat,dog,car\ncar,0,0,2\ncat,9,0,0\ndog,0,9,0\n", "was ever taken for another one, so that this is plain"),
    ],
)
def test_a_table_of_confusions_that_is_none_is_refused(text: str, message: str, tmp_path: Path):
    with pytest.raises(OptionError) as error:
        confused(tmp_path, text)
    assert str(error.value).startswith("--arm confusion:")
    assert message in str(error.value)


def test_confusions_that_would_teach_another_class_than_the_label_are_refused(tmp_path: Path):
    with pytest.raises(OptionError, match=r'"car", whose own share is 0\.4: .* wrong answer; choose less than 0\.533'):
        confused(tmp_path, COUNTS.replace("0,25,0", "0,25,3"), eps=":0.6")
    confused(tmp_path, COUNTS.replace("0,25,0", "0,25,3"), eps=":0.53")


def test_a_table_of_confusions_that_is_not_there_is_named_with_what_it_must_be():
    with pytest.raises(OptionError, match="--arm confusion:nowhere.csv: there is no such file. It must be a CSV file"):
        arm_of("confusion:nowhere.csv", LABELS, 3, class_names=("car", "cat", "dog"))


def test_an_arm_proves_its_rows_and_refuses_others():
    arm, other = order("0", "1", "2"), order("0", "1", "2", spec="ordinal:0.51")
    assert arm.verify(arm.loss(), 3) == pytest.approx([arm.rows[2][2], arm.rows[2][0]])
    for wrong in (
        other.loss(),
        replace(arm, rows=tuple(map(tuple, np.array(arm.rows)[::-1, ::-1] ** 2))).loss(),
        sf.CrossEntropyLoss(),
    ):
        with pytest.raises((ArmError, ValueError)):
            arm.verify(wrong, 3)


def test_the_floor_and_the_gap_are_those_of_the_logits_that_minimise_the_loss():
    arm = order("0", "1", "3")
    z = torch.tensor(arm.rows, dtype=torch.float64).log()[LABELS]
    assert arm.floor(3) == pytest.approx(arm.loss()(z, torch.from_numpy(LABELS)).item(), rel=1e-12)
    true = z[torch.arange(10), LABELS]
    assert arm.gap(3) == pytest.approx((true - (z.sum(1) - true) / 2).mean().item(), rel=1e-12)


def learned(eps: float) -> OnlineLoss:
    """A loss after one epoch on logits that are right two times in three."""
    loss = OnlineLoss(eps)
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, 3, (90,), generator=generator)
    z = torch.randn(90, 3, generator=generator) + 1.5 * torch.eye(3)[y]
    loss(z, y)
    loss.end_epoch(y)
    return loss


def test_an_online_arm_is_proved_against_the_table_that_its_loss_has_learned():
    arm, loss = arm_of("online:0.4", LABELS, 3), learned(0.4)
    table = loss.table(3)
    assert np.abs(table - 1 / 3).max() > 0.1
    assert arm.verify(loss, 3) == pytest.approx([0.6 + 0.4 * table[2, 2], 0.4 * table[2, 0]])
    assert int(loss.online.hits.sum()) == 0  # the probe has taught it nothing


@pytest.mark.parametrize("wrong", [learned(0.5), sf.CrossEntropyLoss(label_smoothing=0.4)], ids=["strength", "kind"])
def test_an_online_arm_refuses_another_strength_and_another_loss(wrong):
    with pytest.raises(ArmError, match='arm "online-0.4"'):
        arm_of("online:0.4", LABELS, 3).verify(wrong, 3)


def taught(*rows: tuple[float, float, float]) -> OnlineLoss:
    """The loss of an online arm of strength 0.2, which has learned this table."""
    loss = OnlineLoss(0.2)
    loss.table(3)
    loss.online.rows[:] = torch.tensor(rows, dtype=torch.float64)
    return loss


def test_a_model_that_is_sure_of_its_right_answers_teaches_a_table_with_zeros():
    loss = taught((1, 0, 0), (0, 1, 0), (0, 0, 1))
    assert arm_of("online:0.2", LABELS, 3).verify(loss, 3) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("first", "refused"),
    [
        ((0.5, 0.3, 0.2), False),
        ((0.5, 0.3, 0.2 + 0.5e-9), False),
        ((0.5, 0.3, 0.2 + 1.5e-9), True),
        ((0.5, 0.7, -0.2), True),
        ((0.5, 0.3, 0.3), True),
    ],
)
def test_a_table_that_is_learned_has_a_distribution_in_each_row(first: tuple[float, float, float], refused: bool):
    arm, loss = arm_of("online:0.2", LABELS, 3), taught(first, (0, 1, 0), (0, 0, 1))
    if refused:
        with pytest.raises(ArmError, match="should have learned a table of targets, and its loss has none"):
            arm.verify(loss, 3)
    else:
        assert arm.verify(loss, 3) == pytest.approx([1, 0.1], abs=0.1)


def test_a_class_without_rows_does_not_count_in_the_gap(tmp_path: Path):
    """The class that no row has is so unlike the others that its own target is one-hot."""
    file = tmp_path / "likeness.csv"
    file.write_text(",a,b,c\na,1,0,0\nb,0,1,0\nc,-9000,-9000,1\n", encoding="utf-8")
    arm = arm_of(f"similarity:{file}:1", np.array([0, 1]), 3, class_names=("a", "b", "c"))
    assert arm.gap(3) == pytest.approx(1)
    every = arm_of(f"similarity:{file}:1", np.array([0, 1, 2]), 3, class_names=("a", "b", "c"))
    assert every.gap(3) == float("inf")


def test_confusions_that_give_another_class_as_much_as_the_label_are_refused(tmp_path: Path):
    file = tmp_path / "counts.csv"
    file.write_text(",a,b\na,5,5\nb,0,9\n", encoding="utf-8")
    with pytest.raises(OptionError, match='gives the class "b" 0.5 in the target of "a", whose own share is 0.5'):
        arm_of(f"confusion:{file}:0.5", np.array([0, 1]), 2, class_names=("a", "b"))
    arm = arm_of(f"confusion:{file}:0.49", np.array([0, 1]), 2, class_names=("a", "b"))
    assert np.array(arm.rows) == pytest.approx(np.array([[0.51, 0.49], [0.49, 0.51]]))


def test_the_floor_of_an_online_arm_is_that_of_the_epoch_that_ends():
    loss, y = OnlineLoss(0.4), torch.from_numpy(LABELS)
    loss(4 * torch.eye(3)[y], y)
    assert loss.end_epoch(y) == pytest.approx(arm_of("online:0.4", LABELS, 3).floor(3), rel=1e-12)
    q = 0.6 * np.eye(3) + 0.4 * loss.table(3)
    mean = float((-(q * np.log(q)).sum(1))[LABELS].mean())
    assert loss.end_epoch(y) == pytest.approx(mean, rel=1e-12)


@pytest.mark.nightly  # the state of its loss is asked for by day without a run
def test_an_online_arm_stopped_and_gone_on_with_ends_in_the_same_bits(tmp_path: Path):
    """Whole runs alone are kept, so a stop within a run begins it anew."""
    short = {"model": "linear", "seeds": 3, "epochs": 3, "workers": 1, "arm": "onehot,online:0.5"}
    lab.compare(Options("digits", **short, out=str(tmp_path / "whole")))
    with pytest.raises(lab.Stopped):
        lab.compare(Options("digits", **short, out=str(tmp_path / "run")), watcher=_stopping())
    lab.resume(tmp_path / "run", workers=1)
    for name in ("metrics.jsonl", "logits/online-0.5-seed2-test.npz", "weights/online-0.5-seed1.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def _stopping():
    from dataclasses import replace

    from sfumato.lab.watcher import NULL_WATCHER

    def stop(arm: str, seed: int, epoch: dict) -> None:
        if (arm, seed, epoch["epoch"]) == ("online-0.5", 1, 2):
            raise KeyboardInterrupt

    return replace(NULL_WATCHER, progress=stop)


@pytest.mark.slow
def test_arms_of_rows_on_real_data_end_in_a_verdict_and_a_page(tmp_path: Path):
    tree = {"round": ["0", "6", "8", "9", "3"], "straight": ["1", "4", "7"], "both": ["2", "5"]}
    (tmp_path / "tree.json").write_text(json.dumps(tree), encoding="utf-8")
    counts = [f"{y},{','.join(str(y * k % 7) for k in range(10))}" for y in range(10)]
    (tmp_path / "counts.csv").write_text("\n".join([",0,1,2,3,4,5,6,7,8,9", *counts]), encoding="utf-8")
    near = [f"{y},{','.join(str(-abs(y - k)) for k in range(10))}" for y in range(10)]
    (tmp_path / "near.csv").write_text("\n".join([",0,1,2,3,4,5,6,7,8,9", *near]), encoding="utf-8")
    tables = ("similarity:near.csv:0.3", "hierarchy:tree.json:6", "confusion:counts.csv:0.3")
    arms = ("onehot", "ordinal:0.3", *tables, "online:0.3")
    words = [word for arm in arms for word in ("--arm", arm)]
    ran = run_sfumato(
        "compare", "digits", "--model", "linear", "--seeds", "3", "--epochs", "4", *words, "--json", "-q",
        "--out", "run", folder=tmp_path,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    summary = ran.json()
    assert [arm["over"] for arm in summary["arms"]] == [
        "others",
        "order",
        "likeness",
        "tree",
        "confusions",
        "own predictions",
    ]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    floors = {arm: {line["train_floor"] for line in lines if line["arm"] == arm} for arm in ("ordinal-0.3",)}
    assert len(floors["ordinal-0.3"]) == 1
    online = [line["train_floor"] for line in lines if (line["arm"], line["seed"]) == ("online-0.3", 0)]
    assert online[0] == pytest.approx(sf.theory.loss_floor(0.3, 10, over="all"), rel=1e-6)
    assert len(set(online)) == 4
    assert all(line["train_excess"] > 0 for line in lines)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    for name in ("ordinal-0.3", "hierarchy-tree-6", "confusion-counts-0.3", "online-0.3"):
        assert name in page
