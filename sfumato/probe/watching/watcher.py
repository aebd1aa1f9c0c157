"""Hook a model and its optimiser, and read what passes by. The run is not changed, and nothing is left behind."""

import contextlib
import functools
import sys
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from sfumato.probe.find_loss import in_words
from sfumato.probe.rows import MANY, ReadRows
from sfumato.probe.watching import evaluation, model_call
from sfumato.probe.watching.evaluation import ShadowGraphMode, no_dispatch
from sfumato.probe.watching.labels_seen import labelled_rows
from sfumato.probe.watching.model_call import Choice, ModelInputs
from sfumato.probe.watching.parameters import TrainedParameters
from sfumato.probe.watching.targets_seen import MAX_STEPS, ReadPass, ReadStep, Record

EVALUATIONS = 4  # batches of evaluation that are read, after each step at most

IN_PLACE = (
    "the logits were changed in place after the model had returned them, so their probabilities are not known: "
    "let the loss work on a copy (logits.clone())"
)


class RunWatcher:
    """The hooks on one model, and the record that they fill."""

    def __init__(self, model: nn.Module, choice: Choice) -> None:
        self.model, self.choice, self.record = model, choice, Record()
        self._handles: list[Any] = []
        self._passing: list[Any] = []
        self._stack = contextlib.ExitStack()
        self._shadow = ShadowGraphMode()
        self._small: TrainedParameters | None = None
        self._known: set[int] = set()
        self._step = ReadStep()
        self._forwards_before = 0
        self._by_torch = False
        self._evaluations_here = 0

    def start(self) -> None:
        """Put the hooks on."""
        of_keras = wrap_call(self.model, self._called)
        if of_keras is not None:
            self._stack.callback(of_keras)
        else:
            self._handles.append(self.model.register_forward_hook(_undisturbed(self._called), with_kwargs=True))
        self._handles.append(register_optimizer_step_pre_hook(self._before_step))
        self._handles.append(register_optimizer_step_post_hook(self._after_step))
        self._stack.enter_context(self._shadow)

    def stop(self) -> None:
        """Take every hook off, and close what is open."""
        for handle in (*self._handles, *self._passing):
            handle.remove()
        self._handles, self._passing = [], []
        self._stack.close()
        with torch.no_grad():
            self._close_evaluation()
            self._close(stepped=self._moved_by_itself())
        self.record.leave_out_passes_without_parameters()
        if self._small is not None:
            self.record.left_out, self.record.last_layer_left_out = self._small.left_out()
            self._small.remove()
        self._small = None

    def _called(self, module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
        """After a call of the model: hook its logits if they can be trained on, else follow what evaluation does."""
        if module is not self.model:  # a copy that was made while the model was watched
            return
        with no_dispatch():
            self._close_evaluation()
            self.record.forwards += 1
            logits = model_call.logits_of(output, self.choice)
            try:
                self._take(logits, args, kwargs, output)
            except Exception as error:  # the run must not fail because it is watched
                self._problem("call-not-watched", f"a call of the model could not be watched ({in_words(error)})")

    def _take(self, logits: Tensor | None, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
        record, trains = self.record, torch.is_grad_enabled()
        if trains:
            if self._small is None:
                self._small = TrainedParameters(self.model)
                self._step.began_with_gradients = self._small.has_gradients()
                self._small.remember()
            if self._moved_by_itself():
                self._close(stepped=True)
            record.training_forwards += self.model.training
            if len(record.given) == 0 and record.training_forwards <= 2:
                with contextlib.suppress(Exception):  # of an object that will not be looked at
                    record.given = model_call.given_strengths(self.model, kwargs)
        if logits is None:
            record.without_logits += 1
            return
        if trains and logits.requires_grad and len(record.steps) < MAX_STEPS:
            self._hook(logits, model_call.inputs_of(args, kwargs))
        if not trains or not self.model.training:
            self._evaluated(logits, output, args, kwargs)

    def _hook(self, logits: Tensor, inputs: ModelInputs) -> None:
        held, version, training = logits.detach(), logits._version, self.model.training
        node = "" if logits.grad_fn is None else logits.grad_fn.name()
        copy = held.clone() if held.numel() <= MANY * MANY else None
        source = model_call.source_of(logits)

        def arrived(gradients: Any) -> None:
            g = gradients if isinstance(gradients, Tensor) else gradients[0 if source is None else source[1]]
            if g is None:
                return
            try:
                with no_dispatch(), torch.no_grad():
                    z = held if held._version == version else copy
                    self._arrived(z, g.detach(), node, inputs, training)
            except Exception as error:  # the run must not fail because it is watched
                self._problem("pass-not-read", f"a pass could not be read ({in_words(error)})")

        handle = logits.register_hook(arrived) if source is None else source[0].register_prehook(arrived)
        self._passing = [*self._passing[-63:], handle]

    def _problem(self, code: str, text: str) -> None:
        self.record.problems[code, text] += 1

    def _arrived(self, z: Tensor | None, g: Tensor, node: str, inputs: ModelInputs, training: bool) -> None:
        """Read a pass, and keep it until its call of backward has ended and shows whether it reached a parameter."""
        small, step = self._small, self._step
        self._shadow.tape = None  # what was followed as evaluation is a training pass after all
        began_with_gradients = small is not None and small.has_gradients()
        if small is not None and step.passes and small.cleared():
            step.cut = len(step.passes)
            small.forget()
        if z is None:
            self._problem("logits-changed-in-place", IN_PLACE)
            return
        read = model_call.read_output(z, g, node)
        if read is None:
            self._problem("one-number-per-row", "the output has one number per row: it is not read")
            return
        rows, shape = read
        if not rows.finite:
            self._problem("gradients-not-finite", "some gradients were infinite or NaN; such a pass is left out")
            return
        ascends = _falls(rows)
        if ascends:
            rows = (model_call.read_output(z, -g, node) or read)[0]
        pad = getattr(getattr(self.model, "config", None), "pad_token_id", None)
        compared = inputs.compare(rows.label, rows.live, shape, pad if isinstance(pad, int) else None)
        sequences = shape[0] if len(shape) > 1 else len(rows.live)
        examples = len(shape) == 1 and z.dim() == 2 and rows.classes <= MANY and z.shape[1] == rows.classes
        labelled = labelled_rows(z, rows, inputs.first) if examples else None
        backward = torch._C._current_graph_task_id()  # pyright: ignore[reportPrivateUsage]
        one = ReadPass(rows, sequences, compared, training, backward, ascends, labelled)
        before = 0 if small is None else small.arrivals

        def ended() -> None:
            one.reaches = not small or small.arrivals > before
            if one.reaches and not any(each.reaches for each in step.passes[step.cut :] if each is not one):
                step.began_with_gradients = began_with_gradients

        step.passes.append(one)
        with contextlib.suppress(RuntimeError):  # no call of backward is running
            torch.autograd.Variable._execution_engine.queue_callback(ended)  # pyright: ignore
            one.reaches = False

    def _before_step(self, optimiser: Any, *_: Any) -> None:
        if self._is_ours(optimiser):
            with no_dispatch():
                if not self._by_torch:  # what moved the parameters before was no optimiser: a search nearby, say
                    self._by_torch, self.record.optimiser_steps = True, 0
                    for step in self.record.steps:
                        step.stepped = False
                if self._small is not None:
                    self._small.hold(optimiser)
                rates = [float(group["lr"]) for group in optimiser.param_groups if group.get("lr") is not None]
                self.record.rates += [max(rates)] if rates else []
                self._step.maximises = any(group.get("maximize", False) for group in optimiser.param_groups)
                if self._step.passes:
                    self._read_gradients(optimiser)

    def _after_step(self, optimiser: Any, *_: Any) -> None:
        if not self._is_ours(optimiser):
            self.record.steps_of_others += 1
        else:
            with no_dispatch(), torch.no_grad():
                self._close_evaluation()
                if self._step.passes and not self._step.arrived:
                    self._read_gradients(optimiser)
                self._close(stepped=True)
                # The second of two optimisers, each of which has some of the parameters, takes no step of its own.
                self.record.optimiser_steps += self.record.forwards > self._forwards_before
                self._forwards_before = self.record.forwards

    def _is_ours(self, optimiser: Any) -> bool:
        if not self._known:
            self._known = {id(p) for p in self.model.parameters()}
        return any(id(p) in self._known for group in optimiser.param_groups for p in group["params"])

    def _read_gradients(self, optimiser: Any = None) -> None:
        arrived, there = self._small.entries() if self._small is not None else ([], [])
        scale = getattr(optimiser, "grad_scale", None)  # a fused optimiser divides by it in its own kernel
        if scale is not None:
            there = [each / float(scale) for each in there]
        self._step.arrived, self._step.at_the_optimiser = arrived, there

    def _moved_by_itself(self) -> bool:
        """Whether the parameters changed though no optimiser of torch took a step, as those of Keras do."""
        return not self._by_torch and bool(self._step.passes) and self._small is not None and self._small.moved()

    def _close(self, *, stepped: bool) -> None:
        """End the passes whose gradients add up."""
        step, small = self._step, self._small
        if stepped and not self._by_torch:
            self.record.optimiser_steps += 1
            if step.cut:  # an optimiser that keeps its own sum of gradients gives their mean
                step.divided_by = len(step.passes)
            else:
                self._read_gradients()
        if self._by_torch:
            del step.passes[: step.cut]
        if step.passes:
            step.stepped = stepped
            self.record.steps.append(step)
        self._step, self._evaluations_here = ReadStep(), 0
        if small is not None:
            small.forget()
            if not self._by_torch:
                small.remember()

    def _evaluated(self, logits: Tensor, output: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.record.evaluations += 1
        self._evaluations_here += 1
        if self._evaluations_here > EVALUATIONS or logits.dim() == 0 or logits.numel() > evaluation.MAX_LOGITS:
            return
        loss, labels = model_call.loss_in(output), model_call.inputs_of(args, kwargs).labels
        noisy = self.model.training and evaluation.is_noisy(self.model)
        if loss is not None and labels is not None:
            self._evaluated_as(evaluation.strength_of_value(logits.detach(), labels, float(loss)), noisy=noisy)
        else:
            self._shadow.tape = evaluation.Tape(logits, noisy=noisy)

    def _close_evaluation(self) -> None:
        tape, self._shadow.tape = self._shadow.tape, None
        if tape is not None and tape.was_used:
            with contextlib.suppress(Exception):
                self._evaluated_as(evaluation.eps_of_evaluation(tape.read()), noisy=tape.noisy)

    def _evaluated_as(self, eps: float | None, *, noisy: bool) -> None:
        self.record.evaluation_eps += [] if eps is None else [eps]
        self.record.noisy_losses += noisy and eps is not None
        self.record.noisy_calls += noisy and eps is None


def _falls(rows: ReadRows) -> bool:
    """Whether nearly all rows are trained away from their targets, so that the line of each falls."""
    clear = rows.live & np.isfinite(rows.factor) & (rows.misfit < 1e-2) & (rows.doubt < 2e-2)
    return bool(clear.any()) and float((rows.factor[clear] < 0).mean()) > 0.9


def _undisturbed(method: Any) -> Any:
    """A hook that no compiler looks into, and that holds its watcher weakly: copies of a model keep none."""
    ref = weakref.WeakMethod(method)
    disabled: list[Any] = []

    def call(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        if (own := ref()) is not None:
            own(module, args, kwargs, output)

    def hook(module: Any, args: Any, kwargs: Any, output: Any) -> None:
        if "torch._dynamo.eval_frame" not in sys.modules:  # loading the compiler takes a second
            return call(module, args, kwargs, output)
        if not disabled:
            disabled.append(torch.compiler.disable(call))
        return disabled[0](module, args, kwargs, output)

    return torch.compiler.disable(call) if "torch._dynamo.eval_frame" in sys.modules else hook


def wrap_call(model: Any, called: Callable[..., None]) -> Callable[[], None] | None:
    """Let ``called(model, args, kwargs, output)`` be told of each call of a Keras model, until the result is called."""
    layers = sys.modules.get("keras.src.layers.layer")
    if layers is None or not isinstance(model, layers.Layer):
        return None
    owner = type(model)
    own, plain = owner.__dict__.get("__call__"), owner.__call__

    @functools.wraps(plain)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = plain(self, *args, **kwargs)
        if self is model:
            called(self, args, kwargs, output)
        return output

    def undo() -> None:
        if own is None:
            del owner.__call__
        else:
            owner.__call__ = own

    owner.__call__ = call
    return undo
