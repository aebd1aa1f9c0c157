"""Training set-ups for ``watch``: right ones, in which nothing is wrong, and planted faults, each with the codes of the
findings that name it. ``benchmarks/watch.py --cases`` counts what is reported; a test runs each set-up with one seed.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sfumato.probe import Watched, watch

K, INPUTS = 6, 5
EPS = 0.1

Run = Callable[[], Watched]


class Case(NamedTuple):
    """A set-up, and what is true of it."""

    run: Run
    paragraph: str
    codes: tuple[str, ...] = ()  # findings that name the fault, any of them; none where the set-up is right
    also: tuple[str, ...] = ()  # further defects and warnings that are true of the set-up
    eps: float | None = EPS  # the true strength; None where no single one is true
    steps: int | None = None  # how many steps were taken, and of how many backward passes each, where that is checked
    passes: int | None = None


CASES: dict[str, Case] = {}


def case(name: str, paragraph: str, *codes: str, also: tuple[str, ...] = (), **true: Any) -> Any:
    """Register a set-up under a name, and what is true of it."""

    def register(run: Run) -> Run:
        CASES[name] = Case(run, paragraph, codes, also, **true)
        return run

    return register


def false_statements(one: Case, seen: Watched) -> list[str]:
    """What a result claims that is not true of a set-up: alarms, and a strength."""
    alarms = [f.code for f in seen.findings if f.level != "note"]
    wrong = [code for code in alarms if code not in one.codes + one.also]
    if one.eps is not None and seen.eps is not None and abs(seen.eps - one.eps) > 2e-3:
        wrong.append(f"eps {seen.eps:.4g}")
    wrong += [f"{seen.steps} steps"] if one.steps not in (None, seen.steps) else []
    wrong += [f"{seen.micro_batches} passes"] if one.passes not in (None, seen.micro_batches) else []
    return wrong


def is_named(one: Case, seen: Watched) -> bool:
    """Whether a finding names the fault of a set-up."""
    return any(f.code in one.codes for f in seen.findings)


# What set-ups are made of.


def net(classes: int = K, *, dropout: float = 0.0, norm: bool = False, inputs: int = INPUTS) -> nn.Sequential:
    body: list[nn.Module] = [nn.Linear(inputs, 8), nn.BatchNorm1d(8) if norm else nn.Identity(), nn.Tanh()]
    return nn.Sequential(*body, nn.Dropout(dropout), nn.Linear(8, classes))


def sgd(parameters: Any, **how: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, **{"lr": 0.1, **how})


def smoothed(z: Tensor, y: Tensor, **how: Any) -> Tensor:
    return F.cross_entropy(z, y, label_smoothing=EPS, **how)


def batches(steps: int = 3, rows: int = 24, classes: int = K, inputs: int = INPUTS) -> Iterator[tuple[Tensor, Tensor]]:
    for _ in range(steps):
        yield torch.randn(rows, inputs), torch.randint(0, classes, (rows,))


def update(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def plain(
    loss: Callable[[Tensor, Tensor], Tensor] = smoothed,
    model: nn.Module | None = None,
    optimiser: torch.optim.Optimizer | None = None,
    *,
    data: Any = None,
    **how: Any,
) -> Watched:
    """A plain loop."""
    model = net() if model is None else model
    optimiser = sgd(model.parameters()) if optimiser is None else optimiser
    with watch(model, **how) as seen:
        for x, y in batches() if data is None else data:
            update(optimiser, loss(model(x), y))
    return seen


def with_step(step: Callable[[Any, torch.optim.Optimizer, Tensor, Tensor], Any], **how: Any) -> Watched:
    """A loop with a step of its own."""
    model = how.pop("model", None) or net()
    optimiser = how.pop("optimiser", None) or sgd(model.parameters())
    with watch(model) as seen:
        for x, y in how.pop("data", None) or batches():
            step(model, optimiser, x, y)
    return seen


def learned(rows: int = 96, classes: int = K, seed: int = 3) -> tuple[nn.Module, Tensor, Tensor]:
    """A model that has learned its rows, and the rows."""
    torch.manual_seed(seed)
    centres = 3 * torch.randn(classes, INPUTS)
    y = torch.randint(0, classes, (rows,))
    x = centres[y] + 0.3 * torch.randn(rows, INPUTS)
    model = net(classes)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.03)
    for _ in range(150):
        update(optimiser, F.cross_entropy(model(x), y))
    return model, x, y


# 1. False alarms: parameters that no optimiser holds, and passes that reach no parameter.

ALARMS = "parameters and passes that do not count"


@case("linear probing, the head alone in the optimiser", ALARMS)
def _() -> Watched:
    model = net()
    return plain(model=model, optimiser=sgd(model[-1].parameters()))


@case("linear probing, the backbone frozen", ALARMS)
def _() -> Watched:
    model = net()
    model[0].requires_grad_(False)
    return plain(model=model, optimiser=sgd(model[-1].parameters()))


@case("linear probing on detached features", ALARMS)
def _() -> Watched:
    class Probe(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(INPUTS, 8), nn.Linear(8, K)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x).detach())

    return plain(model=Probe())


@case("linear probing with accumulation", ALARMS, steps=3, passes=2)
def _() -> Watched:
    model = net()
    optimiser = sgd(model[-1].parameters())
    with watch(model) as seen:
        for _ in range(3):
            optimiser.zero_grad()
            for x, y in batches(2):
                (smoothed(model(x), y) / 2).backward()
            optimiser.step()
    return seen


@case("biases alone in the optimiser", ALARMS)
def _() -> Watched:
    model = net()
    return plain(model=model, optimiser=sgd([p for name, p in model.named_parameters() if "bias" in name]))


@case("two optimisers, of the backbone and of the head", ALARMS)
def _() -> Watched:
    model = net()
    both = sgd(model[0].parameters()), sgd(model[-1].parameters(), lr=1.0)

    def step(model: Any, _: Any, x: Tensor, y: Tensor) -> None:
        model.zero_grad()
        smoothed(model(x), y).backward()
        for each in both:
            each.step()

    return with_step(step, model=model, optimiser=both[0])


@case("the head unfrozen first, then everything", ALARMS)
def _() -> Watched:
    model = net()
    head, whole = sgd(model[-1].parameters()), sgd(model.parameters())
    with watch(model) as seen:
        for i, (x, y) in enumerate(batches(4)):
            model.zero_grad()
            smoothed(model(x), y).backward()
            (head if i < 2 else whole).step()
    return seen


def attack(
    model: Any, x: Tensor, y: Tensor, loss: Any = F.cross_entropy, *, steps: int = 1, size: float = 0.1
) -> Tensor:
    for _ in range(steps):
        x = x.detach().requires_grad_()
        (g,) = torch.autograd.grad(loss(model(x), y), x)
        x = x + size * g.sign()
    return x.detach()


@case("adversarial training, one step of attack", ALARMS)
def _() -> Watched:
    return with_step(lambda m, o, x, y: update(o, smoothed(m(attack(m, x, y)), y)))


@case("adversarial training, five steps of attack", ALARMS, steps=3, passes=1)
def _() -> Watched:
    return with_step(lambda m, o, x, y: update(o, smoothed(m(attack(m, x, y, steps=5)), y)))


@case("adversarial training, an attack by the summed loss", ALARMS)
def _() -> Watched:
    summed = lambda z, y: F.cross_entropy(z, y, reduction="sum")  # noqa: E731
    return with_step(lambda m, o, x, y: update(o, smoothed(m(attack(m, x, y, summed)), y)))


@case("adversarial training, gradients of the input by backward", ALARMS, steps=3, passes=1)
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        x = x.requires_grad_()
        F.cross_entropy(model(x), y).backward()
        update(optimiser, smoothed(model((x + 0.1 * x.grad.sign()).detach()), y))

    return with_step(step)


@case("virtual adversarial training", ALARMS, eps=None)
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        with torch.no_grad():
            p = model(x).softmax(1)
        d = (1e-2 * torch.randn_like(x)).requires_grad_()
        (g,) = torch.autograd.grad(F.kl_div(model(x + d).log_softmax(1), p, reduction="batchmean"), d)
        far = F.kl_div(model(x + g / g.norm()).log_softmax(1), p, reduction="batchmean")
        update(optimiser, smoothed(model(x), y) + far)

    return with_step(step)


@case("a gradient penalty on the input", ALARMS, eps=None)
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        x = x.requires_grad_()
        loss = smoothed(model(x), y)
        (g,) = torch.autograd.grad(loss, x, create_graph=True)
        update(optimiser, loss + 0.1 * g.square().sum(1).mean())

    return with_step(step)


@case("saliency maps between the steps", ALARMS)
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        update(optimiser, smoothed(model(x), y))
        x = x.requires_grad_()
        torch.autograd.grad(model(x).amax(1).sum(), x)

    return with_step(step)


@case("gradients by autograd.grad, assigned by hand", ALARMS)
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        gradients = torch.autograd.grad(smoothed(model(x), y), list(model.parameters()))
        for p, g in zip(model.parameters(), gradients, strict=True):
            p.grad = g
        optimiser.step()

    return with_step(step)


WEIGHTS = torch.linspace(0.3, 2.5, K)


@case("class weights and smoothing", ALARMS)
def _() -> Watched:
    return plain(lambda z, y: smoothed(z, y, weight=WEIGHTS), data=batches(4, 40))


@case("class weights and smoothing, few rows", ALARMS)
def _() -> Watched:
    return plain(lambda z, y: smoothed(z, y, weight=WEIGHTS), data=batches(4, 14))


@case("class weights without smoothing", ALARMS, eps=0.0)
def _() -> Watched:
    return plain(lambda z, y: F.cross_entropy(z, y, weight=WEIGHTS), data=batches(4, 14))


@case("class weights, smoothing and ignored rows", ALARMS)
def _() -> Watched:
    data = [(x, y.where(torch.rand(40) > 0.2, -100)) for x, y in batches(4, 40)]
    return plain(lambda z, y: smoothed(z, y, weight=WEIGHTS), data=data)


@case("balanced class weights of rare classes", ALARMS)
def _() -> Watched:
    weight = torch.tensor([0.1, 0.1, 0.2, 1.0, 5.0, 20.0])
    return plain(lambda z, y: smoothed(z, y, weight=weight), data=batches(4, 30))


@case("row weights", ALARMS)
def _() -> Watched:
    return plain(lambda z, y: (smoothed(z, y, reduction="none") * torch.rand(len(z))).mean())


# 2. Missed: ascent, a forgotten head, another optimiser, several passes a step.

MISSED = "ascent, optimisers and passes"


@case("gradient ascent", MISSED, "gradient-ascent")
def _() -> Watched:
    return plain(lambda z, y: -smoothed(z, y))


@case("gradient ascent on hard labels", MISSED, "gradient-ascent", eps=0.0)
def _() -> Watched:
    return plain(lambda z, y: F.log_softmax(z, 1).gather(1, y[:, None]).mean())


@case("gradient ascent by maximize", MISSED, "gradient-ascent")
def _() -> Watched:
    model = net()
    return plain(model=model, optimiser=sgd(model.parameters(), maximize=True))


@case("gradient ascent of two classes", MISSED, "gradient-ascent")
def _() -> Watched:
    return plain(lambda z, y: -smoothed(z, y), net(2), data=batches(classes=2))


@case("gradient ascent with accumulation", MISSED, "gradient-ascent")
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        optimiser.zero_grad()
        for rows in (slice(0, 12), slice(12, 24)):
            (-smoothed(model(x[rows]), y[rows]) / 2).backward()
        optimiser.step()

    return with_step(step)


@case("gradient ascent, gradients turned round after the pass", MISSED, "gradient-ascent")
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        optimiser.zero_grad()
        smoothed(model(x), y).backward()
        for p in model.parameters():
            p.grad.neg_()
        optimiser.step()

    return with_step(step)


@case("the log likelihood, maximised", MISSED)
def _() -> Watched:
    model = net()
    return plain(lambda z, y: -smoothed(z, y), model, sgd(model.parameters(), maximize=True))


@case("the head forgotten in the optimiser", MISSED, "parameters-not-held")
def _() -> Watched:
    model = net()
    return plain(model=model, optimiser=sgd(model[0].parameters()))


@case("the head replaced after the optimiser was made", MISSED, "parameters-not-held")
def _() -> Watched:
    model = net()
    optimiser = sgd(model.parameters())
    model[-1] = nn.Linear(8, K)
    return plain(model=model, optimiser=optimiser)


@case("the head forgotten, and the model cleared", MISSED, "parameters-not-held")
def _() -> Watched:
    model = net()

    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        model.zero_grad()
        smoothed(model(x), y).backward()
        optimiser.step()

    return with_step(step, model=model, optimiser=torch.optim.Adam(model[0].parameters()))


@case("the head forgotten, with accumulation", MISSED, "parameters-not-held")
def _() -> Watched:
    model = net()
    optimiser = sgd(model[0].parameters())
    with watch(model) as seen:
        for _ in range(3):
            optimiser.zero_grad()
            for x, y in batches(2):
                (smoothed(model(x), y) / 2).backward()
            optimiser.step()
    return seen


@case("an optimiser of another model", MISSED, "optimiser-of-other-parameters")
def _() -> Watched:
    return plain(optimiser=sgd(net().parameters()))


@case("an optimiser of a copy", MISSED, "optimiser-of-other-parameters")
def _() -> Watched:
    model = net()
    return plain(model=model, optimiser=sgd(copy.deepcopy(model).parameters()))


@case("an optimiser of another model, with accumulation", MISSED, "optimiser-of-other-parameters")
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        for rows in (slice(0, 12), slice(12, 24)):
            (smoothed(model(x[rows]), y[rows]) / 2).backward()
        optimiser.step()
        optimiser.zero_grad()

    return with_step(step, optimiser=sgd(net().parameters()))


@case("an optimiser of another model, and the model cleared", MISSED, "optimiser-of-other-parameters")
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        model.zero_grad()
        smoothed(model(x), y).backward()
        optimiser.step()

    return with_step(step, optimiser=torch.optim.Adam(net().parameters()))


def climb(model: Any, rho: float = 0.05) -> list[Tensor]:
    """The first half of SAM: to the worst weights nearby."""
    norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    moves = [rho * p.grad / norm for p in model.parameters()]
    with torch.no_grad():
        for p, move in zip(model.parameters(), moves, strict=True):
            p.add_(move)
    return moves


@torch.no_grad()
def descend(model: Any, moves: list[Tensor]) -> None:
    for p, move in zip(model.parameters(), moves, strict=True):
        p.sub_(move)


@case("SAM", MISSED, steps=3, passes=1)
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        smoothed(model(x), y).backward()
        moves = climb(model)
        optimiser.zero_grad()
        smoothed(model(x), y).backward()
        descend(model, moves)
        optimiser.step()
        optimiser.zero_grad()

    return with_step(step)


@case("SAM as an optimiser", MISSED, steps=3, passes=1)
def _() -> Watched:
    class Sam(torch.optim.Optimizer):
        def __init__(self, model: Any) -> None:
            self.model, self.base = model, sgd(model.parameters())
            super().__init__(model.parameters(), {"lr": 0.1})

        @torch.no_grad()
        def step(self, closure: Any) -> None:
            moves = climb(self.model)
            self.zero_grad()
            with torch.enable_grad():
                closure()
            descend(self.model, moves)
            self.base.step()

    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        optimiser.zero_grad()
        smoothed(model(x), y).backward()
        optimiser.step(lambda: smoothed(model(x), y).backward())

    model = net()
    return with_step(step, model=model, optimiser=Sam(model))


@case("SAM with accumulation", MISSED, steps=3, passes=2)
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        moves: list[Tensor] = []
        for half in range(2):
            optimiser.zero_grad()
            for rows in (slice(0, 12), slice(12, 24)):
                (smoothed(model(x[rows]), y[rows]) / 2).backward()
            if half == 0:
                moves = climb(model)
        descend(model, moves)
        optimiser.step()

    return with_step(step)


def symmetric(a: Tensor, b: Tensor) -> Tensor:
    p, q = a.log_softmax(1), b.log_softmax(1)
    return (F.kl_div(p, q.exp(), reduction="batchmean") + F.kl_div(q, p.exp(), reduction="batchmean")) / 2


@case("R-drop", MISSED, eps=None, steps=3, passes=1)
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        a, b = model(x), model(x)
        update(optimiser, (smoothed(a, y) + smoothed(b, y)) / 2 + symmetric(a, b))

    return with_step(step, model=net(dropout=0.3))


@case("R-drop, both losses added", MISSED, eps=None)
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        a, b = model(x), model(x)
        update(optimiser, smoothed(a, y) + smoothed(b, y) + 4 * symmetric(a, b))

    return with_step(step, model=net(dropout=0.3))


@case("R-drop, both halves in one call", MISSED, eps=None)
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        z = model(torch.cat([x, x]))
        a, b = z.chunk(2)
        update(optimiser, smoothed(z, torch.cat([y, y])) + symmetric(a, b))

    return with_step(step, model=net(dropout=0.3))


@case("two views of each row, both losses added", MISSED, steps=3, passes=1)
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        update(optimiser, smoothed(model(x), y) + smoothed(model(x + 0.1), y))

    return with_step(step)


@case("two views of each row, one backward pass each", MISSED, steps=3, passes=2)
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        optimiser.zero_grad()
        (smoothed(model(x), y) / 2).backward()
        (smoothed(model(x + 0.1), y) / 2).backward()
        optimiser.step()

    return with_step(step)


@case("clean and adversarial rows, weighted in one loss", MISSED)
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        update(optimiser, smoothed(model(x), y) + 0.5 * smoothed(model(attack(model, x, y)), y))

    return with_step(step)


# 3. Worth naming.

NAMED = "worth naming"


@case("learning rate 0", NAMED, "learning-rate-zero")
def _() -> Watched:
    model = net()
    return plain(model=model, optimiser=sgd(model.parameters(), lr=0.0))


@case("learning rate 0 by a schedule", NAMED, "learning-rate-zero")
def _() -> Watched:
    model = net()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 0.0)
    return plain(model=model, optimiser=optimiser)


@case("learning rate 0 in both groups", NAMED, "learning-rate-zero")
def _() -> Watched:
    model = net()
    groups = [{"params": model[0].parameters(), "lr": 0.0}, {"params": model[-1].parameters(), "lr": 0.0}]
    return plain(model=model, optimiser=sgd(groups))


@case("a warm-up that begins at learning rate 0", NAMED)
def _() -> Watched:
    model = net()
    optimiser = sgd(model.parameters())
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: step / 10)

    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        update(optimiser, smoothed(model(x), y))
        schedule.step()

    return with_step(step, model=model, optimiser=optimiser)


@case("a backbone held at learning rate 0", NAMED)
def _() -> Watched:
    model = net()
    groups = [{"params": model[0].parameters(), "lr": 0.0}, {"params": model[-1].parameters()}]
    return plain(model=model, optimiser=sgd(groups))


def evaluated(
    model: nn.Module, judge: Callable[[Tensor, Tensor], Any], *, training: bool = False, mode: Any = torch.no_grad
) -> Watched:
    optimiser = sgd(model.parameters())
    with watch(model) as seen:
        for x, y in batches():
            update(optimiser, smoothed(model(x), y))
            model.train(training)
            with mode():
                judge(model(x), y)
            model.train()
    return seen


@case("evaluation with dropout active", NAMED, "evaluation-in-training-mode")
def _() -> Watched:
    return evaluated(net(dropout=0.3), F.cross_entropy, training=True)


@case("evaluation with batch norm active", NAMED, "evaluation-in-training-mode")
def _() -> Watched:
    return evaluated(net(norm=True), F.cross_entropy, training=True, mode=torch.inference_mode)


@case("a smoothed evaluation with dropout active", NAMED, "evaluation-in-training-mode", also=("evaluation-smoothed",))
def _() -> Watched:
    return evaluated(net(dropout=0.3), smoothed, training=True)


@case("accuracy with dropout active", NAMED, "evaluation-in-training-mode", "called-in-training-mode")
def _() -> Watched:
    return evaluated(net(dropout=0.3), lambda z, y: (z.argmax(1) == y).float().mean(), training=True)


@case("evaluation with dropout off", NAMED)
def _() -> Watched:
    return evaluated(net(dropout=0.3, norm=True), F.cross_entropy)


@case("evaluation in training mode of a model to which modes are alike", NAMED)
def _() -> Watched:
    return evaluated(net(), F.cross_entropy, training=True)


@case("Monte Carlo dropout on purpose", NAMED)
def _() -> Watched:
    model = net(dropout=0.3)
    optimiser = sgd(model.parameters())
    with watch(model) as seen:
        for x, y in batches():
            update(optimiser, smoothed(model(x), y))
            model.eval()
            model[3].train()
            with torch.no_grad():
                F.nll_loss(torch.stack([model(x).softmax(1) for _ in range(4)]).mean(0).log(), y)
            model.train()
    return seen


@case("batch norm's statistics renewed without gradients", NAMED)
def _() -> Watched:
    return evaluated(net(norm=True), lambda z, y: None, training=True)


@case("labels of the same inputs drawn anew", NAMED, "labels-differ")
def _() -> Watched:
    x, y = next(batches())
    return plain(data=[(x, y[torch.randperm(len(y))]) for _ in range(3)])


@case("labels shuffled against the rows of a trained model", NAMED, "labels-in-another-order")
def _() -> Watched:
    model, x, y = learned()
    return plain(model=model, data=[(x[i : i + 32], y[i : i + 32][torch.randperm(32)]) for i in (0, 32, 64)])


@case("labels shifted by one row, of a trained model", NAMED, "labels-in-another-order")
def _() -> Watched:
    model, x, y = learned()
    return plain(model=model, data=[(x[i : i + 32], y[i : i + 32].roll(1)) for i in (0, 32, 64)])


@case("labels sorted, of a trained model", NAMED, "labels-in-another-order")
def _() -> Watched:
    model, x, y = learned()
    return plain(model=model, data=[(x[i : i + 32], y[i : i + 32].sort().values) for i in (0, 32, 64)])


@case("a trained model on its rows", NAMED)
def _() -> Watched:
    model, x, y = learned()
    return plain(model=model, data=[(x[i : i + 32], y[i : i + 32]) for i in (0, 32, 64)])


@case("a trained model, one label in five noisy", NAMED)
def _() -> Watched:
    model, x, y = learned()
    y = y.where(torch.rand(len(y)) > 0.2, torch.randint(0, K, (len(y),)))
    return plain(model=model, data=[(x[i : i + 32], y[i : i + 32]) for i in (0, 32, 64)])


@case("adversarial training of a trained model", NAMED)
def _() -> Watched:
    model, x, y = learned()
    data = [(x[i : i + 32], y[i : i + 32]) for i in (0, 32, 64)]
    return with_step(lambda m, o, x, y: update(o, smoothed(m(attack(m, x, y, size=2.0)), y)), model=model, data=data)


@case("a trained model that learns other classes", NAMED)
def _() -> Watched:
    model, x, y = learned()
    y = (y + 1) % K
    return plain(model=model, data=[(x[i : i + 32], y[i : i + 32]) for i in (0, 32, 64)])


@case("two epochs over the same rows", NAMED)
def _() -> Watched:
    rows = list(batches(2))
    return plain(data=[*rows, *rows])


def clipping(size: float, steps: int = 4) -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        optimiser.zero_grad()
        smoothed(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), size)
        optimiser.step()

    return with_step(step, data=batches(steps))


@case("a clipping that always bites", NAMED, "clipping-always")
def _() -> Watched:
    return clipping(0.01)


@case("a clipping that always bites, with Adam and accumulation", NAMED, "clipping-always")
def _() -> Watched:
    model = net()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model) as seen:
        for _ in range(4):
            optimiser.zero_grad()
            for x, y in batches(2):
                (smoothed(model(x), y) / 2).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.005)
            optimiser.step()
    return seen


@case("a clipping that never bites", NAMED)
def _() -> Watched:
    return clipping(100.0)


@case("a clipping that bites in one step", NAMED)
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        optimiser.zero_grad()
        smoothed(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()

    rows = [(x * (100 if i == 1 else 1), y) for i, (x, y) in enumerate(batches(4))]
    return with_step(step, model=nn.Linear(INPUTS, K), data=rows)


# 4. A softmax too many, few classes, one logit.

SOFTMAX = "a softmax too many, and one logit"
TWICE, IN_LOSS = "softmax-twice", "softmax-twice-in-loss"


def fresh(classes: int) -> nn.Module:
    """A model whose head is as small as that of a fresh BERT."""
    model = net(classes)
    nn.init.normal_(model[-1].weight, std=0.02)
    nn.init.zeros_(model[-1].bias)
    return model


def _softmaxes() -> None:
    for k in (2, 3, 4, 5):
        for name, make in (("", net), (", a fresh head", fresh)):
            for eps in (0.0, EPS):
                what = f"K = {k}, ε = {eps:g}{name}"

                def loss(z: Tensor, y: Tensor, eps: float = eps) -> Tensor:
                    return F.cross_entropy(z.softmax(1), y, label_smoothing=eps)

                def in_loss(k: int = k, make: Any = make, loss: Any = loss) -> Watched:
                    return plain(loss, make(k), data=batches(3, 24, k))

                def in_model(k: int = k, make: Any = make, eps: float = eps) -> Watched:
                    model = nn.Sequential(make(k), nn.Softmax(1))
                    return plain(lambda z, y: F.cross_entropy(z, y, label_smoothing=eps), model, data=batches(3, 24, k))

                def once(k: int = k, make: Any = make, eps: float = eps) -> Watched:
                    return plain(
                        lambda z, y: F.cross_entropy(z, y, label_smoothing=eps), make(k), data=batches(3, 24, k)
                    )

                case(f"a softmax in the loss, {what}", SOFTMAX, IN_LOSS, eps=eps)(in_loss)
                case(f"a softmax in the model, {what}", SOFTMAX, TWICE, eps=eps)(in_model)
                case(f"one softmax, {what}", SOFTMAX, eps=eps)(once)


_softmaxes()


def binary(z: Tensor, y: Tensor, eps: float = 0.0, **how: Any) -> Tensor:
    return F.binary_cross_entropy_with_logits(z.flatten(), y.float() * (1 - eps) + eps / 2, **how)


@case("one logit with BCE, (N, 1)", SOFTMAX, eps=0.0)
def _() -> Watched:
    return plain(binary, net(1), data=batches(classes=2))


@case("one logit with BCE, (N,)", SOFTMAX, eps=0.0)
def _() -> Watched:
    return plain(binary, nn.Sequential(net(1), nn.Flatten(0)), data=batches(classes=2))


@case("one logit with smoothed BCE", SOFTMAX)
def _() -> Watched:
    return plain(lambda z, y: binary(z, y, EPS), net(1), data=batches(classes=2))


@case("one logit with BCE and a weight of the positives", SOFTMAX, eps=0.0)
def _() -> Watched:
    return plain(lambda z, y: binary(z, y, pos_weight=torch.tensor(3.0)), net(1), data=batches(classes=2))


@case("one logit a pixel", SOFTMAX, eps=0.0)
def _() -> Watched:
    data = [(torch.randn(2, 3, 6, 6), torch.randint(0, 2, (2, 6, 6))) for _ in range(3)]
    return plain(lambda z, y: binary(z, y.flatten()), nn.Conv2d(3, 1, 1), data=data)


@case("a sigmoid and BCE", SOFTMAX, eps=0.0)
def _() -> Watched:
    loss = lambda p, y: F.binary_cross_entropy(p[:, 0], y.float())  # noqa: E731
    return plain(loss, nn.Sequential(net(1), nn.Sigmoid()), data=batches(classes=2))


@case("a sigmoid before BCE with logits", SOFTMAX, TWICE, eps=0.0)
def _() -> Watched:
    return plain(binary, nn.Sequential(net(1), nn.Sigmoid()), data=batches(classes=2))


@case("several labels a row, BCE", SOFTMAX, eps=0.0)
def _() -> Watched:
    data = [(x, torch.randint(0, 2, (24, K)).float()) for x, _ in batches()]
    return plain(F.binary_cross_entropy_with_logits, data=data)


@case("a regression", SOFTMAX, also=("one-number-per-row",), eps=None)
def _() -> Watched:
    return plain(lambda z, y: F.mse_loss(z[:, 0], y.float()), net(1))


# 5. Scalers of half precision.

SCALED = "gradient scalers"


def scaled(
    *, scale: float = 1024.0, unscale: bool = True, clip: float | None = None, micro: int = 1, half: bool = True,
    model: nn.Module | None = None, loss: Any = smoothed, stale: bool = False, divide: bool = True, steps: int = 3,
) -> Watched:  # fmt: skip
    model = net() if model is None else model
    optimiser, scaler = sgd(model.parameters()), torch.amp.GradScaler("cpu", init_scale=scale)
    with watch(model) as seen:
        for _ in range(steps):
            for x, y in batches(micro):
                with torch.autocast("cpu", dtype=torch.float16) if half else contextlib.nullcontext():
                    value = loss(model(x), y)
                scaler.scale(value / (micro if divide else 1)).backward()
            if unscale:
                scaler.unscale_(optimiser)
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            scaler.step(optimiser)
            scaler.update()
            if not stale:
                optimiser.zero_grad()
    return seen


for _name, _how in {
    "a scaler": {"unscale": False},
    "a scaler of 65536": {"scale": 65536.0, "unscale": False},
    "a scaler, float32": {"half": False, "unscale": False},
    "a scaler, unscaled and clipped": {"clip": 10.0},
    "a scaler and accumulation": {"micro": 4, "unscale": False},
    "a scaler that is no power of 2": {"scale": 1000.0, "unscale": False, "half": False},
    "a small scaler": {"scale": 8.0, "unscale": False, "half": False},
}.items():
    case(_name, SCALED)(lambda how=_how: scaled(**how))

for _name, _codes, _how in (
    ("a scaler, clipped before it is unscaled", ("clipped-while-scaled", "clipping-always"),
        {"unscale": False, "clip": 1.0, "half": False, "steps": 4}),
    ("a scaler, gradients never cleared", ("gradients-not-cleared",), {"stale": True, "half": False}),
    ("a scaler, never divided by the accumulation", ("not-divided",), {"micro": 4, "divide": False}),
    ("a scaler and ascent", ("gradient-ascent",), {"loss": lambda z, y: -smoothed(z, y), "unscale": False}),
    ("a scaler, smoothed by another strength twice over", ("other-strength", "smoothed-twice", "total-mass"),
        {"loss": lambda z, y: 0.9 * smoothed(z, y), "half": False}),
):  # fmt: skip
    case(_name, SCALED, *_codes)(lambda how=_how: scaled(**how))


# 6. Further right set-ups.

RIGHT = "right set-ups"


@case("a plain loop", RIGHT)
def _() -> Watched:
    return plain()


@case("AdamW and weight decay", RIGHT)
def _() -> Watched:
    model = net()
    return plain(model=model, optimiser=torch.optim.AdamW(model.parameters(), weight_decay=0.1))


@case("an average of weights beside the model", RIGHT)
def _() -> Watched:
    model = net(norm=True)
    average = torch.optim.swa_utils.AveragedModel(model)

    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        update(optimiser, smoothed(model(x), y))
        average.update_parameters(model)
        with torch.no_grad():
            F.cross_entropy(average(x), y)

    return with_step(step, model=model)


@case("a second network with an optimiser of its own", RIGHT)
def _() -> Watched:
    other = nn.Linear(4, INPUTS)
    its = sgd(other.parameters())

    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        update(optimiser, smoothed(model(torch.cat([x, other(torch.randn(8, 4)).detach()])), torch.cat([y, y[:8]])))
        update(its, smoothed(model(other(torch.randn(24, 4))), y))

    return with_step(step)


@case("low-rank additions to a frozen model", RIGHT)
def _() -> Watched:
    class LowRank(nn.Module):
        def __init__(self, base: nn.Linear) -> None:
            super().__init__()
            self.base = base.requires_grad_(False)
            self.a = nn.Parameter(torch.randn(base.in_features, 2))
            self.b = nn.Parameter(torch.zeros(2, base.out_features))

        def forward(self, x: Tensor) -> Tensor:
            return self.base(x) + x @ self.a @ self.b

    model = net()
    model[0], model[-1] = LowRank(model[0]), LowRank(model[-1])
    return plain(model=model, optimiser=sgd([p for p in model.parameters() if p.requires_grad]))


@case("distillation", RIGHT, eps=None)
def _() -> Watched:
    teacher = net()

    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        q = (teacher(x).detach() / 2).softmax(1)
        update(
            optimiser,
            0.5 * smoothed(model(x), y) + 2 * F.kl_div((model(x) / 2).log_softmax(1), q, None, None, "batchmean"),
        )

    return with_step(step)


@case("mixup of rows", RIGHT)
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        z = model(0.7 * x + 0.3 * x.flip(0))
        update(optimiser, 0.7 * smoothed(z, y) + 0.3 * smoothed(z, y.flip(0)))

    return with_step(step)


@case("L-BFGS", RIGHT, steps=3, passes=1)
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        def closure() -> Tensor:
            optimiser.zero_grad()
            loss = smoothed(model(x), y)
            loss.backward()
            return loss

        optimiser.step(closure)

    model = net()
    return with_step(step, model=model, optimiser=torch.optim.LBFGS(model.parameters(), max_iter=4))


class Checkpointed(nn.Module):
    """A model whose body keeps no activations."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.body, self.head, self.reentrant = net(8), nn.Linear(8, K), reentrant

    def forward(self, x: Tensor) -> Tensor:
        """Logits of inputs."""
        return self.head(checkpoint(self.body, x.requires_grad_(), use_reentrant=self.reentrant))


