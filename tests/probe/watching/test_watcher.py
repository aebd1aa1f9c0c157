"""What the hooks take, what they leave behind, and what they say where there is nothing to read."""

import copy
import gc
import sys
import types
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import optimizer as optimisers

import sfumato as sf
from sfumato.probe import ProbeError, watch
from sfumato.probe.rows import ReadRows
from sfumato.probe.watching.targets_seen import MAX_STEPS
from sfumato.probe.watching.watch import watch_named
from sfumato.probe.watching.watcher import RunWatcher, wrap_call
from tests.probe.losses import codes, text_of
from tests.probe.watching.loops import alarms, classifier, loop, smoothed, table


class Wrapped(nn.Module):
    """A model whose output is made of the logits by a function."""

    def __init__(self, output) -> None:
        super().__init__()
        self.net, self.output = classifier(), output

    def forward(self, x):
        return self.output(self.net(x))


BATCHES = [batch for step in table(3) for batch in step]


def one_pass(output, loss, **how):
    model = Wrapped(output)
    x, y = table()[0][0]
    with watch(model, **how) as seen:
        loss(model(x), y)
    return seen


def hooks(model: nn.Module) -> tuple[int, ...]:
    return (
        len(model._forward_hooks),
        len(optimisers._global_optimizer_pre_hooks),
        len(optimisers._global_optimizer_post_hooks),
        torch.overrides._len_torch_function_stack(),
        sum(len(p._backward_hooks or ()) for p in model.parameters()),
        sum(type(each) in (RunWatcher, ReadRows) for each in gc.get_objects()),
    )


@pytest.mark.parametrize("fails", [False, True])
def test_logits_are_let_go_while_the_run_goes_on_and_nothing_is_left_behind_even_by_a_run_that_fails(fails):
    model, before = classifier(), hooks(classifier())
    x, y = table()[0][0]
    with pytest.raises(KeyError) if fails else torch.enable_grad(), watch(model):
        logits = model(x)
        held = weakref.ref(logits)
        smoothed(logits, y).backward()
        del logits
        assert held() is None
        if fails:
            raise KeyError("own")
    gc.collect()
    assert hooks(model) == before


def test_the_run_ends_in_the_same_weights():
    def train(watched: bool) -> torch.Tensor:
        model = classifier()
        if watched:
            loop(table(3, 2), lambda z, y, step: smoothed(z, y), model=model, evaluate=smoothed)
        else:
            optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
            for step in table(3, 2):
                for x, y in step:
                    smoothed(model(x), y).backward()
                optimiser.step()
                optimiser.zero_grad()
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(train(True), train(False))


@pytest.mark.parametrize(
    ("output", "how", "message"),
    [
        (lambda z: "text", {}, "the model returned a str, in which no logits were found: say where they are"),
        (lambda z: z.argmax(1), {}, r"the model returned a tensor int64 \(12,\), which cannot be logits"),
        (lambda z: {"a": z, "b": z}, {}, r'several tensors .*\(a \(12, 7\), b \(12, 7\)\): name one.*logits="a"'),
        (lambda z: (z, z), {}, r"name one, as in watch\(model, logits=lambda output: output\[0\]\)"),
        (lambda z: {"a": z}, {"logits": "c"}, "logits= found nothing in a dict with a: .* It has a."),
        (lambda z: z, {"logits": lambda z: 3}, "logits= gave a int, where logits are a floating tensor"),
    ],
)
def test_an_output_without_logits_is_refused_with_the_way_to_name_them(output, how, message):
    with pytest.raises(ProbeError, match=message):
        one_pass(output, lambda out, y: None, **how)


@pytest.mark.parametrize("logits", ["b", lambda output: output["b"]])
def test_one_of_several_heads_is_named(logits):
    def loss(out, y):
        (F.cross_entropy(out["a"], y) + smoothed(out["b"], y)).backward()

    seen = one_pass(lambda z: {"a": z * 1, "b": z + 0}, loss, logits=logits)
    assert (seen.eps, seen.normaliser) == (0.1, "rows")


@pytest.mark.parametrize(
    ("output", "loss", "code"),
    [
        (lambda z: z, lambda z, y: smoothed(z, y), "no-gradient"),
        (lambda z: {"loss": z.sum(), "logits": None}, lambda out, y: out["loss"].backward(), "no-logits"),
        (lambda z: z * 0, lambda z, y: smoothed(z, y).backward(), "logits-equal"),
        (
            lambda z: z[:, :1],
            lambda z, y: (z[:, 0] - y).square().mean().backward(),
            "one-number-per-row",
        ),
        (
            lambda z: z,
            lambda z, y: z.square().mean().backward(),
            "not-a-cross-entropy",
        ),
        (lambda z: z, lambda z, y: (smoothed(z, y) * torch.inf).backward(), "gradients-not-finite"),
    ],
)
def test_what_cannot_be_read_is_said(output, loss, code):
    seen = one_pass(output, loss)
    assert (seen.eps, seen.normaliser) == (None, None)
    assert code in [each.code for each in seen.findings]


