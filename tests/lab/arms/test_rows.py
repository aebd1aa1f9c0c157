"""Arms whose target is a row of a table: its order or tree, the proof that it trained, and a table that is learned."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import sfumato as sf
from sfumato.lab import compare as lab
from sfumato.lab.arms import Arm, arm_of
from sfumato.lab.compare import NULL_WATCHER
from sfumato.lab.errors import ArmError, OptionError
from sfumato.lab.options import Options
from sfumato.lab.train.objectives import OnlineLoss

LABELS = np.repeat([0, 1, 2], [5, 3, 2])


def order(*names: str, spec: str = "ordinal:0.5") -> Arm:
    return arm_of(spec, LABELS, 3, class_names=names)


def test_the_order_is_that_of_the_numbers_that_classes_are_called():
    arm = order("10", "2", "3")
    rows = sf.class_tables.ordinal(torch.tensor([10.0, 2.0, 3.0], dtype=torch.float64), 0.5)
    assert np.array(arm.rows) == pytest.approx(rows.numpy())
    assert (arm.name, arm.over) == ("ordinal-0.5", "order")
    assert arm.eps == pytest.approx(float(np.array([0.5, 0.3, 0.2]) @ (1 - np.diag(arm.rows))))


NAMES = ("car", "cat", "dog")
GRADES = "high,3\nlow,1\nmid,2.5\n"
TREE = '{"pets": ["cat", "dog"], "rest": ["car"]}'
LIKENESS = ",cat,dog,car\ncar,0.1,0,1\ncat,1,0.5,0.1\ndog,0.5,1,0\n"
COUNTS = ",cat,dog,car\ncar,3,0,20\ncat,30,6,2\ndog,0,25,0\n"
double = partial(torch.tensor, dtype=torch.float64)
ORDINAL, SIMILARITY, CONFUSION = "ordinal:0.5:{}", "similarity:{}:0.25", "confusion:{}:0.2"


@pytest.fixture
def of_file(tmp_path):
    """The arm of a spec with a file of this text; there is no such file where the text is None."""

    def of_file(spec: str, text: str | None, names: tuple[str, ...] = NAMES, name: str = "my table.csv") -> Arm:
        if text is not None:
            (tmp_path / name).write_text(text, encoding="utf-8")
        return arm_of(spec.format(tmp_path / name), LABELS, 3, class_names=names)

    return of_file


@pytest.mark.parametrize(
    ("spec", "text", "names", "rows", "name", "over"),
    [
        (ORDINAL, GRADES, ("low", "mid", "high"), sf.class_tables.ordinal(double([1.0, 2.5, 3.0]), 0.5),
         "ordinal-0.5-my-table", "order"),
        (SIMILARITY, LIKENESS, NAMES,
         sf.class_tables.similarity(double([[1, 0.1, 0], [0.1, 1, 0.5], [0, 0.5, 1]]), 0.25),
         "similarity-my-table-0.25", "likeness"),
        (CONFUSION, COUNTS, NAMES,
         sf.class_tables.confusion(double([[20, 3, 0], [2, 30, 6], [0, 0, 25]]), 0.2, over="others", shrinkage=1),
         "confusion-my-table-0.2", "confusions"),
    ],
)  # fmt: skip
def test_a_file_gives_the_rows_of_sf_in_the_order_of_the_classes(spec, text, names, rows, name, over, of_file):
    arm = of_file(spec, text, names)
    assert np.array(arm.rows) == pytest.approx(rows.numpy())
    assert (arm.name, arm.over) == (name, over)
    assert arm.verify(arm.loss(), 3) == pytest.approx([arm.rows[2][2], arm.rows[2][0]])


def test_a_tree_gives_the_rows_of_sf(of_file, tmp_path):
    arm = of_file("hierarchy:{}:4", TREE, name="my tree.json")
    rows = sf.class_tables.hierarchy(tmp_path / "my tree.json", 4.0, classes=NAMES, dtype=torch.float64)
    assert np.array(arm.rows) == pytest.approx(rows.numpy())
    assert (arm.name, arm.over) == ("hierarchy-my-tree-4", "tree")


def test_the_strength_of_confusions_is_a_tenth_where_none_is_given(of_file):
    assert of_file("confusion:{}", COUNTS) == of_file("confusion:{}:0.1", COUNTS)
    assert of_file(CONFUSION, COUNTS).eps == 0.2


@pytest.mark.parametrize(
    ("spec", "text", "message"),
    [
        (ORDINAL, "dog,3\ncar,1\n", 'my table.csv has no value for the class "cat"'),
        (ORDINAL, "dog,3\ndgo,1\n", 'line 2: "dgo" is not a class. Did you mean "dog"?'),
        (ORDINAL, "dog,3\ndog,1\n", 'line 2: the class "dog" has a value already'),
        (ORDINAL, "dog,much\n", 'line 1: "much" is not a number'),
        (ORDINAL, "dog,inf\n", 'line 1: "inf" is not a number'),
        (ORDINAL, "dog\n", "line 1 must have the name of a class and its value, got 1 cells"),
        (ORDINAL, None, "my table.csv cannot be read as CSV"),
        (ORDINAL, "car,1\ncat,1\ndog,2\n", '"car" and "cat" both have the value 1, so that nothing tells them apart'),
        ("hierarchy:{}:4", None, "my table.csv: cannot be read: No such file or directory"),
        ("hierarchy:{}:4", '{"pets": ["cat", "dog"]}', 'has no leaf for class 0, "car"'),
        (SIMILARITY, LIKENESS.replace("0.5,1,0", "0.5,most,0"), 'csv, line 4, column "dog": "most" is not a number'),
        (SIMILARITY, LIKENESS.replace("0.5,1,0", "0.5,inf,0"), 'line 4, column "dog": "inf" is not a number'),
        (SIMILARITY, LIKENESS.replace("dog,0.5,1,0\n", ""), 'has no line for the class "dog". It must be a CSV file'),
        (SIMILARITY, LIKENESS.replace("0.5,1,0", "0.5,0.4,0"),
         '"dog" resembles "cat" more than itself, 0.5 against 0.4. Give'),
        (CONFUSION, COUNTS.replace("25", "-25"),
         'table.csv, line 4, column "dog": "-25" is not a count, which is a number from 0'),
        (CONFUSION, COUNTS.replace("25", "inf"), 'line 4, column "dog": "inf" is not a count'),
        (CONFUSION, COUNTS.replace("\ndog", "\ndgo"), 'line 4: "dgo" is not a class. Did you mean "dog"?'),
        (CONFUSION, COUNTS.replace("dog,0,25,0\n", ""), 'has no line for the class "dog". It must be a CSV file with'),
        (CONFUSION, COUNTS.replace("0,25,0", "0,25"), "line 4: 3 cells, but the header has 4"),
        (CONFUSION, ",cat,dog,car\ncar,0,0,2\ncat,9,0,0\ndog,0,9,0\n", "was ever taken for another one, so that"),
        (CONFUSION, None, "there is no such file. It must be a CSV file"),
        ("confusion:{}:0.6", COUNTS.replace("0,25,0", "0,25,3"),
         '"car", whose own share is 0.4: the model would learn a wrong answer; choose less than 0.533'),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_refused_with_its_place(spec, text, message, of_file):
    with pytest.raises(OptionError) as error:
        of_file(spec, text)
    assert str(error.value).startswith(f"--arm {spec.partition(':')[0]}:")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("1", "mid", "3"), 'needs an order of the classes, and "mid" is no number. Give a CSV file'),
        *(((("1", name, "3")), f'and "{name}" is no number. Give a') for name in ("inf", "-Infinity", "1e999")),
        (("01", "1", "2.5"), '"01" and "1" both have the value 1, so'),
        (("0", "2.5", "2.50"), '"2.5" and "2.50" both have the value 2.5, so'),
    ],
)
def test_class_names_without_an_order_are_refused_with_the_way_out(names, message):
    with pytest.raises(OptionError) as error:
        order(*names)
    assert message in str(error.value)
    assert "ordinal:0.5:order.csv" in str(error.value)


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

    def stop(run: tuple, epoch: dict) -> None:
        if (*run, epoch["epoch"]) == ("online-0.5", 1, 2):
            raise KeyboardInterrupt

    with pytest.raises(lab.Stopped):
        lab.compare(Options("digits", **short, out=str(tmp_path / "run")), watcher=replace(NULL_WATCHER, progress=stop))
    lab.resume(tmp_path / "run", workers=1)
    for name in ("metrics.jsonl", "logits/online-0.5-seed2-test.npz", "weights/online-0.5-seed1.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
