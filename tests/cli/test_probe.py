"""`sfumato probe` as a stranger runs it, in a folder with a loss of their own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import run_sfumato

FIELDS = [
    "schema", "classes", "convention", "eps", "eps_all", "eps_others", "target", "mass", "ignore_index", "reduction",
    "findings",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    shutil.copy(Path(__file__).parents[1] / "probe" / "peer_losses.py", tmp_path / "my_losses.py")
    (tmp_path / "mine.py").write_text(TRAINERS)
    return tmp_path


TRAINERS = """
import torch

def watched(label_smoothing=0.1, used=True):
    model = torch.nn.Linear(4, 5)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)

    def run():
        print("training")
        loss = torch.nn.CrossEntropyLoss(label_smoothing=label_smoothing if used else 0.0)
        for _ in range(2):
            loss(model(torch.randn(8, 4)), torch.arange(8) % 5).backward()
            optimiser.step()
            optimiser.zero_grad()

    return model, run

def wrong():
    return 3

def fails():
    return torch.nn.Linear(2, 2), lambda: 1 / 0
"""


def test_a_trainer_is_watched_and_what_it_prints_is_no_result(folder):
    ran = run_sfumato("probe", "--trainer", "mine:watched", "--json", "--strict", folder=folder)
    told = ran.json()
    assert (told["schema"], told["eps"], told["normaliser"], told["steps"]) == ("sfumato.watch/1", 0.1, "rows", 2)
    assert "training" in ran.err


def test_a_trainer_whose_argument_has_no_effect_is_a_defect(folder):
    (folder / "idle.py").write_text(TRAINERS.replace("label_smoothing if used else 0.0", "0.0 * label_smoothing"))
    ran = run_sfumato("probe", "--trainer", "idle:watched", "--strict", folder=folder)
    assert ran.code == 3
    assert "defect   argument-without-effect  label_smoothing is 0.1" in ran.out


def test_the_json_has_the_promised_fields_and_a_defect_under_strict_is_exit_code_3(folder):
    ran = run_sfumato("probe", "my_losses:coincheung", "--json", "--strict", folder=folder)
    assert ran.code == 3, ran.err
    told = json.loads(ran.out)
    assert [name for name in FIELDS if name not in told] == []
    assert (told["schema"], told["classes"], told["convention"], told["eps"]) == ("sfumato.probe/1", 10, "deficit", 0.1)
    assert (told["target"], told["mass"], told["ignore_index"]) == ([0.9, 0.01], 0.99, -100)
    assert told["reduction"] == "mean"
    assert {"level", "code", "text"} == set(told["findings"][0])
    assert any(each["code"] == "mass-deficit" and "Σq = 0.99" in each["text"] for each in told["findings"])


def test_the_text_ends_with_a_table_and_the_line_of_code(folder):
    ran = run_sfumato("probe", "my_losses.py:fairseq(epsilon=0.2)", "--classes", "4", folder=folder)
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0] == "fairseq(epsilon=0.2) is label smoothing with ε = 0.2 over the other classes"
    assert any(line.startswith("defect   half-precision-overflow") for line in lines)
    assert lines[-1] == '  sf.cross_entropy(logits, labels, label_smoothing=0.2, over="others", reduction="sum")'


def test_without_a_defect_strict_is_0(folder):
    assert run_sfumato("probe", "sfumato:CrossEntropyLoss", "--strict", folder=folder).code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "probe needs MODULE:CALLABLE"),
        (("my_losses:fairseq", "--trainer", "mine:watched"), "a loss or --trainer, and not both"),
        (("--trainer", "mine:wrong"), "mine:wrong returned a int; it must return (model, run)"),
        (("--trainer", "mine:fails"), "the training of mine:fails failed: ZeroDivisionError: division by zero"),
        (("my_losses:fairsek",), 'my_losses has no "fairsek". Did you mean "fairseq"?'),
    ],
)
def test_bad_input_is_one_line_and_a_usage_error(words, message, folder):
    ran = run_sfumato("probe", *words, folder=folder)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("sfumato: ")
    assert ran.err.count("\n") == 1
    assert message in ran.err