def test_an_object_that_cannot_be_looked_at_ends_neither_the_run_nor_the_reading():
    class Criterion:
        @property
        def __dict__(self):
            raise RuntimeError("not to be looked at")

        def __call__(self, z, y):
            return smoothed(z, y)

    criterion, model = Criterion(), classifier()
    x, y = table()[0][0]
    with watch(model) as seen:
        criterion(model(x), y).backward()
    assert (seen.eps, alarms(seen)) == (0.1, [])


def test_a_model_that_nobody_calls_is_said():
    with watch(classifier()) as seen:
        pass
    assert codes(seen.findings) == ["defect: model-not-called"]


def test_few_logits_that_change_after_the_loss_are_read_as_they_were():
    def loss(z, y):
        value = smoothed(z, y)
        z.detach().mul_(3)
        value.backward()

    seen = one_pass(lambda z: z + 0, loss)
    assert (seen.eps, seen.normaliser) == (0.1, "rows")


def test_many_logits_that_change_after_the_loss_are_not_read():
    model = nn.Linear(5, 600)
    x, y = torch.randn(600, 5), torch.arange(600)
    with watch(model) as seen:
        sf.cross_entropy(model(x), y, label_smoothing=0.1, overwrite_logits=True).backward()
    assert seen.eps is None
    assert "warning: logits-changed-in-place" in codes(seen.findings)


def test_a_copy_of_the_logits_in_another_type_beside_the_loss_is_seen_through():
    def outputs(z):
        return {"loss": smoothed(z, table()[0][0][1]), "logits": z.double()}

    seen = one_pass(outputs, lambda out, y: out["loss"].backward())
    assert (seen.eps, seen.normaliser) == (0.1, "rows")


@pytest.mark.parametrize("unscaled", [False, True])
def test_under_a_scaler_in_half_precision_the_scale_is_divided_out(unscaled):
    model = classifier()
    optimiser, scaler = torch.optim.SGD(model.parameters(), lr=0.1), torch.amp.GradScaler("cpu", init_scale=1024.0)
    with watch(model) as seen:
        for x, y in BATCHES:
            with torch.autocast("cpu", dtype=torch.float16):
                loss = smoothed(model(x), y)
            scaler.scale(loss).backward()
            if unscaled:
                scaler.unscale_(optimiser)
                nn.utils.clip_grad_norm_(model.parameters(), 0.05)
            scaler.step(optimiser)
            scaler.update()
            optimiser.zero_grad()
    assert alarms(seen) == ["warning: clipping-always"] * unscaled
    assert (seen.eps, seen.normaliser, seen.steps) == (pytest.approx(0.1, abs=1e-3), "rows", 3)
    assert "scaled by 1024" in text_of(seen.findings, "loss-scaled")


def train(model, take_step, called=None):
    """Three steps on one batch each, watched."""
    with watch(model) as seen:
        forward = (called or (lambda: model))()
        for x, y in BATCHES:
            smoothed(forward(x), y).backward()
            take_step(model)
            model.zero_grad()
    return seen


def by_sgd(model):
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    return lambda _: optimiser.step()


@torch.no_grad()
def by_hand(model):
    for parameter in model.parameters():
        parameter -= 0.1 * parameter.grad


def test_a_step_that_a_scaler_skips_is_left_out():
    model = classifier()
    optimiser, scaler = torch.optim.SGD(model.parameters(), lr=0.1), torch.amp.GradScaler("cpu", init_scale=256.0)
    with watch(model) as seen:
        for i, (x, y) in enumerate(BATCHES):
            loss = smoothed(model(x), y) * (torch.inf if i == 1 else 1.0)
            scaler.scale(loss).backward()
            scaler.step(optimiser)
            scaler.update()
            optimiser.zero_grad()
    assert (seen.eps, seen.normaliser, seen.steps) == (0.1, "rows", 2)


@pytest.mark.parametrize("how", ["in place", "around, inside", "around, before"])
def test_compiled_models_are_read(how):
    model = classifier()
    around = torch.compile(model, backend="eager") if how == "around, before" else model
    if how == "in place":
        model.compile(backend="eager")
    inside = (lambda: torch.compile(model, backend="eager")) if how == "around, inside" else (lambda: around)
    seen = train(model, by_sgd(model), inside)
    assert (seen.eps, seen.normaliser, seen.steps) == (0.1, "rows", 3)