@case("checkpoints of activations", RIGHT)
def _() -> Watched:
    return plain(model=Checkpointed(False))


@case("reentrant checkpoints of activations", RIGHT)
def _() -> Watched:
    return plain(model=Checkpointed(True))


@case("a reentrant checkpoint around all that is trained", RIGHT)
def _() -> Watched:
    model = net()
    around = nn.Sequential(model)
    around.forward = lambda x: checkpoint(model, x.requires_grad_(), use_reentrant=True)
    return plain(model=around)


@case("padding with ignore_index", RIGHT)
def _() -> Watched:
    model = nn.Sequential(nn.Embedding(30, 8), nn.Linear(8, 30))
    ids = [torch.randint(1, 30, (4, 9)) for _ in range(3)]
    labels = [each.where(torch.arange(9) < torch.randint(3, 9, (4, 1)), -100) for each in ids]
    loss = lambda z, y: smoothed(z[:, :-1].flatten(0, 1), y[:, 1:].flatten())  # noqa: E731
    return plain(loss, model, data=zip(ids, labels, strict=True))


@case("segmentation with ignored pixels", RIGHT)
def _() -> Watched:
    y = [torch.randint(0, K, (2, 6, 7)).where(torch.rand(2, 6, 7) > 0.2, 255) for _ in range(3)]
    data = [(torch.randn(2, 3, 6, 7), each) for each in y]
    return plain(lambda z, y: smoothed(z, y, ignore_index=255), nn.Conv2d(3, K, 1), data=data)


