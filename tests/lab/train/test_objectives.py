"""Arms that mix rows, and arms that train on soft labels."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import beta

from sfumato.lab.arms import arm_of
from sfumato.lab.errors import ArmError
from sfumato.lab.models import build
from sfumato.lab.train.objectives import MixLoss, MovingLoss, SoftLoss, TrainingObjective
from tests.conftest import run_sfumato

LABELS = np.array([0, 0, 0, 1, 1, 2])


def given(seed=0):
    """A linear model, a batch with weights, and a generator that draws as the objective will."""
    torch.manual_seed(seed)
    model = build("linear", 5, 3, seed=1)
    x, y = torch.randn(8, 5), torch.randint(0, 3, (8,))
    weight = torch.rand(8) + 0.5
    draw = np.random.default_rng(torch.initial_seed())
    return model, x, y, weight, draw


@pytest.mark.parametrize("weighted", [False, True])
def test_mixup_is_its_definition_in_torchs_own_words(weighted):
    model, x, y, weight, draw = given()
    loss = MixLoss(0.4, cut=False)
    logits, value = loss.step(model, x, y, weight if weighted else None, None)
    lam, other = draw.beta(0.4, 0.4), torch.from_numpy(draw.permutation(8))
    theirs = model(lam * x + (1 - lam) * x[other])
    q = lam * torch.eye(3)[y] + (1 - lam) * torch.eye(3)[y[other]]
    rows = -(q * theirs.log_softmax(1)).sum(1)
    w = lam * weight + (1 - lam) * weight[other] if weighted else torch.ones(8)
    assert torch.allclose(logits, theirs, atol=1e-6)
    assert value.item() == pytest.approx(((rows * w).sum() / w.sum()).item(), rel=1e-5)


def test_cutmix_keeps_the_share_that_it_says_of_each_picture():
    loss = MixLoss(1.0, cut=True)
    x = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 3, 10, 7)
    for _ in range(50):
        other = torch.tensor([1, 0, 3, 2])
        mixed, lam = loss._pasted(x, other, float(loss.draw.beta(1, 1)))
        kept = (mixed == x).float().mean((1, 2, 3))
        assert kept.tolist() == pytest.approx([lam] * 4)
        assert torch.equal(mixed[mixed != x], x[other][mixed != x])


@pytest.mark.parametrize(
    ("middle", "rows", "columns"),
    [
        ((5, 4), range(3, 7), range(2, 6)),  # half the side in each direction, as a quarter of the picture is pasted
        ((0, 7), range(2), range(5, 8)),  # cut off at the edge
        ((9, 0), range(7, 10), range(2)),
        ((2, 2), range(4), range(4)),
    ],
)
def test_cutmix_pastes_a_rectangle_around_a_place_that_is_drawn(middle, rows, columns):
    loss, places = MixLoss(1.0, cut=True), iter(middle)
    loss.draw = SimpleNamespace(integers=lambda size: next(places))
    mixed, lam = loss._pasted(
        torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1).expand(2, 1, 10, 8), torch.tensor([1, 0]), 0.75
    )
    pasted = [(y, x) for y in range(10) for x in range(8) if mixed[0, 0, y, x] == 1]
    assert pasted == [(y, x) for y in rows for x in columns]
    assert lam == pytest.approx(1 - len(rows) * len(columns) / 80)


def test_a_kind_of_loss_that_does_not_say_how_it_trains_is_refused():
    with pytest.raises(NotImplementedError):
        TrainingObjective().step(None, None, None, None, None)
    with pytest.raises(NotImplementedError):
        MovingLoss().end_epoch(torch.tensor([0]))


def test_mixing_depends_on_the_seed_of_the_run_alone():
    def once(seed):
        torch.manual_seed(seed)
        loss = MixLoss(0.2, cut=False)
        torch.rand(7)  # a layer that draws, such as dropout
        return [loss.draw.beta(0.2, 0.2) for _ in range(3)]

    assert once(3) == once(3) != once(4)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_the_floor_of_mixup_is_its_expected_entropy(alpha):
    def entropy(lam):
        return -(lam * np.log(lam) + (1 - lam) * np.log1p(-lam)) * beta.pdf(lam, alpha, alpha)

    expected = 2 * quad(entropy, 0, 0.5, limit=500)[0] * (1 - (0.5**2 + (1 / 3) ** 2 + (1 / 6) ** 2))
    made = arm_of(f"mixup:{alpha}", LABELS, 3)
    assert made.over == "mixup"
    assert made.floor(3) == pytest.approx(expected, rel=1e-5)
    assert made.gap(3) == float("inf")


def test_every_arm_knows_the_loss_that_trains_it():
    soft = np.array([[0.7, 0.2, 0.1]] * 6)
    for spec in ("mixup:0.2", "cutmix:1", "soft"):
        arm = arm_of(spec, LABELS, 3, soft)
        assert len(arm.verify(arm.loss(), 3)) == 2

    class Wrong(MixLoss):
        def of(self, logits, labels, others, lam, weight=None):
            return super().of(logits, labels, others, 1.0, weight)

    with pytest.raises(ArmError, match="nothing of this comparison can be trusted"):
        arm_of("mixup:0.2", LABELS, 3).verify(Wrong(0.2, cut=False), 3)


def test_soft_labels_are_trained_on_as_torch_trains_on_probabilities():
    model, x, y, weight, _ = given()
    soft = torch.rand(8, 3).softmax(1)
    logits, value = SoftLoss().step(model, x, y, weight, soft)
    rows = torch.nn.functional.cross_entropy(model(x), soft, reduction="none")
    assert torch.equal(logits, model(x))
    assert value.item() == pytest.approx(((rows * weight).sum() / weight.sum()).item(), rel=1e-5)


def test_the_soft_arms_numbers_are_those_of_its_rows():
    soft = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    arm = arm_of("soft", np.array([0, 1]), 3, soft)
    assert (arm.name, arm.eps, arm.over) == ("soft", pytest.approx(0.35), None)
    assert arm.floor(3) == pytest.approx(float(-(soft * np.log(soft)).sum(1).mean()))
    assert arm.gap(3) == pytest.approx((np.log(2) + np.log(8)) / 2)
    assert arm_of("soft", np.array([0]), 2, np.array([[1.0, 0.0]])).gap(2) == float("inf")


@pytest.mark.slow
def test_votes_are_compared_with_the_likeliest_class_in_one_verdict(tmp_path):
    generator = np.random.default_rng(0)
    centre = generator.integers(3, size=300)
    x = np.eye(3)[centre] * 2 + generator.normal(size=(300, 3))
    votes = generator.multinomial(5, 0.2 / 3 + 0.8 * np.eye(3)[centre]) / 5
    lines = ["a,b,c,p_0,p_1,p_2"] + [",".join(f"{v:.6g}" for v in (*row, *p)) for row, p in zip(x, votes, strict=True)]
    (tmp_path / "votes.csv").write_text("\n".join(lines))
    words = (
        "--label-probs",
        "p_*",
        "--folds",
        "1",
        "--seeds",
        "3",
        "--epochs",
        "5",
        "--arm",
        "onehot",
        "--arm",
        "soft",
        "--json",
        "-q",
    )
    ran = run_sfumato("compare", "votes.csv", *words, folder=tmp_path)
    assert ran.code == 0, ran.err
    arms = ran.json()["arms"]
    assert [(arm["name"], arm["over"]) for arm in arms] == [("one-hot", "others"), ("soft", None)]
    for arm in arms:
        rows = []
        for seed in range(3):
            with np.load(tmp_path / ran.json()["run"] / "logits" / f"{arm['name']}-seed{seed}-test.npz") as file:
                q, z = (file[name].astype(np.float64) for name in ("label_probs", "logits"))
                assert q == pytest.approx(votes[file["index"]], abs=1e-6)
            q /= q.sum(axis=1, keepdims=True)  # stored in float32
            log_p = z - np.logaddexp.reduce(z, axis=1, keepdims=True)
            rows.append((-(q * log_p).sum(axis=1).mean(), q[np.arange(len(q)), z.argmax(axis=1)].mean()))
        nll, agreement = np.mean(rows, axis=0)
        assert arm["metrics"]["nll"]["mean"] == pytest.approx(nll, abs=1e-9)
        assert arm["metrics"]["agreement"]["mean"] == pytest.approx(agreement, abs=1e-9)
    page = (tmp_path / ran.json()["run"] / "report.html").read_text(encoding="utf-8")
    assert "<caption>agreement" in page
    assert arms[1]["closed_form_gap"] is None
    assert (tmp_path / ran.json()["run"] / "report.html").stat().st_size > 10_000


@pytest.mark.nightly  # by day two arms are asked this
def test_mixed_arms_have_the_same_bits_for_any_number_of_workers(tmp_path):
    words = ("compare", "digits", "--model", "linear", "--folds", "1", "--seeds", "3", "--epochs", "2", "-q")
    words = (*words, "--arm", "onehot", "--arm", "mixup:0.2")
    for workers in ("1", "2"):
        ran = run_sfumato(*words, "--workers", workers, "--out", f"run{workers}", folder=tmp_path)
        assert ran.code == 0, ran.err
    one, two = (sorted((tmp_path / f"run{n}" / "weights").iterdir()) for n in (1, 2))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