def test_steps_of_an_optimiser_that_is_none_of_torchs_are_counted():
    seen = train(classifier(), by_hand)
    assert (seen.eps, seen.normaliser, seen.steps) == (0.1, "rows", 3)


def test_an_optimiser_of_another_models_parameters_is_named():
    seen = train(classifier(), by_sgd(classifier()))
    assert seen.steps == 0
    assert alarms(seen)[0] == "defect: optimiser-of-other-parameters"


def test_a_closure_of_the_optimiser_is_one_pass_of_each_call():
    model = classifier()
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=3)
    x, y = table()[0][0]

    def closure():
        optimiser.zero_grad()
        loss = smoothed(model(x), y)
        loss.backward()
        return loss

    with watch(model) as seen:
        optimiser.step(closure)
        optimiser.step(closure)
    assert (seen.eps, seen.normaliser, seen.steps) == (0.1, "rows", 2)
    assert alarms(seen) == []


def test_watching_that_begins_amid_a_step_leaves_that_step_out():
    model = classifier()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    steps = table(3, 2)
    smoothed(model(steps[0][0][0]), steps[0][0][1], reduction="sum").div(17).backward()
    with watch(model) as seen:
        for i, step in enumerate(steps):
            for x, y in step[1:] if i == 0 else step:
                smoothed(model(x), y, reduction="sum").div(17).backward()
            optimiser.step()
            optimiser.zero_grad()
    assert (seen.normaliser, seen.steps) == ("rows", 3)
    assert alarms(seen) == []


def test_after_many_steps_passes_are_counted_and_not_read():
    seen = loop(table(MAX_STEPS + 5, rows=4), lambda z, y, step: smoothed(z, y))
    assert seen.steps == MAX_STEPS + 5
    assert seen.rows <= 4 * MAX_STEPS


def test_two_may_watch_one_model_and_a_copy_of_it_is_not_watched():
    model = classifier()
    x, y = table()[0][0]
    with watch(model) as first, watch(model) as second:
        smoothed(model(x), y).backward()
        smoothed(copy.deepcopy(model)(x), y, 0.5).backward()
    assert (first.eps, second.eps) == (0.1, 0.1)


class Layer:
    def __call__(self, x):
        return x + 1


class Model(Layer):
    pass


def test_each_call_of_the_model_is_told_and_the_class_is_as_before(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras.src.layers.layer", types.SimpleNamespace(Layer=Layer))
    model, told = Model(), []
    undo = wrap_call(model, lambda *call: told.append(call))
    assert (model(1), Model()(5)) == (2, 6)
    assert told == [(model, (1,), {}, 2)]
    undo()
    assert (model(1), len(told), "__call__" in vars(Model)) == (2, 1, False)


def test_what_is_none_of_kerass_is_left_to_the_hooks_of_torch():
    assert wrap_call(Model(), print) is None


@pytest.fixture
def module(monkeypatch):
    made = types.ModuleType("trainers_of_a_test")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return made


def a_step(model, name):
    return lambda: torch.nn.functional.cross_entropy(model(torch.randn(6, 3))[name], torch.arange(6) % 4).backward()


TRAINER = type("Trainer", (), {"model": nn.Linear(1, 1)})()


class TwoHeads(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Linear(3, 4), torch.nn.Linear(3, 4)

    def forward(self, x):
        return {"a": self.a(x), "b": self.b(x)}


def test_a_third_part_names_the_logits(module):
    model = TwoHeads()
    module.made = lambda: (model, a_step(model, "b"), "b")
    assert watch_named("trainers_of_a_test:made").eps == 0


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: 3, r"returned a int; it must return \(model, run\)"),
        (lambda: (torch.nn.Linear(1, 1), 3), "returned a int in the second place, which cannot be called"),
        (lambda: (3, print), "watch needs the torch.nn.Module that is trained, got a int"),
        (lambda: (TRAINER, print), r"its own .model is one: watch\(trainer.model\)"),
        (lambda: 1 / 0, "trainers_of_a_test:made failed: ZeroDivisionError"),
        (lambda: (torch.nn.Linear(1, 1), lambda: 1 / 0), "the training of trainers_of_a_test:made failed"),
        (lambda: (m := TwoHeads(), a_step(m, "a")), r'name one, as in watch\(model, logits="a"\)'),
    ],
)
def test_what_is_no_trainer_is_refused(module, made, message):
    module.made = made
    with pytest.raises(ProbeError, match=message):
        watch_named("trainers_of_a_test:made")
