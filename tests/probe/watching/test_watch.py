"""Planted faults, each named, and right set-ups, none of which raises an alarm; in plain loops."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sfumato as sf
from sfumato.probe import Watched
from tests.probe.losses import assert_frozen, codes, text_of
from tests.probe.watching.loops import (
    K,
    V,
    alarms,
    classifier,
    counted,
    language,
    loop,
    next_token,
    smoothed,
    table,
    text,
)  # fmt: skip


def of_rows(z: Tensor, y: Tensor, step: Any) -> Tensor:
    """The right loss of a batch: its sum, over the rows that count in the whole step."""
    return smoothed(z, y, reduction="sum") / counted(step)


def clipped(model: nn.Module) -> None:
    nn.utils.clip_grad_norm_(model.parameters(), 0.05)


def scaled_by(*factors: float) -> Any:
    """What multiplies the gradients after the backward passes, another number in each step."""
    left = list(factors)

    def scale(model: nn.Module) -> None:
        factor = left.pop(0)
        for parameter in model.parameters():
            parameter.grad *= factor

    return scale


def handed(loss: Any, label_smoothing: float = 0.1, **how: Any) -> Any:
    """A loop that was given a strength."""
    return loop(table(), lambda z, y, step: loss(z, y, label_smoothing), **how)


def leaking(z: Tensor, y: Tensor, step: Any) -> Tensor:
    """Ignored rows are left out of the labels' term and not of the smoothing's."""
    log = z.log_softmax(1)
    return 0.9 * F.nll_loss(log, y) - 0.1 * log.mean(1).sum() / (y != -100).sum()


def smoothed_twice(z: Tensor, y: Tensor, label_smoothing: float) -> Tensor:
    q = F.one_hot(y.clamp(min=0), K) * (1 - label_smoothing) + label_smoothing / K
    return F.cross_entropy(z[y >= 0], q[y >= 0], label_smoothing=label_smoothing)


def padded_ids(z: Tensor, batch: dict[str, Tensor]) -> Tensor:
    return next_token(z, batch["input_ids"], label_smoothing=0.1)


def each_sequence(z: Tensor, batch: dict[str, Tensor]) -> Tensor:
    return torch.stack([next_token(z[i, None], batch["labels"][i, None]) for i in range(len(z))]).mean()


def with_head(last: nn.Module) -> nn.Module:
    return nn.Sequential(classifier(), last)


WEIGHTS = torch.linspace(0.5, 2, K)
PRIOR = torch.arange(1.0, K + 1) / sum(range(1, K + 1))
EPS = pytest.approx(0.1, abs=1e-3)
others = sf.CrossEntropyLoss(label_smoothing=0.1, over="others")
THREE = table(2, 3)
FAULTS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "the strength has no effect": (lambda: handed(lambda z, y, eps: F.cross_entropy(z, y)),
        "defect: argument-without-effect", {"eps": 0.0}),
    "labels are smoothed twice": (lambda: handed(smoothed_twice), "defect: smoothed-twice",
        {"eps": pytest.approx(0.19, abs=1e-3)}),
    "another strength arrives": (lambda: handed(lambda z, y, eps: smoothed(z, y, 0.3)), "warning: other-strength",
        {"eps": pytest.approx(0.3, abs=1e-3)}),
    "the other convention": (
        lambda: handed(lambda z, y, eps: sf.cross_entropy(z, y, label_smoothing=eps, over="others")),
        "warning: other-convention", {"eps_others": EPS, "eps": pytest.approx(0.1 * K / (K - 1), abs=1e-3)}),
    "a mean of means": (lambda: loop(THREE, lambda z, y, step: smoothed(z, y) / 3), "warning: mean-of-means",
        {"eps": EPS, "normaliser": "micro-batches"}),
    "divided twice": (lambda: loop(THREE, lambda z, y, step: of_rows(z, y, step) / 3), "defect: divided-twice",
        {"eps": EPS, "normaliser": "twice"}),
    "never divided by the accumulation": (lambda: loop(THREE, lambda z, y, step: smoothed(z, y)),
        "defect: not-divided", {"eps": EPS, "normaliser": "twice"}),
    "a mean divided by the rows again": (lambda: loop(table(), lambda z, y, step: smoothed(z, y) / (y != -100).sum()),
        "defect: divided-twice", {"normaliser": "twice"}),
    "divided again after the backward passes": (lambda: loop(THREE, of_rows, after=scaled_by(1 / 3, 1 / 3)),
        "defect: divided-twice", {"normaliser": "twice"}),
    "ignored rows count in the mean": (
        lambda: loop(table(), lambda z, y, step: smoothed(z, y, reduction="none").mean()),
        "defect: ignored-rows-in-mean", {"eps": EPS}),
    "ignored rows get the smoothing": (lambda: loop(table(), leaking), "defect: ignored-rows-smoothed", {"eps": EPS}),
    "evaluation is smoothed": (lambda: loop(table(), of_rows, evaluate=smoothed), "warning: evaluation-smoothed",
        {"evaluation_eps": EPS}),
    "padding is trained on": (lambda: language(padded_ids), "defect: padding-trained",
        {"eps": EPS, "normaliser": "rows"}),
    "labels are not shifted": (lambda: language(lambda z, b: F.cross_entropy(z.flatten(0, 1), b["labels"].flatten())),
        "warning: labels-not-shifted", {"eps": 0.0}),
    "labels are shifted twice": (lambda: language(lambda z, b: next_token(z[:, :-1], b["labels"][:, 1:])),
        "defect: labels-shifted-twice", {"eps": 0.0}),
    "a mean of each sequence": (lambda: language(each_sequence), "warning: mean-of-sequences",
        {"normaliser": "micro-batches"}),
    "the mean counts ignored tokens": (
        lambda: language(lambda z, b: next_token(z, b["labels"], reduction="none").mean()),
        "defect: ignored-rows-in-mean", {"eps": 0.0}),
    "gradients are never cleared": (lambda: loop(table(3), of_rows, clear=False), "defect: gradients-not-cleared",
        {"eps": EPS}),
    "a softmax too many": (lambda: loop(table(), of_rows, model=with_head(nn.Softmax(1))), "defect: softmax-twice",
        {"eps": EPS}),
    "a softmax too many, in the loss": (lambda: loop(table(), lambda z, y, step: smoothed(z.softmax(1), y)),
        "defect: softmax-twice-in-loss", {"eps": EPS, "normaliser": "rows"}),
    "the target loses mass": (lambda: loop(table(), lambda z, y, step: 0.99 * of_rows(z, y, step)),
        "defect: total-mass", {"mass": pytest.approx(0.99, abs=1e-3)}),
    "negative smoothing": (
        lambda: loop(table(ignored=False), lambda z, y, step: F.cross_entropy(z, 1.2 * F.one_hot(y, K) - 0.2 / K)),
        "defect: negative-smoothing", {"eps": -0.2}),
    "the loss is cut from the model": (
        lambda: loop(table(), lambda z, y, step: of_rows(z.detach().requires_grad_(), y, step)), "defect: no-gradient",
        {"eps": None}),
    "the last step is incomplete": (
        lambda: loop([*table(3, 2, ignored=False), *table(1, ignored=False)], lambda z, y, step: smoothed(z, y) / 2),
        "warning: divisor-changes", {"eps": EPS, "normaliser": "rows"}),
}  # fmt: skip


FROZEN = Path(__file__).with_name("frozen.json")


def assert_run_is_frozen(name: str, seen: Watched) -> None:
    told = seen.to_dict()
    numbers = {key: told[key] for key in ("eps_others", "mass", "steps", "rows", "ignored", "micro_batches")}
    near = {key: float(f"{value:.3g}") if isinstance(value, float) else value for key, value in numbers.items()}
    assert_frozen(FROZEN, name, {**near, "codes": codes(seen.findings)})


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(name):
    run, code, values = FAULTS[name]
    seen = run()
    assert code in codes(seen.findings), str(seen)
    assert {key: getattr(seen, key) for key in values} == values
    assert_run_is_frozen(name, seen)


@pytest.mark.parametrize(
    ("name", "code", "counts"),
    [
        ("padding is trained on", "padding-trained", "12 of 64 rows"),
        ("ignored rows count in the mean", "ignored-rows-in-mean", "all 12 rows, and only 10"),
        ("ignored rows get the smoothing", "ignored-rows-smoothed", "4 rows"),
        ("the last step is incomplete", "divisor-changes", "1 pass, and is divided as if it had 2"),
    ],
)
def test_the_rows_of_a_fault_are_counted(name, code, counts):
    assert counts in text_of(FAULTS[name][0]().findings, code)


def mixed(z: Tensor, y: Tensor, step: Any) -> Tensor:
    return 0.7 * smoothed(z, y) + 0.3 * smoothed(z, y.roll(1))


def spelled(z: Tensor, y: Tensor) -> Tensor:
    """A smoothed loss by hand, as many projects have it."""
    log = z.log_softmax(-1)
    own, every = -log.gather(-1, y.clamp(min=0)[:, None]).squeeze(1), -log.mean(-1)
    return (0.9 * own + 0.1 * every)[y >= 0].mean()


def of_probabilities(z: Tensor, y: Tensor, step: Any) -> Tensor:
    return F.nll_loss(z.log(), y)


def by_prior(z: Tensor, y: Tensor, step: Any) -> Tensor:
    return sf.cross_entropy(z, sf.smooth_prior(y, PRIOR, 0.1))


def focal(z: Tensor, y: Tensor, step: Any) -> Tensor:
    nll = F.cross_entropy(z, y, reduction="none")
    return ((1 - (-nll).exp()) ** 2 * nll).mean()


def sure(eps: float, before: float = 0.0) -> Any:
    """Two steps of a model that has learned its rows already, with another strength."""
    model, ((x, y),) = classifier(), table(1)[0]
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(600):
        optimiser.zero_grad()
        smoothed(model(x), y, before).backward()
        optimiser.step()
    return loop([[(x, y)]] * 2, lambda z, y, step: smoothed(z, y, eps), model=model)


RIGHT: dict[str, tuple[Any, dict[str, Any]]] = {
    "a plain mean": (lambda: loop(table(), lambda z, y, step: smoothed(z, y)), {"eps": EPS, "normaliser": "rows"}),
    "hard labels": (lambda: loop(table(), lambda z, y, step: F.cross_entropy(z, y)),
        {"eps": 0.0, "normaliser": "rows"}),
    "the strength that was given": (lambda: handed(smoothed), {"eps": EPS}),
    "over the others, and it says so": (lambda: loop(table(), lambda z, y, step: others(z, y)), {"eps_others": EPS}),
    "accumulation over all rows": (lambda: loop(THREE, of_rows), {"normaliser": "rows", "mass": 1.0}),
    "accumulation over eight": (lambda: loop(table(2, 8, rows=40), of_rows), {"normaliser": "rows"}),
    "means of equal micro-batches": (lambda: loop(table(2, 3, ignored=False), lambda z, y, step: smoothed(z, y) / 3),
        {"normaliser": "rows"}),
    "a sum that is divided before the step": (
        lambda: loop(table(2, 2), lambda z, y, step: smoothed(z, y, reduction="sum"), after=scaled_by(1 / 17, 1 / 17)),
        {"normaliser": "rows"}),
    "a sum": (lambda: loop(THREE, lambda z, y, step: smoothed(z, y, reduction="sum")), {"normaliser": "sum"}),
    "clipping": (lambda: loop(THREE, of_rows, after=clipped), {"normaliser": "rows", "mass": 1.0}),
    "evaluation by the log loss": (lambda: loop(table(), of_rows, evaluate=F.cross_entropy), {"evaluation_eps": 0.0}),
    "evaluation without a loss": (lambda: loop(table(), of_rows, evaluate=lambda z, y: z.argmax(1)),
        {"evaluation_eps": None}),
    "a loss by hand": (lambda: loop(table(), lambda z, y, step: spelled(z, y), evaluate=F.cross_entropy), {"eps": EPS}),
    "a language model": (lambda: language(lambda z, b: next_token(z, b["labels"], label_smoothing=0.1)),
        {"eps": EPS, "normaliser": "rows"}),
    "classes on the second axis": (
        lambda: language(lambda z, b: smoothed(z[:, :-1].transpose(1, 2), b["labels"][:, 1:])),
        {"eps": EPS, "normaliser": "rows", "classes": V}),
    "class weights": (lambda: loop(table(), lambda z, y, step: F.cross_entropy(z, y, WEIGHTS)),
        {"eps": 0.0, "normaliser": "rows"}),
    "class weights beside a strength": (
        lambda: loop(table(rows=40), lambda z, y, step: F.cross_entropy(z, y, WEIGHTS, label_smoothing=0.1)),
        {"eps": EPS, "normaliser": "rows"}),
    "a strength towards a prior": (
        lambda: loop(table(rows=40, ignored=False), by_prior),
        {"eps": EPS, "normaliser": "rows"}),
    "mixup": (lambda: loop(table(ignored=False), mixed), {"eps": EPS, "normaliser": "rows"}),
    "probabilities whose logarithm is taken": (lambda: loop(table(), of_probabilities, model=with_head(nn.Softmax(1))),
        {"eps": 0.0, "normaliser": "rows"}),
    "log-probabilities": (lambda: loop(table(), lambda z, y, step: F.nll_loss(z, y), model=with_head(nn.LogSoftmax(1))),
        {"eps": 0.0}),
    "a temperature": (lambda: loop(table(), lambda z, y, step: smoothed(z / 3, y)),
        {"eps": EPS, "normaliser": "rows", "mass": pytest.approx(1.0, abs=1e-3)}),
    "a z-loss": (lambda: loop(table(), lambda z, y, step: smoothed(z, y) + 0.01 * z.logsumexp(1).square().mean()),
        {"eps": EPS, "normaliser": "rows"}),
    "a small penalty on the logits": (
        lambda: loop(table(ignored=False), lambda z, y, step: smoothed(z, y) + 1e-4 * z.square().mean()),
        {"eps": EPS, "normaliser": "rows"}),
    "a model that is sure, and hard labels": (lambda: sure(0.0), {"eps": 0.0, "normaliser": "rows"}),
    "a model that is sure, and a strength": (lambda: sure(0.1), {"eps": EPS, "normaliser": "rows"}),
    "a model at its optimum": (lambda: sure(0.1, 0.1), {"eps": EPS, "normaliser": "rows"}),
    "soft labels": (lambda: loop(table(), lambda z, y, step: F.cross_entropy(z, z.detach().flip(1).softmax(1))),
        {"eps": None}),
    "focal loss": (
        lambda: loop(table(), focal),
        {}),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_set_up_raises_no_alarm(name):
    run, values = RIGHT[name]
    seen = run()
    assert alarms(seen) == []
    assert {key: getattr(seen, key) for key in values} == values
    assert_run_is_frozen(name, seen)


def test_segmentation_with_the_classes_second_is_read_pixel_by_pixel():
    torch.manual_seed(0)
    model = nn.Conv2d(3, 5, 1)
    y = torch.randint(0, 5, (2, 4, 6))
    y[0, 0] = 255
    pictures = torch.randn(2, 3, 4, 6)
    loss = functools.partial(F.cross_entropy, ignore_index=255, label_smoothing=0.1)
    seen = loop([[(pictures, y)]] * 2, lambda z, y, step: loss(z, y), model=model)
    assert (seen.eps, seen.normaliser, seen.classes, seen.ignored) == (EPS, "rows", 5, 12)


def test_a_strength_that_changes_from_step_to_step_is_told_as_a_range():
    strengths = iter([0.05, 0.2])
    seen = loop(table(), lambda z, y, step: smoothed(z, y, next(strengths)))
    assert "from 0.05 to 0.2" in text_of(seen.findings, "strength-varies")


def test_padding_is_known_by_the_token_of_the_configuration_where_there_is_no_mask():
    from sfumato.probe import watch
    from tests.probe.watching.loops import tokens

    model = tokens()
    model.config = type("Config", (), {"pad_token_id": 0})()
    batch = text(1)[0]
    with watch(model) as seen:
        next_token(model(batch["input_ids"]), batch["input_ids"]).backward()
    assert "defect: padding-trained" in codes(seen.findings)


def penalised(z: Tensor, y: Tensor, step: Any) -> Tensor:
    return F.cross_entropy(z, y) + 0.5 * (z.softmax(1) * z.log_softmax(1)).sum(1).mean()


def of_sigmoids(z: Tensor, y: Tensor, step: Any) -> Tensor:
    return F.binary_cross_entropy_with_logits(z, F.one_hot(y.clamp(min=0), K).float())


@pytest.mark.parametrize(
    ("loss", "eps", "code"), [(penalised, None, "targets-of-many-levels"), (of_sigmoids, 0.0, "output-form")]
)
def test_hard_labels_of_another_loss_are_not_taken_for_soft_ones_alone(loss, eps, code):
    seen = loop(table(ignored=loss is penalised), loss)
    assert (seen.eps, codes(seen.findings)) == (eps, [f"note: {code}"])