@case("a second loss of the features", RIGHT)
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        features = model[:3](x)
        update(optimiser, smoothed(model(x), y) + 0.01 * features.square().mean())

    return with_step(step)


@case("a penalty on the weights in the loss", RIGHT)
def _() -> Watched:
    model = net()
    return plain(lambda z, y: smoothed(z, y) + 1e-3 * sum(p.square().sum() for p in model.parameters()), model)


@case("a strength that rises from step to step", RIGHT, eps=None)
def _() -> Watched:
    strengths = iter([0.0, 0.05, 0.1])
    return plain(lambda z, y: F.cross_entropy(z, y, label_smoothing=next(strengths)))


@case("accumulation, each mean divided by the micro-batches", RIGHT)
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        optimiser.zero_grad()
        for rows in (slice(0, 12), slice(12, 24)):
            (smoothed(model(x[rows]), y[rows]) / 2).backward()
        optimiser.step()

    return with_step(step)


@case("bfloat16", RIGHT)
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = smoothed(model(x), y)
        update(optimiser, loss)

    return with_step(step)


@case("noise on the gradients", RIGHT)
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        optimiser.zero_grad()
        smoothed(model(x), y).backward()
        for p in model.parameters():
            p.grad += 0.01 * torch.randn_like(p)
        optimiser.step()

    return with_step(step)


