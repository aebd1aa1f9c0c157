"""Read the loss of evaluation, which nobody differentiates: each call of torch that uses the logits of a model is run a
second time on a copy that has a graph. What the calls return to the trainer is left as it was.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]
from torch.overrides import TorchFunctionMode

from sfumato.probe.rows import ReadRows, read_rows
from sfumato.probe.watching.model_call import as_rows, class_axis, tensors_in

no_dispatch = torch._C.DisableTorchFunction  # pyright: ignore[reportPrivateUsage]
"""A context in which no function mode is told of calls, and so none runs them twice."""

MAX_LOGITS = 1 << 25  # logits of one batch of evaluation that are copied at most

DRAWN = ("dropout", "bernoulli", "multinomial", "rand", "gumbel")
"""Words in the names of calls that are not run twice, because they draw numbers."""

ENDS = ("backward", "numpy", "item", "tolist", "requires_grad_", "set_", "register_hook")
"""Names of calls that give no new tensor."""


class ShadowGraphMode(TorchFunctionMode):
    """Runs each call on logits twice while a tape is there, and else changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.tape: Tape | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the call, and then its double."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if self.tape is not None and self.tape.knows(args, kwargs):
            with no_dispatch():
                self.tape.double(func, args, kwargs, result)
        return result


def is_noisy(model: nn.Module) -> bool:
    """Whether a model has dropout or batch norm in training mode, so that its outputs differ from those in use."""
    return any(
        isinstance(each, _BatchNorm) or ("drop" in type(each).__name__.lower() and _rate(each, "p", "drop_prob") > 0)
        or _rate(each, "dropout") > 0
        for each in model.modules()
        if each.training
    )  # fmt: skip


def _rate(module: nn.Module, *names: str) -> float:
    rates = (getattr(module, name, 0.0) for name in names)
    return max((float(each) for each in rates if isinstance(each, (int, float))), default=0.0)


class Tape:
    """The doubles of everything that was computed from the logits of one batch."""

    def __init__(self, logits: Tensor, *, noisy: bool = False) -> None:
        self.noisy = noisy  # whether the model was in training mode, to which that makes a difference
        self.was_used = False
        with no_dispatch(), torch.inference_mode(False), torch.enable_grad():
            self._leaf = logits.detach().clone().requires_grad_()
            self._doubles: dict[int, tuple[Tensor, Tensor]] = {id(logits): (logits, self._leaf.clone())}
        self._used: set[int] = set()

    def knows(self, args: Any, kwargs: Any) -> bool:
        """Whether any argument has a double."""
        return any(id(each) in self._doubles for each in tensors_in((args, kwargs)))

    def double(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Run a call on the doubles of its arguments, and keep what comes of it."""
        self.was_used = True
        name = getattr(func, "__name__", "")
        if "out" in kwargs or name in ENDS or any(word in name for word in DRAWN):
            return
        in_place = (name.endswith("_") and not name.endswith("__")) or name == "__setitem__" or name.startswith("__i")
        if in_place and not (args and isinstance(args[0], Tensor) and id(args[0]) in self._doubles):
            return  # the tensor that is changed has no double, and must not be changed twice
        try:
            with torch.inference_mode(False), torch.enable_grad():
                again = func(*self._swapped(args), **self._swapped(kwargs))
        except Exception:
            return  # a call that has no derivative, or that cannot be repeated, ends the trace here
        both = zip(tensors_in(result), tensors_in(again), strict=False)
        kept = {id(real): (real, other) for real, other in both if other.is_floating_point() and other.requires_grad}
        self._doubles |= kept
        if kept:
            self._used |= {id(each) for each in tensors_in((args, kwargs))} - {id(each) for each in tensors_in(result)}

    def _swapped(self, value: Any) -> Any:
        """Arguments with doubles in place of tensors; tensors of inference mode are copied: no graph holds them."""
        if isinstance(value, Tensor):
            if id(value) in self._doubles:
                return self._doubles[id(value)][1]
            return value.clone() if value.is_inference() else value
        if isinstance(value, Mapping):
            return {name: self._swapped(each) for name, each in value.items()}
        if isinstance(value, (tuple, list)):
            changed = [self._swapped(each) for each in value]
            return type(value)(*changed) if hasattr(value, "_fields") else type(value)(changed)
        return value

    def read(self) -> list[ReadRows]:
        """What each loss trains towards that came of the logits, and from which nothing else was computed."""
        losses: list[ReadRows] = []
        with no_dispatch(), torch.inference_mode(False), torch.enable_grad():
            for key, (_, value) in list(self._doubles.items())[1:]:
                if key in self._used or value.numel() * 2 > self._leaf.numel():
                    continue
                (g,) = torch.autograd.grad(value.sum(), self._leaf, retain_graph=True, allow_unused=True)
                if isinstance(g, Tensor) and bool(g.any()):  # pyright: ignore[reportUnnecessaryIsInstance]
                    z, axis = self._leaf.detach(), class_axis(self._leaf, g)
                    losses.append(read_rows(as_rows(z, axis), as_rows(g.detach(), axis)))
        return losses


def strength_of_value(logits: Tensor, labels: Tensor, loss: float) -> float | None:
    """The strength over all classes whose mean loss has this value; None where none in [0, 1) has."""
    strengths: list[float] = []
    for shift in (0, 1) if labels.dim() == 2 else (0,):
        z = logits[:, : logits.shape[1] - shift] if shift else logits
        y = labels[:, shift:] if shift else labels
        if z.shape[:-1] != y.shape or z.dim() < 2:
            continue
        counts = (y >= 0) & (y < z.shape[-1])
        z, y = z[counts].double(), y[counts].long()
        if len(y) == 0:
            continue
        own = z.gather(1, y[:, None])[:, 0]
        hard = float((z.logsumexp(1) - own).mean())
        lift = float((own - z.mean(1)).mean())
        close = (1e-4 if logits.dtype in (torch.float32, torch.float64) else 2e-2) * max(abs(hard), 1e-3)
        if abs(loss - hard) <= close:
            return 0.0
        if abs(lift) > 1e-2 and 0 < (loss - hard) / lift < 1:
            strengths.append((loss - hard) / lift)
    return strengths[0] if len(strengths) == 1 else None


def eps_of_evaluation(losses: list[ReadRows]) -> float | None:
    """The largest strength among the losses that were computed of one batch; None where none is a cross entropy."""
    strengths: list[float] = []
    for rows in losses:
        good = rows.live & np.isfinite(rows.eps) & (rows.misfit < 0.03) & (rows.doubt < 0.02)
        balanced = rows.live & (rows.unbalanced < 0.02)
        if good.any() and good.sum() * 2 >= balanced.sum() > 0:
            strengths.append(float(np.median(rows.eps[good])))
    plain = [eps for eps in strengths if eps < 0.98]
    return max(plain or strengths, default=None)
