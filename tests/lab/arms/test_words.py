"""What readers are shown of the kinds of arms: words, and code that computes the loss of the arm."""

from __future__ import annotations

import pytest
import torch

import sfumato as sf
from sfumato.evaluate import Margins
from sfumato.lab.arms import KINDS, Arm
from sfumato.report.code_to_copy import snippets
from sfumato.runs.schema import ArmDescription, check
from sfumato.verdict.analyse import differences
from sfumato.verdict.arms import WIDTH, call
from sfumato.verdict.sentences import verdict
from tests.lab.arms.conftest import COUNTS, LIKENESS, SOFT
from tests.verdict.results import result

DESCRIBED = [kind.example for kind in KINDS.values() if kind.words is not None]


@pytest.mark.parametrize("spec", DESCRIBED)
def test_every_text_of_a_description_is_filled_in(spec, made):
    arm = made(spec)
    told = check(arm.description(3), ArmDescription, spec)
    assert not any(bracket in text for name, text in told.items() for bracket in "{}" if name != "code")
    assert all(told[name] for name in ("title", "method", "strength", "target", "code"))
    assert told["title"].startswith(arm.name)
    assert max(map(len, told["code"].splitlines())) <= 2 * WIDTH


@pytest.mark.parametrize("spec", [spec for spec in DESCRIBED if not spec.startswith("cutmix")])
def test_the_code_to_copy_computes_the_loss_of_the_arm(spec, made):
    arm = made(spec)
    logits, labels = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
    given = {
        "torch": torch, "logits": logits, "labels": labels, "K": 3, "tau": 0.5, "beta": 5.0, "step": 3, "steps": 5,
        "values": torch.arange(3.0), "likeness": torch.tensor(LIKENESS), "counts": torch.tensor(COUNTS),
        "names": ["0", "1", "2"], "shares": torch.tensor([0.5, 0.3, 0.2]), "inputs": logits,
        "model": torch.nn.Identity(), "probabilities": torch.from_numpy(SOFT)[[0, 5, 8] * 2],
    }  # fmt: skip
    if spec.startswith("similarity"):
        given["tau"] = 0.25
    (snippet,) = snippets(
        {"name": arm.name, "eps": arm.eps, "over": arm.over, "description": arm.description(3)}, 3, "1.5"
    )
    names = dict(given)
    exec(snippet.code, names)
    if spec == "soft":
        expected = -(given["probabilities"] * logits.log_softmax(1)).sum(1).mean()
    elif arm.schedule is not None:
        expected = sf.cross_entropy(logits, labels, label_smoothing=arm.at(3, 5), over="all")
    elif spec.startswith("mixup"):
        expected = arm.loss().of(names["logits"], labels, labels[names["other"]], names["lam"])
    else:
        expected = arm.loss()(logits, labels)
    assert float(names["loss"]) == pytest.approx(float(expected), rel=2e-6)
    torch.testing.assert_close(names["probabilities"], (names["logits"] / 1.5).softmax(1))


def test_kinds_without_a_single_best_gap_say_why_and_a_gap_below_the_margin_too(made):
    assert {kind.name for kind in KINDS.values() if kind.words and kind.words.no_gap} == {"relax", "focal", "negative"}
    assert (made("margin:30").below(3) != "", made("margin:1").below(3), made("l2:0.1").below(3)) == (True, "", "")


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("prior:0.12", "ε = 0.12 over the classes by their share of the training rows (sf.smooth_prior; torch's "),
        ("mixup:0.12", "(λ from Beta(0.12, 0.12), one a batch)"),
        ("soft", "(which leave 0.2 of the mass off the label on average)"),
        ("online:0.12", "ε = 0.12 to the model's own right predictions of the class (sf.OnlineSmoothing)"),
        ("margin:10:0.1", "(m = 10, α = 0.1)"),
        ("negative:-0.2", "(r = −0.2)"),
        ("cosine:0:0.2", "ε from 0 to 0.2 on half a cosine over the steps, spread over all 3 classes (sf.schedules.c"),
        ("drop_late:0.1:0.75", "ε = 0.1 for the first 75 % of the steps and 0 after them, spread over all 3 classes"),
        ("others:0.12", "ε = 0.12 over the other classes (label_smoothing=0.18 in PyTorch)"),
    ],
)
def test_a_strength_is_described_with_what_gives_it(spec, told, made):
    assert made(spec).describe(3).startswith(told)


def test_a_schedule_that_ends_at_one_hot_is_no_one_hot_and_no_strength(made):
    falling, all_same = made("linear:0.2:0"), Arm("all-0.1", 0.1, "all")
    kept = [result(falling, accuracy=0.9), result(all_same, accuracy=0.9)]
    assert verdict(kept, differences(kept, Margins()))["sentences"][0].startswith("Keep linear-0.2-0")
    worse = [result(Arm("one-hot", 0.0, "all"), accuracy=0.9), result(falling, accuracy=0.8)]
    assert verdict(worse, differences(worse, Margins()))["sentences"][0].endswith("makes accuracy worse.")


@pytest.mark.parametrize(("letters", "lines"), [(61, 1), (62, 3), (68, 3), (69, 4)])
def test_a_call_takes_the_lines_that_it_needs(letters, lines):
    code = call("some.call", "a" * (letters - 7), "b = 1").splitlines()
    assert "".join(code).replace(" ", "").replace(",)", ")") == f"some.call({'a' * (letters - 7)},b=1)"
    assert len(code) == lines