@case("an optimiser written by hand", RIGHT)
def _() -> Watched:
    def step(model: Any, _: Any, x: Tensor, y: Tensor) -> None:
        model.zero_grad()
        smoothed(model(x), y).backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.1 * p.grad

    return with_step(step)


@case("master weights in another precision", RIGHT)
def _() -> Watched:
    model = net()
    masters = [p.detach().clone().double().requires_grad_() for p in model.parameters()]
    optimiser = sgd(masters)

    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        model.zero_grad()
        smoothed(model(x), y).backward()
        for p, master in zip(model.parameters(), masters, strict=True):
            master.grad = p.grad.double()
        optimiser.step()
        with torch.no_grad():
            for p, master in zip(model.parameters(), masters, strict=True):
                p.copy_(master)

    return with_step(step, model=model, optimiser=optimiser)


@case("pseudo-labels of the model itself", RIGHT, eps=None)
def _() -> Watched:
    def step(model: Any, optimiser: Any, x: Tensor, y: Tensor) -> None:
        with torch.no_grad():
            own = model(x).argmax(1)
        update(optimiser, smoothed(model(x), y) + 0.3 * F.cross_entropy(model(x + 0.1), own))

    return with_step(step, model=net(dropout=0.2))


@case("a Lightning-like loop with a check before it", RIGHT)
def _() -> Watched:
    model = net(dropout=0.2)
    optimiser = sgd(model.parameters())
    with watch(model) as seen:
        for _ in range(3):
            model.eval()
            with torch.no_grad():
                for x, y in batches(2):
                    F.cross_entropy(model(x), y)
            model.train()
            for x, y in batches(2):
                update(optimiser, smoothed(model(x), y))
    return seen


@case("tied embeddings", RIGHT)
def _() -> Watched:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.norm = nn.Embedding(30, 8), nn.LayerNorm(8)

        def forward(self, ids: Tensor) -> Tensor:
            return self.norm(self.embedding(ids)) @ self.embedding.weight.T

    ids = [torch.randint(1, 30, (4, 9)) for _ in range(3)]
    loss = lambda z, y: smoothed(z[:, :-1].flatten(0, 1), y[:, 1:].flatten())  # noqa: E731
    return plain(loss, Tied(), data=[(each, each) for each in ids])


@case("a head that is fixed on purpose", RIGHT)
def _() -> Watched:
    model = net()
    model[-1].requires_grad_(False)
    return plain(model=model, optimiser=sgd(model[0].parameters()))


@case("the gradient of one class turned round for forgetting", RIGHT, eps=None)
def _() -> Watched:
    def loss(z: Tensor, y: Tensor) -> Tensor:
        return (smoothed(z, y, reduction="none") * torch.where(y == 0, -1.0, 1.0)).mean()

    return plain(loss)


@case("a policy gradient with advantages", RIGHT, eps=0.0)
def _() -> Watched:
    return plain(lambda z, y: (F.cross_entropy(z, y, reduction="none") * torch.randn(len(z))).mean())


@case("inputs that are sparse", RIGHT)
def _() -> Watched:
    class Sparse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(INPUTS, K))

        def forward(self, x: Tensor) -> Tensor:
            return torch.sparse.mm(x, self.weight)

    data = [((x * (x > 0)).to_sparse(), y) for x, y in batches()]
    return plain(model=Sparse(), data=data)
